// SPDX-License-Identifier: GPL-2.0

//! Tests that run on any machine and, as a KUnit suite, in a kernel. They do not allocate.
//!
//! KUnit's assertions take no message, and they work only in the test function itself. In a helper
//! they would panic. So helpers return [`Failed`], and so do the cases of a test with many cases.

use super::{
    open_zones::{
        Limits,
        Slot,
        Usage, //
    },
    *, //
};
use core::{
    array,
    fmt::{
        self,
        Write, //
    },
    hash::{
        Hash,
        Hasher, //
    },
    num::NonZeroU32,
    ops::{
        Deref,
        DerefMut, //
    },
    panic::Location, //
};

// Helpers of these tests, and of the tests that run only without a kernel.

/// A test has failed. The reason was printed when this was made, because KUnit does not print the
/// result of a test.
#[derive(Debug)]
pub(crate) struct Failed;

impl Failed {
    #[track_caller]
    fn because(why: fmt::Arguments<'_>) -> Self {
        let at = Location::caller();
        let (file, line) = (at.file(), at.line());
        #[cfg(test)]
        eprintln!("{file}:{line}: {why}");
        #[cfg(not(test))]
        kernel::pr_err!("{file}:{line}: {why}\n");
        Self
    }
}

impl From<ZoneError> for Failed {
    #[track_caller]
    fn from(err: ZoneError) -> Self {
        Self::because(format_args!("refused: {err}"))
    }
}

/// An `assert_eq!` for helpers and cases.
#[track_caller]
fn same<T: PartialEq + fmt::Debug>(is: T, should: T) -> Result<(), Failed> {
    if is == should {
        return Ok(());
    }
    Err(Failed::because(format_args!("{is:?} should be {should:?}")))
}

/// Checks one case of many. Prints its name if it fails.
#[track_caller]
fn case(name: impl fmt::Display, check: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    match check() {
        Ok(()) => Ok(()),
        Err(Failed) => Err(Failed::because(format_args!("in the case: {name}"))),
    }
}

/// Whether `value` is written as `expected`.
pub(crate) fn says(value: impl fmt::Display, expected: &str) -> bool {
    struct Rest<'a>(&'a str);

    impl Write for Rest<'_> {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(s).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    let mut rest = Rest(expected);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

/// A vector with at most [`Few::ROOM`] items.
#[derive(Clone)]
pub(crate) struct Few<T> {
    items: [T; Few::<()>::ROOM],
    len: usize,
}

impl Few<()> {
    const ROOM: usize = 8;
}

