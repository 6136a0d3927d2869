// SPDX-License-Identifier: GPL-2.0

//! The mailbox of a sequential zone: what is to be done in the zone, and whose turn it is.
//!
//! The mailbox is a first-in-first-out queue that one *drainer* at a time takes something out of.
//! The [`Stage`] says whose turn it is:
//!
//! ```text
//!             something is posted          a write is submitted
//!      Idle ----------------------> Draining ----------------------> Writing
//!       ^                            |    ^                             |
//!       |      nothing is left       |    |  it failed, filled the zone |
//!       +----------------------------+    |  or is FUA: it is looked at |
//!       |                                 |  where sleeping is allowed  v
//!       |                                 +----------------------- Attending
//!       |                it succeeded                                   ^
//!       +---------------------------------------------------------------+
//! ```
//!
//! While a write is under way nothing else is done in the zone. What is posted meanwhile leaves as
//! one larger write, if it can: appends go together, and so do writes that touch. If such a write
//! fails, its requests are written one by one, so that only those fail that have to.
//!
//! Methods take constant time, but for the length of a write, and may be called in any context; the
//! caller has the lock.

use crate::{
    device::{
        Zloop,
        MAX_HW_SECTORS, //
    },
    kernel_ext::{
        block::mq::{
            Command,
            Request,
            RequestList, //
        },
        workqueue::Queue, //
    },
    reset_all::ResetAll,
};
use core::mem::take;
use kernel::{
    block::SECTOR_SHIFT,
    error::Result,
    sync::Arc, //
};

/// What is to be done in a zone, and whose turn it is.
pub(crate) struct Mailbox {
    queue: RequestList<Zloop>,
    /// So many requests at the front of the queue are to be written one by one.
    singles: usize,
    reset_all: Option<Arc<ResetAll>>,
    /// Whether space that was allocated ahead is to be given back.
    trim: bool,
    medium: Medium,
    stage: Stage,
}

/// Whether the end of the zone's file is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// It is where the write pointer is, or a write is under way.
    Known,
    /// A write has failed; it is to be looked up.
    Stale,
    /// It was looked up without success. It will be again when something is asked of the zone.
    Failed,
}

/// Whose turn it is to do something in the zone.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Whoever comes.
    Idle,
    /// The drainer's, who is at it.
    Draining,
    /// Nobody's: a write is under way.
    Writing(Extent),
    /// The one's who looks at a write that has ended with this number of bytes, or failed.
    Attending(Extent, Result<u32>),
}

/// The sectors of a zone that a write is for, relative to the zone's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// The first one.
    pub(crate) start: u64,
    /// The one after the last.
    pub(crate) end: u64,
}

impl Extent {
    /// Whether a write of so many bytes was one of all these sectors.
    pub(crate) fn is_covered_by(self, bytes: u32) -> bool {
        u64::from(bytes >> SECTOR_SHIFT) == self.end.saturating_sub(self.start)
    }
}

/// What the drainer does next.
pub(crate) enum Job {
    /// Look up where the file ends.
    Repair,
    /// Take part in a reset of all zones.
    ResetAll(Arc<ResetAll>),
    /// Give back the space that was allocated and not used.
    Trim,
    /// Write these, which are writes that follow one another, or appends.
    Write(RequestList<Zloop>),
    /// Carry out a command for the zone, or a read that found too little.
    Single(Request<Zloop>),
}

/// What is to be done with the requests of a write that has ended.
#[must_use]
pub(crate) enum Ended {
    /// They have succeeded, and so much is written.
    Well(Extent),
    /// The one who [attends](Mailbox::attend) must look at them.
    Attend,
}

/// What the one who has the requests of a zone's write has to do.
#[must_use]
pub(crate) enum Attend {
    /// Look how the write has ended. The one is the drainer now.
    Ended(Extent, Result<u32>),
    /// Submit it: that was tried where waiting is not allowed.
    Submit(Extent),
    /// Nothing: there is no write.
    Nothing,
}

impl Mailbox {
    /// An empty mailbox, of a zone whose file is known.
    pub(crate) fn new() -> Self {
        Self {
            queue: RequestList::default(),
            singles: 0,
            reset_all: None,
            trim: false,
            medium: Medium::Known,
            stage: Stage::Idle,
        }
    }

    /// Posts a request.
    pub(crate) fn post(&mut self, request: Request<Zloop>) {
        self.look_again();
        self.queue.push_back(request);
    }

    /// Posts the zone's part of a reset of all zones. There is one such reset at a time.
    pub(crate) fn post_reset_all(&mut self, reset: Arc<ResetAll>) {
        self.look_again();
        self.reset_all = Some(reset);
    }

    /// Has the zone give back the space that was allocated and not used.
    pub(crate) fn post_trim(&mut self) {
        self.trim = true;
    }

    /// Posts requests again, before all others, to be written one by one.
    pub(crate) fn post_singles(&mut self, requests: RequestList<Zloop>) {
        self.singles = self.singles.saturating_add(requests.len());
        self.queue.prepend(requests);
    }

    /// Whether the end of the file is known.
    pub(crate) fn medium(&self) -> Medium {
        self.medium
    }

