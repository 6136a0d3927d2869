// SPDX-License-Identifier: GPL-2.0

//! The geometry of a device: how many zones it has, how long they are, how much of each can be
//! written, and which of them are conventional.
//!
//! A device is a row of zones of equal length, a power of two of sectors, so that the zone of a
//! sector is a shift and its place in the zone is a mask. The first zones may be *conventional*:
//! any of their sectors can be written at any time. All others are *sequential*: they are written
//! from their start on, up to a capacity that may be less than their length; the sectors between
//! capacity and end have addresses but hold nothing.
//!
//! ```text
//!  sector 0         zone_start(1)                     capacity_sectors()
//!  |                |                                 |
//!  +----------------+----------+-----+----------+-----+
//!  |  conventional  | written  | gap | written  | gap |
//!  +----------------+----------+-----+----------+-----+
//!  |  zone_len(0)   | zone_capacity(1)
//! ```
//!
//! The geometry is what can't change in the life of a device: addresses depend on it, and so does
//! the meaning of the zone files. It is asked for as a [`Shape`], in the numbers of the `add`
//! command, and is a [`Geometry`] once it has been found valid. It is kept beside the zone files
//! in the text form that [`Display`](fmt::Display) gives, and [`Geometry::difference`] finds what
//! a later `add` would change.
//!
//! Sectors are of 512 bytes here as everywhere in the block layer, and are `u64`.

use core::fmt;

/// Name of the option for [`Shape::capacity_mb`].
pub(crate) const CAPACITY: &str = "capacity_mb";
/// Name of the option for [`Shape::zone_size_mb`].
pub(crate) const ZONE_SIZE: &str = "zone_size_mb";
/// Name of the option for [`Shape::zone_capacity_mb`].
pub(crate) const ZONE_CAPACITY: &str = "zone_capacity_mb";
/// Name of the option for [`Shape::conv_zones`].
pub(crate) const CONV_ZONES: &str = "conv_zones";

/// The zone sizes that a device can have, in MiB. The upper end is the C driver's.
pub(crate) const ZONE_SIZES_MB: Allowed = Allowed::PowerOfTwo { min: 1, max: 16384 };

/// The largest number of zones of a device.
///
/// The block layer keeps one byte for each zone in a single `kmalloc()`, which can't be larger
/// than 4 MiB (`disk_revalidate_zone_resources()` in `block/blk-zoned.c`): a device with more
/// zones would fail at the very end of `add`.
pub(crate) const MAX_ZONES: u32 = 1 << 22;

/// Binary logarithm of the number of sectors in one MiB.
const MIB_SHIFT: u32 = 11;

/// The numbers that an option accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// All numbers from `min` to `max`, both included.
    Range { min: u32, max: u32 },
    /// All powers of two from `min` to `max`, both included.
    PowerOfTwo { min: u32, max: u32 },
}

impl Allowed {
    /// Whether `number` is one of them.
    pub(crate) fn contains(self, number: u32) -> bool {
        match self {
            Self::Range { min, max } => (min..=max).contains(&number),
            Self::PowerOfTwo { min, max } => {
                (min..=max).contains(&number) && number.is_power_of_two()
            }
        }
    }
}

/// Writes what follows "must be" in a message.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { min, max } if min == max => write!(f, "{min}"),
            Self::Range { min, max } => write!(f, "from {min} to {max}"),
            Self::PowerOfTwo { min, max } => write!(f, "a power of two from {min} to {max}"),
        }
    }
}

/// A number that can't be, given the other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Name of the option whose value is refused.
    pub(crate) option: &'static str,
    /// The value, in the option's unit.
    pub(crate) given: u32,
    /// The values that the other options leave.
    pub(crate) allowed: Allowed,
    /// The rule behind `allowed`, for the message.
    pub(crate) rule: &'static str,
}

impl Refused {
    /// Gives `Ok` if `allowed` contains `given`, and what there is to say about it if not.
    pub(crate) fn unless(
        option: &'static str,
        given: u32,
        allowed: Allowed,
        rule: &'static str,
    ) -> Result<(), Self> {
        if allowed.contains(given) {
            return Ok(());
        }
        Err(Self {
            option,
            given,
            allowed,
            rule,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            option,
            given,
            allowed,
            rule,
        } = self;
        write!(f, "{option}={given}: must be {allowed}, {rule}")
    }
}

/// A geometry as it is asked for: the numbers of the `add` command, not yet checked.
///
/// The default is the C driver's: 64 zones of 256 MiB, the first 8 of them conventional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Capacity of the device in MiB; what is left over after the last whole zone is not used.
    pub(crate) capacity_mb: u32,
    /// Length of a zone in MiB.
    pub(crate) zone_size_mb: u32,
    /// Capacity of a sequential zone in MiB; `None` is the zone size.
    pub(crate) zone_capacity_mb: Option<u32>,
    /// Number of conventional zones, which are the first ones.
    pub(crate) conv_zones: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            capacity_mb: 16384,
            zone_size_mb: 256,
            zone_capacity_mb: None,
            conv_zones: 8,
        }
    }
}

