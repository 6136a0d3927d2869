// SPDX-License-Identifier: GPL-2.0

//! The zones of a device, most of which are not in use.
//!
//! A device may have a million zones. So each zone has a small entry, which holds the number of
//! sectors that were written when the device was added. The first request that changes the zone or
//! reads its data allocates the zone's locks, queue and file. The entry then keeps them as long as
//! the device exists.
//!
//! A zone that is not in use is not open, and reads behind the written sectors return zeros.

use crate::{
    backing::zone_file::ZoneFile,
    device::{
        sequential::SequentialZone,
        shared::DeviceShared,
        undo_log::UndoLog, //
    },
    fault::power_loss::PowerLoss,
    options::ZoneIndex,
    zone::{
        open_zones::Slot,
        WritePointer, //
    },
};
use core::{
    iter::from_fn,
    ops::Range, //
};
use kernel::{
    alloc::Flags,
    block::SECTOR_SHIFT,
    fs::File,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        SetOnce,
        SpinLock, //
    },
};

/// The state of a zone in the table.
pub(crate) enum Entry<'a> {
    /// The zone is in use.
    InUse(ZoneRef<'a>),
    /// A sequential zone that was not used since the device was added. This number of sectors was
    /// written then.
    Unused(u64),
    /// A conventional zone that was not used since then.
    UnusedConventional,
}

/// A zone that is in use.
#[derive(Clone, Copy)]
pub(crate) enum ZoneRef<'a> {
    /// Writes may go anywhere.
    Conventional(&'a ConventionalZone),
    /// Writes go to the write pointer.
    Sequential(&'a Arc<SequentialZone>),
}

impl ZoneRef<'_> {
    /// The zone's file, if it is open. Does not sleep.
    pub(crate) fn open_file(&self) -> Option<ARef<File>> {
        match self {
            Self::Conventional(zone) => zone.file.get(),
            Self::Sequential(zone) => zone.open_file(),
        }
    }

    /// The zone's file, which is opened if it isn't open; may sleep.
    pub(crate) fn file(&self) -> Result<ARef<File>> {
        match self {
            Self::Conventional(zone) => zone.file(),
            Self::Sequential(zone) => zone.file(),
        }
    }

    /// Closes the file; may sleep. All I/O to it must have ended.
    pub(crate) fn close(&self) {
        match self {
            Self::Conventional(zone) => zone.close(),
            Self::Sequential(zone) => zone.close(),
        }
    }
}

/// A conventional zone that is in use.
pub(crate) struct ConventionalZone {
    shared: Arc<DeviceShared>,
    /// The number of the zone on the device.
    number: u32,
    file: Arc<ZoneFile>,
    /// The overwritten data, with `volatile_cache`.
    undo: Option<Pin<KBox<UndoLog>>>,
}

impl ConventionalZone {
    fn new(shared: Arc<DeviceShared>, number: u32, flags: Flags) -> Result<Arc<Self>> {
        let file = Arc::pin_init(ZoneFile::new(), flags)?;
        let undo = match shared.volatile_cache() {
            false => None,
            true => {
                let len = shared.geometry().zone_len(number) << SECTOR_SHIFT;
                let undo = UndoLog::new(number, len, shared.block_size());
                Some(KBox::pin_init(undo, flags)?)
            }
        };
        let zone = Self {
            shared,
            number,
            file,
            undo,
        };
        Ok(Arc::new(zone, flags)?)
    }

    /// The zone's file, which is opened if it isn't open; may sleep.
    pub(crate) fn file(&self) -> Result<ARef<File>> {
        self.file.get_or_open(self.shared.files(), self.number)
    }

    /// The zone's file, for a write to the bytes from `from` to `to`. With `volatile_cache` it
    /// saves their data first. May sleep.
    pub(crate) fn file_to_write(&self, from: u64, to: u64) -> Result<ARef<File>> {
        let file = self.file()?;
        if let Some(undo) = &self.undo {
            undo.save(&file, from..to, || self.shared.files().create_unnamed())?;
        }
        Ok(file)
    }

