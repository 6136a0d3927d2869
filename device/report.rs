// SPDX-License-Identifier: GPL-2.0

//! Zone reports.
//!
//! A report waits for no I/O but the repair of a zone that needs one: see
//! [`SequentialZone::snapshot`](super::sequential::SequentialZone::snapshot). The report of a
//! zone that is not in use follows from the length of its file when the device was added.

use crate::{
    device::{
        sequential::Snapshot,
        zone_table::{
            SequentialEntry,
            ZoneRun, //
        },
        Device, //
    },
    zone::{
        Condition,
        Failure, //
    },
};

use crate::kernel_ext::{
    block::zoned::{
        ReportedZone,
        ZoneCondition,
        ZoneReport,
        ZoneType, //
    },
    workqueue::ImmediateQueue, //
};

use kernel::prelude::*;

impl Device {
    /// Reports up to `nr` zones from the one that contains `sector` of the device; may sleep.
    /// `queue` is the disk's.
    ///
    /// # Errors
    ///
    /// That of the receiver of the report.
    pub(super) fn report_zones(
        &self,
        queue: &ImmediateQueue,
        sector: u64,
        nr: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result {
        let geometry = self.shared.geometry();
        let Some(first) = geometry.zone_of(sector) else {
            return Ok(());
        };
        let end = first.saturating_add(nr).min(geometry.nr_zones());
        for row in self.zones.runs(first..end) {
            let (numbers, entries) = match row {
                ZoneRun::Conventional(numbers) => {
                    for number in numbers {
                        report.push(&self.reported_conventional(number))?;
                    }
                    continue;
                }
                ZoneRun::Sequential(numbers, entries) => (numbers, entries),
            };
            for (number, entry) in numbers.zip(entries) {
                let zone = self.reported_sequential(number, entry, queue);
                report.push(&zone)?;
                if let (true, Some(zone_in_use)) = (zone.condition.is_failed(), entry.in_use()) {
                    // `zone_good` first clears the declared condition, then this cached one.
                    zone_in_use.while_declared(|failure| {
                        let condition = match failure {
                            Failure::ReadOnly => ZoneCondition::ReadOnly,
                            Failure::Offline => ZoneCondition::Offline,
                        };
                        report.cache_condition(zone.start, condition);
                    });
                }
            }
        }
        Ok(())
    }

    /// The report of a conventional zone.
    fn reported_conventional(&self, number: u32) -> ReportedZone {
        let geometry = self.shared.geometry();
        let len = geometry.zone_len(number);
        ReportedZone {
            start: geometry.zone_start(number),
            len,
            capacity: len,
            wp: None,
            zone_type: ZoneType::Conventional,
            condition: ZoneCondition::NotWritePointer,
        }
    }

    /// The report of a sequential zone; may sleep.
    fn reported_sequential(
        &self,
        number: u32,
        entry: &SequentialEntry,
        queue: &ImmediateQueue,
    ) -> ReportedZone {
        let geometry = self.shared.geometry();
        let start = geometry.zone_start(number);
        let len = geometry.zone_len(number);
        let capacity = geometry.seq_zone_capacity(len);
        let snapshot = match entry.in_use() {
            Some(zone) => zone.snapshot(queue),
            None => Snapshot {
                condition: Condition::found(entry.found(), capacity),
                write_pointer: entry.found(),
            },
        };
        let (condition, has_wp) = match snapshot.condition {
            Condition::Empty => (ZoneCondition::Empty, true),
            Condition::ImplicitOpen => (ZoneCondition::ImplicitOpen, true),
            Condition::ExplicitOpen => (ZoneCondition::ExplicitOpen, true),
            Condition::Closed => (ZoneCondition::Closed, true),
            Condition::Full => (ZoneCondition::Full, false),
            Condition::ReadOnly => (ZoneCondition::ReadOnly, false),
            Condition::Offline => (ZoneCondition::Offline, false),
        };
        ReportedZone {
            start,
            len,
            capacity,
            // OVERFLOW: The write pointer is within the zone, and the zone within the device.
            wp: has_wp.then_some(start + snapshot.write_pointer),
            zone_type: ZoneType::SequentialWriteRequired,
            condition,
        }
    }
}
