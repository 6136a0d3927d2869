// SPDX-License-Identifier: GPL-2.0

//! When to give a part of a deep queue to other CPUs.
//!
//! The task that queues a request mostly carries it out itself: that costs the least. But a task
//! that keeps many requests under way at a time then does all of the work on its own CPU, while
//! others may be idle. With their help it gets further, though each request costs more.
//!
//! Neither the depth of the queue nor whether a CPU is idle can be asked for, so both are found out
//! by trying, in phases. A phase is counted in requests of one CPU.
//!
//! ```text
//!   Alone      the task does all. After a pause:
//!     |
//!   Probing    a few requests are handed over. Does one still wait when the next request comes?
//!     |        If not, the task waits for each of them: alone, and a longer pause.
//!     v
//!   Timing     some requests alone, then as many shared. Is sharing clearly faster?
//!     |        If not, no CPU is idle: alone, and a longer pause.
//!     v
//!   Sharing    until the depth is gone, or it is time to measure again.
//! ```
//!
//! With a task that waits for each request this soon costs one hand-over in 16,384 requests.
//!
//! Nothing here knows the kernel.

/// What to do with a request that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The task carries it out itself, and the next ones, too: the policy need not be asked about
    /// this number of them.
    Alone(u32),
    /// Another CPU should have it. The policy is to be asked about the next one.
    Share,
}

/// The policy of one CPU.
#[derive(Debug)]
pub(crate) struct SharingPolicy {
    phase: Phase,
    /// The length of the next pause.
    pause: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The task does all until the next probe.
    Alone,
    /// Requests are handed over to learn whether the queue is deep.
    Probing {
        /// The number of requests that are left.
        left: u32,
    },
    /// A window of requests that the task does itself is being timed.
    TimingAlone {
        /// When the window began, in nanoseconds.
        since: u64,
    },
    /// A window of requests that are shared is being timed.
    TimingShared {
        /// When the window began.
        since: u64,
        /// The number of requests that are left.
        left: u32,
        /// The length of the window without sharing, in nanoseconds.
        alone: u64,
    },
    /// Sharing pays.
    Sharing {
        /// The number of requests until it is measured again.
        left: u32,
        /// How often the queue was found shallow, less how often it was found deep.
        shallow: u32,
    },
}

impl SharingPolicy {
    /// The first and shortest pause between two attempts, in requests.
    const SHORTEST_PAUSE: u32 = 256;
    /// The longest one.
    const LONGEST_PAUSE: u32 = 1 << 14;
    /// The number of requests that are handed over to learn the depth.
    const PROBES: u32 = 4;
    /// The number of requests that are timed alone, and shared. Some of the latter go by until a
    /// worker on another CPU has woken up.
    const WINDOW: u32 = 256;
    /// The pause after a measurement by which sharing does not pay. It may have been a bad moment.
    const PAUSE_AFTER_TIMING: u32 = 1 << 13;
    /// The number of requests after which sharing is measured again.
    const TERM: u32 = 1 << 14;
    /// A queue that was found shallow this many times more often than deep is shallow.
    const SHALLOW: u32 = 16;

