# SPDX-License-Identifier: GPL-2.0
"""Adding a device again: the files that are there and the options that are given must fit each other.

Guards the promises that a zone file which is missing, too large or of the wrong size is refused by
name, that a changed geometry is refused by name while every other option may change, that a refused
add leaves the files as they are and nothing open, and that the device works again when the reason
is gone.
"""

import hashlib
import os
import resource
from errno import EFBIG, EINVAL, EIO, EISDIR, ENOSPC, ENXIO, EOPNOTSUPP, EROFS
from pathlib import Path

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, NOT_WP, ZEROS, fails
from zbd.filesystem import mount, umount, umount_if_mounted
from zbd.syscalls import MS_RDONLY, MS_REMOUNT

GEOMETRY = "capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3"


@pytest.fixture
def image(scratch, image_file):
    """A file system of its own."""
    return image_file("ext4", 64, scratch / "z")


@pytest.fixture
def directory(image, add):
    """The directory of a device with data in every kind of zone, which was removed."""
    d = add(GEOMETRY, base_dir=image.mount_point)
    d.write_zone(2, 0, 64, 3)
    d.write_zone(4, 0, 64)
    d.write_zone(5, 0, MIB)
    d.write_zone(6, 0, 64)
    d.finish_zone(6)
    d.remove()
    return d.directory


@pytest.fixture
def works(image, add):
    """`works(GEOMETRY)`: the device can be added with these options, and is as it was made. Nothing was open."""

    def check(options=GEOMETRY):
        image.umount()
        image.mount()
        d = add(options, base_dir=image.mount_point)
        assert d.conditions()[:9] == [NOT_WP] * 3 + [EMPTY, CLOSED, FULL, FULL, EMPTY, EMPTY]
        d.check_zone(2, 0, 64, 3)
        d.check_zone(4, 0, 64)
        d.check_zone(5, 0, MIB)
        d.check_zone(6, 0, 64)
        d.check_zone(6, 64, 64, ZEROS)
        d.remove()

    return check


def state(directory):
    """Size, mode and checksum of each file; no checksum of one that is very large."""
    files = {}
    for file in filter(Path.is_file, directory.rglob("*")):
        status = file.stat()
        small = status.st_size <= 4 << 20
        files[file] = status.st_size, status.st_mode, small and hashlib.md5(file.read_bytes()).hexdigest()
    return files


@pytest.fixture
def refused(directory, control):
    """`refused(EINVAL, options, patterns...)`: the add fails and changes nothing. If there are patterns, it logs one
    line, which matches each of them."""

    def check(errno, options, *patterns):
        before = state(directory)
        control.rejects(errno, f"add id=0,base_dir={directory.parent},{options}", *patterns)
        assert state(directory) == before
        assert not os.path.exists("/sys/block/zloop0")

    return check


@pytest.mark.c_driver_fails(20)
def test_sequential_file_too_large(directory, refused, works):
    """A sequential file is larger than the zone's capacity by a block, a byte, and a lot."""
    file = directory / "seq-000007"
    for size in (1 << 20) + 4096, (1 << 20) + 1, 2 << 20, 1 << 40:
        os.truncate(file, size)
        refused(EINVAL, GEOMETRY, "zloop0|id=0", "seq-000007", "1048576")
    os.truncate(file, 0)
    works()


@pytest.mark.c_driver_fails(20)
def test_sequential_file_not_in_blocks(directory, refused, works):
    file = directory / "seq-000008"
    for size in 1, 512, 4095, 65537:
        os.truncate(file, size)
        refused(EINVAL, GEOMETRY, "zloop0|id=0", "seq-000008", str(size), "4096")
    os.truncate(file, 0)
    works()


@pytest.mark.c_driver_fails(19, 20)
def test_conventional_file_of_wrong_size(directory, refused, works):
    file = directory / "cnv-000001"
    for size in 0, 4096, 1 << 20, (2 << 20) - 4096, (2 << 20) + 4096, 1 << 40:
        os.truncate(file, size)
        refused(EINVAL, GEOMETRY, "cnv-000001")
    os.truncate(file, 2 << 20)
    works()


