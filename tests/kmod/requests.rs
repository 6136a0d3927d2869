// SPDX-License-Identifier: GPL-2.0

//! Requests to a block device that user space can't make: zone appends, above all.
//!
//! A user opens `/dev/zloop-requests`, writes programs to it, and reads their results. A program is
//! text. One `write` has all of it, and the module carries it out before the `write` returns:
//!
//! ```text
//! device /dev/zloop0          use this device, also for later programs; it is not held exclusively
//! depth 32                    keep at most this number of requests in flight (1)
//! room 256                    the longest request, in sectors (that of the longest line)
//! append at=8192 sectors=8 count=100 zones=4 step=8192 seed=7
//! wait                        until all have ended
//! reset at=8192
//! ```
//!
//! The operations are `read`, `write`, `append`, `flush`, `open`, `close`, `finish`, `reset` and
//! `reset-all`. `at` is the first sector, `sectors` the length of a request with data, and `count`
//! the number of requests. They take turns in `zones` places that are `step` sectors apart. `fua`
//! makes a write durable when it ends. One task submits all requests, one after the other. It waits
//! while `depth` of them are in flight. They may end in any order.
//!
//! A write fills each sector with two numbers, again and again: the number of the sector, and the
//! seed. The task does not know the sectors of an append. It numbers them from 0 within the line.
//!
//! Then a read returns the results, in the byte order of the machine:
//!
//! ```text
//! u64 nanoseconds from the first submission to the last end
//! u32 number of requests, u32 number of failed requests
//! then for each of them, in the order of submission:
//! i32 errno or 0, u32 number of requests that ended before it
//! u64 the sector; of an append, the sector where the data is
//! u64 nanoseconds from the start to its end
//! ```
//!
//! After a line `bench` the module does not fill in data, and the results have no list.

#[deny(unsafe_code)]
mod program;

mod bio;
// rustfmt would look for the file here.
#[rustfmt::skip]
mod kernel_ext {
    #[allow(
        dead_code, unused_imports, unused_macros,
        reason = "it is the driver's, copied here by the build"
    )]
    pub(crate) mod compat;
}

use bio::{
    Bio,
    BioData,
    BlockDevice,
    Target, //
};
use core::mem::take;

use crate::kernel_ext::compat::sync::{
    new_spinlock_irq,
    SpinLockIrq, //
};
use kernel::{
    block::SECTOR_SIZE,
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_condvar, new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        CondVar,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    },
};
use program::{
    Line,
    Operation,
    Requests, //
};

module! {
    type: RequestsModule,
    name: "requests",
    authors: ["The zloop developers"],
    description: "Requests to a block device from within the kernel",
    license: "GPL",
}

/// The module: its device.
#[pin_data]
struct RequestsModule {
    #[pin]
    registration: MiscDeviceRegistration<Session>,
}

impl kernel::InPlaceModule for RequestsModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            registration <- MiscDeviceRegistration::register(MiscDeviceOptions {
                name: c"zloop-requests",
            }),
        })
    }
}

/// An open file of the device: its block device, and the results of its last program.
#[pin_data]
struct Session {
    #[pin]
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    device: Option<BlockDevice>,
    /// The results that a read returns.
    results: KVVec<u8>,
}

#[vtable]
impl MiscDevice for Session {
    type Ptr = Pin<KBox<Self>>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<Pin<KBox<Self>>> {
        KBox::pin_init(
            pin_init!(Self {
                state <- new_mutex!(SessionState::default(), "requests_session"),
            }),
            GFP_KERNEL,
        )
    }

    fn read_iter(mut kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let session = kiocb.file();
        let state = session.state.lock();
        iov.simple_read_from_buffer(kiocb.ki_pos_mut(), &state.results)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        const MAX_PROGRAM: usize = 1 << 20;
        if iov.len() > MAX_PROGRAM {
            return Err(E2BIG);
        }
        let mut text: KVVec<u8> = KVVec::new();
        let len = iov.copy_from_iter_vec(&mut text, GFP_KERNEL)?;
        let text = core::str::from_utf8(&text).map_err(|_| EINVAL)?;
        let session = kiocb.file();
        let mut state = session.state.lock();
        state.results = KVVec::new();
        state.results = carry_out(&mut state.device, text)?;
        Ok(len)
    }
}

