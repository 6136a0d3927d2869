# SPDX-License-Identifier: GPL-2.0
"""Encryption: dm-crypt on the device.

Guards writes that another driver splits and sends from tasks of its own, in the order of their
sectors; and appends, which it turns into writes, since the encrypted data depends on the place.
"""

from errno import EIO

import pytest

from zbd import EMPTY, FULL, IMP_OPEN, MIB, btrfs, pattern, refused
from zbd.dm import Mapping
from zbd.files import checksums
from zbd.filesystem import umount
from zbd.fio import fio, fio_files, fio_zones
from zbd.process import modprobe
from zbd.syscalls import MS_NOATIME

pytestmark = pytest.mark.limit(240)

LENGTH, CAPACITY = 4 * MIB, 3 * MIB


@pytest.fixture
def encrypt(defer):
    """`encrypt(device)`: the mapping of its plain text."""
    modprobe("dm-crypt")

    def make(device, key=0x5EED):
        mapping = Mapping("secret", f"0 {device.nr_sectors} crypt aes-xts-plain64 {key:064x} 0 {device.path} 0")
        defer(mapping.remove)
        return mapping

    return make


def test_crypt(add, encrypt, requests):
    below = add(capacity_mb=64, zone_size_mb=4, zone_capacity_mb=3, conv_zones=2, nr_queues=2)
    secret = encrypt(below)
    d = secret.device
    assert [(z.start, z.cond, z.capacity) for z in d.zones()] == [(z.start, z.cond, z.capacity) for z in below.zones()]
    d.write(64, 1024, 3)
    d.check(64, 1024, 3)
    d.write_zone(3, 0, 512, 4)
    d.check_zone(3, 0, 512, 4)
    assert (below.zone(3).cond, below.zone(3).wp) == (IMP_OPEN, 512)
    # What is below is secret, and no two pieces of it are the same.
    assert below.pread(3 * LENGTH, 512) != pattern(3 * LENGTH, 512, 4)
    data = below.pread(3 * LENGTH, 8)
    assert len({data[at : at + 16] for at in range(0, 4096, 16)}) == 256
    refused(d, EIO, d.write_zone, 3, 520, 8)
    for at in range(0, CAPACITY, 512):
        d.write_zone(4, at, 512, 4)
    assert (below.zone(4).cond, below.zone(4).wp) == (FULL, None)
    ends = requests(d).run(f"append at={5 * LENGTH} sectors=8 count=100 seed=5", 32)
    assert {end.error for end in ends} == {"ok"}
    assert sorted(end.sector for end in ends) == list(range(5 * LENGTH, 5 * LENGTH + 800, 8))
    assert (below.zone(5).cond, below.zone(5).wp) == (IMP_OPEN, 800)
    d.finish_zone(6)
    assert (below.zone(6).cond, below.zone(6).wp) == (FULL, None)
    d.reset_zone(4)
    assert (below.zone(4).cond, below.zone(4).wp) == (EMPTY, 0)
    d.flush()
    fio_zones(d, iodepth=8, offset="28M", size="24M", rw="randwrite", bs="16k")
    fio(d, iodepth=8, size="8M", rw="randwrite", bs="4k")
    secret.remove()
    # It is there with the same key, and with that alone.
    below.add_again(nr_queues=None)
    secret = encrypt(below)
    secret.device.check_zone(3, 0, 512, 4)
    secret.remove()
    secret = encrypt(below, 0x5EEE)
    with pytest.raises(AssertionError, match="wrong data"):
        secret.device.check_zone(3, 0, 8, 4)
    secret.remove()
    below.remove()


def test_btrfs(add, encrypt, mounted):
    """A file system that appends on it."""
    secret = encrypt(add(capacity_mb=1024, zone_size_mb=16, conv_zones=0)).path
    btrfs.make(secret)
    mnt = mounted(secret, "btrfs", flags=MS_NOATIME)
    fio_files(mnt, nrfiles=2, size="12M", bs="64k")
    sums = checksums(mnt)
    umount(mnt)
    mounted(secret, "btrfs", flags=MS_NOATIME)
    assert checksums(mnt) == sums
    umount(mnt)
