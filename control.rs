// SPDX-License-Identifier: GPL-2.0

//! `/dev/zloop-control`: commands that add, change and remove devices.
//!
//! The registry has the device numbers in use. An `add` takes a number before it makes the device.
//! A removal gives the number up after the device is gone. The registry is not locked in between,
//! because both can take long, and because a device can be opened as soon as it exists.
//!
//! A task that can open the control device can read it. The text has the syntax of the commands,
//! then a line for each device: its name, its state, and the command that makes the device again.
//! While a device is being added, its line has no command. A path comes last, because it is shown
//! as it was given and may contain spaces:
//!
//! ```text
//! zloop0 live add id=0,capacity_mb=2048,zone_size_mb=64,zone_capacity_mb=64,conv_zones=8,...
//! zloop1 adding
//! zloop2 removing add id=2,...
//! ```
//!
//! A command changes the whole system, so it needs `CAP_SYS_ADMIN` in the initial user namespace.
//! Its path is resolved with the credentials and in the mount namespace of the task that writes the
//! command.

use crate::{
    backing::{
        directory::OpenedDirectory,
        resolve, //
    },
    cmd_err,
    device::{
        debugfs::{
            DeviceStatus,
            StatusRoot, //
        },
        inject::MAX_RANGES,
        queue_rq::ZloopQueue,
        teardown::Teardown,
        Device, //
    },
    fault::{
        power_loss::PowerLoss,
        BadBlocks,
        Injection, //
    },
    log::RateLimit,
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
    zone::declaration::Declaration, //
};
use core::mem::replace;

use crate::kernel_ext::{
    block::zoned_mq::Disk,
    fmt::CoreDisplay,
    fs::{
        flush_delayed_fput,
        Directory, //
    },
    miscdevice::{
        SharedMiscDevice,
        SharedRegistration,
        Writer, //
    },
};

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
    /// Limits the messages about writers without the privilege.
    refused: RateLimit,
    status: StatusRoot,
}

