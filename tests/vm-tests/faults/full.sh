# SPDX-License-Identifier: GPL-2.0
# No space left below.
#
# Guards the promises that what finds no space fails with ENOSPC and changes
# nothing, that everything else goes on, and that space made elsewhere is space
# again, with nothing to be done to the device.

GEOMETRY=capacity_mb=48,zone_size_mb=4,conv_zones=2

# Leave this much of the file system.
fill() { # MiB
	local size n=0
	mkdir "$BASE/filler"
	fallocate -l "$1M" "$BASE/room"
	for size in 64M 16M 4M 1M 128K 4K; do
		while fallocate -l $size "$BASE/filler/$n" 2>/dev/null; do n=$((n + 1)); done
	done
	rm "$BASE/room"
	sync -f "$BASE"
}

# Less is left than a zone takes.
full() { # file system, option
	local geometry=$GEOMETRY${2:+,$2}
	make_fs "$1" 320M "$BASE"
	add_dev "$geometry"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 64); d.zwrite(3, 0, 64, 3); d.zwrite(4, 0, 64, 4); d.flush()
	PY
	fill 3
	py "$DEV" "$BASE/filler" <<-'PY'
	d = Dev(args[0])
	# Of each kind, till there is no more.
	def till_full(write, step, end):
	    for at in range(0, end, step):
	        try:
	            write(at, step)
	        except OSError as e:
	            eq(errno.errorcode[e.errno], "ENOSPC", f"write at {at}")
	            return at
	    raise AssertionError("there is room for everything")
	at = till_full(lambda at, n: d.zwrite(5, at, n, 5), 512, 4 * MIB)
	z = d.zone(5)
	eq(z.cond, "IO", "condition of the zone that has no room")
	eq(at <= z.wp < at + 512, True, f"write pointer after a failure at {at}: {z}")
	d.zcheck(5, 0, at, 5)
	# Zones 3 and 4 have given back what they had in reserve. Others take it.
	time.sleep(1)
	for size in 1 << 20, 4096:
	    for n in range(10000):
	        try:
	            with open(f"{args[1]}/more-{size}-{n}", "wb") as f: os.posix_fallocate(f.fileno(), 0, size)
	        except OSError as e:
	            eq(errno.errorcode[e.errno], "ENOSPC", "space for others")
	            break
	# Nothing else is the worse for it.
	fails("ENOSPC", d.write, 2 * MIB, 2048, 9)
	d.check(0, 64); d.write(0, 64, 2); d.check(0, 64, 2)
	d.zcheck(3, 0, 64, 3); d.zcheck(4, 0, 64, 4)
	d.open(6); d.close(6); d.open(7); d.close(3)
	d.flush()
	eq([z.cond for z in d.zones()], ["NWP"] * 2 + ["E", "C", "IO", "IO", "E", "EO"] + ["E"] * 4, "conditions")
	# A finish takes no space, as nothing is written: it may do so.
	try:
	    d.finish(4)
	    cond(d, 4, "F")
	except OSError as e:
	    eq(errno.errorcode[e.errno], "ENOSPC", "finish")
	    cond(d, 4, "IO", 64)
	d.zcheck(4, 0, 64, 4)
	# A reset gives space.
	d.reset(5)
	d.zwrite(8, 0, 512, 8)
	PY
	rm -r "$BASE/filler"
	sync -f "$BASE"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(0, 4 * MIB, 1024): d.zwrite(5, at, 1024, 5); d.write(4 * MIB + at, 1024, 9)
	d.zwrite(8, 512, 512, 8)
	d.flush()
	PY
	readd_dev "$geometry"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq([d.zone(n).cond for n in (3, 5, 6, 7, 8)], ["C", "F", "E", "E", "C"], "conditions")
	d.check(0, 64, 2); d.zcheck(3, 0, 64, 3); d.zcheck(4, 0, 64, 4); d.zcheck(5, 0, 4 * MIB, 5)
	d.zcheck(8, 0, 1024, 8); d.check(4 * MIB, 4 * MIB, 9)
	PY
	remove_dev
	umount "$BASE"
}

