// SPDX-License-Identifier: GPL-2.0

//! The geometry of a device: how many zones it has, how long they are, how much of each can be
//! written, and which of them are conventional.
//!
//! A device is a row of zones of equal length, a power of two of sectors, so that the zone of a
//! sector is a shift and its place in the zone is a mask; only the last one may be shorter. Zones
//! may be *conventional*, most often the first ones: any of their sectors can be written at any
//! time. All others are *sequential*: they are written from their start on, up to a capacity that
//! may be less than their length; the sectors between capacity and end have addresses but hold
//! nothing.
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
//! the meaning of the zone files. Only the unit of I/O, which is kept with it, moves nothing and
//! can. It is asked for as a [`Shape`], in the numbers of the `add` command, and is a [`Geometry`]
//! once it has been found valid. It is kept beside the zone files in the text form that
//! [`Display`](fmt::Display) gives, and [`Shape::difference`] finds what a later `add` would
//! change.
//!
//! Sectors are of 512 bytes here as everywhere in the block layer, and are `u64`. These are the
//! block layer's rules (`blk_revalidate_disk_zones()` in `block/blk-zoned.c`): the length is a
//! power of two, and only the last zone may be shorter; all sequential zones but the last have the
//! same capacity; there is a sequential zone.

use core::fmt;

use crate::{
    size::{
        Allowed,
        Refused,
        Size,
        SizeName,
        Step,
        Unit, //
    },
    zone_ranges::{
        Place,
        Row,
        ZoneRanges, //
    },
};

/// Names of the options for [`Shape::capacity`].
pub(crate) static CAPACITY: SizeName = SizeName {
    mebibytes: "capacity_mb",
    bytes: "capacity",
};
/// Names of the options for [`Shape::zone_size`].
pub(crate) static ZONE_SIZE: SizeName = SizeName {
    mebibytes: "zone_size_mb",
    bytes: "zone_size",
};
/// Names of the options for [`Shape::zone_capacity`].
pub(crate) static ZONE_CAPACITY: SizeName = SizeName {
    mebibytes: "zone_capacity_mb",
    bytes: "zone_capacity",
};
/// Name of the option for [`Shape::block_size`].
pub(crate) const BLOCK_SIZE: &str = "block_size";
/// Name of the option for [`Shape::conv_zones`].
pub(crate) const CONV_ZONES: &str = "conv_zones";

/// Binary logarithm of the size of a sector in bytes.
const SECTOR_SHIFT: u32 = 9;
/// The size of a sector in bytes.
const SECTOR: u64 = 1 << SECTOR_SHIFT;

/// The smallest zone in bytes: a sector. Blocks may be larger, and then zones must be.
pub(crate) const MIN_ZONE_SIZE: u64 = SECTOR;
/// The largest zone in bytes, 16 GiB: the C driver's limit.
pub(crate) const MAX_ZONE_SIZE: u64 = 16 << 30;

/// The largest number of zones of a device.
///
/// The block layer keeps one byte for each zone in a single `kmalloc()`, which can't be larger
/// than 4 MiB (`disk_revalidate_zone_resources()` in `block/blk-zoned.c`): a device with more
/// zones would fail at the very end of `add`.
pub(crate) const MAX_ZONES: u32 = 1 << 22;
/// The largest capacity of a device in bytes.
// CAST: to more bits.
pub(crate) const MAX_CAPACITY: u64 = MAX_ZONE_SIZE * MAX_ZONES as u64;

/// The zones and sizes of the C driver: 64 zones of 256 MiB, the first 8 of them conventional.
const DEFAULT_CAPACITY: Size = Size::mebibytes(16384);
const DEFAULT_ZONE_SIZE: Size = Size::mebibytes(256);
const DEFAULT_CONV_ZONES: u32 = 8;

/// A geometry as it is asked for: what an `add` command says of it, not yet checked.
///
/// What is not said is as it was when the device was made. For a new device it is the C driver's
/// default, but for a device of so few zones that they would all be conventional: half of them are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Capacity of the device. If it is given in MiB, what is left over after the last whole zone
    /// is not used, as in the C driver; if in bytes, it is a smaller last zone.
    pub(crate) capacity: Option<Size>,
    /// Length of a zone.
    pub(crate) zone_size: Option<Size>,
    /// Capacity of a sequential zone; the zone size by default.
    pub(crate) zone_capacity: Option<Size>,
    /// The conventional zones.
    pub(crate) conv_zones: Option<ZoneRanges>,
    /// The unit of I/O in bytes; that of the zone files by default.
    pub(crate) block_size: Option<BlockSize>,
}

