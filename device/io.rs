// SPDX-License-Identifier: GPL-2.0

//! One request, from the moment it is started to its end.
//!
//! `device/sequential.rs` carries out what changes a sequential zone. Most of the rest is here:
//! reads, writes to conventional zones, and flushes.
//!
//! Small reads, and small writes to conventional zones, are first tried by the task that queues
//! them: they mostly need no waiting, and a trip through a workqueue costs more than the rest. What
//! has to wait, or does not succeed, is done again by a work item, which may sleep and has nobody's
//! limits.

use crate::{
    device::discard,
    device::lanes::Lanes,
    device::reset_all::ResetAll,
    device::zone_table::Zone, //
    device::Zloop,
    fault::Kind,
    kernel_ext::{
        block::{
            mq::{
                Command,
                Direction,
                Request,
                RequestList,
                Submission, //
            },
            Status,
        },
        fs::FileExt,
        task::BlockIoScope, //
    },
    report,
    zone::queue::Outcome,
};
use kernel::{
    block::SECTOR_SHIFT,
    fs::File,
    impl_has_work, new_work,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        }, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// What belongs to a request for as long as its tag set lives.
#[pin_data]
pub(crate) struct CommandData {
    #[pin]
    work: Work<Self>,
    /// For a read of a sequential zone: what is below this, in sectors of the zone, must be there.
    expected: Atomic<u64>,
    /// For such a read that was repeated: how often the zone had been reset by then, and one more;
    /// 0 if it was not repeated.
    repeated: Atomic<u64>,
    /// The number of the CPU that has handed the request over to another one.
    cpu: Atomic<u32>,
    /// Whether the request has yet to meet the faults that were injected.
    meets_faults: AtomicFlag,
}

impl_has_work! {
    impl HasWork<Self> for CommandData { self.work }
}

impl CommandData {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            work <- new_work!("zloop_command"),
            expected: Atomic::new(0),
            repeated: Atomic::new(0),
            cpu: Atomic::new(0),
            meets_faults: AtomicFlag::new(false),
        })
    }

    /// Notes which CPU hands the request over to another one.
    pub(crate) fn set_cpu(&self, cpu: u32) {
        self.cpu.store(cpu, Relaxed);
    }

    /// Which CPU has handed the request over.
    pub(crate) fn cpu(&self) -> u32 {
        self.cpu.load(Relaxed)
    }

    /// Notes whether a request that has just arrived is to meet the faults that were injected. It
    /// does so once, however often it is tried.
    pub(crate) fn arrive(&self, meets_faults: bool) {
        self.meets_faults.store(meets_faults, Relaxed);
    }

    /// Whether the request has yet to meet the faults.
    pub(crate) fn meets_faults(&self) -> bool {
        self.meets_faults.load(Relaxed)
    }

    /// Whether the request has yet to meet the faults, and does so now.
    pub(crate) fn meet_faults(&self) -> bool {
        let meets_faults = self.meets_faults();
        if meets_faults {
            self.meets_faults.store(false, Relaxed);
        }
        meets_faults
    }

    /// Notes what a read of a sequential zone must find: all below `sector` of the zone.
    fn must_find(&self, sector: u64) {
        self.expected.store(sector, Relaxed);
        self.repeated.store(0, Relaxed);
    }

    /// Notes the same of a read that is repeated when the zone has been reset `resets` times.
    pub(crate) fn must_find_now(&self, sector: u64, resets: u64) {
        self.expected.store(sector, Relaxed);
        self.repeated.store(resets.wrapping_add(1), Relaxed);
    }

    /// Whether a read was repeated when the zone had been reset `resets` times.
    pub(crate) fn is_repeated(&self, resets: u64) -> bool {
        self.repeated.load(Relaxed) == resets.wrapping_add(1)
    }
}

impl WorkItem for CommandData {
    type Pointer = RequestList<Zloop>;

    fn run(mut requests: RequestList<Zloop>) {
        let _scope = BlockIoScope::enter();
        let written = requests.front().and_then(|first| {
            let device = first.queue_data();
            match (first.command(), device.zone_at(first.sector())?) {
                (Some(Command::Write | Command::ZoneAppend), Zone::Sequential(zone)) => {
                    Some(zone.clone())
                }
                _ => None,
            }
        });
        if let Some(zone) = written {
            return zone.complete_write(requests);
        }
        while let Some(request) = requests.pop_front() {
            request.charge(|request| match request.command() {
                Some(Command::Read) => transfer(request, Direction::Read),
                Some(Command::Write) => transfer(request, Direction::Write),
                Some(Command::Flush) => {
                    if request.data().meet_faults() {
                        request.queue_data().common().faults().delay(Kind::Flush, 0);
                    }
                    let result = request.queue_data().flush();
                    request.end(result.map_or_else(Status::from, |()| Status::OK));
                }
                Some(Command::ZoneResetAll) => ResetAll::run(request),
                Some(Command::Discard | Command::WriteZeroes) => discard::zero(request),
                _ => request.end(Status::NOTSUPP),
            });
        }
    }
}

