// SPDX-License-Identifier: GPL-2.0

//! Each test has a few tasks. loom tries all of their interleavings.

use crate::{
    atomic_orderings::{
        impl_atomic_bits,
        impl_atomic_cell,
        Access, //
    },
    zone::{
        atomics::Atomics,
        dirty_zones::DirtyZones,
        durability::{
            Durability,
            Length,
            SyncState, //
        },
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
            Outcome, //
        },
    },
};
use loom::{
    cell::UnsafeCell,
    model,
    sync::{
        atomic::{
            AtomicBool,
            AtomicU64,
            Ordering, //
        },
        Arc,
        Condvar,
        Mutex,
        MutexGuard, //
    },
    thread,
};
use std::{
    cell::Cell,
    panic::catch_unwind, //
};

struct LoomAtomics;

impl Atomics for LoomAtomics {
    type U64 = AtomicU64;
    type Flag = AtomicBool;
}

/// The types of the atomics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    U64,
    Flag,
}

thread_local! {
    /// The accesses without an ordering in this test. loom runs all tasks of a test in one thread.
    static WEAKENED: Cell<Option<(Type, Access)>> = const { Cell::new(None) };
}

/// The ordering of an access in this test.
fn ordering(of: Type, access: Access) -> Ordering {
    if WEAKENED.get() == Some((of, access)) {
        return Ordering::Relaxed;
    }
    access.ordering()
}

fn u64_ordering(access: Access) -> Ordering {
    ordering(Type::U64, access)
}

fn flag_ordering(access: Access) -> Ordering {
    ordering(Type::Flag, access)
}

impl_atomic_cell!(AtomicU64, u64, u64_ordering);
impl_atomic_cell!(AtomicBool, bool, flag_ordering);
impl_atomic_bits!(AtomicU64, u64_ordering);

const SECTOR: u32 = 512;
const CAPACITY: u64 = 4;
/// The error of a failed write.
const EIO: i32 = -5;

/// The work item of a zone on its workqueue.
struct Work {
    /// It is queued, and its worker has not begun.
    pending: Mutex<bool>,
    queued: Condvar,
}

impl Work {
    fn enqueue(&self) {
        *self.pending.lock().unwrap() = true;
        self.queued.notify_one();
    }

    /// Takes the item off the workqueue if it is there.
    fn dequeue(&self) -> bool {
        std::mem::take(&mut *self.pending.lock().unwrap())
    }

    /// Waits until the item is there, and takes it off.
    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !std::mem::take(&mut *pending) {
            pending = self.queued.wait(pending).unwrap();
        }
    }
}

/// The data under the state lock.
struct State {
    write_pointer: u64,
    sync: SyncState,
    /// The ids of the requests that were carried out.
    done: Vec<u32>,
    nr_repairs: u32,
}

struct Zone {
    queue: Mutex<TestQueue>,
    repaired: Condvar,
    durability: Durability<LoomAtomics>,
    syncing: Mutex<()>,
    state: Mutex<State>,
    dirty: DirtyZones<AtomicU64, Vec<AtomicU64>>,
    work: Work,
    /// The end of the file. The task that writes or repairs owns it.
    file: UnsafeCell<u64>,
}

/// A write under way.
type Write = (TestList, Extent);

