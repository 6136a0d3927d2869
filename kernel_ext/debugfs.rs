// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show what is shared.
//!
//! Those of the kernel crate have no owner: who has one open keeps nothing from unloading the
//! module, and closing it calls what was in the module. These keep it.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

#![cfg_attr(
    not(CONFIG_DEBUG_FS),
    expect(dead_code, reason = "there is no debugfs")
)]

use crate::kernel_ext::fmt::Shown;
use core::{
    fmt,
    marker::PhantomData,
    ptr::{
        null,
        null_mut, //
    },
};

use crate::kernel_ext::compat::module::this_module;
use kernel::{
    bindings,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc, //
};

/// A way to show a `D` as text.
pub(crate) trait Show<D>: 'static {
    /// Writes the text; may sleep.
    fn show(data: &D, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// A directory in debugfs. It is removed, with all that is in it, when this is dropped.
///
/// If it can't be made, all that would be in it isn't there either, which is no error.
///
/// # Invariants
///
/// `dentry` is what `debugfs_create_dir()` returned, and has not been removed.
pub(crate) struct Directory {
    dentry: *mut bindings::dentry,
    /// It is there for longer: to remove it removes all that is in it.
    _parent: Option<Arc<Self>>,
}

// SAFETY: debugfs may be used by any task.
unsafe impl Send for Directory {}
// SAFETY: As above.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes a directory, in `parent` or at the top.
    pub(crate) fn new(name: &CStr, parent: Option<Arc<Self>>) -> Self {
        let place = parent.as_ref().map_or(null_mut(), |parent| parent.dentry);
        // SAFETY: The name is a C string. A parent is one of debugfs' or an error pointer, which is
        // allowed.
        let dentry = unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), place) };
        // INVARIANT: It was returned just now. The parent, with which it would be removed, stays.
        Self {
            dentry,
            _parent: parent,
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; an error pointer is allowed. This waits for those who are
        // reading a file in it.
        unsafe { bindings::debugfs_remove(self.dentry) };
    }
}

/// A directory whose files show the same thing.
pub(crate) struct SharedDirectory<D> {
    /// Dropped first.
    directory: Directory,
    data: Arc<D>,
}

impl<D: Send + Sync + 'static> SharedDirectory<D> {
    /// Makes a directory in `parent`.
    pub(crate) fn new(name: &CStr, parent: Arc<Directory>, data: Arc<D>) -> Self {
        Self {
            directory: Directory::new(name, Some(parent)),
            data,
        }
    }

    /// Makes a file that only root can read.
    pub(crate) fn file<S: Show<D>>(&self, name: &CStr) {
        // SAFETY: The name is a C string, and the directory one of debugfs' or an error pointer.
        // The file's data is what its operations expect; it stays until `self` is dropped, which
        // removes the file before.
        unsafe {
            bindings::debugfs_create_file_full(
                name.as_char_ptr(),
                0o400,
                self.directory.dentry,
                Arc::as_ptr(&self.data).cast_mut().cast(),
                null(),
                &File::<D, S>::OPERATIONS,
            )
        };
    }
}

/// The operations of a file that shows a `D` by `S`.
struct File<D, S>(PhantomData<(D, S)>);

impl<D: Send + Sync + 'static, S: Show<D>> File<D, S> {
    const OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` must be that of a file with these operations, which is being opened as `file`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the safety requirement; `write` gets the file's data.
        unsafe { bindings::single_open(file, Some(Self::write), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// `seq` must be that of a file with these operations that is being read.
    unsafe extern "C" fn write(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: By the safety requirement; the data stays while the file is being read.
        let data = unsafe { &*(*seq).private.cast::<D>() };
        // SAFETY: It is valid while the file is being read.
        let seq = unsafe { SeqFile::from_raw(seq) };
        seq_print!(seq, "{}", Shown(Text::<D, S>(data, PhantomData)));
        0
    }
}

/// A `D` as `S` shows it.
struct Text<'a, D, S>(&'a D, PhantomData<S>);

impl<D, S: Show<D>> fmt::Display for Text<'_, D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        S::show(self.0, f)
    }
}
