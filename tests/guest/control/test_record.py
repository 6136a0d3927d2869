# SPDX-License-Identifier: GPL-2.0
"""The options of a device are kept beside its files.

Guards the promises that an add which names nothing of the geometry brings the device back with the
options that it had, but for those that are named; that one which names any of it, as scripts for
the C driver do, leaves nothing as it was; that the record is whole at any moment, is written only
if it changes, and that an add which fails has not touched it.
"""

import contextlib
import os
import re
import shutil
import stat
from errno import EACCES, EBUSY, EEXIST, EINVAL, EISDIR, ENOSPC, EPERM

import pytest

from zbd import OFFLINE
from zbd.filesystem import umount, umount_if_mounted
from zbd.process import run

pytestmark = pytest.mark.limit(300)

GEOMETRY = "capacity_mb=16,zone_size_mb=1,zone_capacity_mb=1,conv_zones=3"
RECORDS_NOTHING = pytest.mark.c_driver_fails("it records nothing")


def shown(control):
    """The options of device 0 that the control device shows after the geometry."""
    return re.search(f"^zloop0 live add id=0,{GEOMETRY},(.*),base_dir=", control.read(), re.MULTILINE)[1]


def limits(d):
    """The same for the block layer."""
    names = "max_open_zones max_active_zones rotational logical_block_size zone_append_max_bytes nr_requests"
    return [d.queue(name) for name in names.split()] + [len(os.listdir(f"/sys/block/{d.name}/mq"))]


def check_record(d, options=""):
    """The record has the geometry and these options, and is a file of ours."""
    assert d.record == GEOMETRY + (f",{options}" if options else "")
    status = (d.directory / "geometry").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink) == (0o600, 0, 1)
    assert not (d.directory / "geometry.new").exists()


def state(d):
    """The very file, to tell whether it was written, and the names of all files."""
    status = (d.directory / "geometry").stat()
    files = sorted(os.listdir(d.directory))
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, d.record, files


def seq_files(d):
    """How many there are."""
    return len(list(d.directory.glob("seq-*")))


@RECORDS_NOTHING
@pytest.mark.parametrize(
    "option",
    [
        "nr_queues=2",
        "queue_depth=7",
        "max_open_zones=4",
        "max_active_zones=5",
        "max_open_zones=4,max_active_zones=5",
        "zone_append=0",
        "ordered_zone_append",
        "buffered_io",
        "discard_write_cache",
        "volatile_cache",
        "rotational",
        "write_fault=offline",
        "block_size=512,buffered_io",
    ],
)
def test_each_option(control, add, option):
    """Each by itself: it comes back, and a description of the device without it takes it away."""
    d = add(GEOMETRY)
    check_record(d)
    plain = shown(control)
    plain_limits = limits(d)
    assert plain == "nr_queues=1,queue_depth=128,max_open_zones=0,zone_append=1"
    d.add_recorded(option)
    check_record(d, option)
    with_option = shown(control), limits(d)
    assert with_option[0] != plain
    d.remove()
    before = state(d)
    d.add_recorded()
    assert (shown(control), limits(d)) == with_option
    assert state(d) == before
    d.add_recorded(GEOMETRY)
    assert (shown(control), limits(d)) == (plain, plain_limits)
    check_record(d)


@RECORDS_NOTHING
def test_limits_come_back(add):
    """The block layer has the values that were recorded."""
    d = add(GEOMETRY, "max_open_zones=4,max_active_zones=5,rotational,block_size=512,buffered_io")
    d.add_recorded()
    assert limits(d)[:4] == [4, 5, 1, 512]


