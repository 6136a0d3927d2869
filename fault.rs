// SPDX-License-Identifier: GPL-2.0

//! Faults that a command asks for: the rules.
//!
//! [`Injection`] is what one command says, [`Faults`] what comes of all of them: which sectors are
//! bad, how many requests are to fail, and how slow the device is to be. Names, units and meanings
//! are those of `null_blk` where it has them.
//!
//! Nothing here knows the kernel, allocates or waits; the caller has the lock.

pub(crate) mod power_loss;

use core::fmt;
use core::num::NonZeroU32;
use core::ops::DerefMut;

/// Sectors in a row, by their numbers on the device.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sectors {
    first: u64,
    last: u64,
}

impl Sectors {
    /// The sectors from `first` to `last`, both included, or [`None`] if there are none.
    pub(crate) fn new(first: u64, last: u64) -> Option<Self> {
        // INVARIANT: Checked here.
        (first <= last).then_some(Self { first, last })
    }

    /// The last one.
    pub(crate) fn last(self) -> u64 {
        self.last
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether no sector is between them.
    fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }

    /// Whether something is left on both sides of `other` when that is taken away.
    fn is_split_by(self, other: Self) -> bool {
        self.first < other.first && other.last < self.last
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        write!(f, "{first}-{last}")
    }
}

/// There is no room for one more row of bad sectors. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// A set of bad sectors, in rows that neither touch nor overlap, in any order.
pub(crate) struct BadSectors<S> {
    rows: S,
    len: usize,
}

impl<S: DerefMut<Target = [Sectors]>> BadSectors<S> {
    /// An empty set, with room for as many rows as `rows` has elements.
    pub(crate) fn new(rows: S) -> Self {
        Self { rows, len: 0 }
    }

    fn rows(&self) -> &[Sectors] {
        self.rows.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, row: Sectors) -> Result<(), TooMany> {
        *self.rows.get_mut(self.len).ok_or(TooMany)? = row;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Removes the rows for which `remove` is true.
    fn remove(&mut self, remove: impl Fn(Sectors) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            let Some(&row) = self.rows.get(at) else {
                break;
            };
            if !remove(row) {
                if let Some(slot) = self.rows.get_mut(kept) {
                    *slot = row;
                }
                kept = kept.saturating_add(1);
            }
        }
        self.len = kept;
    }

    /// Whether there is room for changes that are made one after the other.
    ///
    /// What a later one needs may depend on an earlier one, so that it is taken to need a row.
    fn has_room_for(&self, changes: [Option<BadBlocks>; 2]) -> bool {
        let mut changes = changes.into_iter().flatten();
        let first = changes.next().is_some_and(|change| self.adds_row(change));
        let needed = changes.count().saturating_add(first.into());
        self.rows.len().saturating_sub(self.len) >= needed
    }

    /// Whether there is one more row after a change.
    fn adds_row(&self, change: BadBlocks) -> bool {
        match change {
            BadBlocks::Set(bad) => !self.rows().iter().any(|row| row.touches(bad)),
            BadBlocks::Clear(good) => self.rows().iter().any(|row| row.is_split_by(good)),
        }
    }

    /// Whether no sector is bad.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes sectors bad.
    pub(crate) fn set(&mut self, bad: Sectors) -> Result<(), TooMany> {
        if !self.has_room_for([Some(BadBlocks::Set(bad)), None]) {
            return Err(TooMany);
        }
        // INVARIANT: It only grows.
        let joined = self
            .rows()
            .iter()
            .copied()
            .filter(|row| row.touches(bad))
            .fold(bad, |a, b| Sectors {
                first: a.first.min(b.first),
                last: a.last.max(b.last),
            });
        self.remove(|row| row.touches(bad));
        self.push(joined)
    }

    /// Makes sectors good.
    pub(crate) fn clear(&mut self, good: Sectors) -> Result<(), TooMany> {
        let before = |row: Sectors| Sectors::new(row.first, good.first.checked_sub(1)?);
        let after = |row: Sectors| Sectors::new(good.last.checked_add(1)?, row.last);
        if !self.has_room_for([Some(BadBlocks::Clear(good)), None]) {
            return Err(TooMany);
        }
        // Of rows that overlap one has something before, at most, and one something after.
        let overlaps = |row: &Sectors| row.overlaps(good);
        let mut rest = [None; 2];
        for &row in self.rows().iter().filter(|row| overlaps(row)) {
            rest = [rest[0].or(before(row)), rest[1].or(after(row))];
        }
        self.remove(|row| row.overlaps(good));
        rest.into_iter()
            .flatten()
            .try_for_each(|row| self.push(row))
    }

