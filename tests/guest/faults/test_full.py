# SPDX-License-Identifier: GPL-2.0
"""No space left below.

Guards the promises that a request which finds no space fails with ENOSPC and changes nothing, that
everything else goes on, and that space made elsewhere is space again, with nothing to be done to
the device.
"""

import os
import shutil
import time
from errno import ENOSPC

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, NOT_WP, fails, pattern
from zbd.errors import errno_of
from zbd.filesystem import allocate, fill, mount, umount_if_mounted

GEOMETRY = {"capacity_mb": 48, "zone_size_mb": 4, "conv_zones": 2}
LENGTH = 4 * MIB


def empty(filler):
    shutil.rmtree(filler)
    os.sync()


@pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])
@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
def test_full(image_file, base_dir, add, fs_type, buffered_io):
    """There is less space than a zone takes."""
    image_file(fs_type, 320, base_dir)
    d = add(buffered_io=buffered_io, **GEOMETRY)
    d.write(0, 64)
    d.write_zone(3, 0, 64, 3)
    d.write_zone(4, 0, 64, 4)
    d.flush()
    filler = base_dir / "filler"
    fill(filler, 3 << 20)
    # Zone 5 is written until there is no more.
    for at in range(0, LENGTH, 512):
        error = errno_of(d.write_zone, 5, at, 512, 5)
        if error:
            break
    assert error == ENOSPC
    zone = d.zone(5)
    assert zone.cond is IMP_OPEN
    assert at <= zone.wp < at + 512
    d.check_zone(5, 0, at, 5)
    # Zones 3 and 4 have given back their space in reserve. Others take it.
    time.sleep(1)
    for size in 1 << 20, 4096:
        for number in range(10000):
            error = errno_of(allocate, filler / f"more-{size}-{number}", size)
            if error:
                assert error == ENOSPC
                break
    # Nothing else is the worse for it.
    fails(ENOSPC, d.write, 2 * MIB, 2048, 9)
    d.check(0, 64)
    d.write(0, 64, 2)
    d.check(0, 64, 2)
    d.check_zone(3, 0, 64, 3)
    d.check_zone(4, 0, 64, 4)
    d.open_zone(6)
    d.close_zone(6)
    d.open_zone(7)
    d.close_zone(3)
    d.flush()
    assert d.conditions() == [NOT_WP] * 2 + [EMPTY, CLOSED, IMP_OPEN, IMP_OPEN, EMPTY, EXP_OPEN] + [EMPTY] * 4
    # A finish may succeed, as nothing is written: it takes no space.
    error = errno_of(d.finish_zone, 4)
    assert error in (None, ENOSPC)
    assert (d.zone(4).cond, d.zone(4).wp) == ((IMP_OPEN, 64) if error else (FULL, None))
    d.check_zone(4, 0, 64, 4)
    # A reset gives space.
    d.reset_zone(5)
    d.write_zone(8, 0, 512, 8)

    empty(filler)
    for at in range(0, LENGTH, 1024):
        d.write_zone(5, at, 1024, 5)
        d.write(LENGTH + at, 1024, 9)
    d.write_zone(8, 512, 512, 8)
    d.flush()
    d.add_again()
    assert d.conditions(3, 5, 6, 7, 8) == [CLOSED, FULL, EMPTY, EMPTY, CLOSED]
    d.check(0, 64, 2)
    d.check_zone(3, 0, 64, 3)
    d.check_zone(4, 0, 64, 4)
    d.check_zone(5, 0, LENGTH, 5)
    d.check_zone(8, 0, 1024, 8)
    d.check(LENGTH, LENGTH, 9)


class Appends:
    """Zone appends to zone 5, many in flight."""

    def __init__(self, device, requests):
        self.device = device
        self.requests = requests
        # Each with the sector that it went to, its length, the number by which its data goes, and the seed.
        self.done = []

    def make(self, sectors, count, seed):
        """Make so many: returns where those went that succeeded, and the errnos of the others."""
        ends = self.requests.run(f"append at={5 * LENGTH} sectors={sectors} count={count} seed={seed}", 16)
        done = [(end.sector, sectors, nr * sectors, seed) for nr, end in enumerate(ends) if not end.errno]
        self.done += done
        return [sector for sector, *_ in done], {end.errno for end in ends if end.errno}

    def check(self):
        """Each has sectors of its own, all below the write pointer, with its data."""
        self.done.sort()
        for (at, sectors, *_), (behind, *_) in zip(self.done, self.done[1:], strict=False):
            assert at + sectors <= behind
        zone = self.device.zone(5)
        assert zone.start <= self.done[0][0]
        at, sectors, *_ = self.done[-1]
        assert at + sectors <= zone.start + (zone.capacity if zone.cond is FULL else zone.wp)
        for at, sectors, label, seed in self.done:
            assert self.device.pread(at, sectors) == pattern(label, sectors, seed), f"data of the append at {at}"


@pytest.mark.parametrize(
    ("fs_type", "buffered_io"),
    [
        pytest.param("ext4", False, id="ext4"),
        pytest.param("xfs", False, id="xfs"),
        pytest.param("xfs", True, id="xfs-buffered"),
    ],
)
def test_appends(image_file, base_dir, add, requests, fs_type, buffered_io):
    """Of many appends in flight some find no space. The others are where their ends say, and those that come when
    there is space again follow."""
    image_file(fs_type, 320, base_dir)
    d = add(buffered_io=buffered_io, **GEOMETRY)
    filler = base_dir / "filler"
    fill(filler, 3 << 20)
    appends = Appends(d, requests(d))
    sectors, errors = appends.make(LENGTH // 64, 64, 1)
    assert sectors
    assert errors == {ENOSPC}
    assert d.zone(5).cond is IMP_OPEN
    appends.check()
    # There is no space still, but no harm is done either.
    assert appends.make(LENGTH // 64, 8, 2)[1] == {ENOSPC}
    appends.check()
    d.flush()

    empty(filler)
    wp = d.zone(5).wp
    assert wp % 8 == 0
    sectors, errors = appends.make(8, (LENGTH - wp) // 8, 3)
    assert not errors
    assert sorted(sectors) == list(range(5 * LENGTH + wp, 6 * LENGTH, 8))
    assert d.zone(5).cond is FULL
    appends.check()


def test_add_to_a_full_file_system(base_dir, add, control, defer):
    """There is no space for the files: they go away again, and later there is."""
    mount("tmpfs", base_dir, "tmpfs", "size=64k")
    defer(umount_if_mounted, base_dir)
    directory = base_dir / "0"
    directory.mkdir()
    filler = base_dir / "filler"
    filler.write_bytes(bytes(64 << 10))
    # Of its files, the one with the geometry takes space.
    fails(ENOSPC, control.add, id=0, base_dir=base_dir, **GEOMETRY)
    assert not list(directory.iterdir())
    filler.unlink()
    d = add(**GEOMETRY)
    d.write_zone(3, 0, 8)
    d.remove()
    # A device that is there already takes none to be added.
    errno_of(filler.write_bytes, bytes(64 << 10))
    d.add()
    d.check_zone(3, 0, 8)
