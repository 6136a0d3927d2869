// SPDX-License-Identifier: GPL-2.0

//! Ranges of zones.
//!
//! The conventional zones of a device may be anywhere between the sequential ones. They are kept as
//! a few ranges in ascending order, which do not touch each other, so that there is one way only to
//! write a set of zones:
//!
//! ```text
//!   0-3:10:20-21     the zones 0, 1, 2, 3, 10, 20 and 21
//!   4                the first four zones, as the C driver has them: the same as 0-3
//!   4-4              zone 4
//! ```
//!
//! With each range goes the number of zones in those before it. So the place of a zone among the
//! zones of its kind takes a walk over the ranges, or no more than a look if it is behind them all.

use core::fmt;

/// So many ranges there can be.
pub(crate) const MAX_RANGES: usize = 16;

/// Zones from `first` up to `end`, which does not belong to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ZoneRange {
    first: u32,
    end: u32,
    /// How many zones the ranges before this one have.
    before: u32,
}

/// The place of a zone among the zones of its kind, from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among those in the ranges.
    Inside(u32),
    /// Among the others.
    Outside(u32),
}

/// Zones in a row that are all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The place of the first one.
    pub(crate) place: Place,
    /// The zone behind the last one; behind the last range there are only zones outside of it.
    pub(crate) end: u32,
}

/// A set of zones as ranges.
///
/// # Invariants
///
/// - Only the first `len` of `ranges`, at most [`MAX_RANGES`], have a meaning; the others are the
///   default.
/// - A range is not empty, and begins behind the end of the one before it, not at it.
/// - `before` is the sum of the lengths of the ranges before this one, and `nr_zones` of all, which
///   is no more than `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ZoneRanges {
    ranges: [ZoneRange; MAX_RANGES],
    len: usize,
    /// The end of the last range; 0 if there is none.
    end: u32,
    /// How many zones there are in the ranges.
    nr_zones: u32,
}

/// Why a range can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is empty, or doesn't lie behind all others.
    Disorder,
    /// There are too many already.
    TooMany,
}

impl ZoneRanges {
    /// The first so many zones.
    pub(crate) fn first(nr_zones: u32) -> Self {
        let mut this = Self::default();
        if let Some(range) = this.ranges.first_mut().filter(|_| nr_zones > 0) {
            // INVARIANT: The one range is not empty.
            range.end = nr_zones;
            this.len = 1;
            this.end = nr_zones;
            this.nr_zones = nr_zones;
        }
        this
    }

    /// Adds the zones from `first` to `last`, which must be behind all that are there.
    pub(crate) fn push(&mut self, first: u32, last: u32) -> Result<(), Unfit> {
        let end = last.checked_add(1).ok_or(Unfit::Disorder)?;
        let (behind, before) = (self.end, self.nr_zones);
        if end <= first || first < behind {
            return Err(Unfit::Disorder);
        }
        if let Some(range) = self.used_mut().last_mut().filter(|_| first == behind) {
            // INVARIANT: It grows at the end of all.
            range.end = end;
        } else {
            let range = self.ranges.get_mut(self.len).ok_or(Unfit::TooMany)?;
            // INVARIANT: It is not empty, and behind the last one.
            *range = ZoneRange { first, end, before };
            self.len += 1;
        }
        self.end = end;
        // OVERFLOW: No zone is counted twice, so it is no more than the end.
        self.nr_zones += end - first;
        Ok(())
    }

    /// The end of the last range; 0 if there is none.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// How many zones there are in the ranges.
    pub(crate) fn nr_zones(&self) -> u32 {
        self.nr_zones
    }

    /// The place of a zone among those of its kind.
    #[inline]
    pub(crate) fn place(&self, zone: u32) -> Place {
        // So it is for nearly all zones of a large device, hence this is meant to be inlined.
        if zone >= self.end {
            // OVERFLOW: By the type invariant there are no more zones before the end.
            return Place::Outside(zone - self.nr_zones);
        }
        self.row(zone).place
    }

