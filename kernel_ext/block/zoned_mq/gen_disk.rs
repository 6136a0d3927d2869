// SPDX-License-Identifier: GPL-2.0

//! Disks.
//!
//! C headers: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h),
//! [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

use super::{
    operations::QueueDataRef,
    Operations,
    TagSet, //
};
use crate::kernel_ext::{
    block::zoned::{
        clear_failed_conditions,
        ZoneReport, //
    },
    module::ModuleRef,
    task::BlockIoScope,
    workqueue::{
        ImmediateQueue,
        OwnedQueue, //
    },
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::{
        null_mut,
        NonNull, //
    },
};

use crate::kernel_ext::compat::module::this_module;
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    fmt::{
        self,
        Write, //
    },
    prelude::*,
    static_lock_class,
    str::NullTerminatedFormatter,
    sync::{
        atomic::{
            AtomicFlag,
            Relaxed, //
        },
        Arc, //
    },
    types::ForeignOwnable, //
};

// `include/linux/blkdev.h`; `bindgen` can't evaluate its macros.
const BLK_FEAT_WRITE_CACHE: bindings::blk_features_t = 1 << 0;
const BLK_FEAT_FUA: bindings::blk_features_t = 1 << 1;
const BLK_FEAT_ROTATIONAL: bindings::blk_features_t = 1 << 2;
const BLK_FEAT_ZONED: bindings::blk_features_t = 1 << 10;

/// The limits of a zoned disk with a volatile write cache: the part of `struct queue_limits` that a
/// driver of zoned disks sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// The smallest unit of I/O in bytes, both logical and physical.
    pub(crate) block_size: u32,
    /// The largest request in sectors.
    pub(crate) max_hw_sectors: u32,
    /// The maximum number of segments of a request.
    pub(crate) max_segments: u16,
    /// The size of a zone in sectors.
    pub(crate) zone_sectors: u32,
    /// The largest zone append in sectors; the block layer emulates appends if it is 0.
    pub(crate) max_zone_append_sectors: u32,
    /// The alignment of the data in memory, as a mask; at least a sector.
    pub(crate) dma_alignment: u32,
    /// Report the disk as rotational.
    pub(crate) is_rotational: bool,
    /// The maximum number of open zones; 0 is no limit.
    pub(crate) max_open_zones: u32,
    /// The maximum number of active zones; 0 is no limit.
    pub(crate) max_active_zones: u32,
    /// The way that FUA writes become durable.
    pub(crate) fua: Fua,
    /// The largest discard in sectors; 0 if the disk has no discard. A discard may cross zone
    /// boundaries.
    pub(crate) max_discard_sectors: u32,
    /// The largest write zeroes in sectors; if it is 0, the block layer writes zeros instead.
    pub(crate) max_write_zeroes_sectors: u32,
}

/// The way that a FUA write becomes durable before it ends: `BLK_FEAT_FUA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fua {
    /// The driver makes it durable as part of the write.
    Native,
    /// The block layer sends a flush after the write.
    Emulated,
}

/// The private data of a disk. It lives until the last opener has closed the disk. The fields are
/// dropped in this order.
pub(super) struct Private<T: Operations> {
    /// Dropped first: its work may use the other fields.
    work_queue: OwnedQueue,
    queue_data: ForeignData<T>,
    /// Whether [`Disk::mark_dead`] has removed the disk.
    dead: AtomicFlag,
    _tag_set: Arc<TagSet<T>>,
    /// Dropped last: the code that drops the other fields is in the module.
    _module: ModuleRef<T::OwnerModule>,
}

impl<T: Operations> Private<T> {
    /// The private data of a disk.
    ///
    /// # Safety
    ///
    /// `disk` must be an [`UnaddedDisk`] or a [`Disk`] of `T`, and must not be freed during `'a`.
    pub(super) unsafe fn of<'a>(disk: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: `UnaddedDisk::new` has set the private data, which stays valid for as long as the
        // disk.
        unsafe { KBox::<Self>::borrow((*disk).private_data) }
    }

    /// Whether [`Disk::mark_dead`] has removed the disk.
    pub(super) fn is_dead(&self) -> bool {
        // ORDERING: `Relaxed`. A request that ends at the same time may still succeed; the removal
        // of the disk then waits for it.
        self.dead.load(Relaxed)
    }

    /// The workqueue of the disk.
    pub(super) fn work_queue(&self) -> &ImmediateQueue {
        &self.work_queue
    }
}

