// SPDX-License-Identifier: GPL-2.0

//! Work queues of one's own, and work items that help a task.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    cell::Cell,
    mem::transmute,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings, container_of, fmt,
    prelude::*,
    static_lock_class,
    str::CString,
    sync::LockClassKey,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque,
    workqueue::{
        self,
        RawWorkItem, //
    },
};
use pin_init::stack_pin_init;

/// A workqueue that may be destroyed.
///
/// It is the kernel crate's, but takes no delayed work: a timer queues that, for which nobody waits
/// who destroys the workqueue.
#[repr(transparent)]
pub(crate) struct Queue(workqueue::Queue);

impl Queue {
    /// Enqueues a work item.
    pub(crate) fn enqueue<W, const ID: u64>(&self, work: W) -> W::EnqueueOutput
    where
        W: RawWorkItem<ID> + Send + 'static,
    {
        self.0.enqueue(work)
    }
}

/// A workqueue that is destroyed when this is dropped, after all of its work has been done.
///
/// It must not be dropped by an item of its own work, which would wait for itself.
///
/// # Invariants
///
/// `self.0` is a workqueue that was allocated by [`Self::allocate`].
pub(crate) struct OwnedQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: A workqueue may be used and destroyed by any task.
unsafe impl Send for OwnedQueue {}
// SAFETY: All methods of a workqueue may be called by many tasks at once.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Allocates a workqueue that is bound to no CPU (`WQ_UNBOUND`) and runs as many items at once
    /// as the kernel allows.
    pub(crate) fn new(name: fmt::Arguments<'_>) -> Result<Self> {
        Self::allocate(name, bindings::wq_flags_WQ_UNBOUND)
    }

    /// Like [`Self::new`], but it makes progress when memory is short (`WQ_MEM_RECLAIM`). So its
    /// work must not wait for that of a workqueue which doesn't.
    pub(crate) fn new_reclaim(name: fmt::Arguments<'_>) -> Result<Self> {
        Self::allocate(
            name,
            bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM,
        )
    }

    fn allocate(name: fmt::Arguments<'_>, flags: bindings::wq_flags) -> Result<Self> {
        let name = CString::try_from_fmt(name)?;
        // SAFETY: The format has one conversion, `%s`, and the one argument is a C string; it is
        // copied.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                flags,
                // CAST: A small constant.
                bindings::wq_consts_WQ_UNBOUND_MAX_ACTIVE as c_int,
                name.as_char_ptr(),
            )
        };
        // INVARIANT: It was allocated just now.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits until all work that is queued now has been done. Must not be called by that work.
    pub(crate) fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant it is a workqueue, and it lives as long as `self`.
        let queue = unsafe { workqueue::Queue::from_raw(self.0.as_ptr()) };
        // SAFETY: The two types are the same, transparently.
        unsafe { &*ptr::from_ref(queue).cast::<Queue>() }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it is a workqueue of ours. Nothing can be queued any more,
        // since that takes a borrow of `self`; what was queued is done by this call.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// What helpers are called for.
type Job<'a> = &'a (dyn Fn() + Sync);

/// How many helpers there are.
const NR_HELPERS: usize = 63;

/// Work items that do the same as the task that calls them, beside it.
///
/// It is meant for a loop whose turns wait for a disk, one of them as well as several: whoever
/// comes takes the next turn, until there is none left.
pub(crate) struct Helpers(Pin<KBox<[Helper; NR_HELPERS]>>);

impl Helpers {
    /// Allocates them; may sleep.
    pub(crate) fn new() -> Result<Self> {
        let helpers = pin_init::pin_init_array_from_fn(|_| {
            Helper::new(c"zloop_helper", static_lock_class!())
        });
        Ok(Self(KBox::pin_init(helpers, GFP_KERNEL)?))
    }

    /// Calls `job` in the current task, and has up to `nr` work items call it, too; may sleep.
    ///
    /// Returns when it has returned everywhere. It is not certain that anybody comes to help, and
    /// nobody is waited for who has not begun: so no memory need be had for that, and this may be
    /// called by a work item.
    pub(crate) fn call(&mut self, nr: usize, job: Job<'_>) {
        for helper in self.0.iter().take(nr) {
            // SAFETY: Every call before this one has cancelled those that it had queued, and
            // `&mut self` keeps others away. All of them are cancelled below, before `job` ends.
            unsafe { helper.queue(job) };
        }
        job();
        for helper in self.0.iter().take(nr) {
            helper.cancel();
        }
    }
}

