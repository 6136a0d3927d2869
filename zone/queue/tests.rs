// SPDX-License-Identifier: GPL-2.0

//! Examples. `tests/host` and `tests/loom` use the requests, too.

use super::*;
use core::array;

/// A request that has only the properties that the queue reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TestRequest {
    pub(crate) id: u32,
    pub(crate) kind: Option<WriteKind>,
    pub(crate) sector: u64,
    pub(crate) sectors: u32,
    /// Requests of different groups are not joined.
    pub(crate) group: u32,
}

impl TestRequest {
    /// A write of a sector.
    pub(crate) fn write(id: u32, sector: u64) -> Self {
        Self {
            id,
            kind: Some(WriteKind::Regular),
            sector,
            sectors: 1,
            group: 0,
        }
    }

    /// An append of a sector.
    pub(crate) fn append(id: u32) -> Self {
        Self {
            kind: Some(WriteKind::Append),
            ..Self::write(id, 0)
        }
    }

    /// A request that is not a write.
    pub(crate) fn command(id: u32) -> Self {
        Self {
            kind: None,
            ..Self::write(id, 0)
        }
    }

    fn in_group(self, group: u32) -> Self {
        Self { group, ..self }
    }

    fn with_sectors(self, sectors: u32) -> Self {
        Self { sectors, ..self }
    }
}

impl ZoneRequest for TestRequest {
    type List = TestList;
    type ResetAll = u32;
    type Error = i32;

    const MAX_SECTORS: u32 = 8;

    fn write_kind(&self) -> Option<WriteKind> {
        self.kind
    }

    fn sector(&self) -> u64 {
        self.sector
    }

    fn sectors(&self) -> u32 {
        self.sectors
    }

    fn may_join(&self, first: &Self) -> bool {
        self.group == first.group
    }
}

/// A list with room for the requests of a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TestList([Option<TestRequest>; 8]);

impl TestList {
    pub(crate) fn of(requests: &[TestRequest]) -> Self {
        let mut list = Self::default();
        requests.iter().for_each(|request| list.push_back(*request));
        list
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TestRequest> {
        self.0.iter().flatten()
    }

    fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.iter().map(|request| request.id)
    }
}

impl Fifo<TestRequest> for TestList {
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn front(&self) -> Option<impl Deref<Target = TestRequest>> {
        self.0[0].as_ref()
    }

    fn push_back(&mut self, request: TestRequest) {
        self.0[self.len()] = Some(request);
    }

    fn pop_front(&mut self) -> Option<TestRequest> {
        self.0.rotate_left(1);
        self.0[7].take()
    }

    fn prepend(&mut self, mut other: Self) {
        let behind = *self;
        *self = array::from_fn(|_| other.pop_front()).into();
        behind.0.iter().flatten().for_each(|r| self.push_back(*r));
    }
}

impl From<[Option<TestRequest>; 8]> for TestList {
    fn from(requests: [Option<TestRequest>; 8]) -> Self {
        Self(requests)
    }
}

pub(crate) type TestQueue = ZoneQueue<TestRequest>;

#[cfg_attr(not(test), kernel::macros::kunit_tests(zloop_zone_queue))]
mod examples {
    use super::*;

    /// The requests that the next job writes, or the request that it carries out.
    fn next(queue: &mut TestQueue) -> TestList {
        match queue.next_job() {
            Some(Job::Write(requests)) => requests,
            Some(Job::Exclusive(request)) => TestList::of(&[request]),
            _ => TestList::default(),
        }
    }

    /// A queue with these requests. The caller is its worker.
    fn queue_of(requests: &[TestRequest]) -> TestQueue {
        let mut queue = TestQueue::new();
        queue.stage = Stage::Working;
        requests.iter().for_each(|request| queue.post(*request));
        queue
    }

    fn extent(start: u64, end: u64) -> Extent {
        Extent { start, end }
    }

