#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Storms: everything at once and again and again, in the guest.

    storm.py KIND --seed S --count N      one of the functions below that are called storm_KIND
    storm.py all --seed S --count N       all of them, N times

Each ends with the same question: is all as it was? No device is left, the module
can be unloaded, the file system below can be unmounted, memory is back, and the
devices that were in the storm can be added again and hold nothing that was not
written to them. What must not happen on the way is a crash, a task that hangs, and
an errno that makes no sense.
"""

import argparse
import mmap
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.environ["TESTS"] + "/guest")
sys.dont_write_bytecode = True
from zbd import CLOSED, EMPTY, FULL, NOT_WP, filesystem, syscalls  # noqa: E402
from zbd.control import PATH as CONTROL  # noqa: E402
from zbd.control import Control  # noqa: E402
from zbd.device import ZonedDevice  # noqa: E402
from zbd.driver import Driver, devices, unload  # noqa: E402
from zbd.errors import errno_of, name_of  # noqa: E402
from zbd.kernel_log import KernelLog  # noqa: E402
from zbd.memory import HAS_KMEMLEAK, unreclaimable  # noqa: E402

TOP = "/run/storm"
BLOCK = 4096
driver = Driver(os.environ.get("DRIVER", "rust"))
OURS = not driver.is_c
control = Control(KernelLog())
GONE = {"ENOENT", "ENXIO", "ENODEV"}


class Failure(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Failure(what)


def attempt(allowed, function, *args):
    """Call it; what may go wrong in a storm is not an error. Whether it went well."""
    try:
        function(*args)
        return True
    except OSError as e:
        check(name_of(e.errno) in allowed, f"{function.__name__}{args}: {name_of(e.errno)}")
        return False


def mount():
    os.makedirs(TOP, exist_ok=True)
    filesystem.mount("tmpfs", TOP, "tmpfs", "size=600m")


def umount():
    """At once: nothing is open there."""
    filesystem.umount(TOP, patience=0)


def rmmod():
    """As `rmmod` does it; the errno's name, or "success"."""
    return name_of(errno_of(syscalls.delete_module, "zloop"))


def unused():
    """The module can go and come back: nothing holds it. A last close may still be on its way."""
    unload("zloop", patience=5)
    check(not os.path.exists(CONTROL), "the control device is still there")
    driver.load()


def available():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("MemAvailable"))


def open_files():
    with open("/proc/sys/fs/file-nr", encoding="ascii") as f:
        return int(f.read().split()[0])


def data(i, block, version):
    return struct.pack("<QII", block, version, i) * 256


