// SPDX-License-Identifier: GPL-2.0

//! Writes and appends to a sequential zone.
//!
//! A write first *reserves* its sectors at the write pointer. Then it is submitted, by the task
//! that queues it ([`SequentialZone::write_now`]) or by the zone's worker. The task in which it
//! ends completes it: a write that has simply succeeded in any context, every other one in a work
//! item.

use super::{
    Next,
    SequentialZone, //
};
use crate::{
    device::{
        at_once,
        preallocation::{
            Reservation,
            PREALLOC_SECTORS, //
        },
        queue_rq::ZloopQueue,
        zone_table, //
    },
    fault::Kind,
    io_err_ratelimited,
    zone::{
        queue::{
            Completion,
            Extent,
            FileState,
            Outcome, //
        },
        Target,
        WritePointer, //
    },
};
use core::cmp::Ordering;

use crate::kernel_ext::{
    block::{
        zoned_mq::{
            FileIoOperations,
            ReqOp,
            Request,
            RequestList,
            Submission, //
        },
        Status, //
    },
    fs::{
        FileExt,
        FileSize, //
    },
    workqueue::ImmediateQueue, //
};

use kernel::{
    block::SECTOR_SHIFT,
    fs::File,
    prelude::*,
    sync::Arc, //
};

impl SequentialZone {
    /// Notes a write, and returns whether more writes are expected to wait in the zone write plug.
    /// For each write once.
    pub(crate) fn note_write(&self, is_by_plain_task: bool) -> bool {
        self.plug_depth.note_write(is_by_plain_task)
    }

    /// Carries out a write in the current task if the zone is idle and the write need not wait; by
    /// a work item otherwise. For `queue_rq`, if `at_once::may_run_in_submitter` allows it.
    ///
    /// A write at the end of a file need not wait where the space for it is allocated.
    pub(crate) fn write_now(
        self: &Arc<Self>,
        submission: &Submission<'_>,
        request: Request<ZloopQueue>,
    ) {
        let request = {
            let mut queue = self.queue.lock();
            let request = queue.begin_or_post(request);
            if request.is_none() {
                self.wake(&queue, submission.work_queue());
            }
            request
        };
        let Some(request) = request else {
            return;
        };
        let (allowed, extent) = self.reserve(request.into());
        let Some(extent) = extent else {
            let mut queue = self.queue.lock();
            queue.end_work();
            return self.wake(&queue, submission.work_queue());
        };
        self.queue.lock().begin_write(extent);
        let allocated = self.state.lock().allocated;
        match self.open_file() {
            Some(file)
                if extent.end <= allocated && file.i_size_covers(extent.start << SECTOR_SHIFT) =>
            {
                let position = extent.start << SECTOR_SHIFT;
                allowed.submit_nowait(Some(submission), file, position);
            }
            _ => allowed.enqueue(),
        }
    }

    /// Reserves sectors for writes and appends, and submits the requests that are allowed.
    pub(super) fn write(&self, requests: RequestList<ZloopQueue>) -> Next {
        let (allowed, extent) = self.reserve(requests);
        let Some(extent) = extent else {
            return Next::Job;
        };
        // The task that completes the write continues as the worker.
        self.queue.lock().begin_write(extent);
        allowed.charge(|allowed| self.submit(allowed, extent));
        Next::Wait
    }

    /// Reserves sectors for writes and appends. Ends the requests that are not allowed. Returns the
    /// others, with their sectors.
    fn reserve(
        &self,
        mut requests: RequestList<ZloopQueue>,
    ) -> (RequestList<ZloopQueue>, Option<Extent>) {
        let mut allowed = RequestList::default();
        let mut extent: Option<Extent> = None;
        while let Some(mut request) = requests.pop_front() {
            let sectors = u64::from(request.sectors());
            let target = match request.op() {
                Some(ReqOp::ZoneAppend) => Target::WritePointer,
                _ => Target::Sector(self.shared.geometry().offset_in_zone(request.sector())),
            };
            let reserved = {
                let mut state = self.state.lock();
                let mut set = self.shared.open_zones().lock();
                state.zone.write(&mut set, target, sectors)
            };
            match reserved {
                Ok(start) => {
                    if let Some(append) = request.as_append() {
                        let zone_start = self.shared.geometry().zone_start(self.number);
                        append.set_sector(zone_start.saturating_add(start));
                    }
                    extent = Some(Extent {
                        start: extent.map_or(start, |extent| extent.start),
                        end: start.saturating_add(sectors),
                    });
                    allowed.push_back(request);
                }
                Err(err) => self.refuse(request, err),
            }
        }
        (allowed, extent)
    }