/// The unit of I/O in bytes: a power of two from a sector to [`BlockSize::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSize(u32);

impl BlockSize {
    pub(crate) const MIN: u32 = 1 << SECTOR_SHIFT;
    /// A page, wherever the kernel runs.
    pub(crate) const MAX: u32 = 4096;

    /// A block of so many bytes, unless there is none.
    pub(crate) fn new(bytes: u32) -> Option<Self> {
        let fits = bytes.is_power_of_two() && (Self::MIN..=Self::MAX).contains(&bytes);
        fits.then_some(Self(bytes))
    }

    /// The size in bytes.
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl Shape {
    /// What in this shape is not as it was `recorded` when the device was made, or `None` if
    /// nothing is.
    ///
    /// The zone size comes first and the capacity last, because the others follow from a changed
    /// zone size.
    pub(crate) fn difference<'a>(&'a self, recorded: &'a Geometry) -> Option<Mismatch<'a>> {
        let seq_capacity = recorded.seq_capacity << SECTOR_SHIFT;
        let rounded = |size| whole_zones(size, recorded.zone_bytes());
        let zones = self.conv_zones.as_ref();
        let zones = zones.filter(|&asked| *asked != recorded.conventional);
        let zones = zones.map(|asked| Mismatch {
            asked: Figure::Zones(asked),
            recorded: Figure::Zones(&recorded.conventional),
        });
        Mismatch::of_size(&ZONE_SIZE, self.zone_size, recorded.zone_bytes())
            .or_else(|| Mismatch::of_size(&ZONE_CAPACITY, self.zone_capacity, seq_capacity))
            .or(zones)
            .or_else(|| {
                let capacity = self.capacity.map(rounded);
                Mismatch::of_size(&CAPACITY, capacity, recorded.capacity_bytes())
            })
    }
}

/// A capacity without what is not used after the last whole zone.
fn whole_zones(capacity: Size, zone_bytes: u64) -> Size {
    match capacity.unit() {
        Unit::Byte => capacity,
        Unit::Mebibyte => {
            let left_over = capacity.get().checked_rem(zone_bytes).unwrap_or_default();
            // OVERFLOW: A remainder is no more than the whole.
            let whole = Size::of(capacity.get() - left_over);
            // Nothing is left of what is less than a zone: then it can be told as it was given.
            if whole.get() == 0 {
                capacity
            } else {
                whole
            }
        }
    }
}

/// The geometry of a device, known to be valid.
///
/// # Invariants
///
/// - `zone_shift` is at most 25: zones have from 1 sector to 16 GiB.
/// - `capacity` is at least a zone and at most [`MAX_ZONES`] of them.
/// - `seq_capacity` is not 0, and at most the length of a zone.
/// - `conventional` has zones of the device only, and not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Binary logarithm of the length of a zone in sectors.
    zone_shift: u32,
    /// Capacity of a sequential zone in sectors.
    seq_capacity: u64,
    /// Capacity of the device in sectors.
    capacity: u64,
    conventional: ZoneRanges,
    /// The unit of I/O, if it is not that of the zone files.
    block_size: Option<BlockSize>,
}

