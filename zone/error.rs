// SPDX-License-Identifier: GPL-2.0

//! Why the zone model refuses a command.

use super::condition::Condition;
use core::fmt;

/// Why a command was not carried out. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneError {
    /// A write that does not start at the write pointer, which is at this sector of the zone.
    NotAtWritePointer(u64),
    /// A write or append that would go past the zone's capacity, which is this many sectors.
    BeyondCapacity(u64),
    /// The zone's condition does not allow the command.
    InvalidCondition(Condition),
    /// The open zone limit is reached, and no zone is implicitly open.
    TooManyOpen,
    /// The active zone limit is reached.
    TooManyActive,
}

/// Writes what follows "refused: " in a message.
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
