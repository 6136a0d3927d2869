# SPDX-License-Identifier: GPL-2.0
"""The disk below the zone files fails, in one place or everywhere, for reads, writes or flushes, or
is slow; or its file system stops.

Guards the promises that the error goes to the request that it is of, that flushed data stays, that
no fault of one zone is one of the device, and that all works again when the fault is gone.
"""

import os
import time
from errno import EBUSY, EIO, EROFS
from pathlib import Path

import pytest

from zbd import CLOSED, EMPTY, FULL, IMP_OPEN, NOT_WP, READONLY, SECTOR, ZEROS, fails, filesystem
from zbd.errors import errno_of
from zbd.fio import fio, fio_zones
from zbd.memory import drop_caches
from zbd.process import attempt, run
from zbd.syscalls import MS_RDONLY, MS_REMOUNT
from zbd.threads import Threads
from zbd.timing import at_most

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "conv_zones": 2}
LENGTH = 4096


@pytest.fixture
def add_below(failing_disk, add):
    """`add_below("xfs", buffered_io=True)`: a disk with this file system, and a device on it, the data of which is
    flushed."""

    def make(fs_type, **options):
        disk = failing_disk(fs_type, 320)
        d = add(base_dir=disk.mount_point, **GEOMETRY, **options)
        d.write(0, 512)
        d.write(4096, 512, 2)
        for nr in range(3, 8):
            d.write_zone(nr, 0, 512, nr)
        d.write_zone(9, 0, LENGTH, 9)
        d.flush()
        disk.settle(d.directory)
        return disk, d

    return make


def again_if_it_fails(function, *args):
    """Something that has failed below before may be reported to this call, once."""
    if errno_of(function, *args):
        function(*args)


def report_failures(disk):
    """Have the file system report, once, the failures of its own writes."""
    again_if_it_fails((disk.mount_point / "other").write_bytes, b"")


def check_well(d):
    """The data of `add_below` is there, and all zones can be used. The pages that are in memory are forgotten first,
    so that it is the disk that has the data."""
    drop_caches()
    assert len(d.zones()) == 16
    d.check(0, 512)
    d.check(4096, 512, 2)
    for nr in range(3, 8):
        d.check_zone(nr, 0, 512, nr)
    d.check_zone(9, 0, LENGTH, 9)
    for nr in range(3, 8):
        zone = d.zone(nr)
        assert zone.cond in (IMP_OPEN, CLOSED)
        d.write_zone(nr, zone.wp, 64, 7)
        d.check_zone(nr, zone.wp, 64, 7)
    d.reset_zone(9)
    d.write_zone(9, 0, LENGTH, 9)
    d.write_zone(10, 0, 64)
    again_if_it_fails(d.finish_zone, 10)
    assert d.zone(10).cond is FULL
    d.reset_zone(10)
    d.write(1024, 64, 3)
    d.check(1024, 64, 3)
    d.flush()


def remount_and_add(disk, d):
    disk.umount()
    disk.mount()
    d.add()
    check_well(d)


def check_well_and_again(disk, d):
    """The same now, and when the device and the file system were gone."""
    check_well(d)
    d.remove()
    remount_and_add(disk, d)


def test_writes_fail_ext4(add_below):
    """Writes fail and reads do not."""
    disk, d = add_below("ext4")
    disk.flaky("error_writes")
    fails(EIO, d.write, 0, 64)
    for nr, wp in (3, 512), (4, 512), (10, 0):
        fails(EIO, d.write_zone, nr, wp, 64)
    assert d.zone(3).wp == 512
    assert d.zone(10).wp == 0
    d.check_zone(3, 0, 512, 3)
    d.check_zone(9, 0, LENGTH, 9)
    d.check(4096, 512, 2)
    assert len(d.zones()) == 16
    d.open_zone(11)
    d.close_zone(11)
    # The data is on the disk: a flush of nothing is one of the disk's own cache.
    fails(EIO, d.flush)
    fails(EIO, d.flush)
    disk.heal()
    d.write(0, 64)
    check_well_and_again(disk, d)


def test_writes_fail_xfs(add_below):
    """The same on XFS, which tries again its own writes as long as it takes."""
    disk, d = add_below("xfs")
    disk.flaky("error_writes")
    fails(EIO, d.write, 0, 64)
    for nr in 3, 4:
        fails(EIO, d.write_zone, nr, 512, 64)
    d.check_zone(9, 0, LENGTH, 9)
    d.check(4096, 512, 2)
    assert d.zone(3).wp == 512
    disk.heal()
    d.write(0, 64)
    check_well_and_again(disk, d)


