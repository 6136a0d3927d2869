// SPDX-License-Identifier: GPL-2.0

//! Reading and writing the values of options: numbers, sizes, device numbers and zones.
//!
//! A size has two options. The option whose name ends in `_mb` counts MiB. It is the C driver's.
//! The other option counts bytes and takes a suffix, as the kernel's `memparse()` does: `64K`,
//! `4M`, `16G`. Both are stored in bytes. A message writes a size in the unit that was given.
//!
//! The conventional zones of a device may be anywhere between the sequential ones. [`ZoneRanges`]
//! stores them as a few ranges in ascending order. The ranges are not adjacent, so each set of
//! zones has only one text:
//!
//! ```text
//!   0-3:10:20-21     the zones 0, 1, 2, 3, 10, 20 and 21
//!   4                the first four zones, as in the C driver: the same as 0-3
//!   4-4              zone 4
//! ```

use crate::{
    fault::{
        BadBlocks,
        Sectors, //
    },
    zone::declaration::ZoneSpan, //
};
use core::fmt;

/// The size of a sector in bytes.
pub(crate) const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// The suffixes of a size in bytes, each 1024 times the one before it.
const SUFFIXES: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];
/// The largest number of ranges in a [`ZoneRanges`].
pub(crate) const MAX_RANGES: usize = 16;

/// The error of the text of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// The option needs a value and has none.
    Missing,
    /// The option takes no value and has one.
    Unwanted,
    /// The text is not a number.
    NotANumber,
    /// The option does not take this value.
    OutOfRange,
}

/// The unit of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A number without a unit.
    One,
    Byte,
    Mebibyte,
}

impl Unit {
    /// The suffix of the names of options with this unit.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Mebibyte => "_mb",
            Self::One | Self::Byte => "",
        }
    }
}

/// A number, written in the unit in which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionValue {
    /// A size is in bytes, even if its unit is MiB.
    pub(crate) value: u64,
    pub(crate) unit: Unit,
}

impl OptionValue {
    pub(crate) const fn new(value: u64, unit: Unit) -> Self {
        Self { value, unit }
    }

    /// A number that is not a size.
    pub(crate) fn number(number: u32) -> Self {
        Self::new(number.into(), Unit::One)
    }

    /// A size. Its unit is MiB if it is a whole number of MiB that an option takes, or else bytes.
    pub(crate) fn size(bytes: u64) -> Self {
        match u32::try_from(bytes / MIB) {
            Ok(1..) if bytes % MIB == 0 => Self::new(bytes, Unit::Mebibyte),
            _ => Self::new(bytes, Unit::Byte),
        }
    }
}

/// Writes the number in the form that its option takes. Bytes get the largest suffix that leaves a
/// whole number.
impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (factor, suffix) = match self.unit {
            Unit::Byte if self.value > 0 => {
                // 1024 to the power of 6 fits into 64 bits, and 1024 to the power of 7 does not.
                let power = self.value.trailing_zeros() / 10;
                let suffix = SUFFIXES.get(power as usize).copied();
                (1 << (10 * power), suffix.unwrap_or_default())
            }
            Unit::Mebibyte => (MIB, ""),
            Unit::One | Unit::Byte => (1, ""),
        };
        write!(f, "{}{suffix}", self.value / factor)
    }
}

/// The numbers that an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// Both limits are allowed. As in [`OptionValue`], the limits of a size are in bytes.
    min: u64,
    max: u64,
    step: Step,
    unit: Unit,
}

/// The allowed numbers between two limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Multiples of this number.
    Multiple(u64),
    PowerOfTwo,
}

impl Allowed {
    pub(crate) const fn new(unit: Unit, min: u64, max: u64, step: Step) -> Self {
        Self {
            min,
            max,
            step,
            unit,
        }
    }

    /// All numbers between `min` and `max`.
    pub(crate) const fn numbers(min: u32, max: u32) -> Self {
        // CAST: To more bits.
        Self::new(Unit::One, min as u64, max as u64, Step::Multiple(1))
    }

