#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Random commands to a device, beside a naive model that must say the same.

    model.py BASE_DIR [--seed N] [--count N] [--first N] [--round N] [--driver c]

The model is written from the rules of zones and knows nothing of the driver: a
zone is a condition, a write pointer, the time of its last use and what each of
its blocks holds, and `Rules.apply` says what a command does to it. A command that
is refused changes nothing.

The commands come in rounds, each on a new device of its own kind: with and
without conventional zones, a capacity smaller than the zone, limits, page cache,
a write cache that loses what was not flushed, and so on. After every command the
errno, a report of all zones and a block of the zone that it was for are compared;
after some, and whenever the device is removed and added, all data is. Instead of a
removal there may be a power failure on command. Now and then the block layer is asked what it knows of the zones (a cached report).

In every other round there are also batches: commands that several tasks give at
once, or that are in flight from one submitter. What came of a batch must be what
comes of its commands one after the other, in some order.

A round depends on the seed and its number only. Rounds without batches do the
same again when they are repeated (--round N), and so does a round with batches up
to the first one. When something differs, the last commands are shown, and it ends.

With the C driver it goes on with a new device: a difference that is one of its
known defects is counted under its number. There are no batches then, nor ordered
appends to conventional zones: the kernel would not survive them.

Requests that user space can't make come from tests/kmod, which must be loaded.

Half of the time goes into new pages, as malloc gives the memory of a whole zone's data back each
time. It keeps it with MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ in the environment.
"""

import argparse
import collections
import shutil

from zbc import *

BLOCK = 8  # sectors
MAX = 256  # blocks of the longest request
MAX_PIECES = 128  # a page each, of a request from user space
SHOWN = 40  # commands before a difference
CODES = {name: code for code, name in CONDITIONS.items()}

# A zone: its condition, write pointer, last use, blocks as (label, seed) of their
# first sector, and how many of them survive a power failure.
Zone = collections.namedtuple("Zone", "cond wp use data flushed")
EMPTY = Zone("E", 0, 0, (), 0)
OPEN = ("IO", "EO")
ACTIVE = ("IO", "EO", "C")
REFUSALS = ("EIO", "ETOOMANYREFS", "EOVERFLOW")


class Differs(Exception):
    """The device and the model don't say the same."""


def defect_of_c(r):
    """The number of the C driver's defect that a difference is, or None. `r` is the round."""
    d, (op, want, got), before = r.device, r.last, r.before
    if op is None or op[0] == "remove and add":
        return "10 to 14" if r.discarded else None
    kind, nr = op[0], op[1]
    conv = nr < d.nr_conv
    zone = None if conv else before[nr - d.nr_conv]
    limit = d.rules.max_open
    open_zones = sum(z.cond in OPEN for z in before)
    if conv:
        return "8" if kind == "append" else None
    if want == "ETOOMANYREFS" and kind == "finish":
        return "finish asks for no slot"
    if want == "ETOOMANYREFS" and got == "EIO":
        return "7"
    if kind == "open" and got == "EIO" and limit and open_zones >= limit:
        return "6"
    if kind == "write" and got == "ok" and op[2] == zone.wp and op[2] + op[3] > d.cap:
        return "4"
    if kind == "append" and "ordered" in d.options and zone.wp + op[3] == d.cap:
        return "1"
    if got == want and got in ("EIO", "ETOOMANYREFS"):
        return "33" if zone.cond == "EO" else "32"
    if kind == "finish" and limit and zone.cond in ("E", "C"):
        return "finish asks for no slot"
    return None


