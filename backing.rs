// SPDX-License-Identifier: GPL-2.0

//! What a device is made of: a directory with one plain file for each zone.
//!
//! ```text
//!   <base_dir>/<id>/cnv-000000      a conventional zone; always as long as the zone
//!   <base_dir>/<id>/seq-000001      a sequential zone; as long as what is written in it
//!   <base_dir>/<id>/geometry        the options that fix the addresses, as `add` takes them
//!   <base_dir>/<id>/incomplete      there while the files are being made
//! ```
//!
//! The zone files are those of the C driver, which takes no notice of the other two. A sequential
//! zone's write pointer is kept nowhere but in the length of its file.
//!
//! A directory is filled by the first `add`, whose geometry is recorded; every later one must ask
//! for the same. If that first `add` is cut off, by a power failure, say, the file `incomplete` is
//! still there. No device was visible until it was removed, so the zone files next to it hold
//! nothing, and are made anew. If the `add` fails it takes back what it has made.
//!
//! A directory without a record was made by the C driver. All its files must be there and fit.

use crate::{
    geometry::Geometry,
    kernel_ext::{
        fmt::Shown,
        fs::{
            Directory,
            FileExt,
            OpenFile, //
        },
    },
    options::{
        recorded_geometry,
        IoMode, //
    },
    refuse,
};
use kernel::{
    block::SECTOR_SHIFT,
    fs::{
        file::flags,
        File, //
    },
    new_spinlock,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::{
        aref::ARef,
        SpinLock, //
    },
};

/// The record of the geometry.
const RECORD: &CStr = c"geometry";
/// The mark of a directory that is being filled. It holds the geometry, too.
const INCOMPLETE: &CStr = c"incomplete";
/// More than a record is ever long.
const RECORD_MAX: usize = 256;

/// The permissions of all files: the C driver's.
const MODE: u16 = 0o600;

/// The file of a zone, while the device has it open.
///
/// The file is closed when the device is removed, even if somebody still has the device open: the
/// file system below can then be unmounted.
#[pin_data]
pub(crate) struct ZoneFile {
    #[pin]
    file: SpinLock<Option<OpenFile>>,
}

impl ZoneFile {
    /// Takes over an open file.
    pub(crate) fn new(file: OpenFile) -> impl PinInit<Self> {
        pin_init!(Self {
            file <- new_spinlock!(Some(file), "zloop_zone_file"),
        })
    }

    /// The file, or EIO once it has been closed.
    pub(crate) fn get(&self) -> Result<ARef<File>> {
        self.file.lock().as_ref().map(OpenFile::share).ok_or(EIO)
    }

    /// Closes the file; may sleep. What is under way on it must have ended.
    pub(crate) fn close(&self) {
        let file = self.file.lock().take();
        // Not before the lock is released.
        drop(file);
    }
}

/// What was found in a directory.
enum History {
    /// Nothing.
    New,
    /// What was left of an `add` that was cut off.
    Incomplete,
    /// A device. The C driver does not record the geometry.
    Made(Option<Geometry>),
}

/// The directory of a device whose zone files are being opened.
///
/// The order of use is [`Self::open`], [`Self::zone_file`] for every zone, and
/// [`Self::complete`]. Dropping it before that takes back what was made.
pub(crate) struct DeviceDirectory {
    dir: Directory,
    /// For messages.
    path: CString,
    id: u32,
    geometry: Geometry,
    io: IoMode,
    progress: Progress,
}

/// What is to be done with the zone files.
enum Progress {
    /// They are made: so many are there already.
    Making { zones: u32 },
    /// They must be there, but there is no record.
    RestoringUnrecorded,
    /// They must be there.
    Restoring,
    /// All is done.
    Complete,
}

impl DeviceDirectory {
    /// Opens `<base_dir>/<id>` and finds out what is in it.
    ///
    /// # Errors
    ///
    /// EINVAL if there is no such directory, or if the geometry is not the recorded one; what the
    /// file system says otherwise.
    pub(crate) fn open(base_dir: &[u8], id: u32, geometry: Geometry, io: IoMode) -> Result<Self> {
        let path = device_path(base_dir, id)?;
        let dir = Directory::open_path(&path).map_err(|err| {
            let (base_dir, path) = (
                BStr::from_bytes(base_dir),
                BStr::from_bytes(path.to_bytes()),
            );
            refuse!(
                id,
                "base_dir={base_dir}: can't open the directory {path}: {err:?}"
            );
            errno_for_add(err)
        })?;
        let mut this = Self {
            dir,
            path,
            id,
            geometry,
            io,
            progress: Progress::Restoring,
        };
        match this.history()? {
            History::New => this.begin()?,
            History::Incomplete => {
                this.clear()?;
                this.begin()?;
            }
            History::Made(None) => {
                this.refuse_surplus()?;
                this.progress = Progress::RestoringUnrecorded;
            }
            History::Made(Some(recorded)) => {
                if let Some(mismatch) = geometry.difference(&recorded) {
                    refuse!(id, "{}", Shown(mismatch));
                    return Err(EINVAL);
                }
            }
        }
        Ok(this)
    }

