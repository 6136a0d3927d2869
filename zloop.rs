// SPDX-License-Identifier: GPL-2.0

//! Zoned loop block device.
//!
//! A host-managed zoned disk made of one plain file per zone. It is added and removed by commands
//! that are written to `/dev/zloop-control`, and it takes over a device of the C driver as it is,
//! and the other way round.
//!
//! How a request travels:
//!
//! ```text
//!   device.rs      queue_rq: which zone, and what kind of request?
//!                     |                                   |
//!                 reads, writes to              all that changes a sequential zone
//!                 conventional zones, discard,            |
//!                 flush                                   |
//!                     |                                   v
//!                     |                        zone/queue.rs  one at a time
//!   command.rs     at once, or by its          sequential.rs  at once, or by a work item of
//!   zeroing.rs     own work item                          |   the zone's
//!                     |                                   |   zone.rs: is it allowed?
//!                     +----------------+------------------+
//!                                      v
//!   zone_file.rs                   the zone's file
//! ```
//!
//! At once means: by the task that queues the request, which small reads and writes mostly are.
//!
//! A reset of all zones, in `reset_all.rs`, gives each its part through its queue.
//!
//! `zones.rs` has the zones, most of which nothing was done to, and `common.rs` what they have in
//! common: `zone/dirty_zones.rs` which of them a flush must look at, `ahead.rs` which have space
//! allocated for what is to come. `zone_traits.rs` ties the zone model to requests and atomics of
//! the kernel. `directory.rs` finds or makes the directory of a device that is added, and
//! `backing.rs` the files in it, whose sizes `zone_file_sizes.rs` looks up. `message.rs` is how all
//! of them speak to the kernel's log.
//!
//! What is there to make those above fail: `declare.rs` makes zones read-only or offline, and
//! `inject.rs` has requests fail, get lost or take longer.
//!
//! `undo.rs` keeps what a conventional zone had when it was last flushed, for a power failure.
//!
//! `counters.rs` counts what ends, and `status.rs` shows it, and the zones, in debugfs.
//!
//! `options.rs` with `options/`, `zone_file_name.rs`, `zone.rs` with `zone/`, `fault.rs`,
//! `power_failure.rs`, `block_set.rs` and `team.rs` are the rules: they know no kernel type and are
//! tested on their own.
//! `kernel_ext/` holds what the kernel crate lacks, and all `unsafe`.
//!
//! Lock order, outermost first. The first three may be held across I/O, the other three never:
//!
//! 1. the registry of devices (`control.rs`); it is not held while a device is made or removed
//! 2. the flush lock of a device, and the one for what is declared of its zones
//! 3. the lock around the syncs of a sequential zone
//! 4. a sequential zone's state; never those of two zones
//! 5. the open set of a device
//! 6. a zone's queue; taken by completions, so interrupts are off
//!
//! A conventional zone's undo log comes after the second, and is held across I/O as well. So is
//! what says whether files were made since the directory was synced (`zone_file.rs`), with nothing
//! but the directory inside it, and what a sync of a zone's file has said, with nothing but a
//! zone's state inside it. Nothing of the others is locked inside these.
//!
//! What guards a zone's file, the directory of the files, which of them are open, who has space
//! ahead, the resets of all zones, the faults, or an entry of the zone table is locked for a moment
//! with nothing inside it.

#[deny(unsafe_code)]
mod ahead;
#[deny(unsafe_code)]
mod backing;
#[deny(unsafe_code)]
mod block_set;
#[deny(unsafe_code)]
mod command;
#[deny(unsafe_code)]
mod common;
#[deny(unsafe_code)]
mod control;
#[deny(unsafe_code)]
mod counters;
#[deny(unsafe_code)]
mod declare;
#[deny(unsafe_code)]
mod device;
#[deny(unsafe_code)]
mod directory;
#[deny(unsafe_code)]
mod fault;
#[deny(unsafe_code)]
mod inject;
mod kernel_ext;
#[deny(unsafe_code)]
mod lanes;
#[deny(unsafe_code)]
mod message;
#[deny(unsafe_code)]
mod options;
#[deny(unsafe_code)]
mod power_failure;
#[deny(unsafe_code)]
mod reset_all;
#[deny(unsafe_code)]
mod sequential;
#[deny(unsafe_code)]
mod sharing;
#[deny(unsafe_code)]
mod status;
#[deny(unsafe_code)]
mod team;
#[deny(unsafe_code)]
mod undo;
#[deny(unsafe_code)]
mod zeroing;
#[deny(unsafe_code)]
mod zone;
#[deny(unsafe_code)]
mod zone_file;
#[deny(unsafe_code)]
mod zone_file_name;
#[deny(unsafe_code)]
mod zone_file_sizes;
#[deny(unsafe_code)]
mod zone_traits;
#[deny(unsafe_code)]
mod zones;

use kernel::prelude::*;
use kernel_ext::module::Unloadable;

module! {
    type: UnloadableZloop,
    name: "zloop",
    authors: ["The zloop developers"],
    description: "Zoned loop block device",
    license: "GPL",
}

/// The module. Its code frees a removed disk, which may be the last that keeps it.
type UnloadableZloop = Unloadable<Zloop>;

/// What is there while the module is loaded.
#[pin_data]
struct Zloop {
    #[pin]
    control: control::Control,
}

impl kernel::InPlaceModule for Zloop {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            control <- control::Control::new(),
        })
    }
}
