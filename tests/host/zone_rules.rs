// SPDX-License-Identifier: GPL-2.0

//! A naive model of a device's zones, to walk beside the driver's.
//!
//! It is written from the rules and not from the driver: a zone has a stored condition and the time
//! of its last use, limits are checked by counting, and the victim of an eviction is searched.

use crate::{
    zone::{
        tests::{
            Few,
            View, //
        },
        Condition,
        ZoneError, //
    }, //
};

/// Why the model refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum No {
    /// The zone can't do it, wherever it is written and whatever the others do.
    Condition,
    NotAtWp,
    TooFar,
    Open,
    Active,
}

impl From<ZoneError> for No {
    fn from(err: ZoneError) -> Self {
        match err {
            ZoneError::NotAtWritePointer(_) => Self::NotAtWp,
            ZoneError::BeyondCapacity(_) => Self::TooFar,
            ZoneError::InvalidCondition(_) => Self::Condition,
            ZoneError::TooManyOpen => Self::Open,
            ZoneError::TooManyActive => Self::Active,
        }
    }
}

/// A zone of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelZone {
    /// The condition, but that a zone becomes full only when the write that fills it has ended.
    pub(crate) condition: Condition,
    pub(crate) wp: u64,
    pub(crate) last_use: u64,
    pub(crate) under_way: UnderWay,
}

/// What a zone has begun and not ended. It gets no other command meanwhile, but other writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UnderWay {
    Nothing,
    /// Writes from this sector on.
    Writes(u64),
    /// A finish, which opened the zone for itself or not.
    Finish(Opened),
    /// A repair: where the medium ends is not known, but that it has this much.
    Repair(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Opened {
    Before,
    ForIt,
}

/// All zones of the model. A limit of 0 is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Model {
    pub(crate) zones: Vec<ModelZone>,
    capacity: u64,
    pub(crate) max_open: usize,
    pub(crate) max_active: usize,
    now: u64,
}

impl Model {
    pub(crate) fn new(nr: usize, capacity: u64, max_open: usize, max_active: usize) -> Self {
        let zone = ModelZone {
            condition: Condition::Empty,
            wp: 0,
            last_use: 0,
            under_way: UnderWay::Nothing,
        };
        Self {
            zones: vec![zone; nr],
            capacity,
            max_open,
            max_active,
            now: 0,
        }
    }

    pub(crate) fn count(&self, conditions: &[Condition]) -> usize {
        let counts = |zone: &&ModelZone| conditions.contains(&zone.condition);
        self.zones.iter().filter(counts).count()
    }

    pub(crate) fn open(&self) -> usize {
        self.count(&[Condition::ImplicitOpen, Condition::ExplicitOpen])
    }

    pub(crate) fn active(&self) -> usize {
        self.open() + self.count(&[Condition::Closed])
    }

    /// The condition in a report: a zone without room is full, whether the data is there or not.
    pub(crate) fn reported(&self, nr: usize) -> Condition {
        match self.zones[nr] {
            ModelZone {
                condition: condition @ (Condition::ReadOnly | Condition::Offline),
                ..
            } => condition,
            zone if zone.wp == self.capacity => Condition::Full,
            zone => zone.condition,
        }
    }

    pub(crate) fn view(&self) -> View {
        let number = |count| u32::try_from(count).expect("few zones");
        let mut zones = Few::of((Condition::Empty, 0), self.zones.len());
        for (nr, zone) in zones.iter_mut().enumerate() {
            *zone = (self.reported(nr), self.zones[nr].wp);
        }
        View {
            zones,
            open: number(self.open()),
            active: number(self.active()),
        }
    }

    pub(crate) fn closed_condition(&self, nr: usize) -> Condition {
        match self.zones[nr].wp {
            0 => Condition::Empty,
            _ => Condition::Closed,
        }
    }

    /// The resource check for a zone that is not open.
    pub(crate) fn make_room(&mut self, nr: usize) -> Result<(), No> {
        let open_full = self.max_open > 0 && self.open() >= self.max_open;
        let victim = (0..self.zones.len())
            .filter(|&nr| self.zones[nr].condition == Condition::ImplicitOpen)
            .min_by_key(|&nr| self.zones[nr].last_use)
            .filter(|_| open_full);
        if self.zones[nr].condition == Condition::Empty && self.max_active > 0 {
            let gone = victim.is_some_and(|nr| self.closed_condition(nr) == Condition::Empty);
            if self.active() - usize::from(gone) >= self.max_active {
                return Err(No::Active);
            }
        }
        match victim {
            Some(victim) => self.zones[victim].condition = self.closed_condition(victim),
            None if open_full => return Err(No::Open),
            None => (),
        }
        Ok(())
    }