impl Zone {
    fn new(written: u64) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(TestQueue::new()),
            repaired: Condvar::new(),
            durability: Durability::new(written),
            syncing: Mutex::new(()),
            state: Mutex::new(State {
                write_pointer: written,
                sync: SyncState::new(written),
                done: Vec::new(),
                nr_repairs: 0,
            }),
            dirty: DirtyZones::new(vec![AtomicU64::new(0)]),
            work: Work {
                pending: Mutex::new(false),
                queued: Condvar::new(),
            },
            file: UnsafeCell::new(written),
        })
    }

    fn lock(&self) -> MutexGuard<'_, TestQueue> {
        self.queue.lock().unwrap()
    }

    fn wake(&self, queue: &TestQueue) {
        if queue.wants_worker() {
            self.work.enqueue();
        }
    }

    fn post(&self, request: TestRequest) {
        let mut queue = self.lock();
        queue.post(request);
        self.wake(&queue);
    }

    fn post_trim(&self) {
        let mut queue = self.lock();
        queue.post_trim();
        self.wake(&queue);
    }

    fn post_reset_all(&self) {
        let mut queue = self.lock();
        queue.post_reset_all(0);
        self.wake(&queue);
    }

    fn set_file_state(&self, file: FileState) {
        self.lock().set_file_state(file, &self.durability);
    }

    fn mark_written(&self, end: u64) {
        self.durability.write_done(end, || self.dirty.mark(0));
    }

    /// Writes the file. No other task uses it meanwhile.
    #[allow(unsafe_code, reason = "loom checks that no other task uses it")]
    fn set_file(&self, end: u64) {
        // SAFETY: loom checks that one task at a time does so.
        self.file.with_mut(|file| unsafe { *file = end });
    }

    /// Reads the file up to `end`. All of it was written before.
    #[allow(unsafe_code, reason = "loom checks that it was")]
    fn read_file(&self, end: u64) {
        // SAFETY: loom checks that no task writes it now.
        self.file.with(|file| assert!(unsafe { *file } >= end));
    }

    /// Gives the requests their sectors, and begins the write.
    fn begin_write(&self, requests: TestList) -> Write {
        let extent = {
            let mut state = self.state.lock().unwrap();
            let start = state.write_pointer;
            state.write_pointer += requests.len() as u64;
            Extent {
                start,
                end: state.write_pointer,
            }
        };
        self.lock().begin_write(extent);
        (requests, extent)
    }

    /// Ends a write with the result of the file system.
    fn write_done(&self, (requests, extent): &Write, result: Result<(), i32>) -> Outcome {
        self.set_file(extent.end);
        let result = result.map(|()| requests.len() as u32 * SECTOR);
        let mut queue = self.lock();
        let outcome = queue.end_write(result, |extent| extent.end < CAPACITY);
        if let Outcome::Done(extent) = outcome {
            self.mark_written(extent.end);
            self.wake(&queue);
        }
        drop(queue);
        if let Outcome::Done(_) = outcome {
            self.end(requests);
        }
        outcome
    }

    fn complete_write(&self, requests: TestList) {
        let completion = self.lock().complete_write();
        let Completion::Ended(extent, result) = completion else {
            panic!("a write has ended");
        };
        match result {
            Ok(_) => {
                self.mark_written(extent.end);
                self.end(&requests);
            }
            Err(_) => {
                self.set_file_state(FileState::Stale);
                self.end(&requests);
            }
        }
        let job = self.lock().next_job();
        self.work_on(job);
    }

    fn end(&self, requests: &TestList) {
        let ids = requests.iter().map(|request| request.id);
        self.state.lock().unwrap().done.extend(ids);
    }

    /// Runs the work item if it is queued.
    fn run(&self) {
        if self.work.dequeue() {
            self.run_work();
        }
    }

    fn run_work(&self) {
        let job = self.lock().begin_work();
        self.work_on(job);
    }

    /// Runs jobs. Writes end at once, with success.
    fn work_on(&self, mut job: Option<Job<TestRequest>>) {
        while let Some(this_job) = job {
            match this_job {
                Job::Repair => self.repair(),
                Job::ResetAll(_) => self.reset(),
                Job::Trim => {}
                Job::Exclusive(request) => self.end(&TestList::of(&[request])),
                Job::Write(requests) => {
                    let write = self.begin_write(requests);
                    match self.write_done(&write, Ok(())) {
                        Outcome::Done(_) => return,
                        Outcome::Complete => return self.complete_write(write.0),
                    }
                }
            }
            job = self.lock().next_job();
        }
    }

    /// Finds one more sector than was written.
    fn repair(&self) {
        {
            let mut state = self.state.lock().unwrap();
            let end = self.durability.written() + 1;
            self.set_file(end);
            state.nr_repairs += 1;
            state.write_pointer = end;
            let State { sync, .. } = &mut *state;
            self.durability.repaired(sync, end, || self.dirty.mark(0));
        }
        self.set_file_state(FileState::Known);
        self.repaired.notify_all();
    }

    fn reset(&self) {
        self.durability.begin_reset();
        {
            let _syncing = self.syncing.lock().unwrap();
            self.state.lock().unwrap().sync.cut();
        }
        let mut state = self.state.lock().unwrap();
        state.sync.reset_done();
        state.write_pointer = 0;
    }

    /// The write pointer that a report shows.
    fn report(&self) -> u64 {
        if !self.durability.is_known() {
            let mut queue = self.lock();
            queue.retry_repair();
            while queue.file_state() == FileState::Stale {
                self.wake(&queue);
                queue = self.repaired.wait(queue).unwrap();
            }
        }
        self.state.lock().unwrap().write_pointer
    }

    /// Flushes the device. Returns the end of the durable data if the zone was dirty.
    fn flush(&self) -> Option<u64> {
        self.dirty.take_all().next()?;
        let _syncing = self.syncing.lock().unwrap();
        let flush = self.durability.begin_flush();
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.sync.end_flush(flush), Ok(()));
        Some(state.sync.flushed())
    }

    /// Begins a write in the task that queues it, if the zone is idle.
    fn write_at_once(&self, request: TestRequest) -> Option<Write> {
        let request = {
            let mut queue = self.lock();
            let request = queue.begin_or_post(request);
            if request.is_none() {
                self.wake(&queue);
            }
            request
        };
        Some(self.begin_write(TestList::of(&[request?])))
    }

    /// Checks that no request is under way or queued, and that each of `ids` was carried out once.
    fn check_done(&self, ids: &[u32]) {
        self.run();
        let mut queue = self.lock();
        assert!(!queue.wants_worker(), "no worker was called");
        assert!(queue.begin_work().is_none());
        let mut done = self.state.lock().unwrap().done.clone();
        done.sort_unstable();
        assert_eq!(done, ids);
    }
}

