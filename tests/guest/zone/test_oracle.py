# SPDX-License-Identifier: GPL-2.0
"""Every zone command in every zone condition.

Guards the promise that a command does in each condition just what ZNS says, and that a command that
is refused changes nothing: not the condition, not the write pointer, not the file. `ORACLE` is all of
it, as far as user space can reach: one row per command, one column per state.
"""

import fcntl
import os
import random
import re
import struct
from collections.abc import Callable
from errno import EBADF, EINVAL, EIO
from typing import NamedTuple

import pytest

from zbd import (
    CLOSED,
    EMPTY,
    EXP_OPEN,
    FULL,
    IMP_OPEN,
    MIB,
    NOT_WP,
    SECTOR,
    ZEROS,
    Condition,
    ZoneType,
    fails,
    refused,
)
from zbd.device import BLKCLOSEZONE, BLKFINISHZONE, BLKOPENZONE, BLKREPORTZONEV2, BLKRESETZONE, ZonedDevice
from zbd.process import attempt, run
from zbd.sector_data import verify
from zbd.zone import ACTIVE

pytestmark = pytest.mark.limit(240)

LENGTH, CAPACITY = 2 * MIB, MIB
BLK_ZONE_REP_CAPACITY = 1
# The zone that the commands are for, and those beside it, which must not change.
NR = 7
NEIGHBOURS = 6, 8

# fmt: off
# The zone's condition after each command, or the errno with which that is refused. None: there is nothing to try.
ORACLE = {
    #                        empty     implicitly explicitly open      closed    filled finished
    #                                  open       no data   data
    "write at wp":          (IMP_OPEN, IMP_OPEN,  EXP_OPEN, EXP_OPEN,  IMP_OPEN, None,  None),
    "write up to capacity": (FULL,     FULL,      FULL,     FULL,      FULL,     None,  None),
    "write past wp":        (EIO,      EIO,       EIO,      EIO,       EIO,      EIO,   EIO),
    "write below wp":       (None,     EIO,       None,     EIO,       EIO,      EIO,   EIO),
    "write past capacity":  (EIO,      EIO,       EIO,      EIO,       EIO,      EIO,   EIO),
    "open":                 (EXP_OPEN, EXP_OPEN,  EXP_OPEN, EXP_OPEN,  EXP_OPEN, EIO,   EIO),
    "close":                (EIO,      CLOSED,    EMPTY,    CLOSED,    CLOSED,   EIO,   EIO),
    "finish":               (FULL,     FULL,      FULL,     FULL,      FULL,     FULL,  FULL),
    "reset":                (EMPTY,    EMPTY,     EMPTY,    EMPTY,     EMPTY,    EMPTY, EMPTY),
}
# fmt: on


class State(NamedTuple):
    """A state of the zone, and how it gets there from empty."""

    condition: Condition
    data: int
    """Sectors that were written."""
    steps: tuple[Callable, ...]

    @property
    def size(self):
        """Sectors of its file, which are the write pointer, too."""
        return CAPACITY if self.condition is FULL else self.data


def write(data):
    return lambda device, nr: device.write_zone(nr, 0, data)


OPEN, CLOSE, FINISH = ZonedDevice.open_zone, ZonedDevice.close_zone, ZonedDevice.finish_zone
# The columns of the table.
STATES = [
    State(EMPTY, 0, ()),
    State(IMP_OPEN, 16, (write(16),)),
    State(EXP_OPEN, 0, (OPEN,)),
    State(EXP_OPEN, 16, (OPEN, write(16))),
    State(CLOSED, 16, (write(16), CLOSE)),
    State(FULL, CAPACITY, (write(CAPACITY),)),
    State(FULL, 16, (write(16), FINISH)),
]


@pytest.fixture
def device(add):
    """A device with two conventional zones (0 and 1) and 18 sequential ones."""
    return add(capacity_mb=40, zone_size_mb=2, zone_capacity_mb=1, conv_zones=2)


def prepare(device, state):
    """Have the zone in this state, between neighbours that have something to lose."""
    device.reset_all_zones()
    for nr in NEIGHBOURS:
        device.write_zone(nr, 0, 8, 9)
    for step in state.steps:
        step(device, NR)
    check_zone(device, state.condition, state.size)


def check_zone(device, condition, size):
    """The zone's condition; its write pointer and the size of its file."""
    zone = device.zone(NR)
    assert (zone.cond, zone.wp) == (condition, None if condition is FULL else size)
    assert device.zone_file_sectors(NR) == size


def check_data(device, data):
    """The zone holds that many sectors of data, and zeros behind them."""
    device.check_zone(NR, 0, data)
    device.check_zone(NR, data, LENGTH - data, ZEROS)