impl<T: Copy> Few<T> {
    /// `len` copies of an item, but at most [`Few::ROOM`].
    pub(crate) fn of(item: T, len: usize) -> Self {
        Self {
            items: [item; Few::ROOM],
            len: len.min(Few::ROOM),
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or_default()
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.items.get_mut(..self.len).unwrap_or_default()
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: Hash> Hash for Few<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The capacity of each zone in sectors, unless a test has another one.
pub(crate) const CAPACITY: u64 = 64;

/// The limits on open and active zones; 0 is no limit.
pub(crate) fn limits(max_open: u32, max_active: u32) -> Limits {
    Limits {
        max_open: NonZeroU32::new(max_open),
        max_active: NonZeroU32::new(max_active),
    }
}

fn write_pointer(sector: u64, capacity: u64) -> Result<WritePointer, Failed> {
    match WritePointer::new(sector, capacity) {
        Some(wp) => Ok(wp),
        None => Err(Failed::because(format_args!(
            "{sector} is no write pointer"
        ))),
    }
}

/// A device of a few zones on a medium that has no errors.
///
/// Each method carries out the whole command, unless its documentation says otherwise.
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(crate) struct Device {
    pub(crate) zones: Few<ZoneState>,
    pub(crate) set: OpenZones<Few<Slot>>,
    capacity: u64,
}

/// The visible state of a device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The condition and the write pointer of each zone.
    pub(crate) zones: Few<(Condition, u64)>,
    pub(crate) open: u32,
    pub(crate) active: u32,
}

impl Device {
    /// A device of `nr` empty zones.
    pub(crate) fn new(nr: usize, limits: Limits) -> Result<Self, Failed> {
        Self::with_written(&Few::of(0, nr), CAPACITY, limits)
    }

    /// A device that has just been added. `written` has the number of written sectors of each zone.
    pub(crate) fn with_written(
        written: &[u64],
        capacity: u64,
        limits: Limits,
    ) -> Result<Self, Failed> {
        let empty = ZoneState::new(0, write_pointer(0, capacity)?);
        let mut zones = Few::of(empty, written.len());
        same(zones.len(), written.len())?;
        let slots = Few::of(Slot::default(), written.len());
        let Some(mut set) = OpenZones::new(slots, limits) else {
            return Err(Failed::because(format_args!("too many slots")));
        };
        for ((nr, zone), &sector) in (0..).zip(zones.iter_mut()).zip(written) {
            *zone = ZoneState::new(nr, write_pointer(sector, capacity)?);
            if sector > 0 && sector < capacity {
                set.admit(nr);
            }
        }
        Ok(Self {
            zones,
            set,
            capacity,
        })
    }

    pub(crate) fn view(&self) -> View {
        let mut zones = Few::of((Condition::Empty, 0), self.zones.len());
        for (view, zone) in zones.iter_mut().zip(self.zones.iter()) {
            *view = (zone.condition(&self.set), zone.write_pointer().sector());
        }
        View {
            zones,
            open: self.set.nr_open(),
            active: self.set.nr_active(),
        }
    }

    pub(crate) fn condition(&self, zone: usize) -> Condition {
        self.zones[zone].condition(&self.set)
    }

    /// The numbers of open and active zones.
    fn counts(&self) -> (u32, u32) {
        (self.set.nr_open(), self.set.nr_active())
    }

    pub(crate) fn wp(&self, zone: usize) -> u64 {
        self.zones[zone].write_pointer().sector()
    }

    /// Reserves a write, but does not carry it out. Like all writes here, it returns its first
    /// sector.
    pub(crate) fn reserve(
        &mut self,
        zone: usize,
        target: Target,
        sectors: u64,
    ) -> Result<u64, ZoneError> {
        self.zones[zone].write(&mut self.set, target, sectors)
    }

    /// Ends a write that has succeeded.
    pub(crate) fn written(&mut self, zone: usize) {
        self.zones[zone].written(&mut self.set);
    }

    /// Writes at `sector`.
    fn write_at(&mut self, zone: usize, sector: u64, sectors: u64) -> Result<u64, ZoneError> {
        let start = self.reserve(zone, Target::Sector(sector), sectors)?;
        self.written(zone);
        Ok(start)
    }

    /// Writes at the write pointer.
    fn write(&mut self, zone: usize, sectors: u64) -> Result<u64, ZoneError> {
        self.write_at(zone, self.wp(zone), sectors)
    }

    fn append(&mut self, zone: usize, sectors: u64) -> Result<u64, ZoneError> {
        let start = self.reserve(zone, Target::WritePointer, sectors)?;
        self.written(zone);
        Ok(start)
    }

    pub(crate) fn open(&mut self, zone: usize) -> Result<(), ZoneError> {
        self.zones[zone].open(&mut self.set)
    }

    pub(crate) fn close(&mut self, zone: usize) -> Result<(), ZoneError> {
        self.zones[zone].close(&mut self.set)
    }

    fn finish(&mut self, zone: usize) -> Result<(), ZoneError> {
        if let Finish::Medium(_) = self.zones[zone].finish(&mut self.set)? {
            self.zones[zone].finished(&mut self.set);
        }
        Ok(())
    }

    pub(crate) fn reset(&mut self, zone: usize) -> Result<(), ZoneError> {
        // Even a reset without work on the medium can give back an open zone's share.
        let (Reset::Medium | Reset::Nothing) = self.zones[zone].reset(&self.set)?;
        self.zones[zone].emptied(&mut self.set);
        Ok(())
    }

    pub(crate) fn repair(&mut self, zone: usize, sector: u64) -> Result<(), Failed> {
        let wp = write_pointer(sector, self.capacity)?;
        self.zones[zone].repair(&mut self.set, wp);
        Ok(())
    }

    pub(crate) fn fail(&mut self, zone: usize, failure: Failure) {
        self.zones[zone].fail(&mut self.set, failure);
    }
}

// Every command in every condition, with and without room for one more open or active zone.
//
// The table has the expected results, from the sources of the zone model. A cell is `x` if the
// command is refused, or else the final condition of the zone. `R` means that the command takes
// part in the resource check.

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

/// The command, the condition and the cell.
fn cells() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let split = |row: &'static str| row.split_once('|').unwrap_or_default();
    let (head, rows) = ORACLE.trim().split_once('\n').unwrap_or_default();
    let (_, conditions) = split(head);
    rows.lines().flat_map(move |row| {
        let (command, cells) = split(row);
        let columns = conditions.split('|').zip(cells.split('|'));
        columns.map(|(condition, cell)| (command.trim(), condition.trim(), cell.trim()))
    })
}

/// The zone that gets the command.
const IT: usize = 0;
/// A zone that competes with it.
const OTHER: usize = 1;

/// Brings a zone into the condition of a column. A `0` means that the zone has no data.
fn prepare(device: &mut Device, condition: &str) -> Result<(), Failed> {
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
        _ => return Err(Failed::because(format_args!("no condition: {condition}"))),
    };
    for step in steps {
        match *step {
            "lose" => device.repair(IT, 0)?,
            "read-only" => device.fail(IT, Failure::ReadOnly),
            "offline" => device.fail(IT, Failure::Offline),
            step => {
                command(device, step)??;
            }
        }
    }
    Ok(())
}

