# SPDX-License-Identifier: GPL-2.0
"""Devices of other shapes than the C driver's: sizes in bytes, a smaller last zone, one zone,
conventional zones anywhere, blocks of another size.

Guards the promises that the block layer takes each of them, that every zone is as long as it is
said to be, that a write across its end is refused, and that a device is the same one when it is
added again.
"""

import contextlib
import itertools
import os
import shutil
from errno import EINVAL, EIO

import pytest

from zbd import EMPTY, FULL, IMP_OPEN, MIB, NOT_WP, ZoneType, fails, refused
from zbd.device import ZonedDevice
from zbd.filesystem import make, mount, umount, umount_if_mounted
from zbd.fio import fio_zones
from zbd.process import modprobe, run

CNV, SEQ = ZoneType.CONVENTIONAL, ZoneType.SEQWRITE_REQ


def check_shape(d, *shape):
    """The device has these zones: how many that are equal follow each other, their type, length and capacity in
    sectors."""
    kinds = itertools.groupby(d.zones(), lambda zone: (zone.type, zone.len, zone.capacity))
    assert [(len(list(zones)), *kind) for kind, zones in kinds] == list(shape)
    assert d.queue("chunk_sectors") == shape[0][2]


def check_use(d, *options):
    """Each zone takes data up to its capacity and not further, and has it when the device is added again with these
    options. The device is deleted."""
    for nr, zone in enumerate(d.zones()):
        for at in range(0, zone.capacity, 2048):
            d.write(zone.start + at, min(zone.capacity - at, 2048), nr + 1)
        if zone.is_sequential and zone.capacity < zone.len:
            refused(d, EIO, d.write, zone.start + zone.capacity, 8)
    d.flush()
    d.add_recorded(*options)
    for nr, zone in enumerate(d.zones()):
        assert zone.cond is (FULL if zone.is_sequential else NOT_WP)
        d.check(zone.start, zone.capacity, nr + 1)
    d.reset_all_zones()
    assert set(d.conditions()) <= {NOT_WP, EMPTY}
    d.add_recorded()
    d.delete()


@pytest.mark.c_driver_fails("it knows no such options")
def test_sizes_in_bytes(add):
    options = "capacity=1M,zone_size=64K,zone_capacity=60K,conv_zones=2"
    d = add(options)
    check_shape(d, (2, CNV, 128, 128), (14, SEQ, 128, 120))
    check_use(d, options)
    # Zones of one block.
    d = add("capacity=64K,zone_size=4K,conv_zones=2")
    check_shape(d, (2, CNV, 8, 8), (14, SEQ, 8, 8))
    check_use(d, "capacity=64K,zone_size=4K")
    # The same as in MiB.
    d = add("capacity=16M,zone_size=2M,conv_zones=1")
    check_shape(d, (1, CNV, 4096, 4096), (7, SEQ, 4096, 4096))
    in_mib = "capacity_mb=16,zone_size_mb=2,zone_capacity_mb=2,conv_zones=1"
    d.add_recorded(in_mib)
    assert d.record == in_mib


@pytest.mark.c_driver_fails("it rounds down")
def test_smaller_last_zone(add):
    d = add("capacity=10260K,zone_size_mb=4,zone_capacity_mb=3,conv_zones=1")
    check_shape(d, (1, CNV, 8192, 8192), (1, SEQ, 8192, 6144), (1, SEQ, 4136, 4136))
    assert d.nr_sectors == 10260 * 2
    check_use(d, "capacity=10260K")
    # Smaller than the others, and its capacity not.
    d = add("capacity=11M,zone_size_mb=4,zone_capacity_mb=2,conv_zones=1")
    check_shape(d, (1, CNV, 8192, 8192), (1, SEQ, 8192, 4096), (1, SEQ, 6144, 4096))
    check_use(d)
    # A conventional one.
    d = add("capacity=11M,zone_size_mb=4,conv_zones=0:2")
    check_shape(d, (1, CNV, 8192, 8192), (1, SEQ, 8192, 8192), (1, CNV, 6144, 6144))
    assert d.zone_file_sectors(2) == 3 * MIB
    check_use(d)
    # In MiB it is rounded down, as ever.
    d = add("capacity_mb=11,zone_size_mb=4,conv_zones=1")
    check_shape(d, (1, CNV, 8192, 8192), (1, SEQ, 8192, 8192))


