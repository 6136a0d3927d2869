// SPDX-License-Identifier: GPL-2.0

//! The promises of `zone/durability.rs` on a model of a file system: a zone is written, finished,
//! reset and repaired while flushes go on beside, and the file system fails now and then. Each
//! state that can be reached is visited once.
//!
//! What the driver does without a lock between two calls is a step of its own, so that a flush may
//! come in between. A lock around each sync of a zone keeps the sync of a flush and that of a
//! finish or a reset apart: one that fails makes the other one worthless, which succeeds without
//! making anything durable.

use crate::{
    core_atomics::CoreAtomics,
    zone::durability::{
        Durability,
        Flush,
        Length,
        SyncState, //
    },
};
use std::{
    cell::Cell,
    collections::HashSet,
    mem::take, //
};

const CAPACITY: u64 = 2;
const MAX_RESETS: u32 = 2;
const MAX_FAILURES: u32 = 3;

/// Whether data goes through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Io {
    Direct,
    Buffered,
}

/// The zone's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct File {
    len: u64,
    /// The length after a power failure.
    durable_len: u64,
    /// Counts how often the file was cut, now and after a power failure.
    generation: u32,
    durable_generation: u32,
    /// Whether a sync writes the length.
    is_dirty: bool,
    /// A bit for each sector whose data is in the page cache only.
    cached: u64,
    /// A bit for each sector whose data could not be written back and is gone.
    lost: u64,
    /// A sync is to report that.
    has_error: bool,
}

impl File {
    /// The part of the length that is there after a power failure.
    fn durable(&self) -> u64 {
        match self.durable_generation == self.generation {
            true => self.durable_len,
            false => 0,
        }
    }

    fn has_lost(&self, sector: u64) -> bool {
        self.lost >> sector & 1 != 0
    }

    fn set_len(&mut self, len: u64) {
        self.len = len;
        self.is_dirty = true;
    }

    fn cut(&mut self) {
        self.set_len(0);
        self.generation += 1;
        self.cached = 0;
        self.lost = 0;
    }

    /// Makes the file durable. A sync that is to report an error does its work, too.
    fn sync(&mut self) -> Result<(), ()> {
        self.cached = 0;
        if self.is_dirty {
            self.is_dirty = false;
            self.durable_len = self.len;
            self.durable_generation = self.generation;
        }
        match take(&mut self.has_error) {
            true => Err(()),
            false => Ok(()),
        }
    }

    /// A sync that fails. The file system may `forget` that there is something to do.
    fn fail_sync(&mut self, forget: bool) -> Result<(), ()> {
        self.is_dirty &= !forget;
        self.has_error = false;
        Err(())
    }
}

/// What the worker of the zone is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// It has begun to fill the file, and is about to sync it.
    Fill,
    Filled(Result<(), ()>),
    /// It is about to cut the file.
    Cut,
    WasCut(Result<(), ()>),
    /// It is about to sync the empty file.
    SyncEmpty,
    Repair,
}

