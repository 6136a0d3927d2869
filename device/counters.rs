// SPDX-License-Identifier: GPL-2.0

//! Counters of requests and zones.
//!
//! Each request is counted when it ends, in any context. The counters are for display only: they
//! order nothing, and a reader may see one of them change before another. They start at 0 with each
//! `add`. The open set counts open and active zones itself, under its lock: see
//! [`OpenZones`](crate::zone::open_zones::OpenZones).

use crate::device::shared::DeviceShared;
use core::fmt;

use crate::kernel_ext::block::{
    zoned_mq::ReqOp,
    Status, //
};

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// All operations in the order of display, with the block layer's names.
const OPERATIONS: [(ReqOp, &str); 11] = [
    (ReqOp::Read, "read"),
    (ReqOp::Write, "write"),
    (ReqOp::Flush, "flush"),
    (ReqOp::Discard, "discard"),
    (ReqOp::WriteZeroes, "write_zeroes"),
    (ReqOp::ZoneAppend, "zone_append"),
    (ReqOp::ZoneOpen, "zone_open"),
    (ReqOp::ZoneClose, "zone_close"),
    (ReqOp::ZoneFinish, "zone_finish"),
    (ReqOp::ZoneReset, "zone_reset"),
    (ReqOp::ZoneResetAll, "zone_reset_all"),
];

/// The counters of a device.
pub(crate) struct Counters {
    requests: [Requests; OPERATIONS.len()],
    /// Zones that were reset, also by a reset of all zones.
    zones_reset: Atomic<u64>,
}

/// The numbers of ended requests.
struct Requests {
    all: Atomic<u64>,
    failed: Atomic<u64>,
}

// ORDERING: `Relaxed`, all of them: the numbers are for display only.
impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            requests: [const {
                Requests {
                    all: Atomic::new(0),
                    failed: Atomic::new(0),
                }
            }; OPERATIONS.len()],
            zones_reset: Atomic::new(0),
        }
    }

    /// Counts a request that ends.
    pub(crate) fn request_ended(&self, op: ReqOp, status: Status) {
        if let Some(requests) = self.requests.get(index(op)) {
            let _ = requests.all.fetch_add(1, Relaxed);
            if status != Status::OK {
                let _ = requests.failed.fetch_add(1, Relaxed);
            }
        }
    }

    /// Counts a zone that was reset.
    pub(crate) fn zone_was_reset(&self) {
        let _ = self.zones_reset.fetch_add(1, Relaxed);
    }
}

/// The index of an operation in [`OPERATIONS`].
fn index(op: ReqOp) -> usize {
    match op {
        ReqOp::Read => 0,
        ReqOp::Write => 1,
        ReqOp::Flush => 2,
        ReqOp::Discard => 3,
        ReqOp::WriteZeroes => 4,
        ReqOp::ZoneAppend => 5,
        ReqOp::ZoneOpen => 6,
        ReqOp::ZoneClose => 7,
        ReqOp::ZoneFinish => 8,
        ReqOp::ZoneReset => 9,
        ReqOp::ZoneResetAll => 10,
    }
}

/// Writes a line for each number: a name, and the number.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // ORDERING: `Relaxed`, all of them, as above.
        for (op, name) in OPERATIONS {
            if let Some(requests) = self.requests.get(index(op)) {
                writeln!(f, "{name} {}", requests.all.load(Relaxed))?;
                writeln!(f, "{name}_errors {}", requests.failed.load(Relaxed))?;
            }
        }
        writeln!(f, "zones_reset {}", self.zones_reset.load(Relaxed))
    }
}

/// Writes all counters of a device, those of its open set among them.
pub(crate) fn write_counters(shared: &DeviceShared, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fmt::Display::fmt(shared.counters(), f)?;
    let (usage, open, active) = {
        let set = shared.open_zones().lock();
        (set.usage(), set.nr_open(), set.nr_active())
    };
    writeln!(f, "implicit_closes {}", usage.implicit_closes)?;
    writeln!(f, "open_zones {open}")?;
    writeln!(f, "open_zones_most {}", usage.most_open)?;
    writeln!(f, "active_zones {active}")?;
    writeln!(f, "active_zones_most {}", usage.most_active)
}
