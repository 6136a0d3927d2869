// SPDX-License-Identifier: GPL-2.0

//! The language of `/dev/zloop-control`.
//!
//! Each write is one command. It is the C driver's language, and what its scripts say means the
//! same here:
//!
//! ```text
//! add id=0,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=63
//! remove id=0
//! powerfail id=0,seed=1
//! ```
//!
//! Not the C driver's are those that declare zones to have failed, or to be good again:
//!
//! ```text
//! zone_readonly id=0,zones=3-5
//! zone_offline id=0,zones=9
//! zone_good id=0,zones=3-9
//! ```
//!
//! and the one that has requests fail, get lost or take longer:
//!
//! ```text
//! inject id=0,badblocks=+4096-4103,badblocks_once=1
//! ```
//!
//! A command's name comes first, and ends where the text ends or at white space or a comma. White
//! space after it is skipped. What follows is a list of options, separated by commas or newlines:
//! there may be any number of separators, so the newline that `echo` adds means nothing. There is
//! no other white space. A NUL ends the text.
//!
//! An option is a name, or a name, `=` and a value. If it is given more than once, the last one
//! counts, but each must be valid. `option_table.rs` has all of them. What an `add` doesn't name is
//! as it was recorded in the device's directory, or by default: see `option_record.rs`.
//!
//! - A number is decimal, leading zeros or not, or hexadecimal after `0x`. There are no signs.
//! - A size in bytes may end in `K`, `M`, `G`, `T`, `P` or `E`; the last one only if it is decimal.
//! - Zones are the number of the first ones, or ranges: `0-3:10:20-21`.
//! - An `id` may be negative, which means the first free one. A leading `0` makes it octal.
//! - Zones are a number, or the first one, `-` and the last one.
//! - Sectors are the first one, `-` and the last one, after a `+` or a `-`, as in `null_blk`.
//! - A flag may be followed by `=1`, which changes nothing, or by `=0`, as if it were not there.
//! - A path is anything that contains no separator, and is taken as it is.
//!
//! Numbers differ from the C driver in that it takes no hexadecimal ones but for `id`, no leading
//! zero before an 8 or a 9, and no more than 23 digits. Refused here and taken there: a command's
//! name with letters after it, as in `addid=0`, and an `id` that is a lone `-` or so large that it
//! wraps around.
//!
//! A text that is not in the language is refused as a whole: see [`Error`] for what is said then.

use crate::{
    declaration::Declaration,
    fault::Injection,
    geometry::{
        self,
        Geometry,
        Shape, //
    },
    option_draft::Draft,
    option_error::{
        Error,
        Origin, //
    },
    option_record::{
        DeviceOptions,
        Named, //
    },
    option_table::Scope,
    option_text::{
        is_space,
        up_to, //
    },
    power_failure::Loss,
    size::Refused,
};

/// What a read of the control device gives: byte for byte the C driver's text, without the options
/// that it doesn't have.
pub(crate) const SYNTAX: &str = "add id=%d,capacity_mb=%u,zone_size_mb=%u,zone_capacity_mb=%u,\
    conv_zones=%u,base_dir=%s,nr_queues=%u,queue_depth=%u,buffered_io,zone_append=%u,\
    ordered_zone_append,discard_write_cache,max_open_zones=%u\n\
    remove id=%d\n";

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Add a device, or one that was removed again.
    Add(AddOptions<'a>),
    /// Remove the device with this `id`.
    Remove { id: u32 },
    /// Declare zones of the device with this `id` to have failed, or to be good.
    Declare { id: u32, declaration: Declaration },
    /// Inject faults into the device with this `id`.
    Inject { id: u32, injection: Injection },
    /// Remove the device with this `id` as a power failure would.
    PowerFail { id: u32, loss: Loss },
}

/// What `add` asks for, and not what it leaves open. Paths are parts of the command's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddOptions<'a> {
    /// Number of the device, at most `i32::MAX`; `None` asks for the first free one.
    pub(crate) id: Option<u32>,
    /// Path of the directory that holds the device's directory, which is named after its `id`.
    /// Neither empty nor with a NUL; may be relative.
    pub(crate) base_dir: &'a [u8],
    /// Zones and their sizes, as far as they are given.
    pub(crate) shape: Shape,
    /// All else that is given.
    pub(crate) named: Named,
}

impl AddOptions<'_> {
    /// What a new device is to be.
    ///
    /// # Errors
    ///
    /// The first option that can't be, given the others.
    pub(crate) fn new_device(&self) -> Result<DeviceOptions, Error<'static>> {
        let geometry = Geometry::new(self.shape);
        let geometry = geometry.map_err(|refused| refusal(refused, &self.shape))?;
        DeviceOptions::of(geometry).with(&self.named)
    }

    /// What a device is to be that was `recorded`.
    ///
    /// # Errors
    ///
    /// The first option that would change the geometry, or can't be with it.
    pub(crate) fn device_again<'e>(
        &'e self,
        recorded: &'e DeviceOptions,
    ) -> Result<DeviceOptions, Error<'e>> {
        let geometry = recorded.geometry;
        let block_size = self.shape.block_size;
        if let Some(mismatch) = self.shape.difference(&recorded.geometry) {
            return Err(Error::Changed(mismatch));
        }
        let as_it_was = if self.describes_the_device() {
            DeviceOptions::of(geometry.with_block_size(block_size))
        } else {
            DeviceOptions {
                geometry: geometry.with_block_size(block_size.or(geometry.block_size())),
                ..*recorded
            }
        };
        as_it_was.with(&self.named)
    }

    /// Whether what isn't named has its default, whatever is recorded.
    fn describes_the_device(&self) -> bool {
        let mut options = shape_options(&self.shape).into_iter();
        options.any(|(_, given)| given == IsGiven::Yes)
    }
}

/// The error for a value that the other options don't allow.
pub(crate) fn refusal(refused: Refused, shape: &Shape) -> Error<'static> {
    let was_default = shape_options(shape).contains(&(refused.option, IsGiven::No));
    Error::Refused {
        refused,
        origin: if was_default {
            Origin::Default
        } else {
            Origin::Given
        },
    }
}

/// Whether a part of a shape is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsGiven {
    Yes,
    No,
}

/// The options that a shape is made of, those that the C driver has.
pub(crate) fn shape_options(shape: &Shape) -> [(&'static str, IsGiven); 4] {
    let is_given = |given| if given { IsGiven::Yes } else { IsGiven::No };
    [
        (
            geometry::CAPACITY.mebibytes,
            is_given(shape.capacity.is_some()),
        ),
        (
            geometry::ZONE_SIZE.mebibytes,
            is_given(shape.zone_size.is_some()),
        ),
        (
            geometry::ZONE_CAPACITY.mebibytes,
            is_given(shape.zone_capacity.is_some()),
        ),
        (geometry::CONV_ZONES, is_given(shape.conv_zones.is_some())),
    ]
}

/// What a flag, or an option that takes 0 or 1, is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    Off,
    On,
}

