# SPDX-License-Identifier: GPL-2.0
"""zone_readonly, zone_offline and zone_good: zones that fail on command.

Guards what those who test with it need: that a zone is what it was declared to be in every kind of
report and for every command, that others are not touched, that it stays so when the device is
removed and added, and that a zone which is good again is what its file says, with nothing lost.
"""

import mmap
import os
import random
import stat
import threading
import time
from errno import EINVAL, EIO, EISDIR, ELOOP, ENODEV, EOVERFLOW

import pytest

from zbd import (
    CLOSED,
    EMPTY,
    EXP_OPEN,
    FULL,
    IMP_OPEN,
    MIB,
    OFFLINE,
    READONLY,
    SECTOR,
    ZEROS,
    fails,
    refused,
)
from zbd.child import Child
from zbd.threads import Threads
from zbd.zone import ACTIVE

LENGTH, CAPACITY = 2 * MIB, MIB
GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "zone_capacity_mb": 1, "conv_zones": 2}


def remembered(zone):
    """What the block layer may remember of a zone: not whether it is open if nothing is written in it, and of a full
    zone either no write pointer, or that at its end."""
    condition = EMPTY if zone.wp == 0 else ACTIVE if zone.cond in (IMP_OPEN, EXP_OPEN, CLOSED) else zone.cond
    return zone.start, condition, None if condition is FULL else zone.wp, zone.capacity


def conditions(d, *numbers):
    """The conditions of these zones, after a look at each kind of report: they must say the same."""
    before, zones, after = d.cached_report(), d.zones(), d.cached_report()
    want = [remembered(zone) for zone in zones]
    assert [remembered(zone) for zone in before] == want
    assert [remembered(zone) for zone in after] == want
    return [zones[nr].cond for nr in numbers]


def test_every_condition(add, control):
    """Whatever they were, zones are read-only or offline at once, and good again."""
    d = add(**GEOMETRY)
    d.write_zone(3, 0, 8)
    d.open_zone(4)
    d.write_zone(5, 0, 8)
    d.close_zone(5)
    d.write_zone(6, 0, CAPACITY)
    d.finish_zone(7)
    assert conditions(d, *range(2, 8)) == [EMPTY, IMP_OPEN, EXP_OPEN, CLOSED, FULL, FULL]
    for declare, condition in (control.zone_readonly, READONLY), (control.zone_offline, OFFLINE):
        declare(0, "2-7")
        assert conditions(d, *range(2, 8)) == [condition] * 6
        assert d.write_pointers(range(2, 8)) == [None] * 6
        assert conditions(d, 8, 9, 15) == [EMPTY] * 3
    control.zone_good(0, "2-7")
    # Nothing is open.
    assert conditions(d, *range(2, 8)) == [EMPTY, CLOSED, EMPTY, CLOSED, FULL, FULL]
    for nr, wp in (3, 8), (5, 8), (6, CAPACITY):
        d.check_zone(nr, 0, wp)
    d.check_zone(7, 0, CAPACITY, ZEROS)
    for nr, wp in (3, 8), (4, 0), (5, 8):
        d.write_zone(nr, wp, 8)
        d.check_zone(nr, 0, wp + 8)
    # A zone that is good is left alone.
    control.zone_good(0, "2-15")
    assert conditions(d, *range(2, 8)) == [EMPTY, IMP_OPEN, IMP_OPEN, IMP_OPEN, FULL, FULL]
    assert d.declared is None


def test_commands(add, control):
    """A read-only zone can be read, an offline zone can't even be read. Every other command fails, and a reset of all
    zones passes over them."""
    d = add(**GEOMETRY)
    for nr in 3, 4, 5, 6:
        d.write_zone(nr, 0, 64, nr)
    d.open_zone(4)
    d.open_zone(6)
    control.zone_readonly(0, "3-4")
    control.zone_offline(0, 5)
    control.zone_offline(0, 6)
    declared = [EMPTY, READONLY, READONLY, OFFLINE, OFFLINE, EMPTY]
    assert conditions(d, *range(2, 8)) == declared
    for nr in 3, 4, 5, 6:
        for at in 0, 64:
            refused(d, EIO, d.write_zone, nr, at, 8)
        for command in d.open_zone, d.close_zone, d.finish_zone, d.reset_zone:
            refused(d, EIO, command, nr)
    for nr in 3, 4:
        d.check_zone(nr, 0, 64, nr)
        d.check_zone(nr, 64, 64, ZEROS)
    for nr in 5, 6:
        for at in 0, 32, 64, CAPACITY:
            fails(EIO, d.pread, nr * LENGTH + at, 8)
    # The others are not touched.
    d.write_zone(2, 0, 8)
    d.write_zone(7, 0, 8)
    d.write(0, 64)
    d.flush()
    d.reset_all_zones()
    assert conditions(d, *range(2, 8)) == declared
    d.check_zone(3, 0, 64, 3)
    control.zone_good(0, "3-6")
    assert conditions(d, *range(2, 8)) == [EMPTY, CLOSED, CLOSED, CLOSED, CLOSED, EMPTY]
    for nr in 3, 4, 5, 6:
        d.check_zone(nr, 0, 64, nr)
        d.write_zone(nr, 64, 64, nr)
        d.check_zone(nr, 0, 128, nr)
    d.reset_all_zones()
    assert conditions(d, *range(2, 16)) == [EMPTY] * 14


