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

/// Returns the credentials that the current task uses: `get_current_cred()`.
pub(crate) fn current_credential() -> ARef<Credential> {
    // SAFETY: The current task is alive, and only the task itself changes its credentials. They are
    // valid until it changes them, and it can't do so before `into` has taken a reference.
    unsafe { Credential::from_ptr((*Task::current_raw()).cred) }.into()
}

/// Calls `f` with other credentials for the current task: `override_creds()`.
///
/// This takes a closure and does not return a guard: a caller could leak a guard, or drop it before
/// a newer guard. Then the task would use credentials that are freed.
pub(crate) fn with_credentials<R>(credential: &Credential, f: impl FnOnce() -> R) -> R {
    // SAFETY: The credentials are borrowed, so they are valid until they are replaced below.
    let previous = unsafe { replace(credential.as_ptr()) };
    let result = f();
    // SAFETY: The task had a reference to the previous credentials, and still has it.
    unsafe { replace(previous) };
    result
}

/// Replaces the credentials of the current task, and returns the previous ones.
///
/// # Safety
///
/// `credential` must be valid until it is replaced again.
unsafe fn replace(credential: *const bindings::cred) -> *const bindings::cred {
    let task = Task::current_raw();
    // SAFETY: The current task is alive, and only the task itself changes this pointer.
    let cred = unsafe { &raw mut (*task).cred };
    // SAFETY: The pointer is valid, and only the current task writes it.
    let previous = unsafe { *cred };
    // ORDERING: `rcu_assign_pointer()`. Pairs with the `rcu_dereference()` of other tasks, which
    // read the credentials of a task under RCU.
    // SAFETY: The pointer is valid and aligned. Other tasks only read it, and atomically.
    unsafe { Atomic::from_ptr(cred) }.store(credential, Release);
    previous
}
