# SPDX-License-Identifier: GPL-2.0
"""Devices that come and go.

Guards against leaks (ids, files, memory, references to the module or to the file system below),
and against a removal that hangs or crashes while there is work under way.
"""

import contextlib
import os
import random
import subprocess
import time
from errno import EBUSY, EEXIST, EINVAL, ENODEV
from pathlib import Path

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, pattern, syscalls
from zbd.child import Child
from zbd.control import PATH as CONTROL
from zbd.control import command
from zbd.device import ZonedDevice
from zbd.errors import errno_of
from zbd.filesystem import umount
from zbd.memory import unreclaimable
from zbd.sector_data import verify
from zbd.threads import Threads, in_parallel

pytestmark = pytest.mark.limit(300)

GEOMETRY = {"capacity_mb": 16, "zone_size_mb": 1, "conv_zones": 1}


def references():
    """References to the module."""
    return int(Path("/sys/module/zloop/refcnt").read_text())


def test_fifty_times(base_dir, add, image_file):
    image_file("ext4", 64, base_dir)

    def kernel_objects():
        """Caches and devices of the kernel."""
        return len(Path("/proc/slabinfo").read_text().splitlines()), len(os.listdir("/sys/devices/virtual/bdi"))

    d = add(**GEOMETRY)
    d.remove()
    before = kernel_objects()
    for _ in range(50):
        d.add()
        d.remove()
    assert kernel_objects() == before
    assert references() == 0
    umount(base_dir, patience=0)


def test_memory(add):
    """Twenty adds and removes leave no more memory in use. The part that can't be reclaimed is measured, and a device
    of 1000 zones takes enough of it to see."""
    d = add(capacity_mb=1000, zone_size_mb=1, conv_zones=1)

    def used_after(rounds):
        """KiB."""
        for _ in range(rounds):
            d.add_again()
        d.remove()
        os.sync()
        return sum(unreclaimable().values())

    before = used_after(2)
    d.add()
    # 20 devices of 1000 zones at no more than 100 bytes a zone.
    assert used_after(19) - before < 2000


def test_module_comes_and_goes(driver, add):
    d = add(**GEOMETRY)
    d.remove()
    for _ in range(10):
        syscalls.delete_module("zloop")
        assert not os.path.exists(CONTROL)
        driver.load()
        d.add()
        d.reset_zone(3)
        d.remove()
    assert references() == 0


def test_references(base_dir, control, add):
    """Only devices have references to the module, and give them back however they go."""
    assert references() == 0
    devices = [add(id=id, **GEOMETRY) for id in (0, 1)]
    assert references() >= 2
    for text in (
        command("add", id=0, base_dir=base_dir, **GEOMETRY),
        command("add", id=5, base_dir="/nowhere", **GEOMETRY),
        "add foo",
        "remove id=9",
    ):
        errno_of(control.write, text)
    for d in devices:
        d.remove()
    assert references() == 0


def test_many_devices(add):
    devices = [add(id=id, **GEOMETRY) for id in range(24)]
    for d in devices:
        d.write_zone(3, 0, 64, d.id)
        d.close()
    for d in devices:
        reader = ZonedDevice(d.path, os.O_RDONLY | os.O_DIRECT)
        reader.check_zone(3, 0, 64, d.id)
        reader.close()
    for d in devices[::-2]:
        d.remove()
    for d in devices[::2]:
        d.check_zone(3, 0, 64, d.id)
        d.remove()


def test_adds_at_once(base_dir, control):
    """From many tasks at once: each id is given once, nothing is lost."""
    for id in range(12):
        (base_dir / str(id)).mkdir()

    def at_once(*texts):
        """The errno of each of these commands, None for success."""
        errnos = []
        in_parallel(lambda text: errnos.append(errno_of(control.write, text)), texts)
        return errnos

    for _ in range(5):
        # Eight without an id get eight ids.
        assert at_once(*[command("add", base_dir=base_dir, **GEOMETRY)] * 8) == [None] * 8
        assert all(os.path.exists(f"/dev/zloop{id}") for id in range(8))
        assert at_once(*[f"remove id={id}" for id in range(8)]) == [None] * 8
        # One of eight gets the one id.
        errnos = at_once(*[command("add", id=0, base_dir=base_dir, **GEOMETRY)] * 8)
        assert errnos.count(None) == 1
        assert set(errnos) <= {None, EEXIST, EBUSY}
        # And one removes it.
        errnos = at_once(*["remove id=0"] * 8)
        assert errnos.count(None) == 1
        assert set(errnos) <= {None, ENODEV, EINVAL, EBUSY}
        assert not os.path.exists("/sys/block/zloop0")
    assert references() == 0


