# SPDX-License-Identifier: GPL-2.0
"""The files that a flush touches.

Guards the promise that a flush is about the device's own files: it does not write back the data that
others have in the same file system, and it needs no feature that a file system may lack.
"""

import os
from errno import ENOTSUP
from pathlib import Path

import pytest

from zbd import CLOSED, fails
from zbd.syscalls import dirty_pages

GEOMETRY = {"capacity_mb": 16, "zone_size_mb": 1, "conv_zones": 1}


@pytest.fixture
def no_writeback(defer):
    """Nothing is written back unless it is asked for."""
    for name, value in ("dirty_writeback_centisecs", "0"), ("dirty_expire_centisecs", "1000000"):
        setting = Path("/proc/sys/vm") / name
        defer(setting.write_text, setting.read_text())
        setting.write_text(value)


@pytest.mark.c_driver_fails(17)
@pytest.mark.parametrize("scratch", ["ext4", "xfs"], indirect=True)
@pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])
def test_defect_17_flush_syncs_the_files_of_the_device(no_writeback, base_dir, add, buffered_io):
    """A flush writes back the files of the device, and no other file."""
    d = add(**GEOMETRY, buffered_io=buffered_io)
    other = base_dir / "other"
    other.write_bytes(bytes(8 << 20))
    assert dirty_pages(other) == 2048
    for at in 0, 3 * d.zone_sectors, 4 * d.zone_sectors:
        d.write(at, 64)
    d.flush()
    d.write_zone(4, 64, 64)
    d.flush()
    assert dirty_pages(other) == 2048
    assert [dirty_pages(d.zone_file(nr)) for nr in (0, 3, 4)] == [0, 0, 0]


def test_flush_skips_unchanged_zones(no_writeback, add):
    """A flush skips zones that were not written: dirty pages there do not come from the device."""
    d = add(**GEOMETRY, buffered_io=True)
    with d.zone_file(0).open("r+b") as file:
        file.write(bytes(65536))
    assert dirty_pages(d.zone_file(0)) == 16
    d.write_zone(3, 0, 64)
    d.flush()
    assert dirty_pages(d.zone_file(0)) == 16
    d.write(0, 8)
    d.flush()
    assert dirty_pages(d.zone_file(0)) == 0


@pytest.mark.c_driver_fails(15)
def test_defect_15_discard_needs_no_extended_attributes(on_ramfs, add):
    """The write cache is discarded on a file system without extended attributes, too."""
    d = add(**GEOMETRY, buffered_io=True, discard_write_cache=True)
    fails(ENOTSUP, os.setxattr, d.zone_file(3), "user.test", b"x")
    d.write_zone(3, 0, 64)
    d.flush()
    d.write_zone(3, 64, 64)
    d.add_again()
    assert (d.zone(3).cond, d.zone(3).wp) == (CLOSED, 64)
    d.check_zone(3, 0, 64)
