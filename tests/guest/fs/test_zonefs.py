# SPDX-License-Identifier: GPL-2.0
"""zonefs on the device: each zone is a file, whose size is the write pointer.

Guards the report and the zone commands as a file system in the kernel uses them: it reads write
pointers, opens zones explicitly, truncates to reset and to finish, and notices by itself if a zone
is not as it should be.
"""

import os
from errno import EBUSY, EFBIG, EINVAL, EIO, EPERM

import pytest

from zbd import EXP_OPEN, fails
from zbd.files import read_direct, write_direct, write_synced
from zbd.filesystem import make, umount
from zbd.memory import drop_caches
from zbd.threads import in_parallel

KIB, MIB = 1 << 10, 1 << 20
CAPACITY = 3 * MIB


@pytest.fixture
def zonefs(add, mounted):
    """`zonefs(device_options, mount_options)`: a device with zonefs on it, and the directory of the sequential
    files."""

    def make_and_mount(options="", mount_options=""):
        d = add(options, capacity_mb=64, zone_size_mb=4, zone_capacity_mb=3, conv_zones=3, max_open_zones=6)
        make("zonefs", d.path)
        return d, mounted(d.path, "zonefs", mount_options) / "seq"

    return make_and_mount


def put(path, size):
    """Write random data to an empty file; it is returned."""
    data = os.urandom(size)
    write_direct(path, data)
    return data


def sizes(directory, *names):
    return [(directory / name).stat().st_size for name in names]


def shown(seq, count):
    """Mode and size of the first files."""
    files = [(seq / str(nr)).stat() for nr in range(count)]
    return [(file.st_mode & 0o777, file.st_size) for file in files]


@pytest.fixture
def use(zonefs, mounted):
    """`use(options)`: files are written, truncated, and found again after remove and add."""

    def use_device(options=""):
        d, seq = zonefs(options)
        mnt = seq.parent
        cnv = mnt / "cnv"

        def again():
            umount(mnt)
            d.add_again()
            mounted(d.path, "zonefs")

        assert (len(list(cnv.iterdir())), len(list(seq.iterdir()))) == (2, 13)
        data = [put(seq / str(nr), size) for nr, size in enumerate((64 * KIB, 3 * MIB, MIB))]
        assert sizes(seq, "0", "1", "2", "3") == [64 * KIB, 3 * MIB, MIB, 0]
        assert [d.zone_file(nr).stat().st_size for nr in (3, 4, 5, 6)] == [64 * KIB, 3 * MIB, MIB, 0]
        conventional = os.urandom(4 * MIB)
        write_synced(cnv / "0", conventional, offset=0)
        # Not at the end of the file, and past the zone's capacity: the file system refuses the first, the size of the
        # file the second.
        fails(EINVAL, write_direct, seq / "0", bytes(64 * KIB))
        fails(EFBIG, write_direct, seq / "1", bytes(64 * KIB), append=True)
        # Truncation: to nothing resets, to all finishes.
        put(seq / "4", 256 * KIB)
        os.truncate(seq / "4", 0)
        assert d.zone_file_sectors(7) == 0
        os.truncate(seq / "5", CAPACITY)
        assert d.zone_file(8).stat().st_size == CAPACITY
        again()
        assert [(seq / str(nr)).read_bytes() for nr in range(3)] == data
        assert (cnv / "0").read_bytes() == conventional
        assert sizes(seq, "4", "5") == [0, CAPACITY]
        write_direct(seq / "0", data[0], append=True)
        assert (seq / "0").read_bytes() == data[0] * 2
        again()
        assert (seq / "0").read_bytes() == data[0] * 2
        umount(mnt)
        d.remove()

    return use_device


def test_native_append(use):
    use()


def test_emulated_append(use):
    use("zone_append=0")


@pytest.mark.c_driver_may_fail(1, "if the writes become appends")
def test_ordered_append(use):
    use("ordered_zone_append")


def test_buffered_io(use):
    use("buffered_io,nr_queues=2")


