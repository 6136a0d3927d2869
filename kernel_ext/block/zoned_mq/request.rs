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
    workqueue::ImmediateQueue, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
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
    types::ForeignOwnable, //
};

/// The operation of a request: the part of `enum req_op` that reaches a driver of zoned block
/// devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReqOp {
    /// Read sectors.
    Read,
    /// Write sectors.
    Write,
    /// Make the written data durable.
    Flush,
    /// Write sectors at the write pointer of a zone, and return their position.
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
    /// Free the space of sectors whose data is not needed any more.
    Discard,
    /// Make sectors read as zeros. The request has no data.
    WriteZeroes,
}

/// The direction of the data of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the device to the request.
    Read,
    /// From the request to the device.
    Write,
}

/// The driver's part of a request, which is behind each request of a tag set.
#[pin_data]
pub(super) struct Pdu<T: Operations> {
    #[pin]
    pub(super) data: T::RequestData,
    #[pin]
    pub(super) file_io: FileIo<T>,
    /// The request ends only when it times out: see [`Request::end`] and [`Request::abandon`].
    is_abandoned: Atomic<bool>,
}

impl<T: Operations> Pdu<T> {
    /// A pdu begins directly behind its request, so it has only the alignment of a request.
    const IS_ALIGNED: () = assert!(align_of::<Self>() <= align_of::<bindings::request>());

    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            data <- T::new_request_data(),
            file_io <- FileIo::new(),
            is_abandoned: Atomic::new(false),
        })
    }

    /// The address of the pdu of a request: `blk_mq_rq_to_pdu()`.
    ///
    /// # Safety
    ///
    /// `rq` must be a request of a tag set of `T`.
    pub(super) unsafe fn of(rq: *mut bindings::request) -> *mut Self {
        let () = Self::IS_ALIGNED;
        // SAFETY: The tag set has room for a pdu behind each request.
        unsafe { rq.add(1) }.cast()
    }
}

/// The operation of a request, or [`None`] if a driver of zoned block devices does not get it.
///
/// # Safety
///
/// `rq` must be valid.
unsafe fn op_of(rq: NonNull<bindings::request>) -> Option<ReqOp> {
    // SAFETY: By the safety requirement the request is valid. Its operation does not change.
    let flags = unsafe { (*rq.as_ptr()).cmd_flags };
    // `req_op()`.
    Some(match flags & ((1 << bindings::REQ_OP_BITS) - 1) {
        bindings::req_op_REQ_OP_READ => ReqOp::Read,
        bindings::req_op_REQ_OP_WRITE => ReqOp::Write,
        bindings::req_op_REQ_OP_FLUSH => ReqOp::Flush,
        bindings::req_op_REQ_OP_ZONE_APPEND => ReqOp::ZoneAppend,
        bindings::req_op_REQ_OP_ZONE_OPEN => ReqOp::ZoneOpen,
        bindings::req_op_REQ_OP_ZONE_CLOSE => ReqOp::ZoneClose,
        bindings::req_op_REQ_OP_ZONE_FINISH => ReqOp::ZoneFinish,
        bindings::req_op_REQ_OP_ZONE_RESET => ReqOp::ZoneReset,
        bindings::req_op_REQ_OP_ZONE_RESET_ALL => ReqOp::ZoneResetAll,
        bindings::req_op_REQ_OP_DISCARD => ReqOp::Discard,
        bindings::req_op_REQ_OP_WRITE_ZEROES => ReqOp::WriteZeroes,
        _ => return None,
    })
}

/// A request that the driver can start or give back.
///
/// Dropping it ends the request with [`Status::IOERR`], so that its submitter does not wait
/// forever.
///
/// # Invariants
///
/// The pointer is to a request whose pdu is initialised, and which the driver may start.
#[must_use]
pub(crate) struct IdleRequest<T: Operations>(NonNull<bindings::request>, PhantomData<T>);

