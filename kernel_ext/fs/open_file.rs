// SPDX-License-Identifier: GPL-2.0

//! Files that the kernel itself opens.
//!
//! Names are resolved with the credentials and in the mount namespace of the current task. All
//! functions may sleep.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h)

use super::freeze::{
    end_write,
    try_start_write, //
};
use core::{
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    },
};
use kernel::{
    bindings,
    block::SECTOR_SIZE,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::{
        file::flags,
        File, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic, //
        },
    },
    types::ScopeGuard, //
};

// `include/linux/namei.h` is not among the headers of the kernel crate's bindings. The functions
// are exported.
#[expect(
    improper_ctypes,
    reason = "a lock class key is a type without fields in some kernels"
)]
unsafe extern "C" {
    /// Locks `parent` and looks up `name` in it for a removal, without a permission check.
    fn start_removing_noperm(
        parent: *mut bindings::dentry,
        name: *mut bindings::qstr,
    ) -> *mut bindings::dentry;

    /// Locks the parents of a rename and looks up both names.
    fn start_renaming(
        rd: *mut bindings::renamedata,
        lookup_flags: c_int,
        old_last: *mut bindings::qstr,
        new_last: *mut bindings::qstr,
    ) -> c_int;

    /// Drops the locks and references that [`start_renaming`] has taken.
    fn end_renaming(rd: *mut bindings::renamedata);

    /// Locks `parent` and looks up `name` in it for a creation. Fails if the task may not search
    /// `parent`.
    fn start_creating(
        idmap: *mut bindings::mnt_idmap,
        parent: *mut bindings::dentry,
        name: *mut bindings::qstr,
    ) -> *mut bindings::dentry;

    /// Looks up `name` from a directory, and takes a reference to the path that it finds.
    fn vfs_path_lookup(
        dentry: *mut bindings::dentry,
        mnt: *mut bindings::vfsmount,
        name: *const c_char,
        flags: c_uint,
        path: *mut bindings::path,
    ) -> c_int;
}

/// `EOPNOTSUPP`, as a file system returns it.
// CAST: A small constant.
const EOPNOTSUPP: c_int = -(bindings::EOPNOTSUPP as c_int);

// `include/linux/fs.h`; `bindgen` can't evaluate the macro.
const FMODE_NOCMTIME: bindings::fmode_t = 1 << 11;

// `include/uapi/linux/falloc.h`.
const FALLOC_FL_KEEP_SIZE: c_int = 0x1;
const FALLOC_FL_PUNCH_HOLE: c_int = 0x2;
const FALLOC_FL_ZERO_RANGE: c_int = 0x10;

// `include/uapi/asm-generic/fcntl.h`; the crate has no constant for it.
const O_TMPFILE: u32 = 0o20000000 | flags::O_DIRECTORY;

// `include/linux/fs.h`; `bindgen` can't evaluate its macros.
/// The file is open for reading.
pub(crate) const FMODE_READ: bindings::fmode_t = 1 << 0;
/// The file is open for writing.
pub(crate) const FMODE_WRITE: bindings::fmode_t = 1 << 1;

/// The largest block of a disk in bytes.
const MAX_BLOCK: u32 = 4096;

/// The size of a file in bytes.
pub(crate) type FileSize = u64;

