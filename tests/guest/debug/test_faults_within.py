# SPDX-License-Identifier: GPL-2.0
"""Allocations that fail, one after the other and at random, in all that the driver does; and requests that the block
layer fails before or below it.

Guards that there is an error and nothing else: no leak (kmemleak looks when all tests have run), no
hang, no id that stays taken, nothing half made.
"""

import itertools
import os
import random
import threading
from errno import EAGAIN, EINVAL, EIO, ENOMEM, ENOSPC
from pathlib import Path

import pytest

from zbd import FULL, OFFLINE, READONLY
from zbd.control import PATH as CONTROL
from zbd.errors import errno_of, name_of
from zbd.process import attempt, run

pytestmark = [pytest.mark.debug_kernel, pytest.mark.limit(300)]

DEBUG = Path("/sys/kernel/debug")
SMALL = {"capacity_mb": 16, "zone_size_mb": 2, "conv_zones": 2}
NUMBERS = range(2, 8)


def fault(name, **settings):
    """Set attributes of a fault: `fault("failslab", min_order=0)`."""
    for attribute, value in settings.items():
        (DEBUG / name / attribute.replace("_", "-")).write_text(str(value))


@pytest.fixture
def no_faults(defer):
    """At the end of the test nothing fails any more."""

    def reset():
        for name in "failslab", "fail_page_alloc", "fail_make_request":
            fault(name, probability=0, times=0, require_start=0, require_end=2**64 - 1)
        run("dmesg", "-n", "4")

    defer(reset)


@pytest.fixture
def all_allocations(no_faults):
    """All allocations may fail, not only those that can't wait."""
    fault("failslab", ignore_gfp_wait="N", verbose=0)
    fault("fail_page_alloc", ignore_gfp_wait="N", ignore_gfp_highmem="N", min_order=0, verbose=0)


def succeeds(errnos, function, *args):
    """Whether it does; if not, it fails with one of these errnos."""
    error = errno_of(function, *args)
    assert error is None or error in errnos, name_of(error)
    return error is None


def fail_nth(number, text):
    """Write a command, whose allocation of this number fails: whether it succeeded, and whether there was such an
    allocation. fail-nth counts the allocations of one task."""
    fail = os.open(f"/proc/self/task/{threading.get_native_id()}/fail-nth", os.O_RDWR)
    control = os.open(CONTROL, os.O_WRONLY)
    try:
        os.write(fail, str(number).encode())
        ok = succeeds((ENOMEM, EIO, EINVAL, ENOSPC), os.write, control, text.encode())
        left = int(os.pread(fail, 20, 0).split(b"\0")[0])
        os.pwrite(fail, b"0", 0)
        return ok, left == 0
    finally:
        os.close(control)
        os.close(fail)


def some_numbers():
    """Of the many allocations in the block layer and the file system every third will do."""
    return itertools.chain(range(1, 40), itertools.count(40, 3))


def test_each_allocation_of_a_command(all_allocations, control, base_dir):
    """The first allocation of a command fails, then only the second, and so on until none is left. A command that
    fails leaves nothing; one that succeeds, though something failed (an allocation that can be done without), does
    all."""
    device = Path("/sys/block/zloop0")
    add = f"add id=0,base_dir={base_dir},capacity_mb=3,zone_size_mb=1,conv_zones=1"
    (base_dir / "0").mkdir()
    failed = 0
    for number in some_numbers():
        ok, there_was_one = fail_nth(number, add)
        assert device.exists() == ok, f"allocation {number}"
        if not ok:
            # Nothing stays that makes the next one fail.
            failed += 1
            control.write(add)
        control.remove(0)
        if not there_was_one:
            break
    print(f"add: {number - 1} allocations, {failed} failed it")
    assert number >= 50
    assert failed >= 30

    for number in some_numbers():
        control.write(add)
        ok, there_was_one = fail_nth(number, "remove id=0")
        assert device.exists() != ok, f"allocation {number}"
        if not ok:
            control.remove(0)
        if not there_was_one:
            break
    print(f"remove: {number - 1} allocations")


