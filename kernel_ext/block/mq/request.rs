// SPDX-License-Identifier: GPL-2.0

//! Requests.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    file_io::FileIo,
    gen_disk::Private,
    operations::QueueDataRef,
    Operations, //
};
use crate::kernel_ext::{
    block::{
        cgroup,
        Status, //
    },
    workqueue::Queue, //
};
use core::{
    marker::PhantomData,
    mem::{
        take,
        ManuallyDrop, //
    },
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

use crate::kernel_ext::compat::bi_offset;
use kernel::{
    bindings,
    block::SECTOR_SHIFT,
    page::{
        BorrowedPage,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    types::ForeignOwnable,
    workqueue::{
        HasWork,
        RawWorkItem,
        Work,
        WorkItem,
        WorkItemPointer, //
    },
};

/// What a request asks for: `enum req_op`, as far as a driver of zoned block devices gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Read sectors.
    Read,
    /// Write sectors.
    Write,
    /// Make what was written durable.
    Flush,
    /// Write sectors at the write pointer of a zone, and tell where that was.
    ZoneAppend,
    /// Open a zone.
    ZoneOpen,
    /// Close a zone.
    ZoneClose,
    /// Make a zone full.
    ZoneFinish,
    /// Make a zone empty.
    ZoneReset,
    /// Make all zones empty.
    ZoneResetAll,
    /// Give back the space of sectors, whose data is not needed any more.
    Discard,
    /// Make sectors read as zeros. The request has no data.
    WriteZeroes,
}

impl Command {
    /// What it is called in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::ZoneAppend => "zone append",
            Self::ZoneOpen => "zone open",
            Self::ZoneClose => "zone close",
            Self::ZoneFinish => "zone finish",
            Self::ZoneReset => "zone reset",
            Self::ZoneResetAll => "reset of all zones",
            Self::Discard => "discard",
            Self::WriteZeroes => "write zeroes",
        }
    }
}

/// Where the data of a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the device to the request.
    Read,
    /// From the request to the device.
    Write,
}

/// What is behind each request of a tag set.
#[pin_data]
pub(super) struct Pdu<T: Operations> {
    #[pin]
    data: T::RequestData,
    #[pin]
    pub(super) file_io: FileIo<T>,
    /// The request has been carried out, but its end was kept back: see [`Request::end`].
    end_is_lost: Atomic<bool>,
}

impl<T: Operations> Pdu<T> {
    /// A pdu is where its request ends, which is aligned no better than the request.
    const IS_ALIGNED: () = assert!(align_of::<Self>() <= align_of::<bindings::request>());

    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            data <- T::new_request_data(),
            file_io <- FileIo::new(),
            end_is_lost: Atomic::new(false),
        })
    }

    /// The place of a request's pdu: `blk_mq_rq_to_pdu()`.
    ///
    /// # Safety
    ///
    /// `rq` must be a request of a tag set of `T`.
    pub(super) unsafe fn of(rq: *mut bindings::request) -> *mut Self {
        let () = Self::IS_ALIGNED;
        // SAFETY: There is room for a pdu behind each request of the tag set.
        unsafe { rq.add(1) }.cast()
    }
}

/// The request's operation, or [`None`] if that isn't for a driver of zoned block devices.
///
/// # Safety
///
/// `rq` must be valid.
unsafe fn command_of(rq: NonNull<bindings::request>) -> Option<Command> {
    // SAFETY: By the safety requirement. Nobody changes the operation.
    let flags = unsafe { (*rq.as_ptr()).cmd_flags };
    // `req_op()`.
    Some(match flags & ((1 << bindings::REQ_OP_BITS) - 1) {
        bindings::req_op_REQ_OP_READ => Command::Read,
        bindings::req_op_REQ_OP_WRITE => Command::Write,
        bindings::req_op_REQ_OP_FLUSH => Command::Flush,
        bindings::req_op_REQ_OP_ZONE_APPEND => Command::ZoneAppend,
        bindings::req_op_REQ_OP_ZONE_OPEN => Command::ZoneOpen,
        bindings::req_op_REQ_OP_ZONE_CLOSE => Command::ZoneClose,
        bindings::req_op_REQ_OP_ZONE_FINISH => Command::ZoneFinish,
        bindings::req_op_REQ_OP_ZONE_RESET => Command::ZoneReset,
        bindings::req_op_REQ_OP_ZONE_RESET_ALL => Command::ZoneResetAll,
        bindings::req_op_REQ_OP_DISCARD => Command::Discard,
        bindings::req_op_REQ_OP_WRITE_ZEROES => Command::WriteZeroes,
        _ => return None,
    })
}

