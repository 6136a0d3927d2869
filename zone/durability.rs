// SPDX-License-Identifier: GPL-2.0

//! The data of a sequential zone: what can be read, and what is durable.
//!
//! A write moves `written` when it has succeeded; all below it can be read. A flush moves `flushed`
//! after it; all below it survives a power failure. The file system complicates this in two ways:
//!
//! - It reports a write-back error once. If a finish gets the error of data that was written
//!   before, the next flush must fail, too: `unreported`.
//! - After a failed sync it may take the length of the file for clean, although it is not durable.
//!   A later sync is worth nothing until the length has been set again: [`Length::Uncertain`].
//!
//! The table has the values after each event; an empty cell is unchanged. *dirty* marks the zone
//! for the next flush, see [`DirtyZones`](super::dirty_zones::DirtyZones).
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
//! discard                  |         |         |           | no         |        |
//! ```
//!
//! "Data" is data that was written and not flushed. "Min" is the smaller one of `flushed` and the
//! end that a repair has found, "max" the larger one of `flushed` and `written` when the flush
//! began.
//!
//! Promises:
//!
//! - After a successful flush, all is durable that was written when it began, unless a flush has
//!   failed since it was written.
//! - A flush fails if data was lost and no flush has failed since. Data that is discarded on
//!   purpose, as by a power failure, is not lost.
//! - After a successful finish or reset, the full or empty zone is durable, also if one before it
//!   has failed.
//! - A flush looks at a zone in which something is not durable.
//!
//! `known` is whether the file ends at the write pointer; see
//! [`FileState`](super::queue::FileState). `resets` tells a read that is repeated whether the zone
//! was reset meanwhile. A lock keeps a flush, from `begin_flush` to its end, apart from the syncs
//! of a finish and a reset.
//!
//! [`Durability`] has what completions change and readers look up without a lock. [`SyncState`] has
//! the rest; the zone's state lock guards it. `tests/host` checks each row of the table in each
//! state, and the promises on a model of a file system, for every order of events up to a bound.

use super::atomics::{
    AtomicCell,
    Atomics, //
};
use core::mem::{
    replace,
    take, //
};

/// What can be read.
pub(crate) struct Durability<A: Atomics> {
    /// All below this, in sectors of the zone, can be read from the file.
    written: A::U64,
    /// Whether the end of the file is known.
    known: A::Flag,
}

/// What is durable.
#[cfg_attr(test, derive(Clone, Copy, Debug, PartialEq, Eq, Hash))]
pub(crate) struct SyncState {
    /// All below this, in sectors of the zone, is durable.
    flushed: u64,
    length: Length,
    /// Whether a finish got an error that a flush is yet to report.
    unreported: bool,
    /// The number of resets.
    resets: u64,
}

/// Whether a sync makes the length of the zone's file durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Length {
    /// A sync does, or has done so.
    Certain,
    /// A sync need not: the length must be set again first.
    Uncertain,
}

/// A flush under way.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flush {
    written: u64,
}

/// The flush must fail: a finish got its error.
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
        // ACQUIRE: Pairs with the stores to `written` below: the data is in the file.
        self.written.load_acquire()
    }

    /// Whether the end of the file is known.
    pub(crate) fn is_known(&self) -> bool {
        // ACQUIRE: Pairs with `set_known`: what a repair has found is there to be seen.
        self.known.load_acquire()
    }

    /// From this sector of the zone on, reads get zeros. [`None`] if that is not certain.
    pub(crate) fn reads_zeroes_from(&self) -> Option<u64> {
        // The order matters: after a repair, `written` is the new one.
        self.is_known().then(|| self.written())
    }

    /// Publishes whether the end of the file is known. The caller holds the lock of the queue.
    pub(super) fn set_known(&self, known: bool) {
        // RELEASE: Pairs with `is_known`.
        self.known.store_release(known);
    }

    /// A write up to `end` has succeeded; `mark_dirty` marks the zone for the next flush.
    pub(crate) fn write_done(&self, end: u64, mark_dirty: impl FnOnce()) {
        self.set_written(end);
        // After the change, so that the flush which takes the mark sees it.
        mark_dirty();
    }

    /// A finish has made the file `end` sectors long, and durable.
    pub(crate) fn filled(&self, sync: &mut SyncState, end: u64) {
        sync.flushed = end;
        self.set_written(end);
    }

    /// A reset is about to cut the file. What a reader doesn't find from now on is not an error.
    pub(crate) fn begin_reset(&self) {
        self.set_written(0);
    }

    /// A repair has found the end of the file, some of which need not be durable.
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
        // RELEASE: Pairs with `written`.
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

    /// A state, whatever has led to it.
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

    /// Whether a sync makes the length of the file durable.
    pub(crate) fn length(&self) -> Length {
        self.length
    }

    /// The number of resets so far. It may wrap.
    pub(crate) fn resets(&self) -> u64 {
        self.resets
    }

    /// A write up to `end` is durable. All before it is, too: the file was made longer for it.
    pub(crate) fn fua_done(&mut self, end: u64) {
        self.flushed = end;
    }

    /// A finish is about to set the length of the file and to sync it. Returns whether the length
    /// must be set even if it is right.
    pub(crate) fn begin_fill(&mut self) -> Length {
        replace(&mut self.length, Length::Uncertain)
    }

    /// The sync of a finish has succeeded. That reports no error of data in the page cache, of
    /// which the file system may have told before. If `is_direct`, there is none.
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

    /// A reset has cut the file to nothing, which is not durable yet.
    pub(crate) fn cut(&mut self) {
        self.cut_failed();
        self.flushed = 0;
    }

    /// A reset has failed to cut the file, which may be empty all the same.
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
    /// The flush has to fail nevertheless, since a finish got the error.
    pub(crate) fn end_flush(&mut self, flush: Flush) -> Result<(), Unreported> {
        if take(&mut self.unreported) {
            return Err(Unreported);
        }
        self.flushed = self.flushed.max(flush.written);
        Ok(())
    }

    /// All that is not durable is about to be discarded: an error of it concerns nobody. Returns
    /// where that begins, in sectors of the zone.
    pub(crate) fn discard(&mut self) -> u64 {
        self.unreported = false;
        self.flushed
    }

    /// The sync of a flush has failed, which reports the error.
    pub(crate) fn flush_failed(&mut self) {
        self.length = Length::Uncertain;
        self.unreported = false;
    }
}