impl<T: Operations> IdleRequest<T> {
    /// # Safety
    ///
    /// `rq` must be valid and have an initialised pdu, and the block layer must have handed it
    /// over.
    pub(super) unsafe fn from_raw(rq: *mut bindings::request) -> Self {
        // SAFETY: A valid pointer is not null.
        let rq = unsafe { NonNull::new_unchecked(rq) };
        // INVARIANT: By the safety requirement.
        Self(rq, PhantomData)
    }

    /// Starts the request. From now on its timeout runs, and the driver must end it.
    pub(crate) fn start(self) -> Request<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: By the type invariant the driver may start the request. `this` is not used any
        // more.
        unsafe { start(this.0) }
    }

    /// Gives the request back to the block layer.
    pub(super) fn give_back(self) {
        let _ = ManuallyDrop::new(self);
    }

    /// The operation, or [`None`] if a driver of zoned block devices does not get it.
    pub(crate) fn op(&self) -> Option<ReqOp> {
        // SAFETY: By the type invariant the request is valid.
        unsafe { op_of(self.0) }
    }

    /// The first sector, from the start of the disk: `blk_rq_pos()`.
    pub(crate) fn sector(&self) -> u64 {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.0.as_ptr()).__sector }
    }
}

impl<T: Operations> Drop for IdleRequest<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the driver may start the request. `self` is not used any
        // more.
        drop(unsafe { start::<T>(self.0) });
    }
}

/// Starts a request.
///
/// # Safety
///
/// `rq` must be the request of an [`IdleRequest`] that is not used any more.
unsafe fn start<T: Operations>(rq: NonNull<bindings::request>) -> Request<T> {
    // SAFETY: By the safety requirement the driver may start the request.
    unsafe { bindings::blk_mq_start_request(rq.as_ptr()) };
    // SAFETY: We own the request, and no file operation is in flight for it.
    unsafe { FileIo::<T>::reset(rq) };
    // INVARIANT: The request was started above.
    Request(rq, PhantomData)
}

/// A request that has been started.
///
/// [`Self::end`] ends it. Dropping it ends the request with [`Status::IOERR`], so that its
/// submitter does not wait forever.
///
/// # Invariants
///
/// The pointer is to a request that was started and has not ended, and whose pdu is initialised.
/// Nothing else owns the request.
#[must_use]
pub(crate) struct Request<T: Operations>(
    pub(super) NonNull<bindings::request>,
    pub(super) PhantomData<T>,
);

// SAFETY: Any task may end a started request.
unsafe impl<T: Operations> Send for Request<T> {}
// SAFETY: A shared reference gives access only to fields that don't change while the request is
// started, and to the driver's data, which is `Sync`.
unsafe impl<T: Operations> Sync for Request<T> {}

impl<T: Operations> Request<T> {
    pub(super) fn into_raw(self) -> NonNull<bindings::request> {
        ManuallyDrop::new(self).0
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::request {
        self.0.as_ptr()
    }

    pub(super) fn pdu(&self) -> &Pdu<T> {
        // SAFETY: By the type invariant the pdu is initialised. All references to it are shared
        // ones.
        unsafe { &*Pdu::of(self.as_ptr()) }
    }

    /// The operation; see [`IdleRequest::op`].
    pub(crate) fn op(&self) -> Option<ReqOp> {
        // SAFETY: By the type invariant the request is valid.
        unsafe { op_of(self.0) }
    }

    /// The driver's data of the disk.
    pub(crate) fn queue_data(&self) -> QueueDataRef<'_, T> {
        // SAFETY: The queue of a request is valid for as long as the request.
        let data = unsafe { (*(*self.as_ptr()).q).queuedata };
        // SAFETY: `UnaddedDisk::new` has set `queuedata` from `into_foreign`, and the disk keeps it
        // for as long as it has requests.
        unsafe { T::QueueData::borrow(data) }
    }

