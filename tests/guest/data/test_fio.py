# SPDX-License-Identifier: GPL-2.0
"""fio with verification, in all the ways in which I/O can be sent.

Guards the data: from each engine, at each depth, through one queue or several, direct or through the
page cache, on more zones than may be open.
"""

import os
import random

import pytest

from zbd import EMPTY, FULL, MIB, NOT_WP, SECTOR, ZEROS, pattern
from zbd.device import ZonedDevice
from zbd.fio import fio, fio_zones
from zbd.threads import in_parallel

pytestmark = pytest.mark.limit(300)

GEOMETRY = {"capacity_mb": 64, "zone_size_mb": 4, "conv_zones": 2}


def check_engines(d):
    """Each engine of fio writes sequential zones in order and at random, and conventional zones."""
    for engine in "psync", "libaio", "io_uring":
        options = {"ioengine": engine, "iodepth": 16}
        fio_zones(d, offset="8M", size="16M", rw="write", bs="64k", **options)
        d.reset_all_zones()
        fio_zones(d, offset="8M", size="16M", rw="randwrite", bs="8k", io_size="8M", **options)
        d.reset_all_zones()
        fio(d, size="8M", rw="randwrite", bs="4k", io_size="4M", **options)


def test_engines(add):
    check_engines(add(**GEOMETRY))


def test_several_queues(add):
    check_engines(add(nr_queues=2, **GEOMETRY))


def test_buffered_io(add):
    """The data of the files is that of the device."""
    d = add(nr_queues=2, buffered_io=True, **GEOMETRY)
    check_engines(d)
    d.reset_all_zones()
    d.write_zone(3, 0, 512)
    d.flush()
    same = d.zone_file(3).read_bytes() == pattern(3 * 4 * MIB, 512)
    assert same


def test_block_sizes(add):
    """Large requests, and ones that do not end where zones or megabytes do."""
    d = add(capacity_mb=64, zone_size_mb=8, zone_capacity_mb=7, conv_zones=1, nr_queues=2)
    for bs in "4k", "12k", "124k", "1020k", "1M", "1028k", "2M":
        fio_zones(d, iodepth=4, offset="8M", size="24M", io_size="14M", rw="write", bs=bs)
        d.reset_all_zones()


def test_mixed(add):
    """Reads and writes are mixed, so that verification is not all that reads."""
    d = add(nr_queues=2, **GEOMETRY)
    fio_zones(d, iodepth=8, offset="8M", size="16M", rw="write", bs="64k")
    fio_zones(
        d,
        verify=0,
        ioengine="io_uring",
        iodepth=8,
        offset="8M",
        size="32M",
        rw="randrw",
        rwmixread=70,
        bs="16k",
        io_size="12M",
        zone_reset_frequency="0.05",
        zone_reset_threshold="0.5",
        max_open_zones=4,
        norandommap=1,
    )
    d.zones()


def test_more_writers_than_open_zones(add):
    """Four writers have three zones each, and three slots."""
    d = add(zone_capacity_mb=3, max_open_zones=3, nr_queues=2, **GEOMETRY)
    capacity = 3 * MIB

    def zones_of(writer):
        return range(2 + 3 * writer, 5 + 3 * writer)

    def write_in_turns(writer):
        for at in range(0, capacity, 128):
            for nr in zones_of(writer):
                d.write_zone(nr, at, 128, writer)

    in_parallel(write_in_turns, range(4))
    assert d.conditions() == [NOT_WP] * 2 + [FULL] * 12 + [EMPTY] * 2
    for writer in range(4):
        for nr in zones_of(writer):
            d.check_zone(nr, 0, capacity, writer)
    # fio keeps to the limit by itself, and must not be refused anything either.
    d.reset_all_zones()
    parallel = {"numjobs": 3, "group_reporting": 1, "offset_increment": "16M", "max_open_zones": 1}
    fio_zones(d, iodepth=4, offset="8M", size="16M", io_size="6M", rw="randwrite", bs="16k", **parallel)


def test_two_devices(add):
    """Two devices are used at once, each with its data. Neither sees the other's commands."""
    one = add(capacity_mb=40, zone_size_mb=4, conv_zones=2)
    options = {"zone_size_mb": 2, "zone_capacity_mb": 1, "conv_zones": 4, "nr_queues": 2, "buffered_io": True}
    other = add(id=1, capacity_mb=40, **options)
    in_parallel(lambda d: fio_zones(d, iodepth=8, offset="8M", size="16M", rw="randwrite", bs="16k"), (one, other))
    one.reset_all_zones()
    assert set(one.conditions()) == {NOT_WP, EMPTY}
    assert not set(other.conditions()) <= {NOT_WP, EMPTY}
    one.remove()
    other.zones()
    other.remove()


def test_page_cache(add):
    """Reads go through the device's page cache, and writes of conventional zones."""
    d = add(capacity_mb=32, zone_size_mb=2, conv_zones=4)
    for nr in 5, 6:
        d.write_zone(nr, 0, 2 * MIB, nr)
    cached = ZonedDevice(d.path, os.O_RDWR)
    cached.check_zone(5, 0, 2 * MIB, 5)
    # A reset takes the cached pages with it.
    d.reset_zone(5)
    cached.check_zone(5, 0, 8, ZEROS)
    fio(d, direct=0, ioengine="psync", size="8M", rw="randwrite", bs="4k", end_fsync=1)
    data = random.Random(1).randbytes(4 * 2 * MIB * SECTOR)
    piece = 64 << 10
    for at in range(0, len(data), piece):
        cached.pwrite(at // SECTOR, data[at : at + piece])
    cached.flush()
    cached.close()
    d.add_again()
    # Thus a difference is not shown byte by byte.
    same = cached.pread(0, len(data) // SECTOR) == data
    assert same
    cached.close()
    same = b"".join(d.zone_file(nr).read_bytes() for nr in range(4)) == data
    assert same
