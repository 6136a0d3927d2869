// SPDX-License-Identifier: GPL-2.0

//! A sequential zone that is in use.
//!
//! Every change of a sequential zone goes through its [`ZoneQueue`], and one *worker* at a time
//! makes the changes. So concurrent commands on a zone have the effect of some sequential order,
//! and appends keep their order. The worker is a work item or, if the zone is idle and a write need
//! not wait, the task that queues the write.
//!
//! - `write.rs` has writes and appends, `manage.rs` has zone management, and `repair.rs` has the
//!   repair after a failed write.
//! - The write pointer, in [`State`], moves when the worker reserves sectors, before they are
//!   written. The lock of the state is not held across I/O, so a report does not wait for a write.
//! - [`Durability`] follows when a write has succeeded.
//! - A write that fails leaves the zone [`FileState::Stale`]: the end of its file is not known. The
//!   next job is then a repair. A report of a stale zone waits for the repair, because the block
//!   layer takes over the reported write pointer.

mod manage;
mod repair;
mod write;

use crate::{
    backing::zone_file::ZoneFile,
    device::{
        plug_depth::PlugDepth,
        queue_rq::ZloopQueue,
        reset_all::ResetAll,
        shared::DeviceShared,
        zone_queue::KernelAtomics, //
    },
    fault::power_loss::PowerLoss,
    io_err_ratelimited,
    log::op_name,
    options::ZoneIndex,
    zone::{
        durability::{
            Durability,
            Length,
            SyncState,
            Unreported, //
        },
        queue::{
            FileState,
            Job,
            ZoneQueue, //
        },
        Condition,
        Failure,
        WritePointer,
        ZoneError,
        ZoneState, //
    },
};

use crate::kernel_ext::{
    block::{
        zoned_mq::Request,
        Status, //
    },
    fmt::CoreDisplay,
    fs::{
        FileExt,
        FileSize, //
    },
    task::BlockIoScope,
    workqueue::ImmediateQueue, //
};

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

/// A sequential zone that is in use.
#[pin_data]
pub(crate) struct SequentialZone {
    shared: Arc<DeviceShared>,
    /// The number of the zone on the device.
    number: u32,
    file: Arc<ZoneFile>,
    durability: Durability<KernelAtomics>,
    /// Held during a flush, and during the syncs of a finish and a reset: after a failed sync a
    /// concurrent one may succeed without making the data durable.
    #[pin]
    syncing: Mutex<()>,
    /// Whether the zone is declared offline, for reads.
    offline: AtomicFlag,
    /// An estimate of whether writes wait in the zone write plug.
    plug_depth: PlugDepth,
    #[pin]
    state: Mutex<State>,
    #[pin]
    queue: SpinLockIrq<ZoneQueue<Request<ZloopQueue>>>,
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for SequentialZone { self.work }
}

/// The part of a zone that commands change.
struct State {
    zone: ZoneState,
    sync: SyncState,
    /// The end of the preallocated space, in sectors of the zone. The file system may have freed
    /// some of it.
    allocated: u64,
    /// Whether a write has failed since the last repair. It may have left a partial block at the
    /// end of the file.
    torn: bool,
}

/// The worker's next step after a job.
enum Next {
    /// Take the next job.
    Job,
    /// Stop: a write is under way, and the task that completes it continues as the worker.
    Wait,
}

/// The reported state of a zone.
pub(crate) struct Snapshot {
    pub(crate) condition: Condition,
    /// In sectors of the zone.
    pub(crate) write_pointer: u64,
}

