// SPDX-License-Identifier: GPL-2.0

//! `kernel::miscdevice`: devices whose open files hold a reference to the module.
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

/// A registered misc device. The module can't be unloaded while a file of the device is open. The
/// crate's own registration does not set the owner.
#[pin_data]
#[repr(transparent)]
pub(crate) struct MiscDeviceRegistration<T: MiscDevice + 'static> {
    #[pin]
    inner: miscdevice::MiscDeviceRegistration<T>,
}

impl<T: MiscDevice + 'static> MiscDeviceRegistration<T> {
    /// Registers a device.
    pub(crate) fn register(options: MiscDeviceOptions) -> impl PinInit<Self, Error> {
        // SAFETY: `Self` and the crate's registration are transparent wrappers of `struct
        // miscdevice`. If `misc_register()` succeeds, the device is registered and pinned, as the
        // type invariants of the crate's registration require. If it fails, it keeps no reference
        // to the slot.
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
    /// The file operations of the crate, with the owner set.
    const OWNED: bindings::file_operations = {
        let options = MiscDeviceOptions { name: c"" };
        bindings::file_operations {
            owner: crate::THIS_MODULE.as_ptr(),
            // SAFETY: `fops` is from a reference to a constant, so it is valid for reads.
            ..unsafe { core::ptr::read(options.into_raw::<T>().fops) }
        }
    };
}
