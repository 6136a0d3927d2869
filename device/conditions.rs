// SPDX-License-Identifier: GPL-2.0

//! Declaring zones read-only or offline.
//!
//! What is declared belongs to the device: it is in its directory, in the file `conditions`, and a
//! later `add` finds it there. The C driver takes no notice of that file. [`ConditionOverride`] has
//! its language.
//!
//! With `write_fault` a zone is declared to have failed by a write that fails.
//!
//! A zone that is declared good again is what its file says: it is looked at as after a write that
//! has failed.

use crate::{
    backing::MODE,
    device::zone_table::Zone, //
    device::Device,
    kernel_ext::{
        fmt::Shown,
        fs::FileExt,
        task::BlockIoScope, //
    },
    options::recorded_declarations,
    refuse,
    zone::condition_override::{
        overrides,
        ConditionOverride, //
    },
    zone::Failure,
};
use kernel::{
    fs::file::flags,
    prelude::*,
    str::CString, //
};

/// The record of what is declared.
const RECORD: &CStr = c"conditions";
/// The next one while it is being written.
const NEXT_RECORD: &CStr = c"conditions.new";
/// More than a record is ever long, in bytes: a line for every other zone of the largest device.
const RECORD_MAX: u64 = 128 << 20;

/// Whether what is declared is what is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is.
    Yes,
    /// That could not be made so. It is tried again with the next declaration, and when the device
    /// is closed.
    Perhaps,
}

impl Device {
    /// What a zone was declared to be.
    pub(crate) fn declared(&self, number: u32) -> Option<Failure> {
        match self.zones().get(number)? {
            Zone::Sequential(zone) => zone.declared(),
            Zone::Conventional(_) => None,
        }
    }

    /// Declares zones failed or good, and records it; may sleep.
    ///
    /// The block layer doesn't know of it yet: the zones must be revalidated.
    ///
    /// # Errors
    ///
    /// EINVAL if there are no such sequential zones, what the file system says if it can't be
    /// recorded. Nothing is declared then.
    pub(crate) fn declare(&self, declaration: &ConditionOverride) -> Result {
        let zones = declaration.zones;
        self.check(declaration)?;
        for number in zones.numbers() {
            self.zones().touch(number, GFP_KERNEL)?;
        }
        // A write that has failed may wait for the lock: no allocation may wait for it.
        let _scope = BlockIoScope::enter();
        let mut recorded = self.declaring.lock();
        let failure = |number| {
            if zones.numbers().contains(&number) {
                declaration.failure
            } else {
                self.declared(number)
            }
        };
        self.record(&mut recorded, failure).inspect_err(|err| {
            refuse!(
                self.common().id(),
                "{}: can't be recorded: {err:?}",
                Shown(declaration)
            );
        })?;
        self.apply(declaration);
        Ok(())
    }

    /// Records what is declared of all zones, after that of one was changed; may sleep.
    pub(crate) fn record_declared(&self) -> Result {
        let mut recorded = self.declaring.lock();
        self.record(&mut recorded, |number| self.declared(number))
    }

    /// Records what is declared of all zones if that has failed before; may sleep.
    pub(crate) fn record_again(&self) -> Result {
        let mut recorded = self.declaring.lock();
        match *recorded {
            Recorded::Yes => Ok(()),
            Recorded::Perhaps => self.record(&mut recorded, |number| self.declared(number)),
        }
    }

