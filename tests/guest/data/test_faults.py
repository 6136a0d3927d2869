# SPDX-License-Identifier: GPL-2.0
"""A disk below the zone files that fails.

Guards the promises that a flush reports data that could not be written back, that a write which fails
leaves the zone where its file says it is, and that all works again when the fault is gone. Faults of more
kinds are in faults/; these are the ones without which a write means nothing.
"""

from errno import EIO, ENOSPC

import pytest

from zbd import IMP_OPEN, MIB, fails
from zbd.errors import errno_of

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "conv_zones": 1}
LENGTH = 2 * MIB


@pytest.fixture
def disk(failing_disk):
    return failing_disk("ext4", 96)


@pytest.fixture
def add_on_disk(disk, add):
    """Adds a device on the disk, whose files are written back."""

    def add_device(**options):
        device = add(base_dir=disk.mount_point, **GEOMETRY, **options)
        disk.settle(device.directory)
        return device

    return add_device


def test_flush_reports_writeback_errors(disk, add_on_disk):
    """A write into the page cache succeeds; the flush says that the data is lost."""
    d = add_on_disk(buffered_io=True)
    d.write(0, 64)
    d.write_zone(3, 0, 64)
    d.flush()
    d.write(64, 64)
    disk.break_all()
    fails(EIO, d.flush)
    disk.heal()
    d.write(64, 64)
    if errno_of(d.flush):
        d.flush()
    d.check(0, 128)


def test_flush_reports_writeback_errors_of_sequential_zones(disk, add_on_disk):
    """The same for a sequential zone."""
    d = add_on_disk(buffered_io=True)
    d.write_zone(3, 0, 64)
    disk.break_all()
    fails(EIO, d.flush)
    disk.heal()


@pytest.mark.c_driver_fails(16)
def test_flush_reports_lost_data_alone(disk, add_on_disk):
    """The flush says so where the data of one file alone is lost, and the file system is well otherwise."""
    d = add_on_disk(buffered_io=True)
    d.write(0, 64)
    d.flush()
    disk.settle(d.directory)
    disk.break_file(d.zone_file(0))
    d.write(0, 64, 2)
    fails(EIO, d.flush)
    disk.heal()


def test_failed_write(disk, add_on_disk):
    """In direct I/O the write itself fails; the zone is where it was, and so is its data."""
    d = add_on_disk()
    d.write_zone(3, 0, 64)
    d.flush()
    disk.break_all()
    fails(EIO, d.write_zone, 3, 64, 64)
    disk.heal()
    assert (d.zone(3).cond, d.zone(3).wp) == (IMP_OPEN, 64)
    d.check_zone(3, 0, 64)
    d.write_zone(3, 64, 64)
    d.check_zone(3, 0, 128)
    d.write_zone(4, 0, 64)
    d.add_again()
    d.check_zone(3, 0, 128)


def test_failed_read(disk, add_on_disk):
    """A read fails with its error instead of returning zeros, and succeeds afterwards."""
    d = add_on_disk()
    d.write_zone(3, 0, 64)
    d.write(0, 64)
    d.flush()
    disk.break_all()
    fails(EIO, d.check_zone, 3, 0, 64)
    fails(EIO, d.check, 0, 64)
    # Nothing of this is a reason not to report.
    d.zones()
    disk.heal()
    d.check_zone(3, 0, 64)
    d.check(0, 64)


def test_no_space(image_file, base_dir, add):
    """Without room in the file system below a write fails, with ENOSPC or EIO; a reset makes room again."""
    image_file("tmpfs", 8, base_dir)
    d = add(**GEOMETRY)
    for nr, at in ((nr, at) for nr in range(2, 16) for at in range(0, LENGTH, 256)):
        if error := errno_of(d.write_zone, nr, at, 256, nr):
            break
    assert error in (ENOSPC, EIO)
    assert nr >= 4
    wp = d.zone(nr).wp
    assert at <= wp < at + 256
    assert wp % 8 == 0
    for full in range(2, nr):
        d.check_zone(full, 0, LENGTH, full)
    d.check_zone(nr, 0, at, nr)
    d.reset_zone(2)
    # The rest of the zone, which a part of the failed write may have gone to.
    if wp < LENGTH - 8:
        d.write_zone(nr, wp, 8, nr)
        assert (d.zone(nr).cond, d.zone(nr).wp) == (IMP_OPEN, wp + 8)
        d.check_zone(nr, wp, 8, nr)
    d.write_zone(nr + 1, 0, 256, 1)
    d.check_zone(nr + 1, 0, 256, 1)
    assert (d.zone(nr + 1).cond, d.zone(nr + 1).wp) == (IMP_OPEN, 256)
