# SPDX-License-Identifier: GPL-2.0
"""Zone appends, one at a time and many in flight.

Guards the promises that file systems rely on: each append that succeeds has sectors of its own, with
its data in them; there is no gap between them; and an append that fails, or another command in
between, does no harm to the others. tests/kmod makes them in the kernel: user space can't.
"""

import itertools
import os
import random
import struct
import time
from collections import Counter
from errno import EBUSY, EINVAL, EIO, ENODEV, ENOENT, ENOSPC, ENXIO, ETOOMANYREFS
from typing import NamedTuple

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, ZEROS, fails, refused
from zbd.device import ZonedDevice
from zbd.errors import errno_of
from zbd.filesystem import free_space
from zbd.sector_data import verify
from zbd.threads import Threads

LENGTH, CAPACITY = 2 * MIB, MIB


@pytest.fixture
def add_device(add):
    """Adds a device with two conventional zones (0 and 1) and 18 sequential ones."""

    def add_with(*more, **options):
        return add(*more, capacity_mb=40, zone_size_mb=2, zone_capacity_mb=1, conv_zones=2, nr_queues=2, **options)

    return add_with


class Line(NamedTuple):
    """A line of a program: one request, or `count` appends of `sectors` sectors with the data of a seed."""

    text: str
    count: int = 1
    sectors: int = 0
    seed: int | None = None


