# SPDX-License-Identifier: GPL-2.0
"""max_open_zones: which zones may be open, which one makes room, and what is refused.

Guards the resource check of the zone model. With the limit reached, an open or a write closes
another implicitly open zone, the least recently used first. If there is none, it fails with "too
many open zones" (ETOOMANYREFS). The C driver gets this wrong in several ways, each of which has its
test here.
"""

from errno import EIO, ETOOMANYREFS

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, fails, refused
from zbd.threads import in_parallel

CAPACITY = MIB
# Before the kernel knew a status for it, the error was EIO.
NO_ROOM = (EIO, ETOOMANYREFS)


@pytest.fixture
def add_limited(add):
    """Adds a device with two conventional zones (0 and 1) and ten sequential ones."""

    def add_device(max_open_zones):
        return add(capacity_mb=24, zone_size_mb=2, zone_capacity_mb=1, conv_zones=2, max_open_zones=max_open_zones)

    return add_device


def test_sysfs(add_limited):
    """The limit is there for others to see."""
    # As many as there are sequential zones are as good as none.
    for limit, shown in (3, 3), (10, 0), (0, 0):
        d = add_limited(limit)
        assert d.queue("max_open_zones") == shown
        assert d.queue("max_active_zones") == 0
        if not shown:
            for nr in range(2, 12):
                d.open_zone(nr)
            assert d.conditions(*range(2, 12)) == [EXP_OPEN] * 10
        d.remove()


def test_write_evicts_lru(add_limited):
    """Writes close the least recently written zone."""
    d = add_limited(3)
    for nr in 2, 3, 4:
        d.write_zone(nr, 0, 8)
    assert d.conditions(2, 3, 4, 5) == [IMP_OPEN, IMP_OPEN, IMP_OPEN, EMPTY]
    d.write_zone(2, 8, 8)  # 2 is now younger than 3
    d.write_zone(5, 0, 8)
    assert d.conditions(2, 3, 4, 5) == [IMP_OPEN, CLOSED, IMP_OPEN, IMP_OPEN]
    d.write_zone(3, 8, 8)
    assert d.conditions(2, 3, 4, 5) == [IMP_OPEN, IMP_OPEN, CLOSED, IMP_OPEN]
    d.write_zone(4, 8, 8)
    assert d.conditions(2, 3, 4, 5) == [CLOSED, IMP_OPEN, IMP_OPEN, IMP_OPEN]
    # A report and a read do not make a zone younger.
    d.zones()
    d.check_zone(5, 0, 8)
    d.zone(5)
    d.write_zone(2, 16, 8)
    assert d.conditions(2, 3, 4, 5) == [IMP_OPEN, IMP_OPEN, IMP_OPEN, CLOSED]
    for nr, wp in (2, 24), (3, 16), (4, 16), (5, 8):
        d.check_zone(nr, 0, wp)
        assert d.zone(nr).wp == wp


def test_many_writers_take_turns(add_limited):
    """A zone that was closed to make room is written again as if nothing had been."""
    d = add_limited(2)
    for step in range(0, 128, 8):
        for nr in range(2, 12):
            d.write_zone(nr, step, 8)
    assert d.conditions(*range(2, 12)) == [CLOSED] * 8 + [IMP_OPEN] * 2
    for nr in range(2, 12):
        d.check_zone(nr, 0, 128)
        assert d.zone(nr).wp == 128


@pytest.mark.c_driver_fails(6)
def test_open_evicts_lru(add_limited):
    """An explicit open makes room as a write does."""
    d = add_limited(3)
    for nr in 2, 3, 4:
        d.write_zone(nr, 0, 8)
    d.open_zone(5)
    assert d.conditions(2, 3, 4, 5) == [CLOSED, IMP_OPEN, IMP_OPEN, EXP_OPEN]
    d.open_zone(6)
    assert d.conditions(2, 3, 4, 5, 6) == [CLOSED, CLOSED, IMP_OPEN, EXP_OPEN, EXP_OPEN]
    d.open_zone(7)
    assert d.conditions(2, 3, 4, 5, 6, 7) == [CLOSED] * 3 + [EXP_OPEN] * 3
    refused(d, ETOOMANYREFS, d.open_zone, 8)