/// A request that is the driver's to start, or to give back.
///
/// Dropping it ends it with [`Status::IOERR`], so that nobody waits for it for ever.
///
/// # Invariants
///
/// The pointer is to a request whose pdu is initialised, and which the driver may start.
#[must_use]
pub(crate) struct IdleRequest<T: Operations>(NonNull<bindings::request>, PhantomData<T>);

impl<T: Operations> IdleRequest<T> {
    /// # Safety
    ///
    /// `rq` must be valid, have an initialised pdu, and be handed over by the block layer.
    pub(super) unsafe fn from_raw(rq: *mut bindings::request) -> Self {
        // SAFETY: A valid pointer is not null.
        let rq = unsafe { NonNull::new_unchecked(rq) };
        // INVARIANT: By the safety requirement.
        Self(rq, PhantomData)
    }

    /// Starts the request. It must be ended from now on, and its timeout runs.
    pub(crate) fn start(self) -> Request<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant. `this` is not used any more.
        unsafe { start(this.0) }
    }

    /// Gives the request back to the block layer.
    pub(super) fn give_back(self) {
        let _ = ManuallyDrop::new(self);
    }

    /// What is asked for, or [`None`] if that isn't for a driver of zoned block devices.
    pub(crate) fn command(&self) -> Option<Command> {
        // SAFETY: By the type invariant the request is valid.
        unsafe { command_of(self.0) }
    }

    /// The first sector, from the start of the disk: `blk_rq_pos()`.
    pub(crate) fn sector(&self) -> u64 {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.0.as_ptr()).__sector }
    }
}

impl<T: Operations> Drop for IdleRequest<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. `self` is not used any more.
        drop(unsafe { start::<T>(self.0) });
    }
}

/// Starts a request.
///
/// # Safety
///
/// `rq` must be that of an [`IdleRequest`] which is not used any more.
unsafe fn start<T: Operations>(rq: NonNull<bindings::request>) -> Request<T> {
    // SAFETY: By the safety requirement the driver may start it.
    unsafe { bindings::blk_mq_start_request(rq.as_ptr()) };
    // INVARIANT: It was started just now.
    let request = Request(rq, PhantomData);
    // SAFETY: The request is ours, and nothing has been done with it.
    unsafe { request.pdu().file_io.reset() };
    request
}

/// A request that has been started.
///
/// [`Self::end`] ends it. Dropping it ends it with [`Status::IOERR`], so that nobody waits for it
/// for ever.
///
/// # Invariants
///
/// The pointer is to a request whose pdu is initialised, which was started and has not ended, and
/// which nobody else owns.
#[must_use]
pub(crate) struct Request<T: Operations>(NonNull<bindings::request>, PhantomData<T>);

// SAFETY: A started request may be ended by any task.
unsafe impl<T: Operations> Send for Request<T> {}
// SAFETY: What can be done with a shared reference is to look at what doesn't change while the
// request is started, and at the driver's data, which are `Sync`.
unsafe impl<T: Operations> Sync for Request<T> {}

