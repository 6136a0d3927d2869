// SPDX-License-Identifier: GPL-2.0

//! Flushes.
//!
//! A flush syncs the files of the zones that have changed since the last one, and the directory if
//! files were made in it. The syncs of many files run in parallel. `zone/durability.rs` has the
//! promises, also those after a failed flush.

use crate::{
    device::{
        zone_table::ZoneRef,
        Device, //
    },
    io_err_ratelimited, //
};

use crate::kernel_ext::{
    task::BlockIoScope,
    workqueue::ParallelWork, //
};

use kernel::{
    error::to_result,
    new_spinlock,
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// Upper bound on parallel fsyncs. Each of them mostly waits for the disk, which merges them.
const MAX_PARALLEL_SYNCS: usize = 64;

/// The work items of a flush, beside the task that flushes.
pub(crate) type FlushWork = ParallelWork<{ MAX_PARALLEL_SYNCS - 1 }>;

impl Device {
    /// Makes all data durable whose write had ended when the flush began; may sleep.
    ///
    /// # Errors
    ///
    /// That of the directory, or else of the last zone that has failed. All zones are tried, and
    /// each failure has its message.
    pub(crate) fn flush(&self) -> Result {
        let mut flushing = self.flushing.lock();
        let errno = Atomic::new(0);
        pin_init::stack_pin_init!(let dirty = new_spinlock!(self.shared.dirty().take_all()));
        let flush_next = || {
            let next = dirty.lock().next();
            if let Some(Err(err)) = next.map(|number| self.flush_zone(number)) {
                // ORDERING: `Relaxed`, because `call` waits for all tasks before the load.
                errno.store(err.to_errno(), Relaxed);
            }
            next.is_some()
        };
        // Mostly there is one zone, which the current task syncs.
        let nr_helpers = self
            .shared
            .dirty()
            .count(MAX_PARALLEL_SYNCS)
            .saturating_sub(1);
        flushing.call(nr_helpers, &|| {
            let _scope = BlockIoScope::enter();
            while flush_next() {}
        });
        self.shared.files().sync().inspect_err(|err| {
            io_err_ratelimited!(self.shared, "the directory can't be flushed: {err:?}");
        })?;
        // ORDERING: `Relaxed`: see the store.
        to_result(errno.load(Relaxed))
    }

    /// Makes the data of a zone durable. After a failure the next flush tries it again.
    fn flush_zone(&self, number: u32) -> Result {
        // A marked zone is in use. The task that has marked it has used it first, and the mark
        // makes that visible to the task that takes the mark.
        let result = match self.zones.get(number) {
            Some(ZoneRef::Sequential(zone)) => zone.flush(),
            Some(ZoneRef::Conventional(zone)) => zone.flush(),
            None => Ok(()),
        };
        result.inspect_err(|err| {
            self.shared.dirty().mark(number);
            io_err_ratelimited!(self.shared, "zone {number}: can't be flushed: {err:?}");
        })
    }
}
