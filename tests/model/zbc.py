#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Zone commands and direct I/O on a zoned block device.

As a library (`from zbc import *`) and as a command:

    zbc-command.py DEVICE report [SECTOR [COUNT]]
    zbc-command.py DEVICE write SECTOR SECTORS [SEED]
    zbc-command.py DEVICE check SECTOR SECTORS [SEED|zero]
    zbc-command.py DEVICE open|close|finish|reset SECTOR [SECTORS]
    zbc-command.py DEVICE reset-all
    zbc-command.py DEVICE flush

Sectors have 512 bytes. A failure prints the name of the errno. What `write`
writes depends on the sector and the seed alone, so that data that moved, was
lost or came twice is found.
"""

import errno
import fcntl
import mmap
import os
import random
import struct
import sys
import threading
import time

SECTOR = 512
MIB = 2048  # sectors
INVALID = 2**64 - 1  # the write pointer of a zone that has none

BLKREPORTZONE = 0xC0101282
BLKRESETZONE = 0x40101283
BLKOPENZONE = 0x40101286
BLKCLOSEZONE = 0x40101287
BLKFINISHZONE = 0x40101288
BLKREPORTZONEV2 = 0xC010128E
BLKGETZONESZ = 0x80041284
BLKGETNRZONES = 0x80041285
BLKGETSIZE64 = 0x80081272
BLKFLSBUF = 0x1261
BLKDISCARD = 0x1277
BLKZEROOUT = 0x127F

REP_CAPACITY = 1
REP_CACHED = 1 << 31

CONDITIONS = {0: "NWP", 1: "E", 2: "IO", 3: "EO", 4: "C", 13: "RO", 14: "F", 15: "OFF", 255: "ACTIVE"}
TYPES = {1: "conv", 2: "seq", 3: "pref"}


class Zone:
    """One zone of a report. `wp` and `cap` are relative to the zone's start; `wp` is None if it is invalid."""

    def __init__(self, raw):
        self.start, self.len, wp, kind, cond, _, self.reset, _, self.cap = struct.unpack_from("<QQQBBBB4sQ", raw)
        self.type = TYPES[kind]
        self.cond = CONDITIONS[cond]
        self.raw_wp = wp
        self.wp = None if wp == INVALID else wp - self.start

    def key(self):
        return (self.start, self.len, self.type, self.cond, self.wp, self.cap)

    def __eq__(self, other):
        return self.key() == other.key()

    def __repr__(self):
        return f"[{self.start}+{self.len} {self.type} {self.cond} wp {self.wp} cap {self.cap}]"


def pattern(sector, count, seed=1):
    """The data of these sectors."""
    return b"".join(struct.pack("<QQ", s, seed) * 32 for s in range(sector, sector + count))


