// SPDX-License-Identifier: GPL-2.0

//! The undo log of a conventional zone: the data that the zone had at the last flush.
//!
//! A power failure undoes the writes since the last flush. For a sequential zone this means to cut
//! the file; for a conventional zone the old data is needed. With `volatile_cache` each
//! conventional zone has a second file, and a set of the blocks whose old data is in it:
//!
//! ```text
//!   write, discard,     copy the old data of each block that is not in the set to the same
//!   write zeroes        offset of the second file; add the block; then change the zone's file
//!   flush               sync the zone's file; empty the set and the second file
//!   power failure       copy the blocks of the set, or some of them, back to the zone's file
//! ```
//!
//! On a file system with reflinks the copy is a reflink. If the old data can't be saved, because of
//! missing space or memory, the write fails and changes nothing.
//!
//! The second file has no name and disappears with the device. It serves simulated power failures
//! only: after a crash of the machine, the zone's file has what the file system below kept of it.
//! So the copy need not be durable before the write.
//!
//! As in any drive, a write during a flush may become durable with the flush. So a power failure
//! does not undo a write whose copy was made before the flush and which ended after it.
//!
//! One lock per zone protects all this, including the I/O. The first write to a block since the
//! last flush costs a copy of the block, and its space until the next flush. Every write to the
//! zone costs a trip through a work item, where it waits for other copies and for a flush of the
//! zone.

use crate::{
    device::block_set::{
        first_run,
        words,
        BlockSet, //
    },
    fault::power_loss::PowerLoss, //
};
use core::ops::Range;

use crate::kernel_ext::fs::{
    FileExt,
    OpenFile, //
};

use kernel::{
    fs::File,
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// The undo log of a conventional zone.
#[pin_data]
pub(crate) struct UndoLog {
    /// The zone's number on the device.
    zone: u32,
    /// The number of blocks of the zone.
    nr_blocks: u64,
    /// The unit of copies in bytes; a power of two.
    block_size: u32,
    /// [`None`] if nothing was saved yet. Locked during copies and flushes of the zone.
    #[pin]
    saved: Mutex<Option<Saved>>,
}

/// Old data.
struct Saved {
    /// The file with the old data: each block at the offset that it has in the zone's file.
    file: OpenFile,
    /// The blocks whose old data was saved.
    blocks: BlockSet<KVVec<u64>>,
}

impl UndoLog {
    /// Makes the log of zone number `zone`, which has `len` bytes in blocks of `block_size` bytes.
    pub(crate) fn new(zone: u32, len: u64, block_size: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            zone,
            nr_blocks: len >> block_size.trailing_zeros(),
            block_size,
            saved <- new_mutex!(None, "zloop_undo"),
        })
    }

    /// Saves the data of the zone's file in `bytes`, a range of the zone, before a change; may
    /// sleep. Blocks that were saved since the last flush are skipped. `make` makes the file for
    /// the data.
    ///
    /// # Errors
    ///
    /// ENOMEM; EIO if the zone's file is too short; the file system's errors. The caller must not
    /// change the zone's file then.
    pub(crate) fn save(
        &self,
        zone_file: &File,
        bytes: Range<u64>,
        make: impl FnOnce() -> Result<OpenFile>,
    ) -> Result {
        let mut blocks = self.blocks_of(&bytes);
        let mut guard = self.saved.lock();
        let saved = match &mut *guard {
            Some(saved) => saved,
            none => {
                let nr_words = usize::try_from(words(self.nr_blocks))?;
                let bits = KVVec::from_elem(0, nr_words, GFP_KERNEL)?;
                none.insert(Saved {
                    file: make()?,
                    blocks: BlockSet::new(bits),
                })
            }
        };
        // Data that was saved before is older, and stays.
        while let Some(run) = first_run(blocks.clone(), |block| !saved.blocks.contains(block)) {
            self.copy(zone_file, &saved.file, &run)?;
            blocks.start = run.end;
            saved.blocks.insert(run);
        }
        Ok(())
    }

    /// Makes the zone's file durable by `sync`, and discards the old data; may sleep.
    ///
    /// # Errors
    ///
    /// That of `sync`. The old data stays then.
    pub(crate) fn flush(&self, sync: impl FnOnce() -> Result) -> Result {
        let mut saved = self.saved.lock();
        sync()?;
        if let Some(saved) = &mut *saved {
            if !saved.blocks.is_empty() {
                saved.blocks.clear();
                // A failure wastes space only.
                let _ = saved.file.truncate(0);
            }
        }
        Ok(())
    }

    /// Restores the old data of the blocks that `loss` selects; may sleep. No request to the zone
    /// may be under way.
    ///
    /// # Errors
    ///
    /// The file system's. Some blocks have the new data then.
    pub(crate) fn undo(&self, zone_file: &File, loss: PowerLoss) -> Result {
        let saved = self.saved.lock();
        let Some(Saved { file, blocks }) = &*saved else {
            return Ok(());
        };
        // If the writeback of old data has failed, the page cache has dropped it.
        file.sync()?;
        let is_lost = |block| blocks.contains(block) && !loss.leaves_block(self.zone, block);
        let mut rest = 0..self.nr_blocks;
        while let Some(run) = first_run(rest.clone(), is_lost) {
            self.copy(file, zone_file, &run)?;
            rest.start = run.end;
        }
        Ok(())
    }

    /// Closes the file with the old data; may sleep.
    pub(crate) fn close(&self) {
        let saved = self.saved.lock().take();
        // Dropped after the lock is released.
        drop(saved);
    }

    /// The blocks of the zone that contain `bytes`.
    fn blocks_of(&self, bytes: &Range<u64>) -> Range<u64> {
        let shift = self.block_size.trailing_zeros();
        let end = bytes.end.saturating_add(u64::from(self.block_size) - 1) >> shift;
        bytes.start >> shift..end.min(self.nr_blocks)
    }

    /// Copies blocks to the same offset of another file.
    fn copy(&self, from: &File, to: &File, blocks: &Range<u64>) -> Result {
        let bytes = |block: u64| block.checked_mul(self.block_size.into()).ok_or(EINVAL);
        from.copy_to(to, bytes(blocks.start)?, bytes(blocks.end)?)
    }
}
