// SPDX-License-Identifier: GPL-2.0

//! Whether the writes of a zone wait in its zone write plug.
//!
//! The block layer lets one write of a zone at a time through to the driver, and keeps those behind
//! it in the zone's write plug, where it merges them. So a deep queue of small writes becomes few
//! large ones, if the first one takes a while. A write that the queueing task carries out itself
//! ends before the task queues the next one, so nothing merges. This is best for a task that waits
//! for each write, and bad for a task with a deep queue.
//!
//! The driver can't look into the plug. But a kworker queues the writes that have waited there. So
//! a worker carries out the writes of a zone while a kernel thread queues some of them. When none
//! has done so for a few writes, the task carries out its writes at once. Now and then a worker
//! gets a few more, to find out again.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// An estimate of whether writes wait in the plug of a zone.
pub(crate) struct PlugDepth {
    /// The number of writes from plain tasks since the last one from a kernel thread. After
    /// [`Self::REPROBE_AFTER`] of them it starts at 0 again.
    from_tasks: Atomic<u32>,
}

impl PlugDepth {
    /// The number of writes that a worker is given until the plug counts as empty.
    const PROBES: u32 = 2;
    /// After this number of writes the driver probes again.
    const REPROBE_AFTER: u32 = 256;

    pub(crate) fn new() -> Self {
        Self {
            from_tasks: Atomic::new(0),
        }
    }

    /// Notes a write, by a plain task or another one, which may be the plug's worker. Returns
    /// whether more writes are expected to wait in the plug.
    pub(crate) fn note_write(&self, is_by_plain_task: bool) -> bool {
        // ORDERING: `Relaxed`, all of them: an estimate. Writes of a zone arrive one at a time,
        // because of the plug.
        if !is_by_plain_task {
            self.from_tasks.store(0, Relaxed);
            return true;
        }
        let nr = self.from_tasks.load(Relaxed);
        let next = if nr < Self::REPROBE_AFTER { nr + 1 } else { 0 };
        self.from_tasks.store(next, Relaxed);
        nr < Self::PROBES
    }
}