    /// Declares the zones of a new device what they were recorded to be; may sleep.
    ///
    /// # Errors
    ///
    /// EINVAL if the record is damaged.
    pub(crate) fn restore_declared(&self) -> Result {
        let text = self.read_record().inspect_err(|err| {
            refuse!(
                self.common().id(),
                "can't read the file conditions: {err:?}"
            );
        })?;
        let mut next = 0;
        for declaration in recorded_declarations(&text) {
            let declaration = declaration.map_err(|err| {
                refuse!(
                    self.common().id(),
                    "the file conditions is damaged: {}",
                    Shown(err)
                );
                EINVAL
            })?;
            // Each zone is there once, so that there is no end of work in a text that somebody has
            // made up.
            if declaration.zones.first() < next {
                refuse!(
                    self.common().id(),
                    "the file conditions is damaged: {}: must be behind zone {}",
                    Shown(declaration),
                    next - 1
                );
                return Err(EINVAL);
            }
            self.check(&declaration)?;
            next = declaration.zones.last().saturating_add(1);
            for number in declaration.zones.numbers() {
                self.zones().touch(number, GFP_KERNEL)?;
            }
            self.apply(&declaration);
        }
        Ok(())
    }

    /// Refuses what is not for sequential zones of this device.
    fn check(&self, declaration: &ConditionOverride) -> Result {
        let geometry = self.common().geometry();
        let is_sequential = |zone: &u32| !geometry.is_conventional(*zone);
        let last = geometry.nr_zones() - 1;
        let first = match geometry.is_conventional(0) {
            true => geometry.zone_run(0).end,
            false => 0,
        };
        let zones = declaration.zones;
        let conventional = zones.numbers().take_while(|&zone| zone <= last);
        if let Some(zone) = conventional
            .filter(|zone| *zone > first)
            .find(|zone| !is_sequential(zone))
        {
            refuse!(
                self.common().id(),
                "{}: zone {zone} is conventional",
                Shown(declaration)
            );
            return Err(EINVAL);
        }
        if zones.first() < first || zones.last() > last {
            refuse!(
                self.common().id(),
                "{}: must be from {first} to {last}, which are the sequential zones",
                Shown(declaration)
            );
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Declares zones of which each was touched.
    fn apply(&self, declaration: &ConditionOverride) {
        for number in declaration.zones.numbers() {
            if let Some(Zone::Sequential(zone)) = self.zones().get(number) {
                zone.declare(declaration.failure);
            }
        }
    }

    /// Writes down what is declared of each zone.
    fn record(&self, recorded: &mut Recorded, failure: impl Fn(u32) -> Option<Failure>) -> Result {
        *recorded = Recorded::Perhaps;
        let mut text = KVVec::new();
        for declaration in overrides(0..self.common().geometry().nr_zones(), failure) {
            let line = CString::try_from_fmt(fmt!("{}\n", Shown(declaration)))?;
            text.extend_from_slice(line.to_bytes(), GFP_KERNEL)?;
        }
        self.common().files().with_directory(|directory| {
            directory.unlink_if_there(NEXT_RECORD)?;
            if text.is_empty() {
                directory.unlink_if_there(RECORD)?;
            } else {
                let file = directory.create_file(NEXT_RECORD, flags::O_RDWR, MODE)?;
                file.write_all_at(&text, 0)?;
                file.sync()?;
                directory.rename(NEXT_RECORD, RECORD)?;
            }
            directory.sync()
        })?;
        *recorded = Recorded::Yes;
        Ok(())
    }

    /// Reads what was written down; that is nothing if there is no record.
    fn read_record(&self) -> Result<KVVec<u8>> {
        self.common().files().with_directory(|directory| {
            let file = match directory.open_file(RECORD, flags::O_RDONLY) {
                Err(err) if err == ENOENT => return Ok(KVVec::new()),
                result => result?,
            };
            let size = file.size()?;
            if size > RECORD_MAX {
                return Err(EFBIG);
            }
            let mut text = KVVec::from_elem(0, usize::try_from(size)?, GFP_KERNEL)?;
            let mut len = 0;
            while let Some(rest @ [_, ..]) = text.get_mut(len..) {
                match file.read_at(rest, len as u64)? {
                    0 => break,
                    more => len = len.saturating_add(more),
                }
            }
            text.truncate(len);
            Ok(text)
        })
    }
}
