// SPDX-License-Identifier: GPL-2.0

//! Whether the task that queues a request also carries it out.
//!
//! A trip through a workqueue costs more than all the rest of a small request. So the task enters
//! the file system itself, with `IOCB_NOWAIT`, where that is safe and ends soon.
//! [`may_run_in_submitter`] has the reasons against it that follow from the task and the request.
//!
//! The zone must be ready, too: its file is open and long enough; a sequential zone is idle and has
//! allocated space. `io.rs` and `sequential/write.rs` check this. The answer may change at once,
//! but the file system does not wait with `IOCB_NOWAIT`. If something is missing, or the file
//! system returns EAGAIN, a work item does it, which may sleep.
//!
//! Of a deep queue, another CPU carries a part out in the place of the task: see `lanes.rs`.

use crate::device::{
    queue_rq::ZloopQueue,
    zone_table::ZoneRef, //
};

use crate::kernel_ext::block::zoned_mq::{
    ReqOp,
    Request,
    Submission, //
};

/// The largest request that the task carries out, in bytes. Larger ones should run in parallel.
pub(crate) const MAX_BYTES: u32 = 128 << 10;

/// Whether the current task may carry out a request that it queues for `zone`. For `queue_rq`, once
/// for each request.
pub(crate) fn may_run_in_submitter(
    submission: &Submission<'_>,
    zone: &ZoneRef<'_>,
    request: &Request<ZloopQueue>,
) -> bool {
    // Kernel threads, reclaim, and tasks inside a transaction must not enter a file system.
    let is_plain_task = submission.is_by_plain_task();
    // The block layer merges the writes that wait in the zone write plug.
    let waits_in_plug = match (request.op(), zone) {
        (Some(ReqOp::Write), ZoneRef::Sequential(zone)) => zone.note_write(is_plain_task),
        _ => false,
    };
    is_plain_task
        && !waits_in_plug
        && request.bytes() <= MAX_BYTES
        // It waits for the medium.
        && !request.is_fua()
        // A fault may be a delay.
        && !request.data().has_pending_faults()
        // The I/O would be charged to the cgroup of the task.
        && request.is_charged_to_current()
        && match (request.op(), zone) {
            (Some(ReqOp::Read), _) => true,
            // The old data is read and saved first.
            (Some(ReqOp::Write), ZoneRef::Conventional(_)) => {
                !request.queue_data().shared().volatile_cache()
            }
            // Asked last, because each question counts.
            (Some(ReqOp::Write), ZoneRef::Sequential(_)) => {
                request.queue_data().shared().nowait_extend().is_worth_trying()
            }
            _ => false,
        }
}
