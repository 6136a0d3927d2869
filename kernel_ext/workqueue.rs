// SPDX-License-Identifier: GPL-2.0

//! Workqueues that a driver owns, and work items that call a function.

mod call;
mod owned;

pub(crate) use self::{
    call::{
        ParallelWork,
        WorkqueueCall, //
    },
    owned::{
        ImmediateQueue,
        OwnedQueue, //
    },
};
