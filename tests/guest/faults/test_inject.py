# SPDX-License-Identifier: GPL-2.0
"""inject: bad sectors, commands that fail, requests that get lost, and a slow device.

Guards the base of a test of error handling above the device: that exactly the requests that were
asked for fail, with the errors and write pointers of a real drive, and that nothing is left of it
afterwards. The cases of fio's t/zbd 72 to 75, which null_blk is needed for, are here, too.
"""

import functools
import time
from errno import EBUSY, EINVAL, EIO, ENODEV, ENOSPC, ETIMEDOUT
from pathlib import Path

import pytest

from zbd import (
    CLOSED,
    EMPTY,
    EXP_OPEN,
    FULL,
    IMP_OPEN,
    MIB,
    READONLY,
    SECTOR,
    ZEROS,
    Condition,
    fails,
    refused,
)
from zbd.dm import Mapping
from zbd.errors import errno_of
from zbd.process import run
from zbd.threads import Threads, in_parallel
from zbd.timing import seconds

LENGTH, CAPACITY = 2 * MIB, MIB
GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "zone_capacity_mb": 1, "conv_zones": 2}


@pytest.fixture
def inject(control):
    """`inject("badblocks=+0-7")`: to device 0."""
    return functools.partial(control.inject, 0)


def bad(zone, offset, sectors):
    """The text of a range."""
    return f"{zone * LENGTH + offset}-{zone * LENGTH + offset + sectors - 1}"


@pytest.mark.parametrize("option", ["", "buffered_io", "zone_append=0"], ids=["plain", "buffered", "emulated-append"])
def test_bad_sectors(add, inject, option):
    """Bad sectors fail, whatever request comes to them, and their neighbours do not."""
    d = add(option, **GEOMETRY)
    d.write_zone(3, 0, 64, 3)
    d.write_zone(0, 0, 256, 1)
    inject(f"badblocks=+{bad(3, 32, 8)}")
    inject(f"badblocks=+{bad(0, 64, 1)}")
    inject(f"badblocks=+{bad(4, 16, 8)}")
    for _ in range(2):
        for at, count in (32, 8), (24, 16), (0, 64):
            fails(EIO, d.pread, 3 * LENGTH + at, count)
        d.check_zone(3, 0, 32, 3)
        d.check_zone(3, 40, 24, 3)
        # A sector of a block is enough.
        fails(EIO, d.pread, 64, 8)
        fails(EIO, d.write_zone, 0, 64, 8)
        fails(EIO, d.write_zone, 0, 48, 64)
        d.check_zone(0, 0, 64, 1)
        d.check_zone(0, 72, 184, 1)
        d.write_zone(0, 0, 64, 1)
        d.write_zone(0, 72, 64, 1)
        # Sectors that nobody has written are as bad.
        fails(EIO, d.pread, 4 * LENGTH + 16, 8)
        d.check_zone(4, 24, 8, ZEROS)
    # A write that fails writes nothing.
    fails(EIO, d.write_zone, 4, 0, 24)
    assert (d.zone(4).wp, d.zone_file(4).stat().st_size) == (0, 0)
    d.write_zone(4, 0, 16)
    for _ in range(2):
        fails(EIO, d.write_zone, 4, 16, 16)
        assert d.zone(4).wp == 16
    inject(f"badblocks=-{bad(4, 0, 64)}")
    d.write_zone(4, 16, 16)
    d.check_zone(4, 0, 32)
    inject("badblocks=-0-0xffffffffffffffff")
    d.check_zone(3, 0, 64, 3)
    d.check_zone(0, 0, 256, 1)


def test_bad_for_reads_or_writes(add, inject):
    """Sectors can be bad for reads only, or for writes only."""
    d = add(**GEOMETRY)
    d.write_zone(0, 0, 64)
    inject(f"badblocks_read=+{bad(0, 0, 8)},badblocks_write=+{bad(0, 16, 8)}")
    fails(EIO, d.pread, 0, 8)
    d.write_zone(0, 0, 8)
    fails(EIO, d.write_zone, 0, 16, 8)
    d.check_zone(0, 16, 8)
    inject(f"badblocks=-{bad(0, 0, 64)}")
    d.check_zone(0, 0, 64)
    d.write_zone(0, 0, 64)


