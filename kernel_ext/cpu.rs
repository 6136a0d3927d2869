// SPDX-License-Identifier: GPL-2.0

//! CPUs.

mod online;
mod pin;

pub(crate) use self::{
    online::num_online_cpus,
    pin::pinned_to_cpu, //
};
