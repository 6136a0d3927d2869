# SPDX-License-Identifier: GPL-2.0
"""max_active_zones: how many zones may hold data and have room for more.

Guards the other half of the resource check of the zone model. An empty zone needs an active slot as
well as an open one; a closed zone has its active slot. Without an active slot a command fails with
"too many active zones" (EOVERFLOW), without an open one with "too many open zones" (ETOOMANYREFS).
The host of a ZNS drive lives by the difference: it finishes a zone in the one case, and closes one
in the other.
"""

import time
from errno import EIO, EOVERFLOW, ETOOMANYREFS

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, fails, refused
from zbd.errors import errno_of
from zbd.threads import Threads

CAPACITY = MIB
TOO_MANY_OPEN, TOO_MANY_ACTIVE = ETOOMANYREFS, EOVERFLOW


@pytest.fixture
def add_limited(add):
    """`add_limited(3, 5)`: a device with two conventional zones (0 and 1) and ten sequential ones, of which three may
    be open and five active."""

    def add_device(max_open_zones, max_active_zones):
        return add(
            capacity_mb=24,
            zone_size_mb=2,
            zone_capacity_mb=1,
            conv_zones=2,
            max_open_zones=max_open_zones,
            max_active_zones=max_active_zones,
        )

    return add_device


def limits(device):
    return device.queue("max_open_zones"), device.queue("max_active_zones")


def test_sysfs(add_limited):
    """The limits are there for others to see, and agree."""
    d = add_limited(3, 5)
    assert limits(d) == (3, 5)
    # An open zone is active.
    d.add_again(max_open_zones=0, max_active_zones=5)
    assert limits(d) == (5, 5)
    for nr in range(2, 7):
        d.open_zone(nr)
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 7)
    # As many as there are sequential zones are as good as none.
    d.add_again(max_open_zones=4, max_active_zones=10)
    assert limits(d) == (4, 0)
    d.add_again(max_open_zones=0, max_active_zones=10)
    assert limits(d) == (0, 0)
    for nr in range(2, 12):
        d.open_zone(nr)
    assert d.conditions(*range(2, 12)) == [EXP_OPEN] * 10
    d.add_again(max_open_zones=3, max_active_zones=0)
    assert limits(d) == (3, 0)


def test_no_active_slot(add_limited):
    """Without an active slot no command opens an empty zone. Active zones can be used as before."""
    d = add_limited(2, 3)
    for nr in 2, 3, 4:
        d.write_zone(nr, 0, 8)
    assert d.conditions(2, 3, 4, 5) == [CLOSED, IMP_OPEN, IMP_OPEN, EMPTY]
    refused(d, TOO_MANY_ACTIVE, d.write_zone, 5, 0, 8)
    # This one is more than a request; those behind the first are aborted.
    refused(d, (EIO, TOO_MANY_ACTIVE), d.write_zone, 5, 0, CAPACITY)
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 5)
    refused(d, TOO_MANY_ACTIVE, d.finish_zone, 5)
    assert d.zone_file_sectors(5) == 0
    # A closed zone has its active slot; an implicitly open zone makes room for it.
    d.write_zone(2, 8, 8)
    assert d.conditions(2, 3, 4) == [IMP_OPEN, CLOSED, IMP_OPEN]
    d.open_zone(3)
    assert d.conditions(2, 3, 4) == [IMP_OPEN, EXP_OPEN, CLOSED]
    d.finish_zone(4)
    assert d.conditions(2, 3, 4) == [CLOSED, EXP_OPEN, FULL]
    # Conventional zones need none.
    d.write(0, 8)
    # An empty zone gets the slot of the full one.
    d.write_zone(5, 0, 8)
    assert d.conditions(2, 3, 4, 5) == [CLOSED, EXP_OPEN, FULL, IMP_OPEN]
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 6)
    for nr, wp in (2, 16), (3, 8), (5, 8):
        d.check_zone(nr, 0, wp)


