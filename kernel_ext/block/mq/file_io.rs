// SPDX-License-Identifier: GPL-2.0

//! Requests that are carried out on a file.
//!
//! A list of requests of one direction that touch each other is read from or written to a file in
//! one asynchronous operation: the data goes from the requests' pages to the file, or the other way
//! round, without being copied by us. The list belongs to the operation until that has ended, and
//! comes back with its result in [`FileIoOperations::file_io_done`].
//!
//! The `struct kiocb` is in the pdu of the list's first request, so that nothing is allocated but,
//! the first time that a request has its data in several pieces, an array of them that the pdu
//! keeps.
//!
//! Writes hold the file system's freeze protection: they wait while it is frozen. If one of the
//! requests is a FUA write, all of them are durable when the operation has ended. Such a write that
//! fails with `EAGAIN` is repeated once, for the reason that
//! [`FileExt::sync`](crate::kernel_ext::fs::FileExt::sync) has.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/uio.h`](srctree/include/linux/uio.h)

use super::{
    operations::{
        Operations,
        Submission, //
    },
    request::{
        Direction,
        Pdu,
        Request,
        RequestList,
        RequestRef, //
    },
};
use crate::kernel_ext::{
    fs::{
        end_write,
        try_start_write,
        FMODE_READ,
        FMODE_WRITE, //
    },
    task::{
        file_size_is_unlimited,
        NestedIoScope, //
    },
};
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};

use crate::kernel_ext::compat::bi_offset;
use kernel::{
    bindings,
    container_of,
    error::code::EIOCBQUEUED,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
    },
    types::Opaque, //
};

// `include/linux/fs.h`; `bindgen` can't evaluate its macros.
const FMODE_NOWAIT: bindings::fmode_t = 1 << 27;
const IOCB_DSYNC: u32 = 0x2;
const IOCB_NOWAIT: u32 = 0x8;

/// For drivers that carry out requests on files.
pub(crate) trait FileIoOperations: Operations {
    /// Called when the operation on `requests` has ended, with the number of bytes transferred.
    ///
    /// Called by whoever ends the operation, perhaps in interrupt context: it must not sleep.
    fn file_io_done(requests: RequestList<Self>, result: Result<u32>);

    /// Called when [`RequestList::submit_nowait`] has not done it, or when a write must be done
    /// again, in any context: the requests are to be submitted where waiting is allowed.
    fn file_io_not_now(requests: RequestList<Self>);
}

/// The part of a pdu that a file operation needs. It is in use in the first request of a list.
#[pin_data]
pub(super) struct FileIo<T: Operations> {
    #[pin]
    iocb: Opaque<bindings::kiocb>,
    /// Who still looks at the operation: the one who submits it and the one who completes it.
    refs: Atomic<i32>,
    /// What `ki_complete` or the submission returned.
    result: Atomic<i64>,
    /// What only the owner of the request touches.
    owned: UnsafeCell<Owned<T>>,
}

struct Owned<T: Operations> {
    file: Option<ARef<File>>,
    direction: Direction,
    /// For an operation that may not wait: how many bytes make it a success.
    attempt: Option<u32>,
    /// Whether the last operation for this request failed with `EAGAIN` and is done again.
    repeated: bool,
    /// The rest of the list.
    others: RequestList<T>,
    /// The pieces of the data, if they are not one bio's own array. It keeps its capacity.
    bvecs: KVec<bindings::bio_vec>,
}

// SAFETY: `iocb` and `owned` are touched by the submitter before the operation begins, by nobody
// but the file system, which knows how to share a kiocb, while it goes on, and by the last holder
// of `refs` after that. The rest is atomic.
unsafe impl<T: Operations> Sync for FileIo<T> {}
// SAFETY: Nothing in it belongs to a task.
unsafe impl<T: Operations> Send for FileIo<T> {}

