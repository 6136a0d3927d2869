# SPDX-License-Identifier: GPL-2.0
"""Device mapper on top: a part of the device as a device of its own.

Guards the report through another driver, with another start, and commands that arrive as bios of a
stacked device.
"""

import os
from errno import EIO

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, NOT_WP, pattern, refused
from zbd.dm import Mapping
from zbd.files import write_direct
from zbd.filesystem import make, umount
from zbd.fio import fio_zones

LENGTH, CAPACITY = 4 * MIB, 3 * MIB


@pytest.fixture
def stack(add, defer):
    """`stack(options)`: a device, and the mapping of its zones 1 to 12: one conventional, eleven sequential."""

    def add_both(options=""):
        below = add(options, capacity_mb=64, zone_size_mb=4, zone_capacity_mb=3, conv_zones=2, nr_queues=2)
        mapping = Mapping("above", f"0 {12 * LENGTH} linear {below.path} {LENGTH}")
        defer(mapping.remove)
        return below, mapping

    return add_both


@pytest.mark.parametrize("options", [pytest.param("", id="native_append"), "zone_append=0"])
def test_linear(stack, options):
    below, mapping = stack(options)
    d = mapping.device
    assert [(zone.start, zone.cond) for zone in d.zones()] == [
        (nr * LENGTH, EMPTY if nr else NOT_WP) for nr in range(12)
    ]
    assert d.nr_zones == 12
    d.write(64, 64, 3)
    d.check(64, 64, 3)
    d.write_zone(2, 0, 64)
    d.check_zone(2, 0, 64)
    assert d.state(2) == (IMP_OPEN, 64)
    assert below.state(3) == (IMP_OPEN, 64)
    assert below.state(2) == (EMPTY, 0)
    assert below.pread(3 * LENGTH, 64) == pattern(2 * LENGTH, 64)
    refused(d, EIO, d.write_zone, 2, 72, 8)
    refused(d, EIO, d.write_zone, 2, 0, 8)
    for at in range(0, CAPACITY, 1024):
        d.write_zone(3, at, 1024)
    # Device mapper gives a full zone its end as the write pointer.
    assert d.zone(3).cond is FULL
    assert below.state(4) == (FULL, None)
    d.open_zone(4)
    assert below.state(5) == (EXP_OPEN, 0)
    d.write_zone(4, 0, 8)
    d.close_zone(4)
    assert below.state(5) == (CLOSED, 8)
    d.finish_zone(4)
    assert d.zone(4).cond is FULL
    assert below.state(5) == (FULL, None)
    d.reset_zone(3)
    assert below.state(4) == (EMPTY, 0)
    assert d.state(2) == (IMP_OPEN, 64)
    d.reset_all_zones()
    assert below.conditions() == [NOT_WP] * 2 + [EMPTY] * 14
    d.check(64, 64, 3)
    if not options:
        fio_zones(d, iodepth=8, offset="4M", size="16M", rw="randwrite", bs="16k")
    mapping.remove()
    below.remove()


def test_reset_of_a_part(stack):
    """A reset of all zones of a part is not one of the whole."""
    below, mapping = stack()
    d = mapping.device
    below.write_zone(14, 0, 64)
    d.write_zone(5, 0, 64)
    d.reset_all_zones()
    assert below.state(14) == (IMP_OPEN, 64)
    assert below.zone(14).capacity == CAPACITY
    assert below.state(6) == (EMPTY, 0)
    below.check_zone(14, 0, 64)
    mapping.remove()
    below.remove()


def test_zonefs(stack, mounted):
    """A file system on the part."""
    below, mapping = stack()
    make("zonefs", mapping.device.path)
    mnt = mounted(mapping.device.path, "zonefs")
    data = os.urandom(512 << 10)
    write_direct(mnt / "seq/3", data)
    assert (mnt / "seq/3").read_bytes() == data
    umount(mnt)
    mapping.remove()
    below.remove()
