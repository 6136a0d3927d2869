// SPDX-License-Identifier: GPL-2.0

//! The entry of requests: `queue_rq`, and the other operations of the disk.
//!
//! The current task carries a request out if it need not wait: see [`at_once`]. Other requests go
//! to the queue of their sequential zone, or become a work item of their own.

use crate::{
    device::{
        at_once,
        io::{
            file_io_done,
            file_io_not_now,
            transfer_now,
            RequestPdu, //
        },
        zone_table::{
            Entry,
            ZoneRef, //
        },
        Device, //
    },
    fault::Arrival, //
};

use crate::kernel_ext::{
    block::{
        zoned::ZoneReport,
        zoned_mq::{
            FileIoOperations,
            IdleRequest,
            Operations,
            ReqOp,
            Request,
            RequestList,
            Submission, //
        },
        Status, //
    },
    workqueue::ImmediateQueue, //
};

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};

/// The driver's side of a disk's queue.
pub(crate) struct ZloopQueue;

#[vtable]
impl Operations for ZloopQueue {
    type OwnerModule = crate::LocalModule;
    type QueueData = Arc<Device>;
    type RequestData = RequestPdu;

    fn new_request_data() -> impl PinInit<RequestPdu> {
        RequestPdu::new()
    }

    fn queue_rq(
        device: ArcBorrow<'_, Device>,
        submission: &Submission<'_>,
        request: IdleRequest<Self>,
    ) -> Result<(), IdleRequest<Self>> {
        let Some(op) = request.op() else {
            request.start().end(Status::NOTSUPP);
            return Ok(());
        };
        // Decided once, here: the request carries it.
        let armed = device.shared.faults().is_armed();
        // A fault may count arriving requests. One that is not taken now would be counted again.
        if armed && submission.is_batch() {
            return Err(request);
        }
        if matches!(op, ReqOp::Flush | ReqOp::ZoneResetAll | ReqOp::Discard) {
            if let Some(request) = start(device, request, armed)? {
                RequestList::from(request).enqueue();
            }
            return Ok(());
        }
        let found = device.shared.geometry().zone_of(request.sector());
        let found = found.and_then(|number| Some((number, device.zones.entry(number)?)));
        let Some((number, entry)) = found else {
            request.start().end(Status::IOERR);
            return Ok(());
        };
        if op == ReqOp::Read && !armed && device.reads_zeroes(&entry, request.sector()) {
            let request = request.start();
            request.end_read(0);
            return Ok(());
        }
        // The first use of a zone allocates what it needs. Without memory the request comes again.
        let zone = match entry {
            Entry::InUse(zone) => zone,
            Entry::Unused(_) | Entry::UnusedConventional => {
                match device.zones.get_or_create(number, GFP_NOWAIT) {
                    Ok(zone) => zone,
                    Err(_) => return Err(request),
                }
            }
        };
        let Some(request) = start(device, request, armed)? else {
            return Ok(());
        };
        let at_once = at_once::may_run_in_submitter(submission, &zone, &request);
        match (op, zone) {
            (ReqOp::Read, ZoneRef::Sequential(zone)) if zone.is_declared_offline() => {
                zone.refuse_read(request);
            }
            (ReqOp::Read, zone) | (ReqOp::Write, zone @ ZoneRef::Conventional(_)) if at_once => {
                transfer_now(submission, &device.lanes, &zone, request);
            }
            (ReqOp::Read, _) | (ReqOp::Write | ReqOp::WriteZeroes, ZoneRef::Conventional(_)) => {
                RequestList::from(request).enqueue();
            }
            // The block layer lets an append to a conventional zone through.
            (_, ZoneRef::Conventional(_)) => request.end(Status::IOERR),
            (ReqOp::Write, ZoneRef::Sequential(zone)) if at_once => {
                zone.write_now(submission, request);
            }
            // Appends always go to the queue. Users submit many at once, because appends need no
            // order, and the worker writes the waiting ones together.
            (_, ZoneRef::Sequential(zone)) => zone.post(request),
        }
        Ok(())
    }

    fn request_ends(device: ArcBorrow<'_, Device>, op: Option<ReqOp>, status: Status) {
        if let Some(op) = op {
            device.shared.counters().request_ended(op, status);
        }
    }

    fn report_zones(
        device: ArcBorrow<'_, Device>,
        queue: &ImmediateQueue,
        sector: u64,
        nr: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result {
        device.report_zones(queue, sector, nr, report)
    }
}

impl FileIoOperations for ZloopQueue {
    fn file_io_done(requests: RequestList<Self>, result: Result<u32>) {
        file_io_done(requests, result);
    }

    fn file_io_not_now(requests: RequestList<Self>) {
        file_io_not_now(requests);
    }
}

/// Starts a request. If faults are `armed` they apply to it; [`None`] if one loses the request.
///
/// # Errors
///
/// The request, if it must be queued again.
fn start(
    device: ArcBorrow<'_, Device>,
    request: IdleRequest<ZloopQueue>,
    armed: bool,
) -> Result<Option<Request<ZloopQueue>>, IdleRequest<ZloopQueue>> {
    let arrival = match armed {
        true => device.shared.faults().arrive(),
        false => Arrival::Normal,
    };
    if arrival == Arrival::Requeued {
        return Err(request);
    }
    let request = request.start();
    if arrival == Arrival::Lost {
        request.abandon();
        return Ok(None);
    }
    request.data().arrive(armed);
    Ok(Some(request))
}

impl Device {
    /// Whether a read of a zone from `sector` of the device on gets only zeros.
    pub(crate) fn reads_zeroes(&self, zone: &Entry<'_>, sector: u64) -> bool {
        let written = match zone {
            Entry::InUse(ZoneRef::Sequential(zone)) => zone.reads_end_at(),
            Entry::Unused(written) => Some(*written),
            Entry::InUse(ZoneRef::Conventional(_)) | Entry::UnusedConventional => None,
        };
        written.is_some_and(|written| written <= self.shared.geometry().offset_in_zone(sector))
    }
}
