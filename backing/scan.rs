// SPDX-License-Identifier: GPL-2.0

//! The sizes of a device's zone files, looked up when it is added again.
//!
//! A zone's write pointer is its file's size, so every file is looked at before the device is
//! there. For a large device that takes long, and the time goes to waiting for the disk or, once
//! the disk has been read, to work that every CPU can do. So several tasks do it, if that turns
//! out to be faster. Nothing depends on their success: what they have not found is looked up again,
//! with a message if it is missing.

use crate::{
    backing::file_name::ZoneFileName,
    backing::parallelism_probe::Team,
    kernel_ext::{
        cred::{
            current_credential,
            with_credentials, //
        },
        fs::{
            Directory,
            FileSize, //
        },
        workqueue::Helpers,
    },
    options::Geometry,
};
use core::ops::Range;
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

/// The sizes of zone files in bytes, as far as they were looked up.
#[derive(Default)]
pub(crate) struct ZoneFileSizes(KVVec<Atomic<i64>>);

impl ZoneFileSizes {
    /// What was not looked up, or not found.
    const UNKNOWN: i64 = -1;
    /// So many files a task looks up in turn, which are near each other on most file systems.
    const TURN: u32 = 64;
    /// So many turns each task has before it is seen whether more of them, or less, would be
    /// faster.
    const TURNS: u32 = 4;
    /// So many tasks keep a disk busy.
    const TASKS: usize = 8;

    /// Looks up the files of all zones of a device; may sleep.
    pub(crate) fn look_up(dir: &Directory, geometry: &Geometry) -> Result<Self> {
        let nr_zones = geometry.nr_zones();
        let mut sizes = KVVec::with_capacity(nr_zones as usize, GFP_KERNEL)?;
        for _ in 0..nr_zones {
            sizes.push(Atomic::new(Self::UNKNOWN), GFP_KERNEL)?;
        }
        let this = Self(sizes);
        let mut helpers = Helpers::new()?;
        let mut team = Team::new(Self::TASKS);
        let mut first = 0;
        while first < nr_zones {
            let zones = match team.is_settled() {
                true => nr_zones - first,
                // CAST: It is no larger than `TASKS`.
                false => Self::TURN * Self::TURNS * team.size() as u32,
            };
            let end = first.saturating_add(zones).min(nr_zones);
            let start = Instant::<Monotonic>::now();
            this.look_up_together(dir, geometry, first..end, &mut helpers, team.size());
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(0);
            team.has_done(end - first, took);
            first = end;
        }
        Ok(this)
    }

    /// Looks up the files of some zones, by so many tasks.
    fn look_up_together(
        &self,
        dir: &Directory,
        geometry: &Geometry,
        zones: Range<u32>,
        helpers: &mut Helpers,
        tasks: usize,
    ) {
        let credential = current_credential();
        let turns_taken = Atomic::new(0i32);
        let look_up_turns = || loop {
            // CAST: It is not negative: there are not so many zones.
            let turn = turns_taken.fetch_add(1, Relaxed) as u32;
            let first = zones.start.saturating_add(turn.saturating_mul(Self::TURN));
            let turn = first..first.saturating_add(Self::TURN).min(zones.end);
            if turn.is_empty() {
                return;
            }
            for zone in turn {
                self.look_up_one(dir, geometry, zone);
            }
        };
        helpers.call(tasks.saturating_sub(1), &|| {
            with_credentials(&credential, look_up_turns);
        });
    }

    fn look_up_one(&self, dir: &Directory, geometry: &Geometry, zone: u32) {
        let found = dir.find_file(&ZoneFileName::of(geometry, zone));
        let size = found.ok().and_then(|found| i64::try_from(found.size).ok());
        if let (Some(size), Some(place)) = (size, self.0.get(zone as usize)) {
            place.store(size, Relaxed);
        }
    }

    /// The size of a zone's file, if it was found.
    pub(crate) fn get(&self, zone: u32) -> Option<FileSize> {
        // A negative one is the unknown one.
        self.0.get(zone as usize)?.load(Relaxed).try_into().ok()
    }
}
