#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""dm-zoned-format.py DEVICE RESERVED: make a zoned device one of dm-zoned's.

Writes the two sets of metadata, at the start of the first conventional zones, in the
format of version 1: see Documentation/admin-guide/device-mapper/dm-zoned.rst. All
zones are reset. Prints how many sectors the target has.
"""

import struct
import sys

from zbc import SECTOR, Dev

BLOCK = 4096
PER_BLOCK = BLOCK // SECTOR
UNMAPPED = b"\xff" * 8


def crc32_le(seed, data):
    """The kernel's, which inverts nothing."""
    crc = seed
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc


def superblock(at, blocks, reserved, chunks, map_blocks, bitmap_blocks):
    """The one at block `at`, of generation 1."""
    fields = [int.from_bytes(b"DZBD", "big"), 1, 1, at, blocks, reserved, chunks, map_blocks, bitmap_blocks]

    def packed(crc):
        return struct.pack("<IIQQIIIIII", *fields, crc).ljust(BLOCK, b"\0")

    return packed(crc32_le(1, packed(0)))


def main(path, reserved):
    dev = Dev(path)
    zones, zone_blocks = dev.nr_zones(), dev.zone_size() // PER_BLOCK
    dev.reset_all()
    # A bit for each block of a zone, in blocks of its own for each zone.
    bitmap_blocks = zones * max(1, zone_blocks // (8 * BLOCK))
    map_blocks = -(-zones * len(UNMAPPED) // BLOCK)
    blocks = 1 + map_blocks + bitmap_blocks
    meta_zones = -(-blocks // zone_blocks)
    chunks = zones - 2 * meta_zones - reserved
    for first in 0, meta_zones:
        at = first * zone_blocks
        data = superblock(at, blocks, reserved, chunks, map_blocks, bitmap_blocks)
        data += UNMAPPED * (map_blocks * BLOCK // len(UNMAPPED)) + bytes(bitmap_blocks * BLOCK)
        for offset in range(0, len(data), 64 * BLOCK):
            dev.pwrite((at * BLOCK + offset) // SECTOR, data[offset : offset + 64 * BLOCK])
    dev.flush()
    print(chunks * dev.zone_size())


main(sys.argv[1], int(sys.argv[2]))
