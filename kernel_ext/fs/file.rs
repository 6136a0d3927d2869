// SPDX-License-Identifier: GPL-2.0

//! Files that the kernel opens.
//!
//! Names are resolved with the credentials and in the mount namespace of the current task. Every
//! function may sleep.
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
    /// Locks `parent` and looks `name` up in it for a removal that needs no permission of its own.
    fn start_removing_noperm(
        parent: *mut bindings::dentry,
        name: *mut bindings::qstr,
    ) -> *mut bindings::dentry;

    /// Locks the parents of a rename and looks up what is to be renamed.
    fn start_renaming(
        rd: *mut bindings::renamedata,
        lookup_flags: c_int,
        old_last: *mut bindings::qstr,
        new_last: *mut bindings::qstr,
    ) -> c_int;

    /// Gives back what [`start_renaming`] has taken.
    fn end_renaming(rd: *mut bindings::renamedata);

    /// Locks `parent` and looks `name` up in it for something to be made there, if the task may
    /// search `parent`.
    fn start_creating(
        idmap: *mut bindings::mnt_idmap,
        parent: *mut bindings::dentry,
        name: *mut bindings::qstr,
    ) -> *mut bindings::dentry;

    /// Looks `name` up from a directory on, and takes a reference to what it finds.
    fn vfs_path_lookup(
        dentry: *mut bindings::dentry,
        mnt: *mut bindings::vfsmount,
        name: *const c_char,
        flags: c_uint,
        path: *mut bindings::path,
    ) -> c_int;
}

/// `EOPNOTSUPP`, which the kernel crate has no [`Error`] for before Linux 7.3.
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
pub(in crate::kernel_ext) const FMODE_READ: bindings::fmode_t = 1 << 0;
pub(in crate::kernel_ext) const FMODE_WRITE: bindings::fmode_t = 1 << 1;

/// The largest block of a disk in bytes.
const MAX_BLOCK: u32 = 4096;

/// The size of a file in bytes.
pub(crate) type FileSize = u64;

/// What was found in a directory.
pub(crate) struct Found {
    /// The size of the file.
    pub(crate) size: FileSize,
}

/// How a file's data must be aligned for direct I/O, or is best aligned otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IoAlignment {
    /// The unit of positions and lengths in bytes, a power of two.
    pub(crate) block_size: u32,
    /// The smallest unit that direct I/O can have, in bytes, a power of two.
    pub(crate) direct_block_size: u32,
    /// The alignment in memory, as a mask.
    pub(crate) memory_mask: u32,
}

/// Takes over a file that the VFS has opened for us.
///
/// # Safety
///
/// `file` must be an error pointer, or a file that has just been opened by the kernel, to which the
/// caller owns a reference.
unsafe fn adopt(file: *mut bindings::file) -> Result<OpenFile> {
    let file = NonNull::new(from_err_ptr(file)?).ok_or(EINVAL)?;
    // SAFETY: The reference is ours, by the safety requirement. A file that is in no file
    // descriptor table has no `fdget_pos` users.
    let file = unsafe { ARef::from_raw(file.cast()) };
    Ok(OpenFile(ManuallyDrop::new(file)))
}

/// A file that the kernel has opened for itself.
///
/// When it is dropped, and nobody shares it any more, the file is closed before that returns, so
/// that its file system can be unmounted; a dropped [`ARef`] would have it closed a little later.
/// So it must be dropped where sleeping is allowed.
pub(crate) struct OpenFile(ManuallyDrop<ARef<File>>);

impl OpenFile {
    /// Has writes through this open file leave the inode's mtime and ctime alone.
    ///
    /// A new time stamp changes the inode, for which a write that may not wait is refused: once in
    /// each tick of the kernel's clock. [`FileExt::update_mtime`] sets the stamps later.
    pub(crate) fn defer_mtime(self) -> Self {
        // SAFETY: The file is open, and stays so while `self` is there.
        unsafe { change_mode(self.as_ptr(), |mode| mode | FMODE_NOCMTIME) };
        self
    }

    /// Another reference to the file, for an operation on it.
    pub(crate) fn share(&self) -> ARef<File> {
        ARef::clone(&self.0)
    }

