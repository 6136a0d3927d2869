// SPDX-License-Identifier: GPL-2.0

//! The number of CPUs that run tasks.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

#[cfg(CONFIG_SMP)]
use kernel::{
    bindings,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// The number of online CPUs: `num_online_cpus()`. It may change at any time.
pub(crate) fn num_online_cpus() -> u32 {
    #[cfg(CONFIG_SMP)]
    {
        // ORDERING: `Relaxed`, because the number may change at any time.
        // SAFETY: The variable is always there, and all accesses to it are atomic.
        let nr = unsafe { Atomic::from_ptr(&raw mut bindings::__num_online_cpus.counter) };
        nr.load(Relaxed).unsigned_abs()
    }
    #[cfg(not(CONFIG_SMP))]
    1
}
