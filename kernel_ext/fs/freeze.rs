// SPDX-License-Identifier: GPL-2.0

//! Protection against the freezing of a file system.
//!
//! A file system that is frozen, for a snapshot, say, must not be changed. Whoever changes it holds
//! a protection, for which a freeze waits; and while it is frozen there is none to be had.
//!
//! C header: [`include/linux/fs/super.h`](srctree/include/linux/fs/super.h)

use crate::kernel_ext::task::on_one_cpu;
use kernel::bindings;

/// Tries to get the freeze protection of a file's file system: `sb_start_write_trylock()`.
///
/// It is known to nobody as held by the task, so that another one may give it back.
///
/// # Safety
///
/// `file` must be an open file.
pub(in crate::kernel_ext) unsafe fn try_start_write(file: *mut bindings::file) -> bool {
    // It counts per CPU.
    on_one_cpu(|| {
        // SAFETY: An open file has an inode, which has a super block. The slow path of
        // `percpu_down_read_trylock()` is right always, and the one that is exported.
        unsafe {
            let sb = (*(*file).f_inode).i_sb;
            bindings::__percpu_down_read(&raw mut (*sb).s_writers.rw_sem[0], true, false)
        }
    })
}

/// Gives back the freeze protection that `vfs_iocb_iter_write()` took: `kiocb_end_write()`.
///
/// # Safety
///
/// The protection of `file`'s file system must be held, and be known to nobody as held by a task,
/// which is how `kiocb_start_write()` leaves it.
pub(in crate::kernel_ext) unsafe fn end_write(file: *mut bindings::file) {
    // SAFETY: An open file has an inode, which has a super block.
    let sb = unsafe { (*(*file).f_inode).i_sb };
    // The slow path of `percpu_up_read()` is right always, and the one that is exported. It counts
    // per CPU.
    on_one_cpu(|| {
        // SAFETY: The first semaphore is that of `SB_FREEZE_WRITE`; it is held, by the safety
        // requirement.
        unsafe { bindings::__percpu_up_read(&raw mut (*sb).s_writers.rw_sem[0]) }
    });
}
