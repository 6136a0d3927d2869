// SPDX-License-Identifier: GPL-2.0

//! Every state that three small zones can get into, and every command in each of them.
//!
//! A breadth-first search, for every combination of small limits, from whatever a device may find
//! on its medium when it is added. In each state every zone is given every command that it can be
//! given then: of every length and to every sector, including those that can't be. What was begun
//! ends well, or fails in every way that it can, while the other zones get commands; the medium
//! fails and works again. The naive model of `zone_rules.rs` must say the same each time, and the
//! invariants must hold.
//!
//! A state is all that there is, not only what can be seen: two that differ in a link of the open
//! set's list are two. So nothing that is not visited can ever happen to three such zones.

use crate::zone::tests::{
    limits,
    Device,
    View, //
};
use crate::zone::{
    open_zones::Share,
    Condition,
    Failure,
    Finish,
    PreviousShare,
    Reset,
    Target,
    ZoneError, //
};
use crate::zone_rules::{
    Model,
    No,
    Opened,
    UnderWay, //
};
use std::collections::{
    HashSet,
    VecDeque, //
};
use std::num::NonZero;
use std::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use std::sync::Mutex;
use std::thread;

const NR_ZONES: usize = 3;
/// A zone is empty, partly written, or full, and a write may fill it or not.
const CAPACITY: u64 = 2;

/// What one zone is told, or what becomes of what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A write to a sector, or an append.
    Write(Option<u64>, u64),
    Open,
    Close,
    Finish,
    Reset,
    /// All that was begun has ended well.
    EndsWell,
    /// The command under way has failed. The contents of the medium are not known yet.
    Fails,
    /// The medium has this much.
    Repair(u64),
    /// The medium can't be used.
    MediumFails(Failure),
}

/// A device and what it should be.
#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    device: Device,
    model: Model,
}

impl State {
    fn new(written: &[u64], max_open: usize, max_active: usize) -> Self {
        let limit = |limit| u32::try_from(limit).expect("a small limit");
        let limits = limits(limit(max_open), limit(max_active));
        let mut model = Model::new(written.len(), CAPACITY, max_open, max_active);
        for (nr, &wp) in written.iter().enumerate() {
            model.writes_end(nr, wp);
        }
        Self {
            device: Device::with_written(written, CAPACITY, limits).expect("few zones"),
            model,
        }
    }

    /// What may happen to a zone.
    fn events(&self, nr: usize) -> Vec<Event> {
        let zone = &self.model.zones[nr];
        let mut events = vec![
            Event::MediumFails(Failure::ReadOnly),
            Event::MediumFails(Failure::Offline),
        ];
        let from = match zone.under_way {
            UnderWay::Nothing => 0,
            UnderWay::Writes(from) | UnderWay::Repair(from) => from,
            UnderWay::Finish(_) => zone.wp,
        };
        match zone.under_way {
            // Nothing else is done in a zone while one of these is under way.
            UnderWay::Finish(_) => events.extend([Event::EndsWell, Event::Fails]),
            UnderWay::Repair(_) => events.extend((from..=CAPACITY).map(Event::Repair)),
            UnderWay::Writes(_) => {
                events.push(Event::EndsWell);
                events.extend((from..=zone.wp).map(Event::Repair));
            }
            UnderWay::Nothing => {
                events.extend([Event::Open, Event::Close, Event::Finish, Event::Reset]);
                // The medium is looked at again after it has failed.
                if let Condition::ReadOnly | Condition::Offline = zone.condition {
                    events.extend((0..=CAPACITY).map(Event::Repair));
                }
                // A reset that fails leaves anything behind.
                let fails = matches!(zone.condition, Condition::ReadOnly | Condition::Offline);
                if zone.wp > 0 && !fails {
                    events.push(Event::Fails);
                }
            }
        }
        if let UnderWay::Nothing | UnderWay::Writes(_) = zone.under_way {
            for sectors in (1..=CAPACITY + 1).chain([u64::MAX]) {
                let targets = (0..=CAPACITY + 1).chain([u64::MAX]).map(Some);
                let targets = targets.chain([None]);
                events.extend(targets.map(|sector| Event::Write(sector, sectors)));
            }
        }
        events
    }

