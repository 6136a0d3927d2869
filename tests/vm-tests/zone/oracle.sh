# SPDX-License-Identifier: GPL-2.0
# Every zone command in every zone condition.
#
# Guards the promise that a command does in each condition just what ZNS says,
# and that a command that is refused changes nothing: not the condition, not the
# write pointer, not the file. The table below is the whole of it, as far as user
# space can reach: one row per command, one column per condition.

# limit: 240

# Zones of 2 MiB of which 1 MiB can be written, the first two conventional.
setup() {
	add_dev capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2
}

oracle() { # code that uses d, the device, and the functions of the prelude
	local code
	code=$(cat)
	py "$DEV" "$DIR" <<-PY
	d, directory = Dev(args[0]), args[1]
	CAP, LEN, NR, BLOCK = MIB, 2 * MIB, 7, 8

	# The conditions, each as a recipe that ends with the write pointer it leaves.
	def empty(): return 0
	def imp():   d.zwrite(NR, 0, 16); return 16
	def exp0():  d.open(NR); return 0
	def exp():   d.open(NR); d.zwrite(NR, 0, 16); return 16
	def closed(): d.zwrite(NR, 0, 16); d.close(NR); return 16
	def full():  d.zwrite(NR, 0, CAP); return CAP
	def finished(): d.zwrite(NR, 0, 16); d.finish(NR); return CAP
	STATES = {"E": empty, "IO": imp, "EO0": exp0, "EO": exp, "C": closed, "F": full, "FF": finished}
	NAMES = {"EO0": "EO", "FF": "F"}

	def size():
	    return os.stat(f"{directory}/seq-{NR:06}").st_size // SECTOR

	def put(state):
	    d.reset_all()
	    # Neighbours that have something to lose.
	    d.zwrite(NR - 1, 0, 8, 9)
	    d.zwrite(NR + 1, 0, 8, 9)
	    wp = STATES[state]()
	    name = NAMES.get(state, state)
	    cond(d, NR, name, None if name == "F" else wp)
	    eq(size(), wp, f"{state}: size of the zone file")
	    return wp

	def neighbours():
	    for nr in NR - 1, NR + 1:
	        cond(d, nr, "IO", 8)
	        d.zcheck(nr, 0, 8, 9)

	def written(state, wp):
	    # What was written before is still there, and zeros follow it.
	    data = 16 if state == "FF" else wp
	    if data:
	        d.zcheck(NR, 0, data)
	    if data < LEN:
	        d.zcheck(NR, data, LEN - data, None)

	def accepted(state, fn, new, wp):
	    old = put(state)
	    fn(old)
	    cond(d, NR, new, None if new == "F" else wp(old))
	    eq(size(), CAP if new == "F" else wp(old), f"{state}: size of the zone file")
	    neighbours()

	def rejected(state, fn, want="EIO"):
	    old = put(state)
	    refused(d, want, fn, old)
	    eq(size(), old, f"{state}: size of the zone file")
	    written(state, old)
	    # The zone is as usable as it was. The reports above told the block layer
	    # where the write pointer is.
	    if NAMES.get(state, state) != "F":
	        d.zwrite(NR, old, 8)
	        cond(d, NR, "EO" if state[:2] == "EO" else "IO", old + 8)
	        d.zcheck(NR, 0, old + 8)
	    neighbours()

	def row(fn, wp, **columns):
	    # E="C" is a new condition, E="error" a refusal.
	    for state in STATES:
	        want = columns.get(state, columns.get(NAMES.get(state, state)))
	        if want == "error":
	            rejected(state, fn)
	        elif want != "-":
	            accepted(state, fn, want, wp)

	same, zero = lambda old: old, lambda old: 0
	$code
	PY
}

test_write_at_wp() {
	setup
	oracle <<'PY'
row(lambda wp: d.zwrite(NR, wp, 8), lambda old: old + 8, E="IO", IO="IO", EO="EO", C="IO", F="-")
PY
}

test_write_up_to_the_capacity() {
	setup
	oracle <<'PY'
row(lambda wp: d.zwrite(NR, wp, CAP - wp), None, E="F", IO="F", EO="F", C="F", F="-")
PY
}

# Past the write pointer, by one block.
# C driver fails: defects 32, 33
test_write_past_wp() {
	setup
	oracle <<'PY'
row(lambda wp: d.zwrite(NR, wp + 8, 8), None, E="error", IO="error", EO="error", C="error", F="error")
PY
}

