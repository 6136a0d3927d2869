// SPDX-License-Identifier: GPL-2.0

//! Block devices, and requests to them from within the kernel.
//!
//! The owner of the [`KBox`] around a [`Bio`] owns the bio. Submitting the bio gives it away. When
//! it has ended, [`BioData::done`] gets it back. So only the device uses its memory in between.
//!
//! C headers: [`include/linux/bio.h`](srctree/include/linux/bio.h),
//! [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h)

use crate::program::{
    Durability,
    Operation, //
};
use core::ptr::null_mut;
use kernel::{
    bindings,
    block::SECTOR_SHIFT,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

// `include/linux/blkdev.h`; `bindgen` can't evaluate its macros.
const BLK_OPEN_READ: bindings::blk_mode_t = 1 << 0;
const BLK_OPEN_WRITE: bindings::blk_mode_t = 1 << 1;

/// A block device that is open.
///
/// # Invariants
///
/// The file is one that `bdev_file_open_by_path` has returned.
#[derive(Clone)]
pub(crate) struct BlockDevice(ARef<File>);

impl BlockDevice {
    /// Opens a block device, not exclusively, by its path.
    pub(crate) fn open(path: &CStr) -> Result<Self> {
        let mode = BLK_OPEN_READ | BLK_OPEN_WRITE;
        // SAFETY: The path is a C string, and an open without a holder has no holder's operations.
        let file = unsafe {
            bindings::bdev_file_open_by_path(path.as_char_ptr(), mode, null_mut(), null_mut())
        };
        let file = core::ptr::NonNull::new(from_err_ptr(file)?).ok_or(ENODEV)?;
        // INVARIANT: It was opened just now.
        // SAFETY: The reference is ours. A file that is in no file descriptor table has no
        // `fdget_pos` users.
        Ok(Self(unsafe { ARef::from_raw(file.cast()) }))
    }

    fn as_raw(&self) -> *mut bindings::block_device {
        // SAFETY: By the type invariant it is the file of a block device, and it is open.
        unsafe { bindings::file_bdev(self.0.as_ptr()) }
    }
}

/// What its user keeps in a [`Bio`].
pub(crate) trait BioData: Send + Sized + 'static {
    /// The bio has ended. Any context.
    fn done(bio: KBox<Bio<Self>>);
}

/// One request to a block device, with memory for its data.
pub(crate) struct Bio<D: BioData> {
    raw: Opaque<bindings::bio>,
    piece: Opaque<bindings::bio_vec>,
    buffer: KVec<u8>,
    device: Option<BlockDevice>,
    pub(crate) data: D,
}

// SAFETY: Nothing of a bio belongs to a task; its C parts are used only by its owner, or by the
// block layer while it is submitted.
unsafe impl<D: BioData> Send for Bio<D> {}

/// What a bio is submitted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) operation: Operation,
    pub(crate) durability: Durability,
    pub(crate) sector: u64,
    pub(crate) sectors: u32,
}

impl<D: BioData> Bio<D> {
    /// Allocates a bio with memory for `sectors` sectors.
    pub(crate) fn new(sectors: u32, data: D) -> Result<KBox<Self>> {
        let bytes = (sectors as usize) << SECTOR_SHIFT;
        Ok(KBox::new(
            Self {
                raw: Opaque::uninit(),
                piece: Opaque::uninit(),
                buffer: KVec::from_elem(0, bytes, GFP_KERNEL)?,
                device: None,
                data,
            },
            GFP_KERNEL,
        )?)
    }

    /// The memory for data.
    pub(crate) fn buffer_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Gives the bio to the block layer; may sleep. It must have memory for the data.
    pub(crate) fn submit(mut self: KBox<Self>, device: BlockDevice, target: Target) -> Result {
        let bytes = target
            .sectors
            .checked_shl(SECTOR_SHIFT)
            .filter(|&bytes| bytes as usize <= self.buffer.len())
            .ok_or(EINVAL)?;
        let bdev = device.as_raw();
        self.device = Some(device);
        let this = KBox::into_raw(self);
        // SAFETY: The bio and all that it refers to is ours until `submit_bio`, stays where it is
        // until `end_io`, and is not touched by us in between: `this` is all that is left of it.
        // The device is kept open by `self.device`. `buffer` was allocated by `kmalloc`, is valid
        // for `bytes`, and is one piece, for which there is room.
        unsafe {
            let raw = (*this).raw.get();
            let opf = flags(target.operation, target.durability);
            bindings::bio_init(raw, bdev, (*this).piece.get(), 1, opf);
            (*raw).bi_iter.bi_sector = target.sector;
            (*raw).bi_end_io = Some(end_io::<D>);
            (*raw).bi_private = this.cast();
            if target.operation.has_data() {
                bindings::bio_add_virt_nofail(raw, (*this).buffer.as_mut_ptr().cast(), bytes);
            }
            bindings::submit_bio(raw);
        }
        Ok(())
    }

    /// How it ended. Must not be called before the bio was submitted.
    pub(crate) fn result(&self) -> Result {
        if self.device.is_none() {
            return Err(EINVAL);
        }
        // SAFETY: With a device the bio has been initialised, and it is ours.
        let status = unsafe { (*self.raw.get()).bi_status };
        // SAFETY: The function looks up a table.
        to_result(unsafe { bindings::blk_status_to_errno(status) })
    }

    /// The sector where an append has put its data.
    pub(crate) fn sector(&self) -> u64 {
        if self.device.is_none() {
            return 0;
        }
        // SAFETY: As in `result`.
        unsafe { (*self.raw.get()).bi_iter.bi_sector }
    }
}

/// The operation and its flags as the block layer has them.
fn flags(operation: Operation, durability: Durability) -> bindings::blk_opf_t {
    let (operation, flags) = match operation {
        Operation::Read => (bindings::req_op_REQ_OP_READ, 0),
        Operation::Write => (bindings::req_op_REQ_OP_WRITE, 0),
        Operation::Append => (bindings::req_op_REQ_OP_ZONE_APPEND, 0),
        // A flush is a write without data.
        Operation::Flush => (
            bindings::req_op_REQ_OP_WRITE,
            1 << bindings::req_flag_bits___REQ_PREFLUSH,
        ),
        Operation::Open => (bindings::req_op_REQ_OP_ZONE_OPEN, 0),
        Operation::Close => (bindings::req_op_REQ_OP_ZONE_CLOSE, 0),
        Operation::Finish => (bindings::req_op_REQ_OP_ZONE_FINISH, 0),
        Operation::Reset => (bindings::req_op_REQ_OP_ZONE_RESET, 0),
        Operation::ResetAll => (bindings::req_op_REQ_OP_ZONE_RESET_ALL, 0),
    };
    let durable = match durability {
        Durability::AfterFlush => 0,
        Durability::AtOnce => 1 << bindings::req_flag_bits___REQ_FUA,
    };
    operation | flags | durable
}

/// # Safety
///
/// `raw` must be a bio that [`Bio::submit`] has submitted, and that has ended.
unsafe extern "C" fn end_io<D: BioData>(raw: *mut bindings::bio) {
    // SAFETY: `submit` has put the owner there, by the safety requirement.
    let this = unsafe { (*raw).bi_private }.cast::<Bio<D>>();
    // SAFETY: The block layer does not use a bio that has ended. This call keeps the status.
    unsafe { bindings::bio_uninit(raw) };
    // SAFETY: `this` comes from `KBox::into_raw` in `submit`, and has no other owner now.
    D::done(unsafe { KBox::from_raw(this) });
}