    fn used_file(&self) -> Result<Option<ARef<File>>> {
        self.file.get_if_used(self.shared.files(), self.number)
    }

    /// Makes written data durable; may sleep.
    pub(crate) fn flush(&self) -> Result {
        let sync = || match self.used_file()? {
            Some(file) => self.shared.sync_file(self.number, &self.file, &file),
            None => Ok(()),
        };
        match &self.undo {
            None => sync(),
            Some(undo) => undo.flush(sync),
        }
    }

    /// Restores the data that was overwritten since the last flush, or a part of it; may sleep. No
    /// request may be under way. Without `volatile_cache` nothing was saved, and nothing is done.
    pub(crate) fn discard_unflushed(&self, loss: PowerLoss) -> Result {
        let (Some(undo), Some(file)) = (&self.undo, self.used_file()?) else {
            return Ok(());
        };
        undo.undo(&file, loss)?;
        self.file.sync(&file)
    }

    /// Closes the files; may sleep. All I/O to them must have ended.
    fn close(&self) {
        if let Some(undo) = &self.undo {
            undo.close();
        }
        self.file.close();
    }
}

// Lookups take no lock. `SetOnce::populate` is a release, and `SetOnce::as_ref` is the acquire that
// sees the whole zone. A task that sees an empty entry knows of no use of the zone: a request that
// has ended, and a mark for a flush, make the entry visible with themselves.

/// The entry of a sequential zone.
pub(crate) struct SequentialEntry {
    zone: SetOnce<Arc<SequentialZone>>,
    /// The number of sectors that were written when the device was added.
    found: u64,
}

// The memory of a zone that is not in use, except for its bit in the set of dirty zones. There may
// be millions.
static_assert!(size_of::<SequentialEntry>() + size_of::<Slot>() <= 36);

impl SequentialEntry {
    /// The zone, if it is in use.
    pub(crate) fn in_use(&self) -> Option<&Arc<SequentialZone>> {
        self.zone.as_ref()
    }

    /// The number of sectors that were written when the device was added.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }
}

/// Consecutive zones of one type.
pub(crate) enum ZoneRun<'a> {
    /// Conventional zones with these numbers.
    Conventional(Range<u32>),
    /// Sequential zones with these numbers. There may be more entries than numbers.
    Sequential(Range<u32>, &'a [SequentialEntry]),
}

/// The zones of a device.
#[pin_data]
pub(crate) struct Zones {
    shared: Arc<DeviceShared>,
    conventional: KVVec<SetOnce<Arc<ConventionalZone>>>,
    sequential: KVVec<SequentialEntry>,
    /// Held while a zone is put into its entry.
    #[pin]
    creating: SpinLock<()>,
}

impl Zones {
    /// Makes the table. `found` returns the number of written sectors of the zone with a number; it
    /// is called for sequential zones.
    pub(crate) fn new(
        shared: Arc<DeviceShared>,
        mut found: impl FnMut(u32) -> Result<u64>,
    ) -> Result<impl PinInit<Self>> {
        let geometry = *shared.geometry();
        let (nr_conv, nr_seq) = (geometry.nr_conv_zones(), geometry.nr_seq_zones());
        let mut conventional = KVVec::with_capacity(nr_conv as usize, GFP_KERNEL)?;
        let mut sequential = KVVec::with_capacity(nr_seq as usize, GFP_KERNEL)?;
        for number in 0..geometry.nr_zones() {
            let found = found(number)?;
            let ZoneIndex::Sequential(index) = geometry.zone_index(number) else {
                conventional.push(SetOnce::new(), GFP_KERNEL)?;
                continue;
            };
            let wp = WritePointer::new(found, geometry.zone_capacity(number)).ok_or(EINVAL)?;
            if !wp.is_empty() && !wp.is_full() {
                shared.open_zones().lock().admit(index);
            }
            let entry = SequentialEntry {
                zone: SetOnce::new(),
                found,
            };
            sequential.push(entry, GFP_KERNEL)?;
        }
        Ok(pin_init!(Self {
            shared,
            conventional,
            sequential,
            creating <- new_spinlock!((), "zloop_create_zone"),
        }))
    }