    /// Opens the file of a zone, which must be the next one, and makes it if the device is new.
    ///
    /// The length of a zone file is checked by whoever knows what it should be.
    pub(crate) fn zone_file(&mut self, zone: u32) -> Result<OpenFile> {
        let mut flags = flags::O_RDWR | flags::O_NOATIME;
        if self.io == IoMode::Direct {
            flags |= flags::O_DIRECT;
        }
        let name = self.zone_file_name(zone)?;
        let file = match self.progress {
            Progress::Making { .. } => self
                .dir
                .create_file(&name, flags, MODE)
                .map_err(|err| self.refuse_file(&name, "can't make it", err))?,
            _ => self
                .dir
                .open_file(&name, flags)
                .map_err(|err| self.refuse_file(&name, "can't open it", err))?,
        };
        if let Progress::Making { zones } = &mut self.progress {
            *zones = zone.saturating_add(1);
            if self.geometry.is_conventional(zone) {
                let bytes = self.geometry.zone_len(zone) << SECTOR_SHIFT;
                file.truncate(bytes)
                    .and_then(|()| file.sync())
                    .map_err(|err| {
                        self.refuse_file(&name, "can't make it as long as a zone", err)
                    })?;
            }
        }
        Ok(file)
    }

    /// Checks the length of a zone's file, and returns it in sectors.
    ///
    /// `block_size` is the device's, in bytes.
    pub(crate) fn check_length(&self, zone: u32, file: &File, block_size: u32) -> Result<u64> {
        let capacity = self.geometry.zone_capacity(zone) << SECTOR_SHIFT;
        let conventional = self.geometry.is_conventional(zone);
        let fits = |bytes| {
            if conventional {
                bytes == capacity
            } else {
                bytes <= capacity && bytes % u64::from(block_size) == 0
            }
        };
        let size = file.size();
        if let Ok(bytes) = size {
            if fits(bytes) {
                return Ok(bytes >> SECTOR_SHIFT);
            }
        }

        // Only a message needs the name.
        let name = self.zone_file_name(zone)?;
        let bytes = size.map_err(|err| self.refuse_file(&name, "can't get its length", err))?;
        let (id, (path, name)) = (self.id, self.shown(&name));
        if conventional {
            refuse!(
                id,
                "zone {zone}: {path}/{name} has {bytes} bytes: must be {capacity}"
            );
        } else {
            refuse!(
                id,
                "zone {zone}: {path}/{name} has {bytes} bytes: must be at most {capacity} and a \
                 multiple of {block_size}"
            );
        }
        Err(EINVAL)
    }

