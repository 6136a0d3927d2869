// SPDX-License-Identifier: GPL-2.0

//! What the zone model needs of the kernel: requests and atomics.

use crate::{
    device::{
        queue_rq::ZloopQueue,
        reset_all::ResetAll,
        MAX_HW_SECTORS, //
    },
    zone::{
        atomics::{
            AtomicBits,
            AtomicCell,
            Atomics, //
        },
        queue::{
            Fifo,
            WriteKind,
            ZoneRequest, //
        },
    },
};
use core::ops::Deref;

use crate::kernel_ext::block::zoned_mq::{
    ReqOp,
    Request,
    RequestList, //
};

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
};

impl ZoneRequest for Request<ZloopQueue> {
    type List = RequestList<ZloopQueue>;
    type ResetAll = Arc<ResetAll>;
    type Error = Error;

    const MAX_SECTORS: u32 = MAX_HW_SECTORS;

    fn write_kind(&self) -> Option<WriteKind> {
        match self.op()? {
            ReqOp::Write => Some(WriteKind::Regular),
            ReqOp::ZoneAppend => Some(WriteKind::Append),
            _ => None,
        }
    }

    fn sector(&self) -> u64 {
        self.sector()
    }

    fn sectors(&self) -> u32 {
        self.sectors()
    }

    fn may_join(&self, first: &Self) -> bool {
        self.may_join(first)
    }
}

impl Fifo<Request<ZloopQueue>> for RequestList<ZloopQueue> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn front(&self) -> Option<impl Deref<Target = Request<ZloopQueue>>> {
        self.front()
    }

    fn push_back(&mut self, request: Request<ZloopQueue>) {
        self.push_back(request);
    }

    fn pop_front(&mut self) -> Option<Request<ZloopQueue>> {
        self.pop_front()
    }

    fn prepend(&mut self, other: Self) {
        self.prepend(other);
    }
}

/// The kernel's atomics.
pub(crate) struct KernelAtomics;

impl Atomics for KernelAtomics {
    type U64 = Atomic<u64>;
    type Flag = AtomicFlag;
}

// ORDERING: The names say it. The zone model has the partner and the reason, at each call.
impl AtomicCell<u64> for Atomic<u64> {
    fn new(value: u64) -> Self {
        Self::new(value)
    }

    fn load_relaxed(&self) -> u64 {
        self.load(Relaxed)
    }

    fn load_acquire(&self) -> u64 {
        self.load(Acquire)
    }

    fn store_release(&self, value: u64) {
        self.store(value, Release);
    }
}

impl AtomicBits for Atomic<u64> {
    fn set(&self, bits: u64) {
        // ORDERING: `Relaxed`, because the exchange finds out whether the value is old. An exchange
        // that fails orders nothing. The one that succeeds pairs with that of `take`.
        let mut old = self.load(Relaxed);
        while let Err(now) = self.cmpxchg(old, old | bits, Full) {
            old = now;
        }
    }

    fn take(&self) -> u64 {
        // ORDERING: Pairs with the exchange in `set`, for each task that has set one of the bits.
        self.xchg(0, Full)
    }
}

// ORDERING: See the implementation for `u64`.
impl AtomicCell<bool> for AtomicFlag {
    fn new(value: bool) -> Self {
        Self::new(value)
    }

    fn load_relaxed(&self) -> bool {
        self.load(Relaxed)
    }

    fn load_acquire(&self) -> bool {
        self.load(Acquire)
    }

    fn store_release(&self, value: bool) {
        self.store(value, Release);
    }
}
