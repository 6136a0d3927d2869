// SPDX-License-Identifier: GPL-2.0

//! The repair of a zone whose end of file is not known.
//!
//! The worker takes the write pointer from the length of the file. All acknowledged sectors must be
//! there. If some are missing, the zone is read-only; if the file can't be read at all, it is
//! offline. The next command repeats the repair, until the fault is gone.

use super::SequentialZone;
use crate::{
    device::queue_rq::ZloopQueue,
    io_err_ratelimited,
    zone::{
        queue::FileState,
        Failure,
        WritePointer, //
    },
};

use crate::kernel_ext::{
    block::{
        zoned_mq::{
            Request,
            RequestList, //
        },
        Status, //
    },
    fs::FileExt, //
};

use kernel::{
    block::SECTOR_SHIFT,
    fs::File,
    prelude::*, //
};

impl SequentialZone {
    /// Repeats a read that has found less than was written, while no other request runs.
    ///
    /// There are three reasons. The zone was reset meanwhile: the repeated read succeeds. The file
    /// is too short: the zone is stale. Or the file system can't read a part of the range, and
    /// returns the data before it: the repeated read finds less again, and fails if the zone was
    /// not reset meanwhile.
    pub(super) fn read_again(&self, request: Request<ZloopQueue>) {
        let resets = self.state.lock().sync.resets();
        if request.data().is_repeated(resets) {
            io_err_ratelimited!(
                self.shared,
                "can't read {} sectors at sector {}: the file of zone {} can be read in part only",
                request.sectors(),
                request.sector(),
                self.number
            );
            return request.end(Status::IOERR);
        }
        let file = match self.file() {
            Ok(file) => file,
            Err(err) => return request.end(err.into()),
        };
        match file.size() {
            Ok(size) if size >> SECTOR_SHIFT >= self.written() => {
                let offset = self.shared.geometry().offset_in_zone(request.sector());
                request.data().set_repeated(self.written(), resets);
                RequestList::from(request).submit(file, offset << SECTOR_SHIFT, None);
            }
            _ => {
                // The waiter for the request may expect that the file is not in use.
                drop(file);
                self.set_file_state(FileState::Stale);
                request.end(Status::IOERR);
            }
        }
    }

    /// Sets the write pointer from the file.
    pub(super) fn repair(&self) {
        let found = self.file_end();
        let mut state = self.state.lock();
        let mut set = self.shared.open_zones().lock();
        let file = match found {
            Ok(wp) => {
                self.durability.repaired(&mut state.sync, wp.sector(), || {
                    self.shared.dirty().mark(self.number);
                });
                state.torn = false;
                state.zone.repair(&mut set, wp);
                FileState::Known
            }
            Err(failure) => {
                state.zone.fail(&mut set, failure);
                FileState::Failed
            }
        };
        drop(set);
        drop(state);
        self.set_file_state(file);
        self.shared.repaired().notify_all();
    }

    /// The write pointer that follows from the length of the zone's file; may sleep.
    ///
    /// # Errors
    ///
    /// The failed condition of the zone, if acknowledged sectors are missing.
    fn file_end(&self) -> Result<WritePointer, Failure> {
        let offline = |err| {
            io_err_ratelimited!(
                self.shared,
                "zone {}: offline: can't use its file: {err:?}",
                self.number
            );
            Failure::Offline
        };
        let file = self.file().map_err(offline)?;
        self.cut_torn_block(&file).map_err(offline)?;
        let size = file.size().map_err(offline)?;
        let block_size = self.shared.block_size();
        match WritePointer::at_end_of_file(size, block_size, self.capacity()) {
            Some(wp) if wp.sector() >= self.written() => Ok(wp),
            _ => {
                io_err_ratelimited!(
                    self.shared,
                    "zone {}: read-only, its file has {size} bytes: must be from {} to {}, and a \
                     multiple of {block_size}",
                    self.number,
                    self.written() << SECTOR_SHIFT,
                    self.capacity() << SECTOR_SHIFT
                );
                Err(Failure::ReadOnly)
            }
        }
    }

    /// Cuts off the partial block that a failed write may have left at the end of the file; may
    /// sleep. It was not acknowledged.
    fn cut_torn_block(&self, file: &File) -> Result {
        if !self.state.lock().torn {
            return Ok(());
        }
        let size = file.size()?;
        // A block size is a power of two.
        let whole = size & !u64::from(self.shared.block_size()).wrapping_sub(1);
        if whole == size || whole < self.written() << SECTOR_SHIFT {
            return Ok(());
        }
        file.truncate(whole)
    }
}
