// SPDX-License-Identifier: GPL-2.0

//! Faults that a command injects into a device that is there.
//!
//! `fault.rs` has the rules. Whether a request meets the faults is decided when it arrives, and the
//! request carries that along. They are asked where it is about to be carried out, by whoever may
//! sleep: a request that meets faults is not done at once. Without any, it costs the reading of
//! one flag. Faults are gone when the device is removed.

use crate::fault::{
    Arrival,
    Faults,
    Injection,
    Kind,
    Sectors,
    Spoiled,
    TooMany,
    ZoneCommand, //
};
use kernel::{
    block::SECTOR_SHIFT,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        SpinLock, //
    },
    time::{
        delay::fsleep,
        Delta,
        Instant,
        Monotonic, //
    },
    types::ScopeGuard,
};

/// How many rows of bad sectors a device can have, for reads and for writes.
pub(crate) const MAX_ROWS: usize = 512;

/// The faults of a device.
#[pin_data]
pub(crate) struct FaultInjection {
    /// Whether requests have to ask for them.
    armed: AtomicFlag,
    #[pin]
    inner: SpinLock<Inner>,
    /// Where the clock of the faults begins.
    epoch: Instant<Monotonic>,
}

struct Inner {
    faults: Faults<KVec<Sectors>>,
    mode: Mode,
}

impl Inner {
    fn are_armed(&self) -> bool {
        self.mode == Mode::Active && !self.faults.is_empty()
    }
}

/// Whether requests meet faults.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They do.
    Active,
    /// They don't: somebody waits for their ends, and must not wait for ever.
    Suspended,
}

impl FaultInjection {
    /// No faults, with room for some.
    pub(crate) fn new() -> Result<impl PinInit<Self>> {
        let none = Sectors::new(0, 0).ok_or(EINVAL)?;
        let rows = || KVec::from_elem(none, MAX_ROWS, GFP_KERNEL);
        let faults = Faults::new(rows()?, rows()?);
        Ok(pin_init!(Self {
            armed: AtomicFlag::new(false),
            inner <- new_spinlock!(
                Inner { faults, mode: Mode::Active },
                "zloop_faults"
            ),
            epoch: Instant::now(),
        }))
    }

    /// Does what a command asks for.
    pub(crate) fn inject(&self, injection: &Injection) -> Result<(), TooMany> {
        let mut inner = self.inner.lock();
        let result = inner.faults.inject(injection);
        self.armed.store(inner.are_armed(), Relaxed);
        result
    }

    /// Has requests be carried out as if there were no faults, for who waits for all that are under
    /// way. They are there again when the result is dropped. One at a time does this.
    pub(crate) fn suspend(&self) -> impl Drop + '_ {
        self.set_mode(Mode::Suspended);
        ScopeGuard::new(|| self.set_mode(Mode::Active))
    }

    fn set_mode(&self, mode: Mode) {
        let mut inner = self.inner.lock();
        inner.mode = mode;
        self.armed.store(inner.are_armed(), Relaxed);
    }

    /// Whether there are any faults. Those who find none need not ask.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Relaxed)
    }

    /// Asks the faults, if there are any. What that was the last of is forgotten.
    fn ask<R>(&self, question: impl FnOnce(&mut Faults<KVec<Sectors>>) -> R) -> Option<R> {
        if !self.is_armed() {
            return None;
        }
        let mut inner = self.inner.lock();
        let answer = inner.are_armed().then(|| question(&mut inner.faults));
        self.armed.store(inner.are_armed(), Relaxed);
        answer
    }

    /// What becomes of a request that has just arrived.
    pub(crate) fn arrive(&self) -> Arrival {
        self.ask(Faults::arrive).unwrap_or(Arrival::Normal)
    }

    /// Whether a command for a zone fails.
    pub(crate) fn fails(&self, command: ZoneCommand) -> bool {
        self.ask(|faults| faults.fails(command)).unwrap_or(false)
    }

    /// Whether a read of `sectors` of the device from `first` on fails.
    pub(crate) fn spoils_read(&self, first: u64, sectors: u64) -> bool {
        self.ask(|faults| range(first, sectors).is_some_and(|range| faults.spoils_read(range)))
            .unwrap_or(false)
    }

    /// Has a write of `sectors` of the device from `first` on wait, and says how much is written of
    /// it, in blocks of `block` sectors, before it fails: so many bytes, or all if it does not. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// EIO if it is nothing.
    pub(crate) fn spoil_write(&self, first: u64, sectors: u64, block: u64) -> Result<Option<u64>> {
        self.delay(Kind::Write, sectors << SECTOR_SHIFT);
        let spoiled = self
            .ask(|faults| faults.spoils_write(range(first, sectors)?, block))
            .flatten();
        match spoiled {
            None => Ok(None),
            Some(Spoiled { sectors: 0 }) => Err(EIO),
            Some(Spoiled { sectors }) => Ok(Some(sectors << SECTOR_SHIFT)),
        }
    }

    /// Whether a write of `sectors` of the device from `first` on would fail.
    pub(crate) fn would_spoil_write(&self, first: u64, sectors: u64) -> bool {
        self.ask(|faults| {
            range(first, sectors).is_some_and(|range| faults.would_spoil_write(range))
        })
        .unwrap_or(false)
    }

    /// Waits as long as a request of so many bytes is to take longer; may sleep.
    pub(crate) fn delay(&self, kind: Kind, bytes: u64) {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(0);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut left = self
            .ask(|faults| faults.delay(kind, bytes, now))
            .unwrap_or(0);
        // A sleep has a longest length, and a command in between may take back what is asked for.
        while left > 0 && self.is_armed() {
            let nanos = left.min(NSEC_PER_SEC);
            // CAST: It is a second at most.
            fsleep(Delta::from_nanos(nanos as i64));
            left = left.saturating_sub(nanos);
        }
    }
}

const NSEC_PER_SEC: u64 = 1_000_000_000;

fn range(first: u64, sectors: u64) -> Option<Sectors> {
    Sectors::new(first, first.checked_add(sectors)?.checked_sub(1)?)
}