/// The geometry of a device, known to be valid.
///
/// # Invariants
///
/// - `zone_shift` is at least [`MIB_SHIFT`] and at most `MIB_SHIFT` + 14.
/// - `nr_zones` is from 1 to [`MAX_ZONES`], and `nr_conv_zones` is less than it.
/// - `seq_capacity` is a whole number of MiB, not 0, and at most the length of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Binary logarithm of the length of a zone in sectors.
    zone_shift: u32,
    /// Capacity of a sequential zone in sectors.
    seq_capacity: u64,
    nr_zones: u32,
    nr_conv_zones: u32,
}

impl Geometry {
    /// Makes a geometry of the given shape.
    ///
    /// # Errors
    ///
    /// Names the first number that breaks a rule: the zone size must be one of
    /// [`ZONE_SIZES_MB`], the capacity must be at least one zone and at most [`MAX_ZONES`] of
    /// them, the zone capacity must not be 0 nor exceed the zone size, and there must be a
    /// sequential zone, because the block layer knows no zoned device without one.
    pub(crate) fn new(shape: Shape) -> Result<Self, Refused> {
        let size = shape.zone_size_mb;
        Refused::unless(
            ZONE_SIZE,
            size,
            ZONE_SIZES_MB,
            "so that a shift finds a zone",
        )?;
        // OVERFLOW: a power of two up to 16384 has at most 14 trailing zeros.
        let size_shift = size.trailing_zeros();

        Refused::unless(
            CAPACITY,
            shape.capacity_mb,
            Allowed::Range {
                min: size,
                max: size.saturating_mul(MAX_ZONES),
            },
            "at least a zone and at most 4194304 of them",
        )?;
        let nr_zones = shape.capacity_mb >> size_shift;

        let seq_capacity_mb = shape.zone_capacity_mb.unwrap_or(size);
        Refused::unless(
            ZONE_CAPACITY,
            seq_capacity_mb,
            Allowed::Range { min: 1, max: size },
            "no more than the zone size",
        )?;

        Refused::unless(
            CONV_ZONES,
            shape.conv_zones,
            Allowed::Range {
                min: 0,
                // OVERFLOW: the capacity is at least one zone.
                max: nr_zones - 1,
            },
            "fewer than the zones of the device",
        )?;

        // INVARIANT: each of the rules above is one of the invariants.
        Ok(Self {
            zone_shift: MIB_SHIFT + size_shift,
            seq_capacity: u64::from(seq_capacity_mb) << MIB_SHIFT,
            nr_zones,
            nr_conv_zones: shape.conv_zones,
        })
    }

    /// Number of zones, from 1 to [`MAX_ZONES`].
    pub(crate) fn nr_zones(&self) -> u32 {
        self.nr_zones
    }

    /// Number of conventional zones; fewer than there are zones.
    pub(crate) fn nr_conv_zones(&self) -> u32 {
        self.nr_conv_zones
    }

    /// Number of sequential zones; at least one.
    pub(crate) fn nr_seq_zones(&self) -> u32 {
        // OVERFLOW: by the type's invariant there are fewer conventional zones than zones.
        self.nr_zones - self.nr_conv_zones
    }

    /// Capacity of the device in sectors: the end of its last zone.
    pub(crate) fn capacity_sectors(&self) -> u64 {
        self.zone_start(self.nr_zones)
    }

    /// Length of a zone in sectors, a power of two: the distance from one zone to the next, and
    /// the block layer's `chunk_sectors`.
    pub(crate) fn zone_sectors(&self) -> u64 {
        1 << self.zone_shift
    }

    /// The zone that `sector` lies in, or `None` if it lies past the end of the device.
    pub(crate) fn zone_of(&self, sector: u64) -> Option<u32> {
        let zone = u32::try_from(sector >> self.zone_shift).ok()?;
        (zone < self.nr_zones).then_some(zone)
    }

    /// First sector of `zone`.
    ///
    /// Zones past the last one get the sector that they would start at.
    pub(crate) fn zone_start(&self, zone: u32) -> u64 {
        // OVERFLOW: 32 bits, shifted by at most 25.
        u64::from(zone) << self.zone_shift
    }

    /// Distance of `sector` from the start of its zone, in sectors.
    pub(crate) fn offset_in_zone(&self, sector: u64) -> u64 {
        // OVERFLOW: the length of a zone is not 0.
        sector & (self.zone_sectors() - 1)
    }

    /// Length of `zone` in sectors: how many addresses it has.
    pub(crate) fn zone_len(&self, _zone: u32) -> u64 {
        // Here is where a smaller last zone would be known.
        self.zone_sectors()
    }

