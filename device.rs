// SPDX-License-Identifier: GPL-2.0

//! A device. `zloop.rs` describes the files of the folder.

pub(crate) mod at_once;
pub(crate) mod block_set;
pub(crate) mod counters;
pub(crate) mod debugfs;
pub(crate) mod declare;
pub(crate) mod discard;
mod flush;
pub(crate) mod inject;
pub(crate) mod io;
pub(crate) mod lanes;
pub(crate) mod plug_depth;
pub(crate) mod preallocation;
pub(crate) mod queue_rq;
mod report;
pub(crate) mod reset_all;
pub(crate) mod sequential;
pub(crate) mod shared;
pub(crate) mod sharing;
pub(crate) mod teardown;
mod time_stamps;
pub(crate) mod undo_log;
pub(crate) mod zone_queue;
pub(crate) mod zone_table;

use crate::{
    backing::{
        directory::OpenedDirectory,
        DeviceDirectory, //
    },
    cmd_err,
    device::{
        declare::Recorded,
        flush::FlushWork,
        lanes::Lanes,
        queue_rq::ZloopQueue,
        shared::DeviceShared,
        zone_table::{
            ZoneRef,
            Zones, //
        },
    },
    options::{
        AddOptions,
        DeviceOptions, //
    },
};

use core::num::NonZeroU32;

use crate::kernel_ext::{
    block::zoned_mq::{
        Disk,
        Fua,
        QueueLimits,
        TagSet,
        UnaddedDisk, //
    },
    fmt::CoreDisplay,
    fs::{
        FileExt,
        IoAlignment, //
    },
    workqueue::{
        OwnedQueue,
        WorkqueueCall, //
    },
};

