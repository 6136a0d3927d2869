// SPDX-License-Identifier: GPL-2.0

//! The locking of a sequential zone in loom, which tries the interleavings of a few tasks, and the
//! values that each load may see.
//!
//! [`Zone`] locks and calls as `sequential.rs` does, with loom's locks and atomics in place of the
//! kernel's. The queue, what is durable, and the set of dirty zones are the driver's own. A write
//! under way is a value that somebody has to give to [`Zone::write_done`].

#![allow(dead_code, reason = "what only the driver uses is unused here")]
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
