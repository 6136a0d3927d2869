// SPDX-License-Identifier: GPL-2.0

//! `/dev/zloop-control`: adding and removing devices, gently or not, and what is done to them
//! meanwhile.
//!
//! The registry knows which device numbers are in use. A number is taken before a device is made
//! and given up after it has been removed; in between the registry is not locked, since both can
//! take long, and a device can be opened as soon as it is there.
//!
//! Reading is for everybody who may open the control device. After the syntax there is a line for
//! each device: its name, its state, and, unless it is being added, the command that makes it
//! again. A path is as it was given, so it may have spaces in it, and comes last:
//!
//! ```text
//! zloop0 live add id=0,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=64,conv_zones=8,...
//! zloop1 adding
//! zloop2 removing add id=2,...
//! ```
//!
//! A command changes the whole system, and
//! names files: it takes `CAP_SYS_ADMIN` in the initial user namespace, and its path is resolved
//! with the credentials and in the mount namespace of the task that writes it.

use crate::{
    backing::directory::OpenedDirectory,
    backing::resolve,
    device::debugfs::{
        DeviceStatus,
        StatusRoot, //
    },
    device::inject::MAX_ROWS,
    device::{
        Device,
        Ending,
        Zloop, //
    },
    fault::power_loss::Loss,
    fault::{
        BadBlocks,
        Injection, //
    },
    kernel_ext::{
        block::mq::Disk,
        fmt::Shown,
        fs::Directory,
        miscdevice::{
            SharedMiscDevice,
            SharedRegistration,
            Writer, //
        },
    },
    log::MessageLimit,
    options::{
        self,
        AddCommand,
        AddOptions,
        Command,
        DeviceOptions,
        OptionValue,
        Unit,
        SYNTAX, //
    },
    refuse,
    zone::condition_override::ConditionOverride,
};
use core::mem::replace;
use kernel::{
    block::SECTOR_SHIFT,
    iov::IovIterSource,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    str::CString,
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
    status: StatusRoot,
}

/// A device number in use.
struct Entry {
    id: u32,
    state: State,
    /// What no other device may use.
    directory: Option<Arc<Directory>>,
    /// The command that makes the device again, if it is there.
    command: KVVec<u8>,
}

impl Entry {
    /// Adds the device's line to a text.
    fn describe(&self, text: &mut KVVec<u8>) -> Result {
        let state = match self.state {
            State::Adding => "adding",
            State::Live(_) | State::Changing => "live",
            State::Removing => "removing",
        };
        let name = CString::try_from_fmt(fmt!("zloop{} {state}", self.id))?;
        text.extend_from_slice(name.to_bytes(), GFP_KERNEL)?;
        if !self.command.is_empty() {
            text.push(b' ', GFP_KERNEL)?;
            text.extend_from_slice(&self.command, GFP_KERNEL)?;
        }
        text.push(b'\n', GFP_KERNEL)?;
        Ok(())
    }
}

/// A device that is there. Dropped in this order.
struct Live {
    disk: Disk<Zloop>,
    status: DeviceStatus,
    device: Arc<Device>,
}

/// What a device number is used for.
enum State {
    /// A device is being made.
    Adding,
    /// A device is there.
    Live(Live),
    /// A command changes a device.
    Changing,
    /// A device is being removed.
    Removing,
}

