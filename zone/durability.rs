// SPDX-License-Identifier: GPL-2.0

//! The readable data and the durable data of a sequential zone.
//!
//! A successful write moves `written`: all data below it can be read. A flush moves `flushed`
//! towards `written`: all data below it survives a power failure. Two properties of the file system
//! make this more complex:
//!
//! - The file system reports a write-back error only once. If a finish gets the error of data that
//!   was written before, the next flush must fail, too: `unreported`.
//! - After a failed sync, the file system may treat the length of the file as clean, although it is
//!   not durable. A later sync then does not write the length, until the length has been set again:
//!   [`Length::Uncertain`].
//!
//! The table has the values after each event. An empty cell means no change. *dirty* marks the zone
//! for the next flush: see [`DirtyZones`](super::dirty_zones::DirtyZones).
//!
//! ```text
//! event                    | written | flushed | length    | unreported | resets | dirty
//! write_done               | end     |         |           |            |        | set
//! fua_done                 |         | end     |           |            |        |
//! begin_fill               |         |         | uncertain |            |        |
//! fill_synced, direct      |         |         | certain   | no         |        |
//! fill_synced, buffered    |         |         | certain   |            |        |
//! fill_failed, data        |         |         |           | yes        |        |
//! fill_failed, no data     |         |         |           |            |        |
//! filled                   | end     | end     |           |            |        |
//! begin_reset              | 0       |         |           |            |        |
//! cut                      |         | 0       | uncertain |            | +1     |
//! cut_failed               |         |         | uncertain |            | +1     |
//! reset_done               |         |         | certain   | no         |        |
//! repaired                 | end     | min     |           |            |        | set
//! end_flush                |         | max     |           |            |        |
//! end_flush, unreported    |         |         |           | no         |        |
//! flush_failed             |         |         | uncertain | no         |        |
//! discarded                |         |         |           | no         |        |
//! ```
//!
//! "Data" is data that was written and not flushed. "Min" is the smaller one of `flushed` and the
//! end that a repair has found. "Max" is the larger one of `flushed` and the value of `written`
//! when the flush began.
//!
//! Promises:
//!
//! - After a successful flush, all data is durable that was written before the flush began, unless
//!   another flush has failed since the write.
//! - A flush fails if data was lost and no flush has failed since the loss. Data that was discarded
//!   on purpose, for example by a simulated power failure, does not count as lost.
//! - After a successful finish or reset, the full or empty zone is durable, even if an earlier
//!   finish or reset has failed.
//! - A flush looks at each zone with data that is not durable.
//!
//! `known` is true if the file ends at the write pointer; see
//! [`FileState`](super::queue::FileState). `resets` tells a repeated read whether the zone was
//! reset meanwhile. A lock separates a flush, from `begin_flush` to its end, from the syncs of a
//! finish and a reset.
//!
//! [`Durability`] has the values that completions change and that readers look up without a lock.
//! [`SyncState`] has the other values; the zone's state lock protects it. `tests/host` checks each
//! row of the table in each state. It also checks the promises with a model of a file system, for
//! every order of events up to a bound.

use super::atomics::{
    AtomicCell,
    Atomics, //
};
use core::mem::{
    replace,
    take, //
};

/// The readable data.
pub(crate) struct Durability<A: Atomics> {
    /// All below this, in sectors of the zone, can be read from the file.
    written: A::U64,
    /// Whether the end of the file is known.
    known: A::Flag,
}

/// The durable data.
#[cfg_attr(test, derive(Clone, Copy, Debug, PartialEq, Eq, Hash))]
pub(crate) struct SyncState {
    /// All below this, in sectors of the zone, is durable.
    flushed: u64,
    length: Length,
    /// Whether a finish got an error that a flush must still report.
    unreported: bool,
    /// The number of resets.
    resets: u64,
}

/// Whether the next sync makes the length of the zone's file durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Length {
    /// The length is durable, or the next sync makes it durable.
    Certain,
    /// A sync may leave out the length. It must be set again first.
    Uncertain,
}

/// A flush under way.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flush {
    written: u64,
}

/// The flush must fail, because a finish got its error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreported;

impl<A: Atomics> Durability<A> {
    /// A zone whose file has `written` sectors.
    pub(crate) fn new(written: u64) -> Self {
        Self {
            written: A::U64::new(written),
            known: A::Flag::new(true),
        }
    }

    /// All below this, in sectors of the zone, can be read.
    pub(crate) fn written(&self) -> u64 {
        // ORDERING: Pairs with `set_written`: the data is in the file, and the file is long enough.
        self.written.load_acquire()
    }

    /// Whether the end of the file is known.
    pub(crate) fn is_known(&self) -> bool {
        // ORDERING: Pairs with `set_known`: the results of a repair are visible.
        self.known.load_acquire()
    }

