// SPDX-License-Identifier: GPL-2.0

//! The cgroup that I/O is charged to.
//!
//! The block layer charges a bio to the cgroup of the task that creates it, and limits and weights
//! (`io.max`, `io.weight`) apply to that cgroup. A worker of a driver does I/O for a bio on behalf
//! of another task. So this I/O, and the memory that the worker allocates for it, must be charged
//! to the cgroup of the bio.
//!
//! The root cgroup needs no special handling: a worker is in the root cgroup already.
//!
//! C header: [`include/linux/blk-cgroup.h`](srctree/include/linux/blk-cgroup.h)

#[cfg(CONFIG_MEMCG)]
use crate::kernel_ext::cgroup::CgroupState;
#[cfg(CONFIG_MEMCG)]
use core::mem::replace;
use core::ptr::null_mut;
use kernel::{
    bindings,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    task::Task, //
};

// The bindings of the kernel crate don't include `include/linux/blk-cgroup.h`. The kernel exports
// both symbols.
#[expect(
    improper_ctypes,
    reason = "a lock class and other fields are types without fields in some kernels"
)]
unsafe extern "C" {
    /// Returns the state of the I/O controller for the cgroup that a bio is charged to, or null.
    fn bio_blkcg_css(bio: *mut bindings::bio) -> *mut bindings::cgroup_subsys_state;

    /// The state of the I/O controller for the root cgroup.
    static blkcg_root_css: *mut bindings::cgroup_subsys_state;
}

/// Calls `f` in a worker. The I/O of `f` and the memory that it allocates are charged to the cgroup
/// of `bio`.
///
/// Calls must not be nested: after the inner call, the rest of the outer call is charged to the
/// root cgroup.
///
/// # Safety
///
/// `bio` must be null, or valid when this is called. `f` may end it.
pub(crate) unsafe fn charge<R>(bio: *mut bindings::bio, f: impl FnOnce() -> R) -> R {
    // SAFETY: By the safety requirement.
    let charged = unsafe { Charged::enter(bio) };
    let result = f();
    if let Some(charged) = charged {
        charged.leave();
    }
    result
}

/// Whether `bio` is charged to the cgroup of the current task, or to no cgroup. The current task
/// must be a user task: a kernel thread may act for another cgroup, which this does not check.
///
/// # Safety
///
/// `bio` must be null or valid.
pub(crate) unsafe fn is_of_current(bio: *mut bindings::bio) -> bool {
    // SAFETY: By the safety requirement.
    let css = unsafe { bio_blkcg_css(bio) };
    let _rcu = rcu::Guard::new();
    // ORDERING: `Relaxed`, because the later accesses depend on the loaded pointer:
    // `rcu_dereference()`. Pairs with `rcu_assign_pointer()`.
    // SAFETY: The current task is alive. Other tasks may move it to another set of cgroups
    // concurrently.
    let set = unsafe { Atomic::from_ptr(&raw mut (*Task::current_raw()).cgroups) }.load(Relaxed);
    // CAST: A small constant.
    let io = bindings::cgroup_subsys_id_io_cgrp_id as usize;
    // SAFETY: The set was found under RCU, so it is valid until the guard is dropped. A set does
    // not change.
    let current = unsafe { (*set).subsys[io] };
    css == current || css.is_null()
}

/// Whether two bios of the same queue are charged to the same cgroup.
///
/// # Safety
///
/// Each bio must be null or valid.
pub(crate) unsafe fn is_same(one: *const bindings::bio, other: *const bindings::bio) -> bool {
    // SAFETY: By the safety requirement each bio is null or valid. The cgroup of a submitted bio
    // does not change.
    let blkg = |bio: *const bindings::bio| unsafe { bio.as_ref() }.map(|bio| bio.bi_blkg);
    blkg(one) == blkg(other)
}

/// The state that [`charge`] must undo.
struct Charged {
    #[cfg(CONFIG_MEMCG)]
    memory: MemoryCharged,
}

impl Charged {
    /// Charges the work of the current task, a worker, to the cgroup of `bio`. Returns [`None`] and
    /// changes nothing if that is the root cgroup, or if `bio` has no cgroup.
    ///
    /// # Safety
    ///
    /// `bio` must be null or valid.
    unsafe fn enter(bio: *mut bindings::bio) -> Option<Self> {
        // SAFETY: By the safety requirement.
        let css = unsafe { bio_blkcg_css(bio) };
        // SAFETY: The variable is a constant in C.
        if css.is_null() || css == unsafe { blkcg_root_css } {
            return None;
        }
        // SAFETY: The bio has a reference to the state, so the state is valid. The function takes
        // another reference for the worker.
        unsafe { bindings::kthread_associate_blkcg(css) };
        Some(Self {
            #[cfg(CONFIG_MEMCG)]
            // SAFETY: The state has a valid pointer to its cgroup.
            memory: unsafe { MemoryCharged::enter((*css).cgroup) },
        })
    }

    fn leave(self) {
        // SAFETY: A null state is valid. The call drops the reference of the worker.
        unsafe { bindings::kthread_associate_blkcg(null_mut()) };
        #[cfg(CONFIG_MEMCG)]
        self.memory.leave();
    }
}

/// The memory part of [`Charged`].
#[cfg(CONFIG_MEMCG)]
struct MemoryCharged {
    previous: *mut bindings::mem_cgroup,
    _state: Option<CgroupState>,
}

#[cfg(CONFIG_MEMCG)]
impl MemoryCharged {
    /// Calls `set_active_memcg()` for the memory cgroup of `cgroup`.
    ///
    /// # Safety
    ///
    /// `cgroup` must be valid.
    unsafe fn enter(cgroup: *mut bindings::cgroup) -> Self {
        // SAFETY: By the safety requirement.
        let state = unsafe { CgroupState::of_memory(cgroup) };
        // `mem_cgroup_from_css()`.
        let memcg = state.as_ref().map_or(null_mut(), |state| {
            // SAFETY: A state of the memory controller is the field `css` of a `struct mem_cgroup`.
            unsafe { kernel::container_of!(state.as_ptr(), bindings::mem_cgroup, css) }
        });
        Self {
            // SAFETY: The reference in `state` keeps the cgroup until `leave` has replaced it.
            previous: unsafe { replace_active(memcg) },
            _state: state,
        }
    }

    fn leave(self) {
        // SAFETY: It was the task's cgroup before.
        unsafe { replace_active(self.previous) };
    }
}

/// Replaces the cgroup that the memory allocations of the current task are charged to, and returns
/// the previous one.
///
/// # Safety
///
/// `memcg` must be null, or valid until it is replaced.
#[cfg(CONFIG_MEMCG)]
unsafe fn replace_active(memcg: *mut bindings::mem_cgroup) -> *mut bindings::mem_cgroup {
    // SAFETY: The current task is alive, and only the task itself uses its `active_memcg`.
    unsafe { replace(&mut (*Task::current_raw()).active_memcg, memcg) }
}