    /// Notes whether the end of the file is known.
    pub(crate) fn set_medium(&mut self, medium: Medium) {
        self.medium = medium;
    }

    /// Has a zone looked at again that could not be repaired.
    pub(crate) fn look_again(&mut self) {
        if self.medium == Medium::Failed {
            self.medium = Medium::Stale;
        }
    }

    /// Whether a drainer has to be called for what is here.
    pub(crate) fn wants_drainer(&self) -> bool {
        self.has_work() && matches!(self.stage, Stage::Idle)
    }

    fn has_work(&self) -> bool {
        !self.queue.is_empty()
            || self.reset_all.is_some()
            || self.trim
            || self.medium == Medium::Stale
    }

    /// The workqueue of the requests that are here. It can't go away while they are.
    pub(crate) fn work_queue<R>(&self, f: impl FnOnce(&Queue) -> R) -> Option<R> {
        self.queue.front().map(|first| f(first.work_queue()))
    }

    /// Makes the caller the drainer and gives it something to do, unless somebody else has the
    /// turn, who will find what there is.
    pub(crate) fn begin_drain(&mut self) -> Option<Job> {
        let Stage::Idle = self.stage else {
            return None;
        };
        self.stage = Stage::Draining;
        self.next_job()
    }

    /// Gives the drainer something to do. If there is nothing, the caller is not the drainer any
    /// more.
    pub(crate) fn next_job(&mut self) -> Option<Job> {
        if self.medium == Medium::Stale {
            return Some(Job::Repair);
        }
        if let Some(reset) = self.reset_all.take() {
            return Some(Job::ResetAll(reset));
        }
        if take(&mut self.trim) {
            return Some(Job::Trim);
        }
        let Some(first) = self.queue.pop_front() else {
            self.stage = Stage::Idle;
            return None;
        };
        let single = self.singles > 0;
        self.singles = self.singles.saturating_sub(1);
        if !is_write(&first) {
            return Some(Job::Single(first));
        }
        let mut batch = RequestList::from(first);
        if !single {
            self.extend(&mut batch);
        }
        Some(Job::Write(batch))
    }

    /// Adds to a write what can be written along with it.
    fn extend(&mut self, batch: &mut RequestList<Zloop>) {
        let Some((command, mut end, mut sectors)) = batch.front().map(|first| {
            let sectors = first.sectors();
            let end = first.sector().saturating_add(u64::from(sectors));
            (first.command(), end, sectors)
        }) else {
            return;
        };
        while let Some(next) = self.queue.front() {
            let more = next.sectors();
            let follows = command == Some(Command::ZoneAppend) || next.sector() == end;
            let may_join = batch.front().is_some_and(|first| first.may_join(&next));
            sectors = sectors.saturating_add(more);
            if next.command() != command || !follows || !may_join || sectors > MAX_HW_SECTORS {
                return;
            }
            end = end.saturating_add(u64::from(more));
            if let Some(next) = self.queue.pop_front() {
                batch.push_back(next);
            }
        }
    }

    /// Notes that the drainer submits a write. It is not the drainer any more.
    pub(crate) fn begin_write(&mut self, extent: Extent) {
        self.stage = Stage::Writing(extent);
    }

    /// Notes that a write has ended.
    ///
    /// One that has failed must be attended to, and so must one that has not but that `is_all` says
    /// is followed by something: it is given the sectors.
    pub(crate) fn end_write(
        &mut self,
        result: Result<u32>,
        is_all: impl FnOnce(Extent) -> bool,
    ) -> Ended {
        let Stage::Writing(extent) = self.stage else {
            return Ended::Attend;
        };
        match result {
            Ok(bytes) if extent.is_covered_by(bytes) && is_all(extent) => {
                self.stage = Stage::Idle;
                Ended::Well(extent)
            }
            result => {
                self.stage = Stage::Attending(extent, result);
                Ended::Attend
            }
        }
    }

    /// Says what the one who has the requests of the zone's write has to do.
    pub(crate) fn attend(&mut self) -> Attend {
        match self.stage {
            Stage::Attending(extent, result) => {
                self.stage = Stage::Draining;
                Attend::Ended(extent, result)
            }
            Stage::Writing(extent) => Attend::Submit(extent),
            Stage::Idle | Stage::Draining => Attend::Nothing,
        }
    }

    /// Posts a write and gives it back at once if there is nothing else to do in the zone. The
    /// caller is the drainer then.
    pub(crate) fn post_and_begin(&mut self, request: Request<Zloop>) -> Option<Request<Zloop>> {
        let nothing_else =
            matches!(self.stage, Stage::Idle) && !self.has_work() && self.medium == Medium::Known;
        if !nothing_else {
            self.post(request);
            return None;
        }
        self.stage = Stage::Draining;
        Some(request)
    }

    /// Notes that the caller is not the drainer any more.
    pub(crate) fn end_drain(&mut self) {
        self.stage = Stage::Idle;
    }
}

fn is_write(request: &Request<Zloop>) -> bool {
    matches!(
        request.command(),
        Some(Command::Write | Command::ZoneAppend)
    )
}
