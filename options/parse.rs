// SPDX-License-Identifier: GPL-2.0

//! The parser of commands and records.
//!
//! Each option is read by itself, in the order of the text, so a message is about the first
//! mistake. Then the command or the record takes the values that it needs from the
//! [`ParsedOptions`].

use super::{
    error::Error,
    geometry::GeometrySpec,
    record::{
        AddOptions,
        DeviceOptions,
        Overrides, //
    },
    table::{
        find,
        Scope,
        Value,
        WRITE_FAULTS,
        ZERO_OR_ONE, //
    },
    value::{
        self,
        split_once,
        ValueError,
        ZoneRanges, //
    },
};
use crate::{
    fault::{
        power_loss::PowerLoss,
        Clear,
        Injection, //
    },
    zone::{
        declaration::{
            Declaration,
            ZoneSpan, //
        },
        Failure, //
    },
};

/// The directory that has the directories of the devices, unless `base_dir` names another one.
const DEFAULT_BASE_DIR: &[u8] = b"/var/local/zloop";

/// A command of the control device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command<'a> {
    /// Add a device: a new one, or one that was removed before.
    Add(AddOptions<'a>),
    /// Remove the device with this `id`.
    Remove { id: u32 },
    /// Declare zones of the device with this `id` to have failed or to be good.
    Declare { id: u32, declaration: Declaration },
    /// Inject faults into the device with this `id`.
    Inject { id: u32, injection: Injection },
    /// Remove the device with this `id` as a power failure would.
    PowerFail { id: u32, loss: PowerLoss },
}

impl<'a> Command<'a> {
    /// Reads a command.
    ///
    /// # Errors
    ///
    /// The first mistake in `text`.
    // Like `noinline_for_stack` in C: the stack is free again before the command is carried out.
    #[inline(never)]
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Error<'a>> {
        let (name, list) = split_name(split_once(text, 0).0, |byte| is_space(byte) || byte == b',');
        let scope = match name {
            b"add" => Scope::Add,
            b"remove" => Scope::Remove,
            b"powerfail" => Scope::PowerFail,
            b"inject" => Scope::Inject,
            _ => Scope::Declare(failure_of(name)?),
        };
        let parsed = ParsedOptions::read(list, scope)?;
        if scope == Scope::Add {
            return Ok(Self::Add(parsed.add));
        }
        let declaration = parsed.declaration(scope)?;
        let id = parsed.id.ok_or(Error::Missing("id", scope))?;
        let id = id.ok_or(Error::NegativeId)?;
        let (injection, loss) = (parsed.injection, parsed.loss);
        Ok(match (scope, declaration) {
            (_, Some(declaration)) => Self::Declare { id, declaration },
            (Scope::Inject, _) if injection == Injection::default() => {
                return Err(Error::Missing("a fault", scope));
            }
            (Scope::Inject, _) => Self::Inject { id, injection },
            (Scope::PowerFail, _) => Self::PowerFail { id, loss },
            _ => Self::Remove { id },
        })
    }
}

impl DeviceOptions {
    /// Reads the record of a device.
    ///
    /// # Errors
    ///
    /// The first mistake. A record must have the four options of the geometry, and only options
    /// that can be recorded.
    // Like `noinline_for_stack` in C: the stack is free again before files are opened.
    #[inline(never)]
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Error<'_>> {
        let scope = Scope::Record;
        let add = ParsedOptions::read(split_once(text, 0).0, scope)?.add;
        let geometry = &add.geometry;
        for (option, is_there) in [
            ("capacity_mb", geometry.capacity.is_some()),
            ("zone_size_mb", geometry.zone_size.is_some()),
            ("zone_capacity_mb", geometry.zone_capacity.is_some()),
            ("conv_zones", geometry.conv_zones.is_some()),
        ] {
            if !is_there {
                return Err(Error::Missing(option, scope));
            }
        }
        add.new_device().map_err(Error::Conflict)
    }
}

/// Reads the record of declarations. Each line has one [`Declaration`].
pub(crate) fn recorded_declarations(
    text: &[u8],
) -> impl Iterator<Item = Result<Declaration, Error<'_>>> {
    let read = |line| {
        let (name, list) = split_name(line, is_space);
        let scope = Scope::RecordedDeclaration(failure_of(name)?);
        ParsedOptions::read(list, scope)?.declaration(scope)
    };
    let lines = text.split(|&byte| byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .filter_map(move |line| read(line).transpose())
}