impl Registry {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            devices <- new_mutex!(KVec::new(), "zloop_devices"),
            refused: MessageLimit::new(),
            status: StatusRoot::new()?,
        })
    }

    /// Carries out a command.
    fn command(&self, text: &[u8]) -> Result {
        let command = Command::parse(text).map_err(|err| {
            let errno = match err {
                // That is the C driver's errno.
                options::Error::NegativeId => ENODEV,
                _ => EINVAL,
            };
            pr_err!("{}\n", Shown(err));
            errno
        })?;
        match &command {
            Command::Add(options) => self.add(options),
            Command::Remove { id } => self.remove(*id),
            Command::Inject { id, injection } => self.inject(*id, injection),
            Command::Declare { id, declaration } => self.declare(*id, declaration),
            Command::PowerFail { id, loss } => self.power_fail(*id, *loss),
        }
    }

    fn add(&self, options: &AddOptions<'_>) -> Result {
        let id = self.take_id(options.id)?;
        let given_up = ScopeGuard::new(|| self.give_up_id(id));
        let opened = OpenedDirectory::open(options.base_dir, id, || {
            // Not for a device that can't be.
            resolve(options, None, id).map(|_| ())
        })?;
        self.claim(&opened)?;
        let (disk, device, (command, status)) = Device::add(options, opened, |device| {
            let command = command_again(device.common().options(), id, options.base_dir)?;
            Ok((command, self.status.show(device.clone())?))
        })?;

        let common = device.common();
        let (options, geometry) = (common.options(), common.geometry());
        let tunables = &options.tunables;
        let io = match tunables.buffered_io {
            false => "direct",
            true => "buffered",
        };
        let append = match (tunables.zone_append, tunables.ordered_zone_append) {
            (false, _) => "emulated",
            (true, false) => "native",
            (true, true) => "ordered native",
        };
        pr_info!(
            "zloop{id}: {} zones of {}, {} B block size, {io} I/O, {append} zone append\n",
            geometry.nr_zones(),
            Shown(OptionValue::new(
                geometry.zone_sectors() << SECTOR_SHIFT,
                Unit::Byte
            )),
            common.block_size()
        );
        let live = Live {
            disk,
            status,
            device,
        };
        self.go_live(id, live, command);
        given_up.dismiss();
        Ok(())
    }

    /// Declares zones to have failed or to be good, and has the block layer know.
    fn declare(&self, id: u32, declaration: &ConditionOverride) -> Result {
        let mut live = self
            .take_device(id, State::Changing)
            .map_err(|(why, errno)| {
                refuse!(id, "{}: {why}", Shown(declaration));
                errno
            })?;
        let result = live.device.declare(declaration).and_then(|()| {
            // Those under way are waited for, and some faults would have that take for ever.
            let _suspended = live.device.common().faults().suspend();
            live.disk.revalidate_zones().inspect_err(|err| {
                refuse!(id, "the block layer can't look at the zones again: {err:?}");
            })
        });
        self.set_state(id, State::Live(live));
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
                Some(State::Live(live)) => Ok(live.device.clone()),
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
                "inject: too many rows of bad sectors: must be at most {MAX_ROWS} for reads, and \
                 for writes"
            );
            ENOSPC
        })
    }

    /// Removes a device, unless somebody holds it.
    ///
    /// # Errors
    ///
    /// ENODEV, EBUSY and the like if the device stays; the file system's error if the device is
    /// gone, and written data could not be made durable.
    fn remove(&self, id: u32) -> Result {
        let live = self.take_device(id, State::Removing);
        let Live {
            disk,
            status,
            device,
        } = live.map_err(|(why, errno)| {
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
            let live = Live {
                disk,
                status,
                device,
            };
            self.set_state(id, State::Live(live));
            return Err(err);
        }
        drop(status);
        // The disk is gone all the same.
        let closed = device.close(Ending::Removed);
        drop(device);
        pr_info!("zloop{id}: removed\n");
        self.give_up_id(id);
        closed
    }

    /// Removes a device whoever has it open or mounted, with the loss of what was not flushed.
    fn power_fail(&self, id: u32, loss: Loss) -> Result {
        let live = self.take_device(id, State::Removing);
        let Live {
            disk,
            status,
            device,
        } = live.map_err(|(why, errno)| {
            refuse!(id, "can't be powered off: {why}");
            errno
        })?;
        let suspended = device.common().faults().suspend();
        disk.fail();
        drop(suspended);
        drop(status);
        let lost = device.close(Ending::PowerFailed(loss));
        drop(device);
        pr_info!("zloop{id}: power failed\n");
        self.give_up_id(id);
        lost
    }

    /// Takes a device out of the registry, where its number is in `state` from then on. If it
    /// isn't there, returns why not.
    fn take_device(&self, id: u32, next: State) -> Result<Live, (&'static str, Error)> {
        let mut devices = self.devices.lock();
        let Some(Entry { state, .. }) = devices.iter_mut().find(|entry| entry.id == id) else {
            return Err(("no such device", ENODEV));
        };
        match replace(state, next) {
            State::Live(live) => Ok(live),
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
        let entry = Entry {
            id,
            state: State::Adding,
            directory: None,
            command: KVVec::new(),
        };
        devices.push(entry, GFP_KERNEL)?;
        Ok(id)
    }

    /// Takes a directory for a device that is being added.
    fn claim(&self, opened: &OpenedDirectory) -> Result {
        let id = opened.id();
        let mut devices = self.devices.lock();
        let user = devices.iter().find(|entry| {
            let used = entry.directory.as_ref();
            used.is_some_and(|used| used.is(opened.dir()))
        });
        if let Some(Entry { id: user, .. }) = user {
            let path = opened.path();
            refuse!(id, "base_dir: {path} is the directory of zloop{user}, too");
            return Err(EBUSY);
        }
        if let Some(entry) = devices.iter_mut().find(|entry| entry.id == id) {
            entry.directory = Some(opened.share());
        }
        Ok(())
    }

    fn give_up_id(&self, id: u32) {
        let mut devices = self.devices.lock();
        let place = devices.iter().position(|entry| entry.id == id);
        let entry = place.and_then(|place| devices.remove(place).ok());
        // The directory is closed when the registry is not locked any more.
        drop(devices);
        drop(entry);
    }

    /// Makes a device that was added known to all.
    fn go_live(&self, id: u32, live: Live, command: KVVec<u8>) {
        let mut devices = self.devices.lock();
        if let Some(entry) = devices.iter_mut().find(|entry| entry.id == id) {
            entry.command = command;
            entry.state = State::Live(live);
        }
    }

    fn set_state(&self, id: u32, state: State) {
        let mut devices = self.devices.lock();
        if let Some(entry) = devices.iter_mut().find(|entry| entry.id == id) {
            entry.state = state;
        }
    }
}

/// The command that makes a device again.
fn command_again(options: &DeviceOptions, id: u32, base_dir: &[u8]) -> Result<KVVec<u8>> {
    let again = AddCommand { id, options };
    let again = CString::try_from_fmt(fmt!("{},base_dir=", Shown(again)))?;
    let mut command = KVVec::new();
    command.extend_from_slice(again.to_bytes(), GFP_KERNEL)?;
    command.extend_from_slice(base_dir, GFP_KERNEL)?;
    Ok(command)
}

impl SharedMiscDevice for Registry {
    fn text(&self) -> Result<KVVec<u8>> {
        let mut text = KVVec::new();
        text.extend_from_slice(SYNTAX.as_bytes(), GFP_KERNEL)?;
        let devices = self.devices.lock();
        for entry in devices.iter() {
            entry.describe(&mut text)?;
        }
        Ok(text)
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
