# SPDX-License-Identifier: GPL-2.0
"""More zones in use than files are kept open, and than may have space in reserve.

Guards a large device against eating up the machine: an open file costs kernel memory, and space that
is allocated ahead of a write pointer is missing in other zones. The data must not depend on either.
"""

import os
import shutil
import time
from errno import EIO, ENOSPC
from pathlib import Path

import pytest

from zbd import CLOSED, FULL, ZEROS, fails
from zbd.errors import errno_of
from zbd.filesystem import free_space
from zbd.threads import in_parallel

MIB_BYTES = 1 << 20


def open_files():
    """The number of files that are open in the whole system."""
    return int(Path("/proc/sys/fs/file-nr").read_text(encoding="ascii").split()[0])


def space_of_files(device):
    """Bytes that the zone files take."""
    return 512 * sum(entry.stat().st_blocks for entry in os.scandir(device.directory))


@pytest.mark.c_driver_fails("it opens all files when the device is added")
@pytest.mark.limit(300)
@pytest.mark.stock_kernel
def test_idle_files_are_closed(add):
    """No more than 8192 files are open. Zones whose files were closed are read, written, flushed and reset as ever."""
    d = add(capacity_mb=9000, zone_size_mb=1, conv_zones=4, lazy_files=True)
    before = open_files()

    def write_every_other(first):
        for nr in range(first, 9000, 2):
            d.write_zone(nr, 0, 8, nr)

    in_parallel(write_every_other, (4, 5))
    assert before + 5000 < open_files() < before + 8192 + 500
    # The first ones were closed.
    for nr in (*range(4, 40), *range(8900, 9000)):
        d.check_zone(nr, 0, 8, nr)
    for nr in range(4, 40):
        d.write_zone(nr, 8, 8, nr)
    d.flush()
    for nr in range(4, 40):
        d.check_zone(nr, 0, 16, nr)
        assert d.zone_file_sectors(nr) == 16
    for nr in range(4, 30):
        d.reset_zone(nr)
    for nr in range(4, 30):
        d.check_zone(nr, 0, 16, ZEROS)
    d.add_again()
    write_pointers = [zone.wp for zone in d.report(count=9000)[4:]]
    assert write_pointers == [0] * 26 + [16] * 10 + [8] * (9000 - 40)
    d.remove()


def test_space_ahead_is_bounded(scratch, add):
    """Small writes go to more zones than may have space in reserve, on a file system that does not have as much."""
    d = add(capacity_mb=2000, zone_size_mb=8, conv_zones=0, lazy_files=True)
    before = shutil.disk_usage(scratch).used
    for at in 0, 8, 16:
        for nr in range(200):
            d.write_zone(nr, at, 8, nr)
    d.flush()
    # The data takes 2400 KiB. 200 zones with 4 MiB each would take 800 MiB.
    used = shutil.disk_usage(scratch).used - before
    assert 100 * MIB_BYTES < used < 300 * MIB_BYTES
    # A reserve that was not used for a second goes to another zone.
    time.sleep(1.2)
    for nr in range(100, 200):
        d.write_zone(nr, 24, 8, nr)
    d.flush()
    for nr in range(100):
        d.check_zone(nr, 0, 24, nr)
    for nr in range(100, 200):
        d.check_zone(nr, 0, 32, nr)
    d.remove()
    assert space_of_files(d) < 10 * MIB_BYTES


def test_reserve_of_zones_that_end(add, control):
    """The reserve for writes to come is given back when there will be none: where the zone is finished, and when the
    device is removed, whatever has happened in it."""
    d = add(capacity_mb=800, zone_size_mb=8, conv_zones=0, lazy_files=True)
    for nr in range(40):
        d.write_zone(nr, 0, 8, nr)
        d.finish_zone(nr)
    assert space_of_files(d) < 10 * MIB_BYTES
    for nr in range(60, 100):
        at = nr * d.zone_sectors + 8
        control.inject(0, badblocks_write=f"+{at}-{at + 7}")
        d.write_zone(nr, 0, 8, nr)
        fails(EIO, d.write_zone, nr, 8, 8)
        d.zone(nr)
    d.remove()
    assert space_of_files(d) < 10 * MIB_BYTES
    d.add()
    for nr in range(40):
        assert d.zone(nr).cond is FULL
        d.check_zone(nr, 0, 8, nr)
    for nr in range(60, 100):
        zone = d.zone(nr)
        assert (zone.cond, zone.wp) == (CLOSED, 8)
        d.check_zone(nr, 0, 8, nr)


def test_reserves_are_given_back(scratch, image_file, add):
    """A file system that is full gets back the space that was allocated ahead."""
    base_dir = scratch / "mnt"
    image_file("xfs", 400, base_dir)
    d = add(base_dir=base_dir, capacity_mb=800, zone_size_mb=8, conv_zones=0, lazy_files=True)
    for nr in range(50):
        d.write_zone(nr, 0, 8, nr)
    # Another file takes the rest, but for a few pieces.
    with open(base_dir / "other", "wb") as other:
        os.posix_fallocate(other.fileno(), 0, free_space(base_dir) - 3 * MIB_BYTES)

    def write_when_there_is_space(nr):
        for _ in range(50):
            error = errno_of(d.write_at_wp, nr, 64, nr)
            if error is None:
                return
            assert error == ENOSPC
            time.sleep(0.1)
        pytest.fail(f"no space with {free_space(base_dir)} bytes free")

    # The reserves of 50 zones are many times this.
    for step in range(64):
        write_when_there_is_space(60 + step % 7)
    d.remove()
