# SPDX-License-Identifier: GPL-2.0
"""XFS with a zoned realtime section.

Guards the appends of XFS, its use of the write pointer after a mount, and both layouts: all in one
device, with conventional zones for the metadata, and a device without any behind a normal one.
"""

import os

import pytest

from zbd import EMPTY
from zbd.files import checksums, make_files, write_synced
from zbd.filesystem import make, umount
from zbd.process import modprobe, run

pytestmark = pytest.mark.limit(300)


@pytest.fixture
def use(mounted):
    """`use(device, path, mount_options, *repair_options)`: files are there after remove and add, and the file system
    in `path` is clean."""

    def use_device(d, path, mount_options="", *repair_options):
        mnt = mounted(path, "xfs", mount_options)
        sums = make_files(mnt, fio_mib=12, big_mib=16, overwritten_mib=8)
        umount(mnt)
        # Its data is in sequential zones.
        assert any(zone.is_sequential and zone.cond is not EMPTY for zone in d.zones())
        d.add_again()
        run("xfs_repair", "-n", *repair_options, path)
        mounted(path, "xfs", mount_options)
        assert checksums(mnt) == sums
        write_synced(mnt / "more", os.urandom(4 << 20))
        umount(mnt)
        d.remove()

    return use_device


@pytest.fixture
def use_internal(add, use):
    """Has all in one device."""

    def use_options(options=""):
        d = add(options, capacity_mb=1024, zone_size_mb=16, conv_zones=24)
        make("xfs", d.path)
        use(d, d.path)

    return use_options


def test_internal(use_internal):
    use_internal()


def test_internal_emulated_append(use_internal):
    use_internal("zone_append=0,nr_queues=2")


@pytest.mark.c_driver_fails(1, "once a zone is full")
def test_internal_ordered_append(use_internal):
    use_internal("ordered_zone_append")


# As of ZNS drives, any zone that is active can be open, and no more.
@pytest.mark.parametrize("max_active_zones", [pytest.param(None, id="open_limit"), pytest.param(14, id="active_limit")])
def test_realtime_device(add, use, scratch, defer, max_active_zones):
    """The metadata is on a normal device."""
    modprobe("loop")
    image = scratch / "data.img"
    with image.open("wb") as file:
        file.truncate(400 << 20)
    data = run("losetup", "-f", "--show", "-b", "4096", image).strip()
    defer(run, "losetup", "-d", data)
    d = add(
        capacity_mb=1024,
        zone_size_mb=16,
        zone_capacity_mb=15,
        conv_zones=0,
        max_open_zones=14,
        max_active_zones=max_active_zones,
    )
    make("xfs", data, "-r", f"zoned=1,rtdev={d.path}")
    use(d, data, f"rtdev={d.path}", "-r", d.path)
