// SPDX-License-Identifier: GPL-2.0

//! A random walk beside a naive model: after every step both must say the same.
//!
//! The model is written from the rules and not from the driver: a zone has a stored condition and
//! the time of its last use, limits are checked by counting, and the victim of an eviction is
//! searched. Writes and finishes are begun and ended in separate steps, between which other zones
//! get commands, and some of them fail.

use crate::zone::{
    Condition,
    Failure,
    Finish,
    PreviousShare,
    Refusal,
    Target, //
};
use crate::zone_device::{
    limits,
    Device,
    View,
    CAPACITY, //
};

/// Why the model refuses a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum No {
    /// The zone can't do it, wherever it is written and whatever the others do.
    Condition,
    NotAtWp,
    TooFar,
    Open,
    Active,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAtWritePointer(_) => Self::NotAtWp,
            Refusal::BeyondCapacity(_) => Self::TooFar,
            Refusal::InvalidCondition(_) => Self::Condition,
            Refusal::TooManyOpen => Self::Open,
            Refusal::TooManyActive => Self::Active,
        }
    }
}

/// A zone of the model.
#[derive(Clone, Copy, Debug)]
struct ModelZone {
    /// The condition, but that a zone becomes full only when the write that fills it has ended.
    condition: Condition,
    wp: u64,
    last_use: u64,
    under_way: UnderWay,
}

/// What a zone has begun and not ended. It gets no other command meanwhile, but other writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    Nothing,
    /// Writes from this sector on.
    Writes(u64),
    /// A finish, which opened the zone for itself or not.
    Finish(Opened),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    Before,
    ForIt,
}

/// All zones of the model. A limit of 0 is none.
#[derive(Debug)]
struct Model {
    zones: Vec<ModelZone>,
    max_open: usize,
    max_active: usize,
    now: u64,
}

impl Model {
    fn new(nr: usize, max_open: usize, max_active: usize) -> Self {
        let zone = ModelZone {
            condition: Condition::Empty,
            wp: 0,
            last_use: 0,
            under_way: UnderWay::Nothing,
        };
        Self {
            zones: vec![zone; nr],
            max_open,
            max_active,
            now: 0,
        }
    }

    fn count(&self, conditions: &[Condition]) -> usize {
        let counts = |zone: &&ModelZone| conditions.contains(&zone.condition);
        self.zones.iter().filter(counts).count()
    }

    fn open(&self) -> usize {
        self.count(&[Condition::ImplicitOpen, Condition::ExplicitOpen])
    }

    fn active(&self) -> usize {
        self.open() + self.count(&[Condition::Closed])
    }

    /// The condition in a report: a zone without room is full, whether the data is there or not.
    fn reported(&self, nr: usize) -> Condition {
        match self.zones[nr] {
            ModelZone {
                condition: condition @ (Condition::ReadOnly | Condition::Offline),
                ..
            } => condition,
            ModelZone { wp: CAPACITY, .. } => Condition::Full,
            zone => zone.condition,
        }
    }

    fn view(&self) -> View {
        let number = |count| u32::try_from(count).expect("few zones");
        let zone = |nr| (self.reported(nr), self.zones[nr].wp);
        View {
            zones: (0..self.zones.len()).map(zone).collect(),
            open: number(self.open()),
            active: number(self.active()),
        }
    }

    fn closed_condition(&self, nr: usize) -> Condition {
        match self.zones[nr].wp {
            0 => Condition::Empty,
            _ => Condition::Closed,
        }
    }

