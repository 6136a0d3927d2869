// SPDX-License-Identifier: GPL-2.0

//! The atomics of `core`, for the zone model.

use crate::zone::atomics::{
    AtomicBits,
    AtomicCell,
    Atomics, //
};
use std::sync::atomic::{
    AtomicBool,
    AtomicU64,
    Ordering, //
};

pub(crate) struct CoreAtomics;

impl Atomics for CoreAtomics {
    type U64 = AtomicU64;
    type Flag = AtomicBool;
}

macro_rules! impl_atomic_cell {
    ($atomic:ty, $value:ty) => {
        impl AtomicCell<$value> for $atomic {
            fn new(value: $value) -> Self {
                Self::new(value)
            }

            fn load_relaxed(&self) -> $value {
                self.load(Ordering::Relaxed)
            }

            fn load_acquire(&self) -> $value {
                self.load(Ordering::Acquire)
            }

            fn store_release(&self, value: $value) {
                self.store(value, Ordering::Release);
            }
        }
    };
}

impl_atomic_cell!(AtomicU64, u64);
impl_atomic_cell!(AtomicBool, bool);

impl AtomicBits for AtomicU64 {
    fn set(&self, bits: u64) {
        self.fetch_or(bits, Ordering::SeqCst);
    }

    fn take(&self) -> u64 {
        self.swap(0, Ordering::SeqCst)
    }
}
