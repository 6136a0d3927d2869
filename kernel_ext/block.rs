// SPDX-License-Identifier: GPL-2.0

//! The block layer.

#[cfg(CONFIG_BLK_CGROUP)]
mod cgroup;
#[cfg(not(CONFIG_BLK_CGROUP))]
mod no_cgroup;
pub(crate) mod plug;
mod status;
pub(crate) mod zoned;
pub(crate) mod zoned_mq;

#[cfg(not(CONFIG_BLK_CGROUP))]
use self::no_cgroup as cgroup;
pub(crate) use self::status::Status;