def test_flush_fails(add_below):
    """The disk below refuses a flush, with all data written before. The flush fails as long as the disk does, not just
    once."""
    disk, d = add_below("ext4")
    d.write(0, 64)
    d.write_zone(3, 512, 64, 3)
    d.write_zone(4, 512, 64, 4)
    disk.flaky("error_writes")
    for _ in range(3):
        fails(EIO, d.flush)
    d.check_zone(3, 0, 576, 3)
    disk.heal()
    again_if_it_fails(d.flush)
    check_well_and_again(disk, d)


@pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])
def test_reads_fail(add_below, buffered_io):
    """Reads fail and writes do not."""
    disk, d = add_below("ext4", buffered_io=buffered_io)
    # The pages of the files are forgotten, not those of the file system: it has to read to write.
    for file in d.directory.iterdir():
        fd = os.open(file, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    disk.flaky("error_reads")
    for _ in range(2):
        fails(EIO, d.pread, 0, 64)
        fails(EIO, d.pread, 3 * LENGTH, 64)
        fails(EIO, d.pread, 3 * LENGTH + 448, 128)
    # This was never written.
    assert d.pread(2 * LENGTH, 64) == bytes(64 * SECTOR)
    assert d.conditions(*range(5)) == [NOT_WP, NOT_WP, EMPTY, IMP_OPEN, IMP_OPEN]
    d.write_zone(4, 512, 64, 4)
    d.flush()
    disk.heal()
    check_well_and_again(disk, d)


def test_sectors_fail(failing_disk, add):
    """Some sectors fail in the middle of a zone's file: the error is that of the write that is for them, be it one of
    many that are done at once."""
    disk = failing_disk("ext4", 320)
    d = add(base_dir=disk.mount_point, **GEOMETRY)
    run("fallocate", "-n", "-l", "2M", d.zone_file(5))
    d.write_zone(6, 0, 64)
    d.flush()
    disk.settle(d.directory)
    disk.break_sectors(d.zone_file(5), 1000, 8)
    options = "--name=zone --zonemode=zbd --direct=1 --ioengine=libaio --iodepth=8 --rw=write --bs=16k"
    result = attempt("fio", *options.split(), "--offset=10M", "--size=2M", f"--filename={d.path}")
    assert result.returncode != 0
    assert "err= 5" in result.stdout
    # The block layer makes one request of several writes, and that fails as a whole.
    condition, wp = d.state(5)
    assert condition is IMP_OPEN
    assert 32 <= wp <= 1000
    assert wp % 32 == 0
    d.pread(5 * LENGTH, wp)
    d.check_zone(6, 0, 64)
    d.write_zone(6, 64, 64)
    for at in range(wp, 1000, 8):
        d.write_zone(5, at, 8, 5)
    d.check_zone(5, wp, 1000 - wp, 5)
    fails(EIO, d.write_zone, 5, 1000, 8)
    d.zone(5)
    fails(EIO, d.write_zone, 5, 1000, 64)
    assert d.state(5) == (IMP_OPEN, 1000)
    # The zone can become full, or empty, nevertheless.
    d.finish_zone(5)
    d.reset_zone(5)
    d.write_zone(5, 0, 64, 6)
    disk.heal()
    d.check_zone(5, 0, 64, 6)
    d.write_zone(5, 64, 1024, 6)
    d.flush()
    d.check_zone(5, 0, 1088, 6)


def test_bad_sector_buffered(add_below, log):
    """The page cache gives the data before a bad sector, and no error: the error is that of the read that wants more,
    once."""
    disk, d = add_below("ext4", buffered_io=True)
    drop_caches()
    disk.settle(d.directory)
    disk.break_sectors(d.zone_file(9), 1000, 8)
    with at_most(60):
        d.check_zone(9, 0, 512, 9)
    log.mark()
    for _ in range(2):
        with at_most(60):
            fails(EIO, d.check_zone, 9, 800, 512, 9)
    log.expect(f"can't read 512 sectors at sector {9 * LENGTH + 800}.*in part only")
    assert d.zone(9).cond is FULL
    d.check_zone(9, 1024, 3072, 9)
    d.check_zone(9, 0, 800, 9)
    disk.heal()
    check_well_and_again(disk, d)


def test_power_fails_after_a_failed_sync(add_below):
    """Commands change the file of a zone and can't make that durable, however often they are tried. When the power
    fails, such a finish is as good as never asked for. Once it, or a reset, is tried again with success it is durable,
    and the data from before is not."""
    disk, d = add_below("ext4")
    for command, nr, sectors in (
        (d.finish_zone, 3, LENGTH),
        (d.finish_zone, 4, LENGTH),
        (d.reset_zone, 6, 0),
        (d.reset_zone, 9, 0),
    ):
        disk.flaky("error_writes")
        for _ in range(3):
            fails(EIO, command, nr)
            assert d.zone_file_sectors(nr) == sectors
        disk.heal()
        report_failures(disk)
        os.sync()
    assert d.zone(3).cond is FULL
    d.finish_zone(4)
    d.reset_zone(6)
    d.reset_zone(9)
    d.write_zone(6, 0, 64, 1)
    d.write_zone(9, 0, LENGTH, 1)
    d.power_fail()
    d.add()
    assert [d.state(nr) for nr in (3, 4, 5)] == [(CLOSED, 512), (FULL, None), (CLOSED, 512)]
    assert [d.state(nr) for nr in (6, 9)] == [(EMPTY, 0)] * 2
    for nr in 3, 4, 5:
        d.check_zone(nr, 0, 512, nr)
    d.write_zone(3, 512, 64, 3)


def test_finish_after_a_failed_sync_is_on_the_disk(add_below):
    """A change that a file system takes for done, after a sync that has failed, need not be on the disk. A finish that
    is tried again is."""
    disk, d = add_below("ext4")
    disk.flaky("error_writes")
    fails(EIO, d.finish_zone, 3)
    disk.heal()
    again_if_it_fails(d.flush)
    d.finish_zone(3)
    d.flush()
    d.remove()
    disk.umount()
    disk.mount()
    assert d.zone_file_sectors(3) == LENGTH
    d.add()
    d.check_zone(3, 0, 512, 3)


def test_flush_is_told_after_a_finish(add_below):
    """A flush is told of data that can't be written back from the page cache, also if a finish was told first."""
    disk, d = add_below("ext4", buffered_io=True)
    d.write_zone(3, 512, 64, 3)
    disk.flaky("error_writes")
    fails(EIO, d.finish_zone, 3)
    disk.heal()
    fails(EIO, d.flush)
    d.flush()
    # Where nothing was written since the last flush there is nothing to tell.
    disk.flaky("error_writes")
    fails(EIO, d.finish_zone, 10)
    disk.heal()
    report_failures(disk)
    d.flush()


def test_removal_says_what_is_lost(add_below, log):
    """A removal makes all durable, and fails if it can't. The disk is gone all the same."""
    disk, d = add_below("ext4", buffered_io=True)
    d.write_zone(3, 512, 64, 3)
    disk.flaky("error_writes")
    log.mark()
    fails(EIO, d.remove)
    assert not d.exists
    log.expect("zone 3: can't be flushed")
    log.expect("zloop0: removed")
    disk.heal()
    d.add()
    check_well(d)
    # Where there is nothing to lose the removal succeeds.
    disk.settle(d.directory)
    disk.flaky("error_writes")
    d.remove()
    disk.heal()


def test_declaration_that_cannot_be_recorded(add_below, control):
    """A command that declares zones makes that durable, too, and is refused if it can't. In the end the zones are as
    recorded."""
    disk, d = add_below("ext4")
    control.zone_readonly(0, 3)
    disk.settle(d.directory)
    disk.flaky("error_writes")
    fails(EIO, control.zone_good, 0, 3)
    fails(EIO, control.zone_offline, 0, 4)
    assert d.conditions(3, 4) == [READONLY, IMP_OPEN]
    disk.heal()
    report_failures(disk)
    os.sync()
    d.remove()
    assert d.declared == ["zone_readonly zones=3"]
    d.add()
    assert d.conditions(3, 4) == [READONLY, CLOSED]


@pytest.mark.limit(400)
@pytest.mark.stock_kernel
def test_error_of_a_file_that_was_closed(failing_disk, add):
    """A file that was closed because so many others are open takes no error with it: the next flush is told that its
    data could not be written back."""

    def open_files():
        return int(Path("/proc/sys/fs/file-nr").read_text().split()[0])

    disk = failing_disk("ext4", 320)
    options = {"capacity_mb": 8400, "zone_size_mb": 1, "conv_zones": 1, "lazy_files": True, "buffered_io": True}
    d = add(base_dir=disk.mount_point, **options)
    d.remove()
    for nr in range(1, 8400):
        with d.zone_file(nr).open("wb") as file:
            file.truncate(4096)
    d.add()
    disk.settle(d.directory)
    before = open_files()
    d.write_zone(1, 8, 8)
    disk.flaky("error_writes")
    os.sync()
    disk.heal()
    for nr in range(2, 8390):
        d.pread(nr * 2048, 8)
    assert before + 8000 < open_files() < before + 8192 + 500
    # Somebody else is told, and nobody remembers it.
    fd = os.open(d.zone_file(1), os.O_RDWR)
    errno_of(os.fsync, fd)
    os.close(fd)
    os.sync()
    drop_caches()
    fails(EIO, d.flush)
    d.flush()


def test_slow(failing_disk, add):
    """A slow disk is a disk: nothing is lost, out of order, or waited for in vain."""
    disk = failing_disk("ext4", 320)
    disk.slow(20)
    d = add(base_dir=disk.mount_point, nr_queues=2, max_open_zones=3, **GEOMETRY)
    fio_zones(d, size="4M", offset="4M", rw="randwrite", bs="64k", iodepth=8, max_open_zones=3)
    fio(d, size="1M", rw="randwrite", bs="16k", iodepth=16)


def test_slower_than_allowed(add_below):
    """The disk is slower than a request may be: its time is over again and again while it is done, and it gets more
    each time."""
    disk, d = add_below("ext4")
    Path("/sys/block/zloop0/queue/io_timeout").write_text("1")
    drop_caches()
    # The block layer looks at the clock once a second.
    disk.slow(2500)
    begin = time.monotonic()
    with Threads() as threads:
        threads.start(d.check_zone, 3, 0, 8, 3)
        threads.start(d.check, 4096, 8, 2)
        threads.start(d.write_zone, 4, 512, 64, 4)
        threads.start(d.write, 0, 8)
        threads.start(d.finish_zone, 5)
        threads.start(d.reset_zone, 9)
        threads.start(d.flush)
    assert time.monotonic() - begin > 2
    disk.heal()
    d.check_zone(4, 512, 64, 4)
    d.check(0, 512)
    assert d.conditions(5, 9) == [FULL, EMPTY]
    d.write_zone(9, 0, LENGTH, 9)
    d.write_zone(4, 576, 64, 4)
    d.check_zone(5, 0, 512, 5)
    d.flush()


def test_a_write_hangs(add_below, scratch, control):
    """While a write hangs below, nothing waits for it that does not need it."""
    disk, d = add_below("ext4")
    with Threads() as threads, disk.mapping.suspended():
        writer = threads.start(d.write_zone, 3, 512, 64, 3)
        while not d.in_flight[1]:
            time.sleep(0.1)
        begin = time.monotonic()
        control.read()
        assert len(d.zones()) == 16
        os.close(os.open(d.path, os.O_RDONLY))
        d.open_zone(11)
        d.check_zone(11, 0, 8, ZEROS)
        assert time.monotonic() - begin < 20
        (scratch / "other/1").mkdir(parents=True)
        control.add(id=1, base_dir=scratch / "other", **GEOMETRY)
        control.remove(1)
        assert writer.is_alive()
    d.check_zone(3, 512, 64, 3)


def check_stop(disk, d, stop, error):
    """The file system takes nothing any more: the device says so to all that ask it to write, and can be removed,
    which fails with this error. With the file system repaired the data is there that was flushed."""
    d.write_zone(3, 512, 64, 3)
    stop()
    for turn in range(2):
        fails(EIO, d.write, 0, 64)
        fails(EIO, d.write_zone, 4, 512, 64)
        assert len(d.zones()) == 16
        fails(EIO, d.reset_zone, 5)
        fails(EIO, d.finish_zone, 6)
        # The second time those that could not be reset may be offline, hence skipped.
        if not turn:
            fails(EIO, d.reset_all_zones)
        d.open_zone(11)
        d.close_zone(11)
    # Data that was flushed before is not undone.
    assert errno_of(d.flush) in (None, EIO)
    fails(error, d.remove)
    remount_and_add(disk, d)


@pytest.mark.parametrize("fs_type", ["xfs", "ext4"])
def test_shut_down(add_below, fs_type):
    """The file system was shut down."""
    disk, d = add_below(fs_type)
    check_stop(disk, d, lambda: run("xfs_io", "-x", "-c", "shutdown -f", disk.mount_point), EIO)


def remount(disk, flags=0, options=""):
    filesystem.mount(disk.mapping.path, disk.mount_point, disk.fs_type, options, MS_REMOUNT | flags)


def test_ext4_turns_read_only(add_below):
    """With errors=remount-ro an error makes the file system read-only."""
    disk, d = add_below("ext4")
    remount(disk, options="errors=remount-ro")
    check_stop(disk, d, lambda: Path("/sys/fs/ext4/dm-0/trigger_fs_error").write_text("1"), EROFS)


def test_remount_read_only(add_below, control):
    """A file system on which a device is can't be made read-only by mistake."""
    disk, d = add_below("ext4")
    fails(EBUSY, remount, disk, MS_RDONLY)
    check_well(d)
    d.remove()
    remount(disk, MS_RDONLY)
    fails(EROFS, control.add, id=0, base_dir=disk.mount_point, **GEOMETRY)
    remount(disk)
    d.add()
    check_well(d)
