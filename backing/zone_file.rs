// SPDX-License-Identifier: GPL-2.0

//! The zone files of a device in use.
//!
//! A file is opened when it is first needed. Most zones of a large device are not used between two
//! boots, and an open file takes more memory than the rest of a zone. The file is looked up in the
//! directory that the `add` opened, with the credentials of the task that added the device.
//!
//! The number of open files is limited, because they take memory. If it is exceeded, a file that
//! was not used for a while is closed until it is needed again. A file that is in use stays open.
//!
//! The file system reports a write-back error to an open file. It may have forgotten the error when
//! the file is opened again. So data in the page cache is synced before the file is closed, and an
//! error is kept for the next sync.

use crate::{
    backing::{
        file_name::ZoneFileName,
        zone_file_flags,
        MODE, //
    },
    options::DeviceOptions, //
};
use core::mem::{
    replace,
    take, //
};

use crate::kernel_ext::{
    cred::{
        current_credential,
        with_credentials, //
    },
    fs::{
        Directory,
        FileExt,
        OpenFile, //
    },
};

use kernel::{
    cred::Credential,
    fs::File,
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
};

/// The largest number of open files of a device. Each takes 1.5 to 2 KiB, with its inode.
const MAX_OPEN: usize = 8192;

/// The zone files of a device: their directory, and the state that they share.
#[pin_data]
pub(crate) struct ZoneFiles {
    /// [`None`] once the device has been removed.
    #[pin]
    directory: SpinLock<Option<Arc<Directory>>>,
    /// The credentials of the task that added the device.
    credential: ARef<Credential>,
    options: DeviceOptions,
    /// Locked during a sync of the directory, so that other tasks wait for its end and its result.
    #[pin]
    made: Mutex<Made>,
    #[pin]
    open: Mutex<OpenFiles>,
}

/// The files that were made since the last sync of the directory.
#[derive(Default)]
struct Made {
    /// Whether there are any.
    some: bool,
    /// The number of tasks that are making a file. Another task may find this file before `some` is
    /// set.
    makers: usize,
}

impl ZoneFiles {
    /// The zone files of a device that the current task adds.
    pub(crate) fn new(directory: Arc<Directory>, options: DeviceOptions) -> impl PinInit<Self> {
        pin_init!(Self {
            directory <- new_spinlock!(Some(directory), "zloop_directory"),
            credential: current_credential(),
            options,
            made <- new_mutex!(Made::default(), "zloop_made"),
            open <- new_mutex!(OpenFiles::default(), "zloop_open_files"),
        })
    }

    /// Counts a file that was opened, and closes others if too many are open; may sleep.
    fn count(&self, file: Arc<ZoneFile>) {
        self.open.lock().put(file);
        // Up to two files, so that their number shrinks again after some could not be closed.
        for _ in 0..2 {
            let idle = self.open.lock().take_idle();
            let Some(idle) = idle else {
                return;
            };
            if !idle.close_idle(&self.options) {
                self.open.lock().put(idle);
            }
        }
    }

    /// Opens the file of a zone. With `lazy_files`, makes a missing file. May sleep.
    fn open(&self, zone: u32) -> Result<OpenFile> {
        let name = ZoneFileName::of(&self.options.geometry, zone);
        let flags = zone_file_flags(&self.options);
        let opened = self.with_directory(|directory| match directory.open_file(&name, flags) {
            Err(err) if err == ENOENT && self.options.tunables.lazy_files => {
                match self.making(|| directory.create_file(&name, flags, MODE)) {
                    // Another task has just made the file.
                    Err(err) if err == EEXIST => directory.open_file(&name, flags),
                    result => result,
                }
            }
            // The name is not that of a regular file. That is no error of the request.
            Err(err) if err == EINVAL => Err(EIO),
            result => result,
        });
        // A flush updates the time stamps: see `DeviceShared::sync_file`.
        opened.map(OpenFile::defer_mtime)
    }