impl Geometry {
    /// Makes a geometry of the given shape.
    ///
    /// # Errors
    ///
    /// Names the first number that breaks a rule: the zone size must be a power of two, the
    /// capacity must be at least one zone and at most [`MAX_ZONES`] of them, the zone capacity must
    /// not be 0 nor exceed the zone size, and there must be a sequential zone, because the block
    /// layer knows no zoned device without one.
    pub(crate) fn new(shape: Shape) -> Result<Self, Refused> {
        let zone_size = shape.zone_size.unwrap_or(DEFAULT_ZONE_SIZE);
        Refused::unless_size(
            ZONE_SIZE,
            zone_size,
            (MIN_ZONE_SIZE, MAX_ZONE_SIZE, Step::PowerOfTwo),
            "so that a shift finds a zone",
        )?;
        let zone_bytes = zone_size.get();
        // OVERFLOW: It is a power of two that is at least a sector.
        let zone_shift = zone_bytes.trailing_zeros() - SECTOR_SHIFT;

        let capacity = shape.capacity.unwrap_or(DEFAULT_CAPACITY);
        Refused::unless_size(
            CAPACITY,
            capacity,
            (
                zone_bytes,
                zone_bytes.saturating_mul(u64::from(MAX_ZONES)),
                Step::Multiple(SECTOR),
            ),
            "at least a zone and at most 4194304 of them",
        )?;
        let capacity = whole_zones(capacity, zone_bytes).get();
        // CAST: At most `MAX_ZONES`, as was checked.
        let nr_zones = capacity.div_ceil(zone_bytes) as u32;

        let zone_capacity = shape.zone_capacity.unwrap_or(zone_size);
        Refused::unless_size(
            ZONE_CAPACITY,
            zone_capacity,
            (SECTOR, zone_bytes, Step::Multiple(SECTOR)),
            "no more than the zone size",
        )?;

        let conventional = shape.conv_zones.unwrap_or_else(|| {
            ZoneRanges::first(if nr_zones > DEFAULT_CONV_ZONES {
                DEFAULT_CONV_ZONES
            } else {
                nr_zones / 2
            })
        });
        let fewer = Allowed::Range {
            min: 0,
            // OVERFLOW: the capacity is at least one zone.
            max: u64::from(nr_zones - 1),
        };
        Refused::unless(
            CONV_ZONES,
            conventional.nr_zones(),
            fewer,
            "fewer than the zones of the device",
        )?;
        Refused::unless(
            CONV_ZONES,
            conventional.end().saturating_sub(1),
            fewer,
            "zones of the device",
        )?;

        // INVARIANT: each of the rules above is one of the invariants.
        let geometry = Self {
            zone_shift,
            seq_capacity: zone_capacity.get() >> SECTOR_SHIFT,
            capacity: capacity >> SECTOR_SHIFT,
            conventional,
            block_size: shape.block_size,
        };
        if let Some(block_size) = shape.block_size {
            geometry.check_block_size(block_size.get())?;
        }
        Ok(geometry)
    }

    /// This geometry with this unit of I/O, or that of the zone files.
    pub(crate) fn with_block_size(self, block_size: Option<BlockSize>) -> Self {
        Self { block_size, ..self }
    }

    /// The unit of I/O, if it was chosen.
    pub(crate) fn block_size(&self) -> Option<BlockSize> {
        self.block_size
    }

    /// Whether a device with blocks of so many bytes can have this geometry.
    ///
    /// # Errors
    ///
    /// The first size that is not a multiple of the block size.
    pub(crate) fn check_block_size(&self, block_size: u32) -> Result<(), Refused> {
        let block_size = u64::from(block_size);
        let sizes = [
            (ZONE_SIZE, self.zone_bytes(), MAX_ZONE_SIZE),
            (
                ZONE_CAPACITY,
                self.seq_capacity << SECTOR_SHIFT,
                self.zone_bytes(),
            ),
            (CAPACITY, self.capacity_bytes(), MAX_CAPACITY),
        ];
        for (name, bytes, max) in sizes {
            Refused::unless_size(
                name,
                Size::bytes(bytes),
                (block_size, max, Step::Multiple(block_size)),
                "in whole blocks",
            )?;
        }
        Ok(())
    }

    /// Number of zones, from 1 to [`MAX_ZONES`].
    pub(crate) fn nr_zones(&self) -> u32 {
        // CAST: By the type's invariant it is at most `MAX_ZONES`.
        self.capacity.div_ceil(self.zone_sectors()) as u32
    }

    /// Number of conventional zones; fewer than there are zones.
    pub(crate) fn nr_conv_zones(&self) -> u32 {
        self.conventional.nr_zones()
    }

    /// Number of sequential zones; at least one.
    pub(crate) fn nr_seq_zones(&self) -> u32 {
        // OVERFLOW: by the type's invariant there are fewer conventional zones than zones.
        self.nr_zones() - self.nr_conv_zones()
    }