    pub(crate) fn open_for_write(&mut self, nr: usize) -> Result<(), No> {
        if let Condition::Empty | Condition::Closed = self.zones[nr].condition {
            self.make_room(nr)?;
            self.zones[nr].condition = Condition::ImplicitOpen;
        }
        self.now += 1;
        self.zones[nr].last_use = self.now;
        Ok(())
    }

    pub(crate) fn check_writable(&self, nr: usize) -> Result<(), No> {
        match self.reported(nr) {
            Condition::Full | Condition::ReadOnly | Condition::Offline => Err(No::Condition),
            _ => Ok(()),
        }
    }

    pub(crate) fn write(
        &mut self,
        nr: usize,
        sector: Option<u64>,
        sectors: u64,
    ) -> Result<u64, No> {
        self.check_writable(nr)?;
        let wp = self.zones[nr].wp;
        if sector.is_some_and(|sector| sector != wp) {
            return Err(No::NotAtWp);
        }
        if sectors > self.capacity - wp {
            return Err(No::TooFar);
        }
        self.open_for_write(nr)?;
        let zone = &mut self.zones[nr];
        zone.wp += sectors;
        if zone.under_way == UnderWay::Nothing {
            zone.under_way = UnderWay::Writes(wp);
        }
        Ok(wp)
    }

    /// Ends the command under way in a zone. The medium then has data up to `wp`.
    pub(crate) fn writes_end(&mut self, nr: usize, wp: u64) {
        self.zones[nr].under_way = UnderWay::Nothing;
        self.zones[nr].wp = wp;
        self.zones[nr].condition = match self.zones[nr].condition {
            _ if wp == self.capacity => Condition::Full,
            // It keeps the slot that it has.
            open @ (Condition::ImplicitOpen | Condition::ExplicitOpen) => open,
            _ => self.closed_condition(nr),
        };
    }

    pub(crate) fn open_command(&mut self, nr: usize) -> Result<(), No> {
        self.check_writable(nr)?;
        if let Condition::Empty | Condition::Closed = self.zones[nr].condition {
            self.make_room(nr)?;
        }
        self.zones[nr].condition = Condition::ExplicitOpen;
        Ok(())
    }

    pub(crate) fn close(&mut self, nr: usize) -> Result<(), No> {
        match self.zones[nr].condition {
            Condition::ImplicitOpen | Condition::ExplicitOpen | Condition::Closed => {
                self.zones[nr].condition = self.closed_condition(nr);
                Ok(())
            }
            _ => Err(No::Condition),
        }
    }

    /// Begins a finish; `false` if there is nothing to do.
    pub(crate) fn finish(&mut self, nr: usize) -> Result<bool, No> {
        let opened = match self.zones[nr].condition {
            Condition::Full => return Ok(false),
            Condition::ReadOnly | Condition::Offline => return Err(No::Condition),
            Condition::ImplicitOpen | Condition::ExplicitOpen => Opened::Before,
            _ => {
                self.open_for_write(nr)?;
                Opened::ForIt
            }
        };
        self.zones[nr].under_way = UnderWay::Finish(opened);
        Ok(true)
    }

    pub(crate) fn finish_ends_well(&mut self, nr: usize) {
        let zone = &mut self.zones[nr];
        zone.under_way = UnderWay::Nothing;
        zone.wp = self.capacity;
        zone.condition = Condition::Full;
    }

    pub(crate) fn finish_fails(&mut self, nr: usize, opened: Opened) {
        self.zones[nr].under_way = UnderWay::Nothing;
        if opened == Opened::ForIt {
            self.zones[nr].condition = self.closed_condition(nr);
        }
    }

    pub(crate) fn reset(&mut self, nr: usize) -> Result<(), No> {
        if let Condition::ReadOnly | Condition::Offline = self.zones[nr].condition {
            return Err(No::Condition);
        }
        self.zones[nr].wp = 0;
        self.zones[nr].condition = Condition::Empty;
        Ok(())
    }

    /// The medium fails: nothing is under way any more.
    pub(crate) fn fail(&mut self, nr: usize, condition: Condition) {
        self.zones[nr].condition = condition;
        self.zones[nr].under_way = UnderWay::Nothing;
    }

    /// Renumbers the last uses, so that models that will do the same are equal: they matter only
    /// where there is a limit, and then their order does.
    pub(crate) fn forget_time(&mut self) {
        let mut order: Vec<_> = (0..self.zones.len())
            .filter(|&nr| self.zones[nr].condition == Condition::ImplicitOpen)
            .filter(|_| self.max_open > 0)
            .collect();
        order.sort_by_key(|&nr| self.zones[nr].last_use);
        for zone in &mut self.zones {
            zone.last_use = 0;
        }
        self.now = 0;
        for nr in order {
            self.now += 1;
            self.zones[nr].last_use = self.now;
        }
    }
}
