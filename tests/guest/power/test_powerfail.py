# SPDX-License-Identifier: GPL-2.0
"""A power failure on command.

Guards the promise that a device can be taken away at any moment, whoever uses it, with the loss of
the data that was not flushed and of nothing else; and that with a seed a part of that is left,
which is the same each time.
"""

import mmap
import os
import random
import re
import subprocess
import threading
import time
from errno import EINVAL, EIO, ENODEV, ENOENT, ENOSPC, ENXIO

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, ZEROS, btrfs, fails
from zbd.files import fsync, write_direct
from zbd.filesystem import make, umount
from zbd.fio import fio_zones
from zbd.process import attempt, run
from zbd.syscalls import MS_NOATIME
from zbd.threads import Threads

pytestmark = pytest.mark.limit(300)

LENGTH, CAPACITY = 2 * MIB, MIB
NUMBERS = range(2, 20)
SMALL = {"capacity_mb": 40, "zone_size_mb": 2, "zone_capacity_mb": 1, "conv_zones": 2}
GONE = (EIO, ENXIO, ENOSPC, ENODEV)
# A zone of a device without power is not within its capacity.
NO_ZONE = (*GONE, EINVAL)


def data_end(zone):
    return CAPACITY if zone.cond is FULL else zone.wp


def fill_zone(device, nr):
    for at in range(0, CAPACITY, 512):
        device.write_zone(nr, at, 512, nr)


@pytest.mark.parametrize(
    "options", [pytest.param("", id="direct_io"), "buffered_io", pytest.param("lazy_files,zone_append=0", id="lazy")]
)
def test_what_is_left(add, requests, log, options):
    """Each kind of zone keeps what was flushed, also a full one."""
    d = add(options, **SMALL)
    fill_zone(d, 3)
    for nr in 4, 5, 6:
        d.write_zone(nr, 0, 64, nr)
    d.write(0, 64, 9)
    d.flush()
    requests(d).one(f"write at={10 * LENGTH} sectors=64 fua seed=10")
    d.write_zone(10, 64, 64, 10)
    d.write_zone(5, 64, 64, 5)  # lost in part
    for at in range(64, CAPACITY, 64):
        d.write_zone(6, at, 64, 6)
    fill_zone(d, 7)  # lost, though full
    d.write_zone(8, 0, 64, 8)  # never flushed
    d.write_zone(9, 0, 64, 9)
    d.finish_zone(9)  # durable
    d.reset_zone(4)  # durable, what follows is not
    d.write_zone(4, 0, 32, 14)
    d.open_zone(11)
    fill_zone(d, 12)
    d.reset_zone(12)
    d.reset_zone(3)
    d.close()
    with log.one_line("zloop0: power failed"):
        d.power_fail()
    d.add()
    assert [(zone.cond, zone.wp) for zone in d.zones()[2:14]] == [
        (EMPTY, 0),
        (EMPTY, 0),
        (EMPTY, 0),
        (CLOSED, 64),
        (CLOSED, 64),
        (EMPTY, 0),
        (EMPTY, 0),
        (FULL, None),
        (CLOSED, 64),
        (EMPTY, 0),
        (EMPTY, 0),
        (EMPTY, 0),
    ]
    d.check(0, 64, 9)
    for nr in 5, 6, 9, 10:
        d.check_zone(nr, 0, 64, nr)
        d.check_zone(nr, 64, CAPACITY - 64, ZEROS)
    d.check_zone(7, 0, CAPACITY, ZEROS)
    # It works as before, and the data that was left is durable.
    d.write_zone(5, 64, 64, 15)
    d.power_fail()
    d.add()
    assert [d.state(nr) for nr in (5, 9, 10)] == [(CLOSED, 64), (FULL, None), (CLOSED, 64)]
    d.remove()


