// SPDX-License-Identifier: GPL-2.0

//! Files that the kernel itself opens.
//!
//! All functions may sleep. `directory.rs` opens the files.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::freeze::{
    end_write,
    try_start_write, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    block::SECTOR_SIZE,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic, //
        },
    }, //
};

/// `EOPNOTSUPP`, as a file system returns it.
// CAST: A small constant.
const EOPNOTSUPP: c_int = -(bindings::EOPNOTSUPP as c_int);

// `include/linux/fs.h`; `bindgen` can't evaluate the macro.
const FMODE_NOCMTIME: bindings::fmode_t = 1 << 11;

// `include/uapi/linux/falloc.h`.
const FALLOC_FL_KEEP_SIZE: c_int = 0x1;
const FALLOC_FL_PUNCH_HOLE: c_int = 0x2;
const FALLOC_FL_ZERO_RANGE: c_int = 0x10;

// `include/linux/fs.h`; `bindgen` can't evaluate its macros.
/// The file is open for reading.
pub(crate) const FMODE_READ: bindings::fmode_t = 1 << 0;
/// The file is open for writing.
pub(crate) const FMODE_WRITE: bindings::fmode_t = 1 << 1;

/// The largest block of a disk in bytes.
const MAX_BLOCK: u32 = 4096;

/// The size of a file in bytes.
pub(crate) type FileSize = u64;

/// The alignment that direct I/O to a file requires. Buffered I/O works best with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoAlignment {
    /// The unit of positions and lengths in bytes, a power of two.
    pub(crate) block_size: u32,
    /// The smallest unit of direct I/O in bytes, a power of two.
    pub(crate) direct_block_size: u32,
    /// The alignment of the data in memory, as a mask.
    pub(crate) memory_mask: u32,
}

/// Takes ownership of a file that the VFS has opened for us.
///
/// # Safety
///
/// `file` must be an error pointer, or a file that the kernel has just opened. The caller must own
/// a reference to this file.
pub(super) unsafe fn adopt(file: *mut bindings::file) -> Result<OpenFile> {
    let file = NonNull::new(from_err_ptr(file)?).ok_or(EINVAL)?;
    // SAFETY: By the safety requirement we own the reference. The file is in no file descriptor
    // table, so it has no `fdget_pos` users.
    let file = unsafe { ARef::from_raw(file.cast()) };
    Ok(OpenFile(ManuallyDrop::new(file)))
}

/// A file that the kernel has opened for itself.
///
/// Dropping the last reference closes the file before the drop returns, so that its file system can
/// be unmounted; for a stacked file system see [`flush_delayed_fput`]. An [`ARef`] would close the
/// file a little later. The drop may sleep.
pub(crate) struct OpenFile(ManuallyDrop<ARef<File>>);

impl OpenFile {
    /// Makes writes through this open file leave the mtime and ctime of the inode unchanged.
    ///
    /// A new time stamp changes the inode, and the file system refuses a write that must not wait
    /// but would change the inode. Without this call, one write in each tick of the kernel's clock
    /// would be refused. [`FileExt::update_mtime`] sets the time stamps later.
    pub(crate) fn defer_mtime(self) -> Self {
        // SAFETY: The file is open for as long as `self` exists.
        unsafe { change_mode(self.as_ptr(), |mode| mode | FMODE_NOCMTIME) };
        self
    }

    /// Returns another reference to the file, for an operation on it.
    pub(crate) fn share(&self) -> ARef<File> {
        ARef::clone(&self.0)
    }

    /// Whether other references exist: those of [`Self::share`], and other copies of the [`ARef`].
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: The file is valid, and other code changes the counter atomically.
        let references =
            unsafe { Atomic::from_ptr(&raw mut (*self.as_ptr()).f_ref.refcnt.counter) };
        // The counter of a `file_ref_t` is 0 for one reference.
        // ORDERING: Pairs with the subtraction in `file_ref_put()`: the other holders have used the
        // file before they dropped their reference.
        references.load(Acquire) != 0
    }
}

impl Deref for OpenFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: The field is not used after this.
        let file = ARef::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: We own the reference, which this drops.
        unsafe { bindings::__fput_sync(file.as_ptr().cast()) };
    }
}