    /// Makes all sectors good.
    pub(crate) fn clear_all(&mut self) {
        self.len = 0;
    }

    /// The row with the first bad one of these sectors.
    pub(crate) fn find(&self, sectors: Sectors) -> Option<Sectors> {
        self.rows()
            .iter()
            .copied()
            .filter(|row| row.overlaps(sectors))
            .min_by_key(|row| row.first)
    }
}

/// A change of which sectors are bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadBlocks {
    /// `+first-last`: they are.
    Set(Sectors),
    /// `-first-last`: they aren't.
    Clear(Sectors),
}

/// How often a bad sector is bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Until a command says otherwise.
    #[default]
    Always,
    /// The first time that it is read or written: `badblocks_once`.
    Once,
}

/// What a write does that comes to a bad sector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BadWrite {
    /// Nothing.
    #[default]
    Nothing,
    /// It writes the whole blocks before it: `badblocks_partial_io`.
    Partial,
}

/// Commands for zones that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneCommand {
    /// Open a zone.
    Open,
    /// Close a zone.
    Close,
    /// Finish a zone.
    Finish,
    /// Reset a zone, alone or with all others.
    Reset,
}

/// A kind of request that can be slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads.
    Read,
    /// Writes and appends.
    Write,
    /// Flushes.
    Flush,
    /// Commands for zones.
    Zone,
}

/// What belongs to each [`ZoneCommand`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerZoneCommand<T>([T; 4]);

impl<T> PerZoneCommand<T> {
    /// What belongs to one of them.
    pub(crate) fn of(&mut self, command: ZoneCommand) -> &mut T {
        let Self([open, close, finish, reset]) = self;
        match command {
            ZoneCommand::Open => open,
            ZoneCommand::Close => close,
            ZoneCommand::Finish => finish,
            ZoneCommand::Reset => reset,
        }
    }
}

/// What belongs to each [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerKind<T>([T; 4]);

impl<T> PerKind<T> {
    /// What belongs to one of them.
    pub(crate) fn of(&mut self, kind: Kind) -> &mut T {
        let Self([read, write, flush, zone]) = self;
        match kind {
            Kind::Read => read,
            Kind::Write => write,
            Kind::Flush => flush,
            Kind::Zone => zone,
        }
    }
}

/// What one command asks for. [`None`] leaves things as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injection {
    /// Forget all that was asked for before.
    pub(crate) clear: Option<Clear>,
    /// For reads and writes.
    pub(crate) badblocks: Option<BadBlocks>,
    /// For reads.
    pub(crate) badblocks_read: Option<BadBlocks>,
    /// For writes.
    pub(crate) badblocks_write: Option<BadBlocks>,
    /// How often bad sectors are bad.
    pub(crate) lasting: Option<Lasting>,
    /// What a write to them does.
    pub(crate) bad_write: Option<BadWrite>,
    /// So many of the next commands of each kind fail.
    pub(crate) fail: PerZoneCommand<Option<u32>>,
    /// So many of the next requests get lost, and end when their time is over.
    pub(crate) timeout: Option<u32>,
    /// So many of the next requests the block layer has to queue again.
    pub(crate) requeue: Option<u32>,
    /// So many nanoseconds each request of a kind takes longer.
    pub(crate) nsec: PerKind<Option<u32>>,
    /// So many MiB can be transferred in a second; 0 for any number.
    pub(crate) mbps: PerKind<Option<u32>>,
}

/// That all is to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clear;

/// Writes can't be done as they were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spoiled {
    /// So many sectors are written before it fails.
    pub(crate) sectors: u64,
}

/// What becomes of a request before anything is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is carried out.
    Normal,
    /// It is queued again.
    Requeued,
    /// It gets lost.
    Lost,
}

/// All faults that a device has at a time.
pub(crate) struct Faults<S> {
    reads: BadSectors<S>,
    writes: BadSectors<S>,
    lasting: Lasting,
    bad_write: BadWrite,
    fail: PerZoneCommand<u32>,
    timeout: u32,
    requeue: u32,
    nsec: PerKind<u32>,
    mbps: PerKind<Option<NonZeroU32>>,
    /// When what was transferred at `mbps` will have been, in nanoseconds of the caller's clock.
    done_at: PerKind<u64>,
}

