// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show shared data.
//!
//! The files of the kernel crate have no owner: the module can be unloaded while a file is open,
//! and then closing the file calls code of the unloaded module. An open file of this type keeps the
//! module.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use crate::kernel_ext::fmt::CoreDisplay;
use core::{
    fmt,
    marker::PhantomData,
    ptr::null_mut, //
};

use crate::kernel_ext::compat::module::this_module;
use kernel::{
    bindings,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
    ModuleMetadata, //
};

/// A way to show a `D` as text.
pub(crate) trait Show<D>: 'static {
    /// The module of the driver. An open file in debugfs keeps it loaded.
    type OwnerModule: ModuleMetadata;

    /// Writes the text; may sleep.
    fn show(data: &D, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A directory in debugfs. Dropping it removes the directory and its contents.
///
/// A failed creation is not an error: then the directory and its contents are missing.
///
/// # Invariants
///
/// `dentry` is the result of `debugfs_create_dir()`, and has not been removed.
pub(crate) struct Directory {
    dentry: *mut bindings::dentry,
    /// Lives for longer than `self`: removing the parent removes its contents, too.
    _parent: Option<Arc<Self>>,
}

// SAFETY: Any task may use debugfs.
unsafe impl Send for Directory {}
// SAFETY: debugfs serialises concurrent calls.
unsafe impl Sync for Directory {}

impl Directory {
    /// Creates a directory, in `parent` or at the top of debugfs.
    pub(crate) fn new(name: &CStr, parent: Option<Arc<Self>>) -> Self {
        let place = parent.as_ref().map_or(null_mut(), |parent| parent.dentry);
        // SAFETY: The parent is null, a dentry of debugfs, or an error pointer; all are allowed.
        let dentry = unsafe { create_dir(name, place) };
        // INVARIANT: The call above has returned the dentry. `_parent` keeps the parent, whose
        // removal would remove the directory.
        Self {
            dentry,
            _parent: parent,
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the dentry was not removed. An error pointer is allowed.
        // The call waits for tasks that are reading a file in the directory.
        unsafe { remove(self.dentry) };
    }
}

/// A directory whose files show the same data.
pub(crate) struct SharedDirectory<D> {
    /// Dropped first.
    directory: Directory,
    data: Arc<D>,
}

impl<D: Send + Sync + 'static> SharedDirectory<D> {
    /// Creates a directory in `parent`.
    pub(crate) fn new(name: &CStr, parent: Arc<Directory>, data: Arc<D>) -> Self {
        Self {
            directory: Directory::new(name, Some(parent)),
            data,
        }
    }

    /// Creates a file that only root can read.
    pub(crate) fn file<S: Show<D>>(&self, name: &CStr) {
        // SAFETY: The directory is a dentry of debugfs or an error pointer; both are allowed. The
        // data of the file is a `D`, as its operations expect. The data lives until `self` is
        // dropped, which removes the file first.
        unsafe {
            create_file(
                name,
                self.directory.dentry,
                Arc::as_ptr(&self.data).cast_mut().cast(),
                &File::<D, S>::OPERATIONS,
            )
        };
    }
}

/// Creates a directory: `debugfs_create_dir()`. In a kernel without debugfs, this and the next two
/// functions do nothing.
///
/// # Safety
///
/// `parent` must be null, a dentry of debugfs, or an error pointer.
unsafe fn create_dir(name: &CStr, parent: *mut bindings::dentry) -> *mut bindings::dentry {
    #[cfg(CONFIG_DEBUG_FS)]
    {
        // SAFETY: The name is a C string. By the safety requirement.
        unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), parent) }
    }
    #[cfg(not(CONFIG_DEBUG_FS))]
    {
        let _ = (name, parent);
        null_mut()
    }
}

/// Creates a file that only root can read: `debugfs_create_file_full()`.
///
/// # Safety
///
/// `parent` must be a dentry of debugfs or an error pointer. `data` must be the `i_private` that
/// `operations` expect, until the file is removed.
unsafe fn create_file(
    name: &CStr,
    parent: *mut bindings::dentry,
    data: *mut c_void,
    operations: &'static bindings::file_operations,
) {
    #[cfg(CONFIG_DEBUG_FS)]
    // SAFETY: The name is a C string. By the safety requirements.
    unsafe {
        bindings::debugfs_create_file_full(
            name.as_char_ptr(),
            0o400,
            parent,
            data,
            core::ptr::null(),
            operations,
        )
    };
    #[cfg(not(CONFIG_DEBUG_FS))]
    let _ = (name, parent, data, operations);
}

/// Removes a directory and its contents: `debugfs_remove()`.
///
/// # Safety
///
/// `dentry` must be the result of [`create_dir`] that was not removed.
unsafe fn remove(dentry: *mut bindings::dentry) {
    #[cfg(CONFIG_DEBUG_FS)]
    // SAFETY: By the safety requirement.
    unsafe {
        bindings::debugfs_remove(dentry)
    };
    #[cfg(not(CONFIG_DEBUG_FS))]
    let _ = dentry;
}

/// The operations of a file that shows a `D` with `S`.
struct File<D, S>(PhantomData<(D, S)>);

impl<D: Send + Sync + 'static, S: Show<D>> File<D, S> {
    const OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<S::OwnerModule>().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` must be the inode of a file with these operations, and `file` must be the file that
    /// is being opened.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the safety requirement the inode and the file are valid. `write` gets the data
        // of the file.
        unsafe { bindings::single_open(file, Some(Self::write), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// `seq` must be the `seq_file` of a file with these operations, during a read.
    unsafe extern "C" fn write(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: By the safety requirement `private` points to the data, which lives for as long
        // as the file is being read.
        let data = unsafe { &*(*seq).private.cast::<D>() };
        // SAFETY: `seq` is valid for as long as the file is being read.
        let seq = unsafe { SeqFile::from_raw(seq) };
        seq_print!(seq, "{}", CoreDisplay(Text::<D, S>(data, PhantomData)));
        0
    }
}

/// Formats a `D` with `S`.
struct Text<'a, D, S>(&'a D, PhantomData<S>);

impl<D, S: Show<D>> fmt::Display for Text<'_, D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        S::show(self.0, f)
    }
}
