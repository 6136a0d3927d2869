# SPDX-License-Identifier: GPL-2.0
"""Removal of a device that is in use.

Guards the promises that the removal of a device which is mounted or held exclusively is refused
with EBUSY and a message and harms nothing, that a plain opener such as udev does not block it, and
that the module can't be unloaded while there is a device.
"""

import contextlib
import os
import queue
import socket
import stat
import threading
import time
from errno import EAGAIN, EBUSY, EINVAL, EIO, ENODEV, ENOSPC, ENOTTY, ENXIO, EOPNOTSUPP

import pytest

from zbd import CLOSED, MIB, ZoneType, fails, syscalls
from zbd.child import Child
from zbd.control import PATH as CONTROL
from zbd.device import ZonedDevice
from zbd.dm import Mapping
from zbd.errors import errno_of
from zbd.filesystem import mount, umount, umount_if_mounted
from zbd.process import attempt, run
from zbd.threads import Threads

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "conv_zones": 1}
NETLINK_KOBJECT_UEVENT = 15


def works(device):
    """It can be written."""
    device.reset_zone(9)
    device.write_zone(9, 0, 64)
    device.check_zone(9, 0, 64)


def stays_loaded():
    """The module can't be unloaded."""
    assert attempt("rmmod", "zloop").returncode != 0
    fails((EAGAIN, EBUSY), syscalls.delete_module, "zloop")


@pytest.fixture
def busy(control):
    """`busy()`: the removal is refused, and one line in the log says why."""
    return lambda: control.rejects(EBUSY, "remove id=0", "zloop0|id=0", "use|busy|held|mount|open")


@pytest.mark.c_driver_fails(24)
def test_mounted(scratch, add, busy, defer):
    d = add(**GEOMETRY)
    run("mkzonefs", "-f", d.path)
    mount_point = scratch / "mnt"
    mount_point.mkdir()
    mount(d.path, mount_point, "zonefs")
    defer(umount_if_mounted, mount_point)
    file = ZonedDevice(mount_point / "seq/0")
    file.write(0, 128)
    busy()
    file.check(0, 128)
    file.write(128, 128)
    busy()
    file.close()
    umount(mount_point)
    d.add_again()
    mount(d.path, mount_point, "zonefs")
    # All that was written is there, also after the refusals.
    assert os.stat(file.path).st_size == 256 * 512
    file.check(0, 256)
    file.close()
    umount(mount_point)


@pytest.mark.c_driver_fails(24)
def test_held_exclusively(add, busy):
    d = add(**GEOMETRY)
    with open(os.open(d.path, os.O_RDWR | os.O_EXCL), "r+b", buffering=0):
        busy()
        busy()
        works(d)
    d.remove()


@pytest.mark.c_driver_fails(24)
def test_below_device_mapper(add, busy):
    d = add(**GEOMETRY)
    above = Mapping("above", f"0 {32 * MIB} linear {d.path} 0")
    try:
        busy()
        works(d)
    finally:
        above.remove()
    d.remove()


def test_plain_opener(add, control):
    """A process that merely has it open does not stop the removal, and gets errors afterwards."""
    d = add(**GEOMETRY)
    d.write_zone(3, 0, 8)
    with open(d.path, "rb", buffering=0) as reader:
        reader.read(4096)
        control.remove(0)
        assert not d.exists
        for function, *args in (d.write_zone, 3, 8, 8), (d.reset_zone, 3), (d.open_zone, 4):
            fails((EIO, ENXIO, ENODEV, ENOTTY, EINVAL, EOPNOTSUPP, ENOSPC), function, *args)
        with contextlib.suppress(OSError):
            assert os.pread(reader.fileno(), 4096, 1 << 20) == b""
        control.rejects(ENODEV, "remove id=0")
    d.add()
    d.check_zone(3, 0, 8)
    zone = d.zone(3)
    assert (zone.type, zone.cond, zone.wp, zone.capacity) == (ZoneType.SEQWRITE_REQ, CLOSED, 8, 2 * MIB)
    d.remove()


def test_openers_come_and_go(add):
    """Opened again and again, as udev and its likes do, the device is removed all the same."""
    d = add(**GEOMETRY)
    stop = threading.Event()

    def open_repeatedly():
        while not stop.is_set():
            with contextlib.suppress(OSError), open(d.path, "rb", buffering=0) as file:
                file.read(4096)

    with Threads() as threads:
        threads.start(open_repeatedly)
        try:
            for _ in range(5):
                time.sleep(0.3)
                d.remove()
                d.add()
        finally:
            stop.set()


@pytest.mark.c_driver_fails(26)
def test_open_during_add(base_dir, control, defer):
    """A process which the kernel tells of the device, as it does udev, can open it, even before the add returns.

    The task that adds it gives way to others as soon as it has told them: one listener has a full socket, which makes
    the kernel yield, and the processor has something better to do.
    """
    (base_dir / "0").mkdir()
    results = queue.Queue()
    stop = threading.Event()

    def listener():
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
        defer(events.close)
        events.bind((0, 1))
        events.settimeout(1)
        return events

    def listen(events, told):
        while not stop.is_set():
            with contextlib.suppress(OSError):
                told(events.recv(65536))

    def open_device(event):
        if event.startswith(b"add@/devices/virtual/block/zloop0\0"):
            results.put(errno_of(lambda: os.close(os.open("/dev/zloop0", os.O_RDONLY))))

    def add_and_remove():
        # The thread's own, not the process's.
        os.sched_setaffinity(0, {0})
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        try:
            for _ in range(10):
                control.add(id=0, base_dir=base_dir, capacity_mb=16, zone_size_mb=1, conv_zones=1)
                result = results.get(timeout=60)
                control.remove(0)
                assert result is None
        finally:
            stop.set()

    opener, slow_listener = listener(), listener()
    slow_listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def spin():
        while True:
            pass

    defer(Child(lambda: os.sched_setaffinity(0, {0}), spin).kill)
    with Threads() as threads:
        threads.start(listen, opener, open_device)
        threads.start(listen, slow_listener, lambda event: None)
        threads.start(add_and_remove)


def test_rmmod_with_a_device(add, driver):
    """The module stays as long as there is a device."""
    d = add(**GEOMETRY)
    stays_loaded()
    assert os.path.exists(CONTROL)
    works(d)
    d.remove()
    syscalls.delete_module("zloop")
    assert not os.path.exists(CONTROL)
    driver.load()
    assert stat.S_ISCHR(os.stat(CONTROL).st_mode)
    d.add()
    works(d)


def test_rmmod_with_the_control_device_open(driver):
    """The module also stays while the control device is open."""
    with open(CONTROL, "r+b", buffering=0):
        stays_loaded()
    syscalls.delete_module("zloop")
    driver.load()


def test_umount_right_after_remove(scratch, add, image_file):
    """The file system below can be unmounted as soon as the device is removed."""
    for turn in range(4):
        image = image_file("ext4", 64, scratch / f"z{turn}")
        d = add(base_dir=image.mount_point, **GEOMETRY)
        d.write_zone(3, 0, 512)
        d.remove()
        # At once: `image.umount` would try again.
        syscalls.umount(image.mount_point)
