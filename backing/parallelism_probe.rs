// SPDX-License-Identifier: GPL-2.0

//! Finds the number of parallel tasks that do some work fastest.
//!
//! Several tasks are faster if the work waits for a disk, or if there are several CPUs. But they
//! are slower if they compete for a lock of the file system: on XFS, eight tasks on two CPUs take
//! twice as long as one task to look up uncached files of one directory. The best number can't be
//! predicted, so the probe measures it.
//!
//! The work is done in *rounds*. The probe doubles the number of tasks after each round, as long as
//! that makes the work faster. When it does not, the probe returns to the previous number and keeps
//! it. The first round is not compared, because it also reads data that all later rounds need.

/// The number of parallel tasks, and the measurement that finds it.
pub(crate) struct ParallelismProbe {
    tasks: usize,
    max_tasks: usize,
    state: State,
}

/// The state of the measurement.
#[derive(Clone, Copy)]
enum State {
    /// The first round has not ended.
    WarmUp,
    /// The next round is compared with this time, in nanoseconds per piece of work. Half as many
    /// tasks took it. The first comparison always succeeds: it is with `u64::MAX`.
    Doubling(u64),
    /// The number of tasks is final.
    Settled,
}

impl ParallelismProbe {
    /// A doubling is an improvement if the time is below this number of eighths of the previous
    /// time. A smaller difference might be chance.
    const BETTER: u64 = 7;

    /// A probe that begins with one task and uses up to `max_tasks`.
    pub(crate) fn new(max_tasks: usize) -> Self {
        Self {
            tasks: 1,
            max_tasks,
            state: State::WarmUp,
        }
    }

    /// The number of tasks for the next round.
    pub(crate) fn tasks(&self) -> usize {
        self.tasks
    }

    /// Whether the number of tasks is final, so that one round can do the rest of the work.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state, State::Settled)
    }

    /// Ends a round. It did this number of pieces of work in this time.
    pub(crate) fn end_round(&mut self, pieces: u32, nanoseconds: u64) {
        let Some(cost) = nanoseconds.checked_div(pieces.into()) else {
            return;
        };
        let is_better = match self.state {
            State::WarmUp => {
                self.state = State::Doubling(u64::MAX);
                return;
            }
            State::Doubling(previous) => cost < previous / 8 * Self::BETTER,
            State::Settled => return,
        };
        let next = self.tasks.saturating_mul(2);
        (self.tasks, self.state) = match is_better {
            true if next <= self.max_tasks => (next, State::Doubling(cost)),
            true => (self.tasks, State::Settled),
            false => ((self.tasks / 2).max(1), State::Settled),
        };
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_parallelism))]
mod tests {
    use super::*;

    /// The final number of tasks. `cost` returns the time of a piece of work with a number of
    /// tasks.
    fn settled(max_tasks: usize, cost: impl Fn(usize) -> u64) -> usize {
        let mut probe = ParallelismProbe::new(max_tasks);
        for _ in 0..16 {
            if probe.is_settled() {
                break;
            }
            probe.end_round(100, 100 * cost(probe.tasks()));
        }
        probe.tasks()
    }

    #[test]
    fn more_are_faster() {
        assert_eq!(settled(8, |tasks| 8000 / tasks as u64), 8);
        assert_eq!(settled(7, |tasks| 8000 / tasks as u64), 4);
        assert_eq!(settled(1, |tasks| 8000 / tasks as u64), 1);
    }

    #[test]
    fn more_are_in_each_others_way() {
        assert_eq!(settled(8, |tasks| 1000 * tasks as u64), 1);
        assert_eq!(settled(8, |tasks| [0, 1000, 700, 0, 1500][tasks]), 2);
    }

    #[test]
    fn hardly_faster() {
        assert_eq!(settled(8, |tasks| 1000 - tasks as u64), 1);
        assert_eq!(settled(8, |tasks| if tasks == 1 { 1000 } else { 880 }), 1);
        assert_eq!(settled(8, |tasks| if tasks == 1 { 1000 } else { 870 }), 2);
    }

    #[test]
    fn first_round() {
        let mut probe = ParallelismProbe::new(8);
        probe.end_round(1, u64::MAX);
        assert_eq!(probe.tasks(), 1);
        probe.end_round(1, 1000);
        assert_eq!(probe.tasks(), 2);
        probe.end_round(1, 1000);
        assert_eq!((probe.tasks(), probe.is_settled()), (1, true));
    }

    #[test]
    fn extremes() {
        let mut probe = ParallelismProbe::new(usize::MAX);
        probe.end_round(0, 0);
        probe.end_round(u32::MAX, 0);
        probe.end_round(u32::MAX, u64::MAX);
        probe.end_round(0, u64::MAX);
        assert!(!probe.is_settled());
        probe.end_round(1, u64::MAX);
        assert_eq!((probe.tasks(), probe.is_settled()), (1, true));
        probe.end_round(1, 0);
        assert_eq!(probe.tasks(), 1);
    }
}