/// Splits a text before the first byte for which `ends` is true.
fn split_name(text: &[u8], ends: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let len = text.iter().position(|&byte| ends(byte));
    text.split_at(len.unwrap_or(text.len()))
}

/// The failure that a command declares.
fn failure_of(command: &[u8]) -> Result<Option<Failure>, Error<'_>> {
    Declaration::failure(command).ok_or(Error::UnknownCommand(command))
}

/// Whether a byte is white space, as in C's `isspace()`.
fn is_space(byte: u8) -> bool {
    // `is_ascii_whitespace()` leaves out the vertical tab.
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

/// The options that were read so far. Each is valid by itself.
struct ParsedOptions<'a> {
    /// The inner `None` is a negative `id`.
    id: Option<Option<u32>>,
    add: AddOptions<'a>,
    zones: Option<ZoneSpan>,
    injection: Injection,
    loss: PowerLoss,
}

impl<'a> ParsedOptions<'a> {
    /// Reads a list of options.
    fn read(list: &'a [u8], scope: Scope) -> Result<Self, Error<'a>> {
        let mut parsed = Self {
            id: None,
            add: AddOptions {
                id: None,
                base_dir: DEFAULT_BASE_DIR,
                geometry: GeometrySpec::default(),
                overrides: Overrides::NONE,
            },
            zones: None,
            injection: Injection::default(),
            loss: PowerLoss::All,
        };
        let (_, list) = split_name(list, |byte| !is_space(byte));
        for item in list.split(|&byte| byte == b',' || byte == b'\n') {
            if !item.is_empty() {
                parsed.read_option(item, scope)?;
            }
        }
        parsed.add.id = parsed.id.flatten();
        Ok(parsed)
    }

    fn read_option(&mut self, item: &'a [u8], scope: Scope) -> Result<(), Error<'a>> {
        let (name, given) = split_once(item, b'=');
        let (row, option) = find(name)
            .filter(|(_, option)| scope.takes(option))
            .ok_or(Error::UnknownOption { name, scope })?;
        self.set(row, option.value, given)
            .map_err(|error| Error::Value(option, given.unwrap_or_default(), error))
    }

    /// Sets the option in a row to the value that is `given`.
    fn set(&mut self, row: usize, to: Value, given: Option<&'a [u8]>) -> Result<(), ValueError> {
        let text = match (to, given) {
            (Value::Clear, Some(_)) => return Err(ValueError::Unwanted),
            (Value::Clear | Value::Flag(_), given) => given.unwrap_or(b"1"),
            (_, None | Some([])) => return Err(ValueError::Missing),
            (_, Some(text)) => text,
        };
        let overrides = &mut self.add.overrides;
        match to {
            Value::Id => self.id = Some(value::id(text)?),
            Value::BaseDir => self.add.base_dir = text,
            Value::Size(allowed, size) => {
                *size(&mut self.add.geometry) = Some(allowed.read(text)?);
            }
            Value::ConvZones => self.add.geometry.conv_zones = Some(ZoneRanges::read(text)?),
            Value::Number(allowed, number) => {
                *number(overrides.name(row)) = allowed.read_u32(text)?;
            }
            Value::Bit(bit) | Value::Flag(bit) => {
                *bit(overrides.name(row)) = ZERO_OR_ONE.read_u32(text)? > 0
            }
            Value::WriteFault => {
                let mut words = WRITE_FAULTS.iter();
                let word = words.find(|(word, _)| word.as_bytes() == text);
                overrides.name(row).write_fault = word.ok_or(ValueError::OutOfRange)?.1;
            }
            Value::Seed => self.loss = PowerLoss::Part(value::number_u32(text)?),
            Value::Zones => self.zones = Some(value::zone_span(text)?),
            Value::BadBlocks(change) => {
                *change(&mut self.injection) = Some(value::bad_blocks(text)?)
            }
            Value::Fault(allowed, set) => set(&mut self.injection, allowed.read_u32(text)?),
            Value::Clear => self.injection.clear = Some(Clear),
        }
        Ok(())
    }

    /// The declaration, if `scope` is that of a declaration.
    fn declaration(&self, scope: Scope) -> Result<Option<Declaration>, Error<'a>> {
        let (Scope::Declare(failure) | Scope::RecordedDeclaration(failure)) = scope else {
            return Ok(None);
        };
        let zones = self.zones.ok_or(Error::Missing("zones", scope))?;
        Ok(Some(Declaration { zones, failure }))
    }
}
