// SPDX-License-Identifier: GPL-2.0

//! When to give a part of a deep queue to other CPUs.
//!
//! The task that queues a request mostly carries it out itself: that costs the least. But a task
//! with a deep queue then does all the work on its own CPU, while other CPUs may be idle. With
//! their help it completes more requests, though each request costs more.
//!
//! The driver does not see the depth of the queue: a task that carries out its own requests has one
//! under way at a time. So the policy finds the depth by trying. It hands a few requests over to
//! other CPUs. If the same task queues another request while two of them still wait, its queue is
//! deep. A task that waits for each request never does that.
//!
//! ```text
//!   Alone      the task carries out its requests. After a pause:
//!     |  ^
//!     v  |     no deep queue was seen for a few requests: the next pause is longer
//!   Sharing    requests are handed over.
//! ```
//!
//! A task that waits for each request soon has 6 of 2,054 requests handed over.
//!
//! Nothing here knows the kernel.

/// The decision about a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The task carries out this number of requests, including the new one, before it asks again.
    Alone(u32),
    /// Another CPU carries it out, if it has room.
    Share,
}

/// The policy of one CPU.
#[derive(Debug)]
pub(crate) struct SharingPolicy {
    /// The number of requests to hand over until the queue counts as shallow. 0 in phase Alone.
    left: u32,
    /// The length of the next pause, in requests.
    pause: u32,
    /// The task that queued the last request, by its number.
    task: i32,
}

impl SharingPolicy {
    /// A queue is deep if this number of requests wait in lanes when a task queues the next one.
    /// With one that is being carried out, and the next one, these are 4: sharing does not pay for
    /// fewer.
    const DEEP: u32 = 2;
    /// So is one whose requests arrive together, if there are this many.
    pub(crate) const DEEP_BATCH: usize = 4;
    /// The shortest pause in requests.
    const SHORTEST_PAUSE: u32 = 64;
    /// The longest pause in requests.
    const LONGEST_PAUSE: u32 = 1 << 11;
    /// The number of requests that are handed over to learn the depth.
    const PROBES: u32 = 6;
    /// After this number of requests in a row that find no deep queue, the queue counts as shallow.
    const PATIENCE: u32 = 128;

    /// A policy that has just begun.
    pub(crate) const fn new() -> Self {
        Self {
            left: 0,
            pause: Self::SHORTEST_PAUSE,
            task: 0,
        }
    }

    /// Decides about a new request of a task. `waiting` is the number of requests that this CPU has
    /// handed over and that other CPUs have not begun with.
    pub(crate) fn arrive(&mut self, task: i32, waiting: u32) -> Verdict {
        // Several tasks of which each waits for its request are not a deep queue.
        let is_same_task = self.task == task;
        self.task = task;
        if self.left == 0 {
            self.left = Self::PROBES;
            return Verdict::Share;
        }
        if is_same_task && waiting >= Self::DEEP {
            self.left = Self::PATIENCE;
            self.pause = Self::SHORTEST_PAUSE;
            return Verdict::Share;
        }
        self.left -= 1;
        if self.left > 0 {
            return Verdict::Share;
        }
        let pause = self.pause;
        self.pause = (pause * 4).min(Self::LONGEST_PAUSE);
        Verdict::Alone(pause)
    }
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_sharing))]
mod tests {
    use super::*;

    /// Lets `requests` of several tasks arrive in turn. Other CPUs begin with a request only when
    /// more than `max_waiting` wait. Returns the number of requests that were handed over.
    fn run(policy: &mut SharingPolicy, requests: u32, tasks: i32, max_waiting: u32) -> u32 {
        let (mut alone, mut shared, mut waiting) = (0, 0, 0);
        for (_, task) in (0..requests).zip((0..tasks).cycle()) {
            if alone > 0 {
                alone -= 1;
                continue;
            }
            match policy.arrive(task, waiting) {
                // This one is the first of them.
                Verdict::Alone(next) => alone = next - 1,
                Verdict::Share => {
                    shared += 1;
                    waiting = max_waiting.min(waiting + 1);
                }
            }
        }
        shared
    }

    #[test]
    fn deep_queue() {
        let mut policy = SharingPolicy::new();
        assert_eq!(run(&mut policy, 100_000, 1, SharingPolicy::DEEP), 100_000);
        assert_eq!(run(&mut policy, 100_000, 1, 15), 100_000);
    }

    #[test]
    fn task_that_waits_for_each_request() {
        for depth in 1..=SharingPolicy::DEEP {
            let mut policy = SharingPolicy::new();
            assert!(run(&mut policy, 1_000_000, 1, depth - 1) < 4_000);
        }
    }

    #[test]
    fn many_tasks_that_wait_for_each_request() {
        let mut policy = SharingPolicy::new();
        assert!(run(&mut policy, 1_000_000, 16, 15) < 4_000);
    }

    #[test]
    fn queue_that_becomes_shallow() {
        let mut policy = SharingPolicy::new();
        run(&mut policy, 10_000, 1, 15);
        assert!(run(&mut policy, 100_000, 1, 0) < 600);
        // The next probe finds a deep one again.
        run(&mut policy, 20_000, 1, 15);
        assert_eq!(run(&mut policy, 100_000, 1, 15), 100_000);
    }
}
