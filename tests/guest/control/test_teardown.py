# SPDX-License-Identifier: GPL-2.0
"""Removal: the files, the number and the module after it, and while it goes on.

Guards the promises that after a removal the zone files are ordinary files, closed, whoever still
has the device open; that the number of a device is not free before the device is gone; and that
the module stays until the last bit of a device is gone.
"""

import os
import re
import time
from errno import EBUSY, EEXIST, EINVAL, ENODEV
from pathlib import Path

import pytest

from zbd import MIB
from zbd.cgroup import ROOT, Cgroup
from zbd.errors import errno_of
from zbd.filesystem import umount
from zbd.process import one_cpu, run, write_setting
from zbd.sector_data import verify
from zbd.threads import Threads

GEOMETRY = "capacity_mb=16,zone_size_mb=1,conv_zones=1"


# The debug kernel has no memory cgroups.
@pytest.mark.stock_kernel
@pytest.mark.c_driver_fails(21)
def test_defect_21_files_are_ordinary_again(add, cleanup, defer):
    """A task that has little memory reads the files: pages must be reclaimed for new ones, which the driver must not
    have forbidden for these files. The page cache knows them still, as they are held open."""
    d = add(capacity_mb=96, zone_size_mb=32, conv_zones=1)
    files = [d.zone_file(nr) for nr in (0, 1)]
    for file in files:
        cleanup.enter_context(file.open("rb"))
    for at in range(0, 32 * MIB, 1024):
        d.write(at, 1024)
        d.write_zone(1, at, 1024)
    d.remove()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    controllers = ROOT / "cgroup.subtree_control"
    defer(write_setting, controllers, "-memory")
    with one_cpu():
        controllers.write_text("+memory")
        group = Cgroup("small")
    defer(group.remove)
    group.set("memory.max", "12M")
    run("md5sum", *files, preexec_fn=group.add)
    with files[0].open("rb") as file:
        file.seek((32 << 20) - 4096)
        verify(file.read(), 32 * MIB - 8, 1)


@pytest.mark.c_driver_fails(25)
def test_defect_25_files_are_closed_though_somebody_has_the_device_open(base_dir, add, image_file):
    """Somebody has the device open. It is gone nevertheless, with all it had."""
    image = image_file("ext4", 64, base_dir)
    d = add(GEOMETRY)
    with open(d.path, "rb", buffering=0):
        d.remove()
        umount(base_dir, patience=0)
        image.mount()
        # The number is free, for a device that has nothing to do with the old one.
        d.add()
        d.write_zone(3, 0, 64)
    d.check_zone(3, 0, 64)


@pytest.mark.c_driver_fails(25)
def test_defect_25_number_is_not_free_before_the_device_is_gone(scratch, control, add, failing_disk, defer):
    """A write hangs below, so that the device can't go yet: it still has its number, and its files."""
    disk = failing_disk("ext4", 96)
    other = scratch / "other"
    for id in "0", "1":
        (other / id).mkdir(parents=True)
    d = add(GEOMETRY, base_dir=disk.mount_point)
    disk.settle(d.directory)
    run("dmsetup", "suspend", "--noflush", "--nolockfs", "below")
    defer(run, "dmsetup", "resume", "below")
    with Threads() as threads:
        threads.start(errno_of, d.write, 0, 64)
        while int(d.sysfs("inflight").split()[1]) == 0:
            time.sleep(0.1)
        threads.start(control.remove, 0)
        # It is being removed as soon as the disk is marked dead.
        while d.exists and errno_of(lambda: os.close(os.open(d.path, os.O_RDONLY))) is None:
            time.sleep(0.1)
        control.rejects(EEXIST, f"add id=0,base_dir={other},{GEOMETRY}")
        assert not os.listdir(other / "0")
        control.rejects((EINVAL, EBUSY, ENODEV), "remove id=0")
        # Without a number one gets another.
        control.write(f"add base_dir={other},{GEOMETRY}")
        defer(control.remove, 1)
        assert Path("/dev/zloop1").is_block_device()
        run("dmsetup", "resume", "below")
    assert not d.exists
    d.add()


@pytest.mark.c_driver_fails(28)
def test_defect_28_module_stays_until_the_device_is_freed(add, tracing):
    """The last one to close a removed device takes the last of it away, which the module's code does. The kernel's own
    trace shows that the device's tags are freed before the module's last reference is given back."""
    d = add(GEOMETRY)
    with open(d.path, "rb", buffering=0):
        d.remove()
        tracing.add_kprobes("p:zloop_test blk_mq_free_tag_set")
        tracing.clear()
        tracing.enable("module/module_put")
        tracing.enable("kprobes/zloop_test")
    # A count of one is the base: nobody has a reference.
    for _ in range(100):
        events = re.findall(r"module_put: zloop .*(refcnt=\d+)|(zloop_test)", tracing.read())
        order = [reference or probe for reference, probe in events]
        if {"zloop_test", "refcnt=1"} <= set(order):
            break
        time.sleep(0.1)
    assert {"zloop_test", "refcnt=1"} <= set(order)
    assert "zloop_test" not in order[order.index("refcnt=1") :]
