// SPDX-License-Identifier: GPL-2.0

//! Zoned loop block device.
//!
//! The driver makes a host-managed zoned disk out of one regular file per zone. Commands that are
//! written to `/dev/zloop-control` add and remove devices. The driver can use the files of the C
//! driver as they are, and the C driver can use the files of this one.
//!
//! The path of a request:
//!
//! ```text
//!   device/queue_rq.rs    which zone, and which kind of request?
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
//! "At once" means that the task that queues the request carries it out. Most small reads and
//! writes need no work item. `write.rs` below `sequential.rs` gives an append its sector.
//!
//! The folders follow, from the top to the bottom. A file imports only from its own folder and from
//! the folders below it:
//!
//! - `control.rs`: `/dev/zloop-control` and the registry of devices.
//! - `device.rs`, `device/`: a device. `zone_table.rs` has its zones, and `shared.rs` has the data
//!   that all of them use. `queue_rq.rs` gets the requests, and `at_once.rs` decides which of them
//!   are carried out at once, with `plug_depth.rs` for writes. `io.rs` carries out reads and
//!   writes to conventional zones, `discard.rs` discards and write zeroes, `sequential.rs` all
//!   changes of a sequential zone. `lanes.rs` gives a part of a deep queue to other CPUs, and
//!   `sharing.rs` decides when. `zone_queue.rs` ties the zone model to requests and atomics.
//!   `preallocation.rs` decides which zones have space allocated for later writes. `flush.rs`
//!   makes data durable, and `time_stamps.rs` updates the mtime of the changed files.
//!   `reset_all.rs` resets all zones. `report.rs` reports zones. `declare.rs` declares zones
//!   read-only or offline, and `inject.rs` makes requests fail. `undo_log.rs` keeps the previous
//!   data of a conventional zone until a flush. `counters.rs` and `debugfs.rs` are for debugfs.
//!   `teardown.rs` closes a device.
//! - `backing.rs`, `backing/`: the directory of a device and its files. `zone_file.rs` opens and
//!   closes a zone's file, `record_file.rs` replaces a record, and `scan.rs` looks up the sizes.
//! - `options.rs`, `options/`: the command language, the geometry, the record of a device.
//! - `zone.rs`, `zone/`: the zone model.
//! - `fault.rs`, `fault/`: the effect of an injected fault and of a power loss.
//! - `log.rs`: messages for the kernel log.
//! - `kernel_ext/`: abstractions that the kernel crate lacks, and all `unsafe` code.
//!
//! `options/`, `zone/`, `fault/`, `backing/{file_name,parallelism_probe}.rs` and
//! `device/{block_set,sharing}.rs` are pure: they use no kernel type, and their tests run without a
//! kernel.
//!
//! Lock order, outermost first. A task may hold the second and the third across I/O, the others
//! never:
//!
//! 1. the registry of devices (`control.rs`)
//! 2. the flush lock of a device, and the lock of its declared conditions; the teardown of a device
//!    takes them inside its `closer`
//! 3. the lock around the syncs of a sequential zone
//! 4. a sequential zone's state; a task never holds those of two zones
//! 5. the open set of a device
//! 6. a zone's queue; completions take it, so interrupts are off
//!
//! The lock of a conventional zone's undo log comes after the second, and is held across I/O, too.
//! So are two locks of `backing/zone_file.rs`: the lock for files that were created since the
//! directory was synced, with only the directory inside it, and the lock for the result of a zone
//! file's sync, with nothing inside it.
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

module! {
    type: UnloadableZloop,
    name: "zloop",
    authors: ["The zloop developers"],
    description: "Zoned loop block device",
    license: "GPL",
}

crate::kernel_ext::module::unloadable_module! {
    /// The module. Its code frees a removed disk, which may hold the last reference to the module.
    struct UnloadableZloop(ZloopModule);
}

/// The state of the loaded module.
#[pin_data]
struct ZloopModule {
    #[pin]
    control: control::Control,
}

impl kernel::InPlaceModule for ZloopModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            control <- control::Control::new(),
        })
    }
}
