// SPDX-License-Identifier: GPL-2.0

//! What a device is, as options, and what of them is kept for the next time.
//!
//! Beside the zone files there is a record of the last `add`: all its options but `id` and
//! `base_dir`, as `add` takes them. The geometry is always there, and what doesn't have its
//! default:
//!
//! ```text
//! capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=64,conv_zones=8,max_open_zones=14,rotational
//! ```
//!
//! What a later `add` doesn't name has the value that is recorded. But if it names any of the
//! geometry it is a description of the device, as the C driver needs one each time: then all else
//! that it doesn't name has its default. The geometry itself can't be another; the block size is
//! none of it here, as it moves nothing.
//!
//! The `add` that makes a device again, which is shown of it, is the same text with the defaults.

use core::{
    fmt,
    num::NonZeroU32, //
};

use crate::{
    geometry::Geometry,
    option_draft::{
        Draft,
        DEFAULT_QUEUE_DEPTH, //
    },
    option_error::{
        Error,
        Origin, //
    },
    option_table::{
        Scope,
        BUFFERED_IO,
        DISCARD_WRITE_CACHE,
        ID,
        LAZY_FILES,
        MAX_ACTIVE_ZONES,
        MAX_OPEN_ZONES,
        NR_QUEUES,
        ORDERED_ZONE_APPEND,
        QUEUE_DEPTH,
        ROTATIONAL,
        VOLATILE_CACHE,
        WRITE_FAULT,
        ZONE_APPEND, //
    },
    option_text::up_to,
    options::{
        Append,
        FileCreation,
        IoMode,
        OldData,
        Rotation,
        Switch,
        WriteCache, //
    },
    size::{
        Allowed,
        Refused, //
    },
    zone::Failure,
};

/// What an `add` has named of the options that are not the geometry; `None` is what it has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// 0 is any number.
    pub(crate) max_open_zones: Option<u32>,
    /// 0 is any number.
    pub(crate) max_active_zones: Option<u32>,
    pub(crate) nr_queues: Option<NonZeroU32>,
    pub(crate) queue_depth: Option<NonZeroU32>,
    pub(crate) io: Option<IoMode>,
    /// Whether appends are native.
    pub(crate) zone_append: Option<Switch>,
    /// Whether they are ordered, if they are native.
    pub(crate) ordered_zone_append: Option<Switch>,
    pub(crate) write_cache: Option<WriteCache>,
    pub(crate) creation: Option<FileCreation>,
    pub(crate) write_fault: Option<Option<Failure>>,
    pub(crate) old_data: Option<OldData>,
    pub(crate) rotation: Option<Rotation>,
}

/// What a device is: its geometry, and the options that it works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceOptions {
    /// Zones and their sizes, and the unit of I/O if it was chosen.
    pub(crate) geometry: Geometry,
    /// How many sequential zones can be open at once; `None` is as many as there are.
    /// No more than [`max_active_zones`](Self::max_active_zones), since open zones are active.
    pub(crate) max_open_zones: Option<NonZeroU32>,
    /// How many sequential zones can be open or closed at once, at most
    /// [`nr_seq_zones`](Geometry::nr_seq_zones); `None` is as many as there are.
    pub(crate) max_active_zones: Option<NonZeroU32>,
    /// Number of hardware queues; what exceeds the online CPUs is for the block layer to cut.
    pub(crate) nr_queues: NonZeroU32,
    /// Requests that each queue can hold, at most the block layer's 10240.
    pub(crate) queue_depth: NonZeroU32,
    /// How zone files are read and written.
    pub(crate) io: IoMode,
    /// How zone appends are done.
    pub(crate) append: Append,
    /// What a removal does with data that was not flushed.
    pub(crate) write_cache: WriteCache,
    /// When the files of sequential zones are made: whether they may be missing.
    pub(crate) creation: FileCreation,
    /// What a sequential zone is declared to be when a write to it has failed.
    pub(crate) write_fault: Option<Failure>,
    /// What becomes of what conventional zones have when it is overwritten.
    pub(crate) old_data: OldData,
    /// What kind of disk it says that it is.
    pub(crate) rotation: Rotation,
}

