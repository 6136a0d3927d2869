// SPDX-License-Identifier: GPL-2.0

//! Zoned loop block device.
//!
//! A host-managed zoned disk made of one plain file per zone. It is added and removed by commands
//! that are written to `/dev/zloop-control`, and it takes over a device of the C driver as it is,
//! and the other way round.
//!
//! The way of a request:
//!
//! ```text
//!   device.rs      queue_rq: which zone, and which kind of request?
//!                     |                                   |
//!                 reads, writes to              every change of a sequential zone
//!                 conventional zones,                     |
//!                 discard, flush                          |
//!                     |                                   v
//!                     |                   zone/queue.rs          one at a time
//!   device/io.rs        at once, or a     device/sequential.rs   at once, or a work item of
//!   device/lanes.rs     work item of               |             the zone
//!   device/discard.rs   the request                |   zone.rs:  is it allowed?
//!                     +----------------+-----------+
//!                                      v
//!   backing/zone_file.rs         the zone's file
//! ```
//!
//! "At once" means: the task that queues the request carries it out. Small reads and writes mostly
//! need no work item.
//!
//! The folders, from the top to the bottom. A file imports from its own folder and from those below
//! it:
//!
//! - `control.rs`: `/dev/zloop-control` and the registry of devices.
//! - `device.rs`, `device/`: a device. `zone_table.rs` has its zones, and `shared.rs` what they
//!   share. `sequential.rs` is a sequential zone at work; `zone_queue.rs` ties the zone model to
//!   requests and atomics. `preallocation.rs` says which zones have space allocated for writes to
//!   come. `reset_all.rs` resets all zones. `conditions.rs` declares zones read-only or offline,
//!   and `inject.rs` makes requests fail. `undo_log.rs` keeps the previous data of a conventional
//!   zone until a flush. `counters.rs` and `debugfs.rs` are for debugfs.
//! - `backing.rs`, `backing/`: the directory of a device and its files. `scan.rs` looks up their
//!   sizes.
//! - `options.rs`, `options/`: the command language, the geometry, the record of a device.
//! - `zone.rs`, `zone/`: the zone model.
//! - `fault.rs`, `fault/`: the effect of an injected fault and of a power loss.
//! - `log.rs`: messages for the kernel's log.
//! - `kernel_ext/`: abstractions that the kernel crate lacks, and all `unsafe` code.
//!
//! `options/`, `zone/`, `fault/`, `backing/{file_name,parallelism_probe}.rs` and
//! `device/{block_set,sharing}.rs` are pure: they know no kernel type and are tested on their own.
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
//! A conventional zone's undo log comes after the second, and is held across I/O as well. So is the
//! lock for files that were created since the directory was synced (`backing/zone_file.rs`), with
//! only the directory inside it, and the lock for the result of a zone file's sync, with only a
//! zone's state inside it.
//!
//! Leaf locks: a zone's file, the directory of the files, the open files, the preallocated zones,
//! the resets of all zones, the faults, the entries of the zone table, the lanes and their policy.

#[deny(unsafe_code)]
mod backing;
#[deny(unsafe_code)]
mod control;
#[deny(unsafe_code)]
mod device;
#[deny(unsafe_code)]
mod fault;
mod kernel_ext;
#[deny(unsafe_code)]
mod log;
#[deny(unsafe_code)]
mod options;
#[deny(unsafe_code)]
mod zone;

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
