// SPDX-License-Identifier: GPL-2.0

//! Opening the directory of a device.
//!
//! `<base_dir>/<id>` is opened, and made if it is missing. `base_dir` must exist: a path that is
//! wrong, or not mounted yet, must not get a device. If the `add` fails, the directory is removed
//! again if it was made.

use crate::cmd_err;

use crate::kernel_ext::fs::Directory;

use kernel::{
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::Arc,
};

/// The permissions of a new directory.
const MODE: u16 = 0o700;

/// The open directory of a device that is being added. Its contents are not known yet.
pub(crate) struct OpenedDirectory {
    dir: Arc<Directory>,
    /// For messages.
    path: CString,
    id: u32,
    made: Option<MadeDirectory>,
}

impl OpenedDirectory {
    /// Opens `<base_dir>/<id>`, and makes it if it is missing.
    ///
    /// # Errors
    ///
    /// EINVAL if `base_dir` does not exist. The file system's error otherwise. If the directory
    /// can't be opened, `may_make` is called before it is made, and its error is returned.
    pub(crate) fn open(
        base_dir: &[u8],
        id: u32,
        may_make: impl FnOnce() -> Result,
    ) -> Result<Self> {
        let path = device_path(base_dir, id)?;
        let opened = match Directory::open_path(&path) {
            Ok(dir) => Ok((dir, None)),
            Err(err) => {
                // The user first gets the mistakes of the command itself.
                may_make()?;
                if err == ENOENT {
                    let made = MadeDirectory::new(base_dir, id)?;
                    Directory::open_path(&path).map(|dir| (dir, Some(made)))
                } else {
                    Err(err)
                }
            }
        };
        let (dir, made) = opened.map_err(|err| {
            let base_dir = BStr::from_bytes(base_dir);
            let path = BStr::from_bytes(path.to_bytes());
            cmd_err!(
                id,
                "base_dir={base_dir}: can't open the directory {path}: {err:?}"
            );
            errno_for_add(err)
        })?;
        Ok(Self {
            dir: Arc::new(dir, GFP_KERNEL)?,
            path,
            id,
            made,
        })
    }

    pub(crate) fn dir(&self) -> &Directory {
        &self.dir
    }

    /// A reference to the directory.
    pub(crate) fn share(&self) -> Arc<Directory> {
        self.dir.clone()
    }

    /// The number of the device.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The path by which the directory was opened, for a message.
    pub(crate) fn path(&self) -> &BStr {
        BStr::from_bytes(self.path.to_bytes())
    }

    /// Keeps the directory even if this is dropped, and makes it durable if it was made.
    pub(crate) fn keep(&mut self) -> Result {
        match &mut self.made {
            None => Ok(()),
            Some(made) => made.keep().inspect_err(|err| {
                let (id, path) = (self.id, self.path());
                cmd_err!(id, "{path}: can't make it durable: {err:?}");
            }),
        }
    }

    /// Whether there is a regular file with this name.
    ///
    /// # Errors
    ///
    /// The name is that of something else, for example a directory. The file system's error
    /// otherwise.
    pub(crate) fn exists(&self, name: &CStr) -> Result<bool> {
        match self.dir.find_file(name) {
            Ok(_) => Ok(true),
            Err(err) if err == ENOENT => Ok(false),
            Err(err) => Err(self.refuse_file(name, "can't use it", err)),
        }
    }

    /// Removes a file. A missing file is no error.
    pub(crate) fn unlink_if_there(&self, name: &CStr) -> Result {
        self.dir
            .unlink_if_there(name)
            .map_err(|err| self.refuse_file(name, "can't remove it", err))
    }

    /// Logs the `problem` with a file and its reason. Returns the errno for the command.
    pub(crate) fn refuse_file(&self, name: &CStr, problem: &str, err: Error) -> Error {
        let (id, (path, name)) = (self.id, self.shown(name));
        cmd_err!(id, "{path}/{name}: {problem}: {err:?}");
        errno_for_add(err)
    }

    /// The directory and a file in it, for a message.
    pub(crate) fn shown<'a>(&'a self, name: &'a CStr) -> (&'a BStr, &'a BStr) {
        (self.path(), BStr::from_bytes(name.to_bytes()))
    }
}

/// A directory that an `add` has made. Dropping this removes the directory, unless it was kept.
struct MadeDirectory {
    base: Directory,
    name: CString,
    fate: Fate,
}

/// The effect of dropping a [`MadeDirectory`].
enum Fate {
    /// The directory stays.
    Stays,
    /// The directory is removed.
    Goes,
}

impl MadeDirectory {
    fn new(base_dir: &[u8], id: u32) -> Result<Self> {
        let mut path = KVec::new();
        path.extend_from_slice(base_dir, GFP_KERNEL)?;
        path.push(0, GFP_KERNEL)?;
        let path = CStr::from_bytes_with_nul(&path).map_err(|_| EINVAL)?;
        let name = CString::try_from_fmt(fmt!("{id}"))?;
        let base_dir = BStr::from_bytes(base_dir);
        let base = Directory::open_path(path).map_err(|err| {
            cmd_err!(
                id,
                "base_dir={base_dir}: can't open the directory {base_dir}: {err:?}"
            );
            errno_for_add(err)
        })?;
        base.make_directory(&name, MODE).map_err(|err| {
            cmd_err!(
                id,
                "base_dir={base_dir}: can't make the directory {base_dir}/{id}: {err:?}"
            );
            errno_for_add(err)
        })?;
        Ok(Self {
            base,
            name,
            fate: Fate::Goes,
        })
    }

    /// Makes the new directory durable, and keeps it.
    fn keep(&mut self) -> Result {
        self.base.sync()?;
        self.fate = Fate::Stays;
        Ok(())
    }
}

impl Drop for MadeDirectory {
    fn drop(&mut self) {
        if let Fate::Goes = self.fate {
            // If this fails, the directory is empty, and the next `add` can use it.
            let _ = self.base.remove_directory(&self.name);
        }
    }
}

/// The errno of a failed `add`. A script for the C driver does not expect ENOENT from a write.
fn errno_for_add(err: Error) -> Error {
    if err == ENOENT {
        EINVAL
    } else {
        err
    }
}

/// The path of a device's directory.
fn device_path(base_dir: &[u8], id: u32) -> Result<CString> {
    let name = CString::try_from_fmt(fmt!("/{id}"))?;
    let mut path = KVec::new();
    path.extend_from_slice(base_dir, GFP_KERNEL)?;
    path.extend_from_slice(name.to_bytes_with_nul(), GFP_KERNEL)?;
    let path = CStr::from_bytes_with_nul(&path).map_err(|_| EINVAL)?;
    Ok(CString::try_from(path)?)
}
