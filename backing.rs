// SPDX-License-Identifier: GPL-2.0

//! The directory of a device. It has one regular file for each zone.
//!
//! ```text
//!   <base_dir>/<id>/cnv-000000      a conventional zone; its length is that of the zone
//!   <base_dir>/<id>/seq-000001      a sequential zone; its length is that of the written data
//!   <base_dir>/<id>/geometry        the options of the last `add`, as `add` takes them
//!   <base_dir>/<id>/geometry.new    the next options while they are being written
//!   <base_dir>/<id>/conditions      the zones that are declared read-only or offline
//!   <base_dir>/<id>/conditions.new  the next conditions while they are being written
//!   <base_dir>/<id>/incomplete      exists while the files are being made
//! ```
//!
//! The zone files are those of the C driver. The C driver ignores the other files. The length of a
//! sequential zone's file is its write pointer, which is stored nowhere else.
//!
//! The first `add` fills a directory. If it is interrupted, for example by a power failure, the
//! file `incomplete` remains. The device becomes visible only after this file is removed, so the
//! zone files beside it have no data, and the next `add` makes them again. An `add` that fails
//! removes the files that it has made, and the directory if it has made it.
//!
//! `options/record.rs` describes how a later `add` uses the record. If it changes an option, it
//! replaces the record atomically, once all steps before the creation of the disk have succeeded.
//! An `add` that is refused does not change the record.
//!
//! A directory that is not empty and has no device in it belongs to another user, so the driver
//! makes no files there. The registry of devices refuses a directory that another device uses,
//! under any path, before the driver looks at its contents.
//!
//! With `lazy_files`, the first write to a sequential zone makes its file. So this file may be
//! missing. Zone 0 is an exception: its file shows that there is a device. A later `add` of a
//! device without `lazy_files` makes the missing files. Once all files have been made, they must
//! exist from then on. The record then has no `lazy_files`, even if an `add` asks for it.
//!
//! A directory with zone files and without a record was made by the C driver. All its files must
//! exist and have a valid length. The same is true if the record is empty: a power failure has
//! interrupted its writing, and it is written after all files exist.

pub(crate) mod directory;
pub(crate) mod file_name;
pub(crate) mod parallelism_probe;
pub(crate) mod record_file;
pub(crate) mod scan;
pub(crate) mod zone_file;

use crate::{
    backing::{
        directory::OpenedDirectory,
        file_name::{
            sequential_zone_number,
            Kind,
            ZoneFileName, //
        },
        record_file::{
            RecordFile,
            MODE, //
        },
        scan::ZoneFileSizes, //
    },
    cmd_err,
    options::{
        AddOptions,
        DeviceOptions,
        Geometry, //
    },
    zone::WritePointer, //
};

use crate::kernel_ext::{
    fmt::CoreDisplay,
    fs::{
        Directory,
        FileExt,
        OpenFile, //
    },
};

use kernel::{
    block::SECTOR_SHIFT,
    fs::file::flags,
    prelude::*,
    str::{
        BStr,
        CString, //
    },
    sync::Arc,
};

/// The record of the device.
const RECORD: RecordFile = RecordFile {
    name: c"geometry",
    next: c"geometry.new",
};
/// The mark of a directory that is being filled. It has the text of the record, too.
const INCOMPLETE: &CStr = c"incomplete";
/// Every valid record is shorter, in bytes.
const RECORD_MAX: u64 = 1024;
/// A directory that mkfs makes in the root of an empty file system.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// The contents of a directory.
enum History {
    /// No device.
    New,
    /// The files of an interrupted `add`.
    Incomplete,
    /// A device and its record. The C driver makes no record.
    Made(Option<KBox<DeviceOptions>>),
}

impl History {
    /// Looks for a device.
    fn of(opened: &OpenedDirectory) -> Result<Self> {
        if opened.exists(INCOMPLETE)? {
            return Ok(Self::Incomplete);
        }
        if let Some(recorded) = read_record(opened, RECORD.name)? {
            return Ok(Self::Made(Some(recorded)));
        }
        // The C driver's rule: if zone 0 has a file, of either kind, there is a device.
        for kind in [Kind::Conventional, Kind::Sequential] {
            if opened.exists(&ZoneFileName::new(kind, 0))? {
                return Ok(Self::Made(None));
            }
        }
        Ok(Self::New)
    }
}