    /// Has it happen to both, and says what both say.
    fn happen(&mut self, nr: usize, event: Event, context: &dyn Fn() -> String) -> Result<(), No> {
        let Self { device, model } = self;
        let (is, should) = match event {
            Event::Write(sector, sectors) => {
                let target = sector.map_or(Target::WritePointer, Target::Sector);
                let is = device.reserve(nr, target, sectors);
                let should = model.write(nr, sector, sectors);
                assert_eq!(is.map_err(No::from), should, "{}", context());
                (is.map(drop), should.map(drop))
            }
            Event::Open => (device.open(nr), model.open_command(nr)),
            Event::Close => (device.close(nr), model.close(nr)),
            Event::Finish => {
                let is = device.zones[nr].finish(&mut device.set);
                let should = model.finish(nr);
                let begun = match &is {
                    Ok(Finish::Medium(PreviousShare::Open)) => UnderWay::Finish(Opened::Before),
                    Ok(Finish::Medium(PreviousShare::NotOpen)) => UnderWay::Finish(Opened::ForIt),
                    _ => UnderWay::Nothing,
                };
                assert_eq!(begun, model.zones[nr].under_way, "{}", context());
                (is.map(drop), should.map(drop))
            }
            Event::Reset => {
                let has_data = model.zones[nr].wp > 0;
                let is = device.zones[nr].reset(&device.set);
                if let Ok(reset) = &is {
                    assert_eq!(*reset == Reset::Medium, has_data, "{}", context());
                    device.zones[nr].emptied(&mut device.set);
                }
                (is.map(drop), model.reset(nr))
            }
            Event::EndsWell => {
                match model.zones[nr].under_way {
                    UnderWay::Finish(_) => {
                        device.zones[nr].finished(&mut device.set);
                        model.finish_ends_well(nr);
                    }
                    _ => {
                        device.written(nr);
                        let wp = model.zones[nr].wp;
                        model.writes_end(nr, wp);
                    }
                }
                (Ok(()), Ok(()))
            }
            Event::Fails => {
                match model.zones[nr].under_way {
                    UnderWay::Finish(opened) => {
                        let previous = match opened {
                            Opened::Before => PreviousShare::Open,
                            Opened::ForIt => PreviousShare::NotOpen,
                        };
                        device.zones[nr].not_finished(&mut device.set, previous);
                        model.finish_fails(nr, opened);
                        model.zones[nr].under_way = UnderWay::Repair(model.zones[nr].wp);
                    }
                    _ => model.zones[nr].under_way = UnderWay::Repair(0),
                }
                (Ok(()), Ok(()))
            }
            Event::Repair(wp) => {
                device.repair(nr, wp).expect("within the capacity");
                model.writes_end(nr, wp);
                (Ok(()), Ok(()))
            }
            Event::MediumFails(failure) => {
                device.fail(nr, failure);
                model.fail(
                    nr,
                    match failure {
                        Failure::ReadOnly => Condition::ReadOnly,
                        Failure::Offline => Condition::Offline,
                    },
                );
                (Ok(()), Ok(()))
            }
        };
        model.forget_time();
        let is = is.map_err(|err: ZoneError| No::from(err));
        assert_eq!(is, should, "{}", context());
        is
    }

    /// What holds in every state, whatever the model says.
    fn check(&self) -> View {
        let view = self.device.view();
        assert_eq!(view, self.model.view());
        let View {
            ref zones,
            open,
            active,
        } = view;
        let max_open = self.model.max_open;
        assert!(
            max_open == 0 || open as usize <= max_open,
            "{open} are open"
        );
        let shares: Vec<_> = (0..)
            .take(NR_ZONES)
            .map(|nr| self.device.set.share(nr))
            .collect();
        let count = |wanted: &[Share]| shares.iter().filter(|share| wanted.contains(share)).count();
        let opened = count(&[Share::Implicit, Share::Explicit]);
        assert_eq!(opened, open as usize, "the count of open zones");
        let holding = opened + count(&[Share::Active]);
        assert_eq!(holding, active as usize, "the count of active zones");
        for (nr, &(condition, wp)) in zones.iter().enumerate() {
            assert!(wp <= CAPACITY);
            let share = shares[nr];
            let idle = self.model.zones[nr].under_way == UnderWay::Nothing;
            let fits = match condition {
                Condition::Empty => wp == 0 && share == Share::None,
                Condition::Closed => wp > 0 && wp < CAPACITY && share == Share::Active,
                Condition::ImplicitOpen => wp < CAPACITY && share == Share::Implicit,
                Condition::ExplicitOpen => wp < CAPACITY && share == Share::Explicit,
                // It keeps its share until the write that fills it has ended.
                Condition::Full => wp == CAPACITY && (share == Share::None || !idle),
                Condition::ReadOnly | Condition::Offline => share == Share::None,
            };
            assert!(fits, "zone {nr} is {condition:?} at {wp} with {share:?}");
        }
        view
    }
}