    #[test]
    fn writes_that_touch_leave_as_one() {
        let mut queue = queue_of(&[
            TestRequest::write(0, 4),
            TestRequest::write(1, 5),
            TestRequest::write(2, 7),
            TestRequest::append(3),
            TestRequest::append(4),
            TestRequest::command(5),
            TestRequest::append(6),
        ]);
        assert!(next(&mut queue).ids().eq([0, 1]));
        assert!(next(&mut queue).ids().eq([2]));
        assert!(next(&mut queue).ids().eq([3, 4]));
        assert!(next(&mut queue).ids().eq([5]));
        assert!(next(&mut queue).ids().eq([6]));
        assert!(queue.next_job().is_none());
    }

    #[test]
    fn writes_of_two_groups_are_two() {
        let mut queue = queue_of(&[
            TestRequest::append(0),
            TestRequest::append(1).in_group(1),
            TestRequest::append(2).in_group(1),
            TestRequest::append(3),
        ]);
        assert!(next(&mut queue).ids().eq([0]));
        assert!(next(&mut queue).ids().eq([1, 2]));
        assert!(next(&mut queue).ids().eq([3]));
    }

    #[test]
    fn writes_are_no_larger_than_allowed() {
        let mut queue = queue_of(&[
            TestRequest::append(0).with_sectors(4),
            TestRequest::append(1).with_sectors(4),
            TestRequest::append(2),
            TestRequest::append(3).with_sectors(8),
            TestRequest::append(4).with_sectors(u32::MAX),
        ]);
        assert!(next(&mut queue).ids().eq([0, 1]));
        assert!(next(&mut queue).ids().eq([2]));
        assert!(next(&mut queue).ids().eq([3]));
        assert!(next(&mut queue).ids().eq([4]));
    }

    #[test]
    fn failed_write_is_tried_one_by_one() {
        let requests = [TestRequest::append(0), TestRequest::append(1)];
        let mut queue = queue_of(&requests);
        let batch = next(&mut queue);
        queue.begin_write(extent(0, 2));
        queue.post(TestRequest::append(2));
        queue.post(TestRequest::append(3));
        assert_eq!(queue.end_write(Err(-5), |_| true), Outcome::Complete);
        assert!(queue.begin_work().is_none());
        assert_eq!(
            queue.complete_write(),
            Completion::Ended(extent(0, 2), Err(-5))
        );
        queue.requeue_unmerged(batch);
        assert!(next(&mut queue).ids().eq([0]));
        assert!(next(&mut queue).ids().eq([1]));
        assert!(next(&mut queue).ids().eq([2, 3]));
    }

    #[test]
    fn short_write_has_failed() {
        for bytes in [0, 512, 1024 + 512] {
            let mut queue = queue_of(&[]);
            queue.begin_write(extent(4, 6));
            assert_eq!(queue.end_write(Ok(bytes), |_| true), Outcome::Complete);
        }
        let mut queue = queue_of(&[]);
        queue.begin_write(extent(4, 6));
        assert_eq!(
            queue.end_write(Ok(1024), |_| true),
            Outcome::Done(extent(4, 6))
        );
    }

    #[test]
    fn write_that_was_not_submitted_is_submitted_once() {
        let mut queue = queue_of(&[]);
        queue.begin_write(extent(0, 1));
        assert_eq!(queue.complete_write(), Completion::Submit(extent(0, 1)));
        assert_eq!(queue.end_write(Ok(512), |_| false), Outcome::Complete);
        let ended = Completion::Ended(extent(0, 1), Ok(512));
        assert_eq!(queue.complete_write(), ended);
        assert_eq!(queue.complete_write(), Completion::Nothing);
    }

    #[test]
    fn only_an_idle_zone_is_written_at_once() {
        let write = TestRequest::write(0, 0);
        let mut queue = TestQueue::new();
        assert_eq!(queue.begin_or_post(write), Some(write));
        // The caller is the worker now.
        assert_eq!(queue.begin_or_post(write), None);
        queue.end_work();
        assert!(queue.wants_worker());
        // The request that waits comes first.
        assert_eq!(queue.begin_or_post(write), None);
        assert!(queue.begin_work().is_some());
        assert!(!queue.wants_worker());
    }
}
