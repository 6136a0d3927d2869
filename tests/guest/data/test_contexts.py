# SPDX-License-Identifier: GPL-2.0
"""The file system below is entered for a request only by plain tasks and by the driver's own workers.

Guards against entering it where a request happens to be queued from: a kworker of the block layer, or
another kernel thread, the reclaim of memory, another file system's transaction. There a file system that
allocates, or waits for its log, can hold up the very thing that it waits for.
"""

import itertools
import os
import random
import re

import pytest

from zbd import MIB, cgroup
from zbd import filesystem as fs
from zbd.cgroup import Cgroup
from zbd.child import Child
from zbd.dm import Mapping
from zbd.fio import fio, fio_zones
from zbd.process import run, write_setting

pytestmark = pytest.mark.limit(300)

NO_VERIFY = {"verify": 0, "do_verify": 0}


@pytest.fixture
def entries(tracing, defer):
    """`with entries.recording(): ...` traces all entries into XFS for reads and writes, with their callers."""
    tracing.add_kprobes(*(f"p:zloop_test/{name} xfs_file_{name}_iter" for name in ("read", "write")))
    defer(tracing.write, "buffer_size_kb", "64")
    tracing.write("buffer_size_kb", "16384")
    defer(tracing.clear)
    for name in "read", "write":
        trigger = f"events/zloop_test/{name}/trigger"
        tracing.write(trigger, "stacktrace")
        defer(tracing.write, trigger, "!stacktrace")
    tracing.enable("zloop_test")
    return tracing


def count(tracing):
    """The entries by tasks that queued a request themselves, and those by workers that did not queue one. No kernel
    thread may have queued one, and no task in reclaim."""
    tasks, workers, wrong = 0, 0, []
    for text in tracing.read().split("<stack trace>\n")[1:]:
        stack = "\n".join(itertools.takewhile(lambda line: line.startswith(" => "), text.splitlines()))
        queues = "blk_mq" in stack
        is_thread = re.search("=> (kthread|worker_thread)", stack)
        if queues and (is_thread or re.search("=> (shrink_|try_to_free|__alloc_pages_direct_reclaim)", stack)):
            wrong.append(stack)
        elif queues:
            tasks += 1
        elif is_thread:
            workers += 1
    print(f"entries by tasks: {tasks}, by workers: {workers}, wrong: {len(wrong)}")
    print("\n\n".join(wrong[:4]))
    assert not wrong
    return tasks, workers


def test_zone_write_plugs(add, entries):
    """Of several regular writes to a zone at a time the first one comes from the task, the next ones from the kworker
    of the zone write plugs."""
    d = add(capacity_mb=64, zone_size_mb=16, conv_zones=1)
    d.write_zone(1, 0, 64)
    with entries.recording():
        where = {"offset": "32M", "size": "16M", "io_size": "4M"}
        fio_zones(d, **NO_VERIFY, **where, rw="write", bs="4k", ioengine="io_uring", iodepth=16)
    _, workers = count(entries)
    assert workers > 0


def test_tasks(add, entries):
    """Plain tasks enter the file system themselves."""
    d = add(capacity_mb=64, zone_size_mb=16, conv_zones=1)
    d.write(0, 2048)
    with entries.recording():
        fio(d, **NO_VERIFY, size="1M", rw="randrw", bs="4k", io_size="1M", ioengine="psync")
    tasks, _ = count(entries)
    assert tasks > 100


def test_writeback(add, entries):
    """The page cache is written back."""
    d = add(capacity_mb=64, zone_size_mb=16, conv_zones=3)
    d.write(0, 2048)
    with entries.recording():
        fio(d, **NO_VERIFY, direct=0, size="32M", rw="randwrite", bs="4k", io_size="16M", ioengine="psync")
        d.flush()
    _, workers = count(entries)
    assert workers > 0


def test_xfs_on_xfs(add, entries, mounted):
    """XFS on XFS takes the transactions of its log for its own."""
    d = add(capacity_mb=512, zone_size_mb=16, conv_zones=24)
    fs.make("xfs", d.path)
    files = mounted(d.path, "xfs")
    with entries.recording():
        jobs = ["--numjobs=4", "--nrfiles=64", "--filesize=16k", "--bs=4k", "--io_size=1M", "--fsync=4"]
        run("fio", "--name=files", f"--directory={files}", *jobs, "--rw=randwrite", "--ioengine=psync")
        for file in files.iterdir():
            file.unlink()
        os.sync()
    count(entries)


def use_memory(seed):
    """Fill 16 MiB, and find it again."""

    def contents(number):
        return random.Random(f"{seed} {number}").randbytes(64) * 64

    pages = [bytearray(contents(number)) for number in range(4096)]
    assert all(page == contents(number) for number, page in enumerate(pages))


@pytest.mark.stock_kernel
def test_swap(add, entries, defer):
    """Three tasks together have more memory than they may keep, and swap space on the device. The debug kernel has no
    cgroup that limits memory."""
    d = add(capacity_mb=288, zone_size_mb=16, conv_zones=16, nr_queues=4)
    swap = Mapping("swap", f"0 {256 * MIB} linear {d.path} 0")
    defer(swap.remove)
    run("mkswap", swap.path)
    run("swapon", swap.path)
    defer(run, "swapoff", swap.path)
    write_setting(cgroup.ROOT / "cgroup.subtree_control", "+memory")
    defer(write_setting, cgroup.ROOT / "cgroup.subtree_control", "-memory")
    group = Cgroup("zloop_test")
    defer(group.remove)
    defer(group.kill)
    group.set("memory.max", "48M")
    with entries.recording():
        for child in [Child(group.add, use_memory, seed) for seed in (1, 2, 3)]:
            child.wait()
    _, workers = count(entries)
    assert int(d.sysfs("stat").split()[6]) > 20000, "nothing was swapped"
    assert workers > 100, "no swapping went through the workers"