    /// Capacity of the device in sectors: the end of its last zone.
    pub(crate) fn capacity_sectors(&self) -> u64 {
        self.capacity
    }

    /// Length of a zone in sectors, a power of two: the distance from one zone to the next, and
    /// the block layer's `chunk_sectors`.
    pub(crate) fn zone_sectors(&self) -> u64 {
        1 << self.zone_shift
    }

    /// The zone that `sector` lies in, or `None` if it lies past the end of the device.
    pub(crate) fn zone_of(&self, sector: u64) -> Option<u32> {
        if sector >= self.capacity {
            return None;
        }
        u32::try_from(sector >> self.zone_shift).ok()
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
    pub(crate) fn zone_len(&self, zone: u32) -> u64 {
        let rest = self.capacity.saturating_sub(self.zone_start(zone));
        rest.min(self.zone_sectors())
    }

    /// Capacity of `zone` in sectors: how many of its addresses can be written. At most
    /// [`zone_len`](Self::zone_len), and equal to it for a conventional zone.
    pub(crate) fn zone_capacity(&self, zone: u32) -> u64 {
        let len = self.zone_len(zone);
        match self.place(zone) {
            Place::Inside(_) => len,
            Place::Outside(_) => self.seq_zone_capacity(len),
        }
    }

    /// Capacity of a sequential zone of this length, both in sectors.
    pub(crate) fn seq_zone_capacity(&self, len: u64) -> u64 {
        len.min(self.seq_capacity)
    }

    /// Whether `zone` is conventional.
    pub(crate) fn is_conventional(&self, zone: u32) -> bool {
        matches!(self.place(zone), Place::Inside(_))
    }

    /// The place of `zone` among the zones of its kind: inside of the ranges are the conventional
    /// ones.
    #[inline]
    pub(crate) fn place(&self, zone: u32) -> Place {
        self.conventional.place(zone)
    }

    /// The zones from `zone` on that are of its kind; the last row ends behind the device.
    pub(crate) fn row(&self, zone: u32) -> Row {
        self.conventional.row(zone)
    }

    fn zone_bytes(&self) -> u64 {
        self.zone_sectors() << SECTOR_SHIFT
    }

    fn capacity_bytes(&self) -> u64 {
        self.capacity << SECTOR_SHIFT
    }
}

/// Writes the options of an `add` command that give this geometry: all four of them, so that the
/// text doesn't depend on defaults, in MiB where that is possible, and without a line end. The
/// block size follows if it was chosen.
/// [`DeviceOptions::parse`](crate::option_record::DeviceOptions::parse) reads it back.
impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A capacity in MiB would be rounded down.
        let capacity = if self.capacity % self.zone_sectors() == 0 {
            Size::of(self.capacity_bytes())
        } else {
            Size::bytes(self.capacity_bytes())
        };
        let capacity = Figure::Size(&CAPACITY, capacity);
        let zone_size = Figure::Size(&ZONE_SIZE, Size::of(self.zone_bytes()));
        let seq_capacity = Size::of(self.seq_capacity << SECTOR_SHIFT);
        let zone_capacity = Figure::Size(&ZONE_CAPACITY, seq_capacity);
        let conv_zones = Figure::Zones(&self.conventional);
        write!(f, "{capacity},{zone_size},{zone_capacity},{conv_zones}")?;
        match self.block_size {
            None => Ok(()),
            Some(block_size) => write!(f, ",{}", Figure::Block(block_size)),
        }
    }
}

/// An option and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure<'a> {
    Size(&'static SizeName, Size),
    Zones(&'a ZoneRanges),
    Block(BlockSize),
}

impl Figure<'_> {
    fn option(&self) -> &'static str {
        match self {
            Self::Size(name, size) => size.option(**name),
            Self::Zones(_) => CONV_ZONES,
            Self::Block(_) => BLOCK_SIZE,
        }
    }

    fn fmt_value(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(_, size) => write!(f, "{}", size.quantity()),
            Self::Zones(zones) => write!(f, "{zones}"),
            Self::Block(block_size) => write!(f, "{}", block_size.get()),
        }
    }
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.option())?;
        self.fmt_value(f)
    }
}

/// An option whose value is not the one that the device was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch<'a> {
    asked: Figure<'a>,
    recorded: Figure<'a>,
}

