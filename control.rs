// SPDX-License-Identifier: GPL-2.0

//! `/dev/zloop-control`: adding and removing devices, and what is done to them meanwhile.
//!
//! The registry knows which device numbers are in use. A number is taken before a device is made
//! and given up after it has been removed; in between the registry is not locked, since both can
//! take long, and a device can be opened as soon as it is there.
//!
//! Reading is for everybody who may open the control device. A command changes the whole system,
//! and names files: it takes `CAP_SYS_ADMIN` in the initial user namespace, and its path is
//! resolved with the credentials and in the mount namespace of the task that writes it.

use crate::{
    declaration::Declaration,
    device::{
        Device,
        Zloop, //
    },
    fault::{
        BadBlocks,
        Injection, //
    },
    inject::MAX_ROWS,
    kernel_ext::{
        block::mq::Disk,
        fmt::Shown,
        miscdevice::{
            SharedMiscDevice,
            SharedRegistration,
            Writer, //
        },
    },
    message::MessageLimit,
    options::{
        AddOptions,
        Append,
        Command,
        Errno,
        IoMode,
        SYNTAX, //
    },
    refuse,
};
use core::mem::replace;
use kernel::{
    block::SECTOR_SHIFT,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    types::ScopeGuard,
};

/// The control device, while the module is loaded.
#[pin_data]
pub(crate) struct Control {
    #[pin]
    registration: SharedRegistration<Registry>,
}

impl Control {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            registration <- {
                let registry = Arc::pin_init(Registry::new(), GFP_KERNEL)?;
                SharedRegistration::register(c"zloop-control", registry)
            },
        })
    }
}

/// All devices.
#[pin_data]
struct Registry {
    #[pin]
    devices: Mutex<KVec<Entry>>,
    /// For what is said of those who may not write commands.
    refused: MessageLimit,
}

/// A device number in use.
struct Entry {
    id: u32,
    state: State,
}

/// A device that is there, and its disk.
type LiveDevice = (Disk<Zloop>, Arc<Device>);

/// What a device number is used for.
enum State {
    /// A device is being made.
    Adding,
    /// A device is there.
    Live(Disk<Zloop>, Arc<Device>),
    /// A command changes a device.
    Changing,
    /// A device is being removed.
    Removing,
}

