// SPDX-License-Identifier: GPL-2.0

//! The parts that the kernel crate of Linux 7.2 lacks.

pub(crate) mod miscdevice;
pub(crate) mod module;
pub(crate) mod pin_init;
pub(crate) mod sync;
