// SPDX-License-Identifier: GPL-2.0

//! What a driver can't do wrong, because it doesn't compile.
//!
//! `tests/style misuse` builds the driver with this module in it, and wants just the errors that
//! are named at the ends of lines. Each of them is a use of `kernel_ext` that would be undefined
//! behaviour, in code that is not `unsafe`.

use crate::device::queue_rq::ZloopQueue;

use crate::kernel_ext::{
    block::{
        plug::NestedIoScope,
        zoned_mq::{
            Disk,
            IdleRequest,
            Request,
            RequestList, //
        },
        Status, //
    },
    debugfs::Directory,
    module::ModuleRef,
    workqueue::OwnedQueue, //
};

use kernel::prelude::*;

fn needs_send<T: Send>(_: T) {}

/// It would be queued again while it is under way.
fn start_and_give_back(request: IdleRequest<ZloopQueue>) -> Result<(), IdleRequest<ZloopQueue>> {
    drop(request.start());
    Err(request) //~ E0382
}

/// It could be given back in the place of another one.
fn send_idle(request: IdleRequest<ZloopQueue>) {
    needs_send(request); //~ E0277
}

fn end_twice(request: Request<ZloopQueue>) {
    request.end(Status::OK);
    request.end(Status::OK); //~ E0382
}

fn look_at_ended(list: &mut RequestList<ZloopQueue>) -> bool {
    let first = list.front();
    drop(list.pop_front()); //~ E0502
    first.is_some()
}

/// The block layer would give back a reference to another zone.
fn move_write(request: &mut Request<ZloopQueue>) {
    request.set_sector(0); //~ E0599
}

fn move_append_while_shared(request: &Request<ZloopQueue>) {
    drop(request.as_append()); //~ E0596
}

/// The pages of a write may be read-only, and a discard has none.
fn fill_any(request: &Request<ZloopQueue>) {
    request.fill_zero_after(0); //~ E0599
}

/// The task would go on with the plug that it had first, whose stack frame may be gone.
fn plug_twice(scope: &mut NestedIoScope) {
    let again = &mut *scope;
    scope.with_plug(1, |_| again.with_plug(1, |_| ())); //~ E0499
}

/// It is on the stack.
fn keep_plug(scope: &mut NestedIoScope) {
    let mut kept = None;
    scope.with_plug(1, |plug| kept = Some(plug)); //~ E0521
}

/// A timer would find the queue gone.
fn delay<W>(queue: &OwnedQueue, work: W) {
    queue.enqueue_delayed(work, 1); //~ E0599
}

/// It would be removed twice.
fn outlive_parent(parent: Directory) -> Directory {
    Directory::new(c"child", Some(&parent)) //~ E0308
}

/// The module's code could be gone before it was left.
fn keep_module_that_does_not_wait(_: ModuleRef<crate::ZloopModule>) {} //~ E0277

fn revalidate_shared(disk: &Disk<ZloopQueue>) -> Result {
    disk.revalidate_zones() //~ E0596
}
