// SPDX-License-Identifier: GPL-2.0

//! Acting with other credentials.
//!
//! C header: [`include/linux/cred.h`](srctree/include/linux/cred.h)

use core::marker::PhantomData;
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
    task::Task,
    types::NotThreadSafe, //
};

/// The credentials that the current task acts with: `get_current_cred()`.
pub(crate) fn current_credential() -> ARef<Credential> {
    // SAFETY: The current task is alive, and only it changes what it acts with; that is valid as
    // long as it isn't changed, which can't happen before the reference is taken.
    unsafe { Credential::from_ptr((*Task::current_raw()).cred) }.into()
}

/// A scope in which the current task acts with other credentials: `override_creds()`.
#[must_use = "the scope ends when this is dropped"]
pub(crate) struct CredentialScope<'a> {
    previous: *const bindings::cred,
    _credential: PhantomData<&'a Credential>,
    /// The scope is the current task's.
    _not_send: NotThreadSafe,
}

impl<'a> CredentialScope<'a> {
    /// Enters the scope.
    pub(crate) fn enter(credential: &'a Credential) -> Self {
        Self {
            // SAFETY: The credentials live for `'a`, and the scope ends before that.
            previous: unsafe { replace(credential.as_ptr()) },
            _credential: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for CredentialScope<'_> {
    fn drop(&mut self) {
        // SAFETY: The task had a reference to these before, and has it still. The scope is not
        // `Send`, so this is the task that entered.
        unsafe { replace(self.previous) };
    }
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
