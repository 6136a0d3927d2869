# SPDX-License-Identifier: GPL-2.0
"""The device as a namespace of an NVMe subsystem, which this very machine uses over TCP: a ZNS drive, as far as the
host can see.

Guards the limits and reports that the NVMe target passes on, and the commands and appends that
arrive from it.
"""

import os
import re
import time
from errno import EINVAL, EIO, EREMOTEIO, ETOOMANYREFS
from pathlib import Path

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, btrfs, pattern, refused, syscalls
from zbd.device import ZonedDevice
from zbd.files import checksums
from zbd.filesystem import umount
from zbd.fio import fio_files, fio_zones
from zbd.process import modprobe, run
from zbd.syscalls import MS_NOATIME

pytestmark = pytest.mark.limit(240)

LENGTH, CAPACITY = 4 * MIB, 3 * MIB
CONFIG = Path("/sys/kernel/config")
SUBSYSTEM = CONFIG / "nvmet/subsystems/zloop"
NAMESPACE = SUBSYSTEM / "namespaces/1"
PORT = CONFIG / "nvmet/ports/1"


def disconnect():
    run("nvme", "disconnect", "-n", "zloop")


@pytest.fixture
def connect(defer):
    """`connect(device)`: the drive that the host sees."""

    def make_directory(path):
        path.mkdir()
        defer(path.rmdir)

    def make_drive(device):
        modprobe("nvmet-tcp", "nvme-tcp")
        run("busybox", "ip", "link", "set", "lo", "up")
        if not CONFIG.is_mount():
            syscalls.mount("configfs", CONFIG, "configfs")
            defer(umount, CONFIG)
        make_directory(SUBSYSTEM)
        (SUBSYSTEM / "attr_allow_any_host").write_text("1")
        make_directory(NAMESPACE)
        (NAMESPACE / "device_path").write_text(device.path)
        (NAMESPACE / "enable").write_text("1")
        make_directory(PORT)
        for attribute, value in ("trtype", "tcp"), ("adrfam", "ipv4"), ("traddr", "127.0.0.1"), ("trsvcid", "4420"):
            (PORT / f"addr_{attribute}").write_text(value)
        link = PORT / "subsystems/zloop"
        link.symlink_to(SUBSYSTEM)
        defer(link.unlink)
        run("nvme", "connect", "-t", "tcp", "-a", "127.0.0.1", "-s", "4420", "-n", "zloop")
        defer(disconnect)
        while not (found := list(Path("/sys/class/nvme-subsystem").glob("nvme-subsys*/nvme*n1"))):
            time.sleep(0.1)
        drive = ZonedDevice(f"/dev/{found[0].name}")
        while not os.path.exists(drive.path) or drive.sysfs("queue/zoned") != "host-managed":
            time.sleep(0.1)
        defer(drive.close)
        return drive

    return make_drive


def test_zns(add, connect, requests):
    """Commands, reports and refusals are those of the device."""
    device = add(capacity_mb=64, zone_size_mb=4, zone_capacity_mb=3, conv_zones=0, max_open_zones=4)
    d = connect(device)
    for attribute in "zoned", "nr_zones", "chunk_sectors", "logical_block_size", "max_open_zones":
        assert d.sysfs(f"queue/{attribute}") == device.sysfs(f"queue/{attribute}")
    assert re.search(r"^mor *: *0x3\b", run("nvme", "zns", "id-ns", d.path), re.MULTILINE)
    below = ZonedDevice(device.path, os.O_RDONLY | os.O_DIRECT)

    def zones(device):
        # The two write a full zone's pointer in two ways.
        return [(z.start, z.cond, z.capacity, z.cond is not FULL and z.wp) for z in device.zones()]

    def state_below(nr):
        zone = below.zone(nr)
        return zone.cond, zone.wp

    assert zones(d) == zones(below)
    d.write_zone(1, 0, 64, 1)
    d.check_zone(1, 0, 64, 1)
    assert below.pread(LENGTH, 64) == pattern(LENGTH, 64, 1)
    refused(d, (EIO, EINVAL, EREMOTEIO), d.write_zone, 1, 128, 8)
    d.zones()
    for at in range(0, CAPACITY, 512):
        d.write_zone(2, at, 512, 2)
    d.open_zone(3)
    assert state_below(3) == (EXP_OPEN, 0)
    d.write_zone(3, 0, 8)
    d.close_zone(3)
    assert state_below(3) == (CLOSED, 8)
    d.finish_zone(3)
    assert below.conditions(3) == [FULL]
    assert zones(d) == zones(below)
    ends = requests(d).run(
        f"append at={4 * LENGTH} sectors=8 count=100 seed=4\nappend at={5 * LENGTH} sectors=16 count=100 seed=5", 32
    )
    assert {end.error for end in ends} == {"ok"}
    assert sorted(end.sector for end in ends[:100]) == list(range(4 * LENGTH, 4 * LENGTH + 800, 8))
    assert state_below(4) == (IMP_OPEN, 800)
    assert state_below(5) == (IMP_OPEN, 1600)
    # One more than may be open; the oldest is closed to make room.
    for nr in 6, 7, 8:
        d.open_zone(nr)
    assert d.conditions().count(EXP_OPEN) == 3
    d.write_zone(9, 0, 8)
    d.open_zone(9)
    refused(d, (EIO, ETOOMANYREFS), d.open_zone, 10)
    d.reset_zone(2)
    assert state_below(2) == (EMPTY, 0)
    assert zones(d) == zones(below)
    d.flush()
    d.reset_all_zones()
    assert set(below.conditions()) == {EMPTY}
    below.close()
    fio_zones(d, size="32M", rw="randwrite", bs="16k", iodepth=8, max_open_zones=4)


def test_btrfs(add, connect, mounted):
    """A file system on it, that appends; then the same on the device itself."""
    device = add(capacity_mb=1024, zone_size_mb=16, conv_zones=0)
    drive = connect(device)
    btrfs.make(drive.path)
    mnt = mounted(drive.path, "btrfs", flags=MS_NOATIME)
    fio_files(mnt, nrfiles=2, size="12M", bs="64k")
    sums = checksums(mnt)
    umount(mnt)
    disconnect()
    (NAMESPACE / "enable").write_text("0")
    btrfs.forget_devices()
    mounted(device.path, "btrfs", flags=MS_NOATIME)
    assert checksums(mnt) == sums
    btrfs.scrub(mnt)
    umount(mnt)