@RECORDS_NOTHING
def test_overrides(control, add):
    """All at once; a named option overrides, and all else stays."""
    d = add(GEOMETRY, "nr_queues=2,max_open_zones=4,max_active_zones=5,buffered_io,discard_write_cache,rotational")
    no_limits = "buffered_io,discard_write_cache"
    for options, recorded in (
        ("rotational=0", f"nr_queues=2,max_open_zones=4,max_active_zones=5,{no_limits}"),
        ("rotational,rotational=0", f"nr_queues=2,max_open_zones=4,max_active_zones=5,{no_limits}"),
        ("max_open_zones=2", f"nr_queues=2,max_open_zones=2,max_active_zones=5,{no_limits}"),
        ("max_open_zones=0", f"nr_queues=2,max_active_zones=5,{no_limits}"),
        ("max_active_zones=4", f"nr_queues=2,max_active_zones=4,{no_limits}"),
        ("nr_queues=1", f"max_active_zones=4,{no_limits}"),
        ("write_fault=offline", f"max_active_zones=4,{no_limits},write_fault=offline"),
        (
            "buffered_io=0,volatile_cache=1",
            "max_active_zones=4,discard_write_cache,volatile_cache,write_fault=offline",
        ),
        ("write_fault=good", "max_active_zones=4,discard_write_cache,volatile_cache"),
        ("max_active_zones=0,discard_write_cache=0", "volatile_cache"),
        ("volatile_cache=0x0,queue_depth=9", "queue_depth=9"),
        ("ordered_zone_append", "queue_depth=9,ordered_zone_append"),
        ("zone_append=0", "queue_depth=9,zone_append=0"),
        ("zone_append=1,queue_depth=128", ""),
    ):
        d.add_recorded(options)
        check_record(d, recorded)
        d.add_recorded()
        check_record(d, recorded)
    # A part of the geometry is a description, too, and so is the line that is shown.
    for option in "conv_zones=3", "capacity=16M", "zone_size_mb=1", "zone_capacity=1M":
        d.add_recorded("rotational,nr_queues=2,max_open_zones=0")
        check_record(d, "nr_queues=2,rotational")
        d.add_recorded(option, "max_open_zones=3")
        check_record(d, "max_open_zones=3")
    line = control.read().splitlines()[2]
    d.add_recorded("rotational,max_open_zones=0")
    d.remove()
    control.write(line.removeprefix("zloop0 live "))
    check_record(d, "max_open_zones=3")


@RECORDS_NOTHING
def test_data_and_conditions(control, add):
    """Zone files and data stay when options change from add to add."""
    d = add(GEOMETRY, "max_open_zones=2,write_fault=readonly,buffered_io")
    d.write_zone(5, 0, 64)
    control.zone_offline(0, 7)
    d.add_recorded("max_open_zones=0")
    d.check_zone(5, 0, 64)
    assert [nr for nr, condition in enumerate(d.conditions()) if condition is OFFLINE] == [7]
    check_record(d, "buffered_io,write_fault=readonly")
    d.power_fail()
    d.add_recorded()
    plain = "nr_queues=1,queue_depth=128,max_open_zones=0,zone_append=1"
    assert shown(control) == f"{plain},buffered_io,write_fault=readonly"


@RECORDS_NOTHING
def test_lazy_files(base_dir, control, add):
    """A device of which files are missing stays one, and makes no million files, until it is asked to."""
    d = add(GEOMETRY, "lazy_files")
    d.add_recorded()
    d.add_recorded("rotational")
    assert seq_files(d) == 0
    check_record(d, "lazy_files,rotational")
    d.add_recorded("lazy_files=1")
    assert seq_files(d) == 0
    d.add_recorded("lazy_files=0")
    assert seq_files(d) == 13
    check_record(d, "rotational")
    # They are there, and stay.
    d.add_recorded("lazy_files")
    check_record(d, "rotational")
    d.remove()
    d.zone_file(9).unlink()
    control.rejects(EINVAL, f"add id=0,base_dir={base_dir}", "zloop0", "seq-000009")
    shutil.rmtree(d.directory)
    d.add_recorded(GEOMETRY, "lazy_files")
    d.add_recorded(GEOMETRY, "max_open_zones=2")
    assert seq_files(d) == 13
    check_record(d, "max_open_zones=2")
    d.delete()
    d.add_recorded("capacity_mb=1000000,zone_size_mb=1,conv_zones=1,lazy_files")
    d.add_recorded()
    assert seq_files(d) == 0


