// SPDX-License-Identifier: GPL-2.0

//! The atomics of `core`, for the zone model.

use crate::{
    atomic_orderings::{
        impl_atomic_bits,
        impl_atomic_cell,
        Access, //
    },
    zone::atomics::Atomics, //
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

impl_atomic_cell!(AtomicU64, u64, Access::ordering);
impl_atomic_cell!(AtomicBool, bool, Access::ordering);
impl_atomic_bits!(AtomicU64, Access::ordering);
