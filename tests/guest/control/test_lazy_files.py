# SPDX-License-Identifier: GPL-2.0
"""Zone files that are made when something is first written (lazy_files), and opened when they are
first needed (always).

Guards that a missing file means an empty zone and nothing else, that the directory is told from one
whose files must all be there, that an add without the option makes what is missing, so that the C
driver can use it, and that what happens late happens as if it had happened at the add: with the same
rights, in the same directory.
"""

import contextlib
import os
import random
import stat
from errno import EACCES, EINVAL, EIO, ENOSPC

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, NOT_WP, ZEROS, fails, raises
from zbd.control import PATH as CONTROL
from zbd.control import command
from zbd.process import run
from zbd.threads import in_parallel
from zbd.zloop import Zloop

GEOMETRY = {"capacity_mb": 32, "zone_size_mb": 1, "conv_zones": 2}
RECORD = "capacity_mb=32,zone_size_mb=1,zone_capacity_mb=1,conv_zones=2,lazy_files"


def files(d):
    """The sequential zones that have a file."""
    return sorted(int(file.name[4:]) for file in d.directory.glob("seq-*"))


@pytest.fixture
def add_lazy(add):
    return lambda: add(lazy_files=True, **GEOMETRY)


def test_files_are_made_by_writes(add_lazy):
    d = add_lazy()
    assert files(d) == []
    assert d.zone_file(0).exists()
    assert d.zone_file(1).exists()
    assert RECORD in (d.directory / "geometry").read_text().splitlines()
    assert d.conditions()[2:] == [EMPTY] * 30
    # Nothing of this writes.
    d.check_zone(5, 0, MIB, ZEROS)
    d.open_zone(6)
    d.close_zone(6)
    d.open_zone(7)
    d.reset_zone(8)
    d.reset_all_zones()
    d.flush()
    fails(EIO, d.close_zone, 9)
    fails(EIO, d.write_zone, 10, 8, 8)
    assert files(d) == []
    d.write_zone(5, 0, 64)
    d.write_zone(31, 0, MIB)
    d.finish_zone(12)
    d.write(0, 64)
    d.flush()
    assert files(d) == [5, 12, 31]
    status = d.zone_file(5).stat()
    assert (status.st_mode, status.st_uid, status.st_size) == (stat.S_IFREG | 0o600, 0, 64 * 512)
    assert d.zone_file_sectors(12) == MIB
    d.add_again()
    conditions = dict.fromkeys(range(2, 32), EMPTY) | {5: CLOSED, 12: FULL, 31: FULL}
    assert d.conditions(*conditions) == list(conditions.values())
    d.check_zone(5, 0, 64)
    d.check_zone(5, 64, 8, ZEROS)
    d.check_zone(31, 0, MIB)
    d.check_zone(12, 0, MIB, ZEROS)
    d.check(0, 64)
    d.reset_all_zones()
    assert d.conditions()[2:] == [EMPTY] * 30
    assert files(d) == [5, 12, 31]
    assert [d.zone_file_sectors(nr) for nr in files(d)] == [0, 0, 0]


def test_what_is_missing_is_made(add_lazy, control, log, driver):
    """Without the option a later add makes what is missing, and says so in the record."""
    d = add_lazy()
    d.write_zone(9, 0, 64)
    d.add_again(lazy_files=False)
    assert files(d) == list(range(2, 32))
    assert "lazy" not in (d.directory / "geometry").read_text()
    d.check_zone(9, 0, 64)
    d.remove()
    # Now they must be there.
    d.zone_file(20).unlink()
    control.rejects(EINVAL, command("add", id=0, base_dir=d.base_dir, lazy_files=True, **GEOMETRY))
    log.expect("seq-000020")
    d.zone_file(20).touch()
    driver.use("c")
    d.add()
    d.check_zone(9, 0, 64)
    d.write_zone(10, 0, 8, 2)
    d.remove()
    driver.use("rust")
    d.add(lazy_files=True)
    d.check_zone(10, 0, 8, 2)


def test_files_of_the_c_driver(add, control, log, driver):
    """The C driver made all files: they must be there as before."""
    driver.use("c")
    d = add(**GEOMETRY)
    d.write_zone(9, 0, 64)
    d.remove()
    driver.use("rust")
    d.add(lazy_files=True)
    d.check_zone(9, 0, 64)
    assert "lazy" not in (d.directory / "geometry").read_text()
    d.remove()
    d.zone_file(9).unlink()
    control.rejects(EINVAL, command("add", id=0, base_dir=d.base_dir, lazy_files=True, **GEOMETRY))
    log.expect("seq-000009")