impl<S: DerefMut<Target = [Sectors]>> Faults<S> {
    /// None, with room for the bad sectors of reads and writes.
    pub(crate) fn new(reads: S, writes: S) -> Self {
        Self {
            reads: BadSectors::new(reads),
            writes: BadSectors::new(writes),
            lasting: Lasting::default(),
            bad_write: BadWrite::default(),
            fail: PerZoneCommand::default(),
            timeout: 0,
            requeue: 0,
            nsec: PerKind::default(),
            mbps: PerKind::default(),
            done_at: PerKind::default(),
        }
    }

    /// Does what a command asks for.
    ///
    /// # Errors
    ///
    /// If there is no room for more bad sectors. Nothing has changed then.
    pub(crate) fn inject(&mut self, injection: &Injection) -> Result<(), TooMany> {
        let mut asked = *injection;
        let reads = [asked.badblocks, asked.badblocks_read];
        let writes = [asked.badblocks, asked.badblocks_write];
        let has_room = self.reads.has_room_for(reads) && self.writes.has_room_for(writes);
        if asked.clear.is_none() && !has_room {
            return Err(TooMany);
        }
        if asked.clear.is_some() {
            self.reads.clear_all();
            self.writes.clear_all();
            self.lasting = Lasting::default();
            self.bad_write = BadWrite::default();
            self.fail = PerZoneCommand::default();
            self.timeout = 0;
            self.requeue = 0;
            self.nsec = PerKind::default();
            self.mbps = PerKind::default();
            self.done_at = PerKind::default();
        }
        self.lasting = asked.lasting.unwrap_or(self.lasting);
        self.bad_write = asked.bad_write.unwrap_or(self.bad_write);
        for command in [
            ZoneCommand::Open,
            ZoneCommand::Close,
            ZoneCommand::Finish,
            ZoneCommand::Reset,
        ] {
            let fail = self.fail.of(command);
            *fail = asked.fail.of(command).unwrap_or(*fail);
        }
        self.timeout = asked.timeout.unwrap_or(self.timeout);
        self.requeue = asked.requeue.unwrap_or(self.requeue);
        for kind in [Kind::Read, Kind::Write, Kind::Flush, Kind::Zone] {
            let nsec = self.nsec.of(kind);
            *nsec = asked.nsec.of(kind).unwrap_or(*nsec);
            if let Some(mbps) = *asked.mbps.of(kind) {
                *self.mbps.of(kind) = NonZeroU32::new(mbps);
                *self.done_at.of(kind) = 0;
            }
        }
        let change = |set: &mut BadSectors<S>, change: Option<BadBlocks>| match change {
            Some(BadBlocks::Set(sectors)) => set.set(sectors),
            Some(BadBlocks::Clear(sectors)) => set.clear(sectors),
            None => Ok(()),
        };
        for asked in reads {
            change(&mut self.reads, asked)?;
        }
        for asked in writes {
            change(&mut self.writes, asked)?;
        }
        Ok(())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty()
            && self.writes.is_empty()
            && self.fail == PerZoneCommand::default()
            && (self.timeout, self.requeue) == (0, 0)
            && self.nsec == PerKind::default()
            && self.mbps == PerKind::default()
    }

    /// What becomes of a request that has just arrived.
    pub(crate) fn arrive(&mut self) -> Arrival {
        if take_one(&mut self.requeue) {
            Arrival::Requeued
        } else if take_one(&mut self.timeout) {
            Arrival::Lost
        } else {
            Arrival::Normal
        }
    }

    /// Whether a command for a zone fails.
    pub(crate) fn fails(&mut self, command: ZoneCommand) -> bool {
        take_one(self.fail.of(command))
    }

    /// Whether a read of these sectors fails.
    pub(crate) fn spoils_read(&mut self, sectors: Sectors) -> bool {
        let Some(bad) = self.reads.find(sectors) else {
            return false;
        };
        self.was_hit(bad);
        true
    }

    /// Whether a write of these sectors fails, which are a multiple of a block of `block` sectors.
    pub(crate) fn spoils_write(&mut self, sectors: Sectors, block: u64) -> Option<Spoiled> {
        let bad = self.writes.find(sectors)?;
        self.was_hit(bad);
        let before = bad.first.saturating_sub(sectors.first);
        let written = match self.bad_write {
            BadWrite::Nothing => 0,
            BadWrite::Partial => before.saturating_sub(before.checked_rem(block).unwrap_or(0)),
        };
        Some(Spoiled { sectors: written })
    }

    /// Whether a write of these sectors would fail.
    pub(crate) fn would_spoil_write(&self, sectors: Sectors) -> bool {
        self.writes.find(sectors).is_some()
    }