impl DeviceOptions {
    /// A device of this geometry, all other options of which have their default.
    pub(crate) fn of(geometry: Geometry) -> Self {
        Self {
            geometry,
            max_open_zones: None,
            max_active_zones: None,
            nr_queues: NonZeroU32::MIN,
            queue_depth: DEFAULT_QUEUE_DEPTH,
            io: IoMode::Direct,
            append: Append::Native,
            write_cache: WriteCache::Keep,
            creation: FileCreation::AtAdd,
            write_fault: None,
            old_data: OldData::Forget,
            rotation: Rotation::NonRotational,
        }
    }

    /// Reads what [`Display`](fmt::Display) has written.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong: the four options of the geometry must be there, and no
    /// option that is not recorded.
    // As C's `noinline_for_stack`: what reading takes is not there while files are opened.
    #[inline(never)]
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Error<'_>> {
        let text = up_to(text, |byte| byte == 0);
        Draft::read(text, Scope::Record)?.recorded()
    }

    /// The same device but for what was named.
    ///
    /// # Errors
    ///
    /// A limit that there are no zones for.
    pub(crate) fn with(self, named: &Named) -> Result<Self, Error<'static>> {
        let max_active_zones = match named.max_active_zones {
            Some(max) => NonZeroU32::new(max),
            None => self.max_active_zones,
        };
        let max_open_zones = match named.max_open_zones {
            Some(max) => NonZeroU32::new(max),
            // If they were as many as are active they still are.
            None if self.opens_all_active() => None,
            None => self.max_open_zones,
        };
        let native = named.zone_append.unwrap_or(match self.append {
            Append::Emulated => Switch::Off,
            Append::Native | Append::Ordered => Switch::On,
        });
        let ordered = named.ordered_zone_append.unwrap_or(match self.append {
            Append::Ordered => Switch::On,
            Append::Emulated | Append::Native => Switch::Off,
        });
        let with = Self {
            geometry: self.geometry,
            max_open_zones: max_open_zones.or(max_active_zones),
            max_active_zones,
            nr_queues: named.nr_queues.unwrap_or(self.nr_queues),
            queue_depth: named.queue_depth.unwrap_or(self.queue_depth),
            io: named.io.unwrap_or(self.io),
            append: match (native, ordered) {
                (Switch::Off, _) => Append::Emulated,
                (Switch::On, Switch::Off) => Append::Native,
                (Switch::On, Switch::On) => Append::Ordered,
            },
            write_cache: named.write_cache.unwrap_or(self.write_cache),
            creation: named.creation.unwrap_or(self.creation),
            write_fault: named.write_fault.unwrap_or(self.write_fault),
            old_data: named.old_data.unwrap_or(self.old_data),
            rotation: named.rotation.unwrap_or(self.rotation),
        };
        with.check_limits(named)?;
        Ok(with)
    }

    /// Whether all zones that are active can be open, which is so by default.
    fn opens_all_active(&self) -> bool {
        self.max_open_zones == self.max_active_zones
    }

    /// Whether there are zones for the limits, of which some are `named` and the others recorded.
    fn check_limits(&self, named: &Named) -> Result<(), Error<'static>> {
        let nr_seq_zones = self.geometry.nr_seq_zones();
        let all_zones = "no more than the sequential zones of the device";
        let (most_open, why) = match (self.max_active_zones, named.max_active_zones) {
            (None, _) => (nr_seq_zones, all_zones),
            (Some(max), Some(_)) => (max.get(), "no more than max_active_zones"),
            (Some(max), None) => (max.get(), "no more than max_active_zones, as recorded"),
        };
        for (option, limit, named, max, why) in [
            (
                MAX_ACTIVE_ZONES,
                self.max_active_zones,
                named.max_active_zones,
                nr_seq_zones,
                all_zones,
            ),
            (
                MAX_OPEN_ZONES,
                self.max_open_zones,
                named.max_open_zones,
                most_open,
                why,
            ),
        ] {
            let limit = limit.map_or(0, NonZeroU32::get);
            let max = max.into();
            let origin = named.map_or(Origin::Recorded, |_| Origin::Given);
            Refused::unless(option, limit, Allowed::Range { min: 0, max }, why)
                .map_err(|refused| Error::Refused { refused, origin })?;
        }
        Ok(())
    }

    /// Writes the options of an `add` command.
    fn write(&self, f: &mut fmt::Formatter<'_>, defaults: Defaults) -> fmt::Result {
        let default = Self::of(self.geometry);
        let all = defaults == Defaults::Said;
        fmt::Display::fmt(&self.geometry, f)?;
        if all || self.nr_queues != default.nr_queues {
            write!(f, ",{NR_QUEUES}={}", self.nr_queues)?;
        }
        if all || self.queue_depth != default.queue_depth {
            write!(f, ",{QUEUE_DEPTH}={}", self.queue_depth)?;
        }
        if all || !self.opens_all_active() {
            let max_open_zones = self.max_open_zones.map_or(0, NonZeroU32::get);
            write!(f, ",{MAX_OPEN_ZONES}={max_open_zones}")?;
        }
        if let Some(max_active_zones) = self.max_active_zones {
            write!(f, ",{MAX_ACTIVE_ZONES}={max_active_zones}")?;
        }
        match self.append {
            Append::Emulated => write!(f, ",{ZONE_APPEND}=0")?,
            Append::Native | Append::Ordered if all => write!(f, ",{ZONE_APPEND}=1")?,
            Append::Native | Append::Ordered => {}
        }
        for (flag, is_set) in [
            (ORDERED_ZONE_APPEND, self.append == Append::Ordered),
            (BUFFERED_IO, self.io == IoMode::Buffered),
            (
                DISCARD_WRITE_CACHE,
                self.write_cache == WriteCache::DiscardUnflushed,
            ),
            (LAZY_FILES, self.creation == FileCreation::AtFirstUse),
            (VOLATILE_CACHE, self.old_data == OldData::Save),
            (ROTATIONAL, self.rotation == Rotation::Rotational),
        ] {
            if is_set {
                write!(f, ",{flag}")?;
            }
        }
        match self.write_fault {
            None => Ok(()),
            Some(Failure::ReadOnly) => write!(f, ",{WRITE_FAULT}=readonly"),
            Some(Failure::Offline) => write!(f, ",{WRITE_FAULT}=offline"),
        }
    }
}

