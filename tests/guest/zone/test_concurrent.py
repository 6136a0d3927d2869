# SPDX-License-Identifier: GPL-2.0
"""Commands to one zone from several threads at once.

Guards the promise that two commands in flight on one zone end as some serial order of the two. The
block layer merges zone commands that are alike, so that one request may be several of them; a driver
that does not know it stops the kernel when it ends one.
"""

import random
import struct
import time
from collections import Counter
from errno import EIO, ETOOMANYREFS

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, SECTOR, fails
from zbd.errors import errno_of, name_of
from zbd.threads import Threads, in_parallel

CAPACITY = 2 * MIB
STOPS_THE_KERNEL = "the kernel stops in blk_mq_end_request()"


@pytest.fixture
def add_device(add):
    """Adds a device with two conventional zones (0 and 1) and ten sequential ones."""

    def add_with(**options):
        return add(capacity_mb=24, zone_size_mb=2, conv_zones=2, nr_queues=2, **options)

    return add_with


def storm(d, seconds, step):
    """Six threads call `step(random, nr)` again and again, for zones 5 and 6. Afterwards the zones are where their
    files say, and can be used, and no slot is lost."""
    results = Counter()
    until = time.monotonic() + seconds

    def work(seed):
        rnd = random.Random(seed)
        while time.monotonic() < until:
            results[name_of(errno_of(step, rnd, rnd.choice((5, 6))))] += 1

    in_parallel(work, range(6))
    print(results)
    assert set(results) <= {"success", "EIO", "ETOOMANYREFS"}
    assert results["success"] > 10
    for nr, zone in enumerate(d.zones()):
        if zone.is_sequential:
            size = d.zone_file_sectors(nr)
            assert size == (CAPACITY if zone.cond is FULL else zone.wp)
            possible = {0: (EMPTY, EXP_OPEN), CAPACITY: (FULL,)}
            assert zone.cond in possible.get(size, (IMP_OPEN, EXP_OPEN, CLOSED))
    for nr in 5, 6:
        d.reset_zone(nr)
        d.write_zone(nr, 0, 64, nr)
        d.check_zone(nr, 0, 64, nr)
        assert (d.zone(nr).cond, d.zone(nr).wp) == (IMP_OPEN, 64)
    limit = d.queue("max_open_zones")
    d.reset_all_zones()
    for nr in range(2, 2 + limit):
        d.open_zone(nr)
    if limit:
        fails((EIO, ETOOMANYREFS), d.open_zone, 2 + limit)


@pytest.mark.c_driver_may_fail(STOPS_THE_KERNEL)
def test_the_same_command(add_device):
    """The same command again and again, which always succeeds."""
    d = add_device()
    for nr in 5, 6:
        d.write_zone(nr, 0, 64, nr)
    storm(d, 4, lambda rnd, nr: rnd.choice((d.open_zone, d.reset_zone))(nr))


@pytest.mark.c_driver_may_fail(STOPS_THE_KERNEL)
def test_commands_that_may_be_refused(add_device):
    """Commands of which some are refused."""
    d = add_device(max_open_zones=2)
    d.open_zone(9)
    commands = d.open_zone, d.close_zone, d.finish_zone, d.reset_zone
    storm(d, 6, lambda rnd, nr: rnd.choice(commands)(nr))


@pytest.mark.c_driver_may_fail(STOPS_THE_KERNEL)
def test_writes_among_commands(add_device):
    """Writes that hit or miss the write pointer, among resets and finishes."""
    d = add_device(max_open_zones=3)

    def write(rnd, nr):
        wp = d.zone(nr).wp
        if wp is not None and wp + 64 <= CAPACITY:
            d.write_zone(nr, wp, rnd.randrange(8, 65, 8), nr)

    def step(rnd, nr):
        command = rnd.choice([write] * 4 + [d.reset_zone, d.close_zone, d.open_zone, d.finish_zone])
        command(rnd, nr) if command is write else command(nr)

    storm(d, 8, step)


def test_reads_among_writes_and_resets(add_device):
    """While a zone is written and reset, readers see data below the write pointer or zeros, and never anything else."""
    d = add_device()
    until = time.monotonic() + 5

    def write_and_reset():
        seed = 0
        while time.monotonic() < until:
            seed += 1
            for at in range(0, 1024, 64):
                d.write_zone(5, at, 64, seed)
            d.reset_zone(5)

    def read(seed):
        rnd = random.Random(seed)
        while time.monotonic() < until:
            at = 5 * CAPACITY + rnd.randrange(0, 1024, 8)
            data = d.pread(at, 8)
            for index in range(8):
                sector = data[index * SECTOR : (index + 1) * SECTOR]
                number, seed = struct.unpack_from("<QQ", sector)
                assert sector == sector[:16] * 32, f"sector {at + index} begins with {number}, {seed}"
                assert number == at + index or (number, seed) == (0, 0), f"sector {at + index} holds {number}, {seed}"

    with Threads() as threads:
        threads.start(write_and_reset)
        for seed in range(3):
            threads.start(read, seed)
