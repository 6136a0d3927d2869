// SPDX-License-Identifier: GPL-2.0

//! The crate `pin_init`.

use ::pin_init::PinInit;

/// Initialises `slot`.
///
/// # Safety
///
/// `slot` must be valid for writes and uninitialised, must not be used if this fails, and must stay
/// where it is if this succeeds.
pub(crate) unsafe fn raw_try_init<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    // SAFETY: As for this function.
    unsafe { init.__pinned_init(slot) }
}
