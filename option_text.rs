// SPDX-License-Identifier: GPL-2.0

//! The values of options as text.

use crate::{
    declaration::ZoneRange,
    fault::{
        BadBlocks,
        Sectors, //
    },
    option_draft::{
        Id,
        MAX_ID,
        MIN_ID_MAGNITUDE, //
    },
    option_error::Fault,
    option_table::SizeRange,
    options::Switch,
    size::{
        factor_of,
        Size,
        Unit, //
    },
    zone_ranges::ZoneRanges,
};

/// The part of `text` before the first byte for which `end` is true, or all of it.
pub(crate) fn up_to(text: &[u8], end: impl FnMut(u8) -> bool) -> &[u8] {
    let len = text.iter().copied().position(end).unwrap_or(text.len());
    text.get(..len).unwrap_or(text)
}

/// Whether `byte` is what C's `isspace()` calls white space.
pub(crate) fn is_space(byte: u8) -> bool {
    // A vertical tab is none to `is_ascii_whitespace()`.
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

/// Reads an `id`: as C's `%i`, within the numbers of a C `int`.
pub(crate) fn id(text: &[u8]) -> Result<Id, Fault> {
    let (digits, negative) = match text {
        [b'-', digits @ ..] => (digits, true),
        digits => (digits, false),
    };
    let magnitude = match digits {
        [b'0', b'x' | b'X', digits @ ..] => magnitude(digits, 16),
        [b'0', digits @ ..] if !digits.is_empty() => magnitude(digits, 8),
        digits => magnitude(digits, 10),
    }?;
    match magnitude {
        0 => Ok(Id::Number(0)),
        1..=MAX_ID if !negative => Ok(Id::Number(magnitude)),
        1..=MIN_ID_MAGNITUDE if negative => Ok(Id::FirstFree),
        _ => Err(Fault::OutOfRange),
    }
}

/// Reads a number: decimal, or hexadecimal after `0x`.
pub(crate) fn number(text: &[u8]) -> Result<u32, Fault> {
    u32::try_from(long_number(text)?).map_err(|_| Fault::OutOfRange)
}

/// The same for a larger one.
fn long_number(text: &[u8]) -> Result<u64, Fault> {
    match text {
        [b'0', b'x' | b'X', digits @ ..] => long_magnitude(digits, 16),
        digits => long_magnitude(digits, 10),
    }
}

/// Reads the value of a flag.
pub(crate) fn switch(text: &[u8]) -> Result<Switch, Fault> {
    match number(text)? {
        0 => Ok(Switch::Off),
        1 => Ok(Switch::On),
        _ => Err(Fault::OutOfRange),
    }
}

/// Reads a range of zones.
pub(crate) fn zones(text: &[u8]) -> Result<ZoneRange, Fault> {
    let first = up_to(text, |byte| byte == b'-');
    let last = text.get(first.len()..).and_then(|rest| rest.get(1..));
    let (first, last) = (number(first)?, number(last.unwrap_or(first))?);
    ZoneRange::new(first, last).ok_or(Fault::OutOfRange)
}

/// Reads a change of bad sectors.
pub(crate) fn bad_blocks(text: &[u8]) -> Result<BadBlocks, Fault> {
    let (sign, range) = text.split_first().ok_or(Fault::NotANumber)?;
    let first = up_to(range, |byte| byte == b'-');
    let last = range.get(first.len()..).and_then(|rest| rest.get(1..));
    let (first, last) = (
        long_number(first)?,
        long_number(last.ok_or(Fault::NotANumber)?)?,
    );
    let sectors = Sectors::new(first, last).ok_or(Fault::OutOfRange)?;
    match sign {
        b'+' => Ok(BadBlocks::Set(sectors)),
        b'-' => Ok(BadBlocks::Clear(sectors)),
        _ => Err(Fault::NotANumber),
    }
}

/// Reads a size that is one of a range.
pub(crate) fn size(text: &[u8], range: &SizeRange) -> Result<Size, Fault> {
    let (size, given) = match range.unit {
        Unit::Mebibyte => {
            let mebibytes = number(text)?;
            (Size::mebibytes(mebibytes), u64::from(mebibytes))
        }
        Unit::Byte => {
            let bytes = bytes(text)?;
            (Size::bytes(bytes), bytes)
        }
    };
    if range.allowed().contains(given) {
        Ok(size)
    } else {
        Err(Fault::OutOfRange)
    }
}

/// Reads a number of bytes, which may have a suffix. A last digit is no suffix.
fn bytes(text: &[u8]) -> Result<u64, Fault> {
    let is_hexadecimal = matches!(text, [b'0', b'x' | b'X', ..]);
    let Some((&last, number)) = text.split_last() else {
        return Err(Fault::NotANumber);
    };
    match factor_of(last) {
        Some(factor) if !(is_hexadecimal && last.is_ascii_hexdigit()) => long_number(number)?
            .checked_mul(factor)
            .ok_or(Fault::OutOfRange),
        _ => long_number(text),
    }
}

/// Reads zones: how many of the first ones, or ranges.
pub(crate) fn zone_ranges(text: &[u8]) -> Result<ZoneRanges, Fault> {
    if !text.iter().any(|byte| b"-:".contains(byte)) {
        return Ok(ZoneRanges::first(number(text)?));
    }
    let mut zones = ZoneRanges::default();
    for range in text.split(|&byte| byte == b':') {
        let first = up_to(range, |byte| byte == b'-');
        let last = match range.get(first.len()..) {
            Some([b'-', last @ ..]) => last,
            _ => first,
        };
        let (first, last) = (number(first)?, number(last)?);
        zones.push(first, last).map_err(|_| Fault::OutOfRange)?;
    }
    Ok(zones)
}

/// Reads digits of a base up to 36.
fn magnitude(digits: &[u8], base: u32) -> Result<u32, Fault> {
    u32::try_from(long_magnitude(digits, base)?).map_err(|_| Fault::OutOfRange)
}

/// The same for a larger number.
fn long_magnitude(digits: &[u8], base: u32) -> Result<u64, Fault> {
    if digits.is_empty() {
        return Err(Fault::NotANumber);
    }
    digits
        .iter()
        .try_fold(Some(0_u64), |sum, &byte| {
            let digit = char::from(byte).to_digit(base).ok_or(Fault::NotANumber)?;
            // `None` is too large, but what follows must still be digits.
            Ok(sum.and_then(|sum| sum.checked_mul(base.into())?.checked_add(digit.into())))
        })?
        .ok_or(Fault::OutOfRange)
}
