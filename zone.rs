// SPDX-License-Identifier: GPL-2.0

//! The zone model: what a sequential write required zone is, and what a command does to it.
//!
//! A zone is a range of sectors that can be written only in order. Its [`WritePointer`] says where
//! the next write goes; [`Zone::reset`] takes it back to the start, and at the zone's *capacity*,
//! which may be less than its length, the zone is full.
//!
//! Writing costs a device resources, so it may limit how many zones are *open* (being written) and
//! how many are *active* (open, or closed with room left). Who holds which resource is kept in one
//! place for the whole device, [`OpenZones`]; a zone itself knows only its write pointer and its
//! [`Health`]. From these three the condition that a report shows, [`Condition`], **follows**; it
//! is stored nowhere:
//!
//! ```text
//!   health           read-only or offline            -> ReadOnly, Offline
//!   write pointer    at the capacity                 -> Full
//!   open set         holds the zone                  -> ImplicitOpen, ExplicitOpen
//!   write pointer    at the start / further          -> Empty / Closed
//! ```
//!
//! That is why a zone can be closed to make room for another one without touching it: it is taken
//! out of the set, and what it is then follows from its own write pointer.
//!
//! Every command is one method of [`Zone`] that is given the zone's write pointer (by `self`) and
//! the set. It either does all that it should or returns a [`Refusal`] and has changed nothing.
//!
//! Nothing here knows the kernel: no locks, no files, no allocation. The caller serialises the
//! commands of one zone and locks the set; a set's methods take constant time and never sleep, so
//! that a spinlock may be held around them.
//!
//! All positions are in sectors of 512 bytes relative to the zone's start.
//!
//! Sources: ZBC-2 (T10 BSR INCITS 550) section 4.4, and NVMe Zoned Namespace Command Set 1.1
//! section 2.1 where it differs.

use core::fmt;
use core::mem::take;
use core::num::NonZeroU32;
use core::ops::DerefMut;

/// What a report says of a sequential zone.
///
/// The names are those of `enum blk_zone_cond` in `include/uapi/linux/blkzoned.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    /// Nothing is written and nobody has opened it.
    Empty,
    /// Opened by a write; the device may close it to make room.
    ImplicitOpen,
    /// Opened by an open command; only a command closes it.
    ExplicitOpen,
    /// Partly written and not open.
    Closed,
    /// The write pointer is at the capacity; only a reset can change it.
    Full,
    /// The data can be read, and nothing else is possible.
    ReadOnly,
    /// Nothing is possible.
    Offline,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::ImplicitOpen => "implicitly open",
            Self::ExplicitOpen => "explicitly open",
            Self::Closed => "closed",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Offline => "offline",
        })
    }
}

/// Whether the medium below a zone still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Health {
    /// The zone can be read and written.
    Good,
    /// The zone can be read only.
    ReadOnly,
    /// The zone can't be used.
    Offline,
}

/// How a medium fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// What was written can still be read.
    ReadOnly,
    /// Nothing is possible any more.
    Offline,
}

/// Why a command was not carried out. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A write that does not start at the write pointer, which is at this sector of the zone.
    NotAtWritePointer(u64),
    /// A write or append that would go past the zone's capacity, which is this many sectors.
    BeyondCapacity(u64),
    /// The zone's condition does not allow the command.
    InvalidCondition(Condition),
    /// The open zone limit is reached, and no zone is implicitly open.
    TooManyOpen,
    /// The active zone limit is reached.
    TooManyActive,
}

/// Writes what follows "refused: " in a message.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtWritePointer(wp) => {
                write!(f, "not at the write pointer, sector {wp} of the zone")
            }
            Self::BeyondCapacity(capacity) => {
                write!(f, "beyond the zone's capacity of {capacity} sectors")
            }
            Self::InvalidCondition(condition) => write!(f, "the zone is {condition}"),
            Self::TooManyOpen => f.write_str("too many open zones"),
            Self::TooManyActive => f.write_str("too many active zones"),
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
    fn after_write(self, target: Target, sectors: u64) -> Result<Self, Refusal> {
        if let Target::Sector(sector) = target {
            if sector != self.sector {
                return Err(Refusal::NotAtWritePointer(self.sector));
            }
        }
        // INVARIANT: `new` checks it.
        self.sector
            .checked_add(sectors)
            .and_then(|sector| Self::new(sector, self.capacity))
            .ok_or(Refusal::BeyondCapacity(self.capacity))
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

/// A sequential write required zone, but for its share in the open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Zone {
    /// The zone's index in the [`OpenZones`] of its device.
    index: u32,
    wp: WritePointer,
    health: Health,
}