/// Gives [`IT`] a command. Returns the first sector of a write. For other commands, it returns the
/// previous write pointer.
fn command(device: &mut Device, command: &str) -> Result<Result<u64, ZoneError>, Failed> {
    let wp = device.wp(IT);
    let rest = CAPACITY - wp;
    let no_write = |()| wp;
    Ok(match command {
        "write" => device.write(IT, 8),
        "fill" => device.write(IT, rest),
        // No sector is before the start. There the write is too long instead.
        "behind" if wp == 0 => device.write_at(IT, 0, CAPACITY + 1),
        "behind" => device.write_at(IT, wp - 1, 1),
        "ahead" => device.write_at(IT, wp + 1, 1),
        "crossing" => device.write(IT, rest + 1),
        "huge" => device.write(IT, u64::MAX),
        "append" => device.append(IT, 8),
        "appendfill" => device.append(IT, rest),
        "appendover" => device.append(IT, rest + 1),
        "appendhuge" => device.append(IT, u64::MAX),
        "open" => device.open(IT).map(no_write),
        "close" => device.close(IT).map(no_write),
        "finish" => device.finish(IT).map(no_write),
        "reset" => device.reset(IT).map(no_write),
        _ => return Err(Failed::because(format_args!("no command: {command}"))),
    })
}

fn condition(name: &str) -> Result<Condition, Failed> {
    Ok(match name {
        "E" => Condition::Empty,
        "IO0" | "IO" => Condition::ImplicitOpen,
        "EO0" | "EO" => Condition::ExplicitOpen,
        "C" => Condition::Closed,
        "F" => Condition::Full,
        "RO" => Condition::ReadOnly,
        "OFF" => Condition::Offline,
        _ => return Err(Failed::because(format_args!("no condition: {name}"))),
    })
}

/// The write pointer after a successful command.
fn moved(command: &str, wp: u64) -> Result<u64, Failed> {
    Ok(match command {
        "write" | "append" => wp + 8,
        "fill" | "appendfill" | "finish" => CAPACITY,
        "open" | "close" => wp,
        "reset" => 0,
        _ => return Err(Failed::because(format_args!("{command} was not refused"))),
    })
}

/// The obstacle to one more open or active zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// There are no limits.
    None,
    /// The limits are one open and one active zone, but no other zone is open or active.
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

    /// Limits that are reached once [`OTHER`] is prepared.
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

    fn prepare(self, device: &mut Device) -> Result<(), Failed> {
        match self {
            Self::None | Self::OnlyItself => {}
            Self::Open | Self::OpenAndActive => device.open(OTHER)?,
            Self::Evictable | Self::EvictableAndActive => {
                device.write(OTHER, 8)?;
            }
            Self::Active => {
                device.write(OTHER, 8)?;
                device.close(OTHER)?;
            }
        }
        Ok(())
    }

    /// The result of a command that takes part in the resource check.
    fn outcome(self, condition: &str) -> Result<(), ZoneError> {
        match (self, condition) {
            (Self::Open, _) | (Self::OpenAndActive, "C") => Err(ZoneError::TooManyOpen),
            (Self::Active | Self::OpenAndActive | Self::EvictableAndActive, "E") => {
                Err(ZoneError::TooManyActive)
            }
            _ => Ok(()),
        }
    }

    /// The condition of the other zone after a successful resource check.
    fn evicted(self) -> Condition {
        match self {
            Self::None | Self::OnlyItself => Condition::Empty,
            Self::Evictable | Self::EvictableAndActive | Self::Active => Condition::Closed,
            Self::Open | Self::OpenAndActive => Condition::ExplicitOpen,
        }
    }
}

