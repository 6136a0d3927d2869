// SPDX-License-Identifier: GPL-2.0

//! The options of the commands: their names, what they take and what they set.
//!
//! [`OPTIONS`] and [`FAULTS`] have a row for each. Where an option can be used follows from what it
//! is about ([`Group`]) and from the command or record that it stands in ([`Scope`]). Reading a
//! value is the business of `option_text.rs`, and where it goes that of [`Draft`].

use core::{
    fmt,
    num::NonZeroU32, //
};

use crate::{
    declaration::{
        Declaration,
        ZoneRange, //
    },
    fault::{
        BadBlocks,
        BadWrite,
        Clear,
        Kind,
        Lasting,
        ZoneCommand, //
    },
    geometry::{
        self,
        BlockSize, //
    },
    option_draft::{
        Draft,
        Id,
        MAX_ID,
        MAX_QUEUE_DEPTH, //
    },
    options::{
        FileCreation,
        IoMode,
        OldData,
        Rotation,
        Switch,
        WriteCache, //
    },
    power_failure::Loss,
    size::{
        Allowed,
        Size,
        Step,
        Unit, //
    },
    zone::Failure,
    zone_ranges::{
        ZoneRanges,
        MAX_RANGES, //
    },
};

/// Name of the option that all commands have.
pub(crate) const ID: &str = "id";
/// Name of the option for [`Declaration::zones`].
pub(crate) const ZONES: &str = "zones";
/// Name of the option for
/// [`DeviceOptions::max_open_zones`](crate::option_record::DeviceOptions::max_open_zones).
pub(crate) const MAX_OPEN_ZONES: &str = "max_open_zones";
/// Name of the option for
/// [`DeviceOptions::max_active_zones`](crate::option_record::DeviceOptions::max_active_zones).
pub(crate) const MAX_ACTIVE_ZONES: &str = "max_active_zones";
/// Name of the option for
/// [`DeviceOptions::write_fault`](crate::option_record::DeviceOptions::write_fault).
pub(crate) const WRITE_FAULT: &str = "write_fault";
/// Name of the option for
/// [`DeviceOptions::nr_queues`](crate::option_record::DeviceOptions::nr_queues).
pub(crate) const NR_QUEUES: &str = "nr_queues";
/// Name of the option for
/// [`DeviceOptions::queue_depth`](crate::option_record::DeviceOptions::queue_depth).
pub(crate) const QUEUE_DEPTH: &str = "queue_depth";
/// Name of the option for [`IoMode::Buffered`](crate::options::IoMode::Buffered).
pub(crate) const BUFFERED_IO: &str = "buffered_io";
/// Name of the option for [`Append::Emulated`](crate::options::Append::Emulated).
pub(crate) const ZONE_APPEND: &str = "zone_append";
/// Name of the option for [`Append::Ordered`](crate::options::Append::Ordered).
pub(crate) const ORDERED_ZONE_APPEND: &str = "ordered_zone_append";
/// Name of the option for
/// [`WriteCache::DiscardUnflushed`](crate::options::WriteCache::DiscardUnflushed).
pub(crate) const DISCARD_WRITE_CACHE: &str = "discard_write_cache";
/// Name of the option for [`OldData::Save`](crate::options::OldData::Save).
pub(crate) const VOLATILE_CACHE: &str = "volatile_cache";
/// Name of the option for [`Rotation::Rotational`](crate::options::Rotation::Rotational).
pub(crate) const ROTATIONAL: &str = "rotational";
/// Name of the option for [`FileCreation::AtFirstUse`](crate::options::FileCreation::AtFirstUse).
pub(crate) const LAZY_FILES: &str = "lazy_files";

/// One option of the language.
pub(crate) struct Opt {
    /// What it is called, without `=`.
    pub(crate) name: &'static str,
    /// What it sets, and the unit, to follow the name in a text.
    pub(crate) meaning: &'static str,
    group: Group,
    /// What follows the name.
    pub(crate) value: Value,
}