    /// A policy that begins with a pause.
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Alone,
            pause: Self::SHORTEST_PAUSE,
        }
    }

    /// Decides about a request that has come. `is_deep` says that an earlier one which was handed
    /// over still waits; `now` returns the time in nanoseconds.
    pub(crate) fn arrive(&mut self, is_deep: bool, now: impl FnOnce() -> u64) -> Verdict {
        match self.phase {
            Phase::Alone => {
                self.phase = Phase::Probing { left: Self::PROBES };
                Verdict::Share
            }
            Phase::Probing { .. } if !is_deep => self.give_up(),
            Phase::Probing { left: 0 } => {
                self.phase = Phase::TimingAlone { since: now() };
                Verdict::Alone(Self::WINDOW)
            }
            Phase::Probing { left } => {
                self.phase = Phase::Probing { left: left - 1 };
                Verdict::Share
            }
            Phase::TimingAlone { since } => {
                let now = now();
                self.phase = Phase::TimingShared {
                    since: now,
                    left: Self::WINDOW,
                    alone: now.saturating_sub(since),
                };
                Verdict::Share
            }
            Phase::TimingShared {
                since,
                left: 0,
                alone,
            } => {
                let shared = now().saturating_sub(since);
                // A smaller difference may be chance.
                if shared >= alone - alone / 8 {
                    self.phase = Phase::Alone;
                    return Verdict::Alone(Self::PAUSE_AFTER_TIMING);
                }
                self.pause = Self::SHORTEST_PAUSE;
                self.phase = Phase::Sharing {
                    left: Self::TERM,
                    shallow: 0,
                };
                Verdict::Share
            }
            Phase::TimingShared { since, left, alone } => {
                self.phase = Phase::TimingShared {
                    since,
                    left: left - 1,
                    alone,
                };
                Verdict::Share
            }
            Phase::Sharing { left: 0, .. } => {
                self.phase = Phase::TimingAlone { since: now() };
                Verdict::Alone(Self::WINDOW)
            }
            Phase::Sharing { left, shallow } => {
                let shallow = if is_deep {
                    shallow.saturating_sub(1)
                } else {
                    shallow + 1
                };
                if shallow >= Self::SHALLOW {
                    return self.give_up();
                }
                self.phase = Phase::Sharing {
                    left: left - 1,
                    shallow,
                };
                Verdict::Share
            }
        }
    }

    /// Ends an attempt that does not pay. The next one comes later than this one did.
    fn give_up(&mut self) -> Verdict {
        let pause = self.pause;
        self.pause = (pause * 4).min(Self::LONGEST_PAUSE);
        self.phase = Phase::Alone;
        Verdict::Alone(pause)
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_sharing))]
mod tests {
    use super::*;

    /// A task with a CPU of its own, and the time that requests take it.
    struct Task {
        policy: SharingPolicy,
        /// The number of requests that the policy need not be asked about.
        alone: u32,
        now: u64,
    }

    impl Task {
        fn new() -> Self {
            Self {
                policy: SharingPolicy::new(),
                alone: 0,
                now: 0,
            }
        }

        /// Lets `requests` come. The queue is as deep as `is_deep` says, and a request takes
        /// `alone` or `shared` nanoseconds. Returns the number of those that were shared.
        fn run(&mut self, requests: u32, is_deep: bool, alone: u64, shared: u64) -> u32 {
            let mut nr_shared = 0;
            for _ in 0..requests {
                if self.alone > 0 {
                    self.alone -= 1;
                    self.now += alone;
                    continue;
                }
                match self.policy.arrive(is_deep, || self.now) {
                    Verdict::Alone(next) => {
                        // This one is the first of them.
                        self.alone = next - 1;
                        self.now += alone;
                    }
                    Verdict::Share => {
                        nr_shared += 1;
                        self.now += shared;
                    }
                }
            }
            nr_shared
        }
    }

    #[test]
    fn deep_queue_and_idle_cpu() {
        let mut task = Task::new();
        task.run(10_000, true, 1000, 600);
        // All but the windows that are measured again.
        assert!(task.run(100_000, true, 1000, 600) > 97_000);
    }

    #[test]
    fn task_that_waits_for_each_request() {
        let mut task = Task::new();
        assert!(task.run(1_000_000, false, 1000, 5000) <= 100);
    }

    #[test]
    fn no_cpu_is_idle() {
        let mut task = Task::new();
        task.run(100_000, true, 1000, 1000);
        assert!(task.run(1_000_000, true, 1000, 1000) < 40_000);
    }

    #[test]
    fn sharing_hardly_helps() {
        let mut task = Task::new();
        task.run(100_000, true, 1000, 900);
        assert!(task.run(1_000_000, true, 1000, 900) < 40_000);
    }

    #[test]
    fn queue_that_becomes_shallow() {
        let mut task = Task::new();
        task.run(10_000, true, 1000, 600);
        // It is found out soon.
        assert!(task.run(100_000, false, 1000, 5000) < 50);
        // So is a deep one.
        task.run(20_000, true, 1000, 600);
        assert!(task.run(100_000, true, 1000, 600) > 97_000);
    }

    #[test]
    fn cpu_that_becomes_busy() {
        let mut task = Task::new();
        task.run(10_000, true, 1000, 600);
        task.run(30_000, true, 1000, 1500);
        assert!(task.run(1_000_000, true, 1000, 1500) < 40_000);
    }

    #[test]
    fn clock_that_stands_still_or_goes_back() {
        let mut policy = SharingPolicy::new();
        let mut times = [5, 3, 0, u64::MAX, 7].into_iter().cycle();
        for _ in 0..100_000 {
            if let Verdict::Alone(next) = policy.arrive(true, || times.next().unwrap_or(0)) {
                assert!(next > 0);
            }
        }
    }
}
