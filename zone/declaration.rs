// SPDX-License-Identifier: GPL-2.0

//! Declarations that zones are read-only, offline or good, and their text.
//!
//! Users declare zones with a command, to test the reaction of their software. A [`Declaration`] is
//! this command without the `id` of the device. The file `conditions` in a device's directory has
//! the same text, with one line for each run of zones:
//!
//! ```text
//! zone_readonly zones=3-5
//! zone_offline zones=9
//! ```
//!
//! [`declarations`] makes these lines. A good zone has no line.
//!
//! This code does not depend on the kernel.

use core::fmt;
use core::ops::RangeInclusive;

use super::condition::Failure;

/// A run of consecutive zones, by their numbers on the device.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZoneSpan {
    first: u32,
    last: u32,
}

impl ZoneSpan {
    /// The zones from `first` to `last`, both included, or [`None`] if there are none.
    pub(crate) fn new(first: u32, last: u32) -> Option<Self> {
        // INVARIANT: Checked here.
        (first <= last).then_some(Self { first, last })
    }

    /// The number of the first zone.
    pub(crate) fn first(self) -> u32 {
        self.first
    }

    /// The number of the last zone.
    pub(crate) fn last(self) -> u32 {
        self.last
    }

    /// The numbers of all zones.
    pub(crate) fn numbers(self) -> RangeInclusive<u32> {
        self.first..=self.last
    }
}

/// Writes the value of the option `zones`.
impl fmt::Display for ZoneSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A declaration that zones have failed or are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// The zones.
    pub(crate) zones: ZoneSpan,
    /// The failure of the zones; [`None`] if they are good.
    pub(crate) failure: Option<Failure>,
}

impl Declaration {
    /// The name of the command.
    pub(crate) fn command(failure: Option<Failure>) -> &'static str {
        match failure {
            Some(Failure::ReadOnly) => "zone_readonly",
            Some(Failure::Offline) => "zone_offline",
            None => "zone_good",
        }
    }

    /// The reverse of [`Self::command`].
    pub(crate) fn failure(command: &[u8]) -> Option<Option<Failure>> {
        [Some(Failure::ReadOnly), Some(Failure::Offline), None]
            .into_iter()
            .find(|&failure| Self::command(failure).as_bytes() == command)
    }
}

impl fmt::Display for Declaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { zones, failure } = self;
        write!(f, "{} zones={zones}", Self::command(*failure))
    }
}

/// The shortest list of declarations for the zones in `numbers`, in the same order. `failure`
/// returns the failure of the zone with a number.
pub(crate) fn declarations(
    numbers: impl Iterator<Item = u32>,
    failure: impl Fn(u32) -> Option<Failure>,
) -> impl Iterator<Item = Declaration> {
    let mut failed = numbers
        .filter_map(move |number| Some((number, failure(number)?)))
        .peekable();
    core::iter::from_fn(move || {
        let (first, failure) = failed.next()?;
        let mut last = first;
        while let Some((next, _)) =
            failed.next_if(|&(number, next)| next == failure && last.checked_add(1) == Some(number))
        {
            last = next;
        }
        Some(Declaration {
            zones: ZoneSpan::new(first, last)?,
            failure: Some(failure),
        })
    })
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_declaration))]
mod tests {
    use super::*;
    use crate::zone::tests::says;

    /// The lines for zones with these conditions, one letter per zone: `r`ead-only, `o`ffline or
    /// good.
    fn lines(zones: &str) -> impl Iterator<Item = Declaration> + '_ {
        declarations(0..zones.len() as u32, |number| {
            match zones.as_bytes()[number as usize] {
                b'r' => Some(Failure::ReadOnly),
                b'o' => Some(Failure::Offline),
                _ => None,
            }
        })
    }

    #[test]
    fn runs() {
        let says_each = |zones, expected: &[&str]| {
            let mut left = lines(zones);
            expected.iter().all(|line| {
                left.next()
                    .is_some_and(|declaration| says(declaration, line))
            }) && left.next().is_none()
        };
        assert!(says_each("r", &["zone_readonly zones=0"]));
        assert!(says_each("rrr", &["zone_readonly zones=0-2"]));
        assert!(says_each(
            ".rro.o.r",
            &[
                "zone_readonly zones=1-2",
                "zone_offline zones=3",
                "zone_offline zones=5",
                "zone_readonly zones=7",
            ],
        ));
        assert!(says_each(
            "oo..oo",
            &["zone_offline zones=0-1", "zone_offline zones=4-5"]
        ));
    }

    #[test]
    fn nothing_is_declared_good() {
        assert_eq!(lines("").next(), None);
        assert_eq!(lines("....").next(), None);
    }

    #[test]
    fn last_number_of_all() {
        let mut last = declarations(u32::MAX - 1..=u32::MAX, |_| Some(Failure::Offline));
        assert!(last
            .next()
            .is_some_and(|d| says(d, "zone_offline zones=4294967294-4294967295")));
        assert_eq!(last.next(), None);
    }

    #[test]
    fn ranges() {
        assert_eq!(ZoneSpan::new(5, 4), None);
        assert!(ZoneSpan::new(5, 5).is_some_and(|zones| says(zones, "5")));
        assert!(ZoneSpan::new(5, 6).is_some_and(|zones| zones.numbers().eq([5, 6])));
    }

    #[test]
    fn names() {
        for failure in [Some(Failure::ReadOnly), Some(Failure::Offline), None] {
            let name = Declaration::command(failure).as_bytes();
            assert_eq!(Declaration::failure(name), Some(failure));
        }
        assert_eq!(Declaration::failure(b"zone_reset"), None);
    }
}