@RECORDS_NOTHING
def test_failed_add(base_dir, control, add, image_file, defer):
    """An add that fails, for whatever reason, has not touched the record, and says why."""
    image_file("ext4", 32, base_dir)
    d = add(GEOMETRY, "max_open_zones=4,max_active_zones=6,buffered_io,block_size=512")
    d.remove()

    def unchanged(want, options, *patterns, id=0):
        before = state(d)
        control.rejects(want, f"add id={id},base_dir={base_dir},{options}", *patterns)
        assert state(d) == before

    recorded = "zloop0", "from 0 to 6", "max_active_zones, as recorded"
    unchanged(EINVAL, "rotational,conv_zones=4", "zloop0", "conv_zones=4", "must be 3")
    unchanged(EINVAL, "rotational,max_open_zones=14", "max_open_zones=14", *recorded)
    unchanged(EINVAL, "rotational,max_open_zones=7", "max_open_zones=7", *recorded)
    unchanged(
        EINVAL,
        "rotational,max_active_zones=3",
        "zloop0",
        "max_open_zones=4",
        "from 0 to 3",
        "max_active_zones",
        "4 is recorded",
    )
    unchanged(EINVAL, "rotational,max_active_zones=14", "zloop0", "max_active_zones=14", "from 0 to 13")
    unchanged(EINVAL, "rotational,max_active_zones=0,max_open_zones=14", "zloop0", "max_open_zones=14", "from 0 to 13")
    unchanged(EINVAL, "rotational,foo", "foo")
    # The content of the directory.
    d.zone_file(12).rename(base_dir / "kept")
    unchanged(EINVAL, "rotational", "zloop0", "seq-000012")
    unchanged(EINVAL, f"rotational,{GEOMETRY}", "zloop0", "seq-000012")
    (base_dir / "kept").rename(d.zone_file(12))
    (d.directory / "conditions").write_text("nonsense\n")
    unchanged(EINVAL, "rotational", "zloop0", "conditions")
    (d.directory / "conditions").unlink()
    os.truncate(d.zone_file(12), 512)
    unchanged(EINVAL, "rotational,block_size=4096", "zloop0", "seq-000012", "4096")
    os.truncate(d.zone_file(12), 0)
    # There is no place for a record. One that is right needs none.
    no_record = "zloop0", f"{d.directory}/geometry", "write"
    defer(run, "chattr", "-i", d.directory)
    run("chattr", "+i", d.directory)
    unchanged((EPERM, EACCES), "rotational", *no_record)
    d.add_recorded()
    d.remove()
    run("chattr", "-i", d.directory)
    (d.directory / "geometry.new").mkdir()
    unchanged(EISDIR, "rotational", *no_record)
    (d.directory / "geometry.new").rmdir()
    ballast = [(base_dir / "ballast", 64 << 10), (base_dir / "more", 4 << 10)]
    for file, size in ballast:
        with contextlib.suppress(OSError), file.open("wb", buffering=0) as full:
            while full.write(bytes(size)):
                pass
    unchanged(ENOSPC, "rotational", *no_record)
    for file, _ in ballast:
        file.unlink()
    before = state(d)
    # It works when the reason is gone.
    d.add_recorded()
    assert state(d) == before
    d.add_recorded("rotational")
    check_record(d, "block_size=512,max_open_zones=4,max_active_zones=6,buffered_io,rotational")
    # The number, or the directory, is taken.
    unchanged(EEXIST, "rotational=0", "zloop0")
    (base_dir / "1").symlink_to("0")
    unchanged(EBUSY, "rotational=0", "zloop1", id=1)


@pytest.mark.c_driver_fails("it takes none")
def test_flags(base_dir, control, add):
    """A flag may have a value, 0 or 1."""
    d = add(GEOMETRY)
    flags = "buffered_io", "ordered_zone_append", "discard_write_cache", "volatile_cache", "rotational"
    for flag in flags:
        for option in flag, f"{flag}=1":
            d.add_recorded(option)
            check_record(d, flag)
            d.add_recorded(f"{flag}=0")
            check_record(d)
    d.add_recorded("rotational=0,rotational=0x1,buffered_io,buffered_io=00")
    check_record(d, "rotational")
    d.remove()
    for flag in *flags, "lazy_files":
        control.rejects(EINVAL, f"add id=0,base_dir={base_dir},{flag}=2", f'{flag}="2"', "0 or 1")
    for value in "yes", "", "-1", "4294967296":
        text = f"add id=0,base_dir={base_dir},{GEOMETRY},lazy_files={value}"
        control.rejects(EINVAL, text, f'lazy_files="{value}"', "0 or 1")
    check_record(d, "rotational")