impl SequentialZone {
    /// Makes zone `number`, whose file has `written` sectors. The open set has it already.
    pub(crate) fn new(
        shared: Arc<DeviceShared>,
        number: u32,
        written: u64,
        flags: Flags,
    ) -> Result<Arc<Self>> {
        let capacity = shared.geometry().zone_capacity(number);
        let ZoneIndex::Sequential(index) = shared.geometry().zone_index(number) else {
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
                shared,
                number,
                file,
                durability: Durability::new(written),
                syncing <- new_mutex!((), "zloop_zone_sync"),
                offline: AtomicFlag::new(false),
                plug_depth: PlugDepth::new(),
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
        self.file.get_or_open(self.shared.files(), self.number)
    }

    /// The same, but [`None`] if the file was never opened: then nothing was written to it.
    fn used_file(&self) -> Result<Option<ARef<File>>> {
        self.file.get_if_used(self.shared.files(), self.number)
    }

    /// Closes the file; may sleep. All I/O to it must have ended.
    pub(crate) fn close(&self) {
        self.file.close();
    }

    /// The sector of the zone from which on all reads return zeros, if that is certain.
    pub(crate) fn reads_end_at(&self) -> Option<u64> {
        self.durability
            .reads_zeroes_from()
            .filter(|_| !self.is_declared_offline())
    }

    /// All sectors of the zone below this one can be read.
    pub(crate) fn written(&self) -> u64 {
        self.durability.written()
    }

    /// Whether a reset would change nothing.
    pub(crate) fn needs_no_reset(&self) -> bool {
        let known = self.durability.is_known();
        let state = self.state.lock();
        let set = self.shared.open_zones().lock();
        known
            && state.sync.length() == Length::Certain
            && state.zone.condition(&set) == Condition::Empty
    }

    /// The reported state. Waits for the repair of a stale zone; may sleep.
    // Keeps the report of zones that are not in use small.
    #[inline(never)]
    pub(crate) fn snapshot(self: &Arc<Self>, workqueue: &ImmediateQueue) -> Snapshot {
        if !self.durability.is_known() {
            let mut queue = self.queue.lock();
            queue.retry_repair();
            while queue.file_state() == FileState::Stale {
                self.wake(&queue, workqueue);
                self.shared.repaired().wait(&mut queue);
            }
        }
        self.look()
    }

    /// The present state, and whether the end of the file is known. Does not wait for a repair; may
    /// sleep.
    pub(crate) fn peek(&self) -> (Snapshot, bool) {
        let known = self.durability.is_known();
        (self.look(), known)
    }

    fn look(&self) -> Snapshot {
        let state = self.state.lock();
        let set = self.shared.open_zones().lock();
        Snapshot {
            condition: state.zone.condition(&set),
            write_pointer: state.zone.write_pointer().sector(),
        }
    }

    /// The declared condition of the zone.
    pub(crate) fn declared(&self) -> Option<Failure> {
        self.state.lock().zone.declared()
    }

    /// Calls `f` with the declared condition of the zone, if it has one. The condition can't change
    /// meanwhile.
    #[cold]
    pub(crate) fn while_declared(&self, f: impl FnOnce(Failure)) {
        let state = self.state.lock();
        if let Some(failure) = state.zone.declared() {
            f(failure);
        }
    }

    /// Declares the zone failed or good. The condition of a good zone follows from its file.
    pub(crate) fn declare(&self, failure: Option<Failure>) {
        let mut state = self.state.lock();
        match failure {
            Some(failure) => self.declare_failed(&mut state, failure),
            None if state.zone.declared().is_none() => {}
            None => {
                state
                    .zone
                    .declare_good(&mut self.shared.open_zones().lock());
                // ORDERING: `Relaxed`, because a read that races with the command may see either
                // value. A task that knows of the end of the command sees this one.
                self.offline.store(false, Relaxed);
                drop(state);
                self.set_file_state(FileState::Stale);
            }
        }
    }

    fn declare_failed(&self, state: &mut State, failure: Failure) {
        state
            .zone
            .declare_failed(&mut self.shared.open_zones().lock(), failure);
        // ORDERING: `Relaxed`: see `declare`.
        self.offline.store(failure == Failure::Offline, Relaxed);
    }

    /// Ends a read of a zone that is declared offline.
    pub(crate) fn refuse_read(&self, request: Request<ZloopQueue>) {
        self.refuse(request, ZoneError::InvalidCondition(Condition::Offline));
    }

    /// Whether the zone is declared offline, so that reads fail.
    pub(crate) fn is_declared_offline(&self) -> bool {
        // ORDERING: `Relaxed`: see `declare`.
        self.offline.load(Relaxed)
    }

    /// Posts a request. Any context.
    pub(crate) fn post(self: &Arc<Self>, request: Request<ZloopQueue>) {
        let mut queue = self.queue.lock();
        queue.post(request);
        // The workqueue exists as long as one of the disk's requests is queued.
        if let Some(first) = queue.front() {
            self.wake(&queue, first.work_queue());
        };
    }

    /// Posts the zone's job of a reset of all zones. Any context.
    pub(crate) fn post_reset_all(
        self: &Arc<Self>,
        reset: Arc<ResetAll>,
        workqueue: &ImmediateQueue,
    ) {
        let mut queue = self.queue.lock();
        queue.post_reset_all(reset);
        self.wake(&queue, workqueue);
    }

    /// Posts a job that frees the zone's unused preallocated space. Any context.
    fn post_trim(self: &Arc<Self>, workqueue: &ImmediateQueue) {
        let mut queue = self.queue.lock();
        queue.post_trim();
        self.wake(&queue, workqueue);
    }

    /// Starts the worker if one is wanted.
    fn wake(self: &Arc<Self>, queue: &ZoneQueue<Request<ZloopQueue>>, workqueue: &ImmediateQueue) {
        if queue.wants_worker() {
            // A work item that is already queued finds the posted jobs.
            let _ = workqueue.enqueue(self.clone());
        }
    }

    /// Sets the state of the zone's file.
    fn set_file_state(&self, file: FileState) {
        self.queue.lock().set_file_state(file, &self.durability);
    }

    fn capacity(&self) -> u64 {
        self.shared.geometry().zone_capacity(self.number)
    }

    /// Runs a job and then the jobs in the queue. With a job, the caller is the worker.
    fn work_on(&self, mut job: Option<Job<Request<ZloopQueue>>>) {
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
                    // A failure wastes space only.
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

    /// Ends a request that the zone model refuses.
    fn refuse(&self, request: Request<ZloopQueue>, err: ZoneError) {
        let status = match err {
            ZoneError::TooManyOpen => Status::ZONE_OPEN_RESOURCE,
            ZoneError::TooManyActive => Status::ZONE_ACTIVE_RESOURCE,
            _ => Status::IOERR,
        };
        io_err_ratelimited!(
            self.shared,
            "zone {}: {} at sector {}, {} sectors, refused: {}",
            self.number,
            op_name(request.op()),
            request.sector(),
            request.sectors(),
            CoreDisplay(err)
        );
        request.end(status);
    }

    /// Makes written data durable; may sleep.
    ///
    /// # Errors
    ///
    /// The file system's; EIO if a finish has got that error.
    pub(crate) fn flush(&self) -> Result {
        let _syncing = self.syncing.lock();
        let flush = self.durability.begin_flush();
        let synced = match self.used_file()? {
            Some(file) => self.shared.sync_file(self.number, &self.file, &file),
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

    /// Discards the data that was written and not flushed, or the part of it that `loss` selects;
    /// may sleep. No request may be under way.
    pub(crate) fn discard_unflushed(&self, loss: PowerLoss) -> Result {
        let Some(file) = self.used_file()? else {
            return Ok(());
        };
        let block = FileSize::from(self.shared.block_size());
        let flushed = self.state.lock().sync.flushed() << SECTOR_SHIFT;
        let size = file.size()?;
        // A file that was cut from outside has no unflushed data.
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
        if left == 0 {
            self.state.lock().sync.discarded();
        }
        Ok(())
    }
}

impl WorkItem for SequentialZone {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _scope = BlockIoScope::enter();
        // If another task is the worker, it finds the posted jobs.
        let job = this.queue.lock().begin_work();
        this.work_on(job);
    }
}
