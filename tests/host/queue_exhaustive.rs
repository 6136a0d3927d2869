// SPDX-License-Identifier: GPL-2.0

//! The zone queue in every order of calls: a few requests are posted, begun, refused, written well,
//! badly, or in part, requeued, completed; the zone is reset, trimmed, made stale and repaired.
//! Each state that can be reached is visited once, and the invariants of `zone/queue.rs` are
//! checked at each step.
//!
//! What the driver does under the lock of the queue is one step here. A step that calls a worker if
//! one is wanted notes that in `called`.

use crate::{
    core_atomics::CoreAtomics,
    zone::{
        durability::Durability,
        queue::{
            tests::{
                TestList,
                TestQueue,
                TestRequest, //
            },
            Completion,
            Extent,
            Fifo,
            FileState,
            Job,
            Outcome,
            WriteKind,
            ZoneRequest, //
        },
    },
};
use std::collections::HashSet;

/// The number of requests that are posted.
const MAX_REQUESTS: u32 = 4;
/// The number of resets of all zones, and of tasks that make the zone stale.
const MAX_OTHERS: u32 = 2;
/// The error of a failed write.
const EIO: i32 = -5;

/// A task that has the turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Repair,
    ResetAll(u32),
    Trim,
    Write(TestList),
    Exclusive(TestRequest),
    /// The task that queued a write carries it out.
    AtOnce(TestRequest),
    /// A write has ended so.
    Ended(TestList, Result<u32, i32>),
}

/// The queue, and all that has come out of it and has not ended.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    queue: TestQueue,
    worker: Option<Worker>,
    /// A write that has been submitted, or is about to be.
    writing: Option<(TestList, Extent)>,
    /// A write that has ended and must be completed.
    ended: Option<TestList>,
    /// A worker was called and has not come yet.
    called: bool,

    // What must come out of the queue.
    waiting: Vec<TestRequest>,
    /// The number of those in front that must come one by one.
    nr_alone: usize,
    reset: Option<u32>,
    trim: bool,
    /// A report waits for a repair.
    reporting: bool,

    // How much has been done.
    nr_requests: u32,
    nr_resets: u32,
    nr_stale: u32,
}

/// One call, or several under one lock.
#[derive(Clone, Copy, Debug)]
enum Step {
    Post(Option<WriteKind>),
    WriteAtOnce,
    ResetAll,
    Trim,
    MakeStale,
    Report,
    /// A work item runs, called or not.
    Begin,
    /// The job is done as it should be. A write is submitted.
    JobDone,
    /// The job has failed and left the zone stale; a repair has failed.
    JobFailed,
    /// The first request of a write is refused, the others are submitted.
    RefuseFirst,
    /// All requests of a write are refused.
    RefuseAll,
    /// The submission would have had to wait. A work item submits the write.
    SubmitLater,
    EndWrite(Result<u32, i32>),
    /// The write has ended well, and something follows from it.
    EndLastWrite,
    Complete,
    /// The requests of a failed write are queued again.
    Requeue,
}

const STEPS: [Step; 20] = [
    Step::Post(Some(WriteKind::Regular)),
    Step::Post(Some(WriteKind::Append)),
    Step::Post(None),
    Step::WriteAtOnce,
    Step::ResetAll,
    Step::Trim,
    Step::MakeStale,
    Step::Report,
    Step::Begin,
    Step::JobDone,
    Step::JobFailed,
    Step::RefuseFirst,
    Step::RefuseAll,
    Step::SubmitLater,
    // All bytes are those of its sectors.
    Step::EndWrite(Ok(u32::MAX)),
    Step::EndWrite(Ok(0)),
    Step::EndWrite(Err(EIO)),
    Step::EndLastWrite,
    Step::Complete,
    Step::Requeue,
];

impl World {
    fn new() -> Self {
        Self {
            queue: TestQueue::new(),
            worker: None,
            writing: None,
            ended: None,
            called: false,
            waiting: Vec::new(),
            nr_alone: 0,
            reset: None,
            trim: false,
            reporting: false,
            nr_requests: 0,
            nr_resets: 0,
            nr_stale: 0,
        }
    }

    /// A request that was not posted before. Writes touch if they follow one another.
    fn request(&mut self, kind: Option<WriteKind>) -> TestRequest {
        let id = self.nr_requests;
        self.nr_requests += 1;
        TestRequest {
            kind,
            ..TestRequest::write(id, id.into())
        }
    }

    fn wake(&mut self) {
        self.called |= self.queue.wants_worker();
    }

    /// Whether somebody works on the zone, or a write is under way.
    fn is_busy(&self) -> bool {
        self.worker.is_some() || self.writing.is_some() || self.ended.is_some()
    }