@pytest.mark.c_driver_fails(7)
def test_nobody_makes_room(add_limited):
    """Zones that were opened explicitly stay open whatever else needs a slot."""
    d = add_limited(3)
    d.write_zone(8, 0, 8)
    d.close_zone(8)
    for nr in 2, 3, 4:
        d.open_zone(nr)
    d.write_zone(4, 0, 8)
    refused(d, ETOOMANYREFS, d.write_zone, 5, 0, 8)  # from empty
    refused(d, ETOOMANYREFS, d.write_zone, 8, 8, 8)  # from closed
    refused(d, ETOOMANYREFS, d.open_zone, 5)
    refused(d, ETOOMANYREFS, d.open_zone, 8)
    assert d.zone_file_sectors(5) == 0
    # A zone that has a slot needs none.
    d.write_zone(2, 0, 8)
    d.write_zone(4, 8, 8)
    d.open_zone(4)
    assert d.conditions(2, 3, 4, 5, 8) == [EXP_OPEN, EXP_OPEN, EXP_OPEN, EMPTY, CLOSED]
    # Conventional zones need none either.
    d.write(0, 8)
    # As soon as there is a slot, the refused zones get it.
    d.close_zone(3)
    assert d.conditions(3) == [EMPTY]
    d.write_zone(5, 0, 8)
    assert d.conditions(2, 3, 4, 5, 8) == [EXP_OPEN, EMPTY, EXP_OPEN, IMP_OPEN, CLOSED]
    d.write_zone(8, 8, 8)
    assert d.conditions(2, 3, 4, 5, 8) == [EXP_OPEN, EMPTY, EXP_OPEN, CLOSED, IMP_OPEN]
    d.check_zone(8, 0, 16)


def test_slots_come_back(add_limited):
    """A slot comes back by close, reset, finish and when the zone is full."""
    d = add_limited(1)
    ways = [
        (d.close_zone, CLOSED),
        (d.reset_zone, EMPTY),
        (d.finish_zone, FULL),
        (lambda nr: d.write_zone(nr, 8, CAPACITY - 8), FULL),
    ]
    for give_back, condition in ways:
        d.reset_all_zones()
        for nr in 2, 3, 4:
            d.open_zone(nr)
            d.write_zone(nr, 0, 8)
            assert d.conditions(nr) == [EXP_OPEN]
            fails(NO_ROOM, d.open_zone, 6)
            give_back(nr)
        d.open_zone(6)
        assert d.conditions(2, 3, 4) == [condition] * 3
    d.reset_all_zones()
    d.open_zone(5)
    d.reset_all_zones()
    d.open_zone(6)
    assert d.conditions(5, 6) == [EMPTY, EXP_OPEN]


def test_implicit_to_explicit(add_limited):
    """From implicitly to explicitly open no slot is needed, with the limit reached."""
    d = add_limited(2)
    d.write_zone(2, 0, 8)
    d.write_zone(3, 0, 8)
    d.open_zone(2)
    d.open_zone(3)
    assert d.conditions(2, 3) == [EXP_OPEN, EXP_OPEN]
    fails(NO_ROOM, d.write_zone, 4, 0, 8)
    assert d.conditions(2, 3, 4) == [EXP_OPEN, EXP_OPEN, EMPTY]
    # Explicitly open stays so through writes.
    d.write_zone(2, 8, 8)
    assert d.conditions(2, 3, 4) == [EXP_OPEN, EXP_OPEN, EMPTY]


def test_eviction_passes_explicit(add_limited):
    """An explicitly open zone is passed over even if it is the oldest."""
    d = add_limited(3)
    d.open_zone(2)
    for nr in 2, 3, 4, 5:
        d.write_zone(nr, 0, 8)
    assert d.conditions(2, 3, 4, 5) == [EXP_OPEN, CLOSED, IMP_OPEN, IMP_OPEN]
    d.close_zone(2)
    d.write_zone(3, 8, 8)
    assert d.conditions(2, 3, 4, 5) == [CLOSED, IMP_OPEN, IMP_OPEN, IMP_OPEN]


