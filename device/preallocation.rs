// SPDX-License-Identifier: GPL-2.0

//! Which zones have space allocated ahead of their write pointers.
//!
//! A file whose space is there can be made longer without waiting, so a zone that is written in
//! small pieces gets some for the writes to come. But what one zone keeps in reserve is missing
//! elsewhere when the file system is nearly full, and a device may have a million zones. So there
//! are a few places, and a zone without one does without the space. A place that was taken some
//! time ago may be taken over; the zone that had it gives back what it has not used. When the file
//! system has no space left, all of them do.

use core::mem::replace;
use kernel::{
    block::SECTOR_SHIFT,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SpinLock, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// So many zones of a device may have space allocated ahead at a time.
const NR_PLACES: usize = 64;

/// How much is allocated at a time, in sectors: 4 MiB.
pub(crate) const AHEAD_SECTORS: u64 = (4 << 20) >> SECTOR_SHIFT;

/// For so long a place can't be taken over. The zone may still be at it.
const TENURE: Delta = Delta::from_secs(1);

/// The zones that have space allocated ahead, or had it until they were written further.
#[pin_data]
pub(crate) struct AheadZones {
    #[pin]
    places: SpinLock<[Option<Place>; NR_PLACES]>,
}

/// A zone that has a place.
struct Place {
    zone: u32,
    since: Instant<Monotonic>,
}

/// The answer to a zone that wants a place.
#[must_use]
pub(crate) enum Answer {
    /// It has one.
    Granted,
    /// It has the one of this zone, which is to give back what it has not used.
    TakenOver(u32),
    /// There is none.
    Refused,
}

impl AheadZones {
    /// All places are free.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            places <- new_spinlock!([const { None }; NR_PLACES], "zloop_ahead"),
        })
    }

    /// Asks for a place for a zone, which may have one already. Does not sleep.
    pub(crate) fn ask(&self, zone: u32) -> Answer {
        let new = Place {
            zone,
            since: Instant::now(),
        };
        let mut places = self.places.lock();
        let its_own = |place: &&mut Option<Place>| place.as_ref().is_some_and(|p| p.zone == zone);
        if let Some(place) = places.iter_mut().find(its_own) {
            *place = Some(new);
            return Answer::Granted;
        }
        let may_be_taken =
            |place: &&mut Option<Place>| place.as_ref().is_none_or(|p| p.since.elapsed() >= TENURE);
        match places.iter_mut().find(may_be_taken) {
            Some(place) => match replace(place, Some(new)) {
                Some(previous) => Answer::TakenOver(previous.zone),
                None => Answer::Granted,
            },
            None => Answer::Refused,
        }
    }

    /// Takes the place of one of the zones away, which is to give back what it has not used. Does
    /// not sleep.
    pub(crate) fn take_away(&self) -> Option<u32> {
        let mut places = self.places.lock();
        let place = places.iter_mut().find_map(Option::take)?;
        Some(place.zone)
    }
}

/// Whether to try something that may be in vain: some file systems can't make a file longer without
/// waiting, and the others have to wait now and then. They do so in each tick of the kernel's clock
/// to note when the file was last changed.
///
/// What fails less often than one time in [`COST`](Self::COST) goes on being tried. What always
/// fails is tried once after each pause, which is counted in questions: a write that goes through
/// the workqueue has two, whether to write at once and whether to allocate ahead.
pub(crate) struct Eagerness {
    /// How many failures are put up with, times [`COST`](Self::COST). If it is negative, so many
    /// questions are answered with no.
    credit: Atomic<i32>,
}

impl Eagerness {
    /// What a failure costs; each question earns one.
    const COST: i32 = 4;

    /// There is no more credit than this.
    const MAX: i32 = 4 * Self::COST;

    /// The pause when the credit is used up.
    const PAUSE: i32 = 256;

    pub(crate) fn new() -> Self {
        Self {
            credit: Atomic::new(Self::MAX),
        }
    }

    /// Whether to try it this time.
    pub(crate) fn is_worth_trying(&self) -> bool {
        let credit = self.credit.load(Relaxed);
        if credit < Self::MAX {
            // It doesn't matter if several tasks make it a little more than the most.
            let _ = self.credit.fetch_add(1, Relaxed);
        }
        credit >= 0
    }

    /// Notes that it was tried in vain.
    pub(crate) fn failed(&self) {
        if self.credit.fetch_sub(Self::COST, Relaxed) <= Self::COST {
            self.credit.store(-Self::PAUSE, Relaxed);
        }
    }
}
