# SPDX-License-Identifier: GPL-2.0
"""The device's attributes in sysfs.

Guards the queue limits, which file systems and fio believe: a wrong one is a file system that can't
be made, or I/O that is split where it must not be.
"""

import os
from errno import EINVAL

from zbd import EMPTY, EXP_OPEN, IMP_OPEN, MIB, refused
from zbd.filesystem import umount_if_mounted
from zbd.process import modprobe, run

SMALL = {"capacity_mb": 16, "zone_size_mb": 1, "conv_zones": 1}


def check_attributes(device, **attributes):
    """These attributes of the queue have these values."""
    found = {name: device.sysfs(f"queue/{name}") for name in attributes}
    assert found == {name: str(value) for name, value in attributes.items()}


def nr_queues(device):
    return len(os.listdir(f"/sys/block/{device.name}/mq"))


def test_limits(add):
    d = add(capacity_mb=80, zone_size_mb=4, zone_capacity_mb=3, conv_zones=2)
    check_attributes(
        d,
        zoned="host-managed",
        nr_zones=20,
        chunk_sectors=8192,
        logical_block_size=4096,
        physical_block_size=4096,
        max_hw_sectors_kb=1024,
        zone_append_max_bytes=1 << 20,
        max_open_zones=0,
        max_active_zones=0,
        write_cache="write back",
        fua=1,
        discard_granularity=4096,
        discard_max_bytes=4 << 20,
        write_zeroes_max_bytes=4 << 20,
        dma_alignment=511,
    )
    assert 0 < d.queue("max_sectors_kb") <= 1024
    assert d.nr_sectors == 80 * MIB
    assert d.sysfs("ro") == "0"
    assert d.sysfs("removable") == "0"
    # There are no partitions.
    assert d.sysfs("ext_range") == "1"
    assert nr_queues(d) == 1


def test_append_variants(add):
    """The sizes are the same for each way to append."""
    for options in "zone_append=0", "zone_append=1", "ordered_zone_append", "zone_append=0,ordered_zone_append":
        d = add(options, **SMALL)
        check_attributes(d, zone_append_max_bytes=1 << 20, chunk_sectors=2048, nr_zones=16)
        d.remove()


def test_nr_queues(add):
    """There are as many hardware queues as were asked for, but no more than processors."""
    for asked in 1, 2, 1000:
        d = add(nr_queues=asked, **SMALL)
        assert nr_queues(d) == min(asked, os.cpu_count())
        d.remove()


def test_queue_depth(add):
    # More than the block layer ever gives is not an error.
    for asked, given in (1, 1), (7, 7), (128, 128), (1000, 1000), (20000, 10240):
        d = add(queue_depth=asked, **SMALL)
        assert d.sysfs("mq/0/nr_tags") == str(given)
        d.remove()


def test_many_zones(add):
    """There are more sequential zones than the block layer plans for. Its number is no limit of the device's."""
    d = add(capacity_mb=200, zone_size_mb=1, conv_zones=4)
    check_attributes(d, nr_zones=200, max_open_zones=128)
    assert len(list(d.directory.glob("cnv-*"))) == 4
    assert len(list(d.directory.glob("seq-*"))) == 196
    zones = range(4, 200)
    for nr in zones:
        d.write_zone(nr, 0, 8)
    assert set(d.conditions(*zones)) == {IMP_OPEN}
    for nr in zones:
        d.check_zone(nr, 0, 8)
    d.open_zone(4, 196)
    assert set(d.conditions(*zones)) == {EXP_OPEN}
    d.reset_all_zones()
    assert set(d.conditions(*zones)) == {EMPTY}


def test_block_size(scratch, add, defer):
    """The block size is that of the file system that holds the files."""
    base_dir, image = scratch / "small", scratch / "small.img"
    base_dir.mkdir()
    modprobe("loop", "ext4")
    run("mkfs.ext4", "-q", "-F", "-b", "1024", image, "64M")
    run("mount", "-o", "loop", image, base_dir)
    defer(umount_if_mounted, base_dir)
    d = add(base_dir=base_dir, **SMALL)
    check_attributes(d, logical_block_size=1024, physical_block_size=1024)
    for at, count in (0, 2), (2, 4), (6, 10):
        d.write_zone(1, at, count)
    d.check_zone(1, 0, 16)
    d.write(2, 2)
    d.check(2, 2)
    refused(d, EINVAL, d.write_zone, 1, 16, 1)
    assert (d.zone(1).cond, d.zone(1).wp) == (IMP_OPEN, 16)
