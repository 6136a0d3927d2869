// SPDX-License-Identifier: GPL-2.0

//! What the zones of a device have in common.
//!
//! A zone knows nothing of the device that it belongs to but this: what the device is, where the
//! zone files are, the open set, and what is counted, injected or reserved for all zones together.

use crate::{
    backing::zone_file::{
        ZoneFile,
        ZoneFiles, //
    },
    backing::DeviceDirectory,
    device::counters::Counters,
    device::inject::FaultInjection,
    device::preallocation::{
        AheadZones,
        Eagerness, //
    },
    device::reset_all::ResetAllQueue,
    kernel_ext::fs::{
        FileExt,
        IoAlignment, //
    },
    log::MessageLimit,
    options::{
        DeviceOptions,
        Geometry, //
    },
    zone::{
        dirty_zones,
        open_zones::{
            Limits,
            OpenZones,
            Slot, //
        },
        Failure, //
    },
};

use core::num::NonZeroU32;

use crate::kernel_ext::compat::sync::{
    new_spinlock_irq,
    SpinLockIrq, //
};
use kernel::{
    block::SECTOR_SHIFT,
    fs::File,
    new_condvar, new_spinlock,
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        CondVar,
        SpinLock, //
    },
};

/// The zones of a device that were changed since the last flush.
pub(crate) type DirtyZones = dirty_zones::DirtyZones<Atomic<u64>, KVVec<Atomic<u64>>>;

/// The open set of a device.
pub(crate) type OpenSet = OpenZones<KVVec<Slot>>;

/// What the zones of a device have in common.
#[pin_data]
pub(crate) struct Common {
    id: u32,
    options: DeviceOptions,
    alignment: IoAlignment,
    messages: MessageLimit,
    counters: Counters,
    dirty: DirtyZones,
    #[pin]
    files: ZoneFiles,
    #[pin]
    open_zones: SpinLock<OpenSet>,
    /// Notified when a zone has been repaired, or that was tried.
    #[pin]
    repaired: CondVar,
    #[pin]
    resets: SpinLockIrq<ResetAllQueue>,
    extends: Eagerness,
    #[pin]
    ahead: AheadZones,
    #[pin]
    faults: FaultInjection,
}

impl Common {
    /// Those of a new device.
    pub(crate) fn new(
        id: u32,
        alignment: IoAlignment,
        directory: &DeviceDirectory,
    ) -> Result<Arc<Self>> {
        let options = *directory.options();
        let geometry = options.geometry;
        let nr_slots = geometry.nr_seq_zones() as usize;
        let limits = Limits {
            max_open: NonZeroU32::new(options.tunables.max_open_zones),
            max_active: NonZeroU32::new(options.tunables.max_active_zones),
        };
        let slots = KVVec::from_elem(Slot::default(), nr_slots, GFP_KERNEL)?;
        let open_zones = OpenZones::new(slots, limits).ok_or(EINVAL)?;
        let nr_words = DirtyZones::nr_words(geometry.nr_zones());
        let mut words = KVVec::with_capacity(nr_words, GFP_KERNEL)?;
        for _ in 0..nr_words {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        let faults = FaultInjection::new()?;
        Arc::pin_init(
            pin_init!(Self {
                id,
                options,
                alignment,
                messages: MessageLimit::new(),
                counters: Counters::new(),
                dirty: DirtyZones::new(words),
                files <- ZoneFiles::new(directory.share(), *options),
                open_zones <- new_spinlock!(open_zones, "zloop_open_zones"),
                repaired <- new_condvar!("zloop_repaired"),
                resets <- new_spinlock_irq!(ResetAllQueue::default(), "zloop_resets"),
                extends: Eagerness::new(),
                ahead <- AheadZones::new(),
                faults <- faults,
            }),
            GFP_KERNEL,
        )
    }

    /// The number of the device.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// What the device is.
    pub(crate) fn options(&self) -> &DeviceOptions {
        &self.options
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.options.geometry
    }

    /// How I/O to the device must be aligned.
    pub(crate) fn alignment(&self) -> &IoAlignment {
        &self.alignment
    }

    /// The unit of I/O in bytes.
    pub(crate) fn block_size(&self) -> u32 {
        self.alignment.block_size
    }

    /// The unit of I/O in sectors.
    pub(crate) fn block_sectors(&self) -> u64 {
        u64::from(self.alignment.block_size >> SECTOR_SHIFT)
    }

    pub(crate) fn messages(&self) -> &MessageLimit {
        &self.messages
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The zones that were changed since the last flush.
    pub(crate) fn dirty(&self) -> &DirtyZones {
        &self.dirty
    }

    /// Makes durable what was written to the file of zone `number`, with a time stamp that says
    /// so; may sleep. `file` is `zone_file`'s.
    ///
    /// # Errors
    ///
    /// That of the sync. A stamp that can't be set, on a frozen file system, say, is left to the
    /// next flush.
    pub(crate) fn sync_file(&self, number: u32, zone_file: &ZoneFile, file: &File) -> Result {
        if file.update_mtime().is_err() {
            self.dirty.mark(number);
        }
        zone_file.sync(file)
    }

    pub(crate) fn files(&self) -> &ZoneFiles {
        &self.files
    }

    pub(crate) fn open_zones(&self) -> &SpinLock<OpenSet> {
        &self.open_zones
    }

    pub(crate) fn repaired(&self) -> &CondVar {
        &self.repaired
    }

    pub(crate) fn resets(&self) -> &SpinLockIrq<ResetAllQueue> {
        &self.resets
    }

    /// The faults that were injected.
    pub(crate) fn faults(&self) -> &FaultInjection {
        &self.faults
    }

    /// What a sequential zone is declared to be when a write to it has failed.
    pub(crate) fn write_fault(&self) -> Option<Failure> {
        self.options.tunables.write_fault
    }

    /// Overwritten data of conventional zones is saved until the next flush.
    pub(crate) fn volatile_cache(&self) -> bool {
        self.options.tunables.volatile_cache
    }

    /// Whether to try to make zone files longer without waiting.
    pub(crate) fn extends(&self) -> &Eagerness {
        &self.extends
    }

    /// The zones that have space allocated ahead.
    pub(crate) fn ahead(&self) -> &AheadZones {
        &self.ahead
    }
}
