// SPDX-License-Identifier: GPL-2.0

//! Tests of the language, and helpers for the tests of its parts.

use core::fmt::{
    self,
    Write, //
};

/// The text that a `Display` writes, without allocation. A text that is too long is an error.
pub(crate) struct Text {
    bytes: [u8; 1000],
    len: usize,
}

impl Text {
    pub(crate) fn of(value: impl fmt::Display) -> Result<Self, fmt::Error> {
        let mut text = Self {
            bytes: [0; 1000],
            len: 0,
        };
        write!(text, "{value}")?;
        Ok(text)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Write for Text {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let end = self.len.checked_add(piece.len()).ok_or(fmt::Error)?;
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(piece.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes().escape_ascii())
    }
}

/// Whether `value` is written as `expected`.
pub(crate) fn says(value: impl fmt::Display, expected: &str) -> bool {
    Text::of(value).is_ok_and(|text| text.bytes() == expected.as_bytes())
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_options))]
mod commands {
    use super::{
        super::{
            geometry::{
                GeometrySpec,
                MAX_ZONES, //
            },
            record::Overrides,
            table::{
                Tunables,
                Value,
                OPTIONS, //
            },
            value::{
                OptionConflict,
                Unit,
                ValueError,
                ZoneRanges, //
            },
            *,
        },
        says,
        Text, //
    };
    use crate::{
        fault::power_loss::PowerLoss,
        fault::{
            BadBlocks,
            BadWrite,
            Injection,
            Kind,
            Lasting,
            Sectors,
            ZoneCommand, //
        },
        zone::declaration::{
            Declaration,
            ZoneSpan, //
        },
        zone::Failure, //
    };
    use core::fmt;

