// SPDX-License-Identifier: GPL-2.0

//! Abstractions that the kernel crate lacks; the tree mirrors `rust/kernel`.
//!
//! All `unsafe` of this driver is below this module, beside the C object that it wraps. Each file
//! is meant to read as a patch to the kernel crate and to be replaced by the crate's own
//! abstraction when there is one; where a series that adds one is under way (the zoned block device
//! support for `rnull`), its names are used.

pub(crate) mod block;
#[cfg(all(CONFIG_BLK_CGROUP, CONFIG_MEMCG))]
mod cgroup;
pub(crate) mod compat;
pub(crate) mod cred;
pub(crate) mod debugfs;
pub(crate) mod fmt;
pub(crate) mod fs;
pub(crate) mod miscdevice;

pub(crate) mod module;
pub(crate) mod task;
pub(crate) mod workqueue;
