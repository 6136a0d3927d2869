// SPDX-License-Identifier: GPL-2.0

//! Protection against the freezing of a file system.
//!
//! A frozen file system must not change, for example during a snapshot. Code that changes a file
//! system holds the freeze protection. A freeze waits until all protections are dropped, and while
//! the file system is frozen, no code can take a protection.
//!
//! C header: [`include/linux/fs/super.h`](srctree/include/linux/fs/super.h)

use crate::kernel_ext::cpu::pinned_to_cpu;
use kernel::bindings;

/// Tries to take the freeze protection of a file's file system: `sb_start_write_trylock()`.
///
/// Lockdep does not record the current task as the holder, so another task may drop the protection.
///
/// # Safety
///
/// `file` must be an open file.
pub(crate) unsafe fn try_start_write(file: *mut bindings::file) -> bool {
    // The semaphore counts readers per CPU.
    pinned_to_cpu(|| {
        // SAFETY: An open file has an inode, which has a super block. This is the slow path of
        // `percpu_down_read_trylock()`: it is always correct, and it is exported.
        unsafe {
            let sb = (*(*file).f_inode).i_sb;
            bindings::__percpu_down_read(&raw mut (*sb).s_writers.rw_sem[0], true, false)
        }
    })
}

/// Drops a freeze protection, from [`try_start_write`] or from `vfs_iocb_iter_write()`:
/// `kiocb_end_write()`.
///
/// # Safety
///
/// `file` must be an open file, and the freeze protection of its file system must be held. Lockdep
/// must not record a task as its holder, as after `kiocb_start_write()`.
pub(crate) unsafe fn end_write(file: *mut bindings::file) {
    // SAFETY: An open file has an inode, which has a super block.
    let sb = unsafe { (*(*file).f_inode).i_sb };
    // The slow path of `percpu_up_read()` is always correct, and it is exported. The semaphore
    // counts readers per CPU.
    pinned_to_cpu(|| {
        // SAFETY: The first semaphore is that of `SB_FREEZE_WRITE`. By the safety requirement it is
        // held.
        unsafe { bindings::__percpu_up_read(&raw mut (*sb).s_writers.rw_sem[0]) }
    });
}