/// The largest request that the task which queues it carries out itself, in bytes.
///
/// It is meant for what is over soon: a large one is better done beside others.
pub(crate) const MAX_BYTES_NOW: u32 = 128 << 10;

/// Carries out a read, or a write to a conventional zone, at once if that needs no waiting; if not,
/// as a work item. For `queue_rq`.
pub(crate) fn transfer_now(
    submission: &Submission<'_>,
    lanes: &Lanes,
    zone: &Zone<'_>,
    request: Request<Zloop>,
    direction: Direction,
) {
    // A FUA write waits for the medium, and so does one whose old data must be saved.
    if request.bytes() > MAX_BYTES_NOW
        || request.is_fua()
        || request.data().meets_faults()
        || !request.is_charged_to_current()
        || (direction == Direction::Write && saves_old_data(&request))
        || !submission.is_by_plain_task()
    {
        return RequestList::from(request).enqueue();
    }
    match lanes.hand_over(request, submission.work_queue()) {
        Ok(()) => {}
        Err(request) => {
            let target = target_without_waiting(zone, &request, direction);
            try_transfer(Some(submission), target, request);
        }
    }
}

/// Carries out, for another CPU, a request that [`transfer_now`] has handed over. For a work item,
/// within a [`BlockIoScope`].
pub(crate) fn transfer_in_lane(request: Request<Zloop>) {
    let direction = match request.command() {
        Some(Command::Read) => Direction::Read,
        _ => Direction::Write,
    };
    let target = request
        .queue_data()
        .zone_at(request.sector())
        .and_then(|zone| target_without_waiting(&zone, &request, direction));
    try_transfer(None, target, request);
}

/// The file that a read, or a write to a conventional zone, goes to, and the position in bytes, if
/// the file is open and long enough.
fn target_without_waiting(
    zone: &Zone<'_>,
    request: &Request<Zloop>,
    direction: Direction,
) -> Option<(ARef<File>, u64)> {
    let file = zone.open_file()?;
    let position = begin_transfer(zone, request);
    if direction == Direction::Write && !file.is_known_to_have(end(request, position)) {
        return None;
    }
    Some((file, position))
}

/// Carries out a request that has a `target`, unless it would have to wait: then a work item does
/// it.
fn try_transfer(
    submission: Option<&Submission<'_>>,
    target: Option<(ARef<File>, u64)>,
    request: Request<Zloop>,
) {
    let requests = RequestList::from(request);
    match target {
        Some((file, position)) => requests.submit_nowait(submission, file, position),
        None => requests.enqueue(),
    }
}

/// Whether what a request overwrites in a conventional zone is saved.
fn saves_old_data(request: &Request<Zloop>) -> bool {
    request.queue_data().common().volatile_cache()
}

/// Carries out a read, or a write to a conventional zone; may sleep.
fn transfer(request: Request<Zloop>, direction: Direction) {
    if request.data().meet_faults() {
        return transfer_with_faults(request, direction);
    }
    transfer_to_file(request, direction, None);
}

/// Does what [`transfer`] does, as far as the faults that were injected allow it; may sleep.
fn transfer_with_faults(request: Request<Zloop>, direction: Direction) {
    let (sector, sectors) = (request.sector(), u64::from(request.sectors()));
    let device = request.queue_data();
    let faults = device.common().faults();
    let limit = match direction {
        Direction::Read => {
            faults.delay(Kind::Read, request.bytes().into());
            if faults.spoils_read(sector, sectors) {
                return file_io_done(request.into(), Err(EIO));
            }
            let number = device.common().geometry().zone_of(sector);
            let zone = number.and_then(|number| device.zones().entry(number));
            if zone.is_some_and(|zone| device.reads_nothing(&zone, sector)) {
                return request.end_read(0);
            }
            None
        }
        Direction::Write => {
            match faults.spoil_write(sector, sectors, device.common().block_sectors()) {
                Ok(limit) => limit,
                Err(err) => return file_io_done(request.into(), Err(err)),
            }
        }
    };
    transfer_to_file(request, direction, limit);
}

