// SPDX-License-Identifier: GPL-2.0

//! What is said in the kernel's log.
//!
//! A command that is refused has one line that names the device, what was wrong and what is
//! allowed: [`refuse!`](crate::refuse). A request that fails has a line, too, [`report!`], but no
//! more than a few in a while: whoever can send requests must not be able to flood the log.

use kernel::{
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// Says why a command for a device is refused.
#[macro_export]
macro_rules! refuse {
    ($id:expr, $($arg:tt)*) => {
        ::kernel::pr_err!("zloop{}: {}\n", $id, ::kernel::prelude::fmt!($($arg)*))
    };
}

/// Says what went wrong with a request, unless too much has been said lately.
#[macro_export]
macro_rules! report {
    ($common:expr, $($arg:tt)*) => {
        if $common.messages().allow() {
            ::kernel::pr_err!("zloop{}: {}\n", $common.id(), ::kernel::prelude::fmt!($($arg)*))
        }
    };
}

/// Limits how much is said.
///
/// Two tasks at the border of an interval may both be allowed one message more; nothing depends on
/// the exact number.
pub(crate) struct MessageLimit {
    start: Instant<Monotonic>,
    /// The interval in which `said` was counted.
    interval: Atomic<i64>,
    said: Atomic<i32>,
}

impl MessageLimit {
    /// The kernel's `DEFAULT_RATELIMIT_INTERVAL` and `DEFAULT_RATELIMIT_BURST`.
    const INTERVAL: Delta = Delta::from_secs(5);
    const BURST: i32 = 10;

    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            interval: Atomic::new(0),
            said: Atomic::new(0),
        }
    }

    /// Whether one more message may be said now.
    pub(crate) fn allow(&self) -> bool {
        let interval = self.start.elapsed().as_nanos() / Self::INTERVAL.as_nanos();
        if self.interval.xchg(interval, Relaxed) != interval {
            self.said.store(0, Relaxed);
        }
        let said = self.said.load(Relaxed);
        if said >= Self::BURST {
            return false;
        }
        self.said.store(said + 1, Relaxed);
        true
    }
}
