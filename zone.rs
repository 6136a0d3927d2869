// SPDX-License-Identifier: GPL-2.0

//! The zone model: the state of a sequential write required zone, and the effect of each command.
//!
//! A zone is a range of sectors that can be written only in order. Its [`WritePointer`] is the
//! position of the next write. [`ZoneState::reset`] moves it back to the start. The zone is full
//! when the write pointer is at the zone's *capacity*, which may be less than its length.
//!
//! Writing takes resources of a device. So the device may limit the number of zones that are *open*
//! (being written) and the number of zones that are *active* (open, or closed with room left).
//! [`OpenZones`] has the shares of all zones of the device in these resources. A zone itself has
//! only its write pointer and its [`Health`]. The [`Condition`] that a report shows **follows**
//! from these three. It is not stored anywhere:
//!
//! ```text
//!   health           read-only or offline,           -> ReadOnly, Offline
//!                    as found or as declared
//!   write pointer    at the capacity                 -> Full
//!   open set         holds the zone                  -> ImplicitOpen, ExplicitOpen
//!   write pointer    at the start / further          -> Empty / Closed
//! ```
//!
//! So a zone can be closed to make room for another one without a change of its own state. It is
//! taken out of the set, and its new condition follows from its write pointer.
//!
//! Each command is a method of [`ZoneState`] that takes the zone (`self`) and the set. It either
//! does all of its work, or returns a [`ZoneError`] and changes nothing.
//!
//! This code does not depend on the kernel: it has no locks, no files and no allocation. The caller
//! serialises the commands of a zone and locks the set. The methods of the set take constant time
//! and never sleep, so the lock may be a spinlock.
//!
//! All positions are in sectors of 512 bytes, relative to the zone's start.
//!
//! Sources: ZBC-2 (T10 BSR INCITS 550) section 4.4, and NVMe Zoned Namespace Command Set 1.1
//! section 2.1 where it differs.

pub(crate) mod atomics;
mod condition;
pub(crate) mod declaration;
pub(crate) mod dirty_zones;
pub(crate) mod durability;
mod error;
pub(crate) mod open_zones;
pub(crate) mod queue;
#[cfg(any(test, CONFIG_KUNIT = "y"))]
pub(crate) mod tests;

pub(crate) use condition::{
    Condition,
    Failure, //
};
pub(crate) use error::ZoneError;

use open_zones::{
    OpenZones,
    Share,
    Slots, //
};

/// The health of the medium below a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Health {
    /// The zone can be read and written.
    Good,
    /// The zone can be read but not written.
    ReadOnly,
    /// The zone can't be used.
    Offline,
}

impl From<Failure> for Health {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ReadOnly => Self::ReadOnly,
            Failure::Offline => Self::Offline,
        }
    }
}

/// The position that a write asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// This sector of the zone. It must be the write pointer.
    Sector(u64),
    /// The current write pointer: a zone append.
    WritePointer,
}

/// The position of a zone's next write.
///
/// # Invariants
///
/// `sector <= capacity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WritePointer {
    sector: u64,
    capacity: u64,
}

impl WritePointer {
    /// A write pointer at `sector` of a zone of `capacity` sectors; [`None`] if `sector` is beyond
    /// the capacity.
    pub(crate) fn new(sector: u64, capacity: u64) -> Option<Self> {
        // INVARIANT: Checked here.
        (sector <= capacity).then_some(Self { sector, capacity })
    }

    /// The write pointer of a zone of `capacity` sectors whose file has `bytes` bytes. [`None`] if
    /// the file ends inside a block of `block_size` bytes or beyond the capacity.
    ///
    /// The rest after the last whole block is not cut off: it may be data of a device with smaller
    /// blocks.
    pub(crate) fn at_end_of_file(bytes: u64, block_size: u32, capacity: u64) -> Option<Self> {
        // A block is one sector or several.
        match bytes.checked_rem(u64::from(block_size)) {
            Some(0) => Self::new(bytes / 512, capacity),
            _ => None,
        }
    }

    /// The position of the next write, in sectors from the zone's start.
    pub(crate) fn sector(self) -> u64 {
        self.sector
    }

    /// Whether nothing is written.
    pub(crate) fn is_empty(self) -> bool {
        self.sector == 0
    }

    /// Whether nothing more can be written.
    pub(crate) fn is_full(self) -> bool {
        self.sector == self.capacity
    }