class Appends:
    """Appends to zones, and where each one's data must be. The data of each line has a seed of its own."""

    def __init__(self, device, requests):
        self.device = device
        self.requests = requests
        self.seed = 0
        # By seed and first number of its data: the sector and the length of each append.
        self.places = {}

    def line(self, nr, sectors=8, count=1, zones=1):
        """Appends that take turns in this number of zones, from zone `nr` on."""
        self.seed += 1
        text = f"append at={nr * LENGTH} sectors={sectors} count={count} zones={zones} step={LENGTH} seed={self.seed}"
        return Line(text, count, sectors, self.seed)

    def run_lines(self, lines, depth):
        """Carry out lines, some of them appends. Returns the ends of each one's requests."""
        all_ends = iter(self.requests.run("\n".join(line.text for line in lines), depth))
        ends_of_lines = [list(itertools.islice(all_ends, line.count)) for line in lines]
        for line, ends in zip(lines, ends_of_lines, strict=True):
            for index, end in enumerate(ends):
                if line.seed is not None and not end.errno:
                    self.places[line.seed, index * line.sectors] = end.sector, line.sectors
        return ends_of_lines

    def run(self, nr, sectors=8, count=1, depth=1, zones=1):
        """Carry out one such line. Returns the ends of its requests."""
        return self.run_lines([self.line(nr, sectors, count, zones)], depth)[0]

    def check(self, nr, complete=True):
        """Zone `nr` consists of appends that succeeded; of all of them, if it was never reset. Returns its end."""
        zone, end = self.device.zone(nr), self.device.zone_file_sectors(nr)
        assert zone.wp == (None if zone.cond is FULL else end)
        at, found = 0, 0
        while at < end:
            label, seed = struct.unpack_from("<QQ", self.device.pread(zone.start + at, 8))
            sector, sectors = self.places.get((seed, label), (None, 0))
            assert sector == zone.start + at, f"zone {nr}, sector {at}: the data was appended to sector {sector}"
            verify(self.device.pread(sector, sectors), label, seed)
            at += sectors
            found += 1
        places = [place for place in self.places.values() if place[0] // LENGTH == nr]
        if complete:
            assert found == len(places) == len(set(places))
        return end


@pytest.fixture
def appends(requests):
    """`appends(device)`: nothing was appended yet."""
    return lambda device: Appends(device, requests(device))


def errors(ends):
    return sorted({end.error for end in ends})


def check_usable(device, requests, nr):
    """A zone takes data again, as much as it can hold, and gives it back."""
    device.reset_zone(nr)
    assert device.state(nr) == (EMPTY, 0)
    device.write_zone(nr, 0, 64, nr)
    assert requests.append(nr * LENGTH, 8) == nr * LENGTH + 64
    device.write_zone(nr, 72, CAPACITY - 72, nr)
    device.check_zone(nr, 0, 64, nr)
    device.check_zone(nr, 72, CAPACITY - 72, nr)
    assert device.conditions(nr) == [FULL]


def test_conditions_and_lengths(add_device, appends):
    """One after the other, of all lengths, from every condition that has room."""
    d = add_device()
    a = appends(d)
    wp = 0
    for sectors in 8, 16, 24, 256, 8, 1024:
        (end,) = a.run(4, sectors)
        assert (end.error, end.sector) == ("ok", 4 * LENGTH + wp)
        wp += sectors
        assert d.state(4) == (IMP_OPEN, wp)
    d.open_zone(4)
    a.run(4)
    assert d.state(4) == (EXP_OPEN, wp + 8)
    d.close_zone(4)
    assert d.state(4) == (CLOSED, wp + 8)
    a.run(4)
    assert d.state(4) == (IMP_OPEN, wp + 16)
    d.open_zone(5)
    a.run(5)
    assert d.state(5) == (EXP_OPEN, 8)
    a.run(6, CAPACITY)
    assert d.conditions(6) == [FULL]
    a.run(4, CAPACITY - wp - 16)
    assert d.conditions(4) == [FULL]
    for nr in 4, 5, 6:
        a.check(nr)
    # An append that can't be done changes nothing.
    append = a.requests.append
    refused(d, EIO, append, 4 * LENGTH, 8)  # full
    refused(d, EIO, append, 5 * LENGTH, CAPACITY)  # more than is left
    refused(d, EIO, append, 5 * LENGTH + 8, 8)  # not for a zone's start
    refused(d, EIO, append, 5 * LENGTH, 2056)  # more than 1 MiB
    refused(d, EIO, append, 100 * LENGTH, 8)  # past the device's end
    refused(d, (EIO, EINVAL), append, 5 * LENGTH, 1)  # a piece of a block
    d.finish_zone(5)
    refused(d, EIO, append, 5 * LENGTH, 8)
    a.check(4)
    a.check(6)
    d.check_zone(5, 8, LENGTH - 8, ZEROS)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param("", id="default"),
        pytest.param("buffered_io", id="buffered_io"),
        pytest.param("nr_queues=1,queue_depth=4", id="queue_depth"),
        pytest.param("zone_append=0", id="emulated"),
    ],
)
def test_many_in_flight(options, add_device, appends):
    """Many in flight, to one zone and to eight, however the device works."""
    d = add_device(options)
    for depth in 2, 64:
        d.reset_all_zones()
        a = appends(d)
        assert errors(a.run(4, 8, 100, depth)) == ["ok"]
        assert a.check(4) == 800
        assert errors(a.run(5, 16, 8 * 50, depth, zones=8)) == ["ok"]
        assert [a.check(nr) for nr in range(5, 13)] == [800] * 8
        a.check(4)
    # Of twice as many as a zone can hold, half of them fail.
    d.reset_all_zones()
    a = appends(d)
    assert [end.error for end in a.run(4, 32, 128, 64)].count("ok") == 64
    assert a.check(4) == CAPACITY
    assert d.conditions(4) == [FULL]