/// Reads a record. Returns [`None`] if the file is missing or empty.
fn read_record(opened: &OpenedDirectory, name: &CStr) -> Result<Option<KBox<DeviceOptions>>> {
    let (id, (path, shown)) = (opened.id(), opened.shown(name));
    let text = match record_file::read(opened.dir(), name, RECORD_MAX - 1) {
        Err(err) if err == EFBIG => {
            cmd_err!(
                id,
                "{path}/{shown} is damaged: must be shorter than {RECORD_MAX} bytes"
            );
            return Err(EINVAL);
        }
        result => result.map_err(|err| opened.refuse_file(name, "can't read it", err))?,
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match DeviceOptions::parse(&text) {
        Ok(record) => Ok(Some(KBox::new(record, GFP_KERNEL)?)),
        Err(err) => {
            cmd_err!(id, "{path}/{shown} is damaged: {}", CoreDisplay(err));
            Err(EINVAL)
        }
    }
}

/// The options of the device that an `add` asks for. Logs the reason if there can be no such
/// device.
pub(crate) fn resolve(
    options: &AddOptions<'_>,
    recorded: Option<&DeviceOptions>,
    id: u32,
) -> Result<DeviceOptions> {
    let device = match recorded {
        None => options.new_device(),
        Some(recorded) => options.device_again(recorded),
    };
    device.map_err(|err| {
        cmd_err!(id, "{}", CoreDisplay(err));
        EINVAL
    })
}

/// The directory of a device that is being added.
///
/// The order of use is [`Self::new`], [`Self::first_file`], [`Self::zone`] for every zone, and
/// [`Self::complete`]. Dropping it before that removes the files that were made.
pub(crate) struct DeviceDirectory {
    opened: OpenedDirectory,
    /// In a box to save stack, because the file system is entered from here.
    options: KBox<DeviceOptions>,
    record: Freshness,
    progress: Progress,
    sizes: ZoneFileSizes,
}

/// The state of the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// It has the options of the device.
    Fresh,
    /// It is missing or has other options.
    Outdated,
}

/// The work on the zone files.
enum Progress {
    /// The files are being made. The first `zones` zones have theirs, unless `lazy_files` leaves
    /// them out.
    Making { zones: u32 },
    /// All files must exist and have a valid length.
    Restoring,
    /// The files in `there` must have a valid length. The others are missing.
    RestoringLazy { there: ZoneSet },
    /// The work is done.
    Complete,
}

/// A set of zones, by their numbers.
struct ZoneSet(KVVec<u64>);

impl ZoneSet {
    fn new(nr_zones: u32) -> Result<Self> {
        let nr_words = nr_zones.div_ceil(u64::BITS) as usize;
        Ok(Self(KVVec::from_elem(0, nr_words, GFP_KERNEL)?))
    }

    fn insert(&mut self, zone: u32) {
        if let Some(word) = self.0.get_mut((zone / u64::BITS) as usize) {
            *word |= 1 << (zone % u64::BITS);
        }
    }

    fn contains(&self, zone: u32) -> bool {
        let word = self.0.get((zone / u64::BITS) as usize);
        word.is_some_and(|word| word & (1 << (zone % u64::BITS)) != 0)
    }
}

