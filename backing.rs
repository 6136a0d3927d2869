// SPDX-License-Identifier: GPL-2.0

//! What a device is made of: a directory with one plain file for each zone.
//!
//! ```text
//!   <base_dir>/<id>/cnv-000000      a conventional zone; always as long as the zone
//!   <base_dir>/<id>/seq-000001      a sequential zone; as long as what is written in it
//!   <base_dir>/<id>/geometry        the options of the last `add`, as `add` takes them
//!   <base_dir>/<id>/geometry.new    the next ones while they are being written
//!   <base_dir>/<id>/conditions      the zones that are declared read-only or offline
//!   <base_dir>/<id>/conditions.new  the next ones while they are being written
//!   <base_dir>/<id>/incomplete      there while the files are being made
//! ```
//!
//! The zone files are those of the C driver, which takes no notice of the others. A sequential
//! zone's write pointer is kept nowhere but in the length of its file.
//!
//! A directory is filled by the first `add`. If that is cut off, by a power failure, say, the file
//! `incomplete` is still there. No device was visible until it was removed, so the zone files next
//! to it hold nothing, and are made anew. If the `add` fails it takes back what it has made, and
//! the directory, too, if it was missing.
//!
//! `options/record.rs` says what a later `add` makes of what is recorded. If that is a change it is
//! recorded in its turn, at once and as a whole, when all is well but for the disk itself: an `add`
//! that is refused leaves the record as it was.
//!
//! A directory that is not empty, but has no device in it, is somebody else's: nothing is made
//! there. One that another device uses, whatever path leads to it, is refused by the registry of
//! devices before anything in it is looked at.
//!
//! With `lazy_files` the file of a sequential zone is made when something is first written to the
//! zone; so it may be missing then, unless it is zone 0's, from which can be told that there is a
//! device. A later `add` of a device without `lazy_files` makes what is missing. Once all files are
//! there they must be, and that is what is recorded even if `lazy_files` is asked for.
//!
//! A directory with zone files and without a record was made by the C driver. All its files must be
//! there and fit. So must they if the record is empty: a power failure has cut off its writing, and
//! it is written when all files are there.

pub(crate) mod directory;
pub(crate) mod file_name;
pub(crate) mod parallelism_probe;
pub(crate) mod scan;
pub(crate) mod zone_file;

use crate::{
    backing::directory::OpenedDirectory,
    backing::file_name::{
        sequential_zone_number,
        Kind,
        ZoneFileName, //
    },
    backing::scan::ZoneFileSizes,
    kernel_ext::{
        fmt::Shown,
        fs::{
            Directory,
            FileExt,
            OpenFile, //
        },
    },
    options::{
        AddOptions,
        DeviceOptions,
        Geometry, //
    },
    refuse,
    zone::WritePointer,
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

/// The record of what the device is.
const RECORD: &CStr = c"geometry";
/// The next one while it is being written.
const NEXT_RECORD: &CStr = c"geometry.new";
/// The mark of a directory that is being filled. It holds what the device is to be, too.
const INCOMPLETE: &CStr = c"incomplete";
/// More than a record is ever long, in bytes.
const RECORD_MAX: usize = 1024;
/// What an empty file system has in its root directory.
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// The permissions of all files: the C driver's.
pub(crate) const MODE: u16 = 0o600;

/// What was found in a directory.
enum History {
    /// Nothing.
    New,
    /// What was left of an `add` that was cut off.
    Incomplete,
    /// A device. The C driver does not record anything.
    Made(Option<KBox<DeviceOptions>>),
}

impl History {
    /// Looks what is there.
    fn of(opened: &OpenedDirectory) -> Result<Self> {
        if opened.exists(INCOMPLETE)? {
            return Ok(Self::Incomplete);
        }
        if let Some(recorded) = read_record(opened, RECORD)? {
            return Ok(Self::Made(Some(recorded)));
        }
        // The C driver's rule: zone 0, of either kind, tells.
        for kind in [Kind::Conventional, Kind::Sequential] {
            if opened.exists(&ZoneFileName::new(kind, 0))? {
                return Ok(Self::Made(None));
            }
        }
        Ok(Self::New)
    }
}

/// Reads a record, or [`None`] if there is no such file or it is empty.
fn read_record(opened: &OpenedDirectory, name: &CStr) -> Result<Option<KBox<DeviceOptions>>> {
    let file = match opened.dir().open_file(name, flags::O_RDONLY) {
        Err(err) if err == ENOENT => return Ok(None),
        result => result.map_err(|err| opened.refuse_file(name, "can't open it", err))?,
    };
    let mut buffer = KVec::from_elem(0, RECORD_MAX, GFP_KERNEL)?;
    let len = file
        .read_at(&mut buffer, 0)
        .map_err(|err| opened.refuse_file(name, "can't read it", err))?;
    let text = buffer.get(..len).unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let (id, (path, name)) = (opened.id(), opened.shown(name));
    if len == RECORD_MAX {
        refuse!(
            id,
            "{path}/{name} is damaged: must be shorter than {RECORD_MAX} bytes"
        );
        return Err(EINVAL);
    }
    match DeviceOptions::parse(text) {
        Ok(record) => Ok(Some(KBox::new(record, GFP_KERNEL)?)),
        Err(err) => {
            refuse!(id, "{path}/{name} is damaged: {}", Shown(err));
            Err(EINVAL)
        }
    }
}

/// What the device is to be, or a message that says why it can't be.
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
        refuse!(id, "{}", Shown(err));
        EINVAL
    })
}