def test_which_limit(add_limited):
    """Each limit has its own error."""
    d = add_limited(2, 3)
    d.write_zone(4, 0, 8)
    d.close_zone(4)
    d.open_zone(2)
    d.open_zone(3)
    # Zone 4 is active and could be open, but no zone makes room.
    refused(d, TOO_MANY_OPEN, d.write_zone, 4, 8, 8)
    refused(d, TOO_MANY_OPEN, d.open_zone, 4)
    refused(d, TOO_MANY_OPEN, d.finish_zone, 4)
    # Zone 5 lacks slots of both kinds: a close would not help.
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 5)
    refused(d, TOO_MANY_ACTIVE, d.write_zone, 5, 0, 8)
    # An explicitly open zone without data gives back both.
    d.close_zone(2)
    d.open_zone(5)
    assert d.conditions(2, 3, 4, 5) == [EMPTY, EXP_OPEN, CLOSED, EXP_OPEN]
    d.reset_zone(4)
    refused(d, TOO_MANY_OPEN, d.open_zone, 4)
    d.write_zone(3, 0, 8)
    d.close_zone(3)
    d.open_zone(4)
    assert d.conditions(2, 3, 4, 5) == [EMPTY, CLOSED, EXP_OPEN, EXP_OPEN]
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 2)


def test_slots_come_back(add_limited):
    """An active slot comes back by reset, finish and when the zone is full, but not by close."""
    d = add_limited(1, 1)
    ways = [
        (d.reset_zone, EMPTY),
        (d.finish_zone, FULL),
        (lambda nr: d.write_zone(nr, 8, CAPACITY - 8), FULL),
        (lambda nr: d.reset_all_zones(), EMPTY),
    ]
    for give_back, condition in ways:
        d.reset_all_zones()
        for nr in 2, 3, 4:
            d.open_zone(nr)
            d.write_zone(nr, 0, 8)
            assert d.conditions(nr) == [EXP_OPEN]
            refused(d, TOO_MANY_ACTIVE, d.open_zone, 6)
            d.close_zone(nr)
            assert d.conditions(nr) == [CLOSED]
            refused(d, TOO_MANY_ACTIVE, d.write_zone, 6, 0, 8)
            give_back(nr)
        d.open_zone(6)
        assert d.conditions(2, 3, 4) == [condition] * 3
        # A zone that is closed without data is empty.
        d.close_zone(6)
        assert d.conditions(6) == [EMPTY]


def test_refusals_leak_no_slot(add_limited):
    """Refusals cost nothing: after many of them the slots are all there."""
    d = add_limited(2, 2)
    d.write_zone(2, 0, 8)
    d.write_zone(3, 0, 8)
    for _ in range(200):
        fails(TOO_MANY_ACTIVE, d.open_zone, 4)
        fails(TOO_MANY_ACTIVE, d.write_zone, 5, 0, 8)
        fails(TOO_MANY_ACTIVE, d.finish_zone, 6)
        d.zones()
    assert d.conditions(2, 3, 4, 5, 6) == [IMP_OPEN, IMP_OPEN, EMPTY, EMPTY, EMPTY]
    d.reset_zone(2)
    d.reset_zone(3)
    d.open_zone(4)
    d.open_zone(5)
    fails(TOO_MANY_ACTIVE, d.open_zone, 6)


