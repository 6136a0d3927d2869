// SPDX-License-Identifier: GPL-2.0

//! The atomics of a zone, which tasks share without a lock.
//!
//! The model names each memory ordering that it needs. The user of the model provides the atomics:
//! the driver uses those of the kernel, the host tests use those of `core`, and `tests/loom` uses
//! those of a model checker, which tries the interleavings.

/// A value of type `T` that tasks share.
pub(crate) trait AtomicCell<T> {
    fn new(value: T) -> Self;

    /// A load without an ordering.
    fn load_relaxed(&self) -> T;

    /// A load with acquire ordering. The caller sees everything that happened before the
    /// [`Self::store_release`] of the loaded value.
    fn load_acquire(&self) -> T;

    /// A store with release ordering. A [`Self::load_acquire`] that returns `value` sees everything
    /// that happened before the store.
    fn store_release(&self, value: T);
}

/// A set of 64 bits that tasks share. Both methods are full barriers.
pub(crate) trait AtomicBits: AtomicCell<u64> {
    /// Sets bits.
    fn set(&self, bits: u64);

    /// Clears all bits. Returns the bits that were set.
    fn take(&self) -> u64;
}

/// A family of atomics.
pub(crate) trait Atomics {
    type U64: AtomicCell<u64>;
    type Flag: AtomicCell<bool>;
}
