// SPDX-License-Identifier: GPL-2.0

//! The mistakes in a command, and their lines in the log.

use super::{
    table::{
        find,
        options,
        Opt,
        Scope, //
    },
    value::{
        OptionConflict,
        ValueError, //
    },
};
use core::fmt;

/// The number of bytes of a wrong text that a message repeats.
const QUOTE_LEN: usize = 48;

/// A mistake in a command. [`Display`](fmt::Display) writes a line for the log, without a line end:
/// the option, the mistake and the allowed values.
pub(crate) enum Error<'a> {
    /// There is no command with this name.
    UnknownCommand(&'a [u8]),
    /// There is no option with this name, or not in this scope.
    UnknownOption { name: &'a [u8], scope: Scope },
    /// The option never takes this text as its value.
    Value(&'static Opt, &'a [u8], ValueError),
    /// The option does not take this value together with the values of the other options.
    Conflict(OptionConflict<'a>),
    /// The command needs an option that is missing.
    Missing(&'static str, Scope),
    /// The `id` is negative in a command that needs the `id` of a device.
    NegativeId,
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCommand(name) => {
                write!(f, "unknown command {}: must be add, remove, ", Quoted(name))?;
                f.write_str("powerfail, zone_readonly, zone_offline, zone_good or inject")
            }
            Self::UnknownOption { name, scope } => {
                match find(name) {
                    Some((_, option)) => write!(f, "{}: not an option here,", option.name)?,
                    None => write!(f, "unknown option {}:", Quoted(name))?,
                }
                write!(f, " {scope} takes")?;
                let taken = options().filter(|option| scope.takes(option));
                for (nr, option) in taken.enumerate() {
                    let separator = if nr > 0 { "," } else { "" };
                    write!(f, "{separator} {}", option.name)?;
                }
                Ok(())
            }
            Self::Value(option, given, error) => {
                let Opt {
                    name,
                    value,
                    meaning,
                } = option;
                let given = Quoted(given);
                let wrong = match error {
                    ValueError::Missing => {
                        return write!(f, "{name}: has no value, must be {value}");
                    }
                    ValueError::Unwanted => return write!(f, "{name}={given}: must be {value}"),
                    ValueError::NotANumber => "not a number, ",
                    ValueError::OutOfRange => "",
                };
                write!(f, "{name}={given}: {wrong}must be {value} ({meaning})")
            }
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::Missing(option, scope) => write!(f, "{option}: missing, {scope} needs it"),
            Self::NegativeId => f.write_str("id: negative, must be that of a device"),
        }
    }
}

/// Writes any bytes in a form for the log: quoted, escaped, and cut if there are many.
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