def write_pointers_after(add, seed, options=""):
    """The write pointers after always the same work, and a failure."""
    numbers = range(2, 18)

    def end(nr):
        return CAPACITY if nr == 7 else 64 + 8 * nr

    d = add(options, **SMALL)
    for nr in numbers:
        d.write_zone(nr, 0, 64, nr)
    d.flush()
    for nr in numbers:
        for at in range(64, end(nr), 8):
            d.write_zone(nr, at, 8, nr)
    d.close()
    d.power_fail(seed=seed)
    d = add(**SMALL)
    left = []
    for nr in numbers:
        wp = data_end(d.zone(nr))
        assert 64 <= wp <= end(nr)
        assert wp % 8 == 0
        d.check_zone(nr, 0, wp, nr)
        d.check_zone(nr, wp, LENGTH - wp, ZEROS)
        left.append(wp)
    d.delete()
    return left


def test_seed(add):
    one = write_pointers_after(add, 1)
    # The data that a removal loses has no say in it.
    assert write_pointers_after(add, 1, "discard_write_cache") == one
    other = write_pointers_after(add, 2)
    assert other != one
    # Some zones lost all, some nothing, most a part.
    assert len({*one, *other}) > 8


def test_bad_input(add, control):
    d = add(**SMALL)
    d.write_zone(3, 0, 64)
    control.rejects(ENODEV, "powerfail id=1")
    control.rejects(EINVAL, "powerfail")
    control.rejects(EINVAL, "powerfail id=0,seed=-1")
    control.rejects(EINVAL, "powerfail id=0,conv_zones=1")
    control.rejects(EINVAL, "remove id=0,seed=1")
    control.rejects(ENODEV, "powerfail id=-1", "id")
    d.check_zone(3, 0, 64)
    d.close()
    d.power_fail()
    control.rejects(ENODEV, "powerfail id=0")
    control.rejects(ENODEV, "remove id=0")


class Knowledge:
    """What is known of a zone: `issued` sectors were asked for, `acked` were written, `durable` are flushed for
    certain, and no more than `possible` are. `at_risk` is where a reset or finish that is under way puts the write
    pointer. Data are of the seed `turn`, which is another one after each reset."""

    def __init__(self, nr, turn):
        self.nr = nr
        self.turn = nr * 1000000 + turn
        self.reset()

    def reset(self):
        self.turn += 1
        self.issued = self.acked = self.durable = self.possible = 0
        self.at_risk = None


class Load:
    """Threads write, flush, reset and finish zones; the power fails among them."""

    def __init__(self, device, buffered, turn):
        self.device = device
        self.buffered = buffered
        self.zones = {nr: Knowledge(nr, 1000 * turn) for nr in NUMBERS}
        self.requests_done = 0
        self.power_fails = False
        self._lock = threading.Lock()

    def work(self, requests, rnd, numbers):
        try:
            while True:
                self.step(requests, rnd, self.zones[rnd.choice(numbers)])
                self.requests_done += 1
        except OSError as error:
            # A request in the kernel opens the disk by its name, which goes with it.
            if error.errno not in (*NO_ZONE, ENOENT) or not self.power_fails:
                raise

    def step(self, requests, rnd, zone):
        kind = rnd.random()
        if kind < 0.15:
            self.flush()
        elif zone.acked == CAPACITY or kind < 0.2:
            zone.at_risk = 0
            self.device.reset_zone(zone.nr)
            with self._lock:
                zone.reset()
        elif kind < 0.22 and zone.acked:
            zone.at_risk = CAPACITY
            self.device.finish_zone(zone.nr)
            zone.acked = zone.durable = zone.possible = CAPACITY
            zone.at_risk = None
        else:
            count = min(rnd.choice((8, 8, 64, 256)), CAPACITY - zone.acked)
            zone.issued = zone.acked + count
            if kind > 0.95:
                self.write_durably(requests, zone, count)
            else:
                self.device.write_zone(zone.nr, zone.acked, count, zone.turn)
            zone.acked = zone.issued

    def flush(self):
        before = {zone: (zone.turn, zone.acked) for zone in self.zones.values()}
        try:
            self.device.flush()
        finally:
            self.all_may_be_flushed()
        with self._lock:
            for zone, (turn, acked) in before.items():
                if zone.turn == turn:
                    zone.durable = max(zone.durable, acked)

    def write_durably(self, requests, zone, count):
        zone.possible = max(zone.possible, zone.issued)
        try:
            requests.one(f"write at={zone.nr * LENGTH + zone.acked} sectors={count} fua seed={zone.turn}")
        finally:
            # Buffered I/O has it followed by a flush.
            if self.buffered:
                self.all_may_be_flushed()
        zone.durable = zone.issued

    def all_may_be_flushed(self):
        for zone in self.zones.values():
            zone.possible = max(zone.possible, zone.issued)

    def check(self, with_seed):
        """After the failure each zone has what was durable, no more than can have become so, and all of it right."""
        for zone in self.zones.values():
            now = self.device.zone(zone.nr)
            wp = data_end(now)
            most = max(zone.issued if with_seed else zone.possible, zone.durable)
            assert zone.durable <= wp <= most or wp == zone.at_risk, (now, vars(zone))
            # A finished zone has zeros behind its data.
            data = min(wp, zone.issued)
            self.device.check_zone(zone.nr, 0, data, zone.turn)
            self.device.check_zone(zone.nr, data, LENGTH - data, ZEROS)
            if wp:
                self.device.reset_zone(zone.nr)