impl<T: Operations> Request<T> {
    /// # Safety
    ///
    /// `rq` must have come from [`Self::into_raw`] and be used once.
    pub(super) unsafe fn from_raw(rq: NonNull<bindings::request>) -> Self {
        // INVARIANT: It held when `into_raw` was called.
        Self(rq, PhantomData)
    }

    pub(super) fn into_raw(self) -> NonNull<bindings::request> {
        ManuallyDrop::new(self).0
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::request {
        self.0.as_ptr()
    }

    pub(super) fn pdu(&self) -> &Pdu<T> {
        // SAFETY: By the type invariant the pdu is initialised. Only shared references to it are
        // ever made.
        unsafe { &*Pdu::of(self.as_ptr()) }
    }

    /// What is asked for; see [`IdleRequest::command`].
    pub(crate) fn command(&self) -> Option<Command> {
        // SAFETY: By the type invariant the request is valid.
        unsafe { command_of(self.0) }
    }

    /// The driver's data of the disk.
    pub(crate) fn queue_data(&self) -> QueueDataRef<'_, T> {
        // SAFETY: The queue of a request is valid while the request is.
        let data = unsafe { (*(*self.as_ptr()).q).queuedata };
        // SAFETY: `UnaddedDisk::new` has put it there with `into_foreign`, and the disk keeps it
        // while there are requests.
        unsafe { T::QueueData::borrow(data) }
    }

    /// The block layer's queue of the disk.
    pub(super) fn queue(&self) -> *const bindings::request_queue {
        // SAFETY: By the type invariant the request is valid. It stays in its queue.
        unsafe { (*self.as_ptr()).q }
    }

    /// The workqueue of the disk.
    pub(crate) fn work_queue(&self) -> &Queue {
        // SAFETY: The disk of a request is valid while the request is; `UnaddedDisk::new` has set
        // its private data.
        unsafe {
            let disk = (*(*self.as_ptr()).q).disk;
            Private::<T>::of(disk).work_queue()
        }
    }

    /// The driver's data of the request.
    pub(crate) fn data(&self) -> &T::RequestData {
        &self.pdu().data
    }