@pytest.mark.parametrize("zone_append", [1, 0])
def test_cached_reports_after_failed_writes(add, control, zone_append):
    """The block layer remembers the zones, and forgets a zone when a write in it fails: a report would be followed by
    cached ones that take the zone for full."""
    d = add(zone_append=zone_append, **GEOMETRY)
    d.write_zone(3, 0, 8)
    d.write_zone(4, 0, 8)
    control.zone_readonly(0, 3)
    control.zone_offline(0, 4)
    for _ in range(3):
        for nr in 3, 4:
            fails(EIO, d.write_zone, nr, 8, 8)
            fails(EIO, d.reset_zone, nr)
        d.zones()
        assert [zone.cond for zone in d.cached_report()[2:6]] == [EMPTY, READONLY, OFFLINE, EMPTY]
        assert conditions(d, 3, 4) == [READONLY, OFFLINE]
    control.zone_good(0, "3-4")
    assert conditions(d, 3, 4) == [CLOSED, CLOSED]
    assert [zone.wp for zone in d.cached_report()[3:5]] == [8, 8]
    for nr in 3, 4:
        d.write_zone(nr, 8, 8)
        d.check_zone(nr, 0, 16)
    assert conditions(d, 3, 4) == [IMP_OPEN, IMP_OPEN]


@pytest.mark.parametrize("zone_append", [1, 0])
def test_appends_to_a_zone_that_is_good_again(add, control, requests, zone_append):
    """Emulated appends need the write pointer that the block layer has."""
    d = add(zone_append=zone_append, **GEOMETRY)
    d.write_zone(3, 0, 64)
    control.zone_readonly(0, 3)
    # The zone comes without a write pointer for the block layer to know.
    d.add_again()
    start = 3 * LENGTH
    append = requests(d).append
    assert conditions(d, 3) == [READONLY]
    fails(EIO, append, start, 8)
    control.zone_good(0, 3)
    assert append(start, 8) == start + 64
    assert append(start, 8) == start + 72
    d.check_zone(3, 0, 64)
    control.zone_offline(0, 3)
    fails(EIO, append, start, 8)
    control.zone_good(0, 3)
    assert append(start, 8) == start + 80
    assert conditions(d, 3) == [IMP_OPEN]


def test_slots(add, control):
    """Slots are given back, and a closed zone takes its active one again."""
    d = add(max_open_zones=1, max_active_zones=2, **GEOMETRY)
    d.write_zone(3, 0, 8)
    d.open_zone(4)
    d.write_zone(4, 0, 8)
    refused(d, EOVERFLOW, d.open_zone, 5)
    control.zone_readonly(0, 4)
    assert conditions(d, 3, 4, 5) == [CLOSED, READONLY, EMPTY]
    d.open_zone(5)
    refused(d, EOVERFLOW, d.open_zone, 6)
    control.zone_good(0, 4)
    # That is one more than may be active.
    assert conditions(d, 3, 4, 5) == [CLOSED, CLOSED, EXP_OPEN]
    d.close_zone(5)
    refused(d, EOVERFLOW, d.open_zone, 6)
    d.reset_zone(4)
    d.open_zone(6)


