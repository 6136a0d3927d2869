# SPDX-License-Identifier: GPL-2.0
"""One zone goes bad, the others do not.

Guards the promises that a zone whose file is no longer as the driver left it is reported read-only
or offline, and looked at again until the fault is gone; that no report and no other zone suffers
from it; that a request which is refused or fails changes no more than it must; and that the log is
not flooded.
"""

import os
from errno import EIO, EPERM, ETOOMANYREFS

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, IMP_OPEN, MIB, NOT_WP, READONLY, SECTOR, ZEROS, fails, refused
from zbd.errors import errno_of
from zbd.filesystem import immutable

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "conv_zones": 1}


@pytest.fixture
def disk(failing_disk):
    return failing_disk("ext4", 96)


@pytest.fixture
def device(disk, add):
    """A device whose files are on that disk."""
    d = add(base_dir=disk.mount_point, **GEOMETRY)
    disk.settle(d.directory)
    return d


@pytest.fixture
def spoiled(disk, device):
    """Zone 5 has 64 sectors, but its file was made larger than a zone. A write behind those sectors fails, and that
    comes to light."""
    for nr in 4, 5, 6:
        device.write_zone(nr, 0, 64, nr)
    device.flush()
    os.truncate(device.zone_file(5), 3 << 20)
    disk.break_all()
    fails(EIO, device.write_zone, 5, 64, 64)
    disk.heal()
    return device


@pytest.mark.c_driver_fails(31)
def test_defect_31_one_bad_zone_is_one_bad_zone(spoiled):
    d = spoiled
    for _ in range(3):
        assert d.conditions(*range(8)) == [NOT_WP, EMPTY, EMPTY, EMPTY, IMP_OPEN, READONLY, IMP_OPEN, EMPTY]
    d.check_zone(4, 0, 64, 4)
    d.write_zone(4, 64, 64, 4)
    d.reset_zone(6)
    d.write(0, 64)
    d.flush()
    d.check_zone(5, 0, 64, 5)
    refused(d, EIO, d.write_zone, 5, 64, 64)
    refused(d, EIO, d.open_zone, 5)
    assert d.zone(7).cond is EMPTY


@pytest.mark.c_driver_fails(30)
def test_defect_30_a_bad_zone_is_looked_at_until_it_is_well(spoiled):
    d = spoiled
    # These two may fail.
    errno_of(d.zones)
    errno_of(d.zones)
    os.truncate(d.zone_file(5), 64 * SECTOR)
    assert d.zone(5).wp == 64
    d.check_zone(5, 0, 64, 5)
    d.write_zone(5, 64, 64, 5)
    d.check_zone(5, 0, 128, 5)
    d.finish_zone(5)
    d.reset_zone(5)
    d.write_zone(5, 0, 8)


@pytest.mark.c_driver_fails(32)
def test_defect_32_what_is_refused_changes_nothing(add):
    """A write that is not at the write pointer is refused, and nothing else happens."""
    d = add(max_open_zones=2, **GEOMETRY)
    d.open_zone(5)
    d.open_zone(6)
    refused(d, EIO, d.write_zone, 5, 8, 8)
    assert d.state(5) == (EXP_OPEN, 0)
    # The slot is neither lost nor free.
    fails(ETOOMANYREFS, d.open_zone, 7)
    d.write_zone(5, 0, 8)
    assert d.state(5) == (EXP_OPEN, 8)


@pytest.mark.c_driver_fails(33)
def test_defect_33_an_opened_zone_stays_open(disk, device):
    """The first write in a zone that was opened explicitly fails."""
    d = device
    d.open_zone(5)
    disk.break_all()
    fails(EIO, d.write_zone, 5, 0, 64)
    disk.heal()
    assert d.state(5) == (EXP_OPEN, 0)
    d.write_zone(5, 0, 64)
    assert d.state(5) == (EXP_OPEN, 64)
    d.close_zone(5)
    assert d.state(5) == (CLOSED, 64)


@pytest.mark.c_driver_fails(34)
def test_defect_34_reset_of_all_zones_resets_the_others(device):
    """A reset of all zones resets all but the one that can't be."""
    d = device
    for nr in 2, 5, 6, 7, 15:
        d.write_zone(nr, 0, 64, nr)
    d.flush()
    with immutable(d.zone_file(6)):
        fails((EIO, EPERM), d.reset_all_zones)
        assert d.conditions(2, 5, 7, 15) == [EMPTY] * 4
        assert d.zone(6).wp == 64
        d.check_zone(6, 0, 64, 6)
        # The block layer believes that nothing was reset until it is told.
        for nr in 2, 5, 7, 15:
            d.check_zone(nr, 0, 64, ZEROS)
            d.reset_zone(nr)
            d.write_zone(nr, 0, 8)
    d.reset_all_zones()
    assert d.conditions()[1:] == [EMPTY] * 15


@pytest.mark.c_driver_fails(36)
@pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])
def test_defect_36_a_shortened_file_is_an_error(add, buffered_io):
    """Data that was written and is not there any more is an error, not zeros."""
    d = add(buffered_io=buffered_io, **GEOMETRY)
    d.write_zone(5, 0, 128)
    d.write_zone(6, 0, 64)
    d.write(0, 64)
    d.flush()
    os.truncate(d.zone_file(5), 64 * SECTOR)
    os.truncate(d.zone_file(0), MIB * SECTOR)
    fails(EIO, d.check_zone, 5, 64, 64)
    fails(EIO, d.check_zone, 5, 32, 64)
    fails(EIO, d.pread, 3000, 64)
    # The data that is left can be read, and sectors that were never written are zeros.
    d.check_zone(5, 0, 64)
    d.check_zone(6, 0, 64)
    d.check_zone(6, 64, 64, ZEROS)
    d.check(0, 64)
    d.write(0, 128)
    assert d.zone(5).cond is READONLY


@pytest.mark.c_driver_fails(37)
def test_defect_37_the_log_is_not_flooded(disk, device, log):
    """Six hundred failures are not six hundred lines."""
    d = device
    d.write(0, 64)
    d.flush()
    disk.break_all()
    log.mark()
    for _ in range(600):
        fails(EIO, d.pread, 0, 8)
    disk.heal()
    # The block layer has lines and a limit of its own.
    lines = [line for line in log.zloop_lines() if "I/O error, dev" not in line]
    assert 0 < len(lines) < 150
