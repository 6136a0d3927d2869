// SPDX-License-Identifier: GPL-2.0

//! The sizes of a device's zone files. An `add` looks them up if the device was made before.
//!
//! The size of a zone's file is its write pointer, so an `add` looks up every file. For a large
//! device that takes long. The time goes to waiting for the disk or, if the inodes are cached, to
//! the CPU. So several tasks do the work if that is faster. An error is not reported here: a size
//! that is not found is looked up again, and that logs a message if the file is missing.

use crate::{
    backing::{
        file_name::ZoneFileName,
        parallelism_probe::ParallelismProbe, //
    },
    options::Geometry, //
};
use core::ops::Range;

use crate::kernel_ext::{
    cred::{
        current_credential,
        with_credentials, //
    },
    fs::{
        Directory,
        FileSize, //
    },
    workqueue::ParallelWork, //
};

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};

/// The largest number of tasks. That many keep a disk busy.
const MAX_TASKS: usize = 8;

/// The work items that look up files, beside the task of the `add`.
type LookupWork = ParallelWork<{ MAX_TASKS - 1 }>;

/// The sizes of the zone files that were looked up, in bytes.
#[derive(Default)]
pub(crate) struct ZoneFileSizes(KVVec<Atomic<i64>>);

impl ZoneFileSizes {
    /// The size of a file that was not looked up, or not found.
    const UNKNOWN: i64 = -1;
    /// The number of consecutive files that a task looks up at a time. Their inodes are close to
    /// each other on most file systems.
    const BATCH: u32 = 64;
    /// The number of batches per task in a round of the probe.
    const BATCHES: u32 = 4;

    /// Looks up the files of all zones of a device; may sleep.
    pub(crate) fn look_up(dir: &Directory, geometry: &Geometry) -> Result<Self> {
        let nr_zones = geometry.nr_zones();
        let mut sizes = KVVec::with_capacity(nr_zones as usize, GFP_KERNEL)?;
        for _ in 0..nr_zones {
            sizes.push(Atomic::new(Self::UNKNOWN), GFP_KERNEL)?;
        }
        let this = Self(sizes);
        let mut helpers = LookupWork::new()?;
        let mut probe = ParallelismProbe::new(MAX_TASKS);
        let mut first = 0;
        while first < nr_zones {
            let zones = match probe.is_settled() {
                true => nr_zones - first,
                // CAST: It is no larger than `MAX_TASKS`.
                false => Self::BATCH * Self::BATCHES * probe.tasks() as u32,
            };
            let end = first.saturating_add(zones).min(nr_zones);
            let start = Instant::<Monotonic>::now();
            this.look_up_in_parallel(dir, geometry, first..end, &mut helpers, probe.tasks());
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(0);
            probe.end_round(end - first, took);
            first = end;
        }
        Ok(this)
    }

    /// Looks up the files of some zones with this number of tasks; may sleep.
    fn look_up_in_parallel(
        &self,
        dir: &Directory,
        geometry: &Geometry,
        zones: Range<u32>,
        helpers: &mut LookupWork,
        tasks: usize,
    ) {
        let credential = current_credential();
        let batches_taken = Atomic::new(0i32);
        let look_up_batches = || loop {
            // ORDERING: `Relaxed`, because each task only needs a number of its own.
            // CAST: It is not negative: the largest number of zones has far fewer batches.
            let nr = batches_taken.fetch_add(1, Relaxed) as u32;
            let first = zones.start.saturating_add(nr.saturating_mul(Self::BATCH));
            let batch = first..first.saturating_add(Self::BATCH).min(zones.end);
            if batch.is_empty() {
                return;
            }
            for zone in batch {
                self.look_up_one(dir, geometry, zone);
            }
        };
        helpers.call(tasks.saturating_sub(1), &|| {
            with_credentials(&credential, look_up_batches);
        });
    }

    fn look_up_one(&self, dir: &Directory, geometry: &Geometry, zone: u32) {
        let found = dir.find_file(&ZoneFileName::of(geometry, zone));
        let size = found.ok().and_then(|found| i64::try_from(found.size).ok());
        if let (Some(size), Some(slot)) = (size, self.0.get(zone as usize)) {
            // ORDERING: `Relaxed`, because `ParallelWork::call` waits for this task before `get`.
            slot.store(size, Relaxed);
        }
    }

    /// The size of a zone's file, if it was found.
    pub(crate) fn get(&self, zone: u32) -> Option<FileSize> {
        // ORDERING: `Relaxed`: see `look_up_one`.
        // The conversion fails for `UNKNOWN`, which is negative.
        self.0.get(zone as usize)?.load(Relaxed).try_into().ok()
    }
}
