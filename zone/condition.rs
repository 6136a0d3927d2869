// SPDX-License-Identifier: GPL-2.0

//! The condition of a zone, and the failures of its medium.

use core::fmt;

/// The condition of a sequential zone in a report.
///
/// The names are those of `enum blk_zone_cond` in `include/uapi/linux/blkzoned.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Condition {
    /// The zone has no data and is not open.
    Empty,
    /// A write has opened the zone. The device may close it to make room.
    ImplicitOpen,
    /// An open command has opened the zone. Only a command closes it.
    ExplicitOpen,
    /// The zone has data, is not full, and is not open.
    Closed,
    /// The write pointer is at the capacity. Only a reset can move it.
    Full,
    /// The data can be read. Every other command fails.
    ReadOnly,
    /// Every command fails.
    Offline,
}

impl Condition {
    /// The condition of a zone after an `add`, with `written` of `capacity` sectors.
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

/// A failure of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Failure {
    /// The data can still be read.
    ReadOnly,
    /// The data can't be read any more.
    Offline,
}
