# SPDX-License-Identifier: GPL-2.0
"""dm-zoned: a disk that can be written anywhere, made of the zones.

Guards the mix that it sends: metadata and buffers in conventional zones, copies of them in
sequential ones, zeros at a write pointer that must be moved, and resets.
"""

import os
import struct
import zlib

import pytest

from zbd import EMPTY, SECTOR
from zbd.dm import Mapping
from zbd.files import checksums, write_synced
from zbd.filesystem import make, umount
from zbd.fio import fio, fio_files
from zbd.process import modprobe, run

pytestmark = pytest.mark.limit(300)

BLOCK = 4096
UNMAPPED = b"\xff" * 8
RESERVED_ZONES = 4


def superblock(*fields):
    """One of version 1 and generation 1."""

    def packed(crc):
        return struct.pack("<IIQQIIIIII", int.from_bytes(b"DZBD", "big"), 1, 1, *fields, crc).ljust(BLOCK, b"\0")

    # The kernel's crc32_le inverts nothing.
    return packed(~zlib.crc32(packed(0), ~1 & 0xFFFFFFFF) & 0xFFFFFFFF)


def format_zoned(device):
    """Make a device one of dm-zoned's: all zones are reset, and two sets of metadata written at the start of the first
    conventional zones. Returns how many sectors the target has. The format is that of
    Documentation/admin-guide/device-mapper/dm-zoned.rst."""
    zones, zone_blocks = device.nr_zones, device.zone_sectors * SECTOR // BLOCK
    device.reset_all_zones()
    # A bit for each block of a zone, in blocks of its own for each zone.
    bitmap_blocks = zones * max(1, zone_blocks // (8 * BLOCK))
    map_blocks = -(-zones * len(UNMAPPED) // BLOCK)
    blocks = 1 + map_blocks + bitmap_blocks
    meta_zones = -(-blocks // zone_blocks)
    chunks = zones - 2 * meta_zones - RESERVED_ZONES
    tables = UNMAPPED * (map_blocks * BLOCK // len(UNMAPPED)) + bytes(bitmap_blocks * BLOCK)
    for first in 0, meta_zones:
        at = first * zone_blocks
        data = superblock(at, blocks, RESERVED_ZONES, chunks, map_blocks, bitmap_blocks) + tables
        for offset in range(0, len(data), 64 * BLOCK):
            device.pwrite((at * BLOCK + offset) // SECTOR, data[offset : offset + 64 * BLOCK])
    device.flush()
    device.close()
    return chunks * zone_blocks * BLOCK // SECTOR


@pytest.fixture
def stack(add, defer):
    """`stack(zone_append=0)`: a device, and a function that makes its dm-zoned mapping."""
    modprobe("dm-zoned")

    def add_formatted(**options):
        below = add(capacity_mb=112, zone_size_mb=4, conv_zones=6, nr_queues=2, **options)
        sectors = format_zoned(below)

        def make_mapping():
            mapping = Mapping("zoned", f"0 {sectors} zoned {below.path}")
            defer(mapping.remove)
            return mapping

        return below, make_mapping

    return add_formatted


def test_random_writes(stack):
    """More than the conventional zones hold, so that it must be moved."""
    below, make_mapping = stack()
    load = {"size": "40M", "rw": "randwrite", "bs": "128k", "iodepth": 8, "randrepeat": 1}
    mapping = make_mapping()
    fio(mapping.device, **load)
    assert any(zone.is_sequential and zone.cond is not EMPTY for zone in below.zones())
    mapping.remove()
    below.add_again()
    mapping = make_mapping()
    fio(mapping.device, **load, verify_only=1)
    mapping.remove()
    below.remove()


def test_ext4(stack, mounted):
    """A file system that knows nothing of zones, with discards."""
    below, make_mapping = stack(zone_append=0)
    mapping = make_mapping()
    make("ext4", mapping.path, "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
    mnt = mounted(mapping.path, "ext4", "discard")
    fio_files(mnt, nrfiles=4, size="8M", bs="16k", rw="randwrite")
    for file in mnt.glob("files.0.*"):
        file.unlink()
    write_synced(mnt / "big", os.urandom(16 << 20))
    sums = checksums(mnt)
    umount(mnt)
    mapping.remove()
    below.add_again(zone_append=None)
    mapping = make_mapping()
    run("e2fsck", "-fn", mapping.path)
    mounted(mapping.path, "ext4")
    assert checksums(mnt) == sums
    umount(mnt)
    mapping.remove()
    below.remove()
