// SPDX-License-Identifier: GPL-2.0

//! The parser of the programs that are written to the device. The root file describes them.

use core::num::NonZeroU32;

/// The operation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Append,
    Flush,
    Open,
    Close,
    Finish,
    Reset,
    ResetAll,
}

impl Operation {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "read" => Self::Read,
            "write" => Self::Write,
            "append" => Self::Append,
            "flush" => Self::Flush,
            "open" => Self::Open,
            "close" => Self::Close,
            "finish" => Self::Finish,
            "reset" => Self::Reset,
            "reset-all" => Self::ResetAll,
            _ => return None,
        })
    }

    /// Whether the request has data.
    pub(crate) fn has_data(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Append)
    }
}

/// Whether a write or append is durable when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    AfterFlush,
    /// `REQ_FUA`.
    AtOnce,
}

/// A line that submits `count` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) operation: Operation,
    pub(crate) durability: Durability,
    /// The first sector of the first request.
    pub(crate) at: u64,
    /// The length of each request.
    pub(crate) sectors: u32,
    pub(crate) count: u32,
    /// The number of places. The requests take turns in them; they are `step` sectors apart.
    pub(crate) zones: NonZeroU32,
    pub(crate) step: u64,
    /// The seed of the data that is written.
    pub(crate) seed: u64,
}

impl Requests {
    /// The first sector of the request with this index. A read or write begins where the previous
    /// one in its place ends.
    pub(crate) fn sector(&self, index: u32) -> u64 {
        let turn = u64::from(index / self.zones);
        let place = u64::from(index % self.zones);
        let advance = match self.operation {
            Operation::Read | Operation::Write => u64::from(self.sectors),
            _ => 0,
        };
        self.at
            .wrapping_add(place.wrapping_mul(self.step))
            .wrapping_add(turn.wrapping_mul(advance))
    }

    /// The number that the first sector of the data holds.
    ///
    /// A write stores the number of the sector. The sector of an append is not known before, so an
    /// append stores the number of sectors that the line has appended before.
    pub(crate) fn label(&self, index: u32) -> u64 {
        match self.operation {
            Operation::Append => u64::from(index).wrapping_mul(u64::from(self.sectors)),
            _ => self.sector(index),
        }
    }
}

/// One line of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Use this device from now on.
    Device(&'a str),
    /// Keep at most this number of requests in flight.
    Depth(u32),
    /// Allocate memory for this number of sectors for each request.
    Room(u32),
    /// Do not fill in data, and keep no result of each request.
    Bench,
    /// Wait until all requests have ended.
    Wait,
    Requests(Requests),
}

impl<'a> Line<'a> {
    /// Parses a line. Returns [`None`] if it has a mistake.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = words.next()?;
        let result = match name {
            "device" => Self::Device(words.next()?),
            "depth" => Self::Depth(words.next()?.parse().ok()?),
            "room" => Self::Room(words.next()?.parse().ok()?),
            "bench" => Self::Bench,
            "wait" => Self::Wait,
            _ => return Self::parse_requests(name, words),
        };
        words.next().is_none().then_some(result)
    }

    fn parse_requests(name: &str, words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut requests = Requests {
            operation: Operation::parse(name)?,
            durability: Durability::AfterFlush,
            at: 0,
            sectors: 0,
            count: 1,
            zones: NonZeroU32::MIN,
            step: 0,
            seed: 0,
        };
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "fua" => requests.durability = Durability::AtOnce,
                "at" => requests.at = value.parse().ok()?,
                "sectors" => requests.sectors = value.parse().ok()?,
                "count" => requests.count = value.parse().ok()?,
                "zones" => requests.zones = value.parse().ok()?,
                "step" => requests.step = value.parse().ok()?,
                "seed" => requests.seed = value.parse().ok()?,
                _ => return None,
            }
        }
        (requests.operation.has_data() == (requests.sectors > 0))
            .then_some(Self::Requests(requests))
    }
}