def test_once(add, inject):
    """With badblocks_once the row of bad sectors that is hit is good from then on, all of it."""
    d = add(**GEOMETRY)
    d.write_zone(0, 0, 64)
    inject(f"badblocks_once=1,badblocks=+{bad(0, 8, 16)}")
    fails(EIO, d.pread, 16, 8)
    d.check_zone(0, 0, 64)
    d.write_zone(0, 8, 16)
    inject(f"badblocks=+{bad(3, 0, 8)}")
    fails(EIO, d.write_zone, 3, 0, 8)
    assert d.zone(3).wp == 0
    d.write_zone(3, 0, 8)
    d.check_zone(3, 0, 8)


@pytest.mark.parametrize(
    "option", ["", "buffered_io", "nr_queues=2,max_open_zones=2"], ids=["plain", "buffered", "queues"]
)
def test_partial_writes(add, inject, option):
    """With badblocks_partial_io a write ends before the block with the bad sector."""
    d = add(option, **GEOMETRY)
    inject(f"badblocks_partial_io=1,badblocks=+{bad(3, 67, 1)}")
    inject(f"badblocks=+{bad(1, 19, 1)}")
    fails(EIO, d.write_zone, 3, 0, 128, 3)
    assert d.zone(3).wp == 64
    d.check_zone(3, 0, 64, 3)
    assert d.zone_file(3).stat().st_size == 64 * SECTOR
    # At the bad block there is nothing to write.
    fails(EIO, d.write_zone, 3, 64, 8, 3)
    assert d.zone(3).wp == 64
    inject(f"badblocks=-{bad(3, 0, CAPACITY)}")
    d.write_zone(3, 64, 64, 3)
    d.check_zone(3, 0, 128, 3)
    fails(EIO, d.write_zone, 1, 0, 64, 1)
    inject("clear")
    d.check_zone(1, 0, 16, 1)
    d.check_zone(1, 16, 48, ZEROS)


def test_write_zeroes(add, inject):
    """A request to write zeros is a write: bad sectors make it fail, and that costs the zone."""
    d = add(write_fault="readonly", **GEOMETRY)
    d.write_zone(0, 0, 64)
    d.write_zone(3, 0, 8)
    inject(f"badblocks=+{bad(0, 16, 8)}")
    inject(f"badblocks=+{bad(3, 24, 8)}")
    fails(EIO, d.zero_out, 0, 64)
    d.zero_out(0, 16)
    d.zero_out(24, 40)
    d.check(0, 16, ZEROS)
    d.check(24, 40, ZEROS)
    d.zero_out(3 * LENGTH + 8, 16)
    d.check_zone(3, 8, 16, ZEROS)
    assert d.state(3) == (IMP_OPEN, 24)
    fails(EIO, d.zero_out, 3 * LENGTH + 24, 16)
    assert d.zone(3).cond is READONLY
    inject("clear,write_nsec=600000000")
    assert seconds(d.zero_out, 0, 64) >= 0.6
    assert d.declared == ["zone_readonly zones=3"]


def test_appends(add, inject, requests):
    """Of many appends in flight those with a bad sector fail, all others have a place of their own, and the zone goes
    on."""
    d = add(**GEOMETRY)
    r = requests(d)
    inject(f"badblocks=+{bad(3, 96, 8)},badblocks_once=1")
    ends = r.run(f"append at={3 * LENGTH} sectors=8 count=32 seed=1", depth=32)
    assert [end.errno for end in ends if end.errno] == [EIO]
    assert sorted(end.sector - 3 * LENGTH for end in ends if not end.errno) == [8 * n for n in range(31)]
    assert d.zone(3).wp == 31 * 8
    # Past sectors that stay bad the zone can't get.
    inject(f"badblocks_once=0,badblocks=+{bad(4, 96, 8)}")
    ends = r.run(f"append at={4 * LENGTH} sectors=8 count=32 seed=1", depth=32)
    assert sum(not end.errno for end in ends) == 12
    assert d.zone(4).wp == 96
    inject("clear")
    r.run(f"append at={4 * LENGTH} sectors=8 count=4 seed=1", depth=4)
    assert d.zone(4).wp == 128