def test_without_conventional_zones(add):
    """Zone 0 tells that there is a device, so its file is there from the beginning."""
    d = add(capacity_mb=8, zone_size_mb=1, conv_zones=0, lazy_files=True)
    assert files(d) == [0]
    d.write_zone(0, 0, 8)
    d.write_zone(7, 0, 8)
    d.add_again()
    d.check_zone(0, 0, 8)
    d.check_zone(7, 0, 8)
    assert d.conditions() == [CLOSED] + [EMPTY] * 6 + [CLOSED]


def test_no_room_for_a_file(scratch, image_file, add):
    """The file system is full when a file is to be made: that is an error, and nothing else."""
    image = image_file("tmpfs", 4, scratch / "full")
    d = add(base_dir=image.mount_point, capacity_mb=16, zone_size_mb=1, conv_zones=1, lazy_files=True)
    ballast = image.mount_point / "ballast"
    with open(ballast, "wb", buffering=0) as file, raises(ENOSPC):
        while True:
            file.write(bytes(64 << 10))
    fails((EIO, ENOSPC), d.write_zone, 5, 0, 64)
    assert d.zone(5).wp == 0
    ballast.unlink()
    d.zones()
    d.write_zone(5, 0, 64)
    d.check_zone(5, 0, 64)


def test_planted_before_the_first_write(scratch, add_lazy):
    """Something stands in the place of a file: the write that would make it fails, and does nothing there."""
    d = add_lazy()
    precious, nowhere = scratch / "file", scratch / "nowhere"
    precious.write_text("precious")
    d.zone_file(5).symlink_to(precious)
    d.zone_file(6).symlink_to(nowhere)
    d.zone_file(7).mkdir()
    os.mkfifo(d.zone_file(8))
    for nr in 5, 6, 7, 8:
        fails(EIO, d.write_zone, nr, 0, 8)
        d.zone(nr)
    assert precious.read_text() == "precious"
    assert not nowhere.exists()
    # One bad zone never takes the device down, and works when the fault is gone.
    d.write_zone(9, 0, 8)
    d.zone_file(5).unlink()
    d.zone(5)
    d.write_zone(5, 0, 8)
    d.check_zone(5, 0, 8)


def test_files_belong_to_who_added(scratch, base_dir, control, defer):
    """Files belong to the user who added the device, no matter who writes."""
    scratch.chmod(0o755)
    d = Zloop(control, 0, base_dir, (), {})
    d.directory.mkdir()
    os.chown(d.directory, 65534, -1)
    text = command("add", id=0, base_dir=base_dir, lazy_files=True, **GEOMETRY)
    caps = ["--inh-caps=-all,+sys_admin", "--ambient-caps=-all,+sys_admin"]
    with open(CONTROL, "wb", buffering=0) as commands:
        run("setpriv", "--reuid=65534", "--clear-groups", *caps, "echo", text, stdout=commands)
    defer(d.remove)
    d.write_zone(5, 0, 8)
    assert d.zone_file(5).stat().st_uid == 65534
    # And with no more rights than that.
    os.chown(d.directory, 0, -1)
    fails((EIO, EACCES), d.write_zone, 6, 0, 8)
    d.check_zone(5, 0, 8)


def test_directory_is_the_one_of_the_add(base_dir, add_lazy):
    """The directory may be moved, and another one put in its place."""
    d = add_lazy()
    moved = d.directory.rename(base_dir / "moved")
    d.directory.mkdir()
    d.write_zone(5, 0, 8)
    assert (moved / "seq-000005").exists()


def test_first_use_by_many(add):
    """Many writers meet in zones that nobody has used."""
    d = add(lazy_files=True, nr_queues=2, **GEOMETRY)

    def work(seed):
        for nr in random.Random(seed).sample(range(32), 32):
            if nr < 2:
                d.write_zone(nr, 8 * seed, 8, seed)
                continue
            # One of the writers is the first, and the others fail.
            with contextlib.suppress(OSError):
                d.write_zone(nr, 0, 8)
            d.pread(nr * MIB, 8)
            d.zone(nr)

    in_parallel(work, range(8))
    for nr in range(2, 32):
        d.zone(nr)
        d.check_zone(nr, 0, 8)
    for seed in range(8):
        d.check(8 * seed, 8, seed)


@pytest.mark.limit(300)
def test_a_million_zones(add):
    """No more is asked of a million zones than that the device can be used."""
    d = add(capacity_mb=1000000, zone_size_mb=1, conv_zones=1, lazy_files=True)
    assert d.queue("nr_zones") == 1000000
    d.write_zone(999999, 0, 64)
    d.write_zone(500000, 0, 64)
    d.check_zone(999999, 0, 64)
    d.add_again()
    d.check_zone(500000, 0, 64)
    d.reset_all_zones()
    nr, conditions = 0, set()
    while zones := d.report(nr * MIB, 50000):
        nr += len(zones)
        conditions |= {zone.cond for zone in zones}
    assert (nr, conditions) == (1000000, {NOT_WP, EMPTY})