fn spawn(zone: &Arc<Zone>, f: impl FnOnce(&Zone) + 'static) -> thread::JoinHandle<()> {
    let zone = zone.clone();
    thread::spawn(move || f(&zone))
}

fn join(tasks: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    tasks.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn post_against_the_end_of_a_write() {
    model(|| {
        let zone = Zone::new(0);
        let write = zone.write_at_once(TestRequest::write(0, 0)).unwrap();
        let end = spawn(&zone, move |zone| {
            assert!(matches!(zone.write_done(&write, Ok(())), Outcome::Done(_)));
        });
        zone.post(TestRequest::append(1));
        join([end]);
        zone.check_done(&[0, 1]);
    });
}

#[test]
fn post_against_a_worker_that_stops() {
    model(|| {
        let zone = Zone::new(0);
        zone.post(TestRequest::command(0));
        let worker = spawn(&zone, Zone::run);
        zone.post(TestRequest::command(1));
        join([worker]);
        zone.check_done(&[0, 1]);
    });
}

#[test]
fn two_posts_against_two_workers() {
    model(|| {
        let zone = Zone::new(0);
        zone.post(TestRequest::append(0));
        let worker = spawn(&zone, Zone::run);
        // The work item can be queued again while its function runs.
        let other = spawn(&zone, |zone| {
            zone.post(TestRequest::append(1));
            zone.run();
        });
        join([worker, other]);
        zone.check_done(&[0, 1]);
    });
}

#[test]
fn two_tasks_that_write_at_once() {
    model(|| {
        let zone = Zone::new(0);
        let write = |zone: &Zone, id| {
            if let Some(write) = zone.write_at_once(TestRequest::append(id)) {
                assert!(matches!(zone.write_done(&write, Ok(())), Outcome::Done(_)));
            }
        };
        let other = spawn(&zone, move |zone| write(zone, 1));
        write(&zone, 0);
        join([other]);
        zone.check_done(&[0, 1]);
    });
}

#[test]
fn trim_and_reset_of_all_against_the_end_of_a_write() {
    model(|| {
        let zone = Zone::new(0);
        let write = zone.write_at_once(TestRequest::write(0, 0)).unwrap();
        let end = spawn(&zone, move |zone| {
            assert!(matches!(zone.write_done(&write, Ok(())), Outcome::Done(_)));
        });
        let trim = spawn(&zone, Zone::post_trim);
        zone.post_reset_all();
        join([end, trim]);
        zone.check_done(&[0]);
        assert_eq!(zone.durability.written(), 0);
    });
}

#[test]
fn report_waits_for_the_repair() {
    model(|| {
        let zone = Zone::new(1);
        zone.set_file_state(FileState::Stale);
        let worker = spawn(&zone, |zone| {
            zone.work.wait();
            zone.run_work();
        });
        // The report has called the worker, and has seen the end of the repair.
        assert_eq!(zone.report(), 2);
        join([worker]);
        assert_eq!(zone.state.lock().unwrap().nr_repairs, 1);
    });
}

#[test]
fn report_against_a_post_and_the_repair() {
    model(|| {
        let zone = Zone::new(1);
        zone.set_file_state(FileState::Stale);
        let worker = spawn(&zone, |zone| {
            zone.work.wait();
            zone.run_work();
        });
        let report = spawn(&zone, |zone| assert_eq!(zone.report(), 2));
        zone.post(TestRequest::command(0));
        join([worker, report]);
        zone.check_done(&[0]);
        assert_eq!(zone.state.lock().unwrap().nr_repairs, 1);
    });
}

#[test]
fn report_against_a_write_that_fails() {
    model(|| {
        let zone = Zone::new(0);
        let write = zone.write_at_once(TestRequest::write(0, 0)).unwrap();
        let end = spawn(&zone, move |zone| {
            assert_eq!(zone.write_done(&write, Err(EIO)), Outcome::Complete);
            // The task that completes the write repairs the zone.
            zone.complete_write(write.0);
        });
        // The report shows the write under way, or the end that the repair has found. Both are 1.
        assert_eq!(zone.report(), 1);
        join([end]);
        assert_eq!(zone.report(), 1);
        zone.check_done(&[0]);
    });
}

#[test]
fn read_sees_what_was_written() {
    model(|| {
        let zone = Zone::new(0);
        let write = zone.write_at_once(TestRequest::write(0, 0)).unwrap();
        let end = spawn(&zone, move |zone| {
            assert!(matches!(zone.write_done(&write, Ok(())), Outcome::Done(_)));
        });
        let written = zone.durability.written();
        if written > 0 {
            zone.read_file(written);
        }
        join([end]);
        assert_eq!(zone.durability.reads_zeroes_from(), Some(1));
    });
}

#[test]
fn read_gets_no_zeros_below_what_a_repair_has_found() {
    model(|| {
        let zone = Zone::new(1);
        zone.set_file_state(FileState::Stale);
        let repair = spawn(&zone, Zone::run_work);
        if let Some(sector) = zone.durability.reads_zeroes_from() {
            assert_eq!(sector, 2);
        }
        join([repair]);
    });
}

#[test]
fn flush_sees_what_the_mark_is_for() {
    model(|| {
        let zone = Zone::new(0);
        let write = zone.write_at_once(TestRequest::write(0, 0)).unwrap();
        let end = spawn(&zone, move |zone| {
            assert!(matches!(zone.write_done(&write, Ok(())), Outcome::Done(_)));
        });
        let first = zone.flush();
        join([end]);
        // One of the two flushes finds the mark. It sees the write.
        let second = zone.flush();
        assert_eq!(first.or(second), Some(1));
        assert!(first.is_none() || second.is_none());
    });
}

#[test]
fn flush_sees_what_a_second_mark_is_for() {
    model(|| {
        let zone = Zone::new(0);
        zone.mark_written(1);
        let write = spawn(&zone, |zone| zone.mark_written(2));
        // The bit is set when the second write sets it, or this flush has just taken it.
        let first = zone.flush();
        join([write]);
        assert_eq!(zone.flush().or(first), Some(2));
    });
}

#[test]
fn two_marks_in_one_word() {
    model(|| {
        let zone = Zone::new(0);
        let other = spawn(&zone, |zone| zone.dirty.mark(1));
        zone.dirty.mark(0);
        // The iterator is dropped after one zone.
        let first = zone.dirty.take_all().next();
        join([other]);
        let mut left: Vec<_> = zone.dirty.take_all().collect();
        left.extend(first);
        left.sort_unstable();
        assert_eq!(left, [0, 1]);
    });
}

#[test]
fn flush_against_a_reset() {
    model(|| {
        let zone = Zone::new(0);
        zone.mark_written(2);
        let reset = spawn(&zone, |zone| {
            zone.post_reset_all();
            zone.run();
        });
        let _ = zone.flush();
        join([reset]);
        // The reset has removed the data that the flush may have made durable.
        let state = zone.state.lock().unwrap();
        assert_eq!(state.sync.flushed(), 0);
        assert!(state.sync.length() == Length::Certain);
    });
}

/// Whether a test fails if the accesses of this kind have no ordering.
fn fails_without(of: Type, access: Access, test: fn()) -> bool {
    WEAKENED.set(Some((of, access)));
    let result = catch_unwind(test);
    WEAKENED.set(None);
    result.is_err()
}

#[test]
fn each_ordering_is_needed() {
    let read: fn() = read_sees_what_was_written;
    let repair: fn() = read_gets_no_zeros_below_what_a_repair_has_found;
    let mark: fn() = flush_sees_what_the_mark_is_for;
    let second_mark: fn() = flush_sees_what_a_second_mark_is_for;
    for (of, access, test) in [
        (Type::U64, Access::Load, read),
        (Type::U64, Access::Store, read),
        (Type::Flag, Access::Load, repair),
        (Type::Flag, Access::Store, repair),
        (Type::U64, Access::Set, mark),
        (Type::U64, Access::Take, mark),
        (Type::U64, Access::Set, second_mark),
        (Type::U64, Access::Take, second_mark),
    ] {
        assert!(fails_without(of, access, test), "{of:?} {access:?}");
    }
}
