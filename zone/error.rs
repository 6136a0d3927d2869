// SPDX-License-Identifier: GPL-2.0

//! The errors of the zone model.

use super::condition::Condition;
use core::fmt;

/// The reason why a command was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneError {
    /// A write does not start at the write pointer, which is at this sector of the zone.
    NotAtWritePointer(u64),
    /// A write or append would end beyond the zone's capacity of this number of sectors.
    BeyondCapacity(u64),
    /// The zone's condition does not allow the command.
    InvalidCondition(Condition),
    /// The open zone limit is reached, and no zone is implicitly open.
    TooManyOpen,
    /// The active zone limit is reached.
    TooManyActive,
}

/// Writes the part of a message after "refused: ".
impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtWritePointer(wp) => {
                write!(f, "not at the write pointer, sector {wp} of the zone")
            }
            Self::BeyondCapacity(capacity) => {
                write!(f, "beyond the zone's capacity of {capacity} sectors")
            }
            Self::InvalidCondition(condition) => write!(f, "the zone is {condition}"),
            Self::TooManyOpen => f.write_str("too many open zones"),
            Self::TooManyActive => f.write_str("too many active zones"),
        }
    }
}
