// SPDX-License-Identifier: GPL-2.0

//! Work items that call a function for a task.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use core::{
    cell::Cell,
    mem::transmute, //
};
use kernel::{
    bindings, container_of,
    prelude::*,
    static_lock_class,
    sync::LockClassKey,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque,
};
use pin_init::stack_pin_init;

/// The function that a [`CallItem`] calls.
type Job<'a> = &'a (dyn Fn() + Sync);

/// `NR` work items that call the same function as the current task, in parallel to it.
///
/// This is for a loop whose iterations wait for a disk. The task and the work items share the loop:
/// each of them takes the next iteration until none is left. One of them alone can finish the loop.
pub(crate) struct ParallelWork<const NR: usize>(Pin<KBox<[CallItem; NR]>>);

impl<const NR: usize> ParallelWork<NR> {
    /// Allocates the work items; may sleep.
    pub(crate) fn new() -> Result<Self> {
        let items = pin_init::pin_init_array_from_fn(|_| {
            CallItem::new(c"rust_parallel_work", static_lock_class!())
        });
        Ok(Self(KBox::pin_init(items, GFP_KERNEL)?))
    }

    /// Calls `job` in the current task and, in parallel, in the first `nr` work items, or in all
    /// of them if there are fewer; may sleep.
    ///
    /// Returns after all calls of `job` have returned. A work item that has not started when the
    /// current task's call returns is cancelled: `job` may run in the current task only. So forward
    /// progress needs no memory for a worker, and a work item may call this.
    pub(crate) fn call(&mut self, nr: usize, job: Job<'_>) {
        for item in self.0.iter().take(nr) {
            // SAFETY: Each earlier call has cancelled the items that it queued, and `&mut self`
            // excludes concurrent calls, so the item is idle. It is cancelled below, before `job`
            // ends.
            unsafe { item.queue(job) };
        }
        job();
        for item in self.0.iter().take(nr) {
            // SAFETY: Only this task uses the items.
            unsafe { item.cancel() };
        }
    }
}

/// A work item that calls a function in place of the current task.
///
/// This is for a function that a signal must not interrupt: a work item gets no signals.
pub(crate) struct WorkqueueCall(Pin<KBox<CallItem>>);

impl WorkqueueCall {
    /// Allocates the work item; may sleep.
    pub(crate) fn new() -> Result<Self> {
        let item = CallItem::new(c"rust_workqueue_call", static_lock_class!());
        Ok(Self(KBox::pin_init(item, GFP_KERNEL)?))
    }

    /// Calls `job` in the work item, and returns after `job` has returned; may sleep.
    ///
    /// The kernel may have to allocate a worker for it, so code that reclaims memory must not call
    /// this.
    pub(crate) fn call(&mut self, job: Job<'_>) {
        stack_pin_init!(let done = Completion::new());
        let done = done.into_ref();
        let job = || {
            job();
            done.complete();
        };
        // SAFETY: Each earlier call has cancelled the item, and `&mut self` excludes concurrent
        // calls, so the item is idle. After the completion, `cancel` waits for the end of the item,
        // before `job` ends.
        unsafe { self.0.queue(&job) };
        done.wait();
        // SAFETY: Only this task uses the item, because of `&mut self`.
        unsafe { self.0.cancel() };
    }
}

/// A `struct completion`: one task waits until another one has finished its work.
///
/// The kernel crate's `Completion` can't replace it: its only wait has no timeout, which
/// [`Self::wait`] needs.
///
/// C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)
#[pin_data]
struct Completion {
    #[pin]
    completion: Opaque<bindings::completion>,
}

// SAFETY: Any task may complete a completion and wait for it.
unsafe impl Sync for Completion {}

impl Completion {
    /// The timeout of a single wait in milliseconds; see [`Self::wait`].
    const WAIT_INTERVAL: Msecs = 10_000;

    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for an initialisation.
            completion <- Opaque::ffi_init(|completion| unsafe {
                bindings::init_completion(completion)
            }),
        })
    }

    fn complete(&self) {
        // SAFETY: The completion is initialised and pinned.
        unsafe { bindings::complete_all(self.completion.get()) };
    }

    /// Waits without a time limit; may sleep. It waits in intervals, because `khungtaskd` would
    /// report a single wait of minutes as a hung task.
    fn wait(&self) {
        // SAFETY: The completion is initialised and pinned.
        while unsafe {
            bindings::wait_for_completion_timeout(
                self.completion.get(),
                msecs_to_jiffies(Self::WAIT_INTERVAL),
            )
        } == 0
        {}
    }
}

/// A work item that calls a function.
#[pin_data]
struct CallItem {
    #[pin]
    work: Opaque<bindings::work_struct>,
    /// It changes only while the item is neither queued nor running.
    job: Cell<Option<Job<'static>>>,
}

// SAFETY: Any task may call a job, and any task may queue and cancel a work item.
unsafe impl Send for CallItem {}
// SAFETY: The item reads `job` only while it runs, and `job` changes only while it does not run.
unsafe impl Sync for CallItem {}

impl CallItem {
    /// Initialises a work item with its own name and lock class for lockdep.
    fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The slot is valid for an initialisation; the name and the key are static. The
            // item is not on a stack, as the `false` says.
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
    /// The item must be neither queued nor running. [`Self::cancel`] must be called before `job`
    /// ends.
    unsafe fn queue(&self, job: Job<'_>) {
        // SAFETY: Only the lifetime changes. By the safety requirement `cancel` is called before
        // `job` ends, and the item does not use `job` after that.
        let job = unsafe { transmute::<Job<'_>, Job<'static>>(job) };
        self.job.set(Some(job));
        // SAFETY: The queue is a system workqueue, which exists before any module is loaded. The
        // item is initialised and pinned.
        // CAST: A small constant.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_dfl_wq,
                self.work.get(),
            )
        };
    }

    /// Cancels the item if it has not started; otherwise waits until it has finished.
    ///
    /// # Safety
    ///
    /// The item itself must not call this, and no other task may use the item meanwhile.
    unsafe fn cancel(&self) {
        // SAFETY: The item is initialised, and by the safety requirement it is not the caller.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
        self.job.set(None);
    }

    /// # Safety
    ///
    /// `work` must be the running work item of a [`CallItem`].
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirement it is the item of a `CallItem`, which the queueing task
        // keeps until the item has finished.
        let this = unsafe { &*container_of!(Opaque::cast_from(work), Self, work) };
        if let Some(job) = this.job.get() {
            job();
        }
    }
}