    /// Whether anybody else has a reference. Nobody gets one but by [`Self::share`].
    pub(crate) fn is_shared(&self) -> bool {
        // SAFETY: The file is valid, and others change the counter atomically.
        let references =
            unsafe { Atomic::from_ptr(&raw mut (*self.as_ptr()).f_ref.refcnt.counter) };
        // It counts from 0, which is one reference.
        // ACQUIRE: What others have done with the file happened before they gave it back.
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
        // SAFETY: It is not used any more after this.
        let file = ARef::into_raw(unsafe { ManuallyDrop::take(&mut self.0) });
        // SAFETY: The reference was ours, and is given back with this.
        unsafe { bindings::__fput_sync(file.as_ptr().cast()) };
    }
}

/// Changes the mode of an open file, and returns what it was.
///
/// # Safety
///
/// `file` must be an open file.
unsafe fn change_mode(
    file: *mut bindings::file,
    change: impl FnOnce(bindings::fmode_t) -> bindings::fmode_t,
) -> bindings::fmode_t {
    // SAFETY: By the safety requirement. `f_lock` serialises changes of the mode; readers do
    // without it, so the new mode is stored in one piece.
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
    // SAFETY: An open file is valid, and its path doesn't change.
    unsafe { &raw const (*file.as_ptr()).__bindgen_anon_1.f_path }
}

/// A directory that is open.
pub(crate) struct Directory(OpenFile);

impl Directory {
    /// Opens a directory by its path.
    pub(crate) fn open_path(path: &CStr) -> Result<Self> {
        let flags = flags::O_RDONLY | flags::O_DIRECTORY | flags::O_LARGEFILE;
        // SAFETY: The path is a C string.
        let file = unsafe { bindings::filp_open(path.as_char_ptr(), flags as c_int, 0) };
        // SAFETY: It was opened just now.
        Ok(Self(unsafe { adopt(file) }?))
    }

    /// Looks at what has this name in this directory, without opening it: to open a device can have
    /// consequences. A symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// ENOENT if there is nothing of that name, another errno if it isn't a regular file.
    pub(crate) fn find_file(&self, name: &CStr) -> Result<Found> {
        check_plain(name)?;
        let dir = path(&self.0);
        let mut found: bindings::path = pin_init::zeroed();
        // SAFETY: The path is that of an open file, the name a C string, and `found` valid for the
        // call.
        to_result(unsafe {
            vfs_path_lookup((*dir).dentry, (*dir).mnt, name.as_char_ptr(), 0, &mut found)
        })?;
        let stat = getattr(&found, bindings::STATX_TYPE | bindings::STATX_SIZE);
        // SAFETY: The lookup has taken the references that are given back here.
        unsafe { bindings::path_put(&found) };
        let stat = stat?;
        match u32::from(stat.mode) & bindings::S_IFMT {
            bindings::S_IFREG => Ok(Found {
                // CAST: A size is not negative.
                size: stat.size as FileSize,
            }),
            // CAST: A small constant.
            bindings::S_IFLNK => Err(Error::from_errno(-(bindings::ELOOP as c_int))),
            bindings::S_IFDIR => Err(EISDIR),
            _ => Err(EINVAL),
        }
    }

    /// Opens a regular file in this directory, and nothing else.
    ///
    /// `name` must be a plain name. If a symbolic link has it, it leads nowhere: nothing outside of
    /// the directory can be reached.
    pub(crate) fn open_file(&self, name: &CStr, flags: u32) -> Result<OpenFile> {
        self.find_file(name)?;
        // It might be replaced in this very moment, by who may do so: don't wait for the other end
        // of a pipe.
        let file = self.open(name, flags | flags::O_NONBLOCK, 0)?;
        if file.file_type() != bindings::S_IFREG {
            return Err(EINVAL);
        }
        Ok(file)
    }

    /// Makes a file in this directory, with the permissions `mode`.
    ///
    /// # Errors
    ///
    /// EEXIST if anything has that name, be it a symbolic link that leads nowhere.
    pub(crate) fn create_file(&self, name: &CStr, flags: u32, mode: u16) -> Result<OpenFile> {
        self.open(name, flags | flags::O_CREAT | flags::O_EXCL, mode)
    }

    /// Makes a file that has no name in this directory, and is gone when it is closed.
    ///
    /// # Errors
    ///
    /// EOPNOTSUPP if the file system has no such files.
    pub(crate) fn create_unnamed(&self, flags: u32, mode: u16) -> Result<OpenFile> {
        self.open_path_in(c".", flags | O_TMPFILE, mode)
    }

