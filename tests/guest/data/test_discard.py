# SPDX-License-Identifier: GPL-2.0
"""Discard and write zeroes.

Guards the promise that discarded sectors of a conventional zone read as zeros and go back to the file
system below, while the file keeps its length; that zeros in a sequential zone are written as any data
is; and that neither is offered where the file system can't do it.
"""

import os
from errno import EIO, EOPNOTSUPP, ETOOMANYREFS

import pytest

from zbd import CLOSED, EMPTY, FULL, IMP_OPEN, MIB, SECTOR, ZEROS, fails, refused
from zbd.filesystem import umount
from zbd.process import run

LENGTH, CAPACITY = 4 * MIB, 3 * MIB
GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 4, "zone_capacity_mb": 3, "conv_zones": 2}


def blocks(file):
    """The sectors that a file takes in its file system, once that is settled."""
    fd = os.open(file, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    return file.stat().st_blocks


@pytest.mark.parametrize(
    ("scratch", "buffered_io"),
    # tmpfs can't zero sectors that stay allocated, so this is made of two steps.
    [("xfs", False), ("ext4", False), ("ext4", True), ("btrfs", False), ("tmpfs", True)],
    indirect=["scratch"],
)
def test_conventional(add, buffered_io):
    """Zeros in conventional zones by each way to make them, in the middle of data and across the border of two
    zones: the data around stays, the files keep their length, the space comes back."""
    d = add(**GEOMETRY, buffered_io=buffered_io)
    files = [d.zone_file(0), d.zone_file(1)]

    def fill():
        for at in range(0, 2 * LENGTH, 1024):
            d.write(at, 1024, 7)
        d.flush()
        return sum(map(blocks, files))

    for make_zeros, keeps_space in (d.discard, False), (d.punch_hole, False), (d.zero_out, True):
        for start, count in (1024, 2048), (LENGTH - 1024, 2048), (0, LENGTH):
            full = fill()
            make_zeros(start, count)
            d.flush()
            d.check(0, start, 7)
            d.check(start, count, ZEROS)
            d.check(start + count, 2 * LENGTH - start - count, 7)
            assert [file.stat().st_size for file in files] == [LENGTH * SECTOR] * 2
            # An extent that is in two parts now may need a block for that.
            freed = full - sum(map(blocks, files))
            assert freed < 64 if keeps_space else freed > count - 64
    fill()
    d.discard(8, 8)
    d.zero_out(1024, 64)
    d.flush()
    d.add_again()
    for start, count, seed in (0, 8, 7), (8, 8, ZEROS), (16, 1008, 7), (1024, 64, ZEROS), (1088, 512, 7):
        d.check(start, count, seed)
    d.write(8, 8, 3)
    d.check(8, 8, 3)


def test_discard_of_sequential_is_refused(add, log):
    """In a sequential zone a discard changes nothing, also if it begins in a conventional one."""
    d = add(**GEOMETRY)
    log.mark()
    d.write_zone(2, 0, 128, 5)
    d.write_zone(3, 0, 128, 5)
    d.finish_zone(3)
    d.write(2 * LENGTH - 128, 128, 5)
    for start, count in (
        (2 * LENGTH, 8),
        (2 * LENGTH, LENGTH),
        (2 * LENGTH + 128, 8),
        (3 * LENGTH, LENGTH),
        (4 * LENGTH, LENGTH),
        (2 * LENGTH - 64, 128),
    ):
        refused(d, EIO, d.discard, start, count)
    d.check(2 * LENGTH - 128, 256, 5)
    d.check_zone(3, 0, 128, 5)
    d.write_zone(2, 128, 64, 5)
    d.check_zone(2, 0, 192, 5)
    log.expect("zone 2: discard at sector 16384, 8 sectors, refused: the zone is sequential")


@pytest.mark.parametrize("conv_zones", [2, 0])
def test_zeroes_in_sequential(add, conv_zones):
    """Zeros at the write pointer are a write, which takes no space."""
    d = add(capacity_mb=32, zone_size_mb=4, zone_capacity_mb=3, max_open_zones=2, conv_zones=conv_zones)

    def zero_zone(nr, offset, count):
        d.zero_out(nr * LENGTH + offset, count)

    d.write_zone(2, 0, 64, 2)
    zero_zone(2, 64, 2048)
    assert d.state(2) == (IMP_OPEN, 2112)
    assert d.zone_file_sectors(2) == 2112
    d.write_zone(2, 2112, 64, 2)
    for at, count, seed in (0, 64, 2), (64, 2048, ZEROS), (2112, 64, 2), (2176, LENGTH - 2176, ZEROS):
        d.check_zone(2, at, count, seed)
    # From the start to the capacity.
    zero_zone(3, 0, CAPACITY)
    assert d.state(3) == (FULL, None)
    assert d.zone_file_sectors(3) == CAPACITY
    assert blocks(d.zone_file(3)) < 128
    d.check_zone(3, 0, LENGTH, ZEROS)
    for nr, at, count in (3, 0, 8), (2, 0, 8), (2, 2184, 8), (2, 2176, CAPACITY - 2176 + 8):
        refused(d, EIO, zero_zone, nr, at, count)
    zero_zone(4, 0, 8)
    # No more than two zones are open.
    d.open_zone(2)
    d.open_zone(4)
    refused(d, (EIO, ETOOMANYREFS), zero_zone, 5, 0, 8)
    d.close_zone(4)
    zero_zone(5, 0, 8)
    assert d.state(5) == (IMP_OPEN, 8)
    d.reset_zone(3)
    d.write_zone(3, 0, 64, 9)
    d.check_zone(3, 0, 64, 9)
    d.check_zone(3, 64, 64, ZEROS)
    d.flush()
    d.add_again(max_open_zones=None)
    assert [d.state(nr) for nr in range(2, 7)] == [(CLOSED, 2176), (CLOSED, 64), (CLOSED, 8), (CLOSED, 8), (EMPTY, 0)]
    for at, count, seed in (0, 64, 2), (64, 2048, ZEROS), (2112, 64, 2):
        d.check_zone(2, at, count, seed)


def test_zeroes_without_conventional(add):
    """Without conventional zones there is nothing to discard."""
    d = add(capacity_mb=32, zone_size_mb=4, conv_zones=0)
    assert d.queue("discard_max_bytes") == 0
    refused(d, EOPNOTSUPP, d.discard, 0, 8)


def test_discard_write_cache(add):
    """Zeros that were not flushed are lost, as data is."""
    d = add(**GEOMETRY, discard_write_cache=True)
    d.write_zone(3, 0, 64, 2)
    d.zero_out(3 * LENGTH + 64, 64)
    d.flush()
    d.zero_out(3 * LENGTH + 128, 64)
    d.zero_out(4 * LENGTH, CAPACITY)
    d.add_again(discard_write_cache=False)
    assert [d.state(nr) for nr in (3, 4)] == [(CLOSED, 128), (EMPTY, 0)]
    d.check_zone(3, 0, 64, 2)
    d.check_zone(3, 64, 64, ZEROS)


def test_no_holes(on_ramfs, add):
    """On a file system without holes nothing is offered, and zeros are written."""
    d = add(**GEOMETRY, buffered_io=True)
    assert d.queue("discard_max_bytes") == 0
    assert d.queue("write_zeroes_max_bytes") == 0
    d.write(0, 1024, 3)
    refused(d, EOPNOTSUPP, d.discard, 0, 8)
    d.zero_out(64, 64)
    for at, count, seed in (0, 64, 3), (64, 64, ZEROS), (128, 896, 3):
        d.check(at, count, seed)
    d.write_zone(2, 0, 64)
    d.zero_out(2 * LENGTH + 64, 64)
    assert d.state(2) == (IMP_OPEN, 128)


def test_short_file(add, log):
    """A conventional zone's file that others have cut keeps its length."""
    d = add(**GEOMETRY)
    os.truncate(d.zone_file(1), 1 << 20)
    log.mark()
    d.write(LENGTH, 64, 4)
    for make_zeros in d.discard, d.zero_out:
        fails(EIO, make_zeros, LENGTH + 2048, 64)
    d.discard(LENGTH + 8, 8)
    for at, count, seed in (0, 8, 4), (8, 8, ZEROS), (16, 48, 4):
        d.check_zone(1, at, count, seed)
    assert d.zone_file_sectors(1) == 2048
    log.expect("zone 1: discard at sector 10240, 64 sectors, failed")
    os.truncate(d.zone_file(1), 4 << 20)


def test_ext4_on_conventional(add, mounted):
    """A file system in the conventional zones gives back the space that it has freed."""

    def used():
        return sum(file.stat().st_blocks for file in d.directory.iterdir())

    d = add(capacity_mb=96, zone_size_mb=16, conv_zones=4)
    run("mkfs.ext4", "-q", "-b", "4096", "-E", "discard", d.path, "64M")
    files = mounted(d.path, "ext4")
    data = os.urandom(4 << 20)
    (files / "a").write_bytes(os.urandom(24 << 20))
    (files / "b").write_bytes(data)
    os.sync()
    full = used()
    (files / "a").unlink()
    os.sync()
    run("fstrim", files)
    os.sync()
    assert used() < full - 44000  # of 49152
    umount(files)
    d.add_again()
    run("e2fsck", "-fn", d.path)
    mounted(d.path, "ext4", "discard")
    assert (files / "b").read_bytes() == data
    umount(files)
    d.discard(0, 64 * MIB)
    d.check(0, 64 * MIB, ZEROS)
