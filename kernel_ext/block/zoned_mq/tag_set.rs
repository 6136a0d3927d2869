// SPDX-License-Identifier: GPL-2.0

//! Tag sets: the requests of one or more queues.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    operations::OperationsVTable,
    request::Pdu,
    Operations, //
};
use core::{
    marker::PhantomData,
    num::NonZeroU32, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// A set of tags with their requests. The queues of a disk take their requests from it.
///
/// # Invariants
///
/// `inner` is a tag set that `blk_mq_alloc_tag_set()` has allocated.
#[pin_data(PinnedDrop)]
pub(crate) struct TagSet<T: Operations> {
    #[pin]
    inner: Opaque<bindings::blk_mq_tag_set>,
    _operations: PhantomData<T>,
}

// SAFETY: Any task may use and free a tag set.
unsafe impl<T: Operations> Send for TagSet<T> {}
// SAFETY: The block layer serialises its accesses to a tag set.
unsafe impl<T: Operations> Sync for TagSet<T> {}

impl<T: Operations> TagSet<T> {
    /// Allocates `nr_hw_queues` queues of `queue_depth` requests each.
    ///
    /// [`Operations::queue_rq`] may sleep (`BLK_MQ_F_BLOCKING`). By default the disk has no
    /// scheduler: there are no seeks to avoid, and the block layer keeps writes to a zone in order
    /// without a scheduler.
    pub(crate) fn new(nr_hw_queues: NonZeroU32, queue_depth: NonZeroU32) -> Result<Arc<Self>> {
        let cmd_size = u32::try_from(size_of::<Pdu<T>>())?;
        Arc::pin_init(
            try_pin_init!(Self {
                inner <- Opaque::try_ffi_init(|slot: *mut bindings::blk_mq_tag_set| {
                    let set = bindings::blk_mq_tag_set {
                        ops: &OperationsVTable::<T>::VTABLE,
                        nr_hw_queues: nr_hw_queues.get(),
                        queue_depth: queue_depth.get(),
                        numa_node: bindings::NUMA_NO_NODE,
                        cmd_size,
                        nr_maps: 1,
                        flags: bindings::BLK_MQ_F_BLOCKING
                            | bindings::BLK_MQ_F_NO_SCHED_BY_DEFAULT,
                        ..pin_init::zeroed()
                    };
                    // SAFETY: `slot` is valid for writes, and pinned.
                    unsafe { slot.write(set) };
                    // SAFETY: `slot` was initialised above, as the function requires.
                    to_result(unsafe { bindings::blk_mq_alloc_tag_set(slot) })
                }),
                _operations: PhantomData,
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::blk_mq_tag_set {
        self.inner.get()
    }
}

#[pinned_drop]
impl<T: Operations> PinnedDrop for TagSet<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the tag set was allocated. Each disk that uses it holds a
        // reference to `self`, so no disk uses it now.
        unsafe { bindings::blk_mq_free_tag_set(self.inner.get()) };
    }
}
