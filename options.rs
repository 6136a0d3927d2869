// SPDX-License-Identifier: GPL-2.0

//! The language of `/dev/zloop-control`.
//!
//! Each write is one command. The language is that of the C driver, so scripts for the C driver
//! have the same meaning here:
//!
//! ```text
//! add id=0,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=63
//! remove id=0
//! powerfail id=0,seed=1
//! ```
//!
//! The C driver does not have the commands that declare zones to have failed or to be good again:
//!
//! ```text
//! zone_readonly id=0,zones=3-5
//! zone_offline id=0,zones=9
//! zone_good id=0,zones=3-9
//! ```
//!
//! The C driver does not have the command that makes requests fail, get lost or take longer either:
//!
//! ```text
//! inject id=0,badblocks=+4096-4103,badblocks_once=1
//! ```
//!
//! A command starts with its name. The name ends at white space, at a comma or at the end of the
//! text. White space after it is skipped. A list of options follows, separated by commas or
//! newlines. Any number of separators is allowed, so the newline of `echo` has no effect. No other
//! white space is allowed. A NUL ends the text.
//!
//! An option is a name, or a name, `=` and a value. If an option is given more than once, the last
//! value counts, but each value must be valid. `options/table.rs` lists all options. An option that
//! an `add` does not name has its recorded value or its default: see `options/record.rs`.
//!
//! - A number is decimal, with or without leading zeros, or hexadecimal after `0x`. There are no
//!   signs.
//! - A size in bytes may end in `K`, `M`, `G`, `T`, `P` or `E`; `E` only if it is decimal.
//! - Conventional zones are the number of the first zones, or ranges: `0-3:10:20-21`.
//! - An `id` may be negative. In an `add`, this means the first free number. A leading `0` makes an
//!   `id` octal.
//! - The zones of a declaration are one number, or the first number, `-` and the last number.
//! - Sectors are a `+` or a `-`, the first sector, `-` and the last sector, as in `null_blk`.
//! - A flag may have the value 1, which changes nothing, or 0, which has the same effect as no
//!   flag.
//! - A path is any text without a separator. It is not interpreted.
//!
//! The C driver takes other numbers: hexadecimal ones only for `id`, no leading zero before an 8 or
//! a 9, and at most 23 digits. The C driver also takes letters after a command's name, as in
//! `addid=0`, and an `id` that is a lone `-` or that wraps around. These are errors here.
//!
//! A text that is not in the language is refused as a whole. The [`Error`] becomes a line in the
//! log.

mod error;
mod geometry;
mod parse;
mod record;
pub(crate) mod table;
mod value;

pub(crate) use self::{
    error::Error,
    geometry::Geometry,
    parse::{
        recorded_declarations,
        Command, //
    },
    record::{
        AddCommand,
        AddOptions,
        DeviceOptions, //
    },
    value::{
        OptionValue,
        Unit,
        ZoneIndex, //
    },
};

/// The beginning of the text that a read of the control device returns. It is byte for byte the
/// text of the C driver, so it has only the options of the C driver.
pub(crate) const SYNTAX: &str = "add id=%d,capacity_mb=%u,zone_size_mb=%u,zone_capacity_mb=%u,\
    conv_zones=%u,base_dir=%s,nr_queues=%u,queue_depth=%u,buffered_io,zone_append=%u,\
    ordered_zone_append,discard_write_cache,max_open_zones=%u\n\
    remove id=%d\n";

#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod tests;