/// A regular file that was found in a directory.
pub(crate) struct FoundFile {
    /// The size of the file.
    pub(crate) size: FileSize,
}

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
unsafe fn adopt(file: *mut bindings::file) -> Result<OpenFile> {
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
fn path(file: &File) -> *const bindings::path {
    // SAFETY: An open file is valid, and its path does not change.
    unsafe { &raw const (*file.as_ptr()).__bindgen_anon_1.f_path }
}

/// An open directory.
pub(crate) struct Directory(OpenFile);

impl Directory {
    /// Opens a directory by its path.
    pub(crate) fn open_path(path: &CStr) -> Result<Self> {
        let flags = flags::O_RDONLY | flags::O_DIRECTORY | flags::O_LARGEFILE;
        // SAFETY: The path is a C string.
        let file = unsafe { bindings::filp_open(path.as_char_ptr(), flags as c_int, 0) };
        // SAFETY: The pointer is an error pointer or a file that was opened above, whose reference
        // we own.
        Ok(Self(unsafe { adopt(file) }?))
    }

    /// Returns the size of the regular file with this name, without opening it: opening a device
    /// file can have side effects. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// ENOENT if the name does not exist, another errno if it is not a regular file.
    pub(crate) fn find_file(&self, name: &CStr) -> Result<FoundFile> {
        check_plain(name)?;
        let dir = path(&self.0);
        let mut found: bindings::path = pin_init::zeroed();
        // SAFETY: The path is that of an open file, the name is a C string, and `found` is valid
        // for the call.
        to_result(unsafe {
            vfs_path_lookup((*dir).dentry, (*dir).mnt, name.as_char_ptr(), 0, &mut found)
        })?;
        // SAFETY: The lookup has taken references to the path.
        let stat = unsafe { getattr(&found, bindings::STATX_TYPE | bindings::STATX_SIZE) };
        // SAFETY: The lookup has taken the references that this drops.
        unsafe { bindings::path_put(&found) };
        let stat = stat?;
        match u32::from(stat.mode) & bindings::S_IFMT {
            bindings::S_IFREG => Ok(FoundFile {
                // CAST: A size is not negative.
                size: stat.size as FileSize,
            }),
            // CAST: A small constant.
            bindings::S_IFLNK => Err(Error::from_errno(-(bindings::ELOOP as c_int))),
            bindings::S_IFDIR => Err(EISDIR),
            _ => Err(EINVAL),
        }
    }

    /// Opens a regular file in this directory. Any other type of file is an error.
    ///
    /// `name` must be a plain name, without a slash. A symbolic link is not followed, so this can't
    /// open a file outside of the directory.
    pub(crate) fn open_file(&self, name: &CStr, flags: u32) -> Result<OpenFile> {
        self.find_file(name)?;
        // A user with write access may replace the file between the two calls. With `O_NONBLOCK`
        // the open does not wait for the other end of a pipe.
        let file = self.open(name, flags | flags::O_NONBLOCK, 0)?;
        if file.file_type() != bindings::S_IFREG {
            return Err(EINVAL);
        }
        Ok(file)
    }

    /// Creates a file in this directory, with the permissions `mode`.
    ///
    /// # Errors
    ///
    /// EEXIST if the name exists, even as a dangling symbolic link.
    pub(crate) fn create_file(&self, name: &CStr, flags: u32, mode: u16) -> Result<OpenFile> {
        self.open(name, flags | flags::O_CREAT | flags::O_EXCL, mode)
    }

    /// Creates a file without a name in the file system of this directory (`O_TMPFILE`). Closing
    /// the file deletes it.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP if the file system does not support `O_TMPFILE`.
    pub(crate) fn create_unnamed(&self, flags: u32, mode: u16) -> Result<OpenFile> {
        self.open_path_in(c".", flags | O_TMPFILE, mode)
    }

    fn open(&self, name: &CStr, flags: u32, mode: u16) -> Result<OpenFile> {
        check_plain(name)?;
        self.open_path_in(name, flags, mode)
    }

    fn open_path_in(&self, name: &CStr, flags: u32, mode: u16) -> Result<OpenFile> {
        let flags = flags | flags::O_NOFOLLOW | flags::O_LARGEFILE;
        // SAFETY: The path is that of an open file, and the name is a C string.
        let file = unsafe {
            bindings::file_open_root(path(&self.0), name.as_char_ptr(), flags as c_int, mode)
        };
        // SAFETY: The pointer is an error pointer or a file that was opened above, whose reference
        // we own.
        unsafe { adopt(file) }
    }

    /// Calls `f` for each name in this directory, in the order of the file system, also for `.` and
    /// `..`. The directory is locked meanwhile.
    pub(crate) fn for_each_name(&self, mut f: impl FnMut(&[u8])) -> Result {
        // An open directory stores the position of its reader, so each reader opens its own.
        let dir = self.open_path_in(c".", flags::O_RDONLY | flags::O_DIRECTORY, 0)?;
        let mut names = Names {
            context: bindings::dir_context {
                actor: Some(Names::actor),
                pos: 0,
                count: 0,
                dt_flags_mask: 0,
            },
            seen: 0,
            f: &mut f,
        };
        loop {
            names.seen = 0;
            // SAFETY: The directory is open, and only this function uses `dir`. The file system
            // passes only `context` to the actor, and `context` is the first field of `names`.
            to_result(unsafe { bindings::iterate_dir(dir.as_ptr(), &raw mut names.context) })?;
            if names.seen == 0 {
                return Ok(());
            }
        }
    }

    /// Whether both are the same directory, even if their paths differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        // SAFETY: An open file has an inode, which does not change.
        let inode = |file: &OpenFile| unsafe { (*file.as_ptr()).f_inode };
        core::ptr::eq(inode(&self.0), inode(&other.0))
    }

    /// Creates a directory in this one, with the permissions `mode`, reduced by the task's umask.
    ///
    /// # Errors
    ///
    /// EEXIST if the name exists.
    pub(crate) fn make_directory(&self, name: &CStr, mode: u16) -> Result {
        check_plain(name)?;
        let mut qstr = qstr(name)?;
        let path = path(&self.0);
        let _write_access = self.want_write()?;
        // SAFETY: The path of an open directory has a dentry and a mount, and `qstr` is valid for
        // the call.
        let (idmap, dentry) = unsafe {
            let idmap = (*(*path).mnt).mnt_idmap;
            (idmap, start_creating(idmap, (*path).dentry, &mut qstr))
        };
        let dentry = from_err_ptr(dentry)?;
        // SAFETY: `dentry` is a child of the directory, which is locked. A null delegation argument
        // is valid: the call then waits for no delegation. A failing `vfs_mkdir` unlocks the
        // directory itself.
        let dentry = from_err_ptr(unsafe {
            bindings::vfs_mkdir(idmap, (*(*path).dentry).d_inode, dentry, mode, null_mut())
        })?;
        // SAFETY: The directory was locked above, and `vfs_mkdir` has left it locked.
        unsafe { bindings::end_dirop(dentry) };
        Ok(())
    }

    /// Removes an empty directory from this one.
    pub(crate) fn remove_directory(&self, name: &CStr) -> Result {
        self.remove(name, bindings::vfs_rmdir)
    }

    /// Removes a file from this directory.
    pub(crate) fn unlink(&self, name: &CStr) -> Result {
        self.remove(name, bindings::vfs_unlink)
    }

    /// Removes a file from this directory. A missing file is not an error.
    pub(crate) fn unlink_if_there(&self, name: &CStr) -> Result {
        match self.unlink(name) {
            Err(err) if err == ENOENT => Ok(()),
            result => result,
        }
    }

    /// Removes the entry `name` with `vfs_remove`, a function of the VFS.
    fn remove(&self, name: &CStr, vfs_remove: RemoveFn) -> Result {
        check_plain(name)?;
        let path = path(&self.0);
        let mut qstr = qstr(name)?;
        let _write_access = self.want_write()?;
        // SAFETY: The path of an open directory has a dentry, and `qstr` is valid for the call.
        let dentry = unsafe { start_removing_noperm((*path).dentry, &mut qstr) };
        let dentry = from_err_ptr(dentry)?;
        // SAFETY: `dentry` is a child of the directory, which is locked until `end_dirop`. A null
        // delegation argument is valid: the call then waits for no delegation.
        let ret = unsafe {
            let idmap = (*(*path).mnt).mnt_idmap;
            let ret = vfs_remove(idmap, (*(*path).dentry).d_inode, dentry, null_mut());
            bindings::end_dirop(dentry);
            ret
        };
        to_result(ret)
    }

    /// Renames the file `from` of this directory to `to`. This atomically replaces an existing file
    /// `to`: a lookup of `to` finds either the old or the new file.
    ///
    /// # Errors
    ///
    /// ENOENT if there is no file `from`.
    pub(crate) fn rename(&self, from: &CStr, to: &CStr) -> Result {
        check_plain(from)?;
        check_plain(to)?;
        let path = path(&self.0);
        let (mut from, mut to) = (qstr(from)?, qstr(to)?);
        let write_access = self.want_write()?;
        let mut rename: bindings::renamedata = pin_init::zeroed();
        // SAFETY: The path of an open directory has a mount and a dentry.
        unsafe {
            rename.mnt_idmap = (*(*path).mnt).mnt_idmap;
            rename.old_parent = (*path).dentry;
            rename.new_parent = (*path).dentry;
        }
        // SAFETY: Both parents are this directory, whose file system is writable until
        // `write_access` is dropped. The names are plain names. All arguments are valid for the
        // call.
        to_result(unsafe { start_renaming(&mut rename, 0, &mut from, &mut to) })?;
        // SAFETY: `start_renaming` has locked the parents and found the dentries. A null delegation
        // is valid: the call then waits for no delegation.
        let ret = unsafe { bindings::vfs_rename(&mut rename) };
        // SAFETY: This drops the locks and references that `start_renaming` has taken, once.
        unsafe { end_renaming(&mut rename) };
        drop(write_access);
        to_result(ret)
    }

    /// Keeps the file system writable until the result is dropped.
    fn want_write(&self) -> Result<impl Drop + '_> {
        // SAFETY: The directory is an open file.
        to_result(unsafe { bindings::mnt_want_write_file(self.0.as_ptr()) })?;
        Ok(ScopeGuard::new(|| {
            // SAFETY: The call above has taken write access.
            unsafe { bindings::mnt_drop_write_file(self.0.as_ptr()) };
        }))
    }

    /// Makes the entries of the directory durable.
    pub(crate) fn sync(&self) -> Result {
        self.0.sync()
    }
}

