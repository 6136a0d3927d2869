// SPDX-License-Identifier: GPL-2.0

//! Executing requests on a file.
//!
//! One asynchronous operation reads or writes a list of contiguous requests of the same direction.
//! The data moves directly between the pages of the requests and the file; this code does not copy
//! it. The operation owns the list until it ends. Then [`FileIoOperations::file_io_done`] gets the
//! list and the result.
//!
//! The `struct kiocb` is in the pdu of the first request of the list. So an operation allocates
//! memory only if its data is not in one array of segments: then it needs an array for all
//! segments, which the pdu keeps for later operations.
//!
//! Writes hold the freeze protection of the file system: they wait while it is frozen. If one of
//! the requests is a FUA write, all of them are durable when the operation has ended. A FUA write
//! that fails with `EAGAIN` is repeated once;
//! [`FileExt::sync`](crate::kernel_ext::fs::FileExt::sync) explains the reason.
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
        Request, //
    },
    request_list::{
        RequestList,
        RequestRef, //
    },
};
use crate::kernel_ext::{
    block::plug::NestedIoScope,
    fs::{
        end_write,
        try_start_write,
        FMODE_READ,
        FMODE_WRITE, //
    },
    task::file_size_is_unlimited, //
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

/// The callbacks of a driver that executes requests on files.
pub(crate) trait FileIoOperations: Operations {
    /// Called when the operation on `requests` has ended, with the number of bytes transferred.
    ///
    /// The context is that of the end of the operation, which may be interrupt context: this must
    /// not sleep.
    fn file_io_done(requests: RequestList<Self>, result: Result<u32>);

    /// Called when [`RequestList::submit_nowait`] has failed, or when a FUA write must be repeated.
    /// The driver must submit the requests again, in a context that may wait. Called in any
    /// context.
    fn file_io_not_now(requests: RequestList<Self>);
}

/// The part of a pdu that a file operation uses. An operation uses that of the first request of its
/// list.
#[pin_data]
pub(super) struct FileIo<T: Operations> {
    #[pin]
    iocb: Opaque<bindings::kiocb>,
    /// The number of references to the operation: the submitter has one, and the completion has
    /// one.
    refs: Atomic<i32>,
    /// The result of the operation, from `ki_complete` or from the submission.
    result: Atomic<i64>,
    /// The state that only the owner of the request uses.
    owned: UnsafeCell<Owned<T>>,
}

struct Owned<T: Operations> {
    file: Option<ARef<File>>,
    direction: Direction,
    /// For an operation that must not wait: the number of bytes that a successful one transfers.
    nowait_bytes: Option<u32>,
    /// Whether the last operation for this request failed with `EAGAIN` and is being repeated.
    repeated: bool,
    /// The other requests of the list.
    others: RequestList<T>,
    /// The segments of the data, if they are not in the array of one bio. It keeps its capacity.
    bvecs: KVec<bindings::bio_vec>,
}

// SAFETY: Only the submitter uses `iocb` and `owned` before the operation begins. During the
// operation only the file system uses `iocb`, and it knows how to share a kiocb; `owned` is only
// read. After the operation only the last holder of `refs` uses both. The other fields are atomic.
unsafe impl<T: Operations> Sync for FileIo<T> {}
// SAFETY: No field belongs to a particular task.
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
                nowait_bytes: None,
                repeated: false,
                others: RequestList::default(),
                bvecs: KVec::new(),
            }),
        })
    }

    /// Resets the state of the previous request with the same tag.
    ///
    /// # Safety
    ///
    /// `rq` must be a request of a tag set of `T` that the caller owns, and no operation may be in
    /// flight for it.
    pub(super) unsafe fn reset(rq: NonNull<bindings::request>) {
        // SAFETY: By the safety requirement the pdu is initialised.
        let io = unsafe { &(*Pdu::<T>::of(rq.as_ptr())).file_io };
        // SAFETY: By the safety requirement no other code uses `owned` now.
        unsafe { (*io.owned.get()).repeated = false };
    }

    /// Stores the other requests of a list whose first request is this one.
    ///
    /// # Safety
    ///
    /// The caller must own the request, and no operation may be in flight for it.
    pub(super) unsafe fn put_others(&self, others: RequestList<T>) {
        // SAFETY: By the safety requirement no other code uses `owned` now.
        unsafe { (*self.owned.get()).others = others };
    }

    /// Takes the requests that [`Self::put_others`] has stored.
    ///
    /// # Safety
    ///
    /// The same as for [`Self::put_others`].
    pub(super) unsafe fn take_others(&self) -> RequestList<T> {
        // SAFETY: By the safety requirement no other code uses `owned` now.
        unsafe { (*self.owned.get()).others.take() }
    }
}

