// SPDX-License-Identifier: GPL-2.0

//! The directory of a device, before anything in it is looked at.
//!
//! `<base_dir>/<id>` is opened, and made if it is missing; `base_dir` must be there, so that a
//! wrong path, or one where nothing is mounted yet, doesn't become a device in the wrong place. A
//! directory that was made goes away again unless the `add` succeeds.

use crate::{
    kernel_ext::fs::Directory,
    refuse, //
};
use kernel::{
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::Arc,
};

/// The permissions of a directory that is made.
const MODE: u16 = 0o700;

/// The directory of a device that is to be added, which nothing was done in yet.
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
    /// EINVAL if there is no `base_dir`; what the file system says otherwise; what `may_make` does,
    /// which is asked if there is no directory to be opened, before one is made.
    pub(crate) fn open(
        base_dir: &[u8],
        id: u32,
        may_make: impl FnOnce() -> Result,
    ) -> Result<Self> {
        let path = device_path(base_dir, id)?;
        let opened = match Directory::open_path(&path) {
            Ok(dir) => Ok((dir, None)),
            Err(err) => {
                // A command that is wrong by itself is refused for that, wherever the directory is.
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
            refuse!(
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

    /// The directory, for those who use it longer.
    pub(crate) fn share(&self) -> Arc<Directory> {
        self.dir.clone()
    }

    /// The number of the device.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The path by which it was opened, for a message.
    pub(crate) fn path(&self) -> &BStr {
        BStr::from_bytes(self.path.to_bytes())
    }

    /// Keeps the directory if it was made: the device is there.
    pub(crate) fn keep(&mut self) -> Result {
        match &mut self.made {
            None => Ok(()),
            Some(made) => made.keep().inspect_err(|err| {
                let (id, path) = (self.id, self.path());
                refuse!(id, "{path}: can't make it durable: {err:?}");
            }),
        }
    }

    /// Whether there is a regular file of this name.
    ///
    /// # Errors
    ///
    /// Something else has that name; what the file system says otherwise.
    pub(crate) fn exists(&self, name: &CStr) -> Result<bool> {
        match self.dir.find_file(name) {
            Ok(_) => Ok(true),
            Err(err) if err == ENOENT => Ok(false),
            Err(err) => Err(self.refuse_file(name, "can't use it", err)),
        }
    }

    /// Removes a file, which may be missing.
    pub(crate) fn unlink_if_there(&self, name: &CStr) -> Result {
        self.dir
            .unlink_if_there(name)
            .map_err(|err| self.refuse_file(name, "can't remove it", err))
    }

    /// Says what can't be done with a file, and why, and returns the errno for it.
    pub(crate) fn refuse_file(&self, name: &CStr, what: &str, err: Error) -> Error {
        let (id, (path, name)) = (self.id, self.shown(name));
        refuse!(id, "{path}/{name}: {what}: {err:?}");
        errno_for_add(err)
    }

    /// The directory and a file in it, for a message.
    pub(crate) fn shown<'a>(&'a self, name: &'a CStr) -> (&'a BStr, &'a BStr) {
        (self.path(), BStr::from_bytes(name.to_bytes()))
    }
}

/// A directory that an `add` has made. Dropping it takes it back, unless it was kept.
struct MadeDirectory {
    base: Directory,
    name: CString,
    fate: Fate,
}

/// What becomes of what an `add` has made when it ends.
enum Fate {
    Stays,
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
            refuse!(
                id,
                "base_dir={base_dir}: can't open the directory {base_dir}: {err:?}"
            );
            errno_for_add(err)
        })?;
        base.make_directory(&name, MODE).map_err(|err| {
            refuse!(
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

    /// Makes it durable that it is there.
    fn keep(&mut self) -> Result {
        self.base.sync()?;
        self.fate = Fate::Stays;
        Ok(())
    }
}

impl Drop for MadeDirectory {
    fn drop(&mut self) {
        if let Fate::Goes = self.fate {
            // What can't be removed is empty, and does no harm to the next `add`.
            let _ = self.base.remove_directory(&self.name);
        }
    }
}

/// The errno that an `add` fails with: one that a script of the C driver's knows. A write has no
/// file name that could be missing.
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