    fn was_hit(&mut self, bad: Sectors) {
        if self.lasting == Lasting::Once {
            // A whole row always finds room where it is one. It stays bad in the other set if it is
            // a part of a row there, and there is no room to split that.
            let _ = self.reads.clear(bad);
            let _ = self.writes.clear(bad);
        }
    }

    /// How many nanoseconds a request of so many bytes has to wait that is carried out at `now`, in
    /// nanoseconds of a clock that doesn't go back.
    pub(crate) fn delay(&mut self, kind: Kind, bytes: u32, now: u64) -> u64 {
        let nsec = u64::from(*self.nsec.of(kind));
        let Some(mbps) = *self.mbps.of(kind) else {
            return nsec;
        };
        // OVERFLOW: 32 bits times 30 bits.
        let takes = (u64::from(bytes) * 1_000_000_000) / (u64::from(mbps.get()) << 20);
        let done_at = self.done_at.of(kind);
        *done_at = now.max(*done_at).saturating_add(takes);
        done_at.saturating_sub(now).saturating_add(nsec)
    }
}

/// Takes one of `left`, if there is one.
fn take_one(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_fault))]
mod tests {
    use super::*;

    /// Rows for the sets of the tests.
    struct Rows([Sectors; 4]);

    impl core::ops::Deref for Rows {
        type Target = [Sectors];

        fn deref(&self) -> &[Sectors] {
            &self.0
        }
    }

    impl DerefMut for Rows {
        fn deref_mut(&mut self) -> &mut [Sectors] {
            &mut self.0
        }
    }

    fn rows() -> Rows {
        Rows([Sectors { first: 0, last: 0 }; 4])
    }

    fn sectors(first: u64, last: u64) -> Sectors {
        Sectors { first, last }
    }

    /// Whether exactly these of the first 64 sectors are bad, as bits.
    fn are_bad(set: &BadSectors<Rows>, bits: u64) -> bool {
        (0..64).all(|n| set.find(sectors(n, n)).is_some() == (bits >> n & 1 != 0))
    }

    #[test]
    fn rows_join_and_split() {
        let mut set = BadSectors::new(rows());
        assert!(are_bad(&set, 0));
        assert_eq!(set.set(sectors(8, 15)), Ok(()));
        assert_eq!(set.set(sectors(24, 31)), Ok(()));
        assert!(are_bad(&set, 0xff00_ff00));
        assert_eq!(set.len, 2);
        assert_eq!(set.set(sectors(16, 23)), Ok(()));
        assert!(are_bad(&set, 0xffff_ff00));
        assert_eq!(set.len, 1);
        assert_eq!(set.clear(sectors(12, 13)), Ok(()));
        assert!(are_bad(&set, 0xffff_cf00));
        assert_eq!(set.clear(sectors(0, 8)), Ok(()));
        assert!(are_bad(&set, 0xffff_ce00));
        assert_eq!(set.clear(sectors(31, u64::MAX)), Ok(()));
        assert!(are_bad(&set, 0x7fff_ce00));
        assert_eq!(set.set(sectors(0, u64::MAX)), Ok(()));
        assert!(are_bad(&set, u64::MAX));
        assert_eq!(set.clear(sectors(0, u64::MAX)), Ok(()));
        assert!(set.is_empty());
    }

    #[test]
    fn room_runs_out() {
        let mut set = BadSectors::new(rows());
        for first in [0, 10, 20, 30] {
            assert_eq!(set.set(sectors(first, first + 4)), Ok(()));
        }
        assert_eq!(set.set(sectors(40, 40)), Err(TooMany));
        assert_eq!(set.clear(sectors(2, 2)), Err(TooMany));
        assert!(are_bad(&set, 0x7_c1f0_7c1f));
        // What needs no room is done.
        assert_eq!(set.set(sectors(5, 9)), Ok(()));
        assert_eq!(set.clear(sectors(2, 2)), Ok(()));
        assert!(are_bad(&set, 0x7_c1f0_7ffb));
    }

    #[test]
    fn first_bad_one_is_found() {
        let mut set = BadSectors::new(rows());
        for first in [30, 10, 20] {
            assert_eq!(set.set(sectors(first, first + 4)), Ok(()));
        }
        assert_eq!(set.find(sectors(0, 9)), None);
        assert_eq!(set.find(sectors(0, 10)), Some(sectors(10, 14)));
        assert_eq!(set.find(sectors(12, 40)), Some(sectors(10, 14)));
        assert_eq!(set.find(sectors(15, 40)), Some(sectors(20, 24)));
    }

    fn faults(injection: Injection) -> Faults<Rows> {
        let mut faults = Faults::new(rows(), rows());
        // If that failed, nothing that is expected of them would be true.
        let _ = faults.inject(&injection);
        faults
    }