    /// The options of `add` without any option.
    fn nothing() -> AddOptions<'static> {
        AddOptions {
            id: None,
            base_dir: b"/var/local/zloop",
            geometry: GeometrySpec::default(),
            overrides: Overrides::NONE,
        }
    }

    /// Reads `text`. If it is an `add` command, checks that it can make a new device.
    fn command(text: &str) -> Result<Command<'_>, Error<'_>> {
        let command = Command::parse(text.as_bytes())?;
        if let Command::Add(options) = &command {
            options.new_device().map_err(Error::Conflict)?;
        }
        Ok(command)
    }

    /// Whether `text` is an `add` command for which `check` is true.
    fn asks(text: &str, check: impl FnOnce(&AddOptions<'_>) -> bool) -> bool {
        match command(text) {
            Ok(Command::Add(options)) => check(&options),
            _ => false,
        }
    }

    /// Whether `text` is an `add` command that makes a device for which `check` is true.
    fn adds(text: &str, check: impl FnOnce(&DeviceOptions) -> bool) -> bool {
        asks(text, |options| {
            options.new_device().is_ok_and(|device| check(&device))
        })
    }

    fn first(zones: u32) -> Option<ZoneRanges> {
        Some(ZoneRanges::first(zones))
    }

    /// Whether `text` is an `add` command that gives this device number.
    fn adds_id(text: &str, id: Option<u32>) -> bool {
        asks(text, |options| options.id == id)
    }

    /// Whether `text` is an `add` command whose geometry is written as `expected`, and whose other
    /// options have their defaults.
    fn adds_geometry(text: &str, expected: &str) -> bool {
        asks(text, |options| {
            let geometry = options.geometry;
            *options
                == AddOptions {
                    geometry,
                    ..nothing()
                }
        }) && adds(text, |device| {
            device.tunables == Tunables::DEFAULT && says(device.geometry, expected)
        })
    }

    /// Whether `text` is refused with this message, and not because of a negative `id`.
    fn invalid(text: &str, message: &str) -> bool {
        command(text)
            .is_err_and(|error| !matches!(error, Error::NegativeId) && says(error, message))
    }

    /// Whether `text` removes the device with this number.
    fn removes(text: &str, id: u32) -> bool {
        Command::parse(text.as_bytes()).is_ok_and(|command| command == Command::Remove { id })
    }

    #[test]
    fn defaults() {
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
        assert!(adds("add", |o| o.tunables.queue_depth == 128));
        assert!(adds("add", |o| o.tunables.nr_queues == 1));
    }

    #[test]
    fn everything_at_once() -> Result<(), OptionConflict<'static>> {
        let text = b"add id=7,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=63,conv_zones=2,\
            max_open_zones=14,base_dir=/tmp/a b=c%s,nr_queues=4,queue_depth=32,buffered_io,\
            zone_append=1,ordered_zone_append,discard_write_cache,max_active_zones=20,lazy_files,\
            write_fault=offline,volatile_cache,block_size=512,rotational\n";
        let Ok(Command::Add(options)) = Command::parse(text) else {
            assert!(Command::parse(text).is_ok());
            return Ok(());
        };
        assert_eq!(
            (options.id, options.base_dir),
            (Some(7), &b"/tmp/a b=c%s"[..])
        );
        let mib = |mebibytes: u64| Some(OptionValue::new(mebibytes << 20, Unit::Mebibyte));
        assert_eq!(
            options.geometry,
            GeometrySpec {
                capacity: mib(2048),
                zone_size: mib(64),
                zone_capacity: mib(63),
                conv_zones: first(2),
            }
        );
        assert_eq!(
            options.new_device()?.tunables,
            Tunables {
                block_size: 512,
                nr_queues: 4,
                queue_depth: 32,
                max_open_zones: 14,
                max_active_zones: 20,
                zone_append: true,
                ordered_zone_append: true,
                buffered_io: true,
                discard_write_cache: true,
                lazy_files: true,
                volatile_cache: true,
                rotational: true,
                write_fault: Some(Failure::Offline),
            }
        );
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
        // All other white space is part of a name or a value.
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
        assert!(fails("powerfail id=0", 0, PowerLoss::All));
        assert!(fails("powerfail id=3,seed=0\n", 3, PowerLoss::Part(0)));
        assert!(fails(
            "powerfail seed=4294967295,id=3",
            3,
            PowerLoss::Part(u32::MAX)
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
        assert!(error.is_some_and(|error| matches!(error, Error::NegativeId)));
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
        assert!(error.is_some_and(|error| matches!(error, Error::NegativeId)
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
            assert!(matches!(Command::parse(&text), Err(Error::Value(..))));
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
        let limit = |text, limit| adds(text, |o| o.tunables.max_open_zones == limit);
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
                o.tunables.max_open_zones == open && o.tunables.max_active_zones == active
            })
        };
        assert!(limits("add max_active_zones=0", 0, 0));
        assert!(limits("add max_active_zones=0,max_open_zones=3", 3, 0));
        assert!(limits("add max_open_zones=14,max_active_zones=14", 14, 14));
        assert!(limits("add max_active_zones=56,max_open_zones=1", 1, 56));
        // Open zones are active.
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
            let zones = ZoneSpan::new(first, last);
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
                Command::parse(&text[..len]).is_err_and(|err| !matches!(err, Error::NegativeId));
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
            .is_err_and(|err| matches!(err, Error::NegativeId)));
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
        let fault = |text, fault| adds(text, |o| o.tunables.write_fault == fault);
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
        let queues = |text, nr| adds(text, |o| o.tunables.nr_queues == nr);
        let depth = |text, depth| adds(text, |o| o.tunables.queue_depth == depth);
        assert!(queues("add nr_queues=1", 1));
        assert!(queues("add nr_queues=4294967295", u32::MAX));
        assert!(depth("add queue_depth=1", 1));
        assert!(depth("add queue_depth=10240", 10240));
        // The block layer would reduce it to the same value.
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
        let blocks = |text, bytes| adds(text, |o| o.tunables.block_size == bytes);
        assert!(blocks("add block_size=512", 512));
        assert!(blocks("add block_size=4096", 4096));
        for text in [
            "add block_size=0",
            "add block_size=1",
            "add block_size=256",
            "add block_size=513",
            "add block_size=1536",
            "add block_size=8192",
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
        assert!(adds("add rotational", |o| o.tunables.rotational));
        assert!(adds("add buffered_io", |o| o.tunables.buffered_io));
        assert!(adds("add volatile_cache", |o| o.tunables.volatile_cache));
        assert!(adds("add discard_write_cache", |o| {
            o.tunables.discard_write_cache
        }));
        let append = |text, append| {
            adds(text, |o| {
                (o.tunables.zone_append, o.tunables.ordered_zone_append) == append
            })
        };
        let (emulated, native, ordered) = ((false, false), (true, false), (true, true));
        assert!(append("add zone_append=1", native));
        assert!(append("add zone_append=0", emulated));
        assert!(append("add ordered_zone_append", ordered));
        assert!(append("add ordered_zone_append,zone_append=1", ordered));
        assert!(append("add ordered_zone_append,zone_append=0", emulated));
        assert!(append("add zone_append=0,zone_append=1", native));
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
            !o.tunables.rotational
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
        // `clear` is not a flag. It takes no value.
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
            .geometry
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
                options.geometry.zone_size == Some(OptionValue::new(bytes, Unit::Byte))
            })
        };
        assert!(zone_size("add zone_size=4M", 4 << 20));
        assert!(zone_size("add zone_size=4m,conv_zones=1", 4 << 20));
        assert!(zone_size("add zone_size=0x10K", 16 << 10));
        assert!(zone_size("add zone_size=65536,capacity=1M", 65536));
        assert!(zone_size("add zone_size=512,capacity=1M", 512));
        assert!(zone_size("add zone_size_mb=4,zone_size=8M", 8 << 20));
        // The `E` is a hexadecimal digit, not a suffix.
        assert!(asks("add capacity=0x4000000E00", |options| {
            options.geometry.capacity == Some(OptionValue::new(0x4000000e00, Unit::Byte))
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
            assert!(Command::parse(text)
                .is_err_and(|error| matches!(error, Error::Value(_, _, ValueError::NotANumber))));
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
                    .geometry
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

    /// Whether these conventional zones are refused with a message that has these parts.
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
                Value::Id => "=%d",
                Value::Number(..) | Value::Bit(_) | Value::Size(..) | Value::ConvZones => "=%u",
                Value::BaseDir => "=%s",
                Value::Flag(_) => "",
                // The C driver does not have this option.
                _ => break,
            };
            rest = rest
                .and_then(|rest| rest.strip_prefix(if nr > 0 { "," } else { "" }))
                .and_then(|rest| rest.strip_prefix(option.name))
                .and_then(|rest| rest.strip_prefix(kind));
        }
        assert_eq!(rest, Some("\nremove id=%d\n"));
    }

    /// Marsaglia's xorshift: pseudorandom numbers, reproducible from the seed.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            // CAST: Only the lower bits are needed.
            (self.0 >> 11) as usize % limit
        }

        fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
            let nr = self.below(from.len());
            from.get(nr).copied().unwrap_or_default()
        }
    }

    /// Whether `text` has a known command and only known option names. This is a second
    /// implementation of the rules in `options.rs`.
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
            // Most texts begin with a command. Otherwise the parser would refuse nearly all of them
            // at their first word.
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
                // CAST: The value is below 256.
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
                            assert!(geometry.nr_zones() <= MAX_ZONES);
                            assert!(geometry.nr_seq_zones() >= 1);
                            let tunables = device.tunables;
                            assert!(tunables.max_open_zones <= geometry.nr_seq_zones());
                            assert!((1..=10240).contains(&tunables.queue_depth));
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
        // The test proves something only if the parser accepts many texts.
        assert!(accepted > 500);
    }
}