impl<T: Operations> FileIo<T> {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            iocb: Opaque::zeroed(),
            refs: Atomic::new(0),
            result: Atomic::new(0),
            owned: UnsafeCell::new(Owned {
                file: None,
                direction: Direction::Read,
                attempt: None,
                repeated: false,
                others: RequestList::default(),
                bvecs: KVec::new(),
            }),
        })
    }

    /// Forgets what was done for another request with the same tag.
    ///
    /// # Safety
    ///
    /// The caller must own the request, with no operation under way.
    pub(super) unsafe fn reset(&self) {
        // SAFETY: Nobody else touches it, by the safety requirement.
        unsafe { (*self.owned.get()).repeated = false };
    }

    /// Stores the rest of a list of which this request is the first.
    ///
    /// # Safety
    ///
    /// The caller must own the request, with no operation under way.
    pub(super) unsafe fn put_others(&self, others: RequestList<T>) {
        // SAFETY: Nobody else touches it, by the safety requirement.
        unsafe { (*self.owned.get()).others = others };
    }

    /// Takes what [`Self::put_others`] has stored.
    ///
    /// # Safety
    ///
    /// As for [`Self::put_others`].
    pub(super) unsafe fn take_others(&self) -> RequestList<T> {
        // SAFETY: Nobody else touches it, by the safety requirement.
        unsafe { (*self.owned.get()).others.take() }
    }
}

impl<T: FileIoOperations> RequestList<T> {
    /// Reads or writes the data of all requests, in their order, from `position` of `file` on, in
    /// bytes. If there is a `limit`, what is behind so many bytes is left out. All of them must be
    /// reads, or all of them writes, and the file be open for it.
    ///
    /// Must be called in process context, within a
    /// [`BlockIoScope`](crate::kernel_ext::task::BlockIoScope), and may sleep. If the operation
    /// can't even begin, [`FileIoOperations::file_io_done`] is called with the error. An empty list
    /// does nothing.
    pub(crate) fn submit(self, file: ARef<File>, position: u64, limit: Option<u64>) {
        self.start(file, position, Waiting::Allowed, limit);
    }

    /// Like [`Self::submit`], but the operation has ended when this returns.
    ///
    /// This is for writes that make a file longer. A file system completes such a write, if it is
    /// asynchronous, in a workqueue of its own. The caller, who is a worker already, saves that.
    pub(crate) fn submit_and_wait(self, file: ARef<File>, position: u64, limit: Option<u64>) {
        self.start(file, position, Waiting::UntilDone, limit);
    }

    /// Like [`Self::submit`], but does not wait for I/O that is not under way, nor for locks of the
    /// file system: at most for a free request of the device below. For the task that queues the
    /// request, in [`Operations::queue_rq`], or, without a `submission`, for a work item within a
    /// [`BlockIoScope`](crate::kernel_ext::task::BlockIoScope). Not for FUA writes, which wait for
    /// the medium.
    ///
    /// If it can't be done without waiting, or does not succeed for whatever reason, at once or
    /// later, [`FileIoOperations::file_io_not_now`] is called: the reason may be the task's, or be
    /// gone in another one.
    ///
    /// The I/O is charged to the current task's cgroup, which should be that of the
    /// [requests](Request::is_charged_to_current).
    pub(crate) fn submit_nowait(
        self,
        submission: Option<&Submission<'_>>,
        file: ARef<File>,
        position: u64,
    ) {
        // SAFETY: The file is open; its mode doesn't change.
        let able = unsafe { (*file.as_ptr()).f_mode } & FMODE_NOWAIT != 0;
        let reads = |first: RequestRef<'_, T>| first.direction() == Some(Direction::Read);
        let allowed = self.front().is_some_and(reads) || file_size_is_unlimited();
        let is_in_scope = submission.is_none_or(|submission| submission.is_batch());
        let scope = match is_in_scope {
            true => None,
            false => self
                .front()
                .and_then(|first| NestedIoScope::enter(first.queue())),
        };
        if able && allowed && (is_in_scope || scope.is_some()) {
            self.start(file, position, Waiting::Forbidden, None);
        } else {
            T::file_io_not_now(self);
        }
    }

