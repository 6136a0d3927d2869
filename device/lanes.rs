// SPDX-License-Identifier: GPL-2.0

//! Lanes, in which other CPUs carry out a part of a deep queue.
//!
//! A lane is a work item with a short queue of requests that need no waiting. The
//! [`SharingPolicy`] of a CPU decides whether it uses the lanes. The CPU gives a request to the
//! first lane that has room, and carries it out itself if none has. So the lanes are kept busy, no
//! more of them run than are needed, and no request waits for long.

use crate::{
    device::io::transfer_in_lane,
    device::sharing::{
        SharingPolicy,
        Verdict, //
    },
    device::queue_rq::ZloopQueue,
    kernel_ext::{
        block::mq::{
            Request,
            RequestList, //
        },
        task::BlockIoScope,
        workqueue::Queue, //
    },
};
use kernel::{
    cpu::{
        nr_cpu_ids,
        CpuId, //
    },
    impl_has_work, new_spinlock, new_work,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLock, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// The number of lanes of a device, at most: so many CPUs help others.
const MAX_LANES: u32 = 3;

/// The number of requests in a lane, at most. A lane that is never empty until the next request
/// comes needs a few; more would only wait.
const LANE_DEPTH: u32 = 4;

/// The number of policies of a device, at most. CPUs whose numbers differ by a multiple of it share
/// one.
const MAX_POLICIES: u32 = 64;

/// The lanes of a device.
pub(crate) struct Lanes {
    lanes: KVec<Arc<Lane>>,
    cpus: Arc<KVec<Pin<KBox<Cpu>>>>,
    /// The policies' clock counts from here.
    epoch: Instant<Monotonic>,
}

/// What belongs to the tasks of one CPU. They may move to another one at any time, which does no
/// harm but to the precision of what is measured.
#[pin_data]
struct Cpu {
    /// The number of requests about which the policy need not be asked.
    alone: Atomic<u32>,
    /// The number of requests that were handed over and that no lane has begun with.
    waiting: Atomic<u32>,
    #[pin]
    policy: SpinLock<SharingPolicy>,
}

impl Lanes {
    /// The lanes of a new device: none if there is but one CPU.
    pub(crate) fn new() -> Result<Self> {
        let others = nr_cpu_ids().saturating_sub(1);
        let mut cpus = KVec::new();
        if others > 0 {
            for _ in 0..nr_cpu_ids().min(MAX_POLICIES) {
                cpus.push(KBox::pin_init(Cpu::new(), GFP_KERNEL)?, GFP_KERNEL)?;
            }
        }
        let cpus = Arc::new(cpus, GFP_KERNEL)?;
        let mut lanes = KVec::new();
        for _ in 0..others.min(MAX_LANES) {
            lanes.push(Lane::new(cpus.clone())?, GFP_KERNEL)?;
        }
        Ok(Self {
            lanes,
            cpus,
            epoch: Instant::now(),
        })
    }

    /// Gives a request to another CPU, or back if the task should carry it out itself. `queue` is
    /// the disk's.
    pub(crate) fn hand_over(
        &self,
        request: Request<ZloopQueue>,
        queue: &Queue,
    ) -> Result<(), Request<ZloopQueue>> {
        let number = CpuId::current().as_u32() % MAX_POLICIES;
        let Some(cpu) = self.cpus.get(number as usize) else {
            return Err(request);
        };
        let alone = cpu.alone.load(Relaxed);
        if alone > 0 {
            cpu.alone.store(alone - 1, Relaxed);
            return Err(request);
        }
        let is_deep = cpu.waiting.load(Relaxed) > 0;
        let verdict = cpu.policy.lock().arrive(is_deep, || self.now());
        match verdict {
            Verdict::Alone(next) => cpu.alone.store(next.saturating_sub(1), Relaxed),
            Verdict::Share => {
                if let Some(lane) = self.lanes.iter().find(|lane| lane.has_room()) {
                    request.data().set_cpu(number);
                    let _ = cpu.waiting.fetch_add(1, Relaxed);
                    lane.push(request, queue);
                    return Ok(());
                }
            }
        }
        Err(request)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(0)
    }
}

impl Cpu {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            alone: Atomic::new(0),
            waiting: Atomic::new(0),
            policy <- new_spinlock!(SharingPolicy::new(), "zloop_sharing"),
        })
    }
}

#[pin_data]
struct Lane {
    cpus: Arc<KVec<Pin<KBox<Cpu>>>>,
    /// The number of requests that are in the lane or just being carried out.
    len: Atomic<u32>,
    #[pin]
    queue: SpinLock<LaneQueue>,
    #[pin]
    work: Work<Self>,
}

#[derive(Default)]
struct LaneQueue {
    requests: RequestList<ZloopQueue>,
    /// Whether the work item will look at the queue again.
    is_running: bool,
}

impl_has_work! {
    impl HasWork<Self> for Lane { self.work }
}

impl Lane {
    fn new(cpus: Arc<KVec<Pin<KBox<Cpu>>>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                cpus,
                len: Atomic::new(0),
                queue <- new_spinlock!(LaneQueue::default(), "zloop_lane"),
                work <- new_work!("zloop_lane"),
            }),
            GFP_KERNEL,
        )
    }

    fn has_room(&self) -> bool {
        self.len.load(Relaxed) < LANE_DEPTH
    }

    fn push(self: &Arc<Self>, request: Request<ZloopQueue>, queue: &Queue) {
        let _ = self.len.fetch_add(1, Relaxed);
        let mut inner = self.queue.lock();
        inner.requests.push_back(request);
        if !inner.is_running {
            inner.is_running = true;
            // While the request is in the lane, the disk and its queue can't go away.
            let _ = queue.enqueue(self.clone());
        }
    }

    /// Takes the next request. If there is none, the work item has to be queued again.
    fn pop(&self) -> Option<Request<ZloopQueue>> {
        let mut inner = self.queue.lock();
        let request = inner.requests.pop_front();
        inner.is_running = request.is_some();
        request
    }
}

impl WorkItem for Lane {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _scope = BlockIoScope::enter();
        while let Some(request) = this.pop() {
            // Before the request ends: the task that waits for it may queue the next one at once.
            if let Some(cpu) = this.cpus.get(request.data().cpu() as usize) {
                let _ = cpu.waiting.fetch_sub(1, Relaxed);
            }
            request.charge(transfer_in_lane);
            let _ = this.len.fetch_sub(1, Relaxed);
        }
    }
}
