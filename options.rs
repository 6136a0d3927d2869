// SPDX-License-Identifier: GPL-2.0

//! The language of `/dev/zloop-control`.
//!
//! Each write is one command. The language is that of the C driver, whose scripts mean the same
//! here:
//!
//! ```text
//! add id=0,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=63
//! remove id=0
//! powerfail id=0,seed=1
//! ```
//!
//! The C driver does not have the commands that declare zones to have failed, or to be good again:
//!
//! ```text
//! zone_readonly id=0,zones=3-5
//! zone_offline id=0,zones=9
//! zone_good id=0,zones=3-9
//! ```
//!
//! nor the one that makes requests fail, get lost or take longer:
//!
//! ```text
//! inject id=0,badblocks=+4096-4103,badblocks_once=1
//! ```
//!
//! A command starts with its name, which ends at white space, at a comma or with the text. White
//! space after it is skipped. A list of options follows, separated by commas or newlines. There may
//! be any number of separators, so the newline of `echo` means nothing. There is no other white
//! space. A NUL ends the text.
//!
//! An option is a name, or a name, `=` and a value. If it is given more than once, the last one
//! counts, but each must be valid. `options/table.rs` lists all of them. An option that an `add`
//! does not name has its recorded value, or its default: see `options/record.rs`.
//!
//! - A number is decimal, with or without leading zeros, or hexadecimal after `0x`. There are no
//!   signs.
//! - A size in bytes may end in `K`, `M`, `G`, `T`, `P` or `E`; `E` only if it is decimal.
//! - Conventional zones are the number of the first ones, or ranges: `0-3:10:20-21`.
//! - An `id` may be negative, which means the first free one. A leading `0` makes it octal.
//! - The zones of a declaration are a number, or the first one, `-` and the last one.
//! - Sectors are the first one, `-` and the last one, after a `+` or a `-`, as in `null_blk`.
//! - A flag may be followed by `=1`, which changes nothing, or by `=0`, which is as if the flag
//!   were not there.
//! - A path is anything that contains no separator, and is taken as it is.
//!
//! The numbers of the C driver are other ones: hexadecimal only for `id`, no leading zero before an
//! 8 or a 9, and no more than 23 digits. The C driver also takes a command's name with letters
//! after it, as in `addid=0`, and an `id` that is a lone `-` or so large that it wraps around.
//! These are errors here.
//!
//! A text that is not in the language is refused as a whole, with an [`Error`] that becomes a line
//! in the log.

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

/// The text that a read of the control device begins with: byte for byte the C driver's, without
/// the options that the C driver does not have.
pub(crate) const SYNTAX: &str = "add id=%d,capacity_mb=%u,zone_size_mb=%u,zone_capacity_mb=%u,\
    conv_zones=%u,base_dir=%s,nr_queues=%u,queue_depth=%u,buffered_io,zone_append=%u,\
    ordered_zone_append,discard_write_cache,max_open_zones=%u\n\
    remove id=%d\n";

#[cfg(any(test, CONFIG_KUNIT = "y"))]
mod tests;
