#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Fuzzed writes to /dev/zloop-control, in the guest.

    fuzz.py --seed S --count N            write N commands, judge each of them
    fuzz.py --seed S --count N --first B  the same from batch B on
    fuzz.py --seed S --count N --outcomes FILE
                                          judge nothing: note what each write returns
    fuzz.py --compare FILE FILE           two such notes: ours, then the C driver's

What a command must do is known beforehand. `parse` is a second reading of the
language, written from the description at the top of options.rs and not from its
code, and `World.expect` knows what an add or remove that is in the language finds:
the directories, what is recorded in them, which devices there are. A write that
has another outcome is a failure, and so is a directory tree that is not as the
accepted commands have left it.

Commands come in batches. Batch B of seed S depends on nothing but S and B, so any
of them can be repeated alone. A batch begins and ends without devices and with
empty device directories. Every eighth batch is written by three processes at once,
about the same devices; what each single write returns is then a matter of luck, and
only what can't be in the language at all, and what is left at the end, is judged.
"""

import argparse
import errno
import os
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.environ["TESTS"] + "/guest")
sys.dont_write_bytecode = True
from zbd.memory import HAS_KMEMLEAK, unreclaimable  # noqa: E402

CONTROL = "/dev/zloop-control"
TOP = b"/run/fuzz"
WORLD = TOP + b"/w"
BATCH = 250
MIB = 1 << 20
BLOCK = 4096  # of tmpfs, if no other is chosen
SPACE = b" \t\n\v\f\r"
U32 = 2**32 - 1
PAGE = 4096

NUMBERS = [b"capacity_mb", b"zone_size_mb", b"zone_capacity_mb", b"conv_zones", b"nr_queues", b"queue_depth",
           b"zone_append", b"max_open_zones", b"max_active_zones"]
DECLARE = [b"zone_readonly", b"zone_offline", b"zone_good"]
BADBLOCKS = [b"badblocks", b"badblocks_read", b"badblocks_write"]
FAULTS = [b"badblocks_once", b"badblocks_partial_io", b"fail_open", b"fail_close", b"fail_finish", b"fail_reset", b"timeout", b"requeue",
          b"read_nsec", b"write_nsec", b"flush_nsec", b"zone_nsec", b"read_mbps", b"write_mbps"]
SIZES = [b"capacity", b"zone_size", b"zone_capacity"]
OWN_FLAGS = [b"rotational", b"volatile_cache"]
FLAGS = [b"buffered_io", b"ordered_zone_append", b"discard_write_cache", b"lazy_files"]
WRITE_FAULTS = [b"good", b"readonly", b"offline"]
GEOMETRY = SIZES + [b"conv_zones"]
# All that is recorded but the geometry, and what it is if nobody says.
DEFAULTS = {b"block_size": None, b"nr_queues": 1, b"queue_depth": 128, b"max_open_zones": 0, b"max_active_zones": 0, b"zone_append": 1,
            b"write_fault": b"good"} | dict.fromkeys(FLAGS + OWN_FLAGS, False)


# ---------------------------------------------------------------- the language


class Refused(Exception):
    """Not in the language; the argument is the errno."""


def digits(text, base):
    allowed = b"0123456789abcdefABCDEF"[: {8: 8, 10: 10, 16: 22}[base]]
    if not text or any(c not in allowed for c in text):
        raise Refused(errno.EINVAL)
    return int(text, base)


def number(text):
    value = digits(text[2:], 16) if text[:2] in (b"0x", b"0X") else digits(text, 10)
    if value > U32:
        raise Refused(errno.EINVAL)
    return value


def size(text):
    """A number of bytes."""
    suffix = text[-1:].upper()
    hexadecimal = text[:2] in (b"0x", b"0X")
    if suffix and suffix in b"KMGTPE" and not (hexadecimal and suffix == b"E"):
        power = b"KMGTPE".index(suffix) + 1
        text = text[:-1]
    else:
        power = 0
    value = digits(text[2:], 16) if text[:2] in (b"0x", b"0X") else digits(text, 10)
    return value << 10 * power


def zones(text):
    """Ranges of zones, merged."""
    if b"-" not in text and b":" not in text:
        n = number(text)
        return ((0, n - 1),) if n else ()
    ranges = []
    for item in text.split(b":"):
        first, dash, last = item.partition(b"-")
        first = number(first)
        last = number(last) if dash else first
        if last < first or last == U32 or ranges and first <= ranges[-1][1]:
            raise Refused(errno.EINVAL)
        if ranges and first == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    if len(ranges) > 16:
        raise Refused(errno.EINVAL)
    return tuple(ranges)


def identity(text):
    """A device's number; -1 is any that is free."""
    negative = text[:1] == b"-"
    text = text[negative:]
    if text[:2] in (b"0x", b"0X"):
        value = digits(text[2:], 16)
    elif text[:1] == b"0" and len(text) > 1:
        value = digits(text[1:], 8)
    else:
        value = digits(text, 10)
    if value > 2**31 - (not negative):
        raise Refused(errno.EINVAL)
    return -1 if negative and value else value


def row(text, read):
    """The first and the last number of FIRST-LAST."""
    first, _, last = text.partition(b"-")
    first, last = read(first), read(last)
    if first > last:
        raise Refused(errno.EINVAL)
    return first, last


def sector(text):
    value = digits(text[2:], 16) if text[:2] in (b"0x", b"0X") else digits(text, 10)
    if value > 2**64 - 1:
        raise Refused(errno.EINVAL)
    return value


