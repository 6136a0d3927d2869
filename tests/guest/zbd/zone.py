# SPDX-License-Identifier: GPL-2.0
"""A zone as a report shows it: `struct blk_zone` of include/uapi/linux/blkzoned.h."""

import enum
import struct
from typing import Final, NamedTuple

SECTOR: Final = 512  # bytes
MIB: Final = 2048  # sectors

ZONE_BYTES: Final = 64
"""The size of `struct blk_zone`."""

_NO_WP: Final = 2**64 - 1


class Condition(enum.Enum):
    """`enum blk_zone_cond`."""

    NOT_WP = 0  # a conventional zone
    EMPTY = 1
    IMP_OPEN = 2
    EXP_OPEN = 3
    CLOSED = 4
    READONLY = 13
    FULL = 14
    OFFLINE = 15
    ACTIVE = 255  # in a cached report: open or closed

    def __repr__(self) -> str:
        return self.name


NOT_WP: Final = Condition.NOT_WP
EMPTY: Final = Condition.EMPTY
IMP_OPEN: Final = Condition.IMP_OPEN
EXP_OPEN: Final = Condition.EXP_OPEN
CLOSED: Final = Condition.CLOSED
READONLY: Final = Condition.READONLY
FULL: Final = Condition.FULL
OFFLINE: Final = Condition.OFFLINE
ACTIVE: Final = Condition.ACTIVE


class ZoneType(enum.Enum):
    """`enum blk_zone_type`."""

    CONVENTIONAL = 1
    SEQWRITE_REQ = 2
    SEQWRITE_PREF = 3

    def __repr__(self) -> str:
        return self.name


class Zone(NamedTuple):
    """One zone of a report; two are equal if all that a report says of them is."""

    start: int
    """First sector."""
    len: int
    """Sectors until the next zone starts."""
    type: ZoneType
    cond: Condition
    wp: int | None
    """Write pointer in sectors from the zone's start; None where it is invalid."""
    capacity: int
    """Sectors that can be written, from the start."""
    reset_recommended: bool = False
    """The device would like to have the zone reset."""

    @classmethod
    def parse(cls, report: bytes | bytearray, offset: int) -> "Zone":
        """The `struct blk_zone` at this place of a report."""
        start, length, wp, kind, cond, reset, capacity = struct.unpack_from("<QQQBBxB4xQ", report, offset)
        return cls(
            start,
            length,
            ZoneType(kind),
            Condition(cond),
            None if wp == _NO_WP else wp - start,
            capacity,
            bool(reset),
        )

    @property
    def is_sequential(self) -> bool:
        return self.type is not ZoneType.CONVENTIONAL