/// The current size of a file in bytes, from its inode, without a call of the file system.
fn i_size(file: &File) -> bindings::loff_t {
    // ORDERING: None. `i_size_read()` has an acquire for tasks that then read the pages. Here only
    // the number counts.
    // SAFETY: An open file has an inode. Its size may change concurrently, so this is a volatile
    // read.
    unsafe { (&raw const (*(*file.as_ptr()).f_inode).i_size).read_volatile() }
}

/// A function of the VFS that removes a child from a directory. The directory is locked, and the
/// child was looked up in it.
type RemoveFn = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    *mut bindings::delegated_inode,
) -> c_int;

/// A walk through the names of a directory.
#[repr(C)]
struct Names<'a> {
    context: bindings::dir_context,
    /// The number of names in this call of `iterate_dir()`.
    seen: usize,
    f: &'a mut dyn FnMut(&[u8]),
}

impl Names<'_> {
    /// # Safety
    ///
    /// `context` must be that of a [`Names`], and `name` valid for `len` bytes.
    unsafe extern "C" fn actor(
        context: *mut bindings::dir_context,
        name: *const c_char,
        len: c_int,
        _offset: bindings::loff_t,
        _inode: u64,
        _file_type: c_uint,
    ) -> bool {
        // SAFETY: By the safety requirement `context` is the first field of a `Names`.
        let names = unsafe { &mut *context.cast::<Names<'_>>() };
        // SAFETY: By the safety requirement.
        // CAST: A length is not negative.
        let name = unsafe { core::slice::from_raw_parts(name.cast::<u8>(), len as usize) };
        names.seen = names.seen.saturating_add(1);
        (names.f)(name);
        true
    }
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

/// Converts a name for a lookup. The result is valid for as long as the name.
fn qstr(name: &CStr) -> Result<bindings::qstr> {
    let bytes = name.to_bytes();
    let mut qstr: bindings::qstr = pin_init::zeroed();
    qstr.name = bytes.as_ptr();
    qstr.__bindgen_anon_1.__bindgen_anon_1.len = u32::try_from(bytes.len())?;
    Ok(qstr)
}

/// Changes the allocation of the bytes from `from` to `to`: `fallocate(2)`. Waits while the file
/// system is frozen.
fn fallocate(file: &File, mode: c_int, from: u64, to: u64) -> Result {
    let len = i64::try_from(to.checked_sub(from).ok_or(EINVAL)?)?;
    let from = i64::try_from(from)?;
    // SAFETY: The file is open.
    to_result(unsafe { bindings::vfs_fallocate(file.as_ptr(), mode, from, len) })
}

/// Refuses a name that is not a plain name in one directory.
fn check_plain(name: &CStr) -> Result {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(EINVAL),
        bytes if bytes.contains(&b'/') => Err(EINVAL),
        _ => Ok(()),
    }
}

/// Returns the attributes of the file at a path. The caller must have a reference to the path.
///
/// # Safety
///
/// `path` must be valid for the call.
unsafe fn getattr(path: *const bindings::path, mask: u32) -> Result<bindings::kstat> {
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
