// SPDX-License-Identifier: GPL-2.0

//! Zone management: open, close, finish, reset; and write zeroes.
//!
//! The zone's worker carries them out one at a time, with no write under way.

use super::{
    write::has_all_before,
    SequentialZone, //
};
use crate::{
    device::{
        queue_rq::ZloopQueue,
        reset_all::ResetAll,
        shared::OpenSet, //
    },
    fault::{
        Kind,
        ZoneCommand, //
    },
    io_err_ratelimited,
    log::op_name,
    zone::{
        durability::Length,
        queue::{
            Extent,
            FileState, //
        },
        Finish,
        Reset,
        Target,
        ZoneError,
        ZoneState, //
    },
};

use crate::kernel_ext::{
    block::{
        zoned_mq::{
            ReqOp,
            Request, //
        },
        Status, //
    },
    fs::FileExt, //
};

use kernel::{
    block::SECTOR_SHIFT,
    prelude::*, //
};

impl SequentialZone {
    /// Carries out a request that runs alone in the zone.
    pub(super) fn exclusive(&self, request: Request<ZloopQueue>) {
        let command = match request.op() {
            Some(ReqOp::ZoneOpen) => Some(ZoneCommand::Open),
            Some(ReqOp::ZoneClose) => Some(ZoneCommand::Close),
            Some(ReqOp::ZoneFinish) => Some(ZoneCommand::Finish),
            Some(ReqOp::ZoneReset) => Some(ZoneCommand::Reset),
            Some(ReqOp::WriteZeroes) => None,
            Some(ReqOp::Read) => return self.read_again(request),
            _ => return request.end(Status::NOTSUPP),
        };
        let result = match command {
            None => self.write_zeroes(&request),
            Some(command) => self.zone_command(&request, command),
        };
        match result {
            Ok(()) => request.end(Status::OK),
            Err(ZoneMgmtError::Refused(err)) => self.refuse(request, err),
            Err(err) => {
                let err = err.errno();
                io_err_ratelimited!(
                    self.shared,
                    "zone {}: {} failed: {err:?}",
                    self.number,
                    op_name(request.op())
                );
                request.end(err.into());
            }
        }
    }

    fn zone_command(
        &self,
        request: &Request<ZloopQueue>,
        command: ZoneCommand,
    ) -> Result<(), ZoneMgmtError> {
        if request.data().take_pending_faults() {
            self.shared.faults().delay(Kind::Zone, 0);
            self.fail_command(command)?;
        }
        match command {
            ZoneCommand::Open => self.with_zone(|zone, set| zone.open(set)),
            ZoneCommand::Close => self.with_zone(|zone, set| zone.close(set)),
            ZoneCommand::Finish => self.finish(),
            ZoneCommand::Reset => self.reset(),
        }
    }

    /// Fails if the injected faults make this command fail.
    fn fail_command(&self, command: ZoneCommand) -> Result<(), ZoneMgmtError> {
        if self.shared.faults().fails(command) {
            return Err(ZoneMgmtError::Injected);
        }
        Ok(())
    }

    /// Applies a rule of the zone model to the zone and the open set.
    fn with_zone<R>(
        &self,
        rule: impl FnOnce(&mut ZoneState, &mut OpenSet) -> Result<R, ZoneError>,
    ) -> Result<R, ZoneMgmtError> {
        let mut state = self.state.lock();
        let mut set = self.shared.open_zones().lock();
        rule(&mut state.zone, &mut set).map_err(ZoneMgmtError::Refused)
    }

    /// Writes zeros at the write pointer, by making the file longer.
    fn write_zeroes(&self, request: &Request<ZloopQueue>) -> Result<(), ZoneMgmtError> {
        let sectors = u64::from(request.sectors());
        let target = Target::Sector(self.shared.geometry().offset_in_zone(request.sector()));
        let start = self.with_zone(|zone, set| zone.write(set, target, sectors))?;
        let extent = Extent {
            start,
            end: start.saturating_add(sectors),
        };
        let lengthened = self.file().and_then(|file| {
            if request.data().take_pending_faults() {
                let (first, sectors) = self.on_device(extent);
                let faults = self.shared.faults();
                if faults
                    .spoil_write(first, sectors, self.shared.block_sectors())?
                    .is_some()
                {
                    return Err(EIO);
                }
            }
            // The file was cut from outside: see `submit`.
            if !has_all_before(&file, extent) {
                return Err(EIO);
            }
            file.truncate(extent.end << SECTOR_SHIFT)
        });
        if let Err(err) = lengthened {
            self.mark_torn(request, err);
            return Err(ZoneMgmtError::FileSystem(err));
        }
        self.mark_written(extent.end);
        let mut state = self.state.lock();
        state.zone.written(&mut self.shared.open_zones().lock());
        Ok(())
    }

