// SPDX-License-Identifier: GPL-2.0

//! The files of the zones, while the device is there.
//!
//! A file is opened when it is first needed, which may be never: most zones of a large device are
//! not touched between one boot and the next, and an open file costs more memory than all else that
//! a zone needs. It is looked up in the directory that was opened when the device was added, with
//! the credentials of the task that added it, whoever it is that needs it.
//!
//! So many files may be open at a time, for all that the machine's memory can hold: when another
//! one is opened, one that was not used for a while is closed, until it is needed again. A file
//! system tells an open file that data could not be written back, and may have forgotten that when
//! the file is opened again. So what may still be in the page cache is synced first, and an error
//! is kept for the next one who syncs. A file that somebody is using stays open.

use crate::{
    backing::file_name::ZoneFileName,
    backing::{
        zone_file_flags,
        MODE, //
    },
    kernel_ext::{
        cred::{
            current_credential,
            with_credentials, //
        },
        fs::{
            Directory,
            FileExt,
            OpenFile, //
        },
    },
    options::DeviceOptions,
};
use core::mem::{
    replace,
    take, //
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

/// So many files of a device are open at a time. They take 1.5 to 2 KiB each, with their inodes.
const MAX_OPEN: usize = 8192;

/// Where the zone files of a device are, and how they are opened.
#[pin_data]
pub(crate) struct ZoneFiles {
    /// [`None`] once the device has been removed.
    #[pin]
    directory: SpinLock<Option<Arc<Directory>>>,
    /// Of the task that added the device.
    credential: ARef<Credential>,
    options: DeviceOptions,
    /// Locked while the directory is synced: nobody may take for durable what somebody else is
    /// about to make so.
    #[pin]
    made: Mutex<Made>,
    #[pin]
    open: Mutex<OpenFiles>,
}

/// Which files were made since the directory was last synced.
#[derive(Default)]
struct Made {
    /// Whether there are any.
    some: bool,
    /// So many tasks are making one. Others may find it before they have said so.
    makers: usize,
}

impl ZoneFiles {
    /// The files of a device that the current task adds.
    pub(crate) fn new(directory: Arc<Directory>, options: DeviceOptions) -> impl PinInit<Self> {
        pin_init!(Self {
            directory <- new_spinlock!(Some(directory), "zloop_directory"),
            credential: current_credential(),
            options,
            made <- new_mutex!(Made::default(), "zloop_made"),
            open <- new_mutex!(OpenFiles::default(), "zloop_open_files"),
        })
    }

    /// Counts a file that was opened, and closes others if there are too many; may sleep.
    fn count(&self, file: Arc<ZoneFile>) {
        self.open.lock().put(file);
        // Two, so that there get fewer again after some could not be closed.
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

    /// Opens the file of a zone, which is made if it may be missing; may sleep.
    fn open(&self, zone: u32) -> Result<OpenFile> {
        let name = ZoneFileName::of(&self.options.geometry, zone);
        let flags = zone_file_flags(&self.options);
        let opened = self.with_directory(|directory| match directory.open_file(&name, flags) {
            Err(err) if err == ENOENT && self.options.tunables.lazy_files => {
                match self.making(|| directory.create_file(&name, flags, MODE)) {
                    // Another task needs it, too, and was faster.
                    Err(err) if err == EEXIST => directory.open_file(&name, flags),
                    result => result,
                }
            }
            // No regular file has that name. The request is as valid as any.
            Err(err) if err == EINVAL => Err(EIO),
            result => result,
        });
        // A flush updates the time stamps: see `Device::flush_zone`.
        opened.map(OpenFile::defer_mtime)
    }

    /// Makes a file for data that nobody needs once the device is gone; may sleep.
    pub(crate) fn create_unnamed(&self) -> Result<OpenFile> {
        self.with_directory(|directory| {
            directory.create_unnamed(zone_file_flags(&self.options), MODE)
        })
    }

    /// Makes a file by `create`, which may take as long as the file system is frozen.
    fn making<R>(&self, create: impl FnOnce() -> R) -> R {
        {
            let mut made = self.made.lock();
            made.makers = made.makers.saturating_add(1);
        }
        let result = create();
        let mut made = self.made.lock();
        made.makers = made.makers.saturating_sub(1);
        // Even if it has failed, the name may be there.
        made.some = true;
        result
    }

    /// Makes durable which files there are; may sleep.
    pub(crate) fn sync(&self) -> Result {
        let mut made = self.made.lock();
        if made.some || made.makers > 0 {
            self.directory()?.sync()?;
            made.some = made.makers > 0;
        }
        Ok(())
    }

    /// Does something with the directory, with the rights of the task that added the device; may
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
        // Not before the locks are released.
        drop(directory);
        let open = take(&mut *self.open.lock());
        drop(open);
    }
}

/// The files that are open, in a circle that a hand goes round (the clock algorithm).
#[derive(Default)]
struct OpenFiles {
    files: KVVec<Arc<ZoneFile>>,
    hand: usize,
}

impl OpenFiles {
    /// Puts a file into the circle.
    fn put(&mut self, file: Arc<ZoneFile>) {
        // One that there is no memory for stays open.
        let _ = self.files.push(file, GFP_KERNEL);
    }

    /// If there are too many, takes out one that was not used since the hand was there last.
    fn take_idle(&mut self) -> Option<Arc<ZoneFile>> {
        if self.files.len() <= MAX_OPEN {
            return None;
        }
        // After one round there is one, unless others use them as fast as the hand goes.
        for _ in 0..self.files.len() {
            if !self.files.get(self.hand)?.used.xchg(false, Relaxed) {
                break;
            }
            self.advance();
        }
        // The last one takes its place, and is behind the hand then.
        let last = self.files.pop()?;
        let idle = match self.files.get_mut(self.hand) {
            Some(place) => replace(place, last),
            None => last,
        };
        self.advance();
        Some(idle)
    }

    /// Moves the hand on by one.
    fn advance(&mut self) {
        let next = self.hand.saturating_add(1);
        self.hand = if next < self.files.len() { next } else { 0 };
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
    /// Whether it was used since it was last looked at whether it may be closed.
    used: AtomicFlag,
    /// What a sync has said that nobody was told yet. Locked during a sync: a file system tells an
    /// open file once.
    #[pin]
    untold: Mutex<Result>,
}

enum State {
    /// It was not needed yet.
    Unopened,
    Open(OpenFile),
    /// It was closed to make room for others.
    Idle,
    /// The device has been removed.
    Closed,
}

impl ZoneFile {
    /// A file that nobody has needed yet.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock!(State::Unopened, "zloop_zone_file"),
            used: AtomicFlag::new(false),
            untold <- new_mutex!(Ok(()), "zloop_untold"),
        })
    }

    /// The file, if it is open. Does not sleep.
    pub(crate) fn get(&self) -> Option<ARef<File>> {
        match &*self.state.lock() {
            State::Open(file) => Some(self.share(file)),
            State::Unopened | State::Idle | State::Closed => None,
        }
    }

    /// Gives out the file, with the state locked.
    fn share(&self, file: &OpenFile) -> ARef<File> {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
        file.share()
    }

    /// The file of zone `zone`, which is opened if it isn't open; may sleep.
    ///
    /// # Errors
    ///
    /// EIO once the device has been removed; what the file system says otherwise.
    pub(crate) fn get_or_open(
        self: &Arc<Self>,
        files: &ZoneFiles,
        zone: u32,
    ) -> Result<ARef<File>> {
        if let Some(file) = self.get() {
            return Ok(file);
        }
        // What is not used is closed after the lock is released.
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

    /// The same, but [`None`] if it was never opened: then nothing was written to it.
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

    /// Makes `file`, which is this one's, durable; may sleep.
    ///
    /// # Errors
    ///
    /// What the file system says, now or when the file was closed to make room for others.
    pub(crate) fn sync(&self, file: &File) -> Result {
        let mut untold = self.untold.lock();
        let synced = file.sync();
        replace(&mut *untold, Ok(())).and(synced)
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
            let mut untold = self.untold.lock();
            *untold = untold.and(file.sync());
        }
        // Who has used it since `used` was cleared may have written after the sync.
        let is_idle = |file: &OpenFile| !file.is_shared() && !self.used.load(Relaxed);
        self.leave(
            |state| matches!(state, State::Open(file) if is_idle(file)),
            State::Idle,
        )
    }

    /// Closes the file; may sleep. What is under way on it must have ended.
    pub(crate) fn close(&self) {
        self.leave(|_| true, State::Closed);
    }

    /// Changes the state if `condition` is true of it. Returns whether the file is not open then.
    fn leave(&self, condition: impl FnOnce(&State) -> bool, next: State) -> bool {
        let mut state = self.state.lock();
        if !condition(&state) {
            return !matches!(*state, State::Open(_));
        }
        let previous = replace(&mut *state, next);
        // Not before the lock is released.
        drop(state);
        drop(previous);
        true
    }
}