def test_remove_and_add(add, control, driver):
    """A declaration belongs to the device, as its data does."""
    d = add(**GEOMETRY)
    for nr in 3, 4, 5:
        d.write_zone(nr, 0, 64, nr)
    control.zone_readonly(0, 3)
    control.zone_offline(0, "4-6")
    control.zone_readonly(0, 15)
    assert d.declared == ["zone_readonly zones=3", "zone_offline zones=4-6", "zone_readonly zones=15"]
    assert stat.S_IMODE((d.directory / "conditions").stat().st_mode) == 0o600
    for options in "", "buffered_io", "max_open_zones=2,max_active_zones=2", "discard_write_cache":
        d.add_again(options)
        assert conditions(d, *range(2, 8)) == [EMPTY, READONLY, OFFLINE, OFFLINE, OFFLINE, EMPTY]
        assert conditions(d, 14, 15) == [EMPTY, READONLY]
        d.check_zone(3, 0, 64, 3)
        fails(EIO, d.pread, 4 * LENGTH, 8)
        fails(EIO, d.write_zone, 15, 0, 8)
        d.zones()
    control.zone_good(0, "2-5")
    assert d.declared == ["zone_offline zones=6", "zone_readonly zones=15"]
    d.add_again("")
    assert conditions(d, *range(2, 8)) == [EMPTY, CLOSED, CLOSED, CLOSED, OFFLINE, EMPTY]
    for nr in 3, 4, 5:
        d.check_zone(nr, 0, 64, nr)
    control.zone_good(0, "2-15")
    assert d.declared is None

    # The C driver takes no notice of it.
    control.zone_offline(0, 4)
    d.remove()
    if not driver.path("c").exists():
        return
    ours = driver.name
    driver.use("c")
    d.add()
    assert d.conditions(*range(2, 7)) == [EMPTY, CLOSED, CLOSED, CLOSED, EMPTY]
    d.check_zone(4, 0, 64, 4)
    d.remove()
    driver.use(ours)
    d.add()
    assert conditions(d, 3, 4, 5) == [CLOSED, OFFLINE, CLOSED]


def test_the_file_decides(add, control):
    """A zone that is good again is what its file is by then."""
    d = add(**GEOMETRY)
    for nr in 3, 4, 5, 6:
        d.write_zone(nr, 0, 64, nr)
    d.flush()
    control.zone_offline(0, "3-6")
    for nr, size in (3, 96 * SECTOR), (4, 1 << 20), (5, 32 * SECTOR), (6, 3 << 20):
        os.truncate(d.zone_file(nr), size)
    assert conditions(d, 3, 4, 5, 6) == [OFFLINE] * 4
    control.zone_good(0, "3-6")
    # Where data is missing, or too much, the zone has failed indeed.
    assert d.conditions(3, 4, 5, 6) == [CLOSED, FULL, READONLY, READONLY]
    d.check_zone(3, 0, 64, 3)
    d.check_zone(3, 64, 32, ZEROS)
    # The block layer has a write pointer of its own, which nothing that happened to a file can change.
    os.truncate(d.zone_file(6), 64 * SECTOR)
    d.add_again()
    d.write_zone(3, 96, 8)
    # A driver that has not seen the missing data does not miss it.
    assert d.write_pointers((3, 4, 5, 6)) == [104, None, 32, 64]


@pytest.mark.limit(240)
def test_bad_input(add, control):
    """An impossible declaration is refused, the log says why, and nothing has changed."""
    d = add(**GEOMETRY)
    control.zone_readonly(0, 4)
    control.rejects(EINVAL, "zone_readonly id=0,zones=0", "zones=0", "from 2 to 15", "sequential")
    control.rejects(EINVAL, "zone_readonly id=0,zones=1-3", "zones=1-3", "from 2 to 15")
    control.rejects(EINVAL, "zone_good id=0,zones=4-4294967295", "from 2 to 15")
    control.rejects(EINVAL, "zone_offline id=0,zones=5-3", "5-3", "first", "last")
    control.rejects(EINVAL, "zone_offline id=0", "zones", "missing")
    control.rejects(EINVAL, "zone_offline id=0,zones=3,capacity_mb=4", "capacity_mb")
    control.rejects(EINVAL, "zone_broken id=0,zones=3", "zone_broken", "zone_readonly", "zone_offline", "zone_good")
    control.rejects(ENODEV, "zone_offline id=7,zones=3", "zloop7", "no such device")
    control.rejects(EINVAL, "add id=1,zones=3", "zones")
    assert d.declared == ["zone_readonly zones=4"]
    # A declaration that can't be recorded is not made.
    new = d.directory / "conditions.new"
    new.mkdir()
    control.rejects(EISDIR, "zone_offline id=0,zones=3-5", "zones=3-5", "recorded")
    new.rmdir()
    assert conditions(d, *range(2, 16)) == [EMPTY, EMPTY, READONLY] + [EMPTY] * 11
    d.write_zone(3, 0, 8)
    # A file that was left half written is not in the way.
    new.write_text("zone_off\n")
    control.zone_offline(0, 5)
    assert d.declared == ["zone_readonly zones=4", "zone_offline zones=5"]
    assert not new.exists()