impl<T: Operations> Request<T> {
    /// The block layer's queue of the disk.
    fn queue(&self) -> *const bindings::request_queue {
        // SAFETY: By the type invariant the request is valid, and its queue does not change.
        unsafe { (*self.as_ptr()).q }
    }
}

impl<T: FileIoOperations> RequestList<T> {
    /// Reads or writes the data of all requests, in their order, starting at the byte `position` of
    /// `file`. With a `limit`, only the first `limit` bytes are transferred. All requests must be
    /// reads, or all must be writes, and the file must be open for this direction.
    ///
    /// Must be called in process context, within a
    /// [`BlockIoScope`](crate::kernel_ext::task::BlockIoScope); may sleep. If the operation can't
    /// start, this calls [`FileIoOperations::file_io_done`] with the error. It does nothing for an
    /// empty list.
    pub(crate) fn submit(self, file: ARef<File>, position: u64, limit: Option<u64>) {
        self.start(file, position, Waiting::Allowed, limit);
    }

    /// Like [`Self::submit`], but waits for the end of the operation.
    ///
    /// This is for writes that extend a file. A file system completes an asynchronous extending
    /// write in its own workqueue. A caller that is a worker already avoids this context switch.
    pub(crate) fn submit_and_wait(self, file: ARef<File>, position: u64, limit: Option<u64>) {
        self.start(file, position, Waiting::UntilDone, limit);
    }

    /// Like [`Self::submit`], but does not wait for I/O that is not in flight, nor for locks of the
    /// file system. It waits at most for a free request of the device below. There are two possible
    /// callers: the task that queues the request, in [`Operations::queue_rq`], which passes its
    /// `submission`; or, without a `submission`, a work item within a
    /// [`BlockIoScope`](crate::kernel_ext::task::BlockIoScope). FUA writes must not use this,
    /// because they wait for the medium.
    ///
    /// If the operation would have to wait, or fails for any reason, at once or later, this calls
    /// [`FileIoOperations::file_io_not_now`]: the reason of the failure may be the current task,
    /// and the operation may succeed in another task.
    ///
    /// The I/O is charged to the cgroup of the current task, which should be the [cgroup of the
    /// requests](Request::is_charged_to_current).
    pub(crate) fn submit_nowait(
        self,
        submission: Option<&Submission<'_>>,
        file: ARef<File>,
        position: u64,
    ) {
        // SAFETY: The file is open. Other bits of its mode may change concurrently.
        let mode = unsafe { (&raw const (*file.as_ptr()).f_mode).read_volatile() };
        let supports_nowait = mode & FMODE_NOWAIT != 0;
        let reads = |first: RequestRef<'_, T>| first.direction() == Some(Direction::Read);
        let allowed = self.front().is_some_and(reads) || file_size_is_unlimited();
        let is_in_scope = submission.is_none_or(|submission| submission.is_batch());
        let scope = match is_in_scope {
            true => None,
            false => self
                .front()
                .and_then(|first| NestedIoScope::enter(first.queue())),
        };
        if supports_nowait && allowed && (is_in_scope || scope.is_some()) {
            self.start(file, position, Waiting::Forbidden, None);
        } else {
            T::file_io_not_now(self);
        }
    }

