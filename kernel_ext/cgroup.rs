// SPDX-License-Identifier: GPL-2.0

//! References to the state that a controller keeps for a cgroup.
//!
//! C headers: [`include/linux/cgroup.h`](srctree/include/linux/cgroup.h),
//! [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)

use crate::kernel_ext::task::on_one_cpu;
use core::ptr::NonNull;
#[cfg(CONFIG_SMP)]
use kernel::cpu::CpuId;
use kernel::{
    bindings,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        rcu, //
    },
};

/// The state of a controller for a cgroup: a `struct cgroup_subsys_state`.
///
/// # Invariants
///
/// The pointer is valid, and a reference to it is owned.
pub(super) struct CgroupState(NonNull<bindings::cgroup_subsys_state>);

impl CgroupState {
    /// The state that the memory controller charges what `cgroup` uses to: `cgroup`'s own one, or
    /// that of its nearest ancestor that has one.
    ///
    /// # Safety
    ///
    /// `cgroup` must be valid.
    pub(super) unsafe fn of_memory(cgroup: *mut bindings::cgroup) -> Option<Self> {
        // SAFETY: By the safety requirement. The controller is never gone.
        let css =
            unsafe { bindings::cgroup_get_e_css(cgroup, &raw mut bindings::memory_cgrp_subsys) };
        // INVARIANT: The function has taken a reference.
        NonNull::new(css).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::cgroup_subsys_state {
        self.0.as_ptr()
    }
}

impl Drop for CgroupState {
    /// `css_put()`.
    fn drop(&mut self) {
        let css = self.as_ptr();
        // SAFETY: By the type invariant. The flag doesn't change.
        if unsafe { (*css).flags } & bindings::CSS_NO_REF == 0 {
            // SAFETY: By the type invariant the reference is ours; it is not used any more.
            unsafe { percpu_ref_put(&raw mut (*css).refcnt) };
        }
    }
}

/// Gives back a reference: `percpu_ref_put()`, which is an inline function.
///
/// # Safety
///
/// The caller must own a reference, and use it no more.
unsafe fn percpu_ref_put(counter: *mut bindings::percpu_ref) {
    // While it is held a counter that was found to be one per CPU stays so.
    let _rcu = rcu::Guard::new();
    // SAFETY: The counter is valid while there is a reference. Others may change the pointer.
    let per_cpu = unsafe { (&raw const (*counter).percpu_count_ptr).read_volatile() };
    // CAST: A small constant.
    if per_cpu & bindings::__PERCPU_REF_ATOMIC_DEAD as usize == 0 {
        return on_one_cpu(|| {
            let count = this_cpu_ptr(per_cpu);
            // Interrupts, and where spin locks sleep other tasks of this CPU, change it, too.
            // SAFETY: It is this CPU's counter, which is changed on this CPU only, and atomically.
            unsafe { Atomic::from_ptr(count) }.fetch_sub(1usize, Relaxed);
        });
    }
    // SAFETY: A counter that is not one per CPU has its data, while there is a reference.
    let data = unsafe { (*counter).data };
    // SAFETY: The count is changed atomically only.
    let count = unsafe { Atomic::from_ptr(&raw mut (*data).count.counter) };
    // `Full` orders what all holders did before the release.
    if count.fetch_sub(1, Full) == 1 {
        // SAFETY: The last reference is gone, which is when the function is to be called.
        unsafe {
            if let Some(release) = (*data).release {
                release(counter);
            }
        }
    }
}

/// Where this CPU's counter is, of those that are one per CPU: `this_cpu_ptr()`.
///
/// It is this CPU's for as long as what runs stays on it.
fn this_cpu_ptr(per_cpu: usize) -> *mut usize {
    #[cfg(CONFIG_SMP)]
    // SAFETY: The offsets don't change once a CPU is there; there is one for each.
    let per_cpu = per_cpu.wrapping_add(unsafe {
        (&raw const bindings::__per_cpu_offset)
            .cast::<usize>()
            .add(CpuId::current().as_u32() as usize)
            .read()
    });
    core::ptr::with_exposed_provenance_mut(per_cpu)
}