/// How zone files are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IoMode {
    /// Past the page cache, with `O_DIRECT`.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// How zone appends are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Append {
    /// By the block layer, which turns them into writes.
    Emulated,
    /// By the device, each where the write pointer is when it is carried out.
    Native,
    /// By the device, in the order in which they were queued.
    Ordered,
}

/// When the files of sequential zones are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileCreation {
    /// When the device is added for the first time.
    AtAdd,
    /// When something is written. The C driver can't use a directory in which files are missing.
    AtFirstUse,
}

/// What becomes of what conventional zones have when it is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OldData {
    /// It is gone.
    Forget,
    /// It is saved until the next flush, so that a power failure can bring it back.
    Save,
}

/// What kind of disk the device says that it is: a hint for schedulers and file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// One without moving parts.
    NonRotational,
    /// One that turns.
    Rotational,
}

/// What a removal does with data that was written but not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteCache {
    /// It stays.
    Keep,
    /// It is lost, as in a power failure.
    DiscardUnflushed,
}

impl<'a> Command<'a> {
    /// Reads a command.
    ///
    /// # Errors
    ///
    /// The first thing in `text` that is wrong.
    // As C's `noinline_for_stack`: what reading takes is not there while the command is done.
    #[inline(never)]
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Error<'a>> {
        let text = up_to(text, |byte| byte == 0);
        let name = up_to(text, |byte| is_space(byte) || byte == b',');
        let options = text.get(name.len()..).unwrap_or_default();
        match name {
            b"add" => Draft::read(options, Scope::Add)?.add().map(Self::Add),
            b"remove" => {
                let id = Draft::read(options, Scope::Remove)?.device(Scope::Remove)?;
                Ok(Self::Remove { id })
            }
            b"powerfail" => {
                let (id, loss) = Draft::read(options, Scope::PowerFail)?.power_fail()?;
                Ok(Self::PowerFail { id, loss })
            }
            b"inject" => {
                let draft = Draft::read(options, Scope::Inject)?;
                Ok(Self::Inject {
                    id: draft.device(Scope::Inject)?,
                    injection: draft.injection()?,
                })
            }
            _ => {
                let failure = Declaration::failure(name).ok_or(Error::UnknownCommand(name))?;
                let scope = Scope::Declare(failure);
                let draft = Draft::read(options, scope)?;
                Ok(Self::Declare {
                    declaration: draft.declaration(failure, scope)?,
                    id: draft.device(scope)?,
                })
            }
        }
    }
}

/// Reads what is recorded in a device's directory of zones that are declared to have failed: as a
/// [`Declaration`] is written, each on a line of its own.
pub(crate) fn recorded_declarations(
    text: &[u8],
) -> impl Iterator<Item = Result<Declaration, Error<'_>>> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let name = up_to(line, is_space);
            let failure = Declaration::failure(name).ok_or(Error::UnknownCommand(name))?;
            let options = line.get(name.len()..).unwrap_or_default();
            let scope = Scope::RecordedDeclaration(failure);
            Draft::read(options, scope)?.declaration(failure, scope)
        })
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_options))]
mod tests {
    use super::*;
    use crate::{
        declaration::ZoneRange,
        fault::{
            BadBlocks,
            BadWrite,
            Kind,
            Lasting,
            Sectors,
            ZoneCommand, //
        },
        geometry::{
            tests::{
                first,
                mib,
                says,
                Text, //
            },
            BlockSize, //
        },
        option_draft::{
            DEFAULT_QUEUE_DEPTH,
            MAX_QUEUE_DEPTH, //
        },
        option_error::{
            Errno,
            Fault, //
        },
        option_table::{
            Value,
            OPTIONS, //
        },
        option_text::number,
        size::Size,
        zone::Failure, //
    };
    use core::{
        fmt,
        num::NonZeroU32, //
    };

