// SPDX-License-Identifier: GPL-2.0

//! Lists of requests, which one I/O operation or one work item serves.

use super::{
    request::{
        Pdu,
        Request, //
    },
    Operations, //
};
use crate::kernel_ext::{
    block::{
        cgroup,
        Status, //
    },
    workqueue::ImmediateQueue, //
};
use core::{
    marker::PhantomData,
    mem::{
        take,
        ManuallyDrop, //
    },
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    },
};
use kernel::{
    bindings,
    workqueue::{
        HasWork,
        RawWorkItem,
        Work,
        WorkItem,
        WorkItemPointer, //
    },
};

impl<T: Operations> Request<T> {
    /// # Safety
    ///
    /// `rq` must be from [`Self::into_raw`], and each such result may be used only once.
    pub(super) unsafe fn from_raw(rq: NonNull<bindings::request>) -> Self {
        // INVARIANT: The invariant held when `into_raw` was called, and ownership has moved with
        // `rq`.
        Self(rq, PhantomData)
    }
}

/// A first-in-first-out list of started requests. It allocates no memory: each request has a link.
///
/// Dropping it ends all its requests with [`Status::IOERR`].
///
/// # Invariants
///
/// `head` is the first of `len` requests that `rq_next` links. The list owns them, and `tail` is
/// the last of them. In an empty list `head` and `tail` are null.
pub(crate) struct RequestList<T: Operations> {
    head: *mut bindings::request,
    tail: *mut bindings::request,
    len: usize,
    _requests: PhantomData<Request<T>>,
}

// SAFETY: The list owns requests, which are `Send`.
unsafe impl<T: Operations> Send for RequestList<T> {}

impl<T: Operations> Default for RequestList<T> {
    fn default() -> Self {
        // INVARIANT: The list is empty, and both pointers are null.
        Self {
            head: null_mut(),
            tail: null_mut(),
            len: 0,
            _requests: PhantomData,
        }
    }
}

impl<T: Operations> From<Request<T>> for RequestList<T> {
    fn from(request: Request<T>) -> Self {
        let mut list = Self::default();
        list.push_back(request);
        list
    }
}

impl<T: Operations> RequestList<T> {
    /// Whether the list is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// The number of requests.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a request at the end.
    pub(crate) fn push_back(&mut self, request: Request<T>) {
        let rq = request.into_raw().as_ptr();
        // INVARIANT: The request follows the last one, and its ownership moves to the list.
        // SAFETY: The driver owns the request and so its link: the block layer uses the link only
        // for requests that it owns itself.
        unsafe { (*rq).__bindgen_anon_1.rq_next = null_mut() };
        if self.tail.is_null() {
            self.head = rq;
        } else {
            // SAFETY: By the type invariant the list owns the request `tail`.
            unsafe { (*self.tail).__bindgen_anon_1.rq_next = rq };
        }
        self.tail = rq;
        self.len += 1;
    }

    /// Adds a request at the front.
    pub(crate) fn push_front(&mut self, request: Request<T>) {
        let rq = request.into_raw().as_ptr();
        // INVARIANT: The list follows the request, whose ownership moves to the list.
        // SAFETY: As in `push_back`.
        unsafe { (*rq).__bindgen_anon_1.rq_next = self.head };
        if self.tail.is_null() {
            self.tail = rq;
        }
        self.head = rq;
        self.len += 1;
    }

    /// Takes the first request.
    pub(crate) fn pop_front(&mut self) -> Option<Request<T>> {
        let rq = NonNull::new(self.head)?;
        // SAFETY: By the type invariant the list owns the request, and its link is valid.
        self.head = unsafe { rq.as_ref().__bindgen_anon_1.rq_next };
        if self.head.is_null() {
            self.tail = null_mut();
        }
        self.len -= 1;
        // INVARIANT: The list owned the request, and its ownership moves to the result.
        Some(Request(rq, PhantomData))
    }

    /// Adds all requests of `other` at the front, in their order.
    pub(crate) fn prepend(&mut self, other: Self) {
        let other = ManuallyDrop::new(other);
        let Some(tail) = NonNull::new(other.tail) else {
            return;
        };
        // INVARIANT: The requests of `other` come first, then those of `self`. `other` is never
        // dropped, so their ownership moves to `self`.
        // SAFETY: By the type invariant `tail` is a request of the list `other`.
        unsafe { (*tail.as_ptr()).__bindgen_anon_1.rq_next = self.head };
        if self.tail.is_null() {
            self.tail = tail.as_ptr();
        }
        self.head = other.head;
        self.len += other.len;
    }