test_full_ext4() {
	full ext4
}

test_full_xfs() {
	full xfs
}

test_full_ext4_buffered() {
	full ext4 buffered_io
}

test_full_xfs_buffered() {
	full xfs buffered_io
}

# Appends, many in flight: whichever find no space, the others are where they were
# told, and those that come when there is space again follow.
appends() { # file system, option
	local geometry=$GEOMETRY${2:+,$2}
	use_requests
	make_fs "$1" 320M "$BASE"
	add_dev "$geometry"
	fill 3
	py "$DEV" "$BASE" <<-'PY'
	d, r = Dev(args[0]), Requests(args[0])
	N = 64
	begun = []

	def append(sectors, count, seed):
	    """Returns the ends of those that succeeded, and the errors of the others."""
	    ends = r.run(f"append at={5 * 4 * MIB} sectors={sectors} count={count} seed={seed}", 16)
	    done = [(end.sector, sectors, n * sectors, seed) for n, end in enumerate(ends) if end.error == "ok"]
	    begun.extend(done)
	    return done, {end.error for end in ends if end.error != "ok"}

	def check():
	    """Each has sectors of its own, all below the write pointer, with its data."""
	    begun.sort()
	    for (at, sectors, *_), (behind, *_) in zip(begun, begun[1:]):
	        eq(at + sectors <= behind, True, f"the append at {at} ends before that at {behind}")
	    z = d.zone(5)
	    eq(z.start <= begun[0][0], True, "the first append is in the zone")
	    eq(begun[-1][0] + begun[-1][1] <= z.start + (z.cap if z.cond == "F" else z.wp), True, f"write pointer {z}")
	    for at, sectors, label, seed in begun:
	        eq(d.pread(at, sectors) == pattern(label, sectors, seed), True, f"data of the append at {at}")

	done, errors = append(4 * MIB // N, N, 1)
	eq((bool(done), errors), (True, {"ENOSPC"}), "appends till there is no space")
	cond(d, 5, "IO")
	check()
	# Still none, but no harm either.
	done, errors = append(4 * MIB // N, 8, 2)
	eq(errors, {"ENOSPC"}, "appends when there is no space")
	check()
	d.flush()
	os.system(f"rm -r {args[1]}/filler; sync -f {args[1]}")
	wp = d.zone(5).wp
	eq(wp % 8, 0, "write pointer")
	done, errors = append(8, (4 * MIB - wp) // 8, 3)
	eq(errors, set(), "appends when there is space again")
	eq(sorted(at for at, *_ in done), [5 * 4 * MIB + at for at in range(wp, 4 * MIB, 8)], "where they are")
	cond(d, 5, "F")
	check()
	PY
	remove_dev
	umount "$BASE"
}

test_appends_ext4() {
	appends ext4
}

test_appends_xfs() {
	appends xfs
}

test_appends_xfs_buffered() {
	appends xfs buffered_io
}

# No space for the files: they go away again, and later there is.
test_add_to_a_full_file_system() {
	mkdir -p "$BASE"
	mount -t tmpfs -o size=64k tmpfs "$BASE"
	defer "umount_if '$BASE'"
	mkdir "$BASE/0"
	head -c 64k /dev/zero >"$BASE/filler"
	# Of its files, the one with the geometry takes space.
	ctl_fails ENOSPC "add id=0,base_dir=$BASE,$GEOMETRY"
	[[ -z $(ls -A "$BASE/0") ]] || fail "half-made files: $(ls -A "$BASE/0")"
	rm "$BASE/filler"
	add_dev "$GEOMETRY"
	zbc "$DEV" write $((3 * 8192)) 8
	remove_dev
	# A device that is there already takes none to be added.
	head -c 64k /dev/zero >"$BASE/filler" 2>/dev/null || true
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 8192)) 8
	remove_dev
	umount "$BASE"
}
