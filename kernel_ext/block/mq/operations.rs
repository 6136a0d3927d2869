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
use crate::kernel_ext::block::{
    zoned::ZoneReport,
    Status, //
};
use crate::kernel_ext::compat::pin_init::raw_try_init;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    types::ForeignOwnable,
    workqueue::Queue, //
};

/// The driver's data of a queue, as it is lent to the operations.
pub(super) type QueueDataRef<'a, T> =
    <<T as Operations>::QueueData as ForeignOwnable>::Borrowed<'a>;

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

    /// Takes a request to carry out. `work_queue` is the disk's.
    ///
    /// On success the request must have been started; on failure it must not. May sleep, but must
    /// not wait for I/O: what it would wait for may be queued behind the request.
    fn queue_rq(
        data: QueueDataRef<'_, Self>,
        work_queue: &Queue,
        request: IdleRequest<Self>,
    ) -> Result<(), Status>;

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
        let (data, rq) = unsafe { ((*(*hctx).queue).queuedata, (*bd).rq) };
        // SAFETY: By the second safety requirement. The disk owns the data and keeps it until no
        // request can be queued any more.
        let data = unsafe { T::QueueData::borrow(data) };
        // SAFETY: The request is handed over to us, and its pdu was initialised by `init_request`.
        let request = unsafe { IdleRequest::from_raw(rq) };
        // SAFETY: The disk of a queue that gets requests is there, and a disk of `T`.
        let work_queue = unsafe { Private::<T>::of((*(*rq).q).disk).work_queue() };
        match T::queue_rq(data, work_queue, request) {
            Ok(()) => Status::OK.into_raw(),
            Err(status) => status.into_raw(),
        }
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
        timeout: Some(Self::timeout),
        init_request: Some(Self::init_request),
        exit_request: Some(Self::exit_request),
        ..pin_init::zeroed()
    };
}
