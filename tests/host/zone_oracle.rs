// SPDX-License-Identifier: GPL-2.0

//! Every command in every condition, with and without room for one more open or active zone.
//!
//! What must happen is a table, after that of the zone model's sources. A cell is `x` for a
//! command that is refused, or the condition that the zone ends in; `R` before it says that the
//! command takes part in the resource check.

use crate::zone::{
    Condition,
    Failure,
    Finish,
    Limits,
    Refusal,
    Target, //
};
use crate::zone_device::{
    limits,
    Device,
    CAPACITY, //
};

/// The conditions are those of [`prepare`].
const ORACLE: &str = "
    command    | E    | IO0 | IO | EO0 | EO | C    | F | RO | OFF
    write      | R IO | IO  | IO | EO  | EO | R IO | x | x  | x
    fill       | R F  | F   | F  | F   | F  | R F  | x | x  | x
    behind     | x    | x   | x  | x   | x  | x    | x | x  | x
    ahead      | x    | x   | x  | x   | x  | x    | x | x  | x
    crossing   | x    | x   | x  | x   | x  | x    | x | x  | x
    huge       | x    | x   | x  | x   | x  | x    | x | x  | x
    append     | R IO | IO  | IO | EO  | EO | R IO | x | x  | x
    appendfill | R F  | F   | F  | F   | F  | R F  | x | x  | x
    appendover | x    | x   | x  | x   | x  | x    | x | x  | x
    appendhuge | x    | x   | x  | x   | x  | x    | x | x  | x
    open       | R EO | EO  | EO | EO  | EO | R EO | x | x  | x
    close      | x    | E   | C  | E   | C  | C    | x | x  | x
    finish     | R F  | F   | F  | F   | F  | R F  | F | x  | x
    reset      | E    | E   | E  | E   | E  | E    | E | x  | x
";

/// The zone that gets the command.
const IT: usize = 0;
/// A zone that stands in its way.
const OTHER: usize = 1;

/// Brings a zone into the condition of a column. A `0` says that nothing is written.
fn prepare(device: &mut Device, condition: &str) {
    let steps: &[&str] = match condition {
        "E" => &[],
        // A write opens the zone and then fails.
        "IO0" => &["write", "lose"],
        "IO" => &["write"],
        "EO0" => &["open"],
        "EO" => &["write", "open"],
        "C" => &["write", "close"],
        "F" => &["write", "finish"],
        "RO" => &["write", "read-only"],
        "OFF" => &["write", "offline"],
        _ => panic!("no such condition"),
    };
    for step in steps {
        command(device, step).expect("a command on the way to a condition");
    }
}

/// Gives [`IT`] a command.
fn command(device: &mut Device, command: &str) -> Result<(), Refusal> {
    let wp = device.wp(IT);
    let rest = CAPACITY - wp;
    let appended = |start| assert_eq!(start, wp, "an append tells where the data went");
    match command {
        "write" => device.write(IT, 8),
        "fill" => device.write(IT, rest),
        // Nothing is behind the start; there the write is too long instead.
        "behind" if wp == 0 => device.write_at(IT, 0, CAPACITY + 1),
        "behind" => device.write_at(IT, wp - 1, 1),
        "ahead" => device.write_at(IT, wp + 1, 1),
        "crossing" => device.write(IT, rest + 1),
        "huge" => device.write(IT, u64::MAX),
        "append" => device.append(IT, 8).map(appended),
        "appendfill" => device.append(IT, rest).map(appended),
        "appendover" => device.append(IT, rest + 1).map(appended),
        "appendhuge" => device.append(IT, u64::MAX).map(appended),
        "open" => device.open(IT),
        "close" => device.close(IT),
        "finish" => device.finish(IT),
        "reset" => device.reset(IT),
        "lose" => {
            device.repair(IT, 0);
            Ok(())
        }
        "read-only" => {
            device.fail(IT, Failure::ReadOnly);
            Ok(())
        }
        "offline" => {
            device.fail(IT, Failure::Offline);
            Ok(())
        }
        _ => panic!("no such command"),
    }
}

fn condition(name: &str) -> Condition {
    match name {
        "E" => Condition::Empty,
        "IO0" | "IO" => Condition::ImplicitOpen,
        "EO0" | "EO" => Condition::ExplicitOpen,
        "C" => Condition::Closed,
        "F" => Condition::Full,
        "RO" => Condition::ReadOnly,
        "OFF" => Condition::Offline,
        _ => panic!("no such condition"),
    }
}

/// Where a successful command leaves the write pointer.
fn moved(command: &str, wp: u64) -> u64 {
    match command {
        "write" | "append" => wp + 8,
        "fill" | "appendfill" | "finish" => CAPACITY,
        "open" | "close" => wp,
        "reset" => 0,
        _ => panic!("never successful"),
    }
}

/// Calls `check` with each cell: command, condition, and what is in the cell.
fn for_each_cell(mut check: impl FnMut(&str, &str, &str)) {
    let mut rows = ORACLE
        .trim()
        .lines()
        .map(|row| row.split('|').map(str::trim));
    let conditions: Vec<_> = rows.next().expect("a head").skip(1).collect();
    let mut cells = 0;
    for mut row in rows {
        let command = row.next().expect("a command");
        for (condition, cell) in conditions.iter().zip(row) {
            check(command, condition, cell);
            cells += 1;
        }
    }
    assert_eq!(cells, 14 * 9);
}