@pytest.mark.c_driver_fails("it wants more than a zone, and more than 8 without a word")
def test_few_zones(add):
    d = add(capacity_mb=4, zone_size_mb=4)
    check_shape(d, (1, SEQ, 8192, 8192))
    check_use(d)
    d = add(capacity_mb=3, zone_size_mb=1)
    check_shape(d, (1, CNV, 2048, 2048), (2, SEQ, 2048, 2048))
    check_use(d)
    d = add(capacity_mb=8, zone_size_mb=1)
    check_shape(d, (4, CNV, 2048, 2048), (4, SEQ, 2048, 2048))
    d.delete()
    check_shape(add(capacity_mb=9, zone_size_mb=1), (8, CNV, 2048, 2048), (1, SEQ, 2048, 2048))


@pytest.mark.c_driver_fails("it has them first")
def test_conventional_zones_anywhere(add):
    conventional = "conv_zones=1-2:5:7-8"
    d = add(conventional, capacity_mb=10, zone_size_mb=1)
    runs = (1, SEQ), (2, CNV), (2, SEQ), (1, CNV), (1, SEQ), (2, CNV), (1, SEQ)
    check_shape(d, *((count, kind, 2048, 2048) for count, kind in runs))
    assert sorted(file.name for file in d.directory.glob("[cs]??-*")) == [
        *(f"cnv-{nr:06}" for nr in (1, 2, 5, 7, 8)),
        *(f"seq-{nr:06}" for nr in (0, 3, 4, 6, 9)),
    ]
    for command in d.open_zone, d.close_zone, d.finish_zone, d.reset_zone:
        fails(EIO, command, 5)
        command(6)
    check_use(d, conventional)
    # Also where files are made late, and with a limit.
    d = add(conventional, capacity_mb=10, zone_size_mb=1, lazy_files=True, max_open_zones=2)
    check_use(d, "lazy_files", "max_open_zones=1")


@pytest.mark.c_driver_fails("it has them first")
def test_zonefs_with_zones_anywhere(scratch, add, defer):
    """zonefs has a file for each zone, wherever the conventional ones are."""
    if not shutil.which("mkzonefs"):
        pytest.skip("no mkzonefs")
    d = add(capacity="33M", zone_size_mb=2, conv_zones="3:8-9")
    run("mkzonefs", "-f", d.path)
    mnt = scratch / "mnt"
    mnt.mkdir()
    mount(d.path, mnt, "zonefs")
    defer(umount_if_mounted, mnt)
    files = [*(mnt / "cnv").iterdir(), *(mnt / "seq").iterdir()]
    # The first zone holds the super block.
    assert [file.parent.name for file in files] == ["cnv"] * 3 + ["seq"] * 13
    for file in files:
        with contextlib.closing(ZonedDevice(file, os.O_WRONLY | os.O_DIRECT)) as zone:
            for at in range(0, 512, 128):
                zone.write(at, 128)
    umount(mnt)