def parse_fault(name, items):
    """What a command asks for that makes things fail: its "id", "zones", or the last sector for each of BADBLOCKS."""
    got = {}
    for item in items:
        key, equals, value = item.partition(b"=")
        if key == b"clear" and name == b"inject" and not equals:
            got["fault"] = True
        elif not value:
            raise Refused(errno.EINVAL)
        elif key == b"id":
            got["id"] = identity(value)
        elif key == b"zones" and name in DECLARE:
            got["zones"] = row(value, number) if b"-" in value else (number(value),) * 2
        elif key in BADBLOCKS and name == b"inject":
            if value[:1] not in (b"+", b"-") or b"-" not in value[1:]:
                raise Refused(errno.EINVAL)
            got["fault"] = True
            _, last = row(value[1:], sector)
            got[key] = last if value[:1] == b"+" else -1
        elif key in FAULTS and name == b"inject":
            if number(value) > 1 and key in (b"badblocks_once", b"badblocks_partial_io"):
                raise Refused(errno.EINVAL)
            got["fault"] = True
        else:
            raise Refused(errno.EINVAL)
    if name in DECLARE and "zones" not in got or "id" not in got:
        raise Refused(errno.EINVAL)
    if got["id"] < 0:
        raise Refused(errno.ENODEV)
    if name == b"inject" and "fault" not in got:
        raise Refused(errno.EINVAL)
    return got


def parse(text):
    """("add" or "remove", the options that are named, an "id" and a "base_dir"), or Refused. The other commands have "declare" and "inject".

    Nothing is ever written here, so a power failure is a removal."""
    text = text.split(b"\0", 1)[0]
    name = re.match(rb"[^,\s]*", text).group()
    rest = text[len(name):].lstrip(SPACE)
    if name in DECLARE or name == b"inject":
        return "inject" if name == b"inject" else "declare", parse_fault(name, filter(None, re.split(rb"[,\n]", rest)))
    if name not in (b"add", b"remove", b"powerfail"):
        raise Refused(errno.EINVAL)
    adding = name == b"add"
    got = {}
    for item in re.split(rb"[,\n]", rest):
        if not item:
            continue
        key, equals, value = item.partition(b"=")
        if key in FLAGS + OWN_FLAGS:
            on = number(value) if equals else 1
            if on > 1 or not adding:
                raise Refused(errno.EINVAL)
            got[key] = bool(on)
        elif key == b"id":
            got[key] = identity(value)
        elif key == b"seed" and name == b"powerfail":
            number(value)
        elif not adding or not value:
            raise Refused(errno.EINVAL)
        elif key == b"base_dir":
            got[key] = value
        elif key == b"write_fault":
            if value not in WRITE_FAULTS:
                raise Refused(errno.EINVAL)
            got[key] = value
        elif key == b"conv_zones":
            got[key] = zones(value)
        elif key == b"block_size":
            got[key] = number(value)
            if got[key] not in (512, 1024, 2048, 4096):
                raise Refused(errno.EINVAL)
        elif key in SIZES:
            n = size(value)
            power = key == b"zone_size"
            if n < 512 or n > (64 << 50 if key == b"capacity" else 16 << 30) or n % 512 or power and n & (n - 1):
                raise Refused(errno.EINVAL)
            got[key] = n, 1
        elif key in NUMBERS:
            n = number(value)
            least = 0 if key in (b"zone_append", b"max_open_zones", b"max_active_zones") else 1
            if n < least or key == b"zone_append" and n > 1:
                raise Refused(errno.EINVAL)
            if key == b"zone_size_mb" and (n > 16384 or n & (n - 1)):
                raise Refused(errno.EINVAL)
            if key.endswith(b"_mb"):
                got[key[:-3]] = n * MIB, MIB
            else:
                got[key] = n
        else:
            raise Refused(errno.EINVAL)
    if not adding:
        if b"id" not in got:
            raise Refused(errno.EINVAL)
        if got[b"id"] < 0:
            raise Refused(errno.ENODEV)
        return "remove", got
    got.setdefault(b"id", -1)
    got.setdefault(b"base_dir", b"/var/local/zloop")
    return "add", got


def settle(o, recorded=None):
    """What an add means but for the geometry, given what is recorded of the device."""
    base = DEFAULTS if recorded is None or any(key in o for key in GEOMETRY) else recorded
    s = {key: o.get(key, value) for key, value in base.items()}
    active = s[b"max_active_zones"]
    if b"max_open_zones" not in o and base[b"max_open_zones"] == base[b"max_active_zones"]:
        s[b"max_open_zones"] = 0
    s[b"max_open_zones"] = s[b"max_open_zones"] or active
    s[b"queue_depth"] = min(s[b"queue_depth"], 10240)
    s[b"ordered_zone_append"] = bool(s[b"ordered_zone_append"] and s[b"zone_append"])
    return s


def record(text):
    """What a record says: the geometry and all else."""
    _, o = parse(b"add " + text)
    odd = [key for key in o if key in DEFAULTS and o[key] == DEFAULTS[key]]
    check(not odd and text.endswith(b"\n"), f"the record {shown(text)} says {odd}, which need not be said")
    check(all(key in o for key in GEOMETRY), f"the record {shown(text)} lacks some of the geometry")
    return Geometry(o), settle(o)