    pub(crate) fn contains(self, number: u64) -> bool {
        let fits = match self.step {
            Step::Multiple(of) => number.checked_rem(of) == Some(0),
            Step::PowerOfTwo => number.is_power_of_two(),
        };
        fits && (self.min..=self.max).contains(&number)
    }

    /// Reads one of these numbers.
    pub(crate) fn read(self, text: &[u8]) -> Result<OptionValue, ValueError> {
        let value = match self.unit {
            Unit::One => number(text)?,
            Unit::Byte => bytes(text)?,
            Unit::Mebibyte => scale(number(text)?, MIB)?,
        };
        match self.contains(value) {
            true => Ok(OptionValue::new(value, self.unit)),
            false => Err(ValueError::OutOfRange),
        }
    }

    /// Reads one of these numbers that fits into 32 bits.
    pub(crate) fn read_u32(self, text: &[u8]) -> Result<u32, ValueError> {
        u32::try_from(self.read(text)?.value).map_err(|_| ValueError::OutOfRange)
    }

    /// Checks that `given` is one of these numbers. They are the values that `option` can have with
    /// the values of the other options. `rule` is the reason. `origin` is the origin of a number
    /// that the command does not have.
    pub(crate) fn check(
        self,
        option: &'static str,
        given: OptionValue,
        rule: &'static str,
        origin: Option<&'static str>,
    ) -> Result<(), OptionConflict<'static>> {
        if self.contains(given.value) {
            return Ok(());
        }
        Err(OptionConflict::Number {
            option,
            given,
            allowed: self,
            rule,
            origin,
        })
    }
}

/// Writes the part of a message after "must be".
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max, unit) = match (self.unit, self.min.div_ceil(MIB), self.max / MIB) {
            // OVERFLOW: Neither is more than `max`.
            (Unit::Mebibyte, min, max) if min <= max => (min, max, Unit::One),
            // There is no whole number of MiB between the limits.
            (Unit::Mebibyte, ..) => (self.min, self.max, Unit::Byte),
            (unit, ..) => (self.min, self.max, unit),
        };
        let [first, last] = [min, max].map(|value| OptionValue::new(value, unit));
        match (self.step, unit) {
            (Step::PowerOfTwo, _) => write!(f, "a power of two from {first} to {last}"),
            _ if min == max => first.fmt(f),
            (Step::Multiple(of), Unit::Byte) => {
                write!(f, "a multiple of {of} from {first} to {last}")
            }
            _ => write!(f, "from {first} to {last}"),
        }
    }
}

/// A conflict of an option's value with the values of other options, or with the values with which
/// the device was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionConflict<'a> {
    /// A number is not allowed.
    Number {
        /// The name of the option, without the suffix of the unit.
        option: &'static str,
        given: OptionValue,
        allowed: Allowed,
        rule: &'static str,
        origin: Option<&'static str>,
    },
    /// The device was made with other conventional zones.
    ConvZones(&'a ZoneRanges, &'a ZoneRanges),
}

impl fmt::Display for OptionConflict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number {
                option,
                given,
                allowed,
                rule,
                origin,
            } => {
                let [suffix, other] = [given.unit, allowed.unit].map(Unit::suffix);
                write!(f, "{option}{suffix}={given}: must be ")?;
                if suffix != other {
                    write!(f, "{option}{other}=")?;
                }
                write!(f, "{allowed}, {rule}")?;
                match origin {
                    None => Ok(()),
                    Some(origin) => write!(f, " ({given} is {origin})"),
                }
            }
            Self::ConvZones(given, recorded) => {
                write!(f, "conv_zones={given}: must be {recorded}, {UNCHANGED}")
            }
        }
    }
}

/// The rule for the geometry of a device that was made earlier.
pub(crate) const UNCHANGED: &str = "as when the device was made";

/// The text before the first `separator`, and the text after it if there is one.
pub(crate) fn split_once(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |&byte| byte == separator);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Reads digits of a base up to 36.
fn digits(text: &[u8], base: u32) -> Result<u64, ValueError> {
    let is_digit = |&byte: &u8| char::from(byte).is_digit(base);
    if text.is_empty() || !text.iter().all(is_digit) {
        return Err(ValueError::NotANumber);
    }
    let text = core::str::from_utf8(text).unwrap_or_default();
    u64::from_str_radix(text, base).map_err(|_| ValueError::OutOfRange)
}