/// A work item that does something in the place of the task that calls it.
///
/// That is for what must not be cut short: no signal reaches a work item.
pub(crate) struct Deputy(Pin<KBox<Helper>>);

impl Deputy {
    /// Allocates it; may sleep.
    pub(crate) fn new() -> Result<Self> {
        let helper = Helper::new(c"zloop_deputy", static_lock_class!());
        Ok(Self(KBox::pin_init(helper, GFP_KERNEL)?))
    }

    /// Has the work item call `job`, and returns when it has returned; may sleep.
    ///
    /// It takes memory if the kernel has no task for it, so this must not be called by what frees
    /// memory.
    pub(crate) fn call(&mut self, job: Job<'_>) {
        stack_pin_init!(let done = Done::new());
        let done = done.into_ref();
        let job = || {
            job();
            done.complete();
        };
        // SAFETY: Every call before this one has cancelled it, and `&mut self` keeps others away.
        // When all is done it is cancelled, which waits for its end, before `job` ends.
        unsafe { self.0.queue(&job) };
        done.wait();
        self.0.cancel();
    }
}

/// Whether something has been done, for who waits for it: a completion.
///
/// C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)
#[pin_data]
struct Done {
    #[pin]
    completion: Opaque<bindings::completion>,
}

// SAFETY: A completion may be completed and waited for by any task.
unsafe impl Sync for Done {}

impl Done {
    /// After so many milliseconds a wait begins anew.
    const TURN: Msecs = 10_000;

    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The place is valid for an initialisation.
            completion <- Opaque::ffi_init(|completion| unsafe {
                bindings::init_completion(completion)
            }),
        })
    }

    fn complete(&self) {
        // SAFETY: It is initialised and pinned.
        unsafe { bindings::complete_all(self.completion.get()) };
    }

    /// Waits, however long that takes; may sleep. A single wait of minutes would be reported as one
    /// that never ends (`khungtaskd`).
    fn wait(&self) {
        // SAFETY: It is initialised and pinned.
        while unsafe {
            bindings::wait_for_completion_timeout(
                self.completion.get(),
                msecs_to_jiffies(Self::TURN),
            )
        } == 0
        {}
    }
}

/// A work item that calls what it is given.
#[pin_data]
struct Helper {
    #[pin]
    work: Opaque<bindings::work_struct>,
    /// Changed only while the item is neither queued nor running.
    job: Cell<Option<Job<'static>>>,
}

// SAFETY: A job may be called by any task, and the work item may be queued and cancelled by any.
unsafe impl Send for Helper {}
// SAFETY: `job` is read by the item while it runs, and changed only while it doesn't.
unsafe impl Sync for Helper {}

impl Helper {
    /// One with a name and a class of its own, for lockdep.
    fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The place is valid for an initialisation; the name and the key are static.
            // The item is not on a stack.
            work <- Opaque::ffi_init(move |work| unsafe {
                bindings::init_work_with_key(
                    work,
                    Some(Self::run),
                    false,
                    name.as_char_ptr(),
                    key.as_ptr(),
                )
            }),
            job: Cell::new(None),
        })
    }

    /// # Safety
    ///
    /// The item must not be queued nor running, and [`Self::cancel`] must be called before `job`
    /// ends.
    unsafe fn queue(&self, job: Job<'_>) {
        // SAFETY: Only the lifetime changes. The item does not outlive `job`, by the requirement.
        let job = unsafe { transmute::<Job<'_>, Job<'static>>(job) };
        self.job.set(Some(job));
        // SAFETY: The queue is the system's, which is there before any module. The item is
        // initialised and pinned.
        // CAST: The constant is a small one.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
            )
        };
    }

    /// Waits until the item doesn't run any more; if it hasn't begun it won't.
    fn cancel(&self) {
        // SAFETY: The item is initialised. Not called by the item itself.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
        self.job.set(None);
    }

    /// # Safety
    ///
    /// `work` must be the work item of a [`Helper`], and be running.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirement. Whoever has queued it keeps it until it has ended.
        let this = unsafe { &*container_of!(Opaque::cast_from(work), Self, work) };
        if let Some(job) = this.job.get() {
            job();
        }
    }
}
