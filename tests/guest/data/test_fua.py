# SPDX-License-Identifier: GPL-2.0
"""FUA writes: they are durable when they have ended.

Guards the promise that such a write is made durable by syncing its file alone, and that the data
before it in its zone is durable as well.
"""

import pytest

from zbd import CLOSED, EMPTY, FULL, IMP_OPEN, MIB

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 4, "zone_capacity_mb": 1, "conv_zones": 1}
LENGTH, CAPACITY = 4 * MIB, MIB


def states(device, *numbers):
    """Condition and write pointer of these zones."""
    return [device.state(nr) for nr in numbers]


@pytest.mark.parametrize(
    ("buffered_io", "fua", "flushes"),
    [
        pytest.param(False, 1, 0, id="direct"),
        # Through the page cache it takes a flush: a flush alone is told of all failures.
        pytest.param(True, 0, 2, id="buffered"),
    ],
)
def test_fua(failing_disk, add, requests, buffered_io, fua, flushes):
    """A FUA write reaches the disk below, and is no flush of the device."""
    disk = failing_disk("ext4", 320)
    d = add(base_dir=disk.mount_point, buffered_io=buffered_io, **GEOMETRY)
    assert d.queue("fua") == fua
    d.write(0, 64)
    d.flush()
    disk.settle(d.directory)

    def flushes_of_device():
        return int(d.sysfs("stat").split()[15])

    before, before_below = flushes_of_device(), disk.flushes
    r = requests(d)
    r.one("write at=0 sectors=64 fua seed=2")
    r.one(f"write at={3 * LENGTH} sectors=64 fua seed=3")
    assert flushes_of_device() - before == flushes
    assert disk.flushes >= before_below + 2
    d.check(0, 64, 2)
    d.check_zone(3, 0, 64, 3)


@pytest.mark.parametrize(
    "options", [{}, {"zone_append": 0}, {"lazy_files": True}], ids=["default", "emulated-append", "lazy-files"]
)
def test_write_cache(add, requests, options):
    """Of the data that was not flushed, the write cache keeps what is before a FUA write in its zone, and nothing
    else."""
    d = add(**GEOMETRY, **options, discard_write_cache=True)
    r = requests(d)

    def write_fua(nr, at, count):
        r.one(f"write at={nr * LENGTH + at} sectors={count} fua seed={nr}")

    d.write_zone(2, 0, 64, 2)
    d.write_zone(3, 0, 64, 3)
    write_fua(3, 64, 64)
    d.write_zone(3, 128, 64, 3)
    write_fua(4, 0, 64)
    write_fua(5, 0, CAPACITY // 2)
    write_fua(5, CAPACITY // 2, CAPACITY // 2)
    assert states(d, 5) == [(FULL, None)]
    d.write_zone(6, 0, CAPACITY, 6)
    write_fua(7, 0, 64)
    d.reset_zone(7)
    d.write_zone(7, 0, 32, 7)
    d.remove()

    d = add(**GEOMETRY)
    assert states(d, *range(2, 8)) == [(EMPTY, 0), (CLOSED, 128), (CLOSED, 64), (FULL, None), (EMPTY, 0), (EMPTY, 0)]
    for nr, count in (3, 128), (4, 64), (5, CAPACITY):
        d.check_zone(nr, 0, count, nr)


def test_write_cache_buffered(add, requests):
    """Through the page cache a FUA write is followed by a flush of all zones."""
    d = add(**GEOMETRY, discard_write_cache=True, buffered_io=True)
    d.write_zone(2, 0, 64, 2)
    requests(d).one(f"write at={3 * LENGTH} sectors=64 fua seed=3")
    d.write_zone(4, 0, 64, 4)
    d.remove()
    d = add(**GEOMETRY)
    assert states(d, 2, 3, 4) == [(CLOSED, 64), (CLOSED, 64), (EMPTY, 0)]


def test_appends(add, requests):
    """Of many appends at a time, those with FUA are durable, and the others are not."""
    d = add(**GEOMETRY, discard_write_cache=True)
    ends = requests(d).run(
        f"append at={2 * LENGTH} sectors=8 count=32 fua seed=2\nappend at={3 * LENGTH} sectors=8 count=32 seed=3", 16
    )
    assert {end.error for end in ends} == {"ok"}
    assert states(d, 2, 3) == [(IMP_OPEN, 256)] * 2
    d.add_again(discard_write_cache=False)
    assert states(d, 2, 3) == [(CLOSED, 256), (EMPTY, 0)]
