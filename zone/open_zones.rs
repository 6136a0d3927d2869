// SPDX-License-Identifier: GPL-2.0

//! The zones of a device that are open or active, and their limits.

use super::error::ZoneError;
use core::{
    mem::take,
    num::NonZeroU32,
    ops::DerefMut, //
};

/// The limits on open and active zones; [`None`] is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    /// The largest number of open zones.
    pub(crate) max_open: Option<NonZeroU32>,
    /// The largest number of active zones, open or closed.
    pub(crate) max_active: Option<NonZeroU32>,
}

/// A zone's share of the device's resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// No share: the zone is empty, full, read-only or offline.
    #[default]
    None,
    /// The zone is active but not open: it is closed.
    Active,
    /// The zone is open, and may be closed to make room.
    Implicit,
    /// The zone is open until a command closes it.
    Explicit,
}

/// Whether a zone has data. An open zone without data becomes empty when it is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Data {
    #[default]
    Nothing,
    Something,
}

/// A link to a zone by its index.
///
/// It is stored as index + 1, so that the 0 of [`NonZeroU32`] is a link to nowhere.
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

/// The entry of one zone in an [`OpenZones`]. The default is a zone without a share.
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

/// Statistics of an [`OpenZones`]. No decision depends on them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The largest number of open zones so far.
    pub(crate) most_open: u32,
    /// The largest number of active zones so far.
    pub(crate) most_active: u32,
    /// The number of zones closed to make room for another one.
    pub(crate) implicit_closes: u64,
}

/// The statistics do not make two sets different.
#[cfg(test)]
impl PartialEq for Usage {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
impl Eq for Usage {}

#[cfg(test)]
impl core::hash::Hash for Usage {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

/// The zones of a device that hold open or active resources.
///
/// Implicitly open zones are linked in the order of their last use. To make room, the set closes
/// the least recently used one. Both standards leave this choice to the device: ZBC-2 4.4.3.4.3 and
/// NVMe ZNS 2.1.1.4.1.
///
/// # Invariants
///
/// - `open` is the number of slots with an implicit or explicit share. `active` is the number of
///   slots with any share.
/// - The list from `oldest` to `newest` has exactly the slots with an implicit share.
/// - `open` is within `limits.max_open`. `active` is within `limits.max_active`, unless
///   [`Self::admit`] has exceeded it: the medium may have more closed zones.
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(crate) struct OpenZones<S> {
    slots: S,
    limits: Limits,
    open: u32,
    active: u32,
    oldest: Link,
    newest: Link,
    usage: Usage,
}

impl<S: Slots> OpenZones<S> {
    /// A set in which no zone has a share. `slots` has one slot for each zone.
    ///
    /// Returns [`None`] if there are `u32::MAX` slots or more.
    pub(crate) fn new(slots: S, limits: Limits) -> Option<Self> {
        // A link stores an index plus one.
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
            usage: Usage::default(),
        })
    }

    /// The statistics of the set.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// The number of open zones.
    pub(crate) fn nr_open(&self) -> u32 {
        self.open
    }

    /// The number of active zones.
    pub(crate) fn nr_active(&self) -> u32 {
        self.active
    }

    /// The share of the zone at `index`.
    pub(crate) fn share(&self, index: u32) -> Share {
        self.slot(index).share
    }

    /// Adds a zone that was found closed on the medium, even beyond the limits.
    ///
    /// A device with more closed zones than `max_active` can't open an empty zone until enough
    /// closed zones are reset or finished.
    pub(crate) fn admit(&mut self, index: u32) {
        self.set_has_data(index);
        self.set_share(index, Share::Active);
    }

    /// Opens a zone for a write. If the zone is open, marks it as the most recently used one.
    pub(super) fn open_implicitly(&mut self, index: u32) -> Result<(), ZoneError> {
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

    /// Opens a zone until a command closes it.
    pub(super) fn open_explicitly(&mut self, index: u32) -> Result<(), ZoneError> {
        if let share @ (Share::None | Share::Active) = self.share(index) {
            self.make_room(share)?;
        }
        self.set_share(index, Share::Explicit);
        Ok(())
    }

    /// Makes room for one more open zone, which has `share` now.
    ///
    /// This is the resource check of the model. An empty zone needs an active slot and an open
    /// slot. Closing an implicitly open zone always frees an open slot. It frees an active slot
    /// only if the zone has no data.
    fn make_room(&mut self, share: Share) -> Result<(), ZoneError> {
        let no_room = self
            .limits
            .max_open
            .is_some_and(|max| self.open >= max.get());
        let victim = self.oldest.index().filter(|_| no_room);
        if let (Share::None, Some(max)) = (share, self.limits.max_active) {
            let freed = victim.is_some_and(|v| self.slot(v).data == Data::Nothing);
            if self.active.saturating_sub(u32::from(freed)) >= max.get() {
                return Err(ZoneError::TooManyActive);
            }
        }
        match victim {
            Some(victim) => {
                self.close(victim);
                self.usage.implicit_closes = self.usage.implicit_closes.wrapping_add(1);
            }
            None if no_room => return Err(ZoneError::TooManyOpen),
            None => {}
        }
        Ok(())
    }

    /// Closes an open zone.
    pub(super) fn close(&mut self, index: u32) {
        let share = match self.slot(index).data {
            Data::Something => Share::Active,
            Data::Nothing => Share::None,
        };
        self.set_share(index, share);
    }

    /// Takes back the share of a zone that is empty, full, read-only or offline.
    pub(super) fn remove(&mut self, index: u32) {
        self.set_share(index, Share::None);
        self.slot_mut(index).data = Data::Nothing;
    }

    pub(super) fn set_has_data(&mut self, index: u32) {
        self.slot_mut(index).data = Data::Something;
    }

    pub(super) fn clear_has_data(&mut self, index: u32) {
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
        // INVARIANT: Each count follows the change of the slot's share. It can't wrap: there are
        // fewer than `u32::MAX` slots, and a share that is taken away was counted before.
        self.open = self
            .open
            .wrapping_add(u32::from(is_open(share)))
            .wrapping_sub(u32::from(is_open(old)));
        self.active = self
            .active
            .wrapping_add(u32::from(share != Share::None))
            .wrapping_sub(u32::from(old != Share::None));
        self.usage.most_open = self.usage.most_open.max(self.open);
        self.usage.most_active = self.usage.most_active.max(self.active);
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
        // PANIC: Every index comes from a `ZoneState` or a `Link`. Both are made for a zone of this
        // set, and each zone has a slot.
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot {
        // PANIC: As in `slot`.
        &mut self.slots[index as usize]
    }
}
