// SPDX-License-Identifier: GPL-2.0

//! The locking of a sequential zone in loom, which tries the interleavings of a few tasks, and the
//! values that each load may see.
//!
//! [`Zone`] takes the same locks and makes the same calls as `sequential.rs`, with loom's locks and
//! atomics in place of the kernel's. The queue, the durability and the set of dirty zones are the
//! code of the driver. A write under way is a value. The test passes it to [`Zone::write_done`].

#![allow(dead_code, reason = "only the driver uses some of the code")]
#![deny(unsafe_code)]

/// The zone model, where a driver's root would find it.
#[path = "../.."]
mod driver {
    pub(crate) mod zone;
}
pub(crate) use driver::*;

#[cfg(test)]
#[path = "../host/atomic_orderings.rs"]
mod atomic_orderings;
#[cfg(test)]
mod interleavings;