fn check_cell(obstacle: Obstacle, what: &str, before: &str, cell: &str) -> Result<(), Failed> {
    // The zone gets its condition first, because the other zone may reach a limit.
    let mut device = Device::new(3, obstacle.limits(before))?;
    prepare(&mut device, before)?;
    obstacle.prepare(&mut device)?;
    same(device.condition(IT), condition(before)?)?;
    let view = device.view();
    let (it, other) = (view.zones[IT], view.zones[OTHER]);

    let result = command(&mut device, what)?;
    let (checked, after) = match cell.strip_prefix("R ") {
        Some(after) => (true, after),
        None => (false, cell),
    };
    if after == "x" {
        return match result {
            // A refused command changes nothing.
            Err(
                ZoneError::NotAtWritePointer(_)
                | ZoneError::BeyondCapacity(_)
                | ZoneError::InvalidCondition(_),
            ) => same(device.view(), view),
            result => Err(Failed::because(format_args!("not refused: {result:?}"))),
        };
    }
    if let (true, Err(err)) = (checked, obstacle.outcome(before)) {
        same(result, Err(err))?;
        return same(device.view(), view);
    }

    same(result, Ok(it.1))?;
    same(device.condition(IT), condition(after)?)?;
    same(device.wp(IT), moved(what, it.1)?)?;
    let other_after = match checked {
        true => obstacle.evicted(),
        false => other.0,
    };
    same(device.condition(OTHER), other_after)?;
    same(device.wp(OTHER), other.1)?;

    let count = |holds: fn(Condition) -> bool| {
        u32::from(holds(device.condition(IT))) + u32::from(holds(device.condition(OTHER)))
    };
    let open = count(|c| matches!(c, Condition::ImplicitOpen | Condition::ExplicitOpen));
    let closed = count(|c| c == Condition::Closed);
    same(device.counts(), (open, open + closed))
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_zone))]
mod commands {
    use super::*;

    #[test]
    fn every_command_in_every_condition() -> Result<(), Failed> {
        let mut checked = 0;
        for obstacle in Obstacle::ALL {
            for (what, before, cell) in cells() {
                case(format_args!("{what} in {before}, {obstacle:?}"), || {
                    check_cell(obstacle, what, before, cell)
                })?;
                checked += 1;
            }
        }
        assert_eq!(checked, 7 * 14 * 9);
        Ok(())
    }

    #[test]
    fn refusals_say_what_is_wrong() -> Result<(), Failed> {
        let mut device = Device::new(1, limits(0, 0))?;
        device.write(IT, 8)?;
        let at_wp = ZoneError::NotAtWritePointer(8);
        assert_eq!(device.write_at(IT, 0, 8), Err(at_wp));
        assert_eq!(device.write_at(IT, 9, 1), Err(at_wp));
        assert_eq!(device.write_at(IT, u64::MAX, u64::MAX), Err(at_wp));
        let beyond = ZoneError::BeyondCapacity(CAPACITY);
        assert_eq!(device.write_at(IT, 8, CAPACITY), Err(beyond));
        assert_eq!(device.append(IT, CAPACITY), Err(beyond));
        device.finish(IT)?;
        let full = ZoneError::InvalidCondition(Condition::Full);
        assert_eq!(device.append(IT, 1), Err(full));
        assert_eq!(device.open(IT), Err(full));
        assert_eq!(device.close(IT), Err(full));
        Ok(())
    }

    #[test]
    fn active_limit_comes_first() -> Result<(), Failed> {
        // An empty zone meets both limits, and no zone can be evicted. The error is the active
        // limit, as in null_blk, because closing a zone would not help.
        let mut device = Device::new(2, limits(1, 1))?;
        device.open(OTHER)?;
        assert_eq!(device.open(IT), Err(ZoneError::TooManyActive));
        assert_eq!(device.write(IT, 1), Err(ZoneError::TooManyActive));
        assert_eq!(device.finish(IT), Err(ZoneError::TooManyActive));
        Ok(())
    }

    #[test]
    fn open_zone_that_fills_keeps_its_slot_until_the_write_succeeded() -> Result<(), Failed> {
        let mut device = Device::new(2, limits(1, 1))?;
        device.open(IT)?;
        let start = device.reserve(IT, Target::WritePointer, CAPACITY);
        assert_eq!(start, Ok(0));
        assert_eq!(device.condition(IT), Condition::Full);
        assert_eq!(device.counts(), (1, 1));
        // The write fails half way. The zone is still open.
        device.repair(IT, 8)?;
        assert_eq!(device.condition(IT), Condition::ExplicitOpen);
        assert_eq!(device.counts(), (1, 1));
        assert_eq!(device.write(IT, CAPACITY - 8), Ok(8));
        assert_eq!(device.condition(IT), Condition::Full);
        assert_eq!(device.counts(), (0, 0));
        Ok(())
    }