    /// What `add` and nothing else says.
    fn nothing() -> AddOptions<'static> {
        AddOptions {
            id: None,
            base_dir: b"/var/local/zloop",
            shape: Shape::default(),
            named: Named::default(),
        }
    }

    /// What `text` asks for, of a new device if it is an `add` command.
    fn command(text: &str) -> Result<Command<'_>, Error<'_>> {
        let command = Command::parse(text.as_bytes())?;
        if let Command::Add(options) = &command {
            options.new_device()?;
        }
        Ok(command)
    }

    /// Whether `text` is an `add` command of which `check` is true.
    fn asks(text: &str, check: impl FnOnce(&AddOptions<'_>) -> bool) -> bool {
        match command(text) {
            Ok(Command::Add(options)) => check(&options),
            _ => false,
        }
    }

    /// Whether `text` is an `add` command that makes a device of which `check` is true.
    fn adds(text: &str, check: impl FnOnce(&DeviceOptions) -> bool) -> bool {
        asks(text, |options| {
            options.new_device().is_ok_and(|device| check(&device))
        })
    }

    /// Whether `text` is an `add` command that gives this device number.
    fn adds_id(text: &str, id: Option<u32>) -> bool {
        asks(text, |options| options.id == id)
    }

    /// Whether `text` is an `add` command that differs from the default at most in the geometry,
    /// which is written as `expected`.
    fn adds_geometry(text: &str, expected: &str) -> bool {
        asks(text, |options| {
            let shape = options.shape;
            *options == AddOptions { shape, ..nothing() }
        }) && adds(text, |device| {
            *device == DeviceOptions::of(device.geometry) && says(device.geometry, expected)
        })
    }

    /// Whether `text` is refused with `EINVAL` and this message.
    fn invalid(text: &str, message: &str) -> bool {
        command(text).is_err_and(|error| error.errno() == Errno::Inval && says(error, message))
    }

    /// Whether `text` removes the device with this number.
    fn removes(text: &str, id: u32) -> bool {
        Command::parse(text.as_bytes()).is_ok_and(|command| command == Command::Remove { id })
    }

    #[test]
    fn defaults() -> Result<(), Refused> {
        for text in [
            "add",
            "add ",
            "add\n",
            "add \t\n",
            "add ,\n,,\n",
            "add\0id=1",
        ] {
            assert_eq!(
                Command::parse(text.as_bytes()).ok(),
                Some(Command::Add(nothing()))
            );
        }
        assert_eq!(DEFAULT_QUEUE_DEPTH.get(), 128);
        assert_eq!(MAX_QUEUE_DEPTH.get(), 10240);
        Ok(())
    }

    #[test]
    fn everything_at_once() -> Result<(), Refused> {
        let text = b"add id=7,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=63,conv_zones=2,\
            max_open_zones=14,base_dir=/tmp/a b=c%s,nr_queues=4,queue_depth=32,buffered_io,\
            zone_append=1,ordered_zone_append,discard_write_cache,max_active_zones=20,lazy_files,\
            write_fault=offline,volatile_cache,block_size=512,rotational\n";
        let expected = AddOptions {
            id: Some(7),
            base_dir: b"/tmp/a b=c%s",
            shape: Shape {
                capacity: mib(2048),
                zone_size: mib(64),
                zone_capacity: mib(63),
                conv_zones: first(2),
                block_size: BlockSize::new(512),
            },
            named: Named {
                max_open_zones: Some(14),
                max_active_zones: Some(20),
                nr_queues: NonZeroU32::new(4),
                queue_depth: NonZeroU32::new(32),
                io: Some(IoMode::Buffered),
                zone_append: Some(Switch::On),
                ordered_zone_append: Some(Switch::On),
                write_cache: Some(WriteCache::DiscardUnflushed),
                creation: Some(FileCreation::AtFirstUse),
                write_fault: Some(Some(Failure::Offline)),
                old_data: Some(OldData::Save),
                rotation: Some(Rotation::Rotational),
            },
        };
        assert_eq!(Command::parse(text).ok(), Some(Command::Add(expected)));
        Ok(())
    }

    #[test]
    fn separators() {
        assert!(adds_id("add id=1", Some(1)));
        assert!(adds_id("add id=1\n", Some(1)));
        assert!(adds_id("add\tid=1", Some(1)));
        assert!(adds_id("add\nid=1", Some(1)));
        assert!(adds_id("add\x0bid=1", Some(1)));
        assert!(adds_id("add \r\n  id=1", Some(1)));
        assert!(adds_id("add,id=1", Some(1)));
        assert!(adds_id("add ,,id=1,,\n\n,buffered_io,\n", Some(1)));
        assert!(adds_id("add buffered_io\nid=1\n", Some(1)));
        assert!(adds_id("add id=1\0,id=2", Some(1)));
        assert!(removes("remove ,\nid=3\n", 3));
        // White space anywhere else is part of a name or a value.
        assert!(invalid(
            "add id=1, buffered_io",
            "unknown option \" buffered_io\": add takes id, capacity_mb, zone_size_mb, \
             zone_capacity_mb, conv_zones, base_dir, nr_queues, queue_depth, buffered_io, \
             zone_append, ordered_zone_append, discard_write_cache, max_open_zones, \
             max_active_zones, lazy_files, volatile_cache, write_fault, capacity, zone_size, \
             zone_capacity, block_size, rotational",
        ));
        assert!(invalid(
            "add conv_zones=1 \n",
            "conv_zones=\"1 \": not a number, must be the number of the first ones, or ascending \
             ranges as 0-3:10, at most 16 (which zones are conventional)",
        ));
        assert!(invalid(
            "add conv_zones=1\r\n",
            "conv_zones=\"1\\r\": not a number, must be the number of the first ones, or ascending \
             ranges as 0-3:10, at most 16 (which zones are conventional)",
        ));
    }

    #[test]
    fn commands() -> Result<(), fmt::Error> {
        for (text, name) in [
            ("", ""),
            ("\n", ""),
            (" add", ""),
            ("ad", "ad"),
            ("Add", "Add"),
            ("addid=0", "addid=0"),
            ("removeid=0\n", "removeid=0"),
            ("list\n", "list"),
        ] {
            let expected = Text::of(format_args!(
                "unknown command \"{name}\": must be add, remove, powerfail, zone_readonly, \
                 zone_offline, zone_good or inject"
            ))?;
            let said = command(text).err().map(Text::of).transpose()?;
            assert!(said.is_some_and(|said| said.bytes() == expected.bytes()));
        }
        Ok(())
    }

    #[test]
    fn power_failure() {
        let fails = |text: &str, id, loss| {
            Command::parse(text.as_bytes())
                .is_ok_and(|command| command == Command::PowerFail { id, loss })
        };
        assert!(fails("powerfail id=0", 0, Loss::All));
        assert!(fails("powerfail id=3,seed=0\n", 3, Loss::Part(0)));
        assert!(fails(
            "powerfail seed=4294967295,id=3",
            3,
            Loss::Part(u32::MAX)
        ));
        assert!(invalid("powerfail", "id: missing, powerfail needs it"));
        assert!(invalid(
            "powerfail seed=1",
            "id: missing, powerfail needs it"
        ));
        assert!(invalid(
            "powerfail id=0,seed",
            "seed: has no value, must be from 0 to 4294967295"
        ));
        assert!(invalid(
            "powerfail id=0,seed=-1",
            "seed=\"-1\": not a number, must be from 0 to 4294967295 \
             (lose a part of the unflushed data that follows from this number)",
        ));
        assert!(invalid(
            "powerfail id=0,buffered_io",
            "buffered_io: not an option here, powerfail takes id, seed",
        ));
        assert!(invalid(
            "remove id=0,seed=1",
            "seed: not an option here, remove takes id",
        ));
        let error = Command::parse(b"powerfail id=-1").err();
        assert!(error.is_some_and(|error| error.errno() == Errno::NoDev));
    }

    #[test]
    fn remove() {
        assert!(removes("remove id=0", 0));
        assert!(removes("remove id=2147483647\n", 2147483647));
        assert!(removes("remove id=1,id=2", 2));
        assert!(invalid("remove", "id: missing, remove needs it"));
        assert!(invalid("remove \n", "id: missing, remove needs it"));
        assert!(invalid("remove 0", "unknown option \"0\": remove takes id",));
        assert!(invalid(
            "remove id=0,base_dir=/tmp",
            "base_dir: not an option here, remove takes id",
        ));
        assert!(invalid(
            "remove id=0,buffered_io",
            "buffered_io: not an option here, remove takes id",
        ));
        let error = Command::parse(b"remove id=-1").err();
        assert!(error.is_some_and(|error| error.errno() == Errno::NoDev
            && says(error, "id: negative, must be that of a device")));
    }

    #[test]
    fn device_numbers() {
        assert!(adds_id("add id=0", Some(0)));
        assert!(adds_id("add id=-0", Some(0)));
        assert!(adds_id("add id=2147483647", Some(2147483647)));
        assert!(adds_id("add id=0x10", Some(16)));
        assert!(adds_id("add id=0X7fffffff", Some(2147483647)));
        assert!(adds_id("add id=010", Some(8)));
        assert!(adds_id("add id=00", Some(0)));
        assert!(adds_id("add id=-1", None));
        assert!(adds_id("add id=-0x1", None));
        assert!(adds_id("add id=-2147483648", None));
        assert!(adds_id("add id=5,id=-1", None));
        assert!(invalid(
            "add id=2147483648",
            "id=\"2147483648\": must be from 0 to 2147483647, or negative for the first free one \
             (the number of the device)",
        ));
        assert!(invalid(
            "add id=zero",
            "id=\"zero\": not a number, must be from 0 to 2147483647, or negative for the first \
             free one (the number of the device)",
        ));
        assert!(invalid(
            "add id",
            "id: has no value, must be from 0 to 2147483647, or negative for the first free one",
        ));
        for value in [
            "-2147483649",
            "4294967296",
            "18446744073709551615",
            "18446744073709551616",
            "-18446744073709551616",
            "+1",
            "--1",
            "-",
            "0x",
            "-0x",
            "08",
            "1a",
            "1-",
            " 1",
            "0b1",
        ] {
            let mut text = [0; 32];
            let (name, rest) = text.split_at_mut(b"add id=".len());
            name.copy_from_slice(b"add id=");
            for (to, from) in rest.iter_mut().zip(value.bytes()) {
                *to = from;
            }
            assert!(matches!(Command::parse(&text), Err(Error::Bad { .. })));
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"0"), Ok(0));
        assert_eq!(number(b"4294967295"), Ok(u32::MAX));
        assert_eq!(number(b"4294967296"), Err(Fault::OutOfRange));
        assert_eq!(number(b"42949672950"), Err(Fault::OutOfRange));
        assert_eq!(
            number(b"99999999999999999999999999999999"),
            Err(Fault::OutOfRange)
        );
        assert_eq!(number(b"00000000000000000000000000000001"), Ok(1));
        assert_eq!(number(b"010"), Ok(10));
        assert_eq!(number(b"08"), Ok(8));
        assert_eq!(number(b"0xffffFFFF"), Ok(u32::MAX));
        assert_eq!(number(b"0X10"), Ok(16));
        assert_eq!(number(b"0x100000000"), Err(Fault::OutOfRange));
        for text in [
            "",
            "0x",
            "x",
            "0xg",
            "-1",
            "-0",
            "+1",
            " 1",
            "1 ",
            "1_000",
            "1k",
            "1.0",
            "1e3",
            "99999999999x",
            "\u{ff11}",
            "\0",
        ] {
            assert_eq!(number(text.as_bytes()), Err(Fault::NotANumber));
        }
    }

    #[test]
    fn sizes() {
        assert!(adds_geometry(
            "add capacity_mb=8192",
            "capacity_mb=8192,zone_size_mb=256,zone_capacity_mb=256,conv_zones=8",
        ));
        assert!(adds_geometry(
            "add zone_size_mb=1",
            "capacity_mb=16384,zone_size_mb=1,zone_capacity_mb=1,conv_zones=8",
        ));
        assert!(adds_geometry(
            "add zone_size_mb=16384,capacity_mb=4294967295",
            "capacity_mb=4294950912,zone_size_mb=16384,zone_capacity_mb=16384,conv_zones=8",
        ));
        assert!(adds_geometry(
            "add zone_capacity_mb=1,conv_zones=63",
            "capacity_mb=16384,zone_size_mb=256,zone_capacity_mb=1,conv_zones=63",
        ));
        // One zone.
        for text in [
            "add capacity_mb=257",
            "add capacity_mb=256",
            "add capacity=256M",
        ] {
            assert!(adds_geometry(
                text,
                "capacity_mb=256,zone_size_mb=256,zone_capacity_mb=256,conv_zones=0",
            ));
        }
        assert!(adds_geometry(
            "add zone_size_mb=16384",
            "capacity_mb=16384,zone_size_mb=16384,zone_capacity_mb=16384,conv_zones=0",
        ));
        // Few zones.
        assert!(adds_geometry(
            "add capacity_mb=1024",
            "capacity_mb=1024,zone_size_mb=256,zone_capacity_mb=256,conv_zones=2",
        ));

        assert!(invalid(
            "add capacity_mb=0",
            "capacity_mb=\"0\": must be from 1 to 4294967295 (the capacity of the device in MiB)",
        ));
        assert!(invalid(
            "add capacity_mb=4294967296",
            "capacity_mb=\"4294967296\": must be from 1 to 4294967295 \
             (the capacity of the device in MiB)",
        ));
        assert!(invalid(
            "add capacity_mb=255,conv_zones=0",
            "capacity_mb=255: must be from 256 to 1073741824, \
             at least a zone and at most 4194304 of them",
        ));
        assert!(invalid(
            "add zone_size=2K",
            "capacity_mb=16384: must be from 1 to 8192, \
             at least a zone and at most 4194304 of them (16384 is the default)",
        ));
        assert!(invalid(
            "add capacity_mb=4194305,zone_size_mb=1",
            "capacity_mb=4194305: must be from 1 to 4194304, \
             at least a zone and at most 4194304 of them",
        ));
        assert!(invalid(
            "add zone_size_mb=3",
            "zone_size_mb=\"3\": must be a power of two from 1 to 16384 \
             (the size of a zone in MiB)",
        ));
        assert!(invalid(
            "add zone_size_mb=32768",
            "zone_size_mb=\"32768\": must be a power of two from 1 to 16384 \
             (the size of a zone in MiB)",
        ));
        assert!(invalid(
            "add zone_size_mb=0",
            "zone_size_mb=\"0\": must be a power of two from 1 to 16384 \
             (the size of a zone in MiB)",
        ));
        assert!(invalid(
            "add zone_size_mb",
            "zone_size_mb: has no value, must be a power of two from 1 to 16384",
        ));
        assert!(invalid(
            "add zone_size_mb=,id=0",
            "zone_size_mb: has no value, must be a power of two from 1 to 16384",
        ));
        assert!(invalid(
            "add zone_capacity_mb=0",
            "zone_capacity_mb=\"0\": must be from 1 to 4294967295 \
             (the capacity of a sequential zone in MiB)",
        ));
        assert!(invalid(
            "add zone_capacity_mb=257",
            "zone_capacity_mb=257: must be from 1 to 256, no more than the zone size",
        ));
        assert!(invalid(
            "add conv_zones=64",
            "conv_zones=64: must be from 0 to 63, fewer than the zones of the device",
        ));
    }

    #[test]
    fn open_zones() {
        let limit = |text, limit| adds(text, |o| o.max_open_zones == NonZeroU32::new(limit));
        assert!(limit("add max_open_zones=0", 0));
        assert!(limit("add max_open_zones=1", 1));
        assert!(limit("add max_open_zones=56", 56));
        assert!(limit("add conv_zones=0,max_open_zones=64", 64));
        assert!(invalid(
            "add max_open_zones=57",
            "max_open_zones=57: must be from 0 to 56, \
             no more than the sequential zones of the device",
        ));
        assert!(invalid(
            "add max_open_zones=-1",
            "max_open_zones=\"-1\": not a number, must be from 0 to 4294967295 \
             (how many sequential zones can be open at once, 0 for any number)",
        ));
    }

    #[test]
    fn active_zones() {
        let limits = |text, open, active| {
            adds(text, |o| {
                o.max_open_zones == NonZeroU32::new(open)
                    && o.max_active_zones == NonZeroU32::new(active)
            })
        };
        assert!(limits("add max_active_zones=0", 0, 0));
        assert!(limits("add max_active_zones=0,max_open_zones=3", 3, 0));
        assert!(limits("add max_open_zones=14,max_active_zones=14", 14, 14));
        assert!(limits("add max_active_zones=56,max_open_zones=1", 1, 56));
        // What is open is active.
        assert!(limits("add max_active_zones=14", 14, 14));
        assert!(limits("add max_active_zones=14,max_open_zones=0", 14, 14));
        assert!(invalid(
            "add max_active_zones=57",
            "max_active_zones=57: must be from 0 to 56, \
             no more than the sequential zones of the device",
        ));
        assert!(invalid(
            "add max_open_zones=15,max_active_zones=14",
            "max_open_zones=15: must be from 0 to 14, no more than max_active_zones",
        ));
        assert!(invalid(
            "add max_active_zones=x",
            "max_active_zones=\"x\": not a number, must be from 0 to 4294967295 \
             (how many sequential zones can be open or closed at once, 0 for any number)",
        ));
    }

    #[test]
    fn zones_that_are_declared() {
        let declares = |text: &str, id, first, last, failure| {
            let zones = ZoneRange::new(first, last);
            zones.is_some_and(|zones| {
                let declaration = Declaration { zones, failure };
                Command::parse(text.as_bytes()).ok() == Some(Command::Declare { id, declaration })
            })
        };
        let (read_only, offline) = (Some(Failure::ReadOnly), Some(Failure::Offline));
        assert!(declares(
            "zone_readonly id=0,zones=3-5\n",
            0,
            3,
            5,
            read_only
        ));
        assert!(declares("zone_offline zones=9,id=1", 1, 9, 9, offline));
        assert!(declares("zone_good,id=1,zones=0x10-0x1f", 1, 16, 31, None));
        assert!(declares(
            "zone_good id=1,zones=0-4294967295",
            1,
            0,
            u32::MAX,
            None
        ));
        for zones in [
            "",
            "-",
            "3-",
            "-3",
            "3-5-7",
            "3--5",
            "x",
            "3-x",
            "5-4",
            "4294967296",
            "3 ",
        ] {
            let mut text = [0; 64];
            let parts = ["zone_readonly id=0,zones=", zones];
            let mut len = 0;
            for byte in parts.iter().flat_map(|part| part.bytes()) {
                text[len] = byte;
                len += 1;
            }
            let refused =
                Command::parse(&text[..len]).is_err_and(|err| err.errno() == Errno::Inval);
            assert!(refused);
        }
        assert!(invalid(
            "zone_offline id=0,zones=5-4",
            "zones=\"5-4\": must be a zone's number, or the first one, - and the last one \
             (which zones)",
        ));
        assert!(invalid(
            "zone_offline id=0",
            "zones: missing, zone_offline needs it"
        ));
        assert!(invalid(
            "zone_good zones=3",
            "id: missing, zone_good needs it"
        ));
        assert!(Command::parse(b"zone_good id=-1,zones=3")
            .is_err_and(|err| err.errno() == Errno::NoDev));
        assert!(invalid(
            "zone_good id=0,zones=3,conv_zones=1",
            "conv_zones: not an option here, zone_good takes id, zones",
        ));
        assert!(invalid(
            "remove id=0,zones=3",
            "zones: not an option here, remove takes id",
        ));
    }

    #[test]
    fn faults_that_are_injected() {
        let injects =
            |text: &str, check: fn(&mut Injection) -> bool| match Command::parse(text.as_bytes()) {
                Ok(Command::Inject {
                    id: 3,
                    mut injection,
                }) => check(&mut injection),
                _ => false,
            };
        assert!(injects("inject id=3,badblocks=+8-15", |asked| {
            asked.badblocks == Sectors::new(8, 15).map(BadBlocks::Set)
        }));
        assert!(injects(
            "inject id=3,badblocks_read=-0-0xffffffffffffffff",
            |asked| { asked.badblocks_read == Sectors::new(0, u64::MAX).map(BadBlocks::Clear) }
        ));
        assert!(injects(
            "inject id=3,badblocks_write=+8-8,badblocks_once=1,badblocks_partial_io=1",
            |asked| {
                asked.badblocks_write == Sectors::new(8, 8).map(BadBlocks::Set)
                    && asked.lasting == Some(Lasting::Once)
                    && asked.bad_write == Some(BadWrite::Partial)
            }
        ));
        assert!(injects(
            "inject id=3,fail_open=1,fail_close=2,fail_finish=3,fail_reset=4,timeout=5,requeue=6",
            |asked| {
                *asked.fail.of(ZoneCommand::Open) == Some(1)
                    && *asked.fail.of(ZoneCommand::Close) == Some(2)
                    && *asked.fail.of(ZoneCommand::Finish) == Some(3)
                    && *asked.fail.of(ZoneCommand::Reset) == Some(4)
                    && (asked.timeout, asked.requeue) == (Some(5), Some(6))
            }
        ));
        assert!(injects(
            "inject id=3,read_nsec=1,write_nsec=2,flush_nsec=3,zone_nsec=4,\
             read_mbps=5,write_mbps=6",
            |asked| {
                *asked.nsec.of(Kind::Read) == Some(1)
                    && *asked.nsec.of(Kind::Write) == Some(2)
                    && *asked.nsec.of(Kind::Flush) == Some(3)
                    && *asked.nsec.of(Kind::Zone) == Some(4)
                    && *asked.mbps.of(Kind::Read) == Some(5)
                    && *asked.mbps.of(Kind::Write) == Some(6)
            }
        ));
        assert!(injects("inject clear,id=3", |asked| asked.clear.is_some()));
        assert!(invalid("inject id=3", "a fault: missing, inject needs it"));
        assert!(invalid("inject clear", "id: missing, inject needs it"));
        assert!(invalid(
            "inject id=3,badblocks=8-15",
            "badblocks=\"8-15\": not a number, must be + or -, the first sector, - and the last \
             one (the sectors that are bad, or not any more)",
        ));
        for wrong in [
            "+",
            "+8",
            "+8-",
            "+-8",
            "+9-8",
            "+8-9-10",
            "+8-18446744073709551616",
            "8",
        ] {
            let mut text = [0; 64];
            let parts = ["inject id=3,badblocks=", wrong];
            let mut len = 0;
            for byte in parts.iter().flat_map(|part| part.bytes()) {
                text[len] = byte;
                len += 1;
            }
            assert!(Command::parse(&text[..len]).is_err());
        }
        assert!(invalid(
            "inject id=3,badblocks_once=2",
            "badblocks_once=\"2\": must be from 0 to 1 (1 if a bad sector is bad only once)",
        ));
        assert!(Command::parse(b"add badblocks=+8-15").is_err());
        assert!(Command::parse(b"inject id=3,zones=3").is_err());
    }

    #[test]
    fn record_of_declarations() {
        let mut all = recorded_declarations(b"zone_readonly zones=3-5\n\nzone_offline zones=9\n");
        let mut next = |expected| {
            all.next()
                .and_then(Result::ok)
                .is_some_and(|declaration| says(declaration, expected))
        };
        assert!(next("zone_readonly zones=3-5"));
        assert!(next("zone_offline zones=9"));
        assert!(all.next().is_none());
        for damaged in [
            "zone_readonly",
            "zone_readonly id=0,zones=3",
            "zones=3",
            "add",
            "zone_offline zones=9\0",
        ] {
            let mut all = recorded_declarations(damaged.as_bytes());
            assert!(all.next().is_some_and(|declaration| declaration.is_err()));
        }
    }

    #[test]
    fn write_faults() {
        let fault = |text, fault| adds(text, |o| o.write_fault == fault);
        assert!(fault("add write_fault=good", None));
        assert!(fault("add write_fault=readonly", Some(Failure::ReadOnly)));
        assert!(fault("add write_fault=offline", Some(Failure::Offline)));
        assert!(invalid(
            "add write_fault=x",
            "write_fault=\"x\": must be good, readonly or offline \
             (what a zone is after a write to it has failed)",
        ));
    }

    #[test]
    fn queues() {
        let queues = |text, nr| adds(text, |o| o.nr_queues.get() == nr);
        let depth = |text, depth| adds(text, |o| o.queue_depth.get() == depth);
        assert!(queues("add nr_queues=1", 1));
        assert!(queues("add nr_queues=4294967295", u32::MAX));
        assert!(depth("add queue_depth=1", 1));
        assert!(depth("add queue_depth=10240", 10240));
        // The block layer would cut it to that as well.
        assert!(depth("add queue_depth=10241", 10240));
        assert!(depth("add queue_depth=4294967295", 10240));
        assert!(invalid(
            "add nr_queues=0",
            "nr_queues=\"0\": must be from 1 to 4294967295 (the number of queues)",
        ));
        assert!(invalid(
            "add queue_depth=0",
            "queue_depth=\"0\": must be from 1 to 4294967295 (the requests that a queue can hold)",
        ));
        assert!(invalid(
            "add queue_depth=4294967296",
            "queue_depth=\"4294967296\": must be from 1 to 4294967295 \
             (the requests that a queue can hold)",
        ));
    }

    #[test]
    fn blocks() {
        let blocks = |text, bytes| {
            asks(text, |options| {
                options.shape.block_size == BlockSize::new(bytes)
            })
        };
        assert!(blocks("add block_size=512", 512));
        assert!(blocks("add block_size=4096", 4096));
        for text in [
            "add block_size=0",
            "add block_size=256",
            "add block_size=8192",
            "add block_size=513",
        ] {
            assert!(Command::parse(text.as_bytes()).is_err());
        }
        assert!(invalid(
            "add block_size=8192",
            "block_size=\"8192\": must be a power of two from 512 to 4096 (the unit of I/O in bytes)",
        ));
        assert!(invalid(
            "add block_size=4096,zone_size=2K,capacity=1M",
            "zone_size=2K: must be a multiple of 4096 from 4K to 16G, in whole blocks",
        ));
    }

    #[test]
    fn switches() {
        assert!(adds("add rotational", |o| o.rotation == Rotation::Rotational));
        assert!(adds("add buffered_io", |o| o.io == IoMode::Buffered));
        assert!(adds("add volatile_cache", |o| o.old_data == OldData::Save));
        assert!(adds("add discard_write_cache", |o| {
            o.write_cache == WriteCache::DiscardUnflushed
        }));
        let append = |text, append| adds(text, |o| o.append == append);
        assert!(append("add zone_append=1", Append::Native));
        assert!(append("add zone_append=0", Append::Emulated));
        assert!(append("add ordered_zone_append", Append::Ordered));
        assert!(append(
            "add ordered_zone_append,zone_append=1",
            Append::Ordered
        ));
        assert!(append(
            "add ordered_zone_append,zone_append=0",
            Append::Emulated
        ));
        assert!(append("add zone_append=0,zone_append=1", Append::Native));
        assert!(invalid(
            "add zone_append=2",
            "zone_append=\"2\": must be from 0 to 1 \
             (1 for native zone append, 0 to have it emulated)",
        ));
        assert!(invalid(
            "add zone_append",
            "zone_append: has no value, must be from 0 to 1"
        ));
    }

    #[test]
    fn flags() {
        for flag in [
            "buffered_io",
            "ordered_zone_append",
            "discard_write_cache",
            "lazy_files",
            "volatile_cache",
            "rotational",
        ] {
            let same = |value: &str, other: &str| {
                let text = Text::of(core::format_args!("add {flag}{value}"));
                let other = Text::of(core::format_args!("add {other}"));
                let (Ok(text), Ok(other)) = (text, other) else {
                    return false;
                };
                let new_device = |text: &Text| match Command::parse(text.bytes()) {
                    Ok(Command::Add(options)) => options.new_device().ok(),
                    _ => None,
                };
                new_device(&text).is_some() && new_device(&text) == new_device(&other)
            };
            for on in ["=1", "=01", "=0x1"] {
                assert!(same(on, flag));
            }
            assert!(same("=0", ""));
            assert!(!same("", ""));
        }
        assert!(adds("add rotational,rotational=0", |o| {
            o.rotation == Rotation::NonRotational
        }));
        assert!(invalid(
            "add lazy_files=2",
            "lazy_files=\"2\": must be 0 or 1, or without a value \
             (make the files of sequential zones when they are first written)",
        ));
        assert!(invalid(
            "add buffered_io=yes",
            "buffered_io=\"yes\": not a number, must be 0 or 1, or without a value \
             (use the page cache)",
        ));
        assert!(invalid(
            "add buffered_io=",
            "buffered_io=\"\": not a number, must be 0 or 1, or without a value \
             (use the page cache)",
        ));
        // Not this one, which does something.
        assert!(invalid(
            "inject id=0,clear=1",
            "clear=\"1\": must be without a value",
        ));
    }

    #[test]
    fn directories() {
        let dir = |text, dir: &str| asks(text, |o| o.base_dir == dir.as_bytes());
        assert!(dir("add base_dir=/mnt\n", "/mnt"));
        assert!(dir("add base_dir=relative dir,id=0", "relative dir"));
        assert!(dir("add base_dir=a=b", "a=b"));
        assert!(dir("add base_dir==", "="));
        assert!(dir("add base_dir=/a,base_dir=/b", "/b"));
        assert!(dir("add base_dir=/\u{e9}\u{1}", "/\u{e9}\u{1}"));
        assert!(invalid(
            "add base_dir=",
            "base_dir: has no value, must be a path"
        ));
        assert!(invalid(
            "add base_dir",
            "base_dir: has no value, must be a path"
        ));
    }

    #[test]
    fn last_one_counts_but_all_must_be_valid() {
        assert!(asks("add conv_zones=99,conv_zones=2", |o| o
            .shape
            .conv_zones
            == first(2)));
        assert!(invalid(
            "add zone_append=7,zone_append=1",
            "zone_append=\"7\": must be from 0 to 1 \
             (1 for native zone append, 0 to have it emulated)",
        ));
    }

    #[test]
    fn first_mistake_is_the_one_that_is_told() {
        assert!(invalid(
            "add buffered_io=2,foo",
            "buffered_io=\"2\": must be 0 or 1, or without a value (use the page cache)"
        ));
        assert!(Command::parse(b"add foo,buffered_io=2")
            .is_err_and(|error| matches!(error, Error::UnknownOption { name: b"foo", .. })));
    }

    #[test]
    fn messages_are_one_printable_line() {
        assert!(invalid(
            "\x1b[2J\u{e9}\"\\",
            "unknown command \"\\x1b[2J\\xc3\\xa9\\\"\\\\\": must be add, remove, powerfail, zone_readonly, zone_offline, zone_good or inject",
        ));
        assert!(invalid(
            "0123456789012345678901234567890123456789012345678",
            "unknown command \"012345678901234567890123456789012345678901234567\"...: \
             must be add, remove, powerfail, zone_readonly, zone_offline, zone_good or inject",
        ));
        assert!(invalid(
            "012345678901234567890123456789012345678901234567",
            "unknown command \"012345678901234567890123456789012345678901234567\": \
             must be add, remove, powerfail, zone_readonly, zone_offline, zone_good or inject",
        ));
    }

    #[test]
    fn sizes_in_bytes() {
        let zone_size = |text, bytes| {
            asks(text, |options| {
                options.shape.zone_size == Some(Size::bytes(bytes))
            })
        };
        assert!(zone_size("add zone_size=4M", 4 << 20));
        assert!(zone_size("add zone_size=4m,conv_zones=1", 4 << 20));
        assert!(zone_size("add zone_size=0x10K", 16 << 10));
        assert!(zone_size("add zone_size=65536,capacity=1M", 65536));
        assert!(zone_size("add zone_size=512,capacity=1M", 512));
        assert!(zone_size("add zone_size_mb=4,zone_size=8M", 8 << 20));
        // A digit, not a suffix.
        assert!(asks("add capacity=0x4000000E00", |options| {
            options.shape.capacity == Some(Size::bytes(0x4000000e00))
        }));
        assert!(adds_geometry(
            "add capacity=10M,zone_size=4M,zone_capacity=3584K,conv_zones=1",
            "capacity=10M,zone_size_mb=4,zone_capacity=3584K,conv_zones=1",
        ));
        assert!(invalid(
            "add zone_size=3M",
            "zone_size=\"3M\": must be a power of two from 512 to 16G \
             (the size of a zone in bytes)",
        ));
        assert!(invalid(
            "add zone_size=256",
            "zone_size=\"256\": must be a power of two from 512 to 16G \
             (the size of a zone in bytes)",
        ));
        assert!(invalid(
            "add capacity=1000",
            "capacity=\"1000\": must be a multiple of 512 from 512 to 64P \
             (the capacity of the device in bytes)",
        ));
        for size in ["K", "4KB", "4 K", "-4K", "4KK", "0x", "0xK", "K4"] {
            let mut text = [0; 32];
            let text = {
                let head = b"add capacity=";
                let end = head.len() + size.len();
                text[..head.len()].copy_from_slice(head);
                text[head.len()..end].copy_from_slice(size.as_bytes());
                &text[..end]
            };
            assert!(Command::parse(text).is_err_and(|error| matches!(
                error,
                Error::Bad {
                    fault: Fault::NotANumber,
                    ..
                }
            )));
        }
        assert!(invalid(
            "add capacity=16E",
            "capacity=\"16E\": must be a multiple of 512 from 512 to 64P \
             (the capacity of the device in bytes)",
        ));
    }

    #[test]
    fn conventional_zones() {
        let zones = |text, expected: &str| {
            asks(text, |options| {
                options
                    .shape
                    .conv_zones
                    .is_some_and(|zones| says(zones, expected))
            })
        };
        assert!(zones("add conv_zones=0", "0"));
        assert!(zones("add conv_zones=3", "3"));
        assert!(zones("add conv_zones=0-2", "3"));
        assert!(zones("add conv_zones=0-0", "1"));
        assert!(zones("add conv_zones=3-3", "3-3"));
        assert!(zones("add conv_zones=0-3:10:20-21", "0-3:10:20-21"));
        assert!(zones("add conv_zones=1:2:3", "1-3"));
        assert!(zones("add conv_zones=0x10:0x11", "16-17"));
        let bad =
            "must be the number of the first ones, or ascending ranges as 0-3:10, at most 16 \
            (which zones are conventional)";
        for zones in ["3-1", "1:1", "1-3:2", "4:0", "0-4294967295"] {
            assert!(refuses_zones(zones, "", bad));
        }
        for zones in ["-", ":", "1:", ":1", "1-", "-1", "1-2-3", "1:x", "a-b"] {
            assert!(refuses_zones(zones, "not a number, ", bad));
        }
        assert!(refuses_zones(
            "0:2:4:6:8:10:12:14:16:18:20:22:24:26:28:30:32",
            "",
            bad
        ));
        assert!(invalid(
            "add conv_zones=62-64",
            "conv_zones=64: must be from 0 to 63, zones of the device",
        ));
    }

    /// Whether these conventional zones are refused with a message of these parts.
    fn refuses_zones(zones: &str, wrong: &str, allowed: &str) -> bool {
        let command = Text::of(core::format_args!("add conv_zones={zones}"));
        let message = Text::of(core::format_args!(
            "conv_zones=\"{zones}\": {wrong}{allowed}"
        ));
        let (Ok(command), Ok(message)) = (command, message) else {
            return false;
        };
        Command::parse(command.bytes())
            .is_err_and(|error| Text::of(error).is_ok_and(|said| said.bytes() == message.bytes()))
    }

    #[test]
    fn syntax_has_all_options_of_the_c_driver() {
        let mut rest = SYNTAX.strip_prefix("add ");
        for (nr, option) in OPTIONS.iter().enumerate().take(13) {
            let kind = match option.value {
                Value::Id(_) => "=%d",
                Value::Number(..) | Value::Size(..) | Value::Conventional(_) => "=%u",
                Value::Path(_) => "=%s",
                Value::Switch(_) => "",
                // The C driver has no such option.
                Value::Word(..) | Value::Zones(_) | Value::BadBlocks(_) | Value::Nothing(_) => {
                    break;
                }
            };
            rest = rest
                .and_then(|rest| rest.strip_prefix(if nr > 0 { "," } else { "" }))
                .and_then(|rest| rest.strip_prefix(option.name))
                .and_then(|rest| rest.strip_prefix(kind));
        }
        assert_eq!(rest, Some("\nremove id=%d\n"));
    }

    /// Marsaglia's xorshift: numbers without a pattern, the same ones from the same seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            // CAST: only the lower bits are wanted.
            (self.0 >> 11) as usize % limit
        }

        fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
            let nr = self.below(from.len());
            from.get(nr).copied().unwrap_or_default()
        }
    }

    /// What `text` is, as the rules at the top of the file say it in other words: whether its
    /// command is known, and every option's name.
    fn names_are_known(text: &[u8]) -> bool {
        let mut text = text.split(|&byte| byte == 0).next().unwrap_or_default();
        let known: &[&[u8]] = match text {
            [b'a', b'd', b'd', rest @ ..] => {
                text = rest;
                &[
                    b"id",
                    b"capacity_mb",
                    b"zone_size_mb",
                    b"zone_capacity_mb",
                    b"conv_zones",
                    b"base_dir",
                    b"nr_queues",
                    b"queue_depth",
                    b"buffered_io",
                    b"zone_append",
                    b"ordered_zone_append",
                    b"discard_write_cache",
                    b"max_open_zones",
                    b"lazy_files",
                    b"volatile_cache",
                    b"capacity",
                    b"zone_size",
                    b"zone_capacity",
                    b"block_size",
                    b"rotational",
                ]
            }
            [b'r', b'e', b'm', b'o', b'v', b'e', rest @ ..] => {
                text = rest;
                &[b"id"]
            }
            [b'p', b'o', b'w', b'e', b'r', b'f', b'a', b'i', b'l', rest @ ..] => {
                text = rest;
                &[b"id", b"seed"]
            }
            _ => return false,
        };
        let separated = matches!(text.first(), None | Some(b' ' | b',' | b'\t'..=b'\r'));
        while let [b' ' | b'\t'..=b'\r', rest @ ..] = text {
            text = rest;
        }
        separated
            && text.split(|byte| b",\n".contains(byte)).all(|item| {
                let name = item.split(|&byte| byte == b'=').next().unwrap_or_default();
                item.is_empty() || known.contains(&name)
            })
    }

    #[test]
    fn random_texts() {
        const PIECES: &[&[u8]] = &[
            b"add",
            b"remove",
            b"powerfail",
            b" ",
            b" ",
            b",",
            b",",
            b"\n",
            b"=",
            b"=",
            b"0",
            b"1",
            b"4",
            b"64",
            b"4294967295",
            b"4294967296",
            b"-",
            b"0x",
            b"f",
            b"id",
            b"id=",
            b"capacity_mb=",
            b"zone_size_mb=",
            b"zone_capacity_mb=",
            b"conv_zones=",
            b"base_dir=",
            b"nr_queues=",
            b"queue_depth=",
            b"buffered_io",
            b"zone_append=",
            b"ordered_zone_append",
            b"discard_write_cache",
            b"max_open_zones=",
            b"lazy_files",
            b"volatile_cache",
            b"seed=",
            b"capacity",
            b"_mb",
            b"\0",
            b"\xff",
            b"%",
        ];
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut accepted = 0;
        for _ in 0..20_000 {
            let mut text = [0_u8; 128];
            let mut len = 0;
            // Most texts begin as a command, or nearly all would end there.
            let begin = random.pick(&[b"add ", b"add ", b"remove ", b"powerfail ", b""]);
            for nr in 0..=random.below(10) {
                let piece = if nr == 0 { begin } else { random.pick(PIECES) };
                let end = len + piece.len();
                if let Some(room) = text.get_mut(len..end) {
                    room.copy_from_slice(piece);
                    len = end;
                }
            }
            if let Some(byte) = text.get_mut(random.below(8 * len + 1)) {
                // CAST: all values below 256 are bytes.
                *byte = random.below(256) as u8;
            }
            let text = text.get(..len).unwrap_or_default();

            match Command::parse(text) {
                Ok(command) => {
                    accepted += 1;
                    assert!(names_are_known(text));
                    if let Command::Add(options) = command {
                        if let Ok(device) = options.new_device() {
                            let geometry = device.geometry;
                            assert!(geometry.nr_zones() <= geometry::MAX_ZONES);
                            assert!(geometry.nr_seq_zones() >= 1);
                            assert!(
                                device.max_open_zones.map_or(0, NonZeroU32::get)
                                    <= geometry.nr_seq_zones()
                            );
                            assert!(device.queue_depth <= MAX_QUEUE_DEPTH);
                        }
                        assert!(!options.base_dir.is_empty());
                    }
                }
                Err(error) => {
                    let message = Text::of(&error);
                    assert!(message.is_ok_and(|message| {
                        message
                            .bytes()
                            .iter()
                            .all(|byte| matches!(byte, b' '..=b'~'))
                    }));
                }
            }
        }
        // The test would prove little if it never got to the end of a command.
        assert!(accepted > 500);
    }
}
