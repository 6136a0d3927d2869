// SPDX-License-Identifier: GPL-2.0

//! Plugs, and I/O of a task that is submitting I/O already.
//!
//! C header: [`include/linux/blk_plug.h`](srctree/include/linux/blk_plug.h)

use crate::kernel_ext::task::{
    is_plain_task,
    BlockIoScope, //
};
use core::{
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
use kernel::{
    bindings,
    prelude::*,
    task::Task,
    types::Opaque, //
};
use pin_init::stack_pin_init;

/// A [`BlockIoScope`] for a task that is submitting I/O to the device that the scope is for.
///
/// In the scope, the task has neither the plug that is being flushed nor the list of bios that is
/// processed after the task returns from the device above (`bio_list`). So the I/O to the device
/// below starts at once. A bio in the `bio_list` would not start before the task returns. When
/// memory is short, the task could wait for the end of this bio, which is a deadlock.
#[must_use = "the scope ends when this is dropped"]
pub(crate) struct NestedIoScope {
    plug: *mut bindings::blk_plug,
    bio_list: *mut bindings::bio_list,
    _scope: BlockIoScope,
}

impl NestedIoScope {
    /// Enters the scope for a request of `queue`. The pointer is only compared.
    ///
    /// Fails if the task is not [plain](is_plain_task). Also fails if the task's plug has requests
    /// of other queues, or callbacks with bios, as those of md: nothing can submit these in the
    /// scope, and the I/O to the device below may wait for resources that they hold.
    pub(crate) fn enter(queue: *const bindings::request_queue) -> Option<Self> {
        let task = Task::current_raw();
        // SAFETY: `task` is the current task, which is alive, and only the task itself uses its
        // plug.
        if !is_plain_task() || unsafe { plug_has_others((*task).plug, queue) } {
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
            // ORDERING: The flag must be clear before the plug is gone, for the scheduler. It may
            // switch the task out here, on this CPU, so only the compiler must keep the order:
            // `barrier()`.
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

    /// Calls `f` while the task has a plug for about `nr_ios` requests, which the block layer
    /// allocates together. The plug collects the requests that the task submits. It submits them
    /// together when `f` has returned, when the task sleeps, or when it has many requests.
    pub(crate) fn with_plug<R>(&mut self, nr_ios: usize, f: impl FnOnce(&Plug) -> R) -> R {
        stack_pin_init!(let plug = Plug::start(nr_ios));
        f(&plug)
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

/// Whether a plug has requests of a queue other than `queue`, which wait in it or were allocated in
/// advance, or callbacks.
///
/// # Safety
///
/// `plug` must be null or the plug of the current task.
unsafe fn plug_has_others(
    plug: *const bindings::blk_plug,
    queue: *const bindings::request_queue,
) -> bool {
    if plug.is_null() {
        return false;
    }
    // SAFETY: By the safety requirement the plug is valid, and only the current task uses it.
    let heads = unsafe { [(*plug).mq_list.head, (*plug).cached_rqs.head] };
    // SAFETY: As above. The list of callbacks is empty if its head is linked to itself.
    let has_callbacks = unsafe {
        let callbacks = &raw const (*plug).cb_list;
        !ptr::eq((*callbacks).next, callbacks)
    };
    has_callbacks
        || heads.into_iter().any(|head| {
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

/// The plug of the current task. Only [`NestedIoScope::with_plug`] makes it, on its stack.
///
/// # Invariants
///
/// `inner` is the plug of the current task.
#[pin_data(PinnedDrop)]
pub(crate) struct Plug {
    #[pin]
    inner: Opaque<bindings::blk_plug>,
}

impl Plug {
    fn start(nr_ios: usize) -> impl PinInit<Self> {
        // `BLK_MAX_REQUEST_COUNT`, the limit of `blk_start_plug_nr_ios()`, which is not exported.
        const MAX_NR_IOS: usize = 32;

        // CAST: The limit is small.
        let nr_ios = nr_ios.min(MAX_NR_IOS) as u16;
        pin_init!(Self {
            // INVARIANT: In the scope, the task has no plug but that of `with_plug`, which borrows
            // the scope exclusively. So the task has no plug now, and `blk_start_plug` sets this
            // one.
            inner <- Opaque::ffi_init(move |plug: *mut bindings::blk_plug| {
                // SAFETY: `plug` is valid for writes and pinned until it is dropped.
                unsafe {
                    bindings::blk_start_plug(plug);
                    (*plug).nr_ios = nr_ios;
                }
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Plug {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is the plug of the current task.
        unsafe { bindings::blk_finish_plug(self.inner.get()) };
    }
}
