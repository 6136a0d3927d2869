// SPDX-License-Identifier: GPL-2.0

//! Misc devices whose open files share data.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;

use crate::kernel_ext::compat::miscdevice::MiscDeviceRegistration;
use kernel::{
    bindings,
    container_of,
    fs::{
        File,
        Kiocb, //
    },
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    miscdevice::{
        self,
        MiscDevice,
        MiscDeviceOptions, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    ModuleMetadata, //
};

/// The data that all open files of a misc device share.
pub(crate) trait SharedMiscDevice: Send + Sync + Sized + 'static {
    /// The module of the driver. An open file of the device keeps it loaded.
    type OwnerModule: ModuleMetadata;

    /// Returns the current text of the device, for a read.
    ///
    /// This is called when a read begins at the start of the file. A read at a later position
    /// returns the rest of the same text, even if the current text has changed.
    fn text(&self) -> Result<KVVec<u8>>;

    /// Writes to the device, and returns the number of bytes consumed.
    fn write(&self, writer: Writer<'_>, source: &mut IovIterSource<'_>) -> Result<usize>;
}

/// The writer to a misc device: the current task, and the task that has opened the file.
///
/// # Invariants
///
/// `file` is open for `'a`.
pub(crate) struct Writer<'a> {
    file: *const bindings::file,
    _file: PhantomData<&'a bindings::file>,
}

impl Writer<'_> {
    /// Whether both tasks have `CAP_SYS_ADMIN` in the initial user namespace.
    ///
    /// The current task needs the capability: an open file that it gets from another task gives it
    /// no rights. The opener needs it, too: a privileged program may write to a file that it got as
    /// its standard output, and an unprivileged opener must not gain rights that way.
    ///
    /// C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)
    pub(crate) fn may_administer(&self) -> bool {
        #[cfg(CONFIG_MULTIUSER)]
        {
            // CAST: A small constant.
            let capability = bindings::CAP_SYS_ADMIN as c_int;
            // SAFETY: By the type invariant the file is open, so it has the credentials of its
            // opener. The initial user namespace always exists.
            let opener = unsafe {
                bindings::file_ns_capable(self.file, &raw mut bindings::init_user_ns, capability)
            };
            // SAFETY: The capability exists, and `capable()` may be called in any task.
            opener && unsafe { bindings::capable(capability) }
        }
        // Without users, each task has all capabilities.
        #[cfg(not(CONFIG_MULTIUSER))]
        {
            let _ = self.file;
            true
        }
    }
}

/// A registered misc device with its data.
#[pin_data]
pub(crate) struct SharedRegistration<T: SharedMiscDevice> {
    /// Dropped first: `open` uses the data until then.
    #[pin]
    registration: MiscDeviceRegistration<OpenFile<T>>,
    data: Arc<T>,
}

impl<T: SharedMiscDevice> SharedRegistration<T> {
    /// Registers a device. It can be opened before this returns.
    pub(crate) fn register(name: &'static CStr, data: Arc<T>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Initialised first: `open` finds the data through the registration.
            data,
            registration <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }
}

/// An open file of a [`SharedRegistration`]. The type is private, so no other registration uses it.
#[pin_data]
struct OpenFile<T: SharedMiscDevice> {
    data: Arc<T>,
    /// The text that is being read.
    #[pin]
    text: Mutex<KVVec<u8>>,
}

#[vtable]
impl<T: SharedMiscDevice> MiscDevice for OpenFile<T> {
    #[cfg(not(linux_7_2))]
    type OwnerModule = T::OwnerModule;
    type Ptr = Pin<KBox<Self>>;

    fn open(
        _file: &File,
        misc: &miscdevice::MiscDeviceRegistration<Self>,
    ) -> Result<Pin<KBox<Self>>> {
        let misc: *const MiscDeviceRegistration<Self> = core::ptr::from_ref(misc).cast();
        // SAFETY: Only `SharedRegistration` registers `OpenFile<T>`, so `misc` is the field of one.
        let registration = unsafe { &*container_of!(misc, SharedRegistration<T>, registration) };
        let data = registration.data.clone();
        KBox::pin_init(
            pin_init!(Self {
                data,
                text <- new_mutex!(KVVec::new(), "SharedMiscDevice::text"),
            }),
            GFP_KERNEL,
        )
    }

    fn read_iter(
        mut kiocb: Kiocb<'_, Pin<KBox<Self>>>,
        iov: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let open = kiocb.file();
        let position = kiocb.ki_pos_mut();
        let mut text = open.text.lock();
        // An empty text was not read yet: the text of the device is never empty.
        if *position == 0 || text.is_empty() {
            *text = open.data.text()?;
        }
        iov.simple_read_from_buffer(position, &text)
    }

    fn write_iter(kiocb: Kiocb<'_, Pin<KBox<Self>>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        // SAFETY: A `Kiocb` is valid, and its file is open for as long as the `Kiocb` exists.
        let file = unsafe { (*kiocb.as_raw()).ki_filp };
        // INVARIANT: The `Kiocb` keeps the file open until this function returns, and the writer is
        // gone before that.
        let writer = Writer {
            file,
            _file: PhantomData,
        };
        kiocb.file().data.write(writer, iov)
    }
}
