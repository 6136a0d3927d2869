// SPDX-License-Identifier: GPL-2.0

//! Work queues of one's own.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    fmt,
    prelude::*,
    str::CString,
    workqueue::Queue, //
};

/// A workqueue that is destroyed when this is dropped, after all of its work has been done.
///
/// It must not be dropped by an item of its own work, which would wait for itself.
///
/// # Invariants
///
/// `self.0` is a workqueue that was allocated by [`Self::allocate`].
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A workqueue may be used and destroyed by any task.
unsafe impl Send for OwnedQueue {}
// SAFETY: All methods of a workqueue may be called by many tasks at once.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Allocates a workqueue that is bound to no CPU (`WQ_UNBOUND`) and runs as many items at once
    /// as the kernel allows.
    pub(crate) fn new(name: fmt::Arguments<'_>) -> Result<Self> {
        Self::allocate(name, bindings::wq_flags_WQ_UNBOUND)
    }

    /// Like [`Self::new`], but it makes progress when memory is short (`WQ_MEM_RECLAIM`). So its
    /// work must not wait for that of a workqueue which doesn't.
    pub(crate) fn new_reclaim(name: fmt::Arguments<'_>) -> Result<Self> {
        Self::allocate(
            name,
            bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
        )
    }

    fn allocate(name: fmt::Arguments<'_>, flags: bindings::wq_flags) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        // SAFETY: The format has one conversion, `%s`, and the one argument is a C string; it is
        // copied.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags,
                // CAST: A small constant.
                bindings::wq_consts_WQ_UNBOUND_MAX_ACTIVE as c_int,
                name.as_char_ptr(),
            )
        };
        // INVARIANT: It was allocated just now.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant it is a workqueue, and it lives as long as `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is a workqueue of ours. Nothing can be queued any more,
        // since that takes a borrow of `self`; what was queued is done by this call.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
