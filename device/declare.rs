// SPDX-License-Identifier: GPL-2.0

//! Declaring zones read-only or offline.
//!
//! The file `conditions` in the directory of the device records the declared conditions, so that a
//! later `add` restores them. The C driver ignores this file. Each of its lines is the text of a
//! [`Declaration`].
//!
//! With `write_fault`, a write that fails declares its zone failed.
//!
//! A zone that is declared good is repaired as after a failed write: its condition follows from its
//! file.

use crate::{
    backing::record_file::{
        self,
        RecordFile, //
    },
    cmd_err,
    device::{
        zone_table::ZoneRef,
        Device, //
    },
    options::recorded_declarations,
    zone::{
        declaration::{
            declarations,
            Declaration, //
        },
        Failure, //
    },
};

use crate::kernel_ext::{
    fmt::CoreDisplay,
    task::BlockIoScope, //
};

use kernel::{
    prelude::*,
    str::CString, //
};

/// The record.
const RECORD: RecordFile = RecordFile {
    name: c"conditions",
    next: c"conditions.new",
};
/// Upper bound on the length of a record in bytes: a line for every other zone of the largest
/// device.
const RECORD_MAX: u64 = 128 << 20;

/// Whether the record has the declared conditions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It has.
    Yes,
    /// It could not be written. The next declaration writes it again, as does the end of the
    /// device.
    Perhaps,
}

impl Device {
    /// The declared condition of a zone.
    pub(crate) fn declared(&self, number: u32) -> Option<Failure> {
        match self.zones().get(number)? {
            ZoneRef::Sequential(zone) => zone.declared(),
            ZoneRef::Conventional(_) => None,
        }
    }

    /// Carries out `zone_readonly`, `zone_offline` and `zone_good`: declares zones failed or good,
    /// and records it; may sleep.
    ///
    /// The caller then revalidates the zones: the block layer has their old conditions.
    ///
    /// # Errors
    ///
    /// EINVAL if there are no such sequential zones; the file system's error if the record can't be
    /// written. The conditions are unchanged then.
    pub(crate) fn declare(&self, declaration: &Declaration) -> Result {
        let zones = declaration.zones;
        self.check(declaration)?;
        for number in zones.numbers() {
            self.zones().get_or_create(number, GFP_KERNEL)?;
        }
        // A failed write may wait for this lock, so an allocation under it must not wait for
        // writes.
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
            cmd_err!(
                self.shared().id(),
                "{}: can't be recorded: {err:?}",
                CoreDisplay(declaration)
            );
        })?;
        self.apply(declaration);
        Ok(())
    }

    /// Writes the record after the declared condition of a zone has changed; may sleep.
    pub(crate) fn record_declared(&self) -> Result {
        let mut recorded = self.declaring.lock();
        self.record(&mut recorded, |number| self.declared(number))
    }

    /// Writes the record if that has failed before; may sleep.
    pub(crate) fn record_again(&self) -> Result {
        let mut recorded = self.declaring.lock();
        match *recorded {
            Recorded::Yes => Ok(()),
            Recorded::Perhaps => self.record(&mut recorded, |number| self.declared(number)),
        }
    }

    /// Restores the declared conditions of a new device from its record; may sleep.
    ///
    /// # Errors
    ///
    /// EINVAL if the record is damaged.
    pub(crate) fn restore_declared(&self) -> Result {
        let text = self.read_record().inspect_err(|err| {
            cmd_err!(
                self.shared().id(),
                "can't read the file conditions: {err:?}"
            );
        })?;
        let mut next = 0;
        for declaration in recorded_declarations(&text) {
            let declaration = declaration.map_err(|err| {
                cmd_err!(
                    self.shared().id(),
                    "the file conditions is damaged: {}",
                    CoreDisplay(err)
                );
                EINVAL
            })?;
            // Each zone must be there once, so that a forged record can't cause endless work.
            if declaration.zones.first() < next {
                cmd_err!(
                    self.shared().id(),
                    "the file conditions is damaged: {}: must be behind zone {}",
                    CoreDisplay(declaration),
                    next - 1
                );
                return Err(EINVAL);
            }
            self.check(&declaration)?;
            next = declaration.zones.last().saturating_add(1);
            for number in declaration.zones.numbers() {
                self.zones().get_or_create(number, GFP_KERNEL)?;
            }
            self.apply(&declaration);
        }
        Ok(())
    }

    /// Checks that a declaration is for sequential zones of this device.
    fn check(&self, declaration: &Declaration) -> Result {
        let geometry = self.shared().geometry();
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
            cmd_err!(
                self.shared().id(),
                "{}: zone {zone} is conventional",
                CoreDisplay(declaration)
            );
            return Err(EINVAL);
        }
        if zones.first() < first || zones.last() > last {
            cmd_err!(
                self.shared().id(),
                "{}: must be from {first} to {last}, which are the sequential zones",
                CoreDisplay(declaration)
            );
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Declares zones, which must all be in use.
    fn apply(&self, declaration: &Declaration) {
        for number in declaration.zones.numbers() {
            if let Some(ZoneRef::Sequential(zone)) = self.zones().get(number) {
                zone.declare(declaration.failure);
            }
        }
    }

    /// Writes the declared condition of each zone to the record.
    fn record(&self, recorded: &mut Recorded, failure: impl Fn(u32) -> Option<Failure>) -> Result {
        *recorded = Recorded::Perhaps;
        let mut text = KVVec::new();
        for declaration in declarations(0..self.shared().geometry().nr_zones(), failure) {
            let line = CString::try_from_fmt(fmt!("{}\n", CoreDisplay(declaration)))?;
            text.extend_from_slice(line.to_bytes(), GFP_KERNEL)?;
        }
        self.shared().files().with_directory(|directory| {
            match text.is_empty() {
                true => RECORD.remove(directory)?,
                false => RECORD.replace(directory, &text)?,
            }
            directory.sync()
        })?;
        *recorded = Recorded::Yes;
        Ok(())
    }

    /// Reads the record. It is empty if there is no file.
    fn read_record(&self) -> Result<KVVec<u8>> {
        self.shared().files().with_directory(|directory| {
            let text = record_file::read(directory, RECORD.name, RECORD_MAX)?;
            Ok(text.unwrap_or_default())
        })
    }
}
