// SPDX-License-Identifier: GPL-2.0

//! Discard and write zeroes.
//!
//! In a conventional zone both punch a hole in the zone's file: the sectors read as zeros, and the
//! file system gets the space back. Write zeroes with `REQ_NOUNMAP` keeps the space: the file
//! system allocates it without writing to it. The file stays as long as the zone.
//!
//! In a sequential zone write zeroes is a write at the write pointer: see
//! [`crate::device::sequential`]. A discard is refused there: there is no data behind the write
//! pointer, and a reset frees the space below it.
//!
//! If the file system has no holes, the disk offers neither, and the block layer writes zeros.

use crate::{
    device::{
        queue_rq::ZloopQueue,
        zone_table::ZoneRef,
        Device, //
    },
    io_err_ratelimited,
    log::op_name, //
};

use crate::kernel_ext::{
    block::{
        zoned_mq::{
            ReqOp,
            Request, //
        },
        Status, //
    },
    fs::FileExt, //
};

use kernel::{
    block::SECTOR_SHIFT,
    prelude::*, //
};

/// The part of a request in one zone.
struct Part {
    zone: u32,
    /// The first sector, from the start of the device.
    start: u64,
    /// The sector after the last one.
    end: u64,
}

/// The parts of the sectors from `start` to `end`, one for each zone, up to the end of the device.
fn parts(device: &Device, start: u64, end: u64) -> impl Iterator<Item = Part> + '_ {
    let geometry = device.shared().geometry();
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
pub(crate) fn zero(request: Request<ZloopQueue>) {
    let status = match zero_all(&request) {
        Ok(()) => Status::OK,
        Err(err) => err.into(),
    };
    request.end(status);
}

fn zero_all(request: &Request<ZloopQueue>) -> Result {
    let start = request.sector();
    let end = start.saturating_add(u64::from(request.sectors()));
    let device = request.queue_data();
    let geometry = device.shared().geometry();
    let name = op_name(request.op());
    // A discard may cross zones. All of them are checked before the first change.
    let sequential = parts(&device, start, end).find(|part| !geometry.is_conventional(part.zone));
    if let Some(part) = sequential {
        io_err_ratelimited!(
            device.shared(),
            "zone {}: {name} at sector {start}, {} sectors, refused: the zone is sequential",
            part.zone,
            request.sectors()
        );
        return Err(EIO);
    }
    for part in parts(&device, start, end) {
        zero_part(&device, request, &part).inspect_err(|err| {
            io_err_ratelimited!(
                device.shared(),
                "zone {}: {name} at sector {}, {} sectors, failed: {err:?}",
                part.zone,
                part.start,
                part.end.saturating_sub(part.start)
            );
        })?;
    }
    Ok(())
}

fn zero_part(device: &Device, request: &Request<ZloopQueue>, part: &Part) -> Result {
    let zone_start = device.shared().geometry().zone_start(part.zone);
    let from = part.start.checked_sub(zone_start).ok_or(EIO)? << SECTOR_SHIFT;
    let to = part.end.checked_sub(zone_start).ok_or(EIO)? << SECTOR_SHIFT;
    let ZoneRef::Conventional(zone) = device.zones().get_or_create(part.zone, GFP_KERNEL)? else {
        return Err(EIO);
    };
    let file = zone.file_to_write(from, to)?;
    // The file was cut from outside, and would stay too short.
    if !file.i_size_covers(to) && file.size()? < to {
        return Err(EIO);
    }
    if request.op() == Some(ReqOp::WriteZeroes) && request.data().take_pending_faults() {
        let sectors = part.end.saturating_sub(part.start);
        let faults = device.shared().faults();
        let block = device.shared().block_sectors();
        if faults.spoil_write(part.start, sectors, block)?.is_some() {
            return Err(EIO);
        }
    }
    let zeroed = match request.op() {
        Some(ReqOp::WriteZeroes) if request.is_nounmap() => file.zero_range(from, to),
        _ => file.punch_hole(from, to),
    };
    // A failed call may have changed a part.
    device.shared().dirty().mark(part.zone);
    zeroed
}