    #[test]
    fn finish_that_fails_is_taken_back() -> Result<(), Failed> {
        for before in ["E", "IO0", "IO", "EO0", "EO", "C"] {
            case(before, || {
                let mut device = Device::new(1, limits(1, 1))?;
                prepare(&mut device, before)?;
                let view = device.view();
                let Finish::Medium(previous) = device.zones[IT].finish(&mut device.set)? else {
                    return Err(Failed::because(format_args!("there is something to fill")));
                };
                same(device.counts(), (1, 1))?;
                device.zones[IT].not_finished(&mut device.set, previous);
                same(device.view(), view)
            })?;
        }
        Ok(())
    }

    #[test]
    fn medium_is_changed_where_there_is_something_to_change() -> Result<(), Failed> {
        for before in ["E", "IO0", "IO", "EO0", "EO", "C", "F"] {
            case(before, || {
                let mut device = Device::new(1, limits(0, 0))?;
                prepare(&mut device, before)?;
                let reset = match device.wp(IT) {
                    0 => Reset::Nothing,
                    _ => Reset::Medium,
                };
                same(device.zones[IT].reset(&device.set)?, reset)?;
                let finish = device.zones[IT].finish(&mut device.set)?;
                same(finish == Finish::Nothing, before == "F")
            })?;
        }
        Ok(())
    }

    #[test]
    fn broken_zone_gives_back_its_share() -> Result<(), Failed> {
        for (failure, broken) in [
            (Failure::ReadOnly, Condition::ReadOnly),
            (Failure::Offline, Condition::Offline),
        ] {
            for before in ["E", "IO0", "IO", "EO0", "EO", "C", "F"] {
                case(format_args!("{before} becomes {broken}"), || {
                    let mut device = Device::new(2, limits(1, 1))?;
                    prepare(&mut device, before)?;
                    device.fail(IT, failure);
                    same(device.condition(IT), broken)?;
                    same(device.counts(), (0, 0))?;
                    Ok(device.open(OTHER)?)
                })?;
            }
        }
        Ok(())
    }

