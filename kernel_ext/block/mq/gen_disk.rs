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
        forget_failures,
        ZoneReport, //
    },
    module::ModuleRef,
    task::BlockIoScope,
    workqueue::{
        OwnedQueue,
        Queue, //
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

/// What the block layer may ask of a zoned disk with a volatile write cache: the part of `struct
/// queue_limits` that such a driver sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// The smallest unit of I/O in bytes, both logical and physical.
    pub(crate) block_size: u32,
    /// The largest request in sectors.
    pub(crate) max_hw_sectors: u32,
    /// In how many pieces the data of a request may be.
    pub(crate) max_segments: u16,
    /// The size of a zone in sectors.
    pub(crate) zone_sectors: u32,
    /// The largest zone append in sectors; the block layer emulates appends if it is 0.
    pub(crate) max_zone_append_sectors: u32,
    /// How the data must be aligned in memory, as a mask; at least a sector.
    pub(crate) dma_alignment: u32,
    /// Whether to say that the disk turns.
    pub(crate) is_rotational: bool,
    /// How many zones may be open; 0 is no limit.
    pub(crate) max_open_zones: u32,
    /// How many zones may be active; 0 is no limit.
    pub(crate) max_active_zones: u32,
    /// Who makes FUA writes durable.
    pub(crate) fua: Fua,
    /// The largest discard in sectors; there is none if it is 0. One may go across zones.
    pub(crate) max_discard_sectors: u32,
    /// The largest write zeroes in sectors; the block layer writes zeros if it is 0.
    pub(crate) max_write_zeroes_sectors: u32,
}

/// Who makes a write durable that must be when it ends: `BLK_FEAT_FUA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fua {
    /// The driver, with the write.
    Native,
    /// The block layer, with a flush after the write.
    Emulated,
}

/// What a disk needs until nobody has it open any more. Dropped in this order.
pub(super) struct Private<T: Operations> {
    /// Its work may use the rest.
    work_queue: OwnedQueue,
    queue_data: ForeignData<T>,
    /// Whether the disk has been taken away by [`Disk::fail`].
    failed: AtomicFlag,
    _tag_set: Arc<TagSet<T>>,
    /// The code that gives back the others is the module's.
    _module: ModuleRef<crate::LocalModule>,
}

impl<T: Operations> Private<T> {
    /// The private data of a disk.
    ///
    /// # Safety
    ///
    /// `disk` must be an [`UnaddedDisk`] or a [`Disk`] of `T`, and not be freed during `'a`.
    pub(super) unsafe fn of<'a>(disk: *mut bindings::gendisk) -> &'a Self {
        // SAFETY: `UnaddedDisk::new` has put it there; it stays while the disk does.
        unsafe { KBox::<Self>::borrow((*disk).private_data) }
    }

    /// Whether the disk has been taken away by [`Disk::fail`].
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// The workqueue of the disk.
    pub(super) fn work_queue(&self) -> &Queue {
        &self.work_queue
    }
}

/// The driver's data of a disk, which its queue points to as well.
///
/// # Invariants
///
/// The pointer is from `T::QueueData::into_foreign`, and owned.
struct ForeignData<T: Operations>(*mut c_void, PhantomData<T>);

impl<T: Operations> ForeignData<T> {
    fn new(data: T::QueueData) -> Self {
        // INVARIANT: It is.
        Self(data.into_foreign(), PhantomData)
    }

    fn borrow(&self) -> QueueDataRef<'_, T> {
        // SAFETY: By the type invariant; it is given back only when this is dropped.
        unsafe { T::QueueData::borrow(self.0) }
    }
}

impl<T: Operations> Drop for ForeignData<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The disk is gone, so its queue lends it to nobody.
        drop(unsafe { T::QueueData::from_foreign(self.0) });
    }
}

/// A disk that nobody can see yet.
///
/// # Invariants
///
/// The pointer is to a disk that was allocated by `__blk_mq_alloc_disk()`, was never added, and has
/// a `KBox<Private<T>>` as its private data; all of it is owned.
pub(crate) struct UnaddedDisk<T: Operations>(NonNull<bindings::gendisk>, PhantomData<T>);

