// SPDX-License-Identifier: GPL-2.0

//! The options of a device, and their record for the next `add`.
//!
//! Beside the zone files there is a record of the last `add`. It has the options of this `add`,
//! except `id` and `base_dir`, in the form that `add` takes. It always has the geometry. It has
//! other options only if they do not have their default:
//!
//! ```text
//! capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=64,conv_zones=8,max_open_zones=14,rotational
//! ```
//!
//! An option that a later `add` does not name keeps its recorded value. But an `add` that names any
//! part of the geometry describes the whole device, as every `add` of the C driver does. Then all
//! other options that it does not name get their defaults. The geometry itself can't be changed.
//! The block size is not part of the geometry here, because it does not change the place of data.
//!
//! A read of the control device shows the command that adds a device again. It has the same text
//! and the defaults.

use super::{
    geometry::{
        Geometry,
        GeometrySpec, //
    },
    table::{
        find,
        Opt,
        Tunables,
        Value,
        NR_OPTIONS,
        OPTIONS,
        WRITE_FAULTS, //
    },
    value::{
        Allowed,
        OptionConflict,
        OptionValue, //
    },
};
use core::fmt;

/// The block layer's `BLK_MQ_MAX_DEPTH`. The block layer reduces larger depths to this one.
const MAX_QUEUE_DEPTH: u32 = 10240;

/// The order of the options in a record. The `bool` is true if the shown command always has the
/// option, because scripts for the C driver use it.
const RECORDED: [(&str, bool); 13] = [
    ("block_size", false),
    ("nr_queues", true),
    ("queue_depth", true),
    ("max_open_zones", true),
    ("max_active_zones", false),
    ("zone_append", true),
    ("ordered_zone_append", false),
    ("buffered_io", false),
    ("discard_write_cache", false),
    ("lazy_files", false),
    ("volatile_cache", false),
    ("rotational", false),
    ("write_fault", false),
];

/// The tunables that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overrides {
    values: Tunables,
    /// For each row of [`OPTIONS`], whether the command names it.
    named: [bool; NR_OPTIONS],
}

impl Overrides {
    /// No option is named.
    pub(crate) const NONE: Self = Self {
        values: Tunables::DEFAULT,
        named: [false; NR_OPTIONS],
    };

    /// Marks the option in a row as named. The caller sets its value in the result.
    pub(crate) fn name(&mut self, row: usize) -> &mut Tunables {
        if let Some(named) = self.named.get_mut(row) {
            *named = true;
        }
        &mut self.values
    }

    fn named(&self) -> impl Iterator<Item = &'static Opt> + '_ {
        let rows = OPTIONS.iter().zip(&self.named);
        rows.filter_map(|(option, &named)| named.then_some(option))
    }

    /// The origin of the value of an option that is not named.
    fn origin(&self, name: &str) -> Option<&'static str> {
        let is_named = self.named().any(|option| option.name == name);
        (!is_named).then_some("recorded")
    }
}

/// The options of an `add` command. Paths are parts of the command's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddOptions<'a> {
    /// Number of the device, at most `i32::MAX`; `None` asks for the first free one.
    pub(crate) id: Option<u32>,
    /// Path of the directory that holds the device's directory, which is named after its `id`.
    /// Neither empty nor with a NUL; may be relative.
    pub(crate) base_dir: &'a [u8],
    pub(crate) geometry: GeometrySpec,
    pub(crate) overrides: Overrides,
}

impl AddOptions<'_> {
    /// The options of a new device.
    ///
    /// # Errors
    ///
    /// The first option whose value conflicts with the other options.
    pub(crate) fn new_device(&self) -> Result<DeviceOptions, OptionConflict<'static>> {
        let geometry = Geometry::new(&self.geometry)?;
        let block_size = self.overrides.values.block_size;
        if block_size > 0 {
            geometry.check_block_size(block_size)?;
        }
        let tunables = Tunables::DEFAULT;
        DeviceOptions { geometry, tunables }.with(&self.overrides)
    }

    /// The options of a device that was `recorded`.
    ///
    /// # Errors
    ///
    /// The first option that would change the geometry, or that conflicts with it.
    pub(crate) fn device_again<'e>(
        &'e self,
        recorded: &'e DeviceOptions,
    ) -> Result<DeviceOptions, OptionConflict<'e>> {
        self.geometry.check_unchanged(&recorded.geometry)?;
        let mut device = *recorded;
        if self.geometry != GeometrySpec::default() {
            // The command describes the whole device.
            device.tunables = Tunables::DEFAULT;
        }
        device.with(&self.overrides)
    }
}