    fn open(&self, name: &CStr, flags: u32, mode: u16) -> Result<OpenFile> {
        check_plain(name)?;
        self.open_path_in(name, flags, mode)
    }

    fn open_path_in(&self, name: &CStr, flags: u32, mode: u16) -> Result<OpenFile> {
        let flags = flags | flags::O_NOFOLLOW | flags::O_LARGEFILE;
        // SAFETY: The path is that of an open file, and the name a C string.
        let file = unsafe {
            bindings::file_open_root(path(&self.0), name.as_char_ptr(), flags as c_int, mode)
        };
        // SAFETY: It was opened just now.
        unsafe { adopt(file) }
    }

    /// Gives all names in this directory to `f`, in the file system's order.
    pub(crate) fn for_each_name(&self, mut f: impl FnMut(&[u8])) -> Result {
        // An open directory is for one reader at a time, and remembers how far that has come.
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
            // SAFETY: The directory is open, and nobody else has `dir`. Its file system gives
            // `context` to the actor, and nothing else.
            to_result(unsafe { bindings::iterate_dir(dir.as_ptr(), &raw mut names.context) })?;
            if names.seen == 0 {
                return Ok(());
            }
        }
    }

    /// Whether both are the same directory, whatever their paths are.
    pub(crate) fn is(&self, other: &Self) -> bool {
        // SAFETY: An open file has an inode, and always the same one.
        let inode = |file: &OpenFile| unsafe { (*file.as_ptr()).f_inode };
        core::ptr::eq(inode(&self.0), inode(&other.0))
    }

    /// Makes a directory in this one, with the permissions `mode` as far as the task's umask
    /// allows.
    ///
    /// # Errors
    ///
    /// EEXIST if anything has that name.
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
        // SAFETY: `dentry` is a child of the directory, which is locked. No delegation is broken.
        // If this fails it has unlocked the directory.
        let dentry = from_err_ptr(unsafe {
            bindings::vfs_mkdir(idmap, (*(*path).dentry).d_inode, dentry, mode, null_mut())
        })?;
        // SAFETY: The directory was locked above, and is still.
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

    /// Removes a file from this directory, which may be missing.
    pub(crate) fn unlink_if_there(&self, name: &CStr) -> Result {
        match self.unlink(name) {
            Err(err) if err == ENOENT => Ok(()),
            result => result,
        }
    }

    /// Removes what has this name, with `how`, a function of the VFS for that.
    fn remove(&self, name: &CStr, how: Remove) -> Result {
        let path = path(&self.0);
        let mut qstr = qstr(name)?;
        let _write_access = self.want_write()?;
        // SAFETY: The path of an open directory has a dentry, and `qstr` is valid for the call.
        let dentry = unsafe { start_removing_noperm((*path).dentry, &mut qstr) };
        let dentry = from_err_ptr(dentry)?;
        // SAFETY: `dentry` is a child of the directory, which is locked. No delegation is broken.
        let ret = unsafe {
            let idmap = (*(*path).mnt).mnt_idmap;
            let ret = how(idmap, (*(*path).dentry).d_inode, dentry, null_mut());
            bindings::end_dirop(dentry);
            ret
        };
        to_result(ret)
    }

    /// Gives the file `from` of this directory the name `to`. If another one has that name, it is
    /// gone: whoever looks for the name finds the one or the other.
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
        // SAFETY: The parents are directories of a file system that may be written, the names are
        // plain ones, and all of it is valid for the call.
        to_result(unsafe { start_renaming(&mut rename, 0, &mut from, &mut to) })?;
        // SAFETY: It has locked the parents and found the dentries. No delegation is broken.
        let ret = unsafe { bindings::vfs_rename(&mut rename) };
        // SAFETY: What was taken above is given back once.
        unsafe { end_renaming(&mut rename) };
        drop(write_access);
        to_result(ret)
    }

    /// Has the file system stay writable until the result is dropped.
    fn want_write(&self) -> Result<impl Drop + '_> {
        // SAFETY: The directory is an open file.
        to_result(unsafe { bindings::mnt_want_write_file(self.0.as_ptr()) })?;
        Ok(ScopeGuard::new(|| {
            // SAFETY: Write access was got just now.
            unsafe { bindings::mnt_drop_write_file(self.0.as_ptr()) };
        }))
    }

    /// Makes durable which files there are.
    pub(crate) fn sync(&self) -> Result {
        self.0.sync()
    }
}

