# SPDX-License-Identifier: GPL-2.0
"""A device that is added again after the machine was shut down and started.

Guards all that the zone files alone must carry: data, write pointers, full zones; and, with the second
device, the geometry.
"""

import hashlib
import os

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, ZEROS
from zbd.fio import fio_zones

pytestmark = pytest.mark.boots(2)

LENGTH, CAPACITY = 4 * MIB, 3 * MIB
OPTIONS = {"capacity_mb": 64, "zone_size_mb": 4, "zone_capacity_mb": 3, "conv_zones": 2}


def contents(device):
    """All zones, as they must be after the device was added again, and a checksum of the first 24 MiB."""
    zones = [zone._replace(cond=CLOSED) if zone.cond.name.endswith("OPEN") else zone for zone in device.zones()]
    data = hashlib.sha256()
    for at in range(0, 24 * MIB, MIB):
        data.update(device.pread(at, MIB))
    return "\n".join([*map(str, zones), data.hexdigest()])


def boot1_write(scratch, add):
    d = add(**OPTIONS)
    d.write(0, 2048, 11)
    d.write(2 * LENGTH - 2048, 2048, 12)
    d.write_zone(2, 0, 64)
    d.open_zone(3)
    d.write_zone(3, 0, 4096 - 8)
    for at in range(0, CAPACITY, 1024):
        d.write_zone(4, at, 1024)
    d.write_zone(5, 0, 64)
    d.finish_zone(5)
    d.open_zone(6)
    d.write_zone(7, 0, 64)
    d.reset_zone(7)
    d.write_zone(8, 0, 64)
    d.close_zone(8)
    d.flush()
    d.remove()
    other = add(id=7, **OPTIONS, buffered_io=True, zone_append=0)
    fio_zones(other, offset="8M", size="8M", rw="write", bs="64k")
    (scratch / "contents").write_text(contents(other), encoding="ascii")
    other.remove()
    # The test is about the driver, not about the file system beneath being unmounted in time.
    os.sync()


def boot2_write(scratch, add):
    d = add(**OPTIONS)
    d.check(0, 2048, 11)
    d.check(2 * LENGTH - 2048, 2048, 12)
    assert d.conditions(*range(2, 10)) == [CLOSED, CLOSED, FULL, FULL, EMPTY, EMPTY, CLOSED, EMPTY]
    for nr, wp in (2, 64), (3, 4088), (8, 64):
        d.check_zone(nr, 0, wp)
        assert d.zone(nr).wp == wp
        d.write_zone(nr, wp, 8)
        d.check_zone(nr, 0, wp + 8)
    d.check_zone(4, 0, CAPACITY)
    d.check_zone(5, 0, 64)
    d.check_zone(5, 64, LENGTH - 64, ZEROS)
    d.remove()
    other = add(id=7, **OPTIONS)
    assert contents(other) == (scratch / "contents").read_text(encoding="ascii")
