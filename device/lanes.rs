// SPDX-License-Identifier: GPL-2.0

//! Lanes, in which other CPUs carry out a part of a deep queue.
//!
//! A lane is a work item with a short queue of requests that need no waiting. The [`SharingPolicy`]
//! of a CPU decides whether the CPU uses the lanes. The CPU gives a request to the first lane with
//! room. If all lanes are full, it carries the request out itself. So a queue of up to `LANE_DEPTH`
//! requests uses one lane. Only a deeper queue keeps several other CPUs busy.
//!
//! Nobody checks whether a CPU is idle. If none is, each request costs a little more: in QEMU with
//! two CPUs, four jobs at depth 16 read 0.93 times as fast as without lanes, and overwrite 1.18
//! times as fast, while one job is 1.5 to 2.3 times as fast.

use crate::device::{
    io::transfer_in_lane,
    queue_rq::ZloopQueue,
    sharing::{
        SharingPolicy,
        Verdict, //
    },
};

use crate::kernel_ext::{
    block::zoned_mq::{
        Request,
        RequestList,
        Submission, //
    },
    cpu::num_online_cpus,
    task::BlockIoScope,
    workqueue::ImmediateQueue, //
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
    workqueue::{
        Work,
        WorkItem, //
    },
};

/// The largest number of lanes of a device: the number of CPUs that help others.
const MAX_LANES: u32 = 3;

/// The number of requests at which a lane is full. Several CPUs may exceed it by a few. With 12 the
/// lane takes a batch of 8, as fio submits them at depth 32, and still has work when the next batch
/// comes. With 4 it was half as fast then.
const LANE_DEPTH: u32 = 12;

/// The largest number of policies of a device. CPUs whose numbers differ by a multiple of it share
/// a policy.
const MAX_POLICIES: u32 = 64;

/// The lanes of a device.
pub(crate) struct Lanes {
    lanes: KVec<Arc<Lane>>,
    cpus: Arc<KVec<Pin<KBox<Cpu>>>>,
}

/// The sharing state of a CPU. A task may move to another CPU at any time, which only makes the
/// measurement less precise.
#[pin_data]
struct Cpu {
    /// The number of requests that the CPU carries out before it asks the policy again.
    alone: Atomic<u32>,
    /// The number of requests of the CPU that wait in lanes.
    waiting: Atomic<u32>,
    #[pin]
    policy: SpinLock<SharingPolicy>,
}

impl Lanes {
    /// Makes the lanes of a device. With one CPU there are none.
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
        Ok(Self { lanes, cpus })
    }

    /// Hands a request over to another CPU. Returns the request if the current task should carry it
    /// out.
    pub(crate) fn hand_over(
        &self,
        request: Request<ZloopQueue>,
        submission: &Submission<'_>,
    ) -> Result<(), Request<ZloopQueue>> {
        let number = CpuId::current().as_u32() % MAX_POLICIES;
        let Some(cpu) = self.cpus.get(number as usize) else {
            return Err(request);
        };
        // Also after all others were taken offline.
        if num_online_cpus() == 1 {
            return Err(request);
        }
        let is_deep = submission.nr_requests() >= SharingPolicy::DEEP_BATCH;
        if !is_deep && !cpu.shares() {
            return Err(request);
        }
        let Some(lane) = self.lanes.iter().find(|lane| lane.has_room()) else {
            return Err(request);
        };
        request.data().set_cpu(number);
        // ORDERING: `Relaxed`, because it is an estimate. The lock of the lane orders this before
        // the subtraction, so that the number does not wrap.
        let _ = cpu.waiting.fetch_add(1, Relaxed);
        lane.push(request, submission.work_queue());
        Ok(())
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

    /// Whether to hand a new request over.
    fn shares(&self) -> bool {
        // ORDERING: `Relaxed`, all of them: estimates of one CPU, of which a task that moves to
        // another CPU may lose a change.
        let alone = self.alone.load(Relaxed);
        if alone > 0 {
            self.alone.store(alone - 1, Relaxed);
            return false;
        }
        let waiting = self.waiting.load(Relaxed);
        match self.policy.lock().arrive(current!().pid(), waiting) {
            Verdict::Alone(next) => {
                self.alone.store(next.saturating_sub(1), Relaxed);
                false
            }
            Verdict::Share => true,
        }
    }
}

#[pin_data]
struct Lane {
    cpus: Arc<KVec<Pin<KBox<Cpu>>>>,
    /// The number of requests that wait in the lane or are being carried out.
    len: Atomic<u32>,
    #[pin]
    queue: SpinLock<LaneQueue>,
    #[pin]
    work: Work<Self>,
}

#[derive(Default)]
struct LaneQueue {
    requests: RequestList<ZloopQueue>,
    /// Whether the work item is queued or running, and will look at `requests` again.
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
        // ORDERING: `Relaxed`, because it is an estimate.
        self.len.load(Relaxed) < LANE_DEPTH
    }

    fn push(self: &Arc<Self>, request: Request<ZloopQueue>, queue: &ImmediateQueue) {
        // ORDERING: `Relaxed`, because it is an estimate. The lock orders it before the
        // subtraction.
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
            // Before the request ends: its task may then queue the next one.
            // ORDERING: `Relaxed`, both: see `hand_over` and `push`.
            if let Some(cpu) = this.cpus.get(request.data().cpu() as usize) {
                let _ = cpu.waiting.fetch_sub(1, Relaxed);
            }
            request.charge(transfer_in_lane);
            let _ = this.len.fetch_sub(1, Relaxed);
        }
    }
}
