// SPDX-License-Identifier: GPL-2.0

//! The options of all commands, one row each.
//!
//! A row of [`OPTIONS`] or [`FAULTS`] has an option's name, its allowed values, the place of its
//! value, and its meaning. The parser, the record of a device and the messages all use the rows. A
//! [`Value`] also decides in which [`Scope`] an option can be used.

use super::{
    geometry::{
        sizes,
        zone_sizes,
        GeometrySpec,
        MAX_CAPACITY,
        MAX_ZONE_SIZE, //
    },
    value::{
        Allowed,
        OptionValue,
        Step,
        Unit,
        MAX_RANGES,
        SECTOR, //
    },
};
use crate::{
    fault::{
        BadBlocks,
        BadWrite,
        Injection,
        Kind,
        Lasting,
        ZoneCommand, //
    },
    zone::{
        declaration::Declaration,
        Failure, //
    },
};
use core::fmt;

/// The options of a device that a later `add` may change. Each field has the name of its option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tunables {
    /// The unit of I/O in bytes; 0 is the unit of the zone files.
    pub(crate) block_size: u32,
    /// The number of hardware queues. The block layer reduces it to the number of online CPUs.
    pub(crate) nr_queues: u32,
    /// The number of requests that each queue can hold, at most the block layer's 10240.
    pub(crate) queue_depth: u32,
    /// The largest number of sequential zones that are open; 0 is no limit. It is at most
    /// `max_active_zones`, because open zones are active.
    pub(crate) max_open_zones: u32,
    /// The largest number of sequential zones that are open or closed; 0 is no limit.
    pub(crate) max_active_zones: u32,
    /// The device carries out zone appends. Otherwise the block layer turns them into writes.
    pub(crate) zone_append: bool,
    /// The device carries out zone appends in the order in which they were queued.
    pub(crate) ordered_zone_append: bool,
    /// Zone files are read and written through the page cache, without `O_DIRECT`.
    pub(crate) buffered_io: bool,
    /// A removal discards unflushed data, as a power failure does.
    pub(crate) discard_write_cache: bool,
    /// The first write to a sequential zone makes its file, not the first `add`. The C driver can't
    /// use a directory with missing files.
    pub(crate) lazy_files: bool,
    /// Overwritten data of conventional zones is saved until the next flush, so that a power
    /// failure can bring it back.
    pub(crate) volatile_cache: bool,
    /// The disk is reported as rotational.
    pub(crate) rotational: bool,
    /// The failure that a failed write declares for its sequential zone; [`None`] declares none.
    pub(crate) write_fault: Option<Failure>,
}

impl Tunables {
    pub(crate) const DEFAULT: Self = Self {
        block_size: 0,
        nr_queues: 1,
        queue_depth: 128,
        max_open_zones: 0,
        max_active_zones: 0,
        zone_append: true,
        ordered_zone_append: false,
        buffered_io: false,
        discard_write_cache: false,
        lazy_files: false,
        volatile_cache: false,
        rotational: false,
        write_fault: None,
    };
}

/// One option of the language.
pub(crate) struct Opt {
    /// The name, without `=`.
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    /// The meaning and the unit of the value, for messages.
    pub(crate) meaning: &'static str,
}

/// The type of an option's value, and the place where it is stored.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    /// The number of a device.
    Id,
    /// The path of the directory that has the device's directory.
    BaseDir,
    /// A size that is part of the geometry.
    Size(Allowed, fn(&mut GeometrySpec) -> &mut Option<OptionValue>),
    /// The conventional zones.
    ConvZones,
    /// A number.
    Number(Allowed, fn(&mut Tunables) -> &mut u32),
    /// 0 or 1.
    Bit(fn(&mut Tunables) -> &mut bool),
    /// A flag: 0 or 1. Without a value, it is 1.
    Flag(fn(&mut Tunables) -> &mut bool),
    /// One of [`WRITE_FAULTS`].
    WriteFault,
    /// The seed of a power failure.
    Seed,
    /// The zones of a declaration.
    Zones,
    /// Bad sectors.
    BadBlocks(fn(&mut Injection) -> &mut Option<BadBlocks>),
    /// A number for a kind of injected fault.
    Fault(Allowed, fn(&mut Injection, u32)),
    /// No value. The option takes back the faults that were injected before.
    Clear,
}

impl Value {
    /// Copies this option from one device to another one, if the option can be changed.
    pub(crate) fn copy(self, mut from: Tunables, to: &mut Tunables) {
        match self {
            Self::Number(_, number) => *number(to) = *number(&mut from),
            Self::Bit(bit) | Self::Flag(bit) => *bit(to) = *bit(&mut from),
            Self::WriteFault => to.write_fault = from.write_fault,
            _ => {}
        }
    }
}