/// The driver's data of a disk. The `queuedata` of its queue points to it, too.
///
/// # Invariants
///
/// The pointer is from `T::QueueData::into_foreign`, and `self` owns it.
struct ForeignData<T: Operations>(*mut c_void, PhantomData<T>);

impl<T: Operations> ForeignData<T> {
    fn new(data: T::QueueData) -> Self {
        // INVARIANT: The pointer is from `into_foreign`, and `self` owns it.
        Self(data.into_foreign(), PhantomData)
    }

    fn borrow(&self) -> QueueDataRef<'_, T> {
        // SAFETY: By the type invariant the pointer is from `into_foreign`. `from_foreign` is
        // called only when `self` is dropped.
        unsafe { T::QueueData::borrow(self.0) }
    }
}

impl<T: Operations> Drop for ForeignData<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the pointer is from `into_foreign`, and we own it. The disk
        // is gone, so its queue does not lend the data any more.
        drop(unsafe { T::QueueData::from_foreign(self.0) });
    }
}

/// A disk that is not visible to user space yet.
///
/// # Invariants
///
/// The pointer is to a disk that was allocated by `__blk_mq_alloc_disk()`, was never added, and has
/// a `KBox<Private<T>>` as its private data. `self` owns the disk and this data.
pub(crate) struct UnaddedDisk<T: Operations>(NonNull<bindings::gendisk>, PhantomData<T>);

impl<T: Operations> UnaddedDisk<T> {
    /// Allocates a disk of `capacity` sectors. `work_queue` runs the work of its requests.
    pub(crate) fn new(
        name: fmt::Arguments<'_>,
        tag_set: Arc<TagSet<T>>,
        limits: &QueueLimits,
        capacity: u64,
        work_queue: OwnedQueue,
        data: T::QueueData,
    ) -> Result<Self> {
        let fua = match limits.fua {
            Fua::Native => BLK_FEAT_FUA,
            Fua::Emulated => 0,
        };
        let rotational = if limits.is_rotational {
            BLK_FEAT_ROTATIONAL
        } else {
            0
        };
        let mut limits = bindings::queue_limits {
            features: BLK_FEAT_ZONED | BLK_FEAT_WRITE_CACHE | fua | rotational,
            logical_block_size: limits.block_size,
            physical_block_size: limits.block_size,
            max_hw_sectors: limits.max_hw_sectors,
            max_segments: limits.max_segments,
            chunk_sectors: limits.zone_sectors,
            max_hw_zone_append_sectors: limits.max_zone_append_sectors,
            dma_alignment: limits.dma_alignment,
            max_open_zones: limits.max_open_zones,
            max_active_zones: limits.max_active_zones,
            max_hw_discard_sectors: limits.max_discard_sectors,
            max_user_discard_sectors: u32::MAX,
            max_write_zeroes_sectors: limits.max_write_zeroes_sectors,
            ..pin_init::zeroed()
        };
        let set = tag_set.as_ptr();
        let queue_data = ForeignData::<T>::new(data);
        let queue_data_ptr = queue_data.0;
        let private = Private {
            work_queue,
            queue_data,
            dead: AtomicFlag::new(false),
            _tag_set: tag_set,
            _module: ModuleRef::get()?,
        };
        let private = KBox::new(private, GFP_KERNEL)?;
        // SAFETY: The tag set is valid. It outlives the disk, whose private data has a reference to
        // it.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                set,
                &mut limits,
                queue_data_ptr,
                static_lock_class!().as_ptr(),
            )
        })?;
        // SAFETY: The pointer is not an error pointer, and a disk is not null.
        let disk = unsafe { NonNull::new_unchecked(disk) };
        // SAFETY: The disk is valid, and no other code uses it yet.
        unsafe {
            (*disk.as_ptr()).private_data = private.into_foreign();
            (*disk.as_ptr()).fops = &DiskVTable::<T>::VTABLE;
            // CAST: A small constant.
            (*disk.as_ptr()).flags = bindings::GENHD_FL_NO_PART as c_int;
        }
        // INVARIANT: The code above has allocated the disk and set its private data.
        let this = Self(disk, PhantomData);
        // SAFETY: The disk is valid, and no other code uses it yet.
        let disk_name = unsafe { &mut (*disk.as_ptr()).disk_name };
        let mut writer = NullTerminatedFormatter::new(disk_name).ok_or(EINVAL)?;
        writer.write_fmt(name)?;
        // SAFETY: The disk is valid, and no other code uses it yet.
        unsafe { bindings::set_capacity(disk.as_ptr(), capacity) };
        Ok(this)
    }

    /// Makes the block layer request a report of all zones from the driver, and check it.
    pub(crate) fn revalidate_zones(&self) -> Result {
        // SAFETY: By the type invariant the disk is valid. It is zoned and has `report_zones`.
        to_result(unsafe { bindings::blk_revalidate_disk_zones(self.0.as_ptr()) })
    }

    /// Makes the disk visible to user space. Programs may open it, and I/O may arrive, before this
    /// returns.
    pub(crate) fn add(self) -> Result<Disk<T>> {
        // SAFETY: By the type invariant the disk is valid and was not added yet. A failure leaves
        // it as it was.
        to_result(unsafe { bindings::device_add_disk(null_mut(), self.0.as_ptr(), null_mut()) })?;
        // INVARIANT: The disk was added above. `self` is not dropped, so its reference moves to the
        // result.
        Ok(Disk(ManuallyDrop::new(self).0, PhantomData))
    }
}

