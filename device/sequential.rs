// SPDX-License-Identifier: GPL-2.0

//! A sequential zone at work.
//!
//! Every change of a sequential zone goes through its [`ZoneQueue`] and is made by one *worker* at
//! a time. So two commands on a zone always end as if one had come after the other, and appends
//! keep their order. The worker is a work item or, if the zone is idle and nothing has to wait, the
//! task that queues a write.
//!
//! The write pointer, in the zone's [`State`], moves when sectors are handed out, before they are
//! written; so it is never behind the writes under way. The state is locked to look things up and
//! to change them, never across I/O: a report does not wait for a write. [`Durability`] follows
//! when a write has succeeded.
//!
//! A write that fails leaves the zone [`FileState::Stale`]: the end of its file is not known. The
//! next job is then a repair, which takes the write pointer from the file's length. No write is
//! under way at that moment, since the worker runs one job at a time. A report of a stale zone
//! waits for its repair, because the block layer takes over the write pointer that is reported. If
//! the file doesn't have what was written, or can't even be looked at, the zone is reported
//! read-only or offline, and looked at again with each command that arrives, until the fault is
//! gone.

use crate::{
    backing::zone_file::ZoneFile,
    device::io::MAX_BYTES_NOW,
    device::plug_depth::PlugDepth,
    device::preallocation::{
        Answer,
        AHEAD_SECTORS, //
    },
    device::reset_all::ResetAll,
    device::shared::{
        Common,
        OpenSet, //
    },
    device::zone_queue::KernelAtomics,
    device::zone_table, //
    device::Zloop,
    fault::power_loss::Loss,
    fault::{
        Kind,
        ZoneCommand, //
    },
    kernel_ext::{
        block::{
            mq::{
                Command,
                FileIoOperations,
                Request,
                RequestList,
                Submission, //
            },
            Status,
        },
        fmt::Shown,
        fs::{
            FileExt,
            FileSize, //
        },
        task::BlockIoScope,
        workqueue::Queue, //
    },
    options::ZoneIndex,
    report,
    zone::{
        durability::{
            Durability,
            Length,
            SyncState,
            Unreported, //
        },
        queue::{
            Completion,
            Extent,
            FileState,
            Job,
            Outcome,
            ZoneQueue, //
        },
        Condition,
        Failure,
        Finish,
        Reset,
        Target,
        WritePointer,
        ZoneError,
        ZoneState, //
    },
};
use core::cmp::Ordering;

