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

// CAST: Below, and in all of this file: both enumerations fit a byte, by the layout of `struct
// blk_zone`.

/// How a zone may be written: `enum blk_zone_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ZoneType {
    /// Anywhere.
    Conventional = bindings::blk_zone_type_BLK_ZONE_TYPE_CONVENTIONAL as u8,
    /// At the write pointer only.
    SequentialWriteRequired = bindings::blk_zone_type_BLK_ZONE_TYPE_SEQWRITE_REQ as u8,
}

/// The condition of a zone: `enum blk_zone_cond`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ZoneCondition {
    /// The zone has no write pointer.
    NotWritePointer = bindings::blk_zone_cond_BLK_ZONE_COND_NOT_WP as u8,
    /// Nothing is written.
    Empty = bindings::blk_zone_cond_BLK_ZONE_COND_EMPTY as u8,
    /// Opened by a write.
    ImplicitOpen = bindings::blk_zone_cond_BLK_ZONE_COND_IMP_OPEN as u8,
    /// Opened by a command.
    ExplicitOpen = bindings::blk_zone_cond_BLK_ZONE_COND_EXP_OPEN as u8,
    /// Partly written, not open.
    Closed = bindings::blk_zone_cond_BLK_ZONE_COND_CLOSED as u8,
    /// It can't be written.
    ReadOnly = bindings::blk_zone_cond_BLK_ZONE_COND_READONLY as u8,
    /// Nothing more can be written.
    Full = bindings::blk_zone_cond_BLK_ZONE_COND_FULL as u8,
    /// It can't be used.
    Offline = bindings::blk_zone_cond_BLK_ZONE_COND_OFFLINE as u8,
}

impl ZoneCondition {
    /// Whether a zone in this condition has failed and can't be written any more.
    pub(crate) fn is_failed(self) -> bool {
        matches!(self, Self::ReadOnly | Self::Offline)
    }
}

/// A zone as a report shows it: `struct blk_zone`. All numbers are sectors of 512 bytes, `start`
/// and `wp` from the start of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportedZone {
    /// The zone's first sector.
    pub(crate) start: u64,
    /// The distance to the next zone.
    pub(crate) len: u64,
    /// How much of that can be written.
    pub(crate) capacity: u64,
    /// The write pointer, where there is one that means something.
    pub(crate) wp: Option<u64>,
    /// How it may be written.
    pub(crate) zone_type: ZoneType,
    /// Its condition.
    pub(crate) condition: ZoneCondition,
}

/// What the block layer remembers of the condition of a zone: an `enum blk_zone_cond` in a byte.
// The kernel crate has no atomic `u8`.
#[repr(transparent)]
struct RememberedCondition(Atomic<i8>);

impl RememberedCondition {
    fn load(&self) -> u8 {
        // CAST: It is a byte.
        self.0.load(Relaxed) as u8
    }

    fn store(&self, condition: u8) {
        // CAST: As above.
        self.0.store(condition as i8, Relaxed);
    }
}

/// What the block layer remembers of the condition of each zone of a disk. It is empty before the
/// first revalidation.
///
/// # Safety
///
/// `disk` must be valid while the guard is.
unsafe fn conditions(disk: *mut bindings::gendisk, _guard: &rcu::Guard) -> &[RememberedCondition] {
    // SAFETY: By the safety requirement. The array may be replaced meanwhile.
    let (array, nr_zones) = unsafe {
        let array = (&raw const (*disk).zones_cond).read_volatile();
        (array, (*disk).nr_zones)
    };
    if array.is_null() {
        return &[];
    }
    // SAFETY: The array has a byte for each zone, which is the layout of the result's elements, and
    // is there as long as the guard. Whoever uses it meanwhile reads and writes single bytes, as it
    // is done with the result.
    unsafe { core::slice::from_raw_parts(array.cast(), nr_zones as usize) }
}

/// Has the block layer forget which zones are read-only or offline, before a revalidation.
///
/// That makes what it needs to follow a zone's write pointer, and takes over for it what is
/// remembered, although it is about to be replaced.
///
/// # Safety
///
/// `disk` must be valid.
pub(super) unsafe fn forget_failures(disk: *mut bindings::gendisk) {
    let guard = rcu::Guard::new();
    // SAFETY: By the safety requirement.
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

/// A report of zones that is being made: the block layer's `disk_report_zone()`.
pub(crate) struct ZoneReport<'a> {
    disk: *mut bindings::gendisk,
    args: *mut bindings::blk_report_zones_args,
    /// The zone that was added last.
    zone: bindings::blk_zone,
    reported: u32,
    /// How many zones were asked for.
    wanted: u32,
    _call: core::marker::PhantomData<&'a mut ()>,
}

impl ZoneReport<'_> {
    /// Begins a report.
    ///
    /// # Safety
    ///
    /// `disk`, `wanted` and `args` must be the arguments of a call of the `report_zones` operation
    /// that lasts for the lifetime of the result.
    pub(super) unsafe fn from_raw(
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

    /// Adds the next zone; zones are added in their order.
    ///
    /// The block layer takes over the write pointer that is reported. Fails if the one who asked
    /// for the report wants no more of it, or has room for no more, and if the write pointer is not
    /// in the zone.
    #[inline]
    pub(crate) fn push(&mut self, zone: &ReportedZone) -> Result {
        // The block layer would make a note of the zone that the write pointer is in.
        let misplaced = |wp: u64| wp.wrapping_sub(zone.start) > zone.len;
        if self.reported >= self.wanted || zone.wp.is_some_and(misplaced) {
            return Err(EINVAL);
        }
        self.zone.start = zone.start;
        self.zone.len = zone.len;
        self.zone.capacity = zone.capacity;
        // What the block layer itself reports where a write pointer means nothing.
        self.zone.wp = zone.wp.unwrap_or(u64::MAX);
        self.zone.type_ = zone.zone_type as u8;
        self.zone.cond = zone.condition as u8;
        // SAFETY: `disk` and `args` are those of a call that goes on, by the safety requirements of
        // `from_raw`, and `zone` is valid for the call.
        to_result(unsafe {
            bindings::disk_report_zone(self.disk, &mut self.zone, self.reported, self.args)
        })?;
        self.reported = self.reported.saturating_add(1);
        Ok(())
    }

    /// Has the block layer remember that a zone is read-only or offline, as `condition` says, until
    /// all zones are revalidated, so that reports that it makes itself show it. `start` is the
    /// zone's first sector.
    ///
    /// It does so at a revalidation, but forgets it if a write to the zone fails: when the next
    /// report brings no write pointer it takes the zone for full.
    #[cold]
    pub(crate) fn latch(&self, start: u64, condition: ZoneCondition) {
        // SAFETY: The disk is valid, by the safety requirements of `from_raw`.
        let zone_sectors = unsafe { (*(*self.disk).queue).limits.chunk_sectors };
        let number = start.checked_div(u64::from(zone_sectors));
        let guard = rcu::Guard::new();
        // SAFETY: As above.
        let conditions = unsafe { conditions(self.disk, &guard) };
        if let Some(remembered) = number
            .and_then(|number| usize::try_from(number).ok())
            .and_then(|number| conditions.get(number))
        {
            remembered.store(condition as u8);
        }
    }

    /// The number of zones added.
    pub(crate) fn reported(&self) -> u32 {
        self.reported
    }
}