impl<T: Operations> UnaddedDisk<T> {
    /// Makes a disk of `capacity` sectors, with a workqueue for the work of its requests.
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
            failed: AtomicFlag::new(false),
            _tag_set: tag_set,
            _module: ModuleRef::get()?,
        };
        let private = KBox::new(private, GFP_KERNEL)?;
        // SAFETY: The tag set is valid and outlives the disk, which owns a reference to it.
        let disk = from_err_ptr(unsafe {
            bindings::__blk_mq_alloc_disk(
                set,
                &mut limits,
                queue_data_ptr,
                static_lock_class!().as_ptr(),
            )
        })?;
        // SAFETY: It is not an error, and a disk is not null.
        let disk = unsafe { NonNull::new_unchecked(disk) };
        // SAFETY: The disk is valid, and nobody else has it.
        unsafe {
            (*disk.as_ptr()).private_data = private.into_foreign();
            (*disk.as_ptr()).fops = &DiskVTable::<T>::VTABLE;
            // CAST: A small constant.
            (*disk.as_ptr()).flags = bindings::GENHD_FL_NO_PART as c_int;
        }
        // INVARIANT: All of it was done above.
        let this = Self(disk, PhantomData);
        // SAFETY: As above.
        let disk_name = unsafe { &mut (*disk.as_ptr()).disk_name };
        let mut writer = NullTerminatedFormatter::new(disk_name).ok_or(EINVAL)?;
        writer.write_fmt(name)?;
        // SAFETY: As above.
        unsafe { bindings::set_capacity(disk.as_ptr(), capacity) };
        Ok(this)
    }

    /// Asks the driver for a report of all zones, and checks it.
    pub(crate) fn revalidate_zones(&self) -> Result {
        // SAFETY: By the type invariant. The disk is zoned and has `report_zones`.
        to_result(unsafe { bindings::blk_revalidate_disk_zones(self.0.as_ptr()) })
    }

    /// Shows the disk to user space; it may be opened, and I/O may arrive, before this returns.
    pub(crate) fn add(self) -> Result<Disk<T>> {
        // SAFETY: By the type invariant. If it fails, the disk is as it was.
        to_result(unsafe { bindings::device_add_disk(null_mut(), self.0.as_ptr(), null_mut()) })?;
        // INVARIANT: It was added just now, and `self` is not dropped.
        Ok(Disk(ManuallyDrop::new(self).0, PhantomData))
    }
}

impl<T: Operations> Drop for UnaddedDisk<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. `free_disk` is not called for a disk that was never
        // added, so the private data remains for us, and nobody uses it once the disk is gone.
        let private = unsafe {
            let private = (*self.0.as_ptr()).private_data;
            bindings::put_disk(self.0.as_ptr());
            KBox::<Private<T>>::from_foreign(private)
        };
        drop(private);
    }
}

/// A disk that is there for all to use.
///
/// Dropping it takes it away: dirty pages are written back first, what is queued is carried out,
/// and then every request fails. What the disk owns is given back when the last one who has it open
/// closes it.
///
/// # Invariants
///
/// The pointer is to a disk that was an [`UnaddedDisk`] and was added; a reference to it is owned.
pub(crate) struct Disk<T: Operations>(NonNull<bindings::gendisk>, PhantomData<T>);

// SAFETY: A disk may be used and removed by any task.
unsafe impl<T: Operations> Send for Disk<T> {}
// SAFETY: The block layer serialises what is done with a disk.
unsafe impl<T: Operations> Sync for Disk<T> {}

impl<T: Operations> Disk<T> {
    /// Removes the disk, unless somebody holds it for themselves alone, as a mount does: then it
    /// fails with [`EBUSY`], gives the disk back and has changed nothing. Those who just have it
    /// open are not in the way.
    pub(crate) fn remove(self) -> Result<(), (Self, Error)> {
        let holder = self.0.as_ptr().cast();
        // SAFETY: By the type invariant; an added disk has a block device for the whole of it. The
        // disk's address serves as the holder, of which nothing is wanted but that nobody else
        // uses it.
        let claim =
            unsafe { bindings::bd_prepare_to_claim(self.part0(), holder, core::ptr::null()) };
        if let Err(err) = to_result(claim) {
            return Err((self, err));
        }
        let disk = ManuallyDrop::new(self);
        disk.delete();
        // SAFETY: As in `drop`, which does not run. The claim is given back in between: whoever
        // waits for it, to mount the disk, finds it gone.
        unsafe {
            bindings::bd_abort_claiming(disk.part0(), holder);
            bindings::put_disk(disk.0.as_ptr());
        }
        Ok(())
    }