    /// Makes an unnamed file for data that is not needed after the device is gone; may sleep.
    pub(crate) fn create_unnamed(&self) -> Result<OpenFile> {
        self.with_directory(|directory| {
            directory.create_unnamed(zone_file_flags(&self.options), MODE)
        })
    }

    /// Calls `create`, which makes a file. This blocks while the file system is frozen.
    fn making<R>(&self, create: impl FnOnce() -> R) -> R {
        {
            let mut made = self.made.lock();
            made.makers = made.makers.saturating_add(1);
        }
        let result = create();
        let mut made = self.made.lock();
        made.makers = made.makers.saturating_sub(1);
        // The name may exist even if `create` has failed.
        made.some = true;
        result
    }

    /// Makes the names of new files durable; may sleep.
    pub(crate) fn sync(&self) -> Result {
        let mut made = self.made.lock();
        if made.some || made.makers > 0 {
            self.directory()?.sync()?;
            made.some = made.makers > 0;
        }
        Ok(())
    }

    /// Calls `f` with the directory and with the credentials of the task that added the device; may
    /// sleep.
    pub(crate) fn with_directory<R>(&self, f: impl FnOnce(&Directory) -> Result<R>) -> Result<R> {
        let directory = self.directory()?;
        with_credentials(&self.credential, || f(&directory))
    }

    fn directory(&self) -> Result<Arc<Directory>> {
        self.directory.lock().clone().ok_or(EIO)
    }

    /// Closes the directory; may sleep. No file can be opened any more.
    pub(crate) fn close(&self) {
        let directory = self.directory.lock().take();
        // The drops sleep, so the locks are released first.
        drop(directory);
        let open = take(&mut *self.open.lock());
        drop(open);
    }
}

/// The open files, as the circle of the clock algorithm.
#[derive(Default)]
struct OpenFiles {
    files: KVVec<Arc<ZoneFile>>,
    /// The position of the clock hand.
    hand: usize,
}

impl OpenFiles {
    /// Adds a file to the circle.
    fn put(&mut self, file: Arc<ZoneFile>) {
        // Without memory for the entry, the file stays open.
        let _ = self.files.push(file, GFP_KERNEL);
    }

    /// If there are too many files, takes out one that was not used since the hand last passed it.
    fn take_idle(&mut self) -> Option<Arc<ZoneFile>> {
        if self.files.len() <= MAX_OPEN {
            return None;
        }
        // One round finds a file, unless other tasks use the files as fast as the hand moves.
        for _ in 0..self.files.len() {
            // ORDERING: `Relaxed`. A task that uses the file now may lose its mark. The lock of the
            // state in `close_idle` orders this before the later uses, which set the mark again.
            if !self.files.get(self.hand)?.used.xchg(false, Relaxed) {
                break;
            }
            self.advance();
        }
        // The last file takes the place of the idle one. The hand then moves past it.
        let last = self.files.pop()?;
        let idle = match self.files.get_mut(self.hand) {
            Some(slot) => replace(slot, last),
            None => last,
        };
        self.advance();
        Some(idle)
    }

    /// Moves the hand to the next file.
    fn advance(&mut self) {
        let next = self.hand.saturating_add(1);
        self.hand = if next < self.files.len() { next } else { 0 };
    }
}

/// The file of a zone.
///
/// A removal of the device closes it, even if the disk is still open. So the file system below can
/// be unmounted.
#[pin_data]
pub(crate) struct ZoneFile {
    #[pin]
    state: SpinLock<State>,
    /// Whether the file was used since the clock hand last passed it.
    used: AtomicFlag,
    /// An error that no caller of [`Self::sync`] has got yet. Locked during a sync: the file system
    /// reports an error to an open file only once.
    #[pin]
    unreported: Mutex<Result>,
}

enum State {
    /// The file was never opened.
    Unopened,
    Open(OpenFile),
    /// The file was closed to make room for others.
    Idle,
    /// The device has been removed.
    Closed,
}

