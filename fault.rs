// SPDX-License-Identifier: GPL-2.0

//! The rules of injected faults.
//!
//! [`Injection`] has the contents of one command. [`Faults`] has the sum of all commands: the bad
//! sectors, the number of requests that fail, and the delays. Names, units and meanings are those
//! of `null_blk` where it has the same fault.
//!
//! This code does not depend on the kernel, does not allocate and does not wait. The caller holds
//! the lock.

pub(crate) mod power_loss;

use core::fmt;
use core::num::NonZeroU32;
use core::ops::DerefMut;

/// A range of sectors, by their numbers on the device.
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

    /// The last sector.
    pub(crate) fn last(self) -> u64 {
        self.last
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether the ranges overlap or are adjacent.
    fn touches(self, other: Self) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }

    /// Whether removing `other` leaves sectors on both sides of it.
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

/// There is no room for another range of bad sectors. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// A set of bad sectors. Its ranges are in any order; they do not overlap and are not adjacent.
pub(crate) struct BadSectors<S> {
    ranges: S,
    len: usize,
}

impl<S: DerefMut<Target = [Sectors]>> BadSectors<S> {
    /// An empty set that can hold `ranges.len()` ranges.
    pub(crate) fn new(ranges: S) -> Self {
        Self { ranges, len: 0 }
    }

    fn ranges(&self) -> &[Sectors] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, range: Sectors) -> Result<(), TooMany> {
        *self.ranges.get_mut(self.len).ok_or(TooMany)? = range;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Removes the ranges for which `remove` is true.
    fn remove(&mut self, remove: impl Fn(Sectors) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            let Some(&range) = self.ranges.get(at) else {
                break;
            };
            if !remove(range) {
                if let Some(slot) = self.ranges.get_mut(kept) {
                    *slot = range;
                }
                kept = kept.saturating_add(1);
            }
        }
        self.len = kept;
    }

    /// Whether there is room for these changes, one after the other.
    ///
    /// The need of the second change may depend on the first one, so it is counted as one range.
    fn has_room_for(&self, changes: [Option<BadBlocks>; 2]) -> bool {
        let mut changes = changes.into_iter().flatten();
        let first = changes.next().is_some_and(|first| self.adds_range(first));
        let needed = changes.count().saturating_add(first.into());
        self.ranges.len().saturating_sub(self.len) >= needed
    }

    /// Whether a change makes the number of ranges larger by one.
    fn adds_range(&self, change: BadBlocks) -> bool {
        match change {
            BadBlocks::Set(bad) => !self.ranges().iter().any(|range| range.touches(bad)),
            BadBlocks::Clear(good) => self.ranges().iter().any(|range| range.is_split_by(good)),
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
        // INVARIANT: The range only grows.
        let joined = self
            .ranges()
            .iter()
            .copied()
            .filter(|range| range.touches(bad))
            .fold(bad, |a, b| Sectors {
                first: a.first.min(b.first),
                last: a.last.max(b.last),
            });
        self.remove(|range| range.touches(bad));
        self.push(joined)
    }

    /// Makes sectors good.
    pub(crate) fn clear(&mut self, good: Sectors) -> Result<(), TooMany> {
        let before = |range: Sectors| Sectors::new(range.first, good.first.checked_sub(1)?);
        let after = |range: Sectors| Sectors::new(good.last.checked_add(1)?, range.last);
        if !self.has_room_for([Some(BadBlocks::Clear(good)), None]) {
            return Err(TooMany);
        }
        // At most one range begins before the good sectors, and at most one ends after them.
        let overlaps = |range: &Sectors| range.overlaps(good);
        let mut rest = [None; 2];
        for &range in self.ranges().iter().filter(|range| overlaps(range)) {
            rest = [rest[0].or(before(range)), rest[1].or(after(range))];
        }
        self.remove(|range| range.overlaps(good));
        rest.into_iter()
            .flatten()
            .try_for_each(|range| self.push(range))
    }

    /// Makes all sectors good.
    pub(crate) fn clear_all(&mut self) {
        self.len = 0;
    }

    /// The range that has the first bad sector of `sectors`.
    pub(crate) fn find(&self, sectors: Sectors) -> Option<Sectors> {
        self.ranges()
            .iter()
            .copied()
            .filter(|range| range.overlaps(sectors))
            .min_by_key(|range| range.first)
    }
}

/// A change of the set of bad sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadBlocks {
    /// `+first-last`: these sectors become bad.
    Set(Sectors),
    /// `-first-last`: these sectors become good.
    Clear(Sectors),
}

/// The time for which a bad sector stays bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Until a command clears it.
    #[default]
    Always,
    /// Until the first read or write of it: `badblocks_once`.
    Once,
}

/// The effect of a write that meets a bad sector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum BadWrite {
    /// It writes nothing.
    #[default]
    Nothing,
    /// It writes the whole blocks before the bad sector: `badblocks_partial_io`.
    Partial,
}

/// The zone commands that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneCommand {
    /// Open a zone.
    Open,
    /// Close a zone.
    Close,
    /// Finish a zone.
    Finish,
    /// Reset one zone or all zones.
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

/// A value for each [`ZoneCommand`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerZoneCommand<T>([T; 4]);