    /// The first sector, from the start of the disk: `blk_rq_pos()`.
    pub(crate) fn sector(&self) -> u64 {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.as_ptr()).__sector }
    }

    /// The request as a zone append, if it is one.
    pub(crate) fn as_append(&mut self) -> Option<AppendRequest<'_, T>> {
        // INVARIANT: It is one.
        (self.command() == Some(Command::ZoneAppend)).then_some(AppendRequest(self))
    }

    /// The size of the data in bytes: `blk_rq_bytes()`.
    pub(crate) fn bytes(&self) -> u32 {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.as_ptr()).__data_len }
    }

    /// The size of the data in sectors: `blk_rq_sectors()`.
    pub(crate) fn sectors(&self) -> u32 {
        self.bytes() >> SECTOR_SHIFT
    }

    /// Whether what is written must be durable before the request ends: `REQ_FUA`.
    pub(crate) fn is_fua(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_FUA)
    }

    /// Whether sectors that are made to read as zeros must keep their space: `REQ_NOUNMAP`.
    pub(crate) fn is_nounmap(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_NOUNMAP)
    }

    fn has_flag(&self, bit: bindings::req_flag_bits) -> bool {
        // SAFETY: By the type invariant the request is valid. Nobody changes the flags.
        let flags = unsafe { (*self.as_ptr()).cmd_flags };
        flags & (1 << bit) != 0
    }

    /// Where the request's data goes, or [`None`] if it has none.
    pub(super) fn direction(&self) -> Option<Direction> {
        match self.command()? {
            Command::Read => Some(Direction::Read),
            Command::Write | Command::ZoneAppend => Some(Direction::Write),
            _ => None,
        }
    }

    /// The request's I/O priority, an `IOPRIO_PRIO_VALUE()`: `req_get_ioprio()`.
    pub(super) fn ioprio(&self) -> u16 {
        // SAFETY: A request's bios are valid while the request is.
        unsafe { self.bio().as_ref() }.map_or(0, |bio| bio.bi_ioprio)
    }

    /// Whether I/O for both requests may be one operation: they have the same priority and are
    /// charged to the same cgroup.
    pub(crate) fn may_join(&self, other: &Self) -> bool {
        // SAFETY: A request's bios are valid while the request is.
        self.ioprio() == other.ioprio() && unsafe { cgroup::is_same(self.bio(), other.bio()) }
    }

    /// Whether the request is charged to the cgroup of the current task, a user task, so that I/O
    /// for it may be submitted by this one.
    pub(crate) fn is_charged_to_current(&self) -> bool {
        // SAFETY: A request's bios are valid while the request is.
        unsafe { cgroup::is_of_current(self.bio()) }
    }

    /// Calls `f`, which is to carry out the request, in a worker. What it does is charged to the
    /// cgroup that the request is charged to.
    ///
    /// Calls are not to be nested: after the inner one the rest of the outer one is charged to
    /// nobody.
    pub(crate) fn charge<R>(self, f: impl FnOnce(Self) -> R) -> R {
        // SAFETY: A request's bios are valid while the request is, which `f` gets.
        unsafe { cgroup::charge(self.bio(), || f(self)) }
    }

    /// The request's first bio, or null.
    fn bio(&self) -> *mut bindings::bio {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.as_ptr()).bio }
    }

    /// Ends a read of which `bytes` bytes are there; the rest reads as zeros. Any other request has
    /// no such data, and ends with [`Status::IOERR`].
    pub(crate) fn end_read(self, bytes: u32) {
        if self.direction() != Some(Direction::Read) {
            return self.end(Status::IOERR);
        }
        let mut skip = bytes;
        // SAFETY: A read has data, which is there to be changed.
        for bvec in unsafe { self.bvecs() } {
            let bvec_skip = skip.min(bvec.bv_len);
            skip -= bvec_skip;
            // SAFETY: The pages are those of a read that is ours.
            unsafe { fill_zero(bvec, bvec_skip) };
        }
        self.end(Status::OK);
    }

    /// The data as page ranges, which may be longer than a page.
    ///
    /// # Safety
    ///
    /// The request must have data, by [`Self::direction`]: others may have bios without an array.
    pub(super) unsafe fn bvecs(&self) -> Bvecs<'_> {
        let bio = self.bio();
        // SAFETY: A request's bios are valid while the request is.
        let iter = unsafe { bio.as_ref() }.map(|bio| bio.bi_iter);
        Bvecs {
            bio,
            iter,
            _request: PhantomData,
        }
    }

    /// Ends the request. If fault injection wants the end to get lost (`fail_io_timeout`), then
    /// the request ends when its time is over.
    pub(crate) fn end(self, status: Status) {
        // SAFETY: The request is ours to end, and not used any more.
        unsafe { end_or_lose::<T>(self.into_raw(), status) };
    }
}

impl<T: Operations> Request<T> {
    /// Gives the request up without carrying it out, as if a drive never answered: it ends when its
    /// time is over.
    pub(crate) fn lose(self) {
        let this = ManuallyDrop::new(self);
        // RELEASE: From here on the request is `end_if_lost`'s.
        this.pdu().end_is_lost.store(true, Release);
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the request is ours to end, and it is not used any more.
        unsafe { end_or_lose::<T>(self.0, Status::IOERR) };
    }
}

/// A zone append, which can be told where it went.
///
/// Others keep their sector: by it the block layer finds the zone that a write holds a reference
/// to, which it gives back when the write ends.
///
/// # Invariants
///
/// The request is a zone append.
pub(crate) struct AppendRequest<'a, T: Operations>(&'a mut Request<T>);

impl<T: Operations> AppendRequest<'_, T> {
    /// Tells where it went: to `sector`, from the start of the disk.
    pub(crate) fn set_sector(self, sector: u64) {
        // SAFETY: The request is valid and ours. By the type invariant the block layer has no use
        // for its sector but to return it.
        unsafe { (*self.0.as_ptr()).__sector = sector };
    }
}

