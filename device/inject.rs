// SPDX-License-Identifier: GPL-2.0

//! Fault injection into a device.
//!
//! `fault.rs` has the rules. `queue_rq` decides whether the faults apply to a request, and the
//! request carries this decision. The faults are applied where the request is carried out, in a
//! context that may sleep. Without faults this costs the read of one flag. The faults end with the
//! device.

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

/// The largest number of ranges of bad sectors of a device, for reads and for writes each.
pub(crate) const MAX_RANGES: usize = 512;

/// The faults of a device.
#[pin_data]
pub(crate) struct FaultInjection {
    /// Whether requests have to check the faults.
    armed: AtomicFlag,
    #[pin]
    inner: SpinLock<Inner>,
    /// The faults' clock starts here.
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

/// Whether faults apply to new requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They do, if there are any.
    Active,
    /// They don't: a task drains the requests, which must all end.
    Suspended,
}

// ORDERING: `Relaxed`, all of them. The flag only tells whether to lock `inner`, which has the
// truth. A task that knows of the end of a command sees the flag of that command.
impl FaultInjection {
    /// Makes an empty set of faults, with room for bad sectors.
    pub(crate) fn new() -> Result<impl PinInit<Self>> {
        let none = Sectors::new(0, 0).ok_or(EINVAL)?;
        let rows = || KVec::from_elem(none, MAX_RANGES, GFP_KERNEL);
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

    /// Carries out an `inject` command.
    pub(crate) fn inject(&self, injection: &Injection) -> Result<(), TooMany> {
        let mut inner = self.inner.lock();
        let result = inner.faults.inject(injection);
        self.armed.store(inner.are_armed(), Relaxed);
        result
    }

    /// Suspends injection until the result is dropped, while the caller drains the requests under
    /// way. One task at a time may do this.
    pub(crate) fn suspend(&self) -> impl Drop + '_ {
        self.set_mode(Mode::Suspended);
        ScopeGuard::new(|| self.set_mode(Mode::Active))
    }

    fn set_mode(&self, mode: Mode) {
        let mut inner = self.inner.lock();
        inner.mode = mode;
        self.armed.store(inner.are_armed(), Relaxed);
    }

    /// Whether there are faults to check.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Relaxed)
    }

    /// Calls `question` with the faults, unless there are none.
    fn ask<R>(&self, question: impl FnOnce(&mut Faults<KVec<Sectors>>) -> R) -> Option<R> {
        if !self.is_armed() {
            return None;
        }
        let mut inner = self.inner.lock();
        let answer = inner.are_armed().then(|| question(&mut inner.faults));
        self.armed.store(inner.are_armed(), Relaxed);
        answer
    }

    /// Decides whether a new request is lost, requeued, or carried out.
    pub(crate) fn arrive(&self) -> Arrival {
        self.ask(Faults::arrive).unwrap_or(Arrival::Normal)
    }

    /// Whether a zone management command fails.
    pub(crate) fn fails(&self, command: ZoneCommand) -> bool {
        self.ask(|faults| faults.fails(command)).unwrap_or(false)
    }

    /// Whether a read of `sectors` of the device from `first` on fails.
    pub(crate) fn spoils_read(&self, first: u64, sectors: u64) -> bool {
        self.ask(|faults| range(first, sectors).is_some_and(|range| faults.spoils_read(range)))
            .unwrap_or(false)
    }

    /// Delays a write of `sectors` of the device from `first` on, and returns the number of bytes
    /// that are written before it fails, in blocks of `block` sectors. [`None`] if it does not
    /// fail. May sleep.
    ///
    /// # Errors
    ///
    /// EIO if it fails and nothing is written.
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

    /// Waits for the injected delay of a request of this number of bytes; may sleep.
    pub(crate) fn delay(&self, kind: Kind, bytes: u64) {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(0);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut left = self
            .ask(|faults| faults.delay(kind, bytes, now))
            .unwrap_or(0);
        // One sleep has a maximum, and a command may remove the delay meanwhile.
        while left > 0 && self.is_armed() {
            let nanos = left.min(NSEC_PER_SEC);
            // CAST: At most one second.
            fsleep(Delta::from_nanos(nanos as i64));
            left = left.saturating_sub(nanos);
        }
    }
}

const NSEC_PER_SEC: u64 = 1_000_000_000;

fn range(first: u64, sectors: u64) -> Option<Sectors> {
    Sectors::new(first, first.checked_add(sectors)?.checked_sub(1)?)
}
