# SPDX-License-Identifier: GPL-2.0
"""Requests whose end gets lost (fail_io_timeout): they end with an error when their time is over, and the device
works on.

The C driver loses the end, too, and has nothing that ends the request then: its sender waits for
ever.
"""

import time
from errno import EIO, ETIMEDOUT
from pathlib import Path

import pytest

from zbd import FULL
from zbd.errors import errno_of
from zbd.process import attempt
from zbd.threads import Threads

pytestmark = pytest.mark.debug_kernel

FAULTS = Path("/sys/kernel/debug/fail_io_timeout")


@pytest.fixture
def device(add, defer):
    d = add(capacity_mb=32, zone_size_mb=2, conv_zones=2)
    Path("/sys/block/zloop0/queue/io_timeout").write_text("1000")
    defer((FAULTS / "probability").write_text, "0")
    return d


def lose(count):
    """The next `count` ends get lost."""
    for name, value in ("probability", 100), ("verbose", 0), ("times", count):
        (FAULTS / name).write_text(str(value))
    Path("/sys/block/zloop0/io-timeout-fail").write_text("1")


def write_at_wp(device, nr):
    """Whether a write at the write pointer that is reported succeeds, if the zone is not full."""
    zone = device.zone(nr)
    return zone.cond is FULL or errno_of(device.write_zone, nr, zone.wp, 8) is None


@pytest.mark.c_driver_fails(27)
def test_defect_27_lost_end_times_out(device):
    """Each kind of request fails with ETIMEDOUT, and its work is done, as with a drive whose answer got lost."""
    d = device
    d.write_zone(2, 0, 8)
    for request, *arguments in (
        (d.pread, 2 * d.zone_sectors, 8),
        (d.write, 0, 8, 5),
        (d.write_zone, 3, 0, 8),
        (d.flush,),
        (d.open_zone, 4),
        (d.close_zone, 4),
        (d.finish_zone, 5),
        (d.reset_zone, 2),
        (d.reset_all_zones,),
    ):
        lose(1)
        # The page cache has its own idea of errors: fsync passes on the one that it was told.
        assert errno_of(request, *arguments) in (ETIMEDOUT, EIO), request
        lose(0)
        # Wherever the pointers are, the device and its report agree. The block layer keeps its own pointer of a zone
        # whose reset failed, and refuses one write before it asks.
        for nr in 2, 3:
            assert write_at_wp(d, nr) or write_at_wp(d, nr), request
    d.check(0, 8, 5)


def test_many_lost_ends(device):
    """Many at once, queues full of them."""
    lose(200)
    options = "--name=lost --direct=1 --ioengine=libaio --iodepth=64 --rw=randrw --bs=4k --size=4M --io_size=8M"
    attempt("fio", *options.split(), f"--filename={device.path}", "--continue_on_error=all")
    lose(0)
    device.write(0, 64, 3)
    device.check(0, 64, 3)


def test_remove_waits_for_lost_ends(device, control):
    """A removal meanwhile is refused, or waits for them."""
    lose(4)
    with Threads() as threads:
        for nr in range(1, 5):
            threads.start(errno_of, device.pread, 8 * nr, 8)
        time.sleep(0.3)
        errno_of(control.remove, 0)
    device.close()
    if device.exists:
        device.remove()