    /// Capacity of `zone` in sectors: how many of its addresses can be written. At most
    /// [`zone_len`](Self::zone_len), and equal to it for a conventional zone.
    pub(crate) fn zone_capacity(&self, zone: u32) -> u64 {
        if self.is_conventional(zone) {
            self.zone_len(zone)
        } else {
            self.seq_capacity
        }
    }

    /// Whether `zone` is conventional.
    pub(crate) fn is_conventional(&self, zone: u32) -> bool {
        zone < self.nr_conv_zones
    }

    /// What in this geometry is not as `recorded` when the device was made, or `None` if nothing
    /// is.
    ///
    /// The zone size comes first and the capacity last, because the others follow from a changed
    /// zone size: the zone capacity by its default, the capacity by rounding.
    pub(crate) fn difference(&self, recorded: &Geometry) -> Option<Mismatch> {
        self.figures()
            .into_iter()
            .zip(recorded.figures())
            .find(|(asked, recorded)| asked != recorded)
            .map(|(asked, recorded)| Mismatch { asked, recorded })
    }

    /// The options that make this geometry, in the order of [`difference`](Self::difference).
    fn figures(&self) -> [Figure; 4] {
        let mib = |sectors: u64| sectors >> MIB_SHIFT;
        [
            Figure(ZONE_SIZE, mib(self.zone_sectors())),
            Figure(ZONE_CAPACITY, mib(self.seq_capacity)),
            Figure(CONV_ZONES, u64::from(self.nr_conv_zones)),
            Figure(CAPACITY, mib(self.capacity_sectors())),
        ]
    }
}

/// Writes the options of an `add` command that give this geometry: all four of them, so that the
/// text doesn't depend on defaults, in MiB, and without a line end.
/// [`recorded_geometry`](crate::options::recorded_geometry) reads it back.
impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [zone_size, zone_capacity, conv_zones, capacity] = self.figures();
        write!(f, "{capacity},{zone_size},{zone_capacity},{conv_zones}")
    }
}

/// An option and its value, in the option's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figure(&'static str, u64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(option, value) = self;
        write!(f, "{option}={value}")
    }
}

/// An option whose value is not the one that the device was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    asked: Figure,
    recorded: Figure,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, recorded } = self;
        write!(
            f,
            "{asked}: must be {}, as when the device was made",
            recorded.1
        )
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_geometry))]
pub(crate) mod tests {
    use super::*;
    use core::fmt::Write;

    /// What a `Display` writes, without allocation; what is too long is an error.
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

    /// 2047 MiB in zones of 64 MiB: 31 zones.
    const SHAPE: Shape = Shape {
        capacity_mb: 2047,
        zone_size_mb: 64,
        zone_capacity_mb: Some(63),
        conv_zones: 3,
    };

    /// What is said of a shape that can't be.
    fn refuses(shape: Shape, expected: &str) -> bool {
        Geometry::new(shape).is_err_and(|refused| says(refused, expected))
    }

    #[test]
    fn default_is_the_c_drivers() -> Result<(), Refused> {
        let geometry = Geometry::new(Shape::default())?;
        assert_eq!(geometry.nr_zones(), 64);
        assert_eq!(geometry.nr_conv_zones(), 8);
        assert_eq!(geometry.nr_seq_zones(), 56);
        assert_eq!(geometry.zone_sectors(), 256 << 11);
        assert_eq!(geometry.zone_capacity(63), 256 << 11);
        assert_eq!(geometry.capacity_sectors(), 16384 << 11);
        Ok(())
    }

    #[test]
    fn what_is_left_over_is_not_used() -> Result<(), Refused> {
        let geometry = Geometry::new(SHAPE)?;
        assert_eq!(geometry.nr_zones(), 31);
        assert_eq!(geometry.capacity_sectors(), 31 * 64 * 2048);
        Ok(())
    }

