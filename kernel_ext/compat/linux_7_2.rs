// SPDX-License-Identifier: GPL-2.0

//! The parts that Linux 7.2 lacks: a file for each difference.

pub(crate) mod bvec;
pub(crate) mod miscdevice;
pub(crate) mod module;
pub(crate) mod pin_init;
pub(crate) mod sync;