    /// Does what [`Self::submit`] and its likes do, within a scope, with at most `limit` bytes.
    fn start(mut self, file: ARef<File>, position: u64, waiting: Waiting, limit: Option<u64>) {
        // No request is as long as that.
        let limit = limit.and_then(|limit| u32::try_from(limit).ok());
        let limit = limit.unwrap_or(u32::MAX);
        let Some(head) = self.pop_front() else {
            return;
        };
        let io: *const FileIo<T> = &head.pdu().file_io;
        // SAFETY: The request is ours, and no operation is under way.
        let owned = unsafe { &mut *(*io).owned.get() };
        let mut iter = bindings::iov_iter::default();
        let prepared = self
            .prepare(&head, &mut owned.bvecs, limit, &mut iter)
            .and_then(|(direction, bytes)| {
                let position = i64::try_from(position)?;
                position.checked_add(i64::from(bytes)).ok_or(EINVAL)?;
                let entry = Entry::find(&file, direction, waiting)?;
                Ok((direction, bytes, position, entry))
            });
        let (direction, bytes, ki_pos, entry) = match prepared {
            Ok(prepared) => prepared,
            Err(err) => {
                self.push_front(head);
                return match waiting {
                    Waiting::Allowed | Waiting::UntilDone => T::file_io_done(self, Err(err)),
                    Waiting::Forbidden => T::file_io_not_now(self),
                };
            }
        };

        let ki_filp = file.as_ptr();
        owned.direction = direction;
        owned.attempt = match waiting {
            Waiting::Allowed | Waiting::UntilDone => None,
            Waiting::Forbidden => Some(bytes),
        };
        owned.others = self;
        // The operation has the file; it is given back before the requests end, so that whoever
        // waits for those can rely on it.
        owned.file = Some(file);
        let waiting_flag = match waiting {
            Waiting::Allowed | Waiting::UntilDone => 0,
            Waiting::Forbidden => IOCB_NOWAIT,
        };
        // An operation without it is synchronous.
        let ki_complete: KiComplete = match waiting {
            Waiting::Allowed | Waiting::Forbidden => Some(ki_complete::<T>),
            Waiting::UntilDone => None,
        };
        let write_flag = match direction {
            Direction::Read => 0,
            Direction::Write if head.is_fua() || owned.others.is_fua() => {
                bindings::IOCB_WRITE | IOCB_DSYNC
            }
            Direction::Write => bindings::IOCB_WRITE,
        };
        // SAFETY: The file is open. If others have it they may change the flags meanwhile.
        let iocb_flags = unsafe { (&raw const (*ki_filp).f_iocb_flags).read_volatile() };
        let iocb = bindings::kiocb {
            ki_filp,
            ki_pos,
            ki_complete,
            // CAST: A set of bits.
            ki_flags: (iocb_flags | write_flag | waiting_flag) as c_int,
            ki_ioprio: head.ioprio(),
            ..pin_init::zeroed()
        };
        // From here on the request belongs to the operation.
        let head = head.into_raw();
        // SAFETY: No operation is under way, so the kiocb and the references are ours. The pdu
        // stays until the last reference is given back.
        let iocb = unsafe {
            (*io).refs.store(2, Relaxed);
            (*io).iocb.get().write(iocb);
            (*io).iocb.get()
        };
        // SAFETY: The kiocb is for this file, the way in was found for it, and it and its file stay
        // until we give back our reference.
        let ret = unsafe { entry.submit(iocb, &mut iter) };
        if ret != EIOCBQUEUED.to_errno() as isize {
            // It has ended, and `ki_complete` is not called.
            // SAFETY: We hold both references.
            unsafe {
                (*io).result.store(ret as i64, Relaxed);
                put::<T>(head);
            }
        }
        // SAFETY: We hold the submitter's reference.
        unsafe { put::<T>(head) };
    }