/// Waits until all files that kernel threads have dropped are closed; may sleep.
///
/// A stacked file system, overlayfs for instance, has a file of its own for each [`OpenFile`]. It
/// drops this file with `fput`. In a kernel thread `fput` leaves the close to a work item, and the
/// mount stays busy until the work item has run.
///
/// This also waits for files of others, for example for one on a server that does not answer. The
/// caller must hold no lock, and must not be a task that others need to close a file.
pub(crate) fn flush_delayed_fput() {
    // SAFETY: The function has no preconditions but that it may sleep.
    unsafe { bindings::flush_delayed_fput() };
}

/// Changes the mode of an open file, and returns the previous mode.
///
/// # Safety
///
/// `file` must be an open file.
unsafe fn change_mode(
    file: *mut bindings::file,
    change: impl FnOnce(bindings::fmode_t) -> bindings::fmode_t,
) -> bindings::fmode_t {
    // SAFETY: By the safety requirement the file is open. `f_lock` serialises changes of the mode.
    // Readers don't take this lock, so a single volatile write stores the new mode.
    unsafe {
        bindings::spin_lock(&raw mut (*file).f_lock);
        let mode = &raw mut (*file).f_mode;
        let previous = mode.read();
        mode.write_volatile(change(previous));
        bindings::spin_unlock(&raw mut (*file).f_lock);
        previous
    }
}

/// The path of an open file.
pub(super) fn path(file: &File) -> *const bindings::path {
    // SAFETY: An open file is valid, and its path does not change.
    unsafe { &raw const (*file.as_ptr()).__bindgen_anon_1.f_path }
}

/// The current size of a file in bytes, from its inode, without a call of the file system.
fn i_size(file: &File) -> bindings::loff_t {
    // ORDERING: None. `i_size_read()` has an acquire for tasks that then read the pages. Here only
    // the number counts.
    // SAFETY: An open file has an inode. Its size may change concurrently, so this is a volatile
    // read.
    unsafe { (&raw const (*(*file.as_ptr()).f_inode).i_size).read_volatile() }
}

/// The operations of a driver on a regular file.
pub(crate) trait FileExt {
    /// The type of the file, one of `S_IFMT`.
    fn file_type(&self) -> u32;

    /// The size of the file.
    fn size(&self) -> Result<FileSize>;

    /// Whether the file has at least `bytes` bytes, by the `i_size` of its inode. Never waits.
    ///
    /// On a network file system, another machine may have extended the file. On a 32-bit machine, a
    /// read while the size changes may return any value. So callers may rely only on the result
    /// `true`.
    fn i_size_covers(&self, bytes: FileSize) -> bool;

    /// The alignment of I/O to the file. The unit is the block of the file system, unless that is
    /// larger than the largest block of a disk.
    fn alignment(&self) -> Result<IoAlignment>;

    /// Makes the file shorter or longer. New bytes read as zeros.
    fn truncate(&self, size: FileSize) -> Result;

    /// Allocates space for the bytes from `from` to `to`, without changing the size.
    fn preallocate(&self, from: u64, to: u64) -> Result;

    /// Whether [`Self::punch_hole`] is expected to work: not all file systems have holes. This may
    /// change the mtime of the file, and changes no data.
    fn has_holes(&self) -> bool;

    /// Makes the bytes from `from` to `to` read as zeros, and frees their space. The size does not
    /// change.
    fn punch_hole(&self, from: u64, to: u64) -> Result;

    /// Makes the bytes from `from` to `to` read as zeros. Their space stays allocated if the file
    /// system supports preallocation. The size does not change.
    fn zero_range(&self, from: u64, to: u64) -> Result;

    /// Copies the bytes from `from` to `to` to the same position of another file in the same file
    /// system. The file system may share their blocks between the files.
    fn copy_to(&self, other: &File, from: u64, to: u64) -> Result;

    /// Writes back the file and makes it durable. This also fails if an earlier write-back has
    /// failed and this open file has not reported that error yet.
    ///
    /// A failure with `EAGAIN` is retried once. btrfs on any zoned disk fails with it occasionally
    /// while several files are synced in parallel; `btrfs_sync_log()` often returns it in this
    /// situation. A program may repeat its `fsync`, but a file system does not repeat a flush.
    fn sync(&self) -> Result;

    /// Sets the file's mtime and ctime to the current time. Writes do not update them after
    /// [`OpenFile::defer_mtime`].
    ///
    /// # Errors
    ///
    /// EAGAIN while the file system is frozen, or an error of the file system.
    fn update_mtime(&self) -> Result;

    /// Reads up to `buffer.len()` bytes from `position` on, and returns the number of bytes read.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize>;