/// Writes the part of a message after "must be".
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size(allowed, _) | Self::Number(allowed, _) | Self::Fault(allowed, _) => {
                return allowed.fmt(f);
            }
            Self::Seed => return ANY.fmt(f),
            Self::Bit(_) => return ZERO_OR_ONE.fmt(f),
            Self::ConvZones => {
                f.write_str(
                    "the number of the first ones, or ascending ranges as 0-3:10, at most ",
                )?;
                return MAX_RANGES.fmt(f);
            }
            Self::Id => "from 0 to 2147483647, or negative for the first free one",
            Self::BaseDir => "a path",
            Self::Flag(_) => "0 or 1, or without a value",
            Self::WriteFault => "good, readonly or offline",
            Self::Zones => "a zone's number, or the first one, - and the last one",
            Self::BadBlocks(_) => "+ or -, the first sector, - and the last one",
            Self::Clear => "without a value",
        })
    }
}

/// The words that `write_fault` takes.
pub(crate) const WRITE_FAULTS: [(&str, Option<Failure>); 3] = [
    ("good", None),
    ("readonly", Some(Failure::ReadOnly)),
    ("offline", Some(Failure::Offline)),
];

/// The command or the record that has the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Add,
    Remove,
    PowerFail,
    Inject,
    /// A command that declares zones to have failed or to be good.
    Declare(Option<Failure>),
    /// The record of a device.
    Record,
    /// The record of the declarations for a device.
    RecordedDeclaration(Option<Failure>),
}

impl Scope {
    /// Whether an option can be used here.
    pub(crate) fn takes(self, option: &Opt) -> bool {
        match option.value {
            Value::Id => !matches!(self, Self::Record | Self::RecordedDeclaration(_)),
            Value::BaseDir => self == Self::Add,
            Value::Seed => self == Self::PowerFail,
            Value::Zones => matches!(self, Self::Declare(_) | Self::RecordedDeclaration(_)),
            Value::BadBlocks(_) | Value::Fault(..) | Value::Clear => self == Self::Inject,
            _ => matches!(self, Self::Add | Self::Record),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::PowerFail => "powerfail",
            Self::Inject => "inject",
            Self::Record => "the record of the device",
            Self::Declare(failure) | Self::RecordedDeclaration(failure) => {
                Declaration::command(*failure)
            }
        })
    }
}

/// Numbers that only other options can limit.
const ANY: Allowed = Allowed::numbers(0, u32::MAX);
/// Numbers other than 0 that only other options can limit.
const POSITIVE: Allowed = Allowed::numbers(1, u32::MAX);
pub(crate) const ZERO_OR_ONE: Allowed = Allowed::numbers(0, 1);
/// Sizes in MiB that only other options can limit. CAST: To more bits.
const ANY_MIB: Allowed = sizes(Unit::Mebibyte, 1 << 20, (u32::MAX as u64) << 20);
/// The largest block size is the smallest page size of all architectures.
const BLOCK_SIZES: Allowed = Allowed::new(Unit::One, SECTOR, 4096, Step::PowerOfTwo);

macro_rules! options {
    ($($name:ident: $value:expr, $meaning:literal;)*) => {
        [$(Opt { name: stringify!($name), value: $value, meaning: $meaning }),*]
    };
}

use Value::*;