    fn set_file_state(&mut self, file: FileState) {
        let durability = Durability::<CoreAtomics>::new(0);
        self.queue.set_file_state(file, &durability);
        assert_eq!(durability.is_known(), file == FileState::Known);
        self.reporting &= file == FileState::Stale;
    }

    /// Does a step if it is possible now.
    fn step(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Post(kind) => {
                (self.nr_requests < MAX_REQUESTS).then_some(())?;
                let request = self.request(kind);
                self.waiting.push(request);
                self.queue.post(request);
                assert_ne!(self.queue.file_state(), FileState::Failed);
                self.wake();
            }
            Step::WriteAtOnce => {
                (self.nr_requests < MAX_REQUESTS).then_some(())?;
                let request = self.request(Some(WriteKind::Regular));
                let file = self.queue.file_state();
                match self.queue.begin_or_post(request) {
                    Some(same) => {
                        assert_eq!(same, request);
                        assert!(!self.is_busy(), "one worker at a time");
                        assert!(self.waiting.is_empty(), "order is kept");
                        assert!(self.reset.is_none() && !self.trim);
                        assert_eq!(file, FileState::Known);
                        self.worker = Some(Worker::AtOnce(request));
                    }
                    None => {
                        self.waiting.push(request);
                        self.wake();
                    }
                }
            }
            Step::ResetAll => {
                (self.nr_resets < MAX_OTHERS && self.reset.is_none()).then_some(())?;
                // There is one at a time.
                (!matches!(self.worker, Some(Worker::ResetAll(_)))).then_some(())?;
                self.reset = Some(self.nr_resets);
                self.queue.post_reset_all(self.nr_resets);
                self.nr_resets += 1;
                self.wake();
            }
            Step::Trim => {
                self.trim = true;
                self.queue.post_trim();
                self.wake();
            }
            Step::MakeStale => {
                // A zone that is declared good again. No worker is called: nobody waits for it.
                (self.nr_stale < MAX_OTHERS).then_some(())?;
                self.nr_stale += 1;
                self.set_file_state(FileState::Stale);
            }
            Step::Report => {
                self.queue.retry_repair();
                assert_ne!(self.queue.file_state(), FileState::Failed);
                if self.queue.file_state() == FileState::Stale {
                    self.wake();
                    self.reporting = true;
                }
            }
            Step::Begin => {
                self.called = false;
                let is_busy = self.is_busy();
                let file = self.queue.file_state();
                let job = self.queue.begin_work();
                assert!(!is_busy || job.is_none(), "one worker at a time");
                self.take(job, file);
            }
            Step::JobDone => {
                match self.worker.take()? {
                    Worker::Repair => self.set_file_state(FileState::Known),
                    Worker::ResetAll(_) | Worker::Trim | Worker::Exclusive(_) => {}
                    Worker::Write(list) => {
                        self.begin_write(list);
                        return Some(());
                    }
                    Worker::AtOnce(request) => {
                        self.begin_write(TestList::of(&[request]));
                        return Some(());
                    }
                    Worker::Ended(_, Ok(_)) => {}
                    Worker::Ended(_, Err(_)) => return None,
                }
                self.next();
            }
            Step::JobFailed => {
                match self.worker.take()? {
                    Worker::Repair => self.set_file_state(FileState::Failed),
                    Worker::ResetAll(_) | Worker::Exclusive(_) | Worker::Ended(_, Err(_)) => {
                        self.set_file_state(FileState::Stale);
                    }
                    _ => return None,
                }
                self.next();
            }
            Step::RefuseFirst => {
                let Some(Worker::Write(mut list)) = self.worker.take() else {
                    return None;
                };
                list.pop_front();
                (list.len() > 0).then_some(())?;
                self.begin_write(list);
            }
            Step::RefuseAll => match self.worker.take()? {
                Worker::Write(_) => self.next(),
                Worker::AtOnce(_) => {
                    self.queue.end_work();
                    self.wake();
                }
                _ => return None,
            },
            Step::SubmitLater => {
                let (_, extent) = *self.writing.as_ref()?;
                assert_eq!(self.queue.complete_write(), Completion::Submit(extent));
            }
            Step::EndWrite(result) => {
                let (list, extent) = self.writing.take()?;
                let bytes = u32::try_from((extent.end - extent.start) << 9).ok()?;
                let result = result.map(|limit| limit.min(bytes));
                match self.queue.end_write(result, |_| true) {
                    Outcome::Done(done) => {
                        assert_eq!((done, result), (extent, Ok(bytes)));
                        self.wake();
                    }
                    Outcome::Complete => {
                        assert_ne!(result, Ok(bytes));
                        self.ended = Some(list);
                    }
                }
            }
            Step::EndLastWrite => {
                let (list, extent) = self.writing.take()?;
                let bytes = u32::try_from((extent.end - extent.start) << 9).ok()?;
                let outcome = self.queue.end_write(Ok(bytes), |asked| asked != extent);
                assert_eq!(outcome, Outcome::Complete);
                self.ended = Some(list);
            }
            Step::Complete => {
                let list = self.ended.take()?;
                let Completion::Ended(extent, result) = self.queue.complete_write() else {
                    panic!("the write has ended");
                };
                let bytes = (extent.end - extent.start) << 9;
                let result = result.and_then(|wrote| match u64::from(wrote) == bytes {
                    true => Ok(wrote),
                    false => Err(EIO),
                });
                assert!(!self.is_busy(), "one worker at a time");
                self.worker = Some(Worker::Ended(list, result));
            }
            Step::Requeue => {
                let Some(Worker::Ended(list, Err(_))) = self.worker.take() else {
                    return None;
                };
                (list.len() > 1).then_some(())?;
                self.nr_alone += list.len();
                let mut waiting: Vec<_> = list.iter().copied().collect();
                waiting.append(&mut self.waiting);
                self.waiting = waiting;
                self.queue.requeue_unmerged(list);
                self.next();
            }
        }
        Some(())
    }

    /// The worker begins a write, and is not the worker any more.
    fn begin_write(&mut self, list: TestList) {
        let extent = Extent {
            start: 1,
            end: 1 + list.len() as u64,
        };
        self.queue.begin_write(extent);
        self.writing = Some((list, extent));
    }

    /// The worker takes the next job.
    fn next(&mut self) {
        let file = self.queue.file_state();
        let job = self.queue.next_job();
        self.take(job, file);
    }

    /// Checks what came out of the queue, whose file was in this state.
    fn take(&mut self, job: Option<Job<TestRequest>>, file: FileState) {
        let Some(job) = job else {
            return;
        };
        assert!(!self.is_busy(), "one worker at a time");
        let is_repair = matches!(job, Job::Repair);
        assert_eq!(is_repair, file == FileState::Stale, "a repair comes first");
        self.worker = Some(match job {
            Job::Repair => Worker::Repair,
            Job::ResetAll(reset) => {
                assert_eq!(self.reset.take(), Some(reset), "it is not done twice");
                Worker::ResetAll(reset)
            }
            Job::Trim => {
                assert!(self.trim && self.reset.is_none());
                self.trim = false;
                Worker::Trim
            }
            Job::Write(list) => {
                self.take_waiting(&list);
                Worker::Write(list)
            }
            Job::Exclusive(request) => {
                assert_eq!(request.kind, None);
                self.take_waiting(&TestList::of(&[request]));
                Worker::Exclusive(request)
            }
        });
    }

    /// Takes requests that have come out of the queue. None is lost, done twice, or overtaken.
    fn take_waiting(&mut self, list: &TestList) {
        assert!(self.reset.is_none() && !self.trim);
        let taken: Vec<_> = self.waiting.drain(..list.len()).collect();
        assert!(list.iter().eq(&taken), "order is kept");
        let first = taken[0];
        let end = u64::try_from(taken.len()).expect("a few") + first.sector;
        let joins = |(request, sector): (&TestRequest, u64)| {
            request.kind == first.kind
                && (first.kind == Some(WriteKind::Append) || request.sector == sector)
        };
        assert!(taken.iter().zip(first.sector..end).all(joins));
        assert!(taken.len() <= TestRequest::MAX_SECTORS as usize);
        if self.nr_alone > 0 {
            assert_eq!(taken.len(), 1, "it is tried alone");
            self.nr_alone -= 1;
        } else if let (Some(_), Some(next)) = (first.kind, self.waiting.first()) {
            assert!(!joins((next, end)), "what can be joined is");
        }
    }

    /// Nothing is left without a worker.
    fn check(&self) {
        let is_asked =
            !self.waiting.is_empty() || self.reset.is_some() || self.trim || self.reporting;
        assert!(
            !is_asked || self.is_busy() || self.called,
            "no worker comes"
        );
        assert!(!(self.is_busy() && self.queue.wants_worker()));
    }
}

#[test]
fn every_order_of_calls() {
    let mut seen = HashSet::from([World::new()]);
    let mut left = vec![World::new()];
    let mut nr_steps = [0_u64; STEPS.len()];
    while let Some(world) = left.pop() {
        for (step, nr) in STEPS.into_iter().zip(&mut nr_steps) {
            let mut next = world.clone();
            if next.step(step).is_none() {
                continue;
            }
            *nr += 1;
            next.check();
            if seen.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    println!("{} states, steps: {nr_steps:?}", seen.len());
    assert!(nr_steps.iter().all(|nr| *nr > 0), "each step is possible");
    assert!(seen.len() > 10_000);
}
