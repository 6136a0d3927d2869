// SPDX-License-Identifier: GPL-2.0

//! The driver's pure files as a crate of the host, so that their tests run without a kernel, and
//! the tests that need more than `core`.

#![allow(dead_code, reason = "what only the driver uses is unused here")]
#![deny(unsafe_code)]

#[path = "../../block_set.rs"]
mod block_set;
#[path = "../../declaration.rs"]
mod declaration;
#[path = "../../fault.rs"]
mod fault;
#[path = "../../geometry.rs"]
mod geometry;
#[path = "../../option_draft.rs"]
mod option_draft;
#[path = "../../option_error.rs"]
mod option_error;
#[path = "../../option_record.rs"]
mod option_record;
#[path = "../../option_table.rs"]
mod option_table;
#[path = "../../option_text.rs"]
mod option_text;
#[path = "../../options.rs"]
mod options;
#[path = "../../power_failure.rs"]
mod power_failure;
#[path = "../../sharing.rs"]
mod sharing;
#[path = "../../size.rs"]
mod size;
#[path = "../../team.rs"]
mod team;
#[path = "../../zone.rs"]
mod zone;
#[path = "../../zone_file_name.rs"]
mod zone_file_name;
#[path = "../../zone_ranges.rs"]
mod zone_ranges;

#[cfg(test)]
mod documented;
#[cfg(test)]
mod zone_exhaustive;
#[cfg(test)]
mod zone_model;
#[cfg(test)]
mod zone_rules;