    /// The first sector of the zone from which reads return zeros. [`None`] if it is not known.
    pub(crate) fn reads_zeroes_from(&self) -> Option<u64> {
        // ORDERING: `known` is loaded first. After a repair, its acquire makes the load of
        // `written` see the new end.
        self.is_known().then(|| self.written())
    }

    /// Publishes whether the end of the file is known. The caller holds the zone queue's lock.
    pub(super) fn set_known(&self, known: bool) {
        // ORDERING: Pairs with `is_known`.
        self.known.store_release(known);
    }

    /// A write up to `end` has succeeded; `mark_dirty` marks the zone for the next flush.
    pub(crate) fn write_done(&self, end: u64, mark_dirty: impl FnOnce()) {
        self.set_written(end);
        // The mark comes after the change, so that the flush that takes the mark sees the change.
        mark_dirty();
    }

    /// A finish has set the length of the file to `end` sectors and made it durable.
    pub(crate) fn filled(&self, sync: &mut SyncState, end: u64) {
        sync.flushed = end;
        self.set_written(end);
    }

    /// A reset is about to truncate the file. From now on, missing data is no error for a reader.
    pub(crate) fn begin_reset(&self) {
        self.set_written(0);
    }

    /// A repair has found the end of the file. The data before it may not be durable.
    pub(crate) fn repaired(&self, sync: &mut SyncState, end: u64, mark_dirty: impl FnOnce()) {
        self.write_done(end, mark_dirty);
        sync.flushed = sync.flushed.min(end);
    }

    /// A flush begins to sync the file.
    pub(crate) fn begin_flush(&self) -> Flush {
        Flush {
            written: self.written(),
        }
    }

    fn set_written(&self, end: u64) {
        // ORDERING: Pairs with `written`.
        self.written.store_release(end);
    }
}

impl SyncState {
    /// A zone whose file has `written` sectors, all of them durable.
    pub(crate) fn new(written: u64) -> Self {
        Self {
            flushed: written,
            length: Length::Certain,
            unreported: false,
            resets: 0,
        }
    }

    /// Any state, for the tests.
    #[cfg(test)]
    pub(crate) fn of(flushed: u64, length: Length, unreported: bool, resets: u64) -> Self {
        Self {
            flushed,
            length,
            unreported,
            resets,
        }
    }

    #[cfg(test)]
    pub(crate) fn is_unreported(&self) -> bool {
        self.unreported
    }

    /// All below this, in sectors of the zone, is durable.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Whether the next sync makes the length of the file durable.
    pub(crate) fn length(&self) -> Length {
        self.length
    }

    /// The number of resets so far. It may wrap.
    pub(crate) fn resets(&self) -> u64 {
        self.resets
    }

    /// A write up to `end` is durable. So is all data before it, because the write made the file
    /// longer.
    pub(crate) fn fua_done(&mut self, end: u64) {
        self.flushed = end;
    }

    /// A finish is about to set the length of the file and to sync it. If the result is
    /// [`Length::Uncertain`], the length must be set even if it is already right.
    pub(crate) fn begin_fill(&mut self) -> Length {
        replace(&mut self.length, Length::Uncertain)
    }

    /// The sync of a finish has succeeded. `is_direct` means that no data is in the page cache.
    /// Otherwise there may still be an unreported error, because the file system does not report an
    /// error of data in the page cache twice.
    pub(crate) fn fill_synced(&mut self, is_direct: bool) {
        self.length = Length::Certain;
        if is_direct {
            self.unreported = false;
        }
    }

    /// The sync of a finish has failed, perhaps for data below `written` that was not flushed.
    pub(crate) fn fill_failed(&mut self, written: u64) {
        self.unreported |= self.flushed < written;
    }

    /// A reset has truncated the file to 0. This is not durable yet.
    pub(crate) fn cut(&mut self) {
        self.cut_failed();
        self.flushed = 0;
    }

    /// A reset has failed to truncate the file. The file may be empty nevertheless.
    pub(crate) fn cut_failed(&mut self) {
        self.resets = self.resets.wrapping_add(1);
        self.length = Length::Uncertain;
    }

    /// A reset is complete and durable.
    pub(crate) fn reset_done(&mut self) {
        self.length = Length::Certain;
        self.unreported = false;
    }

    /// The sync of a flush has succeeded.
    ///
    /// # Errors
    ///
    /// The flush must fail nevertheless, because a finish got its error.
    pub(crate) fn end_flush(&mut self, flush: Flush) -> Result<(), Unreported> {
        if take(&mut self.unreported) {
            return Err(Unreported);
        }
        self.flushed = self.flushed.max(flush.written);
        Ok(())
    }

    /// All data that is not durable was discarded. The error that a finish got was of that data.
    pub(crate) fn discarded(&mut self) {
        self.unreported = false;
    }

    /// The sync of a flush has failed. The flush reports the error.
    pub(crate) fn flush_failed(&mut self) {
        self.length = Length::Uncertain;
        self.unreported = false;
    }
}
