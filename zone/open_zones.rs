// SPDX-License-Identifier: GPL-2.0

//! The zones of a device that are open or active, and their limits.

use super::error::ZoneError;
use core::{
    mem::take,
    num::NonZeroU32,
    ops::DerefMut, //
};

/// How many zones may be open or active at a time; [`None`] is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    /// Upper bound of the number of open zones.
    pub(crate) max_open: Option<NonZeroU32>,
    /// Upper bound of the number of active zones, open or closed.
    pub(crate) max_active: Option<NonZeroU32>,
}

/// A zone's share of the device's resources.
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

/// Whether a zone has data. An open zone without data becomes empty when it is closed.
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

/// Statistics of an [`OpenZones`]. They decide nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The largest number of open zones so far.
    pub(crate) most_open: u32,
    /// The largest number of active zones so far.
    pub(crate) most_active: u32,
    /// The number of zones closed to make room for another one.
    pub(crate) implicit_closes: u64,
}

/// Two sets that have been used differently are the same set.
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
    usage: Usage,
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

    /// Counts a zone that was found closed on the medium, whatever the limits are.
    ///
    /// A device with more closed zones than it may have active ones opens no empty zone until
    /// enough of them are reset or finished.
    pub(crate) fn admit(&mut self, index: u32) {
        self.set_has_data(index);
        self.set_share(index, Share::Active);
    }

    /// Opens a zone for a write, or notes the write if the zone is open.
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

    /// Opens a zone for good.
    pub(super) fn open_explicitly(&mut self, index: u32) -> Result<(), ZoneError> {
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

    /// Closes a zone that is open.
    pub(super) fn close(&mut self, index: u32) {
        let share = match self.slot(index).data {
            Data::Something => Share::Active,
            Data::Nothing => Share::None,
        };
        self.set_share(index, share);
    }

    /// Takes back all that a zone holds; it has no data, or no room for more.
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
        // PANIC: Every index comes from a `Zone` or a `Link`; both are made for a zone of this
        // set, and there is a slot for each of them.
        &self.slots[index as usize]
    }

    fn slot_mut(&mut self, index: u32) -> &mut Slot {
        // PANIC: As in `slot`.
        &mut self.slots[index as usize]
    }
}