impl<T: Operations> Drop for UnaddedDisk<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own the disk and its private data. The block layer calls
        // `free_disk` only for a disk that was added, so we must free this data. No code uses the
        // data after the disk is gone.
        let private = unsafe {
            let private = (*self.0.as_ptr()).private_data;
            bindings::put_disk(self.0.as_ptr());
            KBox::<Private<T>>::from_foreign(private)
        };
        drop(private);
    }
}

/// A disk that is visible to user space.
///
/// Dropping it removes the disk. The block layer first writes back dirty pages and executes the
/// queued requests; after that every request fails. The private data is freed when the last opener
/// closes the disk.
///
/// # Invariants
///
/// The pointer is to a disk that was an [`UnaddedDisk`] and was added. `self` owns a reference to
/// it.
pub(crate) struct Disk<T: Operations>(NonNull<bindings::gendisk>, PhantomData<T>);

// SAFETY: Any task may use and remove a disk.
unsafe impl<T: Operations> Send for Disk<T> {}
// SAFETY: The block layer serialises the operations on a disk.
unsafe impl<T: Operations> Sync for Disk<T> {}

impl<T: Operations> Disk<T> {
    /// Removes the disk, unless it has an exclusive holder, for example a mount. In that case this
    /// fails with [`EBUSY`], returns the disk and changes nothing. An opener without exclusive
    /// access does not prevent the removal.
    pub(crate) fn remove(self) -> Result<(), (Self, Error)> {
        let holder = self.0.as_ptr().cast();
        // SAFETY: By the type invariant the disk was added, so it has a block device for the whole
        // disk. A holder is any unique address; the address of the disk is unique.
        let claim =
            unsafe { bindings::bd_prepare_to_claim(self.part0(), holder, core::ptr::null()) };
        if let Err(err) = to_result(claim) {
            return Err((self, err));
        }
        let disk = ManuallyDrop::new(self);
        disk.delete();
        // SAFETY: As in `drop`, which does not run. `part0` is valid until `put_disk`, and the
        // claim was taken above. A task that waits for the claim, for example to mount the disk,
        // then finds the disk removed.
        unsafe {
            bindings::bd_abort_claiming(disk.part0(), holder);
            bindings::put_disk(disk.0.as_ptr());
        }
        Ok(())
    }

