# SPDX-License-Identifier: GPL-2.0
"""A device's directory tells what the device is.

Guards the promises that an add without the geometry brings a device back, that the geometry is text
which add takes, that a missing directory is made and goes away again with an add that fails, that a
directory of something else is left alone, and that two devices never use one directory.
"""

import contextlib
import os
import shutil
import stat
from errno import EBUSY, EINVAL, ENOSPC, EROFS

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, NOT_WP
from zbd.device import ZonedDevice
from zbd.driver import devices
from zbd.filesystem import bind, mount, umount
from zbd.syscalls import MS_RDONLY, MS_REMOUNT
from zbd.threads import in_parallel

GEOMETRY = "capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3"


@pytest.fixture
def device(add):
    """A device with data, removed."""
    d = add(GEOMETRY)
    d.write_zone(2, 0, 64, 3)
    d.write_zone(4, 0, 64)
    d.write_zone(5, 0, MIB)
    d.remove()
    return d


def check(d):
    """It is that device."""
    assert d.conditions() == [NOT_WP] * 3 + [EMPTY, CLOSED, FULL] + [EMPTY] * 10
    assert d.zone(5).capacity == MIB
    d.check_zone(2, 0, 64, 3)
    d.check_zone(4, 0, 64)
    d.check_zone(5, 0, MIB)
    d.close()


@pytest.mark.c_driver_fails("it records nothing")
def test_brought_back(scratch, base_dir, device, control, defer):
    """A device comes back if the command names nothing of the geometry, a part of it, or all in other words."""
    for options in (
        "id=0",
        "",
        "id=0,max_open_zones=13",
        "id=0,capacity_mb=33",
        "zone_size_mb=2",
        "capacity=32M,zone_size=2048K,zone_capacity=0x100000,conv_zones=0-2",
    ):
        control.add(options, base_dir=base_dir)
        check(device)
        device.remove()
    # The default directory needs no name.
    (scratch / "local/zloop").mkdir(parents=True)
    device.directory.rename(scratch / "local/zloop/0")
    bind(scratch / "local", "/var/local")
    defer(umount, "/var/local")
    control.write("add id=0")
    defer(device.remove)
    check(device)


@pytest.mark.c_driver_fails("it records nothing")
def test_record_is_add_syntax(base_dir, device, control):
    """The options that are recorded are those that add takes."""
    record = device.directory / "geometry"
    assert record.read_text() == f"{GEOMETRY}\n"
    shutil.rmtree(device.directory)
    control.add(GEOMETRY, id=0, base_dir=base_dir)
    assert record.read_text() == f"{GEOMETRY}\n"
    device.remove()


@pytest.mark.c_driver_fails("it records nothing")
def test_moved(scratch, device, add):
    """Files that were moved to another place are the same device there."""
    (scratch / "elsewhere").mkdir()
    device.directory.rename(scratch / "elsewhere/7")
    moved = add(id=7, base_dir=scratch / "elsewhere")
    check(moved)
    moved.remove()


@pytest.mark.c_driver_fails("it records nothing")
def test_damaged_record(base_dir, device, control, add):
    """A record that was damaged is not guessed at, nor taken for missing."""
    record = device.directory / "geometry"
    intact = record.read_text()
    for text in (
        "capacity_mb=32",
        "capacity_mb=32,zone_size_mb=3,zone_capacity_mb=1,conv_zones=3",
        "capacity_mb=32,zone_size_mb=2,zone_capacity_mb=4,conv_zones=3",
        f"{GEOMETRY},id=0",
        f"{GEOMETRY},base_dir=/tmp",
        400 * "x",
        "\x7fELF",
    ):
        record.write_text(text)
        control.rejects(EINVAL, f"add id=0,base_dir={base_dir},{GEOMETRY}", "zloop0", str(record), "damaged")
        assert record.read_text() == text
    record.write_text(intact)
    check(add())


