# SPDX-License-Identifier: GPL-2.0
"""Zoned block devices, the zloop driver and what is below it, for tests.

Each file has one concept. What nearly every test needs can be imported from here.

Positions and lengths are in sectors of 512 bytes, unless a name says `mib` or `bytes`.
"""

from zbd.errors import fails, raises, refused
from zbd.sector_data import ZEROS, pattern
from zbd.zone import (
    CLOSED,
    EMPTY,
    EXP_OPEN,
    FULL,
    IMP_OPEN,
    MIB,
    NOT_WP,
    OFFLINE,
    READONLY,
    SECTOR,
    Condition,
    Zone,
    ZoneType,
)

__all__ = [
    "CLOSED",
    "EMPTY",
    "EXP_OPEN",
    "FULL",
    "IMP_OPEN",
    "MIB",
    "NOT_WP",
    "OFFLINE",
    "READONLY",
    "SECTOR",
    "ZEROS",
    "Condition",
    "Zone",
    "ZoneType",
    "fails",
    "pattern",
    "raises",
    "refused",
]