/// Ends a request whose end was lost, because its time is over. Any other one is still being
/// carried out. Returns whether it was ended.
///
/// # Safety
///
/// `rq` must be a request of a tag set of `T` that was started, and the caller must be the block
/// layer's `timeout` callback for it, of which there is one at a time.
pub(super) unsafe fn end_if_lost<T: Operations>(rq: NonNull<bindings::request>) -> bool {
    // SAFETY: A started request has an initialised pdu.
    let lost = unsafe { &(*Pdu::<T>::of(rq.as_ptr())).end_is_lost };
    // ACQUIRE: What was done for the request happened before its end.
    if !lost.load(Acquire) {
        return false;
    }
    lost.store(false, Relaxed);
    // SAFETY: Whoever lost the end has given up the request.
    unsafe { end::<T>(rq, Status::TIMEOUT) };
    true
}

/// Ends a request, or loses its end.
///
/// # Safety
///
/// The request must be one of a tag set of `T`, the caller's to end, and not be used any more.
unsafe fn end_or_lose<T: Operations>(rq: NonNull<bindings::request>, status: Status) {
    // SAFETY: A request that is the caller's has a queue.
    if unsafe { should_fake_timeout((*rq.as_ptr()).q) } {
        // SAFETY: The pdu of a request that is the caller's is initialised.
        let lost = unsafe { &(*Pdu::<T>::of(rq.as_ptr())).end_is_lost };
        // RELEASE: From here on the request is `end_if_lost`'s.
        lost.store(true, Release);
    } else {
        // SAFETY: By the safety requirement.
        unsafe { end::<T>(rq, status) };
    }
}

/// Whether fault injection wants a request to time out: `blk_should_fake_timeout()`.
///
/// # Safety
///
/// `q` must be valid.
unsafe fn should_fake_timeout(q: *mut bindings::request_queue) -> bool {
    const FAIL_IO: c_ulong = 1 << bindings::QUEUE_FLAG_FAIL_IO;

    // Where there is no fault injection, neither is the function.
    cfg!(CONFIG_FAIL_IO_TIMEOUT)
        // SAFETY: By the safety requirement. Other bits of the word may change meanwhile.
        && unsafe { (&raw const (*q).queue_flags).read_volatile() } & FAIL_IO != 0
        // SAFETY: By the safety requirement.
        && unsafe { bindings::__blk_should_fake_timeout(q) }
}

/// Ends a request: `blk_mq_end_request()`, but for a request without data.
///
/// The block layer merges zone commands for the same zone while they wait in a scheduler, as if
/// they were I/O that touches. What comes of it has several bios without data, and
/// `blk_mq_end_request()` takes the second one for data that is left, which is a `BUG()`.
///
/// # Safety
///
/// The request must be one of a tag set of `T`, the caller's to end, and not be used any more.
unsafe fn end<T: Operations>(rq: NonNull<bindings::request>, status: Status) {
    // INVARIANT: By the safety requirement. It is ended below, and not when it is dropped.
    let request = ManuallyDrop::new(Request::<T>(rq, PhantomData));
    let rq = rq.as_ptr();
    // SAFETY: The disk of a request is valid while the request is; `UnaddedDisk::new` has set its
    // private data.
    let failed = unsafe { Private::<T>::of((*(*rq).q).disk) }.has_failed();
    // From a disk that is dead nothing good is heard.
    let status = match status {
        Status::OK if failed => Status::IOERR,
        status => status,
    };
    // All ends come here: also those that were lost, and those that a dead disk has made errors.
    T::request_ends(request.queue_data(), request.command(), status);
    // SAFETY: By the safety requirement. Each turn ends all data, or one bio that has none.
    unsafe {
        while bindings::blk_update_request(rq, status.into_raw(), (*rq).__data_len) {}
        bindings::__blk_mq_end_request(rq, status.into_raw());
    }
}

