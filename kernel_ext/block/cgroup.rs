// SPDX-License-Identifier: GPL-2.0

//! The cgroup that I/O is charged to.
//!
//! The block layer charges a bio to the cgroup of the task that makes it, and limits and weights
//! (`io.max`, `io.weight`) hold for that cgroup. A driver whose worker does I/O for a bio does it
//! on behalf of another task. It has that I/O, and the memory that the worker allocates for it,
//! charged to the cgroup that the bio is charged to.
//!
//! Nothing need be done for the root cgroup, which a worker is in.
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

// `include/linux/blk-cgroup.h` is not among the headers of the kernel crate's bindings. Both are
// exported.
#[expect(
    improper_ctypes,
    reason = "a lock class and other fields are types without fields in some kernels"
)]
unsafe extern "C" {
    /// The state of the I/O controller for the cgroup that a bio is charged to, or null.
    fn bio_blkcg_css(bio: *mut bindings::bio) -> *mut bindings::cgroup_subsys_state;

    /// That of the root cgroup.
    static blkcg_root_css: *mut bindings::cgroup_subsys_state;
}

/// Calls `f` in a worker. What it does is charged to the cgroup that `bio` is charged to.
///
/// Calls are not to be nested: after the inner one the rest of the outer one is charged to the root
/// cgroup.
///
/// # Safety
///
/// `bio` must be null, or valid when this is called; it may end in `f`.
pub(super) unsafe fn charge<R>(bio: *mut bindings::bio, f: impl FnOnce() -> R) -> R {
    // SAFETY: By the safety requirement.
    let charged = unsafe { Charged::enter(bio) };
    let result = f();
    if let Some(charged) = charged {
        charged.leave();
    }
    result
}

/// Whether `bio` is charged to the cgroup that the current task is in, if it is a user task. A
/// kernel thread may act for another cgroup, which can't be seen here.
///
/// # Safety
///
/// `bio` must be null or valid.
pub(super) unsafe fn is_of_current(bio: *mut bindings::bio) -> bool {
    // SAFETY: By the safety requirement.
    let css = unsafe { bio_blkcg_css(bio) };
    let _rcu = rcu::Guard::new();
    // RELAXED: What is looked at is behind the pointer: `rcu_dereference()`.
    // SAFETY: The current task is alive. Others may move it to another set of cgroups meanwhile.
    let set = unsafe { Atomic::from_ptr(&raw mut (*Task::current_raw()).cgroups) }.load(Relaxed);
    // CAST: A small constant.
    let io = bindings::cgroup_subsys_id_io_cgrp_id as usize;
    // SAFETY: A set is valid while RCU is held in which it was found, and doesn't change.
    let current = unsafe { (*set).subsys[io] };
    css == current || css.is_null()
}

/// Whether two bios of a queue are charged to the same cgroup.
///
/// # Safety
///
/// Each of them must be null or valid.
pub(super) unsafe fn is_same(one: *const bindings::bio, other: *const bindings::bio) -> bool {
    // SAFETY: By the safety requirement. A bio that was submitted stays with its cgroup.
    let blkg = |bio: *const bindings::bio| unsafe { bio.as_ref() }.map(|bio| bio.bi_blkg);
    blkg(one) == blkg(other)
}

/// What [`charge`] has to take back.
struct Charged {
    #[cfg(CONFIG_MEMCG)]
    memory: MemoryCharged,
}

impl Charged {
    /// Has what the current task does, if it is a worker, charged to the cgroup of `bio`, unless
    /// that is the root cgroup.
    ///
    /// # Safety
    ///
    /// `bio` must be null or valid.
    unsafe fn enter(bio: *mut bindings::bio) -> Option<Self> {
        // SAFETY: By the safety requirement.
        let css = unsafe { bio_blkcg_css(bio) };
        // SAFETY: It doesn't change.
        if css.is_null() || css == unsafe { blkcg_root_css } {
            return None;
        }
        // SAFETY: The bio has a reference to the state. The worker takes another one.
        unsafe { bindings::kthread_associate_blkcg(css) };
        Some(Self {
            #[cfg(CONFIG_MEMCG)]
            // SAFETY: The state has its cgroup.
            memory: unsafe { MemoryCharged::enter((*css).cgroup) },
        })
    }

    fn leave(self) {
        // SAFETY: This gives back the reference that the worker has.
        unsafe { bindings::kthread_associate_blkcg(null_mut()) };
        #[cfg(CONFIG_MEMCG)]
        self.memory.leave();
    }
}

/// The part of [`Charged`] that is about memory.
#[cfg(CONFIG_MEMCG)]
struct MemoryCharged {
    previous: *mut bindings::mem_cgroup,
    _state: Option<CgroupState>,
}

#[cfg(CONFIG_MEMCG)]
impl MemoryCharged {
    /// `set_active_memcg()` for the cgroup of the memory controller that `cgroup` is in.
    ///
    /// # Safety
    ///
    /// `cgroup` must be valid.
    unsafe fn enter(cgroup: *mut bindings::cgroup) -> Self {
        // SAFETY: By the safety requirement.
        let state = unsafe { CgroupState::of_memory(cgroup) };
        // `mem_cgroup_from_css()`.
        let memcg = state.as_ref().map_or(null_mut(), |state| {
            // SAFETY: A state of the memory controller is the field of a `struct mem_cgroup`.
            unsafe { kernel::container_of!(state.as_ptr(), bindings::mem_cgroup, css) }
        });
        Self {
            previous: replace_active(memcg),
            _state: state,
        }
    }

    fn leave(self) {
        replace_active(self.previous);
    }
}

/// Exchanges the cgroup that the memory which the current task allocates is charged to.
#[cfg(CONFIG_MEMCG)]
fn replace_active(memcg: *mut bindings::mem_cgroup) -> *mut bindings::mem_cgroup {
    // SAFETY: The current task is alive, and only the task itself uses its `active_memcg`.
    unsafe { replace(&mut (*Task::current_raw()).active_memcg, memcg) }
}
