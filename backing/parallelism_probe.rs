// SPDX-License-Identifier: GPL-2.0

//! How many tasks should do something together.
//!
//! Work that waits for a disk is sooner done by several tasks, and so is work for a processor if
//! there are several. But tasks that need the same lock of a file system are in each other's way:
//! to look up files of one directory that are in no cache, eight tasks on two processors take twice
//! as long as one on XFS. Nobody can tell beforehand, so it is tried.
//!
//! The work is done in *rounds*. After each of them the time that it took is noted, and the team is
//! made twice as large as long as that helps. When it doesn't it gets the size that it had before,
//! and keeps it. The first round is not counted, since what all of it needs has to be read then.

/// The size of a team.
pub(crate) struct Team {
    size: usize,
    largest: usize,
    trial: Trial,
}

/// What is known so far.
#[derive(Clone, Copy)]
enum Trial {
    /// Nothing.
    Begun,
    /// For each piece of work a team of half the size took so many nanoseconds.
    Larger(u64),
    /// That this is the best size.
    Over,
}

impl Team {
    /// A team makes it if it needs less than this part of the time that one of half the size does,
    /// in eighths. Less might be chance.
    const BETTER: u64 = 7;

    /// A team of one, that may get up to `largest` members.
    pub(crate) fn new(largest: usize) -> Self {
        Self {
            size: 1,
            largest,
            trial: Trial::Begun,
        }
    }

    /// How many tasks should do the next round.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether the size stays as it is, so that there need not be another round.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.trial, Trial::Over)
    }

    /// Notes that so many pieces of work were done in a round, in so many nanoseconds.
    pub(crate) fn has_done(&mut self, pieces: u32, nanoseconds: u64) {
        let Some(cost) = nanoseconds.checked_div(pieces.into()) else {
            return;
        };
        let is_better = match self.trial {
            Trial::Begun => {
                self.trial = Trial::Larger(u64::MAX);
                return;
            }
            Trial::Larger(previous) => cost < previous / 8 * Self::BETTER,
            Trial::Over => return,
        };
        let next = self.size.saturating_mul(2);
        (self.size, self.trial) = match is_better {
            true if next <= self.largest => (next, Trial::Larger(cost)),
            true => (self.size, Trial::Over),
            false => ((self.size / 2).max(1), Trial::Over),
        };
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_team))]
mod tests {
    use super::*;

    /// The size that a team gets whose members, at a number that `cost` is given, need so much time
    /// for a piece of work.
    fn settled(largest: usize, cost: impl Fn(usize) -> u64) -> usize {
        let mut team = Team::new(largest);
        for _ in 0..16 {
            if team.is_settled() {
                break;
            }
            team.has_done(100, 100 * cost(team.size()));
        }
        team.size()
    }

    #[test]
    fn more_are_faster() {
        assert_eq!(settled(8, |size| 8000 / size as u64), 8);
        assert_eq!(settled(7, |size| 8000 / size as u64), 4);
        assert_eq!(settled(1, |size| 8000 / size as u64), 1);
    }

    #[test]
    fn more_are_in_each_others_way() {
        assert_eq!(settled(8, |size| 1000 * size as u64), 1);
        assert_eq!(settled(8, |size| [0, 1000, 700, 0, 1500][size]), 2);
    }

    #[test]
    fn hardly_faster() {
        assert_eq!(settled(8, |size| 1000 - size as u64), 1);
        assert_eq!(settled(8, |size| if size == 1 { 1000 } else { 880 }), 1);
        assert_eq!(settled(8, |size| if size == 1 { 1000 } else { 870 }), 2);
    }

    #[test]
    fn first_round() {
        let mut team = Team::new(8);
        team.has_done(1, u64::MAX);
        assert_eq!(team.size(), 1);
        team.has_done(1, 1000);
        assert_eq!(team.size(), 2);
        team.has_done(1, 1000);
        assert_eq!((team.size(), team.is_settled()), (1, true));
    }

    #[test]
    fn extremes() {
        let mut team = Team::new(usize::MAX);
        team.has_done(0, 0);
        team.has_done(u32::MAX, 0);
        team.has_done(u32::MAX, u64::MAX);
        team.has_done(0, u64::MAX);
        assert!(!team.is_settled());
        team.has_done(1, u64::MAX);
        assert_eq!((team.size(), team.is_settled()), (1, true));
        team.has_done(1, 0);
        assert_eq!(team.size(), 1);
    }
}
