# SPDX-License-Identifier: GPL-2.0
"""A device directory that is made by one driver and used by the other.

Guards the promise that the directory is the same for both: files, names, sizes, and the meaning of
a size. Each test loads both modules, one after the other.
"""

import contextlib
import hashlib
import os
import shutil
from errno import EINVAL

import pytest

from zbd import CLOSED, EMPTY, FULL, IMP_OPEN, MIB, NOT_WP, ZEROS
from zbd.device import ZonedDevice
from zbd.filesystem import mount, umount
from zbd.process import run

OPTIONS = {"capacity_mb": 64, "zone_size_mb": 4, "zone_capacity_mb": 3, "conv_zones": 2, "max_open_zones": 4}
LENGTH, CAPACITY = 4 * MIB, 3 * MIB


@pytest.fixture
def add_with(driver, add):
    """`add_with("c")` adds the device with the C driver; `add_with("rust", device)` passes it on to the other one."""

    def add_device(name, device=None, **options):
        if device:
            device.remove()
        driver.use(name)
        if not device:
            return add(**OPTIONS)
        device.add(**options)
        return device

    return add_device


def fill(d, seed):
    d.reset_all_zones()
    d.write(0, 512, seed)
    d.write(2 * LENGTH - 512, 512, seed + 1)
    d.write_zone(2, 0, 64, seed)
    for at in range(0, CAPACITY, 1024):
        d.write_zone(3, at, 1024, seed)
    d.write_zone(4, 0, 64, seed)
    d.finish_zone(4)
    d.finish_zone(5)
    d.open_zone(6)
    d.open_zone(7)
    d.write_zone(7, 0, 512, seed)
    d.write_zone(8, 0, 64, seed)
    d.reset_zone(8)
    d.write_zone(9, 0, CAPACITY - 8, seed)
    d.close_zone(9)
    d.flush()


def verify(d, seed):
    """The device is as `fill` has left it, and can be written."""
    assert d.conditions() == [NOT_WP] * 2 + [CLOSED, FULL, FULL, FULL, EMPTY, CLOSED, EMPTY, CLOSED] + [EMPTY] * 6
    assert d.write_pointers((2, 7, 9)) == [64, 512, CAPACITY - 8]
    d.check(0, 512, seed)
    d.check(512, LENGTH - 512, ZEROS)
    d.check(2 * LENGTH - 512, 512, seed + 1)
    for nr, end in (2, 64), (3, CAPACITY), (4, 64), (5, 0), (7, 512), (9, CAPACITY - 8):
        d.check_zone(nr, 0, end, seed)
    for nr, end in (2, 64), (4, 64), (5, 0):
        d.check_zone(nr, end, LENGTH - end, ZEROS)
    d.write_zone(9, CAPACITY - 8, 8, seed)
    d.write_zone(7, 512, 64, seed)
    assert d.conditions(9, 7) == [FULL, IMP_OPEN]
    assert d.write_pointers((9, 7)) == [None, 576]


def check_passed_on(add_with, one, other):
    d = add_with(one)
    fill(d, 10)
    add_with(other, d)
    verify(d, 10)
    fill(d, 20)
    add_with(one, d)
    verify(d, 20)


def test_from_c_to_rust_and_back(add_with):
    check_passed_on(add_with, "c", "rust")


def test_from_rust_to_c_and_back(add_with):
    check_passed_on(add_with, "rust", "c")


def test_the_record_survives_the_c_driver(base_dir, control, driver, add_with):
    """Nothing that the one leaves in the directory beside the zone files, such as the record of the geometry, is in
    the other's way; and the record, of which the C driver knows nothing, is still true after it."""
    d = add_with("rust")
    add_with("c", d, max_open_zones=0)
    fill(d, 30)
    d.remove()
    driver.use("rust")
    control.rejects(
        EINVAL, f"add id=0,base_dir={base_dir},capacity_mb=60,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2"
    )
    d.add(max_open_zones=4)
    verify(d, 30)


def test_files_are_the_same(add_with):
    """The files of both drivers have the same names, sizes, modes, owners and data. The C driver rejects all that is
    not a regular file with a name that it knows."""
    listings = []
    for name in "c", "rust":
        d = add_with(name)
        fill(d, 40)
        d.remove()
        listing = {}
        for file in [*d.directory.glob("cnv-*"), *d.directory.glob("seq-*")]:
            status = file.stat()
            digest = hashlib.md5(file.read_bytes()).hexdigest()
            listing[file.name] = status.st_size, status.st_mode, status.st_uid, digest
        listings.append(listing)
        shutil.rmtree(d.directory)
    assert listings[0] == listings[1]


def test_zonefs(scratch, add_with):
    """A file system, too, passes from the one to the other."""
    mnt = scratch / "mnt"
    mnt.mkdir()

    @contextlib.contextmanager
    def fourth_file(d):
        """The file of the fourth sequential zone. Every write is appended to it."""
        mount(d.path, mnt, "zonefs")
        try:
            with contextlib.closing(ZonedDevice(mnt / "seq/3", os.O_RDWR | os.O_DIRECT | os.O_APPEND)) as file:
                yield file
        finally:
            umount(mnt)

    d = add_with("c")
    run("mkzonefs", "-f", d.path)
    with fourth_file(d) as file:
        for at in range(0, 512, 128):
            file.write(at, 128)
    add_with("rust", d)
    with fourth_file(d) as file:
        file.check(0, 512)
        for at in range(512, 1024, 128):
            file.write(at, 128)
    add_with("c", d)
    with fourth_file(d) as file:
        file.check(0, 1024)