    /// Makes `iter` go over the data of all requests, `head` being the first, which the list lacks,
    /// or over the first `limit` bytes of it, and returns the direction and the number of bytes.
    fn prepare(
        &self,
        head: &Request<T>,
        bvecs: &mut KVec<bindings::bio_vec>,
        limit: u32,
        iter: &mut bindings::iov_iter,
    ) -> Result<(Direction, u32)> {
        let direction = head.direction().ok_or(EINVAL)?;
        let bytes = self
            .iter()
            .try_fold(head.bytes(), |sum, request| {
                (request.direction() == Some(direction)).then_some(())?;
                sum.checked_add(request.bytes())
            })
            .ok_or(EINVAL)?
            .min(limit);
        // SAFETY: All of them have a direction, and so data.
        let (bvec, nr_segs, offset) = unsafe { gather(head, self, bvecs)? };
        let data_source = match direction {
            Direction::Read => bindings::ITER_DEST,
            Direction::Write => bindings::ITER_SOURCE,
        };
        // SAFETY: `bvec` is an array of at least `nr_segs` pieces that hold at least `bytes` bytes
        // after `offset`. It and the pages stay until the requests end, which is after the
        // operation.
        unsafe { bindings::iov_iter_bvec(iter, data_source, bvec, nr_segs, bytes as usize) };
        iter.iov_offset = offset;
        Ok((direction, bytes))
    }
}

/// How an operation tells that it has ended.
type KiComplete = Option<unsafe extern "C" fn(*mut bindings::kiocb, c_long)>;

/// Whether an operation may wait.
#[derive(Clone, Copy)]
enum Waiting {
    /// It may, before it goes on asynchronously.
    Allowed,
    /// It may not.
    Forbidden,
    /// It does, until it has ended.
    UntilDone,
}

/// The function that an operation enters a file system by.
type IterFn = unsafe extern "C" fn(*mut bindings::kiocb, *mut bindings::iov_iter) -> isize;

/// The way that an operation takes into a file system.
enum Entry {
    /// Straight in. The security hooks and notifications of the VFS are for tasks that use files,
    /// which those above don't know of; `loop.c` does without them, too.
    Read(IterFn),
    /// Straight in, with the freeze protection held.
    Write(IterFn),
    /// Through the VFS, which waits for the file system to be thawed.
    WriteThawed,
}

impl Entry {
    fn find(file: &File, direction: Direction, waiting: Waiting) -> Result<Self> {
        // SAFETY: The file is open. Neither its operations nor the bits of its mode that say what
        // it is open for change; other bits may change meanwhile.
        let (mode, read_iter, write_iter) = unsafe {
            let operations = (*file.as_ptr()).f_op;
            (
                (&raw const (*file.as_ptr()).f_mode).read_volatile(),
                (*operations).read_iter,
                (*operations).write_iter,
            )
        };
        // The VFS would look, but is not asked.
        let needed = match direction {
            Direction::Read => FMODE_READ,
            Direction::Write => FMODE_WRITE,
        };
        if mode & needed == 0 {
            return Err(EBADF);
        }
        match direction {
            Direction::Read => read_iter.map(Self::Read).ok_or(EINVAL),
            Direction::Write => {
                let write_iter = write_iter.ok_or(EINVAL)?;
                // SAFETY: The file is open.
                if unsafe { try_start_write(file.as_ptr()) } {
                    return Ok(Self::Write(write_iter));
                }
                match waiting {
                    Waiting::Allowed | Waiting::UntilDone => Ok(Self::WriteThawed),
                    Waiting::Forbidden => Err(EAGAIN),
                }
            }
        }
    }

    /// Submits an operation. The protection is given back by this if it has ended, and by
    /// `ki_complete` if it ends later.
    ///
    /// # Safety
    ///
    /// `iocb` must be initialised for the file that this was found for, and stay with its file for
    /// the call; `iter` must be valid.
    unsafe fn submit(self, iocb: *mut bindings::kiocb, iter: &mut bindings::iov_iter) -> isize {
        match self {
            // SAFETY: By the safety requirements.
            Self::Read(read_iter) => unsafe { read_iter(iocb, iter) },
            Self::Write(write_iter) => {
                // SAFETY: By the safety requirements.
                let ret = unsafe { write_iter(iocb, iter) };
                if ret != EIOCBQUEUED.to_errno() as isize {
                    // SAFETY: The protection was got in `find`, and `ki_complete` is not called.
                    unsafe { end_write((*iocb).ki_filp) };
                }
                ret
            }
            // SAFETY: By the safety requirements.
            Self::WriteThawed => unsafe {
                bindings::vfs_iocb_iter_write((*iocb).ki_filp, iocb, iter)
            },
        }
    }
}

