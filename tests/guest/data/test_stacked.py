# SPDX-License-Identifier: GPL-2.0
"""Block devices on block devices, and little memory.

Guards requests that are submitted by the task that queues them: that task may be in the middle of another
device's submission, with a plug, a list of bios and a transaction of the file system above on its hands,
and many levels down its stack. So there are zone files on a file system on another zoned loop device, on a
loop device, and on a zoned disk of another kind, each under batches of 64 requests; and all of it while
memory is being reclaimed.
"""

import mmap
import os
import signal
from pathlib import Path

import pytest

from zbd import MIB, btrfs, syscalls
from zbd import filesystem as fs
from zbd.child import Child
from zbd.dm import Mapping
from zbd.driver import unload
from zbd.fio import fio, fio_files, fio_zones
from zbd.process import modprobe, run
from zbd.threads import Threads

pytestmark = pytest.mark.limit(300)

CONFIG = "/sys/kernel/config"
BATCH = {"ioengine": "io_uring", "iodepth": 64, "iodepth_batch_submit": 64}
NO_VERIFY = {"verify": 0, "do_verify": 0}
SMALL = {"capacity_mb": 96, "zone_size_mb": 4, "conv_zones": 4, "nr_queues": 2}
LARGE = {"capacity_mb": 1024, "zone_size_mb": 16}


@pytest.fixture
def batches(mounted, add):
    """`batches(device, "xfs")`: add device 1 on this file system on a device, and have it do 64 requests at once, of
    which many make up one batch."""

    def run_batches(device, fs_type, **options):
        d = add(id=1, base_dir=mounted(device, fs_type), **SMALL, **options)
        batch = BATCH | {"iodepth_batch_complete_min": 32}
        sequential = {"offset": "16M", "size": "64M"}
        fio(d, **batch, size="16M", rw="randwrite", bs="4k", io_size="4M")
        fio_zones(d, **batch, **sequential, rw="randwrite", bs="16k", io_size="12M")
        # Requests of several tasks, with writeback of the page cache beside them.
        tasks = {"direct": 0, "ioengine": "psync", "numjobs": 2, "offset_increment": "8M", "fdatasync": 64}
        fio(d, **tasks, size="8M", rw="randwrite", bs="4k", io_size="2M")
        fio_zones(d, **batch, **sequential, **NO_VERIFY, rw="randrw", bs="4k", io_size="4M", norandommap=1)
        d.remove()

    return run_batches


@pytest.fixture
def add_null_blk(defer):
    """`add_null_blk(size=512)`: a zoned disk of another kind, /dev/stacked. It has `size` MiB."""

    def add_disk(**settings):
        run("modprobe", "null_blk", "nr_devices=0")
        defer(unload, "null_blk")
        if not os.path.ismount(CONFIG):
            syscalls.mount("configfs", CONFIG, "configfs")
        disk = Path(CONFIG) / "nullb/stacked"
        disk.mkdir()
        defer(disk.rmdir)
        for name, value in ({"memory_backed": 1, "blocksize": 4096, "zone_size": 16, "zoned": 1} | settings).items():
            (disk / name).write_text(str(value), encoding="ascii")
        (disk / "power").write_text("1", encoding="ascii")
        defer((disk / "power").write_text, "0")
        return "/dev/stacked"

    return add_disk


@pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])
def test_on_zloop_xfs(add, batches, buffered_io):
    lower = add(**LARGE, conv_zones=24)
    fs.make("xfs", lower.path)
    batches(lower.path, "xfs", buffered_io=buffered_io)


def test_on_zloop_btrfs(add, batches):
    lower = add(**LARGE, conv_zones=4)
    btrfs.make(lower.path)
    batches(lower.path, "btrfs")


def test_on_loop(scratch, defer, batches):
    modprobe("loop")
    image = scratch / "image"
    image.touch()
    os.truncate(image, 512 << 20)
    device = run("losetup", "-f", "--show", "--direct-io=on", "-b", "4096", image).strip()
    defer(run, "losetup", "-d", device)
    fs.make("ext4", device)
    batches(device, "ext4")


def test_on_zoned_null_blk(add_null_blk, batches):
    disk = add_null_blk(size=512, zone_nr_conv=8)
    fs.make("f2fs", disk, "-m")
    batches(disk, "f2fs")


def test_beside_the_disk_below(add_null_blk, defer, mounted, add):
    """A task that submits to the device and to the disk below in one batch holds, when the device's requests are to
    be carried out, all that the disk has for requests. They must not be waited for then: they leave after the
    device's."""
    disk = add_null_blk(size=1024, zoned=0, hw_queue_depth=4, no_sched=1)
    halves = []
    for part in 0, 1:
        halves.append(Mapping(f"half{part}", f"0 {512 * MIB} linear {disk} {part * 512 * MIB}"))
        defer(halves[part].remove)
    fs.make("xfs", halves[0].path)
    d = add(id=1, base_dir=mounted(halves[0].path, "xfs"), capacity_mb=64, zone_size_mb=4, conv_zones=8)
    for at in range(0, 16 * MIB, MIB):
        d.pwrite(at, bytes(1 << 20))
    d.flush()
    for files in f"{d.path}:{halves[1].path}", f"{halves[1].path}:{d.path}":
        where = {"filename": files, "file_service_type": "roundrobin", "size": "32M", "io_size": "4M"}
        fio(d, **where, rw="randwrite", bs="4k", iodepth=8, iodepth_batch_submit=8, iodepth_batch_complete_min=8)


def test_durable_on_zoned_btrfs(add_null_blk, mounted, add):
    """While several files are made durable at once, btrfs on a zoned disk fails fsync and O_DSYNC writes with EAGAIN
    now and then. A flush or a FUA write does not."""
    disk = add_null_blk(size=1024, zone_nr_conv=4)
    btrfs.make(disk)
    d = add(id=1, base_dir=mounted(disk, "btrfs"), capacity_mb=128, zone_size_mb=4, conv_zones=16)
    tasks = {"sync": "dsync", "ioengine": "psync", "numjobs": 15, "offset_increment": "4M"}
    fio(d, **NO_VERIFY, **tasks, size="1M", rw="randwrite", bs="4k", norandommap=1, number_ios=400)


def take_memory(done):
    """Take and keep memory, so that there is little left without waiting, and writeback makes it free."""
    Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    held = []
    while int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0]) > 48 << 10:
        held.append(mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
    os.write(done, b"1")
    signal.pause()


def pages_scanned():
    """How many pages were looked at to make some free."""
    counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return int(counters["pgscan_direct"]) + int(counters["pgscan_kswapd"])


def test_little_memory(add, mounted, defer):
    """A file system on the device is written through the page cache, beside direct I/O."""
    lower = add(capacity_mb=512, zone_size_mb=16, conv_zones=24)
    d = add(id=1, **SMALL)
    fs.make("xfs", lower.path)
    files = mounted(lower.path, "xfs")
    taken, done = os.pipe()
    hog = Child(lambda: None, take_memory, done)
    defer(hog.kill)
    os.close(done)
    assert os.read(taken, 1)
    os.close(taken)
    before = pages_scanned()
    with Threads() as threads:
        threads.start(lambda: fio_files(files, nrfiles=2, size="32M", bs="64k", fsync=0))
        threads.start(lambda: fio_zones(d, **BATCH, offset="16M", size="64M", rw="randwrite", bs="16k", io_size="16M"))
    os.sync()
    assert pages_scanned() != before
    fs.umount(files)
    run("xfs_repair", "-n", lower.path)
