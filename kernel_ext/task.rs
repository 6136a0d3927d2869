// SPDX-License-Identifier: GPL-2.0

//! Scopes for a task that does the I/O of a block device, and facts about the current task.
//!
//! C header: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h)

use kernel::{
    bindings,
    task::Task,
    types::NotThreadSafe, //
};

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

/// Whether the current task has no limit on the size of its files (`RLIMIT_FSIZE`).
///
/// A task with a limit would get a signal (`SIGXFSZ`) for a write that a driver makes to a file of
/// its own on behalf of the task.
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
