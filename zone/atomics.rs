// SPDX-License-Identifier: GPL-2.0

//! The atomics that a zone shares between tasks without a lock.
//!
//! The model names each ordering that it needs, and its user provides the atomics: the driver has
//! the kernel's, the host tests have those of `core`, and `tests/loom` has those of a model checker
//! that tries the interleavings.

/// A value of type `T` that tasks share.
pub(crate) trait AtomicCell<T> {
    fn new(value: T) -> Self;

    /// A load without an ordering.
    fn load_relaxed(&self) -> T;

    /// A load that sees all that happened before the [`Self::store_release`] of its value.
    fn load_acquire(&self) -> T;

    /// A store. The [`Self::load_acquire`] that sees its value sees all that happened before it.
    fn store_release(&self, value: T);
}

/// A set of 64 bits that tasks share. Both methods are full barriers.
pub(crate) trait AtomicBits: AtomicCell<u64> {
    /// Sets bits.
    fn set(&self, bits: u64);

    /// Clears all bits and returns those that were set.
    fn take(&self) -> u64;
}

/// A family of atomics.
pub(crate) trait Atomics {
    type U64: AtomicCell<u64>;
    type Flag: AtomicCell<bool>;
}
