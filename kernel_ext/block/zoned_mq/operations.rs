// SPDX-License-Identifier: GPL-2.0

//! The operations that a driver implements.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    gen_disk::Private,
    request::{
        end_if_abandoned,
        Pdu, //
    },
    IdleRequest,
    ReqOp, //
};
use crate::kernel_ext::{
    block::{
        plug::{
            NestedIoScope,
            Plug, //
        },
        zoned::ZoneReport,
        Status, //
    },
    module::WaitsForTasks,
    task::is_plain_task,
    workqueue::ImmediateQueue, //
};
use core::{
    iter::successors,
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

use crate::kernel_ext::compat::pin_init::raw_try_init;
use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    types::ForeignOwnable, //
};

/// The driver's data of a queue, as the operations borrow it.
pub(super) type QueueDataRef<'a, T> =
    <<T as Operations>::QueueData as ForeignOwnable>::Borrowed<'a>;

/// The context in which a request arrives in [`Operations::queue_rq`].
pub(crate) struct Submission<'a> {
    work_queue: &'a ImmediateQueue,
    /// If several requests arrive together: the plug for the I/O that the driver submits, and the
    /// number of requests.
    batch: Option<(&'a Plug, usize)>,
}

impl<'a> Submission<'a> {
    /// The disk's workqueue.
    pub(crate) fn work_queue(&self) -> &'a ImmediateQueue {
        self.work_queue
    }

    /// Whether the current task may enter a file system for the request: see [`is_plain_task`].
    pub(crate) fn is_by_plain_task(&self) -> bool {
        self.is_batch() || is_plain_task()
    }

    /// Whether the request is one of several that arrive together (`queue_rqs`). If the driver
    /// gives one of them back, the block layer queues that request again, as a single one.
    pub(crate) fn is_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// The number of requests that arrive together with this one, including it.
    pub(crate) fn nr_requests(&self) -> usize {
        self.batch.map_or(1, |(_, nr_requests)| nr_requests)
    }
}

/// The operations of a block device driver.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The module of the driver. A disk keeps it loaded.
    type OwnerModule: WaitsForTasks;

    /// The driver's data of a disk and its queue.
    type QueueData: ForeignOwnable + Send + Sync;

    /// The driver's data of a request. It is initialised once per tag, is pinned, and is reused for
    /// each I/O with this tag.
    type RequestData: Send + Sync;

    /// Initialises the data of a request.
    fn new_request_data() -> impl PinInit<Self::RequestData>;

    /// Queues a request for execution.
    ///
    /// Requests that a task submits together arrive one after the other within one
    /// [`NestedIoScope`] with a [`Plug`]. The I/O that the driver submits for them collects in this
    /// plug and leaves together, at the latest after the last request.
    ///
    /// The driver gives back a request that it can't start now, for example because it lacks
    /// memory: the block layer queues it again later. This may sleep, but must not wait for I/O:
    /// that I/O may be queued behind the request.
    fn queue_rq(
        data: QueueDataRef<'_, Self>,
        submission: &Submission<'_>,
        request: IdleRequest<Self>,
    ) -> Result<(), IdleRequest<Self>>;

    /// Called just before a request with the operation `op` ends with `status`. Called in any
    /// context.
    fn request_ends(data: QueueDataRef<'_, Self>, op: Option<ReqOp>, status: Status);

    /// Reports up to `nr` zones, starting with the zone that contains `sector`. Called in process
    /// context, by many tasks concurrently, and also before the disk is added. `work_queue` is the
    /// workqueue of the disk.
    fn report_zones(
        data: QueueDataRef<'_, Self>,
        work_queue: &ImmediateQueue,
        sector: u64,
        nr: u32,
        report: &mut ZoneReport<'_>,
    ) -> Result;
}

/// The C vtable of an [`Operations`].
pub(super) struct OperationsVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> OperationsVTable<T> {
    /// # Safety
    ///
    /// - `hctx` and `bd` must be valid, as must the request in `bd`, which the block layer hands
    ///   over to the driver.
    /// - The queue's `queuedata` must have come from `T::QueueData::into_foreign`.
    unsafe extern "C" fn queue_rq(
        hctx: *mut bindings::blk_mq_hw_ctx,
        bd: *const bindings::blk_mq_queue_data,
    ) -> bindings::blk_status_t {
        // SAFETY: Both pointers are valid by the first safety requirement.
        let (queue, rq) = unsafe { ((*hctx).queue, (*bd).rq) };
        // SAFETY: By the safety requirements. A queue that gets requests has its disk.
        match unsafe { Self::dispatch(queue, rq, None) } {
            Ok(()) => Status::OK.into_raw(),
            Err(idle) => {
                idle.give_back();
                Status::RESOURCE.into_raw()
            }
        }
    }

