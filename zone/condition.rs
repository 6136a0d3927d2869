// SPDX-License-Identifier: GPL-2.0

//! The condition of a zone, and how its medium fails.

use core::fmt;

/// The condition of a sequential zone in a report.
///
/// The names are those of `enum blk_zone_cond` in `include/uapi/linux/blkzoned.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    /// Nothing is written and nobody has opened it.
    Empty,
    /// Opened by a write; the device may close it to make room.
    ImplicitOpen,
    /// Opened by an open command; only a command closes it.
    ExplicitOpen,
    /// Partly written and not open.
    Closed,
    /// The write pointer is at the capacity; only a reset can change it.
    Full,
    /// The data can be read, and nothing else is possible.
    ReadOnly,
    /// Nothing is possible.
    Offline,
}

impl Condition {
    /// The condition of an unused zone that has `written` of `capacity` sectors.
    pub(crate) fn found(written: u64, capacity: u64) -> Self {
        match written {
            0 => Self::Empty,
            written if written == capacity => Self::Full,
            _ => Self::Closed,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::ImplicitOpen => "implicitly open",
            Self::ExplicitOpen => "explicitly open",
            Self::Closed => "closed",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Offline => "offline",
        })
    }
}

/// How a medium fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// What was written can still be read.
    ReadOnly,
    /// Nothing is possible any more.
    Offline,
}
