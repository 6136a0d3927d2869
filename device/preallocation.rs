// SPDX-License-Identifier: GPL-2.0

//! Preallocation of file system space ahead of the write pointers.
//!
//! A file can be made longer without waiting if its space is allocated. So a zone that is written
//! in small pieces allocates space for the next writes. This space is missing elsewhere when the
//! file system is nearly full, and a device may have a million zones. So the number of zones with
//! preallocated space is limited: each needs a slot. A zone can take over a slot that was last
//! requested some time ago; the previous zone then gives its unused space back. When the file
//! system is full, all zones give their unused space back.

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

/// The largest number of zones with preallocated space.
const NR_SLOTS: usize = 64;

/// The size of one preallocation in sectors: 4 MiB.
pub(crate) const PREALLOC_SECTORS: u64 = (4 << 20) >> SECTOR_SHIFT;

/// A slot that was requested more recently can't be taken over: the zone is still being written.
const MIN_HOLD: Delta = Delta::from_secs(1);

/// The slots of a device. A zone may keep its slot after it has used the space.
#[pin_data]
pub(crate) struct PreallocatedZones {
    #[pin]
    slots: SpinLock<[Option<PreallocSlot>; NR_SLOTS]>,
}

/// A slot in use.
struct PreallocSlot {
    /// The number of the zone on the device.
    zone: u32,
    /// When the zone last requested it.
    since: Instant<Monotonic>,
}

/// The result of [`PreallocatedZones::request_slot`].
#[must_use]
pub(crate) enum Reservation {
    /// The zone has a slot.
    Granted,
    /// The zone has the slot of this other zone, which must give its unused space back.
    TakenOver(u32),
    /// No slot is free.
    Refused,
}

impl PreallocatedZones {
    /// Makes the slots, all of them free.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            slots <- new_spinlock!([const { None }; NR_SLOTS], "zloop_prealloc"),
        })
    }

    /// Requests a slot for a zone, which may have one already. Does not sleep.
    pub(crate) fn request_slot(&self, zone: u32) -> Reservation {
        let new = PreallocSlot {
            zone,
            since: Instant::now(),
        };
        let mut slots = self.slots.lock();
        let its_own =
            |slot: &&mut Option<PreallocSlot>| slot.as_ref().is_some_and(|p| p.zone == zone);
        if let Some(slot) = slots.iter_mut().find(its_own) {
            *slot = Some(new);
            return Reservation::Granted;
        }
        let may_be_taken = |slot: &&mut Option<PreallocSlot>| {
            slot.as_ref().is_none_or(|p| p.since.elapsed() >= MIN_HOLD)
        };
        match slots.iter_mut().find(may_be_taken) {
            Some(slot) => match replace(slot, Some(new)) {
                Some(previous) => Reservation::TakenOver(previous.zone),
                None => Reservation::Granted,
            },
            None => Reservation::Refused,
        }
    }

    /// Frees a slot and returns its zone, which must give its unused space back. Does not sleep.
    pub(crate) fn free_slot(&self) -> Option<u32> {
        let mut slots = self.slots.lock();
        let slot = slots.iter_mut().find_map(Option::take)?;
        Some(slot.zone)
    }
}

/// Backs off from extending files with `IOCB_NOWAIT` where the file system returns EAGAIN.
///
/// Some file systems can't do it at all; the others fail now and then. Each failure costs
/// [`COST`](Self::COST) credits and each question earns one. If fewer than one in `COST` attempts
/// fails, the driver always tries. If all fail, it tries once after each pause. A pause is counted
/// in questions. A write may ask twice: whether to write at once, and then whether to preallocate.
pub(crate) struct NowaitBackoff {
    /// The credits. While they are negative, the answer is no.
    credit: Atomic<i32>,
}

// ORDERING: `Relaxed`, all of them: the credit is an estimate. The caller does not rely on the
// answer, as the file system refuses what it can't do.
impl NowaitBackoff {
    /// The cost of a failure.
    const COST: i32 = 4;

    /// The largest credit.
    const MAX: i32 = 4 * Self::COST;

    /// The length of a pause.
    const PAUSE: i32 = 256;

    pub(crate) fn new() -> Self {
        Self {
            credit: Atomic::new(Self::MAX),
        }
    }

    /// Whether to try it now.
    pub(crate) fn is_worth_trying(&self) -> bool {
        let credit = self.credit.load(Relaxed);
        if credit < Self::MAX {
            // Several tasks may exceed the largest credit by a little, which does no harm.
            let _ = self.credit.fetch_add(1, Relaxed);
        }
        credit >= 0
    }

    /// Notes a failure.
    pub(crate) fn failed(&self) {
        if self.credit.fetch_sub(Self::COST, Relaxed) <= Self::COST {
            self.credit.store(-Self::PAUSE, Relaxed);
        }
    }
}
