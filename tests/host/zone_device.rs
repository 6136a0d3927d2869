// SPDX-License-Identifier: GPL-2.0

//! A device of a few zones on a medium that does what it is told, for the tests of the zone model.

use crate::zone::{
    Condition,
    Failure,
    Finish,
    Limits,
    OpenZones,
    Refusal,
    Reset,
    Slot,
    Target,
    WritePointer,
    Zone, //
};
use core::num::NonZeroU32;

/// Capacity of each zone in sectors.
pub(crate) const CAPACITY: u64 = 64;

/// The limits of these many open and active zones; 0 is none.
pub(crate) fn limits(max_open: u32, max_active: u32) -> Limits {
    Limits {
        max_open: NonZeroU32::new(max_open),
        max_active: NonZeroU32::new(max_active),
    }
}

/// A write pointer at `sector`.
pub(crate) fn wp(sector: u64) -> WritePointer {
    WritePointer::new(sector, CAPACITY).expect("within the capacity")
}

/// Zones and their set. Commands are carried out at once, as far as their names don't say more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Device {
    pub(crate) zones: Vec<Zone>,
    pub(crate) set: OpenZones<Vec<Slot>>,
    capacity: u64,
}

/// All that can be seen of a device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Condition and write pointer of each zone.
    pub(crate) zones: Vec<(Condition, u64)>,
    pub(crate) open: u32,
    pub(crate) active: u32,
}

impl Device {
    /// A device of `nr` empty zones.
    pub(crate) fn new(nr: u32, limits: Limits) -> Self {
        Self::with_written(&vec![0; nr as usize], CAPACITY, limits)
    }

    /// A device that has just been added, with so many sectors written in its zones.
    pub(crate) fn with_written(written: &[u64], capacity: u64, limits: Limits) -> Self {
        let nr = u32::try_from(written.len()).expect("few zones");
        let wp = |sector| WritePointer::new(sector, capacity).expect("within the capacity");
        let zones = (0..nr)
            .zip(written)
            .map(|(nr, &sector)| Zone::new(nr, wp(sector)))
            .collect();
        let slots = (0..nr).map(|_| Slot::default()).collect();
        let mut set = OpenZones::new(slots, limits).expect("few zones");
        for (nr, &sector) in (0..nr).zip(written) {
            if sector > 0 && sector < capacity {
                set.admit(nr);
            }
        }
        Self {
            zones,
            set,
            capacity,
        }
    }

    pub(crate) fn view(&self) -> View {
        let view = |zone: &Zone| (zone.condition(&self.set), zone.write_pointer().sector());
        View {
            zones: self.zones.iter().map(view).collect(),
            open: self.set.nr_open(),
            active: self.set.nr_active(),
        }
    }

    pub(crate) fn condition(&self, zone: usize) -> Condition {
        self.zones[zone].condition(&self.set)
    }

    pub(crate) fn wp(&self, zone: usize) -> u64 {
        self.zones[zone].write_pointer().sector()
    }

    /// Reserves a write, but does not carry it out.
    pub(crate) fn reserve(
        &mut self,
        zone: usize,
        target: Target,
        sectors: u64,
    ) -> Result<u64, Refusal> {
        self.zones[zone].write(&mut self.set, target, sectors)
    }

    /// Ends a write that went well.
    pub(crate) fn written(&mut self, zone: usize) {
        self.zones[zone].written(&mut self.set);
    }

    /// Writes at `sector`.
    pub(crate) fn write_at(
        &mut self,
        zone: usize,
        sector: u64,
        sectors: u64,
    ) -> Result<(), Refusal> {
        let start = self.reserve(zone, Target::Sector(sector), sectors)?;
        assert_eq!(start, sector);
        self.written(zone);
        Ok(())
    }

    /// Writes at the write pointer.
    pub(crate) fn write(&mut self, zone: usize, sectors: u64) -> Result<(), Refusal> {
        self.write_at(zone, self.wp(zone), sectors)
    }

    /// Appends, and returns where the data went.
    pub(crate) fn append(&mut self, zone: usize, sectors: u64) -> Result<u64, Refusal> {
        let start = self.reserve(zone, Target::WritePointer, sectors)?;
        self.written(zone);
        Ok(start)
    }

    pub(crate) fn open(&mut self, zone: usize) -> Result<(), Refusal> {
        self.zones[zone].open(&mut self.set)
    }

    pub(crate) fn close(&mut self, zone: usize) -> Result<(), Refusal> {
        self.zones[zone].close(&mut self.set)
    }

    pub(crate) fn finish(&mut self, zone: usize) -> Result<(), Refusal> {
        if let Finish::Medium(_) = self.zones[zone].finish(&mut self.set)? {
            self.zones[zone].finished(&mut self.set);
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, zone: usize) -> Result<(), Refusal> {
        // Also a reset that has nothing to do to the medium can give back an open zone's share.
        let (Reset::Medium | Reset::Nothing) = self.zones[zone].reset(&self.set)?;
        self.zones[zone].emptied(&mut self.set);
        Ok(())
    }

    pub(crate) fn repair(&mut self, zone: usize, sector: u64) {
        let wp = WritePointer::new(sector, self.capacity).expect("within the capacity");
        self.zones[zone].repair(&mut self.set, wp);
    }

    pub(crate) fn fail(&mut self, zone: usize, failure: Failure) {
        self.zones[zone].fail(&mut self.set, failure);
    }
}
