// SPDX-License-Identifier: GPL-2.0

//! The reset of all zones.
//!
//! Each zone that needs a reset gets a job through its queue, like any other command, and the
//! workqueue runs these jobs in parallel. Zones that can't be reset are skipped. If the reset of a
//! zone fails, the other zones are still reset, and the request fails at the end.

use crate::{
    device::{
        queue_rq::ZloopQueue,
        zone_table::{
            Entry,
            ZoneRef, //
        },
    },
    fault::Kind, //
};

use crate::kernel_ext::block::{
    zoned_mq::{
        Request,
        RequestList, //
    },
    Status, //
};

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// A reset of all zones under way. Each zone that needs a reset has a reference to it. The request
/// ends when the last reference is dropped.
pub(crate) struct ResetAll {
    request: Option<Request<ZloopQueue>>,
    /// Whether the injected faults apply to its jobs.
    with_faults: bool,
    /// The last errno that a zone has noted, or 0.
    error: Atomic<i32>,
}

impl ResetAll {
    /// Starts a reset of all zones, or queues the request behind another one.
    pub(crate) fn run(request: Request<ZloopQueue>) {
        let shared = request.queue_data().shared().clone();
        let request = shared.resets().lock().begin(request);
        if let Some(request) = request {
            let with_faults = request.data().take_pending_faults();
            if with_faults {
                shared.faults().delay(Kind::Zone, 0);
            }
            let reset = Self {
                request: Some(request),
                with_faults,
                error: Atomic::new(0),
            };
            // Without memory, `drop` ends the request with this error.
            // ORDERING: `Relaxed`, both: no other task has the reset yet. `post` passes it on under
            // the lock of a zone's queue.
            reset.error.store(ENOMEM.to_errno(), Relaxed);
            if let Ok(reset) = Arc::new(reset, GFP_KERNEL) {
                reset.error.store(0, Relaxed);
                reset.post();
            }
        }
    }

    /// Posts a job to each zone that needs a reset.
    fn post(self: Arc<Self>) {
        let Some(request) = &self.request else {
            return;
        };
        let device = request.queue_data();
        for number in 0..device.shared().geometry().nr_zones() {
            if let Some(Entry::Unused(0) | Entry::UnusedConventional) = device.zones().entry(number)
            {
                continue;
            }
            match device.zones().get_or_create(number, GFP_KERNEL) {
                Ok(ZoneRef::Sequential(zone)) if !zone.needs_no_reset() => {
                    zone.post_reset_all(self.clone(), request.work_queue());
                }
                Ok(_) => {}
                Err(err) => self.note(Err(err)),
            }
        }
    }

    /// Whether the injected faults apply to its jobs.
    pub(crate) fn with_faults(&self) -> bool {
        self.with_faults
    }

    /// Notes the result of a zone's job.
    pub(crate) fn note(&self, result: Result) {
        if let Err(err) = result {
            // ORDERING: `Relaxed`: see `drop`.
            self.error.store(err.to_errno(), Relaxed);
        }
    }
}

impl Drop for ResetAll {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let next = request.queue_data().shared().resets().lock().end();
        if let Some(next) = next {
            RequestList::from(next).enqueue();
        }
        // ORDERING: `Relaxed`, because the reference count of the `Arc` orders the stores of all
        // former owners before this.
        request.end(match self.error.load(Relaxed) {
            0 => Status::OK,
            errno => Error::from_errno(errno).into(),
        });
    }
}

/// The queue of the resets of all zones. They run one after the other, since a zone's queue has
/// room for one.
#[derive(Default)]
pub(crate) struct ResetAllQueue {
    running: bool,
    waiting: RequestList<ZloopQueue>,
}

impl ResetAllQueue {
    /// Returns the request if it may start, and queues it otherwise.
    fn begin(&mut self, request: Request<ZloopQueue>) -> Option<Request<ZloopQueue>> {
        if self.running {
            self.waiting.push_back(request);
            return None;
        }
        self.running = true;
        Some(request)
    }

    /// Notes the end of a reset, and returns the next request.
    fn end(&mut self) -> Option<Request<ZloopQueue>> {
        self.running = false;
        self.waiting.pop_front()
    }
}
