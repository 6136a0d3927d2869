// SPDX-License-Identifier: GPL-2.0

//! The names of zone files: `cnv-000000` or `seq-000001`, as in the C driver.
//!
//! The prefix is the kind of the zone. The zone's number follows, with at least six digits. An
//! `add` needs a name for each zone of the device, so making a name allocates no memory and does
//! not use the formatting code.

use crate::options::Geometry;
use core::{
    ffi::CStr,
    ops::Deref, //
};

/// The length of a prefix in bytes.
const PREFIX_LEN: usize = 4;
/// The smallest number of digits.
const MIN_DIGITS: usize = 6;
/// The largest number of digits.
const MAX_DIGITS: usize = 10;

/// The kind of a zone.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Conventional,
    Sequential,
}

impl Kind {
    const fn prefix(self) -> &'static [u8; PREFIX_LEN] {
        match self {
            Self::Conventional => b"cnv-",
            Self::Sequential => b"seq-",
        }
    }
}

/// The name of a zone's file.
///
/// # Invariants
///
/// The last byte is 0.
pub(crate) struct ZoneFileName([u8; PREFIX_LEN + MAX_DIGITS + 1]);

impl ZoneFileName {
    /// The name of the file of a zone in this geometry.
    pub(crate) fn of(geometry: &Geometry, zone: u32) -> Self {
        let kind = if geometry.is_conventional(zone) {
            Kind::Conventional
        } else {
            Kind::Sequential
        };
        Self::new(kind, zone)
    }

    /// The name of the file of zone `zone` if the zone is of this kind.
    pub(crate) fn new(kind: Kind, zone: u32) -> Self {
        let nr_digits = zone.checked_ilog10().map_or(1, |log| log as usize + 1);
        let mut name = [0; PREFIX_LEN + MAX_DIGITS + 1];
        for (byte, &prefix) in name.iter_mut().zip(kind.prefix()) {
            *byte = prefix;
        }
        let digits = name.iter_mut().skip(PREFIX_LEN);
        let mut rest = zone;
        for digit in digits.take(nr_digits.max(MIN_DIGITS)).rev() {
            // CAST: It is less than 10.
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        // INVARIANT: A number has at most `MAX_DIGITS` digits, so the last byte is still 0.
        Self(name)
    }
}

impl Deref for ZoneFileName {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        // By the type invariant there is a NUL.
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// The number in the name of a sequential zone's file; [`None`] if the name has another form.
pub(crate) fn sequential_zone_number(name: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(Kind::Sequential.prefix())?;
    if digits.len() < MIN_DIGITS || (digits.len() > MIN_DIGITS && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0u32, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 10)?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_zone_file_name))]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits_or_more() {
        let named = |zone| ZoneFileName::new(Kind::Sequential, zone);
        assert_eq!(&*named(0), c"seq-000000");
        assert_eq!(&*named(9), c"seq-000009");
        assert_eq!(&*named(10), c"seq-000010");
        assert_eq!(&*named(999_999), c"seq-999999");
        assert_eq!(&*named(1_000_000), c"seq-1000000");
        assert_eq!(&*named(u32::MAX), c"seq-4294967295");
    }

    #[test]
    fn a_kind_has_a_prefix() {
        assert_eq!(
            &*ZoneFileName::new(Kind::Conventional, 123_456),
            c"cnv-123456"
        );
        assert_eq!(
            &*ZoneFileName::new(Kind::Sequential, 123_456),
            c"seq-123456"
        );
    }

    #[test]
    fn names_are_read_as_they_are_made() {
        for zone in [0, 1, 99_999, 100_000, 999_999, 1_000_000, u32::MAX] {
            let sequential = ZoneFileName::new(Kind::Sequential, zone);
            assert_eq!(sequential_zone_number(sequential.to_bytes()), Some(zone));
            let conventional = ZoneFileName::new(Kind::Conventional, zone);
            assert_eq!(sequential_zone_number(conventional.to_bytes()), None);
        }
    }

    #[test]
    fn other_names_are_not_read() {
        for name in [
            "",
            "seq-",
            "seq-00001",
            "seq-0000001",
            "seq-00000a",
            "seq-+00001",
            "seq-000001 ",
            "xseq-000001",
            "seq-4294967296",
        ] {
            assert_eq!(sequential_zone_number(name.as_bytes()), None);
        }
    }
}
