# SPDX-License-Identifier: GPL-2.0
"""f2fs on the device.

Guards a file system that keeps its metadata in conventional zones and writes its logs to sequential
ones, with resets by discard.
"""

import os

import pytest

from zbd.files import checksums, make_files, write_synced
from zbd.filesystem import make, umount
from zbd.process import run

pytestmark = pytest.mark.limit(300)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("", id="direct"),
        pytest.param("zone_append=0,buffered_io,nr_queues=2", id="emulated_append_buffered"),
    ],
)
def test_f2fs(add, mounted, options):
    """Files are there after remove and add, and the file system is clean."""
    d = add(options, capacity_mb=1024, zone_size_mb=4, conv_zones=64)
    make("f2fs", d.path, "-m")
    mnt = mounted(d.path, "f2fs")
    sums = make_files(mnt, fio_mib=12, big_mib=16, overwritten_mib=0)
    umount(mnt)
    d.add_again()
    run("fsck.f2fs", "--dry-run", d.path)
    mounted(d.path, "f2fs")
    assert checksums(mnt) == sums
    write_synced(mnt / "more", os.urandom(4 << 20))
    umount(mnt)
    d.remove()
