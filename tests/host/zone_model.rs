// SPDX-License-Identifier: GPL-2.0

//! A random walk beside a naive model: after every step both must say the same.
//!
//! Writes and finishes are begun and ended in separate steps, between which other zones get
//! commands, and some of them fail.

use crate::zone::tests::{
    limits,
    Device,
    View,
    CAPACITY, //
};
use crate::zone::{
    Condition,
    Failure,
    Finish,
    PreviousShare,
    Target, //
    ZoneError,
};
use crate::zone_rules::{
    Model,
    No,
    Opened,
    UnderWay, //
};

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
    let said = |result: Result<(), ZoneError>| result.map_err(No::from);

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
                device.repair(nr, left).expect("within the capacity");
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
            model.fail(nr, condition);
            (format!("zone {nr}: becomes {condition:?}"), Ok(()))
        }
        _ => ("nothing".into(), Ok(())),
    }
}

/// Walks this number of steps, from a device of empty zones.
fn walk(seed: u64, steps: u32, tally: &mut Tally) {
    let mut random = Random(seed);
    let nr = 1 + random.below(8) as usize;
    let max_open = random.below(5) as u32;
    let max_active = match random.below(3) {
        0 => 0,
        more => max_open + more as u32 - 1,
    };
    let mut device = Device::new(nr, limits(max_open, max_active)).expect("few zones");
    let mut model = Model::new(nr, CAPACITY, max_open as usize, max_active as usize);
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