impl DeviceDirectory {
    /// Looks at the directory, and checks that it can have the device that `options` asks for.
    ///
    /// # Errors
    ///
    /// EINVAL if the geometry is invalid or is not the recorded one, or if the directory has other
    /// files. The file system's error otherwise.
    pub(crate) fn new(opened: OpenedDirectory, options: &AddOptions<'_>) -> Result<Self> {
        let history = History::of(&opened)?;
        let recorded = match &history {
            History::Made(recorded) => recorded.as_deref(),
            History::New | History::Incomplete => None,
        };
        let mut options = KBox::new(resolve(options, recorded, opened.id())?, GFP_KERNEL)?;
        let all_are_there = match &history {
            History::Made(Some(recorded)) => !recorded.tunables.lazy_files,
            History::Made(None) => true,
            History::New | History::Incomplete => false,
        };
        if all_are_there {
            options.tunables.lazy_files = false;
        }
        let record = if recorded == Some(&*options) {
            Freshness::Fresh
        } else {
            Freshness::Outdated
        };
        let mut this = Self {
            opened,
            options,
            record,
            progress: Progress::Restoring,
            sizes: ZoneFileSizes::default(),
        };
        match history {
            History::New => {
                this.refuse_foreign()?;
                this.begin()?;
            }
            History::Incomplete => {
                this.clear()?;
                this.begin()?;
            }
            History::Made(None) => this.refuse_surplus()?,
            History::Made(Some(_)) if all_are_there => {}
            History::Made(Some(_)) => {
                let there = this.zones_there()?;
                this.progress = Progress::RestoringLazy { there };
            }
        }
        if all_are_there {
            this.sizes = ZoneFileSizes::look_up(this.opened.dir(), this.geometry())?;
        }
        Ok(this)
    }

    /// The options of the device.
    pub(crate) fn options(&self) -> &DeviceOptions {
        &self.options
    }

    fn geometry(&self) -> &Geometry {
        &self.options.geometry
    }

    /// The first zone's file. Makes it if the device is new. All zone files have the properties of
    /// this one.
    pub(crate) fn first_file(&mut self) -> Result<OpenFile> {
        match self.progress {
            Progress::Making { .. } => self.make_zone_file(0),
            _ => self.open_zone_file(0),
        }
    }

    /// Refuses a file system without unnamed files (`O_TMPFILE`).
    pub(crate) fn check_unnamed(&self) -> Result {
        let dir = self.opened.dir();
        let made = dir.create_unnamed(zone_file_flags(&self.options), MODE);
        made.map(drop).inspect_err(|err| {
            cmd_err!(
                self.opened.id(),
                "volatile_cache: the file system must have files without a name (O_TMPFILE): \
                 {err:?}"
            );
        })
    }

    /// Makes or checks the file of a zone. Returns its length in sectors.
    ///
    /// The zones must come in ascending order. `block_size` is the device's, in bytes.
    pub(crate) fn zone(&mut self, zone: u32, block_size: u32) -> Result<u64> {
        match &self.progress {
            Progress::Making { zones } => {
                if zone >= *zones && self.is_made_at_add(zone) {
                    self.make_zone_file(zone)?;
                }
            }
            Progress::RestoringLazy { there } => {
                if !there.contains(zone) && !self.is_always_there(zone) {
                    if !self.options.tunables.lazy_files {
                        self.make_zone_file(zone)?;
                    }
                } else {
                    return self.check_zone_file(zone, block_size);
                }
            }
            _ => return self.check_zone_file(zone, block_size),
        }
        // A new file of a sequential zone is empty. The length of a conventional one is not used.
        Ok(0)
    }

    /// Whether the first `add` makes the file of a zone.
    fn is_made_at_add(&self, zone: u32) -> bool {
        !self.options.tunables.lazy_files || self.is_always_there(zone)
    }

    /// Whether the file of a zone exists even with `lazy_files`. A conventional zone's file always
    /// has its full length.
    fn is_always_there(&self, zone: u32) -> bool {
        zone == 0 || self.options.geometry.is_conventional(zone)
    }

    fn open_zone_file(&self, zone: u32) -> Result<OpenFile> {
        let name = self.zone_file_name(zone);
        self.opened
            .dir()
            .open_file(&name, zone_file_flags(&self.options))
            .map_err(|err| self.opened.refuse_file(&name, "can't open it", err))
    }

