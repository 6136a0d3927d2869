// SPDX-License-Identifier: GPL-2.0

//! Tests of the geometry.

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_geometry))]
mod geometry {
    use super::super::*;
    use crate::{
        options::tests::says, //
        zone::declaration::ZoneSpan,
    };

    /// 2047 MiB in zones of 64 MiB: 31 zones.
    fn spec() -> GeometrySpec {
        GeometrySpec {
            capacity: mib(2047),
            zone_size: mib(64),
            zone_capacity: mib(63),
            conv_zones: first(3),
        }
    }

    fn mib(mebibytes: u32) -> Option<OptionValue> {
        Some(OptionValue::new(u64::from(mebibytes) << 20, Unit::Mebibyte))
    }

    fn bytes(bytes: u64) -> Option<OptionValue> {
        Some(OptionValue::new(bytes, Unit::Byte))
    }

    fn kib(kibibytes: u64) -> Option<OptionValue> {
        bytes(kibibytes << 10)
    }

    fn first(zones: u32) -> Option<ZoneRanges> {
        Some(ZoneRanges::first(zones))
    }

    fn ranges(ranges: &[(u32, u32)]) -> Option<ZoneRanges> {
        let mut all = ZoneRanges::default();
        for &(first, last) in ranges {
            all.push(ZoneSpan::new(first, last)?).ok()?;
        }
        Some(all)
    }

    /// Whether this spec is refused with the message `expected`.
    fn refuses(spec: GeometrySpec, expected: &str) -> bool {
        Geometry::new(&spec).is_err_and(|refused| says(refused, expected))
    }

