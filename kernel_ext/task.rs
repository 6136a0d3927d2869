// SPDX-License-Identifier: GPL-2.0

//! Scopes for a task that does the I/O of a block device, and facts about the task and its CPUs.
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
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    task::Task,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use pin_init::stack_pin_init;

/// The number of online CPUs: `num_online_cpus()`. It may change at any time.
pub(crate) fn num_online_cpus() -> u32 {
    #[cfg(CONFIG_SMP)]
    {
        // SAFETY: The variable is always there, and all accesses to it are atomic.
        let nr = unsafe { Atomic::from_ptr(&raw mut bindings::__num_online_cpus.counter) };
        nr.load(Relaxed).unsigned_abs()
    }
    #[cfg(not(CONFIG_SMP))]
    1
}

/// Calls `f` with interrupts disabled, so that it stays on its CPU. With `PREEMPT_RT` a spin lock
/// only disables migration: `f` stays on its CPU, but interrupts and other tasks may interrupt it.
///
/// This locks a new spin lock without other users, because the kernel crate offers this lock in all
/// kernels.
pub(crate) fn pinned_to_cpu<R>(f: impl FnOnce() -> R) -> R {
    stack_pin_init!(let here = new_spinlock_irq!(()));
    let _here = here.lock();
    f()
}

/// A scope for a task that does the I/O of a block device.
///
/// In the scope, no allocation starts I/O to free memory, not even deep in a file system: that I/O
/// could be for the same device, which waits for the allocation. And the task is not throttled for
/// the dirty pages of the device above, because it is the task that cleans them. It is throttled
/// only for the dirty pages of the device that it writes to.
///
/// This is `memalloc_noio_save()` and, as in `drivers/block/loop.c`, `PF_LOCAL_THROTTLE`.
#[must_use = "the scope ends when this is dropped"]
pub(crate) struct BlockIoScope {
    /// The flags of [`Self::FLAGS`] that were set before.
    previous: u32,
    /// The scope belongs to the current task, so it must not move to another one.
    _not_send: NotThreadSafe,
}

impl BlockIoScope {
    const FLAGS: u32 = bindings::PF_MEMALLOC_NOIO | bindings::PF_LOCAL_THROTTLE;

    /// Enters the scope.
    pub(crate) fn enter() -> Self {
        let task = Task::current_raw();
        // SAFETY: `task` is the current task, which is alive. Only the task itself changes its
        // `flags`, and the scheduler when it switches the task out, which loses no change.
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
        // SAFETY: As in `enter`. `self` is not `Send`, so this is the task that entered the scope.
        unsafe { (*task).flags = ((*task).flags & !Self::FLAGS) | self.previous };
    }
}

/// Whether the current task may enter a file system for a request that it queues itself. Only a
/// plain user task may do so:
///
/// - Other tasks may wait for a kernel thread: for a kworker of the block layer, whose workqueue
///   has a rescuer, for the commit thread of a journal, or for the flusher of a page cache.
/// - A task with `PF_MEMALLOC` reclaims memory. It may use the memory reserves, and a file system
///   could drain them. It may also hold locks that an allocation of the file system below waits
///   for.
/// - A task with `PF_MEMALLOC_NOFS` or a `journal_info` is inside a transaction. The file system
///   below may be of the same type, and may mistake the transaction for its own. Or it may wait for
///   space in its log while it blocks the file system above.
/// - A task with `PF_MEMALLOC_NOIO` or `PF_LOCAL_THROTTLE` already works for a block device, for
///   example for a zoned disk on files on a zoned disk. The stack has room for one file system
///   inside another, but not for any number of them.
///
/// `IOCB_NOWAIT` does not help: a file system may still allocate memory, and it completes some
/// writes in the task that submits them.
pub(crate) fn is_plain_task() -> bool {
    const NOT_PLAIN: u32 = bindings::PF_KTHREAD
        | bindings::PF_WQ_WORKER
        | bindings::PF_MEMALLOC
        | bindings::PF_MEMALLOC_NOFS
        | bindings::PF_MEMALLOC_NOIO
        | bindings::PF_LOCAL_THROTTLE;
    let task = Task::current_raw();
    // SAFETY: `task` is the current task, which is alive. Only the task itself uses its
    // `journal_info` and sets these flags.
    unsafe { (*task).flags & NOT_PLAIN == 0 && (*task).journal_info.is_null() }
}

/// A [`BlockIoScope`] for a task that is submitting I/O to the device that the scope is for.
///
/// In the scope, the task has neither the plug that is being flushed nor the list of bios that is
/// processed after the task returns from the device above (`bio_list`). So the I/O to the device
/// below starts at once. A bio in the `bio_list` would not start before the task returns. When
/// memory is short, the task could wait for the end of this bio, which is a deadlock.
#[must_use = "the scope ends when this is dropped"]
pub(super) struct NestedIoScope {
    plug: *mut bindings::blk_plug,
    bio_list: *mut bindings::bio_list,
    _scope: BlockIoScope,
}