use kernel::{
    block::{
        SECTOR_SHIFT,
        SECTOR_SIZE, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

/// The largest request in sectors, and the largest zone append: 1 MiB.
pub(crate) const MAX_HW_SECTORS: u32 = (1 << 20) >> SECTOR_SHIFT;

/// The largest number of segments of a request: the number of pages of the largest one.
///
/// An append can't be split. The NVMe target, for instance, builds appends of pages and checks
/// their size only.
const MAX_SEGMENTS: u16 = 256;

/// The largest discard or write zeroes in sectors: 2 GiB, so that the number of bytes fits in u32.
const MAX_ZEROING_SECTORS: u32 = (2 << 30) >> SECTOR_SHIFT;

/// A device.
#[pin_data]
pub(crate) struct Device {
    shared: Arc<DeviceShared>,
    #[pin]
    zones: Zones,
    /// Whether the file system can punch holes.
    has_holes: bool,
    /// Held during a flush. A second flush finds no dirty zones, because the first one took them.
    /// So it must wait until the first one has ended.
    #[pin]
    flushing: Mutex<FlushWork>,
    /// Other CPUs carry out a part of a deep queue here.
    lanes: Lanes,
    /// Closes the device.
    #[pin]
    closer: Mutex<WorkqueueCall>,
    /// Held while zones are declared failed or good and the record is written.
    #[pin]
    pub(crate) declaring: Mutex<Recorded>,
}

impl Device {
    /// Finds or makes the zone files, and adds the disk; may sleep.
    ///
    /// `prepare` gets the device just before the disk becomes visible, and may fail. Its result is
    /// returned.
    pub(crate) fn add<T>(
        options: &AddOptions<'_>,
        opened: OpenedDirectory,
        prepare: impl FnOnce(&Arc<Self>) -> Result<T>,
    ) -> Result<(Disk<ZloopQueue>, Arc<Self>, T)> {
        let id = opened.id();
        let (device, directory) = Self::new(options, opened)?;
        let disk = device.new_disk().inspect_err(|err| {
            cmd_err!(id, "can't make the disk: {err:?}");
        })?;
        disk.revalidate_zones().inspect_err(|err| {
            cmd_err!(id, "the block layer does not take the zones: {err:?}");
        })?;
        let prepared = prepare(&device)?;
        // The record is written before the disk is visible: a disk in use could not be removed
        // again if the record failed. After it only a lack of memory can fail.
        directory.complete()?;
        let disk = disk.add().inspect_err(|err| {
            cmd_err!(id, "can't add the disk: {err:?}");
        })?;
        Ok((disk, device, prepared))
    }

    fn new(
        options: &AddOptions<'_>,
        opened: OpenedDirectory,
    ) -> Result<(Arc<Self>, DeviceDirectory)> {
        let id = opened.id();
        let mut directory = DeviceDirectory::new(opened, options)?;
        let first = directory.first_file()?;
        let options = directory.options();
        let files = first.alignment().inspect_err(|err| {
            cmd_err!(
                id,
                "can't find out the block size of the zone files: {err:?}"
            );
        })?;
        let alignment = choose_block_size(options, files, id)?;
        options
            .geometry
            .check_block_size(alignment.block_size)
            .map_err(|refused| {
                cmd_err!(id, "{}", CoreDisplay(refused));
                EINVAL
            })?;

        let has_holes = first.has_holes();
        drop(first);
        if options.tunables.volatile_cache {
            directory.check_unnamed()?;
        }
        let shared = DeviceShared::new(id, alignment, &directory)?;
        let zones = Zones::new(shared.clone(), |number| {
            directory.zone(number, alignment.block_size)
        })?;
        let helpers = FlushWork::new()?;
        let closer = WorkqueueCall::new()?;
        let lanes = Lanes::new()?;
        let device = Arc::pin_init(
            pin_init!(Self {
                shared,
                zones <- zones,
                has_holes,
                lanes,
                flushing <- new_mutex!(helpers, "zloop_flushing"),
                closer <- new_mutex!(closer, "zloop_closer"),
                declaring <- new_mutex!(Recorded::Yes, "zloop_declaring"),
            }),
            GFP_KERNEL,
        )?;
        device.restore_declared()?;
        Ok((device, directory))
    }

    fn new_disk(self: &Arc<Self>) -> Result<UnaddedDisk<ZloopQueue>> {
        let options = self.shared.options();
        let DeviceOptions { geometry, tunables } = options;
        let nr_queues = NonZeroU32::new(tunables.nr_queues).ok_or(EINVAL)?;
        let queue_depth = NonZeroU32::new(tunables.queue_depth).ok_or(EINVAL)?;
        let id = self.shared.id();
        let zone_sectors = u32::try_from(geometry.zone_sectors())?;
        let zeroing_sectors = match self.has_holes {
            true => zone_sectors.min(MAX_ZEROING_SECTORS),
            false => 0,
        };
        let limits = QueueLimits {
            block_size: self.shared.block_size(),
            max_hw_sectors: MAX_HW_SECTORS,
            max_segments: MAX_SEGMENTS,
            zone_sectors,
            max_zone_append_sectors: match tunables.zone_append {
                false => 0,
                // A zone's queue keeps the order of appends, with and without
                // `ordered_zone_append`.
                true => MAX_HW_SECTORS,
            },
            dma_alignment: self.shared.alignment().memory_mask.max(SECTOR_SIZE - 1),
            is_rotational: tunables.rotational,
            max_open_zones: tunables.max_open_zones,
            max_active_zones: tunables.max_active_zones,
            fua: match (tunables.buffered_io, tunables.volatile_cache) {
                (false, false) => Fua::Native,
                // Only a flush discards old data.
                (_, true) => Fua::Emulated,
                // The sync of a FUA write could get the writeback error of another write, which a
                // flush must report.
                (true, _) => Fua::Emulated,
            },
            max_discard_sectors: match geometry.nr_conv_zones() {
                0 => 0,
                _ => zeroing_sectors,
            },
            max_write_zeroes_sectors: zeroing_sectors,
        };
        let work_queue = match tunables.buffered_io {
            false => OwnedQueue::new_reclaim(fmt!("zloop{id}"))?,
            // On ENOSPC, XFS writes back its whole page cache, and waits for a workqueue that may
            // need memory.
            true => OwnedQueue::new(fmt!("zloop{id}"))?,
        };
        UnaddedDisk::new(
            fmt!("zloop{id}"),
            TagSet::new(nr_queues, queue_depth)?,
            &limits,
            geometry.capacity_sectors(),
            work_queue,
            self.clone(),
        )
    }

    pub(crate) fn shared(&self) -> &Arc<DeviceShared> {
        &self.shared
    }

    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The zone of a sector of the device, if the zone is in use.
    pub(crate) fn zone_at(&self, sector: u64) -> Option<ZoneRef<'_>> {
        self.zones.get(self.shared.geometry().zone_of(sector)?)
    }
}

/// The alignment of I/O to the device, given the alignment of I/O to the zone `files`.
fn choose_block_size(options: &DeviceOptions, files: IoAlignment, id: u32) -> Result<IoAlignment> {
    let chosen = options.tunables.block_size;
    if chosen == 0 {
        return Ok(files);
    }
    let smallest = files.direct_block_size;
    if !options.tunables.buffered_io && chosen < smallest {
        cmd_err!(
            id,
            "block_size={chosen}: must be at least {smallest}, the unit of direct I/O to the zone \
             files, unless with buffered_io"
        );
        return Err(EINVAL);
    }
    Ok(IoAlignment {
        block_size: chosen,
        ..files
    })
}
