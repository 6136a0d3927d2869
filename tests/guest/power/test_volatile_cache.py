# SPDX-License-Identifier: GPL-2.0
"""volatile_cache: a power failure takes back all that conventional zones have not flushed.

Guards the promise that a block of a conventional zone has after it the data that were last flushed
or, with a seed, perhaps later ones; that removal as such loses nothing; and that the old data take
no space once they are not needed.
"""

import os
import random
import signal
import struct
import subprocess
import time
from errno import EIO, ENODEV, ENOSPC, ENXIO

import pytest

from zbd import MIB, SECTOR, ZEROS, fails, pattern
from zbd.control import PATH as CONTROL
from zbd.errors import errno_of, name_of
from zbd.filesystem import fill, free_space, umount
from zbd.fio import fio
from zbd.process import run
from zbd.threads import Threads

pytestmark = pytest.mark.limit(240)

LENGTH = 4 * MIB
STEP = 1024
CACHED = {"capacity_mb": 32, "zone_size_mb": 4, "conv_zones": 2, "volatile_cache": True}
GONE = (EIO, ENOSPC, ENXIO, ENODEV)


def write_all(device, seed, sectors=2 * LENGTH):
    for at in range(0, sectors, STEP):
        device.write(at, STEP, seed)


def versions(device, sectors):
    """The seeds of the blocks of 4 KiB, each of which is whole."""
    found = []
    for at in range(0, sectors, STEP):
        data = device.pread(at, STEP)
        for block in range(0, STEP, 8):
            _, seed = struct.unpack_from("<QQ", data, block * SECTOR)
            assert data[block * SECTOR : (block + 8) * SECTOR] == pattern(at + block, 8, seed or ZEROS), (at, block)
            found.append(seed)
    return found


@pytest.mark.parametrize(
    ("scratch", "options"),
    [
        pytest.param("xfs", "", id="xfs"),  # it has reflinks
        pytest.param("ext4", "", id="ext4"),
        pytest.param("btrfs", "", id="btrfs"),
        pytest.param("tmpfs", "buffered_io", id="tmpfs"),
    ],
    indirect=["scratch"],
)
def test_back_to_flushed(add, options):
    """Data that were overwritten, discarded and zeroed all come back. Data that were flushed stay."""
    d = add(options, **CACHED)
    assert d.queue("fua") == 0
    write_all(d, 1)
    d.flush()
    d.write(0, 1024, 2)
    d.write(LENGTH - 64, 128, 2)
    d.flush()
    d.write(512, 1024, 3)
    d.write(0, 8, 3)
    d.write(0, 8, 4)
    d.write(LENGTH - 8, 16, 3)
    d.discard(4096, 512)
    d.zero_out(10000, 512)
    d.write(4096 + 64, 64, 3)
    d.check(0, 8, 4)
    d.check(512, 1024, 3)
    d.check(4096 + 128, 64, ZEROS)
    d.close()
    d.power_fail()
    d.add()
    d.check(0, 1024, 2)
    d.check(1024, LENGTH - 64 - 1024, 1)
    d.check(LENGTH - 64, 128, 2)
    d.check(LENGTH + 64, LENGTH - 64, 1)
    d.write(0, 1024, 5)
    # A removal is no power failure.
    d.add_again()
    d.check(0, 1024, 5)
    d.write(0, 1024, 6)
    d.add_again(discard_write_cache=True)
    d.write(0, 1024, 7)
    d.add_again(discard_write_cache=False)
    d.check(0, 1024, 6)
    d.remove()


def test_killed(add, failing_disk):
    """The process that asks for the failure may be killed meanwhile: all comes back."""
    disk = failing_disk("ext4", 320)
    d = add(base_dir=disk.mount_point, buffered_io=True, **CACHED)
    write_all(d, 1)
    d.flush()
    write_all(d, 2)
    d.close()
    disk.slow(500)
    failure = subprocess.Popen(["sh", "-c", f"echo powerfail id=0 >{CONTROL}"])
    while d.exists:
        time.sleep(0.05)
    failure.kill()
    assert failure.wait() == -signal.SIGKILL, "it was over too soon"
    disk.heal()
    d.add()
    d.check(0, 2 * LENGTH, 1)
    d.remove()


def versions_after(add, seed, options=""):
    """The versions after always the same work, and a failure."""
    d = add(options, **CACHED)
    write_all(d, 1, 2048)
    d.flush()
    for at in range(0, 1024, 64):
        d.write(at, 64, 2)
    d.close()
    d.power_fail(seed=seed)
    d = add(**CACHED)
    found = versions(d, 2048)
    d.delete()
    return found


def test_seed(add):
    one = versions_after(add, 1)
    # The data that a removal loses has no say in it.
    assert versions_after(add, 1, "discard_write_cache") == one
    assert versions_after(add, 2) != one
    overwritten, rest = "".join(map(str, one[:128])), one[128:]
    assert rest == [1] * 128
    assert set(overwritten) == {"1", "2"}
    assert "22" in overwritten.partition("11")[2]


