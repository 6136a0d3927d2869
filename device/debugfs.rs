// SPDX-License-Identifier: GPL-2.0

//! What can be seen of a device beside its disk.
//!
//! In debugfs each device has a directory, `zloop/zloop0`, with files to be read:
//!
//! ```text
//!   counters    a name and a number on each line: requests that have ended, by operation, and
//!               those that failed; zones that were reset; zones that were closed to make room;
//!               how many are open and active now, and were at most
//!   zones       the zones, see below
//! ```
//!
//! A line of `zones` has the numbers of a zone, or of the first and the last of many that are
//! alike; the type; the condition as `blkzone report` shortens it; how many sectors are written,
//! `-` if that is not known; the capacity and the length in sectors:
//!
//! ```text
//!   0-3 cnv nw - 8192 8192
//!   4 seq oi 64 6144 8192
//!   5-63 seq em 0 6144 8192
//! ```
//!
//! Looking changes nothing, and waits for no I/O: a zone that is to be repaired is shown as it is,
//! and a device of a million zones of which few are in use is a few lines.

use crate::{
    device::zone_table::{
        Entry,
        Zone, //
    },
    device::Device,
    kernel_ext::debugfs::{
        Directory,
        SharedDirectory,
        Show, //
    },
    zone::Condition,
};
use core::fmt;
use kernel::{prelude::*, str::CString, sync::Arc};

/// The directory of all devices in debugfs.
pub(crate) struct StatusRoot(Arc<Directory>);

impl StatusRoot {
    pub(crate) fn new() -> Result<Self> {
        let root = Directory::new(c"zloop", None);
        Ok(Self(Arc::new(root, GFP_KERNEL)?))
    }

    /// Shows a device until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// ENOMEM. If debugfs can't show it, that is no error.
    pub(crate) fn show(&self, device: Arc<Device>) -> Result<DeviceStatus> {
        let name = CString::try_from_fmt(fmt!("zloop{}", device.common().id()))?;
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
    fn show(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_counters(device, f)
    }
}

/// The file `zones`.
struct ZonesFile;

impl Show<Device> for ZonesFile {
    fn show(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_zones(device, f)
    }
}

fn write_counters(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let common = device.common();
    fmt::Display::fmt(common.counters(), f)?;
    let (usage, open, active) = {
        let set = common.open_zones().lock();
        (set.usage(), set.nr_open(), set.nr_active())
    };
    writeln!(f, "implicit_closes {}", usage.implicit_closes)?;
    writeln!(f, "open_zones {open}")?;
    writeln!(f, "open_zones_most {}", usage.most_open)?;
    writeln!(f, "active_zones {active}")?;
    writeln!(f, "active_zones_most {}", usage.most_active)
}

/// What is shown of a zone.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Shape {
    kind: Kind,
    capacity: u64,
    len: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Conventional,
    /// The condition, and how many sectors are written, if it is known.
    Sequential(Condition, Option<u64>),
}

impl fmt::Display for Shape {
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

/// A condition as `blkzone report` has it.
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

fn shape_of(device: &Device, number: u32) -> Option<Shape> {
    let geometry = device.common().geometry();
    let capacity = geometry.zone_capacity(number);
    let kind = match device.zones().entry(number)? {
        Entry::FoundConventional | Entry::Touched(Zone::Conventional(_)) => Kind::Conventional,
        Entry::Found(written) => {
            Kind::Sequential(Condition::found(written, capacity), Some(written))
        }
        Entry::Touched(Zone::Sequential(zone)) => {
            let (snapshot, known) = zone.peek();
            let written = known.then_some(snapshot.write_pointer);
            Kind::Sequential(snapshot.condition, written)
        }
    };
    Some(Shape {
        kind,
        capacity,
        len: geometry.zone_len(number),
    })
}

fn write_zones(device: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut run: Option<(u32, u32, Shape)> = None;
    for number in 0..device.common().geometry().nr_zones() {
        let Some(shape) = shape_of(device, number) else {
            break;
        };
        run = Some(match run {
            Some((first, _, same)) if same == shape => (first, number, same),
            before => {
                write_run(before, f)?;
                (number, number, shape)
            }
        });
    }
    write_run(run, f)
}

fn write_run(run: Option<(u32, u32, Shape)>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match run {
        None => Ok(()),
        Some((first, last, shape)) if first == last => writeln!(f, "{first} {}", shape),
        Some((first, last, shape)) => writeln!(f, "{first}-{last} {}", shape),
    }
}