    /// Makes the block layer read the state of all zones again, after a change of their condition
    /// that no request has made; may sleep.
    ///
    /// The block layer takes the state of a zone from a report, and after that only from the
    /// requests that end. A request that ended between the report and the end of the revalidation
    /// would be missed. So this freezes the queue: it waits for the requests in flight, and new
    /// requests wait. The caller must hold nothing that these requests need. `&mut self` allows one
    /// revalidation at a time, because a revalidation that fails frees the zone state of the block
    /// layer.
    pub(crate) fn revalidate_zones(&mut self) -> Result {
        // While the queue is frozen, no allocation may wait for a request to this disk.
        let _scope = BlockIoScope::enter();
        // SAFETY: By the type invariant the disk is valid, and it has a queue.
        let queue = unsafe { (*self.0.as_ptr()).queue };
        // SAFETY: The queue belongs to the disk, and is unfrozen below.
        // `blk_revalidate_disk_zones()` takes the limits lock of the queue while the queue is
        // frozen; other code takes this lock first and freezes then. Lockdep would report this
        // order; it does not track the `non_owner` variants. The order can't deadlock: the other
        // code does not wait for our freeze, but only for requests in flight, and there are none by
        // then.
        unsafe {
            bindings::blk_freeze_queue_start_non_owner(queue);
            bindings::blk_mq_freeze_queue_wait(queue);
        }
        // SAFETY: By the type invariant the disk is valid.
        unsafe { clear_failed_conditions(self.0.as_ptr()) };
        // SAFETY: By the type invariant the disk is valid. It is zoned and has `report_zones`.
        let ret = unsafe { bindings::blk_revalidate_disk_zones(self.0.as_ptr()) };
        // SAFETY: The queue was frozen above.
        unsafe { bindings::blk_mq_unfreeze_queue_non_owner(queue) };
        to_result(ret)
    }

    /// Removes the disk at once, as a power loss does. Mounts and openers of the disk find it dead.
    /// Dirty pages are not written back. New requests fail. Requests in flight end with an error,
    /// even if they succeed. Waits for the end of the requests in flight.
    pub(crate) fn mark_dead(self) {
        // ORDERING: `Relaxed`: see `is_dead`.
        // SAFETY: By the type invariant the disk is valid.
        unsafe { Private::<T>::of(self.0.as_ptr()) }
            .dead
            .store(true, Relaxed);
        // SAFETY: By the type invariant the disk is valid.
        unsafe { bindings::blk_mark_disk_dead(self.0.as_ptr()) };
    }

    /// Removes the disk. When this returns, no request is in flight, and the workqueue has finished
    /// the work that follows the end of a request.
    fn delete(&self) {
        // SAFETY: By the type invariant the disk is valid.
        unsafe { bindings::del_gendisk(self.0.as_ptr()) };
        // SAFETY: By the type invariant the disk is valid.
        let private = unsafe { Private::<T>::of(self.0.as_ptr()) };
        // No request is left that could queue more work.
        private.work_queue.flush();
    }

    fn part0(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant the disk is valid.
        unsafe { (*self.0.as_ptr()).part0 }
    }
}

impl<T: Operations> Drop for Disk<T> {
    fn drop(&mut self) {
        self.delete();
        // SAFETY: By the type invariant we own a reference, which this drops. `free_disk` frees the
        // private data.
        unsafe { bindings::put_disk(self.0.as_ptr()) };
    }
}

/// The C vtable of a disk.
struct DiskVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> DiskVTable<T> {
    /// # Safety
    ///
    /// `disk` must be an [`UnaddedDisk`] or [`Disk`] of `T`, and `args` must be valid for the call.
    unsafe extern "C" fn report_zones(
        disk: *mut bindings::gendisk,
        sector: bindings::sector_t,
        nr_zones: c_uint,
        args: *mut bindings::blk_report_zones_args,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the safety requirement.
            let private = unsafe { Private::<T>::of(disk) };
            // SAFETY: By the safety requirement.
            let mut report = unsafe { ZoneReport::from_raw(disk, nr_zones, args) };
            T::report_zones(
                private.queue_data.borrow(),
                private.work_queue(),
                sector,
                nr_zones,
                &mut report,
            )?;
            Ok(c_int::try_from(report.reported())?)
        })
    }

    /// # Safety
    ///
    /// `disk` must have been a [`Disk`] of `T` that no code uses any more.
    unsafe extern "C" fn free_disk(disk: *mut bindings::gendisk) {
        // SAFETY: The private data is a `KBox<Private<T>>`, and no code uses it after this.
        drop(unsafe { KBox::<Private<T>>::from_foreign((*disk).private_data) });
    }

    const VTABLE: bindings::block_device_operations = bindings::block_device_operations {
        owner: this_module::<T::OwnerModule>().as_ptr(),
        report_zones: Some(Self::report_zones),
        free_disk: Some(Self::free_disk),
        ..pin_init::zeroed()
    };
}