class Geometry:
    """Of a new device, or Refused: all in bytes."""

    def __init__(self, o):
        self.zone = o.get(b"zone_size", (256 * MIB, MIB))[0]
        self.capacity, unit = o.get(b"capacity", (16384 * MIB, MIB))
        if not self.zone <= self.capacity <= self.zone << 22:
            raise Refused(errno.EINVAL)
        if unit == MIB:
            self.capacity -= self.capacity % self.zone
        self.zones = -(-self.capacity // self.zone)
        self.zone_capacity = o.get(b"zone_capacity", (self.zone, 1))[0]
        few = 8 if self.zones > 8 else self.zones // 2
        self.conv = o.get(b"conv_zones", ((0, few - 1),) if few else ())
        self.seq = self.zones - sum(last - first + 1 for first, last in self.conv)
        if self.zone_capacity > self.zone or self.seq < 1 or self.conv and self.conv[-1][1] >= self.zones:
            raise Refused(errno.EINVAL)
        if not self.has_whole_blocks(o.get(b"block_size", 1)):
            raise Refused(errno.EINVAL)

    def __eq__(self, other):
        return vars(self) == vars(other)

    def length(self, zone):
        return min(self.zone, self.capacity - zone * self.zone)

    def is_conventional(self, zone):
        return any(first <= zone <= last for first, last in self.conv)

    def names(self):
        return {b"cnv-%06u" % z if self.is_conventional(z) else b"seq-%06u" % z: z for z in range(self.zones)}

    def first_files(self, lazy):
        """The zones that have a file from the first add on."""
        if not lazy:
            return range(self.zones)
        return {0} | {z for first, last in self.conv for z in range(first, last + 1)}

    def shown_limits(self, s):
        """The block layer shows a limit that is none as none, but without any it sets one for many zones."""
        shown = {name: s[name] if s[name] < self.seq else 0 for name in (b"max_open_zones", b"max_active_zones")}
        if not any(shown.values()) and self.seq > 128:
            shown[b"max_open_zones"] = 128
        return [(name.decode(), limit) for name, limit in shown.items()]

    def has_whole_blocks(self, block):
        return not any(n % block for n in (self.zone, self.capacity, self.zone_capacity))

    def agrees(self, o):
        """Whether an add asks for nothing else."""
        capacity, unit = o.get(b"capacity", (self.capacity, 1))
        if unit == MIB:
            capacity -= capacity % self.zone
        return (capacity == self.capacity and o.get(b"zone_size", (self.zone,))[0] == self.zone
                and o.get(b"zone_capacity", (self.zone_capacity,))[0] == self.zone_capacity and o.get(b"conv_zones", self.conv) == self.conv)


# ---------------------------------------------------------------- the world

# Directories that hold device directories, and how else they may be called.
GOOD = [WORLD + b"/b", WORLD + b"/a b=c%s%n\xff"]
DEEP = WORLD + b"".join(b"/" + b"d" * 250 for _ in range(14))
ALIASES = [WORLD + b"/b/", b"b", b"./b//", WORLD + b"/b/../b", WORLD + b"/link", b"//" + WORLD + b"/./b", DEEP,
           b"/proc/self/cwd/b", b"/var/local/zloop"]
BAD = [b"", b".", b"..", b"/", WORLD, WORLD + b"/file", WORLD + b"/none", WORLD + b"/loop", b"/dev/null", b"/proc", b"/sys", b"/dev", b"/proc/self",
       b"/proc/self/fd", b"/sys/block", WORLD + b"/b/0", b"/" + b"x" * 256, b"/" + b"y/" * 1500, b"x" * 3900,
       b"%s%s%s%n", b"\xff\xfe", b"~", b"$HOME", b"*"]
IDS = [0, 1, 2, 7, 10, 2**31 - 1]


class World:
    def __init__(self):
        subprocess.run(["umount", "-lR", TOP], stderr=subprocess.DEVNULL, check=False)
        os.makedirs(TOP, exist_ok=True)
        # Few inodes, so that a device of a million zones ends soon.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=600", "tmpfs", TOP], check=True)
        os.mkdir(WORLD)
        os.chdir(WORLD)
        os.mkdir(b"default")
        subprocess.run(["mount", "--bind", WORLD + b"/default", "/var/local/zloop"], check=True)
        for base in GOOD + [b"default"]:
            for i in IDS:
                os.makedirs(base + b"/%d" % i)
        # A path that is too long for one call.
        for _ in range(14):
            os.mkdir(b"d" * 250)
            os.chdir(b"d" * 250)
        os.mkdir(b"0")
        os.chdir(WORLD)
        os.symlink(b"b", b"link")
        os.symlink(b"loop", b"loop")
        open(b"file", "w", encoding="ascii").close()
        self.home = [os.path.realpath(b) for b in GOOD + [DEEP]] + [b"/var/local/zloop"]
        self.there = {directory: set(os.listdir(directory)) for directory in self.home}
        self.devices = {}  # id: options
        # (directory, id): the geometry, all else that is recorded, the zones that have a file, and
        # the record. Nothing is ever written here, so no zone gets a file from that.
        self.made = {}

    def close(self):
        os.chdir("/")
        subprocess.run(["umount", "/var/local/zloop"], check=True)
        subprocess.run(["umount", TOP], check=True)

    def tree(self):
        """All there is, with the sizes of files."""
        found = {}
        for where in [WORLD]:
            for path, _, names in os.walk(where):
                found[path] = -1
                for name in names:
                    stat = os.lstat(path + b"/" + name)
                    found[path + b"/" + name] = (stat.st_mode, stat.st_size)
        return found

    def expect(self, command, o):
        """What is to come of a command that is in the language: a set of errnos, and 0 for success."""
        if command == "remove":
            return {0} if o[b"id"] in self.devices else {errno.ENODEV}
        if command in ("declare", "inject"):
            device = self.devices.get(o["id"])
            if not device:
                return {errno.ENODEV}
            if command == "declare":
                first, last = o["zones"]
                geometry = device["geometry"]
                fits = last < geometry.zones and not any(first <= b and a <= last for a, b in geometry.conv)
                return {0 if fits else errno.EINVAL}
            end = device["geometry"].capacity // 512
            return {0 if all(o.get(key, -1) < end for key in BADBLOCKS) else errno.EINVAL}
        number = self.number(o)
        if number in self.devices:
            return {errno.EEXIST}
        base = o[b"base_dir"]
        path = base + b"/%d" % number
        missing = 0
        try:
            os.stat(path)
        except OSError as e:
            try:
                if self.has_too_many(settle(o), Geometry(o)):
                    return {errno.EINVAL}
            except Refused as refused:
                return {refused.args[0]}
            if e.errno != errno.ENOENT:
                return {e.errno}
            if not os.path.exists(base):
                return {errno.EINVAL}
            missing = 1
        real = os.path.realpath(base)
        if real not in self.home:
            # Such as /proc/1: nothing can be made there.
            return {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTDIR, errno.EROFS}
        made, recorded, there, _ = self.made.get((real, number), (None, None, set(), None))
        try:
            if made and not made.agrees(o):
                return {errno.EINVAL}
            geometry = made or Geometry(o)
        except Refused as e:
            return {e.args[0]}
        s = self.settled(o, recorded)
        if self.has_too_many(s, geometry):
            return {errno.EINVAL}
        whole = geometry.has_whole_blocks(s[b"block_size"] or BLOCK)
        room = os.statvfs(TOP).f_ffree
        if made:
            # What is missing is made, unless it may be missing from now on, too. A record that changes
            # is a new file.
            to_make = geometry.zones - len(there) if recorded[b"lazy_files"] and not s[b"lazy_files"] else 0
            to_make += s != recorded
        else:
            # At the end the mark of a directory that is not complete is there, too.
            to_make = len(geometry.first_files(s[b"lazy_files"])) + 2 + missing
        if not whole:
            return {errno.EINVAL} if to_make <= room else {errno.EINVAL, errno.ENOSPC}
        return self.in_memory(geometry, to_make <= room)

    def in_memory(self, geometry, enough):
        """What comes of it if there are enough inodes for all files, or not."""
        if not enough:
            return {errno.ENOSPC}
        # A device of millions of zones may be there; the machine need not be able to hold it.
        return {0, errno.ENOMEM} if geometry.zones > 5000 else {0}

    @staticmethod
    def settled(o, recorded):
        """What an add means: once all files are there, none can be missing."""
        s = settle(o, recorded)
        if recorded and not recorded[b"lazy_files"]:
            s[b"lazy_files"] = False
        return s

    @staticmethod
    def has_too_many(s, geometry):
        """Whether there are not so many zones as may be open or active."""
        most_open, most_active = s[b"max_open_zones"], s[b"max_active_zones"]
        return max(most_open, most_active) > geometry.seq or 0 < most_active < most_open

    def is_elsewhere(self, o):
        """Whether a device would be made in a place that is not for that."""
        base = o[b"base_dir"]
        if len(base) > PAGE - 16 or not os.path.isdir(base):
            return False
        real = os.path.realpath(base)
        return real not in self.home and not real.startswith((b"/proc", b"/sys"))

    def number(self, o):
        if o[b"id"] >= 0:
            return o[b"id"]
        return next(i for i in range(len(self.devices) + 1) if i not in self.devices)

    def added(self, o):
        """Take note of an add that was accepted; what is there must be what it asked for."""
        i = self.number(o)
        queue = f"/sys/block/zloop{i}/queue/"
        real = os.path.realpath(o[b"base_dir"])
        geometry, recorded, zones, text = self.made.get((real, i), (None, None, None, None))
        geometry = geometry or Geometry(o)
        s = self.settled(o, recorded)
        # A device is there as it was asked for.
        for name, want in (("chunk_sectors", geometry.zone // 512), ("nr_zones", geometry.zones), *geometry.shown_limits(s),
                           ("rotational", s[b"rotational"]), ("logical_block_size", s[b"block_size"] or BLOCK)):
            with open(queue + name, encoding="ascii") as f:
                got = int(f.read())
            check(got == want, f"{name} is {got}, want {want}")
        directory = real + b"/%d" % i
        if zones is None:
            zones = geometry.first_files(s[b"lazy_files"])
        elif not s[b"lazy_files"]:
            zones = range(geometry.zones)
        names = {name: zone for name, zone in geometry.names().items() if zone in zones}
        wanted = set(names) | {b"geometry"}
        there = set(os.listdir(directory)) - {b"conditions"}
        check(there == wanted, f"files in {directory}: {sorted(there ^ wanted)[:6]} too many or missing")
        with open(directory + b"/geometry", "rb") as f:
            now = f.read()
        if s == recorded:
            # What was right was left alone.
            check(now == text, f"the record in {directory} was {shown(text)} and is {shown(now)}")
        check(record(now) == (geometry, s), f"the record in {directory} is {shown(now)}, want {s}")
        self.check_line(i, geometry, s)
        for name in wanted:
            stat = os.lstat(directory + b"/" + name)
            check(stat.st_mode == 0o100600, f"mode of {name} is {stat.st_mode:o}")
            if name != b"geometry":
                want = geometry.length(names[name]) if name[:1] == b"c" else 0
                check(stat.st_size == want, f"size of {name} is {stat.st_size}, want {want}")
        o["geometry"] = geometry
        self.devices[i] = o
        self.made[real, i] = geometry, s, set(zones), now

    @staticmethod
    def check_line(i, geometry, s):
        """The command that is shown of a device makes it again."""
        with open(CONTROL, "rb") as f:
            lines = [line for line in f.read().split(b"\nzloop") if line.startswith(b"%d live " % i)]
        check(len(lines) == 1, f"{len(lines)} lines for device {i}")
        _, o = parse(lines[0].split(b" ", 2)[2])
        check((Geometry(o), settle(o)) == (geometry, s), f"the line of device {i} is {shown(lines[0])}, want {s}")

    def refused(self, o):
        """An add has failed. Of the files that were missing it may have made some; they stay."""
        real, i = os.path.realpath(o[b"base_dir"]), self.number(o)
        if (real, i) not in self.made or i in self.devices:
            return
        made, s, zones, text = self.made[real, i]
        directory = real + b"/%d" % i
        there = os.listdir(directory)
        now = {int(name[4:]) for name in there if name not in (b"geometry", b"conditions")}
        check(b"geometry" in there and (now == zones or s[b"lazy_files"] and now > zones), f"a failed add has left {sorted(there)[:6]}")
        with open(directory + b"/geometry", "rb") as f:
            check(f.read() == text, f"a failed add has changed the record in {directory}")
        self.made[real, i] = made, s, now, text

    def removed(self, o):
        i = o[b"id"]
        del self.devices[i]
        check(not os.path.exists(f"/sys/block/zloop{i}"), f"zloop{i} was removed but is there")

    def clean(self, control):
        """Back to what it was: no devices, no files of theirs."""
        for i in live():
            os.write(control, b"remove id=%d" % i)
        self.devices = {}
        for directory in self.home:
            for i in IDS:
                path = directory + b"/%d" % i
                if not os.path.isdir(path):
                    continue
                for name in os.listdir(path):
                    if re.fullmatch(rb"(cnv|seq)-\d{6,}|geometry|conditions", name):
                        os.unlink(path + b"/" + name)
        self.unmake_directories()
        self.made = {}

    def unmake_directories(self):
        """Remove those that an add has made."""
        for directory in self.home:
            for name in set(os.listdir(directory)) - self.there[directory]:
                shutil.rmtree(directory + b"/" + name)


def live():
    return [int(name[5:]) for name in os.listdir("/sys/block") if name.startswith("zloop")]


class Failure(Exception):
    pass


def check(ok, what):
    if not ok:
        raise Failure(what)


# ---------------------------------------------------------------- commands

EDGES = [0, 1, 2, 3, 4, 7, 8, 9, 10, 15, 16, 63, 64, 255, 256, 4095, 4096, 10240, 16383, 16384, 16385, 32768, 65535, 65536,
         2**22, 2**22 + 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1, 2**64, 2**64 + 16, 10**30]


def fuzzed_number(r):
    n = r.choice(EDGES) if r.random() < 0.6 else r.randrange(1, 70)
    kind = r.random()
    if kind < 0.62:
        return b"%d" % n
    if kind < 0.70:
        return b"0x%x" % n
    if kind < 0.74:
        return b"0X%X" % n
    if kind < 0.80:
        return b"0%o" % n
    if kind < 0.84:
        return b"00%d" % n
    if kind < 0.90:
        return b"-%d" % n
    return r.choice([b"", b"+%d" % n, b"%dk" % n, b" %d" % n, b"%d " % n, b"%d.0" % n, b"0x", b"0b1", b"-", b"--1", b"-0x%x" % n,
                     b"-0", b"08", b"0o7", b"1e3", b"0" * 30 + b"8", b"\xd9\xa3", b"%d\r" % n, b"\xb2"])


def fuzzed_range(r):
    first = r.randrange(0, 12)
    return b"%d" % first if r.random() < 0.4 else b"%d-%d" % (first, first + r.randrange(-1, 4)) if r.random() < 0.9 else fuzzed_number(r)


def cheap_by_bytes(r):
    """An add with sizes in bytes, and with conventional zones anywhere."""
    unit = BLOCK << r.randrange(0, 10)
    zones = r.randrange(1, 12)
    o = [b"capacity=%d" % (unit * zones + r.choice([0, 0, 512, BLOCK, unit // 2])), b"zone_size=%dK" % (unit >> 10)]
    conv = sorted(r.sample(range(zones), r.randrange(0, zones)))
    if len(conv) > 1:
        o.append(b"conv_zones=" + b":".join(b"%d" % z for z in conv))
    if r.random() < 0.3:
        o.append(b"block_size=%d" % r.choice([512, 1024, 4096]))
    if r.random() < 0.3:
        o.append(b"zone_capacity=%d" % (r.randrange(1, unit // 512 + 1) * 512 if r.random() < 0.5 else unit))
    return o


def cheap(r):
    """An add of a small device, as options."""
    size = r.choice([1, 1, 1, 2, 4])
    zones = r.randrange(2, 9)
    conv = r.randrange(0, zones)
    o = [b"capacity_mb=%d" % (size * zones + r.randrange(size)), b"zone_size_mb=%d" % size, b"conv_zones=%d" % conv]
    if r.random() < 0.3:
        o.append(b"zone_capacity_mb=%d" % r.randrange(1, size + 1))
    if r.random() < 0.3:
        o.append(b"max_open_zones=%d" % r.randrange(0, zones - conv + 1))
    kind = r.random()
    if kind < 0.1:
        # A device that is there already, perhaps.
        o = r.sample(o, r.randrange(0, 2))
    elif kind < 0.3:
        o = cheap_by_bytes(r)
    if r.random() < 0.3:
        o.append(b"max_active_zones=%d" % r.randrange(0, zones - conv + 1))
    if r.random() < 0.3:
        o.append(b"queue_depth=%d" % r.choice([1, 2, 64]))
    for flag in FLAGS:
        if r.random() < 0.2:
            o.append(flag + (b"=%d" % r.randrange(2) if r.random() < 0.15 else b""))
    if kind < 0.1:
        # As it was, but for some of these.
        for item in b"block_size=512", b"block_size=4096", b"rotational", b"rotational=0", b"volatile_cache=0", b"write_fault=readonly":
            if r.random() < 0.2:
                o.append(item)
    o.append(b"id=%d" % r.choice(IDS) if r.random() < 0.8 else r.choice([b"id=-1", b""]))
    o.append(b"base_dir=" + r.choice(GOOD if r.random() < 0.7 else ALIASES))
    r.shuffle(o)
    return [x for x in o if x]


def option(r):
    kind = r.random()
    if kind < 0.5:
        return r.choice(NUMBERS) + b"=" + fuzzed_number(r)
    if kind < 0.57:
        if r.random() < 0.1:
            return r.choice([b"rotational", b"rotational=1", b"volatile_cache", b"write_fault=" + r.choice(WRITE_FAULTS), b"block_size=" + r.choice([b"512", b"1024", b"4096", b"4K", b"8192", b"0x200"])])
        return r.choice(SIZES) + b"=" + fuzzed_number(r) + r.choice([b"", b"K", b"k", b"M", b"M", b"G", b"T", b"P", b"E", b"B"])
    if kind < 0.6:
        return b"conv_zones=" + r.choice([b":", b":", b":", b",", b"::"]).join(fuzzed_range(r) for _ in range(r.choice([1, 2, 3, 3, 4, 20])))
    if kind < 0.75:
        return b"id=" + (b"%d" % r.choice(IDS) if r.random() < 0.6 else fuzzed_number(r))
    if kind < 0.85:
        return b"base_dir=" + r.choice(GOOD + ALIASES + BAD + BAD)
    if kind < 0.93:
        return r.choice(FLAGS) + (b"=" + fuzzed_number(r) if r.random() < 0.1 else b"")
    return r.choice([b"foo", b"foo=1", b"=", b"=1", b"id", b"base_dir", b"Id=1", b"buffered_io=2", b"rotational=", b"zone_append", b"lazy_file", b"id==1",
                     b"id =1", b"conv_zones =1", b" id=1", b"\0", b"%s%n", b"add", b"remove"])


def fault(r):
    """A command that makes things fail, of a device that may be there."""
    at = lambda: b"%d" % r.randrange(0, 10) if r.random() < 0.8 else fuzzed_number(r)
    o = [b"id=%d" % r.choice(IDS)]
    kind = r.random()
    if kind < 0.1:
        name = b"powerfail"
        if r.random() < 0.8:
            o.append(b"seed=" + (b"%d" % r.randrange(9) if r.random() < 0.7 else fuzzed_number(r)))
    elif kind < 0.55:
        name = r.choice(DECLARE)
        o.append(b"zones=" + at() + (b"-" + at() if r.random() < 0.5 else b""))
    else:
        name = b"inject"
        for _ in range(r.choice([1, 1, 2, 3])):
            kind = r.random()
            if kind < 0.4:
                o.append(r.choice(BADBLOCKS) + b"=" + r.choice([b"+", b"+", b"-", b""]) + at() + b"-" + at())
            elif kind < 0.9:
                # Not so large that the next command would wait for it.
                o.append(r.choice(FAULTS) + b"=" + b"%d" % r.randrange(3))
            else:
                o.append(r.choice([b"clear", b"clear=1", b"zones=3", b"badblocks_once=x", b"fail_open"]))
    r.shuffle(o)
    return name + r.choice([b" ", b" ", b","]) + b",".join(o)


def mutate(r, text):
    text = bytearray(text)
    for _ in range(r.choice([1, 1, 1, 2, 3, 8])):
        at = r.randrange(len(text) + 1)
        kind = r.randrange(8)
        if kind == 0 and text:
            text[at % len(text)] ^= 1 << r.randrange(8)
        elif kind == 1:
            text.insert(at, r.choice(b"\0\n,= \t-0x19az\xff"))
        elif kind == 2 and text:
            del text[at % len(text)]
        elif kind == 3:
            end = min(len(text), at + r.randrange(1, 20))
            text[at:at] = text[at:end] * r.choice([1, 1, 2, 30])
        elif kind == 4:
            del text[at : at + r.randrange(1, 20)]
        elif kind == 5 and text:
            text[at % len(text)] = r.randrange(256)
        elif kind == 6:
            text[at:at] = b"," + option(r) + b","
        else:
            text[at:at] = r.randbytes(r.randrange(1, 8))
    return bytes(text)


def valid(r):
    if r.random() < 0.35:
        return b"remove id=%d" % r.choice(IDS)
    return b"add " + b",".join(cheap(r))


def command(r):
    """One command, of any kind but the next one."""
    kind = r.random()
    if kind < 0.03:
        return valid(r)
    if kind < 0.35:
        return mutate(r, valid(r))
    if kind < 0.60:
        o = cheap(r)
        for _ in range(r.randrange(1, 4)):
            o.insert(r.randrange(len(o) + 1), option(r))
        return r.choice([b"add ", b"add ", b"add ", b"add,", b"add\n", b"add\t \v", b"remove "]) + r.choice([b",", b",", b"\n", b",,\n"]).join(o)
    if kind < 0.75:
        return r.choice([b"add ", b"remove ", b"add", b"remove", b"", b"ADD ", b"adds "]) + b",".join(option(r) for _ in range(r.randrange(0, 12)))
    if kind < 0.82:
        return r.choice([b"remove ", b"remove "]) + b"id=" + fuzzed_number(r)
    if kind < 0.92:
        return r.randbytes(r.choice([0, 1, 2, 3, 8, 40, 300]))
    if kind < 0.97:
        # Very many options, and as long as can be.
        pad = r.choice([b",", b"\n", b"buffered_io,", b"conv_zones=0,", b"id=1,id=0,", b"x" * 100])
        text = valid(r) + b","
        want = r.choice([4000, PAGE - 1, PAGE, PAGE + 1, 9000])
        return (text + pad * (want // len(pad) + 1))[: r.choice([want, PAGE])]
    if kind < 0.999:
        return r.randbytes(r.choice([PAGE - 1, PAGE, PAGE + 1, 5000]))
    return valid(r) + b"," * (1 << 20)


def any_command(r):
    """One that the C driver may have, or one of ours."""
    if r.random() < 0.9:
        return command(r)
    return fault(r) if r.random() < 0.8 else mutate(r, fault(r))


def huge(o):
    """A device that takes long to be refused for want of room: a few of them are enough."""
    try:
        return Geometry(o).zones > 5000
    except Refused:
        return False


class Control:
    """The control device, open in several ways."""

    def __init__(self):
        self.fd = os.open(CONTROL, os.O_WRONLY)
        self.append = os.open(CONTROL, os.O_WRONLY | os.O_APPEND)
        self.both = os.open(CONTROL, os.O_RDWR)

    def close(self):
        for fd in self.fd, self.append, self.both:
            os.close(fd)

    def send(self, text, how):
        """The errno, or 0. However it gets there, a write is one command."""
        try:
            if how < 0.7:
                n = os.write(self.fd, text)
            elif how < 0.8:
                n = os.pwrite(self.fd, text, int(how * 2**40))
            elif how < 0.85:
                n = os.write(self.append, text)
            elif how < 0.9:
                os.pread(self.both, 100, int(how * 300) - 240)
                n = os.write(self.both, text)
            elif not text:
                # As a vector, nothing at all does not get as far as to the driver.
                n = os.write(self.fd, text)
            else:
                third = len(text) // 3
                n = os.writev(self.fd, [text[:third], b"", text[third : 2 * third], text[2 * third :]])
        except OSError as e:
            return e.errno
        check(n == len(text), f"a short write: {n} of {len(text)}")
        return 0


def name_of(code):
    return errno.errorcode.get(code, str(code)) if code else "ok"


def shown(text):
    return repr(text if len(text) < 300 else text[:300] + b"...")


# ---------------------------------------------------------------- batches


def alone(r, world, control, count):
    accepted = 0
    for nr in range(count):
        text = any_command(r)
        how = r.random()
        keep = r.random() < 0.3
        try:
            if len(text) > PAGE:
                raise Refused(errno.ENOMEM)
            what, o = parse(text)
            if what == "add" and (huge(o) and r.random() < 0.9 or world.is_elsewhere(o)):
                continue
            want = world.expect(what, o)
            if what == "add" and 0 in want and r.random() < 0.7:
                # Each takes as long as a hundred of those that are refused.
                continue
        except Refused as e:
            what, want = None, {e.args[0]}
        got = control.send(text, how)
        try:
            check(got in want, f"the outcome is {name_of(got)}, want {' or '.join(map(name_of, want))}")
            if got and what == "add":
                world.refused(o)
            if not got:
                accepted += 1
                if what == "remove":
                    world.removed(o)
                elif what == "add":
                    world.added(o)
                    if not keep:
                        i = world.number(o) if o[b"id"] >= 0 else max(i for i in world.devices if world.devices[i] is o)
                        os.write(control.fd, b"remove id=%d" % i)
                        world.removed({b"id": i})
        except Failure as e:
            raise Failure(f"command {nr} ({how:.2f}): {shown(text)}: {e}") from None
    return accepted


def together(r, world, control, count):
    """Three processes, the same devices."""
    children = []
    for _ in range(3):
        seed = r.random()
        pid = os.fork()
        if pid:
            children.append(pid)
            continue
        status = 0
        try:
            r = random.Random(seed)
            control = Control()
            for nr in range(count // 3):
                text = valid(r) if r.random() < 0.05 else any_command(r)
                allowed = None
                try:
                    if len(text) > PAGE:
                        raise Refused(errno.ENOMEM)
                    what, o = parse(text)
                    if what == "add" and (huge(o) or world.is_elsewhere(o)):
                        continue
                except Refused as e:
                    allowed = e.args[0]
                got = control.send(text, r.random())
                if allowed is not None:
                    check(got == allowed, f"command {nr}: {shown(text)}: {name_of(got)}, want {name_of(allowed)}")
        except Failure as e:
            print(e, flush=True)
            status = 1
        os._exit(status)
    bad = [pid for pid in children if os.waitpid(pid, 0)[1]]
    check(not bad, "see above")
    for i in live():
        os.write(control.fd, b"remove id=%d" % i)
    # What is there is whole: nothing half made, nothing of another kind.
    for directory in world.home:
        for i in IDS:
            path = directory + b"/%d" % i
            if os.path.isdir(path):
                names = os.listdir(path)
                odd = [n for n in names if not re.fullmatch(rb"(cnv|seq)-\d{6}|geometry|conditions", n)]
                check(not odd, f"in {path}: {odd}")
                check(not names or b"geometry" in names, f"files without a record in {path}")
    return 0


def state():
    """What must be the same at the end as at the beginning."""
    with open("/proc/mounts", encoding="ascii") as f:
        mounts = sorted(f)
    with open("/proc/sys/fs/file-nr", encoding="ascii") as f:
        files = int(f.read().split()[0])
    tasks = []
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
                comm = f.read()
                if "zloop" in comm and "kworker" not in comm:
                    tasks.append(comm.strip())
        except OSError:
            pass
    return mounts, files, tasks


def outside():
    """Names of all files of the root file system and /dev: nothing is made there."""
    out = subprocess.run("find / /dev -xdev -path /run -prune -o -path /results -prune -o -print | sort", shell=True, stdout=subprocess.PIPE,
                         check=True).stdout
    return set(out.splitlines())


def fuzz(seed, count, first):
    world = World()
    control = Control()
    empty = world.tree()
    around = outside()
    before = reference = None
    start = last = time.monotonic()
    done = accepted = 0
    batch = first
    while done < count:
        r = random.Random(f"{seed} {batch}")
        n = min(BATCH, count - done)
        try:
            if batch % 8 == 7:
                together(r, world, control, n)
            else:
                accepted += alone(r, world, control, n)
            world.clean(control.fd)
            tree = world.tree()
            check(tree == empty, f"the tree has changed: {sorted(set(tree.items()) ^ set(empty.items()))[:8]}")
            check(not live(), f"left: {live()}")
        except Failure as e:
            print(f"seed {seed}, batch {batch}: {e}")
            print(f"to repeat it: SEED={seed} FIRST={batch} COUNT={BATCH}")
            raise SystemExit(1) from None
        done += n
        batch += 1
        if done >= min(count // 4, 5000) and not before:
            # All that is made once has been made.
            control.close()
            before, reference = unreclaimable(), state()
            control = Control()
            start_done = done
        if time.monotonic() - last > 20:
            last = time.monotonic()
            print(f"{done} of {count} writes, {accepted} accepted, {done / (last - start):.0f} a second", flush=True)
    seconds = time.monotonic() - start
    control.close()
    after, now = unreclaimable(), state()
    grown = {k: after[k] - before[k] for k in after}
    print(f"{done} writes, {accepted} judged and accepted, {done / seconds:.0f} a second; memory has grown by {grown} KiB")
    problems = []
    # A few pages of each kind come and go; a leak of 64 bytes in each command is found in a long run.
    if sum(grown.values()) > 1024 + (done - start_done) // 32 and not HAS_KMEMLEAK:
        problems.append(f"memory leaked: {grown} KiB")
    if now[0] != reference[0]:
        problems.append(f"mounts differ: {set(now[0]) ^ set(reference[0])}")
    if now[1] > reference[1] + 64:
        problems.append(f"open files: {now[1]}, were {reference[1]}")
    if now[2]:
        problems.append(f"tasks: {now[2]}")
    made = {f for f in outside() ^ around if not f.startswith(b"/dev/vport")}
    if made:
        problems.append(f"files outside came or went: {sorted(made)[:10]}")
    with open("/sys/module/zloop/refcnt", encoding="ascii") as f:
        if int(f.read()):
            problems.append("the module is in use")
    world.close()
    for problem in problems:
        print(f"seed {seed}: {problem}")
    raise SystemExit(bool(problems))


# ---------------------------------------------------------------- beside the C driver


def outcomes(seed, count, path):
    """Send commands of which the C driver is known to survive all, and note what it says."""
    world = World()
    control = os.open(CONTROL, os.O_WRONLY)
    done = batch = 0
    with open(path, "w", encoding="ascii") as f:
        while done < count:
            r = random.Random(f"{seed} {batch} beside")
            for _ in range(BATCH):
                done += 1
                text = command(r)
                if len(text) > PAGE or dangerous(text):
                    continue
                try:
                    what, o = parse(text)
                    if what == "add" and world.is_elsewhere(o):
                        continue
                except Refused:
                    pass
                before = set(live())
                try:
                    os.write(control, text)
                    got = "ok"
                except OSError as e:
                    got = name_of(e.errno)
                came, went = sorted(set(live()) - before), sorted(before - set(live()))
                # Each is judged by itself, whatever the one before has done.
                for i in live():
                    os.write(control, b"remove id=%d" % i)
                files = {p: s for p, s in world.tree().items() if re.search(rb"/(cnv|seq)-\d+$", p)}
                tree = ",".join(f"{os.path.basename(p).decode()}:{s[1]}" for p, s in sorted(files.items()))
                for p in files:
                    os.unlink(p)
                for p in [p for p in world.tree() if p.endswith((b"/geometry", b"/incomplete"))]:
                    os.unlink(p)
                world.unmake_directories()
                f.write(f"{text!r}\t{got}\t{came}\t{went}\t{tree if got == 'ok' else ''}\n")
            batch += 1
    os.close(control)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/var/local/zloop"], check=True)
    # The C driver may have left something open.
    subprocess.run(["umount", "-l", TOP], check=True)


def dangerous(text):
    """Whether a number is in it that would make either driver reach for all memory: that it may is no difference."""
    if re.search(rb"[,\s]capacity=", text):
        return True
    for _, digits_ in re.findall(rb"(capacity_mb|queue_depth|nr_queues)=([^,\n\0]*)", text):
        try:
            if int(digits_.strip(b" \r"), 0) > 5000:
                return True
        except ValueError:
            pass
    return b"capacity_mb" not in text and b"add" in text


# Why the two drivers may differ: a word for it, and whether it is so for this command and these outcomes.
def explain(text, ours, theirs):
    try:
        what, o = parse(text)
        refused = False
    except Refused:
        refused = True
    text = text.split(b"\0", 1)[0]
    numbers = [v for k, v in re.findall(rb"([a-z_]+)=([^,\n]*)", text) if k != b"id"]
    if refused and ours != "ok":
        if re.match(rb"(add|remove)[^,\s]", text):
            return "letters after the command's name (defect 29)"
        if re.search(rb"id=(-(,|\n|$)|[-+]?[0-9a-fA-FxX]{9,})", text):
            return "an id that wraps around, or a lone minus"
    options = text.split(b"\0", 1)[0]
    if theirs == "EINVAL" and re.search(rb"[,\s]((capacity|zone_size|zone_capacity|block_size)=|rotational|volatile_cache)|conv_zones=[^,\n]*[-:]", options):
        return "options that the C driver doesn't have"
    if theirs == "EINVAL" and re.search(rb"[,\s](buffered_io|ordered_zone_append|discard_write_cache)=", options):
        return "a flag with a value"
    if not refused and what == "add" and theirs == "EINVAL":
        if o[b"id"] not in ([0, -1] if b"ddd" in o[b"base_dir"] else IDS + [-1]):
            return "a directory that is missing"
        try:
            geometry = Geometry(o)
            if geometry.zones == 1 or geometry.zones <= 8 and b"conv_zones" not in o:
                return "a device of few zones"
        except Refused:
            pass
    if not refused and theirs == "EINVAL":
        if any(re.match(rb"0[xX]", v) for v in numbers):
            return "hexadecimal numbers"
        if any(re.match(rb"0[0-9]*[89]", v) for v in numbers):
            return "a leading zero before an 8 or a 9"
        if any(re.fullmatch(rb"\d{24,}", v) for v in numbers):
            return "more than 23 digits"
        if re.search(rb"[,\s](lazy_files|max_active_zones=|write_fault=)", text):
            return "an option that it doesn't have"
        if re.match(rb"\s*(zone_readonly|zone_offline|zone_good|inject|powerfail)\s", text):
            return "a command that it doesn't have"
    return None


def compare(ours_path, theirs_path):
    reasons, unexplained, total = {}, [], 0
    with open(ours_path, encoding="ascii") as ours, open(theirs_path, encoding="ascii") as theirs:
        for a, b in zip(ours, theirs, strict=True):
            total += 1
            if a == b:
                continue
            text, got, *_ = a.rstrip("\n").split("\t")
            _, other, *_ = b.rstrip("\n").split("\t")
            why = explain(eval(text), got, other)  # pylint: disable=eval-used
            if why:
                reasons.setdefault(why, []).append((text, got, other))
            else:
                unexplained.append((a, b))
    print(f"{total} commands, {total - sum(map(len, reasons.values())) - len(unexplained)} with the same outcome")
    for why, cases in sorted(reasons.items(), key=lambda x: -len(x[1])):
        text, got, other = min(cases, key=lambda c: len(c[0]))
        print(f"{len(cases):6} {why}: {text}: {got}, C: {other}")
    for a, b in unexplained[:20]:
        print(f"unexplained:\n  ours  {a}  C     {b}", end="")
    raise SystemExit(bool(unexplained) or not total)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--count", type=int, default=5000)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--outcomes")
    p.add_argument("--compare", nargs=2)
    a = p.parse_args()
    if a.compare:
        compare(*a.compare)
    # Thousands of refusals on a serial line take longer than all the rest.
    subprocess.run(["dmesg", "-n", "1"], check=True)
    if a.outcomes:
        outcomes(a.seed, a.count, a.outcomes)
    else:
        fuzz(a.seed, a.count, a.first)


if __name__ == "__main__":
    main()