    /// Gives all requests of the list to the driver. The requests that the driver gives back stay
    /// in the list: the block layer passes them to `queue_rq`.
    ///
    /// # Safety
    ///
    /// - `list` must be valid and contain requests of one queue, which the block layer hands over
    ///   to the driver.
    /// - The queue's `queuedata` must have come from `T::QueueData::into_foreign`.
    unsafe extern "C" fn queue_rqs(list: *mut bindings::rq_list) {
        // SAFETY: By the first safety requirement. The list may be part of the task's plug, so this
        // copies it: no reference to it exists while other code reads the plug.
        let bindings::rq_list { head, tail } = unsafe { *list };
        // A plug has no benefit for a single request: leave it to `queue_rq`.
        if head == tail {
            return;
        }
        // SAFETY: The list is not empty, so `head` is a valid request.
        let queue = unsafe { (*head).q };
        // If the driver may not submit I/O in this task, a batch has no benefit: leave the requests
        // to `queue_rq`.
        let Some(mut scope) = NestedIoScope::enter(queue) else {
            return;
        };
        let first = NonNull::new(head);
        // SAFETY: The requests of a list are valid, and the link of the last one is null.
        let next = |rq: &NonNull<bindings::request>| unsafe {
            NonNull::new(rq.as_ref().__bindgen_anon_1.rq_next)
        };
        let nr_requests = successors(first, next).count();
        let returned = scope.with_plug(nr_requests, |plug| {
            let mut returned = bindings::rq_list::default();
            let mut rq = head;
            while !rq.is_null() {
                // SAFETY: `rq` is in the list. The link is read before the driver may use it.
                let next = unsafe { (*rq).__bindgen_anon_1.rq_next };
                // SAFETY: By the safety requirements.
                if let Err(idle) = unsafe { Self::dispatch(queue, rq, Some((plug, nr_requests))) } {
                    idle.give_back();
                    // SAFETY: The driver has given the request back, so the block layer owns it
                    // again, as it owns the previous request that was given back.
                    unsafe {
                        (*rq).__bindgen_anon_1.rq_next = null_mut();
                        match returned.tail.as_mut() {
                            Some(tail) => tail.__bindgen_anon_1.rq_next = rq,
                            None => returned.head = rq,
                        }
                    }
                    returned.tail = rq;
                }
                rq = next;
            }
            returned
        });
        // SAFETY: By the first safety requirement. No other code has used the list meanwhile: the
        // I/O that the driver submitted went to another plug.
        unsafe { list.write(returned) };
    }

    /// Gives a request to the driver.
    ///
    /// # Safety
    ///
    /// - `rq` must be a valid request of `queue`, which the block layer hands over to the driver.
    ///   `queue` must have a disk of `T`.
    /// - The queue's `queuedata` must have come from `T::QueueData::into_foreign`.
    unsafe fn dispatch(
        queue: *mut bindings::request_queue,
        rq: *mut bindings::request,
        batch: Option<(&Plug, usize)>,
    ) -> Result<(), IdleRequest<T>> {
        // SAFETY: By the second safety requirement. The disk owns the data, and keeps it for as
        // long as requests can be queued.
        let data = unsafe { T::QueueData::borrow((*queue).queuedata) };
        // SAFETY: The block layer hands the request over to us, and `init_request` has initialised
        // its pdu.
        let request = unsafe { IdleRequest::from_raw(rq) };
        // SAFETY: By the first safety requirement.
        let work_queue = unsafe { Private::<T>::of((*queue).disk).work_queue() };
        T::queue_rq(data, &Submission { work_queue, batch }, request)
    }

    /// Called when a request has timed out. This ends only the requests that were abandoned on
    /// purpose. All others get more time, because I/O below can't be cancelled.
    ///
    /// # Safety
    ///
    /// `rq` must be a started request of a tag set of `T`, and no other call for it may run at the
    /// same time.
    unsafe extern "C" fn timeout(rq: *mut bindings::request) -> bindings::blk_eh_timer_return {
        // SAFETY: A valid pointer is not null.
        let rq = unsafe { NonNull::new_unchecked(rq) };
        // SAFETY: By the safety requirement.
        if unsafe { end_if_abandoned::<T>(rq) } {
            bindings::blk_eh_timer_return_BLK_EH_DONE
        } else {
            bindings::blk_eh_timer_return_BLK_EH_RESET_TIMER
        }
    }

    /// # Safety
    ///
    /// `rq` must be a request of a tag set of `T`, with room for a `Pdu<T>` behind it.
    unsafe extern "C" fn init_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
        _numa_node: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The pdu is uninitialised memory of the right size, and does not move until
            // `exit_request`.
            unsafe { raw_try_init(Pdu::of(rq), Pdu::<T>::new())? };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `init_request` must have initialised `rq`, which must not be used any more.
    unsafe extern "C" fn exit_request(
        _set: *mut bindings::blk_mq_tag_set,
        rq: *mut bindings::request,
        _hctx_idx: c_uint,
    ) {
        // SAFETY: By the safety requirement.
        unsafe { Pdu::<T>::of(rq).drop_in_place() };
    }

    pub(super) const VTABLE: bindings::blk_mq_ops = bindings::blk_mq_ops {
        queue_rq: Some(Self::queue_rq),
        queue_rqs: Some(Self::queue_rqs),
        timeout: Some(Self::timeout),
        init_request: Some(Self::init_request),
        exit_request: Some(Self::exit_request),
        ..pin_init::zeroed()
    };
}
