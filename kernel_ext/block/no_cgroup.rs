// SPDX-License-Identifier: GPL-2.0

//! The interface of `block::cgroup` for a kernel that does not charge I/O to cgroups.

use kernel::bindings::bio;

/// Calls `f`.
///
/// # Safety
///
/// The same as in `cgroup.rs`.
pub(crate) unsafe fn charge<R>(_bio: *mut bio, f: impl FnOnce() -> R) -> R {
    f()
}

/// Whether `bio` is charged to the cgroup of the current task, as everything is.
///
/// # Safety
///
/// The same as in `cgroup.rs`.
pub(crate) unsafe fn is_of_current(_bio: *mut bio) -> bool {
    true
}

/// Whether two bios are charged to the same cgroup, as all are.
///
/// # Safety
///
/// The same as in `cgroup.rs`.
pub(crate) unsafe fn is_same(_one: *const bio, _other: *const bio) -> bool {
    true
}