/// The lines of a program. A line with a mistake is [`None`].
fn lines(program: &str) -> impl Iterator<Item = Option<Line<'_>>> {
    program
        .lines()
        .filter(|line| !line.trim_ascii().is_empty())
        .map(Line::parse)
}

/// Carries out a program, and returns the bytes that a read returns. Until a line names a device,
/// the program uses the device of the previous program.
fn carry_out(device: &mut Option<BlockDevice>, program: &str) -> Result<KVVec<u8>> {
    /// Four times the longest request that a device can have here.
    const MAX_SECTORS: u32 = 8192;
    const MAX_DEPTH: u32 = 1024;

    let (mut depth, mut room, mut nr) = (1, 0, 0usize);
    let mut keep = Keep::Each;
    for line in lines(program) {
        match line.ok_or(EINVAL)? {
            Line::Depth(value) => depth = value,
            Line::Room(value) => room = room.max(value),
            Line::Bench => keep = Keep::Summary,
            Line::Requests(requests) => {
                room = room.max(requests.sectors);
                nr = nr.checked_add(requests.count as usize).ok_or(E2BIG)?;
            }
            Line::Device(_) | Line::Wait => {}
        }
    }
    if !(1..=MAX_DEPTH).contains(&depth) || room > MAX_SECTORS {
        return Err(EINVAL);
    }

    let mut submitter = Submitter {
        run: Run::new(depth as usize, room, keep, nr)?,
        submitted: 0,
    };
    let result = submitter.carry_out(device, program);
    // After an error, too, wait for the requests in flight.
    let summary = submitter.wait_for_all();
    result?;
    summary.to_bytes()
}

/// The results that a program keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Each,
    Summary,
}

/// A program that is being carried out.
#[pin_data]
struct Run {
    keep: Keep,
    start: Instant<Monotonic>,
    #[pin]
    progress: SpinLockIrq<Progress>,
    /// Notified when a request has ended.
    #[pin]
    changed: CondVar,
}

/// The unused bios of a program, and the results so far.
#[derive(Default)]
struct Progress {
    idle: KVec<KBox<Bio<Place>>>,
    summary: Summary,
}

/// The results of a program.
#[derive(Default)]
struct Summary {
    ended: u32,
    failed: u32,
    nanoseconds: u64,
    ends: KVVec<End>,
}

/// The result of a request.
#[derive(Clone, Copy, Default)]
struct End {
    errno: i32,
    order: u32,
    sector: u64,
    nanoseconds: u64,
}

/// The use of a bio: a request of a program.
struct Place {
    /// [`None`] while it is not submitted.
    run: Option<Arc<Run>>,
    index: usize,
}

impl BioData for Place {
    fn done(mut bio: KBox<Bio<Self>>) {
        if let Some(run) = bio.data.run.take() {
            run.done(bio);
        }
    }
}

impl Run {
    /// Prepares for `nr` requests, `depth` of them at a time.
    fn new(depth: usize, room: u32, keep: Keep, nr: usize) -> Result<Arc<Self>> {
        let mut progress = Progress::default();
        progress.idle.reserve(depth, GFP_KERNEL)?;
        for _ in 0..depth {
            let place = Place {
                run: None,
                index: 0,
            };
            progress.idle.push(Bio::new(room, place)?, GFP_KERNEL)?;
        }
        if keep == Keep::Each {
            progress.summary.ends = KVVec::from_elem(End::default(), nr, GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                keep,
                start: Instant::now(),
                progress <- new_spinlock_irq!(progress, "requests_progress"),
                changed <- new_condvar!("requests_changed"),
            }),
            GFP_KERNEL,
        )
    }

    /// Notes the result of a request. Any context.
    fn done(&self, bio: KBox<Bio<Place>>) {
        let nanoseconds = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(0);
        let errno = bio.result().err().map_or(0, Error::to_errno);
        let mut progress = self.progress.lock();
        let summary = &mut progress.summary;
        if let Some(end) = summary.ends.get_mut(bio.data.index) {
            *end = End {
                errno,
                order: summary.ended,
                sector: bio.sector(),
                nanoseconds,
            };
        }
        summary.ended = summary.ended.wrapping_add(1);
        summary.failed = summary.failed.wrapping_add(u32::from(errno != 0));
        summary.nanoseconds = nanoseconds;
        // The vector has room for all bios.
        let _ = progress.idle.push_within_capacity(bio);
        self.changed.notify_one();
    }

    /// Takes an unused bio. Waits while all are in use.
    fn idle(&self) -> KBox<Bio<Place>> {
        let mut progress = self.progress.lock();
        loop {
            match progress.idle.pop() {
                Some(bio) => return bio,
                None => self.changed.wait(&mut progress),
            }
        }
    }
}