    #[test]
    fn declared_failure_outlasts_repairs() -> Result<(), Failed> {
        for (failure, broken) in [
            (Failure::ReadOnly, Condition::ReadOnly),
            (Failure::Offline, Condition::Offline),
        ] {
            for before in ["E", "IO0", "IO", "EO0", "EO", "C", "F", "RO", "OFF"] {
                for found in [0, 16, CAPACITY] {
                    case(format_args!("{before}, declared {broken}, {found}"), || {
                        let mut device = Device::new(2, limits(1, 1))?;
                        prepare(&mut device, before)?;
                        let Device { zones, set, .. } = &mut device;
                        zones[IT].declare_failed(set, failure);
                        device.repair(IT, found)?;
                        same(device.condition(IT), broken)?;
                        same(device.counts(), (0, 0))?;
                        same(device.zones[IT].declared(), Some(failure))?;
                        device.open(OTHER)?;
                        device.close(OTHER)?;
                        // The medium may be worse than the declaration.
                        device.fail(IT, Failure::Offline);
                        same(device.condition(IT), Condition::Offline)?;
                        device.repair(IT, found)?;
                        same(device.condition(IT), broken)?;
                        // After the declaration is taken back, the medium decides.
                        let Device { zones, set, .. } = &mut device;
                        zones[IT].declare_good(set);
                        let (condition, active) = match found {
                            0 => (Condition::Empty, 0),
                            CAPACITY => (Condition::Full, 0),
                            _ => (Condition::Closed, 1),
                        };
                        same(device.condition(IT), condition)?;
                        same(device.counts(), (0, active))?;
                        device.repair(IT, found)?;
                        same(device.condition(IT), condition)?;
                        same(device.counts(), (0, active))
                    })?;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn write_that_was_under_way_when_the_zone_was_declared_failed() -> Result<(), Failed> {
        for sectors in [8, CAPACITY] {
            let mut device = Device::new(2, limits(1, 1))?;
            device.reserve(IT, Target::WritePointer, sectors)?;
            let Device { zones, set, .. } = &mut device;
            zones[IT].declare_failed(set, Failure::ReadOnly);
            device.open(OTHER)?;
            device.written(IT);
            assert_eq!(device.condition(IT), Condition::ReadOnly);
            assert_eq!(device.counts(), (1, 1));
        }
        Ok(())
    }

    #[test]
    fn repair_keeps_the_books() -> Result<(), Failed> {
        // The medium has another write pointer than the zone. The counts and the condition must
        // follow from the medium, for every previous condition.
        for before in ["E", "IO0", "IO", "EO0", "EO", "C", "F", "RO", "OFF"] {
            for found in [0, 16, CAPACITY] {
                case(format_args!("{before}, {found} sectors found"), || {
                    let mut device = Device::new(1, limits(0, 0))?;
                    prepare(&mut device, before)?;
                    device.repair(IT, found)?;
                    let expected = match (before, found) {
                        (_, CAPACITY) => Condition::Full,
                        ("IO0" | "IO" | "EO0" | "EO", _) => condition(before)?,
                        (_, 0) => Condition::Empty,
                        _ => Condition::Closed,
                    };
                    let (open, active) = match expected {
                        Condition::ImplicitOpen | Condition::ExplicitOpen => (1, 1),
                        Condition::Closed => (0, 1),
                        _ => (0, 0),
                    };
                    same(device.condition(IT), expected)?;
                    same(device.counts(), (open, active))?;
                    // Closing an open zone gives the condition of the medium.
                    if open > 0 {
                        device.close(IT)?;
                        let closed = if found > 0 {
                            Condition::Closed
                        } else {
                            Condition::Empty
                        };
                        same(device.condition(IT), closed)?;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    // The zone that is closed to make room for another one is the least recently written one of the
    // implicitly open zones. A zone that a command has opened is never closed for that.

    /// A device of eight zones. Three of them can be open.
    fn eight_zones() -> Result<Device, Failed> {
        Device::new(8, limits(3, 0))
    }

    /// Writes one sector to each of these zones.
    #[track_caller]
    fn write(device: &mut Device, zones: &[usize]) -> Result<(), Failed> {
        for &zone in zones {
            device.write(zone, 1)?;
        }
        Ok(())
    }

    /// The zones in this condition.
    fn those(device: &Device, condition: Condition) -> impl Iterator<Item = usize> + '_ {
        (0..device.zones.len()).filter(move |&zone| device.condition(zone) == condition)
    }

    fn open(device: &Device) -> impl Iterator<Item = usize> + '_ {
        those(device, Condition::ImplicitOpen)
    }

    #[test]
    fn oldest_first() -> Result<(), Failed> {
        let mut device = eight_zones()?;
        write(&mut device, &[2, 0, 1, 3])?;
        assert!(open(&device).eq([0, 1, 3]));
        write(&mut device, &[4])?;
        assert!(open(&device).eq([1, 3, 4]));
        write(&mut device, &[2])?;
        assert!(open(&device).eq([2, 3, 4]));
        assert!(those(&device, Condition::Closed).eq([0, 1]));
        assert_eq!(device.counts(), (3, 5));
        Ok(())
    }

    #[test]
    fn each_write_is_a_use() -> Result<(), Failed> {
        let mut device = eight_zones()?;
        write(&mut device, &[0, 1, 2, 0])?;
        device.append(1, 1)?;
        write(&mut device, &[3])?;
        assert!(open(&device).eq([0, 1, 3]));
        // A write to the newest zone and to a zone in the middle of the list.
        write(&mut device, &[3, 1, 4])?;
        assert!(open(&device).eq([1, 3, 4]));
        Ok(())
    }

    #[test]
    fn refused_write_is_no_use() -> Result<(), Failed> {
        let mut device = eight_zones()?;
        write(&mut device, &[0, 1, 2])?;
        assert!(device.write_at(0, 0, 1).is_err());
        assert!(device.append(0, CAPACITY).is_err());
        assert!(device.write(0, u64::MAX).is_err());
        write(&mut device, &[3])?;
        assert!(open(&device).eq([1, 2, 3]));
        Ok(())
    }

    #[test]
    fn usage_is_remembered() -> Result<(), Failed> {
        let mut device = Device::with_written(&[0, 0, 0, 8], CAPACITY, limits(2, 0))?;
        let usage = |device: &Device| {
            let Usage {
                most_open,
                most_active,
                implicit_closes,
            } = device.set.usage();
            (most_open, most_active, implicit_closes)
        };
        // A zone that is found closed is active.
        assert_eq!(usage(&device), (0, 1, 0));
        write(&mut device, &[0, 1])?;
        assert_eq!(usage(&device), (2, 3, 0));
        write(&mut device, &[2])?;
        assert_eq!(usage(&device), (2, 4, 1));
        // A close command is not counted, and neither is a refused command.
        assert_eq!(device.close(1), Ok(()));
        assert_eq!(device.open(1), Ok(()));
        assert_eq!(device.open(2), Ok(()));
        assert_eq!(device.open(0), Err(ZoneError::TooManyOpen));
        for zone in 0..4 {
            assert_eq!(device.reset(zone), Ok(()));
        }
        assert_eq!(usage(&device), (2, 4, 1));
        assert_eq!((device.set.nr_open(), device.set.nr_active()), (0, 0));
        Ok(())
    }

    #[test]
    fn open_command_evicts_too() -> Result<(), Failed> {
        let mut device = eight_zones()?;
        write(&mut device, &[0, 1, 2])?;
        device.open(3)?;
        assert!(open(&device).eq([1, 2]));
        device.open(0)?;
        assert!(open(&device).eq([2]));
        device.finish(1)?;
        assert!(open(&device).eq([]));
        assert!(those(&device, Condition::ExplicitOpen).eq([0, 3]));
        // The finished zone has no share, so there is room again.
        write(&mut device, &[4])?;
        assert_eq!(device.open(5), Ok(()));
        assert_eq!(device.write(6, 1), Err(ZoneError::TooManyOpen));
        assert_eq!(device.open(6), Err(ZoneError::TooManyOpen));
        assert_eq!(device.finish(6), Err(ZoneError::TooManyOpen));
        Ok(())
    }

    #[test]
    fn explicitly_open_zone_is_never_evicted() -> Result<(), Failed> {
        let mut device = eight_zones()?;
        write(&mut device, &[0, 1, 2])?;
        device.open(0)?;
        device.open(1)?;
        write(&mut device, &[0, 1, 3, 4, 5])?;
        assert!(open(&device).eq([5]));
        assert!(those(&device, Condition::ExplicitOpen).eq([0, 1]));
        assert!(those(&device, Condition::Closed).eq([2, 3, 4]));
        // After a close command, a write opens the zone implicitly.
        device.close(0)?;
        write(&mut device, &[0, 3])?;
        assert!(open(&device).eq([0, 3]));
        Ok(())
    }

    #[test]
    fn leaving_the_set_keeps_the_order_of_the_others() -> Result<(), Failed> {
        type Leave = fn(&mut Device, usize) -> Result<(), Failed>;
        let ways: [(&str, Leave); 6] = [
            ("close", |device, zone| Ok(device.close(zone)?)),
            ("reset", |device, zone| Ok(device.reset(zone)?)),
            ("finish", |device, zone| Ok(device.finish(zone)?)),
            ("fill", |device, zone| {
                device.write(zone, CAPACITY - 1)?;
                Ok(())
            }),
            ("repair", |device, zone| device.repair(zone, CAPACITY)),
            ("fail", |device, zone| {
                device.fail(zone, Failure::Offline);
                Ok(())
            }),
        ];
        for (way, leave) in ways {
            for gone in 0..3 {
                case(format_args!("{way}, zone {gone}"), || {
                    let mut device = eight_zones()?;
                    write(&mut device, &[0, 1, 2])?;
                    leave(&mut device, gone)?;
                    same(device.set.nr_open(), 2)?;
                    write(&mut device, &[3, 4])?;
                    // The older one of the two remaining zones was closed.
                    let younger = if gone == 2 { 1 } else { 2 };
                    same(open(&device).eq([younger, 3, 4]), true)?;
                    write(&mut device, &[5])?;
                    same(open(&device).eq([3, 4, 5]), true)
                })?;
            }
        }
        Ok(())
    }

    #[test]
    fn victim_without_data_becomes_empty() -> Result<(), Failed> {
        let mut device = Device::new(3, limits(1, 1))?;
        // The only write to the zone fails.
        device.reserve(0, Target::WritePointer, 8)?;
        device.repair(0, 0)?;
        assert_eq!(device.condition(0), Condition::ImplicitOpen);
        assert_eq!(device.counts(), (1, 1));
        // The zone gives back both slots, so there is room although both limits are reached.
        write(&mut device, &[1])?;
        assert_eq!(device.condition(0), Condition::Empty);
        assert_eq!(device.counts(), (1, 1));
        // Zone 1 keeps its active slot.
        assert_eq!(device.write(2, 1), Err(ZoneError::TooManyActive));
        assert_eq!(device.condition(1), Condition::ImplicitOpen);
        Ok(())
    }

    #[test]
    fn victim_with_a_write_in_flight_has_data() -> Result<(), Failed> {
        let mut device = Device::new(3, limits(1, 2))?;
        device.reserve(0, Target::WritePointer, 8)?;
        write(&mut device, &[1])?;
        assert_eq!(device.condition(0), Condition::Closed);
        assert_eq!(device.counts(), (1, 2));
        assert_eq!(device.write(2, 1), Err(ZoneError::TooManyActive));
        // The write fails, and the repair finds no data. Now the zone gives back its active slot.
        device.repair(0, 0)?;
        assert_eq!(device.condition(0), Condition::Empty);
        assert_eq!(device.counts(), (1, 1));
        write(&mut device, &[2])
    }

    #[test]
    fn victim_that_is_being_filled_is_full_when_written() -> Result<(), Failed> {
        let mut device = Device::new(2, limits(1, 0))?;
        device.reserve(0, Target::WritePointer, CAPACITY)?;
        write(&mut device, &[1])?;
        assert_eq!(device.condition(0), Condition::Full);
        device.written(0);
        assert_eq!(device.condition(0), Condition::Full);
        assert_eq!(device.counts(), (1, 1));
        Ok(())
    }

    #[test]
    fn without_a_limit_nothing_is_evicted() -> Result<(), Failed> {
        let mut device = Device::new(8, limits(0, 0))?;
        write(&mut device, &[0, 1, 2, 3, 4, 5, 6, 7, 0, 3])?;
        assert_eq!(open(&device).count(), 8);
        assert_eq!(device.counts(), (8, 8));
        Ok(())
    }

    // A device that was removed and added again. Its state follows from the medium.

    #[test]
    fn open_zones_come_back_closed() -> Result<(), Failed> {
        let mut before = Device::new(6, limits(4, 5))?;
        before.write(1, 8)?;
        before.open(2)?;
        before.write(3, 8)?;
        before.open(3)?;
        before.write(4, 8)?;
        before.close(4)?;
        before.finish(5)?;

        let written: [_; 6] = array::from_fn(|zone| before.wp(zone));
        let after = Device::with_written(&written, CAPACITY, limits(4, 5))?;
        let conditions: [_; 6] = array::from_fn(|zone| after.condition(zone));
        let expected = [
            Condition::Empty,
            Condition::Closed,
            Condition::Empty,
            Condition::Closed,
            Condition::Closed,
            Condition::Full,
        ];
        assert_eq!(conditions, expected);
        assert_eq!(after.counts(), (0, 3));
        Ok(())
    }

    #[test]
    fn more_closed_zones_than_may_be_active() -> Result<(), Failed> {
        let mut device = Device::with_written(&[8, 8, 8, 0], CAPACITY, limits(1, 2))?;
        assert_eq!(device.counts(), (0, 3));
        assert_eq!(device.write(3, 1), Err(ZoneError::TooManyActive));
        // Closed zones open as before, one after the other.
        assert_eq!(device.write(0, 1), Ok(8));
        assert_eq!(device.write(1, 1), Ok(8));
        assert_eq!(device.condition(0), Condition::Closed);
        assert_eq!(device.open(3), Err(ZoneError::TooManyActive));
        device.reset(2)?;
        assert_eq!(device.finish(3), Err(ZoneError::TooManyActive));
        device.finish(0)?;
        assert_eq!(device.counts(), (0, 1));
        assert_eq!(device.write(3, 1), Ok(0));
        Ok(())
    }

    #[test]
    fn write_pointers_are_within_the_capacity() {
        assert_eq!(WritePointer::new(CAPACITY + 1, CAPACITY), None);
        assert_eq!(WritePointer::new(u64::MAX, CAPACITY), None);
        assert!(WritePointer::new(CAPACITY, CAPACITY).is_some_and(WritePointer::is_full));
        assert!(WritePointer::new(0, CAPACITY).is_some_and(WritePointer::is_empty));
        assert!(WritePointer::new(u64::MAX, u64::MAX).is_some_and(WritePointer::is_full));
    }

    #[test]
    fn files_end_where_a_write_could_begin() {
        let at = |bytes, block_size| WritePointer::at_end_of_file(bytes, block_size, CAPACITY);
        let end = CAPACITY * 512;
        assert_eq!(at(0, 4096), WritePointer::new(0, CAPACITY));
        assert_eq!(at(8192, 4096), WritePointer::new(16, CAPACITY));
        assert_eq!(at(512, 512), WritePointer::new(1, CAPACITY));
        assert_eq!(at(end, 512), WritePointer::new(CAPACITY, CAPACITY));
        for (bytes, block_size) in [(512, 4096), (8191, 4096), (1, 512), (end + 512, 512)] {
            assert_eq!(at(bytes, block_size), None);
        }
    }

    #[test]
    fn set_of_no_zones() {
        let set = OpenZones::new(&mut [][..], limits(1, 1));
        assert!(set.is_some_and(|set| (set.nr_open(), set.nr_active()) == (0, 0)));
    }
}
