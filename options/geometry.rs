// SPDX-License-Identifier: GPL-2.0

//! The geometry of a device: the number, the length and the capacity of its zones, and the
//! conventional zones.
//!
//! A device consists of zones of equal length, a power of two of sectors. So a shift gives the zone
//! of a sector, and a mask gives its offset in the zone. Only the last zone may be shorter. Some
//! zones may be *conventional*, usually the first ones. Any sector of a conventional zone can be
//! written at any time. All other zones are *sequential*. They are written from their start, up to
//! a capacity that may be less than their length. The sectors between the capacity and the end have
//! addresses but no data.
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
//! The geometry can't change during the life of a device, because the addresses and the meaning of
//! the zone files depend on it. An `add` command has a [`GeometrySpec`]. If it is valid, it gives a
//! [`Geometry`]. [`Display`](fmt::Display) writes the text that is recorded beside the zone files.
//! [`GeometrySpec::check_unchanged`] finds a later `add` that would change the geometry.
//!
//! Sectors have 512 bytes, as everywhere in the block layer, and are `u64`. The rules are those of
//! the block layer (`blk_revalidate_disk_zones()` in `block/blk-zoned.c`): the length of a zone is
//! a power of two, and only the last zone may be shorter. All sequential zones but the last have
//! the same capacity. There is at least one sequential zone.

use super::value::{
    Allowed,
    OptionConflict,
    OptionValue,
    Step,
    Unit,
    ZoneIndex,
    ZoneRanges,
    ZoneRun,
    SECTOR,
    UNCHANGED, //
};
use core::fmt;

/// Binary logarithm of the size of a sector in bytes.
const SECTOR_SHIFT: u32 = SECTOR.trailing_zeros();

/// The largest zone in bytes, 16 GiB: the C driver's limit.
pub(crate) const MAX_ZONE_SIZE: u64 = 16 << 30;

/// The largest number of zones of a device.
///
/// The block layer keeps one byte for each zone in a single `kmalloc()`, which can't be larger than
/// 4 MiB (`disk_revalidate_zone_resources()` in `block/blk-zoned.c`). With more zones, an `add`
/// would fail only at its very end.
pub(crate) const MAX_ZONES: u32 = 1 << 22;
/// The largest capacity of a device in bytes.
// CAST: To more bits.
pub(crate) const MAX_CAPACITY: u64 = MAX_ZONE_SIZE * MAX_ZONES as u64;

/// The zones and sizes of the C driver: 64 zones of 256 MiB, the first 8 of them conventional.
const DEFAULT_CAPACITY: OptionValue = OptionValue::new(16384 << 20, Unit::Mebibyte);
const DEFAULT_ZONE_SIZE: OptionValue = OptionValue::new(256 << 20, Unit::Mebibyte);
const DEFAULT_CONV_ZONES: u32 = 8;

/// The zone sizes that an option takes. [`Geometry::check_block_size`] checks that a zone is not
/// smaller than a block.
pub(crate) const fn zone_sizes(unit: Unit) -> Allowed {
    Allowed::new(unit, SECTOR, MAX_ZONE_SIZE, Step::PowerOfTwo)
}

/// Sizes in whole sectors.
pub(crate) const fn sizes(unit: Unit, min: u64, max: u64) -> Allowed {
    Allowed::new(unit, min, max, Step::Multiple(SECTOR))
}

/// The geometry that an `add` command asks for, not yet checked.
///
/// A size that is not given is that of the existing device. A new device gets the C driver's
/// defaults. If the default number of conventional zones would leave no sequential zone, half of
/// the zones are conventional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GeometrySpec {
    /// Capacity of the device. If it is given in MiB, the rest after the last whole zone is not
    /// used, as in the C driver. If it is given in bytes, the rest is a smaller last zone.
    pub(crate) capacity: Option<OptionValue>,
    /// Length of a zone.
    pub(crate) zone_size: Option<OptionValue>,
    /// Capacity of a sequential zone; the zone size by default.
    pub(crate) zone_capacity: Option<OptionValue>,
    /// The conventional zones.
    pub(crate) conv_zones: Option<ZoneRanges>,
}

impl GeometrySpec {
    /// Checks that this spec describes the `recorded` geometry.
    ///
    /// # Errors
    ///
    /// The first option that differs. The zone size is checked first, because the other sizes
    /// depend on it. The capacity is checked last.
    pub(crate) fn check_unchanged<'a>(
        &'a self,
        recorded: &'a Geometry,
    ) -> Result<(), OptionConflict<'a>> {
        let [zone_size, zone_capacity, capacity] = recorded.sizes();
        check_size(zone_size, self.zone_size)?;
        check_size(zone_capacity, self.zone_capacity)?;
        match &self.conv_zones {
            Some(asked) if *asked != recorded.conv_zones => {
                return Err(OptionConflict::ConvZones(asked, &recorded.conv_zones));
            }
            _ => {}
        }
        let rounded = |capacity| whole_zones(capacity, zone_size.1);
        check_size(capacity, self.capacity.map(rounded))
    }
}