impl<T> PerZoneCommand<T> {
    /// The value for `command`.
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

/// A value for each [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerKind<T>([T; 4]);

impl<T> PerKind<T> {
    /// The value for `kind`.
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

/// The contents of one command. A [`None`] leaves the fault as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Injection {
    /// Take back all faults that were injected before.
    pub(crate) clear: Option<Clear>,
    /// Bad sectors for reads and writes.
    pub(crate) badblocks: Option<BadBlocks>,
    /// Bad sectors for reads.
    pub(crate) badblocks_read: Option<BadBlocks>,
    /// Bad sectors for writes.
    pub(crate) badblocks_write: Option<BadBlocks>,
    /// The time for which bad sectors stay bad.
    pub(crate) lasting: Option<Lasting>,
    /// The effect of a write to bad sectors.
    pub(crate) bad_write: Option<BadWrite>,
    /// The number of next commands of each kind that fail.
    pub(crate) fail: PerZoneCommand<Option<u32>>,
    /// The number of next requests that get lost. They end when they time out.
    pub(crate) timeout: Option<u32>,
    /// The number of next requests that the block layer has to requeue.
    pub(crate) requeue: Option<u32>,
    /// The delay of each request of a kind, in nanoseconds.
    pub(crate) nsec: PerKind<Option<u32>>,
    /// The bandwidth of a kind of requests, in MiB per second; 0 is no limit.
    pub(crate) mbps: PerKind<Option<u32>>,
}

/// A request to take back all faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clear;

/// A write meets a bad sector and fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spoiled {
    /// The number of sectors that are written before the write fails.
    pub(crate) sectors: u64,
}

/// The effect of the faults on a request that has just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is carried out.
    Normal,
    /// It is queued again.
    Requeued,
    /// It gets lost.
    Lost,
}

/// All current faults of a device.
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
    /// The time at which the transfers end that `mbps` slows down, in nanoseconds of the caller's
    /// clock.
    done_at: PerKind<u64>,
}

impl<S: DerefMut<Target = [Sectors]>> Faults<S> {
    /// No faults, with room for the bad sectors of reads and writes.
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

    /// Injects the faults of a command.
    ///
    /// # Errors
    ///
    /// There is no room for more bad sectors. Nothing has changed then.
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

    /// Whether there are no faults.
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty()
            && self.writes.is_empty()
            && self.fail == PerZoneCommand::default()
            && (self.timeout, self.requeue) == (0, 0)
            && self.nsec == PerKind::default()
            && self.mbps == PerKind::default()
    }

    /// Decides the effect on a request that has just arrived.
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

    /// Whether a write of these sectors fails. They are whole blocks of `block` sectors.
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
            // A set always has room to clear a whole range. In the other set it may be a part of a
            // larger range. It stays bad there if there is no room to split that range.
            let _ = self.reads.clear(bad);
            let _ = self.writes.clear(bad);
        }
    }

    /// The delay in nanoseconds of a request of `bytes` bytes that is carried out at `now`, in
    /// nanoseconds of a monotonic clock.
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

/// Takes one from `left`. Returns whether there was one.
fn take_one(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_fault))]
mod tests {
    use super::*;

    /// Storage for the sets of the tests.
    struct Ranges([Sectors; 4]);

    impl core::ops::Deref for Ranges {
        type Target = [Sectors];

        fn deref(&self) -> &[Sectors] {
            &self.0
        }
    }

    impl DerefMut for Ranges {
        fn deref_mut(&mut self) -> &mut [Sectors] {
            &mut self.0
        }
    }

    fn ranges() -> Ranges {
        Ranges([Sectors { first: 0, last: 0 }; 4])
    }

    fn sectors(first: u64, last: u64) -> Sectors {
        Sectors { first, last }
    }

    /// Whether exactly these of the first 64 sectors are bad, as bits.
    fn are_bad(set: &BadSectors<Ranges>, bits: u64) -> bool {
        (0..64).all(|n| set.find(sectors(n, n)).is_some() == (bits >> n & 1 != 0))
    }

    #[test]
    fn ranges_join_and_split() {
        let mut set = BadSectors::new(ranges());
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
        let mut set = BadSectors::new(ranges());
        for first in [0, 10, 20, 30] {
            assert_eq!(set.set(sectors(first, first + 4)), Ok(()));
        }
        assert_eq!(set.set(sectors(40, 40)), Err(TooMany));
        assert_eq!(set.clear(sectors(2, 2)), Err(TooMany));
        assert!(are_bad(&set, 0x7_c1f0_7c1f));
        // A change that needs no room succeeds.
        assert_eq!(set.set(sectors(5, 9)), Ok(()));
        assert_eq!(set.clear(sectors(2, 2)), Ok(()));
        assert!(are_bad(&set, 0x7_c1f0_7ffb));
    }

    #[test]
    fn first_bad_one_is_found() {
        let mut set = BadSectors::new(ranges());
        for first in [30, 10, 20] {
            assert_eq!(set.set(sectors(first, first + 4)), Ok(()));
        }
        assert_eq!(set.find(sectors(0, 9)), None);
        assert_eq!(set.find(sectors(0, 10)), Some(sectors(10, 14)));
        assert_eq!(set.find(sectors(12, 40)), Some(sectors(10, 14)));
        assert_eq!(set.find(sectors(15, 40)), Some(sectors(20, 24)));
    }

    fn faults(injection: Injection) -> Faults<Ranges> {
        let mut faults = Faults::new(ranges(), ranges());
        // If the injection failed, the tests would fail, too.
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
        // A write whose first block has the bad sector writes nothing.
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
        // A MiB takes a second. The next one takes another second.
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