impl ZoneFile {
    /// A file that is not open.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock!(State::Unopened, "zloop_zone_file"),
            used: AtomicFlag::new(false),
            unreported <- new_mutex!(Ok(()), "zloop_unreported"),
        })
    }

    /// The file, if it is open. Does not sleep.
    pub(crate) fn get(&self) -> Option<ARef<File>> {
        match &*self.state.lock() {
            State::Open(file) => Some(self.share(file)),
            State::Unopened | State::Idle | State::Closed => None,
        }
    }

    /// A reference to the file, which is marked as used. The caller holds the lock of the state.
    fn share(&self, file: &OpenFile) -> ARef<File> {
        // ORDERING: `Relaxed`, because the lock of the state orders this against `close_idle`. The
        // clock hand takes no lock: for the hand, the mark is a hint.
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
        file.share()
    }

    /// The file of zone `zone`. Opens it if it is not open; may sleep.
    ///
    /// # Errors
    ///
    /// EIO after the device has been removed. The file system's error otherwise.
    pub(crate) fn get_or_open(
        self: &Arc<Self>,
        files: &ZoneFiles,
        zone: u32,
    ) -> Result<ARef<File>> {
        if let Some(file) = self.get() {
            return Ok(file);
        }
        // If another task was faster, `opened` is dropped after the lock is released.
        let opened = files.open(zone)?;
        let file = opened.share();
        {
            let mut state = self.state.lock();
            match &*state {
                State::Open(file) => return Ok(self.share(file)),
                State::Unopened | State::Idle => *state = State::Open(opened),
                State::Closed => return Err(EIO),
            }
        }
        files.count(self.clone());
        Ok(file)
    }

    /// Like [`Self::get_or_open`], but returns [`None`] if the file was never opened. Nothing was
    /// written to it then.
    pub(crate) fn get_if_used(
        self: &Arc<Self>,
        files: &ZoneFiles,
        zone: u32,
    ) -> Result<Option<ARef<File>>> {
        if matches!(*self.state.lock(), State::Unopened) {
            return Ok(None);
        }
        self.get_or_open(files, zone).map(Some)
    }

    /// Makes `file` durable; may sleep. It must be a reference to this file.
    ///
    /// # Errors
    ///
    /// The file system's error, of now or of when the file was closed to make room for others.
    pub(crate) fn sync(&self, file: &File) -> Result {
        let mut unreported = self.unreported.lock();
        let synced = file.sync();
        replace(&mut *unreported, Ok(())).and(synced)
    }

    /// Closes the file until it is needed again, unless it is in use; may sleep. Returns whether
    /// the file is closed.
    fn close_idle(&self, options: &DeviceOptions) -> bool {
        if options.tunables.buffered_io {
            let file = match &*self.state.lock() {
                State::Open(file) if file.is_shared() => return false,
                State::Open(file) => file.share(),
                State::Unopened | State::Idle | State::Closed => return true,
            };
            let mut unreported = self.unreported.lock();
            *unreported = unreported.and(file.sync());
        }
        // A task that used the file since `used` was cleared may have written after the sync.
        // ORDERING: `Relaxed`, because `leave` locks the state, as `share` does. This task has
        // cleared `used`, and no other task clears it: the file is not in the circle.
        let is_idle = |file: &OpenFile| !file.is_shared() && !self.used.load(Relaxed);
        self.leave(
            |state| matches!(state, State::Open(file) if is_idle(file)),
            State::Idle,
        )
    }

    /// Closes the file; may sleep. All I/O on it must have ended.
    pub(crate) fn close(&self) {
        self.leave(|_| true, State::Closed);
    }

    /// Changes the state to `next` if `condition` is true. Returns whether the file is not open.
    fn leave(&self, condition: impl FnOnce(&State) -> bool, next: State) -> bool {
        let mut state = self.state.lock();
        if !condition(&state) {
            return !matches!(*state, State::Open(_));
        }
        let previous = replace(&mut *state, next);
        // Dropping the file sleeps, so the lock is released first.
        drop(state);
        drop(previous);
        true
    }
}
