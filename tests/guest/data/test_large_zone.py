# SPDX-License-Identifier: GPL-2.0
"""Zones of 16 GiB, the largest there are.

Guards I/O past 2 GiB and 4 GiB within a zone, where offsets of 31 and 32 bits end. The files are
sparse; the device learns that a zone is written so far by the size of its file when it is added.
"""

import os
from errno import EIO

import pytest

from zbd import CLOSED, EMPTY, FULL, IMP_OPEN, MIB, NOT_WP, SECTOR, ZEROS, refused

GIB = 1024 * MIB
LENGTH = 16 * GIB


@pytest.fixture
def device(add):
    """A device with two conventional zones (0 and 1) and two sequential ones."""
    return add(capacity_mb=65536, zone_size_mb=16384, conv_zones=2)


@pytest.mark.c_driver_fails(38)
def test_sequential(device):
    d = device
    assert d.queue("chunk_sectors") == LENGTH
    assert d.nr_sectors == 4 * LENGTH
    d.write_zone(2, 0, 64)
    for wp in 2 * GIB - 8, 2 * GIB + MIB, 4 * GIB - 8, 6 * GIB, LENGTH - MIB - 8:
        d.remove()
        os.truncate(d.zone_file(2), wp * SECTOR)
        d.add()
        assert (d.zone(2).cond, d.zone(2).wp) == (CLOSED, wp)
        d.check_zone(2, 0, 64)
        d.check_zone(2, wp - 64, 64, ZEROS)
        refused(d, EIO, d.write_zone, 2, wp + 8, 8)
        d.write_zone(2, wp, 8, 5)
        d.write_zone(2, wp + 8, 1024, 6)
        assert (d.zone(2).cond, d.zone(2).wp) == (IMP_OPEN, wp + 1032)
        d.check_zone(2, wp, 8, 5)
        d.check_zone(2, wp + 8, 1024, 6)
        d.check_zone(2, 0, 64)
        assert d.zone_file_sectors(2) == wp + 1032
    d.add_again()
    wp = d.zone(2).wp
    while wp < LENGTH:
        count = min(1024, LENGTH - wp)
        d.write_zone(2, wp, count, 7)
        wp += count
    assert d.conditions(2) == [FULL]
    d.check_zone(2, LENGTH - 8, 8, 7)
    refused(d, EIO, d.write_zone, 2, 0, 8)
    d.write_zone(3, 0, 8)
    d.finish_zone(3)
    d.check_zone(3, 0, 8)
    d.check_zone(3, LENGTH - 8, 8, ZEROS)
    assert [d.zone_file_sectors(nr) for nr in (2, 3)] == [LENGTH, LENGTH]
    d.add_again()
    assert d.conditions() == [NOT_WP, NOT_WP, FULL, FULL]
    d.reset_all_zones()
    assert d.conditions() == [NOT_WP, NOT_WP, EMPTY, EMPTY]
    # A zone that is empty takes no space.
    assert d.zone_file(2).stat().st_blocks == 0


@pytest.mark.c_driver_fails(38)
def test_conventional(device):
    d = device
    places = [0, 2 * GIB - 8, 2 * GIB, 4 * GIB - 8, 4 * GIB, 10 * GIB]
    places += [LENGTH - 8, LENGTH, 20 * GIB, 2 * LENGTH - 8]

    def check_all():
        for seed, at in enumerate(places):
            d.check(at, 8, seed)

    for seed, at in enumerate(places):
        d.write(at, 8, seed)
    d.write(4 * GIB - 512, 504, 99)
    check_all()
    d.flush()
    assert d.zone_file_sectors(0) == LENGTH
    d.add_again()
    check_all()
    d.check(4 * GIB - 512, 504, 99)
