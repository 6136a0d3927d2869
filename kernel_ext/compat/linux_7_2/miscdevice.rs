// SPDX-License-Identifier: GPL-2.0

//! `kernel::miscdevice`: devices whose open files keep the module.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    miscdevice,
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions, //
    },
    prelude::*,
};

/// A registered misc device. The module can't be unloaded while a file of it is open, as if it
/// were written in C: the crate's own registration does not name the owner.
#[pin_data]
#[repr(transparent)]
pub(crate) struct MiscDeviceRegistration<T: MiscDevice + 'static> {
    #[pin]
    inner: miscdevice::MiscDeviceRegistration<T>,
}

impl<T: MiscDevice + 'static> MiscDeviceRegistration<T> {
    /// Registers a device.
    pub(crate) fn register(options: MiscDeviceOptions) -> impl PinInit<Self, Error> {
        // SAFETY: With success the device is registered, as the type invariants of the crate's
        // registration want it, and stays where it is. That type, and this one, are `struct
        // miscdevice`, transparently. Without, `misc_register()` has not kept anything.
        unsafe {
            pin_init::pin_init_from_closure(move |slot: *mut Self| {
                let slot = slot.cast::<bindings::miscdevice>();
                let mut device = options.into_raw::<T>();
                device.fops = &Operations::<T>::OWNED;
                slot.write(device);
                to_result(bindings::misc_register(slot))
            })
        }
    }
}

/// The file operations of a misc device.
struct Operations<T: MiscDevice>(PhantomData<T>);

impl<T: MiscDevice> Operations<T> {
    /// The crate's, with the owner.
    const OWNED: bindings::file_operations = {
        let options = MiscDeviceOptions { name: c"" };
        bindings::file_operations {
            owner: crate::THIS_MODULE.as_ptr(),
            // SAFETY: The crate has made a pointer of a reference to a constant.
            ..unsafe { core::ptr::read(options.into_raw::<T>().fops) }
        }
    };
}
