// SPDX-License-Identifier: GPL-2.0

//! References to the state that a controller keeps for a cgroup.
//!
//! C headers: [`include/linux/cgroup.h`](srctree/include/linux/cgroup.h),
//! [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)

use crate::kernel_ext::cpu::pinned_to_cpu;
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
/// The pointer is valid, and `self` owns a reference to it.
pub(crate) struct CgroupState(NonNull<bindings::cgroup_subsys_state>);

impl CgroupState {
    /// Returns the state that the memory controller charges `cgroup`'s memory to: the state of
    /// `cgroup` itself, or that of its nearest ancestor with a state.
    ///
    /// # Safety
    ///
    /// `cgroup` must be valid.
    pub(crate) unsafe fn of_memory(cgroup: *mut bindings::cgroup) -> Option<Self> {
        // SAFETY: By the safety requirement the cgroup is valid. The controller always exists.
        let css =
            unsafe { bindings::cgroup_get_e_css(cgroup, &raw mut bindings::memory_cgrp_subsys) };
        // INVARIANT: The function has taken a reference, which moves to the result.
        NonNull::new(css).map(Self)
    }

    /// The raw pointer, which is valid for as long as `self`.
    pub(crate) fn as_ptr(&self) -> *mut bindings::cgroup_subsys_state {
        self.0.as_ptr()
    }
}

impl Drop for CgroupState {
    /// `css_put()`.
    fn drop(&mut self) {
        let css = self.as_ptr();
        // SAFETY: By the type invariant the state is valid. The flag does not change.
        if unsafe { (*css).flags } & bindings::CSS_NO_REF == 0 {
            // SAFETY: By the type invariant we own the reference, which is not used any more.
            unsafe { percpu_ref_put(&raw mut (*css).refcnt) };
        }
    }
}

/// Drops a reference: `percpu_ref_put()`, which is an inline function.
///
/// # Safety
///
/// The caller must own a reference, and must not use it any more.
unsafe fn percpu_ref_put(counter: *mut bindings::percpu_ref) {
    // Under RCU, a counter that is in per-CPU mode here keeps its per-CPU counters.
    let _rcu = rcu::Guard::new();
    // SAFETY: The caller has a reference, so the counter is valid. Other code may change the
    // pointer concurrently.
    let per_cpu = unsafe { (&raw const (*counter).percpu_count_ptr).read_volatile() };
    // CAST: A small constant.
    if per_cpu & bindings::__PERCPU_REF_ATOMIC_DEAD as usize == 0 {
        return pinned_to_cpu(|| {
            let count = this_cpu_ptr(per_cpu);
            // Interrupts change the counter, too, and with `PREEMPT_RT` other tasks on this CPU. So
            // the subtraction is atomic.
            // ORDERING: `Relaxed`, as `this_cpu_sub()`: the RCU grace period that ends the per-CPU
            // mode orders this before the counters are added up.
            // SAFETY: This is the counter of this CPU. It changes only on this CPU, and only
            // atomically.
            unsafe { Atomic::from_ptr(count) }.fetch_sub(1usize, Relaxed);
        });
    }
    // SAFETY: The caller has a reference, so a counter in atomic mode has its data.
    let data = unsafe { (*counter).data };
    // SAFETY: The count changes only atomically.
    let count = unsafe { Atomic::from_ptr(&raw mut (*data).count.counter) };
    // ORDERING: Pairs with itself, as `atomic_long_sub_and_test()`: the accesses of all former
    // holders happened before the release.
    if count.fetch_sub(1, Full) == 1 {
        // SAFETY: The last reference was dropped, so `release` must be called now.
        unsafe {
            if let Some(release) = (*data).release {
                release(counter);
            }
        }
    }
}

/// Returns the address of this CPU's instance of a per-CPU counter: `this_cpu_ptr()`.
///
/// The result is valid for this CPU only while the caller stays on it.
fn this_cpu_ptr(per_cpu: usize) -> *mut usize {
    #[cfg(CONFIG_SMP)]
    // SAFETY: Each CPU has an offset, which does not change after the CPU is up.
    let per_cpu = per_cpu.wrapping_add(unsafe {
        (&raw const bindings::__per_cpu_offset)
            .cast::<usize>()
            .add(CpuId::current().as_u32() as usize)
            .read()
    });
    core::ptr::with_exposed_provenance_mut(per_cpu)
}