/// A flush of the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flushing {
    No,
    /// It has taken the mark.
    Begin,
    Sync(Flush),
    Synced(Flush, Result<(), ()>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct World {
    io: Io,
    written: u64,
    /// The same, but for what a repair has found: nobody was promised that.
    acknowledged: u64,
    sync: SyncState,
    dirty: bool,
    file: File,
    worker: Worker,
    flushing: Flushing,
    /// What a flush that is under way must make durable, and of which generation.
    promised: (u32, u64),
    /// A bit for each sector: a flush has failed since it was written or lost.
    told: u64,
    /// The same, but a flush or a finish.
    told_anybody: u64,
    nr_failures: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Write,
    WriteFua,
    /// A write fails, and has made the file longer or not.
    FailWrite(bool),
    LoseData,
    Finish,
    Reset,
    /// The worker goes on with what it is doing, and all is well.
    Work,
    /// What it is doing now fails; the file system has done it, or forgets it, or not.
    FailWork(bool),
    Flush,
    WorkOnFlush,
    FailFlush(bool),
}

const STEPS: [Step; 14] = [
    Step::Write,
    Step::WriteFua,
    Step::FailWrite(false),
    Step::FailWrite(true),
    Step::LoseData,
    Step::Finish,
    Step::Reset,
    Step::Work,
    Step::FailWork(false),
    Step::FailWork(true),
    Step::Flush,
    Step::WorkOnFlush,
    Step::FailFlush(false),
    Step::FailFlush(true),
];

impl World {
    fn new(io: Io, written: u64) -> Self {
        Self {
            io,
            written,
            acknowledged: written,
            sync: SyncState::new(written),
            dirty: false,
            file: File {
                len: written,
                durable_len: written,
                generation: 0,
                durable_generation: 0,
                is_dirty: false,
                cached: 0,
                lost: 0,
                has_error: false,
            },
            worker: Worker::Idle,
            flushing: Flushing::No,
            promised: (0, 0),
            told: 0,
            told_anybody: 0,
            nr_failures: 0,
        }
    }

    /// Calls transitions. They are given what marks the zone for the next flush.
    fn with<R>(
        &mut self,
        f: impl FnOnce(&Durability<CoreAtomics>, &mut SyncState, &dyn Fn()) -> R,
    ) -> R {
        let durability = Durability::new(self.written);
        let dirty = Cell::new(self.dirty);
        let result = f(&durability, &mut self.sync, &|| dirty.set(true));
        self.written = durability.written();
        self.dirty = dirty.get();
        result
    }

    fn fail(&mut self) -> Option<()> {
        self.nr_failures += 1;
        (self.nr_failures <= MAX_FAILURES).then_some(())
    }

    /// A flush, a finish or a reset has the lock around its sync.
    fn is_syncing(&self) -> bool {
        matches!(self.flushing, Flushing::Sync(_) | Flushing::Synced(..))
            || matches!(
                self.worker,
                Worker::Fill | Worker::Filled(_) | Worker::WasCut(_) | Worker::SyncEmpty
            )
    }

    fn is_durable(&self) -> bool {
        self.sync.length() == Length::Certain
    }

    /// Does a step if it is possible now.
    fn step(&mut self, step: Step) -> Option<()> {
        let is_idle = self.worker == Worker::Idle;
        match step {
            Step::Write | Step::WriteFua | Step::FailWrite(_) => {
                (is_idle && self.written < CAPACITY).then_some(())?;
                self.write(step)
            }
            Step::LoseData => {
                (self.file.cached != 0).then_some(())?;
                self.fail()?;
                self.lose_data();
                Some(())
            }
            Step::Finish => {
                is_idle.then_some(())?;
                if self.written == CAPACITY && self.sync.flushed() == CAPACITY && self.is_durable()
                {
                    self.check_finished();
                    return Some(());
                }
                (!self.is_syncing()).then_some(())?;
                let length = self.with(|_, sync, _| sync.begin_fill());
                if self.file.len != CAPACITY || length == Length::Uncertain {
                    self.file.set_len(CAPACITY);
                }
                self.worker = Worker::Fill;
                Some(())
            }
            Step::Reset => {
                (is_idle && self.file.generation < MAX_RESETS).then_some(())?;
                if self.written == 0 && self.is_durable() {
                    self.with(|_, sync, _| sync.reset_done());
                    self.check_reset();
                    return Some(());
                }
                self.with(|durability, _, _| durability.begin_reset());
                self.acknowledged = 0;
                self.worker = Worker::Cut;
                Some(())
            }
            Step::Work => self.work(None),
            Step::FailWork(how) => self.work(Some(how)),
            Step::Flush => {
                (self.flushing == Flushing::No).then_some(())?;
                self.promised = (self.file.generation, self.acknowledged);
                if !take(&mut self.dirty) {
                    // The device skips the zone.
                    self.check_flushed();
                    return Some(());
                }
                self.flushing = Flushing::Begin;
                Some(())
            }
            Step::WorkOnFlush => self.work_on_flush(None),
            Step::FailFlush(how) => self.work_on_flush(Some(how)),
        }
    }

    fn write(&mut self, step: Step) -> Option<()> {
        let end = self.written + 1;
        self.told &= !(1 << self.written);
        self.told_anybody &= !(1 << self.written);
        match step {
            Step::WriteFua => {
                (self.io == Io::Direct).then_some(())?;
                self.file.set_len(end);
                self.file.sync().ok()?;
                self.with(|durability, sync, mark| {
                    durability.write_done(end, mark);
                    sync.fua_done(end);
                });
                self.acknowledged = end;
                assert_eq!(self.file.durable(), end);
            }
            Step::FailWrite(longer) => {
                self.fail()?;
                if longer {
                    self.file.set_len(end);
                }
                self.worker = Worker::Repair;
            }
            _ => {
                self.file.set_len(end);
                if self.io == Io::Buffered {
                    self.file.cached |= 1 << self.written;
                }
                self.with(|durability, _, mark| durability.write_done(end, mark));
                self.acknowledged = end;
            }
        }
        Some(())
    }

    /// The worker goes on, or what it does now fails.
    fn work(&mut self, fail: Option<bool>) -> Option<()> {
        // To cut the file it needs the lock.
        (self.worker != Worker::Cut || !self.is_syncing()).then_some(())?;
        let can_fail = matches!(self.worker, Worker::Fill | Worker::Cut | Worker::SyncEmpty);
        if fail.is_some() {
            can_fail.then_some(())?;
            self.fail()?;
        }
        self.worker = match (self.worker, fail) {
            (Worker::Idle, _) => return None,
            (Worker::Fill, None) => Worker::Filled(self.file.sync()),
            (Worker::Fill, Some(forget)) => Worker::Filled(self.fail_sync(forget)),
            (Worker::Filled(Ok(())), _) => {
                let is_direct = self.io == Io::Direct;
                self.with(|durability, sync, _| {
                    sync.fill_synced(is_direct);
                    durability.filled(sync, CAPACITY);
                });
                self.acknowledged = CAPACITY;
                self.check_finished();
                Worker::Idle
            }
            (Worker::Filled(Err(())), _) => {
                let written = self.written;
                self.with(|_, sync, _| sync.fill_failed(written));
                self.told_anybody = u64::MAX;
                Worker::Repair
            }
            (Worker::Cut, None) => {
                self.file.cut();
                Worker::WasCut(Ok(()))
            }
            (Worker::Cut, Some(is_cut)) => {
                if is_cut {
                    self.file.cut();
                }
                Worker::WasCut(Err(()))
            }
            (Worker::WasCut(cut), _) => {
                self.with(|_, sync, _| match cut {
                    Ok(()) => sync.cut(),
                    Err(()) => sync.cut_failed(),
                });
                match cut {
                    Ok(()) => Worker::SyncEmpty,
                    Err(()) => Worker::Repair,
                }
            }
            (Worker::SyncEmpty, fail) => {
                let synced = match fail {
                    None => self.file.sync(),
                    Some(forget) => self.fail_sync(forget),
                };
                match synced {
                    Ok(()) => {
                        self.with(|_, sync, _| sync.reset_done());
                        self.check_reset();
                        Worker::Idle
                    }
                    Err(()) => Worker::Repair,
                }
            }
            (Worker::Repair, _) => {
                let end = self.file.len;
                assert!(self.written <= end, "all that was acknowledged is there");
                self.with(|durability, sync, mark| durability.repaired(sync, end, mark));
                Worker::Idle
            }
        };
        Some(())
    }

    /// Data in the page cache can't be written back. Nobody has told of it.
    fn lose_data(&mut self) {
        let lost = take(&mut self.file.cached);
        self.file.lost |= lost;
        self.file.has_error = true;
        self.told &= !lost;
        self.told_anybody &= !lost;
    }

    fn fail_sync(&mut self, forget: bool) -> Result<(), ()> {
        if self.file.cached != 0 {
            self.lose_data();
        }
        self.file.fail_sync(forget)
    }

    fn work_on_flush(&mut self, fail: Option<bool>) -> Option<()> {
        self.flushing = match (self.flushing, fail) {
            (Flushing::No, _) | (Flushing::Begin | Flushing::Synced(..), Some(_)) => return None,
            (Flushing::Begin, None) => {
                (!self.is_syncing()).then_some(())?;
                Flushing::Sync(self.with(|durability, _, _| durability.begin_flush()))
            }
            (Flushing::Sync(flush), None) => Flushing::Synced(flush, self.file.sync()),
            (Flushing::Sync(flush), Some(forget)) => {
                self.fail()?;
                Flushing::Synced(flush, self.fail_sync(forget))
            }
            (Flushing::Synced(flush, synced), None) => {
                let flushed = self.with(|_, sync, _| match synced {
                    Ok(()) => sync.end_flush(flush).map_err(drop),
                    Err(()) => {
                        sync.flush_failed();
                        Err(())
                    }
                });
                match flushed {
                    Ok(()) => self.check_flushed(),
                    Err(()) => {
                        assert!(self.nr_failures > 0, "a flush fails for a reason");
                        self.dirty = true;
                        self.told = u64::MAX;
                        self.told_anybody = u64::MAX;
                    }
                }
                Flushing::No
            }
        };
        Some(())
    }

    /// A flush has succeeded.
    fn check_flushed(&self) {
        let (generation, written) = self.promised;
        if generation == self.file.generation && self.worker != Worker::Cut {
            let is_kept = |sector| {
                let is_durable = sector < self.file.durable() && !self.file.has_lost(sector);
                is_durable || self.told >> sector & 1 != 0
            };
            assert!((0..written).all(is_kept), "a flush: {self:?}");
        }
    }

    /// A finish has succeeded.
    fn check_finished(&self) {
        assert_eq!(self.file.len, CAPACITY);
        assert_eq!(self.file.durable_len, CAPACITY, "a finish: {self:?}");
        assert_eq!(self.file.durable_generation, self.file.generation);
        assert_eq!(self.file.lost & !self.told_anybody, 0, "a finish: {self:?}");
    }

    /// A reset has succeeded.
    fn check_reset(&self) {
        assert_eq!(self.file.len, 0);
        assert_eq!(self.file.durable_len, 0, "a reset: {self:?}");
    }
}

fn explore(io: Io) {
    let mut left: Vec<_> = (0..=CAPACITY)
        .map(|written| World::new(io, written))
        .collect();
    let mut seen: HashSet<_> = left.iter().copied().collect();
    let mut nr_steps = [0_u64; STEPS.len()];
    while let Some(world) = left.pop() {
        for (step, nr) in STEPS.into_iter().zip(&mut nr_steps) {
            let mut next = world;
            if next.step(step).is_none() {
                continue;
            }
            *nr += 1;
            if seen.insert(next) {
                left.push(next);
            }
        }
    }
    println!("{io:?}: {} states, steps: {nr_steps:?}", seen.len());
    assert!(seen.len() > 10_000);
}

#[test]
fn promises_of_direct_io() {
    explore(Io::Direct);
}

#[test]
fn promises_of_buffered_io() {
    explore(Io::Buffered);
}
