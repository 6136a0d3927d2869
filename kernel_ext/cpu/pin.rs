// SPDX-License-Identifier: GPL-2.0

//! Code that stays on its CPU.

use crate::kernel_ext::compat::sync::new_spinlock_irq;
use pin_init::stack_pin_init;

/// Calls `f` with interrupts disabled, so that it stays on its CPU. With `PREEMPT_RT` a spin lock
/// only disables migration: `f` stays on its CPU, but interrupts and other tasks may interrupt it.
///
/// This locks a new spin lock without other users.
pub(crate) fn pinned_to_cpu<R>(f: impl FnOnce() -> R) -> R {
    stack_pin_init!(let here = new_spinlock_irq!(()));
    let _here = here.lock();
    f()
}