def check_neighbours(device):
    for nr in NEIGHBOURS:
        zone = device.zone(nr)
        assert (zone.cond, zone.wp) == (IMP_OPEN, 8)
        device.check_zone(nr, 0, 8, 9)


def check_accepted(device, state, command, condition, written):
    """The command, which is given the write pointer, brings the zone into this condition and writes so many sectors."""
    prepare(device, state)
    command(state.size)
    check_zone(device, condition, {FULL: CAPACITY, EMPTY: 0}.get(condition, state.size + written))
    check_neighbours(device)


def check_refused(device, state, command, error):
    """The command, which is given the write pointer, fails. The zone is as it was, and as usable as it was."""
    prepare(device, state)
    refused(device, error, command, state.size)
    assert device.zone_file_sectors(NR) == state.size
    check_data(device, state.data)
    # The report in `refused` told the block layer where the write pointer is.
    if state.condition is not FULL:
        device.write_zone(NR, state.size, 8)
        check_zone(device, EXP_OPEN if state.condition is EXP_OPEN else IMP_OPEN, state.size + 8)
        device.check_zone(NR, 0, state.size + 8)
    check_neighbours(device)


def check_row(device, row, command, written=0):
    """The command does in each state what this row of the table says."""
    for state, want in zip(STATES, ORACLE[row], strict=True):
        if isinstance(want, Condition):
            check_accepted(device, state, command, want, written)
        elif want is not None:
            check_refused(device, state, command, want)


def test_write_at_wp(device):
    check_row(device, "write at wp", lambda wp: device.write_zone(NR, wp, 8), written=8)


def test_write_up_to_the_capacity(device):
    check_row(device, "write up to capacity", lambda wp: device.write_zone(NR, wp, CAPACITY - wp))


@pytest.mark.c_driver_fails(32, 33)
def test_write_past_wp(device):
    """Past the write pointer, by one block."""
    check_row(device, "write past wp", lambda wp: device.write_zone(NR, wp + 8, 8))


def test_write_below_wp(device):
    """All below the write pointer, and a part of it; in an empty zone there is nothing below it."""
    check_row(device, "write below wp", lambda wp: device.write_zone(NR, 0, 8))
    check_row(device, "write below wp", lambda wp: device.write_zone(NR, wp - 8, 16))


def test_write_past_capacity(device):
    """At and past the capacity, where there is a zone but nothing to write to."""
    for at in CAPACITY, CAPACITY + 8, LENGTH - 8:
        check_row(device, "write past capacity", lambda wp, at=at: device.write_zone(NR, at, 8))


@pytest.mark.c_driver_fails(4)
def test_write_across_capacity(device):
    """A write that begins at the write pointer, a block before the capacity, and ends behind that. The block layer lets
    it through: it knows the pointer but not where the capacity ends."""
    at = CAPACITY - 8
    states = [
        State(IMP_OPEN, at, (write(at),)),
        State(EXP_OPEN, at, (OPEN, write(at))),
        State(CLOSED, at, (write(at), CLOSE)),
    ]
    for state in states:
        for count in 16, 24, 8 + CAPACITY // 2:
            prepare(device, state)
            refused(device, EIO, device.write_zone, NR, at, count)
            assert device.zone_file_sectors(NR) == at
            check_data(device, at)
            # A write that fits is done.
            device.write_zone(NR, at, 8)
            check_zone(device, FULL, CAPACITY)
            device.check_zone(NR, 0, CAPACITY)
            check_neighbours(device)


def test_open(device):
    check_row(device, "open", lambda wp: device.open_zone(NR))


def test_close(device):
    check_row(device, "close", lambda wp: device.close_zone(NR))


def test_finish(device):
    check_row(device, "finish", lambda wp: device.finish_zone(NR))


def test_reset(device):
    check_row(device, "reset", lambda wp: device.reset_zone(NR))


def test_reset_all(device):
    """One command for all zones; the conventional ones keep their data."""
    device.write(0, 16, 5)
    device.write(LENGTH, 16, 6)
    for state in STATES:
        prepare(device, state)
        device.reset_all_zones()
        assert [(zone.cond, zone.wp) for zone in device.zones()] == [(NOT_WP, None)] * 2 + [(EMPTY, 0)] * 18
        assert [device.zone_file_sectors(nr) for nr in range(2, 20)] == [0] * 18
        check_data(device, 0)
    device.check(0, 16, 5)
    device.check(LENGTH, 16, 6)


def check_read_across(device, sector, before, behind):
    """One read of the 8 sectors before this one and of the 8 from it on; each half holds data of its seed."""
    data = device.pread(sector - 8, 16)
    verify(data[: 8 * SECTOR], sector - 8, before)
    verify(data[8 * SECTOR :], sector, behind)