/// Reads a number: decimal, or hexadecimal after `0x`.
fn number(text: &[u8]) -> Result<u64, ValueError> {
    match text {
        [b'0', b'x' | b'X', hexadecimal @ ..] => digits(hexadecimal, 16),
        decimal => digits(decimal, 10),
    }
}

/// Reads a number of 32 bits.
pub(crate) fn number_u32(text: &[u8]) -> Result<u32, ValueError> {
    u32::try_from(number(text)?).map_err(|_| ValueError::OutOfRange)
}

fn scale(number: u64, factor: u64) -> Result<u64, ValueError> {
    number.checked_mul(factor).ok_or(ValueError::OutOfRange)
}

/// Reads a number of bytes, which may have a suffix. The last digit of a hexadecimal number is not
/// a suffix.
fn bytes(text: &[u8]) -> Result<u64, ValueError> {
    let is_hexadecimal = matches!(text, [b'0', b'x' | b'X', ..]);
    let power = |last: u8| {
        let suffix = [last.to_ascii_uppercase()];
        SUFFIXES.iter().position(|known| known.as_bytes() == suffix)
    };
    match text {
        [start @ .., last] if !(is_hexadecimal && last.is_ascii_hexdigit()) => match power(*last) {
            // OVERFLOW: 1024 to the power of six at most.
            Some(power) => scale(number(start)?, 1 << (10 * power)),
            None => number(text),
        },
        _ => number(text),
    }
}

/// Reads an `id` as `%i` does in C; `None` is a negative one.
///
/// The C driver takes an `int`, and uses it in the names of the disk, the directory and the
/// workqueue.
pub(crate) fn id(text: &[u8]) -> Result<Option<u32>, ValueError> {
    let (sign, text) = match text {
        [b'-', rest @ ..] => (-1, rest),
        _ => (1, text),
    };
    let magnitude = match text {
        [b'0', octal @ ..] if octal.first().is_some_and(u8::is_ascii_digit) => digits(octal, 8),
        _ => number(text),
    }?;
    // `i64::MAX` is out of range, too.
    let id = sign * i64::try_from(magnitude).unwrap_or(i64::MAX);
    let id = i32::try_from(id).map_err(|_| ValueError::OutOfRange)?;
    Ok(u32::try_from(id).ok())
}

/// Reads a zone's number, or the first number, `-` and the last number.
pub(crate) fn zone_span(text: &[u8]) -> Result<ZoneSpan, ValueError> {
    let (first, last) = split_once(text, b'-');
    let (first, last) = (number_u32(first)?, number_u32(last.unwrap_or(first))?);
    ZoneSpan::new(first, last).ok_or(ValueError::OutOfRange)
}

/// Reads a change of bad sectors: `+` or `-`, the first sector, `-` and the last sector.
pub(crate) fn bad_blocks(text: &[u8]) -> Result<BadBlocks, ValueError> {
    let (sign, range) = text.split_first().ok_or(ValueError::NotANumber)?;
    let (first, last) = split_once(range, b'-');
    let (first, last) = (number(first)?, number(last.unwrap_or_default())?);
    let sectors = Sectors::new(first, last).ok_or(ValueError::OutOfRange)?;
    match sign {
        b'+' => Ok(BadBlocks::Set(sectors)),
        b'-' => Ok(BadBlocks::Clear(sectors)),
        _ => Err(ValueError::NotANumber),
    }
}

/// The position of a zone among the zones of its kind, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneIndex {
    /// The position among the conventional zones.
    Conventional(u32),
    /// The position among the sequential zones.
    Sequential(u32),
}

/// Consecutive zones of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZoneRun {
    /// The position of the first zone of the run.
    pub(crate) index: ZoneIndex,
    /// The zone after the last zone of the run. The zones after the last range form one run without
    /// an end.
    pub(crate) end: u32,
}