    /// The resource check for a zone that is not open.
    fn make_room(&mut self, nr: usize) -> Result<(), No> {
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

    fn open_for_write(&mut self, nr: usize) -> Result<(), No> {
        if let Condition::Empty | Condition::Closed = self.zones[nr].condition {
            self.make_room(nr)?;
            self.zones[nr].condition = Condition::ImplicitOpen;
        }
        self.now += 1;
        self.zones[nr].last_use = self.now;
        Ok(())
    }

    fn check_writable(&self, nr: usize) -> Result<(), No> {
        match self.reported(nr) {
            Condition::Full | Condition::ReadOnly | Condition::Offline => Err(No::Condition),
            _ => Ok(()),
        }
    }

    fn write(&mut self, nr: usize, sector: Option<u64>, sectors: u64) -> Result<u64, No> {
        self.check_writable(nr)?;
        let wp = self.zones[nr].wp;
        if sector.is_some_and(|sector| sector != wp) {
            return Err(No::NotAtWp);
        }
        if sectors > CAPACITY - wp {
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

    /// Ends all writes of a zone, with this much on the medium.
    fn writes_end(&mut self, nr: usize, wp: u64) {
        let zone = &mut self.zones[nr];
        zone.under_way = UnderWay::Nothing;
        zone.wp = wp;
        match (wp, zone.condition) {
            (CAPACITY, _) => zone.condition = Condition::Full,
            (0, Condition::Closed) => zone.condition = Condition::Empty,
            _ => (),
        }
    }

    fn open_command(&mut self, nr: usize) -> Result<(), No> {
        self.check_writable(nr)?;
        if let Condition::Empty | Condition::Closed = self.zones[nr].condition {
            self.make_room(nr)?;
        }
        self.zones[nr].condition = Condition::ExplicitOpen;
        Ok(())
    }

    fn close(&mut self, nr: usize) -> Result<(), No> {
        match self.zones[nr].condition {
            Condition::ImplicitOpen | Condition::ExplicitOpen | Condition::Closed => {
                self.zones[nr].condition = self.closed_condition(nr);
                Ok(())
            }
            _ => Err(No::Condition),
        }
    }

    /// Begins a finish; `false` if there is nothing to do.
    fn finish(&mut self, nr: usize) -> Result<bool, No> {
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

    fn finish_ends_well(&mut self, nr: usize) {
        let zone = &mut self.zones[nr];
        zone.under_way = UnderWay::Nothing;
        zone.wp = CAPACITY;
        zone.condition = Condition::Full;
    }

    fn finish_fails(&mut self, nr: usize, opened: Opened) {
        self.zones[nr].under_way = UnderWay::Nothing;
        if opened == Opened::ForIt {
            self.zones[nr].condition = self.closed_condition(nr);
        }
    }

    fn reset(&mut self, nr: usize) -> Result<(), No> {
        if let Condition::ReadOnly | Condition::Offline = self.zones[nr].condition {
            return Err(No::Condition);
        }
        self.zones[nr].wp = 0;
        self.zones[nr].condition = Condition::Empty;
        Ok(())
    }
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, nr: u64) -> bool {
        self.below(nr) == 0
    }
}

/// What came of a step, for the end of the walk: a walk that refuses all proves nothing.
#[derive(Debug, Default)]
struct Tally {
    done: u32,
    condition: u32,
    not_at_wp: u32,
    too_far: u32,
    open: u32,
    active: u32,
    evictions: u32,
}

impl Tally {
    fn note(&mut self, result: Result<(), No>) {
        let count = match result {
            Ok(()) => &mut self.done,
            Err(No::Condition) => &mut self.condition,
            Err(No::NotAtWp) => &mut self.not_at_wp,
            Err(No::TooFar) => &mut self.too_far,
            Err(No::Open) => &mut self.open,
            Err(No::Active) => &mut self.active,
        };
        *count += 1;
    }
}

/// One step of the walk: the same to both, and the same from both.
fn step(random: &mut Random, device: &mut Device, model: &mut Model) -> (String, Result<(), No>) {
    let nr = random.below(model.zones.len() as u64) as usize;
    let said = |result: Result<(), Refusal>| result.map_err(No::from);

    // First what ends something.
    match model.zones[nr].under_way {
        UnderWay::Finish(opened) => {
            let previous = match opened {
                Opened::Before => PreviousShare::Open,
                Opened::ForIt => PreviousShare::NotOpen,
            };
            if random.one_in(4) {
                device.zones[nr].not_finished(&mut device.set, previous);
                model.finish_fails(nr, opened);
                return (format!("zone {nr}: finish fails"), Ok(()));
            }
            device.zones[nr].finished(&mut device.set);
            model.finish_ends_well(nr);
            return (format!("zone {nr}: finish ends"), Ok(()));
        }
        UnderWay::Writes(from) if random.one_in(2) => {
            let wp = model.zones[nr].wp;
            if random.one_in(3) {
                let left = from + random.below(wp - from + 1);
                device.repair(nr, left);
                model.writes_end(nr, left);
                return (format!("zone {nr}: writes fail at {left}"), Ok(()));
            }
            device.written(nr);
            model.writes_end(nr, wp);
            return (format!("zone {nr}: writes end at {wp}"), Ok(()));
        }
        _ => (),
    }

    let wp = model.zones[nr].wp;
    let idle = model.zones[nr].under_way == UnderWay::Nothing;
    match random.below(if idle { 16 } else { 5 }) {
        0..=4 => {
            let sector = match random.below(8) {
                0..=2 => None,
                3 => Some(random.below(CAPACITY + 2)),
                _ => Some(wp),
            };
            let sectors = match random.below(8) {
                0 => CAPACITY - wp.min(CAPACITY - 1),
                1 => CAPACITY - wp + 1 + random.below(3),
                2 => u64::MAX - random.below(3),
                _ => 1 + random.below(CAPACITY / 3),
            };
            let target = sector.map_or(Target::WritePointer, Target::Sector);
            let is = device.reserve(nr, target, sectors).map_err(No::from);
            let should = model.write(nr, sector, sectors);
            let what = format!("zone {nr}: write {sectors} at {sector:?}");
            assert_eq!(is, should, "{what}");
            (what, is.map(drop))
        }
        5..=7 => {
            let (is, should) = (said(device.open(nr)), model.open_command(nr));
            assert_eq!(is, should, "zone {nr}: open");
            (format!("zone {nr}: open"), is)
        }
        8..=9 => {
            let (is, should) = (said(device.close(nr)), model.close(nr));
            assert_eq!(is, should, "zone {nr}: close");
            (format!("zone {nr}: close"), is)
        }
        10..=11 => {
            let is = device.zones[nr].finish(&mut device.set).map_err(No::from);
            let is = is.map(|finish| match finish {
                Finish::Nothing => UnderWay::Nothing,
                Finish::Medium(PreviousShare::Open) => UnderWay::Finish(Opened::Before),
                Finish::Medium(PreviousShare::NotOpen) => UnderWay::Finish(Opened::ForIt),
            });
            let should = model.finish(nr).map(|_| model.zones[nr].under_way);
            assert_eq!(is, should, "zone {nr}: finish");
            (format!("zone {nr}: finish"), is.map(drop))
        }
        12..=14 => {
            let (is, should) = (said(device.reset(nr)), model.reset(nr));
            assert_eq!(is, should, "zone {nr}: reset");
            (format!("zone {nr}: reset"), is)
        }
        _ if random.one_in(50) => {
            let (failure, condition) = match random.below(2) {
                0 => (Failure::ReadOnly, Condition::ReadOnly),
                _ => (Failure::Offline, Condition::Offline),
            };
            device.fail(nr, failure);
            model.zones[nr].condition = condition;
            (format!("zone {nr}: becomes {condition:?}"), Ok(()))
        }
        _ => ("nothing".into(), Ok(())),
    }
}

/// Walks so many steps, from a device of empty zones.
fn walk(seed: u64, steps: u32, tally: &mut Tally) {
    let mut random = Random(seed);
    let nr = 1 + random.below(8) as u32;
    let max_open = random.below(5) as u32;
    let max_active = match random.below(3) {
        0 => 0,
        more => max_open + more as u32 - 1,
    };
    let mut device = Device::new(nr, limits(max_open, max_active));
    let mut model = Model::new(nr as usize, max_open as usize, max_active as usize);
    for count in 0..steps {
        let before = device.view();
        let (what, result) = step(&mut random, &mut device, &mut model);
        let place = format!(
            "seed {seed:#x}, {nr} zones, max_open {max_open}, max_active {max_active}, \
             step {count}: {what}"
        );
        let after = device.view();
        assert_eq!(after, model.view(), "{place}");
        if result.is_err() {
            assert_eq!(after, before, "{place}: a refused command changes nothing");
        }
        assert!(max_open == 0 || after.open <= max_open, "{place}");
        assert!(max_active == 0 || after.active <= max_active, "{place}");
        let closed = |view: &View| {
            let is_closed = |zone: &&(Condition, u64)| zone.0 == Condition::Closed;
            view.zones.iter().filter(is_closed).count()
        };
        if closed(&after) > closed(&before) && !what.ends_with("close") {
            tally.evictions += 1;
        }
        tally.note(result);
    }
}

#[test]
fn random_walk() {
    let mut tally = Tally::default();
    for seed in 1..=2000_u64 {
        walk(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 200, &mut tally);
    }
    println!("{tally:?}");
    let Tally {
        done,
        condition,
        not_at_wp,
        too_far,
        open,
        active,
        evictions,
    } = tally;
    for count in [done, condition, not_at_wp, too_far, open, active, evictions] {
        assert!(count > 1000, "too few of one kind: {tally:?}");
    }
}