    /// Borrows the first request.
    pub(crate) fn front(&self) -> Option<RequestRef<'_, T>> {
        let rq = NonNull::new(self.head)?;
        Some(RequestRef {
            // INVARIANT: The list owns the request. `RequestRef` gives shared access only, for as
            // long as it borrows the list, and never drops the request.
            request: ManuallyDrop::new(Request(rq, PhantomData)),
            _list: PhantomData,
        })
    }

    /// Borrows all requests in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = RequestRef<'_, T>> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            let rq = NonNull::new(next)?;
            // SAFETY: By the type invariant the list owns the request, and its link is valid.
            next = unsafe { rq.as_ref().__bindgen_anon_1.rq_next };
            Some(RequestRef {
                // INVARIANT: As in `front`.
                request: ManuallyDrop::new(Request(rq, PhantomData)),
                _list: PhantomData,
            })
        })
    }

    /// Whether any of the requests is a FUA write: see [`Request::is_fua`].
    pub(crate) fn is_fua(&self) -> bool {
        self.iter().any(|request| request.is_fua())
    }

    /// Like [`Request::charge`], with the cgroup of the first request. All requests must be charged
    /// to the same cgroup, as requests are that [may join](Request::may_join). `f` also gets an
    /// empty list.
    pub(crate) fn charge<R>(self, f: impl FnOnce(Self) -> R) -> R {
        let bio = self.front().map_or(null_mut(), |first| first.bio());
        // SAFETY: The bios of a request are valid when this is called; `f` may end the request.
        unsafe { cgroup::charge(bio, || f(self)) }
    }

    /// Ends all requests in their order with the same status.
    pub(crate) fn end(mut self, status: Status) {
        while let Some(request) = self.pop_front() {
            request.end(status);
        }
    }

    /// Moves all requests out of the list.
    pub(crate) fn take(&mut self) -> Self {
        take(self)
    }
}

impl<T: Operations> Drop for RequestList<T> {
    fn drop(&mut self) {
        while let Some(request) = self.pop_front() {
            drop(request);
        }
    }
}

/// A borrowed request of a list.
pub(crate) struct RequestRef<'a, T: Operations> {
    request: ManuallyDrop<Request<T>>,
    _list: PhantomData<&'a RequestList<T>>,
}

impl<T: Operations> Deref for RequestRef<'_, T> {
    type Target = Request<T>;

    fn deref(&self) -> &Request<T> {
        &self.request
    }
}

impl<T> RequestList<T>
where
    T: Operations,
    T::RequestData: WorkItem<Pointer = Self> + HasWork<T::RequestData>,
{
    /// Queues a work item for the list on the disk's workqueue. The work item passes the list to
    /// [`WorkItem::run`] of the requests' data. An empty list is dropped.
    pub(crate) fn enqueue(self) {
        let Some(front) = self.front() else {
            return;
        };
        let queue: *const ImmediateQueue = front.work_queue();
        // SAFETY: The workqueue lives for as long as the requests, which the work item owns from
        // now on. The work item can run only after it is queued, and this function does not use the
        // workqueue after that.
        unsafe { (*queue).enqueue(self) };
    }
}

// SAFETY: `__enqueue` uses the `work_struct` in the `Work` field of the first request's data.
// `Work::new` has initialised it with the `run` below, because `T::RequestData::Pointer` is
// `RequestList<T>`.
unsafe impl<T, const ID: u64> WorkItemPointer<ID> for RequestList<T>
where
    T: Operations,
    T::RequestData: WorkItem<ID, Pointer = Self> + HasWork<T::RequestData, ID>,
{
    unsafe extern "C" fn run(ptr: *mut bindings::work_struct) {
        // SAFETY: `__enqueue` has queued the `Work` field of a request's data.
        let data = unsafe { T::RequestData::work_container_of(ptr.cast::<Work<_, ID>>()) };
        // SAFETY: The data is a field of a pdu.
        let pdu = unsafe { kernel::container_of!(data, Pdu<T>, data) };
        // SAFETY: The pdu is behind its request.
        let rq = unsafe { pdu.cast::<bindings::request>().sub(1) };
        // SAFETY: The pointer is not null, and `__enqueue` has passed the ownership of the request
        // to us.
        let head = unsafe { Request::<T>::from_raw(NonNull::new_unchecked(rq)) };
        // SAFETY: We own the request, and no file operation is in flight.
        let mut list = unsafe { head.pdu().file_io.take_others() };
        list.push_front(head);
        <T::RequestData as WorkItem<ID>>::run(list);
    }
}

// SAFETY: The work is in the pdu of a request, which `self` owns, and the workqueue after that. The
// pdu lives for as long as the request.
unsafe impl<T, const ID: u64> RawWorkItem<ID> for RequestList<T>
where
    T: Operations,
    T::RequestData: WorkItem<ID, Pointer = Self> + HasWork<T::RequestData, ID>,
{
    type EnqueueOutput = ();

    unsafe fn __enqueue<F>(mut self, queue_work_on: F)
    where
        F: FnOnce(*mut bindings::work_struct) -> bool,
    {
        let Some(head) = self.pop_front() else {
            return;
        };
        // SAFETY: We own the request, and no file operation is in flight.
        unsafe { head.pdu().file_io.put_others(self) };
        let rq = head.into_raw().as_ptr();
        // SAFETY: The pdu is initialised, by the type invariant of `Request`.
        let data = unsafe { &raw mut (*Pdu::<T>::of(rq)).data };
        // SAFETY: `data` is valid.
        let work = unsafe { Work::raw_get(T::RequestData::raw_get_work(data)) };
        // We owned the request alone, so its work is not queued yet, and queueing can't fail.
        queue_work_on(work);
    }
}
