// SPDX-License-Identifier: GPL-2.0

//! Tests of the record of a device.

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_option_record))]
mod record {
    use super::super::*;
    use crate::options::{
        tests::{
            says,
            Text, //
        },
        Command, //
    };

    const GEOMETRY: &str = "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3";

    /// A record in which all options differ from their defaults.
    const ALL: &str = "capacity_mb=1024,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3,\
         block_size=512,nr_queues=4,queue_depth=32,max_open_zones=5,max_active_zones=7,\
         ordered_zone_append,buffered_io,discard_write_cache,lazy_files,volatile_cache,rotational,\
         write_fault=offline";

    /// The new record after an `add` with `options`, or its error message. The device has the
    /// record `recorded`; it is new if this is empty.
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

    /// Whether the result of [`text_of_add`] is `expected`.
    fn makes(recorded: &str, options: &str, expected: &str) -> bool {
        text_of_add(recorded, options).is_ok_and(|text| text.bytes() == expected.as_bytes())
    }

    /// Whether an `add` with `options` changes the record from [`GEOMETRY`] with `recorded` to
    /// [`GEOMETRY`] with `expected`.
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
    fn record() -> Result<(), OptionConflict<'static>> {
        let commands = [
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
        for text in commands {
            let command = Command::parse(text.as_bytes());
            assert!(command.is_ok());
            let Ok(Command::Add(options)) = command else {
                return Ok(());
            };
            for lazy_files in [false, true] {
                let mut device = options.new_device()?;
                device.tunables.lazy_files = lazy_files;
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
        // Equal limits are recorded once.
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
        // The other options do not change.
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
        // The block size is not part of the geometry.
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
        // All active zones may be open.
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
            let Ok(again) = Text::of(AddCommand { id, options }) else {
                return false;
            };
            // Reading it gives the same device, even if other options are recorded.
            let same = match Command::parse(again.bytes()) {
                Ok(Command::Add(read)) => {
                    let mut recorded = device;
                    recorded.tunables.rotational = true;
                    recorded.tunables.nr_queues = u32::MAX;
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
