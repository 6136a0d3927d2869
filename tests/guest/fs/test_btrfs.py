# SPDX-License-Identifier: GPL-2.0
"""btrfs in zoned mode.

Guards the appends of a file system, many in flight, each of which is told where its data went, and
reset and finish of block groups; in each of the three ways in which the driver appends. The
checksums of btrfs find data in the wrong place.
"""

import os

import pytest

from zbd import btrfs
from zbd.files import checksums, make_files, write_synced
from zbd.filesystem import umount
from zbd.syscalls import MS_NOATIME

pytestmark = pytest.mark.limit(300)


@pytest.fixture
def use(add, mounted):
    """`use(device_options, mount_options)`: files are there after remove and add, and the file system is clean."""

    def use_device(options="", mount_options=""):
        d = add(options, capacity_mb=1024, zone_size_mb=16, conv_zones=4)
        btrfs.make(d.path)
        mnt = mounted(d.path, "btrfs", mount_options, MS_NOATIME)
        # Of data that is overwritten or deleted the space has to be reclaimed.
        sums = make_files(mnt, fio_mib=16, big_mib=20, overwritten_mib=20)
        umount(mnt)
        d.add_again()
        btrfs.check(d.path)
        mounted(d.path, "btrfs", mount_options, MS_NOATIME)
        assert checksums(mnt) == sums
        assert len(list((mnt / "small").iterdir())) == 50
        btrfs.scrub(mnt)
        write_synced(mnt / "more", os.urandom(4 << 20))
        umount(mnt)
        d.remove()

    return use_device


def test_native_append(use):
    use()


def test_emulated_append(use):
    use("zone_append=0")


@pytest.mark.c_driver_fails(1)
def test_ordered_append(use):
    use("ordered_zone_append")


def test_compressed_on_several_queues(use):
    use("nr_queues=2,buffered_io", "compress=lzo")


def test_active_limit(use, log):
    """As on ZNS drives, btrfs finishes block groups to stay within the limit: the kernel has no request to refuse."""
    use("max_open_zones=14,max_active_zones=14")
    assert not [line for line in log.lines_of_test() if "too many" in line]