    /// Writes all of `data` to `position`.
    fn write_all_at(&self, data: &[u8], position: u64) -> Result;
}

impl FileExt for File {
    fn file_type(&self) -> u32 {
        // SAFETY: An open file has an inode. Its type does not change, but other bits may change
        // concurrently.
        let mode = unsafe { (&raw const (*(*self.as_ptr()).f_inode).i_mode).read_volatile() };
        u32::from(mode) & bindings::S_IFMT
    }

    fn size(&self) -> Result<FileSize> {
        // CAST: A size is not negative.
        // SAFETY: The path is that of an open file.
        let stat = unsafe { getattr(path(self), bindings::STATX_SIZE) }?;
        Ok(stat.size as FileSize)
    }

    fn i_size_covers(&self, bytes: FileSize) -> bool {
        FileSize::try_from(i_size(self)).is_ok_and(|size| size >= bytes)
    }

    fn alignment(&self) -> Result<IoAlignment> {
        // SAFETY: The path is that of an open file.
        let stat = unsafe { getattr(path(self), bindings::STATX_DIOALIGN) }?;
        // SAFETY: An open file has an inode, which has a super block.
        let (fs_block, bdev) = unsafe {
            let sb = (*(*self.as_ptr()).f_inode).i_sb;
            ((*sb).s_blocksize, (*sb).s_bdev)
        };

        // A file system without direct I/O reports 0. For a file system that reports nothing, or 0,
        // use the alignment of the disk below it.
        let direct = stat.result_mask & bindings::STATX_DIOALIGN != 0 && stat.dio_mem_align != 0;
        let (unit, smallest, memory) = if direct {
            let unit = stat.dio_offset_align;
            (unit, unit, stat.dio_mem_align - 1)
        } else if let Some(bdev) = NonNull::new(bdev) {
            // SAFETY: The disk below a file system in use is valid, and has a queue. Its limits may
            // change concurrently.
            unsafe {
                let limits = &raw const (*(*bdev.as_ptr()).bd_queue).limits;
                (
                    (&raw const (*limits).physical_block_size).read_volatile(),
                    (&raw const (*limits).logical_block_size).read_volatile(),
                    (&raw const (*limits).dma_alignment).read_volatile(),
                )
            }
        } else {
            (SECTOR_SIZE, SECTOR_SIZE, SECTOR_SIZE - 1)
        };
        // A stacked file system, for example overlayfs, has no block size of its own.
        let block_size = match u32::try_from(fs_block) {
            Ok(0) if stat.blksize <= MAX_BLOCK => stat.blksize,
            Ok(block) if (1..=MAX_BLOCK).contains(&block) => block,
            _ => unit,
        };
        if !block_size.is_power_of_two() || !(SECTOR_SIZE..=MAX_BLOCK).contains(&block_size) {
            return Err(EINVAL);
        }
        Ok(IoAlignment {
            block_size,
            direct_block_size: smallest.max(SECTOR_SIZE),
            memory_mask: memory.clamp(SECTOR_SIZE - 1, MAX_BLOCK - 1),
        })
    }

