// SPDX-License-Identifier: GPL-2.0

//! Messages for the kernel log.
//!
//! A refused command writes one line: [`cmd_err!`](crate::cmd_err). The line names the device, the
//! mistake and the allowed values. A failed request writes a line, too:
//! [`io_err_ratelimited!`](crate::io_err_ratelimited). The number of these lines is limited,
//! because a user who can send requests must not be able to flood the log.

use crate::kernel_ext::block::zoned_mq::ReqOp;

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

/// Logs the reason why a command for a device is refused.
#[macro_export]
macro_rules! cmd_err {
    ($id:expr, $($arg:tt)*) => {
        ::kernel::pr_err!("zloop{}: {}\n", $id, ::kernel::prelude::fmt!($($arg)*))
    };
}

/// Logs the error of a request, unless there were too many messages lately.
#[macro_export]
macro_rules! io_err_ratelimited {
    ($shared:expr, $($arg:tt)*) => {
        if $shared.rate_limit().allow() {
            ::kernel::pr_err!("zloop{}: {}\n", $shared.id(), ::kernel::prelude::fmt!($($arg)*))
        }
    };
}

/// The name of an operation in messages.
pub(crate) fn op_name(op: Option<ReqOp>) -> &'static str {
    match op {
        Some(ReqOp::Read) => "read",
        Some(ReqOp::Write) => "write",
        Some(ReqOp::Flush) => "flush",
        Some(ReqOp::ZoneAppend) => "zone append",
        Some(ReqOp::ZoneOpen) => "zone open",
        Some(ReqOp::ZoneClose) => "zone close",
        Some(ReqOp::ZoneFinish) => "zone finish",
        Some(ReqOp::ZoneReset) => "zone reset",
        Some(ReqOp::ZoneResetAll) => "reset of all zones",
        Some(ReqOp::Discard) => "discard",
        Some(ReqOp::WriteZeroes) => "write zeroes",
        None => "request",
    }
}

/// Limits the number of messages.
///
/// At the border of an interval, two tasks may each get one message too many. Nothing depends on
/// the exact number.
pub(crate) struct RateLimit {
    start: Instant<Monotonic>,
    /// The interval in which `messages` was counted.
    interval: Atomic<i64>,
    messages: Atomic<i32>,
}

impl RateLimit {
    /// The kernel's `DEFAULT_RATELIMIT_INTERVAL` and `DEFAULT_RATELIMIT_BURST`.
    const INTERVAL: Delta = Delta::from_secs(5);
    const BURST: i32 = 10;

    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            interval: Atomic::new(0),
            messages: Atomic::new(0),
        }
    }

    /// Whether one more message is allowed now. Counts it if it is.
    pub(crate) fn allow(&self) -> bool {
        let interval = self.start.elapsed().as_nanos() / Self::INTERVAL.as_nanos();
        // ORDERING: `Relaxed`, all of them: nothing depends on the exact number of messages.
        if self.interval.xchg(interval, Relaxed) != interval {
            self.messages.store(0, Relaxed);
        }
        let messages = self.messages.load(Relaxed);
        if messages >= Self::BURST {
            return false;
        }
        self.messages.store(messages + 1, Relaxed);
        true
    }
}