    /// Submits a write that has begun; may sleep.
    fn submit(&self, requests: RequestList<ZloopQueue>, extent: Extent) {
        let limit = match self.limit(&requests, extent) {
            Ok(limit) => limit,
            // Handled like a write that was submitted and failed.
            Err(err) => return <ZloopQueue as FileIoOperations>::file_io_done(requests, Err(err)),
        };
        let file = self.file().and_then(|file| {
            if requests.is_fua() {
                // Data is durable only if the name of its file is.
                self.shared.files().sync()?;
            }
            Ok(file)
        });
        match file {
            // The file was cut from outside. This write would hide that.
            Ok(file) if !has_all_before(&file, extent) => {
                <ZloopQueue as FileIoOperations>::file_io_done(requests, Err(EIO));
            }
            Ok(file) => {
                self.preallocate(&file, extent, &requests);
                let position = extent.start << SECTOR_SHIFT;
                requests.submit_and_wait(file, position, limit);
            }
            // Handled like a write that was submitted and failed.
            Err(err) => <ZloopQueue as FileIoOperations>::file_io_done(requests, Err(err)),
        }
    }

    /// Applies the injected faults to a write: waits, and returns the number of bytes to write if
    /// that is not all. May sleep.
    fn limit(&self, requests: &RequestList<ZloopQueue>, extent: Extent) -> Result<Option<u64>> {
        let faults = self.shared.faults();
        if !faults.is_armed()
            || !requests
                .iter()
                .any(|request| request.data().has_pending_faults())
        {
            return Ok(None);
        }
        let (first, sectors) = self.on_device(extent);
        let is_one = requests.len() == 1;
        if !is_one && faults.would_spoil_write(first, sectors) {
            // The requests are then written one by one, so that the right one fails.
            return Err(EIO);
        }
        for request in requests.iter() {
            let _ = request.data().take_pending_faults();
        }
        match is_one {
            true => faults.spoil_write(first, sectors, self.shared.block_sectors()),
            false => {
                faults.delay(Kind::Write, sectors << SECTOR_SHIFT);
                Ok(None)
            }
        }
    }

    /// The first sector of the zone's `extent` on the device, and the number of sectors.
    pub(super) fn on_device(&self, extent: Extent) -> (u64, u64) {
        let zone_start = self.shared.geometry().zone_start(self.number);
        (
            zone_start.saturating_add(extent.start),
            extent.end.saturating_sub(extent.start),
        )
    }

    /// Handles the end of a write. Any context.
    ///
    /// Unless the outcome is [`Outcome::Done`], the caller must pass the requests to
    /// [`Self::complete_write`].
    pub(crate) fn write_done(
        self: &Arc<Self>,
        requests: &RequestList<ZloopQueue>,
        result: Result<u32>,
        workqueue: &ImmediateQueue,
    ) -> Outcome {
        let capacity = self.capacity();
        let is_fua = requests.is_fua();
        let mut queue = self.queue.lock();
        let outcome = queue.end_write(result, |extent| extent.end < capacity && !is_fua);
        if let Outcome::Done(extent) = outcome {
            self.mark_written(extent.end);
            self.wake(&queue, workqueue);
        }
        outcome
    }

    /// Completes a write that failed, filled the zone, or has FUA, and continues as the worker. Or
    /// submits a write that would have had to wait in the task that queued it. May sleep.
    pub(crate) fn complete_write(&self, requests: RequestList<ZloopQueue>) {
        let completion = self.queue.lock().complete_write();
        let (extent, result) = match completion {
            Completion::Ended(extent, result) => (extent, result),
            Completion::Submit(extent) => {
                return requests.charge(|requests| self.submit(requests, extent));
            }
            Completion::Nothing => return requests.end(Status::IOERR),
        };
        match result {
            Ok(bytes) if extent.is_covered_by(bytes) => {
                self.mark_written(extent.end);
                {
                    let mut state = self.state.lock();
                    state.zone.written(&mut self.shared.open_zones().lock());
                    if requests.is_fua() {
                        state.sync.fua_done(extent.end);
                    }
                }
                requests.end(Status::OK);
            }
            result => self.write_failed(requests, extent, result.err().unwrap_or(EIO)),
        }
        let job = self.queue.lock().next_job();
        self.work_on(job);
    }

    /// Undoes a failed write. If it was for several requests, they are tried one by one.
    fn write_failed(&self, requests: RequestList<ZloopQueue>, extent: Extent, err: Error) {
        self.make_space(err, &requests);
        if requests.len() > 1 && self.take_back(extent.start).is_ok() {
            return self.queue.lock().requeue_unmerged(requests);
        }
        io_err_ratelimited!(
            self.shared,
            "zone {}: can't write sectors {} to {}: {err:?}",
            self.number,
            extent.start,
            extent.end
        );
        if let Some(first) = requests.front() {
            self.mark_torn(&first, err);
        }
        requests.end(err.into());
    }