    fn make_zone_file(&mut self, zone: u32) -> Result<OpenFile> {
        let name = self.zone_file_name(zone);
        let file = self
            .opened
            .dir()
            .create_file(&name, zone_file_flags(&self.options), MODE)
            .map_err(|err| self.opened.refuse_file(&name, "can't make it", err))?;
        if let Progress::Making { zones } = &mut self.progress {
            *zones = zone.saturating_add(1);
        }
        if self.options.geometry.is_conventional(zone) {
            let bytes = self.options.geometry.zone_len(zone) << SECTOR_SHIFT;
            file.truncate(bytes)
                .and_then(|()| file.sync())
                .map_err(|err| {
                    self.opened
                        .refuse_file(&name, "can't extend it to the zone size", err)
                })?;
        }
        Ok(file)
    }

    /// Checks the length of a zone's file, and returns it in sectors.
    fn check_zone_file(&self, zone: u32, block_size: u32) -> Result<u64> {
        let bytes = match self.sizes.get(zone) {
            Some(size) => size,
            None => {
                let name = self.zone_file_name(zone);
                let found = self.opened.dir().find_file(&name);
                found
                    .map_err(|err| self.opened.refuse_file(&name, "can't open it", err))?
                    .size
            }
        };
        let capacity = self.options.geometry.zone_capacity(zone) << SECTOR_SHIFT;
        let conventional = self.options.geometry.is_conventional(zone);
        let fits = if conventional {
            bytes == capacity
        } else {
            let sectors = capacity >> SECTOR_SHIFT;
            WritePointer::at_end_of_file(bytes, block_size, sectors).is_some()
        };
        if fits {
            return Ok(bytes >> SECTOR_SHIFT);
        }

        let name = self.zone_file_name(zone);
        let (id, (path, name)) = (self.opened.id(), self.opened.shown(&name));
        if conventional {
            cmd_err!(
                id,
                "zone {zone}: {path}/{name} has {bytes} bytes: must be {capacity}"
            );
        } else {
            cmd_err!(
                id,
                "zone {zone}: {path}/{name} has {bytes} bytes: must be at most {capacity} and a \
                 multiple of {block_size}"
            );
        }
        Err(EINVAL)
    }

