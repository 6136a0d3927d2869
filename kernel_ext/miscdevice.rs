// SPDX-License-Identifier: GPL-2.0

//! Misc devices whose open files share data.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;

use crate::kernel_ext::compat::miscdevice::MiscDeviceRegistration;
use kernel::{
    bindings, container_of,
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
};

/// What is shared by all who have a misc device open.
pub(crate) trait SharedMiscDevice: Send + Sync + Sized + 'static {
    /// What there is to read now.
    ///
    /// It is asked when a read begins at the start of the file. Who reads on gets the rest of the
    /// same text, however much it has changed meanwhile.
    fn text(&self) -> Result<KVVec<u8>>;

    /// Writes to the device, and returns how much was taken.
    fn write(&self, writer: Writer<'_>, source: &mut IovIterSource<'_>) -> Result<usize>;
}

/// Who writes to a misc device: the current task, and whoever has opened the file for it.
///
/// # Invariants
///
/// `file` is open for `'a`.
pub(crate) struct Writer<'a> {
    file: *const bindings::file,
    _file: PhantomData<&'a bindings::file>,
}

impl Writer<'_> {
    /// Whether both have `CAP_SYS_ADMIN` in the initial user namespace.
    ///
    /// The task's own right is what counts: one that was handed an open file has none by that. But
    /// a task with every right may write to whatever it was given as its standard output, and must
    /// not be made to do by that what the one who opened the file may not do.
    ///
    /// C header: [`include/linux/capability.h`](srctree/include/linux/capability.h)
    pub(crate) fn may_administer(&self) -> bool {
        // CAST: A small constant.
        let capability = bindings::CAP_SYS_ADMIN as c_int;
        // SAFETY: By the type invariant the file is open, so that it has the credentials of whoever
        // has opened it. The initial user namespace is always there.
        let opener = unsafe {
            bindings::file_ns_capable(self.file, &raw mut bindings::init_user_ns, capability)
        };
        // SAFETY: There is such a capability, and every task may be asked for it.
        opener && unsafe { bindings::capable(capability) }
    }
}

/// A registered misc device with its data.
#[pin_data]
pub(crate) struct SharedRegistration<T: SharedMiscDevice> {
    /// Dropped first: until then `open` uses the data.
    #[pin]
    registration: MiscDeviceRegistration<OpenFile<T>>,
    data: Arc<T>,
}

impl<T: SharedMiscDevice> SharedRegistration<T> {
    /// Registers a device. It can be opened before this returns.
    pub(crate) fn register(name: &'static CStr, data: Arc<T>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Initialised first: `open` finds it through the registration.
            data,
            registration <- MiscDeviceRegistration::register(MiscDeviceOptions { name }),
        })
    }
}

/// An open file of a [`SharedRegistration`], and of nothing else: it can't be named elsewhere.
#[pin_data]
struct OpenFile<T: SharedMiscDevice> {
    data: Arc<T>,
    /// What is being read.
    #[pin]
    text: Mutex<KVVec<u8>>,
}

#[vtable]
impl<T: SharedMiscDevice> MiscDevice for OpenFile<T> {
    type Ptr = Pin<KBox<Self>>;

    fn open(
        _file: &File,
        misc: &miscdevice::MiscDeviceRegistration<Self>,
    ) -> Result<Pin<KBox<Self>>> {
        let misc: *const MiscDeviceRegistration<Self> = core::ptr::from_ref(misc).cast();
        // SAFETY: `OpenFile<T>` is registered by `SharedRegistration` only.
        let registration = unsafe { &*container_of!(misc, SharedRegistration<T>, registration) };
        let data = registration.data.clone();
        KBox::pin_init(
            pin_init!(Self {
                data,
                text <- new_mutex!(KVVec::new(), "zloop_control_text"),
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
        // It is never empty once it was asked for.
        if *position == 0 || text.is_empty() {
            *text = open.data.text()?;
        }
        iov.simple_read_from_buffer(position, &text)
    }

    fn write_iter(kiocb: Kiocb<'_, Pin<KBox<Self>>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        // SAFETY: A `Kiocb` is valid, and has a file that is open for as long.
        let file = unsafe { (*kiocb.as_raw()).ki_filp };
        // INVARIANT: The writer is gone when this function returns, the `Kiocb` after that.
        let writer = Writer {
            file,
            _file: PhantomData,
        };
        kiocb.file().data.write(writer, iov)
    }
}