impl Registry {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            devices <- new_mutex!(KVec::new(), "zloop_devices"),
            refused: MessageLimit::new(),
        })
    }

    /// Carries out a command.
    fn command(&self, text: &[u8]) -> Result {
        match Command::parse(text) {
            Ok(Command::Add(options)) => self.add(&options),
            Ok(Command::Remove { id }) => self.remove(id),
            Ok(Command::Inject { id, injection }) => self.inject(id, &injection),
            Ok(Command::Declare { id, declaration }) => self.declare(id, &declaration),
            Err(err) => {
                let errno = match err.errno() {
                    Errno::Inval => EINVAL,
                    Errno::NoDev => ENODEV,
                };
                pr_err!("{}\n", Shown(err));
                Err(errno)
            }
        }
    }

    fn add(&self, options: &AddOptions<'_>) -> Result {
        let id = self.take_id(options.id)?;
        let given_up = ScopeGuard::new(|| self.give_up_id(id));
        let (disk, device) = Device::add(options, id)?;

        let common = device.common();
        let geometry = common.geometry();
        let io = match options.io {
            IoMode::Direct => "direct",
            IoMode::Buffered => "buffered",
        };
        let append = match options.append {
            Append::Emulated => "emulated",
            Append::Native => "native",
            Append::Ordered => "ordered native",
        };
        pr_info!(
            "zloop{id}: {} zones of {} MiB, {} B block size, {io} I/O, {append} zone append\n",
            geometry.nr_zones(),
            geometry.zone_sectors() >> (20 - SECTOR_SHIFT),
            common.block_size()
        );
        self.set_state(id, State::Live(disk, device));
        given_up.dismiss();
        Ok(())
    }

    /// Declares zones to have failed or to be good, and has the block layer know.
    fn declare(&self, id: u32, declaration: &Declaration) -> Result {
        let (disk, device) = self
            .take_device(id, State::Changing)
            .map_err(|(why, errno)| {
                refuse!(id, "{}: {why}", Shown(declaration));
                errno
            })?;
        let result = device.declare(declaration).and_then(|()| {
            // Those under way are waited for, and some faults would have that take for ever.
            let _suspended = device.common().faults().suspend();
            disk.revalidate_zones().inspect_err(|err| {
                refuse!(id, "the block layer can't look at the zones again: {err:?}");
            })
        });
        self.set_state(id, State::Live(disk, device));
        result?;
        pr_info!("zloop{id}: {}\n", Shown(declaration));
        Ok(())
    }

    /// Injects faults.
    fn inject(&self, id: u32, injection: &Injection) -> Result {
        let device = {
            let devices = self.devices.lock();
            let entry = devices.iter().find(|entry| entry.id == id);
            match entry.map(|entry| &entry.state) {
                Some(State::Live(_, device)) => Ok(device.clone()),
                Some(_) => Err(("is busy with another command", EBUSY)),
                None => Err(("no such device", ENODEV)),
            }
        };
        let device = device.map_err(|(why, errno)| {
            refuse!(id, "inject: {why}");
            errno
        })?;
        let end = device.common().geometry().capacity_sectors();
        let badblocks = [
            injection.badblocks,
            injection.badblocks_read,
            injection.badblocks_write,
        ];
        for change in badblocks.into_iter().flatten() {
            if let BadBlocks::Set(sectors) = change {
                if sectors.last() >= end {
                    refuse!(
                        id,
                        "inject: the sectors {} must be below {end}, the end of the device",
                        Shown(sectors)
                    );
                    return Err(EINVAL);
                }
            }
        }
        device.common().faults().inject(injection).map_err(|_| {
            refuse!(
                id,
                "inject: too many rows of bad sectors: must be fewer than {MAX_ROWS}"
            );
            ENOSPC
        })
    }

    fn remove(&self, id: u32) -> Result {
        let live = self.take_device(id, State::Removing);
        let (disk, device) = live.map_err(|(why, errno)| {
            refuse!(id, "can't be removed: {why}");
            errno
        })?;
        let suspended = device.common().faults().suspend();
        let removed = disk.remove();
        drop(suspended);
        if let Err((disk, err)) = removed {
            refuse!(
                id,
                "can't be removed: it is mounted, or held by another user: {err:?}"
            );
            self.set_state(id, State::Live(disk, device));
            return Err(err);
        }
        device.close();
        drop(device);
        pr_info!("zloop{id}: removed\n");
        self.give_up_id(id);
        Ok(())
    }

    /// Takes a device out of the registry, where its number is in `state` from then on. If it
    /// isn't there, returns why not.
    fn take_device(&self, id: u32, next: State) -> Result<LiveDevice, (&'static str, Error)> {
        let mut devices = self.devices.lock();
        let Some(Entry { state, .. }) = devices.iter_mut().find(|entry| entry.id == id) else {
            return Err(("no such device", ENODEV));
        };
        match replace(state, next) {
            State::Live(disk, device) => Ok((disk, device)),
            other => {
                // The first two errnos are the C driver's.
                let why = match other {
                    State::Adding => ("is being added", ENODEV),
                    State::Changing => ("is busy with another command", EBUSY),
                    _ => ("is being removed", EINVAL),
                };
                *state = other;
                Err(why)
            }
        }
    }

    /// Takes a number for a new device: the one that is wanted, or the first one that is free.
    fn take_id(&self, wanted: Option<u32>) -> Result<u32> {
        let mut devices = self.devices.lock();
        let taken = |id| devices.iter().any(|entry| entry.id == id);
        let id = match wanted {
            Some(id) if taken(id) => {
                refuse!(id, "id={id}: there is such a device");
                return Err(EEXIST);
            }
            Some(id) => id,
            None => (0..).find(|&id| !taken(id)).ok_or(ENOSPC)?,
        };
        let state = State::Adding;
        devices.push(Entry { id, state }, GFP_KERNEL)?;
        Ok(id)
    }

    fn give_up_id(&self, id: u32) {
        self.devices.lock().retain(|entry| entry.id != id);
    }

    fn set_state(&self, id: u32, state: State) {
        let mut devices = self.devices.lock();
        if let Some(entry) = devices.iter_mut().find(|entry| entry.id == id) {
            entry.state = state;
        }
    }
}

impl SharedMiscDevice for Registry {
    fn read(&self, position: &mut i64, dest: &mut IovIterDest<'_>) -> Result<usize> {
        dest.simple_read_from_buffer(position, SYNTAX.as_bytes())
    }

    fn write(&self, writer: Writer<'_>, source: &mut IovIterSource<'_>) -> Result<usize> {
        if !writer.may_administer() {
            // Said by those who may do nothing else.
            if self.refused.allow() {
                pr_err!(
                    "a command is refused: needs CAP_SYS_ADMIN in the initial user namespace, of \
                     the task and of whoever has opened the file\n"
                );
            }
            return Err(EPERM);
        }
        let len = source.len();
        if len > PAGE_SIZE {
            pr_err!("a command of {len} bytes: must be at most {PAGE_SIZE}\n");
            // The C driver's errno.
            return Err(ENOMEM);
        }
        let mut text = KVec::with_capacity(len, GFP_KERNEL)?;
        if source.copy_from_iter_vec(&mut text, GFP_KERNEL)? != len {
            return Err(EFAULT);
        }
        self.command(&text)?;
        Ok(len)
    }
}
