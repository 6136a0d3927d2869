# SPDX-License-Identifier: GPL-2.0
"""Zone files that others change, while the device is there or when it is not.

Guards the promises that data which was cut off is missed, by reads, by writes that would leave a
hole in its place and by reports; that a file which is gone is missed at the next add, by name; and
that all other zones go on.
"""

import os
import shutil
import time
from errno import EINVAL, EIO, EISDIR, ELOOP, EPERM

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, OFFLINE, READONLY, SECTOR, ZEROS, fails
from zbd.filesystem import immutable
from zbd.threads import Threads

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 2, "conv_zones": 2}
BUFFERED = pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])


@pytest.fixture
def add_written(add):
    """Adds a device with data in the conventional zones and in zones 3 to 9."""

    def add_device(**options):
        d = add(**GEOMETRY, **options)
        d.write(0, 512)
        d.write(4096, 512)
        for nr in range(3, 10):
            d.write_zone(nr, 0, 512, nr)
        d.flush()
        return d

    return add_device


def check_others(d):
    """The zones that no test changes go on."""
    assert len(d.zones()) == 16
    d.check(4096, 512)
    d.write(8192 - 64, 64)
    for nr in 8, 9:
        d.check_zone(nr, 0, 512, nr)
        d.write_at_wp(nr, 64, nr)
    d.flush()


