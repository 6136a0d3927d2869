// SPDX-License-Identifier: GPL-2.0

//! Acting with other credentials.
//!
//! C header: [`include/linux/cred.h`](srctree/include/linux/cred.h)

use kernel::{
    bindings,
    cred::Credential,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Release, //
        },
    },
    task::Task, //
};

/// The credentials that the current task acts with: `get_current_cred()`.
pub(crate) fn current_credential() -> ARef<Credential> {
    // SAFETY: The current task is alive, and only it changes what it acts with; that is valid as
    // long as it isn't changed, which can't happen before the reference is taken.
    unsafe { Credential::from_ptr((*Task::current_raw()).cred) }.into()
}

/// Calls `f` while the current task acts with other credentials: `override_creds()`.
///
/// A guard could be forgotten, or be dropped while one that was made later is still there; then the
/// task would act with credentials that are gone.
pub(crate) fn with_credentials<R>(credential: &Credential, f: impl FnOnce() -> R) -> R {
    // SAFETY: The credentials are borrowed until they are replaced below.
    let previous = unsafe { replace(credential.as_ptr()) };
    let result = f();
    // SAFETY: The task had a reference to these before, and has it still.
    unsafe { replace(previous) };
    result
}

/// Exchanges what the current task acts with.
///
/// # Safety
///
/// `credential` must be valid until it is replaced itself.
unsafe fn replace(credential: *const bindings::cred) -> *const bindings::cred {
    let task = Task::current_raw();
    // SAFETY: The current task is alive, and only it changes this pointer.
    let place = unsafe { &raw mut (*task).cred };
    // SAFETY: As above.
    let previous = unsafe { *place };
    // RELEASE: `rcu_assign_pointer()`: others look at the credentials of a task.
    // SAFETY: The pointer is valid and aligned; others only read it, and atomically.
    unsafe { Atomic::from_ptr(place) }.store(credential, Release);
    previous
}
