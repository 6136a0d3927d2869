// SPDX-License-Identifier: GPL-2.0

//! A device: zones, and what the block layer asks of them.

pub(crate) mod block_set;
pub(crate) mod conditions;
pub(crate) mod counters;
pub(crate) mod debugfs;
pub(crate) mod discard;
pub(crate) mod inject;
pub(crate) mod io;
pub(crate) mod lanes;
pub(crate) mod plug_depth;
pub(crate) mod preallocation;
pub(crate) mod reset_all;
pub(crate) mod sequential;
pub(crate) mod shared;
pub(crate) mod sharing;
pub(crate) mod undo_log;
pub(crate) mod zone_queue;
pub(crate) mod zone_table;

use crate::{
    backing::directory::OpenedDirectory,
    backing::DeviceDirectory,
    device::conditions::Recorded,
    device::io::{
        file_io_done,
        file_io_not_now,
        transfer_now,
        CommandData, //
    },
    device::lanes::Lanes,
    device::sequential::Snapshot,
    device::shared::Common,
    device::zone_table::{
        Entry,
        Row,
        SequentialEntry,
        Zone,
        Zones, //
    },
    fault::power_loss::Loss,
    fault::Arrival,
    kernel_ext::{
        block::{
            mq::{
                Command,
                Direction,
                Disk,
                FileIoOperations,
                Fua,
                IdleRequest,
                Operations,
                QueueLimits,
                Request,
                RequestList,
                Submission,
                TagSet,
                UnaddedDisk, //
            },
            zoned::{
                ReportedZone,
                ZoneCondition,
                ZoneReport,
                ZoneType, //
            },
            Status,
        },
        fmt::Shown,
        fs::{
            FileExt,
            IoAlignment, //
        },
        task::BlockIoScope,
        workqueue::{
            Deputy,
            Helpers,
            OwnedQueue,
            Queue, //
        },
    },
    options::{
        AddOptions,
        DeviceOptions, //
    },
    refuse, report,
    zone::{
        Condition,
        Failure, //
    },
};

use core::num::NonZeroU32;
use kernel::{
    block::{
        SECTOR_SHIFT,
        SECTOR_SIZE, //
    },
    error::to_result,
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
};

/// The largest request in sectors, and the largest zone append: 1 MiB.
pub(crate) const MAX_HW_SECTORS: u32 = (1 << 20) >> SECTOR_SHIFT;

/// In how many pieces the data of a request may be: in as many as the largest one has pages.
///
/// An append can't be split. Whoever makes them of pages, as the NVMe target does, looks at their
/// size and not at how many there are.
const MAX_SEGMENTS: u16 = 256;

/// The largest discard or write zeroes in sectors, 2 GiB: no number of bytes overflows.
const MAX_ZEROING_SECTORS: u32 = (2 << 30) >> SECTOR_SHIFT;

/// So many tasks flush at most. Each of them waits for the disk nearly all of the time, which does
/// once what several have asked for.
const MAX_FLUSHING: usize = 64;

/// How a device ends.
#[derive(Clone, Copy)]
pub(crate) enum Ending {
    /// It was removed.
    Removed,
    /// Its power has failed, which loses so much whatever a removal loses.
    PowerFailed(Loss),
}

/// A device.
#[pin_data]
pub(crate) struct Device {
    common: Arc<Common>,
    #[pin]
    zones: Zones,
    /// Whether parts of a file can be given back to the file system.
    has_holes: bool,
    /// Held during a flush. The next one must not end before it: it relies on its work.
    #[pin]
    flushing: Mutex<Helpers>,
    /// Where other CPUs help with a deep queue.
    lanes: Lanes,
    /// Closes the device.
    #[pin]
    closer: Mutex<Deputy>,
    /// Held while zones are declared failed or good and that is recorded.
    #[pin]
    pub(crate) declaring: Mutex<Recorded>,
}

