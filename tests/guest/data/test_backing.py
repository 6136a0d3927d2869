# SPDX-License-Identifier: GPL-2.0
"""Zone files on any file system.

Guards the promise that it does not matter which file system is below: block size, alignment of
direct I/O and the sizes of files are taken as they are. On overlayfs, files are copied up from a
lower layer when they are opened for writing. On NFS, I/O has no alignment, nothing can be tried
without waiting, and the server knows a file's size.
"""

import random
from errno import EOPNOTSUPP

import pytest

from zbd import CLOSED, EMPTY, FULL, MIB, NOT_WP, SECTOR, ZEROS
from zbd.filesystem import mount, umount, umount_if_mounted
from zbd.fio import fio, fio_zones
from zbd.nfs import NfsServer

pytestmark = pytest.mark.limit(240)

FILE_SYSTEMS = ["xfs", "ext4", "btrfs", "tmpfs"]
ON_EACH = pytest.mark.parametrize("scratch", FILE_SYSTEMS, indirect=True)

LENGTH, CAPACITY = 4 * MIB, 3 * MIB
SMALL = {"capacity_mb": 32, "zone_size_mb": 4, "conv_zones": 1}


@pytest.fixture
def overlay(scratch, base_dir, defer):
    """`overlay()` mounts an overlayfs on `base_dir`, over the directory `lower` of the scratch directory."""

    def mount_overlay():
        lower, upper, work = (scratch / name for name in ("lower", "upper", "work"))
        for directory in lower, upper, work:
            directory.mkdir(exist_ok=True)
        mount("overlay", base_dir, "overlay", f"lowerdir={lower},upperdir={upper},workdir={work}")
        defer(umount_if_mounted, base_dir)

    return mount_overlay


@pytest.fixture
def nfs(scratch, base_dir, cleanup):
    """A server on this machine exports the directory `export` of the scratch directory; it is mounted on
    `base_dir`."""
    server = cleanup.enter_context(NfsServer(scratch / "export"))
    server.mount(base_dir)
    cleanup.callback(umount_if_mounted, base_dir)
    return server


def check_zone_data(add):
    """Data in conventional and sequential zones comes back, at once and after remove and add; the size of a file is
    its zone's write pointer."""
    d = add(capacity_mb=48, zone_size_mb=4, zone_capacity_mb=3, conv_zones=2)
    rnd = random.Random(1)
    conventional = 0, 2 * LENGTH - 8, LENGTH - 512, 8000
    for at in conventional:
        d.write(at, 8, at)
    for at in conventional:
        d.check(at, 8, at)
    for nr, end in (3, CAPACITY), (4, CAPACITY // 2), (5, 64):
        at = 0
        while at < end:
            count = min(rnd.randrange(8, 1032, 8), CAPACITY - at)
            d.write_zone(nr, at, count, nr)
            at += count
        d.check_zone(nr, 0, at, nr)
        d.check_zone(nr, at, LENGTH - at, ZEROS)
        assert d.zone_file_sectors(nr) == at
    d.write_zone(6, 0, 64, 6)
    d.finish_zone(6)
    assert d.zone_file_sectors(6) == CAPACITY
    d.write_zone(7, 0, 64, 7)
    d.reset_zone(7)
    assert d.zone_file_sectors(7) == 0
    d.flush()

    d.add_again()
    for at in conventional:
        d.check(at, 8, at)
    assert d.conditions() == [NOT_WP] * 2 + [EMPTY, FULL, CLOSED, CLOSED, FULL, EMPTY] + [EMPTY] * 4
    d.check_zone(3, 0, CAPACITY, 3)
    d.check_zone(4, 0, d.zone(4).wp, 4)
    d.check_zone(5, 0, d.zone(5).wp, 5)
    d.check_zone(6, 0, 64, 6)
    d.check_zone(6, 64, LENGTH - 64, ZEROS)
    d.check_zone(7, 0, LENGTH, ZEROS)
    d.write_at_wp(5, 64, 8)
    d.reset_all_zones()
    d.remove()


def check_fio(add):
    """fio writes and verifies all zones, with several writes under way in several zones at once."""
    for buffered_io in False, True:
        d = add(capacity_mb=24, zone_size_mb=2, conv_zones=2, nr_queues=2, buffered_io=buffered_io)
        fio_zones(d, size="12M", offset="4M", rw="randwrite", bs="16k", iodepth=8)
        fio(d, size="4M", rw="randwrite", bs="4k", iodepth=8)
        d.delete()


@ON_EACH
def test_zone_data(add):
    check_zone_data(add)


@ON_EACH
def test_fio(add):
    check_fio(add)


def test_zone_data_on_overlayfs(overlay, add):
    overlay()
    check_zone_data(add)


def test_lower_layer(scratch, base_dir, overlay, add):
    """A device in the lower layer is changed in the upper one."""
    lower = add(base_dir=scratch / "lower", **SMALL)
    for nr in 0, 2, 3:
        lower.write_zone(nr, 0, 64)
    lower.remove()
    overlay()
    d = add(**SMALL)
    d.check(0, 64)
    d.check_zone(2, 0, 64)
    d.write_zone(2, 64, 64)
    d.reset_zone(3)
    d.write(8, 8, 2)
    d.flush()
    d.add_again()
    assert [(zone.cond, zone.wp, zone.capacity) for zone in d.zones()[1:5]] == [
        (EMPTY, 0, LENGTH),
        (CLOSED, 128, LENGTH),
        (EMPTY, 0, LENGTH),
        (EMPTY, 0, LENGTH),
    ]
    d.check_zone(2, 0, 128)
    d.check(8, 8, 2)
    d.remove()
    umount(base_dir)
    assert [lower.zone_file(nr).stat().st_size for nr in (2, 3)] == [32768, 32768]


def test_zone_data_on_nfs(nfs, add):
    check_zone_data(add)


def test_fio_on_nfs(nfs, add):
    check_fio(add)


def test_discard_and_flush_on_nfs(nfs, base_dir, add, control):
    """Space goes back to the server, and what was flushed is there when all caches are gone.

    NFS has no files without a name, which volatile_cache needs. A device that is refused for that
    leaves nothing.
    """
    directory = base_dir / "0"
    directory.mkdir()
    options = "capacity_mb=32,zone_size_mb=4,conv_zones=1"
    control.rejects(
        EOPNOTSUPP, f"add id=0,base_dir={base_dir},{options},volatile_cache", r"volatile_cache: .*O_TMPFILE"
    )
    assert not list(directory.iterdir())
    d = add(options)
    for at in range(0, LENGTH, 512):
        d.write(at, 512, 3)
    d.write_zone(2, 0, 512, 4)
    d.zero_out(2 * LENGTH + 512, 64)
    d.flush()
    d.discard(1024, 4096)
    d.flush()
    d.remove()
    umount(base_dir)
    exported = nfs.directory / "0"
    assert (exported / "cnv-000000").stat().st_blocks < 5000  # of 8192
    assert (exported / "seq-000002").stat().st_size == 576 * SECTOR
    nfs.mount(base_dir)
    d.add()
    d.check(0, 1024, 3)
    d.check(1024, 4096, ZEROS)
    d.check(5120, 3072, 3)
    assert (d.zone(2).cond, d.zone(2).wp) == (CLOSED, 576)
    d.check_zone(2, 0, 512, 4)
    d.check_zone(2, 512, LENGTH - 512, ZEROS)
    d.remove()