class Rules:
    """What the commands do. A state is a tuple of zones; it is never changed, but
    replaced. A limit of 0 is none."""

    def __init__(self, cap, max_open, max_active, first):
        self.cap, self.max_open, self.max_active = cap, max_open, max_active
        self.first = first  # the number of the first sequential zone

    def apply(self, zones, op):
        """The result of a command, and the zones after it. The result is "ok" or
        the name of an errno; of an append that succeeds, the block."""
        kind, nr = op[0], op[1]
        if kind == "flush":
            return "ok", tuple(z._replace(flushed=z.wp) for z in zones)
        if kind == "reset-all":
            return "ok", (EMPTY,) * len(zones)
        if nr < self.first:
            return "EIO", zones
        i = nr - self.first
        zone = zones[i]
        if kind == "append":
            # An appended block says how far it is from the first one.
            error, after = self.put(zones, i, op[3], op[4], 0)
            return (zone.wp if error == "ok" else error), after
        if kind == "write":
            if op[2] != zone.wp:
                return "EIO", zones
            return self.put(zones, i, op[3], op[4], op[5])
        if kind == "reset":
            return "ok", self.replace(zones, i, EMPTY)
        if kind == "close":
            if zone.cond not in ACTIVE:
                return "EIO", zones
            return "ok", self.replace(zones, i, closed(zone))
        if kind == "open":
            if zone.cond == "F":
                return "EIO", zones
            if zone.cond in ("E", "C"):
                error, zones = self.make_room(zones, i)
                if error:
                    return error, zones
            return "ok", self.replace(zones, i, zone._replace(cond="EO"))
        if kind == "finish":
            if zone.cond == "F":
                return "ok", zones
            if zone.cond in ("E", "C"):
                error, zones = self.make_room(zones, i)
                if error:
                    return error, zones
            return "ok", self.replace(zones, i, Zone("F", self.cap, 0, zone.data, self.cap))
        raise ValueError(op)

    def put(self, zones, i, count, seed, label):
        """A write or append that is at the write pointer."""
        zone = zones[i]
        if zone.cond == "F" or zone.wp + count > self.cap:
            return "EIO", zones
        if zone.cond in ("E", "C"):
            error, zones = self.make_room(zones, i)
            if error:
                return error, zones
        wp = zone.wp + count
        data = zone.data + tuple((label + BLOCK * n, seed) for n in range(count))
        if wp == self.cap:
            after = Zone("F", wp, 0, data, zone.flushed)
        else:
            use = 1 + max(z.use for z in zones)
            after = Zone("EO" if zone.cond == "EO" else "IO", wp, use, data, zone.flushed)
        return "ok", self.replace(zones, i, after)

    def begun(self, zones, op, after):
        """The zones while a command that fills a zone is being carried out, or None if it isn't such
        a command. The zone is open until all of it is on the medium."""
        i = op[1] - self.first
        if op[0] not in ("write", "append", "finish") or i < 0 or zones[i].cond == "F" or after[i].cond != "F":
            return None
        zone = zones[i]
        cond = "EO" if zone.cond == "EO" else "IO"
        use = 1 + max(z.use for z in zones)
        if op[0] != "finish":
            return self.replace(after, i, after[i]._replace(cond=cond, use=use))
        return self.replace(after, i, zone._replace(cond=cond, use=zone.use if zone.cond in OPEN else use))

    def make_room(self, zones, i):
        """The resources for an open zone more: an errno or None, and the zones."""
        conds = [z.cond for z in zones]
        active = sum(c in ACTIVE for c in conds)
        victim = None
        no_room = self.max_open and sum(c in OPEN for c in conds) >= self.max_open
        if no_room:
            victims = [(z.use, n) for n, z in enumerate(zones) if z.cond == "IO"]
            if victims:
                victim = min(victims)[1]
        if zones[i].cond == "E" and self.max_active:
            freed = victim is not None and zones[victim].wp == 0
            if active - freed >= self.max_active:
                return "EOVERFLOW", zones
        if victim is not None:
            zones = self.replace(zones, victim, closed(zones[victim]))
        elif no_room:
            return "ETOOMANYREFS", zones
        return None, zones

    @staticmethod
    def replace(zones, i, zone):
        return zones[:i] + (zone,) + zones[i + 1 :]

    def added_again(self, zones, discard):
        """The zones of a device that was removed and added."""
        after = []
        for z in zones:
            if discard and z.flushed < z.wp:
                z = Zone("C", z.flushed, 0, z.data[: z.flushed], z.flushed)
            after.append((z if z.wp == self.cap else closed(z))._replace(flushed=z.wp))
        return tuple(after)


def closed(zone):
    return zone._replace(cond="C" if zone.wp else "E", use=0)


class Cache:
    """Whether the block layer knows the zones that it reports on its own, without the driver.

    It takes note of regular writes and of resets and finishes. After an append that the device
    has done it has such a report made by the driver, until all zones are reset."""

    def __init__(self, emulated):
        self.emulated = emulated
        self.by_driver = False
        # An append and a reset of all zones at once: whose report that will be is a matter of luck.
        self.unknown = False
        # Zones of which it may know something else: it takes one for full if a write to the end was
        # refused.
        self.lost = set()

    def saw(self, ops, at_once=False):
        """Take note of commands and what came of them."""
        kinds = {op[0] for op, _ in ops}
        if "append" in kinds and not self.emulated:
            self.by_driver, self.unknown = True, False
        if "reset-all" in kinds:
            self.unknown = at_once and "append" in kinds and not self.emulated
            self.by_driver = False
            self.lost.clear()
        for op, got in ops:
            if op[0] == "write" and (got != "ok" or at_once):
                self.lost.add(op[1])
            elif got == "ok" and op[0] in ("write", "reset", "finish"):
                self.lost.discard(op[1])
        if at_once:
            # It may see their ends in another order than the driver has done them in.
            changes = [op[1] for op, _ in ops if op[0] in ("write", "reset", "finish")]
            most = 0 if "reset-all" in kinds else 1
            self.lost.update(nr for nr in changes if changes.count(nr) > most)

    def expected(self, nr, zone):
        """The condition and write pointer of a sequential zone in a cached report; None: any."""
        if not self.by_driver and nr in self.lost:
            return None, None
        if zone.cond in ACTIVE and (zone.wp or self.by_driver):
            return "ACTIVE", zone.wp
        # Only the driver knows that a zone was opened in which nothing is written.
        cond = "E" if zone.cond in ACTIVE else zone.cond
        return cond, None if cond == "F" else zone.wp