def test_explicit_open(zonefs):
    """With `explicit-open` each file that is open for writing holds a zone open, and the seventh of six finds none."""
    d, seq = zonefs("", "explicit-open")
    files = [os.open(seq / str(nr), os.O_RDWR) for nr in range(6)]
    assert d.conditions().count(EXP_OPEN) == 6
    fails(EBUSY, os.open, seq / "6", os.O_RDWR)
    for fd in files:
        os.close(fd)
    assert d.conditions().count(EXP_OPEN) == 0
    umount(seq.parent)


def test_parallel_writers(zonefs, mounted):
    """Eight files are written at once, with six zones that may be open: zonefs opens none explicitly here, and no
    writer is refused."""
    d, seq = zonefs("nr_queues=2")
    data = [os.urandom(2 * MIB) for nr in range(8)]
    in_parallel(lambda nr: write_direct(seq / str(nr), data[nr]), range(8))
    umount(seq.parent)
    d.add_again()
    mounted(d.path, "zonefs")
    assert [(seq / str(nr)).read_bytes() for nr in range(8)] == data
    umount(seq.parent)


def test_failed_zones_at_mount(zonefs, mounted, control):
    """Zones that were declared read-only or offline before the mount have no known write pointers: zonefs shows
    files of no size that may not be used."""
    d, seq = zonefs()
    data = [put(seq / str(nr), 64 * KIB) for nr in range(3)]
    umount(seq.parent)
    control.zone_readonly(0, 3)
    control.zone_offline(0, 4)
    d.add_again()
    mounted(d.path, "zonefs")
    assert shown(seq, 4) == [(0, 0), (0, 0), (0o640, 64 * KIB), (0o640, 0)]
    fails(EPERM, write_direct, seq / "0", data[0])
    fails(EPERM, os.truncate, seq / "1", 0)
    assert (seq / "2").read_bytes() == data[2]
    put(seq / "3", 64 * KIB)
    umount(seq.parent)
    control.zone_good(0, "3-4")
    mounted(d.path, "zonefs")
    assert shown(seq, 4) == [(0o640, 64 * KIB)] * 4
    assert [(seq / str(nr)).read_bytes() for nr in range(2)] == data[:2]
    write_direct(seq / "1", data[1], append=True)
    umount(seq.parent)
    d.remove()


@pytest.mark.parametrize("errors", ["remount-ro", "zone-ro", "zone-offline", "repair"])
def test_failed_zones_in_use(zonefs, control, errors):
    """Zones fail while they are in use: zonefs does as its option says."""
    d, seq = zonefs("", f"errors={errors}")
    data = [put(seq / str(nr), 64 * KIB) for nr in range(3)]
    # From before, so that it isn't the page cache that is read.
    drop_caches()
    control.zone_readonly(0, 3)
    control.zone_offline(0, 4)
    # It finds out when it is told of an error.
    assert shown(seq, 3) == [(0o640, 64 * KIB)] * 3
    assert (seq / "0").read_bytes() == data[0]
    fails(EIO, write_direct, seq / "0", data[0], append=True)
    if errors == "zone-offline":
        assert shown(seq, 1) == [(0, 0)]
    else:
        # Nothing was written, and what is there can be read.
        assert shown(seq, 1) == [(0o440, 64 * KIB)]
        assert (seq / "0").read_bytes() == data[0]
    assert bool(os.statvfs(seq).f_flag & os.ST_RDONLY) == (errors == "remount-ro")
    fails(EIO, read_direct, seq / "1", 64 * KIB)
    assert shown(seq, 2)[1] == (0, 0)
    # The others are as they were.
    assert shown(seq, 3)[2] == (0o640, 64 * KIB)
    assert (seq / "2").read_bytes() == data[2]
    if errors != "remount-ro":
        write_direct(seq / "2", data[2], append=True)
        assert shown(seq, 3)[2] == (0o640, 128 * KIB)
    umount(seq.parent)
    d.remove()