    /// The zones from `zone` on that are of its kind, with none of the other kind between them.
    pub(crate) fn row(&self, zone: u32) -> Row {
        let mut inside = 0;
        let mut end = u32::MAX;
        for range in self.used() {
            // OVERFLOW: By the type invariant, and as the zone is not before the range.
            if zone < range.first {
                end = range.first;
                break;
            }
            if zone < range.end {
                return Row {
                    place: Place::Inside(range.before + (zone - range.first)),
                    end: range.end,
                };
            }
            inside = range.before + (range.end - range.first);
        }
        Row {
            // OVERFLOW: All zones that were counted are before this one.
            place: Place::Outside(zone - inside),
            end,
        }
    }

    fn used(&self) -> &[ZoneRange] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    fn used_mut(&mut self) -> &mut [ZoneRange] {
        self.ranges.get_mut(..self.len).unwrap_or_default()
    }
}

/// Writes how many zones there are if they are the first ones, and the ranges otherwise.
impl fmt::Display for ZoneRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.used() {
            [] => f.write_str("0"),
            [ZoneRange { first: 0, end, .. }] => write!(f, "{end}"),
            ranges => {
                for (nr, range) in ranges.iter().enumerate() {
                    if nr > 0 {
                        f.write_str(":")?;
                    }
                    // OVERFLOW: By the type invariant it is not empty.
                    let (first, last) = (range.first, range.end - 1);
                    // A lone number would be that of the first zones.
                    if first == last && ranges.len() > 1 {
                        write!(f, "{first}")?;
                    } else {
                        write!(f, "{first}-{last}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_zone_ranges))]
mod tests {
    use super::*;
    use crate::geometry::tests::says;

    fn of(ranges: &[(u32, u32)]) -> Result<ZoneRanges, Unfit> {
        let mut all = ZoneRanges::default();
        for &(first, last) in ranges {
            all.push(first, last)?;
        }
        Ok(all)
    }

    #[test]
    fn places() -> Result<(), Unfit> {
        let ranges = of(&[(0, 3), (10, 10), (20, 21)])?;
        assert_eq!(ranges.nr_zones(), 7);
        assert_eq!(ranges.end(), 22);
        let (mut inside, mut outside) = (0, 0);
        for zone in 0..30 {
            if matches!(zone, 0..=3 | 10 | 20..=21) {
                assert_eq!(ranges.place(zone), Place::Inside(inside));
                inside += 1;
            } else {
                assert_eq!(ranges.place(zone), Place::Outside(outside));
                outside += 1;
            }
        }
        assert_eq!(ranges.place(u32::MAX), Place::Outside(u32::MAX - 7));
        Ok(())
    }

    #[test]
    fn rows() -> Result<(), Unfit> {
        let ranges = of(&[(0, 3), (10, 10), (20, 21)])?;
        for zone in 0..30 {
            let row = ranges.row(zone);
            assert_eq!(row.place, ranges.place(zone));
            let end = [4, 10, 11, 20, 22].into_iter().find(|&end| zone < end);
            assert_eq!(row.end, end.unwrap_or(u32::MAX));
        }
        assert_eq!(ZoneRanges::default().row(7).end, u32::MAX);
        Ok(())
    }

    #[test]
    fn first_zones() -> Result<(), Unfit> {
        assert_eq!(ZoneRanges::first(0), ZoneRanges::default());
        assert_eq!(ZoneRanges::first(4), of(&[(0, 3)])?);
        assert_eq!(ZoneRanges::first(4), of(&[(0, 0), (1, 3)])?);
        assert_eq!(ZoneRanges::first(u32::MAX).nr_zones(), u32::MAX);
        assert_eq!(ZoneRanges::default().place(0), Place::Outside(0));
        Ok(())
    }

    #[test]
    fn written() -> Result<(), Unfit> {
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
    fn order() {
        assert_eq!(of(&[(3, 2)]).err(), Some(Unfit::Disorder));
        assert_eq!(of(&[(3, 4), (4, 5)]).err(), Some(Unfit::Disorder));
        assert_eq!(of(&[(3, 4), (0, 1)]).err(), Some(Unfit::Disorder));
        assert_eq!(of(&[(0, u32::MAX)]).err(), Some(Unfit::Disorder));
        let mut many = ZoneRanges::default();
        for nr in 0..16 {
            assert_eq!(many.push(2 * nr, 2 * nr), Ok(()));
        }
        assert_eq!(many.push(32, 32), Err(Unfit::TooMany));
        // One that continues the last one is no new one.
        assert_eq!(many.push(31, 40), Ok(()));
    }
}
