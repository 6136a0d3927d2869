// SPDX-License-Identifier: GPL-2.0

//! The time stamps of the zone files.
//!
//! A new mtime says that the data of a file has changed: a copy by size and time needs it. But a
//! write that changes the inode may have to wait. So writes leave the time stamps as they are: see
//! [`OpenFile::defer_mtime`]. The next flush updates them, also the one that closes the device.
//!
//! [`OpenFile::defer_mtime`]: crate::kernel_ext::fs::OpenFile::defer_mtime

use crate::{
    backing::zone_file::ZoneFile,
    device::shared::DeviceShared, //
};

use crate::kernel_ext::fs::FileExt;

use kernel::{
    fs::File,
    prelude::*, //
};

impl DeviceShared {
    /// Updates the time stamps of the file of zone `number`, and syncs the file; may sleep. `file`
    /// is `zone_file`'s.
    ///
    /// # Errors
    ///
    /// That of the sync. If the time stamps can't be updated, as on a frozen file system, the next
    /// flush does it.
    pub(crate) fn sync_file(&self, number: u32, zone_file: &ZoneFile, file: &File) -> Result {
        if file.update_mtime().is_err() {
            self.dirty().mark(number);
        }
        zone_file.sync(file)
    }
}