/// The directory of a device that is being added.
///
/// The order of use is [`Self::new`], [`Self::first_file`], [`Self::zone`] for every zone, and
/// [`Self::complete`]. Dropping it before that takes back what was made.
pub(crate) struct DeviceDirectory {
    opened: OpenedDirectory,
    /// In a box, as the files are made and opened on top of whatever else is on the stack.
    options: KBox<DeviceOptions>,
    /// Whether what is recorded is something else, or nothing.
    record: Freshness,
    progress: Progress,
    sizes: ZoneFileSizes,
}

/// Whether a record says what the device is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Fresh,
    Outdated,
}

/// What is to be done with the zone files.
enum Progress {
    /// They are made: those of so many zones are there already.
    Making { zones: u32 },
    /// They must be there.
    Restoring,
    /// Only those that are there must fit.
    RestoringLazy { there: ZoneSet },
    /// All is done.
    Complete,
}

/// A set of zones, by their number.
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
    /// Finds out what is in the directory, and whether the device that is asked for can be that.
    ///
    /// # Errors
    ///
    /// EINVAL if the geometry can't be, or is not the recorded one, and if what is there is not a
    /// device; what the file system says otherwise.
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

    /// What the device is.
    pub(crate) fn options(&self) -> &DeviceOptions {
        &self.options
    }

    fn geometry(&self) -> &Geometry {
        &self.options.geometry
    }

    /// The first zone's file, which tells what all of them can do. Makes it if the device is new.
    pub(crate) fn first_file(&mut self) -> Result<OpenFile> {
        match self.progress {
            Progress::Making { .. } => self.make_zone_file(0),
            _ => self.open_zone_file(0),
        }
    }

    /// Refuses a file system that has no files without a name.
    pub(crate) fn check_unnamed(&self) -> Result {
        let dir = self.opened.dir();
        let made = dir.create_unnamed(zone_file_flags(&self.options), MODE);
        made.map(drop).inspect_err(|err| {
            refuse!(
                self.opened.id(),
                "volatile_cache: the file system must have files without a name (O_TMPFILE): \
                 {err:?}"
            );
        })
    }

    /// Makes the file of a zone, which must be the next one, or checks it, and returns how many
    /// sectors it has.
    ///
    /// `block_size` is the device's, in bytes.
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
        // A conventional zone is not asked.
        Ok(0)
    }

    /// Whether the file of a zone is there from the first `add` on.
    fn is_made_at_add(&self, zone: u32) -> bool {
        !self.options.tunables.lazy_files || self.is_always_there(zone)
    }

    /// Whether the file of a zone is there even if files are made at their first use. A
    /// conventional zone's file has its length from the beginning.
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
                        .refuse_file(&name, "can't make it as long as a zone", err)
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

    /// Records what the device is, and makes all durable.
    ///
    /// # Errors
    ///
    /// What the file system says. What was recorded before still is, unless it is the directory
    /// that can't be made durable.
    pub(crate) fn complete(mut self) -> Result {
        self.bring_to_record()
            .map_err(|err| self.opened.refuse_file(RECORD, "can't write it", err))?;
        self.opened.keep()?;
        self.progress = Progress::Complete;
        Ok(())
    }

    /// Writes the record if it is not there.
    fn bring_to_record(&self) -> Result {
        let dir = self.opened.dir();
        if let Progress::Making { .. } = self.progress {
            self.replace_record()?;
            dir.unlink(INCOMPLETE)?;
        } else if self.record == Freshness::Outdated {
            if let Progress::RestoringLazy { .. } = self.progress {
                // Where it is recorded that all files are there, they must be.
                dir.sync()?;
            }
            self.replace_record()?;
        } else {
            return Ok(());
        }
        dir.sync()
    }

    /// The directory, to open zone files in.
    pub(crate) fn share(&self) -> Arc<Directory> {
        self.opened.share()
    }

    /// Begins to fill an empty directory.
    fn begin(&mut self) -> Result {
        self.progress = Progress::Making { zones: 0 };
        self.write_record(INCOMPLETE)
            .and_then(|()| self.opened.dir().sync())
            .map_err(|err| self.opened.refuse_file(INCOMPLETE, "can't make it", err))
    }

    /// Removes what an `add` that was cut off has left.
    fn clear(&self) -> Result {
        let left = match read_record(&self.opened, INCOMPLETE) {
            // A mark that was not written to the end means that nothing was made after it.
            Err(err) if err == EINVAL => None,
            result => result?,
        };
        if let Some(left) = left {
            self.unlink_zones(&left, left.geometry.nr_zones())?;
            self.unlink_records()?;
            // Without the mark the rest would look like a device.
            self.opened.dir().sync().map_err(|err| {
                self.opened
                    .refuse_file(INCOMPLETE, "can't remove what it is for", err)
            })?;
        }
        self.opened.unlink_if_there(INCOMPLETE)
    }

    /// Refuses a directory of the C driver's that has more zones than were asked for.
    fn refuse_surplus(&self) -> Result {
        let (id, next) = (self.opened.id(), self.options.geometry.nr_zones());
        for kind in [Kind::Conventional, Kind::Sequential] {
            let name = ZoneFileName::new(kind, next);
            if self.opened.exists(&name)? {
                let (path, name) = self.opened.shown(&name);
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

    /// Refuses a directory that has something in it.
    fn refuse_foreign(&self) -> Result {
        let mut found = Ok(None);
        self.opened
            .dir()
            .for_each_name(|name| {
                // A record that is there was empty, or did not get its name.
                let (record, next) = (RECORD.to_bytes(), NEXT_RECORD.to_bytes());
                let ignored: [&[u8]; 5] = [b".", b"..", LOST_AND_FOUND, record, next];
                if !ignored.contains(&name) && matches!(found, Ok(None)) {
                    found = copy_of(name).map(Some);
                }
            })
            .map_err(|err| self.opened.refuse_file(c".", "can't read it", err))?;
        if let Some(name) = found? {
            let (id, path) = (self.opened.id(), self.opened.path());
            refuse!(
                id,
                "{path} holds other files, \"{}\" for one, and no device: must be empty",
                BStr::from_bytes(&name)
            );
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Which sequential zones have a file.
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

    /// Writes down what the device is.
    fn write_record(&self, name: &CStr) -> Result {
        let text = CString::try_from_fmt(fmt!("{}\n", Shown(*self.options)))?;
        self.opened.dir().unlink_if_there(name)?;
        let file = self.opened.dir().create_file(name, flags::O_RDWR, MODE)?;
        file.write_all_at(text.to_bytes(), 0)?;
        file.sync()
    }

    /// Puts the record in the place of an older one, of which it has all or nothing: also after a
    /// power failure, which may bring back the older one until the directory is synced.
    fn replace_record(&self) -> Result {
        let dir = self.opened.dir();
        self.write_record(NEXT_RECORD)
            .and_then(|()| dir.rename(NEXT_RECORD, RECORD))
            .inspect_err(|_| {
                // What can't be removed is by the next one that is written.
                let _ = dir.unlink_if_there(NEXT_RECORD);
            })
    }

    fn unlink_records(&self) -> Result {
        self.opened.unlink_if_there(RECORD)?;
        self.opened.unlink_if_there(NEXT_RECORD)
    }

    /// Removes the files that an `add` has made for the first zones.
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
            // Each failure has its message. What can't be removed now is by the next `add`, which
            // finds the mark.
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

/// How zone files are opened: the `O_` flags.
pub(crate) fn zone_file_flags(options: &DeviceOptions) -> u32 {
    let flags = flags::O_RDWR | flags::O_NOATIME;
    if options.tunables.buffered_io {
        flags
    } else {
        flags | flags::O_DIRECT
    }
}