    /// The workqueue of the disk.
    pub(crate) fn work_queue(&self) -> &ImmediateQueue {
        // SAFETY: The disk of a request is valid for as long as the request, and `UnaddedDisk::new`
        // has set its private data.
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
        // INVARIANT: The operation is checked here.
        (self.op() == Some(ReqOp::ZoneAppend)).then_some(AppendRequest(self))
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

    /// Whether the written data must be durable before the request ends: `REQ_FUA`.
    pub(crate) fn is_fua(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_FUA)
    }

    /// Whether a write zeroes must keep the space of its sectors allocated: `REQ_NOUNMAP`.
    pub(crate) fn is_nounmap(&self) -> bool {
        self.has_flag(bindings::req_flag_bits___REQ_NOUNMAP)
    }

    fn has_flag(&self, bit: bindings::req_flag_bits) -> bool {
        // SAFETY: By the type invariant the request is valid. Its flags do not change.
        let flags = unsafe { (*self.as_ptr()).cmd_flags };
        flags & (1 << bit) != 0
    }

    /// The direction of the data, or [`None`] if the request has no data.
    pub(super) fn direction(&self) -> Option<Direction> {
        match self.op()? {
            ReqOp::Read => Some(Direction::Read),
            ReqOp::Write | ReqOp::ZoneAppend => Some(Direction::Write),
            _ => None,
        }
    }

    /// The request's I/O priority, an `IOPRIO_PRIO_VALUE()`: `req_get_ioprio()`.
    pub(super) fn ioprio(&self) -> u16 {
        // SAFETY: The bios of a request are valid for as long as the request.
        unsafe { self.bio().as_ref() }.map_or(0, |bio| bio.bi_ioprio)
    }

    /// Whether one I/O operation may serve both requests: they have the same priority and are
    /// charged to the same cgroup.
    pub(crate) fn may_join(&self, other: &Self) -> bool {
        // SAFETY: The bios of a request are valid for as long as the request.
        self.ioprio() == other.ioprio() && unsafe { cgroup::is_same(self.bio(), other.bio()) }
    }

    /// Whether the request is charged to the cgroup of the current task, so that this task may
    /// submit I/O for it. The current task must be a user task.
    pub(crate) fn is_charged_to_current(&self) -> bool {
        // SAFETY: The bios of a request are valid for as long as the request.
        unsafe { cgroup::is_of_current(self.bio()) }
    }

    /// Calls `f`, which executes the request, in a worker. The I/O of `f` and the memory that it
    /// allocates are charged to the cgroup of the request.
    ///
    /// Calls must not be nested: after the inner call, the rest of the outer call is charged to the
    /// root cgroup.
    pub(crate) fn charge<R>(self, f: impl FnOnce(Self) -> R) -> R {
        // SAFETY: The bios of a request are valid when this is called; `f` may end the request.
        unsafe { cgroup::charge(self.bio(), || f(self)) }
    }

    /// The request's first bio, or null.
    pub(super) fn bio(&self) -> *mut bindings::bio {
        // SAFETY: By the type invariant the request is valid.
        unsafe { (*self.as_ptr()).bio }
    }

    /// Ends a read whose first `bytes` bytes were read; this fills the rest with zeros. A request
    /// that is not a read ends with [`Status::IOERR`].
    pub(crate) fn end_read(self, bytes: u32) {
        if self.direction() != Some(Direction::Read) {
            return self.end(Status::IOERR);
        }
        let mut skip = bytes;
        // SAFETY: A read has data.
        for bvec in unsafe { self.bvecs() } {
            let bvec_skip = skip.min(bvec.bv_len);
            skip -= bvec_skip;
            // SAFETY: The range belongs to a read that we own.
            unsafe { fill_zero(bvec, bvec_skip) };
        }
        self.end(Status::OK);
    }