/// A device number in use.
struct Entry {
    id: u32,
    state: State,
    /// The directory of the device. No other device may use it.
    directory: Option<Arc<Directory>>,
    /// The command that makes the device again; empty while the device is being added.
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

/// A device in use. The fields are dropped in this order.
struct Live {
    disk: Disk<ZloopQueue>,
    status: DeviceStatus,
    device: Arc<Device>,
}

/// The state of a device number.
enum State {
    /// The device is being made.
    Adding,
    /// The device is in use.
    Live(Live),
    /// A command changes the device.
    Changing,
    /// The device is being removed.
    Removing,
}

impl Registry {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            devices <- new_mutex!(KVec::new(), "zloop_devices"),
            refused: RateLimit::new(),
            status: StatusRoot::new()?,
        })
    }

    /// Carries out a command.
    fn command(&self, text: &[u8]) -> Result {
        let command = Command::parse(text).map_err(|err| {
            let errno = match err {
                // The C driver's errno.
                options::Error::NegativeId => ENODEV,
                _ => EINVAL,
            };
            pr_err!("{}\n", CoreDisplay(err));
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
            // An impossible device must not get a directory.
            resolve(options, None, id).map(|_| ())
        })?;
        self.claim(&opened)?;
        let (disk, device, (command, status)) = Device::add(options, opened, |device| {
            let command = command_again(device.shared().options(), id, options.base_dir)?;
            Ok((command, self.status.show(device.clone())?))
        })?;

        let shared = device.shared();
        let (options, geometry) = (shared.options(), shared.geometry());
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
            CoreDisplay(OptionValue::new(
                geometry.zone_sectors() << SECTOR_SHIFT,
                Unit::Byte
            )),
            shared.block_size()
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

    /// Carries out `zone_readonly`, `zone_offline` and `zone_good`: declares the zones, and tells
    /// the block layer.
    fn declare(&self, id: u32, declaration: &Declaration) -> Result {
        let mut live = self
            .take_device(id, State::Changing)
            .map_err(|(why, errno)| {
                cmd_err!(id, "{}: {why}", CoreDisplay(declaration));
                errno
            })?;
        let result = live.device.declare(declaration).and_then(|()| {
            // Revalidation waits for the requests under way. Some faults would make that endless.
            let _suspended = live.device.shared().faults().suspend();
            live.disk.revalidate_zones().inspect_err(|err| {
                cmd_err!(id, "the block layer can't revalidate the zones: {err:?}");
            })
        });
        self.set_state(id, State::Live(live));
        result?;
        pr_info!("zloop{id}: {}\n", CoreDisplay(declaration));
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
            cmd_err!(id, "inject: {why}");
            errno
        })?;
        let end = device.shared().geometry().capacity_sectors();
        let badblocks = [
            injection.badblocks,
            injection.badblocks_read,
            injection.badblocks_write,
        ];
        for change in badblocks.into_iter().flatten() {
            if let BadBlocks::Set(sectors) = change {
                if sectors.last() >= end {
                    cmd_err!(
                        id,
                        "inject: the sectors {} must be below {end}, the end of the device",
                        CoreDisplay(sectors)
                    );
                    return Err(EINVAL);
                }
            }
        }
        device.shared().faults().inject(injection).map_err(|_| {
            cmd_err!(
                id,
                "inject: too many ranges of bad sectors: must be at most {MAX_RANGES} for reads, \
                 and for writes"
            );
            ENOSPC
        })
    }

    /// Removes a device, unless it is in use.
    ///
    /// # Errors
    ///
    /// ENODEV, EINVAL or EBUSY if the device stays. The file system's error if the device is gone
    /// but written data could not be made durable.
    fn remove(&self, id: u32) -> Result {
        let live = self.take_device(id, State::Removing);
        let Live {
            disk,
            status,
            device,
        } = live.map_err(|(why, errno)| {
            cmd_err!(id, "can't be removed: {why}");
            errno
        })?;
        let suspended = device.shared().faults().suspend();
        let removed = disk.remove();
        drop(suspended);
        if let Err((disk, err)) = removed {
            cmd_err!(
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
        // The disk is gone, even if this fails.
        let closed = device.close(Teardown::Removed);
        drop(device);
        pr_info!("zloop{id}: removed\n");
        self.give_up_id(id);
        closed
    }

    /// Removes a device with the loss of unflushed data, even if it is open or mounted.
    fn power_fail(&self, id: u32, loss: PowerLoss) -> Result {
        let live = self.take_device(id, State::Removing);
        let Live {
            disk,
            status,
            device,
        } = live.map_err(|(why, errno)| {
            cmd_err!(id, "can't be powered off: {why}");
            errno
        })?;
        let suspended = device.shared().faults().suspend();
        disk.mark_dead();
        drop(suspended);
        drop(status);
        let lost = device.close(Teardown::PowerFailed(loss));
        drop(device);
        pr_info!("zloop{id}: power failed\n");
        self.give_up_id(id);
        lost
    }

    /// Takes a device out of the registry, and sets the state of its number to `next`. If there is
    /// no device to take, returns the reason.
    fn take_device(&self, id: u32, next: State) -> Result<Live, (&'static str, Error)> {
        let mut devices = self.devices.lock();
        let Some(Entry { state, .. }) = devices.iter_mut().find(|entry| entry.id == id) else {
            return Err(("no such device", ENODEV));
        };
        match replace(state, next) {
            State::Live(live) => Ok(live),
            other => {
                // ENODEV and EINVAL are the errnos of the C driver.
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

    /// Takes a number for a new device: the `wanted` one, or the first free one.
    fn take_id(&self, wanted: Option<u32>) -> Result<u32> {
        let mut devices = self.devices.lock();
        let taken = |id| devices.iter().any(|entry| entry.id == id);
        let id = match wanted {
            Some(id) if taken(id) => {
                cmd_err!(id, "id={id}: the device exists");
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
            cmd_err!(id, "base_dir: zloop{user} uses the directory {path}");
            return Err(EBUSY);
        }
        if let Some(entry) = devices.iter_mut().find(|entry| entry.id == id) {
            entry.directory = Some(opened.share());
        }
        Ok(())
    }

    fn give_up_id(&self, id: u32) {
        let mut devices = self.devices.lock();
        let index = devices.iter().position(|entry| entry.id == id);
        let entry = index.and_then(|index| devices.remove(index).ok());
        // Dropping the entry closes its directory, so the registry is unlocked first.
        drop(devices);
        drop(entry);
        // Work items may have closed files. The file system can be unmounted after the command.
        flush_delayed_fput();
    }

    /// Publishes a device that was added.
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
    let again = CString::try_from_fmt(fmt!("{},base_dir=", CoreDisplay(again)))?;
    let mut command = KVVec::new();
    command.extend_from_slice(again.to_bytes(), GFP_KERNEL)?;
    command.extend_from_slice(base_dir, GFP_KERNEL)?;
    Ok(command)
}

impl SharedMiscDevice for Registry {
    type OwnerModule = crate::LocalModule;

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
            // Unprivileged users can cause this message, so it is limited.
            if self.refused.allow() {
                pr_err!(
                    "a command is refused: the task that writes it and the task that opened the \
                     file need CAP_SYS_ADMIN in the initial user namespace\n"
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