/// The conventional zones of a device.
///
/// # Invariants
///
/// - The first `len` of `ranges` are used, at most [`MAX_RANGES`]. The others have the default
///   value.
/// - A range is its first zone and its end, which is the zone after its last one. A range is not
///   empty. It begins after the end of the previous range, not at this end.
/// - `end` is the end of the last range, or 0. `nr_zones` is the sum of the lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneRanges {
    ranges: [(u32, u32); MAX_RANGES],
    len: usize,
    end: u32,
    nr_zones: u32,
}

impl ZoneRanges {
    /// The first `nr_zones` zones.
    pub(crate) fn first(nr_zones: u32) -> Self {
        let mut this = Self::default();
        let last = nr_zones.checked_sub(1);
        if let Some(zones) = last.and_then(|last| ZoneSpan::new(0, last)) {
            // There is room for one range.
            let _ = this.push(zones);
        }
        this
    }

    /// Reads the number of the first zones, or ranges.
    pub(crate) fn read(text: &[u8]) -> Result<Self, ValueError> {
        if !text.iter().any(|byte| b"-:".contains(byte)) {
            return Ok(Self::first(number_u32(text)?));
        }
        let mut zones = Self::default();
        for span in text.split(|&byte| byte == b':') {
            zones.push(zone_span(span)?)?;
        }
        Ok(zones)
    }

    /// Adds zones, which must be after all others.
    pub(crate) fn push(&mut self, zones: ZoneSpan) -> Result<(), ValueError> {
        let first = zones.first();
        let end = zones.last().checked_add(1);
        let end = end
            .filter(|_| first >= self.end)
            .ok_or(ValueError::OutOfRange)?;
        // A range that begins at the end of the last one extends it.
        let joins = self.len > 0 && first == self.end;
        let nr = if joins { self.len - 1 } else { self.len };
        let range = self.ranges.get_mut(nr).ok_or(ValueError::OutOfRange)?;
        // INVARIANT: The range is not empty, and it is the last one.
        *range = (if joins { range.0 } else { first }, end);
        (self.len, self.end) = (nr + 1, end);
        // OVERFLOW: No zone is counted twice, so the sum is at most `end`.
        self.nr_zones += end - first;
        Ok(())
    }

    /// The end of the last range; 0 if there is none.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// The number of zones in the ranges.
    pub(crate) fn nr_zones(&self) -> u32 {
        self.nr_zones
    }

    /// The position of a zone among the zones of its kind.
    #[inline]
    pub(crate) fn index(&self, zone: u32) -> ZoneIndex {
        // Most zones of a large device are after the ranges, so this fast path is inlined.
        if zone >= self.end {
            // OVERFLOW: By the type invariants `nr_zones` is at most `end`.
            return ZoneIndex::Sequential(zone - self.nr_zones);
        }
        self.run(zone).index
    }

    /// The longest run from `zone` on that has only zones of its kind.
    pub(crate) fn run(&self, zone: u32) -> ZoneRun {
        let mut conventional = 0;
        // OVERFLOW: By the type invariants, and because the zone is after all ranges that the loop
        // has passed.
        for &(first, end) in self.ranges.iter().take(self.len) {
            if zone < first {
                let index = ZoneIndex::Sequential(zone - conventional);
                return ZoneRun { index, end: first };
            }
            if zone < end {
                let index = ZoneIndex::Conventional(conventional + (zone - first));
                return ZoneRun { index, end };
            }
            conventional += end - first;
        }
        let (index, end) = (ZoneIndex::Sequential(zone - conventional), u32::MAX);
        ZoneRun { index, end }
    }
}

/// Writes the number of zones if they are the first zones of the device, or else the ranges.
impl fmt::Display for ZoneRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.end == self.nr_zones {
            return self.end.fmt(f);
        }
        let ranges = self.ranges.iter().take(self.len);
        for (nr, &(first, end)) in ranges.enumerate() {
            let separator = if nr > 0 { ":" } else { "" };
            write!(f, "{separator}{first}")?;
            // OVERFLOW: By the type invariants a range is not empty.
            let last = end - 1;
            // A lone number would mean the number of the first zones.
            if first != last || self.len == 1 {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_option_value))]