def test_writers_recover(add, inject):
    """A write fails half way, its writer asks for the write pointer and goes on from there: so does fio's
    recover_zbd_write_error. There is one writer or several, and each row is bad once (72 and 73) or for good (74 and
    75), where the zone is given up."""
    d = add(nr_queues=2, **GEOMETRY)
    result = {}

    def write_all(nr):
        at, sectors, errors, stuck = 0, 64, 0, 0
        while at < CAPACITY and stuck < 2:
            count = min(sectors, CAPACITY - at)
            try:
                d.write_zone(nr, at, count, nr)
                at += count
            except OSError as error:
                if error.errno != EIO:
                    raise
                zone = d.zone(nr)
                now = CAPACITY if zone.cond is FULL else zone.wp
                assert at <= now <= at + sectors
                assert now % 8 == 0
                errors += 1
                # Block by block, twice.
                stuck = stuck + 1 if now == at and sectors == 8 else 0
                if now == at:
                    sectors = 8
                at = now
        result[nr] = at, errors

    for lasting in False, True:
        for writers in 1, 6:
            d.reset_all_zones()
            inject(f"clear,badblocks_partial_io=1,badblocks_once={int(not lasting)}")
            for nr in range(3, 9):
                for at in 200, 1003, 1500:
                    inject(f"badblocks=+{bad(nr, at, 3)}")
            result.clear()
            in_parallel(write_all, range(3, 3 + writers))
            assert len(result) == writers
            for at, errors in result.values():
                assert at == (200 if lasting else CAPACITY)
                assert errors >= (2 if lasting else 3)
            inject("clear")
            for nr, (at, _) in result.items():
                d.check_zone(nr, 0, at, nr)


def test_failing_commands(add, inject):
    """So many of the next commands fail, and change nothing."""
    d = add(max_open_zones=2, **GEOMETRY)
    d.write_zone(3, 0, 8, 3)
    d.write_zone(4, 0, 8)
    for name, command, before, after in (
        ("open", d.open_zone, IMP_OPEN, EXP_OPEN),
        ("close", d.close_zone, EXP_OPEN, CLOSED),
        ("finish", d.finish_zone, CLOSED, FULL),
        ("reset", d.reset_zone, FULL, EMPTY),
    ):
        inject(f"fail_{name}=2")
        for _ in range(2):
            refused(d, EIO, command, 3)
            assert d.zone(3).cond is before
        command(3)
        assert d.zone(3).cond is after
    # One kind is not the other.
    inject("fail_reset=1")
    d.open_zone(5)
    d.close_zone(5)
    d.finish_zone(5)
    refused(d, EIO, d.reset_zone, 5)
    # Of a reset of all zones one part fails, which fails it.
    for nr in 6, 7, 8:
        d.write_zone(nr, 0, 8)
    inject("fail_reset=1")
    fails(EIO, d.reset_all_zones)
    assert sum(condition is not EMPTY for condition in d.conditions()[2:]) == 1
    d.reset_all_zones()
    assert set(d.conditions()[2:]) == {EMPTY}
    inject("fail_open=100")
    inject("clear")
    d.open_zone(3)


@pytest.fixture
def impatient(add):
    """A device whose requests may take a second."""
    d = add(**GEOMETRY)
    Path("/sys/block/zloop0/queue/io_timeout").write_text("1000")
    return d


def test_timeouts(impatient, inject):
    """A request that gets lost ends when its time is over, and was not carried out."""
    d = impatient
    d.write_zone(3, 0, 8)
    d.write(0, 8, 1)
    for request in (
        lambda: d.pread(3 * LENGTH, 8),
        lambda: d.write_zone(3, 8, 8),
        lambda: d.open_zone(4),
        d.reset_all_zones,
    ):
        inject("timeout=1")
        assert seconds(fails, ETIMEDOUT, request) > 0.5
        d.zones()
    d.check(0, 8, 1)
    d.check_zone(3, 0, 8)
    assert d.state(3) == (IMP_OPEN, 8)
    assert d.zone(4).cond is EMPTY
    d.write_zone(3, 8, 8)
    d.check_zone(3, 0, 16)


def test_lost_requests_are_counted(impatient, inject):
    """Requests that get lost end as others do, and are counted."""
    d = impatient
    inject("timeout=3")
    fails(ETIMEDOUT, d.pread, 0, 8)
    fails(ETIMEDOUT, d.open_zone, 4)
    fails(ETIMEDOUT, d.write_zone, 3, 0, 8)
    counters = d.counters()
    for kind in "read", "zone_open", "write":
        assert counters[kind] == 1
        assert counters[f"{kind}_errors"] == 1


def test_faults_come_and_go(add, inject):
    """Whether a request meets the faults is decided once, however often they come and go meanwhile: a zone in which
    nothing is written has zeros."""
    d = add(nr_queues=2, **GEOMETRY)
    options = {
        "name": "reads",
        "filename": d.path,
        "offset": "4M",
        "size": "28M",
        "rw": "randread",
        "bs": "4k",
        "direct": 1,
        "ioengine": "libaio",
        "iodepth": 32,
        "runtime": 15,
    }
    with Threads() as threads:
        threads.start(run, "fio", "--time_based", *(f"--{name}={value}" for name, value in options.items()))
        end = time.monotonic() + 16
        while time.monotonic() < end:
            inject("read_nsec=1")
            inject("clear")
    assert d.counters()["read_errors"] == 0