    /// The write pointer after a write of `sectors` to `target`.
    fn after_write(self, target: Target, sectors: u64) -> Result<Self, ZoneError> {
        if let Target::Sector(sector) = target {
            if sector != self.sector {
                return Err(ZoneError::NotAtWritePointer(self.sector));
            }
        }
        // INVARIANT: `new` checks it.
        self.sector
            .checked_add(sectors)
            .and_then(|sector| Self::new(sector, self.capacity))
            .ok_or(ZoneError::BeyondCapacity(self.capacity))
    }

    fn at_start(self) -> Self {
        Self { sector: 0, ..self }
    }

    fn at_capacity(self) -> Self {
        Self {
            sector: self.capacity,
            ..self
        }
    }
}

/// The state of a sequential write required zone, without its share in the open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ZoneState {
    /// The zone's index in the [`OpenZones`] of its device.
    index: u32,
    wp: WritePointer,
    /// The medium's health when it was last found out.
    health: Health,
    /// The declared failure. Until it is taken back, the zone's condition can be worse than this,
    /// but not better.
    declared: Option<Failure>,
}

impl ZoneState {
    /// The zone at `index` of a set, with the write pointer of the medium.
    ///
    /// For a zone that is neither empty nor full, the caller must also call [`OpenZones::admit`].
    pub(crate) fn new(index: u32, wp: WritePointer) -> Self {
        Self {
            index,
            wp,
            health: Health::Good,
            declared: None,
        }
    }

    /// The write pointer.
    pub(crate) fn write_pointer(&self) -> WritePointer {
        self.wp
    }

    /// The zone's condition in a report.
    pub(crate) fn condition<S: Slots>(&self, set: &OpenZones<S>) -> Condition {
        match (self.health(), set.share(self.index)) {
            (Health::Offline, _) => Condition::Offline,
            (Health::ReadOnly, _) => Condition::ReadOnly,
            (Health::Good, _) if self.wp.is_full() => Condition::Full,
            (Health::Good, Share::Implicit) => Condition::ImplicitOpen,
            (Health::Good, Share::Explicit) => Condition::ExplicitOpen,
            (Health::Good, Share::None | Share::Active) if self.wp.is_empty() => Condition::Empty,
            (Health::Good, Share::None | Share::Active) => Condition::Closed,
        }
    }

    /// The worse one of the medium's health and the declared failure.
    fn health(&self) -> Health {
        match (self.health, self.declared.map(Health::from)) {
            (Health::Offline, _) | (_, Some(Health::Offline)) => Health::Offline,
            (Health::ReadOnly, _) | (_, Some(Health::ReadOnly)) => Health::ReadOnly,
            (Health::Good, None | Some(Health::Good)) => Health::Good,
        }
    }

    /// Returns an error if the zone is full, read-only or offline.
    fn check_writable<S: Slots>(&self, set: &OpenZones<S>) -> Result<(), ZoneError> {
        match self.condition(set) {
            cond @ (Condition::Full | Condition::ReadOnly | Condition::Offline) => {
                Err(ZoneError::InvalidCondition(cond))
            }
            _ => Ok(()),
        }
    }

    /// Reserves `sectors` for a write to `target`, and returns the first one.
    ///
    /// Opens the zone implicitly if it is not open. A write that fills the zone does not free the
    /// zone's open slot until it has succeeded: see [`Self::written`]. If the write fails, the zone
    /// needs its slot again.
    pub(crate) fn write<S: Slots>(
        &mut self,
        set: &mut OpenZones<S>,
        target: Target,
        sectors: u64,
    ) -> Result<u64, ZoneError> {
        self.check_writable(set)?;
        let after = self.wp.after_write(target, sectors)?;
        set.open_implicitly(self.index)?;
        set.set_has_data(self.index);
        let start = self.wp.sector;
        self.wp = after;
        Ok(start)
    }

    /// Notes that all data up to the write pointer is on the medium. A full zone gives back its
    /// share.
    pub(crate) fn written<S: Slots>(&mut self, set: &mut OpenZones<S>) {
        if self.wp.is_full() {
            set.remove(self.index);
        }
    }

    /// Opens the zone explicitly.
    pub(crate) fn open<S: Slots>(&self, set: &mut OpenZones<S>) -> Result<(), ZoneError> {
        self.check_writable(set)?;
        set.open_explicitly(self.index)
    }

    /// Closes an open zone. Closing a closed zone changes nothing and is no error.
    pub(crate) fn close<S: Slots>(&self, set: &mut OpenZones<S>) -> Result<(), ZoneError> {
        match self.condition(set) {
            Condition::ImplicitOpen | Condition::ExplicitOpen => {
                set.close(self.index);
                Ok(())
            }
            Condition::Closed => Ok(()),
            cond => Err(ZoneError::InvalidCondition(cond)),
        }
    }