    /// Records the options of the device, and makes the directory durable.
    ///
    /// # Errors
    ///
    /// The file system's error. The previous record is still there, unless the sync of the
    /// directory has failed.
    pub(crate) fn complete(mut self) -> Result {
        self.bring_to_record()
            .map_err(|err| self.opened.refuse_file(RECORD.name, "can't write it", err))?;
        self.opened.keep()?;
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Writes the record if it is missing or outdated.
    fn bring_to_record(&self) -> Result {
        let dir = self.opened.dir();
        if let Progress::Making { .. } = self.progress {
            self.replace_record()?;
            dir.unlink(INCOMPLETE)?;
        } else if self.record == Freshness::Outdated {
            if let Progress::RestoringLazy { .. } = self.progress {
                // A record without `lazy_files` means that all files exist. So their names must be
                // durable first.
                dir.sync()?;
            }
            self.replace_record()?;
        } else {
            return Ok(());
        }
        dir.sync()
    }

    /// The directory, for opening zone files.
    pub(crate) fn share(&self) -> Arc<Directory> {
        self.opened.share()
    }

    /// Marks an empty directory as being filled.
    fn begin(&mut self) -> Result {
        self.progress = Progress::Making { zones: 0 };
        let text = self.record_text()?;
        record_file::write(self.opened.dir(), INCOMPLETE, text.to_bytes())
            .and_then(|()| self.opened.dir().sync())
            .map_err(|err| self.opened.refuse_file(INCOMPLETE, "can't make it", err))
    }

    /// Removes the files of an interrupted `add`.
    fn clear(&self) -> Result {
        let left = match read_record(&self.opened, INCOMPLETE) {
            // The mark was not written completely, so no zone file was made after it.
            Err(err) if err == EINVAL => None,
            result => result?,
        };
        if let Some(left) = left {
            self.unlink_zones(&left, left.geometry.nr_zones())?;
            self.unlink_records()?;
            // The removal must be durable before the mark goes: without it, the remaining files
            // would look like a device.
            self.opened.dir().sync().map_err(|err| {
                self.opened
                    .refuse_file(INCOMPLETE, "can't remove the files beside it", err)
            })?;
        }
        self.opened.unlink_if_there(INCOMPLETE)
    }

    /// Refuses a directory of the C driver that has more zones than the `add` asks for.
    fn refuse_surplus(&self) -> Result {
        let (id, next) = (self.opened.id(), self.options.geometry.nr_zones());
        for kind in [Kind::Conventional, Kind::Sequential] {
            let name = ZoneFileName::new(kind, next);
            if self.opened.exists(&name)? {
                let (path, name) = self.opened.shown(&name);
                cmd_err!(
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

    /// Refuses a directory with other files.
    fn refuse_foreign(&self) -> Result {
        let mut found = Ok(None);
        self.opened
            .dir()
            .for_each_name(|name| {
                // A record that is found here is empty or unfinished.
                let (record, next) = (RECORD.name.to_bytes(), RECORD.next.to_bytes());
                let ignored: [&[u8]; 5] = [b".", b"..", LOST_AND_FOUND, record, next];
                if !ignored.contains(&name) && matches!(found, Ok(None)) {
                    found = copy_of(name).map(Some);
                }
            })
            .map_err(|err| self.opened.refuse_file(c".", "can't read it", err))?;
        if let Some(name) = found? {
            let (id, path) = (self.opened.id(), self.opened.path());
            cmd_err!(
                id,
                "{path} has no device, but other files, for example \"{}\": must be empty",
                BStr::from_bytes(&name)
            );
            return Err(EINVAL);
        }
        Ok(())
    }

    /// The sequential zones that have a file.
    fn zones_there(&self) -> Result<ZoneSet> {
        let mut there = ZoneSet::new(self.options.geometry.nr_zones())?;
        self.opened
            .dir()
            .for_each_name(|name| {
                if let Some(zone) = sequential_zone_number(name) {
                    there.insert(zone);
                }
            })
            .map_err(|err| self.opened.refuse_file(c".", "can't read it", err))?;
        Ok(there)
    }

    /// The text of the record.
    fn record_text(&self) -> Result<CString> {
        CString::try_from_fmt(fmt!("{}\n", CoreDisplay(*self.options)))
    }

    fn replace_record(&self) -> Result {
        RECORD.replace(self.opened.dir(), self.record_text()?.to_bytes())
    }

    fn unlink_records(&self) -> Result {
        self.opened.unlink_if_there(RECORD.name)?;
        self.opened.unlink_if_there(RECORD.next)
    }

    /// Removes the files that an `add` has made for the first `zones` zones.
    fn unlink_zones(&self, record: &DeviceOptions, zones: u32) -> Result {
        for zone in 0..zones {
            if record.tunables.lazy_files && zone > 0 && !record.geometry.is_conventional(zone) {
                continue;
            }
            self.opened
                .unlink_if_there(&ZoneFileName::of(&record.geometry, zone))?;
        }
        Ok(())
    }

    fn zone_file_name(&self, zone: u32) -> ZoneFileName {
        ZoneFileName::of(self.geometry(), zone)
    }
}

impl Drop for DeviceDirectory {
    fn drop(&mut self) {
        if let Progress::Making { zones } = self.progress {
            // Each failure logs a message. If a file can't be removed now, the next `add` finds the
            // mark and removes the file.
            let cleared = self
                .unlink_zones(&self.options, zones)
                .and_then(|()| self.unlink_records());
            if cleared.is_ok() {
                let _ = self.opened.unlink_if_there(INCOMPLETE);
            }
        }
    }
}

fn copy_of(name: &[u8]) -> Result<KVec<u8>> {
    let mut copy = KVec::new();
    copy.extend_from_slice(name, GFP_KERNEL)?;
    Ok(copy)
}

/// The `O_` flags for opening zone files.
pub(crate) fn zone_file_flags(options: &DeviceOptions) -> u32 {
    let flags = flags::O_RDWR | flags::O_NOATIME;
    if options.tunables.buffered_io {
        flags
    } else {
        flags | flags::O_DIRECT
    }
}