    /// The entry of a zone, or [`None`] if there is no zone with this number.
    pub(crate) fn entry(&self, number: u32) -> Option<Entry<'_>> {
        Some(match self.shared.geometry().zone_index(number) {
            ZoneIndex::Sequential(index) => {
                let entry = self.sequential.get(index as usize)?;
                match entry.in_use() {
                    Some(zone) => Entry::InUse(ZoneRef::Sequential(zone)),
                    None => Entry::Unused(entry.found),
                }
            }
            ZoneIndex::Conventional(index) => match self.conventional.get(index as usize)?.as_ref()
            {
                Some(zone) => Entry::InUse(ZoneRef::Conventional(zone)),
                None => Entry::UnusedConventional,
            },
        })
    }

    /// The runs of these zones, in order. This is cheaper than to look up each zone.
    pub(crate) fn runs(&self, zones: Range<u32>) -> impl Iterator<Item = ZoneRun<'_>> {
        let mut rest = zones;
        from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let run = self.shared.geometry().zone_run(rest.start);
            let numbers = rest.start..run.end.min(rest.end);
            rest.start = numbers.end;
            Some(match run.index {
                ZoneIndex::Sequential(index) => {
                    let entries = self.sequential.get(index as usize..);
                    ZoneRun::Sequential(numbers, entries.unwrap_or_default())
                }
                ZoneIndex::Conventional(_) => ZoneRun::Conventional(numbers),
            })
        })
    }

    /// A zone, if it is in use.
    pub(crate) fn get(&self, number: u32) -> Option<ZoneRef<'_>> {
        match self.entry(number)? {
            Entry::InUse(zone) => Some(zone),
            Entry::Unused(_) | Entry::UnusedConventional => None,
        }
    }

    /// A zone, which is in use from now on. It is allocated with `flags` if it was not.
    ///
    /// # Errors
    ///
    /// ENOMEM; EINVAL if there is no such zone.
    pub(crate) fn get_or_create(&self, number: u32, flags: Flags) -> Result<ZoneRef<'_>> {
        if let Some(zone) = self.get(number) {
            return Ok(zone);
        }
        let shared = self.shared.clone();
        match self.shared.geometry().zone_index(number) {
            ZoneIndex::Sequential(index) => {
                let entry = self.sequential.get(index as usize).ok_or(EINVAL)?;
                let zone = SequentialZone::new(shared, number, entry.found, flags)?;
                let zone = self.populate(&entry.zone, zone).ok_or(EINVAL)?;
                Ok(ZoneRef::Sequential(zone))
            }
            ZoneIndex::Conventional(index) => {
                let entry = self.conventional.get(index as usize).ok_or(EINVAL)?;
                let zone = ConventionalZone::new(shared, number, flags)?;
                let zone = self.populate(entry, zone).ok_or(EINVAL)?;
                Ok(ZoneRef::Conventional(zone))
            }
        }
    }

    /// Puts a zone into its entry, unless another task was faster, and returns the entry's zone.
    fn populate<'a, T>(&self, entry: &'a SetOnce<Arc<T>>, zone: Arc<T>) -> Option<&'a Arc<T>> {
        let _creating = self.creating.lock();
        entry.populate(zone);
        entry.as_ref()
    }

    /// The zones that are in use, with their numbers.
    pub(crate) fn in_use(&self) -> impl Iterator<Item = (u32, ZoneRef<'_>)> {
        (0..self.shared.geometry().nr_zones())
            .filter_map(|number| Some((number, self.get(number)?)))
    }
}
