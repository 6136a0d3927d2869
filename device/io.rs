// SPDX-License-Identifier: GPL-2.0

//! Requests that are carried out one by one: all reads, and writes to conventional zones.
//!
//! `sequential.rs` carries out all changes of sequential zones.
//!
//! The task that queues a small request first tries it itself, without waiting: see
//! [`at_once`](crate::device::at_once). If that fails, a work item repeats the request. The work
//! item may sleep and has no resource limits of a user's task.

use crate::{
    device::{
        discard,
        lanes::Lanes,
        queue_rq::ZloopQueue,
        reset_all::ResetAll,
        zone_table::ZoneRef, //
    },
    fault::Kind,
    io_err_ratelimited,
    zone::queue::Outcome, //
};

use crate::kernel_ext::{
    block::{
        zoned_mq::{
            Direction,
            ReqOp,
            Request,
            RequestList,
            Submission, //
        },
        Status, //
    },
    fs::FileExt,
    task::BlockIoScope, //
};

use kernel::{
    block::SECTOR_SHIFT,
    fs::File,
    impl_has_work, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        }, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// The driver's data of a request (`blk_mq_rq_to_pdu()`). It lives as long as the tag set.
#[pin_data]
pub(crate) struct RequestPdu {
    #[pin]
    work: Work<Self>,
    /// For a read of a sequential zone: the file must have all sectors of the zone below this one.
    expected: Atomic<u64>,
    /// For a repeated read of a sequential zone: the zone's number of resets at that time, plus
    /// one. 0 for a read that was not repeated.
    repeated: Atomic<u64>,
    /// The CPU that has handed the request over to a lane.
    cpu: Atomic<u32>,
    /// Whether the injected faults are yet to be applied to the request.
    faults_pending: AtomicFlag,
}

impl_has_work! {
    impl HasWork<Self> for RequestPdu { self.work }
}

// ORDERING: `Relaxed`, all of them. The fields belong to the owner of the request, and what passes
// the request to another task orders them: the lock of a queue, a workqueue, or the reference count
// of a file operation. They are atomic because a request gives out shared references only.
impl RequestPdu {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- new_work!("zloop_command"),
            expected: Atomic::new(0),
            repeated: Atomic::new(0),
            cpu: Atomic::new(0),
            faults_pending: AtomicFlag::new(false),
        })
    }

    /// Notes the CPU that hands the request over to a lane.
    pub(crate) fn set_cpu(&self, cpu: u32) {
        self.cpu.store(cpu, Relaxed);
    }

    /// The CPU that has handed the request over.
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu.load(Relaxed)
    }

    /// Notes for a new request whether injected faults apply to it. They are applied once, however
    /// often the request is tried.
    pub(crate) fn arrive(&self, faults_pending: bool) {
        self.faults_pending.store(faults_pending, Relaxed);
    }

    /// Whether the injected faults are yet to be applied.
    pub(crate) fn has_pending_faults(&self) -> bool {
        self.faults_pending.load(Relaxed)
    }

    /// Returns whether the injected faults are yet to be applied. If so, the caller applies them.
    pub(crate) fn take_pending_faults(&self) -> bool {
        let pending = self.has_pending_faults();
        if pending {
            self.faults_pending.store(false, Relaxed);
        }
        pending
    }

    /// Notes that a read of a sequential zone must find all sectors of the zone below `sector`.
    fn set_expected_end(&self, sector: u64) {
        self.expected.store(sector, Relaxed);
        self.repeated.store(0, Relaxed);
    }

    /// Notes the same for a read that is repeated after `resets` resets of the zone.
    pub(crate) fn set_repeated(&self, sector: u64, resets: u64) {
        self.expected.store(sector, Relaxed);
        self.repeated.store(resets.wrapping_add(1), Relaxed);
    }

    /// Whether the read was repeated after `resets` resets of the zone.
    pub(crate) fn is_repeated(&self, resets: u64) -> bool {
        self.repeated.load(Relaxed) == resets.wrapping_add(1)
    }
}

impl WorkItem for RequestPdu {
    type Pointer = RequestList<ZloopQueue>;

    fn run(mut requests: RequestList<ZloopQueue>) {
        let _scope = BlockIoScope::enter();
        let written = requests.front().and_then(|first| {
            let device = first.queue_data();
            match (first.op(), device.zone_at(first.sector())?) {
                (Some(ReqOp::Write | ReqOp::ZoneAppend), ZoneRef::Sequential(zone)) => {
                    Some(zone.clone())
                }
                _ => None,
            }
        });
        if let Some(zone) = written {
            return zone.complete_write(requests);
        }
        while let Some(request) = requests.pop_front() {
            request.charge(|request| match request.op() {
                Some(ReqOp::Read) => transfer(request, Direction::Read),
                Some(ReqOp::Write) => transfer(request, Direction::Write),
                Some(ReqOp::Flush) => {
                    if request.data().take_pending_faults() {
                        request.queue_data().shared().faults().delay(Kind::Flush, 0);
                    }
                    let result = request.queue_data().flush();
                    request.end(result.map_or_else(Status::from, |()| Status::OK));
                }
                Some(ReqOp::ZoneResetAll) => ResetAll::run(request),
                Some(ReqOp::Discard | ReqOp::WriteZeroes) => discard::zero(request),
                _ => request.end(Status::NOTSUPP),
            });
        }
    }
}

