// SPDX-License-Identifier: GPL-2.0

//! Scopes in which a task does the I/O of a block device.
//!
//! C headers: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use core::{
    marker::PhantomData,
    mem::replace,
    ptr::{
        self,
        null_mut, //
    },
    sync::atomic::{
        compiler_fence,
        Ordering::SeqCst, //
    },
};

use crate::kernel_ext::compat::sync::new_spinlock_irq;
use kernel::{
    bindings,
    prelude::*,
    task::Task,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use pin_init::stack_pin_init;

/// Calls `f` while what runs stays on its CPU, undisturbed by interrupts.
///
/// It takes a spin lock that nobody else has for it, which the kernel crate offers in all kernels.
pub(crate) fn on_one_cpu<R>(f: impl FnOnce() -> R) -> R {
    stack_pin_init!(let here = new_spinlock_irq!(()));
    let _here = here.lock();
    f()
}

/// A scope in which the current task does the I/O of a block device.
///
/// No allocation in it, however deep in a file system, starts I/O to free memory: that I/O could
/// be for the very device that waits for the allocation. And the task is not held back for the
/// dirty pages of the device above, which it is there to clean: only for those of the device that
/// it writes to itself.
///
/// This is `memalloc_noio_save()` and, as in `drivers/block/loop.c`, `PF_LOCAL_THROTTLE`.
#[must_use = "the scope ends when this is dropped"]
pub(crate) struct BlockIoScope {
    /// Those of [`Self::FLAGS`] that were set before.
    previous: u32,
    /// The scope is the current task's.
    _not_send: NotThreadSafe,
}

impl BlockIoScope {
    const FLAGS: u32 = bindings::PF_MEMALLOC_NOIO | bindings::PF_LOCAL_THROTTLE;

    /// Enters the scope.
    pub(crate) fn enter() -> Self {
        let task = Task::current_raw();
        // SAFETY: `task` is the current task, which is alive, and nobody else changes its `flags`
        // but the scheduler when it switches the task out: that loses nothing.
        let previous = unsafe {
            let flags = (*task).flags;
            (*task).flags = flags | Self::FLAGS;
            flags & Self::FLAGS
        };
        Self {
            previous,
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for BlockIoScope {
    fn drop(&mut self) {
        let task = Task::current_raw();
        // SAFETY: As in `enter`; `self` is not `Send`, so that this is the task that entered.
        unsafe { (*task).flags = ((*task).flags & !Self::FLAGS) | self.previous };
    }
}

/// Whether the current task may enter a file system for a request that it queues itself: only a
/// plain user task may.
///
/// - A kernel thread may be the very one that others wait for: a kworker of the block layer, whose
///   workqueue is a rescuer's, the commit thread of a journal, the flusher of a page cache.
/// - A task with `PF_MEMALLOC` reclaims memory. It may use the reserves, which a file system could
///   drain, and it may hold locks that an allocation of the file system below waits for.
/// - A task with `PF_MEMALLOC_NOFS` or a `journal_info` is within a transaction. The file system
///   below may be of the same type, and take the transaction for its own, or wait for space in its
///   log while the one above is held up.
/// - A task with `PF_MEMALLOC_NOIO` or `PF_LOCAL_THROTTLE` works for a block device already: a
///   zoned disk on files on a zoned disk. The stack has room for one file system within another,
///   not for any number of them.
///
/// `IOCB_NOWAIT` does not help: a file system may allocate memory even so, and finishes some writes
/// in the task that submits them.
pub(crate) fn is_plain_task() -> bool {
    const OTHERS: u32 = bindings::PF_KTHREAD
        | bindings::PF_WQ_WORKER
        | bindings::PF_MEMALLOC
        | bindings::PF_MEMALLOC_NOFS
        | bindings::PF_MEMALLOC_NOIO
        | bindings::PF_LOCAL_THROTTLE;
    let task = Task::current_raw();
    // SAFETY: `task` is the current task, which is alive. Only the task itself uses its
    // `journal_info` and sets these flags.
    unsafe { (*task).flags & OTHERS == 0 && (*task).journal_info.is_null() }
}

/// A [`BlockIoScope`] in a task that is about to submit I/O to the very device that the scope is
/// for.
///
/// The I/O below goes its own way, at once: it is neither added to the plug that is being flushed,
/// nor to the list of bios that waits for the task to return from the device above. To such a list
/// nobody could add while being waited for, when memory is short.
#[must_use = "the scope ends when this is dropped"]
pub(super) struct NestedIoScope {
    plug: *mut bindings::blk_plug,
    bio_list: *mut bindings::bio_list,
    _scope: BlockIoScope,
}

impl NestedIoScope {
    /// Enters the scope, for a request of `queue`, which is only compared.
    ///
    /// Fails unless the task is a [plain one](is_plain_task), and if its plug has requests of other
    /// queues in it, which are out of reach in the scope: the I/O below might wait for what they
    /// hold.
    pub(super) fn enter(queue: *const bindings::request_queue) -> Option<Self> {
        let task = Task::current_raw();
        // SAFETY: `task` is the current task, which is alive, and its plug is its own.
        if !is_plain_task() || unsafe { plug_has_others((*task).plug, queue) } {
            return None;
        }
        // SAFETY: `task` is the current task, which is alive, and only the task itself uses its
        // `plug` and `bio_list`, which are valid or null.
        let (plug, bio_list) = unsafe {
            // The flag says that the plug has a time stamp which the scheduler must take away, so
            // there has to be a plug while it is set: `blk_plug_invalidate_ts()`.
            if (*task).flags & bindings::PF_BLOCK_TS != 0 {
                if !(*task).plug.is_null() {
                    (*(*task).plug).cur_ktime = 0;
                }
                (*task).flags &= !bindings::PF_BLOCK_TS;
            }
            // The task may be switched out between the two.
            compiler_fence(SeqCst);
            (
                replace(&mut (*task).plug, null_mut()),
                replace(&mut (*task).bio_list, null_mut()),
            )
        };
        Some(Self {
            plug,
            bio_list,
            _scope: BlockIoScope::enter(),
        })
    }
}

impl Drop for NestedIoScope {
    fn drop(&mut self) {
        let task = Task::current_raw();
        // SAFETY: As in `enter`; the scope is not `Send`, so that this is the task that entered.
        // Whoever has set them in between has taken them back.
        unsafe {
            (*task).plug = self.plug;
            (*task).bio_list = self.bio_list;
        }
    }
}

/// Whether a plug has requests of another queue than `queue`: waiting in it, or allocated for what
/// is to come.
///
/// # Safety
///
/// `plug` must be null or the current task's.
unsafe fn plug_has_others(
    plug: *const bindings::blk_plug,
    queue: *const bindings::request_queue,
) -> bool {
    if plug.is_null() {
        return false;
    }
    // SAFETY: By the safety requirement.
    let heads = unsafe { [(*plug).mq_list.head, (*plug).cached_rqs.head] };
    heads.into_iter().any(|head| {
        let mut rq = head;
        // SAFETY: The requests of a plug are valid, and the link of the last one is null.
        while let Some(request) = unsafe { rq.as_ref() } {
            if !ptr::eq(request.q, queue) {
                return true;
            }
            // SAFETY: It is in a list, so the link is what the union holds.
            rq = unsafe { request.__bindgen_anon_1.rq_next };
        }
        false
    })
}

/// A plug: what the current task submits while it has one waits in it. It leaves together when this
/// is dropped, when the task sleeps, or when there is much of it.
///
/// C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)
///
/// # Invariants
///
/// `inner` is the current task's plug.
#[pin_data(PinnedDrop)]
pub(super) struct Plug<'a> {
    #[pin]
    inner: Opaque<bindings::blk_plug>,
    /// The scope has no other plug.
    _scope: PhantomData<&'a mut NestedIoScope>,
}

impl<'a> Plug<'a> {
    /// Gives the current task a plug for about `nr_ios` requests, which the block layer allocates
    /// together.
    pub(super) fn start(_scope: &'a mut NestedIoScope, nr_ios: usize) -> impl PinInit<Self> {
        // `BLK_MAX_REQUEST_COUNT`, the limit of `blk_start_plug_nr_ios()`, which is not exported.
        const MAX_NR_IOS: usize = 32;

        // CAST: The limit is small.
        let nr_ios = nr_ios.min(MAX_NR_IOS) as u16;
        pin_init!(Self {
            // INVARIANT: In the scope the task has no plug but one that borrows the scope, so that
            // this one becomes its.
            inner <- Opaque::ffi_init(move |plug: *mut bindings::blk_plug| {
                // SAFETY: `plug` is valid for writes and stays where it is until it is dropped.
                unsafe {
                    bindings::blk_start_plug(plug);
                    (*plug).nr_ios = nr_ios;
                }
            }),
            _scope: PhantomData,
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Plug<'_> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. `self` is not `Send`, as the scope is not, so that this is
        // the task that has started it.
        unsafe { bindings::blk_finish_plug(self.inner.get()) };
    }
}

/// Whether the current task may make files as large as it wants (`RLIMIT_FSIZE`).
///
/// A task that may not would get a signal for a write that is not its own.
pub(crate) fn file_size_is_unlimited() -> bool {
    // SAFETY: `current` is alive and has its `signal` for as long as it runs. The limit may be
    // changed meanwhile by others; either value will do.
    let limit = unsafe {
        let signal = (*Task::current_raw()).signal;
        (&raw const (*signal).rlim[bindings::RLIMIT_FSIZE as usize].rlim_cur).read_volatile()
    };
    // `RLIM_INFINITY`.
    limit == !0
}
