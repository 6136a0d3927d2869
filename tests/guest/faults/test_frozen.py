# SPDX-License-Identifier: GPL-2.0
"""The file system with the zone files is frozen: for a snapshot, say.

Guards the promise that nothing is written into a frozen file system, that a request which has to
write waits and everything else does not, and that all completes when it is thawed.
"""

import time
from errno import EEXIST

import pytest

from zbd import CLOSED, EMPTY, FULL, IMP_OPEN, MIB, ZEROS, fails
from zbd.filesystem import frozen
from zbd.threads import Threads
from zbd.timing import at_most

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "conv_zones": 2}
LENGTH = 2 * MIB


def wait_for_requests(d, *threads):
    """Wait until each of these threads has a request under way that is no read, or one has ended."""
    while d.in_flight[1] < len(threads) and all(thread.is_alive() for thread in threads):
        time.sleep(0.1)


def frozen_overwrite(disk, d):
    """A write to sectors that have space and data: nothing in the file system itself stops it."""
    d.write(0, 512)
    d.flush()
    disk.settle(d.directory)
    with Threads() as threads, frozen(disk.mount_point):
        before = disk.written
        writer = threads.start(d.write, 0, 512, 2)
        wait_for_requests(d, writer)
        # Long enough for a write that does not wait.
        time.sleep(2)
        assert disk.written == before
        assert writer.is_alive()
        # A read does not wait.
        d.check(512, 64, ZEROS)
    d.check(0, 512, 2)


@pytest.mark.c_driver_fails(18)
def test_defect_18_frozen_ext4_is_not_written(failing_disk, add):
    disk = failing_disk("ext4", 320)
    frozen_overwrite(disk, add(base_dir=disk.mount_point, **GEOMETRY))


def test_frozen_xfs_is_not_written(failing_disk, add):
    """XFS has a time stamp to change, which stops such a write in any case."""
    disk = failing_disk("xfs", 320)
    frozen_overwrite(disk, add(base_dir=disk.mount_point, **GEOMETRY))


@pytest.mark.parametrize(
    ("fs_type", "option"),
    [
        pytest.param("ext4", "", id="ext4"),
        pytest.param("xfs", "", id="xfs"),
        # A file that has to be made waits, and holds up nobody who needs none.
        pytest.param("ext4", "lazy_files", id="lazy"),
        pytest.param("ext4", "buffered_io", id="buffered"),
    ],
)
def test_frozen_work(failing_disk, add, fs_type, option):
    """All requests that change something wait, all others do not, and after the thaw they have been carried out. The
    order is given by which waits for which, not by any clock."""
    disk = failing_disk(fs_type, 320)
    d = add(option, base_dir=disk.mount_point, **GEOMETRY)
    d.write(0, 512)
    for nr in range(3, 10):
        d.write_zone(nr, 0, 512, nr)
    d.flush()
    disk.settle(d.directory)
    with Threads() as threads, frozen(disk.mount_point):
        jobs = [
            threads.start(d.write, 0, 512, 2),
            threads.start(d.write_zone, 3, 512, 512, 3),
            threads.start(d.write_zone, 10, 0, 64, 10),
            threads.start(d.reset_zone, 4),
            threads.start(d.finish_zone, 5),
        ]
        wait_for_requests(d, *jobs)
        time.sleep(1)
        assert all(job.is_alive() for job in jobs)

        with at_most(30):
            assert len(d.zones()) == 16
            assert d.zone(6).wp == 512
            d.check(512, 64, ZEROS)
            d.check_zone(6, 0, 512, 6)
            d.check_zone(11, 0, 64, ZEROS)
            d.open_zone(12)
            d.close_zone(12)
            d.open_zone(7)
            d.close_zone(7)
            assert d.zone(7).cond is CLOSED
            d.flush()
        assert all(job.is_alive() for job in jobs)
    d.check(0, 512, 2)
    d.check_zone(3, 0, 1024, 3)
    d.check_zone(10, 0, 64, 10)
    assert [d.state(nr) for nr in (3, 4, 5, 10)] == [
        (IMP_OPEN, 1024),
        (EMPTY, 0),
        (FULL, None),
        (IMP_OPEN, 64),
    ]
    d.write_zone(4, 0, 64)
    d.flush()
    d.add_again()
    d.check_zone(3, 0, 1024, 3)


def test_frozen_zeroing(failing_disk, add):
    """A discard waits, and so does a request for zeros in any zone. Reads and reports beside them do not."""
    disk = failing_disk("ext4", 320)
    d = add(base_dir=disk.mount_point, **GEOMETRY)
    for zero, nr in (d.discard, 1), (d.zero_out, 1), (d.zero_out, 5):
        d.write_zone(1, 0, 1024, 4)
        d.flush()
        disk.settle(d.directory)
        with Threads() as threads, frozen(disk.mount_point):
            zeroing = threads.start(zero, nr * LENGTH, 512)
            wait_for_requests(d, zeroing)
            time.sleep(1)
            assert zeroing.is_alive()
            with at_most(30):
                d.check_zone(1, 512, 512, 4)
                d.zones()
        d.check_zone(1, 512, 512, 4)
        if nr == 1:
            d.check_zone(1, 0, 512, ZEROS)
        else:
            zone = d.zone(nr)
            assert (zone.is_sequential, zone.cond, zone.wp, zone.capacity) == (True, IMP_OPEN, 512, LENGTH)


def test_frozen_remove_and_add(failing_disk, scratch, add, control):
    """A device that is removed while writes wait goes when they have been done; one that is added waits if files are
    to be made, and not otherwise. Meanwhile other devices come and go."""
    disk = failing_disk("ext4", 320)
    here = {"base_dir": disk.mount_point, **GEOMETRY}
    one, two = add(id=1, **here), add(id=2, **here)
    one.remove()
    two.delete()
    two.directory.mkdir()
    (scratch / "other/3").mkdir(parents=True)
    d = add(**here)
    d.write_zone(3, 0, 64)
    d.flush()
    disk.settle(d.directory)
    with Threads() as threads, frozen(disk.mount_point):
        writer = threads.start(d.write_zone, 3, 64, 64)
        wait_for_requests(d, writer)
        removal = threads.start(control.remove, 0)
        addition = threads.start(lambda: control.add(id=2, **here))
        with at_most(30):
            control.add(id=3, base_dir=scratch / "other", **GEOMETRY)
            control.remove(3)
            control.add(id=1, **here)
            one.zones()
        fails(EEXIST, control.add, id=2, **here)
        assert writer.is_alive()
        assert removal.is_alive()
        assert addition.is_alive()
    assert not d.exists
    assert two.exists
    d.add()
    d.check_zone(3, 0, 128)
    two.write_zone(3, 0, 64)


def test_freeze_and_thaw_under_load(failing_disk, add):
    """Again and again under load: a freeze waits for the writes that are under way, and they do not wait for it."""
    disk = failing_disk("xfs", 320)
    d = add(nr_queues=2, base_dir=disk.mount_point, **GEOMETRY)

    def work(nr):
        for _ in range(6):
            d.reset_zone(nr)
            for at in range(0, 1024, 128):
                d.write_zone(nr, at, 128, nr)
            d.flush()
        d.check_zone(nr, 0, 1024, nr)

    with Threads() as threads:
        for nr in range(3, 9):
            threads.start(work, nr)
        for _ in range(8):
            begin = time.monotonic()
            with frozen(disk.mount_point):
                assert time.monotonic() - begin < 60
                time.sleep(0.2)
            time.sleep(0.2)