    /// Begins to finish the zone: acquires the resources.
    ///
    /// A finish is a write up to the end of the zone, so it needs the resources of a write. The
    /// caller then changes the medium, and calls [`Self::finished`] or [`Self::not_finished`].
    pub(crate) fn finish<S: Slots>(&self, set: &mut OpenZones<S>) -> Result<Finish, ZoneError> {
        match self.condition(set) {
            Condition::Full => Ok(Finish::Nothing),
            cond @ (Condition::ReadOnly | Condition::Offline) => {
                Err(ZoneError::InvalidCondition(cond))
            }
            Condition::ImplicitOpen | Condition::ExplicitOpen => {
                Ok(Finish::Medium(PreviousShare::Open))
            }
            _ => {
                set.open_implicitly(self.index)?;
                Ok(Finish::Medium(PreviousShare::NotOpen))
            }
        }
    }

    /// Completes a finish: the medium is filled.
    pub(crate) fn finished<S: Slots>(&mut self, set: &mut OpenZones<S>) {
        self.wp = self.wp.at_capacity();
        set.remove(self.index);
    }

    /// Takes back a finish after the medium could not be changed.
    pub(crate) fn not_finished<S: Slots>(&self, set: &mut OpenZones<S>, previous: PreviousShare) {
        if let PreviousShare::NotOpen = previous {
            set.close(self.index);
        }
    }

    /// Returns the work of a reset on the medium; [`Self::emptied`] completes it.
    pub(crate) fn reset<S: Slots>(&self, set: &OpenZones<S>) -> Result<Reset, ZoneError> {
        match self.condition(set) {
            cond @ (Condition::ReadOnly | Condition::Offline) => {
                Err(ZoneError::InvalidCondition(cond))
            }
            _ if self.wp.is_empty() => Ok(Reset::Nothing),
            _ => Ok(Reset::Medium),
        }
    }

    /// Completes a reset: the medium has no data. The zone gives back its share.
    pub(crate) fn emptied<S: Slots>(&mut self, set: &mut OpenZones<S>) {
        self.wp = self.wp.at_start();
        set.remove(self.index);
    }

    /// Sets the write pointer to that of the medium, after a failed write.
    ///
    /// An open zone stays open. A zone that is not open and has no data gives back its share. The
    /// medium's health is good again. A declared failure stays.
    pub(crate) fn repair<S: Slots>(&mut self, set: &mut OpenZones<S>, wp: WritePointer) {
        self.wp = wp;
        self.health = Health::Good;
        if wp.is_full() || self.declared.is_some() {
            set.remove(self.index);
        } else if wp.is_empty() {
            set.clear_has_data(self.index);
        } else if set.share(self.index) == Share::None {
            set.admit(self.index);
        } else {
            set.set_has_data(self.index);
        }
    }

    /// Notes that the medium has failed. The zone gives back its share.
    pub(crate) fn fail<S: Slots>(&mut self, set: &mut OpenZones<S>, failure: Failure) {
        self.health = failure.into();
        set.remove(self.index);
    }

    /// Declares that the medium has failed, without a real failure. The zone gives back its share.
    pub(crate) fn declare_failed<S: Slots>(&mut self, set: &mut OpenZones<S>, failure: Failure) {
        self.declared = Some(failure);
        set.remove(self.index);
    }

    /// Takes back the declared failure. Until [`Self::repair`] or [`Self::fail`] reports the state
    /// of the medium, the condition follows from the write pointer.
    pub(crate) fn declare_good<S: Slots>(&mut self, set: &mut OpenZones<S>) {
        self.declared = None;
        if self.health == Health::Good {
            self.repair(set, self.wp);
        }
    }

    /// The declared failure.
    pub(crate) fn declared(&self) -> Option<Failure> {
        self.declared
    }
}

/// The work of a finish on the medium.
#[must_use = "a finish that has begun must be completed or taken back"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// No work: the zone is full.
    Nothing,
    /// Fill the rest of the zone.
    Medium(PreviousShare),
}

/// The share of a zone before a finish began.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PreviousShare {
    /// The zone was open, implicitly or explicitly.
    Open,
    /// The zone was empty or closed. The finish has opened it.
    NotOpen,
}

/// The work of a reset on the medium.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// No work: the zone has no data.
    Nothing,
    /// Discard the zone's data.
    Medium,
}
