// SPDX-License-Identifier: GPL-2.0

//! Zoned block devices.
//!
//! C headers: [`include/uapi/linux/blkzoned.h`](srctree/include/uapi/linux/blkzoned.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
};

// CAST: This holds for all casts of both enumerations in this file: their values fit in a byte, by
// the layout of `struct blk_zone`.

/// The type of a zone, which says where it can be written: `enum blk_zone_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ZoneType {
    /// Can be written at any position.
    Conventional = bindings::blk_zone_type_BLK_ZONE_TYPE_CONVENTIONAL as u8,
    /// Can be written only at the write pointer.
    SequentialWriteRequired = bindings::blk_zone_type_BLK_ZONE_TYPE_SEQWRITE_REQ as u8,
}

/// The condition of a zone: `enum blk_zone_cond`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ZoneCondition {
    /// The zone has no write pointer.
    NotWritePointer = bindings::blk_zone_cond_BLK_ZONE_COND_NOT_WP as u8,
    /// The zone has no data.
    Empty = bindings::blk_zone_cond_BLK_ZONE_COND_EMPTY as u8,
    /// A write has opened the zone.
    ImplicitOpen = bindings::blk_zone_cond_BLK_ZONE_COND_IMP_OPEN as u8,
    /// A command has opened the zone.
    ExplicitOpen = bindings::blk_zone_cond_BLK_ZONE_COND_EXP_OPEN as u8,
    /// The zone is partly written and not open.
    Closed = bindings::blk_zone_cond_BLK_ZONE_COND_CLOSED as u8,
    /// The zone can't be written.
    ReadOnly = bindings::blk_zone_cond_BLK_ZONE_COND_READONLY as u8,
    /// The zone has no space for more data.
    Full = bindings::blk_zone_cond_BLK_ZONE_COND_FULL as u8,
    /// The zone can't be read or written.
    Offline = bindings::blk_zone_cond_BLK_ZONE_COND_OFFLINE as u8,
}

impl ZoneCondition {
    /// Whether a zone in this condition has failed, so that it can't be written any more.
    pub(crate) fn is_failed(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Offline)
    }
}

/// A zone of a report: `struct blk_zone`. All numbers are in sectors of 512 bytes. `start` and `wp`
/// count from the start of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedZone {
    /// The zone's first sector.
    pub(crate) start: u64,
    /// The distance from the start of the zone to the start of the next zone.
    pub(crate) len: u64,
    /// The writable part of the zone, from its start.
    pub(crate) capacity: u64,
    /// The write pointer, if the zone has a valid one.
    pub(crate) wp: Option<u64>,
    /// The type of the zone.
    pub(crate) zone_type: ZoneType,
    /// The condition of the zone.
    pub(crate) condition: ZoneCondition,
}

/// The condition of a zone that the block layer has cached: an `enum blk_zone_cond` in a byte.
// The kernel crate has no atomic `u8`.
#[repr(transparent)]
struct CachedCondition(Atomic<i8>);

// ORDERING: `Relaxed`, both, as the plain accesses in C: a condition orders nothing, and a task
// that sees an old one reports an old one. The caller of `cache_condition` orders its store.
impl CachedCondition {
    fn load(&self) -> u8 {
        // CAST: Only the type of the byte changes.
        self.0.load(Relaxed) as u8
    }

    fn store(&self, condition: u8) {
        // CAST: Only the type of the byte changes.
        self.0.store(condition as i8, Relaxed);
    }
}

/// The condition of each zone of a disk that the block layer has cached. It is empty before the
/// first revalidation.
///
/// # Safety
///
/// `disk` must be valid for as long as the guard.
unsafe fn conditions(disk: *mut bindings::gendisk, _guard: &rcu::Guard) -> &[CachedCondition] {
    // ORDERING: The later accesses depend on the array's pointer: `rcu_dereference()`. The number
    // of zones needs no order, since it fits each array, or is 0.
    // SAFETY: By the safety requirement the disk is valid. The block layer may replace the array
    // and change the number concurrently.
    let (array, nr_zones) = unsafe {
        let array = (&raw const (*disk).zones_cond).read_volatile();
        (array, (&raw const (*disk).nr_zones).read_volatile())
    };
    if array.is_null() {
        return &[];
    }
    // SAFETY: The array has one byte per zone: the number of zones of a disk never changes, but is
    // 0 after a failed revalidation. `CachedCondition` has the layout of a byte. RCU
    // keeps the array for as long as the guard. All concurrent users read and write single bytes,
    // as the result does.
    unsafe { core::slice::from_raw_parts(array.cast(), nr_zones as usize) }
}

