# SPDX-License-Identifier: GPL-2.0
"""The time stamps of zone files say that a file has changed, as a copy by size and time needs it (rsync of
a removed device's directory).

Guards the promise that a file which has changed has a new mtime after a flush and after the device is
gone. And that writes themselves do not set it: a write that may not wait is refused where it must set a
new time, which is so in each tick of the clock.
"""

import os

import pytest

from zbd.filesystem import frozen
from zbd.threads import Threads

# 2001-01-01, in seconds.
OLD = 978307200

ON_BOTH = pytest.mark.parametrize("scratch", ["xfs", "ext4"], indirect=True)
ON_BOTH_AND_BUFFERED = pytest.mark.parametrize(
    ("scratch", "buffered_io"), [("xfs", False), ("ext4", False), ("xfs", True)], indirect=["scratch"]
)


@pytest.fixture
def add_aged(add):
    """Adds a device whose files 0 and 2 have data, and a stamp in the past; the device has them open."""

    def add_device(**options):
        device = add(capacity_mb=32, zone_size_mb=4, conv_zones=2, **options)
        write(device, 0, seed=1)
        device.flush()
        for nr in 0, 2:
            os.utime(device.zone_file(nr), (OLD, OLD))
        return device

    return add_device


def write(device, offset, seed):
    """Write to zone 0, and to zone 2 from an offset on."""
    device.write(0, 64, seed)
    device.write_zone(2, offset, 64, seed)


def newly_stamped(device):
    """Which of the files 0 and 2 have another stamp."""
    return [nr for nr in (0, 2) if device.zone_file(nr).stat().st_mtime != OLD]


@ON_BOTH_AND_BUFFERED
def test_flush(add_aged, buffered_io):
    d = add_aged(buffered_io=buffered_io)
    write(d, 64, seed=2)
    d.flush()
    assert newly_stamped(d) == [0, 2]


@ON_BOTH_AND_BUFFERED
def test_removal(add_aged, buffered_io):
    d = add_aged(buffered_io=buffered_io)
    write(d, 64, seed=2)
    d.remove()
    assert newly_stamped(d) == [0, 2]


def test_power_failure(add_aged):
    """Data that is not flushed stays in conventional zones, unless volatile_cache takes it back."""
    d = add_aged()
    d.write(0, 64, 2)
    d.power_fail()
    assert newly_stamped(d) == [0]


def test_fua(add_aged, requests):
    """A FUA write counts as a change at the next flush."""
    d = add_aged()
    requests(d).one("write at=0 sectors=64 fua seed=2")
    d.flush()
    assert newly_stamped(d) == [0]


def test_discard_and_reset(add_aged):
    """A discard and a reset change a file without writing to it."""
    d = add_aged()
    d.discard(0, 64)
    d.reset_zone(2)
    d.flush()
    assert newly_stamped(d) == [0, 2]


def test_unchanged(add_aged):
    """Where nothing has changed, a flush and a removal leave the stamps alone."""
    d = add_aged()
    d.check(0, 64)
    d.flush()
    d.remove()
    assert newly_stamped(d) == []


@ON_BOTH
def test_writes_leave_it_alone(add_aged):
    """A write sets no time stamp: for that it would have to wait in each tick of the clock."""
    d = add_aged()
    write(d, 64, seed=2)
    assert newly_stamped(d) == []


@pytest.mark.parametrize("fs_type", ["xfs", "ext4"])
def test_frozen(failing_disk, add_aged, fs_type):
    """A frozen file system can't be changed. A flush does not wait for it, and the next flush sets the stamp."""
    disk = failing_disk(fs_type, 320)
    d = add_aged(base_dir=disk.mount_point)
    d.write(0, 64, 2)
    disk.settle(d.directory)
    with frozen(disk.mount_point), Threads() as threads:
        flush = threads.start(d.flush)
        flush.join(20)
        assert not flush.is_alive(), "the flush waits for the frozen file system"
        assert newly_stamped(d) == []
    d.flush()
    assert newly_stamped(d) == [0]