    /// Starts an operation for [`Self::submit`] and its variants, with at most `limit` bytes. The
    /// caller is within a scope.
    fn start(mut self, file: ARef<File>, position: u64, waiting: Waiting, limit: Option<u64>) {
        // A list of requests has at most `u32::MAX` bytes, so a larger limit has no effect.
        let limit = limit.and_then(|limit| u32::try_from(limit).ok());
        let limit = limit.unwrap_or(u32::MAX);
        let Some(head) = self.pop_front() else {
            return;
        };
        let io: *const FileIo<T> = &head.pdu().file_io;
        // SAFETY: We own the request, and no operation is in flight.
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
        owned.nowait_bytes = match waiting {
            Waiting::Allowed | Waiting::UntilDone => None,
            Waiting::Forbidden => Some(bytes),
        };
        owned.others = self;
        // The operation owns this reference to the file. It is dropped before the requests end, so
        // that a task that waits for the requests knows that the reference is gone.
        owned.file = Some(file);
        let waiting_flag = match waiting {
            Waiting::Allowed | Waiting::UntilDone => 0,
            Waiting::Forbidden => IOCB_NOWAIT,
        };
        // An operation without `ki_complete` is synchronous.
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
        // SAFETY: The file is open. Other users of the file may change the flags concurrently.
        let iocb_flags = unsafe { (&raw const (*ki_filp).f_iocb_flags).read_volatile() };
        let iocb = bindings::kiocb {
            ki_filp,
            ki_pos,
            ki_complete,
            // CAST: The flags are a set of bits.
            ki_flags: (iocb_flags | write_flag | waiting_flag) as c_int,
            ki_ioprio: head.ioprio(),
            ..pin_init::zeroed()
        };
        // From here on the operation owns the request.
        // ORDERING: `Relaxed`: the file system passes the operation to its completion.
        let head = head.into_raw();
        // SAFETY: No operation is in flight, so only we use the kiocb and the reference count. The
        // pdu lives until the last reference is dropped.
        let iocb = unsafe {
            (*io).refs.store(2, Relaxed);
            (*io).iocb.get().write(iocb);
            (*io).iocb.get()
        };
        // SAFETY: The kiocb is for this file, and `entry` was found for this file. The kiocb and
        // the file stay valid until we drop our reference.
        let ret = unsafe { entry.submit(iocb, &mut iter) };
        if ret != EIOCBQUEUED.to_errno() as isize {
            // The operation has ended, and `ki_complete` is not called.
            // ORDERING: `Relaxed`: see `put`.
            // SAFETY: We hold both references.
            unsafe {
                (*io).result.store(ret as i64, Relaxed);
                put::<T>(head);
            }
        }
        // SAFETY: We hold the submitter's reference.
        unsafe { put::<T>(head) };
    }

    /// Initialises `iter` for the first `limit` bytes of the data of all requests, and returns the
    /// direction and the number of bytes. `head` is the first request; `self` has the others.
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
        // SAFETY: All requests have a direction, so they have data.
        let (bvec, nr_segs, offset) = unsafe { gather(head, self, bvecs)? };
        let data_source = match direction {
            Direction::Read => bindings::ITER_DEST,
            Direction::Write => bindings::ITER_SOURCE,
        };
        // SAFETY: `bvec` is an array of at least `nr_segs` segments, which have at least `bytes`
        // bytes after `offset`. The array and the pages stay valid until the requests end, which is
        // after the end of the operation.
        unsafe { bindings::iov_iter_bvec(iter, data_source, bvec, nr_segs, bytes as usize) };
        iter.iov_offset = offset;
        Ok((direction, bytes))
    }
}

/// The completion callback of an operation.
type KiComplete = Option<unsafe extern "C" fn(*mut bindings::kiocb, c_long)>;

/// Whether an operation may wait.
#[derive(Clone, Copy)]
enum Waiting {
    /// It may wait in the submission, and then continues asynchronously.
    Allowed,
    /// It must not wait.
    Forbidden,
    /// The submission waits until the operation has ended.
    UntilDone,
}

/// The function of a file system that starts an operation.
type IterFn = unsafe extern "C" fn(*mut bindings::kiocb, *mut bindings::iov_iter) -> isize;

/// The way to submit an operation to a file system.
enum Entry {
    /// Calls the file system directly. The security hooks and notifications of the VFS are for
    /// tasks that use a file. The tasks that use the disk don't know the file; `loop.c` skips the
    /// hooks, too.
    Read(IterFn),
    /// Calls the file system directly, with the freeze protection held.
    Write(IterFn),
    /// Calls the VFS, which waits until the file system is thawed.
    WriteThawed,
}