@pytest.mark.c_driver_fails("it wants the directory to be there")
def test_directory_is_made(base_dir, control, add, defer):
    """The first add makes the directory."""
    defer(os.umask, os.umask(0o022))
    control.add(GEOMETRY, id=3, base_dir=base_dir)
    directory = (base_dir / "3").stat()
    assert (stat.filemode(directory.st_mode), directory.st_uid) == ("drwx------", 0)
    assert (base_dir / "3/seq-000015").exists()
    control.remove(3)
    add(id=3).remove()


@pytest.mark.c_driver_fails("it makes no directory, and leaves files")
def test_directory_is_taken_back(scratch, base_dir, control, log, defer):
    """The directory is not made if the one above it is missing, nor for a device that can't be; an add that fails
    takes it back."""
    control.rejects(EINVAL, f"add id=3,base_dir={base_dir}/none,{GEOMETRY}")
    too_many_open = f"{GEOMETRY},max_open_zones=14"
    for options in "capacity_mb=1,zone_size_mb=2", too_many_open, "conv_zones=64", "zone_size=512,capacity=8K":
        control.rejects(EINVAL, f"add id=3,base_dir={base_dir},{options}")
        log.expect("zloop3")
        assert not list(base_dir.iterdir())
    small = scratch / "small"
    small.mkdir()
    mount("tmpfs", small, "tmpfs", "size=1M,nr_inodes=12")
    defer(umount, small)
    control.rejects(ENOSPC, f"add id=3,base_dir={small},{GEOMETRY}")
    assert not list(small.iterdir())
    mount("tmpfs", small, "tmpfs", flags=MS_REMOUNT | MS_RDONLY)
    control.rejects(EROFS, f"add id=3,base_dir={small},{GEOMETRY}")


@pytest.mark.c_driver_fails("it makes its files among the others")
def test_foreign_directory(base_dir, control, add, image_file):
    """A directory with anything in it but a device belongs to someone else."""
    directory = base_dir / "0"
    directory.mkdir()
    command = f"add id=0,base_dir={base_dir},{GEOMETRY}"
    for name in "notes", ".hidden", "seq-000007", "cnv-000001", "geometry.old":
        file = directory / name
        file.write_text("precious")
        control.rejects(EINVAL, command, "zloop0", str(directory), name.replace(".", r"\."))
        assert list(directory.iterdir()) == [file]
        assert file.read_text() == "precious"
        file.unlink()
    (directory / "sub").mkdir()
    control.rejects(EINVAL, command)
    (directory / "sub").rmdir()
    # A file system of its own is empty but for this.
    image_file("ext4", 16, directory)
    assert (directory / "lost+found").exists()
    add(GEOMETRY).remove()


@pytest.mark.c_driver_fails("two devices write the same files")
def test_one_device_per_directory(scratch, base_dir, device, control, add, defer):
    """No other device gets the directory, by whatever path it is reached, nor while it is being added."""
    (base_dir / "1").symlink_to("0")
    bound = scratch / "bound"
    for source, target in (device.directory, base_dir / "2"), (base_dir, bound):
        target.mkdir()
        bind(source, target)
        defer(umount, target)
    d = add()
    for id in 1, 2:
        control.rejects(EBUSY, f"add id={id},base_dir={base_dir}", f"zloop{id}", "zloop0")
        assert devices() == ["zloop0"]
    control.rejects(EBUSY, f"add id=1,base_dir={bound},{GEOMETRY}")
    check(d)
    d.remove()
    # It is free again as soon as it is removed, also after an add that failed.
    control.rejects(EINVAL, f"add id=0,base_dir={base_dir},conv_zones=9")
    other = add(id=1)
    check(other)
    control.rejects(EBUSY, f"add id=0,base_dir={base_dir}")
    other.remove()

    # Of many that want it at the same time, one gets it.
    def race(id):
        with contextlib.suppress(OSError):
            control.add(id=id, base_dir=base_dir)

    ids = range(10, 30)
    for id in ids:
        (base_dir / str(id)).symlink_to("0")
    in_parallel(race, ids)
    (won,) = devices()
    defer(control.remove, int(won.removeprefix("zloop")))
    check(ZonedDevice(f"/dev/{won}"))
