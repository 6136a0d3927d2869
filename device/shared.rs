// SPDX-License-Identifier: GPL-2.0

//! The part of a device that its zones use.
//!
//! A zone has no reference to its device. It refers to this part only: the options, the zone files,
//! the open set, the counters, the injected faults and the preallocation slots.

use crate::{
    backing::{
        zone_file::ZoneFiles,
        DeviceDirectory, //
    },
    device::{
        counters::Counters,
        inject::FaultInjection,
        preallocation::{
            NowaitBackoff,
            PreallocatedZones, //
        },
        reset_all::ResetAllQueue, //
    },
    log::RateLimit,
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

use crate::kernel_ext::fs::IoAlignment;

use crate::kernel_ext::compat::sync::{
    new_spinlock_irq,
    SpinLockIrq, //
};
use kernel::{
    block::SECTOR_SHIFT,
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

/// The part of a device that its zones use.
#[pin_data]
pub(crate) struct DeviceShared {
    id: u32,
    options: DeviceOptions,
    alignment: IoAlignment,
    rate_limit: RateLimit,
    counters: Counters,
    dirty: DirtyZones,
    #[pin]
    files: ZoneFiles,
    #[pin]
    open_zones: SpinLock<OpenSet>,
    /// Notified after each attempt to repair a zone.
    #[pin]
    repaired: CondVar,
    #[pin]
    resets: SpinLockIrq<ResetAllQueue>,
    nowait_extend: NowaitBackoff,
    #[pin]
    preallocated: PreallocatedZones,
    #[pin]
    faults: FaultInjection,
}

impl DeviceShared {
    /// Makes this part for a new device.
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
                rate_limit: RateLimit::new(),
                counters: Counters::new(),
                dirty: DirtyZones::new(words),
                files <- ZoneFiles::new(directory.share(), *options),
                open_zones <- new_spinlock!(open_zones, "zloop_open_zones"),
                repaired <- new_condvar!("zloop_repaired"),
                resets <- new_spinlock_irq!(ResetAllQueue::default(), "zloop_resets"),
                nowait_extend: NowaitBackoff::new(),
                preallocated <- PreallocatedZones::new(),
                faults <- faults,
            }),
            GFP_KERNEL,
        )
    }

    /// The number of the device.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The options of the device.
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

    pub(crate) fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The zones that have changed since the last flush.
    pub(crate) fn dirty(&self) -> &DirtyZones {
        &self.dirty
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

    /// The injected faults.
    pub(crate) fn faults(&self) -> &FaultInjection {
        &self.faults
    }

    /// With `write_fault`: the condition that a failed write declares for its zone.
    pub(crate) fn write_fault(&self) -> Option<Failure> {
        self.options.tunables.write_fault
    }

    /// Whether overwritten data of conventional zones is saved until the next flush.
    pub(crate) fn volatile_cache(&self) -> bool {
        self.options.tunables.volatile_cache
    }

    /// Whether to try to extend zone files without waiting.
    pub(crate) fn nowait_extend(&self) -> &NowaitBackoff {
        &self.nowait_extend
    }

    /// The zones with preallocated space.
    pub(crate) fn preallocated(&self) -> &PreallocatedZones {
        &self.preallocated
    }
}