class Device:
    """One kind of device, what is known of it, and how to give it commands."""

    def __init__(self, base, rnd, driver):
        self.base, self.rnd, self.driver = base, rnd, driver
        self.nr_conv = rnd.choice((0, 1, 2))
        self.nr_seq = rnd.choice((3, 4, 6))
        self.nr = self.nr_conv + self.nr_seq
        self.mib = rnd.choice((1, 2))  # of a zone; of its capacity 1
        self.len, self.cap = self.mib * 256, 256
        self.choose_options()
        shutil.rmtree(f"{base}/0", ignore_errors=True)
        os.makedirs(f"{base}/0")
        self.zones = (EMPTY,) * self.nr_seq
        # After a batch the order in which zones were used may not be known: what they may be,
        # too. These differ from `zones` in nothing that can be seen yet.
        self.or_zones = []
        self.conv = [[None] * self.len for _ in range(self.nr_conv)]
        self.raw, self.blocks, self.seed = {}, {}, 0
        self.present = False
        self.add()

    def choose_options(self):
        """What may be different each time that a device is added."""
        rnd = self.rnd
        self.discard = rnd.random() < 0.25
        self.emulated = rnd.random() < 0.15
        # A limit that is none is one, too.
        max_open, max_active = rnd.choice((0, 1, 2, 2, 3, self.nr_seq)), 0
        if self.driver != "c" and rnd.random() < 0.4:
            max_active = rnd.randrange(max(max_open, 1), self.nr_seq + 1)
            # What is open is active.
            max_open = max_open or max_active
        self.rules = Rules(self.cap, max_open, max_active, self.nr_conv)
        self.options = ",".join(
            [f"capacity_mb={self.nr * self.mib}", f"zone_size_mb={self.mib}", "zone_capacity_mb=1"]
            + [f"conv_zones={self.nr_conv}", f"max_open_zones={self.rules.max_open}"]
            + [f"max_active_zones={max_active}"] * (max_active > 0)
            + [f"nr_queues={rnd.choice((1, 2))}", f"queue_depth={rnd.choice((2, 16, 128))}"]
            + ["buffered_io"] * (rnd.random() < 0.25)
            + ["ordered_zone_append"] * (rnd.random() < 0.3)
            + ["discard_write_cache"] * self.discard
            + ["zone_append=0"] * self.emulated
            + ["lazy_files"] * (rnd.random() < 0.25 and self.driver != "c")
        )

    def choose_changes(self):
        """What is different when a device is added that is otherwise as it was: what isn't named is."""
        rnd, named = self.rnd, []
        if rnd.random() < 0.4:
            self.discard = rnd.random() < 0.5
            named.append(f"discard_write_cache={self.discard:d}")
        if rnd.random() < 0.2:
            self.emulated = rnd.random() < 0.5
            named.append(f"zone_append={not self.emulated:d}")
        if rnd.random() < 0.4:
            max_active = rnd.choice((0, 1, 2, self.nr_seq))
            max_open = rnd.randrange(0, (max_active or self.nr_seq) + 1)
            self.rules = Rules(self.cap, max_open or max_active, max_active, self.nr_conv)
            named += [f"max_open_zones={max_open}", f"max_active_zones={max_active}"]
        named += rnd.sample(("buffered_io", "buffered_io=0", "nr_queues=2", "ordered_zone_append=0", "lazy_files=0"), rnd.choice((0, 0, 1, 2)))
        rnd.shuffle(named)
        self.options = ",".join(named)

    def add(self):
        control(f"add id=0,base_dir={self.base},{self.options}")
        self.present = True
        self.dev = Dev("/dev/zloop0")
        self.cache = Cache(self.emulated)
        self.requests = [Requests("/dev/zloop0") for _ in range(4)]
        for name, limit in ("max_open_zones", self.rules.max_open), ("max_active_zones", self.rules.max_active):
            with open(f"/sys/block/zloop0/queue/{name}") as f:
                limit = limit if limit < self.nr_seq else 0
                if int(f.read()) != limit:
                    raise Differs(f"{name} of sysfs is not {limit}")

    def remove(self, command="remove"):
        if not self.present:
            return
        for r in self.requests:
            r.close_fd()
        self.dev.close_fd()
        control(f"{command} id=0")
        self.present = False

    def add_again(self, command="remove"):
        """Remove the device, or have its power fail, and add it again."""
        self.remove(command)
        # All are closed then, and the order is forgotten.
        loses = self.discard or command == "powerfail"
        self.zones, self.or_zones = self.rules.added_again(self.zones, loses), []
        if self.driver == "c" or self.rnd.random() < 0.6:
            self.choose_options()
        else:
            self.choose_changes()
        self.add()

    def worlds(self):
        return [self.zones] + self.or_zones

    def set_worlds(self, worlds):
        """All that the zones may be; what is the same comes once."""
        different = {}
        for zones in worlds:
            uses = sorted(z.use for z in zones if z.cond == "IO" and self.rules.max_open)
            order = tuple(uses.index(z.use) if z.use in uses else None for z in zones)
            different.setdefault(order, zones)
        self.zones, *self.or_zones = different.values()

    def sector(self, nr, block):
        return (nr * self.len + block) * BLOCK

    # What is expected.

    def raw_report(self, zones):
        """The report of all zones, as it comes from the kernel."""
        parts = []
        for nr in range(self.nr):
            conv = nr < self.nr_conv
            zone = None if conv else zones[nr - self.nr_conv]
            key = (nr,) if conv else (nr, zone.cond, zone.wp)
            if key not in self.raw:
                start, size = self.sector(nr, 0), self.len * BLOCK
                invalid = conv or zone.cond == "F"
                self.raw[key] = struct.pack(
                    "<QQQBBBB4sQ24x", start, size, INVALID if invalid else start + zone.wp * BLOCK,
                    1 if conv else 2, 0 if conv else CODES[zone.cond], 0, 0, b"", size if conv else self.cap * BLOCK,
                )
            parts.append(self.raw[key])
        return b"".join(parts)

    def expected(self, nr, block):
        """The (label, seed) of a block, or None for zeros."""
        if nr < self.nr_conv:
            return self.conv[nr][block]
        data = self.zones[nr - self.nr_conv].data
        return data[block] if block < len(data) else None

    def content(self, what):
        if what is None:
            return bytes(BLOCK * SECTOR)
        if what not in self.blocks:
            if len(self.blocks) > 4096:
                self.blocks.clear()
            self.blocks[what] = pattern(what[0], BLOCK, what[1])
        return self.blocks[what]

    def contents(self, nr, at):
        """What the MAX blocks from there on hold."""
        if nr < self.nr_conv:
            return b"".join(map(self.content, self.conv[nr][at : at + MAX]))
        data = self.zones[nr - self.nr_conv].data[at : at + MAX]
        return b"".join(map(self.content, data)) + bytes((MAX - len(data)) * BLOCK * SECTOR)

    # What is there.

    def report(self):
        buf = bytearray(16 + 64 * self.nr)
        struct.pack_into("<QII", buf, 0, 0, self.nr, 0)
        fcntl.ioctl(self.dev.fd, BLKREPORTZONE, buf)
        return bytes(buf[16:])

    def check_report(self):
        got, want = self.report(), self.raw_report(self.zones)
        if got != want:
            parts = [(got[n : n + 64], want[n : n + 64]) for n in range(0, len(want), 64)]
            raise Differs("; ".join(f"zone {nr} is {self.shown(g)}, not {self.shown(w)}" for nr, (g, w) in enumerate(parts) if g != w))

    def check_cached(self, nr, count):
        """What the block layer says of these zones, who need not ask the driver."""
        if self.cache.unknown:
            return
        zones = self.dev.cached(self.sector(nr, 0), count)
        if len(zones) != min(count, self.nr - nr):
            raise Differs(f"cached report of {count} zones from {nr} on: {len(zones)} zones")
        for n, got in enumerate(zones, nr):
            conv = n < self.nr_conv
            cond, wp = ("NWP", None) if conv else self.cache.expected(n, self.zones[n - self.nr_conv])
            size, cap = self.len * BLOCK, (self.len if conv else self.cap) * BLOCK
            fixed = (self.sector(n, 0), size, "conv" if conv else "seq", cap)
            if (got.start, got.len, got.type, got.cap) != fixed or cond not in (None, got.cond) or wp not in (None, (got.wp or 0) // BLOCK):
                raise Differs(f"cached report: zone {n} is {got}, not {cond} at block {wp}")

    def shown(self, raw):
        _, _, wp, _, cond, *_, cap = struct.unpack_from("<QQQBBBB4sQ", raw)
        where = "invalid" if wp == INVALID else wp // BLOCK % self.len
        return f"{CONDITIONS.get(cond, cond)} at {where} of {cap // BLOCK}"

    def check_block(self, nr, block):
        got = self.dev.pread(self.sector(nr, block), BLOCK)
        want = self.expected(nr, block)
        if got != self.content(want):
            raise Differs(f"zone {nr}, block {block}: {struct.unpack_from('<QQ', got)}, not {want}")

    def check_data(self):
        for nr in range(self.nr):
            for at in range(0, self.len, MAX):
                got = self.dev.pread(self.sector(nr, at), MAX * BLOCK)
                want = self.contents(nr, at)
                if got != want:
                    for b in range(at, at + MAX):
                        self.check_block(nr, b)

    def check(self, rnd, nr):
        """What is compared after each command, which was for this zone."""
        self.check_report()
        end = self.cap
        if nr >= self.nr_conv and rnd.random() < 0.8:
            end = max(1, min(len(self.zones[nr - self.nr_conv].data) + 1, self.len))
        self.check_block(nr, rnd.randrange(end))

    # Commands. The result is that of Rules.apply.

    def line(self, op):
        """A command as a line of a program of tests/kmod."""
        kind, nr = op[0], op[1]
        if kind in ("flush", "reset-all"):
            return kind
        if kind == "append":
            return f"append at={self.sector(nr, 0)} sectors={op[3] * BLOCK} seed={op[4]}"
        if kind == "write":
            return f"write at={self.sector(nr, op[2])} sectors={op[3] * BLOCK} seed={op[4]}"
        return f"{kind} at={self.sector(nr, 0)}"

    def result(self, op, end):
        if op[0] == "append" and end.error == "ok":
            block, rest = divmod(end.sector - self.sector(op[1], 0), BLOCK)
            return block if not rest else f"sector {end.sector}"
        return end.error

    def give(self, op, by_kernel, me=0):
        """Give a command by system calls, or from within the kernel."""
        kind, nr = op[0], op[1]
        # What has more pieces than a request may have would be two.
        if by_kernel or kind == "append" or (kind == "write" and op[3] > MAX_PIECES):
            return self.result(op, self.requests[me].run(self.line(op))[0])
        d = self.dev
        try:
            if kind == "write":
                d.pwrite(self.sector(nr, op[2]), b"".join(self.content((op[5] + BLOCK * n, op[4])) for n in range(op[3])))
            elif kind == "flush":
                d.flush()
            elif kind == "reset-all":
                # Of one zone it would be the reset of that one.
                d.reset_all()
            else:
                z = self.len * BLOCK
                d.ioctl_range(COMMANDS[kind], nr * z, z)
        except OSError as e:
            return errno.errorcode[e.errno]
        return "ok"


COMMANDS = {"open": BLKOPENZONE, "close": BLKCLOSEZONE, "finish": BLKFINISHZONE, "reset": BLKRESETZONE}


class Round:
    """Commands to one device."""

    def __init__(self, args, number):
        self.args, self.number = args, number
        self.rnd = random.Random(f"{args.seed}/{number}")
        self.batches = number % 2 == 1 and args.driver != "c"
        self.steps = 0
        self.tally = collections.Counter()
        self.device = None
        self.begin()

    def begin(self):
        """Begin with a new device."""
        if self.device:
            self.device.remove()
        self.device = Device(self.args.base, self.rnd, self.args.driver)
        self.trace = collections.deque(maxlen=SHOWN)
        self.trace.append(("add", self.device.options))
        # The last command, what should have come of it and what did, and the zones before it.
        self.last, self.before, self.discarded = (None, None, None), self.device.zones, False

    # What to do next.

    def zone(self, conds=None):
        """The number of a zone, if there is one in such a condition."""
        d = self.device
        if conds and self.rnd.random() < 0.7:
            those = [n for n, z in enumerate(d.zones) if z.cond in conds]
            if those:
                return d.nr_conv + self.rnd.choice(those)
        return d.nr_conv + self.rnd.randrange(d.nr_seq)

    def write(self, nr, block, count):
        d = self.device
        d.seed += 1
        return ("write", nr, block, count, d.seed, d.sector(nr, block))

    def append(self, nr, count):
        d = self.device
        d.seed += 1
        return ("append", nr, None, count, d.seed)

    def length(self, nr):
        """How much to write: mostly little, sometimes all that is left or more."""
        d, rnd = self.device, self.rnd
        left = d.cap - d.zones[nr - d.nr_conv].wp
        what = rnd.random()
        if what < 0.80:
            count = rnd.randrange(1, 17)
        elif what < 0.90:
            count = rnd.randrange(1, MAX + 1)
        elif what < 0.96:
            count = left or 1
        else:
            count = min(left + rnd.randrange(1, 5), MAX)
        if d.emulated and d.driver == "c":
            # Made into a write, an append may even go past the zone's end, of which the C driver
            # warns.
            return min(count, left) or count
        return count

    def command(self):
        """A command for one zone, or for all of them."""
        d, rnd = self.device, self.rnd
        what = rnd.randrange(100)
        if what < 30:
            nr = self.zone(("E", "IO", "EO", "C"))
            wp = d.zones[nr - d.nr_conv].wp
            # A write must not go past the zone's end.
            return self.write(nr, wp % d.len, min(self.length(nr), d.len - wp % d.len))
        if what < 55:
            nr = self.zone(("E", "IO", "EO", "C"))
            return self.append(nr, self.length(nr))
        if what < 59:
            nr = self.zone()
            block = rnd.randrange(d.len)
            return self.write(nr, block, min(rnd.randrange(1, 17), d.len - block))
        if what < 68:
            return ("open", self.zone())
        if what < 76:
            return ("close", self.zone(ACTIVE))
        if what < 82:
            return ("finish", self.zone())
        if what < 93:
            return ("reset", self.zone(("F", "C", "EO", "IO")))
        if what < 94:
            return ("reset-all", self.zone())
        if what < 98:
            return ("flush", self.zone())
        if not d.nr_conv:
            return ("flush", self.zone())
        nr = rnd.randrange(d.nr_conv)
        deadly = self.args.driver == "c" and "ordered" in d.options
        if rnd.random() < 0.5 and not deadly:
            return self.append(nr, rnd.randrange(1, 17))
        return (rnd.choice(("open", "close", "finish", "reset")), nr)

    def step(self):
        d, rnd = self.device, self.rnd
        self.steps += 1
        what = rnd.randrange(1000)
        self.last, self.before, self.discarded = (None, None, None), d.zones, False
        if what < 4:
            d.check_data()
            command = "powerfail" if rnd.random() < 0.4 and self.args.driver != "c" else "remove"
            end = f"{command} and add"
            self.last, self.discarded = ((end,), None, None), d.discard
            d.add_again(command)
            self.trace.append((end, d.options))
            d.check_report()
            d.check_data()
            self.tally[end] += 1
            return
        if what < 6:
            d.check_data()
            self.tally["all data"] += 1
            return
        if what < 40 and d.nr_conv:
            return self.conventional()
        if what < 60:
            return self.report_of_one()
        if what < 80 and self.args.driver != "c":
            d.check_cached(rnd.randrange(d.nr), rnd.randrange(1, d.nr + 1))
            self.tally["cached report"] += 1
            return
        if what < 160 and self.batches:
            return self.batch()
        self.do(self.command(), rnd.random() < 0.4)

    def do(self, op, by_kernel):
        """Give a command, and see that all is as it should be."""
        d, rnd = self.device, self.rnd
        outcomes = [d.rules.apply(zones, op) for zones in d.worlds()]
        want = outcomes[0][0]
        got = d.give(op, by_kernel)
        self.last, self.before = (op, want, got), d.zones
        self.trace.append((op, got))
        self.tally[op[0], got if isinstance(got, str) else "ok"] += 1
        worlds = [after for want, after in outcomes if want == got]
        if not worlds:
            raise Differs(f"{op}: {got}, not {want}")
        if len(worlds) > 1:
            report = d.report()
            worlds = [zones for zones in worlds if d.raw_report(zones) == report] or worlds[:1]
        d.set_worlds(worlds)
        d.cache.saw([(op, got)])
        d.check(rnd, op[1])
        if d.emulated and op[3:] and op[1] >= d.nr_conv and not isinstance(got, int) and got != "ok":
            # A write to the end of the zone has the block layer take it for full and forget where
            # the write pointer is, even if it is refused. If that makes writes of appends, it then
            # takes the zone for empty.
            start = op[2] if op[0] == "write" else self.before[op[1] - d.nr_conv].wp
            if start + op[3] >= d.cap:
                self.do(("reset", op[1]), False)

    def conventional(self):
        """Write somewhere in a conventional zone, over what is there."""
        d, rnd = self.device, self.rnd
        nr, block = rnd.randrange(d.nr_conv), rnd.randrange(d.len)
        op = self.write(nr, block, min(rnd.randrange(1, 17), d.len - block))
        got = d.give(op, rnd.random() < 0.4)
        self.trace.append((op, got))
        self.tally["conventional write", got] += 1
        if got != "ok":
            raise Differs(f"{op}: {got}")
        self.note_conventional(op)
        d.check(rnd, nr)
        d.check_block(nr, block)

    def note_conventional(self, op):
        _, nr, block, count, seed, label = op
        self.device.conv[nr][block : block + count] = [(label + BLOCK * n, seed) for n in range(count)]

    def report_of_one(self):
        """A report that begins and ends somewhere in the middle."""
        d, rnd = self.device, self.rnd
        nr, count = rnd.randrange(d.nr), rnd.randrange(1, d.nr + 1)
        buf = bytearray(16 + 64 * count)
        struct.pack_into("<QII", buf, 0, d.sector(nr, rnd.randrange(d.len)), count, 0)
        fcntl.ioctl(d.dev.fd, BLKREPORTZONE, buf)
        _, n, _ = struct.unpack_from("<QII", buf)
        want = d.raw_report(d.zones)[64 * nr : 64 * (nr + count)]
        self.tally["report"] += 1
        if bytes(buf[16 : 16 + 64 * n]) != want:
            raise Differs(f"report of {count} zones from {nr} on")

    # Batches.

    def batch(self):
        d, rnd = self.device, self.rnd
        # Few zones, so that they get in each other's way. The block layer forbids writes and
        # appends to one zone at a time.
        some = [self.zone() for _ in range(rnd.choice((1, 2, 3)))]
        ways = {nr: "write" if d.emulated else rnd.choice(("write", "append")) for nr in some}
        nr_tasks = rnd.choice((2, 3, 4))
        queues = [[] for _ in range(nr_tasks)]
        offsets = dict.fromkeys(some, 0)
        for n in range(rnd.randrange(2, 8)):
            nr = rnd.choice(some)
            zone = d.zones[nr - d.nr_conv]
            if rnd.random() < 0.6:
                count = self.length(nr) if rnd.random() < 0.3 else rnd.randrange(1, 9)
                if ways[nr] == "append":
                    op = self.append(nr, count)
                else:
                    # Some follow each other, some want the same place.
                    block = (zone.wp + offsets[nr]) % d.len
                    count = min(count, d.len - block)
                    op = self.write(nr, block, count)
                    if rnd.random() < 0.7:
                        offsets[nr] += count
            else:
                kind = rnd.choice(("open", "close", "finish", "reset", "reset", "flush", "reset-all"))
                if kind == "reset-all" and rnd.random() < 0.7:
                    kind = "open"
                op = (kind, nr)
            queues[n % nr_tasks].append(op)
        if rnd.random() < 0.5:
            done, how = self.in_flight([op for q in queues for op in q]), "in flight"
        else:
            done, how = self.by_tasks(queues), f"{nr_tasks} tasks"
        self.trace.append((how, done))
        self.tally["batch", how] += 1
        for queue in done:
            for op, got in queue:
                self.tally[op[0], got if isinstance(got, str) else "ok"] += 1
        # How much a flush among them has caught can't be seen.
        flushed = d.discard or any(op[0] == "flush" for queue in queues for op in queue)
        if flushed:
            d.dev.flush()
        self.explain(done)
        d.cache.saw([entry for queue in done for entry in queue], at_once=True)
        if flushed:
            d.set_worlds([d.rules.apply(zones, ("flush", 0))[1] for zones in d.worlds()])
        for nr in sorted(set(some)):
            d.check(rnd, nr)
        # The block layer may have seen the end of a reset after that of a write which the zone
        # has seen later. Then only another reset has it know the write pointer.
        kinds = {op[0] for queue in queues for op in queue}
        if d.emulated or kinds & {"reset", "reset-all", "finish"}:
            for nr in sorted(nr for nr in ways if ways[nr] == "write"):
                self.do(("reset", nr), False)

    def in_flight(self, ops):
        """All at once from one submitter: there is no order among them, but of the appends to
        a zone if that was asked for."""
        d = self.device
        ends = d.requests[0].run("\n".join(d.line(op) for op in ops), len(ops))
        done, appends = [], {}
        for op, end in zip(ops, ends):
            entry = (op, d.result(op, end))
            if op[0] == "append" and "ordered" in d.options:
                appends.setdefault(op[1], []).append(entry)
            else:
                done.append([entry])
        return done + list(appends.values())

    def by_tasks(self, queues):
        d, rnd = self.device, self.rnd
        done, errors = [[] for _ in queues], []
        plans = [[(op, rnd.random() < 0.4) for op in queue] for queue in queues]
        begin = threading.Barrier(len(queues))

        def task(me):
            try:
                begin.wait()
                for op, by_kernel in plans[me]:
                    done[me].append((op, d.give(op, by_kernel, me)))
                    if op[4:] and op[4] % 5 == 0:
                        d.report()
            except Exception as e:  # whatever it is, the round must end
                errors.append(repr(e))

        threads = [threading.Thread(target=task, args=(me,)) for me in range(len(queues))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise Differs(f"tasks: {errors}")
        return done

    def explain(self, queues):
        """Find the orders of the batch in which each command has the result that it had and that
        end with the zones as they are now."""
        d = self.device
        report = d.report()
        ops = [op for queue in queues for op, _ in queue]
        touched = sorted({op[1] for op in ops})
        if any(op[0] == "reset-all" for op in ops):
            touched = range(d.nr_conv, d.nr)
        read = {}
        seen, found, wrong = set(), [], set()
        # No more than this may have been written since the zone was as it is in the model.
        ends = collections.Counter()
        for op in ops:
            ends[op[1]] += op[3] if op[3:] else 0
        # The block layer keeps the order of writes. For reasons of its own it refuses one that
        # comes beside others, and those that it merges fail together.
        crowd = collections.Counter(op[1] for op in ops)
        if any(op[0] == "reset-all" for op in ops):
            crowd.update(list(crowd))

        def is_there(zones):
            if d.raw_report(zones) != report:
                return False
            for nr in touched:
                data = zones[nr - d.nr_conv].data
                end = min(d.cap, len(d.zones[nr - d.nr_conv].data) + ends[nr])
                for block in range(max(end, len(data))):
                    what = data[block] if block < len(data) else None
                    if (nr, block) not in read:
                        at = block // MAX * MAX
                        raw = d.dev.pread(d.sector(nr, at), MAX * BLOCK)
                        for n in range(MAX):
                            read[nr, at + n] = raw[n * BLOCK * SECTOR : (n + 1) * BLOCK * SECTOR]
                    if read[nr, block] != d.content(what):
                        there = struct.unpack_from("<QQ", read[nr, block])
                        wrong.add(f"  but zone {nr}, block {block} holds {there}, not {what}")
                        return False
            return True

        def search(zones, left):
            if not any(left):
                if is_there(zones):
                    found.append(zones)
                return
            key = (tuple((len(queue), queue and queue[0][0][2:3]) for queue in left), zones)
            if key in seen:
                return
            seen.add(key)
            # What has begun to fill a zone, and that zone: commands wait for it, and writes, too, if
            # it is a finish.
            filling = {op[1]: op for queue in left for op, _ in queue[:1] if op[0] == "filling"}
            for i, queue in enumerate(left):
                if not queue:
                    continue
                op, got = queue[0]
                rest = left[:i] + (queue[1:],) + left[i + 1 :]
                if op[0] == "filling":
                    search(d.rules.replace(zones, op[1] - d.nr_conv, op[2]), rest)
                    continue
                if op[1] in filling:
                    finishes = filling[op[1]][3]
                    if op[0] not in ("flush", "reset-all") and (finishes or op[0] not in ("write", "append")):
                        continue
                if op[0] == "reset-all":
                    # Each zone has its turn on its own. For those that have nothing to lose and
                    # nothing to give back any moment is as good as another.
                    idle = {n for n, z in enumerate(zones) if z.cond in ("E", "F") and n + d.nr_conv not in crowd}
                    others = frozenset(range(d.nr_seq)) - idle
                    some = (("reset-some", None, others), got)
                    after = tuple(EMPTY if n in idle else z for n, z in enumerate(zones))
                    if got == "ok":
                        search(after, left[:i] + ((some,) + queue[1:],) + left[i + 1 :])
                    continue
                if op[0] == "reset-some":
                    for n in op[2]:
                        if n + d.nr_conv in filling:
                            continue
                        some = (("reset-some", None, op[2] - {n}), got)
                        search(d.rules.replace(zones, n, EMPTY), left[:i] + ((some,) + queue[1:],) + left[i + 1 :])
                    if not op[2]:
                        search(zones, rest)
                    continue
                want, after = d.rules.apply(zones, op)
                if want == got:
                    search(after, rest)
                    begun = d.rules.begun(zones, op, after)
                    if begun:
                        its_end = (("filling", op[1], after[op[1] - d.nr_conv], op[0] == "finish"), got)
                        search(begun, left[:i] + ((its_end,) + queue[1:],) + left[i + 1 :])
                elif got in REFUSALS and op[0] == "write" and crowd[op[1]] > 1:
                    search(zones, rest)

        for zones in d.worlds():
            search(zones, tuple(tuple(q) for q in queues))
        if not found:
            lines = [f"  {nr}: {d.shown(report[64 * nr : 64 * nr + 64])}" for nr in range(d.nr)]
            raise Differs("no order of the batch explains its results and these zones:\n" + "\n".join(lines + sorted(wrong)))
        d.set_worlds(found)


def shown(entry):
    if isinstance(entry[1], list):
        return f"{entry[0]}:" + "".join("\n      " + ", ".join(f"{op} {got}" for op, got in queue) for queue in entry[1])
    return f"{entry[0]} {entry[1]}"


def show(args, r, e):
    """Say what differs."""
    d = r.device
    print(f"seed {args.seed}, round {r.number}, step {r.steps}: {type(e).__name__}: {e}")
    print(f"options {d.options}")
    print(f"the last commands ({'with' if r.batches else 'without'} batches):")
    for entry in r.trace:
        print("  " + shown(entry))
    zones = (f"{d.nr_conv + n}: {z.cond} at {z.wp}, use {z.use}" for n, z in enumerate(d.zones))
    print("zones of the model before it: " + ", ".join(zones))
    print(f"again: make model SEED={args.seed} ROUND={r.number} COUNT={r.steps}")
    sys.stdout.flush()


def play(args, number, length, found):
    """A round. Returns the commands and what came of them. `found` counts differences."""
    r = Round(args, number)
    for step in range(length + 1):
        try:
            if step < length:
                r.step()
            else:
                r.device.check_data()
        except (Differs, AssertionError, OSError) as e:
            defect = defect_of_c(r) if args.driver == "c" else None
            found[defect or "unknown"] += 1
            if not defect and found["unknown"] <= 5:
                show(args, r, e)
            if args.driver != "c":
                break
            r.begin()
    r.device.remove()
    return r.steps, r.tally


def run(args):
    total, tally, found = 0, collections.Counter(), collections.Counter()
    begin = said = time.time()
    number = args.first if args.round is None else args.round
    while total < args.count and (args.driver == "c" or not found):
        length = args.count if args.round is not None else min(args.steps, args.count - total)
        steps, counts = play(args, number, length, found)
        total += steps
        tally.update(counts)
        number += 1
        if time.time() - said > 10:
            said = time.time()
            print(f"{total} commands, {total / (said - begin):.0f} a second, round {number}", flush=True)
        if args.round is not None:
            break
    print(f"{total} commands, {total / (time.time() - begin):.0f} a second")
    for what, n in sorted(tally.items(), key=str):
        print(f"  {n:8} {' '.join(what) if isinstance(what, tuple) else what}")
    for what, n in sorted(found.items()):
        print(f"  {n:8} differences: {'defect ' * what[0].isdigit()}{what}")
    return 1 if found["unknown"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="see the file's head")
    parser.add_argument("base")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="begin with this round")
    parser.add_argument("--round", type=int, help="this round only")
    parser.add_argument("--steps", type=int, default=500, help="commands of a round")
    parser.add_argument("--driver", default="rust")
    sys.exit(run(parser.parse_args()))