/// Carries out a read, or a write to a conventional zone, in the current task or a lane if it need
/// not wait; as a work item otherwise. For `queue_rq`, if [`at_once::may_run_in_submitter`] allows
/// it.
///
/// [`at_once::may_run_in_submitter`]: crate::device::at_once::may_run_in_submitter
pub(crate) fn transfer_now(
    submission: &Submission<'_>,
    lanes: &Lanes,
    zone: &ZoneRef<'_>,
    request: Request<ZloopQueue>,
) {
    if let Err(request) = lanes.hand_over(request, submission) {
        let target = target_without_waiting(zone, &request);
        try_transfer(Some(submission), target, request);
    }
}

/// Carries out a request that [`transfer_now`] has handed over from another CPU. For a work item,
/// within a [`BlockIoScope`].
pub(crate) fn transfer_in_lane(request: Request<ZloopQueue>) {
    let target = request
        .queue_data()
        .zone_at(request.sector())
        .and_then(|zone| target_without_waiting(&zone, &request));
    try_transfer(None, target, request);
}

/// The file and the position in bytes for a read, or for a write to a conventional zone. [`None`]
/// if the file is not open or too short for the write.
fn target_without_waiting(
    zone: &ZoneRef<'_>,
    request: &Request<ZloopQueue>,
) -> Option<(ARef<File>, u64)> {
    let file = zone.open_file()?;
    let position = begin_transfer(zone, request);
    if request.op() == Some(ReqOp::Write) && !file.i_size_covers(end(request, position)) {
        return None;
    }
    Some((file, position))
}

/// Carries out a request that has a `target`, if that need not wait. A work item does it otherwise.
fn try_transfer(
    submission: Option<&Submission<'_>>,
    target: Option<(ARef<File>, u64)>,
    request: Request<ZloopQueue>,
) {
    let requests = RequestList::from(request);
    match target {
        Some((file, position)) => requests.submit_nowait(submission, file, position),
        None => requests.enqueue(),
    }
}

/// Carries out a read, or a write to a conventional zone; may sleep.
fn transfer(request: Request<ZloopQueue>, direction: Direction) {
    if request.data().take_pending_faults() {
        return transfer_with_faults(request, direction);
    }
    transfer_to_file(request, direction, None);
}

/// Like [`transfer`], with the injected faults applied; may sleep.
fn transfer_with_faults(request: Request<ZloopQueue>, direction: Direction) {
    let (sector, sectors) = (request.sector(), u64::from(request.sectors()));
    let device = request.queue_data();
    let faults = device.shared().faults();
    let limit = match direction {
        Direction::Read => {
            faults.delay(Kind::Read, request.bytes().into());
            if faults.spoils_read(sector, sectors) {
                return file_io_done(request.into(), Err(EIO));
            }
            let number = device.shared().geometry().zone_of(sector);
            let zone = number.and_then(|number| device.zones().entry(number));
            if zone.is_some_and(|zone| device.reads_zeroes(&zone, sector)) {
                return request.end_read(0);
            }
            None
        }
        Direction::Write => {
            match faults.spoil_write(sector, sectors, device.shared().block_sectors()) {
                Ok(limit) => limit,
                Err(err) => return file_io_done(request.into(), Err(err)),
            }
        }
    };
    transfer_to_file(request, direction, limit);
}

/// Carries out a read, or a write to a conventional zone, of at most `limit` bytes; may sleep.
fn transfer_to_file(request: Request<ZloopQueue>, direction: Direction, limit: Option<u64>) {
    let target = {
        let device = request.queue_data();
        let zone = device.zone_at(request.sector()).ok_or(EIO);
        zone.and_then(|zone| {
            let position = begin_transfer(&zone, &request);
            let file = match (zone, direction) {
                (ZoneRef::Conventional(zone), Direction::Write) => {
                    zone.file_to_write(position, end(&request, position))?
                }
                _ => zone.file()?,
            };
            Ok((position, file))
        })
    };
    match target {
        Ok((position, file)) => {
            let end = end(&request, position);
            // The file was cut from outside. This write would hide that.
            if direction == Direction::Write
                && !file.i_size_covers(end)
                && file.size().is_ok_and(|size| size < end)
            {
                // The waiter for the request may expect that the file is not in use.
                drop(file);
                return too_short(request, "write");
            }
            RequestList::from(request).submit(file, position, limit);
        }
        Err(err) => file_io_done(request.into(), Err(err)),
    }
}