/// Whether to write options that have their default, those that the C driver's scripts give.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defaults {
    Said,
    LeftOut,
}

/// Writes what is recorded of the device, without a line end.
impl fmt::Display for DeviceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Defaults::LeftOut)
    }
}

/// Writes the `add` command that makes a device again, all but the path: `base_dir` may have bytes
/// that are no text, and comes last.
pub(crate) struct AddAgain<'a> {
    /// The number that the device has got.
    pub(crate) id: u32,
    /// What it is.
    pub(crate) options: &'a DeviceOptions,
}

impl fmt::Display for AddAgain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add {ID}={},", self.id)?;
        self.options.write(f, Defaults::Said)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_option_record))]
mod tests {
    use super::*;
    use crate::{
        geometry::tests::{
            says,
            Text, //
        },
        options::Command, //
    };

    const GEOMETRY: &str = "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3";

    /// All that differs from the default, as it is recorded.
    const ALL: &str = "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3,\
         block_size=512,nr_queues=4,queue_depth=32,max_open_zones=5,max_active_zones=7,\
         ordered_zone_append,buffered_io,discard_write_cache,lazy_files,volatile_cache,rotational,\
         write_fault=offline";

    /// What an `add` with `options` makes of a device of which `recorded` is recorded, or of a new
    /// one if that is empty: the new record, or why not.
    fn text_of_add(recorded: &str, options: &str) -> Result<Text, fmt::Error> {
        let command = Text::of(core::format_args!("add {options}"))?;
        let Ok(Command::Add(options)) = Command::parse(command.bytes()) else {
            return Err(fmt::Error);
        };
        if recorded.is_empty() {
            return match options.new_device() {
                Ok(device) => Text::of(device),
                Err(error) => Text::of(error),
            };
        }
        let Ok(recorded) = DeviceOptions::parse(recorded.as_bytes()) else {
            return Err(fmt::Error);
        };
        let text = match options.device_again(&recorded) {
            Ok(device) => Text::of(device),
            Err(error) => Text::of(error),
        };
        text
    }