@pytest.mark.c_driver_fails("it looks at no record")
def test_damaged_record(base_dir, control, add):
    """The log names options that no add takes, with those that can be there."""
    d = add(GEOMETRY)
    d.remove()
    record = d.directory / "geometry"
    damaged = f"{record} is damaged"
    add_recorded = f"add id=0,base_dir={base_dir}"
    for text, pattern in (
        ("foo=1", "foo.*max_active_zones, lazy_files"),
        ("rotational=2", 'rotational="2".*0 or 1'),
        ("max_open_zones=14", "max_open_zones=14.*from 0 to 13"),
        ("max_open_zones=5,max_active_zones=4", "max_open_zones=5.*from 0 to 4"),
        ("write_fault=x", "write_fault.*good, readonly or offline"),
        ("seed=1", "seed.*rotational"),
        ("base_dir=/tmp", "base_dir.*rotational"),
        ("queue_depth", "queue_depth.*no value"),
    ):
        record.write_text(f"{GEOMETRY},{text}\n")
        for command in add_recorded, f"{add_recorded},{GEOMETRY},rotational":
            control.rejects(EINVAL, command, "zloop0", damaged, pattern)
            assert d.record == f"{GEOMETRY},{text}"
    record.write_text(f"{GEOMETRY}\n" + "conv_zones=3\n" * 100)
    control.rejects(EINVAL, add_recorded, "zloop0", damaged, "1024")
    # In other words, by whoever likes to: it is left as it is.
    record.write_text("rotational=1,buffered_io=0\ncapacity=16M,zone_size=1M\n\nzone_capacity=1M,conv_zones=0-2")
    before = state(d)
    d.add_recorded()
    assert d.queue("rotational") == 1
    assert state(d) == before
    d.add_recorded("buffered_io")
    check_record(d, "buffered_io,rotational")


@RECORDS_NOTHING
def test_left_over(base_dir, control, add):
    """A record that was being written when the power failed is ignored."""
    d = add(GEOMETRY, "rotational")

    def leave_one(kept=True):
        """Remove the device; its files stay if they are to be kept."""
        if d.exists:
            d.remove()
        if not kept:
            for file in d.directory.iterdir():
                file.unlink()
        (d.directory / "geometry.new").write_text("capacity_mb=1\n")

    leave_one()
    d.add_recorded()
    assert d.queue("rotational") == 1
    d.add_recorded("nr_queues=2")
    check_record(d, "nr_queues=2,rotational")
    # In a directory that has nothing else, or is not complete.
    leave_one(kept=False)
    d.add_recorded(GEOMETRY)
    check_record(d)
    d.remove()
    (d.directory / "geometry").rename(d.directory / "incomplete")
    leave_one()
    d.add_recorded(GEOMETRY)
    check_record(d)
    # An add that fails leaves nothing.
    leave_one(kept=False)
    control.rejects(EINVAL, f"add id=0,base_dir={base_dir},zone_size=512,capacity=8K")
    d.add_recorded(GEOMETRY)
    check_record(d)


@RECORDS_NOTHING
def test_durable(scratch, base_dir, add, image_file, defer):
    """The record is on the disk when the device is there: a power failure leaves what a copy of the disk has."""
    image = image_file("ext4", 32, base_dir)
    d = add(GEOMETRY)
    copy = scratch / "copy"
    copy.mkdir()
    defer(umount_if_mounted, copy)
    for options in "rotational", "buffered_io", "rotational=0":
        d.add_recorded(options)
        run("cp", "--sparse=always", image.image, scratch / "image")
        run("mount", "-o", "loop", scratch / "image", copy)
        assert (copy / "0/geometry").read_text().rstrip("\n") == d.record
        umount(copy)
    check_record(d, "buffered_io")


def test_c_scripts(driver, add):
    """Scripts of the C driver's work as ever, and it with the files."""

    def switch(name):
        d.remove()
        driver.use(name)

    driver.use("c")
    d = add(GEOMETRY, "max_open_zones=4")
    d.write_zone(9, 0, 64)
    switch("rust")
    # There is no record, so nothing is known of it but what is said.
    d.add_recorded(GEOMETRY, "rotational")
    check_record(d, "rotational")
    d.add_recorded()
    assert (d.queue("rotational"), d.queue("max_open_zones")) == (1, 0)
    d.add_recorded(GEOMETRY, "buffered_io,max_open_zones=2")
    assert (d.queue("rotational"), d.queue("max_open_zones")) == (0, 2)
    switch("c")
    d.add_recorded(GEOMETRY, "max_open_zones=5")
    d.check_zone(9, 0, 64)
    assert d.queue("max_open_zones") == 5
    switch("rust")
    d.add_recorded()
    check_record(d, "max_open_zones=2,buffered_io")
    d.check_zone(9, 0, 64)