impl Device {
    /// Finds or makes the zone files, and shows the disk to user space.
    ///
    /// `prepare` is given the device when all is well but before anybody can see the disk, so that
    /// it may still fail; what it returns is returned.
    pub(crate) fn add<T>(
        options: &AddOptions<'_>,
        opened: OpenedDirectory,
        prepare: impl FnOnce(&Arc<Self>) -> Result<T>,
    ) -> Result<(Disk<Zloop>, Arc<Self>, T)> {
        let id = opened.id();
        let (device, directory) = Self::new(options, opened)?;
        let disk = device.new_disk().inspect_err(|err| {
            refuse!(id, "can't make the disk: {err:?}");
        })?;
        disk.revalidate_zones().inspect_err(|err| {
            refuse!(id, "the block layer does not take the zones: {err:?}");
        })?;
        let prepared = prepare(&device)?;
        // The record must be there before the disk: whoever saw that might use it, and it could not
        // be taken back if there is no room for a record. Nothing but a lack of memory can fail
        // after it.
        directory.complete()?;
        let disk = disk.add().inspect_err(|err| {
            refuse!(id, "can't add the disk: {err:?}");
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
            refuse!(
                id,
                "can't find out the block size of the zone files: {err:?}"
            );
        })?;
        let alignment = choose_block_size(options, files, id)?;
        options
            .geometry
            .check_block_size(alignment.block_size)
            .map_err(|refused| {
                refuse!(id, "{}", Shown(refused));
                EINVAL
            })?;

        let has_holes = first.has_holes();
        drop(first);
        if options.tunables.volatile_cache {
            directory.check_unnamed()?;
        }
        let common = Common::new(id, alignment, &directory)?;
        let zones = Zones::new(common.clone(), |number| {
            directory.zone(number, alignment.block_size)
        })?;
        let helpers = Helpers::new()?;
        let closer = Deputy::new()?;
        let lanes = Lanes::new()?;
        let device = Arc::pin_init(
            pin_init!(Self {
                common,
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

    fn new_disk(self: &Arc<Self>) -> Result<UnaddedDisk<Zloop>> {
        let options = self.common.options();
        let DeviceOptions { geometry, tunables } = options;
        let nr_queues = NonZeroU32::new(tunables.nr_queues).ok_or(EINVAL)?;
        let queue_depth = NonZeroU32::new(tunables.queue_depth).ok_or(EINVAL)?;
        let id = self.common.id();
        let zone_sectors = u32::try_from(geometry.zone_sectors())?;
        let zeroing_sectors = match self.has_holes {
            true => zone_sectors.min(MAX_ZEROING_SECTORS),
            false => 0,
        };
        let limits = QueueLimits {
            block_size: self.common.block_size(),
            max_hw_sectors: MAX_HW_SECTORS,
            max_segments: MAX_SEGMENTS,
            zone_sectors,
            max_zone_append_sectors: match tunables.zone_append {
                false => 0,
                // A zone's queue keeps the order in which appends were queued, with and without
                // `ordered_zone_append`.
                true => MAX_HW_SECTORS,
            },
            dma_alignment: self.common.alignment().memory_mask.max(SECTOR_SIZE - 1),
            is_rotational: tunables.rotational,
            max_open_zones: tunables.max_open_zones,
            max_active_zones: tunables.max_active_zones,
            fua: match (tunables.buffered_io, tunables.volatile_cache) {
                (false, false) => Fua::Native,
                // A flush knows which old data is not needed any more.
                (_, true) => Fua::Emulated,
                // The sync of one write would be told that another one could not be written back,
                // and the flush that is to be told of that would not.
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
            // A write that finds no space has XFS write back all that is in its page cache, and
            // wait for a workqueue that may need memory. As the page cache does, for that matter.
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

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }

    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// The zone that a sector of the device is in, if something was done to it.
    pub(crate) fn zone_at(&self, sector: u64) -> Option<Zone<'_>> {
        self.zones.get(self.common.geometry().zone_of(sector)?)
    }

    /// Whether nothing is written in a zone from `sector` of the device on. Such a read gets zeros.
    pub(crate) fn reads_nothing(&self, zone: &Entry<'_>, sector: u64) -> bool {
        let written = match zone {
            Entry::Touched(Zone::Sequential(zone)) => zone.reads_end_at(),
            Entry::Found(written) => Some(*written),
            Entry::Touched(Zone::Conventional(_)) | Entry::FoundConventional => None,
        };
        written.is_some_and(|written| written <= self.common.geometry().offset_in_zone(sector))
    }

    /// Makes durable all that was acknowledged; may sleep.
    pub(crate) fn flush(&self) -> Result {
        let mut flushing = self.flushing.lock();
        let errno = Atomic::new(0);
        pin_init::stack_pin_init!(let dirty = new_spinlock!(self.common.dirty().take_all()));
        let flush_next = || {
            let next = dirty.lock().next();
            if let Some(Err(err)) = next.map(|number| self.flush_zone(number)) {
                errno.store(err.to_errno(), Relaxed);
            }
            next.is_some()
        };
        // Mostly there is only one zone, and nobody need be called.
        let nr_helpers = self.common.dirty().count(MAX_FLUSHING).saturating_sub(1);
        flushing.call(nr_helpers, &|| {
            let _scope = BlockIoScope::enter();
            while flush_next() {}
        });
        self.common.files().sync().inspect_err(|err| {
            report!(self.common, "the directory can't be flushed: {err:?}");
        })?;
        to_result(errno.load(Relaxed))
    }

    /// Makes durable what was written to a zone. If that fails the next flush tries it again.
    fn flush_zone(&self, number: u32) -> Result {
        let result = match self.zones.get(number) {
            Some(Zone::Sequential(zone)) => zone.flush(),
            Some(Zone::Conventional(zone)) => zone.flush(),
            None => Ok(()),
        };
        result.inspect_err(|err| {
            self.common.dirty().mark(number);
            report!(self.common, "zone {number}: can't be flushed: {err:?}");
        })
    }

    /// Loses what the end of the device takes, makes all durable that is to stay, and closes the
    /// files, after the disk was removed; may sleep.
    ///
    /// The device that is made of these files next takes them for durable, and a flush of it syncs
    /// only what it has changed itself.
    ///
    /// It is not the current task that does so. That may have been killed, and can't write to a
    /// page cache then, nor wait for everything.
    ///
    /// # Errors
    ///
    /// The first one; each failure has its message. The device is closed all the same.
    pub(crate) fn close(&self, ending: Ending) -> Result {
        let errno = Atomic::new(0);
        self.closer.lock().call(&|| {
            if let Err(err) = self.close_now(ending) {
                errno.store(err.to_errno(), Relaxed);
            }
        });
        to_result(errno.load(Relaxed))
    }

    fn close_now(&self, ending: Ending) -> Result {
        let discards = self.common.options().tunables.discard_write_cache;
        let lost = match (ending, discards) {
            (Ending::PowerFailed(loss), _) => self.discard_unflushed(loss),
            (Ending::Removed, true) => self.discard_unflushed(Loss::All),
            (Ending::Removed, false) => Ok(()),
        };
        let recorded = self.record_again().inspect_err(|err| {
            report!(
                self.common,
                "what is declared of the zones can't be recorded: {err:?}"
            );
        });
        let flushed = self.flush();
        for (_, zone) in self.zones.touched() {
            if let Zone::Sequential(zone) = zone {
                // What can't be given back does no harm.
                let _ = zone.trim();
            }
            zone.close();
        }
        self.common.files().close();
        lost.and(flushed).and(recorded)
    }

    /// Discards the data that was not flushed, or a part of it; may sleep.
    ///
    /// # Errors
    ///
    /// The last one: all zones are tried, and each failure has its message.
    fn discard_unflushed(&self, loss: Loss) -> Result {
        let mut result = Ok(());
        for (number, zone) in self.zones.touched() {
            let lost = match zone {
                Zone::Conventional(zone) => zone.discard_unflushed(loss),
                Zone::Sequential(zone) => zone.discard_unflushed(loss),
            };
            if let Err(err) = lost {
                report!(
                    self.common,
                    "zone {number}: can't lose what was not flushed: {err:?}"
                );
                result = Err(err);
            }
        }
        result
    }

    /// What a report shows of a conventional zone.
    fn reported_conventional(&self, number: u32) -> ReportedZone {
        let geometry = self.common.geometry();
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

    /// What a report shows of a sequential zone; may sleep.
    fn reported_sequential(
        &self,
        number: u32,
        entry: &SequentialEntry,
        queue: &Queue,
    ) -> ReportedZone {
        let geometry = self.common.geometry();
        let start = geometry.zone_start(number);
        let len = geometry.zone_len(number);
        let capacity = geometry.seq_zone_capacity(len);
        let snapshot = match entry.touched() {
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

/// How I/O to the device must be aligned, given how I/O to the zone files should be.
fn choose_block_size(options: &DeviceOptions, files: IoAlignment, id: u32) -> Result<IoAlignment> {
    let chosen = options.tunables.block_size;
    if chosen == 0 {
        return Ok(files);
    }
    let smallest = files.direct_block_size;
    if !options.tunables.buffered_io && chosen < smallest {
        refuse!(
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

/// Starts a request, which meets the faults if they are `armed`. [`None`] if it gets lost.
///
/// # Errors
///
/// The request, if it is to be queued again.
fn start(
    device: ArcBorrow<'_, Device>,
    request: IdleRequest<Zloop>,
    armed: bool,
) -> Result<Option<Request<Zloop>>, IdleRequest<Zloop>> {
    let arrival = match armed {
        true => device.common.faults().arrive(),
        false => Arrival::Normal,
    };
    if arrival == Arrival::Requeued {
        return Err(request);
    }
    let request = request.start();
    if arrival == Arrival::Lost {
        request.lose();
        return Ok(None);
    }
    request.data().arrive(armed);
    Ok(Some(request))
}

/// The block device driver.
pub(crate) struct Zloop;

#[vtable]
impl Operations for Zloop {
    type QueueData = Arc<Device>;
    type RequestData = CommandData;

    fn new_request_data() -> impl PinInit<CommandData> {
        CommandData::new()
    }

    fn queue_rq(
        device: ArcBorrow<'_, Device>,
        submission: &Submission<'_>,
        request: IdleRequest<Self>,
    ) -> Result<(), IdleRequest<Self>> {
        let Some(command) = request.command() else {
            request.start().end(Status::NOTSUPP);
            return Ok(());
        };
        // This is decided here, once: the request carries it.
        let armed = device.common.faults().is_armed();
        // Requests are counted when they arrive. One that was not taken would be counted again.
        if armed && submission.is_batch() {
            return Err(request);
        }
        if matches!(
            command,
            Command::Flush | Command::ZoneResetAll | Command::Discard
        ) {
            if let Some(request) = start(device, request, armed)? {
                RequestList::from(request).enqueue();
            }
            return Ok(());
        }
        let found = device.common.geometry().zone_of(request.sector());
        let found = found.and_then(|number| Some((number, device.zones.entry(number)?)));
        let Some((number, entry)) = found else {
            request.start().end(Status::IOERR);
            return Ok(());
        };
        if command == Command::Read && !armed && device.reads_nothing(&entry, request.sector()) {
            let request = request.start();
            request.end_read(0);
            return Ok(());
        }
        // What a zone needs is there from its first use on. If there is no memory for it now, the
        // request comes again.
        let zone = match entry {
            Entry::Touched(zone) => zone,
            Entry::Found(_) | Entry::FoundConventional => {
                match device.zones.touch(number, GFP_NOWAIT) {
                    Ok(zone) => zone,
                    Err(_) => return Err(request),
                }
            }
        };
        let Some(request) = start(device, request, armed)? else {
            return Ok(());
        };
        match (command, zone) {
            (Command::Read, Zone::Sequential(zone)) if zone.is_declared_offline() => {
                zone.refuse_read(request);
            }
            (Command::Read, zone) => {
                transfer_now(submission, &device.lanes, &zone, request, Direction::Read)
            }
            (Command::Write, zone @ Zone::Conventional(_)) => {
                transfer_now(submission, &device.lanes, &zone, request, Direction::Write);
            }
            (Command::WriteZeroes, Zone::Conventional(_)) => {
                RequestList::from(request).enqueue();
            }
            // An append to a conventional zone gets here: the block layer does not look at that.
            (_, Zone::Conventional(_)) => request.end(Status::IOERR),
            (Command::Write, Zone::Sequential(zone)) if !armed => {
                zone.write_now(submission, request);
            }
            // Where there is an append there are more, as their order does not matter. Those that
            // wait for the worker are written together.
            (_, Zone::Sequential(zone)) => zone.post(request),
        }
        Ok(())
    }

    fn request_ends(device: ArcBorrow<'_, Device>, command: Option<Command>, status: Status) {
        if let Some(command) = command {
            device.common.counters().request_ended(command, status);
        }
    }

    fn report_zones(
        device: ArcBorrow<'_, Device>,
        queue: &Queue,
        sector: u64,
        nr: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result {
        let geometry = device.common.geometry();
        let Some(first) = geometry.zone_of(sector) else {
            return Ok(());
        };
        let end = first.saturating_add(nr).min(geometry.nr_zones());
        for row in device.zones.rows(first..end) {
            let (numbers, entries) = match row {
                Row::Conventional(numbers) => {
                    for number in numbers {
                        report.push(&device.reported_conventional(number))?;
                    }
                    continue;
                }
                Row::Sequential(numbers, entries) => (numbers, entries),
            };
            for (number, entry) in numbers.zip(entries) {
                let zone = device.reported_sequential(number, entry, queue);
                report.push(&zone)?;
                if let (true, Some(touched)) = (zone.condition.is_failed(), entry.touched()) {
                    // It is declared good before the block layer is told to forget this.
                    touched.while_declared(|failure| {
                        let condition = match failure {
                            Failure::ReadOnly => ZoneCondition::ReadOnly,
                            Failure::Offline => ZoneCondition::Offline,
                        };
                        report.latch(zone.start, condition);
                    });
                }
            }
        }
        Ok(())
    }
}

impl FileIoOperations for Zloop {
    fn file_io_done(requests: RequestList<Self>, result: Result<u32>) {
        file_io_done(requests, result);
    }

    fn file_io_not_now(requests: RequestList<Self>) {
        file_io_not_now(requests);
    }
}
