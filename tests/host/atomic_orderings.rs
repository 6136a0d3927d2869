// SPDX-License-Identifier: GPL-2.0

//! The atomics of the zone model, with the orderings that the driver uses: for `core` in the host
//! tests, and for loom.

use std::sync::atomic::Ordering;

/// The accesses that order other accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// `AtomicCell::load_acquire`.
    Load,
    /// `AtomicCell::store_release`.
    Store,
    /// `AtomicBits::set`.
    Set,
    /// `AtomicBits::take`.
    Take,
}

impl Access {
    /// Its ordering. A full barrier of the kernel orders more than `AcqRel`, but the model needs no
    /// more, and loom knows no more.
    pub(crate) fn ordering(self) -> Ordering {
        match self {
            Self::Load => Ordering::Acquire,
            Self::Store => Ordering::Release,
            Self::Set | Self::Take => Ordering::AcqRel,
        }
    }
}

/// Implements `AtomicCell` for an atomic. `$ordering` returns the ordering of an [`Access`].
macro_rules! impl_atomic_cell {
    ($atomic:ty, $value:ty, $ordering:path) => {
        impl $crate::zone::atomics::AtomicCell<$value> for $atomic {
            fn new(value: $value) -> Self {
                Self::new(value)
            }

            fn load_relaxed(&self) -> $value {
                self.load(Ordering::Relaxed)
            }

            fn load_acquire(&self) -> $value {
                self.load($ordering(Access::Load))
            }

            fn store_release(&self, value: $value) {
                self.store(value, $ordering(Access::Store));
            }
        }
    };
}
pub(crate) use impl_atomic_cell;

/// Implements `AtomicBits` for an atomic.
///
/// The driver sets bits in a loop around a `cmpxchg`. Only the one that succeeds orders anything,
/// so this is the same. loom would not try all interleavings of the loop: it only remembers the
/// last access to an atomic, which would be that of the loop itself.
macro_rules! impl_atomic_bits {
    ($atomic:ty, $ordering:path) => {
        impl $crate::zone::atomics::AtomicBits for $atomic {
            fn set(&self, bits: u64) {
                self.fetch_or(bits, $ordering(Access::Set));
            }

            fn take(&self) -> u64 {
                self.swap(0, $ordering(Access::Take))
            }
        }
    };
}
pub(crate) use impl_atomic_bits;