    /// The data as page ranges. A range may be longer than a page.
    ///
    /// # Safety
    ///
    /// [`Self::direction`] must not be [`None`]: a request without data may have bios without an
    /// array.
    pub(super) unsafe fn bvecs(&self) -> Bvecs<'_> {
        let bio = self.bio();
        // SAFETY: The bios of a request are valid for as long as the request.
        let iter = unsafe { bio.as_ref() }.map(|bio| bio.bi_iter);
        Bvecs {
            bio,
            iter,
            _request: PhantomData,
        }
    }

    /// Ends the request. If fault injection (`fail_io_timeout`) selects the request, it ends only
    /// when it times out.
    pub(crate) fn end(self, status: Status) {
        // SAFETY: We own the request, and it is not used any more.
        unsafe { end_or_abandon::<T>(self.into_raw(), status) };
    }
}

impl<T: Operations> Request<T> {
    /// Abandons the request without an execution, as if a drive never answered: the request ends
    /// when it times out.
    pub(crate) fn abandon(self) {
        let this = ManuallyDrop::new(self);
        // ORDERING: Pairs with the load in `end_if_abandoned`, which owns the request from here on.
        this.pdu().is_abandoned.store(true, Release);
    }
}

impl<T: Operations> Drop for Request<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the request, and it is not used any more.
        unsafe { end_or_abandon::<T>(self.0, Status::IOERR) };
    }
}

/// A zone append, which can get the sector of its data.
///
/// Only a zone append may change its sector. For a write, the block layer uses the sector to find
/// the zone that the write holds a reference to, and drops this reference when the write ends.
///
/// # Invariants
///
/// The request is a zone append.
pub(crate) struct AppendRequest<'a, T: Operations>(&'a mut Request<T>);

impl<T: Operations> AppendRequest<'_, T> {
    /// Sets the sector that the data was written to, from the start of the disk.
    pub(crate) fn set_sector(self, sector: u64) {
        // SAFETY: We own the request, which is valid. By the type invariant it is a zone append,
        // and the block layer only returns the sector of a zone append to the submitter.
        unsafe { (*self.0.as_ptr()).__sector = sector };
    }
}

/// Ends a request that has timed out, if it was abandoned. Any other request is still being
/// executed. Returns whether this has ended the request.
///
/// # Safety
///
/// `rq` must be a started request of a tag set of `T`. The caller must be the block layer's
/// `timeout` callback for it, which does not run concurrently for the same request.
pub(super) unsafe fn end_if_abandoned<T: Operations>(rq: NonNull<bindings::request>) -> bool {
    // SAFETY: A started request has an initialised pdu.
    let abandoned = unsafe { &(*Pdu::<T>::of(rq.as_ptr())).is_abandoned };
    // ORDERING: Pairs with the stores of `true`: all work on the request happened before its end.
    if !abandoned.load(Acquire) {
        return false;
    }
    // ORDERING: `Relaxed`, because we own the request. Its end passes it to its next user.
    abandoned.store(false, Relaxed);
    // SAFETY: The code that set the flag has given up the request, so we own it.
    unsafe { end::<T>(rq, Status::TIMEOUT) };
    true
}

