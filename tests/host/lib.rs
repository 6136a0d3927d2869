// SPDX-License-Identifier: GPL-2.0

//! The driver's pure files as a crate of the host, so that their tests run without a kernel, and
//! the tests that need more than `core`.

#![allow(dead_code, unused_imports, reason = "only the driver uses the rest")]
#![deny(unsafe_code)]

/// The driver's files. An inline module, so that each finds its folder beside it.
#[path = "../.."]
mod tree {
    pub(crate) mod fault;
    pub(crate) mod options;
    pub(crate) mod zone;

    /// Those of its files that are pure.
    pub(crate) mod backing {
        pub(crate) mod file_name;
        pub(crate) mod parallelism_probe;
    }

    /// Those of its files that are pure.
    pub(crate) mod device {
        pub(crate) mod block_set;
        pub(crate) mod sharing;
    }
}
/// As in the driver, they are at the root of the crate.
pub(crate) use tree::*;

#[cfg(test)]
mod atomic_orderings;
#[cfg(test)]
mod core_atomics;
#[cfg(test)]
mod documented;
#[cfg(test)]
mod durability_exhaustive;
#[cfg(test)]
mod durability_model;
#[cfg(test)]
mod queue_exhaustive;
#[cfg(test)]
mod zone_exhaustive;
#[cfg(test)]
mod zone_model;
#[cfg(test)]
mod zone_rules;
