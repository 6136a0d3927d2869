// SPDX-License-Identifier: GPL-2.0

//! `kernel::sync`: a spin lock with interrupts disabled.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use kernel::{
    bindings,
    prelude::*,
    sync::lock::{
        Backend,
        Lock, //
    },
};

/// A spin lock that disables interrupts on this CPU while it is held.
///
/// Each guard restores the interrupt state of its creation; it does not count, as Linux 7.3 does.
/// So nested guards must be dropped in the reverse order of their creation.
pub(crate) type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

/// Creates a [`SpinLockIrq`] initialiser with the given name and a newly-created lock class.
macro_rules! new_spinlock_irq {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::kernel_ext::compat::sync::SpinLockIrq::new(
            $inner,
            ::kernel::optional_name!($($name)?),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_spinlock_irq;

/// A kernel `spinlock_t`, locked by `spin_lock_irqsave()`.
pub(crate) struct SpinLockIrqBackend;

/// `spin_lock_irqsave()`.
///
/// # Safety
///
/// `lock` must be initialised.
unsafe fn spin_lock_irqsave(lock: *mut bindings::spinlock_t) -> usize {
    #[cfg(not(CONFIG_PREEMPT_RT))]
    // SAFETY: By the safety requirement the lock is initialised. It begins with the raw lock.
    return unsafe { bindings::_raw_spin_lock_irqsave(lock.cast()) };
    #[cfg(CONFIG_PREEMPT_RT)]
    // SAFETY: By the safety requirement the lock is initialised. Threads handle the interrupts, and
    // the lock excludes them.
    return unsafe {
        bindings::spin_lock(lock);
        0
    };
}

/// `spin_unlock_irqrestore()`.
///
/// # Safety
///
/// `lock` must be held, and `flags` must be the result of the matching `spin_lock_irqsave`.
unsafe fn spin_unlock_irqrestore(lock: *mut bindings::spinlock_t, flags: usize) {
    #[cfg(not(CONFIG_PREEMPT_RT))]
    // SAFETY: By the safety requirement the lock is held, and `flags` are from its
    // `spin_lock_irqsave`. It begins with the raw lock.
    unsafe {
        bindings::_raw_spin_unlock_irqrestore(lock.cast(), flags)
    };
    #[cfg(CONFIG_PREEMPT_RT)]
    // SAFETY: By the safety requirement the lock is held.
    unsafe {
        let _ = flags;
        bindings::spin_unlock(lock)
    };
}

// SAFETY: The C lock excludes all other holders between `lock` and `unlock`. `relock` is the
// default, which calls `lock`.
unsafe impl Backend for SpinLockIrqBackend {
    type State = bindings::spinlock_t;
    /// The interrupt state before `lock`.
    type GuardState = usize;

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: By this function's requirements `ptr` is valid for writes, and `name` and `key`
        // are valid forever.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: By this function's requirement the lock is initialised.
        unsafe { spin_lock_irqsave(ptr) }
    }

    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: By this function's requirement the caller has locked it, and `guard_state` is the
        // result of that `lock`.
        unsafe { spin_unlock_irqrestore(ptr, *guard_state) }
    }

    unsafe fn try_lock(_ptr: *mut Self::State) -> Option<Self::GuardState> {
        // The kernel exports no suitable function, and no code calls this. The trait allows a
        // failure.
        None
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: By this function's requirement the lock is initialised.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}