/// Ends a request, or abandons it if fault injection selects it.
///
/// # Safety
///
/// The request must be of a tag set of `T`. The caller must own it and not use it any more.
unsafe fn end_or_abandon<T: Operations>(rq: NonNull<bindings::request>, status: Status) {
    // SAFETY: The caller owns the request, which has a queue.
    if unsafe { should_fake_timeout((*rq.as_ptr()).q) } {
        // SAFETY: The caller owns the request, whose pdu is initialised.
        let abandoned = unsafe { &(*Pdu::<T>::of(rq.as_ptr())).is_abandoned };
        // ORDERING: Pairs with the load in `end_if_abandoned`, which owns the request from here on.
        abandoned.store(true, Release);
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

    // A kernel without this fault injection lacks the function.
    cfg!(CONFIG_FAIL_IO_TIMEOUT)
        // SAFETY: By the safety requirement `q` is valid. Other bits of the word may change
        // concurrently.
        && unsafe { (&raw const (*q).queue_flags).read_volatile() } & FAIL_IO != 0
        // SAFETY: By the safety requirement.
        && unsafe { bindings::__blk_should_fake_timeout(q) }
}

/// Ends a request: `blk_mq_end_request()`, which also handles a request with several bios without
/// data.
///
/// While zone commands for the same zone wait in a scheduler, the block layer merges them like
/// contiguous I/O. The merged request has several bios without data. `blk_mq_end_request()` takes
/// the second bio for remaining data, which is a `BUG()`.
///
/// # Safety
///
/// The request must be of a tag set of `T`. The caller must own it and not use it any more.
unsafe fn end<T: Operations>(rq: NonNull<bindings::request>, status: Status) {
    // INVARIANT: By the safety requirement we own the request. It is ended below and never dropped.
    let request = ManuallyDrop::new(Request::<T>(rq, PhantomData));
    let rq = rq.as_ptr();
    // SAFETY: The disk of a request is valid for as long as the request, and `UnaddedDisk::new` has
    // set its private data.
    let is_dead = unsafe { Private::<T>::of((*(*rq).q).disk) }.is_dead();
    // No request of a dead disk succeeds.
    let status = match status {
        Status::OK if is_dead => Status::IOERR,
        status => status,
    };
    // Every request ends here, including abandoned requests and those that fail because the disk is
    // dead.
    T::request_ends(request.queue_data(), request.op(), status);
    // SAFETY: By the safety requirement we own the request. Each iteration ends all data, or one
    // bio without data.
    unsafe {
        while bindings::blk_update_request(rq, status.into_raw(), (*rq).__data_len) {}
        bindings::__blk_mq_end_request(rq, status.into_raw());
    }
}

/// Fills a page range with zeros, except its first `skip` bytes.
///
/// # Safety
///
/// The range must belong to a read request that the caller owns.
unsafe fn fill_zero(bvec: bindings::bio_vec, skip: u32) {
    // A range may continue in the following pages; this fills them one by one.
    // OVERFLOW: Both addends are `u32`, and the end of a range in memory fits in `usize`.
    let mut offset = bvec.bv_offset as usize + skip as usize;
    let end = bvec.bv_offset as usize + bvec.bv_len as usize;
    while offset < end {
        let in_page = offset % PAGE_SIZE;
        let len = (PAGE_SIZE - in_page).min(end - offset);
        // SAFETY: The pages of a range are consecutive in the page array.
        let page = unsafe { bvec.bv_page.add(offset / PAGE_SIZE) };
        // SAFETY: A page of a request is not null, and is valid for as long as the request.
        let page = unsafe { BorrowedPage::from_raw(NonNull::new_unchecked(page)) };
        // SAFETY: `in_page + len` is within the page. By the safety requirement the page is a
        // destination of read data, so we may write to it.
        if unsafe { page.fill_zero_raw(in_page, len) }.is_err() {
            return;
        }
        offset += len;
    }
}

/// Iterates over the data of a request: `rq_for_each_bvec()`.
pub(super) struct Bvecs<'a> {
    /// The bio that `iter` belongs to.
    bio: *mut bindings::bio,
    /// The position of the next range; [`None`] after the last bio.
    iter: Option<bindings::bvec_iter>,
    _request: PhantomData<&'a ()>,
}

impl Iterator for Bvecs<'_> {
    type Item = bindings::bio_vec;

    fn next(&mut self) -> Option<bindings::bio_vec> {
        loop {
            let iter = self.iter.as_mut()?;
            if iter.bi_size == 0 {
                // SAFETY: `bio` belongs to a request that `self` borrows, and so does the next bio.
                self.bio = unsafe { (*self.bio).bi_next };
                // SAFETY: `bio` is null or a bio of the borrowed request.
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