/// Submits the requests of a program.
struct Submitter {
    run: Arc<Run>,
    submitted: u32,
}

impl Submitter {
    fn carry_out(&mut self, device: &mut Option<BlockDevice>, program: &str) -> Result {
        for line in lines(program).flatten() {
            match line {
                Line::Device(path) => {
                    *device = None;
                    *device = Some(BlockDevice::open(&CString::try_from_fmt(fmt!("{path}"))?)?);
                }
                Line::Wait => self.wait(),
                Line::Requests(requests) => {
                    let device = device.as_ref().ok_or(ENODEV)?;
                    for index in 0..requests.count {
                        self.submit(device, &requests, index)?;
                    }
                }
                Line::Depth(_) | Line::Room(_) | Line::Bench => {}
            }
        }
        Ok(())
    }

    fn submit(&mut self, device: &BlockDevice, requests: &Requests, index: u32) -> Result {
        let mut bio = self.run.idle();
        if self.run.keep == Keep::Each {
            if let Operation::Write | Operation::Append = requests.operation {
                fill(bio.buffer_mut(), requests, index);
            }
        }
        bio.data = Place {
            run: Some(self.run.clone()),
            index: self.submitted as usize,
        };
        let target = Target {
            operation: requests.operation,
            durability: requests.durability,
            sector: requests.sector(index),
            sectors: requests.sectors,
        };
        bio.submit(device.clone(), target)?;
        self.submitted = self.submitted.wrapping_add(1);
        Ok(())
    }

    /// Waits until all submitted requests have ended.
    fn wait(&self) {
        let mut progress = self.run.progress.lock();
        while progress.summary.ended != self.submitted {
            self.run.changed.wait(&mut progress);
        }
    }

    /// Waits until all requests have ended, and returns their results. The memory is freed here,
    /// because the last request may end in an interrupt.
    fn wait_for_all(&self) -> Summary {
        self.wait();
        let Progress { idle, summary } = take(&mut *self.run.progress.lock());
        drop(idle);
        summary
    }
}

/// Fills in the data of a request.
fn fill(buffer: &mut [u8], requests: &Requests, index: u32) {
    const PAIR: usize = 2 * size_of::<u64>();
    let label = requests.label(index);
    let sectors = buffer.chunks_exact_mut(SECTOR_SIZE as usize);
    for (sector, nr) in sectors.take(requests.sectors as usize).zip(0u64..) {
        for pair in sector.chunks_exact_mut(PAIR) {
            let (first, second) = pair.split_at_mut(PAIR / 2);
            first.copy_from_slice(&label.wrapping_add(nr).to_ne_bytes());
            second.copy_from_slice(&requests.seed.to_ne_bytes());
        }
    }
}

impl Summary {
    fn to_bytes(&self) -> Result<KVVec<u8>> {
        let mut bytes = KVVec::new();
        bytes.reserve(16 + 24 * self.ends.len(), GFP_KERNEL)?;
        bytes.extend_from_slice(&self.nanoseconds.to_ne_bytes(), GFP_KERNEL)?;
        bytes.extend_from_slice(&self.ended.to_ne_bytes(), GFP_KERNEL)?;
        bytes.extend_from_slice(&self.failed.to_ne_bytes(), GFP_KERNEL)?;
        for end in self.ends.iter() {
            bytes.extend_from_slice(&end.errno.to_ne_bytes(), GFP_KERNEL)?;
            bytes.extend_from_slice(&end.order.to_ne_bytes(), GFP_KERNEL)?;
            bytes.extend_from_slice(&end.sector.to_ne_bytes(), GFP_KERNEL)?;
            bytes.extend_from_slice(&end.nanoseconds.to_ne_bytes(), GFP_KERNEL)?;
        }
        Ok(bytes)
    }
}
