// SPDX-License-Identifier: GPL-2.0

//! The zones of a device, most of which are not in use.
//!
//! A device may have a million zones. So there is a small entry for each, with what was found when
//! the device was added, and what it takes to work on a zone, its locks, its queue and its file,
//! is made when something is first done to it. From then on the entry has it for as long as the
//! device is there.
//!
//! Of a zone that nothing was done to, all follows from what was found: it isn't open, and what is
//! behind what is written reads as zeros.

use crate::{
    backing::zone_file::ZoneFile,
    device::sequential::SequentialZone,
    device::shared::Common,
    device::undo_log::UndoLog,
    fault::power_loss::Loss,
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

/// What there is of a zone.
pub(crate) enum Entry<'a> {
    /// Something was done to it.
    Touched(Zone<'a>),
    /// A sequential zone that nothing was done to since the device was added. So many sectors were
    /// written then.
    Found(u64),
    /// A conventional zone that nothing was done to.
    FoundConventional,
}

/// A zone that something was done to.
#[derive(Clone, Copy)]
pub(crate) enum Zone<'a> {
    /// Writes may go anywhere; there is nothing but its file.
    Conventional(&'a ConventionalZone),
    /// Writes go to the write pointer.
    Sequential(&'a Arc<SequentialZone>),
}

impl Zone<'_> {
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

    /// Closes the file; may sleep. What is under way on it must have ended.
    pub(crate) fn close(&self) {
        match self {
            Self::Conventional(zone) => zone.close(),
            Self::Sequential(zone) => zone.close(),
        }
    }
}

/// A conventional zone that something was done to.
pub(crate) struct ConventionalZone {
    common: Arc<Common>,
    /// The number of the zone on the device.
    number: u32,
    file: Arc<ZoneFile>,
    /// The old data, if it is saved.
    undo: Option<Pin<KBox<UndoLog>>>,
}

impl ConventionalZone {
    fn new(common: Arc<Common>, number: u32, flags: Flags) -> Result<Arc<Self>> {
        let file = Arc::pin_init(ZoneFile::new(), flags)?;
        let undo = match common.volatile_cache() {
            false => None,
            true => {
                let len = common.geometry().zone_len(number) << SECTOR_SHIFT;
                let undo = UndoLog::new(number, len, common.block_size());
                Some(KBox::pin_init(undo, flags)?)
            }
        };
        let zone = Self {
            common,
            number,
            file,
            undo,
        };
        Ok(Arc::new(zone, flags)?)
    }

    /// The zone's file, which is opened if it isn't open; may sleep.
    pub(crate) fn file(&self) -> Result<ARef<File>> {
        self.file.get_or_open(self.common.files(), self.number)
    }

    /// The zone's file, whose bytes from `from` to `to` may be changed: what they have is saved if
    /// it may be needed. May sleep.
    pub(crate) fn file_to_write(&self, from: u64, to: u64) -> Result<ARef<File>> {
        let file = self.file()?;
        if let Some(undo) = &self.undo {
            undo.save(&file, from..to, || self.common.files().create_unnamed())?;
        }
        Ok(file)
    }

    fn used_file(&self) -> Result<Option<ARef<File>>> {
        self.file.get_if_used(self.common.files(), self.number)
    }

    /// Makes durable what was written; may sleep.
    pub(crate) fn flush(&self) -> Result {
        let sync = || match self.used_file()? {
            Some(file) => self.common.sync_file(self.number, &self.file, &file),
            None => Ok(()),
        };
        match &self.undo {
            None => sync(),
            Some(undo) => undo.flush(sync),
        }
    }

    /// Discards the data that was written and not flushed, or a part of it, if the old data was
    /// saved; may sleep. No request may be under way.
    pub(crate) fn discard_unflushed(&self, loss: Loss) -> Result {
        let (Some(undo), Some(file)) = (&self.undo, self.used_file()?) else {
            return Ok(());
        };
        undo.undo(&file, loss)?;
        self.file.sync(&file)
    }

    /// Closes the files; may sleep. What is under way on them must have ended.
    fn close(&self) {
        if let Some(undo) = &self.undo {
            undo.close();
        }
        self.file.close();
    }
}

/// What there is of a sequential zone.
pub(crate) struct SequentialEntry {
    zone: SetOnce<Arc<SequentialZone>>,
    /// How many sectors were written when the device was added.
    found: u64,
}

// All that is ours of a zone that nobody has touched, but for a bit. There may be millions.
static_assert!(size_of::<SequentialEntry>() + size_of::<Slot>() <= 36);

impl SequentialEntry {
    /// The zone, if something was done to it.
    pub(crate) fn touched(&self) -> Option<&Arc<SequentialZone>> {
        self.zone.as_ref()
    }

    /// How many sectors were written when the device was added.
    pub(crate) fn found(&self) -> u64 {
        self.found
    }
}

/// Zones in a row that are of one kind.
pub(crate) enum Row<'a> {
    /// Conventional zones with these numbers.
    Conventional(Range<u32>),
    /// Sequential zones with these numbers. There may be more entries than these.
    Sequential(Range<u32>, &'a [SequentialEntry]),
}

/// The zones of a device.
#[pin_data]
pub(crate) struct Zones {
    common: Arc<Common>,
    conventional: KVVec<SetOnce<Arc<ConventionalZone>>>,
    sequential: KVVec<SequentialEntry>,
    /// Held to put something into an entry.
    #[pin]
    touching: SpinLock<()>,
}

impl Zones {
    /// Zones of which each has as many sectors written as `found` says of its number; only a
    /// sequential one is asked for.
    pub(crate) fn new(
        common: Arc<Common>,
        mut found: impl FnMut(u32) -> Result<u64>,
    ) -> Result<impl PinInit<Self>> {
        let geometry = *common.geometry();
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
                common.open_zones().lock().admit(index);
            }
            let entry = SequentialEntry {
                zone: SetOnce::new(),
                found,
            };
            sequential.push(entry, GFP_KERNEL)?;
        }
        Ok(pin_init!(Self {
            common,
            conventional,
            sequential,
            touching <- new_spinlock!((), "zloop_touching"),
        }))
    }

    /// What there is of a zone, or [`None`] if there is no such zone.
    pub(crate) fn entry(&self, number: u32) -> Option<Entry<'_>> {
        Some(match self.common.geometry().zone_index(number) {
            ZoneIndex::Sequential(index) => {
                let entry = self.sequential.get(index as usize)?;
                match entry.touched() {
                    Some(zone) => Entry::Touched(Zone::Sequential(zone)),
                    None => Entry::Found(entry.found),
                }
            }
            ZoneIndex::Conventional(index) => match self.conventional.get(index as usize)?.as_ref()
            {
                Some(zone) => Entry::Touched(Zone::Conventional(zone)),
                None => Entry::FoundConventional,
            },
        })
    }

    /// These zones, in their order. It costs less than to look up each of them.
    pub(crate) fn rows(&self, zones: Range<u32>) -> impl Iterator<Item = Row<'_>> {
        let mut rest = zones;
        from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let run = self.common.geometry().zone_run(rest.start);
            let numbers = rest.start..run.end.min(rest.end);
            rest.start = numbers.end;
            Some(match run.index {
                ZoneIndex::Sequential(index) => {
                    let entries = self.sequential.get(index as usize..);
                    Row::Sequential(numbers, entries.unwrap_or_default())
                }
                ZoneIndex::Conventional(_) => Row::Conventional(numbers),
            })
        })
    }

    /// A zone, if something was done to it.
    pub(crate) fn get(&self, number: u32) -> Option<Zone<'_>> {
        match self.entry(number)? {
            Entry::Touched(zone) => Some(zone),
            Entry::Found(_) | Entry::FoundConventional => None,
        }
    }

    /// A zone that something is about to be done to. `flags` say how to allocate what it needs.
    ///
    /// # Errors
    ///
    /// ENOMEM; EINVAL if there is no such zone.
    pub(crate) fn touch(&self, number: u32, flags: Flags) -> Result<Zone<'_>> {
        if let Some(zone) = self.get(number) {
            return Ok(zone);
        }
        let common = self.common.clone();
        match self.common.geometry().zone_index(number) {
            ZoneIndex::Sequential(index) => {
                let entry = self.sequential.get(index as usize).ok_or(EINVAL)?;
                let zone = SequentialZone::new(common, number, entry.found, flags)?;
                let zone = self.populate(&entry.zone, zone).ok_or(EINVAL)?;
                Ok(Zone::Sequential(zone))
            }
            ZoneIndex::Conventional(index) => {
                let entry = self.conventional.get(index as usize).ok_or(EINVAL)?;
                let zone = ConventionalZone::new(common, number, flags)?;
                let zone = self.populate(entry, zone).ok_or(EINVAL)?;
                Ok(Zone::Conventional(zone))
            }
        }
    }

    /// Puts a zone into its entry, unless somebody else was faster, and returns what is there.
    fn populate<'a, T>(&self, entry: &'a SetOnce<Arc<T>>, zone: Arc<T>) -> Option<&'a Arc<T>> {
        let _touching = self.touching.lock();
        entry.populate(zone);
        entry.as_ref()
    }

    /// The zones that something was done to, and their numbers.
    pub(crate) fn touched(&self) -> impl Iterator<Item = (u32, Zone<'_>)> {
        (0..self.common.geometry().nr_zones())
            .filter_map(|number| Some((number, self.get(number)?)))
    }
}