def put_back(file, data):
    """Write the data that a file had."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def add_a_byte(file):
    os.truncate(file, file.stat().st_size + 1)


@pytest.mark.c_driver_fails(36)
@BUFFERED
def test_cut_short(add_written, buffered_io):
    """Sequential files are cut, to nothing and in the middle: the missing data can't be read, and neither a write
    behind it nor a finish makes zeros of it. A zone whose file is put back is whole again; the next add takes the
    files for what they are."""
    d = add_written(buffered_io=buffered_io)
    kept = d.zone_file(4).read_bytes()
    os.truncate(d.zone_file(3), 0)
    for nr in 4, 5, 6, 7:
        os.truncate(d.zone_file(nr), 256 * SECTOR)
    fails(EIO, d.finish_zone, 7)
    assert (d.zone(7).cond, d.zone(7).wp) == (READONLY, None)
    for nr in 3, 4:
        fails(EIO, d.write_zone, nr, 512, 64)
        assert (d.zone(nr).cond, d.zone(nr).wp) == (READONLY, None)
        fails(EIO, d.write_zone, nr, 512, 64)
    for nr in 5, 6:
        fails(EIO, d.check_zone, nr, 448, 64)
    fails(EIO, d.check_zone, 3, 0, 64)
    fails(EIO, d.check_zone, 5, 192, 128)
    d.check_zone(4, 0, 256, 4)
    d.check_zone(5, 0, 256, 5)
    for nr in 5, 6:
        assert (d.zone(nr).cond, d.zone(nr).wp) == (READONLY, None)
    check_others(d)

    put_back(d.zone_file(4), kept)
    assert d.zone(4).wp == 512
    d.check_zone(4, 0, 512, 4)
    d.write_zone(4, 512, 64, 4)
    assert d.zone_file_sectors(3) == 0
    check_others(d)

    d.add_again()
    assert [(d.zone(nr).cond, d.zone(nr).wp) for nr in (3, 4, 5)] == [(EMPTY, 0), (CLOSED, 576), (CLOSED, 256)]
    d.write_zone(3, 0, 64)
    d.write_zone(5, 256, 64, 5)
    check_others(d)


@pytest.mark.c_driver_fails(36)
@BUFFERED
def test_conventional_zone_is_cut_short(add_written, buffered_io):
    """The same for a conventional zone."""
    d = add_written(buffered_io=buffered_io)
    os.truncate(d.zone_file(0), 256 * SECTOR)
    d.check(0, 256)
    fails(EIO, d.pread, 256, 64)
    fails(EIO, d.write, 512, 64)
    fails(EIO, d.write, 224, 64)
    d.write(128, 128)
    d.check(0, 256)
    assert d.zone_file_sectors(0) == 256
    os.truncate(d.zone_file(0), 2 << 20)
    d.write(512, 64)
    d.check(512, 64)
    check_others(d)


def test_made_longer(add_written):
    """The sectors by which a file became longer are none of the zone's. A file must not be longer than a zone when
    the device is added."""
    d = add_written()
    os.truncate(d.zone_file(3), 512 << 10)
    os.truncate(d.zone_file(4), 3 << 20)
    os.truncate(d.zone_file(0), 3 << 20)
    for nr in 3, 4:
        d.check_zone(nr, 0, 512, nr)
        d.check_zone(nr, 512, 64, ZEROS)
    d.check(0, 512)
    d.write(0, 512, 2)
    d.check(0, 512, 2)
    d.check(4096, 512)
    d.write_zone(3, 512, 64, 3)
    d.check_zone(3, 0, 576, 3)
    d.reset_zone(4)
    d.write_zone(4, 0, 64, 4)
    check_others(d)
    d.remove()
    fails(EINVAL, d.add)
    os.truncate(d.zone_file(0), 2 << 20)
    d.add()
    d.check_zone(3, 0, 576, 3)
    d.check_zone(4, 0, 64, 4)
    d.check(0, 512, 2)
    check_others(d)


@pytest.mark.c_driver_fails("it has no zone_readonly")
def test_a_piece_of_a_block(add_written, control, log):
    """A file that ends within a block is no zone's: neither an add nor a device that looks at it again cuts off what
    may be the data of a device with smaller blocks. But what a failed write of the device's own has left there is no
    data."""
    d = add_written()
    file = d.zone_file(3)

    def look_again():
        control.zone_readonly(0, 3)
        control.zone_good(0, 3)

    add_a_byte(file)
    log.mark()
    look_again()
    assert d.zone(3).cond is READONLY
    log.expect("zone 3: read-only, its file has 262145 bytes", "multiple of 4096")
    assert file.stat().st_size == 262145
    d.check_zone(3, 0, 512, 3)
    check_others(d)

    d.remove()
    log.mark()
    fails(EINVAL, d.add)
    log.expect("zone 3.*seq-000003 has 262145 bytes", "multiple of 4096")
    os.truncate(file, 512 * SECTOR)
    d.add()

    # A file that is put right while the device is there is good at the next look.
    add_a_byte(file)
    look_again()
    assert d.zone(3).cond is READONLY
    os.truncate(file, 512 * SECTOR)
    assert d.zone(3).cond is CLOSED

    at = 3 * 2 * MIB + 512
    control.inject(0, write_nsec=1000000000, badblocks_write=f"+{at}-{at + 7}")
    with Threads() as threads:
        threads.start(fails, EIO, d.write_zone, 3, 512, 8, 3)
        time.sleep(0.4)
        add_a_byte(file)
    control.inject(0, "clear")
    assert d.zone(3).wp == 512
    assert d.zone_file_sectors(3) == 512
    assert file.stat().st_size == 512 * SECTOR
    d.write_zone(3, 512, 8, 3)
    d.check_zone(3, 0, 520, 3)
    check_others(d)


def test_replaced(add_written, scratch, log):
    """Files are gone, or something else is in their place: the device goes on with the files that it had open. When
    it is added again each file is missed, by name, and taken again when it is back."""
    d = add_written()
    names = "cnv-000000", "seq-000003", "seq-000004", "seq-000005"
    kept = scratch / "kept"
    kept.mkdir()
    for name in names:
        (d.directory / name).rename(kept / name)
    conventional, directory, link, _ = (d.directory / name for name in names)
    directory.mkdir()
    link.symlink_to("/dev/null")
    conventional.write_bytes(b"")
    os.truncate(conventional, 1 << 20)
    for nr in 3, 4, 5:
        d.check_zone(nr, 0, 512, nr)
        d.write_zone(nr, 512, 64, nr)
        d.check_zone(nr, 0, 576, nr)
    d.reset_zone(5)
    d.write_zone(5, 0, 64, 6)
    d.finish_zone(4)
    d.check(0, 512)
    d.write(0, 512, 2)
    d.flush()
    check_others(d)
    d.remove()
    for name in names:
        with log.one_line(name):
            fails((EINVAL, EISDIR, ELOOP), d.add)
        if name == directory.name:
            directory.rmdir()
        (kept / name).replace(d.directory / name)
    d.add()
    d.check_zone(3, 0, 576, 3)
    d.check_zone(5, 0, 64, 6)
    d.check(0, 512, 2)
    assert d.zone(4).cond is FULL
    check_others(d)


@pytest.mark.c_driver_fails(36)
def test_changed_before_the_first_use(add_written, scratch):
    """The same, before a file was needed for the first time: it is opened then, and one that is not there, or is no
    file, is missed then. A file that is put back is found."""
    d = add_written()
    d.add_again()
    files = [d.directory / f"seq-{nr:06}" for nr in range(3, 8)]
    conventional = d.directory / "cnv-000000"
    kept = {file: file.read_bytes() for file in [conventional, *files]}
    for file in conventional, files[0]:
        os.truncate(file, 256 * SECTOR)
    for file in files[1:]:
        file.unlink()
    _, _, directory, link, fifo = files
    directory.mkdir()
    (scratch / link.name).write_bytes(kept[link])
    link.symlink_to(scratch / link.name)
    os.mkfifo(fifo)
    fails(EIO, d.write_zone, 3, 512, 64)
    fails(EIO, d.write, 512, 64)
    for _ in range(2):
        for nr in range(3, 8):
            fails(EIO, d.check_zone, nr, 448, 64)
        fails(EIO, d.pread, 512, 64)
        for nr in range(3, 8):
            fails(EIO, d.write_zone, nr, 512, 64)
        assert all(d.zone(nr).cond in (READONLY, OFFLINE) for nr in range(3, 8))
    check_others(d)

    directory.rmdir()
    link.unlink()
    fifo.unlink()
    for file, data in kept.items():
        put_back(file, data)
    d.check(0, 512)
    d.write(512, 64)
    for nr in range(3, 8):
        d.check_zone(nr, 0, 512, nr)
        assert d.zone(nr).wp == 512
        d.write_zone(nr, 512, 64, nr)
        d.check_zone(nr, 0, 576, nr)
    d.flush()
    check_others(d)
    d.add_again()
    d.check_zone(5, 0, 576, 5)
    check_others(d)


def test_directory_is_deleted(add_written):
    """All files are deleted at once: the device is there, and can be removed. The next one is a new device."""
    d = add_written()
    shutil.rmtree(d.directory)
    check_others(d)
    d.add_again()
    d.check_zone(3, 0, 64, ZEROS)


def test_immutable_file(add_written):
    """A file that nobody may change (chattr) costs its own zone only."""
    d = add_written()
    with immutable(d.zone_file(3)):
        fails((EIO, EPERM), d.reset_zone, 3)
        fails((EIO, EPERM), d.finish_zone, 3)
        assert d.zone(3).wp == 512
        d.check_zone(3, 0, 512, 3)
        check_others(d)
    d.write_zone(3, 512, 64, 3)
    d.finish_zone(3)
    d.reset_zone(3)
    d.write_zone(3, 0, 64)