/// Fills a page range with zeros, but for its first `skip` bytes.
///
/// # Safety
///
/// The range must be one of a request that the caller owns, and that reads.
unsafe fn fill_zero(bvec: bindings::bio_vec, skip: u32) {
    // A range may go on in the pages that follow; they are filled one by one. Its numbers are
    // within `u32`, and their sum within `usize`.
    let mut offset = bvec.bv_offset as usize + skip as usize;
    let end = bvec.bv_offset as usize + bvec.bv_len as usize;
    while offset < end {
        let in_page = offset % PAGE_SIZE;
        let len = (PAGE_SIZE - in_page).min(end - offset);
        // SAFETY: The pages of a range follow one another in the page array.
        let page = unsafe { bvec.bv_page.add(offset / PAGE_SIZE) };
        // SAFETY: A page of a request is there while the request is, and not null.
        let page = unsafe { BorrowedPage::from_raw(NonNull::new_unchecked(page)) };
        // SAFETY: `in_page + len` is within the page. By the safety requirement the page was given
        // to be filled with the data that is read.
        if unsafe { page.fill_zero_raw(in_page, len) }.is_err() {
            return;
        }
        offset += len;
    }
}

/// Iterates over the data of a request: `rq_for_each_bvec()`.
pub(super) struct Bvecs<'a> {
    /// The bio that `iter` is in.
    bio: *mut bindings::bio,
    /// Where the next range is; [`None`] after the last bio.
    iter: Option<bindings::bvec_iter>,
    _request: PhantomData<&'a ()>,
}

impl Iterator for Bvecs<'_> {
    type Item = bindings::bio_vec;

    fn next(&mut self) -> Option<bindings::bio_vec> {
        loop {
            let iter = self.iter.as_mut()?;
            if iter.bi_size == 0 {
                // SAFETY: `bio` is a bio of a request that `self` borrows, so is the next one.
                self.bio = unsafe { (*self.bio).bi_next };
                // SAFETY: As above.
                self.iter = unsafe { self.bio.as_ref() }.map(|bio| bio.bi_iter);
                continue;
            }
            // SAFETY: While `bi_size` is not zero, `bi_idx` is an index of the bio's array.
            let bvec = unsafe { *(*self.bio).bi_io_vec.add(iter.bi_idx as usize) };
            // `mp_bvec_iter_bvec()` and `bvec_iter_advance_single()`.
            let len = iter.bi_size.min(bvec.bv_len - bi_offset!(iter));
            let range = bindings::bio_vec {
                bv_page: bvec.bv_page,
                bv_len: len,
                bv_offset: bvec.bv_offset + bi_offset!(iter),
            };
            iter.bi_size -= len;
            iter.bi_idx += 1;
            bi_offset!(iter) = 0;
            if len != 0 {
                return Some(range);
            }
        }
    }
}

/// A first-in-first-out list of started requests. It takes no memory: requests have a link.
///
/// Dropping it ends what is in it with [`Status::IOERR`].
///
/// # Invariants
///
/// From `head` on, following `rq_next`, are `len` requests which the list owns; `tail` is the last
/// of them. Both are null in an empty list.
pub(crate) struct RequestList<T: Operations> {
    head: *mut bindings::request,
    tail: *mut bindings::request,
    len: usize,
    _requests: PhantomData<Request<T>>,
}

// SAFETY: The list owns requests, which are `Send`.
unsafe impl<T: Operations> Send for RequestList<T> {}

impl<T: Operations> Default for RequestList<T> {
    fn default() -> Self {
        // INVARIANT: An empty list.
        Self {
            head: null_mut(),
            tail: null_mut(),
            len: 0,
            _requests: PhantomData,
        }
    }
}

impl<T: Operations> From<Request<T>> for RequestList<T> {
    fn from(request: Request<T>) -> Self {
        let mut list = Self::default();
        list.push_back(request);
        list
    }
}