/// The end in the file of a request that begins at `position`, in bytes.
fn end(request: &Request<ZloopQueue>, position: u64) -> u64 {
    position.saturating_add(u64::from(request.bytes()))
}

/// Ends a request for a conventional zone whose file is shorter than the zone.
fn too_short(request: Request<ZloopQueue>, verb: &str) {
    io_err_ratelimited!(
        request.queue_data().shared(),
        "can't {verb} {} sectors at sector {}: the zone's file is too short",
        request.sectors(),
        request.sector()
    );
    request.end(Status::IOERR);
}

/// Returns the position of a request in its zone's file, in bytes. For a read of a sequential zone
/// it notes the sectors that the read must find.
fn begin_transfer(zone: &ZoneRef<'_>, request: &Request<ZloopQueue>) -> u64 {
    if let ZoneRef::Sequential(zone) = zone {
        request.data().set_expected_end(zone.written());
    }
    let device = request.queue_data();
    device.shared().geometry().offset_in_zone(request.sector()) << SECTOR_SHIFT
}

/// Gives a work item the requests that could not be carried out at once. Any context.
pub(crate) fn file_io_not_now(requests: RequestList<ZloopQueue>) {
    if let Some(first) = requests.front() {
        let device = first.queue_data();
        if let Some(ZoneRef::Sequential(_)) = device.zone_at(first.sector()) {
            if first.op() != Some(ReqOp::Read) {
                device.shared().nowait_extend().failed();
            }
        }
    }
    requests.enqueue();
}

/// Handles the end of I/O to a file. Any context.
pub(crate) fn file_io_done(mut requests: RequestList<ZloopQueue>, result: Result<u32>) {
    let done = requests.front().and_then(|first| {
        let device = first.queue_data();
        let (ReqOp::Write | ReqOp::ZoneAppend) = first.op()? else {
            return None;
        };
        match device.zone_at(first.sector())? {
            ZoneRef::Sequential(zone) => {
                Some(zone.write_done(&requests, result, first.work_queue()))
            }
            ZoneRef::Conventional(_) => None,
        }
    });
    match done {
        Some(Outcome::Done(_)) => return requests.end(Status::OK),
        Some(Outcome::Complete) => return requests.enqueue(),
        None => {}
    }
    // All other requests are submitted one by one.
    while let Some(request) = requests.pop_front() {
        match request.op() {
            Some(ReqOp::Read) => read_done(request, result),
            _ => conventional_write_done(request, result),
        }
    }
}

fn conventional_write_done(request: Request<ZloopQueue>, result: Result<u32>) {
    let device = request.queue_data();
    if let Some(zone) = device.shared().geometry().zone_of(request.sector()) {
        device.shared().dirty().mark(zone);
    }
    let result = match result {
        Ok(bytes) if bytes == request.bytes() => Ok(()),
        Ok(_) => Err(EIO),
        Err(err) => Err(err),
    };
    if let Err(err) = result {
        io_err_ratelimited!(
            device.shared(),
            "can't write {} sectors at sector {}: {err:?}",
            request.sectors(),
            request.sector()
        );
    }
    request.end(result.map_or_else(Status::from, |()| Status::OK));
}

/// Ends a read. Reads behind the written sectors of a sequential zone get zeros. A read that finds
/// less than was written before it began goes to the zone's worker, which finds the reason.
fn read_done(request: Request<ZloopQueue>, result: Result<u32>) {
    let device = request.queue_data();
    let bytes = match result {
        Ok(bytes) if bytes >= request.bytes() => return request.end(Status::OK),
        Ok(bytes) => bytes,
        Err(err) => {
            io_err_ratelimited!(
                device.shared(),
                "can't read {} sectors at sector {}: {err:?}",
                request.sectors(),
                request.sector()
            );
            return request.end(err.into());
        }
    };
    let geometry = device.shared().geometry();
    let start = geometry.offset_in_zone(request.sector());
    // ORDERING: `Relaxed`: see `RequestPdu`.
    let expected = request
        .data()
        .expected
        .load(Relaxed)
        .min(start.saturating_add(u64::from(request.sectors())));
    match device.zone_at(request.sector()) {
        Some(ZoneRef::Sequential(zone)) => {
            let found = start.saturating_add(u64::from(bytes >> SECTOR_SHIFT));
            if found >= expected {
                return request.end_read(bytes);
            }
            let zone = zone.clone();
            zone.post(request);
        }
        // A conventional zone's file is as long as the zone, unless it was cut from outside.
        _ => too_short(request, "read"),
    }
}