impl fmt::Debug for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What follows an option's name, and where it goes.
pub(crate) enum Value {
    /// A device's number.
    Id(fn(&mut Draft<'_>, Id)),
    /// One of these words, given by its index.
    Word(&'static [&'static str], fn(&mut Draft<'_>, usize)),
    /// Bad sectors.
    BadBlocks(fn(&mut Draft<'_>, BadBlocks)),
    /// Zones in a row.
    Zones(fn(&mut Draft<'_>, ZoneRange)),
    /// One of these numbers.
    Number(Allowed, fn(&mut Draft<'_>, u32)),
    /// A size.
    Size(SizeRange, fn(&mut Draft<'_>, Size)),
    /// Zones.
    Conventional(fn(&mut Draft<'_>, ZoneRanges)),
    /// A path.
    Path(for<'a> fn(&mut Draft<'a>, &'a [u8])),
    /// Nothing: the option is there or it isn't.
    Nothing(fn(&mut Draft<'_>)),
    /// 0 or 1, or nothing, which is 1: a flag.
    Switch(fn(&mut Draft<'_>, Switch)),
}

/// Writes what follows "must be" in a message.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(_) => write!(f, "from 0 to {MAX_ID}, or negative for the first free one"),
            Self::Word(words, _) => {
                for (nr, word) in words.iter().enumerate() {
                    let separator = match nr {
                        0 => "",
                        nr if nr.saturating_add(1) == words.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{separator}{word}")?;
                }
                Ok(())
            }
            Self::BadBlocks(_) => f.write_str("+ or -, the first sector, - and the last one"),
            Self::Zones(_) => f.write_str("a zone's number, or the first one, - and the last one"),
            Self::Number(allowed, _) => allowed.fmt(f),
            Self::Size(range, _) => range.allowed().fmt(f),
            Self::Conventional(_) => write!(
                f,
                "the number of the first ones, or ascending ranges as 0-3:10, at most {MAX_RANGES}"
            ),
            Self::Path(_) => f.write_str("a path"),
            Self::Nothing(_) => f.write_str("without a value"),
            Self::Switch(_) => f.write_str("0 or 1, or without a value"),
        }
    }
}

/// The sizes that an option takes, whatever the others are.
pub(crate) struct SizeRange {
    pub(crate) unit: Unit,
    /// In bytes.
    min: u64,
    /// In bytes.
    max: u64,
    step: Step,
}

impl SizeRange {
    /// What a number in this unit must be.
    pub(crate) fn allowed(&self) -> Allowed {
        Allowed::sizes(self.unit, self.min, self.max, self.step)
    }
}

/// What an option is about, which decides where it can be used.
#[derive(Clone, Copy)]
enum Group {
    /// Which device is meant.
    Identity,
    /// Which zones are meant.
    Zones,
    /// What is to fail.
    Faults,
    /// Where the device's directory is.
    Place,
    /// What the device is from the day it was made.
    Geometry,
    /// How the device works. A later `add` may change it.
    Manner,
    /// What a power failure takes.
    PowerFailure,
}

/// Where options stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In an `add` command.
    Add,
    /// In a `remove` command.
    Remove,
    /// In a `powerfail` command.
    PowerFail,
    /// In the record beside the zone files.
    Record,
    /// In a command that declares zones to have failed so, or to be good.
    Declare(Option<Failure>),
    /// In an `inject` command.
    Inject,
    /// In the record of what was declared.
    RecordedDeclaration(Option<Failure>),
}

impl Scope {
    /// Whether `option` can be used here.
    pub(crate) fn takes(self, option: &Opt) -> bool {
        match self {
            Self::Add => !matches!(
                option.group,
                Group::Zones | Group::Faults | Group::PowerFailure
            ),
            Self::Inject => matches!(option.group, Group::Identity | Group::Faults),
            Self::Declare(_) => matches!(option.group, Group::Identity | Group::Zones),
            Self::RecordedDeclaration(_) => matches!(option.group, Group::Zones),
            Self::Remove => matches!(option.group, Group::Identity),
            Self::PowerFail => matches!(option.group, Group::Identity | Group::PowerFailure),
            Self::Record => matches!(option.group, Group::Geometry | Group::Manner),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::PowerFail => "powerfail",
            Self::Record => "the record of the device",
            Self::Inject => "inject",
            Self::Declare(failure) | Self::RecordedDeclaration(failure) => {
                Declaration::command(*failure)
            }
        })
    }
}

/// Numbers that only other options can limit.
const ANY: Allowed = Allowed::Range {
    min: 0,
    // CAST: to more bits.
    max: u32::MAX as u64,
};
/// Yes or no.
const ZERO_OR_ONE: Allowed = Allowed::Range { min: 0, max: 1 };
/// [`ANY`] without 0.
const POSITIVE: Allowed = Allowed::Range {
    min: 1,
    // CAST: to more bits.
    max: u32::MAX as u64,
};

/// The sizes of blocks: those of [`BlockSize`].
const BLOCK_SIZES: Allowed = Allowed::PowerOfTwo {
    // CAST: to more bits.
    min: BlockSize::MIN as u64,
    max: BlockSize::MAX as u64,
};

/// Sizes in MiB that only other options can limit.
const ANY_MEBIBYTES: SizeRange = SizeRange {
    unit: Unit::Mebibyte,
    min: 1 << 20,
    // CAST: to more bits.
    max: (u32::MAX as u64) << 20,
    step: Step::Multiple(512),
};

/// The sizes of zones.
const fn zone_sizes(unit: Unit) -> SizeRange {
    SizeRange {
        unit,
        min: geometry::MIN_ZONE_SIZE,
        max: geometry::MAX_ZONE_SIZE,
        step: Step::PowerOfTwo,
    }
}

/// Sizes in bytes, in whole sectors, up to `max`.
const fn sectors(max: u64) -> SizeRange {
    SizeRange {
        unit: Unit::Byte,
        min: 512,
        max,
        step: Step::Multiple(512),
    }
}

/// All options: those of the C driver in the order of [`SYNTAX`], then our own.
pub(crate) static OPTIONS: [Opt; 24] = [
    Opt {
        name: ID,
        meaning: "the number of the device",
        group: Group::Identity,
        value: Value::Id(|draft, id| draft.id = Some(id)),
    },
    Opt {
        name: geometry::CAPACITY.mebibytes,
        meaning: "the capacity of the device in MiB",
        group: Group::Geometry,
        value: Value::Size(ANY_MEBIBYTES, |draft, size| {
            draft.shape.capacity = Some(size)
        }),
    },
    Opt {
        name: geometry::ZONE_SIZE.mebibytes,
        meaning: "the size of a zone in MiB",
        group: Group::Geometry,
        value: Value::Size(zone_sizes(Unit::Mebibyte), |draft, size| {
            draft.shape.zone_size = Some(size)
        }),
    },
    Opt {
        name: geometry::ZONE_CAPACITY.mebibytes,
        meaning: "the capacity of a sequential zone in MiB",
        group: Group::Geometry,
        value: Value::Size(ANY_MEBIBYTES, |draft, size| {
            draft.shape.zone_capacity = Some(size)
        }),
    },
    Opt {
        name: geometry::CONV_ZONES,
        meaning: "which zones are conventional",
        group: Group::Geometry,
        value: Value::Conventional(|draft, zones| draft.shape.conv_zones = Some(zones)),
    },
    Opt {
        name: "base_dir",
        meaning: "the directory that holds the device's own",
        group: Group::Place,
        value: Value::Path(|draft, path| draft.base_dir = path),
    },
    Opt {
        name: NR_QUEUES,
        meaning: "the number of queues",
        group: Group::Manner,
        value: Value::Number(POSITIVE, |draft, queues| {
            draft.named.nr_queues = NonZeroU32::new(queues)
        }),
    },
    Opt {
        name: QUEUE_DEPTH,
        meaning: "the requests that a queue can hold",
        group: Group::Manner,
        value: Value::Number(POSITIVE, |draft, depth| {
            draft.named.queue_depth = NonZeroU32::new(depth).map(|depth| depth.min(MAX_QUEUE_DEPTH))
        }),
    },
    Opt {
        name: BUFFERED_IO,
        meaning: "use the page cache",
        group: Group::Manner,
        value: Value::Switch(|draft, switch| {
            draft.named.io = Some(match switch {
                Switch::Off => IoMode::Direct,
                Switch::On => IoMode::Buffered,
            })
        }),
    },
    Opt {
        name: ZONE_APPEND,
        meaning: "1 for native zone append, 0 to have it emulated",
        group: Group::Manner,
        value: Value::Number(ZERO_OR_ONE, |draft, native| {
            draft.named.zone_append = Some(match native {
                0 => Switch::Off,
                _ => Switch::On,
            })
        }),
    },
    Opt {
        name: ORDERED_ZONE_APPEND,
        meaning: "keep native zone appends in order",
        group: Group::Manner,
        value: Value::Switch(|draft, ordered| draft.named.ordered_zone_append = Some(ordered)),
    },
    Opt {
        name: DISCARD_WRITE_CACHE,
        meaning: "lose unflushed data at removal",
        group: Group::Manner,
        value: Value::Switch(|draft, switch| {
            draft.named.write_cache = Some(match switch {
                Switch::Off => WriteCache::Keep,
                Switch::On => WriteCache::DiscardUnflushed,
            })
        }),
    },
    Opt {
        name: MAX_OPEN_ZONES,
        meaning: "how many sequential zones can be open at once, 0 for any number",
        group: Group::Manner,
        value: Value::Number(ANY, |draft, zones| draft.named.max_open_zones = Some(zones)),
    },
    Opt {
        name: MAX_ACTIVE_ZONES,
        meaning: "how many sequential zones can be open or closed at once, 0 for any number",
        group: Group::Manner,
        value: Value::Number(ANY, |draft, zones| {
            draft.named.max_active_zones = Some(zones)
        }),
    },
    Opt {
        name: LAZY_FILES,
        meaning: "make the files of sequential zones when they are first written",
        group: Group::Manner,
        value: Value::Switch(|draft, switch| {
            draft.named.creation = Some(match switch {
                Switch::Off => FileCreation::AtAdd,
                Switch::On => FileCreation::AtFirstUse,
            })
        }),
    },
    Opt {
        name: VOLATILE_CACHE,
        meaning: "let a power failure take back what conventional zones have not flushed",
        group: Group::Manner,
        value: Value::Switch(|draft, switch| {
            draft.named.old_data = Some(match switch {
                Switch::Off => OldData::Forget,
                Switch::On => OldData::Save,
            })
        }),
    },
    Opt {
        name: "seed",
        meaning: "lose a part of the unflushed data that follows from this number",
        group: Group::PowerFailure,
        value: Value::Number(ANY, |draft, seed| draft.loss = Loss::Part(seed)),
    },
    Opt {
        name: WRITE_FAULT,
        meaning: "what a zone is after a write to it has failed",
        group: Group::Manner,
        value: Value::Word(&["good", "readonly", "offline"], |draft, nr| {
            draft.named.write_fault = Some(match nr {
                0 => None,
                1 => Some(Failure::ReadOnly),
                _ => Some(Failure::Offline),
            })
        }),
    },
    Opt {
        name: geometry::CAPACITY.bytes,
        meaning: "the capacity of the device in bytes",
        group: Group::Geometry,
        value: Value::Size(sectors(geometry::MAX_CAPACITY), |draft, size| {
            draft.shape.capacity = Some(size)
        }),
    },
    Opt {
        name: geometry::ZONE_SIZE.bytes,
        meaning: "the size of a zone in bytes",
        group: Group::Geometry,
        value: Value::Size(zone_sizes(Unit::Byte), |draft, size| {
            draft.shape.zone_size = Some(size)
        }),
    },
    Opt {
        name: geometry::ZONE_CAPACITY.bytes,
        meaning: "the capacity of a sequential zone in bytes",
        group: Group::Geometry,
        value: Value::Size(sectors(geometry::MAX_ZONE_SIZE), |draft, size| {
            draft.shape.zone_capacity = Some(size)
        }),
    },
    Opt {
        name: geometry::BLOCK_SIZE,
        meaning: "the unit of I/O in bytes",
        group: Group::Manner,
        value: Value::Number(BLOCK_SIZES, |draft, bytes| {
            draft.shape.block_size = BlockSize::new(bytes)
        }),
    },
    Opt {
        name: ROTATIONAL,
        meaning: "say that it is a disk that turns",
        group: Group::Manner,
        value: Value::Switch(|draft, switch| {
            draft.named.rotation = Some(match switch {
                Switch::Off => Rotation::NonRotational,
                Switch::On => Rotation::Rotational,
            })
        }),
    },
    Opt {
        name: ZONES,
        meaning: "which zones",
        group: Group::Zones,
        value: Value::Zones(|draft, zones| draft.zones = Some(zones)),
    },
];

/// The options of `inject`, but for `id`.
static FAULTS: [Opt; 18] = [
    Opt {
        name: "badblocks",
        meaning: "the sectors that are bad, or not any more",
        group: Group::Faults,
        value: Value::BadBlocks(|draft, change| draft.injection.badblocks = Some(change)),
    },
    Opt {
        name: "badblocks_read",
        meaning: "those that are bad for reads",
        group: Group::Faults,
        value: Value::BadBlocks(|draft, change| draft.injection.badblocks_read = Some(change)),
    },
    Opt {
        name: "badblocks_write",
        meaning: "those that are bad for writes",
        group: Group::Faults,
        value: Value::BadBlocks(|draft, change| draft.injection.badblocks_write = Some(change)),
    },
    Opt {
        name: "badblocks_once",
        meaning: "1 if a bad sector is bad only once",
        group: Group::Faults,
        value: Value::Number(ZERO_OR_ONE, |draft, once| {
            draft.injection.lasting = Some(match once {
                0 => Lasting::Always,
                _ => Lasting::Once,
            })
        }),
    },
    Opt {
        name: "badblocks_partial_io",
        meaning: "1 if a write that comes to a bad sector writes what is before it",
        group: Group::Faults,
        value: Value::Number(ZERO_OR_ONE, |draft, partial| {
            draft.injection.bad_write = Some(match partial {
                0 => BadWrite::Nothing,
                _ => BadWrite::Partial,
            })
        }),
    },
    Opt {
        name: "fail_open",
        meaning: "how many of the next opens of zones fail",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.fail.of(ZoneCommand::Open) = Some(number)
        }),
    },
    Opt {
        name: "fail_close",
        meaning: "how many of the next closes of zones fail",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.fail.of(ZoneCommand::Close) = Some(number)
        }),
    },
    Opt {
        name: "fail_finish",
        meaning: "how many of the next finishes of zones fail",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.fail.of(ZoneCommand::Finish) = Some(number)
        }),
    },
    Opt {
        name: "fail_reset",
        meaning: "how many of the next resets of zones fail",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.fail.of(ZoneCommand::Reset) = Some(number)
        }),
    },
    Opt {
        name: "timeout",
        meaning: "how many of the next requests get lost",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| draft.injection.timeout = Some(number)),
    },
    Opt {
        name: "requeue",
        meaning: "how many of the next requests are queued again",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| draft.injection.requeue = Some(number)),
    },
    Opt {
        name: "read_nsec",
        meaning: "how many nanoseconds reads take longer",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.nsec.of(Kind::Read) = Some(number)
        }),
    },
    Opt {
        name: "write_nsec",
        meaning: "how many nanoseconds writes and appends take longer",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.nsec.of(Kind::Write) = Some(number)
        }),
    },
    Opt {
        name: "flush_nsec",
        meaning: "how many nanoseconds flushes take longer",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.nsec.of(Kind::Flush) = Some(number)
        }),
    },
    Opt {
        name: "zone_nsec",
        meaning: "how many nanoseconds commands for zones take longer",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.nsec.of(Kind::Zone) = Some(number)
        }),
    },
    Opt {
        name: "read_mbps",
        meaning: "how many MiB can be read in a second, 0 for any number",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.mbps.of(Kind::Read) = Some(number)
        }),
    },
    Opt {
        name: "write_mbps",
        meaning: "how many MiB can be written in a second, 0 for any number",
        group: Group::Faults,
        value: Value::Number(ANY, |draft, number| {
            *draft.injection.mbps.of(Kind::Write) = Some(number)
        }),
    },
    Opt {
        name: "clear",
        meaning: "take back all that was injected before",
        group: Group::Faults,
        value: Value::Nothing(|draft| draft.injection.clear = Some(Clear)),
    },
];

/// All options there are.
pub(crate) fn options() -> impl Iterator<Item = &'static Opt> {
    OPTIONS.iter().chain(&FAULTS)
}
