// SPDX-License-Identifier: GPL-2.0

//! The teardown of a device, after its disk was removed.

use crate::{
    device::{
        zone_table::ZoneRef,
        Device, //
    },
    fault::power_loss::PowerLoss,
    io_err_ratelimited, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The kind of a teardown.
#[derive(Clone, Copy)]
pub(crate) enum Teardown {
    /// `remove`. With `discard_write_cache` it discards unflushed data.
    Removed,
    /// `powerfail`, which discards this part of the unflushed data.
    PowerFailed(PowerLoss),
}

impl Device {
    /// Discards unflushed data as `teardown` says, makes the rest durable, and closes the files;
    /// may sleep.
    ///
    /// The next device on these files takes them for durable: its flush syncs only its own changes.
    ///
    /// A work item does this. A killed task can't write to the page cache, nor finish all waits.
    ///
    /// # Errors
    ///
    /// The first one; each failure has its message. The device is closed all the same.
    pub(crate) fn close(&self, teardown: Teardown) -> Result {
        let errno = Atomic::new(0);
        self.closer.lock().call(&|| {
            if let Err(err) = self.close_now(teardown) {
                // ORDERING: `Relaxed`, because `call` waits for the work item before the load.
                errno.store(err.to_errno(), Relaxed);
            }
        });
        // ORDERING: `Relaxed`: see the store.
        to_result(errno.load(Relaxed))
    }

    fn close_now(&self, teardown: Teardown) -> Result {
        let discards = self.shared.options().tunables.discard_write_cache;
        let lost = match (teardown, discards) {
            (Teardown::PowerFailed(loss), _) => self.discard_unflushed(loss),
            (Teardown::Removed, true) => self.discard_unflushed(PowerLoss::All),
            (Teardown::Removed, false) => Ok(()),
        };
        let recorded = self.record_again().inspect_err(|err| {
            io_err_ratelimited!(
                self.shared,
                "can't record the declared zone conditions: {err:?}"
            );
        });
        let flushed = self.flush();
        for (_, zone) in self.zones.in_use() {
            if let ZoneRef::Sequential(zone) = zone {
                // A failure wastes space only.
                let _ = zone.trim();
            }
            zone.close();
        }
        self.shared.files().close();
        lost.and(flushed).and(recorded)
    }

    /// Discards unflushed data, or the part of it that `loss` selects; may sleep.
    ///
    /// # Errors
    ///
    /// The last one: all zones are tried, and each failure has its message.
    fn discard_unflushed(&self, loss: PowerLoss) -> Result {
        let mut result = Ok(());
        for (number, zone) in self.zones.in_use() {
            let lost = match zone {
                ZoneRef::Conventional(zone) => zone.discard_unflushed(loss),
                ZoneRef::Sequential(zone) => zone.discard_unflushed(loss),
            };
            if let Err(err) = lost {
                io_err_ratelimited!(
                    self.shared,
                    "zone {number}: can't discard unflushed data: {err:?}"
                );
                result = Err(err);
            }
        }
        result
    }
}