    #[test]
    fn default_is_the_c_drivers() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&GeometrySpec::default())?;
        assert_eq!(geometry.nr_zones(), 64);
        assert_eq!(geometry.nr_conv_zones(), 8);
        assert_eq!(geometry.nr_seq_zones(), 56);
        assert_eq!(geometry.zone_sectors(), 256 << 11);
        assert_eq!(geometry.zone_capacity(63), 256 << 11);
        assert_eq!(geometry.capacity_sectors(), 16384 << 11);
        Ok(())
    }

    #[test]
    fn what_is_left_over_is_not_used() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&spec())?;
        assert_eq!(geometry.nr_zones(), 31);
        assert_eq!(geometry.capacity_sectors(), 31 * 64 * 2048);
        Ok(())
    }

    #[test]
    fn sectors_and_zones() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&spec())?;
        let len = 64 * 2048;
        assert_eq!(geometry.zone_of(0), Some(0));
        assert_eq!(geometry.zone_of(len - 1), Some(0));
        assert_eq!(geometry.zone_of(len), Some(1));
        assert_eq!(geometry.zone_of(31 * len - 1), Some(30));
        assert_eq!(geometry.zone_of(31 * len), None);
        assert_eq!(geometry.zone_of(u64::MAX), None);
        assert_eq!(geometry.zone_start(0), 0);
        assert_eq!(geometry.zone_start(30), 30 * len);
        assert_eq!(geometry.zone_start(u32::MAX), u64::from(u32::MAX) * len);
        assert_eq!(geometry.offset_in_zone(0), 0);
        assert_eq!(geometry.offset_in_zone(7 * len - 1), len - 1);
        assert_eq!(geometry.offset_in_zone(7 * len), 0);
        assert_eq!(geometry.offset_in_zone(u64::MAX), len - 1);
        assert_eq!(geometry.zone_len(0), len);
        assert_eq!(geometry.zone_len(30), len);
        assert!(geometry.is_conventional(2));
        assert!(!geometry.is_conventional(3));
        assert_eq!(geometry.zone_capacity(2), len);
        assert_eq!(geometry.zone_capacity(3), 63 * 2048);
        Ok(())
    }

    #[test]
    fn largest() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&GeometrySpec {
            capacity: mib(u32::MAX),
            zone_size: mib(16384),
            zone_capacity: None,
            conv_zones: first(262142),
        })?;
        assert_eq!(geometry.nr_zones(), 262143);
        assert_eq!(geometry.nr_seq_zones(), 1);
        assert_eq!(geometry.zone_sectors(), 1 << 25);
        assert_eq!(geometry.capacity_sectors(), 262143 << 25);
        assert_eq!(geometry.zone_of((262143 << 25) - 1), Some(262142));
        assert_eq!(geometry.zone_of(262143 << 25), None);
        Ok(())
    }

    #[test]
    fn smallest() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&GeometrySpec {
            capacity: mib(1),
            zone_size: mib(1),
            zone_capacity: mib(1),
            conv_zones: first(0),
        })?;
        assert_eq!(geometry.nr_zones(), 1);
        assert_eq!(geometry.nr_seq_zones(), 1);
        assert_eq!(geometry.capacity_sectors(), 2048);
        Ok(())
    }

    #[test]
    fn zone_size() {
        for size in [0, 3, 63, 65, 16383, 32768, u32::MAX] {
            let spec = GeometrySpec {
                zone_size: mib(size),
                ..spec()
            };
            assert!(Geometry::new(&spec).is_err_and(|conflict| matches!(
                conflict,
                OptionConflict::Number {
                    option: "zone_size",
                    ..
                }
            )));
        }
        for shift in 0..=14 {
            let spec = GeometrySpec {
                capacity: mib(1 << 16),
                zone_size: mib(1 << shift),
                zone_capacity: None,
                ..spec()
            };
            assert!(
                Geometry::new(&spec).is_ok_and(|geometry| geometry.nr_zones() == 1 << (16 - shift))
            );
        }
        assert!(refuses(
            GeometrySpec {
                zone_size: mib(48),
                ..spec()
            },
            "zone_size_mb=48: must be a power of two from 1 to 16384, so that a shift finds a zone",
        ));
    }

    #[test]
    fn capacity() {
        let of_small_zones = |capacity_mb| GeometrySpec {
            capacity: mib(capacity_mb),
            zone_size: mib(1),
            zone_capacity: None,
            conv_zones: first(0),
        };
        assert!(Geometry::new(&of_small_zones(MAX_ZONES)).is_ok());
        assert!(refuses(
            of_small_zones(MAX_ZONES + 1),
            "capacity_mb=4194305: must be from 1 to 4194304, \
             at least a zone and at most 4194304 of them",
        ));
        assert!(refuses(
            of_small_zones(0),
            "capacity_mb=0: must be from 1 to 4194304, at least a zone and at most 4194304 of them",
        ));
        assert!(Geometry::new(&of_small_zones(u32::MAX)).is_err());
        assert!(refuses(
            GeometrySpec {
                capacity: mib(63),
                ..spec()
            },
            "capacity_mb=63: must be from 64 to 268435456, \
             at least a zone and at most 4194304 of them",
        ));
    }

    #[test]
    fn zone_capacity() {
        let of_capacity = |capacity| GeometrySpec {
            zone_capacity: mib(capacity),
            ..spec()
        };
        assert!(Geometry::new(&of_capacity(1)).is_ok());
        assert!(Geometry::new(&of_capacity(64)).is_ok());
        assert!(refuses(
            of_capacity(0),
            "zone_capacity_mb=0: must be from 1 to 64, no more than the zone size",
        ));
        assert!(refuses(
            of_capacity(65),
            "zone_capacity_mb=65: must be from 1 to 64, no more than the zone size",
        ));
        assert!(Geometry::new(&of_capacity(u32::MAX)).is_err());
    }

    #[test]
    fn conventional_zones() {
        let with_conventional = |zones| GeometrySpec {
            conv_zones: first(zones),
            ..spec()
        };
        assert!(Geometry::new(&with_conventional(0)).is_ok());
        assert!(Geometry::new(&with_conventional(30)).is_ok());
        assert!(refuses(
            with_conventional(31),
            "conv_zones=31: must be from 0 to 30, fewer than the zones of the device",
        ));
        assert!(refuses(
            GeometrySpec {
                capacity: mib(127),
                ..with_conventional(u32::MAX)
            },
            "conv_zones=4294967295: must be 0, fewer than the zones of the device",
        ));
    }

    #[test]
    fn text_form() -> Result<(), OptionConflict<'static>> {
        assert!(says(
            Geometry::new(&spec())?,
            "capacity_mb=1984,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3",
        ));
        assert!(says(
            Geometry::new(&GeometrySpec::default())?,
            "capacity_mb=16384,zone_size_mb=256,zone_capacity_mb=256,conv_zones=8",
        ));
        Ok(())
    }

    #[test]
    fn few_zones() -> Result<(), OptionConflict<'static>> {
        let of_zones = |nr| {
            Geometry::new(&GeometrySpec {
                capacity: mib(nr),
                zone_size: mib(1),
                ..GeometrySpec::default()
            })
        };
        for (nr, conventional) in [(1, 0), (2, 1), (3, 1), (8, 4), (9, 8), (10, 8)] {
            assert_eq!(of_zones(nr)?.nr_conv_zones(), conventional);
            assert_eq!(of_zones(nr)?.nr_seq_zones(), nr - conventional);
        }
        Ok(())
    }

    #[test]
    fn smaller_last_zone() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&GeometrySpec {
            capacity: kib(10 * 1024 + 4),
            zone_size: mib(4),
            zone_capacity: mib(3),
            conv_zones: first(1),
        })?;
        assert_eq!(geometry.nr_zones(), 3);
        assert_eq!(geometry.zone_sectors(), 8192);
        assert_eq!(geometry.capacity_sectors(), 20488);
        assert_eq!(geometry.zone_len(1), 8192);
        assert_eq!(geometry.zone_capacity(1), 6144);
        assert_eq!(geometry.zone_len(2), 4104);
        assert_eq!(geometry.zone_capacity(2), 4104);
        assert_eq!(geometry.zone_of(20487), Some(2));
        assert_eq!(geometry.zone_of(20488), None);
        assert!(says(
            geometry,
            "capacity=10244K,zone_size_mb=4,zone_capacity_mb=3,conv_zones=1",
        ));
        // A conventional last zone has its whole length as its capacity. A sequential last zone
        // that is larger than the zone capacity has the zone capacity.
        let conventional = Geometry::new(&GeometrySpec {
            capacity: kib(15 * 1024),
            zone_size: mib(4),
            zone_capacity: mib(2),
            conv_zones: ranges(&[(0, 0), (3, 3)]),
        })?;
        assert_eq!(conventional.zone_capacity(3), 6144);
        let large = Geometry::new(&GeometrySpec {
            capacity: kib(15 * 1024),
            zone_size: mib(4),
            zone_capacity: mib(2),
            conv_zones: first(1),
        })?;
        assert_eq!(large.zone_len(3), 6144);
        assert_eq!(large.zone_capacity(3), 4096);
        assert!(says(
            large,
            "capacity=15M,zone_size_mb=4,zone_capacity_mb=2,conv_zones=1",
        ));
        Ok(())
    }

    #[test]
    fn small_zones() -> Result<(), OptionConflict<'static>> {
        let geometry = Geometry::new(&GeometrySpec {
            capacity: kib(64),
            zone_size: kib(4),
            zone_capacity: bytes(3584),
            conv_zones: first(2),
        })?;
        assert_eq!(geometry.nr_zones(), 16);
        assert_eq!(geometry.zone_sectors(), 8);
        assert_eq!(geometry.zone_capacity(2), 7);
        assert!(says(
            geometry,
            "capacity=64K,zone_size=4K,zone_capacity=3584,conv_zones=2",
        ));
        let smallest = Geometry::new(&GeometrySpec {
            capacity: bytes(512),
            zone_size: bytes(512),
            ..GeometrySpec::default()
        })?;
        assert_eq!((smallest.nr_zones(), smallest.zone_sectors()), (1, 1));
        assert!(refuses(
            GeometrySpec {
                zone_size: kib(3),
                ..spec()
            },
            "zone_size=3K: must be a power of two from 512 to 16G, so that a shift finds a zone",
        ));
        assert!(refuses(
            GeometrySpec {
                capacity: bytes(64 << 20 | 1),
                ..spec()
            },
            "capacity=67108865: must be a multiple of 512 from 64M to 256T, \
             at least a zone and at most 4194304 of them",
        ));
        assert!(refuses(
            GeometrySpec {
                zone_capacity: kib(65 * 1024),
                ..spec()
            },
            "zone_capacity=65M: must be a multiple of 512 from 512 to 64M, \
             no more than the zone size",
        ));
        Ok(())
    }

    #[test]
    fn block_sizes() -> Result<(), OptionConflict<'static>> {
        // Zones and their capacities are whole blocks.
        let of_sizes = |zone_size, zone_capacity, capacity| {
            Geometry::new(&GeometrySpec {
                capacity: bytes(capacity),
                zone_size: bytes(zone_size),
                zone_capacity: bytes(zone_capacity),
                ..spec()
            })
        };
        let refuses = |geometry: Geometry, expected| {
            let checked = geometry.check_block_size(4096);
            checked.is_err_and(|conflict| says(conflict, expected))
        };
        let fits = of_sizes(8192, 4096, 1 << 20)?;
        assert!(fits.check_block_size(4096).is_ok());
        assert!(fits.check_block_size(512).is_ok());
        assert!(refuses(
            of_sizes(2048, 2048, 1 << 20)?,
            "zone_size=2K: must be a multiple of 4096 from 4K to 16G, in whole blocks",
        ));
        assert!(refuses(
            of_sizes(8192, 6144, 1 << 20)?,
            "zone_capacity=6K: must be a multiple of 4096 from 4K to 8K, in whole blocks",
        ));
        assert!(refuses(
            of_sizes(8192, 8192, (1 << 20) + 512)?,
            "capacity=1049088: must be a multiple of 4096 from 4K to 64P, in whole blocks",
        ));
        Ok(())
    }

    #[test]
    fn conventional_zones_anywhere() -> Result<(), OptionConflict<'static>> {
        let with = |zones: &[(u32, u32)]| GeometrySpec {
            conv_zones: ranges(zones),
            ..spec()
        };
        let geometry = Geometry::new(&with(&[(1, 2), (30, 30)]))?;
        assert_eq!(geometry.nr_conv_zones(), 3);
        assert_eq!(geometry.nr_seq_zones(), 28);
        assert!(!geometry.is_conventional(0));
        assert!(geometry.is_conventional(30));
        assert_eq!(geometry.zone_index(2), ZoneIndex::Conventional(1));
        assert_eq!(geometry.zone_index(3), ZoneIndex::Sequential(1));
        assert_eq!(geometry.zone_capacity(0), 63 * 2048);
        assert_eq!(geometry.zone_capacity(1), 64 * 2048);
        assert!(says(
            geometry,
            "capacity_mb=1984,zone_size_mb=64,zone_capacity_mb=63,conv_zones=1-2:30",
        ));
        assert!(refuses(
            with(&[(1, 2), (31, 31)]),
            "conv_zones=31: must be from 0 to 30, zones of the device",
        ));
        assert!(refuses(
            with(&[(0, 30)]),
            "conv_zones=31: must be from 0 to 30, fewer than the zones of the device",
        ));
        Ok(())
    }

    #[test]
    fn differences() -> Result<(), OptionConflict<'static>> {
        let recorded = Geometry::new(&spec())?;
        let same = |asked: GeometrySpec| asked.check_unchanged(&recorded).is_ok();
        assert!(same(spec()));
        assert!(same(GeometrySpec::default()));
        // Only the zones count, not the unused rest and not the form of the options.
        assert!(same(GeometrySpec {
            capacity: mib(1984),
            ..GeometrySpec::default()
        }));
        assert!(same(GeometrySpec {
            capacity: kib(1984 << 10),
            zone_size: kib(64 << 10),
            zone_capacity: kib(63 << 10),
            conv_zones: ranges(&[(0, 2)]),
        }));

        let finds = |asked: GeometrySpec, expected| {
            let checked = asked.check_unchanged(&recorded);
            checked.is_err_and(|conflict| says(conflict, expected))
        };
        let only = GeometrySpec::default();
        assert!(finds(
            GeometrySpec {
                capacity: mib(1983),
                ..spec()
            },
            "capacity_mb=1920: must be 1984, as when the device was made",
        ));
        assert!(finds(
            GeometrySpec {
                capacity: mib(1),
                ..only
            },
            "capacity_mb=1: must be 1984, as when the device was made",
        ));
        assert!(finds(
            GeometrySpec {
                capacity: kib(2047 << 10),
                ..only
            },
            "capacity=2047M: must be 1984M, as when the device was made",
        ));
        assert!(finds(
            GeometrySpec {
                zone_size: mib(128),
                ..spec()
            },
            "zone_size_mb=128: must be 64, as when the device was made",
        ));
        assert!(finds(
            GeometrySpec {
                zone_capacity: kib(512),
                ..only
            },
            "zone_capacity=512K: must be 63M, as when the device was made",
        ));
        assert!(finds(
            GeometrySpec {
                conv_zones: first(4),
                ..spec()
            },
            "conv_zones=4: must be 3, as when the device was made",
        ));
        assert!(finds(
            GeometrySpec {
                conv_zones: ranges(&[(1, 2), (4, 4)]),
                ..only
            },
            "conv_zones=1-2:4: must be 3, as when the device was made",
        ));
        let small = Geometry::new(&GeometrySpec {
            capacity: kib(10),
            zone_size: kib(4),
            ..only
        })?;
        let asked = GeometrySpec {
            capacity: mib(1),
            ..only
        };
        assert!(asked.check_unchanged(&small).is_err_and(|conflict| says(
            conflict,
            "capacity_mb=1: must be capacity=10K, as when the device was made",
        )));
        Ok(())
    }
}
