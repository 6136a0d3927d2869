// SPDX-License-Identifier: GPL-2.0

//! The queue of a sequential zone: its requests, and the right to work on the zone.
//!
//! The queue is first-in-first-out. One *worker* at a time takes jobs out of it. The [`Stage`] is
//! the current owner of the zone:
//!
//! ```text
//!             something is posted          a write is submitted
//!      Idle ----------------------> Working -----------------------> Writing
//!       ^                            |    ^                             |
//!       |      nothing is left       |    |  it failed, filled the zone |
//!       +----------------------------+    |  or is FUA: a task that may |
//!       |                                 |  sleep completes it         v
//!       |                                 +---------------------- Completing
//!       |                it succeeded                                   ^
//!       +---------------------------------------------------------------+
//! ```
//!
//! No job runs while a write is under way. Writes that are posted meanwhile are merged into one
//! larger write if possible: appends with appends, and writes to adjacent sectors. If a merged
//! write fails, its requests are queued again and written one by one, so that only the requests
//! with an error fail.
//!
//! Invariants, which `tests/host` checks for every order of calls up to a bound:
//!
//! - There is one worker at a time, and no worker while a write is under way.
//! - Each request is handed out once. So is each reset of all zones.
//! - Requests are handed out in the order in which they were posted.
//! - While the file is [`FileState::Stale`], the next job is its repair.
//!
//! The methods take constant time, except for the number of requests in a write. They may be called
//! in any context. The caller holds a lock around the queue. `tests/loom` checks that each request
//! that is posted under the lock gets a worker.

use core::{
    mem::take,
    ops::Deref, //
};

use super::{
    atomics::Atomics,
    durability::Durability, //
};

#[cfg(any(test, CONFIG_KUNIT = "y"))]
pub(crate) mod tests;

/// The number of bits to shift bytes by to get sectors.
const SECTOR_SHIFT: u32 = 9;

/// A request for a zone.
pub(crate) trait ZoneRequest: Sized {
    /// A list of requests.
    type List: Fifo<Self>;
    /// A zone's part of a reset of all zones.
    type ResetAll;
    /// The error of a failed write.
    type Error: Copy;

    /// The largest write, in sectors.
    const MAX_SECTORS: u32;

    /// The kind of write; [`None`] if the request is not a write.
    fn write_kind(&self) -> Option<WriteKind>;

    /// The first sector, on the zone's device.
    fn sector(&self) -> u64;

    /// The number of sectors.
    fn sectors(&self) -> u32;

    /// Whether this write may be part of the same I/O as `first`, apart from their sectors.
    fn may_join(&self, first: &Self) -> bool;
}

/// The kind of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WriteKind {
    /// A write to its sector.
    Regular,
    /// A write to the write pointer.
    Append,
}

/// A first-in-first-out list of requests.
pub(crate) trait Fifo<R>: Default {
    /// Whether the list is empty.
    fn is_empty(&self) -> bool;

    /// The number of requests.
    fn len(&self) -> usize;

    /// The first request.
    fn front(&self) -> Option<impl Deref<Target = R>>;

    /// Adds a request at the end.
    fn push_back(&mut self, request: R);

    /// Takes the first request.
    fn pop_front(&mut self) -> Option<R>;

    /// Adds all of `other` at the front, in its order.
    fn prepend(&mut self, other: Self);
}

/// The queue of a sequential zone.
#[cfg_attr(test, derive(Clone, PartialEq, Eq, Hash))]
pub(crate) struct ZoneQueue<R: ZoneRequest> {
    requests: R::List,
    /// The number of requests at the front that must be written one by one.
    nr_unmerged: usize,
    reset_all: Option<R::ResetAll>,
    /// Whether the worker must give back preallocated space.
    trim: bool,
    file: FileState,
    stage: Stage<R::Error>,
}

/// Whether the end of the zone's file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FileState {
    /// The file ends at the write pointer, or a write is under way.
    Known,
    /// A write has failed. A repair must look up the end.
    Stale,
    /// The repair has failed. The next request causes another repair.
    Failed,
}