/// The number of [`OPTIONS`].
pub(crate) const NR_OPTIONS: usize = 24;
/// All options except [`FAULTS`]. First come those of the C driver, in the order of its syntax.
pub(crate) static OPTIONS: [Opt; NR_OPTIONS] = options! {
    id: Id, "the number of the device";
    capacity_mb: Size(ANY_MIB, |spec| &mut spec.capacity), "the capacity of the device in MiB";
    zone_size_mb: Size(zone_sizes(Unit::Mebibyte), |spec| &mut spec.zone_size),
        "the size of a zone in MiB";
    zone_capacity_mb: Size(ANY_MIB, |spec| &mut spec.zone_capacity),
        "the capacity of a sequential zone in MiB";
    conv_zones: ConvZones, "which zones are conventional";
    base_dir: BaseDir, "the directory that holds the device's own";
    nr_queues: Number(POSITIVE, |to| &mut to.nr_queues), "the number of queues";
    queue_depth: Number(POSITIVE, |to| &mut to.queue_depth),
        "the requests that a queue can hold";
    buffered_io: Flag(|to| &mut to.buffered_io), "use the page cache";
    zone_append: Bit(|to| &mut to.zone_append), "1 for native zone append, 0 to have it emulated";
    ordered_zone_append: Flag(|to| &mut to.ordered_zone_append),
        "keep native zone appends in order";
    discard_write_cache: Flag(|to| &mut to.discard_write_cache), "lose unflushed data at removal";
    max_open_zones: Number(ANY, |to| &mut to.max_open_zones),
        "how many sequential zones can be open at once, 0 for any number";
    max_active_zones: Number(ANY, |to| &mut to.max_active_zones),
        "how many sequential zones can be open or closed at once, 0 for any number";
    lazy_files: Flag(|to| &mut to.lazy_files),
        "make the files of sequential zones when they are first written";
    volatile_cache: Flag(|to| &mut to.volatile_cache),
        "let a power failure take back what conventional zones have not flushed";
    seed: Seed, "lose a part of the unflushed data that follows from this number";
    write_fault: WriteFault, "what a zone is after a write to it has failed";
    capacity: Size(sizes(Unit::Byte, SECTOR, MAX_CAPACITY), |spec| &mut spec.capacity),
        "the capacity of the device in bytes";
    zone_size: Size(zone_sizes(Unit::Byte), |spec| &mut spec.zone_size),
        "the size of a zone in bytes";
    zone_capacity: Size(sizes(Unit::Byte, SECTOR, MAX_ZONE_SIZE), |spec| &mut spec.zone_capacity),
        "the capacity of a sequential zone in bytes";
    block_size: Number(BLOCK_SIZES, |to| &mut to.block_size), "the unit of I/O in bytes";
    rotational: Flag(|to| &mut to.rotational), "say that it is a disk that turns";
    zones: Zones, "which zones";
};

/// The options of `inject`, except `id`.
static FAULTS: [Opt; 18] = options! {
    badblocks: BadBlocks(|to| &mut to.badblocks), "the sectors that are bad, or not any more";
    badblocks_read: BadBlocks(|to| &mut to.badblocks_read), "those that are bad for reads";
    badblocks_write: BadBlocks(|to| &mut to.badblocks_write), "those that are bad for writes";
    badblocks_once: Fault(ZERO_OR_ONE, |to, n| {
        to.lasting = Some(if n > 0 { Lasting::Once } else { Lasting::Always });
    }), "1 if a bad sector is bad only once";
    badblocks_partial_io: Fault(ZERO_OR_ONE, |to, n| {
        to.bad_write = Some(if n > 0 { BadWrite::Partial } else { BadWrite::Nothing });
    }), "1 if a write that comes to a bad sector writes what is before it";
    fail_open: Fault(ANY, |to, n| *to.fail.of(ZoneCommand::Open) = Some(n)),
        "how many of the next opens of zones fail";
    fail_close: Fault(ANY, |to, n| *to.fail.of(ZoneCommand::Close) = Some(n)),
        "how many of the next closes of zones fail";
    fail_finish: Fault(ANY, |to, n| *to.fail.of(ZoneCommand::Finish) = Some(n)),
        "how many of the next finishes of zones fail";
    fail_reset: Fault(ANY, |to, n| *to.fail.of(ZoneCommand::Reset) = Some(n)),
        "how many of the next resets of zones fail";
    timeout: Fault(ANY, |to, n| to.timeout = Some(n)), "how many of the next requests get lost";
    requeue: Fault(ANY, |to, n| to.requeue = Some(n)),
        "how many of the next requests are queued again";
    read_nsec: Fault(ANY, |to, n| *to.nsec.of(Kind::Read) = Some(n)),
        "how many nanoseconds reads take longer";
    write_nsec: Fault(ANY, |to, n| *to.nsec.of(Kind::Write) = Some(n)),
        "how many nanoseconds writes and appends take longer";
    flush_nsec: Fault(ANY, |to, n| *to.nsec.of(Kind::Flush) = Some(n)),
        "how many nanoseconds flushes take longer";
    zone_nsec: Fault(ANY, |to, n| *to.nsec.of(Kind::Zone) = Some(n)),
        "how many nanoseconds commands for zones take longer";
    read_mbps: Fault(ANY, |to, n| *to.mbps.of(Kind::Read) = Some(n)),
        "how many MiB can be read in a second, 0 for any number";
    write_mbps: Fault(ANY, |to, n| *to.mbps.of(Kind::Write) = Some(n)),
        "how many MiB can be written in a second, 0 for any number";
    clear: Clear, "take back all that was injected before";
};

/// The options of all commands.
pub(crate) fn options() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().chain(&FAULTS)
}

/// The option with this name, and its row.
pub(crate) fn find(name: &[u8]) -> Option<(usize, &'static Opt)> {
    let mut rows = options().enumerate();
    rows.find(|(_, option)| option.name.as_bytes() == name)
}