mod tests {
    use super::*;
    use crate::options::tests::says;

    const ANY: Allowed = Allowed::new(Unit::Byte, 0, u64::MAX, Step::Multiple(1));

    #[test]
    fn bytes_have_suffixes() {
        for (value, expected) in [
            (0, "0"),
            (1, "1"),
            (512, "512"),
            (1023, "1023"),
            (1024, "1K"),
            (1536, "1536"),
            (1 << 20, "1M"),
            ((1 << 20) + 1024, "1025K"),
            (3 << 30, "3G"),
            (1 << 40, "1T"),
            (64 << 50, "64P"),
            (1 << 60, "1E"),
        ] {
            assert!(says(OptionValue::new(value, Unit::Byte), expected));
        }
        assert!(says(OptionValue::new(1024, Unit::One), "1024"));
    }

    #[test]
    fn suffixes_have_factors() {
        for (text, expected) in [
            ("1", Ok(1)),
            ("1k", Ok(1 << 10)),
            ("1K", Ok(1 << 10)),
            ("1m", Ok(1 << 20)),
            ("1G", Ok(1 << 30)),
            ("1t", Ok(1 << 40)),
            ("1P", Ok(1 << 50)),
            ("1E", Ok(1 << 60)),
            ("16E", Err(ValueError::OutOfRange)),
            ("0x1E", Ok(30)),
            ("0x1K", Ok(1 << 10)),
            ("1B", Err(ValueError::NotANumber)),
            ("K", Err(ValueError::NotANumber)),
        ] {
            let read = ANY.read(text.as_bytes());
            assert_eq!(read.map(|read| read.value), expected);
        }
    }

    #[test]
    fn whole_mebibytes_are_written_as_such() {
        for (value, unit) in [
            (5 << 20, Unit::Mebibyte),
            ((5 << 20) + 512, Unit::Byte),
            (1 << 52, Unit::Byte),
            (0, Unit::Byte),
        ] {
            assert_eq!(OptionValue::size(value), OptionValue::new(value, unit));
        }
        assert!(says(OptionValue::size(5 << 20), "5"));
    }

    #[test]
    fn limits_in_the_unit_of_the_option() {
        let allowed = Allowed::new;
        let multiple = Step::Multiple(512);
        assert!(says(
            allowed(Unit::Mebibyte, 512, 5 << 20, multiple),
            "from 1 to 5"
        ));
        assert!(says(
            allowed(Unit::Mebibyte, 512, (5 << 20) - 1, Step::PowerOfTwo),
            "a power of two from 1 to 4",
        ));
        assert!(says(
            allowed(Unit::Byte, 512, 5 << 20, multiple),
            "a multiple of 512 from 512 to 5M",
        ));
        // No whole number of MiB is allowed.
        assert!(says(
            allowed(Unit::Mebibyte, 512, 65536, multiple),
            "a multiple of 512 from 512 to 64K",
        ));
        let sizes = allowed(Unit::Byte, 512, 4096, multiple);
        assert!(sizes.contains(512) && sizes.contains(1536) && sizes.contains(4096));
        assert!(!sizes.contains(0) && !sizes.contains(513) && !sizes.contains(4608));
    }

