// SPDX-License-Identifier: GPL-2.0

//! The multi-queue block layer, for drivers of zoned block devices.
//!
//! A driver implements [`Operations`] for a type of its own, makes a [`TagSet`] and an
//! [`UnaddedDisk`], and [adds](UnaddedDisk::add) it. From then on each I/O arrives as an
//! [`IdleRequest`] in [`Operations::queue_rq`], which [starts](IdleRequest::start) it. A started
//! [`Request`] is owned: it is ended exactly once, and one that gets lost is ended with an error.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

mod file_io;
mod gen_disk;
mod operations;
mod request;
mod tag_set;

pub(crate) use self::{
    file_io::FileIoOperations,
    gen_disk::{
        Disk,
        Fua,
        QueueLimits,
        UnaddedDisk, //
    },
    operations::{
        Operations,
        Submission, //
    },
    request::{
        Command,
        Direction,
        IdleRequest,
        Request,
        RequestList, //
    },
    tag_set::TagSet,
};
