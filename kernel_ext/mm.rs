// SPDX-License-Identifier: GPL-2.0

//! Allocation scopes.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use kernel::{
    bindings,
    task::Task,
    types::NotThreadSafe, //
};

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
        // SAFETY: `task` is the current task, which is alive, and only the task itself changes its
        // `flags`.
        let flags = unsafe { &mut (*task).flags };
        let previous = *flags & Self::FLAGS;
        *flags |= Self::FLAGS;
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
        let flags = unsafe { &mut (*task).flags };
        *flags = (*flags & !Self::FLAGS) | self.previous;
    }
}
