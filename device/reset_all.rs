// SPDX-License-Identifier: GPL-2.0

//! The reset of all zones.
//!
//! Each zone that has something to reset gets its part through its queue, as any other command,
//! and the parts are done by as many tasks as the workqueue has. Zones that can't be reset are
//! skipped. One that should have been and could not does not keep the others from it: the request
//! fails in the end.

use crate::{
    device::zone_table::{
        Entry,
        Zone, //
    },
    device::Zloop,
    fault::Kind,
    kernel_ext::block::{
        mq::{
            Request,
            RequestList, //
        },
        Status,
    },
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

/// A reset of all zones under way. Each zone that has something to reset has a reference to it; the
/// request ends when the last one has let go.
pub(crate) struct ResetAll {
    request: Option<Request<Zloop>>,
    /// Whether its parts meet the faults that were injected.
    meets_faults: bool,
    /// The last errno that a zone has noted, or 0.
    error: Atomic<i32>,
}

impl ResetAll {
    /// Begins to reset all zones, or puts the request where it waits for another one that does.
    pub(crate) fn run(request: Request<Zloop>) {
        let common = request.queue_data().common().clone();
        let request = common.resets().lock().begin(request);
        if let Some(request) = request {
            let meets_faults = request.data().meet_faults();
            if meets_faults {
                common.faults().delay(Kind::Zone, 0);
            }
            let reset = Self {
                request: Some(request),
                meets_faults,
                error: Atomic::new(0),
            };
            // If there is no memory, the request ends with an error: see `drop`.
            reset.error.store(ENOMEM.to_errno(), Relaxed);
            if let Ok(reset) = Arc::new(reset, GFP_KERNEL) {
                reset.error.store(0, Relaxed);
                reset.post();
            }
        }
    }

    /// Gives every zone its part. They are done by as many tasks as the workqueue has.
    fn post(self: Arc<Self>) {
        let Some(request) = &self.request else {
            return;
        };
        let device = request.queue_data();
        for number in 0..device.common().geometry().nr_zones() {
            if let Some(Entry::Found(0) | Entry::FoundConventional) = device.zones().entry(number) {
                continue;
            }
            match device.zones().touch(number, GFP_KERNEL) {
                Ok(Zone::Sequential(zone)) if !zone.needs_no_reset() => {
                    zone.post_reset_all(self.clone(), request.work_queue());
                }
                Ok(_) => {}
                Err(err) => self.note(Err(err)),
            }
        }
    }

    /// Whether its parts meet the faults that were injected.
    pub(crate) fn meets_faults(&self) -> bool {
        self.meets_faults
    }

    /// Notes how a zone's part ended.
    pub(crate) fn note(&self, result: Result) {
        if let Err(err) = result {
            self.error.store(err.to_errno(), Relaxed);
        }
    }
}

impl Drop for ResetAll {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else {
            return;
        };
        let next = request.queue_data().common().resets().lock().end();
        if let Some(next) = next {
            RequestList::from(next).enqueue();
        }
        request.end(match self.error.load(Relaxed) {
            0 => Status::OK,
            errno => Error::from_errno(errno).into(),
        });
    }
}

/// The resets of all zones of a device. They are done one after the other, since a zone's queue
/// has room for one.
#[derive(Default)]
pub(crate) struct ResetAllQueue {
    running: bool,
    waiting: RequestList<Zloop>,
}

impl ResetAllQueue {
    /// Gives the request back if it may begin, or else keeps it.
    fn begin(&mut self, request: Request<Zloop>) -> Option<Request<Zloop>> {
        if self.running {
            self.waiting.push_back(request);
            return None;
        }
        self.running = true;
        Some(request)
    }

    /// Takes note that one has ended, and gives out one that may try to begin.
    fn end(&mut self) -> Option<Request<Zloop>> {
        self.running = false;
        self.waiting.pop_front()
    }
}