def test_more_closed_zones_than_allowed(add_limited):
    """A device can be added with more closed zones than may be active. It opens no empty zone until enough of them are
    gone."""
    d = add_limited(0, 0)
    for nr in range(2, 8):
        d.write_zone(nr, 0, 8)
    d.add_again(max_open_zones=2, max_active_zones=3)
    assert limits(d) == (2, 3)
    zones = range(2, 9)
    assert d.conditions(*zones) == [CLOSED] * 6 + [EMPTY]
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 8)
    refused(d, TOO_MANY_ACTIVE, d.write_zone, 8, 0, 8)
    # The closed ones can be written, no more than two at a time.
    for nr in range(2, 8):
        d.write_zone(nr, 8, 8)
    assert d.conditions(*zones) == [CLOSED] * 4 + [IMP_OPEN] * 2 + [EMPTY]
    d.open_zone(2)
    d.open_zone(3)
    refused(d, TOO_MANY_OPEN, d.open_zone, 4)
    refused(d, TOO_MANY_OPEN, d.write_zone, 4, 16, 8)
    # Three are left, then two.
    d.finish_zone(2)
    d.reset_zone(3)
    d.reset_zone(4)
    assert d.conditions(*zones) == [FULL, EMPTY, EMPTY, CLOSED, CLOSED, CLOSED, EMPTY]
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 8)
    d.reset_zone(5)
    d.write_zone(8, 0, 8)
    assert d.conditions(*zones) == [FULL, EMPTY, EMPTY, EMPTY, CLOSED, CLOSED, IMP_OPEN]
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 3)
    for nr in 6, 7:
        d.check_zone(nr, 0, 16)
    # With a limit of four there is room for one more.
    d.add_again(max_open_zones=0, max_active_zones=4)
    d.open_zone(3)
    refused(d, TOO_MANY_ACTIVE, d.open_zone, 4)
    assert d.conditions(*zones) == [FULL, EXP_OPEN, EMPTY, EMPTY, CLOSED, CLOSED, CLOSED]


def test_appends(add_limited, requests):
    """A zone append fails with the same errors."""
    d = add_limited(1, 2)
    r = requests(d)
    zone = d.zone_sectors
    assert r.append(2 * zone, 8) == 2 * zone
    r.append(3 * zone, 8)
    fails(TOO_MANY_ACTIVE, r.append, 4 * zone, 8)
    # Zone 2 was closed.
    assert r.append(2 * zone, 8) == 2 * zone + 8
    d.open_zone(2)
    fails(TOO_MANY_OPEN, r.append, 3 * zone, 8)
    assert d.conditions(2, 3, 4) == [EXP_OPEN, CLOSED, EMPTY]
    d.reset_zone(3)
    fails((TOO_MANY_ACTIVE, TOO_MANY_OPEN), r.append, 4 * zone, 8)
    d.close_zone(2)
    assert r.append(4 * zone, 8) == 4 * zone


def test_parallel_writers(add_limited):
    """Eight threads want four slots. Each one writes its own zone and resets it at the end; one that gets no slot tries
    again. The limit is never passed, and all slots are there afterwards."""
    d = add_limited(2, 4)
    refusals = []

    def write_in_turns(nr):
        for turn in range(4):
            at = 0
            while at < 256:
                error = errno_of(d.write_zone, nr, at, 32)
                if error is None:
                    at += 32
                    continue
                # Where a write comes while the end of a refused one is still being dealt with, the block layer may mark
                # the zone's plug as dead under it. The next write then fails before the driver, by whose own count it
                # is known below.
                if error != EIO:
                    assert (error, at) == (TOO_MANY_ACTIVE, 0)
                    refusals.append(nr)
                # Lets the block layer know where the zone is.
                d.zone(nr)
                time.sleep(0.002)
            d.check_zone(nr, 0, 256)
            if turn % 2:
                d.finish_zone(nr)
            d.reset_zone(nr)

    most = 0
    with Threads() as threads:
        writers = [threads.start(write_in_turns, nr) for nr in range(2, 10)]
        while any(writer.is_alive() for writer in writers):
            # A report is no snapshot: zones may change while it goes on, so that it shows a zone more.
            most = max(most, sum(condition in (IMP_OPEN, EXP_OPEN, CLOSED) for condition in d.conditions()))
    assert most >= 2
    assert refusals
    counters = d.counters()
    assert counters["write_errors"] == len(refusals)
    assert (counters["open_zones_most"], counters["active_zones_most"]) == (2, 4)
    assert d.conditions(*range(2, 12)) == [EMPTY] * 10
    for nr in range(2, 6):
        d.write_zone(nr, 0, 8)
    assert d.conditions(*range(2, 7)) == [CLOSED, CLOSED, IMP_OPEN, IMP_OPEN, EMPTY]
    refused(d, TOO_MANY_ACTIVE, d.write_zone, 6, 0, 8)
