// SPDX-License-Identifier: GPL-2.0

//! From a list of options to what it means.
//!
//! Each option is read into a [`Draft`] by itself, in the order of the text, so that the first
//! mistake is the one that is told. When all were read the draft says what they mean to the command
//! or the record that they stand in, which may be that some is missing.

use core::num::NonZeroU32;

use crate::{
    declaration::{
        Declaration,
        ZoneRange, //
    },
    fault::Injection,
    geometry::{
        Geometry,
        Shape, //
    },
    option_error::{
        Error,
        Fault, //
    },
    option_record::{
        DeviceOptions,
        Named, //
    },
    option_table::{
        options,
        Scope,
        Value,
        ID,
        ZONES, //
    },
    option_text::{
        bad_blocks,
        id,
        is_space,
        number,
        size,
        switch,
        up_to,
        zone_ranges,
        zones, //
    },
    options::{
        refusal,
        shape_options,
        AddOptions,
        IsGiven,
        Switch, //
    },
    power_failure::Loss,
    zone::Failure,
};

/// Where the directories of devices are if `base_dir` doesn't say.
const DEFAULT_BASE_DIR: &[u8] = b"/var/local/zloop";
/// Requests that each queue of a device can hold if `queue_depth` doesn't say.
pub(crate) const DEFAULT_QUEUE_DEPTH: NonZeroU32 = NonZeroU32::MIN.saturating_add(127);
/// The block layer's `BLK_MQ_MAX_DEPTH`. It makes do with this much where more is asked for.
pub(crate) const MAX_QUEUE_DEPTH: NonZeroU32 = NonZeroU32::MIN.saturating_add(10239);

/// The largest `id`. The C driver takes an `int`, and names its disk, directory and work queue
/// with it.
// CAST: The maximum of `i32` is a `u32`.
pub(crate) const MAX_ID: u32 = i32::MAX as u32;
/// The smallest `id`, without its sign.
pub(crate) const MIN_ID_MAGNITUDE: u32 = i32::MIN.unsigned_abs();

/// A device's number as it is written.
#[derive(Clone, Copy)]
pub(crate) enum Id {
    /// This one, at most [`MAX_ID`].
    Number(u32),
    /// A negative one.
    FirstFree,
}

/// The options that were read so far, each valid by itself.
pub(crate) struct Draft<'a> {
    pub(crate) id: Option<Id>,
    pub(crate) zones: Option<ZoneRange>,
    pub(crate) injection: Injection,
    pub(crate) shape: Shape,
    pub(crate) base_dir: &'a [u8],
    pub(crate) named: Named,
    pub(crate) loss: Loss,
}

impl<'a> Draft<'a> {
    /// Reads a list of options.
    pub(crate) fn read(list: &'a [u8], scope: Scope) -> Result<Self, Error<'a>> {
        let mut draft = Self {
            id: None,
            zones: None,
            injection: Injection::default(),
            shape: Shape::default(),
            base_dir: DEFAULT_BASE_DIR,
            named: Named::default(),
            loss: Loss::All,
        };
        let spaces = up_to(list, |byte| !is_space(byte)).len();
        let list = list.get(spaces..).unwrap_or_default();
        for item in list.split(|&byte| byte == b',' || byte == b'\n') {
            if !item.is_empty() {
                draft.read_option(item, scope)?;
            }
        }
        Ok(draft)
    }

    /// Reads one option.
    fn read_option(&mut self, item: &'a [u8], scope: Scope) -> Result<(), Error<'a>> {
        let name = up_to(item, |byte| byte == b'=');
        // What is left is empty or starts with `=`.
        let given = item.get(name.len()..).and_then(|rest| rest.get(1..));
        let option = options()
            .find(|option| option.name.as_bytes() == name)
            .ok_or(Error::UnknownOption { name, scope })?;
        if !scope.takes(option) {
            return Err(Error::Misplaced { option, scope });
        }

        let bad = |given| {
            move |fault| Error::Bad {
                option,
                given,
                fault,
            }
        };
        match (&option.value, given) {
            (Value::Nothing(set), None) => set(self),
            (Value::Nothing(_), Some(given)) => return Err(Error::Unwanted { option, given }),
            (Value::Switch(set), None) => set(self, Switch::On),
            (Value::Switch(set), Some(given)) => set(self, switch(given).map_err(bad(given))?),
            (_, None | Some([])) => return Err(Error::Empty(option)),
            (Value::Id(set), Some(given)) => set(self, id(given).map_err(bad(given))?),
            (Value::Word(words, set), Some(given)) => {
                let nr = words.iter().position(|word| word.as_bytes() == given);
                set(self, nr.ok_or(Fault::OutOfRange).map_err(bad(given))?);
            }
            (Value::BadBlocks(set), Some(given)) => {
                set(self, bad_blocks(given).map_err(bad(given))?)
            }
            (Value::Zones(set), Some(given)) => set(self, zones(given).map_err(bad(given))?),
            (Value::Number(allowed, set), Some(given)) => {
                let number = number(given).map_err(bad(given))?;
                if !allowed.contains(number.into()) {
                    return Err(bad(given)(Fault::OutOfRange));
                }
                set(self, number);
            }
            (Value::Size(range, set), Some(given)) => {
                set(self, size(given, range).map_err(bad(given))?);
            }
            (Value::Conventional(set), Some(given)) => {
                set(self, zone_ranges(given).map_err(bad(given))?);
            }
            (Value::Path(set), Some(given)) => set(self, given),
        }
        Ok(())
    }

    /// What the options mean to `add`.
    pub(crate) fn add(self) -> Result<AddOptions<'a>, Error<'a>> {
        Ok(AddOptions {
            id: match self.id {
                Some(Id::Number(id)) => Some(id),
                Some(Id::FirstFree) | None => None,
            },
            base_dir: self.base_dir,
            shape: self.shape,
            named: self.named,
        })
    }

    /// What the options mean to `powerfail`.
    pub(crate) fn power_fail(self) -> Result<(u32, Loss), Error<'a>> {
        Ok((self.device(Scope::PowerFail)?, self.loss))
    }

    /// The device that is meant, which must be there.
    pub(crate) fn device(&self, scope: Scope) -> Result<u32, Error<'a>> {
        match self.id {
            Some(Id::Number(id)) => Ok(id),
            Some(Id::FirstFree) => Err(Error::NoSuchDevice),
            None => Err(Error::Missing { option: ID, scope }),
        }
    }

    /// The faults that are to be injected: at least one, or `clear`.
    pub(crate) fn injection(&self) -> Result<Injection, Error<'a>> {
        if self.injection == Injection::default() {
            return Err(Error::Missing {
                option: "a fault",
                scope: Scope::Inject,
            });
        }
        Ok(self.injection)
    }

    /// The zones that are meant, declared to have failed so.
    pub(crate) fn declaration(
        &self,
        failure: Option<Failure>,
        scope: Scope,
    ) -> Result<Declaration, Error<'a>> {
        let option = ZONES;
        let zones = self.zones.ok_or(Error::Missing { option, scope })?;
        Ok(Declaration { zones, failure })
    }

    /// What the options mean in a device's directory.
    pub(crate) fn recorded(self) -> Result<DeviceOptions, Error<'a>> {
        for (option, given) in shape_options(&self.shape) {
            if given == IsGiven::No {
                return Err(Error::Missing {
                    option,
                    scope: Scope::Record,
                });
            }
        }
        let geometry =
            Geometry::new(self.shape).map_err(|refused| refusal(refused, &self.shape))?;
        DeviceOptions::of(geometry).with(&self.named)
    }
}
