// SPDX-License-Identifier: GPL-2.0

//! What a driver implements.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    gen_disk::Private,
    request::{
        end_if_lost,
        Pdu, //
    },
    Command,
    IdleRequest, //
};
use crate::kernel_ext::{
    block::{
        zoned::ZoneReport,
        Status, //
    },
    task::{
        is_plain_task,
        NestedIoScope,
        Plug, //
    },
    workqueue::Queue, //
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
use pin_init::stack_pin_init;

/// The driver's data of a queue, as it is lent to the operations.
pub(super) type QueueDataRef<'a, T> =
    <<T as Operations>::QueueData as ForeignOwnable>::Borrowed<'a>;

/// How a request gets to [`Operations::queue_rq`].
pub(crate) struct Submission<'a> {
    work_queue: &'a Queue,
    /// What is submitted below waits here, if requests have come together.
    batch: Option<&'a Plug<'a>>,
}

impl<'a> Submission<'a> {
    /// The disk's workqueue.
    pub(crate) fn work_queue(&self) -> &'a Queue {
        self.work_queue
    }

    /// Whether the current task may enter a file system for the request: see [`is_plain_task`].
    pub(crate) fn is_by_plain_task(&self) -> bool {
        self.is_batch() || is_plain_task()
    }

    /// Whether the request is one of several that have come together. One of them that is not taken
    /// comes again, by itself.
    pub(crate) fn is_batch(&self) -> bool {
        self.batch.is_some()
    }
}

/// The operations of a block device driver.
#[vtable]
pub(crate) trait Operations: Sized + 'static {
    /// The driver's data of a disk and its queue.
    type QueueData: ForeignOwnable + Send + Sync;

    /// The driver's data of a request. It is made once, stays where it is, and is used for one I/O
    /// after the other.
    type RequestData: Send + Sync;

    /// Initialises the data of a request.
    fn new_request_data() -> impl PinInit<Self::RequestData>;

    /// Takes a request to carry out.
    ///
    /// Requests that a task submits together come one after the other within a [`NestedIoScope`]
    /// which has a [`Plug`]: what they submit below leaves together as well, at the latest after
    /// the last of them.
    ///
    /// A request that can't be started now, for a lack of memory, say, is given back: it comes
    /// again. May sleep, but must not wait for I/O: what it would wait for may be queued behind the
    /// request.
    fn queue_rq(
        data: QueueDataRef<'_, Self>,
        submission: &Submission<'_>,
        request: IdleRequest<Self>,
    ) -> Result<(), IdleRequest<Self>>;

    /// Takes note of a request that is about to end: of a `command`, with `status`. Any context.
    fn request_ends(data: QueueDataRef<'_, Self>, command: Option<Command>, status: Status);

    /// Reports up to `nr` zones, the first being the one that contains `sector`. Called in process
    /// context, by many tasks at once, and before the disk is added. `work_queue` is the disk's.
    fn report_zones(
        data: QueueDataRef<'_, Self>,
        work_queue: &Queue,
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
        // SAFETY: By the safety requirements. The disk of a queue that gets requests is there.
        match unsafe { Self::take(queue, rq, None) } {
            Ok(()) => Status::OK.into_raw(),
            Err(idle) => {
                idle.give_back();
                Status::RESOURCE.into_raw()
            }
        }
    }

    /// Leaves in the list what the driver has not taken: it is given to `queue_rq`.
    ///
    /// # Safety
    ///
    /// - `list` must be valid, and have requests of one queue in it, which the block layer hands
    ///   over to the driver.
    /// - The queue's `queuedata` must have come from `T::QueueData::into_foreign`.
    unsafe extern "C" fn queue_rqs(list: *mut bindings::rq_list) {
        // SAFETY: By the first safety requirement. It may be a part of the task's plug, so that
        // there is no reference to it while others look at that.
        let bindings::rq_list { head, tail } = unsafe { *list };
        // A single one may as well come by itself, without a plug.
        if head == tail {
            return;
        }
        // SAFETY: The list has a request.
        let queue = unsafe { (*head).q };
        // Where nothing may be submitted at once they may as well come one by one.
        let Some(mut scope) = NestedIoScope::enter(queue) else {
            return;
        };
        let first = NonNull::new(head);
        // SAFETY: The requests of a list are valid, and the link of the last one is null.
        let next = |rq: &NonNull<bindings::request>| unsafe {
            NonNull::new(rq.as_ref().__bindgen_anon_1.rq_next)
        };
        let nr_requests = successors(first, next).count();
        stack_pin_init!(let plug = Plug::start(&mut scope, nr_requests));
        let mut left = bindings::rq_list::default();
        let mut rq = head;
        while !rq.is_null() {
            // SAFETY: `rq` is in the list. The link is read before the driver may use it.
            let next = unsafe { (*rq).__bindgen_anon_1.rq_next };
            // SAFETY: By the safety requirements.
            if let Err(idle) = unsafe { Self::take(queue, rq, Some(&plug)) } {
                idle.give_back();
                // SAFETY: The driver has given it back, so that it is the block layer's again, as
                // is the one before it that was not taken.
                unsafe {
                    (*rq).__bindgen_anon_1.rq_next = null_mut();
                    match left.tail.as_mut() {
                        Some(tail) => tail.__bindgen_anon_1.rq_next = rq,
                        None => left.head = rq,
                    }
                }
                left.tail = rq;
            }
            rq = next;
        }
        // SAFETY: By the first safety requirement. Nobody else has looked at the list meanwhile:
        // what the driver has submitted went to the other plug.
        unsafe { list.write(left) };
    }

    /// Gives a request to the driver.
    ///
    /// # Safety
    ///
    /// - `rq` must be a valid request of `queue`, which the block layer hands over to the driver,
    ///   with the disk of `T` that the queue belongs to.
    /// - The queue's `queuedata` must have come from `T::QueueData::into_foreign`.
    unsafe fn take(
        queue: *mut bindings::request_queue,
        rq: *mut bindings::request,
        batch: Option<&Plug<'_>>,
    ) -> Result<(), IdleRequest<T>> {
        // SAFETY: By the second safety requirement. The disk owns the data and keeps it until no
        // request can be queued any more.
        let data = unsafe { T::QueueData::borrow((*queue).queuedata) };
        // SAFETY: The request is handed over to us, and its pdu was initialised by `init_request`.
        let request = unsafe { IdleRequest::from_raw(rq) };
        // SAFETY: By the first safety requirement.
        let work_queue = unsafe { Private::<T>::of((*queue).disk).work_queue() };
        T::queue_rq(data, &Submission { work_queue, batch }, request)
    }

    /// The time of a request is over. A file operation can't be called off, so one that is under
    /// way gets more time; what is ended here are requests whose end was lost on purpose.
    ///
    /// # Safety
    ///
    /// `rq` must be a started request of a tag set of `T`, and no other call for it be under way.
    unsafe extern "C" fn timeout(rq: *mut bindings::request) -> bindings::blk_eh_timer_return {
        // SAFETY: A valid pointer is not null.
        let rq = unsafe { NonNull::new_unchecked(rq) };
        // SAFETY: By the safety requirement.
        if unsafe { end_if_lost::<T>(rq) } {
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
            // SAFETY: The pdu is uninitialised memory of the right size, and stays where it is
            // until `exit_request`.
            unsafe { raw_try_init(Pdu::of(rq), Pdu::<T>::new())? };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `rq` must have been initialised by `init_request`, and not be used any more.
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