class Load:
    """Requests of all kinds, some of which fail. Data whose write was acknowledged are there."""

    def __init__(self, device):
        self.device = device
        self.random = random.Random(3)
        self.failures = 0
        self.written = {nr: [] for nr in NUMBERS}
        self.conventional = {}

    def attempt(self, function, *args):
        ok = succeeds((EIO, ENOMEM, EAGAIN), function, *args)
        self.failures += not ok
        return ok

    def look_at(self, nr):
        """A zone that could not be looked at is read-only or offline until that succeeds."""
        for _ in range(1000):
            zone = self.device.zone(nr)
            if zone.cond not in (READONLY, OFFLINE):
                return zone
        raise AssertionError(f"it stays {zone}")

    def is_emptied(self, nr):
        """A reset that fails may have emptied the file. The zone is open then if it was."""
        return self.look_at(nr).wp == 0

    def write(self, nr, seed):
        zone = self.look_at(nr)
        if zone.cond is FULL:
            if self.attempt(self.device.reset_zone, nr) or self.is_emptied(nr):
                self.written[nr] = []
            return
        count = min(self.random.choice((8, 8, 64, 512)), zone.capacity - zone.wp)
        if self.attempt(self.device.write_zone, nr, zone.wp, count, seed):
            self.written[nr].append((zone.wp, count, seed))
        else:
            after = self.look_at(nr)
            assert after.cond is not FULL
            assert zone.wp <= after.wp < zone.wp + count

    def step(self, seed):
        nr, kind = self.random.choice(NUMBERS), self.random.random()
        d = self.device
        if kind < 0.5:
            self.write(nr, seed)
        elif kind < 0.7:
            at = self.random.randrange(0, 500) * 8
            self.conventional.pop(at, None)
            if self.attempt(d.write, at, 8, seed):
                self.conventional[at] = seed
        elif kind < 0.8:
            self.attempt(d.flush)
        elif kind < 0.9 and self.written[nr]:
            self.attempt(d.check_zone, nr, *self.random.choice(self.written[nr]))
        elif kind < 0.93:
            self.attempt(d.finish_zone, nr)
        elif kind < 0.95:
            done = self.attempt(d.reset_all_zones)
            self.written = {nr: [] if done or self.is_emptied(nr) else self.written[nr] for nr in NUMBERS}
        else:
            self.attempt(d.open_zone, nr)
            self.attempt(d.close_zone, nr)

    def check(self):
        for nr, writes in self.written.items():
            for write in writes:
                self.device.check_zone(nr, *write)
        for at, seed in self.conventional.items():
            self.device.check(at, 8, seed)


@pytest.mark.scratch("ext4")
@pytest.mark.c_driver_may_fail(35)
def test_failing_allocations_in_io(all_allocations, add):
    """Every request's allocations fail at random; data that were acknowledged are there, and those that failed are
    not. It is on ext4: XFS does not fail for lack of memory, but has the kernel complain of it."""
    d = add(**SMALL)
    # The allocations in the driver's code only.
    module = next(line.split() for line in Path("/proc/modules").read_text().splitlines() if line.startswith("zloop "))
    start, size = int(module[5], 16), int(module[1])
    fault("failslab", require_start=hex(start), require_end=hex(start + size), stacktrace_depth=32)
    fault("failslab", probability=20, times=-1, interval=1)
    load = Load(d)
    for seed in range(1000):
        load.step(seed)
    fault("failslab", probability=0)
    load.check()
    d.flush()
    d.reset_all_zones()
    for nr in NUMBERS:
        d.write_zone(nr, 0, 8)
    print(load.failures, "failures")


def test_failing_requests_below(no_faults, add, failing_disk):
    """The block layer fails requests to the disk below the file system, which has no journal: its failure would end
    all writing."""
    disk = failing_disk("ext4", 96)
    d = add(base_dir=disk.mount_point, **SMALL)
    make_it_fail = Path(f"/sys/block/{disk.mapping.device.name}/make-it-fail")
    make_it_fail.write_text("1")
    fault("fail_make_request", probability=20, times=-1, interval=1, verbose=0)
    rnd = random.Random(3)
    failures = 0
    written = {nr: [] for nr in NUMBERS}
    for seed in range(600):
        nr = 2 + seed % 6
        try:
            zone = d.zone(nr)
            if zone.cond is FULL:
                d.reset_zone(nr)
                written[nr] = []
                continue
            count = min(rnd.choice((8, 64)), zone.capacity - zone.wp)
            d.write_zone(nr, zone.wp, count, seed)
            written[nr].append((zone.wp, count, seed))
            if seed % 50 == 0:
                d.flush()
        except OSError as error:
            if error.errno != EIO:
                raise
            failures += 1
    fault("fail_make_request", probability=0)
    assert failures
    for nr, writes in written.items():
        d.zone(nr)
        for write in writes:
            d.check_zone(nr, *write)
    d.reset_all_zones()
    d.write_zone(2, 0, 8)
    print(failures, "failures")
    make_it_fail.write_text("0")


def test_failing_requests_above(no_faults, add):
    """It fails requests to the device itself, before the driver sees them."""
    d = add(**SMALL)
    make_it_fail = Path("/sys/block/zloop0/make-it-fail")
    make_it_fail.write_text("1")
    fault("fail_make_request", probability=30, times=-1, interval=1, verbose=0)
    options = "--name=above --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k --size=4M --io_size=16M"
    attempt("fio", *options.split(), f"--filename={d.path}", "--continue_on_error=all")
    fault("fail_make_request", probability=0)
    make_it_fail.write_text("0")
    d.write(0, 64, 3)
    d.check(0, 64, 3)
