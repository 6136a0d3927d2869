// SPDX-License-Identifier: GPL-2.0

//! The files of a device in debugfs.
//!
//! In debugfs each device has a directory, `zloop/zloop0`, with files to be read:
//!
//! ```text
//!   counters    a name and a number on each line: ended requests by operation, failed requests,
//!               zone resets, zones that were closed to open another one, and the present and the
//!               largest numbers of open and active zones
//!   zones       the zones, see below
//! ```
//!
//! A line of `zones` has: the number of a zone, or of the first and the last of a run of equal
//! zones; the type; the condition as abbreviated by `blkzone report`; the number of written
//! sectors, or `-` if it is not known; the capacity and the length in sectors:
//!
//! ```text
//!   0-3 cnv nw - 8192 8192
//!   4 seq oi 64 6144 8192
//!   5-63 seq em 0 6144 8192
//! ```
//!
//! Reading changes nothing and waits for no I/O: a zone that needs a repair is shown as it is.

use crate::{
    device::{
        counters::write_counters,
        zone_table::{
            Entry,
            ZoneRef, //
        },
        Device, //
    },
    zone::Condition, //
};
use core::fmt;

use crate::kernel_ext::debugfs::{
    Directory,
    SharedDirectory,
    Show, //
};

use kernel::{prelude::*, str::CString, sync::Arc};

/// The directory of all devices in debugfs.
pub(crate) struct StatusRoot(Arc<Directory>);

impl StatusRoot {
    pub(crate) fn new() -> Result<Self> {
        let root = Directory::new(c"zloop", None);
        Ok(Self(Arc::new(root, GFP_KERNEL)?))
    }

    /// Makes the files of a device. They disappear when the result is dropped.
    ///
    /// # Errors
    ///
    /// ENOMEM. It is no error if debugfs can't make the files.
    pub(crate) fn show(&self, device: Arc<Device>) -> Result<DeviceStatus> {
        let name = CString::try_from_fmt(fmt!("zloop{}", device.shared().id()))?;
        let directory = SharedDirectory::new(&name, self.0.clone(), device);
        directory.file::<CountersFile>(c"counters");
        directory.file::<ZonesFile>(c"zones");
        Ok(directory)
    }
}

/// The directory of a device in debugfs.
pub(crate) type DeviceStatus = SharedDirectory<Device>;

/// The file `counters`.
struct CountersFile;

impl Show<Device> for CountersFile {
    type OwnerModule = crate::LocalModule;

    fn show(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_counters(device.shared(), f)
    }
}

/// The file `zones`.
struct ZonesFile;

impl Show<Device> for ZonesFile {
    type OwnerModule = crate::LocalModule;

    fn show(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_zones(device, f)
    }
}

/// The display of a zone, without its number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ZoneDisplay {
    kind: Kind,
    capacity: u64,
    len: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conventional,
    /// The condition, and the number of written sectors if it is known.
    Sequential(Condition, Option<u64>),
}

impl fmt::Display for ZoneDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            capacity,
            len,
        } = self;
        match kind {
            Kind::Conventional => write!(f, "cnv nw -")?,
            Kind::Sequential(condition, written) => {
                write!(f, "seq {} ", short(*condition))?;
                match written {
                    Some(written) => write!(f, "{written}")?,
                    None => f.write_str("-")?,
                }
            }
        }
        write!(f, " {capacity} {len}")
    }
}

/// The abbreviation that `blkzone report` uses for a condition.
fn short(condition: Condition) -> &'static str {
    match condition {
        Condition::Empty => "em",
        Condition::ImplicitOpen => "oi",
        Condition::ExplicitOpen => "oe",
        Condition::Closed => "cl",
        Condition::Full => "fu",
        Condition::ReadOnly => "ro",
        Condition::Offline => "of",
    }
}

fn display_of(device: &Device, number: u32) -> Option<ZoneDisplay> {
    let geometry = device.shared().geometry();
    let capacity = geometry.zone_capacity(number);
    let kind = match device.zones().entry(number)? {
        Entry::UnusedConventional | Entry::InUse(ZoneRef::Conventional(_)) => Kind::Conventional,
        Entry::Unused(written) => {
            Kind::Sequential(Condition::found(written, capacity), Some(written))
        }
        Entry::InUse(ZoneRef::Sequential(zone)) => {
            let (snapshot, known) = zone.peek();
            let written = known.then_some(snapshot.write_pointer);
            Kind::Sequential(snapshot.condition, written)
        }
    };
    Some(ZoneDisplay {
        kind,
        capacity,
        len: geometry.zone_len(number),
    })
}

fn write_zones(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut run: Option<(u32, u32, ZoneDisplay)> = None;
    for number in 0..device.shared().geometry().nr_zones() {
        let Some(display) = display_of(device, number) else {
            break;
        };
        run = Some(match run {
            Some((first, _, same)) if same == display => (first, number, same),
            before => {
                write_run(before, f)?;
                (number, number, display)
            }
        });
    }
    write_run(run, f)
}

fn write_run(run: Option<(u32, u32, ZoneDisplay)>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match run {
        None => Ok(()),
        Some((first, last, display)) if first == last => writeln!(f, "{first} {}", display),
        Some((first, last, display)) => writeln!(f, "{first}-{last} {}", display),
    }
}
