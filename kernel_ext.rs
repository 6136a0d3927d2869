// SPDX-License-Identifier: GPL-2.0

//! Abstractions that the kernel crate lacks; the tree mirrors `rust/kernel`.
//!
//! All `unsafe` code of this driver is in this module, in the file for the C object that it wraps.
//! Each file reads like a patch to the kernel crate, and knows nothing of the driver: `patch/make`
//! makes such patches, in which `crate::kernel_ext` is `kernel`. The crate's own abstraction
//! replaces a file as soon as there is one. If a pending patch series adds an abstraction (the
//! zoned block device support for `rnull`), the file uses its names.

pub(crate) mod block;
#[cfg(all(CONFIG_BLK_CGROUP, CONFIG_MEMCG))]
mod cgroup;
pub(crate) mod compat;
pub(crate) mod cpu;
pub(crate) mod cred;
pub(crate) mod debugfs;
pub(crate) mod fmt;
pub(crate) mod fs;
pub(crate) mod miscdevice;
pub(crate) mod module;
pub(crate) mod task;
pub(crate) mod workqueue;