@pytest.mark.c_driver_fails("it asks for no slot")
def test_finish_needs_a_slot(add_limited):
    """A finish passes through open: from empty or closed it needs a slot."""
    d = add_limited(2)
    d.write_zone(4, 0, 8)
    d.close_zone(4)
    d.open_zone(2)
    d.open_zone(3)
    refused(d, ETOOMANYREFS, d.finish_zone, 5)
    refused(d, ETOOMANYREFS, d.finish_zone, 4)
    assert d.zone_file_sectors(5) == 0
    d.finish_zone(2)  # this one has its own
    d.finish_zone(5)  # and gives it to that
    d.finish_zone(4)
    assert d.conditions(2, 3, 4, 5) == [FULL, EXP_OPEN, FULL, FULL]
    # An implicitly open zone makes room for it.
    d.write_zone(6, 0, 8)
    d.finish_zone(7)
    assert d.conditions(3, 6, 7) == [EXP_OPEN, CLOSED, FULL]


def test_write_of_a_whole_zone(add_limited):
    """A write that fills a zone at once needs a slot for that moment."""
    d = add_limited(2)
    d.write_zone(2, 0, 8)
    d.write_zone(3, 0, 8)
    d.write_zone(4, 0, CAPACITY)
    assert d.conditions(2, 3, 4) == [CLOSED, IMP_OPEN, FULL]
    d.open_zone(2)
    d.open_zone(3)
    fails(NO_ROOM, d.write_zone, 5, 0, CAPACITY)
    assert d.conditions(2, 3, 5) == [EXP_OPEN, EXP_OPEN, EMPTY]


def test_refusals_leak_no_slot(add_limited):
    """Refusals cost nothing: after hundreds of them the slots are all there."""
    d = add_limited(2)
    for _ in range(100):
        d.write_zone(2, 0, CAPACITY - 8)
        fails(EIO, d.write_zone, 2, CAPACITY, 8)  # past the capacity
        d.zones()
        fails(EIO, d.write_zone, 3, 8, 8)  # past the write pointer of an empty zone
        d.zones()
        fails(EIO, d.close_zone, 4)  # empty
        d.reset_zone(2)
    d.finish_zone(2)
    for _ in range(100):
        fails(EIO, d.open_zone, 2)
        fails(EIO, d.close_zone, 2)
        fails(EIO, d.write_zone, 2, 0, 8)
    d.zones()
    d.open_zone(4)
    d.open_zone(5)
    assert d.conditions(2, 3, 4, 5) == [FULL, EMPTY, EXP_OPEN, EXP_OPEN]
    for _ in range(101):
        fails(NO_ROOM, d.open_zone, 6)
    d.close_zone(4)
    d.close_zone(5)
    d.open_zone(6)
    d.open_zone(7)
    assert d.conditions(4, 5, 6, 7) == [EMPTY, EMPTY, EXP_OPEN, EXP_OPEN]


def test_limit_across_remove_and_add(add_limited):
    """A device comes back with nothing open, and with another limit if asked."""
    d = add_limited(3)
    d.open_zone(2)
    d.open_zone(3)
    d.write_zone(3, 0, 8)
    d.write_zone(4, 0, 8)
    d.add_again(max_open_zones=2)
    assert d.conditions(2, 3, 4) == [EMPTY, CLOSED, CLOSED]
    d.open_zone(5)
    d.open_zone(6)
    fails(NO_ROOM, d.open_zone, 3)
    fails(NO_ROOM, d.write_zone, 3, 8, 8)
    assert d.conditions(2, 3, 4, 5, 6) == [EMPTY, CLOSED, CLOSED, EXP_OPEN, EXP_OPEN]
    d.add_again(max_open_zones=5)
    assert d.queue("max_open_zones") == 5
    for nr in range(2, 7):
        d.open_zone(nr)
    fails(NO_ROOM, d.open_zone, 7)


@pytest.mark.c_driver_may_fail(5)
def test_parallel_writers(add_limited):
    """Eight threads write, each in its own zone, with three slots: every write must go through, as there is always an
    implicitly open zone to close. The count of slots must be right afterwards."""
    d = add_limited(3)

    def write_all(nr):
        for at in range(0, CAPACITY, 32):
            d.write_zone(nr, at, 32)
            if at % 256 == 0 and nr % 3 == 0:
                d.zones()

    for _ in range(2):
        in_parallel(write_all, range(2, 10))
        assert d.conditions(*range(2, 12)) == [FULL] * 8 + [EMPTY] * 2
        for nr in range(2, 10):
            d.check_zone(nr, 0, CAPACITY)
        # All three slots are there, and not one more.
        d.open_zone(10)
        d.open_zone(11)
        d.reset_zone(2)
        d.open_zone(2)
        d.reset_zone(3)
        fails(NO_ROOM, d.open_zone, 3)
        d.reset_all_zones()
