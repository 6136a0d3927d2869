// SPDX-License-Identifier: GPL-2.0

//! A small text file in the directory of a device, which is replaced atomically.
//!
//! A new text is first written to a second file and synced. Renaming that file then replaces the
//! record. So the record has the old text or the new one, whatever fails and whenever the power
//! does. The name is durable after a sync of the directory.

use crate::kernel_ext::fs::{
    Directory,
    FileExt, //
};

use kernel::{
    fs::file::flags,
    prelude::*, //
};

/// The permissions of all files of a device: the C driver's.
pub(crate) const MODE: u16 = 0o600;

/// The names of a record.
pub(crate) struct RecordFile {
    /// The record.
    pub(crate) name: &'static CStr,
    /// The next record while it is being written.
    pub(crate) next: &'static CStr,
}

impl RecordFile {
    /// Replaces the record; may sleep. Until the directory is synced, a power failure may bring
    /// back the old one.
    ///
    /// # Errors
    ///
    /// The file system's. The record is unchanged then.
    pub(crate) fn replace(&self, directory: &Directory, text: &[u8]) -> Result {
        write(directory, self.next, text)
            .and_then(|()| directory.rename(self.next, self.name))
            .inspect_err(|_| {
                // If this fails, the next record that is written replaces the file.
                let _ = directory.unlink_if_there(self.next);
            })
    }

    /// Removes the record; may sleep. A missing record is not an error.
    ///
    /// # Errors
    ///
    /// The file system's. The record is unchanged then.
    pub(crate) fn remove(&self, directory: &Directory) -> Result {
        directory.unlink_if_there(self.next)?;
        directory.unlink_if_there(self.name)
    }
}

/// Writes a file, which is made anew, and syncs it; may sleep.
pub(crate) fn write(directory: &Directory, name: &CStr, text: &[u8]) -> Result {
    directory.unlink_if_there(name)?;
    let file = directory.create_file(name, flags::O_RDWR, MODE)?;
    file.write_all_at(text, 0)?;
    file.sync()
}

/// Reads a file; may sleep. [`None`] if there is none.
///
/// # Errors
///
/// EFBIG if it has more than `max` bytes; the file system's.
pub(crate) fn read(directory: &Directory, name: &CStr, max: u64) -> Result<Option<KVVec<u8>>> {
    let file = match directory.open_file(name, flags::O_RDONLY) {
        Err(err) if err == ENOENT => return Ok(None),
        result => result?,
    };
    let size = file.size()?;
    if size > max {
        return Err(EFBIG);
    }
    let mut text = KVVec::from_elem(0, usize::try_from(size)?, GFP_KERNEL)?;
    let mut len = 0;
    while let Some(rest @ [_, ..]) = text.get_mut(len..) {
        match file.read_at(rest, len as u64)? {
            0 => break,
            more => len = len.saturating_add(more),
        }
    }
    text.truncate(len);
    Ok(Some(text))
}
