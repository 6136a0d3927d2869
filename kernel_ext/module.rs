// SPDX-License-Identifier: GPL-2.0

//! References to modules.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use kernel::{
    bindings,
    ThisModule, //
};

/// A reference to a module, which can't be unloaded while it is there.
///
/// # Invariants
///
/// `self.0` is the module that the reference is for, and a reference to it is owned.
pub(crate) struct ModuleRef(*mut bindings::module);

// SAFETY: A module's reference count may be changed by any task.
unsafe impl Send for ModuleRef {}

impl ModuleRef {
    /// Takes one more reference to the module whose code is running.
    ///
    /// The caller is reached through something that holds a reference already: an open file of the
    /// module's, say.
    pub(crate) fn get(module: &'static ThisModule) -> Self {
        // SAFETY: The pointer is a module's or, if the code is built in, null; both are allowed.
        // The module can't be on its way out, as its code runs on behalf of a holder of a
        // reference.
        unsafe { bindings::__module_get(module.as_ptr()) };
        // INVARIANT: The reference was taken just now.
        Self(module.as_ptr())
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours to give back.
        unsafe { bindings::module_put(self.0) };
    }
}
