// SPDX-License-Identifier: GPL-2.0

//! What has been asked of a device, in numbers.
//!
//! Each request is counted when it ends, in whatever context that is. The numbers are only ever
//! looked at, so nothing is ordered by them, and a reader may see one of them change before
//! another. They begin at 0 with each `add`.

use crate::kernel_ext::block::{
    mq::Command,
    Status, //
};
use core::fmt;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// All operations, in the order in which they are shown, and what each is called: the block layer's
/// name for it.
const COMMANDS: [(Command, &str); 11] = [
    (Command::Read, "read"),
    (Command::Write, "write"),
    (Command::Flush, "flush"),
    (Command::Discard, "discard"),
    (Command::WriteZeroes, "write_zeroes"),
    (Command::ZoneAppend, "zone_append"),
    (Command::ZoneOpen, "zone_open"),
    (Command::ZoneClose, "zone_close"),
    (Command::ZoneFinish, "zone_finish"),
    (Command::ZoneReset, "zone_reset"),
    (Command::ZoneResetAll, "zone_reset_all"),
];

/// The numbers of a device.
pub(crate) struct Counters {
    requests: [Requests; COMMANDS.len()],
    /// Zones that were reset, each by itself or with all others.
    zones_reset: Atomic<u64>,
}

/// How many requests have ended.
struct Requests {
    all: Atomic<u64>,
    failed: Atomic<u64>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            requests: [const {
                Requests {
                    all: Atomic::new(0),
                    failed: Atomic::new(0),
                }
            }; COMMANDS.len()],
            zones_reset: Atomic::new(0),
        }
    }

    /// Counts a request that ends.
    pub(crate) fn request_ended(&self, command: Command, status: Status) {
        if let Some(requests) = self.requests.get(index(command)) {
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

/// The place of a command in [`COMMANDS`].
fn index(command: Command) -> usize {
    match command {
        Command::Read => 0,
        Command::Write => 1,
        Command::Flush => 2,
        Command::Discard => 3,
        Command::WriteZeroes => 4,
        Command::ZoneAppend => 5,
        Command::ZoneOpen => 6,
        Command::ZoneClose => 7,
        Command::ZoneFinish => 8,
        Command::ZoneReset => 9,
        Command::ZoneResetAll => 10,
    }
}

/// Writes a line for each number: a name, and the number.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (command, name) in COMMANDS {
            if let Some(requests) = self.requests.get(index(command)) {
                writeln!(f, "{name} {}", requests.all.load(Relaxed))?;
                writeln!(f, "{name}_errors {}", requests.failed.load(Relaxed))?;
            }
        }
        writeln!(f, "zones_reset {}", self.zones_reset.load(Relaxed))
    }
}
