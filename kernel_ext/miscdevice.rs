// SPDX-License-Identifier: GPL-2.0

//! Misc devices whose open files share data.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;
use kernel::{
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
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
    sync::Arc, //
};

/// What is shared by all who have a misc device open.
pub(crate) trait SharedMiscDevice: Send + Sync + Sized + 'static {
    /// Reads from the device at `position`, which it moves on.
    fn read(&self, position: &mut i64, dest: &mut IovIterDest<'_>) -> Result<usize>;

    /// Writes to the device, and returns how much was taken.
    fn write(&self, source: &mut IovIterSource<'_>) -> Result<usize>;
}

/// A registered misc device with its data.
#[pin_data]
pub(crate) struct SharedRegistration<T: SharedMiscDevice> {
    data: Arc<T>,
    #[pin]
    registration: MiscDeviceRegistration<OpenFile<T>>,
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
struct OpenFile<T>(PhantomData<T>);

#[vtable]
impl<T: SharedMiscDevice> MiscDevice for OpenFile<T> {
    type Ptr = Arc<T>;

    fn open(_file: &File, misc: &MiscDeviceRegistration<Self>) -> Result<Arc<T>> {
        // SAFETY: `OpenFile<T>` is registered by `SharedRegistration` only.
        let registration = unsafe {
            &*container_of!(
                core::ptr::from_ref(misc),
                SharedRegistration<T>,
                registration
            )
        };
        Ok(registration.data.clone())
    }

    fn read_iter(mut kiocb: Kiocb<'_, Arc<T>>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let data = kiocb.file();
        data.read(kiocb.ki_pos_mut(), iov)
    }

    fn write_iter(kiocb: Kiocb<'_, Arc<T>>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        kiocb.file().write(iov)
    }
}