/// The owner of the right to work on the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage<E> {
    /// The right is free. Any task may take it.
    Idle,
    /// The worker, which runs a job.
    Working,
    /// A write is under way. No task has the right.
    Writing(Extent),
    /// The task that completes a write. The write has ended with this number of bytes or error.
    Completing(Extent, Result<u32, E>),
}

/// The sectors of a write, relative to the zone's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Extent {
    /// The first sector.
    pub(crate) start: u64,
    /// The sector after the last one.
    pub(crate) end: u64,
}

impl Extent {
    /// Whether a write of `bytes` bytes has written all sectors.
    pub(crate) fn is_covered_by(self, bytes: u32) -> bool {
        u64::from(bytes >> SECTOR_SHIFT) == self.end.saturating_sub(self.start)
    }
}

/// A job for the worker.
pub(crate) enum Job<R: ZoneRequest> {
    /// Look up the end of the file.
    Repair,
    /// Reset the zone for a reset of all zones.
    ResetAll(R::ResetAll),
    /// Give back preallocated space.
    Trim,
    /// Write these requests as one: appends, or writes to adjacent sectors.
    Write(R::List),
    /// Carry out a request that is not a write: a zone command, or a read that found less data than
    /// expected.
    Exclusive(R),
}

/// The outcome of a write.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Outcome {
    /// The write has succeeded and is complete.
    Done(Extent),
    /// A task that may sleep must call [`ZoneQueue::complete_write`].
    Complete,
}

/// The next step of the caller of [`ZoneQueue::complete_write`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Completion<E> {
    /// The write has ended with this number of bytes or error. The caller is the worker now.
    Ended(Extent, Result<u32, E>),
    /// The write was not submitted, because that would have slept. The caller submits it.
    Submit(Extent),
    /// There is no write.
    Nothing,
}

impl<R: ZoneRequest> ZoneQueue<R> {
    /// An empty queue of a zone whose file is known.
    pub(crate) fn new() -> Self {
        Self {
            requests: R::List::default(),
            nr_unmerged: 0,
            reset_all: None,
            trim: false,
            file: FileState::Known,
            stage: Stage::Idle,
        }
    }

    /// Posts a request.
    pub(crate) fn post(&mut self, request: R) {
        self.retry_repair();
        self.requests.push_back(request);
    }

    /// Posts the zone's part of a reset of all zones. There is one such reset at a time.
    pub(crate) fn post_reset_all(&mut self, reset: R::ResetAll) {
        self.retry_repair();
        self.reset_all = Some(reset);
    }

    /// Tells the worker to give back preallocated space.
    pub(crate) fn post_trim(&mut self) {
        self.trim = true;
    }

    /// Queues the requests of a failed write again, before all others. They will be written one by
    /// one. The caller is the worker.
    pub(crate) fn requeue_unmerged(&mut self, requests: R::List) {
        self.nr_unmerged = self.nr_unmerged.saturating_add(requests.len());
        self.requests.prepend(requests);
    }

    /// Posts a write if other work comes first. Otherwise the caller becomes the worker and gets
    /// the request back.
    pub(crate) fn begin_or_post(&mut self, request: R) -> Option<R> {
        let Stage::Idle = self.stage else {
            self.post(request);
            return None;
        };
        if self.has_work() || self.file != FileState::Known {
            self.post(request);
            return None;
        }
        self.stage = Stage::Working;
        Some(request)
    }