/// All options of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceOptions {
    pub(crate) geometry: Geometry,
    pub(crate) tunables: Tunables,
}

impl DeviceOptions {
    /// The same device with other options.
    ///
    /// # Errors
    ///
    /// A limit is larger than the number of zones.
    fn with(mut self, overrides: &Overrides) -> Result<Self, OptionConflict<'static>> {
        let new = &mut self.tunables;
        if new.max_open_zones == new.max_active_zones {
            // The open limit was not set on its own. It follows a new active limit.
            new.max_open_zones = 0;
        }
        for option in overrides.named() {
            option.value.copy(overrides.values, new);
        }
        if new.max_open_zones == 0 {
            new.max_open_zones = new.max_active_zones;
        }
        new.ordered_zone_append &= new.zone_append;
        new.queue_depth = new.queue_depth.min(MAX_QUEUE_DEPTH);
        self.check_limits(overrides)?;
        Ok(self)
    }

    /// Checks that the limits are not larger than the number of zones, whether they are named or
    /// recorded.
    fn check_limits(&self, overrides: &Overrides) -> Result<(), OptionConflict<'static>> {
        let (open, active) = (self.tunables.max_open_zones, self.tunables.max_active_zones);
        let nr_seq_zones = self.geometry.nr_seq_zones();
        let origin = overrides.origin("max_active_zones");
        let rule = "no more than the sequential zones of the device";
        let given = OptionValue::number(active);
        Allowed::numbers(0, nr_seq_zones).check("max_active_zones", given, rule, origin)?;
        let (max, rule) = match (active, origin) {
            (0, _) => (nr_seq_zones, rule),
            (max, None) => (max, "no more than max_active_zones"),
            (max, Some(_)) => (max, "no more than max_active_zones, as recorded"),
        };
        let given = OptionValue::number(open);
        let origin = overrides.origin("max_open_zones");
        Allowed::numbers(0, max).check("max_open_zones", given, rule, origin)
    }

    /// Writes the options of an `add` command. `defaults` applies to options with their default.
    fn write(&self, f: &mut fmt::Formatter<'_>, defaults: Defaults) -> fmt::Result {
        let all = defaults == Defaults::Shown;
        let (mut now, mut default) = (self.tunables, Tunables::DEFAULT);
        if !all && now.max_open_zones == now.max_active_zones {
            now.max_open_zones = 0;
        }
        fmt::Display::fmt(&self.geometry, f)?;
        for (name, always) in RECORDED {
            let Some((_, option)) = find(name.as_bytes()) else {
                continue;
            };
            let always = always && all;
            match option.value {
                Value::Number(_, number)
                    if always || *number(&mut now) != *number(&mut default) =>
                {
                    write!(f, ",{name}={}", number(&mut now))?;
                }
                Value::Bit(bit) if always || *bit(&mut now) != *bit(&mut default) => {
                    write!(f, ",{name}={}", u8::from(*bit(&mut now)))?;
                }
                Value::Flag(flag) if *flag(&mut now) => write!(f, ",{name}")?,
                Value::WriteFault if now.write_fault.is_some() => {
                    let mut words = WRITE_FAULTS.iter();
                    if let Some((word, _)) = words.find(|(_, fault)| *fault == now.write_fault) {
                        write!(f, ",{name}={word}")?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether to write the options of scripts for the C driver even if they have their default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defaults {
    Shown,
    LeftOut,
}

/// Writes the record of the device, without a line end.
impl fmt::Display for DeviceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, Defaults::LeftOut)
    }
}

/// Writes the `add` command that makes a device again, without `base_dir`. The path comes last, and
/// may have bytes that are not valid UTF-8.
pub(crate) struct AddCommand<'a> {
    /// The number of the device.
    pub(crate) id: u32,
    pub(crate) options: &'a DeviceOptions,
}

impl fmt::Display for AddCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add id={},", self.id)?;
        self.options.write(f, Defaults::Shown)
    }
}

#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod tests;