class Load:
    """Threads overwrite blocks and flush. For each block there are the versions that were asked for, written, flushed
    for certain, and flushed perhaps."""

    BLOCKS = 512

    def __init__(self, device, written):
        self.device = device
        self.written = written
        self.issued, self.durable, self.possible = written[:], written[:], written[:]
        self.requests_done = 0
        self.power_fails = False
        self.flushes = True

    def work(self, rnd, first):
        try:
            while True:
                if self.flushes and rnd.random() < 0.03:
                    self.flush()
                else:
                    self.write(rnd, rnd.randrange(0, self.BLOCKS, 16) + first)
                self.requests_done += 1
        except OSError as error:
            if error.errno not in GONE or not self.power_fails:
                raise

    def flush(self):
        before = self.written[:]
        try:
            self.device.flush()
        finally:
            self.possible[:] = map(max, self.possible, self.issued)
        self.durable[:] = map(max, self.durable, before)

    def write(self, rnd, block):
        count = rnd.choice((1, 1, 4))
        blocks = slice(block, block + count)
        version = max(self.issued[blocks]) + 1
        self.issued[blocks] = [version] * count
        self.device.write(block * 8, count * 8, version)
        self.written[blocks] = [version] * count


@pytest.mark.parametrize(
    ("scratch", "options", "seed"),
    [pytest.param("xfs", "", None, id="all_is_lost"), pytest.param("ext4", "buffered_io", 9, id="seed")],
    indirect=["scratch"],
)
def test_under_load(add, control, options, seed):
    """The power fails among writes and flushes. The last time it does so when there has been no flush for a while, so
    that something is lost for certain."""
    rnd = random.Random(5)
    d = add(options, nr_queues=2, **CACHED)
    written = [0] * Load.BLOCKS
    lost = 0
    for turn in range(4):
        load = Load(d, written)
        with Threads() as threads:
            for nr in range(4):
                threads.start(load.work, random.Random(turn * 4 + nr), 4 * nr)
            time.sleep(2 + rnd.random())
            if turn == 3:
                load.flushes = False
                enough = load.requests_done + 100
                while load.requests_done < enough and not threads.errors:
                    time.sleep(0.01)
            load.power_fails = True
            control.powerfail(0, seed=seed and seed + turn)
        d.add()
        found = versions(d, Load.BLOCKS * 8)
        for block, version in enumerate(found):
            most = max((load.possible if seed is None else load.issued)[block], load.durable[block])
            assert load.durable[block] <= version <= most, f"turn {turn}, block {block}"
        lost += sum(version > left for version, left in zip(written, found, strict=True))
        print(load.requests_done, "requests;", lost, "blocks lost so far")
        written = found
    assert lost > 0
    d.remove()


def test_space(scratch, add):
    """A flush gives the space of the old data back."""
    d = add(**CACHED)

    def write(**options):
        fio(d, size="8M", rw="write", bs="256k", **options)

    def free_kib():
        os.sync()
        return free_space(scratch) // 1024

    write(fsync=8)
    d.flush()
    free = free_kib()
    write(do_verify=0)
    assert free_kib() < free - 7000, "no old data was saved"
    d.flush()
    assert free_kib() > free - 1000, "the old data is still there"
    assert len(list(d.directory.iterdir())) == 9
    d.remove()


def test_no_space(add, image_file, base_dir):
    """For old data there is no room: a write over them fails and changes nothing. A flush makes room."""
    image_file("ext4", 128, base_dir)
    d = add(**CACHED)
    write_all(d, 1)
    d.flush()
    fill(base_dir / "filler", 1 << 20)
    for at in range(0, 2 * LENGTH, 64):
        error = errno_of(d.write, at, 64, 2)
        if error:
            break
    assert error == ENOSPC, name_of(error)
    # The first failure is where the room ends.
    assert 512 <= at <= 4096
    d.check(0, at, 2)
    d.check(at, 2 * LENGTH - at, 1)
    fails(ENOSPC, d.discard, at, 64)
    d.check(at, 64, 1)
    # Data that are saved already take no room.
    d.write(0, 64, 3)
    d.flush()
    d.write(at, 64, 4)
    d.check(at, 64, 4)
    d.close()
    d.power_fail()
    d.add()
    found = []
    for at in range(0, 4096, 64):
        _, seed = struct.unpack_from("<QQ", d.pread(at, 64))
        d.check(at, 64, seed)
        found.append(seed)
    # The first ones were overwritten while there was no room.
    assert found[0] == 3
    assert found[1:] == sorted(found[1:], reverse=True)
    assert set(found[1:]) == {1, 2}
    d.check(4096, 2 * LENGTH - 4096, 1)
    d.remove()


def test_ext4_on_conventional(add, mounted, fail_under_load, has_synced):
    """A journal is written again and again, in place."""
    d = add(capacity_mb=96, zone_size_mb=16, conv_zones=4, volatile_cache=True)
    run("mkfs.ext4", "-q", "-b", "4096", d.path, "64M")
    for seed in None, 1:
        mnt = mounted(d.path, "ext4")
        synced = fail_under_load(d, mnt, 65535, seed)
        d.add()
        mounted(d.path, "ext4")
        has_synced(mnt, synced)
        umount(mnt)
        run("e2fsck", "-fn", d.path)
    d.remove()