use crate::kernel_ext::compat::sync::{
    new_spinlock_irq,
    SpinLockIrq, //
};
use kernel::{
    alloc::Flags,
    block::SECTOR_SHIFT,
    fs::File,
    impl_has_work, new_mutex, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// A sequential zone that something was done to.
#[pin_data]
pub(crate) struct SequentialZone {
    common: Arc<Common>,
    /// The number of the zone on the device.
    number: u32,
    file: Arc<ZoneFile>,
    durability: Durability<KernelAtomics>,
    /// Held around a flush, and the syncs of a finish and a reset. A sync that fails can make
    /// another one succeed that makes nothing durable.
    #[pin]
    syncing: Mutex<()>,
    /// Whether the zone was declared offline, for reads.
    offline: AtomicFlag,
    /// Which writes to try at once.
    depth: PlugDepth,
    #[pin]
    state: Mutex<State>,
    #[pin]
    queue: SpinLockIrq<ZoneQueue<Request<Zloop>>>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for SequentialZone { self.work }
}

/// What is changed by commands.
struct State {
    zone: ZoneState,
    sync: SyncState,
    /// Up to this, in sectors of the zone, space of the file system was allocated. Some of it may
    /// be gone again.
    allocated: u64,
    /// Whether a write has failed since it was known where the file ends. It may have left a piece
    /// of a block there.
    torn: bool,
}

/// The worker's next step after a job.
enum Next {
    /// It takes the next job.
    Job,
    /// It stops: a write is under way, and the task that ends it goes on.
    Wait,
}

/// What a report shows of the zone.
pub(crate) struct Snapshot {
    pub(crate) condition: Condition,
    /// In sectors of the zone.
    pub(crate) write_pointer: u64,
}

impl SequentialZone {
    /// Makes zone `number`, whose file has `written` sectors in it. The open set knows it already.
    pub(crate) fn new(
        common: Arc<Common>,
        number: u32,
        written: u64,
        flags: Flags,
    ) -> Result<Arc<Self>> {
        let capacity = common.geometry().zone_capacity(number);
        let ZoneIndex::Sequential(index) = common.geometry().zone_index(number) else {
            return Err(EINVAL);
        };
        let wp = WritePointer::new(written, capacity).ok_or(EINVAL)?;
        let file = Arc::pin_init(ZoneFile::new(), flags)?;
        let state = State {
            zone: ZoneState::new(index, wp),
            sync: SyncState::new(written),
            allocated: 0,
            torn: false,
        };
        Arc::pin_init(
            pin_init!(Self {
                common,
                number,
                file,
                durability: Durability::new(written),
                syncing <- new_mutex!((), "zloop_zone_sync"),
                offline: AtomicFlag::new(false),
                depth: PlugDepth::new(),
                state <- new_mutex!(state, "zloop_zone"),
                queue <- new_spinlock_irq!(ZoneQueue::new(), "zloop_zone_queue"),
                work <- new_work!("zloop_zone"),
            }),
            flags,
        )
    }

    /// The zone's file, if it is open. Does not sleep.
    pub(crate) fn open_file(&self) -> Option<ARef<File>> {
        self.file.get()
    }

    /// The zone's file, which is opened if it isn't open; may sleep.
    pub(crate) fn file(&self) -> Result<ARef<File>> {
        self.file.get_or_open(self.common.files(), self.number)
    }

    /// The same, but [`None`] if it was never opened: then nothing was written to it.
    fn used_file(&self) -> Result<Option<ARef<File>>> {
        self.file.get_if_used(self.common.files(), self.number)
    }

    /// Closes the file; may sleep. What is under way on it must have ended.
    pub(crate) fn close(&self) {
        self.file.close();
    }

    /// From which sector of the zone on nothing but zeros can be read, if that is certain.
    pub(crate) fn reads_end_at(&self) -> Option<u64> {
        self.durability
            .reads_zeroes_from()
            .filter(|_| !self.is_declared_offline())
    }

    /// What is below this, in sectors of the zone, can be read.
    pub(crate) fn written(&self) -> u64 {
        self.durability.written()
    }

    /// Whether a reset would find nothing to do.
    pub(crate) fn needs_no_reset(&self) -> bool {
        let known = self.durability.is_known();
        let state = self.state.lock();
        let set = self.common.open_zones().lock();
        known
            && state.sync.length() == Length::Certain
            && state.zone.condition(&set) == Condition::Empty
    }

    /// What a report shows. Waits for the repair of a zone that needs one; may sleep.
    // Not for nearly all zones of a large device: the report of those should be small.
    #[inline(never)]
    pub(crate) fn snapshot(self: &Arc<Self>, workqueue: &Queue) -> Snapshot {
        if !self.durability.is_known() {
            let mut queue = self.queue.lock();
            queue.retry_repair();
            while queue.file_state() == FileState::Stale {
                self.wake(&queue, workqueue);
                self.common.repaired().wait(&mut queue);
            }
        }
        self.look()
    }

    /// What can be seen of the zone now, and whether it is known where its file ends. Does not wait
    /// for a repair; may sleep.
    pub(crate) fn peek(&self) -> (Snapshot, bool) {
        let known = self.durability.is_known();
        (self.look(), known)
    }

    fn look(&self) -> Snapshot {
        let state = self.state.lock();
        let set = self.common.open_zones().lock();
        Snapshot {
            condition: state.zone.condition(&set),
            write_pointer: state.zone.write_pointer().sector(),
        }
    }

    /// What the zone was declared to be.
    pub(crate) fn declared(&self) -> Option<Failure> {
        self.state.lock().zone.declared()
    }

    /// Calls `f` with what the zone is declared to be, if it is. Nobody can take that back
    /// meanwhile.
    #[cold]
    pub(crate) fn while_declared(&self, f: impl FnOnce(Failure)) {
        let state = self.state.lock();
        if let Some(failure) = state.zone.declared() {
            f(failure);
        }
    }

    /// Declares the zone failed, or takes that back: then the next one who looks at it finds what
    /// follows from its file.
    pub(crate) fn declare(&self, failure: Option<Failure>) {
        let mut state = self.state.lock();
        match failure {
            Some(failure) => self.declare_failed(&mut state, failure),
            None if state.zone.declared().is_none() => {}
            None => {
                state
                    .zone
                    .declare_good(&mut self.common.open_zones().lock());
                // RELAXED: A read that races with the command may see the zone as before.
                self.offline.store(false, Relaxed);
                drop(state);
                self.set_file_state(FileState::Stale);
            }
        }
    }

    fn declare_failed(&self, state: &mut State, failure: Failure) {
        state
            .zone
            .declare_failed(&mut self.common.open_zones().lock(), failure);
        // RELAXED: As in `declare`.
        self.offline.store(failure == Failure::Offline, Relaxed);
    }

    /// Ends a read of a zone that is declared offline.
    pub(crate) fn refuse_read(&self, request: Request<Zloop>) {
        self.refuse(request, ZoneError::InvalidCondition(Condition::Offline));
    }

    /// Whether nothing can be read, because the zone was declared offline.
    pub(crate) fn is_declared_offline(&self) -> bool {
        // RELAXED: As in `declare`.
        self.offline.load(Relaxed)
    }

    /// Posts a request. Any context.
    pub(crate) fn post(self: &Arc<Self>, request: Request<Zloop>) {
        let mut queue = self.queue.lock();
        queue.post(request);
        // The workqueue can't go away while one of the disk's requests is queued.
        if let Some(first) = queue.front() {
            self.wake(&queue, first.work_queue());
        };
    }

    /// Posts the zone's part of a reset of all zones. Any context.
    pub(crate) fn post_reset_all(self: &Arc<Self>, reset: Arc<ResetAll>, workqueue: &Queue) {
        let mut queue = self.queue.lock();
        queue.post_reset_all(reset);
        self.wake(&queue, workqueue);
    }

    /// Has the zone give back the space that was allocated ahead and not used. Any context.
    fn post_trim(self: &Arc<Self>, workqueue: &Queue) {
        let mut queue = self.queue.lock();
        queue.post_trim();
        self.wake(&queue, workqueue);
    }

    /// Calls a worker if one is wanted.
    fn wake(self: &Arc<Self>, queue: &ZoneQueue<Request<Zloop>>, workqueue: &Queue) {
        if queue.wants_worker() {
            // If the work item is queued already, its worker finds what was posted.
            let _ = workqueue.enqueue(self.clone());
        }
    }

    /// Takes note of the end of a write. Any context.
    ///
    /// Unless the write is done, the requests must be given to [`Self::complete_write`].
    pub(crate) fn write_done(
        self: &Arc<Self>,
        requests: &RequestList<Zloop>,
        result: Result<u32>,
        workqueue: &Queue,
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

    /// Completes a write that failed, filled the zone, or is durable, and goes on with the queue;
    /// or submits a write that would have had to wait in the task that queued it. May sleep.
    pub(crate) fn complete_write(&self, requests: RequestList<Zloop>) {
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
                    state.zone.written(&mut self.common.open_zones().lock());
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

    /// Undoes a write that failed. If it was for several requests they are tried one by one.
    fn write_failed(&self, requests: RequestList<Zloop>, extent: Extent, err: Error) {
        self.make_space(err, &requests);
        if requests.len() > 1 && self.take_back(extent.start).is_ok() {
            return self.queue.lock().requeue_unmerged(requests);
        }
        report!(
            self.common,
            "zone {}: can't write sectors {} to {}: {err:?}",
            self.number,
            extent.start,
            extent.end
        );
        self.state.lock().torn = true;
        self.set_file_state(FileState::Stale);
        if let Some(first) = requests.front() {
            self.fail_as_asked(&first, err);
        }
        requests.end(err.into());
    }

    /// Declares the zone failed if a write fault is to have that consequence. That the file system
    /// has no space left, say, is not the fault of a medium.
    fn fail_as_asked(&self, request: &Request<Zloop>, err: Error) {
        let Some(failure) = self.common.write_fault().filter(|_| err == EIO) else {
            return;
        };
        {
            let mut state = self.state.lock();
            // By now a command may have declared something worse.
            if state.zone.declared().is_some() {
                return;
            }
            self.declare_failed(&mut state, failure);
        }
        if let Err(err) = request.queue_data().record_declared() {
            report!(
                self.common,
                "zone {}: its write fault can't be recorded: {err:?}",
                self.number
            );
        }
    }

    /// Takes the zone back to `sector`: nothing behind it was acknowledged.
    fn take_back(&self, sector: u64) -> Result {
        let file = self.file()?;
        let bytes = sector << SECTOR_SHIFT;
        match file.size()?.cmp(&bytes) {
            // What was acknowledged isn't there; making the file longer would hide that.
            Ordering::Less => return Err(EIO),
            Ordering::Equal => {}
            Ordering::Greater => self.cut(&file, bytes)?,
        }
        let wp = WritePointer::new(sector, self.capacity()).ok_or(EIO)?;
        let mut state = self.state.lock();
        state.zone.repair(&mut self.common.open_zones().lock(), wp);
        Ok(())
    }

    /// Notes whether the end of the file is known.
    fn set_file_state(&self, file: FileState) {
        self.queue.lock().set_file_state(file, &self.durability);
    }

    /// Notes a write up to sector `end` of the zone that has succeeded.
    fn mark_written(&self, end: u64) {
        self.durability
            .write_done(end, || self.common.dirty().mark(self.number));
    }

    fn capacity(&self) -> u64 {
        self.common.geometry().zone_capacity(self.number)
    }

    /// Runs a job and then those that are in the queue. With a job, the caller is the worker.
    fn work_on(&self, mut job: Option<Job<Request<Zloop>>>) {
        while let Some(this_job) = job {
            let next = match this_job {
                Job::Repair => {
                    self.repair();
                    Next::Job
                }
                Job::ResetAll(reset) => {
                    reset.note(self.reset_if_allowed(&reset));
                    Next::Job
                }
                Job::Trim => {
                    // What can't be given back does no harm.
                    let _ = self.trim();
                    Next::Job
                }
                Job::Write(requests) => self.write(requests),
                Job::Exclusive(request) => {
                    request.charge(|request| self.exclusive(request));
                    Next::Job
                }
            };
            job = match next {
                Next::Job => self.queue.lock().next_job(),
                Next::Wait => None,
            };
        }
    }

    /// Hands out sectors for writes and appends, and submits those that are allowed.
    fn write(&self, requests: RequestList<Zloop>) -> Next {
        let (allowed, extent) = self.reserve(requests);
        let Some(extent) = extent else {
            return Next::Job;
        };
        // The task that ends the write goes on.
        self.queue.lock().begin_write(extent);
        allowed.charge(|allowed| self.submit(allowed, extent));
        Next::Wait
    }

    /// Hands out sectors for writes and appends. Those that are not allowed are ended; the others
    /// are returned, with the sectors that they are for.
    fn reserve(&self, mut requests: RequestList<Zloop>) -> (RequestList<Zloop>, Option<Extent>) {
        let mut allowed = RequestList::default();
        let mut extent: Option<Extent> = None;
        while let Some(mut request) = requests.pop_front() {
            let sectors = u64::from(request.sectors());
            let target = match request.command() {
                Some(Command::ZoneAppend) => Target::WritePointer,
                _ => Target::Sector(self.common.geometry().offset_in_zone(request.sector())),
            };
            let reserved = {
                let mut state = self.state.lock();
                let mut set = self.common.open_zones().lock();
                state.zone.write(&mut set, target, sectors)
            };
            match reserved {
                Ok(start) => {
                    if let Some(append) = request.as_append() {
                        let zone_start = self.common.geometry().zone_start(self.number);
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
    fn submit(&self, requests: RequestList<Zloop>, extent: Extent) {
        let limit = match self.limit(&requests, extent) {
            Ok(limit) => limit,
            // As if it had been submitted and failed.
            Err(err) => return <Zloop as FileIoOperations>::file_io_done(requests, Err(err)),
        };
        let file = self.file().and_then(|file| {
            if requests.is_fua() {
                // What is in a file is durable only if the file is.
                self.common.files().sync()?;
            }
            Ok(file)
        });
        match file {
            // Somebody has cut the file. This write would make a hole of what is missing.
            Ok(file) if !has_all_before(&file, extent) => {
                <Zloop as FileIoOperations>::file_io_done(requests, Err(EIO));
            }
            Ok(file) => {
                self.allocate_ahead(&file, extent, &requests);
                let position = extent.start << SECTOR_SHIFT;
                requests.submit_and_wait(file, position, limit);
            }
            // As if it had been submitted and failed.
            Err(err) => <Zloop as FileIoOperations>::file_io_done(requests, Err(err)),
        }
    }

    /// Has a write wait, and says how many bytes of it are written if not all are, as faults that
    /// were injected have it; may sleep.
    fn limit(&self, requests: &RequestList<Zloop>, extent: Extent) -> Result<Option<u64>> {
        let faults = self.common.faults();
        if !faults.is_armed() || !requests.iter().any(|request| request.data().meets_faults()) {
            return Ok(None);
        }
        let (first, sectors) = self.on_device(extent);
        let is_one = requests.len() == 1;
        if !is_one && faults.would_spoil_write(first, sectors) {
            // They are written one by one then, and meet the faults, so that the right one fails.
            return Err(EIO);
        }
        for request in requests.iter() {
            let _ = request.data().meet_faults();
        }
        match is_one {
            true => faults.spoil_write(first, sectors, self.common.block_sectors()),
            false => {
                faults.delay(Kind::Write, sectors << SECTOR_SHIFT);
                Ok(None)
            }
        }
    }

    /// The first sector of the zone's `extent` on the device, and how many there are.
    fn on_device(&self, extent: Extent) -> (u64, u64) {
        let zone_start = self.common.geometry().zone_start(self.number);
        (
            zone_start.saturating_add(extent.start),
            extent.end.saturating_sub(extent.start),
        )
    }

    /// Has a command for the zone fail if faults were injected that say so.
    fn fail_command(&self, command: ZoneCommand) -> Result<(), ZoneMgmtError> {
        if self.common.faults().fails(command) {
            return Err(ZoneMgmtError::Injected);
        }
        Ok(())
    }

    /// Carries out a write at once if nothing else is to be done in the zone, and if it needs no
    /// waiting; if not, by a work item. For `queue_rq`.
    ///
    /// A write at the end of a file needs no waiting where the space for it is allocated.
    pub(crate) fn write_now(
        self: &Arc<Self>,
        submission: &Submission<'_>,
        request: Request<Zloop>,
    ) {
        let is_by_plain_task = submission.is_by_plain_task();
        let merges = request.command() == Some(Command::Write) && {
            self.depth.arrive(is_by_plain_task)
        };
        // A FUA write waits for the medium.
        if request.bytes() > MAX_BYTES_NOW
            || request.is_fua()
            || !is_by_plain_task
            || merges
            || !self.common.extends().is_worth_trying()
            || !request.is_charged_to_current()
        {
            return self.post(request);
        }
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
                if extent.end <= allocated
                    && file.is_known_to_have(extent.start << SECTOR_SHIFT) =>
            {
                let position = extent.start << SECTOR_SHIFT;
                allowed.submit_nowait(Some(submission), file, position);
            }
            _ => allowed.enqueue(),
        }
    }

    /// Allocates the space that the small writes after these will need. It is no error if that
    /// fails.
    fn allocate_ahead(&self, file: &File, extent: Extent, requests: &RequestList<Zloop>) {
        let len = extent.end.saturating_sub(extent.start) << SECTOR_SHIFT;
        let allocated = self.state.lock().allocated;
        if len > u64::from(MAX_BYTES_NOW)
            || extent.end <= allocated
            || !self.common.extends().is_worth_trying()
        {
            return;
        }
        match self.common.ahead().ask(self.number) {
            Answer::Granted => {}
            Answer::TakenOver(zone) => trim_zone(requests, zone),
            Answer::Refused => return,
        }
        let end = extent
            .end
            .saturating_add(AHEAD_SECTORS)
            .min(self.capacity());
        let allocation = file.preallocate(extent.start << SECTOR_SHIFT, end << SECTOR_SHIFT);
        self.state.lock().allocated = end;
        match allocation {
            Ok(()) => {}
            Err(err) => {
                // A part of it may be there.
                let _ = self.trim();
                self.common.extends().failed();
                self.make_space(err, requests);
            }
        }
    }

    /// If there is no space left, has all zones give back what was allocated ahead.
    fn make_space(&self, err: Error, requests: &RequestList<Zloop>) {
        if err == ENOSPC {
            while let Some(zone) = self.common.ahead().take_away() {
                trim_zone(requests, zone);
            }
        }
    }

    /// Gives back space that was allocated and not used; may sleep. Nothing may be under way.
    pub(crate) fn trim(&self) -> Result {
        if self.state.lock().allocated <= self.written() {
            return Ok(());
        }
        let file = self.file()?;
        self.cut(&file, file.size()?)
    }

    /// Cuts the zone's file, or leaves it as long as it is; no space is behind its end then. May
    /// sleep.
    fn cut(&self, file: &File, bytes: FileSize) -> Result {
        file.truncate(bytes)?;
        self.state.lock().allocated = 0;
        Ok(())
    }

    /// Ends a request that is refused.
    fn refuse(&self, request: Request<Zloop>, err: ZoneError) {
        let status = match err {
            ZoneError::TooManyOpen => Status::ZONE_OPEN_RESOURCE,
            ZoneError::TooManyActive => Status::ZONE_ACTIVE_RESOURCE,
            _ => Status::IOERR,
        };
        report!(
            self.common,
            "zone {}: {} at sector {}, {} sectors, refused: {}",
            self.number,
            request.command().map_or("request", Command::name),
            request.sector(),
            request.sectors(),
            Shown(err)
        );
        request.end(status);
    }

    /// Carries out a request that is no write.
    fn exclusive(&self, request: Request<Zloop>) {
        let command = match request.command() {
            Some(Command::ZoneOpen) => Some(ZoneCommand::Open),
            Some(Command::ZoneClose) => Some(ZoneCommand::Close),
            Some(Command::ZoneFinish) => Some(ZoneCommand::Finish),
            Some(Command::ZoneReset) => Some(ZoneCommand::Reset),
            Some(Command::WriteZeroes) => None,
            Some(Command::Read) => return self.read_again(request),
            _ => return request.end(Status::NOTSUPP),
        };
        let result = match command {
            None => self.write_zeroes(&request),
            Some(command) => self.zone_command(&request, command),
        };
        match result {
            Ok(()) => request.end(Status::OK),
            Err(ZoneMgmtError::Refused(err)) => self.refuse(request, err),
            Err(err) => {
                let err = err.errno();
                report!(
                    self.common,
                    "zone {}: {} failed: {err:?}",
                    self.number,
                    request.command().map_or("request", Command::name)
                );
                request.end(err.into());
            }
        }
    }

    fn zone_command(
        &self,
        request: &Request<Zloop>,
        command: ZoneCommand,
    ) -> Result<(), ZoneMgmtError> {
        if request.data().meet_faults() {
            self.common.faults().delay(Kind::Zone, 0);
            self.fail_command(command)?;
        }
        match command {
            ZoneCommand::Open => self.with_zone(|zone, set| zone.open(set)),
            ZoneCommand::Close => self.with_zone(|zone, set| zone.close(set)),
            ZoneCommand::Finish => self.finish(),
            ZoneCommand::Reset => self.reset(),
        }
    }

    /// Applies a rule that concerns nothing but the zone and the open set.
    fn with_zone<R>(
        &self,
        rule: impl FnOnce(&mut ZoneState, &mut OpenSet) -> Result<R, ZoneError>,
    ) -> Result<R, ZoneMgmtError> {
        let mut state = self.state.lock();
        let mut set = self.common.open_zones().lock();
        rule(&mut state.zone, &mut set).map_err(ZoneMgmtError::Refused)
    }

    /// Writes zeros at the write pointer, which is a matter of the file's length.
    fn write_zeroes(&self, request: &Request<Zloop>) -> Result<(), ZoneMgmtError> {
        let sectors = u64::from(request.sectors());
        let target = Target::Sector(self.common.geometry().offset_in_zone(request.sector()));
        let start = self.with_zone(|zone, set| zone.write(set, target, sectors))?;
        let extent = Extent {
            start,
            end: start.saturating_add(sectors),
        };
        let lengthened = self.file().and_then(|file| {
            // Somebody has cut the file: see `submit`.
            if request.data().meet_faults() {
                let (first, sectors) = self.on_device(extent);
                let faults = self.common.faults();
                if faults
                    .spoil_write(first, sectors, self.common.block_sectors())?
                    .is_some()
                {
                    return Err(EIO);
                }
            }
            if !has_all_before(&file, extent) {
                return Err(EIO);
            }
            file.truncate(extent.end << SECTOR_SHIFT)
        });
        if let Err(err) = lengthened {
            self.state.lock().torn = true;
            self.set_file_state(FileState::Stale);
            self.fail_as_asked(request, err);
            return Err(ZoneMgmtError::Medium(err));
        }
        self.mark_written(extent.end);
        let mut state = self.state.lock();
        state.zone.written(&mut self.common.open_zones().lock());
        Ok(())
    }

    /// Fills the zone. That is durable when it is complete, also if the zone was full: by writes,
    /// or by a finish that has filled it and failed to make that durable.
    fn finish(&self) -> Result<(), ZoneMgmtError> {
        let previous = match self.with_zone(|zone, set| zone.finish(set))? {
            Finish::Nothing => {
                return self.sync_full().map_err(|err| {
                    self.set_file_state(FileState::Stale);
                    ZoneMgmtError::Medium(err)
                });
            }
            Finish::Medium(previous) => previous,
        };
        // What is behind the end of the file would become a part of it.
        let filled = self.trim().and_then(|()| self.fill_file());
        let mut state = self.state.lock();
        let mut set = self.common.open_zones().lock();
        match filled {
            Ok(()) => {
                state.zone.finished(&mut set);
                self.durability.filled(&mut state.sync, self.capacity());
                Ok(())
            }
            Err(err) => {
                state.zone.not_finished(&mut set, previous);
                drop(set);
                drop(state);
                self.set_file_state(FileState::Stale);
                Err(ZoneMgmtError::Medium(err))
            }
        }
    }

    /// Makes a full zone durable if it isn't; may sleep.
    fn sync_full(&self) -> Result {
        let is_durable = {
            let state = self.state.lock();
            state.sync.flushed() == self.capacity() && state.sync.length() == Length::Certain
        };
        if is_durable {
            // The file is, but its name need not be.
            return self.common.files().sync();
        }
        self.fill_file()?;
        let mut state = self.state.lock();
        self.durability.filled(&mut state.sync, self.capacity());
        Ok(())
    }

    /// Makes the zone's file as long as the zone's capacity, and durable; may sleep.
    fn fill_file(&self) -> Result {
        let file = self.file()?;
        let (size, full) = (file.size()?, self.capacity() << SECTOR_SHIFT);
        if size < self.written() << SECTOR_SHIFT {
            // Somebody has cut the file. To make it longer would hide that.
            return Err(EIO);
        }
        let syncing = self.syncing.lock();
        let length = self.state.lock().sync.begin_fill();
        if size != full || length == Length::Uncertain {
            file.truncate(full)?;
        }
        let synced = self.file.sync(&file);
        {
            let sync = &mut self.state.lock().sync;
            match synced {
                Ok(()) => sync.fill_synced(!self.common.options().tunables.buffered_io),
                Err(_) => sync.fill_failed(self.written()),
            }
        }
        drop(syncing);
        synced?;
        self.common.files().sync()
    }

    /// Empties the zone. That is durable when it is complete, also if the zone was empty: by a
    /// reset that has emptied it and failed to make that durable.
    fn reset(&self) -> Result<(), ZoneMgmtError> {
        let reset = self.with_zone(|zone, set| zone.reset(set))?;
        let is_durable = self.state.lock().sync.length() == Length::Certain;
        if reset == Reset::Nothing && is_durable {
            // What can't be given back does no harm.
            let _ = self.trim();
        } else if let Err(err) = self.empty_file() {
            self.set_file_state(FileState::Stale);
            return Err(ZoneMgmtError::Medium(err));
        }
        let mut state = self.state.lock();
        state.sync.reset_done();
        state.zone.emptied(&mut self.common.open_zones().lock());
        self.common.counters().zone_was_reset();
        Ok(())
    }

    /// Empties the zone's file, and makes that durable; may sleep.
    fn empty_file(&self) -> Result {
        let file = self.file()?;
        self.durability.begin_reset();
        let _syncing = self.syncing.lock();
        let cut = self.cut(&file, 0);
        {
            let sync = &mut self.state.lock().sync;
            match cut {
                Ok(()) => sync.cut(),
                Err(_) => sync.cut_failed(),
            }
        }
        cut.and_then(|()| self.file.sync(&file))
    }

    /// The zone's part of a reset of all zones: those that can't be reset are skipped.
    fn reset_if_allowed(&self, all: &ResetAll) -> Result {
        let met_faults = match all.meets_faults() {
            true => self.fail_command(ZoneCommand::Reset),
            false => Ok(()),
        };
        match met_faults.and_then(|()| self.reset()) {
            Ok(()) | Err(ZoneMgmtError::Refused(_)) => Ok(()),
            Err(err) => {
                let err = err.errno();
                report!(self.common, "zone {}: can't be reset: {err:?}", self.number);
                Err(err)
            }
        }
    }

    /// Repeats a read that has found less than was written, now that nothing is under way.
    ///
    /// Either the zone was reset in between and there is no more, or the file lacks something, or
    /// it has all and yet gives less: a file system that can't read a part of what it was asked for
    /// returns what is before it. The last one is found by repeating it. If there was no reset
    /// since, the end is an error.
    fn read_again(&self, request: Request<Zloop>) {
        let resets = self.state.lock().sync.resets();
        if request.data().is_repeated(resets) {
            report!(
                self.common,
                "can't read {} sectors at sector {}: the file of zone {} can be read in part only",
                request.sectors(),
                request.sector(),
                self.number
            );
            return request.end(Status::IOERR);
        }
        let file = match self.file() {
            Ok(file) => file,
            Err(err) => return request.end(err.into()),
        };
        match file.size() {
            Ok(size) if size >> SECTOR_SHIFT >= self.written() => {
                let offset = self.common.geometry().offset_in_zone(request.sector());
                request.data().must_find_now(self.written(), resets);
                RequestList::from(request).submit(file, offset << SECTOR_SHIFT, None);
            }
            _ => {
                // Whoever waits for the request may rely on nobody having the file.
                drop(file);
                self.set_file_state(FileState::Stale);
                request.end(Status::IOERR);
            }
        }
    }

    /// Takes the write pointer from the file.
    fn repair(&self) {
        let found = self.file_end();
        let mut state = self.state.lock();
        let mut set = self.common.open_zones().lock();
        let file = match found {
            Ok(wp) => {
                self.durability.repaired(&mut state.sync, wp.sector(), || {
                    self.common.dirty().mark(self.number);
                });
                state.torn = false;
                state.zone.repair(&mut set, wp);
                FileState::Known
            }
            Err(failure) => {
                state.zone.fail(&mut set, failure);
                FileState::Failed
            }
        };
        drop(set);
        drop(state);
        self.set_file_state(file);
        self.common.repaired().notify_all();
    }

    /// Looks up where the zone's file ends.
    ///
    /// What was acknowledged must all be there.
    fn file_end(&self) -> Result<WritePointer, Failure> {
        let offline = |err| {
            report!(
                self.common,
                "zone {}: offline, its file is: {err:?}",
                self.number
            );
            Failure::Offline
        };
        let file = self.file().map_err(offline)?;
        self.cut_torn_block(&file).map_err(offline)?;
        let size = file.size().map_err(offline)?;
        let block_size = self.common.block_size();
        match WritePointer::at_end_of_file(size, block_size, self.capacity()) {
            Some(wp) if wp.sector() >= self.written() => Ok(wp),
            _ => {
                report!(
                    self.common,
                    "zone {}: read-only, its file has {size} bytes: must be from {} to {}, and a \
                     multiple of {block_size}",
                    self.number,
                    self.written() << SECTOR_SHIFT,
                    self.capacity() << SECTOR_SHIFT
                );
                Err(Failure::ReadOnly)
            }
        }
    }

    /// Cuts off the piece of a block that a failed write of ours may have left at the end of the
    /// file; may sleep. Nobody was told that it is written.
    fn cut_torn_block(&self, file: &File) -> Result {
        if !self.state.lock().torn {
            return Ok(());
        }
        let size = file.size()?;
        // A block size is a power of two.
        let whole = size & !u64::from(self.common.block_size()).wrapping_sub(1);
        if whole == size || whole < self.written() << SECTOR_SHIFT {
            return Ok(());
        }
        file.truncate(whole)
    }

    /// Makes durable what was written, and remembers that; may sleep.
    ///
    /// # Errors
    ///
    /// The error of the file system; EIO if a finish got that error.
    pub(crate) fn flush(&self) -> Result {
        let _syncing = self.syncing.lock();
        let flush = self.durability.begin_flush();
        let synced = match self.used_file()? {
            Some(file) => self.common.sync_file(self.number, &self.file, &file),
            None => Ok(()),
        };
        let sync = &mut self.state.lock().sync;
        match synced {
            Ok(()) => sync.end_flush(flush).map_err(|Unreported| EIO),
            Err(err) => {
                sync.flush_failed();
                Err(err)
            }
        }
    }

    /// Discards the data that was written and not flushed, or a part of it; may sleep. No request
    /// may be under way.
    pub(crate) fn discard_unflushed(&self, loss: Loss) -> Result {
        let Some(file) = self.used_file()? else {
            return Ok(());
        };
        let block = FileSize::from(self.common.block_size());
        let flushed = self.state.lock().sync.discard() << SECTOR_SHIFT;
        let size = file.size()?;
        // A file that others have cut has nothing to lose.
        let Some(unflushed) = size.checked_sub(flushed) else {
            return Ok(());
        };
        let blocks = unflushed.checked_div(block).unwrap_or(0);
        let left = loss.left(self.number, blocks).saturating_mul(block);
        let end = flushed.saturating_add(left);
        if size > end {
            file.truncate(end)?;
            self.file.sync(&file)?;
        }
        Ok(())
    }
}

/// Has another zone of the device that the requests are for give back the space that was allocated
/// ahead.
fn trim_zone(requests: &RequestList<Zloop>, zone: u32) {
    if let Some(request) = requests.front() {
        if let Some(zone_table::Zone::Sequential(zone)) = request.queue_data().zones().get(zone) {
            zone.post_trim(request.work_queue());
        }
    }
}

/// Whether the file of a zone has what was written before a write; may sleep.
fn has_all_before(file: &File, extent: Extent) -> bool {
    let bytes = extent.start << SECTOR_SHIFT;
    file.is_known_to_have(bytes) || file.size().is_ok_and(|size| size >= bytes)
}

impl WorkItem for SequentialZone {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _scope = BlockIoScope::enter();
        // If another task has the turn, it finds what was posted.
        let job = this.queue.lock().begin_work();
        this.work_on(job);
    }
}

/// The error of a zone command.
enum ZoneMgmtError {
    /// The rules don't allow it.
    Refused(ZoneError),
    /// The file system has failed.
    Medium(Error),
    /// A fault was injected.
    Injected,
}

impl ZoneMgmtError {
    fn errno(self) -> Error {
        match self {
            Self::Medium(err) => err,
            Self::Refused(_) | Self::Injected => EIO,
        }
    }
}
