// SPDX-License-Identifier: GPL-2.0

//! References to modules, and their end.
//!
//! The code of a module may give back the last reference to it: it frees a disk when the last one
//! who has the removed disk open closes it. Nothing keeps the module from being unloaded then, but
//! a few instructions of it are yet to run, until that code has returned. So the module itself
//! waits for them: see [`Unloadable`].
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use core::marker::PhantomData;

use crate::kernel_ext::compat::module::this_module;
use kernel::{
    bindings,
    prelude::*,
    InPlaceModule,
    ModuleMetadata, //
};

/// A module `M` that is not unloaded while code of it is on its way out.
///
/// When it is dropped, it drops `M` and then waits until each task has slept or was in user space
/// (Tasks RCU). Code that has given back its reference must not sleep any more before it has left
/// the module. The same goes for code that has ended the last request of a disk.
#[pin_data]
pub(crate) struct Unloadable<M> {
    /// Dropped first.
    #[pin]
    module: M,
    _left: Left,
}

impl<M: InPlaceModule> InPlaceModule for Unloadable<M> {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            module <- M::init(module),
            _left: Left,
        })
    }
}

/// Waits, when it is dropped, until each task has left the module.
struct Left;

impl Drop for Left {
    fn drop(&mut self) {
        #[cfg(CONFIG_TASKS_RCU)]
        // SAFETY: A module is unloaded where sleeping is allowed.
        unsafe {
            bindings::synchronize_rcu_tasks()
        };
        #[cfg(not(CONFIG_TASKS_RCU))]
        // SAFETY: As above. Where tasks are not preempted, this waits for the same.
        unsafe {
            bindings::synchronize_rcu()
        };
    }
}

/// The type of a module that waits until its code was left: an [`Unloadable`].
pub(crate) trait WaitsUntilLeft: ModuleMetadata {}

impl<M> WaitsUntilLeft for Unloadable<M> where Self: ModuleMetadata {}

/// A reference to the module `M`, which can't be unloaded while it is there.
///
/// # Invariants
///
/// A reference to the module is owned.
pub(crate) struct ModuleRef<M: WaitsUntilLeft>(PhantomData<fn() -> M>);

impl<M: WaitsUntilLeft> ModuleRef<M> {
    /// Whether a module waits until its code was left, whenever that was: what Tasks RCU knows, and
    /// in kernels without preemption RCU.
    const CAN_WAIT: bool = cfg!(any(CONFIG_TASKS_RCU, not(CONFIG_PREEMPTION)));

    /// Takes one more reference.
    ///
    /// # Errors
    ///
    /// ENODEV if the module is being unloaded.
    pub(crate) fn get() -> Result<Self> {
        // SAFETY: The pointer is a module's or, if the code is built in, null; both are allowed.
        if !unsafe { bindings::try_module_get(this_module::<M>().as_ptr()) } {
            return Err(ENODEV);
        }
        // INVARIANT: The reference was taken just now.
        Ok(Self(PhantomData))
    }
}

impl<M: WaitsUntilLeft> Drop for ModuleRef<M> {
    fn drop(&mut self) {
        // A module that can't wait stays.
        if Self::CAN_WAIT {
            // SAFETY: By the type invariant the reference is ours to give back.
            unsafe { bindings::module_put(this_module::<M>().as_ptr()) };
        }
    }
}