def right(found, i, first):
    """Each block was written to this place of this device, or is zeros."""
    for at in range(0, len(found), BLOCK):
        block = found[at : at + BLOCK]
        if block == bytes(BLOCK):
            continue
        version = struct.unpack_from("<QI", block)[1]
        check(block == data(i, first + at // BLOCK, version), f"zloop{i}: block {first + at // BLOCK} has {struct.unpack_from('<QII', block)}")


class Crew:
    """Processes that work until they are told to stop."""

    def __init__(self):
        self.flag = mmap.mmap(-1, 4096)
        self.pids = {}

    def stopped(self):
        return self.flag[0]

    def add(self, function, *args):
        pid = os.fork()
        if pid:
            self.pids[pid] = function.__name__
            return pid
        status = 1
        try:
            function(*args)
            status = 0
        except Exception:
            # Whatever it is: nobody else would show it.
            print(f"{function.__name__}: {traceback.format_exc()}", flush=True)
            self.flag[0] = 1
        finally:
            os._exit(status)

    def stop(self, seconds=60):
        """All must end in that time."""
        self.flag[0] = 1
        end = time.monotonic() + seconds
        bad = []
        while self.pids and time.monotonic() < end:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                time.sleep(0.05)
            elif pid in self.pids:
                what = self.pids.pop(pid)
                if status:
                    bad.append(what)
        for pid, what in self.pids.items():
            with open(f"/proc/{pid}/stack", encoding="ascii") as f:
                print(f"{what} hangs:\n{f.read()}")
            bad.append(what)
        check(not bad, f"failed: {', '.join(bad)}")


# ---------------------------------------------------------------- all at once


IDS = 5
MANNERS = ["", ",buffered_io", ",max_open_zones=3", ",nr_queues=2", ",discard_write_cache", ",zone_append=0"]
if OURS:
    MANNERS += [",max_open_zones=3,max_active_zones=4", ",write_fault=readonly", ",volatile_cache"]


def shape(i):
    return f"base_dir={TOP},capacity_mb={8 + 4 * i},zone_size_mb=1,conv_zones={i % 3}"


def ending(r, i):
    """A command that ends a device."""
    if not OURS or r.random() < 0.6:
        return f"remove id={i}"
    return f"powerfail id={i}" + r.choice(["", f",seed={r.randrange(9)}"])


def adder(crew, seed):
    r = random.Random(seed)
    while not crew.stopped():
        i = r.randrange(IDS)
        if r.random() < 0.55:
            attempt(GONE | {"EEXIST", "EBUSY", "EINTR"}, control.write, f"add id={i},{shape(i)}{r.choice(MANNERS)}{r.choice(MANNERS)}")
        else:
            attempt(GONE | {"EBUSY", "EINVAL"}, control.write, ending(r, i))
        time.sleep(r.choice([0, 0, 0.01, 0.1]))


# What a request or a zone command may come to where others do the same, and the device may go.
TROUBLE = GONE | {"EIO", "EINVAL", "ENOTTY", "ETOOMANYREFS", "EOVERFLOW", "ENOSPC", "EOPNOTSUPP", "ERANGE", "EBADF", "ENOMEDIUM"}


def io(crew, seed):
    r = random.Random(seed)
    while not crew.stopped():
        i = r.randrange(IDS)
        d = ZonedDevice(f"/dev/zloop{i}")
        if not attempt(GONE | {"EBUSY"}, getattr, d, "fd"):
            time.sleep(0.01)
            continue
        # A node that was found may have been that of a device that is gone, and its number be another
        # one's when it is opened. From then on it stays.
        number = os.fstat(d.fd).st_rdev
        link = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
        if not os.path.exists(link) or os.path.basename(os.readlink(link)) != f"zloop{i}":
            d.close()
            continue
        for _ in range(r.choice([1, 5, 50])):
            attempt(TROUBLE, one_request, d, i, r)
        d.close()


def one_request(d, i, r):
    x = r.random()
    # Whole reports, of a device that is perhaps gone.
    if x < 0.15:
        d.report()
        return
    zones = d.report(r.randrange(8 + 4 * i) * 2048, 1)
    if not zones:
        return
    z = zones[0]
    nr = z.start // 2048
    if x < 0.5:
        wp = r.randrange(256) * 8 if not z.is_sequential else z.wp
        if wp is not None:
            count = min(r.choice([1, 2, 8, 64]), (2048 - wp) // 8)
            first = (z.start + wp) // 8
            try:
                if count:
                    d.pwrite(z.start + wp, b"".join(data(i, b, r.randrange(9)) for b in range(first, first + count)))
            except AssertionError:
                # Another one was faster, or the device has gone.
                pass
    elif x < 0.75:
        try:
            right(d.pread(z.start, 8 * r.choice([1, 8, 64])), i, z.start // 8)
        except AssertionError:
            pass
    elif x < 0.8:
        d.flush()
    elif x < 0.81:
        d.reset_all_zones()
    elif z.is_sequential:
        r.choice([d.open_zone, d.close_zone, d.finish_zone, d.reset_zone, d.reset_zone])(nr)


def opener(crew, seed):
    r = random.Random(seed)
    while not crew.stopped():
        i = r.randrange(IDS)
        try:
            fd = os.open(f"/dev/zloop{i}", r.choice([os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_EXCL]))
            time.sleep(r.choice([0, 0, 0.02]))
            os.close(fd)
            queue = f"/sys/block/zloop{i}/queue/"
            for attribute in os.listdir(queue):
                with open(queue + attribute, encoding="ascii") as f:
                    f.read()
        except OSError as e:
            check(name_of(e.errno) in GONE | {"EBUSY", "EINVAL", "EACCES", "EIO", "EISDIR"}, f"open: {name_of(e.errno)}")
        if r.random() < 0.1:
            attempt(GONE, control.read)


def unloader(crew, seed):
    r = random.Random(seed)
    while not crew.stopped():
        why = rmmod()
        check(why in ("success", "EBUSY", "EAGAIN", "ENOENT"), f"rmmod: {why}")
        if why == "success":
            check(not devices(), f"unloaded with {devices()}")
            time.sleep(r.choice([0, 0.01]))
            driver.load()
        time.sleep(r.choice([0, 0.005, 0.05]))


def breaker(crew, seed):
    """Has zones and requests fail, and be well again."""
    r = random.Random(seed)
    while not crew.stopped():
        i = r.randrange(IDS)
        zone, sector = r.randrange(8 + 4 * i), r.randrange((8 + 4 * i) * 2048)
        attempt(GONE | {"EBUSY", "EINVAL", "ENOSPC"}, control.write, r.choice([
            f"zone_readonly id={i},zones={zone}",
            f"zone_offline id={i},zones={zone}",
            f"zone_good id={i},zones={i % 3}-{7 + 4 * i}",
            f"inject id={i},badblocks=+{sector}-{sector},badblocks_once={r.randrange(2)},badblocks_partial_io={r.randrange(2)}",
            f"inject id={i},fail_reset=2,fail_open=2,requeue=20,read_nsec=2000000",
            f"inject id={i},clear",
            f"inject id={i},clear",
        ]))
        time.sleep(r.choice([0, 0.01, 0.1]))


def killer(crew, seed):
    """Has those killed who add and remove."""
    r = random.Random(seed)
    while not crew.stopped():
        i = r.randrange(IDS)
        pid = os.fork()
        if not pid:
            try:
                control.write(r.choice([f"add id={i},{shape(i)}", ending(r, i)]))
            except OSError:
                pass
            os._exit(0)
        time.sleep(r.choice([0, 0.001, 0.01, 0.03]))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def storm_weather(r, count):
    """All that can be done, by eleven tasks, on five devices, for `count` seconds."""
    mount()
    for i in range(IDS):
        os.mkdir(f"{TOP}/{i}")
    crew = Crew()
    for function in [adder, adder, io, io, io, opener, opener, unloader, killer] + [breaker] * OURS:
        crew.add(function, crew, r.random())
    end = time.monotonic() + count
    while time.monotonic() < end and not crew.stopped():
        time.sleep(0.1)
    crew.stop()
    for disk in devices():
        control.remove(int(disk.removeprefix("zloop")))
    unused()
    for i in range(IDS):
        odd = [n for n in os.listdir(f"{TOP}/{i}") if not re.fullmatch(r"(cnv|seq)-\d{6}|geometry|conditions", n)]
        check(not odd, f"left in {i}: {odd}")
        control.write(f"add id={i},{shape(i)}")
        if OURS:
            control.zone_good(i, f"{i % 3}-{7 + 4 * i}")
        d = ZonedDevice(f"/dev/zloop{i}")
        for z in d.zones():
            check(z.cond in (NOT_WP, EMPTY, CLOSED, FULL), f"zloop{i}: {z}")
            right(d.pread(z.start, 2048), i, z.start // 8)
        d.close()
        control.remove(i)
    umount()


# ---------------------------------------------------------------- one after the other


def storm_thousand(r, count):
    """`count` devices, one after the other, each on a file system of its own that is unmounted right after."""
    before = files = None
    for n in range(count + 10):
        if n == 10:
            before, files = sum(unreclaimable().values()), open_files()
        mount()
        i = r.choice([0, 1, n])
        os.mkdir(f"{TOP}/{i}")
        control.write(f"add id={i},base_dir={TOP},capacity_mb=8,zone_size_mb=1,conv_zones=1{r.choice(MANNERS)}")
        d = ZonedDevice(f"/dev/zloop{i}")
        d.write_zone(1, 0, 8)
        d.write(0, 8)
        if r.random() < 0.5:
            d.flush()
        # It does not matter whether the disk is still open.
        if r.random() < 0.5:
            d.close()
            control.remove(i)
        else:
            control.remove(i)
            d.close()
        umount()
        check(not devices(), f"left: {devices()}")
        if n % 200 == 199:
            print(f"{n + 1} devices", flush=True)
    grown, more = sum(unreclaimable().values()) - before, open_files() - files
    print(f"{count} devices; memory has grown by {grown} KiB, open files by {more}", flush=True)
    check(grown < 1024 + count or HAS_KMEMLEAK, f"{grown} KiB leaked in {count} devices")
    check(more < 64, f"{more} files were left open")
    unused()


# ---------------------------------------------------------------- as many as there can be


def storm_crowd(r, count):
    """As many devices as memory has room for, or `count`; whether it is enough or not, all go away again."""
    # The first time leaves what the kernel keeps for the next time.
    crowd(r, count)
    before, files = sum(unreclaimable().values()), open_files()
    crowd(r, count)
    grown, more = sum(unreclaimable().values()) - before, open_files() - files
    print(f"memory has grown by {grown} KiB, open files by {more}", flush=True)
    check(grown < 4096 or HAS_KMEMLEAK, f"{grown} KiB leaked")
    check(more < 64, f"{more} files were left open")


def crowd(r, count):
    mount()
    # A process that the OOM killer prefers takes the rest of the memory.
    hog = os.fork()
    if not hog:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
            f.write("1000")
        taken = mmap.mmap(-1, max(available() - 150 * 1024, 4096) << 10, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        while taken:
            signal.pause()
    while available() > 200 * 1024 and not os.waitpid(hog, os.WNOHANG)[0]:
        time.sleep(0.1)
    there, why = [], None
    for i in range(count):
        os.mkdir(f"{TOP}/{i}")
        # A deep queue: a few dozen of them are enough.
        depth = r.choice([1024, 4096, 10240])
        try:
            control.write(f"add id={i},base_dir={TOP},capacity_mb=16,zone_size_mb=1,conv_zones=1,queue_depth={depth},nr_queues=2")
        except OSError as e:
            why = name_of(e.errno)
            check(why == "ENOMEM", f"add of device {i}: {why}")
            left = os.listdir(f"{TOP}/{i}")
            check(not left, f"an add that had no memory has left {left}")
            break
        there.append(i)
        # A machine without any memory kills whom it likes.
        if available() < 64 * 1024:
            if not hog:
                break
            os.kill(hog, signal.SIGKILL)
            os.waitpid(hog, 0)
            hog = 0
    if hog:
        os.kill(hog, signal.SIGKILL)
        os.waitpid(hog, 0)
    print(f"{len(there)} devices at once, then {why}, {available()} KiB left", flush=True)
    check(there, "not one device")
    for i in r.sample(there, min(5, len(there))):
        d = ZonedDevice(f"/dev/zloop{i}")
        d.write_zone(5, 0, 64)
        d.check_zone(5, 0, 64)
        d.close()
    for i in r.sample(there, len(there)):
        control.remove(i)
    check(not devices(), f"left: {devices()}")
    if why:
        # The number and the directory of the one that failed are free.
        control.write(f"add id={len(there)},base_dir={TOP},capacity_mb=16,zone_size_mb=1,conv_zones=1")
        control.remove(len(there))
    umount()
    unused()


# ---------------------------------------------------------------- rmmod at the wrong moment


def storm_rmmod(r, count):
    """Nobody can unload the module while a device is being added, is there, is open, is written or is being removed."""
    total = 0
    for _ in range(count):
        mount()
        os.mkdir(f"{TOP}/0")
        zones = r.choice([50, 400])

        def add(fd):
            os.write(fd, f"add id=0,base_dir={TOP},capacity_mb={zones},zone_size_mb=1,conv_zones=1".encode())

        def write(fd):
            os.close(fd)
            d = ZonedDevice("/dev/zloop0")
            for nr in range(2, 12):
                d.write_zone(nr, 0, 256)
            d.close()

        def idle(fd):
            os.close(fd)
            time.sleep(0.05)

        def remove(fd):
            os.write(fd, b"remove id=0")

        for function in add, write, idle, remove:
            began, begin = os.pipe()
            ended, end = os.pipe()
            may_go, go = os.pipe()
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    fd = os.open(CONTROL, os.O_WRONLY)
                    os.write(begin, b"x")
                    function(fd)
                    os.write(end, b"x")
                    os.read(may_go, 1)
                    status = 0
                finally:
                    os._exit(status)
            os.close(end)
            os.read(began, 1)
            os.set_blocking(ended, False)
            tries = 0
            while True:
                why = rmmod()
                check(why in ("EBUSY", "EAGAIN"), f"{function.__name__}: rmmod: {why}")
                tries += 1
                try:
                    done = os.read(ended, 1)
                    break
                except BlockingIOError:
                    pass
            os.write(go, b"x")
            _, status = os.waitpid(pid, 0)
            check(done and not status, f"{function.__name__} failed")
            for fd in began, begin, ended, may_go, go:
                os.close(fd)
            total += tries - 1
        check(not devices(), f"left: {devices()}")
        unused()
        umount()
    # The last try of each came when all was over, perhaps.
    check(total > count, f"there were but {total} tries")


# ---------------------------------------------------------------- reports


def storm_reports(r, count):
    """However much is being written, a report of all zones is there soon."""
    mount()
    os.mkdir(f"{TOP}/0")
    control.write(f"add id=0,base_dir={TOP},capacity_mb=200,zone_size_mb=1,conv_zones=0,nr_queues=2")
    crew = Crew()

    def writer(process):
        d = ZonedDevice("/dev/zloop0")
        nr = process
        content = bytes(1 << 18)
        while not crew.stopped():
            for at in range(0, 2048, 512):
                d.pwrite(nr * 2048 + at, content)
            if nr % 3 == 0:
                d.flush()
            d.reset_zone(nr)
            nr = (nr + 4) % 200

    for process in range(4):
        crew.add(writer, process)
    d = ZonedDevice("/dev/zloop0")
    longest = number = 0
    end = time.monotonic() + count
    while time.monotonic() < end and not crew.stopped():
        start = time.monotonic()
        zones = d.report(0, 200)
        longest = max(longest, time.monotonic() - start)
        number += 1
        check(len(zones) == 200, f"{len(zones)} zones")
        for z in zones:
            check(z.cond is FULL or z.wp is not None and z.wp % 512 == 0 and z.wp < 2048, f"{z}")
    d.close()
    crew.stop()
    control.remove(0)
    umount()
    print(f"{number} reports, the longest took {longest:.2f} s", flush=True)
    check(longest < 10, f"a report took {longest:.1f} s")


# How much a round of the long form does of each.
KINDS = {"weather": 30, "thousand": 200, "crowd": 5000, "rmmod": 5, "reports": 15}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("kind")
    p.add_argument("--seed", default="1")
    p.add_argument("--count", type=int, default=1)
    a = p.parse_args()
    subprocess.run(["dmesg", "-n", "1"], check=True)
    try:
        if a.kind == "all":
            for turn in range(a.count):
                for kind, count in KINDS.items():
                    start = time.monotonic()
                    globals()["storm_" + kind](random.Random(f"{a.seed} {turn} {kind}"), count)
                    print(f"round {turn + 1} of {a.count}: {kind}: ok, {time.monotonic() - start:.0f} s", flush=True)
        else:
            globals()["storm_" + a.kind](random.Random(f"{a.seed} {a.kind}"), a.count)
    except (Failure, OSError, AssertionError) as e:
        traceback.print_exc()
        sys.exit(f"seed {a.seed}: {e}")


if __name__ == "__main__":
    main()