class Dev:
    def __init__(self, path, flags=os.O_RDWR | os.O_DIRECT):
        self.path = path
        self.fd = os.open(path, flags)
        self.lock = threading.Lock()
        self.buffers = {}

    def close_fd(self):
        os.close(self.fd)

    def ioctl_range(self, cmd, sector, count):
        fcntl.ioctl(self.fd, cmd, struct.pack("<QQ", sector, count))

    # Reports.

    def report(self, sector=0, count=4096, cmd=BLKREPORTZONE, flags=0):
        buf = bytearray(16 + 64 * count)
        struct.pack_into("<QII", buf, 0, sector, count, flags)
        fcntl.ioctl(self.fd, cmd, buf)
        _, n, self.report_flags = struct.unpack_from("<QII", buf)
        return [Zone(buf[16 + 64 * i : 80 + 64 * i]) for i in range(n)]

    def cached(self, sector=0, count=4096):
        return self.report(sector, count, BLKREPORTZONEV2, REP_CACHED)

    def zones(self):
        return self.report()

    def zone(self, nr):
        return self.report(nr * self.zone_size(), 1)[0]

    def zone_size(self):
        if not hasattr(self, "_zone_size"):
            self._zone_size = struct.unpack("<I", fcntl.ioctl(self.fd, BLKGETZONESZ, b"\0" * 4))[0]
        return self._zone_size

    def nr_sectors(self):
        return struct.unpack("<Q", fcntl.ioctl(self.fd, BLKGETSIZE64, b"\0" * 8))[0] // SECTOR

    def nr_zones(self):
        return struct.unpack("<I", fcntl.ioctl(self.fd, BLKGETNRZONES, b"\0" * 4))[0]

    # Zone commands, on `count` zones from zone `nr` on.

    def zone_cmd(self, cmd, nr, count=1):
        z = self.zone_size()
        start, end, device_end = nr * z, (nr + count) * z, self.nr_sectors()
        # The last zone may be smaller. There is none in a device whose power has failed.
        if start < device_end < end < device_end + z:
            end = device_end
        self.ioctl_range(cmd, start, end - start)

    def open(self, nr, count=1):
        self.zone_cmd(BLKOPENZONE, nr, count)

    def close(self, nr, count=1):
        self.zone_cmd(BLKCLOSEZONE, nr, count)

    def finish(self, nr, count=1):
        self.zone_cmd(BLKFINISHZONE, nr, count)

    def reset(self, nr, count=1):
        self.zone_cmd(BLKRESETZONE, nr, count)

    def reset_all(self):
        """One REQ_OP_ZONE_RESET_ALL, for that is what the whole range becomes."""
        self.zone_cmd(BLKRESETZONE, 0, self.nr_zones())

    # Data.

    def buffer(self, size):
        """Page-aligned memory, one per thread and size."""
        key = (threading.get_ident(), size)
        with self.lock:
            if key not in self.buffers:
                self.buffers[key] = mmap.mmap(-1, size)
            return self.buffers[key]

    def pwrite(self, sector, data):
        buf = self.buffer(len(data))
        buf[:] = data
        n = os.pwritev(self.fd, [buf], sector * SECTOR)
        if n != len(data):
            raise AssertionError(f"short write at {sector}: {n} of {len(data)}")

    def pread(self, sector, count):
        buf = self.buffer(count * SECTOR)
        n = os.preadv(self.fd, [buf], sector * SECTOR)
        if n != len(buf):
            raise AssertionError(f"short read at {sector}: {n} of {len(buf)}")
        return buf[:]

    def write(self, sector, count, seed=1):
        self.pwrite(sector, pattern(sector, count, seed))

    def check(self, sector, count, seed=1):
        """These sectors hold what was written with that seed, or zeros if the seed is None."""
        step = 2048
        for at in range(sector, sector + count, step):
            n = min(step, sector + count - at)
            got = self.pread(at, n)
            want = bytes(n * SECTOR) if seed is None else pattern(at, n, seed)
            if got != want:
                bad = next(i for i in range(n) if got[i * SECTOR : (i + 1) * SECTOR] != want[i * SECTOR : (i + 1) * SECTOR])
                where = struct.unpack_from("<QQ", got, bad * SECTOR)
                raise AssertionError(f"wrong data in sector {at + bad}: there is sector, seed {where}, want seed {seed}")

    # The same within a zone.

    def zwrite(self, nr, offset, count, seed=1):
        self.write(nr * self.zone_size() + offset, count, seed)

    def zcheck(self, nr, offset, count, seed=1):
        self.check(nr * self.zone_size() + offset, count, seed)

    def append(self, nr, count, seed=1):
        """Write at the write pointer."""
        self.zwrite(nr, self.zone(nr).wp, count, seed)

    def flush(self):
        os.fsync(self.fd)

    def discard(self, sector, count):
        fcntl.ioctl(self.fd, BLKDISCARD, struct.pack("<QQ", sector * SECTOR, count * SECTOR))

    def zeroout(self, sector, count):
        """Make these sectors read as zeros; they keep their space."""
        fcntl.ioctl(self.fd, BLKZEROOUT, struct.pack("<QQ", sector * SECTOR, count * SECTOR))

    def punch(self, sector, count):
        """The same, but their space is given back."""
        # It takes as long to import as all else here, and in the VM that is half a second.
        import subprocess

        subprocess.run(["fallocate", "-p", "-o", str(sector * SECTOR), "-l", str(count * SECTOR), self.path], check=True)