/// Checks that a size that is given is the recorded one.
fn check_size(
    (option, recorded): (&'static str, u64),
    given: Option<OptionValue>,
) -> Result<(), OptionConflict<'static>> {
    let Some(given) = given else {
        return Ok(());
    };
    let unit = match given.unit {
        Unit::Mebibyte => OptionValue::size(recorded).unit,
        unit => unit,
    };
    let allowed = Allowed::new(unit, recorded, recorded, Step::Multiple(1));
    allowed.check(option, given, UNCHANGED, None)
}

/// The used part of a capacity: if it is given in MiB, the whole zones.
fn whole_zones(capacity: OptionValue, zone_bytes: u64) -> OptionValue {
    match capacity.value.checked_rem(zone_bytes) {
        // A capacity below one zone is an error. The message must have the value that was given.
        Some(rest) if capacity.unit == Unit::Mebibyte && rest < capacity.value => {
            OptionValue::new(capacity.value - rest, capacity.unit)
        }
        _ => capacity,
    }
}

/// The geometry of a device, known to be valid.
///
/// # Invariants
///
/// - `zone_shift` is at most 25: a zone has from 1 sector to 16 GiB.
/// - `capacity` is at least one zone and at most [`MAX_ZONES`] zones.
/// - `seq_capacity` is not 0, and is at most the length of a zone.
/// - `conv_zones` has only zones of the device, and not all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Binary logarithm of the length of a zone in sectors.
    zone_shift: u32,
    /// Capacity of a sequential zone in sectors.
    seq_capacity: u64,
    /// Capacity of the device in sectors.
    capacity: u64,
    conv_zones: ZoneRanges,
}

impl Geometry {
    /// Makes a geometry.
    ///
    /// # Errors
    ///
    /// The first number that breaks a rule. The zone size must be a power of two. The capacity must
    /// be at least one zone and at most [`MAX_ZONES`] zones. The zone capacity must not be 0 and
    /// must not exceed the zone size. There must be a sequential zone, because the block layer
    /// needs one in a zoned device.
    pub(crate) fn new(spec: &GeometrySpec) -> Result<Self, OptionConflict<'static>> {
        let zone_size = spec.zone_size.unwrap_or(DEFAULT_ZONE_SIZE);
        let (zone_bytes, rule) = (zone_size.value, "so that a shift finds a zone");
        zone_sizes(zone_size.unit).check("zone_size", zone_size, rule, None)?;

        let capacity = spec.capacity.unwrap_or(DEFAULT_CAPACITY);
        let origin = spec.capacity.map_or(Some("the default"), |_| None);
        let rule = "at least a zone and at most 4194304 of them";
        // OVERFLOW: At most `MAX_CAPACITY`.
        let allowed = sizes(capacity.unit, zone_bytes, zone_bytes * u64::from(MAX_ZONES));
        allowed.check("capacity", capacity, rule, origin)?;
        let capacity = whole_zones(capacity, zone_bytes).value;
        // CAST: At most `MAX_ZONES`, as was checked.
        let nr_zones = capacity.div_ceil(zone_bytes) as u32;

        let zone_capacity = spec.zone_capacity.unwrap_or(zone_size);
        let allowed = sizes(zone_capacity.unit, SECTOR, zone_bytes);
        let rule = "no more than the zone size";
        allowed.check("zone_capacity", zone_capacity, rule, None)?;

        let conv_zones = spec.conv_zones.unwrap_or_else(|| match nr_zones {
            0..=DEFAULT_CONV_ZONES => ZoneRanges::first(nr_zones / 2),
            _ => ZoneRanges::first(DEFAULT_CONV_ZONES),
        });
        // OVERFLOW: The capacity is at least one zone.
        let allowed = Allowed::numbers(0, nr_zones - 1);
        let number = OptionValue::number(conv_zones.nr_zones());
        let rule = "fewer than the zones of the device";
        allowed.check("conv_zones", number, rule, None)?;
        let last = OptionValue::number(conv_zones.end().saturating_sub(1));
        allowed.check("conv_zones", last, "zones of the device", None)?;

