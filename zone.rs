// SPDX-License-Identifier: GPL-2.0

//! The zone model: what a sequential write required zone is, and what a command does to it.
//!
//! A zone is a range of sectors that can be written only in order. Its [`WritePointer`] says where
//! the next write goes; [`ZoneState::reset`] takes it back to the start, and at the zone's
//! *capacity*, which may be less than its length, the zone is full.
//!
//! Writing costs a device resources, so it may limit how many zones are *open* (being written) and
//! how many are *active* (open, or closed with room left). Who holds which resource is kept in one
//! place for the whole device, [`OpenZones`]; a zone itself knows only its write pointer and its
//! [`Health`]. From these three the condition that a report shows, [`Condition`], **follows**; it
//! is stored nowhere:
//!
//! ```text
//!   health           read-only or offline,           -> ReadOnly, Offline
//!                    as found or as declared
//!   write pointer    at the capacity                 -> Full
//!   open set         holds the zone                  -> ImplicitOpen, ExplicitOpen
//!   write pointer    at the start / further          -> Empty / Closed
//! ```
//!
//! That is why a zone can be closed to make room for another one without touching it: it is taken
//! out of the set, and what it is then follows from its own write pointer.
//!
//! Every command is one method of [`ZoneState`] that takes the zone (`self`) and the set. It either
//! does all of its work or returns a [`ZoneError`] and has changed nothing.
//!
//! Nothing here knows the kernel: no locks, no files, no allocation. The caller serialises the
//! commands of one zone and locks the set; a set's methods take constant time and never sleep, so
//! that a spinlock may be held around them.
//!
//! All positions are in sectors of 512 bytes relative to the zone's start.
//!
//! Sources: ZBC-2 (T10 BSR INCITS 550) section 4.4, and NVMe Zoned Namespace Command Set 1.1
//! section 2.1 where it differs.

pub(crate) mod atomics;
mod condition;
pub(crate) mod condition_override;
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
    /// The zone can be read only.
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

/// Where a write wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// To this sector of the zone, which must be the write pointer.
    Sector(u64),
    /// To the write pointer, wherever that is: a zone append.
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
    /// A write pointer at `sector` of a zone of `capacity` sectors, or [`None`] if that is beyond
    /// it.
    pub(crate) fn new(sector: u64, capacity: u64) -> Option<Self> {
        // INVARIANT: Checked here.
        (sector <= capacity).then_some(Self { sector, capacity })
    }

    /// The write pointer of a zone of `capacity` sectors whose file has `bytes` bytes, or [`None`]
    /// if no zone has such a file, as it ends within a block of `block_size` bytes or beyond the
    /// zone.
    ///
    /// A piece of a block may be data of a device with smaller blocks, so it is not cut off.
    pub(crate) fn at_end_of_file(bytes: u64, block_size: u32, capacity: u64) -> Option<Self> {
        // A block is one sector or several.
        match bytes.checked_rem(u64::from(block_size)) {
            Some(0) => Self::new(bytes / 512, capacity),
            _ => None,
        }
    }

    /// Where the next write goes, in sectors from the zone's start.
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

/// The state of a sequential write required zone, but for its share in the open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ZoneState {
    /// The zone's index in the [`OpenZones`] of its device.
    index: u32,
    wp: WritePointer,
    /// The medium's health at the last look.
    health: Health,
    /// The declared failure. Until it is taken back the zone's condition can be worse than this,
    /// but not better.
    declared: Option<Failure>,
}

impl ZoneState {
    /// The zone at `index` of a set, with its write pointer where the medium has it.
    ///
    /// [`OpenZones::admit`] must be told of a zone that is neither empty nor full.
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

    /// The worse of the health found and the failure declared.
    fn health(&self) -> Health {
        match (self.health, self.declared.map(Health::from)) {
            (Health::Offline, _) | (_, Some(Health::Offline)) => Health::Offline,
            (Health::ReadOnly, _) | (_, Some(Health::ReadOnly)) => Health::ReadOnly,
            (Health::Good, None | Some(Health::Good)) => Health::Good,
        }
    }

    /// Refuses what a full, read-only or offline zone can't do.
    fn check_writable<S: Slots>(&self, set: &OpenZones<S>) -> Result<(), ZoneError> {
        match self.condition(set) {
            cond @ (Condition::Full | Condition::ReadOnly | Condition::Offline) => {
                Err(ZoneError::InvalidCondition(cond))
            }
            _ => Ok(()),
        }
    }

    /// Reserves `sectors` for a write to `target` and returns the sector where they start.
    ///
    /// Opens the zone implicitly if it isn't open. The zone keeps its open slot even when the
    /// write fills it, until [`Self::written`] is told that it succeeded: a write that fails must
    /// find its slot still there.
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

    /// Notes that everything up to the write pointer is on the medium. A zone that is full gives
    /// back its share.
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

    /// Closes an open zone. To close a closed zone changes nothing and is no error.
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

    /// Begins to finish the zone: acquires what that needs.
    ///
    /// A finish is a write to the end of the zone, so it needs the same resources. The caller then
    /// changes the medium, and ends with [`Self::finished`] or [`Self::not_finished`].
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

    /// Takes back a finish for which the medium could not be changed.
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

    /// Completes a reset: nothing is written any more. The zone gives back its share.
    pub(crate) fn emptied<S: Slots>(&mut self, set: &mut OpenZones<S>) {
        self.wp = self.wp.at_start();
        set.remove(self.index);
    }

    /// Moves the write pointer to where the medium has it, after a write that failed.
    ///
    /// The zone stays open if it was; a zone without data that isn't open gives back its share. If
    /// the medium had failed it works again, unless it is declared not to.
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

    /// Declares that the medium has failed, though it hasn't. The zone gives back its share.
    pub(crate) fn declare_failed<S: Slots>(&mut self, set: &mut OpenZones<S>, failure: Failure) {
        self.declared = Some(failure);
        set.remove(self.index);
    }

    /// Takes back the declared failure. The condition follows from the write pointer until
    /// [`Self::repair`] or [`Self::fail`] reports the state of the medium.
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
    /// Nothing: the zone is full.
    Nothing,
    /// Fill the rest of the zone.
    Medium(PreviousShare),
}

/// Whether a zone was open before a finish began.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PreviousShare {
    /// It was open, implicitly or explicitly.
    Open,
    /// It was empty or closed, and was opened for the finish.
    NotOpen,
}

/// The work of a reset on the medium.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Nothing: no data is there.
    Nothing,
    /// Drop the zone's data.
    Medium,
}
