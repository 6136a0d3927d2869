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

/// A spin lock that is held with interrupts disabled on this CPU.
///
/// Each guard puts them back as they were when it was made, not counting as Linux 7.3 does: of
/// guards that are there at the same time, the last one made must be dropped first.
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
    // SAFETY: The lock is initialised, by the safety requirement, and begins with the raw one.
    return unsafe { bindings::_raw_spin_lock_irqsave(lock.cast()) };
    #[cfg(CONFIG_PREEMPT_RT)]
    // SAFETY: As above. Interrupts are handled by threads, which the lock keeps out.
    return unsafe {
        bindings::spin_lock(lock);
        0
    };
}

/// `spin_unlock_irqrestore()`.
///
/// # Safety
///
/// `lock` must be held, and `flags` be what `spin_lock_irqsave` gave then.
unsafe fn spin_unlock_irqrestore(lock: *mut bindings::spinlock_t, flags: usize) {
    #[cfg(not(CONFIG_PREEMPT_RT))]
    // SAFETY: The lock is held and the flags are its, by the safety requirement. It begins with the
    // raw one.
    unsafe {
        bindings::_raw_spin_unlock_irqrestore(lock.cast(), flags)
    };
    #[cfg(CONFIG_PREEMPT_RT)]
    // SAFETY: The lock is held, by the safety requirement.
    unsafe {
        let _ = flags;
        bindings::spin_unlock(lock)
    };
}

// SAFETY: The C lock excludes all others between `lock` and `unlock`, and `relock` is the default,
// which does what `lock` does.
unsafe impl Backend for SpinLockIrqBackend {
    type State = bindings::spinlock_t;
    /// Whether interrupts were enabled.
    type GuardState = usize;

    unsafe fn init(ptr: *mut Self::State, name: *const c_char, key: *mut bindings::lock_class_key) {
        // SAFETY: `ptr` is valid for writes, and `name` and `key` are valid for ever, by this
        // function's requirements.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The lock is initialised, by this function's requirement.
        unsafe { spin_lock_irqsave(ptr) }
    }

    unsafe fn unlock(ptr: *mut Self::State, guard_state: &Self::GuardState) {
        // SAFETY: The caller has locked it, by this function's requirement, and `guard_state` is
        // what that gave.
        unsafe { spin_unlock_irqrestore(ptr, *guard_state) }
    }

    unsafe fn try_lock(_ptr: *mut Self::State) -> Option<Self::GuardState> {
        // There is no such function, and nobody tries. The trait allows to fail.
        None
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The lock is initialised, by this function's requirement.
        unsafe { bindings::spin_assert_is_held(ptr) }
    }
}