@pytest.mark.c_driver_fails(1)
def test_defect_01_ordered_appends_fill_a_zone(add_device, appends):
    """Appends fill a zone. The C driver calls the zone full when the last append is queued, and refuses it when its
    turn comes."""
    d = add_device(ordered_zone_append=True)
    a = appends(d)
    assert errors(a.run(4, 8, CAPACITY // 8)) == ["ok"]
    assert errors(a.run(5, 64, CAPACITY // 64, depth=32)) == ["ok"]
    assert errors(a.run(6, CAPACITY)) == ["ok"]
    for nr in 4, 5, 6:
        assert d.conditions(nr) == [FULL]
        assert a.check(nr) == CAPACITY


def check_among_failures(device, appends, make_failure):
    """Appends to zone 4 succeed among requests to it that fail, and no sector is lost or used twice.
    `make_failure(appends)` is the line of such a request."""
    for _ in range(8):
        device.reset_zone(4)
        a = appends(device)
        lines = []
        for _ in range(8):
            lines += [a.line(4, 8, 8), make_failure(a)]
        ends = a.run_lines(lines, depth=64)
        assert [errors(ends_of_line) for ends_of_line in ends] == [["ok"], ["EIO"]] * 8
        assert a.check(4) == 8 * 8 * 8


def too_long(appends):
    """An append that does not fit behind the others."""
    return appends.line(4, CAPACITY)


def misplaced(appends):
    """A write that is not at the write pointer."""
    return Line(f"write at={4 * LENGTH + 2040} sectors=8 seed=99")


@pytest.mark.c_driver_fails(2)
def test_defect_02_appends_among_appends_that_fail(add_device, appends):
    """After a failure the C driver takes the write pointer from the file's size, which appends in flight have yet to
    change."""
    check_among_failures(add_device(), appends, too_long)


def test_appends_among_ordered_appends_that_fail(add_device, appends):
    check_among_failures(add_device(ordered_zone_append=True), appends, too_long)


@pytest.mark.c_driver_fails(2)
def test_defect_02_appends_among_misplaced_writes(add_device, appends):
    """The C driver refuses the write, and gives appends behind it sectors that others have."""
    check_among_failures(add_device(), appends, misplaced)


@pytest.mark.c_driver_fails(3)
def test_defect_03_ordered_appends_among_misplaced_writes(add_device, appends):
    check_among_failures(add_device(ordered_zone_append=True), appends, misplaced)


def check_conventional_zones(d, requests):
    """A conventional zone, which has no write pointer, refuses an append and keeps its data."""
    r = requests(d)
    for nr in 0, 1:
        d.write_zone(nr, 0, 64, 5)
    for nr in 0, 1, 1, 0:
        refused(d, EIO, r.append, nr * LENGTH, 8, 66)
    for nr in 0, 1:
        d.check_zone(nr, 0, 64, 5)
        d.check_zone(nr, 64, LENGTH - 64, ZEROS)
    d.write(0, 8, 6)
    d.check(0, 8, 6)
    # The first sequential zone takes it.
    assert r.append(2 * LENGTH, 8) == 2 * LENGTH


@pytest.mark.c_driver_fails(8)
def test_defect_08_append_to_a_conventional_zone(add_device, requests):
    check_conventional_zones(add_device(), requests)


@pytest.mark.c_driver_fails(8, "the kernel dies")
def test_defect_08_ordered_append_to_a_conventional_zone(add_device, requests):
    check_conventional_zones(add_device(ordered_zone_append=True), requests)


def check_race(d, appends, *kinds):
    """Appends to a zone are in flight together with other commands to it, of these kinds. Their results must be true
    in some order of them."""
    rnd = random.Random(7)
    tally = Counter()
    for turn in range(25):
        a = appends(d)
        d.reset_zone(4)
        lines = []
        for _ in range(6):
            # Some of them fill the zone.
            lines += [a.line(4, rnd.choice((8, 8, 16, 64, 128)), 6), Line(f"{rnd.choice(kinds)} at={4 * LENGTH}")]
        for line, ends in zip(lines, a.run_lines(lines, depth=64), strict=True):
            kind = line.text.split()[0]
            tally.update((kind, end.error) for end in ends)
            assert kind != "reset" or errors(ends) == ["ok"]
        if "finish" not in kinds:
            a.check(4, complete="reset" not in kinds)
        condition, wp = d.state(4)
        size = d.zone_file_sectors(4)
        assert size == (CAPACITY if condition is FULL else wp)
        possible = {0: (EMPTY, EXP_OPEN), CAPACITY: (FULL,)}
        assert condition in possible.get(size, (IMP_OPEN, EXP_OPEN, CLOSED))
        if turn % 10 == 9:
            check_usable(d, a.requests, 4)
    print(tally)
    assert {error for _, error in tally} <= {"ok", "EIO"}
    assert tally["append", "ok"] > 30


def test_defect_09_appends_race_reset(add_device, appends):
    """The C driver has passed so far."""
    check_race(add_device(), appends, "reset")


@pytest.mark.c_driver_fails(9)
def test_defect_09_ordered_appends_race_reset(add_device, appends):
    check_race(add_device(ordered_zone_append=True), appends, "reset")


@pytest.mark.c_driver_fails(9)
def test_defect_09_ordered_appends_race_close(add_device, appends):
    check_race(add_device(ordered_zone_append=True), appends, "close")


def test_appends_race_finish(add_device, appends):
    check_race(add_device(), appends, "finish", "reset")


@pytest.mark.c_driver_fails(2)
def test_appends_race_open_and_close(add_device, appends):
    check_race(add_device(), appends, "open", "close")


@pytest.mark.c_driver_fails("the write pointer is not where the file ends")
def test_appends_race_all(add_device, appends):
    check_race(add_device(max_open_zones=2), appends, "open", "close", "finish", "reset", "reset-all", "flush")


def test_ordered(add_device, appends):
    """Data comes in the order in which it was given, also with appends to other zones in between."""
    d = add_device(ordered_zone_append=True)

    def in_order(nr):
        return [nr * LENGTH + 8 * index for index in range(250)]

    for depth in 8, 64:
        d.reset_all_zones()
        a = appends(d)
        assert [end.sector for end in a.run(4, 8, 250, depth)] == in_order(4)
        ends = a.run(5, 8, 4 * 250, depth, zones=4)
        for nr in range(4):
            assert [end.sector for end in ends[nr::4]] == in_order(5 + nr)
        for nr in range(4, 9):
            a.check(nr)


@pytest.mark.c_driver_fails(7)
def test_open_zone_limit(add_device, appends):
    """The limit of open zones holds for appends as it does for writes."""
    d = add_device(max_open_zones=2)
    a = appends(d)
    d.open_zone(2)
    d.open_zone(3)
    refused(d, ETOOMANYREFS, a.requests.append, 4 * LENGTH, 8)
    assert errors(a.run(4, 8, 64, 64, zones=8)) == ["ETOOMANYREFS"]
    assert d.conditions(*range(2, 12)) == [EXP_OPEN] * 2 + [EMPTY] * 8
    a.run(2)
    a.run(3)
    d.close_zone(2)
    a.run(4)
    a.run(5)
    assert d.conditions(2, 3, 4, 5) == [CLOSED, EXP_OPEN, CLOSED, IMP_OPEN]
    # There is always an implicitly open zone to make room: all succeed.
    d.close_zone(3)
    assert errors(a.run(4, 8, 8 * 100, 64, zones=8)) == ["ok"]
    for nr in range(2, 12):
        a.check(nr)
    assert d.conditions().count(IMP_OPEN) == 2
    d.reset_all_zones()
    d.open_zone(7)
    d.open_zone(8)
    fails(ETOOMANYREFS, d.open_zone, 9)


def test_mixed_with_writes(add_device, requests):
    """Writes of user space go in between, direct ones and through the page cache."""
    for buffered_io in False, True:
        d = add_device(buffered_io=buffered_io)
        r = requests(d)
        cached = ZonedDevice(d.path, os.O_RDWR)
        start = 4 * LENGTH
        for _ in range(4):
            d.reset_zone(4)
            at = 0
            for step in range(8):
                ends = r.run(f"append at={start} sectors=16 count=4 seed={step + 1}", 4)
                assert sorted(end.sector - start for end in ends) == [at, at + 16, at + 32, at + 48]
                d.write_zone(4, at + 64, 16, 50 + step)
                cached.write_zone(4, at + 80, 16, 60 + step)
                cached.flush()
                at += 96
            assert d.state(4) == (IMP_OPEN, at)
            for step in range(8):
                at = 96 * step
                labels = []
                for piece in range(start + at, start + at + 64, 16):
                    data = d.pread(piece, 16)
                    labels += struct.unpack_from("<Q", data)
                    verify(data, labels[-1], step + 1)
                assert sorted(labels) == [0, 16, 32, 48]
                d.check_zone(4, at + 64, 16, 50 + step)
                d.check_zone(4, at + 80, 16, 60 + step)
        cached.close()
        d.delete()


def test_beside_other_zones(add_device, appends):
    """Writes, appends and reads are in flight at once, to different zones."""
    d = add_device()
    a = appends(d)
    writes = f"write at={4 * LENGTH} sectors=64 count=24 seed=4\nwrite at=0 sectors=8 count=64 seed=3 fua"
    reads = f"read at={4 * LENGTH} sectors=64 count=24\nflush"
    assert errors(a.requests.run(f"{writes}\n{a.line(5, 8, 400, 4).text}\n{reads}", 48)) == ["ok"]
    d.check_zone(4, 0, 24 * 64, 4)
    d.check(0, 64 * 8, 3)
    for nr in 5, 6, 7, 8:
        assert d.state(nr) == (IMP_OPEN, 800)


def test_flush_and_fua(add_device, requests):
    """Appends that were flushed, or asked to be durable at once, survive the loss of the write cache."""
    d = add_device(discard_write_cache=True)
    r = requests(d)
    assert errors(r.run(f"append at={4 * LENGTH} sectors=8 count=20", 8)) == ["ok"]
    assert errors(r.run("flush")) == ["ok"]
    # Without a flush these would be lost.
    r.run(f"append at={4 * LENGTH} sectors=8 count=20 seed=9", 8)
    r.run(f"append at={5 * LENGTH} sectors=8 count=20 seed=1", 8)
    assert errors(r.run(f"append at={6 * LENGTH} sectors=8 count=20 fua seed=2")) == ["ok"]
    d.add_again(discard_write_cache=False)
    # A flush is for all zones: a FUA is one, and carries the others along.
    assert d.state(6) == (CLOSED, 160)
    verify(d.pread(6 * LENGTH, 160), 0, 2)
    assert d.zone(4).wp >= 160


def test_remove_under_appends(add_device, appends, control):
    """A removal comes while appends are made: each of them ends, and those that succeeded are there."""
    d = add_device()

    def run(a, ends):
        # If the removal comes first, there is no device to open.
        assert errno_of(lambda: ends.extend(a.run(4, 8, 8 * 240, 64, zones=8))) in (None, ENODEV, ENOENT, ENXIO)

    for turn in range(5):
        a, ends = appends(d), []
        d.close()
        with Threads() as threads:
            threads.start(run, a, ends)
            time.sleep(0.02 * turn)
            assert errno_of(control.remove, 0) in (None, EBUSY)
        assert set(errors(ends)) <= {"ok", "EIO", "ENODEV", "ENXIO"}
        if not d.exists:
            d.add()
        for nr in range(4, 12):
            a.check(nr)
        print(turn, [end.error for end in ends].count("ok"), len(ends))
        d.reset_all_zones()


@pytest.mark.c_driver_fails(33)
def test_defect_33_explicitly_open_after_a_failed_write(scratch, image_file, add, requests):
    """The first write to a zone that was opened fails: the zone stays open."""
    image_file("xfs", 320, scratch / "small")
    d = add(base_dir=scratch / "small", capacity_mb=40, zone_size_mb=2, zone_capacity_mb=1, conv_zones=2)
    r = requests(d)
    # Refused by the rules.
    d.open_zone(4)
    fails(EIO, d.write_zone, 4, 16, 8)
    assert d.state(4) == (EXP_OPEN, 0)
    # Failed by the medium.
    with open(scratch / "small/fill", "wb") as filling:
        size = max(free_space(d.directory) - (8 << 20), 1)
        os.posix_fallocate(filling.fileno(), 0, size)
        while (error := errno_of(os.posix_fallocate, filling.fileno(), size, 4096)) is None:
            size += 4096
        assert error == ENOSPC
        d.open_zone(5)
        fails((ENOSPC, EIO), r.append, 5 * LENGTH, 256)
        assert d.state(5) == (EXP_OPEN, 0)
        fails((ENOSPC, EIO), d.write_zone, 5, 0, 256)
        assert d.state(5) == (EXP_OPEN, 0)
        os.ftruncate(filling.fileno(), 0)
    # There is room again.
    assert r.append(5 * LENGTH, 256) == 5 * LENGTH
    assert d.state(5) == (EXP_OPEN, 256)