    #[test]
    fn numbers() {
        assert_eq!(number_u32(b"0"), Ok(0));
        assert_eq!(number_u32(b"4294967295"), Ok(u32::MAX));
        assert_eq!(number_u32(b"4294967296"), Err(ValueError::OutOfRange));
        assert_eq!(number_u32(b"42949672950"), Err(ValueError::OutOfRange));
        assert_eq!(
            number_u32(b"99999999999999999999999999999999"),
            Err(ValueError::OutOfRange)
        );
        assert_eq!(number_u32(b"00000000000000000000000000000001"), Ok(1));
        assert_eq!(number_u32(b"010"), Ok(10));
        assert_eq!(number_u32(b"08"), Ok(8));
        assert_eq!(number_u32(b"0xffffFFFF"), Ok(u32::MAX));
        assert_eq!(number_u32(b"0X10"), Ok(16));
        assert_eq!(number_u32(b"0x100000000"), Err(ValueError::OutOfRange));
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
            assert_eq!(number_u32(text.as_bytes()), Err(ValueError::NotANumber));
        }
    }

    fn span(first: u32, last: u32) -> Result<ZoneSpan, ValueError> {
        ZoneSpan::new(first, last).ok_or(ValueError::OutOfRange)
    }

    fn of(ranges: &[(u32, u32)]) -> Result<ZoneRanges, ValueError> {
        let mut all = ZoneRanges::default();
        for &(first, last) in ranges {
            all.push(span(first, last)?)?;
        }
        Ok(all)
    }

    #[test]
    fn indices() -> Result<(), ValueError> {
        let ranges = of(&[(0, 3), (10, 10), (20, 21)])?;
        assert_eq!(ranges.nr_zones(), 7);
        assert_eq!(ranges.end(), 22);
        let (mut inside, mut outside) = (0, 0);
        for zone in 0..30 {
            if matches!(zone, 0..=3 | 10 | 20..=21) {
                assert_eq!(ranges.index(zone), ZoneIndex::Conventional(inside));
                inside += 1;
            } else {
                assert_eq!(ranges.index(zone), ZoneIndex::Sequential(outside));
                outside += 1;
            }
        }
        assert_eq!(ranges.index(u32::MAX), ZoneIndex::Sequential(u32::MAX - 7));
        Ok(())
    }

    #[test]
    fn runs() -> Result<(), ValueError> {
        let ranges = of(&[(0, 3), (10, 10), (20, 21)])?;
        for zone in 0..30 {
            let run = ranges.run(zone);
            assert_eq!(run.index, ranges.index(zone));
            let end = [4, 10, 11, 20, 22].into_iter().find(|&end| zone < end);
            assert_eq!(run.end, end.unwrap_or(u32::MAX));
        }
        assert_eq!(ZoneRanges::default().run(7).end, u32::MAX);
        Ok(())
    }

    #[test]
    fn first_zones() -> Result<(), ValueError> {
        assert_eq!(ZoneRanges::first(0), ZoneRanges::default());
        assert_eq!(ZoneRanges::first(4), of(&[(0, 3)])?);
        assert_eq!(ZoneRanges::first(4), of(&[(0, 0), (1, 3)])?);
        assert_eq!(ZoneRanges::first(u32::MAX).nr_zones(), u32::MAX);
        assert_eq!(ZoneRanges::default().index(0), ZoneIndex::Sequential(0));
        Ok(())
    }

    #[test]
    fn written() -> Result<(), ValueError> {
        assert!(says(of(&[])?, "0"));
        assert!(says(of(&[(0, 3)])?, "4"));
        assert!(says(of(&[(0, 0)])?, "1"));
        assert!(says(of(&[(4, 4)])?, "4-4"));
        assert!(says(of(&[(0, 0), (4, 4)])?, "0:4"));
        assert!(says(of(&[(0, 3), (10, 10), (20, 21)])?, "0-3:10:20-21"));
        assert!(says(of(&[(7, 9)])?, "7-9"));
        Ok(())
    }

    #[test]
    fn order() -> Result<(), ValueError> {
        assert_eq!(of(&[(3, 2)]).err(), Some(ValueError::OutOfRange));
        assert_eq!(of(&[(3, 4), (4, 5)]).err(), Some(ValueError::OutOfRange));
        assert_eq!(of(&[(3, 4), (0, 1)]).err(), Some(ValueError::OutOfRange));
        assert_eq!(of(&[(0, u32::MAX)]).err(), Some(ValueError::OutOfRange));
        let mut many = ZoneRanges::default();
        for nr in 0..16 {
            assert_eq!(many.push(span(2 * nr, 2 * nr)?), Ok(()));
        }
        assert_eq!(many.push(span(32, 32)?), Err(ValueError::OutOfRange));
        // A range that extends the last one is not a new range.
        assert_eq!(many.push(span(31, 40)?), Ok(()));
        Ok(())
    }
}