    fn truncate(&self, size: FileSize) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: The path is that of an open file.
        to_result(unsafe { bindings::vfs_truncate(path(self), size) })
    }

    fn preallocate(&self, from: u64, to: u64) -> Result {
        fallocate(self, FALLOC_FL_KEEP_SIZE, from, to)
    }

    fn has_holes(&self) -> bool {
        // SAFETY: The file is open. Its operations do not change, and neither do the mode bits for
        // reading and writing. Other mode bits may change concurrently.
        let (mode, fallocate) = unsafe {
            (
                (&raw const (*self.as_ptr()).f_mode).read_volatile(),
                (*(*self.as_ptr()).f_op).fallocate,
            )
        };
        let Some(fallocate) = fallocate.filter(|_| mode & FMODE_WRITE != 0) else {
            return false;
        };
        // SAFETY: The file is open. A file system may stay frozen for long, so this does not wait:
        // then the result is `true` without a test.
        if !unsafe { try_start_write(self.as_ptr()) } {
            return true;
        }
        // The hole is behind the end of the file, where it changes no data.
        let end = i_size(self);
        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        // SAFETY: The file is open for writing, and we hold the freeze protection of its file
        // system.
        let ret = unsafe { fallocate(self.as_ptr(), mode, end, MAX_BLOCK.into()) };
        // SAFETY: The freeze protection was taken above.
        unsafe { end_write(self.as_ptr()) };
        ret != EOPNOTSUPP as c_long
    }

    fn punch_hole(&self, from: u64, to: u64) -> Result {
        fallocate(self, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to)
    }

    fn zero_range(&self, from: u64, to: u64) -> Result {
        let zeroed = fallocate(self, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, from, to);
        if !zeroed.is_err_and(|err| err.to_errno() == EOPNOTSUPP) {
            return zeroed;
        }
        self.punch_hole(from, to)?;
        match self.preallocate(from, to) {
            Err(err) if err.to_errno() == EOPNOTSUPP => Ok(()),
            result => result,
        }
    }

    fn copy_to(&self, other: &File, from: u64, to: u64) -> Result {
        let mut at = from;
        while at < to {
            let position = i64::try_from(at)?;
            let len = usize::try_from(to - at)?;
            // SAFETY: Both files are open.
            let ret = unsafe {
                bindings::vfs_copy_file_range(
                    self.as_ptr(),
                    position,
                    other.as_ptr(),
                    position,
                    len,
                    0,
                )
            };
            match bytes_or_error(ret)? {
                // The file ends before `to`.
                0 => return Err(EIO),
                copied => at = at.saturating_add(u64::try_from(copied)?),
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result {
        let sync = || {
            // SAFETY: The file is open.
            to_result(unsafe { bindings::vfs_fsync(self.as_ptr(), 0) })
        };
        match sync() {
            Err(err) if err == EAGAIN => sync(),
            result => result,
        }
    }

    fn update_mtime(&self) -> Result {
        let file = self.as_ptr();
        // SAFETY: The file is open.
        if !unsafe { try_start_write(file) } {
            return Err(EAGAIN);
        }
        // With the flag set, `file_update_time()` would do nothing. A concurrent write that finds
        // the flag cleared updates the time stamps itself.
        // SAFETY: The file is open, and we hold the freeze protection of its file system.
        let ret = unsafe {
            let previous = change_mode(file, |mode| mode & !FMODE_NOCMTIME);
            let ret = bindings::file_update_time(file);
            change_mode(file, |mode| mode | previous & FMODE_NOCMTIME);
            ret
        };
        // SAFETY: The freeze protection was taken above.
        unsafe { end_write(file) };
        to_result(ret)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let mut position = i64::try_from(position)?;
        // SAFETY: The file is open, and the buffer is valid for its length.
        let ret = unsafe {
            bindings::kernel_read(
                self.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                &mut position,
            )
        };
        bytes_or_error(ret)
    }

    fn write_all_at(&self, data: &[u8], position: u64) -> Result {
        let mut position = i64::try_from(position)?;
        let mut rest = data;
        while !rest.is_empty() {
            // SAFETY: The file is open, and `rest` is valid for its length.
            let ret = unsafe {
                bindings::kernel_write(
                    self.as_ptr(),
                    rest.as_ptr().cast(),
                    rest.len(),
                    &mut position,
                )
            };
            rest = match bytes_or_error(ret)? {
                0 => return Err(ENOSPC),
                written => rest.get(written..).ok_or(EIO)?,
            };
        }
        Ok(())
    }
}

/// Changes the allocation of the bytes from `from` to `to`: `fallocate(2)`. Waits while the file
/// system is frozen.
fn fallocate(file: &File, mode: c_int, from: u64, to: u64) -> Result {
    let len = i64::try_from(to.checked_sub(from).ok_or(EINVAL)?)?;
    let from = i64::try_from(from)?;
    // SAFETY: The file is open.
    to_result(unsafe { bindings::vfs_fallocate(file.as_ptr(), mode, from, len) })
}

/// Returns the attributes of the file at a path. The caller must have a reference to the path.
///
/// # Safety
///
/// `path` must be valid for the call.
pub(super) unsafe fn getattr(path: *const bindings::path, mask: u32) -> Result<bindings::kstat> {
    let mut stat: bindings::kstat = pin_init::zeroed();
    // SAFETY: By the safety requirement the path is valid. `stat` is valid for the call.
    to_result(unsafe {
        bindings::vfs_getattr(path, &mut stat, mask, bindings::AT_STATX_SYNC_AS_STAT)
    })?;
    Ok(stat)
}

fn bytes_or_error(ret: isize) -> Result<usize> {
    // CAST: A negative result is an errno.
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as c_int))
}