class End:
    """How a request of a program of tests/kmod ended. `error` is "ok" or an errno's name."""

    def __init__(self, raw):
        number, self.order, self.sector, self.ns = raw
        self.error = errno.errorcode[-number] if number else "ok"

    def __repr__(self):
        return f"({self.error} sector {self.sector} order {self.order})"


class Requests:
    """Requests that are made in the kernel: see tests/kmod/requests.rs for the programs."""

    def __init__(self, device):
        self.fd = os.open("/dev/zloop-requests", os.O_RDWR)
        os.write(self.fd, f"device {device}\n".encode())

    def close_fd(self):
        os.close(self.fd)

    def run(self, program, depth=1):
        """Carry out a program and return how each request ended."""
        os.write(self.fd, f"depth {depth}\n{program}\n".encode())
        size = 4096
        while len(said := os.pread(self.fd, size, 0)) == size:
            size *= 16
        self.elapsed, self.nr, self.failed = struct.unpack_from("<QII", said)
        ends = said[16:]
        return [End(raw) for raw in struct.iter_unpack("<iIQQ", ends)]

    def one(self, program):
        """Carry out one request. Fails as a system call does; returns the sector."""
        end = self.run(program)[0]
        if end.error != "ok":
            raise OSError(getattr(errno, end.error), program)
        return end.sector


def eq(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def fails(want, fn, *args, **kw):
    """The call fails with this errno, given by name ("A|B": any of them)."""
    try:
        fn(*args, **kw)
    except OSError as e:
        name = errno.errorcode[e.errno]
        if name not in want.split("|"):
            raise AssertionError(f"{fn.__name__}{args}: {name}, want {want}") from e
        return name
    raise AssertionError(f"{fn.__name__}{args}: succeeded, want {want}")


def refused(dev, want, fn, *args, **kw):
    """The call fails with this errno and changes no zone."""
    before = dev.zones()
    fails(want, fn, *args, **kw)
    after = dev.zones()
    if before != after:
        diff = [(b, a) for b, a in zip(before, after) if b != a]
        raise AssertionError(f"{fn.__name__}{args} was refused ({want}) but changed {diff}")


def cond(dev, nr, want, wp="any"):
    """Zone `nr` is in this condition, at this write pointer."""
    z = dev.zone(nr)
    eq(z.cond, want, f"condition of zone {nr} {z}")
    if wp != "any":
        eq(z.wp, wp, f"write pointer of zone {nr} {z}")


def control(command):
    """Write a command to the control device."""
    fd = os.open("/dev/zloop-control", os.O_WRONLY)
    try:
        os.write(fd, command.encode())
    finally:
        os.close(fd)


# The debug kernel looks for leaks itself; what is freed there is held back for a while.
HAS_KMEMLEAK = os.path.exists("/sys/kernel/debug/kmemleak")


def kernel_memory():
    """KiB that the kernel can't give back, by kind, once what it can is gone."""
    for _ in range(2):
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")
        time.sleep(0.3)
    with open("/proc/meminfo", encoding="ascii") as f:
        info = {line.split(":")[0]: int(line.split()[1]) for line in f}
    return {k: info[k] for k in ("SUnreclaim", "VmallocUsed", "Percpu", "KernelStack")}


def main(path, op, *args):
    dev = Dev(path)
    nums = [int(a, 0) for a in args if a != "zero"]
    if op == "report":
        for nr, z in enumerate(dev.report(*nums)):
            print(nr, z.start, z.len, z.type, z.cond, "-" if z.wp is None else z.wp, z.cap)
    elif op == "write":
        dev.write(*nums)
    elif op == "check":
        dev.check(*nums, **({"seed": None} if "zero" in args else {}))
    elif op == "flush":
        dev.flush()
    elif op == "reset-all":
        dev.reset_all()
    else:
        cmd = {"open": BLKOPENZONE, "close": BLKCLOSEZONE, "finish": BLKFINISHZONE, "reset": BLKRESETZONE}[op]
        dev.ioctl_range(cmd, nums[0], nums[1] if len(nums) > 1 else dev.zone_size())


def run():
    """What zbc-command.py does."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except OSError as e:
        sys.exit(errno.errorcode[e.errno])