    #[test]
    fn sectors_and_zones() -> Result<(), Refused> {
        let geometry = Geometry::new(SHAPE)?;
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
    fn largest() -> Result<(), Refused> {
        let geometry = Geometry::new(Shape {
            capacity_mb: u32::MAX,
            zone_size_mb: 16384,
            zone_capacity_mb: None,
            conv_zones: 262142,
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
    fn smallest() -> Result<(), Refused> {
        let geometry = Geometry::new(Shape {
            capacity_mb: 1,
            zone_size_mb: 1,
            zone_capacity_mb: Some(1),
            conv_zones: 0,
        })?;
        assert_eq!(geometry.nr_zones(), 1);
        assert_eq!(geometry.nr_seq_zones(), 1);
        assert_eq!(geometry.capacity_sectors(), 2048);
        Ok(())
    }

    #[test]
    fn zone_size() {
        for size in [0, 3, 63, 65, 16383, 32768, u32::MAX] {
            let shape = Shape {
                zone_size_mb: size,
                ..SHAPE
            };
            assert!(Geometry::new(shape).is_err_and(|refused| refused.option == ZONE_SIZE));
        }
        for shift in 0..=14 {
            let shape = Shape {
                capacity_mb: 1 << 16,
                zone_size_mb: 1 << shift,
                zone_capacity_mb: None,
                ..SHAPE
            };
            assert!(
                Geometry::new(shape).is_ok_and(|geometry| geometry.nr_zones() == 1 << (16 - shift))
            );
        }
        assert!(refuses(
            Shape {
                zone_size_mb: 48,
                ..SHAPE
            },
            "zone_size_mb=48: must be a power of two from 1 to 16384, so that a shift finds a zone",
        ));
    }

    #[test]
    fn capacity() {
        let of_small_zones = |capacity_mb| Shape {
            capacity_mb,
            zone_size_mb: 1,
            zone_capacity_mb: None,
            conv_zones: 0,
        };
        assert!(Geometry::new(of_small_zones(MAX_ZONES)).is_ok());
        assert!(refuses(
            of_small_zones(MAX_ZONES + 1),
            "capacity_mb=4194305: must be from 1 to 4194304, \
             at least a zone and at most 4194304 of them",
        ));
        assert!(refuses(
            of_small_zones(0),
            "capacity_mb=0: must be from 1 to 4194304, at least a zone and at most 4194304 of them",
        ));
        assert!(Geometry::new(of_small_zones(u32::MAX)).is_err());
        assert!(refuses(
            Shape {
                capacity_mb: 63,
                ..SHAPE
            },
            "capacity_mb=63: must be from 64 to 268435456, \
             at least a zone and at most 4194304 of them",
        ));
    }

    #[test]
    fn zone_capacity() {
        let of_capacity = |capacity| Shape {
            zone_capacity_mb: Some(capacity),
            ..SHAPE
        };
        assert!(Geometry::new(of_capacity(1)).is_ok());
        assert!(Geometry::new(of_capacity(64)).is_ok());
        assert!(refuses(
            of_capacity(0),
            "zone_capacity_mb=0: must be from 1 to 64, no more than the zone size",
        ));
        assert!(refuses(
            of_capacity(65),
            "zone_capacity_mb=65: must be from 1 to 64, no more than the zone size",
        ));
        assert!(Geometry::new(of_capacity(u32::MAX)).is_err());
    }

    #[test]
    fn conventional_zones() {
        let with_conventional = |zones| Shape {
            conv_zones: zones,
            ..SHAPE
        };
        assert!(Geometry::new(with_conventional(0)).is_ok());
        assert!(Geometry::new(with_conventional(30)).is_ok());
        assert!(refuses(
            with_conventional(31),
            "conv_zones=31: must be from 0 to 30, fewer than the zones of the device",
        ));
        assert!(refuses(
            Shape {
                capacity_mb: 127,
                ..with_conventional(u32::MAX)
            },
            "conv_zones=4294967295: must be 0, fewer than the zones of the device",
        ));
    }

    #[test]
    fn text_form() -> Result<(), Refused> {
        assert!(says(
            Geometry::new(SHAPE)?,
            "capacity_mb=1984,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3",
        ));
        assert!(says(
            Geometry::new(Shape::default())?,
            "capacity_mb=16384,zone_size_mb=256,zone_capacity_mb=256,conv_zones=8",
        ));
        Ok(())
    }

    #[test]
    fn differences() -> Result<(), Refused> {
        let recorded = Geometry::new(SHAPE)?;
        assert_eq!(recorded.difference(&recorded), None);
        // It is the zones that count, not what is left over.
        let rounded = Geometry::new(Shape {
            capacity_mb: 1984,
            ..SHAPE
        })?;
        assert_eq!(rounded.difference(&recorded), None);

        let finds = |shape, expected| {
            Geometry::new(shape).is_ok_and(|asked| {
                asked
                    .difference(&recorded)
                    .is_some_and(|mismatch| says(mismatch, expected))
            })
        };
        assert!(finds(
            Shape {
                capacity_mb: 1983,
                ..SHAPE
            },
            "capacity_mb=1920: must be 1984, as when the device was made",
        ));
        assert!(finds(
            Shape {
                zone_size_mb: 128,
                ..SHAPE
            },
            "zone_size_mb=128: must be 64, as when the device was made",
        ));
        assert!(finds(
            Shape {
                zone_capacity_mb: None,
                ..SHAPE
            },
            "zone_capacity_mb=64: must be 63, as when the device was made",
        ));
        assert!(finds(
            Shape {
                conv_zones: 4,
                ..SHAPE
            },
            "conv_zones=4: must be 3, as when the device was made",
        ));
        Ok(())
    }
}
