// SPDX-License-Identifier: GPL-2.0

//! The crate `pin_init`.

use ::pin_init::PinInit;

/// Initialises `slot`.
///
/// # Safety
///
/// `slot` must be valid for writes and uninitialised. If this fails, `slot` must not be used. If
/// this succeeds, `slot` must not move.
pub(crate) unsafe fn raw_try_init<T, E>(slot: *mut T, init: impl PinInit<T, E>) -> Result<(), E> {
    // SAFETY: This function has the same safety requirements.
    unsafe { init.__pinned_init(slot) }
}
