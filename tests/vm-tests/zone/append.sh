# SPDX-License-Identifier: GPL-2.0
# Zone appends, one at a time and many in flight.
#
# Guards what file systems rely on: that each append which succeeds has sectors
# of its own, with its data in them, that no room is left between them, and that
# one which fails, or another command in between, does no harm to the others.
# They are made in the kernel, by tests/kmod: user space can't.

# Zones of 2 MiB of which 1 MiB can be written, the first two conventional.
setup() { # [options]
	[[ -d /sys/module/requests ]] || use_requests
	add_dev "capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2,nr_queues=2${1:+,$1}"
}

append() { # code that uses d, the device, r, its requests, and the functions of the prelude
	local code
	code=$(cat)
	py "$DEV" "$DIR" "$@" <<-PY
	d, directory, r = Dev(args[0]), args[1], Requests(args[0])
	CAP, LEN = MIB, 2 * MIB

	class Appends:
	    """What was appended to some zones and is to be found there."""
	    def __init__(self):
	        self.seed, self.claims = 0, {}

	    def line(self, nr, sectors=8, count=1, zones=1, more=""):
	        """The line of a program; \`note\` must be told of its ends."""
	        self.seed += 1
	        self.last = (self.seed, sectors)
	        return f"append at={nr * LEN} sectors={sectors} count={count} zones={zones} step={LEN} seed={self.seed} {more}"

	    def note(self, ends, seed=None, sectors=8):
	        """Take note of the ends of a line's requests."""
	        for index, end in enumerate(ends):
	            if end.error == "ok":
	                self.claims[seed, index * sectors] = (end.sector, sectors)

	    def run(self, nr, sectors=8, count=1, depth=1, zones=1, more=""):
	        ends = r.run(self.line(nr, sectors, count, zones, more), depth)
	        self.note(ends, self.seed, sectors)
	        return ends

	    def check(self, nr, complete=True):
	        """The zone holds appends that have said so, one after the other, and if
	        it was never reset all of them. Returns the write pointer."""
	        z = d.zone(nr)
	        wp = os.stat(f"{directory}/seq-{nr:06}").st_size // SECTOR
	        eq(z.wp, None if z.cond == "F" else wp, f"zone {nr}: write pointer, file")
	        at, found = 0, 0
	        while at < wp:
	            label, seed = struct.unpack_from("<QQ", d.pread(z.start + at, 8))
	            claim = self.claims.get((seed, label))
	            if not claim or claim[0] != z.start + at:
	                raise AssertionError(f"zone {nr}, sector {at}: {label}, {seed} was appended to {claim}")
	            eq(d.pread(z.start + at, claim[1]) == pattern(label, claim[1], seed), True, f"zone {nr}, sector {at}: data")
	            at += claim[1]
	            found += 1
	        claims = [c for c in self.claims.values() if c[0] // LEN == nr]
	        if complete:
	            eq(found, len(claims), f"zone {nr}: appends")
	            eq(len(set(claims)), len(claims), f"zone {nr}: sectors handed out once")
	        return wp

	def errors(ends):
	    return sorted({e.error for e in ends})

	def usable(nr):
	    """The zone takes data again, all that it can, and gives it back."""
	    d.reset(nr)
	    cond(d, nr, "E", 0)
	    d.zwrite(nr, 0, 64, nr)
	    eq(r.one(f"append at={nr * LEN} sectors=8 seed=1"), nr * LEN + 64, "append")
	    d.zwrite(nr, 72, CAP - 72, nr)
	    d.zcheck(nr, 0, 64, nr); d.zcheck(nr, 72, CAP - 72, nr)
	    cond(d, nr, "F")

	a = Appends()
	$code
	PY
}

# One after the other, of all lengths, from every condition that has room.
test_conditions_and_lengths() {
	setup
	append <<-'PY'
	wp = 0
	for sectors in 8, 16, 24, 256, 8, 1024:
	    (end,) = a.run(4, sectors)
	    eq((end.error, end.sector), ("ok", 4 * LEN + wp), f"append of {sectors} sectors")
	    wp += sectors
	    cond(d, 4, "IO", wp)
	d.open(4); a.run(4); cond(d, 4, "EO", wp + 8)
	d.close(4); cond(d, 4, "C", wp + 8)
	a.run(4); cond(d, 4, "IO", wp + 16)
	d.open(5); a.run(5); cond(d, 5, "EO", 8)
	a.run(6, 2048); cond(d, 6, "F")		# as much as it can hold, at once
	rest = CAP - d.zone(4).wp
	a.run(4, rest); cond(d, 4, "F")
	for nr in 4, 5, 6: a.check(nr)
	# What can't be done changes nothing.
	def append(at, sectors): r.one(f"append at={at} sectors={sectors}")
	refused(d, "EIO", append, 4 * LEN, 8)		# full
	refused(d, "EIO", append, 5 * LEN, CAP)		# more than is left
	refused(d, "EIO", append, 5 * LEN + 8, 8)	# not for a zone's start
	refused(d, "EIO", append, 5 * LEN, 2056)	# more than 1 MiB
	refused(d, "EIO", append, 100 * LEN, 8)		# nowhere
	refused(d, "EIO|EINVAL", append, 5 * LEN, 1)	# a piece of a block
	d.finish(5)
	refused(d, "EIO", append, 5 * LEN, 8)
	a.check(4); a.check(6)
	d.zcheck(5, 8, LEN - 8, None)
	PY
}

# Many in flight, to one zone and to eight, however the device works.
test_many_in_flight() {
	local options
	for options in "" buffered_io nr_queues=1,queue_depth=4 zone_append=0; do
		setup "$options"
		append <<-'PY'
		for depth in 2, 64:
		    d.reset_all()
		    a = Appends()
		    eq(errors(a.run(4, 8, 100, depth)), ["ok"], "one zone")
		    eq(a.check(4), 800, "write pointer")
		    eq(errors(a.run(5, 16, 8 * 50, depth, zones=8)), ["ok"], "eight zones")
		    for nr in range(5, 13): eq(a.check(nr), 800, "write pointer")
		    a.check(4)
		# What doesn't fit fails, and nothing else: half of it does not.
		d.reset_all()
		a = Appends()
		eq([e.error for e in a.run(4, 32, 128, 64)].count("ok"), 64, "appends that fit")
		eq(a.check(4), CAP, "write pointer")
		cond(d, 4, "F")
		PY
		remove_dev
		rm -r "$DIR"
	done
}

# The C driver calls the zone full when the last append is queued, and refuses it
# when its turn comes.
# C driver fails: defect 1
test_defect_01_ordered_appends_fill_a_zone() {
	setup ordered_zone_append
	append <<-'PY'
	eq(errors(a.run(4, 8, CAP // 8, 1)), ["ok"], "one at a time")
	eq(errors(a.run(5, 64, CAP // 64, 32)), ["ok"], "many at a time")
	eq(errors(a.run(6, CAP)), ["ok"], "all at once")
	for nr in 4, 5, 6:
	    cond(d, nr, "F")
	    eq(a.check(nr), CAP, "write pointer")
	PY
}

# After a failure the C driver takes the write pointer from the file's size, which
# appends in flight have yet to change.
among_failures() { # options
	setup "$1"
	append <<-'PY'
	for turn in range(8):
	    d.reset(4)
	    a = Appends()
	    # Appends that don't fit, which are refused, among others that do.
	    program, counts, wants = [], [], []
	    for step in range(8):
	        program.append(a.line(4, 8, 8)); counts.append((a.seed, 8, 8))
	        program.append(a.line(4, CAP, 1)); counts.append((a.seed, CAP, 1))
	    ends = r.run("\n".join(program), 64)
	    refusals = []
	    for seed, sectors, count in counts:
	        a.note(ends[:count], seed, sectors)
	        if sectors == CAP: refusals += ends[:count]
	        else: eq(errors(ends[:count]), ["ok"], f"turn {turn}: appends that fit")
	        ends = ends[count:]
	    eq(errors(refusals), ["EIO"], "appends that don't fit")
	    eq(a.check(4), 8 * 8 * 8, f"turn {turn}: write pointer")
	PY
}
# C driver fails: defect 2
test_defect_02_appends_among_appends_that_fail() { among_failures ""; }
test_appends_among_ordered_appends_that_fail() { among_failures ordered_zone_append; }

# A write that isn't at the write pointer is refused, and appends behind it get
# sectors that others have.
among_misplaced_writes() { # options
	setup "$1"
	append <<-'PY'
	for turn in range(8):
	    d.reset(4)
	    a = Appends()
	    program, seeds = [], []
	    for step in range(8):
	        program.append(a.line(4, 8, 8)); seeds.append(a.seed)
	        program.append(f"write at={4 * LEN + 2040} sectors=8 seed=99")
	    ends = r.run("\n".join(program), 64)
	    for step, seed in enumerate(seeds):
	        mine = ends[9 * step : 9 * step + 8]
	        a.note(mine, seed)
	        eq(errors(mine), ["ok"], f"turn {turn}: appends")
	        eq(ends[9 * step + 8].error, "EIO", f"turn {turn}: a write that is not at the write pointer")
	    eq(a.check(4), 8 * 8 * 8, f"turn {turn}: write pointer")
	PY
}
# C driver fails: defect 2
test_defect_02_appends_among_misplaced_writes() { among_misplaced_writes ""; }
# C driver fails: defect 3
test_defect_03_ordered_appends_among_misplaced_writes() { among_misplaced_writes ordered_zone_append; }

# A conventional zone has no write pointer.
to_conventional() { # options
	setup "$1"
	append <<-'PY'
	for nr in 0, 1: d.zwrite(nr, 0, 64, 5)
	def append(at): r.one(f"append at={at} sectors=8 seed=66")
	for nr in 0, 1, 1, 0: refused(d, "EIO", append, nr * LEN)
	for nr in 0, 1:
	    d.zcheck(nr, 0, 64, 5)
	    d.zcheck(nr, 64, LEN - 64, None)
	d.zwrite(0, 0, 8, 6); d.zcheck(0, 0, 8, 6)
	eq(r.one(f"append at={2 * LEN} sectors=8"), 2 * LEN, "the first sequential zone")
	PY
}
# C driver fails: defect 8
test_defect_08_append_to_a_conventional_zone() { to_conventional ""; }
# C driver fails: defect 8, the kernel dies
test_defect_08_ordered_append_to_a_conventional_zone() { to_conventional ordered_zone_append; }

# Appends among other commands to the same zone, all in flight. What each says must
# be true in some order of them.
race() { # options command
	setup "$1"
	append "$2" <<-'PY'
	command, rnd = args[2], random.Random(7)
	kinds, tally = command.split("+"), {}
	for turn in range(25):
	    a = Appends()
	    d.reset(4)
	    program, parts = [], []
	    for step in range(6):
	        # Some of them fill the zone.
	        sectors = rnd.choice((8, 8, 16, 64, 128))
	        program.append(a.line(4, sectors, 6)); parts.append((a.seed, sectors, 6))
	        kind = rnd.choice(kinds)
	        program.append(f"{kind} at={4 * LEN}"); parts.append((None, kind, 1))
	    ends = r.run("\n".join(program), 64)
	    for seed, what, count in parts:
	        for e in ends[:count]:
	            key = (what if seed is None else "append", e.error)
	            tally[key] = tally.get(key, 0) + 1
	        if seed is not None: a.note(ends[:count], seed, what)
	        elif what == "reset": eq(errors(ends[:count]), ["ok"], f"turn {turn}: resets")
	        ends = ends[count:]
	    if "finish" not in kinds:
	        a.check(4, complete="reset" not in kinds)
	    z = d.zone(4)
	    size = os.stat(f"{directory}/seq-000004").st_size // SECTOR
	    eq(size, CAP if z.cond == "F" else z.wp, f"turn {turn}: file of {z}")
	    eq(z.cond in (("E", "EO") if size == 0 else ("F",) if size == CAP else ("IO", "EO", "C")), True, f"turn {turn}: {z}")
	    if turn % 10 == 9: usable(4)
	print(tally)
	eq({error for what, error in tally} <= {"ok", "EIO"}, True, f"{tally}")
	eq(tally["append", "ok"] > 30, True, f"{tally}")
	PY
}
# The C driver has passed so far.
test_defect_09_appends_race_reset() { race "" reset; }
# C driver fails: defect 9
test_defect_09_ordered_appends_race_reset() { race ordered_zone_append reset; }
# C driver fails: defect 9
test_defect_09_ordered_appends_race_close() { race ordered_zone_append close; }
test_appends_race_finish() { race "" finish+reset; }
# C driver fails: defect 2
test_appends_race_open_and_close() { race "" open+close; }
# C driver fails: the write pointer is not where the file ends
test_appends_race_all() { race "max_open_zones=2" open+close+finish+reset+reset-all+flush; }

# Data comes in the order in which it was given, whoever is in between.
test_ordered() {
	setup ordered_zone_append
	append <<-'PY'
	for depth in 8, 64:
	    d.reset_all()
	    a = Appends()
	    ends = a.run(4, 8, 250, depth)
	    eq([e.sector for e in ends], [4 * LEN + 8 * n for n in range(250)], "sectors, one zone")
	    ends = a.run(5, 8, 4 * 250, depth, zones=4)
	    for nr in range(4):
	        eq([e.sector for e in ends[nr::4]], [(5 + nr) * LEN + 8 * n for n in range(250)], f"sectors, zone {5 + nr}")
	    for nr in range(4, 9): a.check(nr)
	PY
}

# The limit of open zones holds for appends as it does for writes.
# C driver fails: defect 7
test_open_zone_limit() {
	setup max_open_zones=2
	append <<-'PY'
	def append(nr): a.run(nr)
	d.open(2); d.open(3)
	def refuse(nr): r.one(f"append at={nr * LEN} sectors=8")
	refused(d, "ETOOMANYREFS", refuse, 4)
	ends = r.run(f"append at={4 * LEN} sectors=8 count=64 zones=8 step={LEN}", 64)
	eq(errors(ends), ["ETOOMANYREFS"], "many")
	eq([z.cond for z in d.zones()[2:12]], ["EO"] * 2 + ["E"] * 8, "zones")
	append(2); append(3)
	d.close(2)
	append(4); append(5)
	eq([d.zone(n).cond for n in (2, 3, 4, 5)], ["C", "EO", "C", "IO"], "zones")
	# There is always one to make room: all succeed.
	d.close(3)
	eq(errors(a.run(4, 8, 8 * 100, 64, zones=8)), ["ok"], "eight zones, two slots")
	for nr in range(2, 12): a.check(nr)
	eq(sum(z.cond == "IO" for z in d.zones()), 2, "open zones")
	d.reset_all()
	d.open(7); d.open(8)
	fails("ETOOMANYREFS", d.open, 9)
	PY
}

# With writes of user space in between, through the page cache, too.
test_mixed_with_writes() {
	local options
	for options in "" buffered_io; do
		setup "$options"
		append <<-'PY'
		cached = Dev(args[0], os.O_RDWR)
		for turn in range(4):
		    d.reset(4)
		    at = 0
		    for step in range(8):
		        ends = r.run(f"append at={4 * LEN} sectors=16 count=4 seed={step + 1}", 4)
		        eq(sorted(e.sector - 4 * LEN for e in ends), [at, at + 16, at + 32, at + 48], "sectors")
		        at += 64
		        d.zwrite(4, at, 16, 50 + step)
		        cached.zwrite(4, at + 16, 16, 60 + step); cached.flush()
		        at += 32
		    cond(d, 4, "IO", at)
		    for step in range(8):
		        data = d.pread(4 * LEN + 96 * step, 64)
		        got = sorted(data[n * 8192 : n * 8192 + 8192] for n in range(4))
		        eq(got == sorted(pattern(n * 16, 16, step + 1) for n in range(4)), True, f"appends of step {step}")
		        d.zcheck(4, 96 * step + 64, 16, 50 + step)
		        d.zcheck(4, 96 * step + 80, 16, 60 + step)
		PY
		remove_dev
		rm -r "$DIR"
	done
}

# Writes of a program, appends and readers at once, in other zones.
test_beside_other_zones() {
	setup
	append <<-'PY'
	eq(errors(r.run(f"write at={4 * LEN} sectors=64 count=24 seed=4\nwrite at=0 sectors=8 count=64 seed=3 fua\n"
	                + a.line(5, 8, 400, 4) + f"\nread at={4 * LEN} sectors=64 count=24\nflush", 48)), ["ok"], "all")
	d.zcheck(4, 0, 24 * 64, 4)
	d.check(0, 64 * 8, 3)
	for nr in 5, 6, 7, 8: cond(d, nr, "IO", 800)
	PY
}

# What was flushed, or asked to be durable at once, survives a power failure.
test_flush_and_fua() {
	setup discard_write_cache
	append <<-'PY'
	eq(errors(a.run(4, 8, 20, 8)), ["ok"], "appends")
	eq(r.run("flush")[0].error, "ok", "flush")
	r.run(f"append at={4 * LEN} sectors=8 count=20 seed=9", 8)	# lost
	r.run(f"append at={5 * LEN} sectors=8 count=20 seed=1", 8)	# lost
	eq(errors(r.run(f"append at={6 * LEN} sectors=8 count=20 fua seed=2")), ["ok"], "FUA")
	PY
	readd_dev capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2
	append <<-'PY'
	# A flush is for all zones: a FUA is one, and carries the others along.
	cond(d, 6, "C", 160)
	for n in range(20): eq(d.pread(6 * LEN + 8 * n, 8) == pattern(8 * n, 8, 2), True, f"append {n}")
	eq(d.zone(4).wp >= 160, True, f"{d.zone(4)}")
	PY
}

# A device that is removed under appends: each of them ends, and what was said to be
# there is there.
test_remove_under_appends() {
	setup
	append <<-'PY'
	for turn in range(5):
	    a = Appends()
	    got = []
	    def run():
	        got.extend(a.run(4, 8, 8 * 240, 64, zones=8))
	    # All of it opens the device by name: first so, then remove it.
	    thread = threading.Thread(target=run)
	    d.close_fd()
	    thread.start()
	    time.sleep(0.02 * turn)
	    try: control("remove id=0")
	    except OSError as e: eq(errno.errorcode[e.errno], "EBUSY", "remove")
	    thread.join()
	    eq({e.error for e in got} <= {"ok", "EIO", "ENODEV", "ENXIO"}, True, f"{errors(got)}")
	    r.close_fd()
	    if not os.path.exists("/sys/block/zloop0"):
	        control(f"add id=0,base_dir={os.path.dirname(directory)},capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2,nr_queues=2")
	    d, r = Dev(args[0]), Requests(args[0])
	    for nr in range(4, 12): a.check(nr)
	    print(turn, len([e for e in got if e.error == "ok"]), len(got))
	    d.reset_all()
	PY
}

# The first write to a zone that was opened fails: it stays open.
# C driver fails: defect 33
test_defect_33_explicitly_open_after_a_failed_write() {
	use_requests
	make_fs xfs 320M "$SCRATCH/small"
	add_dev -b "$SCRATCH/small" capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2
	append "$SCRATCH/small/fill" <<-'PY'
	# Refused by the rules.
	d.open(4)
	fails("EIO", d.zwrite, 4, 16, 8)
	cond(d, 4, "EO", 0)
	# Failed by the medium.
	fd, zeros = os.open(args[2], os.O_RDWR | os.O_CREAT), bytes(65536)
	free = os.statvfs(directory).f_bavail * 4096
	os.posix_fallocate(fd, 0, max(free - (8 << 20), 1))
	size = free - (8 << 20)
	try:
	    while True:
	        os.posix_fallocate(fd, size, 4096)
	        size += 4096
	except OSError as e:
	    eq(errno.errorcode[e.errno], "ENOSPC", "filling the file system")
	d.open(5)
	fails("ENOSPC|EIO", r.one, f"append at={5 * LEN} sectors=256")
	cond(d, 5, "EO", 0)
	fails("ENOSPC|EIO", d.zwrite, 5, 0, 256)
	cond(d, 5, "EO", 0)
	os.ftruncate(fd, 0)
	eq(r.one(f"append at={5 * LEN} sectors=256"), 5 * LEN, "with room again")
	cond(d, 5, "EO", 256)
	PY
}