/// Finds or makes the array of the pieces of all data, and returns it with its length and the
/// offset of the data in the first piece.
///
/// # Safety
///
/// All requests must have data.
unsafe fn gather<T: Operations>(
    head: &Request<T>,
    others: &RequestList<T>,
    bvecs: &mut KVec<bindings::bio_vec>,
) -> Result<(*const bindings::bio_vec, usize, usize)> {
    // SAFETY: The request is valid.
    let (first, last) = unsafe { ((*head.as_ptr()).bio, (*head.as_ptr()).biotail) };
    if others.is_empty() && first == last {
        let bio = NonNull::new(first).ok_or(EIO)?;
        // SAFETY: A request's bio is valid, and it is not null.
        let bio = unsafe { bio.as_ref() };
        // SAFETY: By the safety requirement.
        let pieces = unsafe { head.bvecs() }.count();
        // The bio may have been split, so the data may start within a piece.
        // SAFETY: `bi_idx` is an index of the bio's array.
        let array = unsafe { bio.bi_io_vec.add(bio.bi_iter.bi_idx as usize) };
        return Ok((array, pieces, bi_offset!(bio.bi_iter) as usize));
    }

    bvecs.clear();
    // SAFETY: By the safety requirement.
    for bvec in unsafe { head.bvecs() } {
        bvecs.push(bvec, GFP_KERNEL)?;
    }
    for request in others.iter() {
        // SAFETY: By the safety requirement.
        for bvec in unsafe { request.bvecs() } {
            bvecs.push(bvec, GFP_KERNEL)?;
        }
    }
    Ok((bvecs.as_ptr(), bvecs.len(), 0))
}

/// The end of an operation that did not end at once.
///
/// # Safety
///
/// `iocb` must be that of an operation which [`RequestList::submit`] has begun.
unsafe extern "C" fn ki_complete<T: FileIoOperations>(iocb: *mut bindings::kiocb, ret: c_long) {
    // SAFETY: The kiocb is in the pdu of a request, which is behind the request.
    let (io, head) = unsafe {
        let io = container_of!(Opaque::cast_from(iocb), FileIo<T>, iocb);
        let pdu = container_of!(io, Pdu<T>, file_io);
        let rq = pdu.cast::<bindings::request>().sub(1);
        (io, NonNull::new_unchecked(rq.cast_mut()))
    };
    // SAFETY: `owned` is not changed while the operation goes on. The result is ours to set.
    unsafe {
        if (*(*io).owned.get()).direction == Direction::Write {
            end_write((*iocb).ki_filp);
        }
        (*io).result.store(ret as i64, Relaxed);
    }
    // SAFETY: This is the completer's reference.
    unsafe { put::<T>(head) };
}

/// Gives back a reference to the operation whose first request is `head`. With the last one the
/// operation has ended.
///
/// # Safety
///
/// The caller must hold a reference, and use neither it nor `head` any more.
unsafe fn put<T: FileIoOperations>(head: NonNull<bindings::request>) {
    // SAFETY: The pdu is there while the operation goes on.
    let io = unsafe { &(*Pdu::<T>::of(head.as_ptr())).file_io };
    // `Full` orders what the other holder did before our reading of it.
    if io.refs.fetch_sub(1, Full) != 1 {
        return;
    }
    // SAFETY: The last holder owns the request, as the submitter did.
    let head = unsafe { Request::<T>::from_raw(head) };
    // SAFETY: As above.
    let owned = unsafe { &mut *io.owned.get() };
    let result = io.result.load(Relaxed);
    let result = match u32::try_from(result) {
        Ok(bytes) => Ok(bytes),
        // CAST: An errno, or something that no file system returns and that becomes EINVAL.
        Err(_) => Err(Error::from_errno(result as i32)),
    };
    drop(owned.file.take());
    let not_now = match owned.attempt.take() {
        Some(bytes) => result != Ok(bytes),
        None => {
            let is_durable = || head.is_fua() || owned.others.is_fua();
            owned.repeated = result == Err(EAGAIN) && !owned.repeated && is_durable();
            owned.repeated
        }
    };
    let mut requests = owned.others.take();
    requests.push_front(head);
    if not_now {
        return T::file_io_not_now(requests);
    }
    T::file_io_done(requests, result);
}
