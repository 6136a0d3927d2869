// SPDX-License-Identifier: GPL-2.0

//! The undo log of a conventional zone: what the zone had when it was last flushed.
//!
//! A power failure takes back what was written since. In a sequential zone that is a matter of
//! where the file ends; in a conventional zone the old data is needed. With `volatile_cache` each
//! zone has a second file, and a set of the blocks whose old data is in it:
//!
//! ```text
//!   write, discard,     of each block that is not in the set, copy the old data to the same
//!   write zeroes        place of the second file; add the block; only then change the zone's file
//!   flush               sync the zone's file; empty the set and the second file
//!   power failure       copy the blocks of the set, or some of them, back to the zone's file
//! ```
//!
//! Where the file system has reflinks, a copy is one. If the old data can't be saved, for want of
//! space or memory, the write fails and has changed nothing.
//!
//! The second file has no name, and is gone with the device, whatever ends it. It is for power
//! failures that are made: when the machine itself crashes, the zone's file has whatever the file
//! system below kept of it, with this as without. So nothing here need be durable before the write
//! that it precedes.
//!
//! What is written while a flush goes on may become durable with it, as in any drive. So a write
//! that was saved for before the flush but ends after it is not taken back.
//!
//! All of it is done under one lock for each zone, also the I/O. It costs a write that is the first
//! one to a block since the last flush a copy of the block, and as much space until the next flush;
//! and every write to the zone a trip through a work item, where it waits for the copies of others
//! and for a flush of the zone.

use crate::{
    device::block_set::{
        first_run,
        words,
        BlockSet, //
    },
    fault::power_loss::Loss,
    kernel_ext::fs::{
        FileExt,
        OpenFile, //
    },
};
use core::ops::Range;
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
    /// How many blocks the zone has.
    nr_blocks: u64,
    /// What is saved at a time, in bytes; a power of two.
    block_size: u32,
    /// [`None`] as long as nothing was saved. Locked also while old data is saved, and while the
    /// zone is flushed.
    #[pin]
    saved: Mutex<Option<Saved>>,
}

/// Old data.
struct Saved {
    /// Has the old data of a block where the zone's file has the new one.
    file: OpenFile,
    /// The blocks whose old data was saved.
    blocks: BlockSet<KVVec<u64>>,
}

impl UndoLog {
    /// The log of zone `zone`, which has `len` bytes in blocks of `block_size`.
    pub(crate) fn new(zone: u32, len: u64, block_size: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            zone,
            nr_blocks: len >> block_size.trailing_zeros(),
            block_size,
            saved <- new_mutex!(None, "zloop_undo"),
        })
    }

    /// Saves what the zone's file has in `bytes`, a range of the zone, as far as that is needed;
    /// may sleep. It may be changed then. `make` makes the file for the old data.
    ///
    /// # Errors
    ///
    /// ENOMEM, EIO if the zone's file is too short, and what the file system says. The zone's file
    /// must stay as it is then.
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
        // What was saved before is older, and stays.
        while let Some(run) = first_run(blocks.clone(), |block| !saved.blocks.contains(block)) {
            self.copy(zone_file, &saved.file, &run)?;
            blocks.start = run.end;
            saved.blocks.insert(run);
        }
        Ok(())
    }

    /// Makes the zone's file durable by `sync`, and forgets its old data; may sleep.
    ///
    /// # Errors
    ///
    /// That of `sync`. The old data is kept then.
    pub(crate) fn flush(&self, sync: impl FnOnce() -> Result) -> Result {
        let mut saved = self.saved.lock();
        sync()?;
        if let Some(saved) = &mut *saved {
            if !saved.blocks.is_empty() {
                saved.blocks.clear();
                // Space that can't be given back does no harm.
                let _ = saved.file.truncate(0);
            }
        }
        Ok(())
    }

    /// Puts the old data of the blocks that lose the new one back into the zone's file; may sleep.
    /// Nothing may be under way in the zone.
    ///
    /// # Errors
    ///
    /// What the file system says. Some blocks have kept the new data then.
    pub(crate) fn undo(&self, zone_file: &File, loss: Loss) -> Result {
        let saved = self.saved.lock();
        let Some(Saved { file, blocks }) = &*saved else {
            return Ok(());
        };
        // If some of the old data could not be written back, the page cache has dropped it.
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
        // Not before the lock is released.
        drop(saved);
    }

    /// The blocks of the zone that `bytes` are in.
    fn blocks_of(&self, bytes: &Range<u64>) -> Range<u64> {
        let shift = self.block_size.trailing_zeros();
        let end = bytes.end.saturating_add(u64::from(self.block_size) - 1) >> shift;
        bytes.start >> shift..end.min(self.nr_blocks)
    }

    /// Copies blocks to the same place of another file.
    fn copy(&self, from: &File, to: &File, blocks: &Range<u64>) -> Result {
        let bytes = |block: u64| block.checked_mul(self.block_size.into()).ok_or(EINVAL);
        from.copy_to(to, bytes(blocks.start)?, bytes(blocks.end)?)
    }
}
