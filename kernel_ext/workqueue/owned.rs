// SPDX-License-Identifier: GPL-2.0

//! Workqueues that a driver owns.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings, fmt,
    prelude::*,
    str::CString,
    workqueue::{
        self,
        RawWorkItem, //
    },
};

/// A workqueue that takes no delayed work, so that it can be destroyed.
///
/// It wraps the kernel crate's type. A timer queues delayed work, and `destroy_workqueue()` does
/// not wait for such timers.
#[repr(transparent)]
pub(crate) struct ImmediateQueue(workqueue::Queue);

impl ImmediateQueue {
    /// Enqueues a work item.
    pub(crate) fn enqueue<W, const ID: u64>(&self, work: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        self.0.enqueue(work)
    }
}

/// A workqueue that the driver owns. Dropping it runs all queued work and then destroys the
/// workqueue.
///
/// A work item of this workqueue must not drop it: the item would wait for itself.
///
/// # Invariants
///
/// `self.0` is a workqueue that was allocated by [`Self::allocate`], and `self` owns it.
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Any task may use and destroy a workqueue.
unsafe impl Send for OwnedQueue {}
// SAFETY: Many tasks may call all methods of a workqueue concurrently.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Allocates a workqueue that is not bound to a CPU (`WQ_UNBOUND`). It runs as many items in
    /// parallel as the kernel allows (`WQ_UNBOUND_MAX_ACTIVE`).
    pub(crate) fn new(name: fmt::Arguments<'_>) -> Result<Self> {
        Self::allocate(name, bindings::wq_flags_WQ_UNBOUND)
    }

    /// Like [`Self::new`], but the workqueue makes progress when memory is short
    /// (`WQ_MEM_RECLAIM`). So its work must not wait for work on a workqueue without this
    /// guarantee.
    pub(crate) fn new_reclaim(name: fmt::Arguments<'_>) -> Result<Self> {
        Self::allocate(
            name,
            bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
        )
    }

    fn allocate(name: fmt::Arguments<'_>, flags: bindings::wq_flags) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        // SAFETY: The format has one conversion, `%s`, and its only argument is a C string. The
        // function copies the string.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags,
                // CAST: A small constant.
                bindings::wq_consts_WQ_UNBOUND_MAX_ACTIVE as c_int,
                name.as_char_ptr(),
            )
        };
        // INVARIANT: The workqueue was allocated above.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits until all work that is queued now has finished. That work must not call this.
    pub(crate) fn flush(&self) {
        // SAFETY: The workqueue is valid by the type invariant.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = ImmediateQueue;

    fn deref(&self) -> &ImmediateQueue {
        // SAFETY: By the type invariant the pointer is to a workqueue, which lives as long as
        // `self`.
        let queue = unsafe { workqueue::Queue::from_raw(self.0.as_ptr()) };
        // SAFETY: `ImmediateQueue` is a transparent wrapper of `workqueue::Queue`.
        unsafe { &*ptr::from_ref(queue).cast::<ImmediateQueue>() }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the workqueue. No new work can be queued, because
        // queueing borrows `self`. This call runs the work that is queued already.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