    /// Moves the write pointer back to `sector`. No sector behind it was acknowledged.
    fn take_back(&self, sector: u64) -> Result {
        let file = self.file()?;
        let bytes = sector << SECTOR_SHIFT;
        match file.size()?.cmp(&bytes) {
            // Acknowledged data is missing. A longer file would hide that.
            Ordering::Less => return Err(EIO),
            Ordering::Equal => {}
            Ordering::Greater => self.cut(&file, bytes)?,
        }
        let wp = WritePointer::new(sector, self.capacity()).ok_or(EIO)?;
        let mut state = self.state.lock();
        state.zone.repair(&mut self.shared.open_zones().lock(), wp);
        Ok(())
    }

    /// Notes that the end of the file may hold a part of a failed write, and declares the zone
    /// failed if `write_fault` asks for it.
    pub(super) fn mark_torn(&self, request: &Request<ZloopQueue>, err: Error) {
        self.state.lock().torn = true;
        self.set_file_state(FileState::Stale);
        self.fail_as_asked(request, err);
    }

    /// Declares the zone failed after a write fault, with `write_fault`. Only EIO is a fault of the
    /// medium; ENOSPC, for instance, is not.
    fn fail_as_asked(&self, request: &Request<ZloopQueue>, err: Error) {
        let Some(failure) = self.shared.write_fault().filter(|_| err == EIO) else {
            return;
        };
        {
            let mut state = self.state.lock();
            // A command may have declared the zone meanwhile.
            if state.zone.declared().is_some() {
                return;
            }
            self.declare_failed(&mut state, failure);
        }
        if let Err(err) = request.queue_data().record_declared() {
            io_err_ratelimited!(
                self.shared,
                "zone {}: its write fault can't be recorded: {err:?}",
                self.number
            );
        }
    }

    /// Notes a successful write up to sector `end` of the zone.
    pub(super) fn mark_written(&self, end: u64) {
        self.durability
            .write_done(end, || self.shared.dirty().mark(self.number));
    }

    /// Preallocates space for the next small writes; may sleep. A failure is not an error.
    fn preallocate(&self, file: &File, extent: Extent, requests: &RequestList<ZloopQueue>) {
        let len = extent.end.saturating_sub(extent.start) << SECTOR_SHIFT;
        let allocated = self.state.lock().allocated;
        if len > u64::from(at_once::MAX_BYTES)
            || extent.end <= allocated
            || !self.shared.nowait_extend().is_worth_trying()
        {
            return;
        }
        match self.shared.preallocated().request_slot(self.number) {
            Reservation::Granted => {}
            Reservation::TakenOver(zone) => trim_zone(requests, zone),
            Reservation::Refused => return,
        }
        let end = extent
            .end
            .saturating_add(PREALLOC_SECTORS)
            .min(self.capacity());
        let allocation = file.preallocate(extent.start << SECTOR_SHIFT, end << SECTOR_SHIFT);
        self.state.lock().allocated = end;
        match allocation {
            Ok(()) => {}
            Err(err) => {
                // A part of it may be allocated.
                let _ = self.trim();
                self.shared.nowait_extend().failed();
                self.make_space(err, requests);
            }
        }
    }

    /// After ENOSPC, lets all zones free their unused preallocated space.
    fn make_space(&self, err: Error, requests: &RequestList<ZloopQueue>) {
        if err == ENOSPC {
            while let Some(zone) = self.shared.preallocated().free_slot() {
                trim_zone(requests, zone);
            }
        }
    }

    /// Frees unused preallocated space; may sleep. No write may be under way.
    pub(crate) fn trim(&self) -> Result {
        if self.state.lock().allocated <= self.written() {
            return Ok(());
        }
        let file = self.file()?;
        self.cut(&file, file.size()?)
    }

    /// Truncates the zone's file, which frees all space behind its end; may sleep.
    pub(super) fn cut(&self, file: &File, bytes: FileSize) -> Result {
        file.truncate(bytes)?;
        self.state.lock().allocated = 0;
        Ok(())
    }
}

/// Lets another zone of the requests' device free its unused preallocated space.
fn trim_zone(requests: &RequestList<ZloopQueue>, zone: u32) {
    if let Some(request) = requests.front() {
        if let Some(zone_table::ZoneRef::Sequential(zone)) = request.queue_data().zones().get(zone)
        {
            zone.post_trim(request.work_queue());
        }
    }
}

/// Whether the file of a zone has all sectors before those of a write; may sleep.
pub(super) fn has_all_before(file: &File, extent: Extent) -> bool {
    let bytes = extent.start << SECTOR_SHIFT;
    file.i_size_covers(bytes) || file.size().is_ok_and(|size| size >= bytes)
}