    /// Records the geometry and makes all durable.
    pub(crate) fn complete(mut self) -> Result {
        let failed = |this: &Self, err| this.refuse_file(RECORD, "can't record the geometry", err);
        match self.progress {
            Progress::Making { .. } => {
                self.write_geometry(RECORD)
                    .map_err(|err| failed(&self, err))?;
                self.dir
                    .unlink(INCOMPLETE)
                    .and_then(|()| self.dir.sync())
                    .map_err(|err| failed(&self, err))?;
            }
            Progress::RestoringUnrecorded => {
                self.write_geometry(RECORD)
                    .and_then(|()| self.dir.sync())
                    .map_err(|err| {
                        // Half a record would be in the way of the next `add`.
                        let _ = self.dir.unlink(RECORD);
                        failed(&self, err)
                    })?;
            }
            Progress::Restoring | Progress::Complete => {}
        }
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Looks what is there.
    fn history(&self) -> Result<History> {
        if self.exists(INCOMPLETE)? {
            return Ok(History::Incomplete);
        }
        if let Some(recorded) = self.read_geometry(RECORD)? {
            return Ok(History::Made(Some(recorded)));
        }
        // The C driver's rule: zone 0, of either kind, tells.
        let names = [
            zone_file_name(Kind::Conventional, 0)?,
            zone_file_name(Kind::Sequential, 0)?,
        ];
        for name in names {
            if self.exists(&name)? {
                return Ok(History::Made(None));
            }
        }
        Ok(History::New)
    }

    /// Begins to fill an empty directory.
    fn begin(&mut self) -> Result {
        self.progress = Progress::Making { zones: 0 };
        self.write_geometry(INCOMPLETE)
            .and_then(|()| self.dir.sync())
            .map_err(|err| self.refuse_file(INCOMPLETE, "can't make it", err))
    }

    /// Removes what an `add` that was cut off has left.
    fn clear(&self) -> Result {
        // A mark that was not written to the end means that nothing was made after it.
        if let Ok(Some(left)) = self.read_geometry(INCOMPLETE) {
            self.unlink_zones(&left, left.nr_zones())?;
            self.unlink_if_there(RECORD)?;
            // Without the mark the rest would look like a device.
            self.dir
                .sync()
                .map_err(|err| self.refuse_file(INCOMPLETE, "can't remove what it is for", err))?;
        }
        self.unlink_if_there(INCOMPLETE)
    }

    /// Refuses a directory of the C driver's that has more zones than were asked for.
    fn refuse_surplus(&self) -> Result {
        let (id, next) = (self.id, self.geometry.nr_zones());
        for kind in [Kind::Conventional, Kind::Sequential] {
            let name = zone_file_name(kind, next)?;
            if self.exists(&name)? {
                let (path, name) = self.shown(&name);
                refuse!(
                    id,
                    "capacity_mb: {path} holds a larger device: {name} is there, and the last zone \
                     would be {}",
                    next - 1
                );
                return Err(EINVAL);
            }
        }
        Ok(())
    }

    fn exists(&self, name: &CStr) -> Result<bool> {
        match self.dir.find_file(name) {
            Ok(()) => Ok(true),
            Err(err) if err == ENOENT => Ok(false),
            Err(err) => Err(self.refuse_file(name, "can't use it", err)),
        }
    }

    /// Reads a geometry, or [`None`] if there is no such file.
    fn read_geometry(&self, name: &CStr) -> Result<Option<Geometry>> {
        let file = match self.dir.open_file(name, flags::O_RDONLY) {
            Err(err) if err == ENOENT => return Ok(None),
            result => result.map_err(|err| self.refuse_file(name, "can't open it", err))?,
        };
        let mut buffer = [0; RECORD_MAX];
        let len = file
            .read_at(&mut buffer, 0)
            .map_err(|err| self.refuse_file(name, "can't read it", err))?;
        let text = buffer.get(..len).unwrap_or_default();
        match recorded_geometry(text) {
            Ok(geometry) => Ok(Some(geometry)),
            Err(err) => {
                let (id, (path, name)) = (self.id, self.shown(name));
                refuse!(id, "{path}/{name} is damaged: {}", Shown(err));
                Err(EINVAL)
            }
        }
    }

    fn write_geometry(&self, name: &CStr) -> Result {
        let geometry = self.geometry;
        let text = CString::try_from_fmt(fmt!("{}\n", Shown(geometry)))?;
        let file = self.dir.create_file(name, flags::O_RDWR, MODE)?;
        file.write_all_at(text.to_bytes(), 0)?;
        file.sync()
    }

    fn unlink_zones(&self, geometry: &Geometry, zones: u32) -> Result {
        for zone in 0..zones {
            self.unlink_if_there(&geometry_zone_file_name(geometry, zone)?)?;
        }
        Ok(())
    }

    fn unlink_if_there(&self, name: &CStr) -> Result {
        match self.dir.unlink(name) {
            Err(err) if err == ENOENT => Ok(()),
            result => result.map_err(|err| self.refuse_file(name, "can't remove it", err)),
        }
    }

    fn zone_file_name(&self, zone: u32) -> Result<CString> {
        geometry_zone_file_name(&self.geometry, zone)
    }

    /// Says what can't be done with a file, and why, and returns the errno for it.
    fn refuse_file(&self, name: &CStr, what: &str, err: Error) -> Error {
        let (id, (path, name)) = (self.id, self.shown(name));
        refuse!(id, "{path}/{name}: {what}: {err:?}");
        errno_for_add(err)
    }

    /// The directory and a file in it, for a message.
    fn shown<'a>(&'a self, name: &'a CStr) -> (&'a BStr, &'a BStr) {
        (
            BStr::from_bytes(self.path.to_bytes()),
            BStr::from_bytes(name.to_bytes()),
        )
    }
}

impl Drop for DeviceDirectory {
    fn drop(&mut self) {
        if let Progress::Making { zones } = self.progress {
            // Each failure has its message. What can't be removed now is by the next `add`, which
            // finds the mark.
            let cleared = self
                .unlink_zones(&self.geometry, zones)
                .and_then(|()| self.unlink_if_there(RECORD));
            if cleared.is_ok() {
                let _ = self.unlink_if_there(INCOMPLETE);
            }
        }
    }
}

/// The errno that an `add` fails with: one that a script of the C driver's knows. A write has no file
/// name that could be missing.
fn errno_for_add(err: Error) -> Error {
    if err == ENOENT {
        EINVAL
    } else {
        err
    }
}

/// How a zone's file is named.
enum Kind {
    Conventional,
    Sequential,
}

fn zone_file_name(kind: Kind, zone: u32) -> Result<CString> {
    match kind {
        Kind::Conventional => CString::try_from_fmt(fmt!("cnv-{zone:06}")),
        Kind::Sequential => CString::try_from_fmt(fmt!("seq-{zone:06}")),
    }
}

fn geometry_zone_file_name(geometry: &Geometry, zone: u32) -> Result<CString> {
    let kind = if geometry.is_conventional(zone) {
        Kind::Conventional
    } else {
        Kind::Sequential
    };
    zone_file_name(kind, zone)
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