/// The size of a file in bytes as its inode has it now, without asking the file system.
fn i_size(file: &File) -> bindings::loff_t {
    // SAFETY: An open file has an inode. Its size may change meanwhile, hence a volatile read.
    unsafe { (&raw const (*(*file.as_ptr()).f_inode).i_size).read_volatile() }
}

/// A function of the VFS that removes a child, which was looked up, from a directory, which is
/// locked.
type Remove = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    *mut bindings::delegated_inode,
) -> c_int;

/// A walk through the names of a directory.
#[repr(C)]
struct Names<'a> {
    context: bindings::dir_context,
    /// How many there were in this call.
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
        // SAFETY: By the safety requirement; it is the first field.
        let names = unsafe { &mut *context.cast::<Names<'_>>() };
        // SAFETY: By the safety requirement.
        // CAST: A length is not negative.
        let name = unsafe { core::slice::from_raw_parts(name.cast::<u8>(), len as usize) };
        names.seen = names.seen.saturating_add(1);
        (names.f)(name);
        true
    }
}

/// What a driver does with a regular file.
pub(crate) trait FileExt {
    /// Its type, one of `S_IFMT`.
    fn file_type(&self) -> u32;

    /// Its size.
    fn size(&self) -> Result<FileSize>;

    /// Whether it is at least so many bytes long, as far as this machine knows. Never waits.
    ///
    /// Another machine's file system may know better, and while the size changes a machine of 32
    /// bits may find any: only "yes" can be relied on.
    fn is_known_to_have(&self, bytes: FileSize) -> bool;

    /// How I/O to it should be aligned. The unit is the file system's block, if that isn't too
    /// large for a disk's.
    fn alignment(&self) -> Result<IoAlignment>;

    /// Makes it shorter or longer; what is added reads as zeros.
    fn truncate(&self, size: FileSize) -> Result;

    /// Allocates space for the bytes from `from` to `to`, without changing the size.
    fn preallocate(&self, from: u64, to: u64) -> Result;

    /// Whether [`Self::punch_hole`] can be expected to work: not all file systems have holes.
    /// Changes nothing but, perhaps, when the file was last modified.
    fn has_holes(&self) -> bool;

    /// Makes the bytes from `from` to `to` read as zeros, and gives back their space. The size does
    /// not change.
    fn punch_hole(&self, from: u64, to: u64) -> Result;

    /// Makes the bytes from `from` to `to` read as zeros; their space stays allocated, where the
    /// file system has that. The size does not change.
    fn zero_range(&self, from: u64, to: u64) -> Result;

    /// Copies the bytes from `from` to `to` to the same place of another file in the same file
    /// system, which may share them if it can.
    fn copy_to(&self, other: &File, from: u64, to: u64) -> Result;

    /// Writes back the file and makes it durable. Fails also if an earlier write-back has failed
    /// that this open file was not told about yet.
    ///
    /// If that fails with `EAGAIN` it is tried once more. btrfs on a zoned disk, of whatever kind,
    /// does so now and then while several files are made durable at once; `btrfs_sync_log()` fails
    /// with it often at such times. A program may repeat its `fsync`, but a file system doesn't
    /// repeat a flush.
    fn sync(&self) -> Result;

    /// Sets the file's mtime and ctime to now, which writes have left alone since
    /// [`OpenFile::defer_mtime`].
    ///
    /// # Errors
    ///
    /// EAGAIN while the file system is frozen; the file system's own errors.
    fn update_mtime(&self) -> Result;

    /// Reads up to `buffer.len()` bytes from `position` on, and returns how many.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize>;

    /// Writes all of `data` to `position`.
    fn write_all_at(&self, data: &[u8], position: u64) -> Result;
}

impl FileExt for File {
    fn file_type(&self) -> u32 {
        // SAFETY: An open file has an inode. Its type doesn't change, but other bits may meanwhile.
        let mode = unsafe { (&raw const (*(*self.as_ptr()).f_inode).i_mode).read_volatile() };
        u32::from(mode) & bindings::S_IFMT
    }

    fn size(&self) -> Result<FileSize> {
        // CAST: A size is not negative.
        Ok(getattr(path(self), bindings::STATX_SIZE)?.size as FileSize)
    }

    fn is_known_to_have(&self, bytes: FileSize) -> bool {
        FileSize::try_from(i_size(self)).is_ok_and(|size| size >= bytes)
    }