    /// Whether that is `expected`.
    fn makes(recorded: &str, options: &str, expected: &str) -> bool {
        text_of_add(recorded, options).is_ok_and(|text| text.bytes() == expected.as_bytes())
    }

    /// Whether an `add` with `options` makes of [`GEOMETRY`] and `recorded` that and `expected`.
    fn changes(recorded: &str, options: &str, expected: &str) -> bool {
        let recorded = Text::of(core::format_args!("{GEOMETRY}{recorded}"));
        let expected = Text::of(core::format_args!("{GEOMETRY}{expected}"));
        let (Ok(recorded), Ok(expected)) = (recorded, expected) else {
            return false;
        };
        core::str::from_utf8(recorded.bytes()).is_ok_and(|recorded| {
            text_of_add(recorded, options).is_ok_and(|text| text.bytes() == expected.bytes())
        })
    }

    #[test]
    fn record() -> Result<(), Refused> {
        let shapes = [
            "add",
            "add capacity_mb=2047,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3",
            // A device of one zone.
            "add capacity_mb=300,conv_zones=0",
            "add capacity_mb=4294967295,zone_size_mb=16384,zone_capacity_mb=1,conv_zones=262142",
            // The last zone is smaller.
            "add capacity=1000448,zone_size=64K,zone_capacity=60K",
            "add capacity=3M,zone_size_mb=2",
            "add conv_zones=1:3:5:7:9:11:13:15:17:19:21:23:25:27:29:31-63,capacity_mb=1048576",
            "add capacity=64P,zone_size=16G",
            "add block_size=1024",
        ];
        for text in shapes {
            let command = Command::parse(text.as_bytes());
            assert!(command.is_ok());
            let Ok(Command::Add(options)) = command else {
                return Ok(());
            };
            for creation in [FileCreation::AtAdd, FileCreation::AtFirstUse] {
                let device = DeviceOptions {
                    creation,
                    ..DeviceOptions::of(Geometry::new(options.shape)?)
                };
                let text = Text::of(core::format_args!("{device}\n"));
                assert!(text.is_ok_and(|text| {
                    DeviceOptions::parse(text.bytes()).is_ok_and(|recorded| recorded == device)
                }));
            }
        }
        Ok(())
    }

    #[test]
    fn what_has_its_default_is_not_recorded() {
        assert!(makes("", GEOMETRY, GEOMETRY));
        assert!(changes(
            "",
            "nr_queues=1,queue_depth=128,max_open_zones=0,max_active_zones=0,zone_append=1,\
             buffered_io=0,ordered_zone_append=0,discard_write_cache=0,lazy_files=0,\
             volatile_cache=0,rotational=0,write_fault=good",
            "",
        ));
        assert!(makes("", ALL, ALL));
        // It is said once.
        assert!(changes(
            "",
            "max_open_zones=7,max_active_zones=7",
            ",max_active_zones=7"
        ));
        assert!(changes(
            "",
            "ordered_zone_append,zone_append=0",
            ",zone_append=0"
        ));
    }

    #[test]
    fn what_is_not_named_is_as_recorded() {
        for again in ["", "id=7", "base_dir=/a b", ",\n,"] {
            assert!(makes(ALL, again, ALL));
            assert!(makes(GEOMETRY, again, GEOMETRY));
        }
        // The rest stays.
        for (recorded, named, expected) in [
            (
                ",nr_queues=4,rotational",
                "nr_queues=2",
                ",nr_queues=2,rotational",
            ),
            (",nr_queues=4,rotational", "nr_queues=1", ",rotational"),
            (
                ",queue_depth=7,rotational",
                "queue_depth=128",
                ",rotational",
            ),
            (
                ",max_open_zones=4,rotational",
                "max_open_zones=0",
                ",rotational",
            ),
            (
                ",max_active_zones=4,rotational",
                "max_active_zones=0",
                ",rotational",
            ),
            (",zone_append=0,rotational", "zone_append=1", ",rotational"),
            (",zone_append=0", "ordered_zone_append", ",zone_append=0"),
            (
                ",ordered_zone_append",
                "zone_append=1",
                ",ordered_zone_append",
            ),
            (",ordered_zone_append", "zone_append=0", ",zone_append=0"),
            (",ordered_zone_append", "ordered_zone_append=0", ""),
            (",buffered_io", "buffered_io=0", ""),
            (",discard_write_cache", "discard_write_cache=0", ""),
            (",lazy_files", "lazy_files=0", ""),
            (",volatile_cache", "volatile_cache=0", ""),
            (",rotational", "rotational=0", ""),
            ("", "rotational", ",rotational"),
            (
                ",write_fault=readonly",
                "write_fault=offline",
                ",write_fault=offline",
            ),
            (",write_fault=readonly", "write_fault=good", ""),
            (
                ",block_size=512,rotational",
                "block_size=4096",
                ",block_size=4096,rotational",
            ),
            (
                ",rotational",
                "block_size=512",
                ",block_size=512,rotational",
            ),
        ] {
            assert!(changes(recorded, named, expected));
        }
    }