# Below the write pointer; in an empty zone there is nothing below it.
test_write_below_wp() {
	setup
	oracle <<'PY'
row(lambda wp: d.zwrite(NR, 0, 8), None, E="-", EO0="-", IO="error", EO="error", C="error", F="error")
row(lambda wp: d.zwrite(NR, wp - 8, 16), None, E="-", EO0="-", IO="error", EO="error", C="error", F="error")
PY
}

# At and past the capacity, where there is a zone but nothing to write to.
test_write_past_capacity() {
	setup
	oracle <<'PY'
every = dict(E="error", IO="error", EO="error", C="error", F="error")
row(lambda wp: d.zwrite(NR, CAP, 8), None, **every)
row(lambda wp: d.zwrite(NR, CAP + 8, 8), None, **every)
row(lambda wp: d.zwrite(NR, LEN - 8, 8), None, **every)
PY
}

# A write that begins at the write pointer and ends behind the capacity. The
# block layer lets it through: it knows the pointer but not where the zone ends.
# C driver fails: defect 4
test_write_across_capacity() {
	setup
	oracle <<'PY'
# As above, with the write pointer one block before the capacity.
def near(opened, closed):
    if opened: d.open(NR)
    d.zwrite(NR, 0, CAP - 8)
    if closed: d.close(NR)
    return CAP - 8
STATES.clear()
STATES.update({"IO": lambda: near(0, 0), "EO": lambda: near(1, 0), "C": lambda: near(0, 1)})
for state in STATES:
    for n in 16, 24, 8 + CAP // 2:
        old = put(state)
        refused(d, "EIO", d.zwrite, NR, old, n)
        eq(size(), old, "size of the zone file")
        d.zcheck(NR, 0, old)
        d.zcheck(NR, old, LEN - old, None)
        # What does fit still goes in.
        d.zwrite(NR, old, 8)
        cond(d, NR, "F", None)
        eq(size(), CAP, "size of the zone file")
        d.zcheck(NR, 0, CAP)
        neighbours()
PY
}

test_open() {
	setup
	oracle <<'PY'
row(lambda wp: d.open(NR), same, E="EO", IO="EO", EO="EO", C="EO", F="error")
PY
}

test_close() {
	setup
	oracle <<'PY'
row(lambda wp: d.close(NR), same, E="error", IO="C", EO="C", EO0="E", C="C", F="error")
PY
}

test_finish() {
	setup
	oracle <<'PY'
row(lambda wp: d.finish(NR), None, E="F", IO="F", EO="F", C="F", F="F")
PY
}

test_reset() {
	setup
	oracle <<'PY'
row(lambda wp: d.reset(NR), zero, E="E", IO="E", EO="E", C="E", F="E")
PY
}

# One command for all zones; the conventional ones keep their data.
test_reset_all() {
	setup
	oracle <<'PY'
d.write(0, 16, 5)
d.write(LEN, 16, 6)
for state in STATES:
    put(state)
    d.reset_all()
    for nr, z in enumerate(d.zones()):
        if nr < 2:
            eq((z.cond, z.raw_wp), ("NWP", INVALID), f"zone {nr}")
        else:
            eq((z.cond, z.wp), ("E", 0), f"zone {nr}")
            eq(os.stat(f"{directory}/seq-{nr:06}").st_size, 0, f"size of zone {nr}'s file")
    d.zcheck(NR, 0, LEN, None)
d.check(0, 16, 5)
d.check(LEN, 16, 6)
PY
}

# Data below the write pointer, zeros from it on, up to the zone's length and not
# only its capacity, in one read or in several.
test_read() {
	setup
	oracle <<'PY'
for state in STATES:
    old = put(state)
    before = d.zones()
    data = 16 if state == "FF" else old
    written(state, old)
    if data:
        d.zcheck(NR, data - 8, 8)
        at = NR * LEN + data - 8
        eq(d.pread(at, 16), pattern(at, 8) + (bytes(8 * SECTOR)), f"{state}: read across the write pointer")
    d.zcheck(NR, data, 8, None)
    d.zcheck(NR, CAP - 8, 16, None) if state != "F" else d.zcheck(NR, CAP - 8, 8)
    d.zcheck(NR, LEN - 8, 8, None)
    # From one zone into the next.
    d.check(NR * LEN + LEN - 8, 8, None)
    got = d.pread(NR * LEN + LEN - 8, 16)
    eq(got, bytes(8 * SECTOR) + pattern((NR + 1) * LEN, 8, 9), f"{state}: read into the next zone")
    eq(d.zones(), before, f"{state}: reads changed a zone")
PY
}

