// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a command, and the line in the log that says so.

use core::fmt;

use crate::{
    geometry::Mismatch,
    option_table::{
        options,
        Opt,
        Scope,
        ID, //
    },
    size::Refused,
};

/// How much of a text that can't be understood is repeated in a message, in bytes.
const QUOTE_LEN: usize = 48;

/// What is wrong with a text. [`Display`](fmt::Display) writes a line for the log, without a line
/// end: it names the option, says what was wrong with it and what is allowed.
#[derive(Debug)]
pub(crate) enum Error<'a> {
    /// The text doesn't start with a command's name, but with this.
    UnknownCommand(&'a [u8]),
    /// There is no option of this name.
    UnknownOption { name: &'a [u8], scope: Scope },
    /// There is such an option, but not here.
    Misplaced { option: &'static Opt, scope: Scope },
    /// The option needs a value.
    Empty(&'static Opt),
    /// The option has a value and takes none at all.
    Unwanted {
        option: &'static Opt,
        given: &'a [u8],
    },
    /// The option doesn't take this value, whatever the others are.
    Bad {
        option: &'static Opt,
        given: &'a [u8],
        fault: Fault,
    },
    /// The option doesn't take this value, given the others.
    Refused { refused: Refused, origin: Origin },
    /// The option doesn't have the value that it had when the device was made.
    Changed(Mismatch<'a>),
    /// An option is not there that must be.
    Missing { option: &'static str, scope: Scope },
    /// A negative `id` was given where that means no device.
    NoSuchDevice,
}

/// What is wrong with the text of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not a number.
    NotANumber,
    /// It is a number, but not one of those that are allowed.
    OutOfRange,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command gave it.
    Given,
    /// The command gave none.
    Default,
    /// The command gave none, but an earlier one did.
    Recorded,
}

/// The error numbers that a command can fail with before anything is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    /// `EINVAL`.
    Inval,
    /// `ENODEV`.
    NoDev,
}

impl Error<'_> {
    /// The error number that the C driver gives, which is what scripts see.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::NoSuchDevice => Errno::NoDev,
            _ => Errno::Inval,
        }
    }
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand(name) => {
                write!(
                    f,
                    "unknown command {}: must be add, remove, powerfail, ",
                    Quoted(name)
                )?;
                f.write_str("zone_readonly, zone_offline, zone_good or inject")
            }
            Self::UnknownOption { name, scope } => {
                let name = Quoted(name);
                write!(f, "unknown option {name}: {scope} takes {}", Taken(*scope))
            }
            Self::Misplaced { option, scope } => {
                let name = option.name;
                write!(f, "{name}: not an option here, {scope} takes ")?;
                Taken(*scope).fmt(f)
            }
            Self::Empty(Opt { name, value, .. }) => {
                write!(f, "{name}: has no value, must be {value}")
            }
            Self::Unwanted { option, given } => {
                let Opt { name, value, .. } = option;
                write!(f, "{name}={}: must be {value}", Quoted(given))
            }
            Self::Bad {
                option,
                given,
                fault,
            } => {
                let Opt {
                    name,
                    meaning,
                    value,
                    ..
                } = option;
                let wrong = match fault {
                    Fault::NotANumber => "not a number, ",
                    Fault::OutOfRange => "",
                };
                let given = Quoted(given);
                write!(f, "{name}={given}: {wrong}must be {value} ({meaning})")
            }
            Self::Refused { refused, origin } => {
                refused.fmt(f)?;
                match origin {
                    Origin::Given => Ok(()),
                    Origin::Default => write!(f, " ({} is the default)", refused.given),
                    Origin::Recorded => write!(f, " ({} is recorded)", refused.given),
                }
            }
            Self::Changed(mismatch) => mismatch.fmt(f),
            Self::Missing { option, scope } => write!(f, "{option}: missing, {scope} needs it"),
            Self::NoSuchDevice => write!(f, "{ID}: negative, must be that of a device"),
        }
    }
}

/// Writes the names of the options that can be used in a place.
struct Taken(Scope);

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = options().filter(|option| self.0.takes(option));
        for (nr, option) in taken.enumerate() {
            if nr > 0 {
                f.write_str(", ")?;
            }
            f.write_str(option.name)?;
        }
        Ok(())
    }
}

/// Writes bytes that may be anything in a form that fits a log: in quotes, escaped, and cut if
/// there are many.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..QUOTE_LEN) {
            Some(start) if start.len() < self.0.len() => {
                write!(f, "\"{}\"...", start.escape_ascii())
            }
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}