/// What stands in the way of one more open or active zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// Nothing: there are no limits.
    None,
    /// Limits of one open and one active zone, but there is no other zone.
    OnlyItself,
    /// The open limit is reached by an explicitly open zone.
    Open,
    /// The open limit is reached by an implicitly open zone.
    Evictable,
    /// The active limit is reached by a closed zone.
    Active,
    /// Both limits are reached by an explicitly open zone.
    OpenAndActive,
    /// Both limits are reached by an implicitly open zone that has data.
    EvictableAndActive,
}

impl Obstacle {
    const ALL: [Self; 7] = [
        Self::None,
        Self::OnlyItself,
        Self::Open,
        Self::Evictable,
        Self::Active,
        Self::OpenAndActive,
        Self::EvictableAndActive,
    ];

    /// Limits that are reached when [`OTHER`] is there.
    fn limits(self, condition: &str) -> Limits {
        let open = u32::from(matches!(condition, "IO0" | "IO" | "EO0" | "EO"));
        let active = open + u32::from(condition == "C");
        match self {
            Self::None => limits(0, 0),
            Self::OnlyItself => limits(1, 1),
            Self::Open | Self::Evictable => limits(open + 1, 0),
            Self::Active => limits(0, active + 1),
            Self::OpenAndActive | Self::EvictableAndActive => limits(open + 1, active + 1),
        }
    }

    fn prepare(self, device: &mut Device) {
        let result = match self {
            Self::None | Self::OnlyItself => Ok(()),
            Self::Open | Self::OpenAndActive => device.open(OTHER),
            Self::Evictable | Self::EvictableAndActive => device.write(OTHER, 8),
            Self::Active => device.write(OTHER, 8).and_then(|()| device.close(OTHER)),
        };
        result.expect("there is room for the other zone");
    }

    /// What becomes of a command that takes part in the resource check.
    fn outcome(self, condition: &str) -> Result<(), Refusal> {
        match (self, condition) {
            (Self::Open, _) | (Self::OpenAndActive, "C") => Err(Refusal::TooManyOpen),
            (Self::Active | Self::OpenAndActive | Self::EvictableAndActive, "E") => {
                Err(Refusal::TooManyActive)
            }
            _ => Ok(()),
        }
    }

    /// What the other zone is after a resource check that went well.
    fn evicted(self) -> Condition {
        match self {
            Self::None | Self::OnlyItself => Condition::Empty,
            Self::Evictable | Self::EvictableAndActive | Self::Active => Condition::Closed,
            Self::Open | Self::OpenAndActive => Condition::ExplicitOpen,
        }
    }
}

#[test]
fn every_command_in_every_condition() {
    for obstacle in Obstacle::ALL {
        for_each_cell(|what, before, cell| {
            let place = format!("{what} in {before}, {obstacle:?}");
            // With a limit of one, a zone is brought into its condition alone.
            let mut device = Device::new(3, obstacle.limits(before));
            prepare(&mut device, before);
            obstacle.prepare(&mut device);
            assert_eq!(device.condition(IT), condition(before), "{place}");
            let view = device.view();

            let result = command(&mut device, what);
            let (checked, after) = match cell.strip_prefix("R ") {
                Some(after) => (true, after),
                None => (false, cell),
            };
            if after == "x" {
                let refusal = result.expect_err(&place);
                assert!(
                    !matches!(refusal, Refusal::TooManyOpen | Refusal::TooManyActive),
                    "{place}"
                );
                assert_eq!(
                    device.view(),
                    view,
                    "{place}: a refused command changes nothing"
                );
                return;
            }
            if let (true, refused @ Err(_)) = (checked, obstacle.outcome(before)) {
                assert_eq!(result, refused, "{place}");
                assert_eq!(
                    device.view(),
                    view,
                    "{place}: a refused command changes nothing"
                );
                return;
            }

            assert_eq!(result, Ok(()), "{place}");
            assert_eq!(device.condition(IT), condition(after), "{place}");
            assert_eq!(device.wp(IT), moved(what, view.zones[IT].1), "{place}");
            let other = match checked {
                true => obstacle.evicted(),
                false => view.zones[OTHER].0,
            };
            assert_eq!(device.condition(OTHER), other, "{place}");
            assert_eq!(device.wp(OTHER), view.zones[OTHER].1, "{place}");

            let conditions = [device.condition(IT), device.condition(OTHER)];
            let count = |wanted: &[Condition]| {
                u32::try_from(conditions.iter().filter(|c| wanted.contains(c)).count())
            };
            let open = [Condition::ImplicitOpen, Condition::ExplicitOpen];
            let closed = [Condition::Closed];
            assert_eq!(Ok(device.set.nr_open()), count(&open), "{place}");
            assert_eq!(
                Ok(device.set.nr_active()),
                count(&[&open[..], &closed].concat()),
                "{place}"
            );
        });
    }
}

