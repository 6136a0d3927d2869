# SPDX-License-Identifier: GPL-2.0
"""Data that knows where it belongs.

Each sector holds its own number and a seed again and again. So data that was moved, lost or
written twice is found. tests/kmod writes the same.
"""

import functools
import struct
from typing import Final

from zbd.zone import SECTOR

ZEROS: Final = None
"""The seed of sectors that were never written."""

_PAIRS = SECTOR // 16


@functools.lru_cache(maxsize=32)
def pattern(sector: int, count: int, seed: int | None = 1) -> bytes:
    """The data of `count` sectors from `sector` on."""
    if seed is ZEROS:
        return bytes(count * SECTOR)
    pack = struct.Struct("<QQ").pack
    return b"".join([pack(at, seed) * _PAIRS for at in range(sector, sector + count)])


def verify(data: bytes, sector: int, seed: int | None) -> None:
    """These are the data of the sectors from `sector` on, or it is an AssertionError."""
    count = len(data) // SECTOR
    want = pattern(sector, count, seed)
    if data == want:
        return
    for index in range(count):
        at = index * SECTOR
        if data[at : at + SECTOR] != want[at : at + SECTOR]:
            found = struct.unpack_from("<QQ", data, at)
            wanted = "zeros" if seed is ZEROS else f"seed {seed}"
            raise AssertionError(
                f"wrong data in sector {sector + index}: want {wanted}; there is (sector, seed) {found}"
            )