impl NestedIoScope {
    /// Enters the scope for a request of `queue`. The pointer is only compared.
    ///
    /// Fails if the task is not [plain](is_plain_task). Also fails if the task's plug has requests
    /// of other queues: nothing can submit these requests in the scope, and the I/O to the device
    /// below may wait for resources that they hold.
    pub(super) fn enter(queue: *const bindings::request_queue) -> Option<Self> {
        let task = Task::current_raw();
        // SAFETY: `task` is the current task, which is alive, and only the task itself uses its
        // plug.
        if !is_plain_task() || unsafe { plug_has_other_queue((*task).plug, queue) } {
            return None;
        }
        // SAFETY: `task` is the current task, which is alive. Only the task itself uses its `plug`
        // and `bio_list`, which are valid or null.
        let (plug, bio_list) = unsafe {
            // While this flag is set, the plug has a time stamp that the scheduler must clear, so a
            // task with the flag must have a plug: `blk_plug_invalidate_ts()`.
            if (*task).flags & bindings::PF_BLOCK_TS != 0 {
                if !(*task).plug.is_null() {
                    (*(*task).plug).cur_ktime = 0;
                }
                (*task).flags &= !bindings::PF_BLOCK_TS;
            }
            // The scheduler may switch the task out here: the flag must be clear before the plug is
            // gone.
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
        // SAFETY: As in `enter`. The scope is not `Send`, so this is the task that entered it. Code
        // that has set `plug` or `bio_list` in the scope has reset them.
        unsafe {
            (*task).plug = self.plug;
            (*task).bio_list = self.bio_list;
        }
    }
}

/// Whether a plug has requests of a queue other than `queue`: requests that wait in it, or requests
/// that it has allocated in advance.
///
/// # Safety
///
/// `plug` must be null or the plug of the current task.
unsafe fn plug_has_other_queue(
    plug: *const bindings::blk_plug,
    queue: *const bindings::request_queue,
) -> bool {
    if plug.is_null() {
        return false;
    }
    // SAFETY: By the safety requirement the plug is valid, and only the current task uses it.
    let heads = unsafe { [(*plug).mq_list.head, (*plug).cached_rqs.head] };
    heads.into_iter().any(|head| {
        let mut rq = head;
        // SAFETY: The requests of a plug are valid, and the link of the last one is null.
        while let Some(request) = unsafe { rq.as_ref() } {
            if !ptr::eq(request.q, queue) {
                return true;
            }
            // SAFETY: The request is in a list, so the active field of the union is the link.
            rq = unsafe { request.__bindgen_anon_1.rq_next };
        }
        false
    })
}

/// A plug of the current task. It collects the requests that the task submits, and submits them
/// together when it is dropped, when the task sleeps, or when it has many requests.
///
/// C header: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)
///
/// # Invariants
///
/// `inner` is the plug of the current task.
#[pin_data(PinnedDrop)]
pub(super) struct Plug<'a> {
    #[pin]
    inner: Opaque<bindings::blk_plug>,
    /// The borrow excludes another plug in the same scope.
    _scope: PhantomData<&'a mut NestedIoScope>,
}

impl<'a> Plug<'a> {
    /// Gives the current task a plug for about `nr_ios` requests. The block layer allocates these
    /// requests together.
    pub(super) fn start(_scope: &'a mut NestedIoScope, nr_ios: usize) -> impl PinInit<Self> {
        // `BLK_MAX_REQUEST_COUNT`, the limit of `blk_start_plug_nr_ios()`, which is not exported.
        const MAX_NR_IOS: usize = 32;

        // CAST: The limit is small.
        let nr_ios = nr_ios.min(MAX_NR_IOS) as u16;
        pin_init!(Self {
            // INVARIANT: In the scope, the task can only have a plug that borrows the scope. This
            // borrows it exclusively, so the task has no plug, and `blk_start_plug` sets this one.
            inner <- Opaque::ffi_init(move |plug: *mut bindings::blk_plug| {
                // SAFETY: `plug` is valid for writes and pinned until it is dropped.
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
        // SAFETY: By the type invariant it is the plug of the task that started it. `self` is not
        // `Send`, because the scope is not, so this is the same task.
        unsafe { bindings::blk_finish_plug(self.inner.get()) };
    }
}

/// Whether the current task has no limit on the size of its files (`RLIMIT_FSIZE`).
///
/// A task with a limit would get a signal (`SIGXFSZ`) for a write to a zone file that the driver
/// makes on its behalf.
pub(crate) fn file_size_is_unlimited() -> bool {
    // SAFETY: `current` is alive and has its `signal` for as long as it runs. Other tasks may
    // change the limit concurrently; both the old and the new value are correct.
    let limit = unsafe {
        let signal = (*Task::current_raw()).signal;
        (&raw const (*signal).rlim[bindings::RLIMIT_FSIZE as usize].rlim_cur).read_volatile()
    };
    // `RLIM_INFINITY`.
    limit == !0
}