@pytest.mark.parametrize(
    ("options", "seed"),
    [
        pytest.param("", None, id="all_is_lost"),
        pytest.param("zone_append=0", 17, id="seed"),
        pytest.param("buffered_io,lazy_files", None, id="buffered"),
    ],
)
def test_under_load(add, control, requests, options, seed):
    """Every request after the failure is told of it."""
    rnd = random.Random(4)
    d = add(options, nr_queues=2, **SMALL)
    for turn in range(4):
        load = Load(d, "buffered_io" in options, turn)
        with Threads() as threads:
            for nr in range(4):
                mine = [number for number in NUMBERS if number % 4 == nr]
                threads.start(load.work, requests(d), random.Random(turn * 4 + nr), mine)
            time.sleep(1 + rnd.random())
            # A slow machine takes longer to have something to lose.
            while load.requests_done <= 50 and not threads.errors:
                time.sleep(0.1)
            load.power_fails = True
            control.powerfail(0, seed=seed and seed + turn)
        at_risk = sum(zone.acked - zone.durable for zone in load.zones.values())
        print(load.requests_done, "requests;", at_risk, "sectors at risk")
        fails(GONE, d.pwrite, 0, bytes(4096))
        d.add()
        load.check(seed is not None)
    d.remove()


def test_fio(add):
    """fio's own marks in each block are all there below the write pointer."""
    d = add(capacity_mb=80, zone_size_mb=4, conv_zones=1, nr_queues=2)
    options = (
        f"--name=load --filename={d.path} --zonemode=zbd --direct=1 --ioengine=libaio --iodepth=8 --offset=4M "
        "--size=72M --rw=randwrite --bs=16k --fsync=32 --verify=crc32c --do_verify=0 --time_based --runtime=60"
    ).split()
    load = subprocess.Popen(["fio", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while int(d.sysfs("stat").split()[6]) <= 20000:  # sectors that were written
        assert load.poll() is None, load.communicate()
        time.sleep(0.1)
    d.power_fail(seed=3)
    said, _ = load.communicate()
    assert load.returncode != 0
    # Without power the device has no capacity.
    assert re.search("Input/output error|No space left on device", said)
    d.add()
    assert any(zone.cond in (CLOSED, FULL) for zone in d.zones())
    fio_zones(d, rw="read", bs="16k", offset="4M", size="72M", verify_only=0)
    d.remove()


# File systems.


def test_xfs(add, mounted, fail_under_load, has_synced):
    d = add(capacity_mb=1024, zone_size_mb=16, conv_zones=24)
    make("xfs", d.path)
    for seed in None, 5:
        mnt = mounted(d.path, "xfs")
        synced = fail_under_load(d, mnt, 262137, seed)
        d.add()
        mounted(d.path, "xfs")
        has_synced(mnt, synced)
        umount(mnt)
        run("xfs_repair", "-n", d.path)
    d.remove()


def test_btrfs(add, mounted, fail_under_load, has_synced):
    d = add(capacity_mb=1024, zone_size_mb=16, conv_zones=4)
    btrfs.make(d.path)
    for seed in None, 5:
        mnt = mounted(d.path, "btrfs", flags=MS_NOATIME)
        synced = fail_under_load(d, mnt, 262137, seed)
        btrfs.forget_devices()
        d.add()
        mounted(d.path, "btrfs", flags=MS_NOATIME)
        has_synced(mnt, synced)
        btrfs.scrub(mnt)
        umount(mnt)
        btrfs.check(d.path)
    d.remove()


def test_zonefs(add, mounted):
    d = add(capacity_mb=64, zone_size_mb=4, zone_capacity_mb=3, conv_zones=1)
    make("zonefs", d.path)
    seq = mounted(d.path, "zonefs") / "seq"
    data = os.urandom(1 << 20)
    write_direct(seq / "0", data)
    fsync(seq / "0")
    write_direct(seq / "0", data, append=True)
    write_direct(seq / "1", data)
    d.power_fail()
    umount(seq.parent)
    d.add()
    mounted(d.path, "zonefs")
    assert [(seq / name).stat().st_size for name in "012"] == [len(data), 0, 0]
    assert (seq / "0").read_bytes() == data
    write_direct(seq / "1", data)
    fsync(seq / "1")
    assert (seq / "1").read_bytes() == data
    umount(seq.parent)
    d.remove()


# Users of the device.


def test_open_device(add, control, failing_disk):
    """The device is open, and stays so; its number is free for another one at once. The file system with the zone
    files can be unmounted."""
    disk = failing_disk("ext4", 320)
    old = add(base_dir=disk.mount_point, **SMALL)
    old.write_zone(3, 0, 64, 3)
    old.flush()
    old.write_zone(3, 64, 64, 3)
    control.powerfail(0)
    fails(NO_ZONE, old.pwrite, 0, bytes(4096))
    fails(NO_ZONE, old.write_zone, 3, 128, 8)
    fails(NO_ZONE, old.flush)
    fails(NO_ZONE, old.reset_zone, 3)
    # It has no sectors any more.
    assert os.preadv(old.fd, [mmap.mmap(-1, 4096)], 0) == 0
    disk.umount()
    disk.mount()
    new = add(base_dir=disk.mount_point, **SMALL)
    assert new.state(3) == (CLOSED, 64)
    new.check_zone(3, 0, 64, 3)
    new.write_zone(3, 64, 64, 4)
    fails(GONE, old.write_zone, 3, 128, 8)
    new.check_zone(3, 0, 64, 3)
    new.check_zone(3, 64, 64, 4)
    new.remove()


def test_requests_under_way(add, control, failing_disk, defer):
    """Requests are under way, and the file system below does not get on with them: the failure waits for that, and
    they end with an error."""
    disk = failing_disk("ext4", 320)
    d = add(base_dir=disk.mount_point, **SMALL)
    d.write_zone(3, 0, 64)
    d.flush()
    disk.settle(d.directory)
    run("fsfreeze", "-f", disk.mount_point)
    defer(attempt, "fsfreeze", "-u", disk.mount_point)
    with Threads() as threads:
        for nr, at in (3, 64), (4, 0), (5, 0):
            threads.start(fails, NO_ZONE, d.write_zone, nr, at, 64)
        while d.sysfs("inflight").split() != ["0", "3"]:
            time.sleep(0.1)
        failure = threads.start(control.powerfail, 0)
        time.sleep(1)
        assert failure.is_alive()
        control.rejects(EINVAL, "powerfail id=0")
        run("fsfreeze", "-u", disk.mount_point)
    d.add()
    assert [(zone.cond, zone.wp, zone.capacity) for zone in d.zones()[3:6]] == [
        (CLOSED, 64, CAPACITY),
        (EMPTY, 0, CAPACITY),
        (EMPTY, 0, CAPACITY),
    ]
    d.check_zone(3, 0, 64)