impl<T: Operations> RequestList<T> {
    /// Whether there is nothing in the list.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The number of requests.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a request at the end.
    pub(crate) fn push_back(&mut self, request: Request<T>) {
        let rq = request.into_raw().as_ptr();
        // INVARIANT: The request follows the last one; it was owned and is so now by the list.
        // SAFETY: The request is the driver's, and so is its link, which the block layer uses only
        // for requests that it owns.
        unsafe { (*rq).__bindgen_anon_1.rq_next = null_mut() };
        if self.tail.is_null() {
            self.head = rq;
        } else {
            // SAFETY: By the type invariant `tail` is a request of ours.
            unsafe { (*self.tail).__bindgen_anon_1.rq_next = rq };
        }
        self.tail = rq;
        self.len += 1;
    }

    /// Adds a request at the front.
    pub(crate) fn push_front(&mut self, request: Request<T>) {
        let rq = request.into_raw().as_ptr();
        // INVARIANT: The list follows the request; it was owned and is so now by the list.
        // SAFETY: As in `push_back`.
        unsafe { (*rq).__bindgen_anon_1.rq_next = self.head };
        if self.tail.is_null() {
            self.tail = rq;
        }
        self.head = rq;
        self.len += 1;
    }

    /// Takes the first request.
    pub(crate) fn pop_front(&mut self) -> Option<Request<T>> {
        let rq = NonNull::new(self.head)?;
        // SAFETY: By the type invariant it is a request of ours, and its link is valid.
        self.head = unsafe { rq.as_ref().__bindgen_anon_1.rq_next };
        if self.head.is_null() {
            self.tail = null_mut();
        }
        self.len -= 1;
        // INVARIANT: The list owned it and has given it up.
        Some(Request(rq, PhantomData))
    }

    /// Adds all of `other` at the front, in its order.
    pub(crate) fn prepend(&mut self, other: Self) {
        let other = ManuallyDrop::new(other);
        let Some(tail) = NonNull::new(other.tail) else {
            return;
        };
        // INVARIANT: The first list's requests, then this one's; the other one is forgotten.
        // SAFETY: By the type invariant `tail` is a request of the other list.
        unsafe { (*tail.as_ptr()).__bindgen_anon_1.rq_next = self.head };
        if self.tail.is_null() {
            self.tail = tail.as_ptr();
        }
        self.head = other.head;
        self.len += other.len;
    }

    /// Looks at the first request.
    pub(crate) fn front(&self) -> Option<RequestRef<'_, T>> {
        let rq = NonNull::new(self.head)?;
        Some(RequestRef {
            request: ManuallyDrop::new(Request(rq, PhantomData)),
            _list: PhantomData,
        })
    }

    /// Looks at all requests in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RequestRef<'_, T>> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            let rq = NonNull::new(next)?;
            // SAFETY: By the type invariant it is a request of ours, and its link is valid.
            next = unsafe { rq.as_ref().__bindgen_anon_1.rq_next };
            Some(RequestRef {
                request: ManuallyDrop::new(Request(rq, PhantomData)),
                _list: PhantomData,
            })
        })
    }

    /// Whether what any of the requests writes must be durable before it ends.
    pub(crate) fn is_fua(&self) -> bool {
        self.iter().any(|request| request.is_fua())
    }

    /// Does what [`Request::charge`] does, for the cgroup of the first request: those of a list are
    /// of one if they [may be joined](Request::may_join). `f` is given an empty list as it is.
    pub(crate) fn charge<R>(self, f: impl FnOnce(Self) -> R) -> R {
        let bio = self.front().map_or(null_mut(), |first| first.bio());
        // SAFETY: A request's bios are valid while the request is, which `f` gets.
        unsafe { cgroup::charge(bio, || f(self)) }
    }

    /// Ends all requests in their order with the same status.
    pub(crate) fn end(mut self, status: Status) {
        while let Some(request) = self.pop_front() {
            request.end(status);
        }
    }

    /// Takes everything out of the list.
    pub(crate) fn take(&mut self) -> Self {
        take(self)
    }
}

