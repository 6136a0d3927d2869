# SPDX-License-Identifier: GPL-2.0
"""Sequential writes that need no waiting are made by the task that queues them.

Guards against three faults: all writes go through the workqueue because one has had to wait; a write
is tried at once again and again where that is always in vain; many small writes of a deep queue are
made one by one where the block layer would merge them.
"""

import re
import threading

import pytest

from zbd import MIB
from zbd.fio import fio_zones
from zbd.process import one_cpu

SMALL = {"capacity_mb": 128, "zone_size_mb": 32, "conv_zones": 1}
EAGAIN, EIOCBQUEUED = 11, 529


@pytest.fixture
def watch(tracing):
    """`watch("xfs")`: have all writes to files of this file system traced from now on."""

    def watch_file_system(name):
        tracing.add_kprobes(f"r:zloop_test {name}_file_write_iter done=$retval:s64")
        tracing.enable("kprobes/zloop_test")

    return watch_file_system


def write_zone(d, tracing, count, sectors):
    """Write to zone 1 that many times. Returns the number of writes that this task had done by itself, and the number
    of those that were only tried."""
    d.reset_zone(1)
    with tracing.recording():
        for at in range(0, count * sectors, sectors):
            d.write_zone(1, at, sectors)
    # Of each call: the thread, and the number of bytes or the error.
    calls = re.findall(r"-(\d+) +\[.* done=(-?\d+)$", tracing.read(), re.MULTILINE)
    in_vain = [call for call in calls if int(call[1]) == -EAGAIN]
    done = [int(thread) for thread, result in calls if int(result) == -EIOCBQUEUED or int(result) >= 0]
    at_once = done.count(threading.get_native_id())
    print(f"{at_once} of {count} at once, {len(in_vain)} tried in vain")
    assert len(done) == count
    return at_once, len(in_vain)


def check_nearly_all(fast_disk, watch, tracing, add, count, sectors):
    """A zone file has no time stamp to be changed by a write, so only the allocation of space, for 4 MiB at a time, has
    to wait."""
    watch("xfs")
    d = add(base_dir=fast_disk, **SMALL)
    at_once, _ = write_zone(d, tracing, count, sectors)
    assert 10 * at_once >= 9 * count


def test_small(fast_disk, watch, tracing, add):
    check_nearly_all(fast_disk, watch, tracing, add, count=1000, sectors=8)


def test_large(fast_disk, watch, tracing, add):
    check_nearly_all(fast_disk, watch, tracing, add, count=200, sectors=256)


@pytest.mark.scratch("ext4")
def test_never(watch, tracing, add):
    """ext4 can't make a file longer without waiting."""
    watch("ext4")
    d = add(**SMALL)
    at_once, in_vain = write_zone(d, tracing, count=2000, sectors=8)
    assert at_once == 0
    assert 0 < in_vain <= 40


def test_deep_queue_is_merged(fast_disk, add):
    """Writes wait in the zone's write plug while the first one of them is carried out by a worker, and are merged
    there. With several CPUs the worker may be done before fio, which shares them with all else on this machine, has
    queued the next one. On a busy machine one CPU does not prevent this in each run, so the best of three counts: 1,066
    to 5,512 requests were seen, and never less than 7,548 without the mechanism."""
    d = add(base_dir=fast_disk, **SMALL)

    def writes_and_sectors():
        stat = [int(value) for value in d.sysfs("stat").split()]
        return stat[4], stat[6]

    best = 8192
    for _ in range(3):
        before = writes_and_sectors()
        with one_cpu():
            fio_zones(d, rw="write", bs="4k", iodepth=16, offset="32M", size="32M", verify=0)
        requests, sectors = (now - then for now, then in zip(writes_and_sectors(), before, strict=True))
        print(f"{requests} requests for 8192 writes")
        assert sectors == 32 * MIB
        best = min(best, requests)
        if best <= 4096:
            break
        d.reset_zone(1)
    assert best <= 4096
