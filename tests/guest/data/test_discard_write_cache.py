# SPDX-License-Identifier: GPL-2.0
"""discard_write_cache: the removal of the device loses the data that was not flushed.

Guards the promise that every sequential zone, also a full one, is rolled back to the last flush and
never further; a reset and a finish count as flushed when they complete. Each case is a test of its own,
since the C driver gets some of them wrong, each for a reason of its own.
"""

import os

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, ZEROS
from zbd import filesystem as fs
from zbd.device import ZonedDevice
from zbd.files import fsync, write_direct

LENGTH, CAPACITY = 2 * MIB, MIB
PLAIN = {"capacity_mb": 20, "zone_size_mb": 2, "zone_capacity_mb": 1, "conv_zones": 2}
CACHED = PLAIN | {"discard_write_cache": True}
# Without conventional zones, zone 0 is sequential.
SEQUENTIAL = {"capacity_mb": 20, "zone_size_mb": 2, "conv_zones": 0}


def check_closed(device, nr, wp, seed=1):
    """A zone is closed, and holds this data up to its write pointer and zeros behind it."""
    zone = device.zone(nr)
    assert (zone.cond, zone.wp) == (CLOSED, wp)
    device.check_zone(nr, 0, wp, seed)
    device.check_zone(nr, wp, LENGTH - wp, ZEROS)


def check_full(device, nr, count=CAPACITY):
    """A zone is full, and was written with this many sectors of data."""
    zone = device.zone(nr)
    assert (zone.cond, zone.wp) == (FULL, None)
    device.check_zone(nr, 0, count)
    device.check_zone(nr, count, LENGTH - count, ZEROS)


def check_empty(device, *numbers):
    for nr in numbers:
        zone = device.zone(nr)
        assert (zone.cond, zone.wp) == (EMPTY, 0)
        device.check_zone(nr, 0, LENGTH, ZEROS)


def test_unflushed_tail_is_lost(add):
    d = add(**CACHED)
    d.write_zone(5, 0, 64)
    d.flush()
    d.write_zone(5, 64, 64, 2)
    d.add_again()
    check_closed(d, 5, 64)
    d.write_zone(5, 64, 64, 3)
    d.flush()
    d.add_again()
    assert (d.zone(5).cond, d.zone(5).wp) == (CLOSED, 128)
    d.check_zone(5, 0, 64)
    d.check_zone(5, 64, 64, 3)


def test_first_zone(add):
    """Zone 0 is rolled back as others are."""
    d = add(**SEQUENTIAL, discard_write_cache=True)
    d.write_zone(0, 0, 64)
    d.flush()
    d.write_zone(0, 64, 64, 2)
    d.add_again()
    check_closed(d, 0, 64)


@pytest.mark.c_driver_fails(10)
def test_never_flushed(add):
    d = add(**CACHED)
    d.write_zone(5, 0, 64)
    d.open_zone(6)
    d.write_zone(6, 0, 64)
    d.write_zone(7, 0, 64)
    d.close_zone(7)
    d.open_zone(8)
    d.add_again()
    check_empty(d, 5, 6, 7, 8)


def test_every_zone_to_its_place(add):
    """Each zone goes back to its own place at the last of several flushes."""
    d = add(**CACHED)
    for nr in range(2, 10):
        d.write_zone(nr, 0, 8 * nr)
    d.flush()
    for nr in range(4, 10):
        d.write_zone(nr, 8 * nr, 64)
    d.flush()
    for nr in range(6, 10):
        d.write_zone(nr, 8 * nr + 64, 64)
    d.add_again()
    for nr in range(2, 10):
        check_closed(d, nr, 8 * nr + (64 if nr > 3 else 0))


@pytest.mark.c_driver_fails(11)
def test_full_zone(add):
    d = add(**CACHED)
    d.write_zone(5, 0, 64)
    d.flush()
    d.write_zone(5, 64, CAPACITY - 64)
    d.write_zone(6, 0, CAPACITY)
    assert d.conditions(5, 6) == [FULL, FULL]
    d.add_again()
    check_closed(d, 5, 64)
    check_empty(d, 6)


def test_full_and_flushed(add):
    d = add(**CACHED)
    d.write_zone(5, 0, CAPACITY)
    d.flush()
    for _ in range(2):
        d.add_again()
        check_full(d, 5)


def test_finish_counts_as_flushed(add):
    """A finish is durable when it completes, and so is the data of the zone."""
    d = add(**CACHED)
    d.write_zone(5, 0, 64)
    d.finish_zone(5)
    d.finish_zone(6)
    d.add_again()
    check_full(d, 5, 64)
    check_full(d, 6, 0)