def test_read(device):
    """Reads return data below the write pointer and zeros from it on, up to the zone's length and not only its
    capacity, in one read or in several. They change no zone."""
    start, end = NR * LENGTH, (NR + 1) * LENGTH
    for state in STATES:
        prepare(device, state)
        before = device.zones()
        check_data(device, state.data)
        if state.data:
            device.check_zone(NR, state.data - 8, 8)
            check_read_across(device, start + state.data, 1, ZEROS)
        device.check_zone(NR, state.data, 8, ZEROS)
        if state.data == CAPACITY:
            device.check_zone(NR, CAPACITY - 8, 8)
        else:
            device.check_zone(NR, CAPACITY - 8, 16, ZEROS)
        device.check(end - 8, 8, ZEROS)
        # From one zone into the next.
        check_read_across(device, end, ZEROS, 9)
        assert device.zones() == before


def test_write_in_small_steps(device):
    """A zone that is written in small steps is full exactly at its end."""
    for wp in range(0, CAPACITY, 64):
        device.write_zone(NR, wp, 64)
        if wp in (0, CAPACITY // 2, CAPACITY - 128):
            check_zone(device, IMP_OPEN, wp + 64)
    check_zone(device, FULL, CAPACITY)
    device.check_zone(NR, 0, CAPACITY)
    refused(device, EIO, device.write_zone, NR, 0, 8)
    device.reset_zone(NR)
    device.check_zone(NR, 0, CAPACITY, ZEROS)
    # New data is not mixed with the old.
    device.write_zone(NR, 0, 8, 2)
    device.check_zone(NR, 0, 8, 2)
    device.check_zone(NR, 8, LENGTH - 8, ZEROS)


def test_conventional(device):
    """Conventional zones take any block at any time, and no zone command."""
    order = list(range(0, LENGTH, 64))
    random.Random(1).shuffle(order)
    for seed, at in enumerate(order):
        device.write(at, 64, seed)
    for seed, at in enumerate(order):
        device.check(at, 64, seed)
    # From one conventional zone into the next.
    device.write(LENGTH - 64, 128, 77)
    device.check(LENGTH - 64, 128, 77)
    for command in device.open_zone, device.close_zone, device.finish_zone, device.reset_zone:
        for nr in 0, 1:
            refused(device, EIO, command, nr)
    device.check(LENGTH - 64, 128, 77)
    for nr in 0, 1:
        zone = device.zone(nr)
        assert (zone.type, zone.cond, zone.wp) == (ZoneType.CONVENTIONAL, NOT_WP, None)
        assert (zone.capacity, zone.len) == (LENGTH, LENGTH)
        assert device.zone_file(nr).name == f"cnv-{nr:06}"
        assert device.zone_file_sectors(nr) == LENGTH


def test_ranges(device):
    """One ioctl is for several zones. A range that consists of no zones is refused, and so is a command to a file that
    can't be written."""
    zones = range(3, 8)
    device.open_zone(4, 3)
    assert device.conditions(*zones) == [EMPTY, EXP_OPEN, EXP_OPEN, EXP_OPEN, EMPTY]
    for nr in 4, 5, 6:
        device.write_zone(nr, 0, 8)
    device.close_zone(4, 3)
    assert device.conditions(*zones) == [EMPTY, CLOSED, CLOSED, CLOSED, EMPTY]
    device.finish_zone(4, 3)
    assert device.conditions(*zones) == [EMPTY, FULL, FULL, FULL, EMPTY]
    device.reset_zone(4, 2)
    assert device.conditions(*zones) == [EMPTY, EMPTY, EMPTY, FULL, EMPTY]
    start, end = 4 * LENGTH, 20 * LENGTH
    ranges = (start + 8, LENGTH), (start, LENGTH - 8), (start, 0), (end - LENGTH, 2 * LENGTH), (end, LENGTH)
    for command in BLKOPENZONE, BLKCLOSEZONE, BLKFINISHZONE, BLKRESETZONE:
        for sector, count in ranges:
            refused(device, EINVAL, device.zone_ioctl, command, sector, count)
    reader = ZonedDevice(device.path, os.O_RDONLY)
    for command in reader.open_zone, reader.close_zone, reader.finish_zone, reader.reset_zone:
        refused(device, EBADF, command, 4)
    reader.close()


def cached(zone):
    """The zone as a cached report shows it."""
    # The block layer takes no notice of an open.
    if zone.cond is EXP_OPEN and zone.wp == 0:
        return zone._replace(cond=EMPTY)
    return zone._replace(cond=ACTIVE) if zone.cond in (IMP_OPEN, EXP_OPEN, CLOSED) else zone


def test_report(device):
    """A report of all zones, of some, of the zone that a sector is in, past the end; and the one that the block layer
    may answer from its memory."""
    for state in STATES:
        prepare(device, state)
        zones = device.zones()
        assert len(zones) == 20
        assert device.report_flags == BLK_ZONE_REP_CAPACITY
        for nr, zone in enumerate(zones):
            conventional = nr < 2
            assert (zone.start, zone.len, zone.reset_recommended) == (nr * LENGTH, LENGTH, False)
            assert zone.capacity == (LENGTH if conventional else CAPACITY)
            assert zone.type is (ZoneType.CONVENTIONAL if conventional else ZoneType.SEQWRITE_REQ)
            assert zone.cond not in (NOT_WP, FULL) or zone.wp is None
        assert device.report(NR * LENGTH, 1) == [zones[NR]]
        assert device.report(NR * LENGTH + 8, 2) == zones[NR : NR + 2]
        assert device.report(18 * LENGTH, 100) == zones[18:]
        assert device.report(20 * LENGTH, 1) == []
        for zone, found in zip(zones, device.cached_report(), strict=True):
            want = cached(zone)
            assert (found.start, found.len, found.type) == (want.start, want.len, want.type)
            assert (found.capacity, found.cond) == (want.capacity, want.cond)
            assert want.cond is not ACTIVE or found.wp == want.wp
    fails(EINVAL, device.report, 0, 0)
    unknown_flag = struct.pack("<QII64x", 0, 1, 2)
    fails(EINVAL, fcntl.ioctl, device.fd, BLKREPORTZONEV2, unknown_flag)
    assert (device.zone_sectors, device.nr_zones) == (LENGTH, 20)


def test_blkzone(device):
    """blkzone, the tool, sees the zones as they are, and its commands do as they say."""
    line = re.compile(r"cap 0x([0-9a-f]+), wptr 0x([0-9a-f]+) .*zcond: ?\d+\((..)\) \[type: \d\((\w+)\)\]")

    def zones():
        found = line.findall(run("blkzone", "report", device.path))
        return [(kind, condition, int(wp, 16), int(capacity, 16)) for capacity, wp, condition, kind in found]

    def blkzone(command, nr):
        return attempt("blkzone", command, "-o", str(nr * LENGTH), "-c", "1", device.path).returncode

    sequential = "SEQ_WRITE_REQUIRED"
    assert len(zones()) == 20
    assert zones()[0] == ("CONVENTIONAL", "nw", 0, LENGTH)
    assert zones()[7] == (sequential, "em", 0, CAPACITY)
    device.write_zone(7, 0, 16)
    assert zones()[7] == (sequential, "oi", 16, CAPACITY)
    assert blkzone("open", 7) == 0
    assert zones()[7] == (sequential, "oe", 16, CAPACITY)
    assert blkzone("close", 7) == 0
    assert zones()[7] == (sequential, "cl", 16, CAPACITY)
    assert blkzone("finish", 7) == 0
    assert zones()[7][:2] == (sequential, "fu")
    assert blkzone("open", 7) != 0
    assert blkzone("reset", 7) == 0
    assert zones()[7] == (sequential, "em", 0, CAPACITY)
    device.write_zone(9, 0, 16)
    run("blkzone", "reset", device.path)
    assert zones()[9] == (sequential, "em", 0, CAPACITY)
    assert device.zone_file_sectors(9) == 0


def test_conditions_across_remove_and_add(device):
    """Across remove and add, open zones become closed, or empty if they have no data; all else stays."""
    d = device
    d.write_zone(3, 0, 16)
    d.open_zone(4)
    d.open_zone(5)
    d.write_zone(5, 0, 16)
    d.write_zone(6, 0, 16)
    d.close_zone(6)
    d.write_zone(7, 0, CAPACITY)
    d.write_zone(8, 0, 16)
    d.finish_zone(8)
    d.finish_zone(9)
    d.write_zone(10, 0, 64)
    d.reset_zone(10)
    assert d.conditions(*range(2, 7)) == [EMPTY, IMP_OPEN, EXP_OPEN, EXP_OPEN, CLOSED]
    assert d.conditions(*range(7, 12)) == [FULL, FULL, FULL, EMPTY, EMPTY]
    d.add_again()
    assert d.conditions(*range(7)) == [NOT_WP, NOT_WP, EMPTY, CLOSED, EMPTY, CLOSED, CLOSED]
    assert d.conditions(*range(7, 20)) == [FULL, FULL, FULL] + [EMPTY] * 10
    for nr in 3, 5, 6:
        assert (d.zone(nr).cond, d.zone(nr).wp) == (CLOSED, 16)
        d.check_zone(nr, 0, 16)
        d.check_zone(nr, 16, 64, ZEROS)
        d.write_zone(nr, 16, 16)
        assert (d.zone(nr).cond, d.zone(nr).wp) == (IMP_OPEN, 32)
    d.check_zone(7, 0, CAPACITY)
    d.check_zone(8, 0, 16)
    d.check_zone(8, 16, LENGTH - 16, ZEROS)