def test_missing_file(directory, refused, works):
    """A file that is missing is no empty zone."""
    for name in "cnv-000001", "seq-000003", "seq-000004", "seq-000015":
        kept = (directory / name).rename(directory.parent / "kept")
        refused(EINVAL, GEOMETRY, name)
        kept.rename(directory / name)
    works()


@pytest.mark.c_driver_fails("it takes the directory for a new one")
def test_missing_first_file(directory, refused, works):
    """The same holds for the first one."""
    kept = (directory / "cnv-000000").rename(directory.parent / "kept")
    refused(EINVAL, GEOMETRY, "cnv-000000")
    kept.rename(directory / "cnv-000000")
    works()


@pytest.mark.c_driver_fails("it takes a FIFO for a zone file")
def test_file_is_none(directory, refused, works):
    """Something else has the name of a zone file."""
    file = directory / "seq-000009"
    kept = file.rename(directory.parent / "kept")
    file.mkdir()
    refused(EISDIR, GEOMETRY, "seq-000009")
    file.rmdir()
    os.mkfifo(file)
    refused((EINVAL, ENXIO, EIO, EOPNOTSUPP), GEOMETRY, "seq-000009")
    file.unlink()
    kept.rename(file)
    works()


@pytest.mark.c_driver_fails(22)
def test_changed_geometry(refused, works):
    """Other sizes would move every address: the add is refused, by the option's name."""
    for options, *patterns in (
        ("capacity_mb=30,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3", "capacity_mb", r"\b30\b", r"\b32\b"),
        ("capacity_mb=34,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3", "capacity_mb"),
        ("capacity_mb=16,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3", "capacity_mb"),
        ("capacity_mb=32,zone_size_mb=4,zone_capacity_mb=1,conv_zones=3", "zone_size_mb", r"\b4\b", r"\b2\b"),
        ("capacity_mb=32,zone_size_mb=1,zone_capacity_mb=1,conv_zones=3", "zone_size_mb"),
        ("capacity_mb=32,zone_size_mb=2,zone_capacity_mb=2,conv_zones=3", "zone_capacity_mb"),
        ("zone_capacity=1025K", "zone_capacity", r"\b1M\b"),
        ("capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2", "conv_zones", r"\b2\b", r"\b3\b"),
        ("capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=4", "conv_zones"),
        ("capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=0", "conv_zones"),
        ("conv_zones=0-3", "conv_zones", r"\b3\b"),
        ("conv_zones=1-3", "conv_zones"),
        ("zone_size=4M", "zone_size", r"\b2M\b"),
        ("max_open_zones=14", "max_open_zones", r"\b13\b"),
    ):
        refused(EINVAL, options, *patterns)
    works()


@pytest.mark.c_driver_fails(22)
def test_changed_geometry_without_a_record(directory, refused, works):
    """The files alone say what a directory is, as the C driver leaves it: nothing that does not fit them is taken,
    nor are files made in it."""
    (directory / "geometry").unlink()
    assert {file.name[:4] for file in directory.iterdir()} == {"cnv-", "seq-"}
    refused(EINVAL, "capacity_mb=34,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3")
    refused(EINVAL, "capacity_mb=32,zone_size_mb=4,zone_capacity_mb=1,conv_zones=3")
    refused(EINVAL, "capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2")
    refused(EINVAL, "capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=4")
    works()


def test_record_that_was_cut_off(directory, image, refused, works, add):
    """The power failed when the files had been made but the record was not written yet: they must all fit, as without
    a record, and then there is one."""
    file = directory / "geometry"
    record = file.read_text()
    file.write_text("")
    kept = (directory / "seq-000009").rename(directory.parent / "kept")
    refused(EINVAL, GEOMETRY, "seq-000009")
    kept.rename(directory / "seq-000009")
    refused(EINVAL, "capacity_mb=34,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3")
    works()
    assert file.read_text() == record
    # It was the first of all files.
    for path in directory.iterdir():
        path.unlink()
    file.write_text("")
    add(GEOMETRY, base_dir=image.mount_point).remove()
    assert file.read_text() == record
    # A file that is there but is no record is not replaced.
    file.write_text("something")
    refused(EINVAL, GEOMETRY, "damaged")