/// Clears the cached conditions read-only and offline, before a revalidation.
///
/// A revalidation allocates a zone write plug for each zone whose write pointer it must track. It
/// copies the cached condition into the plug, although it is about to replace this condition.
///
/// # Safety
///
/// `disk` must be valid.
pub(crate) unsafe fn clear_failed_conditions(disk: *mut bindings::gendisk) {
    let guard = rcu::Guard::new();
    // SAFETY: By the safety requirement the disk is valid.
    for condition in unsafe { conditions(disk, &guard) } {
        if matches!(
            c_uint::from(condition.load()),
            bindings::blk_zone_cond_BLK_ZONE_COND_READONLY
                | bindings::blk_zone_cond_BLK_ZONE_COND_OFFLINE
        ) {
            condition.store(bindings::blk_zone_cond_BLK_ZONE_COND_ACTIVE as u8);
        }
    }
}

/// A report of zones in progress, with the block layer's `disk_report_zone()`.
pub(crate) struct ZoneReport<'a> {
    disk: *mut bindings::gendisk,
    args: *mut bindings::blk_report_zones_args,
    /// The zone that was added last. Its unused fields stay zero.
    zone: bindings::blk_zone,
    reported: u32,
    /// The number of zones that the block layer has requested.
    wanted: u32,
    _call: core::marker::PhantomData<&'a mut ()>,
}

impl ZoneReport<'_> {
    /// Begins a report.
    ///
    /// # Safety
    ///
    /// `disk`, `wanted` and `args` must be the arguments of a call of the `report_zones` operation.
    /// This call must last for the lifetime of the result.
    pub(crate) unsafe fn from_raw(
        disk: *mut bindings::gendisk,
        wanted: u32,
        args: *mut bindings::blk_report_zones_args,
    ) -> Self {
        Self {
            disk,
            args,
            zone: pin_init::zeroed(),
            reported: 0,
            wanted,
            _call: core::marker::PhantomData,
        }
    }

    /// Adds the next zone. The zones must be added in ascending order.
    ///
    /// The block layer uses the reported write pointer for its own state. Fails if the report has
    /// the requested number of zones, if the requester refuses more zones, or if the write pointer
    /// is not within the zone.
    #[inline]
    pub(crate) fn push(&mut self, zone: &ReportedZone) -> Result {
        // The block layer would track the zone that contains the write pointer, not this one.
        let misplaced = |wp: u64| wp.wrapping_sub(zone.start) > zone.len;
        if self.reported >= self.wanted || zone.wp.is_some_and(misplaced) {
            return Err(EINVAL);
        }
        self.zone.start = zone.start;
        self.zone.len = zone.len;
        self.zone.capacity = zone.capacity;
        // The block layer itself reports this value for an invalid write pointer.
        self.zone.wp = zone.wp.unwrap_or(u64::MAX);
        self.zone.type_ = zone.zone_type as u8;
        self.zone.cond = zone.condition as u8;
        // SAFETY: By the safety requirements of `from_raw`, `disk` and `args` belong to a call in
        // progress. `zone` is valid for the call.
        to_result(unsafe {
            bindings::disk_report_zone(self.disk, &mut self.zone, self.reported, self.args)
        })?;
        self.reported = self.reported.saturating_add(1);
        Ok(())
    }

    /// Stores `condition`, read-only or offline, as the cached condition of the zone that begins at
    /// the sector `start`. So the reports that the block layer makes from its cache show it. It
    /// stays until the next revalidation.
    ///
    /// The block layer caches these conditions itself at a revalidation. But it loses the condition
    /// when a write to the zone fails: the next report has no write pointer, so the block layer
    /// takes the zone for full.
    #[cold]
    pub(crate) fn cache_condition(&self, start: u64, condition: ZoneCondition) {
        // SAFETY: By the safety requirements of `from_raw` the disk is valid.
        let zone_sectors = unsafe { (*(*self.disk).queue).limits.chunk_sectors };
        let number = start.checked_div(u64::from(zone_sectors));
        let guard = rcu::Guard::new();
        // SAFETY: By the safety requirements of `from_raw` the disk is valid.
        let conditions = unsafe { conditions(self.disk, &guard) };
        if let Some(cached) = number
            .and_then(|number| usize::try_from(number).ok())
            .and_then(|number| conditions.get(number))
        {
            cached.store(condition as u8);
        }
    }

    /// The number of zones added.
    pub(crate) fn reported(&self) -> u32 {
        self.reported
    }
}
