// SPDX-License-Identifier: GPL-2.0

//! The multi-queue block layer, for drivers of zoned block devices.
//!
//! A driver implements [`Operations`] for its own type, allocates a [`TagSet`] and an
//! [`UnaddedDisk`], and [adds](UnaddedDisk::add) the disk. From then on each I/O arrives as an
//! [`IdleRequest`] in [`Operations::queue_rq`], which [starts](IdleRequest::start) it. A started
//! [`Request`] has one owner, and is ended exactly once. Dropping it ends it with an error.
//!
//! C header: [`include/linux/blk-mq.h`](srctree/include/linux/blk-mq.h)

mod file_io;
mod gen_disk;
mod operations;
mod request;
mod request_list;
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
        Direction,
        IdleRequest,
        ReqOp,
        Request, //
    },
    request_list::RequestList,
    tag_set::TagSet,
};
