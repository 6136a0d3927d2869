// SPDX-License-Identifier: GPL-2.0

//! Zoned block devices.
//!
//! C headers: [`include/uapi/linux/blkzoned.h`](srctree/include/uapi/linux/blkzoned.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// How a zone may be written: `enum blk_zone_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneType {
    /// Anywhere.
    Conventional,
    /// At the write pointer only.
    SequentialWriteRequired,
}

/// The condition of a zone: `enum blk_zone_cond`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneCondition {
    /// The zone has no write pointer.
    NotWritePointer,
    /// Nothing is written.
    Empty,
    /// Opened by a write.
    ImplicitOpen,
    /// Opened by a command.
    ExplicitOpen,
    /// Partly written, not open.
    Closed,
    /// It can't be written.
    ReadOnly,
    /// Nothing more can be written.
    Full,
    /// It can't be used.
    Offline,
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

impl From<ReportedZone> for bindings::blk_zone {
    fn from(zone: ReportedZone) -> Self {
        let zone_type = match zone.zone_type {
            ZoneType::Conventional => bindings::blk_zone_type_BLK_ZONE_TYPE_CONVENTIONAL,
            ZoneType::SequentialWriteRequired => bindings::blk_zone_type_BLK_ZONE_TYPE_SEQWRITE_REQ,
        };
        let condition = match zone.condition {
            ZoneCondition::NotWritePointer => bindings::blk_zone_cond_BLK_ZONE_COND_NOT_WP,
            ZoneCondition::Empty => bindings::blk_zone_cond_BLK_ZONE_COND_EMPTY,
            ZoneCondition::ImplicitOpen => bindings::blk_zone_cond_BLK_ZONE_COND_IMP_OPEN,
            ZoneCondition::ExplicitOpen => bindings::blk_zone_cond_BLK_ZONE_COND_EXP_OPEN,
            ZoneCondition::Closed => bindings::blk_zone_cond_BLK_ZONE_COND_CLOSED,
            ZoneCondition::ReadOnly => bindings::blk_zone_cond_BLK_ZONE_COND_READONLY,
            ZoneCondition::Full => bindings::blk_zone_cond_BLK_ZONE_COND_FULL,
            ZoneCondition::Offline => bindings::blk_zone_cond_BLK_ZONE_COND_OFFLINE,
        };
        Self {
            start: zone.start,
            len: zone.len,
            capacity: zone.capacity,
            // What the block layer itself reports where a write pointer means nothing.
            wp: zone.wp.unwrap_or(u64::MAX),
            // CAST: Both enumerations fit a byte, by the layout of `struct blk_zone`.
            type_: zone_type as u8,
            cond: condition as u8,
            ..pin_init::zeroed()
        }
    }
}

/// A report of zones that is being made: the block layer's `disk_report_zone()`.
pub(crate) struct ZoneReport<'a> {
    disk: *mut bindings::gendisk,
    args: *mut bindings::blk_report_zones_args,
    reported: u32,
    _call: core::marker::PhantomData<&'a mut ()>,
}

impl ZoneReport<'_> {
    /// Begins a report.
    ///
    /// # Safety
    ///
    /// `disk` and `args` must be the arguments of a call of the `report_zones` operation that lasts
    /// for the lifetime of the result.
    pub(super) unsafe fn from_raw(
        disk: *mut bindings::gendisk,
        args: *mut bindings::blk_report_zones_args,
    ) -> Self {
        Self {
            disk,
            args,
            reported: 0,
            _call: core::marker::PhantomData,
        }
    }

    /// Adds the next zone; zones are added in their order.
    ///
    /// The block layer takes over the write pointer that is reported. Fails if the one who asked
    /// for the report wants no more of it.
    pub(crate) fn push(&mut self, zone: ReportedZone) -> Result {
        let mut zone = bindings::blk_zone::from(zone);
        // SAFETY: `disk` and `args` are those of a call that goes on, by the safety requirements of
        // `from_raw`, and `zone` is valid for the call.
        to_result(unsafe {
            bindings::disk_report_zone(self.disk, &mut zone, self.reported, self.args)
        })?;
        self.reported = self.reported.saturating_add(1);
        Ok(())
    }

    /// The number of zones added.
    pub(crate) fn reported(&self) -> u32 {
        self.reported
    }
}
