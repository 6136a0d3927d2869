// SPDX-License-Identifier: GPL-2.0

//! The files of the zones, while the device is there.
//!
//! A file is opened when it is first needed, which may be never: most zones of a large device are
//! not touched between one boot and the next, and an open file costs more memory than all else that
//! a zone needs. It is looked up in the directory that was opened when the device was added, with
//! the credentials of the task that added it, whoever it is that needs it.

use crate::{
    backing::{
        zone_file_flags,
        zone_file_name,
        MODE, //
    },
    geometry::Geometry,
    kernel_ext::{
        cred::{
            current_credential,
            CredentialScope, //
        },
        fs::{
            Directory,
            OpenFile, //
        },
    },
    options::{
        FileCreation,
        IoMode, //
    },
};
use kernel::{
    cred::Credential,
    fs::File,
    new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            AtomicFlag,
            Full,
            Release, //
        },
        Arc,
        SpinLock, //
    },
};

/// Where the zone files of a device are, and how they are opened.
#[pin_data]
pub(crate) struct ZoneFiles {
    /// [`None`] once the device has been removed.
    #[pin]
    directory: SpinLock<Option<Arc<Directory>>>,
    /// Of the task that added the device.
    credential: ARef<Credential>,
    geometry: Geometry,
    io: IoMode,
    /// Whether a sequential zone's file may be missing as long as nothing is written.
    creation: FileCreation,
    /// Whether files were made since the directory was last synced.
    made: AtomicFlag,
}

impl ZoneFiles {
    /// The files of a device that the current task adds.
    pub(crate) fn new(
        directory: Arc<Directory>,
        geometry: Geometry,
        io: IoMode,
        creation: FileCreation,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            directory <- new_spinlock!(Some(directory), "zloop_directory"),
            credential: current_credential(),
            geometry,
            io,
            creation,
            made: AtomicFlag::new(false),
        })
    }

    /// Opens the file of a zone, which is made if it may be missing; may sleep.
    fn open(&self, zone: u32) -> Result<OpenFile> {
        let directory = self.directory()?;
        let _scope = CredentialScope::enter(&self.credential);
        let name = zone_file_name(&self.geometry, zone)?;
        let flags = zone_file_flags(self.io);
        match directory.open_file(&name, flags) {
            Err(err) if err == ENOENT && self.creation == FileCreation::AtFirstUse => {
                let file = directory.create_file(&name, flags, MODE)?;
                // RELEASE: Whoever takes the flag finds the file.
                self.made.store(true, Release);
                Ok(file)
            }
            // No regular file has that name. The request is as valid as any.
            Err(err) if err == EINVAL => Err(EIO),
            result => result,
        }
    }

    /// Makes durable which files there are; may sleep.
    pub(crate) fn sync(&self) -> Result {
        if !self.made.xchg(false, Full) {
            return Ok(());
        }
        self.directory()?.sync().inspect_err(|_| {
            self.made.store(true, Release);
        })
    }

    fn directory(&self) -> Result<Arc<Directory>> {
        self.directory.lock().clone().ok_or(EIO)
    }

    /// Closes the directory; may sleep. No file can be opened any more.
    pub(crate) fn close(&self) {
        let directory = self.directory.lock().take();
        // Not before the lock is released.
        drop(directory);
    }
}

/// The file of a zone.
///
/// It is closed when the device is removed, even if somebody still has the device open: the file
/// system below can then be unmounted.
#[pin_data]
pub(crate) struct ZoneFile {
    #[pin]
    state: SpinLock<State>,
}

enum State {
    /// It was not needed yet.
    Unopened,
    Open(OpenFile),
    /// The device has been removed.
    Closed,
}

impl ZoneFile {
    /// A file that nobody has needed yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock!(State::Unopened, "zloop_zone_file"),
        })
    }

    /// The file, if it is open. Does not sleep.
    pub(crate) fn get(&self) -> Option<ARef<File>> {
        match &*self.state.lock() {
            State::Open(file) => Some(file.share()),
            State::Unopened | State::Closed => None,
        }
    }

    /// The file of zone `zone`, which is opened if it isn't open; may sleep.
    ///
    /// # Errors
    ///
    /// EIO once the device has been removed; what the file system says otherwise.
    pub(crate) fn get_or_open(&self, files: &ZoneFiles, zone: u32) -> Result<ARef<File>> {
        if let Some(file) = self.get() {
            return Ok(file);
        }
        // What is not used is closed after the lock is released.
        let opened = files.open(zone)?;
        let mut state = self.state.lock();
        match &*state {
            State::Open(file) => Ok(file.share()),
            State::Unopened => {
                let file = opened.share();
                *state = State::Open(opened);
                Ok(file)
            }
            State::Closed => Err(EIO),
        }
    }

    /// Closes the file; may sleep. What is under way on it must have ended.
    pub(crate) fn close(&self) {
        let state = core::mem::replace(&mut *self.state.lock(), State::Closed);
        // Not before the lock is released.
        drop(state);
    }
}
