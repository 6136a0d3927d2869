// SPDX-License-Identifier: GPL-2.0

//! References to modules, and safe unloading.
//!
//! The code of a module may drop the last reference to the module itself: it frees a removed disk
//! when the last opener closes the disk. After that the module can be unloaded, although this code
//! still has a few instructions to run before it returns. So the module's exit waits for this code:
//! see [`unloadable_module!`].
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

/// Declares the module type `$name` with the state `$state`. The module is unloaded only after all
/// tasks have left its code. Its Kconfig entry should select `NEED_TASKS_RCU`.
///
/// The type must be the one that is named in `module!`.
#[macro_export]
macro_rules! unloadable_module {
    ($(#[$attribute:meta])* struct $name:ident($state:ident);) => {
        $(#[$attribute])*
        #[::kernel::prelude::pin_data]
        struct $name {
            #[pin]
            state: $crate::kernel_ext::module::Unloadable<$state>,
        }

        impl ::kernel::InPlaceModule for $name {
            fn init(
                module: &'static ::kernel::ThisModule,
            ) -> impl ::kernel::prelude::PinInit<Self, ::kernel::prelude::Error> {
                ::kernel::prelude::try_pin_init!(Self {
                    state <- <$crate::kernel_ext::module::Unloadable<$state>
                        as ::kernel::InPlaceModule>::init(module),
                })
            }
        }

        // SAFETY: The only field is an `Unloadable`.
        unsafe impl $crate::kernel_ext::module::WaitsForTasks for $name {}
    };
}
pub(crate) use unloadable_module;

/// The state `M` of a module. After it is dropped, all tasks leave the module's code.
///
/// Dropping it drops `M`, and then waits until each task has slept or was in user space (Tasks
/// RCU). So code that has dropped its reference to the module must leave the module without
/// sleeping. The same holds for code that has ended the last request of a disk.
#[pin_data]
pub(crate) struct Unloadable<M> {
    /// Dropped first.
    #[pin]
    module: M,
    _wait: WaitOnDrop,
}

impl<M: InPlaceModule> InPlaceModule for Unloadable<M> {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // First, so that a failure of the next one waits, too.
            _wait: WaitOnDrop,
            module <- M::init(module),
        })
    }
}

/// Dropping this waits until each task has left the code of the module.
struct WaitOnDrop;

impl Drop for WaitOnDrop {
    fn drop(&mut self) {
        #[cfg(CONFIG_TASKS_RCU)]
        // SAFETY: The exit of a module may sleep.
        unsafe {
            bindings::synchronize_rcu_tasks()
        };
        #[cfg(not(CONFIG_TASKS_RCU))]
        // SAFETY: The exit of a module may sleep. In a kernel without preemption, this also waits
        // until each task has slept or was in user space.
        unsafe {
            bindings::synchronize_rcu()
        };
    }
}

/// A module whose exit waits until all tasks have left its code: see [`unloadable_module!`].
///
/// # Safety
///
/// Dropping a value must drop an [`Unloadable`] as its last field.
pub(crate) unsafe trait WaitsForTasks: ModuleMetadata {}

/// A reference to the module `M`. While it exists, the module can't be unloaded.
///
/// But a module whose init fails is freed whatever references exist. So init must let others take
/// references in its last step only, after which it can't fail.
///
/// # Invariants
///
/// `self` owns a reference to the module.
pub(crate) struct ModuleRef<M: WaitsForTasks>(PhantomData<fn() -> M>);

impl<M: WaitsForTasks> ModuleRef<M> {
    /// Whether the exit of a module can wait until all tasks have left its code. This needs Tasks
    /// RCU or, in a kernel without preemption, RCU.
    const CAN_WAIT: bool = cfg!(any(CONFIG_TASKS_RCU, not(CONFIG_PREEMPTION)));

    /// Takes one more reference.
    ///
    /// # Errors
    ///
    /// ENODEV if the module is being unloaded.
    pub(crate) fn get() -> Result<Self> {
        if !try_module_get(this_module::<M>()) {
            return Err(ENODEV);
        }
        // INVARIANT: The call above has taken the reference.
        Ok(Self(PhantomData))
    }
}

impl<M: WaitsForTasks> Drop for ModuleRef<M> {
    fn drop(&mut self) {
        // A module whose exit can't wait keeps the reference, so it is never unloaded.
        if Self::CAN_WAIT {
            // SAFETY: By the type invariant we own the reference.
            unsafe { module_put(this_module::<M>()) };
        }
    }
}

/// Takes a reference, unless the module is being unloaded: `try_module_get()`. A kernel that can't
/// unload modules counts no references.
fn try_module_get(module: &ThisModule) -> bool {
    #[cfg(CONFIG_MODULE_UNLOAD)]
    {
        // SAFETY: The pointer is to a module, or null for built-in code. Both are allowed.
        unsafe { bindings::try_module_get(module.as_ptr()) }
    }
    #[cfg(not(CONFIG_MODULE_UNLOAD))]
    {
        let _ = module;
        true
    }
}

/// Drops a reference: `module_put()`.
///
/// # Safety
///
/// The caller must own a reference, and must not use it any more.
unsafe fn module_put(module: &ThisModule) {
    #[cfg(CONFIG_MODULE_UNLOAD)]
    // SAFETY: By the safety requirement.
    unsafe {
        bindings::module_put(module.as_ptr())
    };
    #[cfg(not(CONFIG_MODULE_UNLOAD))]
    let _ = module;
}
