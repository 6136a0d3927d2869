// SPDX-License-Identifier: GPL-2.0

//! Directories that the kernel itself opens, and the names in them.
//!
//! Names are resolved with the credentials and in the mount namespace of the current task. All
//! functions may sleep.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/namei.h`](srctree/include/linux/namei.h)

use super::open_file::{
    adopt,
    getattr,
    path,
    FileExt,
    FileSize,
    OpenFile, //
};
use core::ptr::null_mut;
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::file::flags,
    prelude::*,
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

// `include/uapi/asm-generic/fcntl.h`; the crate has no constant for it.
const O_TMPFILE: u32 = 0o20000000 | flags::O_DIRECTORY;

/// A regular file that was found in a directory.
pub(crate) struct FoundFile {
    /// The size of the file.
    pub(crate) size: FileSize,
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

/// Converts a name for a lookup. The result is valid for as long as the name.
fn qstr(name: &CStr) -> Result<bindings::qstr> {
    let bytes = name.to_bytes();
    let mut qstr: bindings::qstr = pin_init::zeroed();
    qstr.name = bytes.as_ptr();
    qstr.__bindgen_anon_1.__bindgen_anon_1.len = u32::try_from(bytes.len())?;
    Ok(qstr)
}

/// Refuses a name that is not a plain name in one directory.
fn check_plain(name: &CStr) -> Result {
    match name.to_bytes() {
        b"" | b"." | b".." => Err(EINVAL),
        bytes if bytes.contains(&b'/') => Err(EINVAL),
        _ => Ok(()),
    }
}