@pytest.mark.parametrize("engine", ["psync", "libaio", "io_uring"])
def test_remove_under_load(scratch, add, engine):
    """fio has it merely open: the device goes, fio gets errors, nothing hangs."""
    d = add(capacity_mb=64, zone_size_mb=4, conv_zones=4, nr_queues=2, max_open_zones=4)
    job = (
        f"--filename={d.path} --direct=1 --ioengine={engine} --iodepth=8 --rw=randrw --time_based --runtime=60 "
        "--norandommap=1"
    )
    zones = "--zonemode=zbd --zone_reset_frequency=0.1 --zone_reset_threshold=0.3 --max_open_zones=4"
    jobs = f"--name=seq {job} {zones} --offset=16M --size=48M --bs=16k --name=conv {job} --offset=0 --size=16M --bs=4k"
    output = scratch / "log"
    with output.open("w") as file:
        fio = subprocess.Popen(["fio", *jobs.split()], stdout=file, stderr=subprocess.STDOUT)

    def writes():
        return int(d.sysfs("stat").split()[4])

    while writes() <= 50:
        assert fio.poll() is None, output.read_text()
        time.sleep(0.2)
    d.remove()
    fio.wait(timeout=30)
    # It comes back, and every zone is as its file says.
    d.add()
    for nr, zone in list(enumerate(d.zones()))[4:]:
        size = d.zone_file_sectors(nr)
        state = (FULL, None) if size == zone.capacity else (CLOSED if size else EMPTY, size)
        assert (zone.cond, zone.wp) == state
        if zone.wp is not None:
            d.write_zone(nr, zone.wp, 8)
    d.reset_all_zones()
    d.remove()
    assert references() == 0


@pytest.mark.c_driver_may_fail("the kernel stopped once, in blk_mq_end_request()")
def test_remove_under_zone_commands(control, add):
    """The same with zone commands under way."""
    d = add(capacity_mb=32, zone_size_mb=1, conv_zones=1, max_open_zones=3)

    def work(seed):
        rnd = random.Random(seed)
        commands = [
            d.open_zone,
            d.close_zone,
            d.finish_zone,
            d.reset_zone,
            lambda nr: d.write_at_wp(nr, 8),
            lambda nr: d.zones(),
            lambda nr: d.flush(),
        ]
        while d.exists:
            # A full zone has no write pointer, a removed device no zones.
            with contextlib.suppress(OSError, AssertionError, IndexError):
                rnd.choice(commands)(rnd.randrange(1, 32))

    for turn in range(5):
        if turn:
            d.add()
        with Threads() as threads:
            workers = [threads.start(work, seed) for seed in range(6)]
            time.sleep(2)
            # The threads have it open.
            control.remove(0)
            for worker in workers:
                worker.join(30)
                assert not worker.is_alive()
        d.close()
    assert references() == 0


@pytest.mark.parametrize("buffered_io", [False, True])
def test_remove_loses_nothing(add, buffered_io):
    """Removal loses no write that had completed."""
    d = add(buffered_io=buffered_io, **GEOMETRY)
    for turn in 1, 2, 3:
        d.reset_all_zones()
        for nr in range(1, 16):
            d.write_zone(nr, 0, 8 * nr, turn)
        d.write(0, 1024, turn)
        d.add_again()
        for nr in range(1, 16):
            d.check_zone(nr, 0, 8 * nr, turn)
            assert (d.zone(nr).cond, d.zone(nr).wp) == (CLOSED, 8 * nr)
        d.check(0, 1024, turn)
        d.add_again()
    # Nor one that sits in the device's own page cache.
    Path(d.path).write_bytes(pattern(0, MIB, 4))
    d.remove()
    verify(d.zone_file(0).read_bytes(), 0, 4)


@pytest.mark.c_driver_may_fail("its code may be gone when it goes on")
def test_unload_during_the_last_close(driver, log, add, tracing, defer):
    """The last reference to the module is given back by code of the module, when a removed disk is closed. A task with
    a higher priority takes the CPU from that code then, and the module is unloaded meanwhile."""
    if os.cpu_count() < 2:
        pytest.skip("it needs a second CPU")
    limit = Path("/proc/sys/kernel/sched_rt_runtime_us")
    defer(limit.write_text, limit.read_text())
    limit.write_text("-1")
    # Events of other tests would be taken for the one that is awaited.
    tracing.write("tracing_on", "1")
    tracing.clear()
    # A count of one is the base: nobody has a reference any more.
    event = "module/module_put"
    defer(tracing.write, f"events/{event}/filter", "0")
    tracing.write(f"events/{event}/filter", 'name == "zloop" && refcnt == 1')
    tracing.enable(event)
    log.mark()
    d = add(**GEOMETRY)
    disk = os.open(d.path, os.O_RDONLY)
    go, say_go = os.pipe()
    closing, say_closing = os.pipe()

    def take_last_cpu(priority):
        os.sched_setaffinity(0, {os.cpu_count() - 1})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))

    def close_disk():
        os.read(go, 1)
        time.sleep(0.5)
        take_last_cpu(1)
        os.close(disk)

    def hold_up():
        os.close(disk)
        events = os.open("/sys/kernel/tracing/trace_pipe", os.O_RDONLY)
        take_last_cpu(2)
        os.read(events, 1)
        os.write(say_closing, b"x")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            pass

    closer, holder = (Child(lambda: None, function) for function in (close_disk, hold_up))
    os.close(disk)
    d.remove()
    os.write(say_go, b"x")
    os.read(closing, 1)
    syscalls.delete_module("zloop")
    if closer.is_alive:
        print("unloaded before the disk was closed")
    closer.wait()
    holder.wait()
    driver.load()
    assert not [line for line in log.lines() if "BUG" in line or "Oops" in line]