    /// The first request.
    pub(crate) fn front(&self) -> Option<impl Deref<Target = R> + use<'_, R>> {
        self.requests.front()
    }

    /// Whether the end of the file is known.
    pub(crate) fn file_state(&self) -> FileState {
        self.file
    }

    /// Sets whether the end of the file is known, also for readers that don't lock the queue.
    pub(crate) fn set_file_state<A: Atomics>(
        &mut self,
        file: FileState,
        durability: &Durability<A>,
    ) {
        self.file = file;
        durability.set_known(file == FileState::Known);
    }

    /// Tells the worker to repeat a repair that has failed.
    pub(crate) fn retry_repair(&mut self) {
        if self.file == FileState::Failed {
            self.file = FileState::Stale;
        }
    }

    /// Whether a worker must be started.
    pub(crate) fn wants_worker(&self) -> bool {
        self.has_work() && matches!(self.stage, Stage::Idle)
    }

    fn has_work(&self) -> bool {
        !self.requests.is_empty()
            || self.reset_all.is_some()
            || self.trim
            || self.file == FileState::Stale
    }

    /// Makes the caller the worker and returns a job. Returns [`None`] if there is no job, or if
    /// another task works on the zone. That task will find the job.
    pub(crate) fn begin_work(&mut self) -> Option<Job<R>> {
        let Stage::Idle = self.stage else {
            return None;
        };
        self.stage = Stage::Working;
        self.next_job()
    }

    /// Returns the worker's next job. If it returns [`None`], the caller is no longer the worker.
    pub(crate) fn next_job(&mut self) -> Option<Job<R>> {
        if self.file == FileState::Stale {
            return Some(Job::Repair);
        }
        if let Some(reset) = self.reset_all.take() {
            return Some(Job::ResetAll(reset));
        }
        if take(&mut self.trim) {
            return Some(Job::Trim);
        }
        let Some(first) = self.requests.pop_front() else {
            self.end_work();
            return None;
        };
        let may_merge = self.nr_unmerged == 0;
        self.nr_unmerged = self.nr_unmerged.saturating_sub(1);
        let Some(kind) = first.write_kind() else {
            return Some(Job::Exclusive(first));
        };
        let (sectors, sector) = (first.sectors(), first.sector());
        let mut batch = R::List::default();
        batch.push_back(first);
        if may_merge {
            self.extend(&mut batch, kind, sector, sectors);
        }
        Some(Job::Write(batch))
    }

    /// Adds the next writes of the queue to a write, as long as they can be part of it. The write
    /// has `sectors` sectors and begins at `sector`.
    fn extend(&mut self, batch: &mut R::List, kind: WriteKind, sector: u64, mut sectors: u32) {
        loop {
            let joins = match (batch.front(), self.requests.front()) {
                (Some(first), Some(next)) => {
                    let end = sector.saturating_add(u64::from(sectors));
                    sectors = sectors.saturating_add(next.sectors());
                    next.write_kind() == Some(kind)
                        && (kind == WriteKind::Append || next.sector() == end)
                        && sectors <= R::MAX_SECTORS
                        && next.may_join(&first)
                }
                _ => false,
            };
            if !joins {
                return;
            }
            if let Some(next) = self.requests.pop_front() {
                batch.push_back(next);
            }
        }
    }

    /// Notes that the worker is about to submit a write. The caller is no longer the worker.
    pub(crate) fn begin_write(&mut self, extent: Extent) {
        self.stage = Stage::Writing(extent);
    }

    /// Notes that a write has ended.
    ///
    /// A write that has succeeded is complete if `is_all` returns true: it needs no further work.
    pub(crate) fn end_write(
        &mut self,
        result: Result<u32, R::Error>,
        is_all: impl FnOnce(Extent) -> bool,
    ) -> Outcome {
        let Stage::Writing(extent) = self.stage else {
            return Outcome::Complete;
        };
        match result {
            Ok(bytes) if extent.is_covered_by(bytes) && is_all(extent) => {
                self.stage = Stage::Idle;
                Outcome::Done(extent)
            }
            result => {
                self.stage = Stage::Completing(extent, result);
                Outcome::Complete
            }
        }
    }

    /// Returns the next step for the task that has the requests of the zone's write.
    pub(crate) fn complete_write(&mut self) -> Completion<R::Error> {
        match self.stage {
            Stage::Completing(extent, result) => {
                self.stage = Stage::Working;
                Completion::Ended(extent, result)
            }
            Stage::Writing(extent) => Completion::Submit(extent),
            Stage::Idle | Stage::Working => Completion::Nothing,
        }
    }

    /// Notes that the caller is no longer the worker.
    pub(crate) fn end_work(&mut self) {
        self.stage = Stage::Idle;
    }
}