@pytest.mark.c_driver_fails(11)
def test_finish_of_a_full_zone_counts_as_flushed(add):
    """A finish is durable also where writes have left it nothing to fill."""
    d = add(**CACHED)
    d.write_zone(5, 0, CAPACITY)
    d.finish_zone(5)
    d.write_zone(6, 0, CAPACITY)
    d.add_again()
    check_full(d, 5)
    check_empty(d, 6)


def test_reset_counts_as_flushed(add):
    d = add(**CACHED)
    d.write_zone(5, 0, 64)
    d.write_zone(6, 0, CAPACITY)
    d.write_zone(7, 0, 64)
    d.finish_zone(7)
    d.flush()
    for nr in 5, 6, 7:
        d.reset_zone(nr)
    d.add_again()
    check_empty(d, 5, 6, 7)


@pytest.mark.c_driver_fails(12)
def test_unflushed_after_reset(add):
    """Data that came after the reset is gone, however much was flushed before it."""
    d = add(**SEQUENTIAL, zone_capacity_mb=1, discard_write_cache=True)
    d.write_zone(0, 0, 64)
    d.flush()
    d.reset_zone(0)
    d.write_zone(0, 0, 128, 2)
    d.add_again()
    check_empty(d, 0)


def test_flushed_after_reset(add):
    d = add(**CACHED)
    d.write_zone(5, 0, 64)
    d.write_zone(6, 0, 64)
    d.flush()
    d.reset_zone(5)
    d.reset_all_zones()
    d.write_zone(5, 0, 128, 2)
    d.write_zone(6, 0, 8, 3)
    d.flush()
    d.write_zone(6, 8, 128, 4)
    d.add_again()
    check_closed(d, 5, 128, 2)
    check_closed(d, 6, 8, 3)


@pytest.mark.c_driver_fails(10)
def test_earlier_data_stays(add):
    """Data that was there when the device was added is not in the cache, and is not lost."""
    d = add(**PLAIN)
    d.write_zone(5, 0, 64)
    d.write_zone(6, 0, CAPACITY)
    d.add_again(discard_write_cache=True)
    assert d.conditions(5) == [CLOSED]
    d.write_zone(5, 64, 64, 2)
    d.add_again()
    check_closed(d, 5, 64)
    check_full(d, 6)


@pytest.mark.c_driver_fails(13)
def test_record_does_not_outlive_its_session(add):
    """A record of the data that was flushed once does not count for later sessions."""
    d = add(**SEQUENTIAL, discard_write_cache=True)
    d.write_zone(0, 0, 64)
    d.flush()
    d.add_again(discard_write_cache=False)
    d.write_zone(0, 64, 64, 2)
    d.add_again(discard_write_cache=True)
    for _ in range(2):
        assert (d.zone(0).cond, d.zone(0).wp) == (CLOSED, 128)
        d.add_again()
    d.check_zone(0, 0, 64)
    d.check_zone(0, 64, 64, 2)


def test_synchronous_write(add):
    """A write that asks to be durable is so when it completes."""
    d = add(**CACHED)
    synchronous = ZonedDevice(d.path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    synchronous.write_zone(5, 0, 64)
    synchronous.write_zone(5, 64, 64)
    synchronous.close()
    d.write_zone(5, 128, 64, 2)
    d.add_again()
    check_closed(d, 5, 128)


@pytest.mark.c_driver_fails(11)
def test_buffered_io(add):
    """With the zone files in the page cache it is the same."""
    d = add(**CACHED, buffered_io=True)
    d.write_zone(5, 0, 64)
    d.flush()
    d.write_zone(5, 64, 64, 2)
    d.write_zone(6, 0, CAPACITY)
    d.add_again()
    check_closed(d, 5, 64)
    check_empty(d, 6)


def test_without_the_option(add):
    """Without the option nothing is lost."""
    d = add(**PLAIN)
    d.write_zone(5, 0, 64)
    d.write(0, 64, 3)
    d.flush()
    d.write_zone(5, 64, 64)
    d.write_zone(6, 0, CAPACITY)
    d.add_again()
    check_closed(d, 5, 128)
    check_full(d, 6)
    d.check(0, 64, 3)


def test_file_system_above(add, mounted):
    """A file system that was unmounted has flushed all that it wrote."""
    data = os.urandom(320 << 10)
    d = add(**CACHED)
    fs.make("zonefs", d.path)
    file = mounted(d.path, "zonefs") / "seq/2"
    write_direct(file, data)
    fsync(file)
    fs.umount(file.parent.parent)
    d.add_again()
    mounted(d.path, "zonefs")
    assert file.read_bytes() == data