# A zone written in the smallest steps, to its end, is full exactly then.
test_write_in_small_steps() {
	setup
	oracle <<'PY'
for wp in range(0, CAP, 64):
    d.zwrite(NR, wp, 64)
    if wp in (0, CAP // 2, CAP - 128):
        cond(d, NR, "IO", wp + 64)
cond(d, NR, "F", None)
d.zcheck(NR, 0, CAP)
refused(d, "EIO", d.zwrite, NR, 0, 8)
d.reset(NR)
d.zcheck(NR, 0, CAP, None)
# And what is written now is not mixed with what was there.
d.zwrite(NR, 0, 8, 2)
d.zcheck(NR, 0, 8, 2)
d.zcheck(NR, 8, LEN - 8, None)
PY
}

# Conventional zones: any block at any time, no zone command.
test_conventional() {
	setup
	oracle <<'PY'
order = list(range(0, LEN, 64))
random.Random(1).shuffle(order)
for n, at in enumerate(order):
    d.write(at, 64, n)
for n, at in enumerate(order):
    d.check(at, 64, n)
# From one conventional zone into the next.
d.write(LEN - 64, 128, 77)
d.check(LEN - 64, 128, 77)
for cmd in d.open, d.close, d.finish, d.reset:
    for nr in 0, 1:
        refused(d, "EIO", cmd, nr)
d.check(LEN - 64, 128, 77)
for nr in 0, 1:
    z = d.zone(nr)
    eq((z.type, z.cond, z.raw_wp, z.cap, z.len), ("conv", "NWP", INVALID, LEN, LEN), f"zone {nr}")
    eq(os.stat(f"{directory}/cnv-{nr:06}").st_size, LEN * SECTOR, "size of a conventional file")
PY
}

# One ioctl for several zones, and ranges that are none.
test_ranges() {
	setup
	oracle <<'PY'
d.open(4, 3)
eq([d.zone(n).cond for n in range(3, 8)], ["E", "EO", "EO", "EO", "E"], "after open")
for n in 4, 5, 6: d.zwrite(n, 0, 8)
d.close(4, 3)
eq([d.zone(n).cond for n in range(3, 8)], ["E", "C", "C", "C", "E"], "after close")
d.finish(4, 3)
eq([d.zone(n).cond for n in range(3, 8)], ["E", "F", "F", "F", "E"], "after finish")
d.reset(4, 2)
eq([d.zone(n).cond for n in range(3, 8)], ["E", "E", "E", "F", "E"], "after reset")
for cmd in BLKOPENZONE, BLKCLOSEZONE, BLKFINISHZONE, BLKRESETZONE:
    for sector, count in (4 * LEN + 8, LEN), (4 * LEN, LEN - 8), (4 * LEN, 0), (19 * LEN, 2 * LEN), (20 * LEN, LEN):
        refused(d, "EINVAL", d.ioctl_range, cmd, sector, count)
ro = Dev(args[0], os.O_RDONLY)
for cmd in ro.open, ro.close, ro.finish, ro.reset:
    refused(d, "EBADF", cmd, 4)
PY
}

# The report: all of it, a part, the part that a sector is in, past the end; and
# the version that may be answered from what the block layer remembers.
test_report() {
	setup
	oracle <<'PY'
for state in STATES:
    put(state)
    zs = d.zones()
    eq(len(zs), 20, "zones")
    eq(d.report_flags, REP_CAPACITY, "flags of a report")
    for nr, z in enumerate(zs):
        eq((z.start, z.len, z.reset), (nr * LEN, LEN, 0), f"zone {nr}")
        eq(z.cap, LEN if nr < 2 else CAP, f"capacity of zone {nr}")
        eq(z.type, "conv" if nr < 2 else "seq", f"type of zone {nr}")
        if z.cond in ("NWP", "F"):
            eq(z.raw_wp, INVALID, f"write pointer of zone {nr}")
    eq(d.report(NR * LEN, 1), [zs[NR]], "one zone")
    eq(d.report(NR * LEN + 8, 2), zs[NR : NR + 2], "from the middle of a zone")
    eq(d.report(18 * LEN, 100), zs[18:], "more zones than there are")
    eq(d.report(20 * LEN, 1), [], "past the end")
    for z, c in zip(zs, d.cached()):
        want = "ACTIVE" if z.cond in ("IO", "EO", "C") else z.cond
        if z.cond == "EO" and z.wp == 0:
            want = "E"  # the block layer takes no notice of an open
        eq((c.start, c.len, c.type, c.cap, c.cond), (z.start, z.len, z.type, z.cap, want), "cached report")
        if want == "ACTIVE":
            eq(c.wp, z.wp, "cached write pointer")
fails("EINVAL", d.report, 0, 0)
fails("EINVAL", d.report, 0, 1, BLKREPORTZONEV2, 2)
eq((d.zone_size(), d.nr_zones()), (LEN, 20), "zone size and number")
PY
}

# blkzone, the tool, sees what the ioctls say and its commands do what they say.
test_blkzone() {
	local z
	setup
	assert_eq "$(zones "$DEV" | wc -l)" 20 "zones that blkzone sees"
	assert_eq "$(zones "$DEV" | sed -n 1p)" "0 CONVENTIONAL nw 0 4096"
	assert_eq "$(zones "$DEV" | sed -n 8p)" "7 SEQ_WRITE_REQUIRED em 0 2048"
	zbc "$DEV" write $((7 * 4096)) 16
	assert_eq "$(zones "$DEV" | sed -n 8p)" "7 SEQ_WRITE_REQUIRED oi 16 2048"
	blkzone open -o $((7 * 4096)) -c 1 "$DEV"
	assert_eq "$(zones "$DEV" | sed -n 8p)" "7 SEQ_WRITE_REQUIRED oe 16 2048"
	blkzone close -o $((7 * 4096)) -c 1 "$DEV"
	assert_eq "$(zones "$DEV" | sed -n 8p)" "7 SEQ_WRITE_REQUIRED cl 16 2048"
	blkzone finish -o $((7 * 4096)) -c 1 "$DEV"
	z=$(zones "$DEV" | sed -n 8p)
	assert_eq "${z% * *}" "7 SEQ_WRITE_REQUIRED fu"
	refuse blkzone open -o $((7 * 4096)) -c 1 "$DEV"
	blkzone reset -o $((7 * 4096)) -c 1 "$DEV"
	assert_eq "$(zones "$DEV" | sed -n 8p)" "7 SEQ_WRITE_REQUIRED em 0 2048"
	zbc "$DEV" write $((9 * 4096)) 16
	blkzone reset "$DEV"
	assert_eq "$(zones "$DEV" | sed -n 10p)" "9 SEQ_WRITE_REQUIRED em 0 2048"
	assert_eq "$(stat -c %s "$DIR"/seq-000009)" 0 "size of the file of a zone that was reset"
}

# Remove and add: open zones become closed, or empty if nothing was written in
# them; all else stays.
test_conditions_across_remove_and_add() {
	setup
	py "$DEV" <<'PY'
d, LEN = Dev(args[0]), 2 * MIB
d.zwrite(3, 0, 16)
d.open(4)
d.open(5); d.zwrite(5, 0, 16)
d.zwrite(6, 0, 16); d.close(6)
d.zwrite(7, 0, MIB)
d.zwrite(8, 0, 16); d.finish(8)
d.finish(9)
d.zwrite(10, 0, 64); d.reset(10)
eq([z.cond for z in d.zones()][2:12], ["E", "IO", "EO", "EO", "C", "F", "F", "F", "E", "E"], "before")
PY
	readd_dev capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2
	py "$DEV" <<'PY'
d = Dev(args[0])
eq([z.cond for z in d.zones()], ["NWP"] * 2 + ["E", "C", "E", "C", "C", "F", "F", "F", "E", "E"] + ["E"] * 8, "after")
for nr in 3, 5, 6:
    cond(d, nr, "C", 16)
    d.zcheck(nr, 0, 16)
    d.zcheck(nr, 16, 64, None)
    d.zwrite(nr, 16, 16)
    cond(d, nr, "IO", 32)
d.zcheck(7, 0, MIB)
d.zcheck(8, 0, 16)
d.zcheck(8, 16, 2 * MIB - 16, None)
PY
}