def test_damaged_record(add, log):
    """A record that is damaged is not guessed at."""
    d = add(**GEOMETRY)
    d.write_zone(3, 0, 64)
    d.remove()
    file = d.directory / "conditions"
    for text in (
        "zone_offline zones=",
        "zone_offline zones=1",
        "zone_offline zones=16",
        "zone_off",
        "zones=3",
        "zone_readonly zones=3\nzone_offline",
        "zone_readonly zones=5\nzone_readonly zones=3",
        "zone_offline zones=3-6\nzone_readonly zones=6",
    ):
        file.write_text(f"{text}\n")
        with log.one_line("zloop0", "conditions|sequential"):
            fails(EINVAL, d.add)
    file.unlink()
    file.mkdir()
    fails(EISDIR, d.add)
    file.rmdir()
    file.symlink_to("/etc/passwd")
    fails(ELOOP, d.add)
    file.unlink()
    d.add()
    d.check_zone(3, 0, 64)


def test_lazy_files(add, control):
    """With lazy_files a zone may have no file."""
    d = add(lazy_files=True, **GEOMETRY)
    d.write_zone(4, 0, 8)
    control.zone_offline(0, "3-4")
    d.add_again()
    assert conditions(d, 3, 4, 5) == [OFFLINE, OFFLINE, EMPTY]
    control.zone_good(0, "3-4")
    assert conditions(d, 3, 4, 5) == [EMPTY, CLOSED, EMPTY]
    d.write_zone(3, 0, 8)
    d.check_zone(3, 0, 8)
    d.check_zone(4, 0, 8)


@pytest.mark.limit(240)
def test_under_load(add, control, defer):
    """Zones are declared while they are written, reset and reported. Each write is there or has failed, nothing hangs,
    and afterwards all reports are right."""
    d = add(max_open_zones=4, nr_queues=2, **GEOMETRY)
    stop = threading.Event()
    defer(stop.set)

    def write_and_reset(nr):
        rnd = random.Random(nr)
        at = 0
        while not stop.is_set():
            try:
                if at >= CAPACITY or rnd.random() < 0.02:
                    d.reset_zone(nr)
                    at = 0
                d.write_zone(nr, at, 32, nr)
                at += 32
            except OSError as error:
                if error.errno != EIO:
                    raise
                zone = d.zone(nr)
                if zone.wp is not None:
                    assert zone.wp >= at
                    at = zone.wp
                elif zone.cond is FULL:
                    at = CAPACITY

    def report():
        while not stop.is_set():
            d.zones()
            d.cached_report()

    with Threads() as threads:
        for nr in range(3, 9):
            threads.start(write_and_reset, nr)
        threads.start(report)
        rnd = random.Random(1)
        for _ in range(60):
            first = rnd.randrange(3, 9)
            declare = rnd.choice((control.zone_readonly, control.zone_offline, control.zone_good))
            declare(0, f"{first}-{rnd.randrange(first, 9)}")
            time.sleep(0.02)
        control.zone_good(0, "2-15")
        time.sleep(0.3)
        stop.set()
    zones = d.zones()[3:9]
    for nr, zone in enumerate(zones, 3):
        d.check_zone(nr, 0, CAPACITY if zone.cond is FULL else zone.wp, nr)
    conditions(d)
    assert any(zone.wp or zone.cond is FULL for zone in d.zones()[3:9])


@pytest.mark.limit(240)
@pytest.mark.stock_kernel
@pytest.mark.scratch("tmpfs")
def test_reports_beside_declarations(add, control, defer):
    """A report that is held up while it looks at a zone does not make the block layer remember the zone's earlier
    condition when it is good again. The task that makes reports loses its CPU for a while at any time."""
    if os.cpu_count() < 2:
        pytest.skip("it takes two CPUs")
    d = add(capacity_mb=40, zone_size_mb=1, conv_zones=0)
    spinning = mmap.mmap(-1, 1)

    def report():
        while True:
            d.report(0, 40)

    def spin():
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        while True:
            time.sleep(0.1 + random.random() / 100)
            spinning[0] = 1
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                pass
            spinning[0] = 0

    def wait_while(state):
        while spinning[0] == state:
            time.sleep(0.001)

    defer(os.sched_setaffinity, 0, os.sched_getaffinity(0))
    os.sched_setaffinity(0, {0})
    for function in report, spin:
        defer(Child(lambda: os.sched_setaffinity(0, {1}), function).kill)
    for _ in range(60):
        control.zone_readonly(0, "0-39")
        wait_while(1)
        wait_while(0)
        control.zone_good(0, "0-39")
        wait_while(1)
        time.sleep(0.05)
        assert {zone.cond for zone in d.cached_report(0, 40)} == {EMPTY}