    fn alignment(&self) -> Result<IoAlignment> {
        let stat = getattr(path(self), bindings::STATX_DIOALIGN)?;
        // SAFETY: An open file has an inode, which has a super block.
        let (fs_block, bdev) = unsafe {
            let sb = (*(*self.as_ptr()).f_inode).i_sb;
            ((*sb).s_blocksize, (*sb).s_bdev)
        };

        // A file system that can't do direct I/O says 0. One that doesn't say anything has the
        // alignment of the disk below it.
        let direct = stat.result_mask & bindings::STATX_DIOALIGN != 0 && stat.dio_mem_align != 0;
        let (unit, smallest, memory) = if direct {
            let unit = stat.dio_offset_align;
            (unit, unit, stat.dio_mem_align - 1)
        } else if let Some(bdev) = NonNull::new(bdev) {
            // SAFETY: The disk below a file system that is in use is valid, and has a queue. Its
            // limits may change meanwhile.
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
        // A file system on top of others, as overlayfs, has no block of its own.
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
        // SAFETY: The file is open. Neither its operations nor the bits of its mode that say what
        // it is open for change; other bits may change meanwhile.
        let (mode, fallocate) = unsafe {
            (
                (&raw const (*self.as_ptr()).f_mode).read_volatile(),
                (*(*self.as_ptr()).f_op).fallocate,
            )
        };
        let Some(fallocate) = fallocate.filter(|_| mode & FMODE_WRITE != 0) else {
            return false;
        };
        // SAFETY: The file is open. While its file system is frozen, which may be for long, it
        // can't be tried.
        if !unsafe { try_start_write(self.as_ptr()) } {
            return true;
        }
        // There is nothing behind the end.
        let end = i_size(self);
        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        // SAFETY: The file is open for writing, and its file system protected from being frozen.
        let ret = unsafe { fallocate(self.as_ptr(), mode, end, MAX_BLOCK.into()) };
        // SAFETY: The protection was got above.
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
                // The file ends there.
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
        // The flag would make the update do nothing. A write that finds it cleared updates the
        // stamps itself.
        // SAFETY: The file is open, and its file system can't be frozen.
        let ret = unsafe {
            let previous = change_mode(file, |mode| mode & !FMODE_NOCMTIME);
            let ret = bindings::file_update_time(file);
            change_mode(file, |mode| mode | previous & FMODE_NOCMTIME);
            ret
        };
        // SAFETY: The protection was got above.
        unsafe { end_write(file) };
        to_result(ret)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let mut position = i64::try_from(position)?;
        // SAFETY: The file is open, and the buffer valid for its length.
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
            // SAFETY: The file is open, and `rest` valid for its length.
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

/// A name as a lookup takes it, which is valid as long as the name.
fn qstr(name: &CStr) -> Result<bindings::qstr> {
    let bytes = name.to_bytes();
    let mut qstr: bindings::qstr = pin_init::zeroed();
    qstr.name = bytes.as_ptr();
    qstr.__bindgen_anon_1.__bindgen_anon_1.len = u32::try_from(bytes.len())?;
    Ok(qstr)
}

/// Changes the space of the bytes from `from` to `to`: `fallocate(2)`. Waits while the file system
/// is frozen.
fn fallocate(file: &File, mode: c_int, from: u64, to: u64) -> Result {
    let len = i64::try_from(to.checked_sub(from).ok_or(EINVAL)?)?;
    let from = i64::try_from(from)?;
    // SAFETY: The file is open.
    to_result(unsafe { bindings::vfs_fallocate(file.as_ptr(), mode, from, len) })
}

/// Refuses a name that leads through a directory.
fn check_plain(name: &CStr) -> Result {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(EINVAL),
        bytes if bytes.contains(&b'/') => Err(EINVAL),
        _ => Ok(()),
    }
}

/// Asks for the attributes of what is at a path, to which the caller has a reference.
fn getattr(path: *const bindings::path, mask: u32) -> Result<bindings::kstat> {
    let mut stat: bindings::kstat = pin_init::zeroed();
    // SAFETY: The path is valid while the caller has its reference, and `stat` for the call.
    to_result(unsafe {
        bindings::vfs_getattr(path, &mut stat, mask, bindings::AT_STATX_SYNC_AS_STAT)
    })?;
    Ok(stat)
}

fn bytes_or_error(ret: isize) -> Result<usize> {
    // CAST: An errno.
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as c_int))
}