        // INVARIANT: Each of the rules above is one of the invariants.
        Ok(Self {
            // OVERFLOW: A zone is at least a sector.
            zone_shift: zone_bytes.trailing_zeros() - SECTOR_SHIFT,
            seq_capacity: zone_capacity.value >> SECTOR_SHIFT,
            capacity: capacity >> SECTOR_SHIFT,
            conv_zones,
        })
    }

    /// Checks that a device with blocks of `block_size` bytes can have this geometry.
    ///
    /// # Errors
    ///
    /// The first size that is not a multiple of the block size.
    pub(crate) fn check_block_size(&self, block_size: u32) -> Result<(), OptionConflict<'static>> {
        let block_size = u64::from(block_size);
        let (step, rule) = (Step::Multiple(block_size), "in whole blocks");
        let sizes = self.sizes();
        let limits = [MAX_ZONE_SIZE, sizes[0].1, MAX_CAPACITY];
        for ((option, bytes), max) in sizes.into_iter().zip(limits) {
            let size = OptionValue::new(bytes, Unit::Byte);
            Allowed::new(size.unit, block_size, max, step).check(option, size, rule, None)?;
        }
        Ok(())
    }

    /// Number of zones, from 1 to [`MAX_ZONES`].
    pub(crate) fn nr_zones(&self) -> u32 {
        // CAST: By the type's invariant it is at most `MAX_ZONES`.
        self.capacity.div_ceil(self.zone_sectors()) as u32
    }

    /// Number of conventional zones, less than [`Self::nr_zones`].
    pub(crate) fn nr_conv_zones(&self) -> u32 {
        self.conv_zones.nr_zones()
    }

    /// Number of sequential zones; at least one.
    pub(crate) fn nr_seq_zones(&self) -> u32 {
        // OVERFLOW: By the type's invariant not all zones are conventional.
        self.nr_zones() - self.nr_conv_zones()
    }

    /// Capacity of the device in sectors: the end of its last zone.
    pub(crate) fn capacity_sectors(&self) -> u64 {
        self.capacity
    }

    /// Length of a zone in sectors, a power of two. It is the distance between the starts of two
    /// zones, and the block layer's `chunk_sectors`.
    pub(crate) fn zone_sectors(&self) -> u64 {
        1 << self.zone_shift
    }

    /// The zone of `sector`; `None` if `sector` is past the end of the device.
    pub(crate) fn zone_of(&self, sector: u64) -> Option<u32> {
        if sector >= self.capacity {
            return None;
        }
        u32::try_from(sector >> self.zone_shift).ok()
    }

    /// First sector of `zone`.
    ///
    /// For a zone past the last one, this is the sector at which it would start.
    pub(crate) fn zone_start(&self, zone: u32) -> u64 {
        // OVERFLOW: A number of 32 bits, shifted by at most 25.
        u64::from(zone) << self.zone_shift
    }

    /// Distance of `sector` from the start of its zone, in sectors.
    pub(crate) fn offset_in_zone(&self, sector: u64) -> u64 {
        // OVERFLOW: The length of a zone is not 0.
        sector & (self.zone_sectors() - 1)
    }

    /// Length of `zone` in sectors: the number of its addresses.
    pub(crate) fn zone_len(&self, zone: u32) -> u64 {
        let rest = self.capacity.saturating_sub(self.zone_start(zone));
        rest.min(self.zone_sectors())
    }

    /// Capacity of `zone` in sectors: the number of addresses that can be written. It is at most
    /// [`zone_len`](Self::zone_len), and equal to it for a conventional zone.
    pub(crate) fn zone_capacity(&self, zone: u32) -> u64 {
        let len = self.zone_len(zone);
        if self.is_conventional(zone) {
            len
        } else {
            self.seq_zone_capacity(len)
        }
    }

    /// Capacity of a sequential zone of this length, both in sectors.
    pub(crate) fn seq_zone_capacity(&self, len: u64) -> u64 {
        len.min(self.seq_capacity)
    }

    /// Whether `zone` is conventional.
    pub(crate) fn is_conventional(&self, zone: u32) -> bool {
        matches!(self.zone_index(zone), ZoneIndex::Conventional(_))
    }

    /// The position of `zone` among the zones of its kind.
    #[inline]
    pub(crate) fn zone_index(&self, zone: u32) -> ZoneIndex {
        self.conv_zones.index(zone)
    }

    /// The run of zones from `zone` on that have the same kind. The last run ends past the device.
    pub(crate) fn zone_run(&self, zone: u32) -> ZoneRun {
        self.conv_zones.run(zone)
    }

    /// The sizes in bytes, with the names of their options.
    fn sizes(&self) -> [(&'static str, u64); 3] {
        // OVERFLOW: By the type invariants no size is more than `MAX_CAPACITY`.
        [
            ("zone_size", self.zone_sectors() * SECTOR),
            ("zone_capacity", self.seq_capacity * SECTOR),
            ("capacity", self.capacity * SECTOR),
        ]
    }
}

/// Writes the options of an `add` command for this geometry, without a line end. It writes all four
/// options, so that the text does not depend on defaults. Sizes are in MiB if that is possible.
impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [zone_size, zone_capacity, capacity] = self.sizes();
        for (option, bytes) in [capacity, zone_size, zone_capacity] {
            let size = match bytes % zone_size.1 {
                // A capacity in MiB would be rounded down.
                1.. if option == "capacity" => OptionValue::new(bytes, Unit::Byte),
                _ => OptionValue::size(bytes),
            };
            write!(f, "{option}{}={size},", size.unit.suffix())?;
        }
        write!(f, "conv_zones={}", self.conv_zones)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod tests;
