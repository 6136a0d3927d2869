# SPDX-License-Identifier: GPL-2.0
# Writes that are durable when they have ended.
#
# Guards the promise that such a write is made so by syncing the one file that it
# is to, and that what was before it in its zone is durable as well.

GEOMETRY=capacity_mb=32,zone_size_mb=4,zone_capacity_mb=1,conv_zones=1

source "$TESTS/vm-tests/below.bash"

# So many flushes a disk was given.
flushes() { # disk
	awk '{print $16}' "/sys/block/$1/stat"
}

# It reaches the disk below, and it is no flush of the device.
fua_is_durable() { # file system, options, fua, flushes of the device
	local before below
	make_below "$1" 320M
	use_requests
	add_dev "$GEOMETRY${2:+,$2}"
	assert_eq "$(queue fua)" "$3" "fua"
	zbc "$DEV" write 0 64
	zbc "$DEV" flush
	settle
	before=$(flushes zloop0) below=$(flushes "$(basename "$LOOP")")
	py "$DEV" <<-'PY'
	r = Requests(args[0])
	r.one("write at=0 sectors=64 fua seed=2")
	r.one(f"write at={3 * 4 * MIB} sectors=64 fua seed=3")
	PY
	assert_eq $(($(flushes zloop0) - before)) "$4" "flushes of the device"
	(($(flushes "$(basename "$LOOP")") >= below + 2)) || fail "the disk below was not asked to make it durable"
	zbc "$DEV" check 0 64 2
	zbc "$DEV" check $((3 * 8192)) 64 3
}

test_fua_ext4() {
	fua_is_durable ext4 "" 1 0
}

# Through the page cache it takes a flush: only that is told of all failures.
test_fua_buffered() {
	fua_is_durable ext4 buffered_io 0 2
}

# Of what was not flushed it keeps what is before a FUA write in its zone, and
# nothing else.
fua_and_write_cache() { # options
	add_dev "$GEOMETRY,discard_write_cache${1:+,$1}"
	py "$DEV" <<-'PY'
	d, r = Dev(args[0]), Requests(args[0])
	LEN, CAP = 4 * MIB, MIB
	def write_fua(n, at, count): r.one(f"write at={n * LEN + at} sectors={count} fua seed={n}")
	d.zwrite(2, 0, 64, 2)
	d.zwrite(3, 0, 64, 3); write_fua(3, 64, 64); d.zwrite(3, 128, 64, 3)
	write_fua(4, 0, 64)
	write_fua(5, 0, CAP // 2); write_fua(5, CAP // 2, CAP // 2)
	cond(d, 5, "F", None)
	d.zwrite(6, 0, CAP, 6)
	write_fua(7, 0, 64); d.reset(7); d.zwrite(7, 0, 32, 7)
	PY
	readd_dev "$GEOMETRY"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq([(z.cond, z.wp) for z in d.zones()[2:]], [("E", 0), ("C", 128), ("C", 64), ("F", None), ("E", 0), ("E", 0)], "zones")
	d.zcheck(3, 0, 128, 3); d.zcheck(4, 0, 64, 4); d.zcheck(5, 0, MIB, 5)
	PY
	remove_dev
	rm -r "$DIR"
}

test_write_cache() {
	use_requests
	fua_and_write_cache
	fua_and_write_cache zone_append=0
	fua_and_write_cache lazy_files
}

# Through the page cache a FUA write is followed by a flush of all.
test_write_cache_buffered() {
	use_requests
	add_dev "$GEOMETRY,discard_write_cache,buffered_io"
	py "$DEV" <<-'PY'
	d, r = Dev(args[0]), Requests(args[0])
	d.zwrite(2, 0, 64, 2)
	r.one(f"write at={3 * 4 * MIB} sectors=64 fua seed=3")
	d.zwrite(4, 0, 64, 4)
	PY
	readd_dev "$GEOMETRY"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 2, "C", 64); cond(d, 3, "C", 64); cond(d, 4, "E", 0)
	PY
}

# Appends, many at a time, durable and not.
test_appends() {
	use_requests
	add_dev "$GEOMETRY,discard_write_cache"
	py "$DEV" <<-'PY'
	r, d = Requests(args[0]), Dev(args[0])
	LEN = 4 * MIB
	ends = r.run(f"append at={2 * LEN} sectors=8 count=32 fua seed=2\nappend at={3 * LEN} sectors=8 count=32 seed=3", 16)
	eq({e.error for e in ends}, {"ok"}, "appends")
	cond(d, 2, "IO", 256); cond(d, 3, "IO", 256)
	PY
	readd_dev "$GEOMETRY"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 2, "C", 256); cond(d, 3, "E", 0)
	PY
}