    /// Has the block layer look at all zones again, after something that is not the end of a
    /// request has changed their condition; may sleep.
    ///
    /// What it remembers of a zone it takes from a report, and then only from the requests that
    /// end. So that nothing falls in between, requests wait until all is known: those under way
    /// are waited for. The caller must hold nothing that they need. One revalidation is done at a
    /// time, since one that fails frees what the block layer knows of the zones.
    pub(crate) fn revalidate_zones(&mut self) -> Result {
        // No allocation may wait for a request to this very disk meanwhile.
        let _scope = BlockIoScope::enter();
        // SAFETY: By the type invariant; a disk has a queue.
        let queue = unsafe { (*self.0.as_ptr()).queue };
        // SAFETY: The queue is the disk's, and unfrozen below. The variants without an owner are
        // for who takes the limits' lock of the queue while it is frozen, as the function below
        // does: others take it first. They don't wait for us: nothing is under way when they do.
        unsafe {
            bindings::blk_freeze_queue_start_non_owner(queue);
            bindings::blk_mq_freeze_queue_wait(queue);
        }
        // SAFETY: By the type invariant.
        unsafe { forget_failures(self.0.as_ptr()) };
        // SAFETY: By the type invariant. The disk is zoned and has `report_zones`.
        let ret = unsafe { bindings::blk_revalidate_disk_zones(self.0.as_ptr()) };
        // SAFETY: It was frozen above.
        unsafe { bindings::blk_mq_unfreeze_queue_non_owner(queue) };
        to_result(ret)
    }

    /// Takes the disk away at once, as if it had no power any more: whoever has it mounted or open
    /// finds it dead. Nothing is written back, requests fail that are queued from now on, and those
    /// under way end with an error, whatever becomes of them. Waits for their end.
    pub(crate) fn fail(self) {
        // SAFETY: By the type invariant.
        unsafe { Private::<T>::of(self.0.as_ptr()) }
            .failed
            .store(true, Relaxed);
        // SAFETY: By the type invariant.
        unsafe { bindings::blk_mark_disk_dead(self.0.as_ptr()) };
    }

    /// Takes the disk away. Nothing is under way when this returns: neither a request, nor what
    /// the workqueue has to do when one has ended.
    fn delete(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::del_gendisk(self.0.as_ptr()) };
        // SAFETY: By the type invariant.
        let private = unsafe { Private::<T>::of(self.0.as_ptr()) };
        // No request can add to it any more.
        private.work_queue.flush();
    }

    fn part0(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant.
        unsafe { (*self.0.as_ptr()).part0 }
    }
}

impl<T: Operations> Drop for Disk<T> {
    fn drop(&mut self) {
        self.delete();
        // SAFETY: By the type invariant. The reference is ours to give back; `free_disk` does the
        // rest.
        unsafe { bindings::put_disk(self.0.as_ptr()) };
    }
}

/// The C vtable of a disk.
struct DiskVTable<T: Operations>(PhantomData<T>);

impl<T: Operations> DiskVTable<T> {
    /// # Safety
    ///
    /// `disk` must be an [`UnaddedDisk`] or [`Disk`] of `T`, and `args` valid for the call.
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
    /// `disk` must have been a [`Disk`] of `T` that nobody uses any more.
    unsafe extern "C" fn free_disk(disk: *mut bindings::gendisk) {
        // SAFETY: The private data is a `Private<T>`, and this is the last time that it is used.
        drop(unsafe { KBox::<Private<T>>::from_foreign((*disk).private_data) });
    }

    const VTABLE: bindings::block_device_operations = bindings::block_device_operations {
        owner: this_module::<crate::LocalModule>().as_ptr(),
        report_zones: Some(Self::report_zones),
        free_disk: Some(Self::free_disk),
        ..pin_init::zeroed()
    };
}