    #[test]
    fn writes_to_bad_sectors() {
        let bad = Injection {
            badblocks: Some(BadBlocks::Set(sectors(20, 23))),
            ..Injection::default()
        };
        let mut lasting = faults(bad);
        for _ in 0..2 {
            assert_eq!(lasting.spoils_write(sectors(0, 19), 8), None);
            let spoiled = lasting.spoils_write(sectors(0, 31), 8);
            assert_eq!(spoiled, Some(Spoiled { sectors: 0 }));
            assert!(lasting.spoils_read(sectors(23, 23)));
            assert!(!lasting.spoils_read(sectors(24, 31)));
        }
        let mut once = faults(Injection {
            lasting: Some(Lasting::Once),
            bad_write: Some(BadWrite::Partial),
            ..bad
        });
        assert!(once.would_spoil_write(sectors(8, 31)));
        let spoiled = once.spoils_write(sectors(8, 31), 8);
        assert_eq!(spoiled, Some(Spoiled { sectors: 8 }));
        assert_eq!(once.spoils_write(sectors(8, 31), 8), None);
        assert!(!once.spoils_read(sectors(0, 63)));
        assert!(once.is_empty());
        // One that begins with it writes nothing.
        let mut partial = faults(Injection {
            bad_write: Some(BadWrite::Partial),
            ..bad
        });
        let spoiled = partial.spoils_write(sectors(16, 31), 8);
        assert_eq!(spoiled, Some(Spoiled { sectors: 0 }));
        let spoiled = partial.spoils_write(sectors(21, 31), 1);
        assert_eq!(spoiled, Some(Spoiled { sectors: 0 }));
        let spoiled = partial.spoils_write(sectors(16, 31), 1);
        assert_eq!(spoiled, Some(Spoiled { sectors: 4 }));
    }

    #[test]
    fn reads_and_writes_apart() {
        let mut faults = faults(Injection {
            badblocks_read: Some(BadBlocks::Set(sectors(0, 7))),
            badblocks_write: Some(BadBlocks::Set(sectors(8, 15))),
            ..Injection::default()
        });
        assert!(faults.spoils_read(sectors(0, 7)));
        assert!(!faults.spoils_read(sectors(8, 15)));
        assert!(!faults.would_spoil_write(sectors(0, 7)));
        assert!(faults.would_spoil_write(sectors(8, 15)));
    }

    #[test]
    fn counts_run_down() {
        let mut fail = PerZoneCommand::default();
        *fail.of(ZoneCommand::Open) = Some(2);
        let mut faults = faults(Injection {
            fail,
            timeout: Some(1),
            requeue: Some(2),
            ..Injection::default()
        });
        assert!(!faults.fails(ZoneCommand::Reset));
        assert!(faults.fails(ZoneCommand::Open));
        assert!(faults.fails(ZoneCommand::Open));
        assert!(!faults.fails(ZoneCommand::Open));
        assert_eq!(faults.arrive(), Arrival::Requeued);
        assert_eq!(faults.arrive(), Arrival::Requeued);
        assert_eq!(faults.arrive(), Arrival::Lost);
        assert_eq!(faults.arrive(), Arrival::Normal);
        assert!(faults.is_empty());
    }

    #[test]
    fn delays_and_rates() {
        let (mut nsec, mut mbps) = (PerKind::default(), PerKind::default());
        *nsec.of(Kind::Read) = Some(1000);
        *mbps.of(Kind::Write) = Some(1);
        let mut faults = faults(Injection {
            nsec,
            mbps,
            ..Injection::default()
        });
        assert_eq!(faults.delay(Kind::Read, 4096, 5), 1000);
        assert_eq!(faults.delay(Kind::Read, 4096, 5), 1000);
        assert_eq!(faults.delay(Kind::Flush, 0, 5), 0);
        // A MiB takes a second, and the next one a second more.
        assert_eq!(faults.delay(Kind::Write, 1 << 20, 100), 1_000_000_000);
        assert_eq!(faults.delay(Kind::Write, 1 << 20, 200), 1_999_999_900);
        assert_eq!(
            faults.delay(Kind::Write, 1 << 19, 5_000_000_000),
            500_000_000
        );
        let clear = Injection {
            clear: Some(Clear),
            ..Injection::default()
        };
        assert!(!faults.is_empty());
        assert_eq!(faults.inject(&clear), Ok(()));
        assert!(faults.is_empty());
        assert_eq!(faults.delay(Kind::Write, 1 << 20, 0), 0);
    }
}