@pytest.mark.c_driver_fails("it takes those of the file system")
def test_block_size(base_dir, control, add):
    """Blocks have 512 bytes, 1024 or 4096, and zones consist of whole blocks."""
    for block_size in 512, 1024, 4096:
        block = block_size // 512
        d = add(capacity_mb=8, zone_size_mb=1, conv_zones=1, block_size=block_size)
        assert (d.queue("logical_block_size"), d.queue("physical_block_size")) == (block_size, block_size)
        assert d.record == f"capacity_mb=8,zone_size_mb=1,zone_capacity_mb=1,conv_zones=1,block_size={block_size}"
        for at in range(0, 40 * block, block):
            d.write_zone(3, at, block, at + 1)
            d.write(5 * block + at, block, at + 1)
        d.write_zone(4, 0, block)
        d.write_zone(4, block, 2048 - block)
        assert (d.zone(3).cond, d.zone(3).wp) == (IMP_OPEN, 40 * block)
        assert d.zone(4).cond is FULL
        d.flush()
        d.add_recorded()
        assert d.queue("logical_block_size") == block_size
        for at in range(0, 40 * block, block):
            d.check_zone(3, at, block, at + 1)
            d.check(5 * block + at, block, at + 1)
        d.write_zone(3, 40 * block, block)
        d.check_zone(3, 40 * block, block)
        d.delete()
    control.rejects(
        EINVAL, f"add id=0,base_dir={base_dir},capacity_mb=8,zone_size=2K,block_size=4096", "zloop0", "zone_size"
    )


@pytest.mark.c_driver_fails("it takes those of the file system")
def test_block_size_changes(base_dir, control, add):
    """Blocks may be others the next time, if the data fits."""
    d = add(capacity_mb=8, zone_size_mb=1, conv_zones=1, block_size=1024)
    d.write_zone(3, 0, 2)
    d.add_recorded(block_size=512)
    assert d.queue("logical_block_size") == 512
    d.add_recorded()
    assert d.queue("logical_block_size") == 512
    d.write_zone(3, 2, 1)
    d.check_zone(3, 0, 2)
    d.remove()
    for options, block_size in ("block_size=1024", "1024"), ("capacity_mb=8,block_size=4096", "4096"):
        control.rejects(EINVAL, f"add id=0,base_dir={base_dir},{options}", "zloop0", "seq-000003", "1536", block_size)
    d.add_recorded()
    assert d.queue("logical_block_size") == 512


@pytest.mark.c_driver_fails("it knows no such option")
def test_block_size_of_direct_io(scratch, base_dir, control, add, defer):
    """Direct I/O can't have smaller blocks than the disk below."""
    disk = scratch / "disk"
    disk.touch()
    os.truncate(disk, 64 << 20)
    modprobe("loop")
    loop = run("losetup", "-f", "--show", "-b", "4096", disk).strip()
    defer(run, "losetup", "-d", loop)
    make("ext4", loop)
    mount(loop, base_dir, "ext4")
    defer(umount_if_mounted, base_dir)
    options = "capacity_mb=8,zone_size_mb=1,block_size=512"
    control.rejects(
        EINVAL, f"add id=0,base_dir={base_dir},{options}", "zloop0", "block_size=512", "4096", "buffered_io"
    )
    assert os.listdir(base_dir) == ["lost+found"]
    d = add(options, conv_zones=1, buffered_io=True)
    for at in range(9):
        d.write_zone(3, at, 1, at + 1)
    for at in range(9):
        d.check_zone(3, at, 1, at + 1)


@pytest.mark.c_driver_fails("it knows no such option")
def test_rotational(add):
    d = add(capacity_mb=8, zone_size_mb=1)
    assert d.queue("rotational") == 0
    for option, rotational in ("rotational", 1), ("", 1), ("rotational=0", 0):
        d.add_recorded(option)
        assert d.queue("rotational") == rotational


@pytest.mark.c_driver_fails("it knows no such options")
def test_fio(add):
    """fio goes over such a device as over any other one."""
    d = add(capacity="30M", zone_size="4M", zone_capacity="3M", conv_zones="1:3-3", max_open_zones=2)
    fio_zones(d, rw="randwrite", bs="64k", iodepth=4, offset="16M", size="12M", io_size="8M")
    d = add(id=1, capacity="1028K", zone_size="64K", conv_zones=0, max_open_zones=4)
    fio_zones(d, rw="randwrite", bs="4k", iodepth=4, io_size="512k")
