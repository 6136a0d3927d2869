# SPDX-License-Identifier: GPL-2.0
# A disk below the zone files that fails.
#
# Guards the promises that a flush reports what could not be written back, that a
# write which fails leaves the zone where its file says it is, and that all works
# again when the fault is gone. Faults of more kinds are in faults/; these are the
# ones without which a write means nothing.

GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=1

source "$TESTS/vm-tests/below.bash"

setup() { # options
	make_below ext4 96M
	add_dev "$GEOMETRY${1:+,$1}"
	settle
}

# A write into the page cache succeeds; that it came to nothing, the flush says.
test_flush_reports_writeback_errors() {
	setup buffered_io
	zbc "$DEV" write 0 64
	zbc "$DEV" write $((3 * 4096)) 64
	zbc "$DEV" flush
	zbc "$DEV" write 64 64
	broken
	assert_eq "$(zbc "$DEV" flush 2>&1 || true)" EIO "flush with a conventional zone's data lost"
	whole
	zbc "$DEV" write 64 64
	zbc "$DEV" flush || zbc "$DEV" flush
	zbc "$DEV" check 0 128
}

# The same for a sequential zone.
test_flush_reports_writeback_errors_of_sequential_zones() {
	setup buffered_io
	zbc "$DEV" write $((3 * 4096)) 64
	broken
	assert_eq "$(zbc "$DEV" flush 2>&1 || true)" EIO "flush with a sequential zone's data lost"
	whole
}

# Nothing is lost but the data of one file, and the file system is well otherwise.
# C driver fails: defect 16
test_flush_reports_lost_data_alone() {
	setup buffered_io
	zbc "$DEV" write 0 64
	zbc "$DEV" flush
	sync
	broken_file "$DIR/cnv-000000"
	zbc "$DEV" write 0 64 2
	assert_eq "$(zbc "$DEV" flush 2>&1 || true)" EIO "flush with a file's data lost"
	whole
}

# In direct I/O the write itself fails, the zone is where it was, and its data too.
test_failed_write() {
	setup
	local at=$((3 * 4096))
	zbc "$DEV" write $at 64
	zbc "$DEV" flush
	broken
	assert_eq "$(zbc "$DEV" write $((at + 64)) 64 2>&1 || true)" EIO "a write to nowhere"
	whole
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	z = d.zone(3)
	eq((z.cond, z.wp), ("IO", 64), "zone after a failed write")
	d.zcheck(3, 0, 64)
	d.zwrite(3, 64, 64)
	d.zcheck(3, 0, 128)
	d.zwrite(4, 0, 64)
	PY
	readd_dev "$GEOMETRY"
	zbc "$DEV" check $at 128
}

# A read fails with its error and no zeros, and succeeds afterwards.
test_failed_read() {
	setup
	zbc "$DEV" write $((3 * 4096)) 64
	zbc "$DEV" write 0 64
	zbc "$DEV" flush
	broken
	assert_eq "$(zbc "$DEV" check $((3 * 4096)) 64 2>&1 || true)" EIO "a read from nowhere"
	assert_eq "$(zbc "$DEV" check 0 64 2>&1 || true)" EIO "a read from nowhere"
	# Nothing of this is a reason not to report.
	zbc "$DEV" report >/dev/null
	whole
	zbc "$DEV" check $((3 * 4096)) 64
	zbc "$DEV" check 0 64
}

# No room in the file system below: the write fails, ENOSPC or EIO, and room made
# elsewhere is room again.
test_no_space() {
	mkdir "$BASE"
	mount -t tmpfs -o size=8M tmpfs "$BASE"
	defer "umount_if '$BASE'"
	add_dev capacity_mb=32,zone_size_mb=2,conv_zones=1
	py "$DEV" <<-'PY'
	d, LEN = Dev(args[0]), 2 * MIB
	failed = None
	for nr in range(2, 16):
	    for at in range(0, LEN, 256):
	        try:
	            d.zwrite(nr, at, 256, nr)
	        except OSError as e:
	            eq(errno.errorcode[e.errno] in ("ENOSPC", "EIO"), True, str(e))
	            failed = nr, at
	            break
	    if failed: break
	nr, at = failed
	eq(nr >= 4, True, "zones before the space ran out")
	z = d.zone(nr)
	eq(z.wp is not None and at <= z.wp < at + 256 and z.wp % 8 == 0, True, f"zone after the failed write: {z}")
	for n in range(2, nr): d.zcheck(n, 0, LEN, n)
	d.zcheck(nr, 0, at, nr)
	d.reset(2)
	# What is left of the zone, which a part of the failed write may have gone to.
	if z.wp < LEN - 8:
	    d.zwrite(nr, z.wp, 8, nr)
	    cond(d, nr, "IO", z.wp + 8)
	    d.zcheck(nr, z.wp, 8, nr)
	d.zwrite(nr + 1, 0, 256, 1)
	d.zcheck(nr + 1, 0, 256, 1)
	cond(d, nr + 1, "IO", 256)
	PY
	remove_dev
	umount "$BASE"
}