def test_faults_are_met_once(add, inject, requests):
    """Writes that were together and are written one by one take the time of one try."""
    d = add(capacity_mb=32, zone_size_mb=8, conv_zones=1)
    r, zone = requests(d), 8 * MIB

    def append(nr):
        """4 MiB. Returns the time that it takes, and the errors."""
        start = time.monotonic()
        ends = r.run(f"append at={nr * zone} sectors=128 count=64 seed=1", depth=64)
        return time.monotonic() - start, [end.errno for end in ends if end.errno]

    inject("badblocks_once=1,write_mbps=1")
    without, errors = append(2)
    assert errors == []
    assert without >= 3.7
    for at in 1024, 3000, 5000, 7000:
        inject(f"badblocks=+{zone + at}-{zone + at}")
    taken, errors = append(1)
    assert errors == [EIO] * 4
    assert 3.7 <= taken < 1.5 * without


def test_requeues(add, control, inject):
    """Requests that are queued again are carried out in the end, each once."""
    d = add(nr_queues=2, **GEOMETRY)
    inject("requeue=40")
    for at in range(0, 512, 8):
        d.write_zone(3, at, 8, 3)
        d.write(at, 8, 1)
    d.check_zone(3, 0, 512, 3)
    d.check(0, 512, 1)
    d.open_zone(4)
    d.reset_zone(3)
    d.flush()
    assert d.conditions(3, 4) == [EMPTY, EXP_OPEN]
    with Threads() as threads:
        inject("requeue=1000000")
        writer = threads.start(d.write_zone, 5, 0, 8)
        time.sleep(0.3)
        assert writer.is_alive()
        # A command for which all requests have to end does not wait for ever, and is no end of it.
        assert seconds(control.zone_offline, 0, 15) < 10
        time.sleep(0.3)
        inject("requeue=1000000")
        writer = threads.start(d.write_zone, 6, 0, 8)
        time.sleep(0.3)
        assert writer.is_alive()
        inject("requeue=0")
    d.check_zone(5, 0, 8)


def test_delays(add, inject):
    """Requests of each kind take longer by the time that was asked for, those of other kinds do not."""
    d = add(**GEOMETRY)
    d.write_zone(3, 0, 8)
    d.write(0, 8)
    kinds = {
        "read": [lambda: d.pread(3 * LENGTH, 8), lambda: d.pread(0, 8), lambda: d.pread(9 * LENGTH, 8)],
        "write": [lambda: d.write_at_wp(3, 8), lambda: d.write(0, 8)],
        "zone": [
            lambda: d.open_zone(4),
            lambda: d.close_zone(4),
            lambda: d.finish_zone(5),
            lambda: d.reset_zone(5),
            d.reset_all_zones,
        ],
    }
    for delayed in kinds:
        inject(f"clear,{delayed}_nsec=600000000")
        for kind, calls in kinds.items():
            for index, call in enumerate(calls):
                taken = seconds(call)
                assert (taken >= 0.6) == (kind == delayed), f"{kind} {index} took {taken} s, delayed: {delayed}"
    # They do not wait for each other.
    inject("clear,read_nsec=600000000")
    assert 0.6 <= seconds(in_parallel, lambda nr: d.pread(nr * LENGTH, 8), range(2, 10)) < 2.4
    # A delay of an hour can be taken back.
    inject("clear,write_nsec=4000000000")
    inject("write_mbps=1")
    with Threads() as threads:
        writer = threads.start(d.write, 0, 2048)
        time.sleep(0.2)
        inject("clear")
        writer.join(3.0)
        assert not writer.is_alive()


def test_bandwidth(add, inject):
    """The bandwidth of reads or writes can be limited."""
    d = add(**GEOMETRY)
    inject("write_mbps=1")
    assert 0.9 <= seconds(lambda: [d.write_zone(3, at, 128) for at in range(0, 2048, 128)]) < 4
    assert seconds(d.check_zone, 3, 0, 2048) < 0.8
    inject("clear,read_mbps=1")
    assert 0.9 <= seconds(d.check_zone, 3, 0, 2048) < 4
    inject("read_mbps=0")
    assert seconds(d.check_zone, 3, 0, 2048) < 0.8