    /// Fills the zone, durably. A zone may be full and not yet durable: after writes, or after a
    /// finish whose sync has failed.
    fn finish(&self) -> Result<(), ZoneMgmtError> {
        let previous = match self.with_zone(|zone, set| zone.finish(set))? {
            Finish::Nothing => {
                return self.sync_full().map_err(|err| {
                    self.set_file_state(FileState::Stale);
                    ZoneMgmtError::FileSystem(err)
                });
            }
            Finish::Medium(previous) => previous,
        };
        // Preallocated space behind the end would become part of the file.
        let filled = self.trim().and_then(|()| self.fill_file());
        let mut state = self.state.lock();
        let mut set = self.shared.open_zones().lock();
        match filled {
            Ok(()) => {
                state.zone.finished(&mut set);
                self.durability.filled(&mut state.sync, self.capacity());
                Ok(())
            }
            Err(err) => {
                state.zone.not_finished(&mut set, previous);
                drop(set);
                drop(state);
                self.set_file_state(FileState::Stale);
                Err(ZoneMgmtError::FileSystem(err))
            }
        }
    }

    /// Makes a full zone durable if it is not; may sleep.
    fn sync_full(&self) -> Result {
        let is_durable = {
            let state = self.state.lock();
            state.sync.flushed() == self.capacity() && state.sync.length() == Length::Certain
        };
        if is_durable {
            // The name of the file need not be durable yet.
            return self.shared.files().sync();
        }
        self.fill_file()?;
        let mut state = self.state.lock();
        self.durability.filled(&mut state.sync, self.capacity());
        Ok(())
    }

    /// Makes the zone's file as long as the zone's capacity, and durable; may sleep.
    fn fill_file(&self) -> Result {
        let file = self.file()?;
        let (size, full) = (file.size()?, self.capacity() << SECTOR_SHIFT);
        if size < self.written() << SECTOR_SHIFT {
            // The file was cut from outside. A longer file would hide that.
            return Err(EIO);
        }
        let syncing = self.syncing.lock();
        let length = self.state.lock().sync.begin_fill();
        if size != full || length == Length::Uncertain {
            file.truncate(full)?;
        }
        let synced = self.file.sync(&file);
        {
            let sync = &mut self.state.lock().sync;
            match synced {
                Ok(()) => sync.fill_synced(!self.shared.options().tunables.buffered_io),
                Err(_) => sync.fill_failed(self.written()),
            }
        }
        drop(syncing);
        synced?;
        self.shared.files().sync()
    }

    /// Empties the zone, durably. A zone may be empty and not yet durable: after a reset whose sync
    /// has failed.
    fn reset(&self) -> Result<(), ZoneMgmtError> {
        let reset = self.with_zone(|zone, set| zone.reset(set))?;
        let is_durable = self.state.lock().sync.length() == Length::Certain;
        if reset == Reset::Nothing && is_durable {
            // A failure wastes space only.
            let _ = self.trim();
        } else if let Err(err) = self.empty_file() {
            self.set_file_state(FileState::Stale);
            return Err(ZoneMgmtError::FileSystem(err));
        }
        let mut state = self.state.lock();
        state.sync.reset_done();
        state.zone.emptied(&mut self.shared.open_zones().lock());
        self.shared.counters().zone_was_reset();
        Ok(())
    }

    /// Empties the zone's file, durably; may sleep.
    fn empty_file(&self) -> Result {
        let file = self.file()?;
        self.durability.begin_reset();
        let _syncing = self.syncing.lock();
        let cut = self.cut(&file, 0);
        {
            let sync = &mut self.state.lock().sync;
            match cut {
                Ok(()) => sync.cut(),
                Err(_) => sync.cut_failed(),
            }
        }
        cut.and_then(|()| self.file.sync(&file))
    }

    /// Resets the zone as part of a reset of all zones. A zone that can't be reset is skipped.
    pub(super) fn reset_if_allowed(&self, all: &ResetAll) -> Result {
        let injected = match all.with_faults() {
            true => self.fail_command(ZoneCommand::Reset),
            false => Ok(()),
        };
        match injected.and_then(|()| self.reset()) {
            Ok(()) | Err(ZoneMgmtError::Refused(_)) => Ok(()),
            Err(err) => {
                let err = err.errno();
                io_err_ratelimited!(self.shared, "zone {}: can't be reset: {err:?}", self.number);
                Err(err)
            }
        }
    }
}

/// The error of a zone management command.
enum ZoneMgmtError {
    /// The zone model refuses it.
    Refused(ZoneError),
    /// The file system has failed.
    FileSystem(Error),
    /// A fault was injected.
    Injected,
}

impl ZoneMgmtError {
    fn errno(self) -> Error {
        match self {
            Self::FileSystem(err) => err,
            Self::Refused(_) | Self::Injected => EIO,
        }
    }
}