    #[test]
    fn a_description_leaves_nothing_as_recorded() {
        for part in [
            "capacity_mb=1024",
            "capacity_mb=1087",
            "capacity=1G",
            "zone_size_mb=64",
            "zone_size=64M",
            "zone_capacity_mb=63",
            "zone_capacity=63M",
            "conv_zones=3",
            "conv_zones=0-2",
            GEOMETRY,
            "capacity=1G,zone_size=64M,zone_capacity=63M,conv_zones=0-2",
        ] {
            assert!(makes(ALL, part, GEOMETRY));
        }
        assert!(changes(
            ",max_open_zones=5,rotational",
            "conv_zones=3,buffered_io",
            ",buffered_io",
        ));
        // This is no geometry.
        assert!(changes(
            ",rotational",
            "block_size=512",
            ",block_size=512,rotational"
        ));
    }

    #[test]
    fn another_geometry() {
        for (options, message) in [
            (
                "conv_zones=8",
                "conv_zones=8: must be 3, as when the device was made",
            ),
            (
                "capacity_mb=16384,zone_size_mb=256",
                "zone_size_mb=256: must be 64, as when the device was made",
            ),
        ] {
            assert!(makes(ALL, options, message));
        }
    }

    #[test]
    fn limits_that_are_recorded() {
        const OPEN: &str =
            "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3,max_open_zones=5";
        const BOTH: &str = "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3,\
             max_open_zones=5,max_active_zones=7";
        for (recorded, options, message) in [
            (
                GEOMETRY,
                "max_open_zones=14",
                "max_open_zones=14: must be from 0 to 13, \
                 no more than the sequential zones of the device",
            ),
            (
                OPEN,
                "max_active_zones=4",
                "max_open_zones=5: must be from 0 to 4, no more than max_active_zones \
                 (5 is recorded)",
            ),
            (
                BOTH,
                "max_open_zones=8",
                "max_open_zones=8: must be from 0 to 7, no more than max_active_zones, \
                 as recorded",
            ),
            (
                BOTH,
                "max_active_zones=14",
                "max_active_zones=14: must be from 0 to 13, \
                 no more than the sequential zones of the device",
            ),
            (
                BOTH,
                "max_active_zones=4,max_open_zones=6",
                "max_open_zones=6: must be from 0 to 4, no more than max_active_zones",
            ),
        ] {
            assert!(makes(recorded, options, message));
        }
        assert!(changes(
            ",max_open_zones=5,max_active_zones=7",
            "max_active_zones=0",
            ",max_open_zones=5",
        ));
        // All that is active may be open.
        assert!(changes(
            ",max_open_zones=5,max_active_zones=7",
            "max_open_zones=0",
            ",max_active_zones=7",
        ));
        assert!(changes(
            ",max_active_zones=7",
            "max_active_zones=4",
            ",max_active_zones=4"
        ));
        assert!(changes(
            ",max_active_zones=7",
            "max_open_zones=4",
            ",max_open_zones=4,max_active_zones=7",
        ));
        assert!(changes(
            ",max_open_zones=5",
            "max_active_zones=6",
            ",max_open_zones=5,max_active_zones=6",
        ));
    }