#[test]
fn refusals_say_what_is_wrong() {
    let mut device = Device::new(1, limits(0, 0));
    device.write(IT, 8).expect("a write to an empty zone");
    let at_wp = Refusal::NotAtWritePointer(8);
    assert_eq!(device.write_at(IT, 0, 8), Err(at_wp));
    assert_eq!(device.write_at(IT, 9, 1), Err(at_wp));
    assert_eq!(device.write_at(IT, u64::MAX, u64::MAX), Err(at_wp));
    let beyond = Refusal::BeyondCapacity(CAPACITY);
    assert_eq!(device.write_at(IT, 8, CAPACITY), Err(beyond));
    assert_eq!(device.append(IT, CAPACITY), Err(beyond));
    device.finish(IT).expect("a finish of an open zone");
    let full = Refusal::InvalidCondition(Condition::Full);
    assert_eq!(device.append(IT, 1), Err(full));
    assert_eq!(device.open(IT), Err(full));
    assert_eq!(device.close(IT), Err(full));
}

#[test]
fn active_limit_comes_first() {
    // An empty zone meets both limits and finds nothing to evict: it is the active limit that is
    // told, as null_blk does, since no close would help.
    let mut device = Device::new(2, limits(1, 1));
    device.open(OTHER).expect("an open of the first zone");
    assert_eq!(device.open(IT), Err(Refusal::TooManyActive));
    assert_eq!(device.write(IT, 1), Err(Refusal::TooManyActive));
    assert_eq!(device.finish(IT), Err(Refusal::TooManyActive));
}

#[test]
fn open_zone_that_fills_keeps_its_slot_until_the_write_succeeded() {
    let mut device = Device::new(2, limits(1, 1));
    device.open(IT).expect("an open of an empty zone");
    let start = device.reserve(IT, Target::WritePointer, CAPACITY);
    assert_eq!(start, Ok(0));
    assert_eq!(device.condition(IT), Condition::Full);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 1));
    // The write fails half way: the zone is open as it was.
    device.repair(IT, 8);
    assert_eq!(device.condition(IT), Condition::ExplicitOpen);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (1, 1));
    device.write(IT, CAPACITY - 8).expect("a write of the rest");
    assert_eq!(device.condition(IT), Condition::Full);
    assert_eq!((device.set.nr_open(), device.set.nr_active()), (0, 0));
}

#[test]
fn finish_that_fails_is_taken_back() {
    for before in ["E", "IO0", "IO", "EO0", "EO", "C"] {
        let mut device = Device::new(1, limits(1, 1));
        prepare(&mut device, before);
        let view = device.view();
        let finish = device.zones[IT].finish(&mut device.set).expect(before);
        let Finish::Medium(previous) = finish else {
            panic!("{before}: there is something to fill");
        };
        assert_eq!(
            (device.set.nr_open(), device.set.nr_active()),
            (1, 1),
            "{before}"
        );
        device.zones[IT].not_finished(&mut device.set, previous);
        assert_eq!(device.view(), view, "{before}");
    }
}

#[test]
fn broken_zone_gives_back_its_share() {
    for (failure, broken) in [
        (Failure::ReadOnly, Condition::ReadOnly),
        (Failure::Offline, Condition::Offline),
    ] {
        for before in ["E", "IO0", "IO", "EO0", "EO", "C", "F"] {
            let mut device = Device::new(2, limits(1, 1));
            prepare(&mut device, before);
            device.fail(IT, failure);
            assert_eq!(device.condition(IT), broken, "{before}");
            assert_eq!(
                (device.set.nr_open(), device.set.nr_active()),
                (0, 0),
                "{before}"
            );
            assert_eq!(device.open(OTHER), Ok(()), "{before}");
        }
    }
}

#[test]
fn repair_keeps_the_books() {
    // The medium has something else than the zone: whatever the zone was, the counts and the
    // condition follow from what is found.
    for before in ["E", "IO0", "IO", "EO0", "EO", "C", "F", "RO", "OFF"] {
        for found in [0, 16, CAPACITY] {
            let mut device = Device::new(1, limits(0, 0));
            prepare(&mut device, before);
            device.repair(IT, found);
            let expected = match (before, found) {
                (_, CAPACITY) => Condition::Full,
                ("IO0" | "IO" | "EO0" | "EO", _) => condition(before),
                (_, 0) => Condition::Empty,
                _ => Condition::Closed,
            };
            let (open, active) = match expected {
                Condition::ImplicitOpen | Condition::ExplicitOpen => (1, 1),
                Condition::Closed => (0, 1),
                _ => (0, 0),
            };
            let place = format!("{before}, {found} sectors found");
            assert_eq!(device.condition(IT), expected, "{place}");
            assert_eq!(
                (device.set.nr_open(), device.set.nr_active()),
                (open, active),
                "{place}"
            );
            // And an open zone is closed to what it now is.
            if open > 0 {
                device.close(IT).expect(&place);
                let closed = if found > 0 {
                    Condition::Closed
                } else {
                    Condition::Empty
                };
                assert_eq!(device.condition(IT), closed, "{place}");
            }
        }
    }
}
