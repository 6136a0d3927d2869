// SPDX-License-Identifier: GPL-2.0

//! Discard and write zeroes.
//!
//! In a conventional zone either makes a hole in the zone's file: what is there reads as zeros from
//! then on, and its space goes back to the file system. Write zeroes may ask for the space to be
//! kept; then the file system allocates it without writing to it. The file stays as long as the
//! zone.
//!
//! In a sequential zone write zeroes is a write like others, which must be at the write pointer:
//! see [`crate::device::sequential`]. A discard is refused there: behind the write pointer there is
//! no data, and a reset gives back the space below it.
//!
//! Neither is offered if the file system has no holes. The block layer writes zeros then.

use crate::{
    device::zone_table::Zone,
    device::{
        Device,
        Zloop, //
    },
    kernel_ext::{
        block::{
            mq::{
                Command,
                Request, //
            },
            Status,
        },
        fs::FileExt, //
    },
    report,
};
use kernel::{
    block::SECTOR_SHIFT,
    prelude::*, //
};

/// The part of a request that is for one zone.
struct Part {
    zone: u32,
    /// The first sector, from the start of the device.
    start: u64,
    /// The sector after the last one.
    end: u64,
}

/// The parts of the sectors from `start` to `end`, for each zone one. It ends early where the
/// device does.
fn parts(device: &Device, start: u64, end: u64) -> impl Iterator<Item = Part> + '_ {
    let geometry = device.common().geometry();
    let mut start = start;
    core::iter::from_fn(move || {
        if start >= end {
            return None;
        }
        let zone = geometry.zone_of(start)?;
        let zone_end = geometry
            .zone_start(zone)
            .checked_add(geometry.zone_len(zone))?;
        let part = Part {
            zone,
            start,
            end: end.min(zone_end),
        };
        start = part.end;
        Some(part)
    })
}

/// Carries out a discard, or write zeroes in conventional zones; may sleep.
pub(crate) fn zero(request: Request<Zloop>) {
    let status = match zero_all(&request) {
        Ok(()) => Status::OK,
        Err(err) => err.into(),
    };
    request.end(status);
}

fn zero_all(request: &Request<Zloop>) -> Result {
    let start = request.sector();
    let end = start.saturating_add(u64::from(request.sectors()));
    let device = request.queue_data();
    let geometry = device.common().geometry();
    let name = request.command().map_or("request", Command::name);
    // A discard may go from one zone to the next. What is refused changes nothing.
    let sequential = parts(&device, start, end).find(|part| !geometry.is_conventional(part.zone));
    if let Some(part) = sequential {
        report!(
            device.common(),
            "zone {}: {name} at sector {start}, {} sectors, refused: the zone is sequential",
            part.zone,
            request.sectors()
        );
        return Err(EIO);
    }
    for part in parts(&device, start, end) {
        zero_part(&device, request, &part).inspect_err(|err| {
            report!(
                device.common(),
                "zone {}: {name} at sector {}, {} sectors, failed: {err:?}",
                part.zone,
                part.start,
                part.end.saturating_sub(part.start)
            );
        })?;
    }
    Ok(())
}

fn zero_part(device: &Device, request: &Request<Zloop>, part: &Part) -> Result {
    let zone_start = device.common().geometry().zone_start(part.zone);
    let from = part.start.checked_sub(zone_start).ok_or(EIO)? << SECTOR_SHIFT;
    let to = part.end.checked_sub(zone_start).ok_or(EIO)? << SECTOR_SHIFT;
    let Zone::Conventional(zone) = device.zones().touch(part.zone, GFP_KERNEL)? else {
        return Err(EIO);
    };
    let file = zone.file_to_write(from, to)?;
    // Somebody has cut the file. It would stay as short as it is.
    if !file.is_known_to_have(to) && file.size()? < to {
        return Err(EIO);
    }
    if request.command() == Some(Command::WriteZeroes) && request.data().meet_faults() {
        let sectors = part.end.saturating_sub(part.start);
        let faults = device.common().faults();
        let block = device.common().block_sectors();
        if faults.spoil_write(part.start, sectors, block)?.is_some() {
            return Err(EIO);
        }
    }
    let zeroed = match request.command() {
        Some(Command::WriteZeroes) if request.is_nounmap() => file.zero_range(from, to),
        _ => file.punch_hole(from, to),
    };
    // Even one that fails may have changed something.
    device.common().dirty().mark(part.zone);
    zeroed
}