impl Zone {
    /// The zone at `index` of a set, with its write pointer where the medium has it.
    ///
    /// [`OpenZones::admit`] must be told of a zone that is neither empty nor full.
    pub(crate) fn new(index: u32, wp: WritePointer) -> Self {
        Self {
            index,
            wp,
            health: Health::Good,
        }
    }

    /// The write pointer.
    pub(crate) fn write_pointer(&self) -> WritePointer {
        self.wp
    }

    /// What a report says of this zone.
    pub(crate) fn condition<S: Slots>(&self, set: &OpenZones<S>) -> Condition {
        match (self.health, set.share(self.index)) {
            (Health::Offline, _) => Condition::Offline,
            (Health::ReadOnly, _) => Condition::ReadOnly,
            (Health::Good, _) if self.wp.is_full() => Condition::Full,
            (Health::Good, Share::Implicit) => Condition::ImplicitOpen,
            (Health::Good, Share::Explicit) => Condition::ExplicitOpen,
            (Health::Good, Share::None | Share::Active) if self.wp.is_empty() => Condition::Empty,
            (Health::Good, Share::None | Share::Active) => Condition::Closed,
        }
    }

    /// Refuses what a full, read-only or offline zone can't do.
    fn check_writable<S: Slots>(&self, set: &OpenZones<S>) -> Result<(), Refusal> {
        match self.condition(set) {
            cond @ (Condition::Full | Condition::ReadOnly | Condition::Offline) => {
                Err(Refusal::InvalidCondition(cond))
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
    ) -> Result<u64, Refusal> {
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
    pub(crate) fn open<S: Slots>(&self, set: &mut OpenZones<S>) -> Result<(), Refusal> {
        self.check_writable(set)?;
        set.open_explicitly(self.index)
    }

    /// Closes an open zone. To close a closed zone changes nothing and is no error.
    pub(crate) fn close<S: Slots>(&self, set: &mut OpenZones<S>) -> Result<(), Refusal> {
        match self.condition(set) {
            Condition::ImplicitOpen | Condition::ExplicitOpen => {
                set.close(self.index);
                Ok(())
            }
            Condition::Closed => Ok(()),
            cond => Err(Refusal::InvalidCondition(cond)),
        }
    }

    /// Begins to finish the zone: acquires what that needs.
    ///
    /// A finish is a write to the end of the zone, so it needs the same resources. The caller then
    /// changes the medium, and ends with [`Self::finished`] or [`Self::not_finished`].
    pub(crate) fn finish<S: Slots>(&self, set: &mut OpenZones<S>) -> Result<Finish, Refusal> {
        match self.condition(set) {
            Condition::Full => Ok(Finish::Nothing),
            cond @ (Condition::ReadOnly | Condition::Offline) => {
                Err(Refusal::InvalidCondition(cond))
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

    /// Says what a reset must do to the medium; [`Self::emptied`] completes it.
    pub(crate) fn reset<S: Slots>(&self, set: &OpenZones<S>) -> Result<Reset, Refusal> {
        match self.condition(set) {
            cond @ (Condition::ReadOnly | Condition::Offline) => {
                Err(Refusal::InvalidCondition(cond))
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
    /// the medium had failed it works again.
    pub(crate) fn repair<S: Slots>(&mut self, set: &mut OpenZones<S>, wp: WritePointer) {
        self.wp = wp;
        self.health = Health::Good;
        if wp.is_full() {
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
        self.health = match failure {
            Failure::ReadOnly => Health::ReadOnly,
            Failure::Offline => Health::Offline,
        };
        set.remove(self.index);
    }
}

/// What a finish has to do to the medium.
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

/// What a reset has to do to the medium.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// Nothing: no data is there.
    Nothing,
    /// Drop the zone's data.
    Medium,
}

/// How many zones may be open or active at a time; [`None`] is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    /// At most so many zones are open.
    pub(crate) max_open: Option<NonZeroU32>,
    /// At most so many zones are open or closed.
    pub(crate) max_active: Option<NonZeroU32>,
}

/// What a zone holds of the device's resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// Nothing: it is empty, full or broken.
    #[default]
    None,
    /// It is active, but not open: closed.
    Active,
    /// It is open, and may be closed to make room.
    Implicit,
    /// It is open until a command closes it.
    Explicit,
}

/// Whether anything is written in a zone: what it is when it is closed depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Data {
    #[default]
    Nothing,
    Something,
}

/// A link to a zone by its index.
///
/// Stored as index + 1, so that a link to nowhere takes no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Link(Option<NonZeroU32>);

impl Link {
    const NOWHERE: Self = Self(None);

    fn to(index: u32) -> Self {
        // A set has fewer than `u32::MAX` zones, see `OpenZones::new`.
        Self(NonZeroU32::new(index.wrapping_add(1)))
    }

    fn index(self) -> Option<u32> {
        self.0.map(|n| n.get().wrapping_sub(1))
    }
}

/// What an [`OpenZones`] remembers of one zone. The default is a zone without a share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    /// The neighbours in the list of implicitly open zones.
    prev: Link,
    next: Link,
    share: Share,
    data: Data,
}

/// Storage for one [`Slot`] per sequential zone.
pub(crate) trait Slots: DerefMut<Target = [Slot]> {}

impl<S: DerefMut<Target = [Slot]>> Slots for S {}

/// The zones of a device that hold open or active resources.
///
/// Implicitly open zones are linked in the order of their last use, so that the least recently
/// used one is closed when room is needed (ZBC-2 4.4.3.4.3, NVMe ZNS 2.1.1.4.1; both leave the
/// choice to the device).
///
/// # Invariants
///
/// - `open` is the number of slots with an implicit or explicit share, `active` the number of
///   those with any share.
/// - The list from `oldest` to `newest` holds exactly the slots with an implicit share.
/// - `open` is within `limits.max_open`. `active` is within `limits.max_active`, unless more zones
///   were admitted by [`Self::admit`], which takes what it finds on the medium.
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(crate) struct OpenZones<S> {
    slots: S,
    limits: Limits,
    open: u32,
    active: u32,
    oldest: Link,
    newest: Link,
}

impl<S: Slots> OpenZones<S> {
    /// A set of which no zone holds a share, with one slot of `slots` for each zone.
    ///
    /// Returns [`None`] if there are more slots than a zone number can tell apart.
    pub(crate) fn new(slots: S, limits: Limits) -> Option<Self> {
        // Links are indices plus one.
        if u32::try_from(slots.len()).ok()? == u32::MAX {
            return None;
        }
        Some(Self {
            slots,
            limits,
            open: 0,
            active: 0,
            oldest: Link::NOWHERE,
            newest: Link::NOWHERE,
        })
    }

    /// The number of open zones.
    #[cfg(any(test, CONFIG_KUNIT = "y"))]
    pub(crate) fn nr_open(&self) -> u32 {
        self.open
    }

    /// The number of active zones.
    #[cfg(any(test, CONFIG_KUNIT = "y"))]
    pub(crate) fn nr_active(&self) -> u32 {
        self.active
    }

    /// What the zone at `index` holds.
    pub(crate) fn share(&self, index: u32) -> Share {
        self.slot(index).share
    }

    /// Counts a zone that was found closed on the medium, whatever the limits are.
    ///
    /// A device with more closed zones than it may have active ones opens no empty zone until
    /// enough of them are reset or finished.
    pub(crate) fn admit(&mut self, index: u32) {
        self.set_has_data(index);
        self.set_share(index, Share::Active);
    }

    /// Opens a zone for a write, or notes the write if the zone is open.
    fn open_implicitly(&mut self, index: u32) -> Result<(), Refusal> {
        match self.share(index) {
            Share::Explicit => Ok(()),
            Share::Implicit => {
                if self.limits.max_open.is_some() {
                    self.unlink(index);
                    self.link_newest(index);
                }
                Ok(())
            }
            share @ (Share::None | Share::Active) => {
                self.make_room(share)?;
                self.set_share(index, Share::Implicit);
                Ok(())
            }
        }
    }

    /// Opens a zone for good.
    fn open_explicitly(&mut self, index: u32) -> Result<(), Refusal> {
        if let share @ (Share::None | Share::Active) = self.share(index) {
            self.make_room(share)?;
        }
        self.set_share(index, Share::Explicit);
        Ok(())
    }

    /// Makes room for one more open zone, which has `share` now.
    ///
    /// The resource check of the model: an empty zone needs an active slot as well as an open one.
    /// Closing an implicitly open zone always frees an open slot, and an active one only if
    /// nothing was written to it.
    fn make_room(&mut self, share: Share) -> Result<(), Refusal> {
        let no_room = self
            .limits
            .max_open
            .is_some_and(|max| self.open >= max.get());
        let victim = self.oldest.index().filter(|_| no_room);
        if let (Share::None, Some(max)) = (share, self.limits.max_active) {
            let freed = victim.is_some_and(|v| self.slot(v).data == Data::Nothing);
            if self.active.saturating_sub(u32::from(freed)) >= max.get() {
                return Err(Refusal::TooManyActive);
            }
        }
        match victim {
            Some(victim) => self.close(victim),
            None if no_room => return Err(Refusal::TooManyOpen),
            None => {}
        }
        Ok(())
    }

    /// Closes a zone that is open.
    fn close(&mut self, index: u32) {
        let share = match self.slot(index).data {
            Data::Something => Share::Active,
            Data::Nothing => Share::None,
        };
        self.set_share(index, share);
    }

    /// Takes back all that a zone holds; it has no data, or no room for more.
    fn remove(&mut self, index: u32) {
        self.set_share(index, Share::None);
        self.slot_mut(index).data = Data::Nothing;
    }

    fn set_has_data(&mut self, index: u32) {
        self.slot_mut(index).data = Data::Something;
    }

    fn clear_has_data(&mut self, index: u32) {
        self.slot_mut(index).data = Data::Nothing;
        if self.share(index) == Share::Active {
            self.set_share(index, Share::None);
        }
    }

    /// Changes a zone's share, the counts and the list.
    fn set_share(&mut self, index: u32, share: Share) {
        let old = self.share(index);
        if old == Share::Implicit {
            self.unlink(index);
        }
        self.slot_mut(index).share = share;
        if share == Share::Implicit {
            self.link_newest(index);
        }

        let is_open = |share| matches!(share, Share::Implicit | Share::Explicit);
        // INVARIANT: Each count changes by what the slot's share changed. It can't wrap: there are
        // fewer than `u32::MAX` slots, and what is taken away was counted before.
        self.open = self
            .open
            .wrapping_add(u32::from(is_open(share)))
            .wrapping_sub(u32::from(is_open(old)));
        self.active = self
            .active
            .wrapping_add(u32::from(share != Share::None))
            .wrapping_sub(u32::from(old != Share::None));
    }

    fn link_newest(&mut self, index: u32) {
        let newest = self.newest;
        let slot = self.slot_mut(index);
        slot.prev = newest;
        slot.next = Link::NOWHERE;
        match newest.index() {
            Some(newest) => self.slot_mut(newest).next = Link::to(index),
            None => self.oldest = Link::to(index),
        }
        self.newest = Link::to(index);
    }

    fn unlink(&mut self, index: u32) {
        let slot = self.slot_mut(index);
        let prev = take(&mut slot.prev);
        let next = take(&mut slot.next);
        match prev.index() {
            Some(prev) => self.slot_mut(prev).next = next,
            None => self.oldest = next,
        }
        match next.index() {
            Some(next) => self.slot_mut(next).prev = prev,
            None => self.newest = prev,
        }
    }

    fn slot(&self, index: u32) -> &Slot {
        // PANIC: Every index comes from a `Zone` or a `Link`; both are made for a zone of this
        // set, and there is a slot for each of them.
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot {
        // PANIC: As in `slot`.
        &mut self.slots[index as usize]
    }
}