    #[test]
    fn commands_again() {
        let again = |text: &str, expected: &str| {
            let Ok(Command::Add(options)) = Command::parse(text.as_bytes()) else {
                return false;
            };
            let Ok(device) = options.new_device() else {
                return false;
            };
            let id = options.id.unwrap_or(5);
            let options = &device;
            let Ok(again) = Text::of(AddAgain { id, options }) else {
                return false;
            };
            // It is read as what it was written of, whatever is recorded.
            let same = match Command::parse(again.bytes()) {
                Ok(Command::Add(read)) => {
                    let recorded = DeviceOptions {
                        rotation: Rotation::Rotational,
                        nr_queues: NonZeroU32::MAX,
                        ..device
                    };
                    read.id == Some(id)
                        && read.new_device().is_ok_and(|read| read == device)
                        && read
                            .device_again(&recorded)
                            .is_ok_and(|read| read == device)
                }
                _ => false,
            };
            same && again.bytes() == expected.as_bytes()
        };
        assert!(again(
            "add",
            "add id=5,capacity_mb=16384,zone_size_mb=256,zone_capacity_mb=256,conv_zones=8,\
             nr_queues=1,queue_depth=128,max_open_zones=0,zone_append=1",
        ));
        assert!(again(
            "add id=7,capacity=10M,zone_size=4M,zone_capacity=3584K,conv_zones=0:2,\
             max_open_zones=1,nr_queues=4,queue_depth=32,buffered_io,ordered_zone_append,\
             discard_write_cache,lazy_files,base_dir=/a b,block_size=512,\
             rotational,volatile_cache",
            "add id=7,capacity=10M,zone_size_mb=4,zone_capacity=3584K,conv_zones=0:2,\
             block_size=512,nr_queues=4,queue_depth=32,max_open_zones=1,zone_append=1,\
             ordered_zone_append,buffered_io,discard_write_cache,lazy_files,\
             volatile_cache,rotational",
        ));
        assert!(again(
            "add zone_append=0,id=0,max_active_zones=9,write_fault=readonly",
            "add id=0,capacity_mb=16384,zone_size_mb=256,zone_capacity_mb=256,conv_zones=8,\
             nr_queues=1,queue_depth=128,max_open_zones=9,max_active_zones=9,zone_append=0,\
             write_fault=readonly",
        ));
    }

    #[test]
    fn damaged_record() {
        let damaged = |text: &'static str, message| {
            DeviceOptions::parse(text.as_bytes()).is_err_and(|error| says(error, message))
        };
        assert!(damaged(
            "",
            "capacity_mb: missing, the record of the device needs it"
        ));
        assert!(damaged(
            "capacity_mb=1024,zone_size_mb=64,conv_zones=0\n",
            "zone_capacity_mb: missing, the record of the device needs it",
        ));
        assert!(damaged(
            "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=64,conv_zones=0,id=1\n",
            "id: not an option here, the record of the device takes \
             capacity_mb, zone_size_mb, zone_capacity_mb, conv_zones, nr_queues, queue_depth, \
             buffered_io, zone_append, ordered_zone_append, discard_write_cache, max_open_zones, \
             max_active_zones, lazy_files, volatile_cache, write_fault, capacity, zone_size, \
             zone_capacity, block_size, rotational",
        ));
        assert!(damaged(
            "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=65,conv_zones=0\n",
            "zone_capacity_mb=65: must be from 1 to 64, no more than the zone size",
        ));
        assert!(damaged(
            "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=64,conv_zones=0,max_open_zones=17\n",
            "max_open_zones=17: must be from 0 to 16, \
             no more than the sequential zones of the device",
        ));
        assert!(damaged(
            "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=64,conv_zones=0,rotational=x\n",
            "rotational=\"x\": not a number, must be 0 or 1, or without a value \
             (say that it is a disk that turns)",
        ));
        assert!(damaged(
            "\x7fELF",
            "unknown option \"\\x7fELF\": the record of the device takes \
             capacity_mb, zone_size_mb, zone_capacity_mb, conv_zones, nr_queues, queue_depth, \
             buffered_io, zone_append, ordered_zone_append, discard_write_cache, max_open_zones, \
             max_active_zones, lazy_files, volatile_cache, write_fault, capacity, zone_size, \
             zone_capacity, block_size, rotational",
        ));
    }
}