def test_other_options_may_change(directory, works):
    """All that is not geometry may change."""
    for option in (
        "max_open_zones=4",
        "nr_queues=2",
        "queue_depth=7",
        "buffered_io",
        "zone_append=0",
        "ordered_zone_append",
        "discard_write_cache",
        "max_open_zones=0",
        "max_active_zones=4",
    ):
        works(f"{GEOMETRY},{option}")


def test_foreign_files(directory, works):
    """Other files in the directory stay as they are."""
    (directory / "README").write_text("notes")
    (directory / "sub").mkdir()
    for name, size in ("seq-000016.bak", 1 << 20), ("cnv-000007.old", 1 << 20), ("seq-7", 0), (".hidden", 0):
        with open(directory / name, "wb") as file:
            file.truncate(size)
    works()
    assert (directory / "README").read_text() == "notes"
    assert all((directory / name).exists() for name in ("sub", "seq-7", ".hidden"))


def test_read_only_file_system(scratch, directory, image_file, refused, works, control):
    """A file system can't be written, at the first add or at a later one."""
    mount("none", directory.parent, "ext4", flags=MS_REMOUNT | MS_RDONLY)
    refused(EROFS, GEOMETRY, "cnv-000000|read-only")
    empty = image_file("ext4", 16, scratch / "empty").mount_point
    (empty / "0").mkdir()
    mount("none", empty, "ext4", flags=MS_REMOUNT | MS_RDONLY)
    control.rejects(EROFS, f"add id=0,base_dir={empty},{GEOMETRY}")
    umount(empty)
    works()


@pytest.mark.c_driver_fails(23)
def test_full_file_system(base_dir, control, add, defer):
    """There is no room for all the files: those that were made go away again."""
    mount("tmpfs", base_dir, "tmpfs", "size=1M,nr_inodes=12")
    defer(umount_if_mounted, base_dir)
    (base_dir / "0").mkdir()
    control.rejects(ENOSPC, f"add id=0,base_dir={base_dir},{GEOMETRY}", "zloop0|id=0", "(cnv|seq)-0000|space")
    assert not list((base_dir / "0").iterdir())
    mount("tmpfs", base_dir, "tmpfs", "nr_inodes=100", MS_REMOUNT)
    add(GEOMETRY).remove()
    umount(base_dir)


@pytest.mark.c_driver_fails(23)
def test_files_may_not_be_so_large(image, control, log, add):
    """A zone is larger than a file may be, here because of the limit of the process."""
    base_dir = image.mount_point
    (base_dir / "0").mkdir()
    log.mark()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        fails(EFBIG, control.add, GEOMETRY, id=0, base_dir=base_dir)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.expect("cnv-000000")
    assert not list((base_dir / "0").iterdir())
    add(GEOMETRY, base_dir=base_dir)


def test_new_files(add, defer):
    """The files are made with the size and mode that the C driver gives them."""
    defer(os.umask, os.umask(0o077))
    directory = add(GEOMETRY).directory
    names = [f"cnv-{nr:06}" for nr in range(3)] + [f"seq-{nr:06}" for nr in range(3, 16)]
    assert sorted(file.name for file in directory.iterdir() if file.name != "geometry") == names
    status = [(directory / name).stat() for name in names]
    assert [file.st_size for file in status] == [2 << 20] * 3 + [0] * 13
    assert {(file.st_mode, file.st_uid) for file in status} == {(0o100600, 0)}
    # They take no room until they are written.
    assert sum(file.stat().st_blocks for file in directory.iterdir()) * 512 < 1 << 20