impl<T: Operations> Drop for RequestList<T> {
    fn drop(&mut self) {
        while let Some(request) = self.pop_front() {
            drop(request);
        }
    }
}

/// A look at a request that a list owns.
pub(crate) struct RequestRef<'a, T: Operations> {
    request: ManuallyDrop<Request<T>>,
    _list: PhantomData<&'a RequestList<T>>,
}

impl<T: Operations> Deref for RequestRef<'_, T> {
    type Target = Request<T>;

    fn deref(&self) -> &Request<T> {
        &self.request
    }
}

impl<T> RequestList<T>
where
    T: Operations,
    T::RequestData: WorkItem<Pointer = Self> + HasWork<T::RequestData>,
{
    /// Has the list handled by a work item on the disk's workqueue: it will be given to the
    /// [`WorkItem::run`] of the requests' data. An empty list is dropped.
    pub(crate) fn enqueue(self) {
        let Some(front) = self.front() else {
            return;
        };
        let queue: *const Queue = front.work_queue();
        // SAFETY: The queue is there while the requests are, which are the work item's from now on.
        // It runs them at the earliest when they have been queued, after which the queue is not
        // used here.
        unsafe { (*queue).enqueue(self) };
    }
}

// SAFETY: `__enqueue` uses the `work_struct` in the `Work` field of the first request's data, which
// `Work::new` has initialised with the `run` below, since `T::RequestData::Pointer` is
// `RequestList<T>`.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for RequestList<T>
where
    T: Operations,
    T::RequestData: WorkItem<ID, Pointer = Self> + HasWork<T::RequestData, ID>,
{
    unsafe extern "C" fn run(ptr: *mut bindings::work_struct) {
        // SAFETY: `__enqueue` has queued the `Work` field of a request's data.
        let data = unsafe { T::RequestData::work_container_of(ptr.cast::<Work<_, ID>>()) };
        // SAFETY: The data is a field of a pdu.
        let pdu = unsafe { kernel::container_of!(data, Pdu<T>, data) };
        // SAFETY: The pdu is behind its request.
        let rq = unsafe { pdu.cast::<bindings::request>().sub(1) };
        // SAFETY: It is not null, and `__enqueue` has left it to us.
        let head = unsafe { Request::<T>::from_raw(NonNull::new_unchecked(rq)) };
        // SAFETY: The request is ours, and no file operation is under way.
        let mut list = unsafe { head.pdu().file_io.take_others() };
        list.push_front(head);
        <T::RequestData as WorkItem<ID>>::run(list);
    }
}

// SAFETY: The work is in the pdu of a request that is owned by `self`, and then by the queue: a
// request's pdu is there for as long as the request is.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for RequestList<T>
where
    T: Operations,
    T::RequestData: WorkItem<ID, Pointer = Self> + HasWork<T::RequestData, ID>,
{
    type EnqueueOutput = ();

    unsafe fn __enqueue<F>(mut self, queue_work_on: F)
    where
        F: FnOnce(*mut bindings::work_struct) -> bool,
    {
        let Some(head) = self.pop_front() else {
            return;
        };
        // SAFETY: The request is ours, and no file operation is under way.
        unsafe { head.pdu().file_io.put_others(self) };
        let rq = head.into_raw().as_ptr();
        // SAFETY: The pdu is initialised, by the type invariant of `Request`.
        let data = unsafe { &raw mut (*Pdu::<T>::of(rq)).data };
        // SAFETY: `data` is valid.
        let work = unsafe { Work::raw_get(T::RequestData::raw_get_work(data)) };
        // The request was ours alone, so its work is in no queue; it can't be refused.
        queue_work_on(work);
    }
}