/// What the search has seen.
#[derive(Debug, Default)]
struct Seen {
    states: usize,
    steps: usize,
    refused: usize,
    too_many_open: usize,
    too_many_active: usize,
    evictions: usize,
    /// Steps that leave more zones active than are allowed: they were found on the medium.
    over_limit: usize,
}

/// What must be true of any step that was not refused.
fn check_step(was: &View, nr: usize, event: Event, after: &State, seen: &mut Seen) {
    let is = after.check();
    for other in (0..NR_ZONES).filter(|&other| other != nr) {
        if was.zones[other] != is.zones[other] {
            // Nothing but being closed, to make room, happens to another zone.
            assert_eq!(was.zones[other].0, Condition::ImplicitOpen);
            let made = is.zones[other].0;
            assert!(matches!(made, Condition::Closed | Condition::Empty));
            assert_eq!(was.open, is.open, "one has made room for one");
            seen.evictions += 1;
        }
        assert_eq!(was.zones[other].1, is.zones[other].1, "another's pointer");
    }
    let (wp_was, wp_is) = (was.zones[nr].1, is.zones[nr].1);
    match event {
        Event::Reset | Event::Repair(_) => {}
        Event::Write(_, sectors) => assert_eq!(wp_is, wp_was + sectors),
        Event::EndsWell => assert!(wp_is >= wp_was),
        _ => assert_eq!(wp_is, wp_was),
    }
    let max_active = after.model.max_active;
    if max_active > 0 && is.active as usize > max_active {
        // Only a repair, which finds data on the medium, exceeds the limit.
        assert!(is.active <= was.active || matches!(event, Event::Repair(_)));
        seen.over_limit += 1;
    }
}

/// Visits all that can be reached with these limits.
fn search(max_open: usize, max_active: usize) -> Seen {
    let mut seen = Seen::default();
    let mut known = HashSet::new();
    let mut queue = VecDeque::new();
    // Whatever is on the medium when the device is added.
    for all in 0..(CAPACITY + 1).pow(3) {
        let base = CAPACITY + 1;
        let written = [all % base, all / base % base, all / base / base];
        let state = State::new(&written, max_open, max_active);
        state.check();
        known.insert(state.clone());
        queue.push_back(state);
    }
    while let Some(state) = queue.pop_front() {
        let view = state.device.view();
        let mut after = state.clone();
        for nr in 0..NR_ZONES {
            for event in state.events(nr) {
                let context = || format!("{view:?}, {:?}, zone {nr}: {event:?}", state.model);
                let result = after.happen(nr, event, &context);
                seen.steps += 1;
                if let Err(no) = result {
                    seen.refused += 1;
                    seen.too_many_open += usize::from(no == No::Open);
                    seen.too_many_active += usize::from(no == No::Active);
                    assert!(
                        after == state,
                        "refused, but it changed something: {}",
                        context()
                    );
                    continue;
                }
                check_step(&view, nr, event, &after, &mut seen);
                if !known.contains(&after) {
                    known.insert(after.clone());
                    queue.push_back(after.clone());
                }
                after.clone_from(&state);
            }
        }
    }
    seen.states = known.len();
    seen
}

/// Prints the numbers of a search, and checks them: a search that ends early proves nothing.
fn check_seen(max_open: usize, max_active: usize, seen: &Seen) {
    println!("max_open {max_open}, max_active {max_active}: {seen:?}");
    assert!(seen.states > 30_000, "too few states");
    assert!(seen.steps > 50 * seen.states, "too few steps");
    assert!(seen.refused > seen.steps / 2, "too few refusals");
    // A limit of three zones limits nothing.
    let limits = |limit: usize| limit == 1 || limit == 2;
    assert_eq!(seen.too_many_open > 0, limits(max_open));
    assert_eq!(seen.evictions > 0, limits(max_open));
    assert_eq!(seen.too_many_active > 0, limits(max_active));
    assert_eq!(seen.over_limit > 0, limits(max_active));
}

#[test]
fn all_states_of_three_zones() {
    let all = (0..=3).flat_map(|open| (0..=3).map(move |active| (open, active)));
    let left = Mutex::new(all);
    let next = || left.lock().expect("no thread has panicked").next();
    let states = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some((max_open, max_active)) = next() {
                    let seen = search(max_open, max_active);
                    check_seen(max_open, max_active, &seen);
                    states.fetch_add(seen.states, Ordering::Relaxed);
                }
            });
        }
    });
    let states = states.into_inner();
    println!("{states} states in all");
    assert!(states > 800_000, "too few states: {states}");
}