@pytest.mark.parametrize("write_fault", ["readonly", "offline"])
def test_write_fault(add, control, inject, write_fault):
    """With write_fault a write that fails costs the zone."""
    condition = Condition[write_fault.upper()]
    d = add(write_fault=write_fault, max_open_zones=1, max_active_zones=1, **GEOMETRY)
    d.write_zone(3, 0, 16, 3)
    inject(f"badblocks_partial_io=1,badblocks_write=+{bad(3, 24, 8)}")
    fails(EIO, d.write_zone, 3, 16, 32, 3)
    for _ in range(3):
        assert [zone.cond for zone in d.cached_report()[2:5]] == [EMPTY, condition, EMPTY]
        assert d.zone(3).cond is condition
        fails(EIO, d.write_zone, 3, 24, 8)
    inject("clear")
    if condition is READONLY:
        d.check_zone(3, 0, 24, 3)
    else:
        fails(EIO, d.pread, 3 * LENGTH, 8)
    # Its slots are free. A refused write is no fault.
    d.write_zone(4, 0, 8)
    fails(EIO, d.write_zone, 4, 32, 8)
    assert d.zone(4).cond is IMP_OPEN
    d.finish_zone(4)
    assert d.declared == [f"zone_{write_fault} zones=3"]
    d.add_again(write_fault=None, max_open_zones=None, max_active_zones=None)
    assert d.zone(3).cond is condition
    control.zone_good(0, 3)
    assert d.state(3) == (CLOSED, 24)
    d.check_zone(3, 0, 24, 3)


def test_gone_with_the_device(add, inject):
    """Faults are the device's while it is there, and no longer."""
    d = add(**GEOMETRY)
    inject("badblocks=+0-7,fail_open=5,read_nsec=900000000,requeue=5,timeout=5")
    d.add_again()
    assert seconds(d.pread, 0, 8) < 0.8
    d.open_zone(3)


def test_removal(add, control, inject):
    """A device goes away under load while faults are there. Requests that would take for ever are not waited for."""
    d = add(nr_queues=2, **GEOMETRY)
    inject("read_nsec=20000000,write_nsec=20000000,badblocks=+16384-16391,requeue=1000000000")

    def write_all(nr):
        errno_of(lambda: [d.write_zone(nr, at, 8) for at in range(0, CAPACITY, 8)])

    with Threads() as threads:
        for nr in range(3, 9):
            threads.start(write_all, nr)
        time.sleep(0.3)
        assert seconds(control.remove, 0) < 10


def test_removal_that_fails(add, control, inject, defer):
    """A removal that fails leaves the faults as they are."""
    d = add(**GEOMETRY)
    above = Mapping("above", f"0 65536 linear {d.path} 0")
    defer(above.remove)
    inject("requeue=1000000000,fail_open=1")
    fails(EBUSY, control.remove, 0)
    inject("requeue=0")
    fails(EIO, d.open_zone, 3)
    d.open_zone(3)


@pytest.mark.limit(240)
def test_bad_input(add, control, inject, log):
    """An impossible command is refused, the log says why, and nothing has changed."""
    d = add(**GEOMETRY)
    control.rejects(EINVAL, "inject id=0,badblocks=0-7", "badblocks", "[+]")
    control.rejects(EINVAL, "inject id=0,badblocks=+0-65536", "zloop0", "65536", "end of the device")
    control.rejects(EINVAL, "inject id=0,fail_open=1,badblocks=+0-99999999", "65536")
    control.rejects(EINVAL, "inject id=0,fail_open=x", "fail_open", "number")
    control.rejects(EINVAL, "inject id=0,fail_write=1", "fail_write")
    control.rejects(EINVAL, "inject id=0", "inject")
    control.rejects(ENODEV, "inject id=5,clear", "zloop5")
    control.rejects(EINVAL, "add id=1,write_fault=broken", "write_fault", "good", "readonly", "offline")
    d.open_zone(3)
    d.write(0, 8)
    for nr in range(511):
        inject(f"badblocks=+{nr * 16}-{nr * 16 + 2}")
    fails(ENOSPC, inject, "badblocks=+60000-60000,badblocks_read=+61000-61000,fail_reset=1")
    d.reset_zone(3)
    d.pread(60000, 8)
    inject("badblocks=+60000-60000")
    fails(EIO, d.pread, 60000, 8)
    fails(ENOSPC, inject, "badblocks=+61000-61000")
    # One would be two.
    fails(ENOSPC, inject, "badblocks=-1-1")
    # A command that needs no more of them is carried out.
    inject("badblocks=+3-3")
    inject("badblocks=-32-34")
    inject("badblocks=+61000-61000")
    fails(EIO, d.pread, 61000, 8)
    log.expect("too many")