/// Carries out a read, or a write to a conventional zone, of which no more than `limit` bytes are
/// written; may sleep.
fn transfer_to_file(request: Request<Zloop>, direction: Direction, limit: Option<u64>) {
    let target = {
        let device = request.queue_data();
        let zone = device.zone_at(request.sector()).ok_or(EIO);
        zone.and_then(|zone| {
            let position = begin_transfer(&zone, &request);
            let file = match (zone, direction) {
                (Zone::Conventional(zone), Direction::Write) => {
                    zone.file_to_write(position, end(&request, position))?
                }
                _ => zone.file()?,
            };
            Ok((position, file))
        })
    };
    match target {
        Ok((position, file)) => {
            let end = end(&request, position);
            // Somebody has cut the file. This write would make a hole of what is missing, or hide
            // that something is.
            if direction == Direction::Write
                && !file.is_known_to_have(end)
                && file.size().is_ok_and(|size| size < end)
            {
                // Whoever waits for the request may rely on nobody having the file.
                drop(file);
                return too_short(request, "write");
            }
            RequestList::from(request).submit(file, position, limit);
        }
        Err(err) => file_io_done(request.into(), Err(err)),
    }
}

/// Where in the file a request ends that begins at `position`, in bytes.
fn end(request: &Request<Zloop>, position: u64) -> u64 {
    position.saturating_add(u64::from(request.bytes()))
}

/// Ends a request for a conventional zone whose file is not as long as the zone.
fn too_short(request: Request<Zloop>, verb: &str) {
    report!(
        request.queue_data().common(),
        "can't {verb} {} sectors at sector {}: the zone's file is too short",
        request.sectors(),
        request.sector()
    );
    request.end(Status::IOERR);
}

/// Notes what a read of a sequential zone must find, and returns the position in the zone's file
/// in bytes.
fn begin_transfer(zone: &Zone<'_>, request: &Request<Zloop>) -> u64 {
    if let Zone::Sequential(zone) = zone {
        request.data().must_find(zone.written());
    }
    let device = request.queue_data();
    device.common().geometry().offset_in_zone(request.sector()) << SECTOR_SHIFT
}

/// Has done by a work item what could not be done at once. Any context.
pub(crate) fn file_io_not_now(requests: RequestList<Zloop>) {
    if let Some(first) = requests.front() {
        let device = first.queue_data();
        if let Some(Zone::Sequential(_)) = device.zone_at(first.sector()) {
            if first.command() != Some(Command::Read) {
                device.common().extends().failed();
            }
        }
    }
    requests.enqueue();
}

/// Takes note of the end of what was submitted to a file. Any context.
pub(crate) fn file_io_done(mut requests: RequestList<Zloop>, result: Result<u32>) {
    let done = requests.front().and_then(|first| {
        let device = first.queue_data();
        let (Command::Write | Command::ZoneAppend) = first.command()? else {
            return None;
        };
        match device.zone_at(first.sector())? {
            Zone::Sequential(zone) => Some(zone.write_done(&requests, result, first.work_queue())),
            Zone::Conventional(_) => None,
        }
    });
    match done {
        Some(Outcome::Done(_)) => return requests.end(Status::OK),
        Some(Outcome::Complete) => return requests.enqueue(),
        None => {}
    }
    // All others are submitted one by one.
    while let Some(request) = requests.pop_front() {
        match request.command() {
            Some(Command::Read) => read_done(request, result),
            _ => conventional_write_done(request, result),
        }
    }
}

fn conventional_write_done(request: Request<Zloop>, result: Result<u32>) {
    let device = request.queue_data();
    if let Some(zone) = device.common().geometry().zone_of(request.sector()) {
        device.common().dirty().mark(zone);
    }
    let result = match result {
        Ok(bytes) if bytes == request.bytes() => Ok(()),
        Ok(_) => Err(EIO),
        Err(err) => Err(err),
    };
    if let Err(err) = result {
        report!(
            device.common(),
            "can't write {} sectors at sector {}: {err:?}",
            request.sectors(),
            request.sector()
        );
    }
    request.end(result.map_or_else(Status::from, |()| Status::OK));
}

/// A read beyond what is written in a sequential zone gets zeros. One that finds less than was
/// written before it began is given to the zone, which looks why.
fn read_done(request: Request<Zloop>, result: Result<u32>) {
    let device = request.queue_data();
    let bytes = match result {
        Ok(bytes) if bytes >= request.bytes() => return request.end(Status::OK),
        Ok(bytes) => bytes,
        Err(err) => {
            report!(
                device.common(),
                "can't read {} sectors at sector {}: {err:?}",
                request.sectors(),
                request.sector()
            );
            return request.end(err.into());
        }
    };
    let geometry = device.common().geometry();
    let start = geometry.offset_in_zone(request.sector());
    let expected = request
        .data()
        .expected
        .load(Relaxed)
        .min(start.saturating_add(u64::from(request.sectors())));
    match device.zone_at(request.sector()) {
        Some(Zone::Sequential(zone)) => {
            let found = start.saturating_add(u64::from(bytes >> SECTOR_SHIFT));
            if found >= expected {
                return request.end_read(bytes);
            }
            let zone = zone.clone();
            zone.post(request);
        }
        // A conventional zone's file is as long as the zone, unless somebody has cut it.
        _ => too_short(request, "read"),
    }
}