impl Entry {
    fn find(file: &File, direction: Direction, waiting: Waiting) -> Result<Self> {
        // SAFETY: The file is open. Its operations do not change, and neither do the mode bits for
        // reading and writing. Other mode bits may change concurrently.
        let (mode, read_iter, write_iter) = unsafe {
            let operations = (*file.as_ptr()).f_op;
            (
                (&raw const (*file.as_ptr()).f_mode).read_volatile(),
                (*operations).read_iter,
                (*operations).write_iter,
            )
        };
        // The VFS would check this, but the direct call bypasses it.
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

    /// Submits an operation. This drops the freeze protection if the operation ends at once;
    /// `ki_complete` drops it if the operation ends later.
    ///
    /// # Safety
    ///
    /// `iocb` must be initialised for the file that `self` was found for. `iocb` and the file must
    /// stay valid during the call, and `iter` must be valid.
    unsafe fn submit(self, iocb: *mut bindings::kiocb, iter: &mut bindings::iov_iter) -> isize {
        match self {
            // SAFETY: By the safety requirements.
            Self::Read(read_iter) => unsafe { read_iter(iocb, iter) },
            Self::Write(write_iter) => {
                // SAFETY: By the safety requirements.
                let ret = unsafe { write_iter(iocb, iter) };
                if ret != EIOCBQUEUED.to_errno() as isize {
                    // SAFETY: `find` has taken the protection, and `ki_complete` is not called.
                    // `iocb` and its file are valid by the safety requirements.
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

/// Finds or builds an array with the segments of all data. Returns the array, its length, and the
/// offset of the data in the first segment.
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
        // SAFETY: The bio of a request is valid, and it is not null.
        let bio = unsafe { bio.as_ref() };
        // SAFETY: By the safety requirement.
        let nr_segs = unsafe { head.bvecs() }.count();
        // The bio may have been split, so the data may start inside a segment.
        // SAFETY: `bi_idx` is an index of the bio's array.
        let array = unsafe { bio.bi_io_vec.add(bio.bi_iter.bi_idx as usize) };
        return Ok((array, nr_segs, bi_offset!(bio.bi_iter) as usize));
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

/// The callback at the end of an operation that did not end at once.
///
/// # Safety
///
/// `iocb` must be the kiocb of an operation that [`RequestList::start`] has submitted.
unsafe extern "C" fn ki_complete<T: FileIoOperations>(iocb: *mut bindings::kiocb, ret: c_long) {
    // SAFETY: The kiocb is in the pdu of a request, and the pdu is behind the request.
    let (io, head) = unsafe {
        let io = container_of!(Opaque::cast_from(iocb), FileIo<T>, iocb);
        let pdu = container_of!(io, Pdu<T>, file_io);
        let rq = pdu.cast::<bindings::request>().sub(1);
        (io, NonNull::new_unchecked(rq.cast_mut()))
    };
    // ORDERING: `Relaxed`: see `put`.
    // SAFETY: `owned` does not change during the operation. The write took the freeze protection,
    // and only we drop it. The pdu lives until we drop our reference.
    unsafe {
        if (*(*io).owned.get()).direction == Direction::Write {
            end_write((*iocb).ki_filp);
        }
        (*io).result.store(ret as i64, Relaxed);
    }
    // SAFETY: We hold the reference of the completion.
    unsafe { put::<T>(head) };
}

/// Drops a reference to the operation whose first request is `head`. When the last reference is
/// dropped, the operation has ended.
///
/// # Safety
///
/// The caller must hold a reference, and must not use the reference or `head` any more.
unsafe fn put<T: FileIoOperations>(head: NonNull<bindings::request>) {
    // SAFETY: The pdu lives for as long as the operation has references.
    let io = unsafe { &(*Pdu::<T>::of(head.as_ptr())).file_io };
    // ORDERING: Pairs with itself: the accesses of the other holder, such as the store of `result`,
    // happened before those of the last one.
    if io.refs.fetch_sub(1, Full) != 1 {
        return;
    }
    // SAFETY: The last holder owns the request, as the submitter did.
    let head = unsafe { Request::<T>::from_raw(head) };
    // SAFETY: Only the last holder of a reference uses `owned`.
    let owned = unsafe { &mut *io.owned.get() };
    // ORDERING: `Relaxed`, because `refs` orders it.
    let result = io.result.load(Relaxed);
    let result = match u32::try_from(result) {
        Ok(bytes) => Ok(bytes),
        // CAST: An errno. `from_errno` turns any other value, which no file system returns, into
        // EINVAL.
        Err(_) => Err(Error::from_errno(result as i32)),
    };
    drop(owned.file.take());
    let not_now = match owned.nowait_bytes.take() {
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