impl Mismatch<'_> {
    /// What there is to say of a size that was `asked` for if it is not so many bytes.
    fn of_size(name: &'static SizeName, asked: Option<Size>, recorded: u64) -> Option<Self> {
        let asked = asked.filter(|asked| asked.get() != recorded)?;
        let recorded = match asked.unit() {
            Unit::Byte => Size::bytes(recorded),
            Unit::Mebibyte => Size::of(recorded),
        };
        Some(Self {
            asked: Figure::Size(name, asked),
            recorded: Figure::Size(name, recorded),
        })
    }
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, recorded } = self;
        write!(f, "{asked}: must be ")?;
        if asked.option() == recorded.option() {
            recorded.fmt_value(f)?;
        } else {
            recorded.fmt(f)?;
        }
        f.write_str(", as when the device was made")
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
    fn shape() -> Shape {
        Shape {
            capacity: mib(2047),
            zone_size: mib(64),
            zone_capacity: mib(63),
            conv_zones: first(3),
            block_size: None,
        }
    }

    pub(crate) fn mib(mebibytes: u32) -> Option<Size> {
        Some(Size::mebibytes(mebibytes))
    }

    fn kib(kibibytes: u64) -> Option<Size> {
        Some(Size::bytes(kibibytes << 10))
    }

    pub(crate) fn first(zones: u32) -> Option<ZoneRanges> {
        Some(ZoneRanges::first(zones))
    }

    fn ranges(ranges: &[(u32, u32)]) -> Option<ZoneRanges> {
        let mut all = ZoneRanges::default();
        for &(first, last) in ranges {
            all.push(first, last).ok()?;
        }
        Some(all)
    }

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
        let geometry = Geometry::new(shape())?;
        assert_eq!(geometry.nr_zones(), 31);
        assert_eq!(geometry.capacity_sectors(), 31 * 64 * 2048);
        Ok(())
    }

    #[test]
    fn sectors_and_zones() -> Result<(), Refused> {
        let geometry = Geometry::new(shape())?;
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
            capacity: mib(u32::MAX),
            zone_size: mib(16384),
            zone_capacity: None,
            conv_zones: first(262142),
            block_size: None,
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
            capacity: mib(1),
            zone_size: mib(1),
            zone_capacity: mib(1),
            conv_zones: first(0),
            block_size: None,
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
                zone_size: mib(size),
                ..shape()
            };
            assert!(Geometry::new(shape).is_err_and(|refused| refused.option == "zone_size_mb"));
        }
        for shift in 0..=14 {
            let shape = Shape {
                capacity: mib(1 << 16),
                zone_size: mib(1 << shift),
                zone_capacity: None,
                ..shape()
            };
            assert!(
                Geometry::new(shape).is_ok_and(|geometry| geometry.nr_zones() == 1 << (16 - shift))
            );
        }
        assert!(refuses(
            Shape {
                zone_size: mib(48),
                ..shape()
            },
            "zone_size_mb=48: must be a power of two from 1 to 16384, so that a shift finds a zone",
        ));
    }

    #[test]
    fn capacity() {
        let of_small_zones = |capacity_mb| Shape {
            capacity: mib(capacity_mb),
            zone_size: mib(1),
            zone_capacity: None,
            conv_zones: first(0),
            block_size: None,
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
                capacity: mib(63),
                ..shape()
            },
            "capacity_mb=63: must be from 64 to 268435456, \
             at least a zone and at most 4194304 of them",
        ));
    }

    #[test]
    fn zone_capacity() {
        let of_capacity = |capacity| Shape {
            zone_capacity: mib(capacity),
            ..shape()
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
            conv_zones: first(zones),
            ..shape()
        };
        assert!(Geometry::new(with_conventional(0)).is_ok());
        assert!(Geometry::new(with_conventional(30)).is_ok());
        assert!(refuses(
            with_conventional(31),
            "conv_zones=31: must be from 0 to 30, fewer than the zones of the device",
        ));
        assert!(refuses(
            Shape {
                capacity: mib(127),
                ..with_conventional(u32::MAX)
            },
            "conv_zones=4294967295: must be 0, fewer than the zones of the device",
        ));
    }

    #[test]
    fn text_form() -> Result<(), Refused> {
        assert!(says(
            Geometry::new(shape())?,
            "capacity_mb=1984,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3",
        ));
        assert!(says(
            Geometry::new(Shape::default())?,
            "capacity_mb=16384,zone_size_mb=256,zone_capacity_mb=256,conv_zones=8",
        ));
        Ok(())
    }

    #[test]
    fn few_zones() -> Result<(), Refused> {
        let of_zones = |nr| {
            Geometry::new(Shape {
                capacity: mib(nr),
                zone_size: mib(1),
                ..Shape::default()
            })
        };
        for (nr, conventional) in [(1, 0), (2, 1), (3, 1), (8, 4), (9, 8), (10, 8)] {
            assert_eq!(of_zones(nr)?.nr_conv_zones(), conventional);
            assert_eq!(of_zones(nr)?.nr_seq_zones(), nr - conventional);
        }
        Ok(())
    }

    #[test]
    fn smaller_last_zone() -> Result<(), Refused> {
        let geometry = Geometry::new(Shape {
            capacity: kib(10 * 1024 + 4),
            zone_size: mib(4),
            zone_capacity: mib(3),
            conv_zones: first(1),
            block_size: None,
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
        // A conventional one is written to its end, and a large one not further than others.
        let conventional = Geometry::new(Shape {
            capacity: kib(15 * 1024),
            zone_size: mib(4),
            zone_capacity: mib(2),
            conv_zones: ranges(&[(0, 0), (3, 3)]),
            block_size: None,
        })?;
        assert_eq!(conventional.zone_capacity(3), 6144);
        let large = Geometry::new(Shape {
            capacity: kib(15 * 1024),
            zone_size: mib(4),
            zone_capacity: mib(2),
            conv_zones: first(1),
            block_size: None,
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
    fn small_zones() -> Result<(), Refused> {
        let geometry = Geometry::new(Shape {
            capacity: kib(64),
            zone_size: kib(4),
            zone_capacity: Some(Size::bytes(3584)),
            conv_zones: first(2),
            block_size: None,
        })?;
        assert_eq!(geometry.nr_zones(), 16);
        assert_eq!(geometry.zone_sectors(), 8);
        assert_eq!(geometry.zone_capacity(2), 7);
        assert!(says(
            geometry,
            "capacity=64K,zone_size=4K,zone_capacity=3584,conv_zones=2",
        ));
        let smallest = Geometry::new(Shape {
            capacity: Some(Size::bytes(512)),
            zone_size: Some(Size::bytes(512)),
            ..Shape::default()
        })?;
        assert_eq!((smallest.nr_zones(), smallest.zone_sectors()), (1, 1));
        assert!(refuses(
            Shape {
                zone_size: kib(3),
                ..shape()
            },
            "zone_size=3K: must be a power of two from 512 to 16G, so that a shift finds a zone",
        ));
        assert!(refuses(
            Shape {
                capacity: Some(Size::bytes(64 << 20 | 1)),
                ..shape()
            },
            "capacity=67108865: must be a multiple of 512 from 64M to 256T, \
             at least a zone and at most 4194304 of them",
        ));
        assert!(refuses(
            Shape {
                zone_capacity: kib(65 * 1024),
                ..shape()
            },
            "zone_capacity=65M: must be a multiple of 512 from 512 to 64M, \
             no more than the zone size",
        ));
        Ok(())
    }

    #[test]
    fn block_sizes() -> Result<(), Refused> {
        for bytes in [0, 1, 256, 513, 1536, 8192] {
            assert_eq!(BlockSize::new(bytes), None);
        }
        let with = |bytes| Shape {
            block_size: BlockSize::new(bytes),
            ..shape()
        };
        let small = Geometry::new(with(512))?;
        assert_eq!(small.block_size().map(BlockSize::get), Some(512));
        assert!(says(
            small,
            "capacity_mb=1984,zone_size_mb=64,zone_capacity_mb=63,conv_zones=3,block_size=512",
        ));
        // Zones and their capacities are whole blocks.
        let large = |zone_size, zone_capacity, capacity| Shape {
            capacity: Some(Size::bytes(capacity)),
            zone_size: Some(Size::bytes(zone_size)),
            zone_capacity: Some(Size::bytes(zone_capacity)),
            ..with(4096)
        };
        assert!(Geometry::new(large(8192, 4096, 1 << 20)).is_ok());
        assert!(refuses(
            large(2048, 2048, 1 << 20),
            "zone_size=2K: must be a multiple of 4096 from 4K to 16G, in whole blocks",
        ));
        assert!(refuses(
            large(8192, 6144, 1 << 20),
            "zone_capacity=6K: must be a multiple of 4096 from 4K to 8K, in whole blocks",
        ));
        assert!(refuses(
            large(8192, 8192, (1 << 20) + 512),
            "capacity=1049088: must be a multiple of 4096 from 4K to 64P, in whole blocks",
        ));
        // It moves nothing, so it may be another each time.
        let unsaid = Geometry::new(shape())?;
        assert_eq!(with(512).difference(&unsaid), None);
        assert_eq!(with(1024).difference(&small), None);
        assert_eq!(unsaid.with_block_size(BlockSize::new(512)), small);
        assert_eq!(small.with_block_size(None), unsaid);
        Ok(())
    }

    #[test]
    fn conventional_zones_anywhere() -> Result<(), Refused> {
        let with = |zones: &[(u32, u32)]| Shape {
            conv_zones: ranges(zones),
            ..shape()
        };
        let geometry = Geometry::new(with(&[(1, 2), (30, 30)]))?;
        assert_eq!(geometry.nr_conv_zones(), 3);
        assert_eq!(geometry.nr_seq_zones(), 28);
        assert!(!geometry.is_conventional(0));
        assert!(geometry.is_conventional(30));
        assert_eq!(geometry.place(2), Place::Inside(1));
        assert_eq!(geometry.place(3), Place::Outside(1));
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
    fn differences() -> Result<(), Refused> {
        let recorded = Geometry::new(shape())?;
        assert_eq!(shape().difference(&recorded), None);
        assert_eq!(Shape::default().difference(&recorded), None);
        let same = |asked: Shape| asked.difference(&recorded).is_none();
        // It is the zones that count, not what is left over, nor how they are told.
        assert!(same(Shape {
            capacity: mib(1984),
            ..Shape::default()
        }));
        assert!(same(Shape {
            capacity: kib(1984 << 10),
            zone_size: kib(64 << 10),
            zone_capacity: kib(63 << 10),
            conv_zones: ranges(&[(0, 2)]),
            block_size: None,
        }));

        let finds = |asked: Shape, expected| {
            asked
                .difference(&recorded)
                .is_some_and(|mismatch| says(mismatch, expected))
        };
        let only = Shape::default();
        assert!(finds(
            Shape {
                capacity: mib(1983),
                ..shape()
            },
            "capacity_mb=1920: must be 1984, as when the device was made",
        ));
        assert!(finds(
            Shape {
                capacity: mib(1),
                ..only
            },
            "capacity_mb=1: must be 1984, as when the device was made",
        ));
        assert!(finds(
            Shape {
                capacity: kib(2047 << 10),
                ..only
            },
            "capacity=2047M: must be 1984M, as when the device was made",
        ));
        assert!(finds(
            Shape {
                zone_size: mib(128),
                ..shape()
            },
            "zone_size_mb=128: must be 64, as when the device was made",
        ));
        assert!(finds(
            Shape {
                zone_capacity: kib(512),
                ..only
            },
            "zone_capacity=512K: must be 63M, as when the device was made",
        ));
        assert!(finds(
            Shape {
                conv_zones: first(4),
                ..shape()
            },
            "conv_zones=4: must be 3, as when the device was made",
        ));
        assert!(finds(
            Shape {
                conv_zones: ranges(&[(1, 2), (4, 4)]),
                ..only
            },
            "conv_zones=1-2:4: must be 3, as when the device was made",
        ));
        let small = Geometry::new(Shape {
            capacity: kib(10),
            zone_size: kib(4),
            ..only
        })?;
        let asked = Shape {
            capacity: mib(1),
            ..only
        };
        assert!(asked.difference(&small).is_some_and(|mismatch| says(
            mismatch,
            "capacity_mb=1: must be capacity=10K, as when the device was made",
        )));
        Ok(())
    }
}
