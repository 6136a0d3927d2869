# SPDX-License-Identifier: GPL-2.0
# One zone goes bad, the others do not.
#
# Guards the promises that a zone whose file is not what it was is reported
# read-only or offline, and looked at again until the fault is gone; that no
# report and no other zone suffers from it; that what is refused or fails changes
# no more than it must; and that it is not the log that suffers.

GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=1

source "$TESTS/vm-tests/below.bash"

setup() { # options
	make_below ext4 96M
	add_dev "$GEOMETRY${1:+,$1}"
	settle
}

# Zone 5 has 64 sectors, but somebody makes its file larger than a zone, and when a
# write behind those sectors fails that comes to light.
spoil() {
	setup
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for n in 4, 5, 6: d.zwrite(n, 0, 64, n)
	d.flush()
	PY
	truncate -s 3M "$DIR/seq-000005"
	broken
	refuse zbc "$DEV" write $((5 * 4096 + 64)) 64
	whole
}

# C driver fails: defect 31
test_defect_31_one_bad_zone_is_one_bad_zone() {
	spoil
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for turn in range(3):
	    zones = d.zones()
	    eq([z.cond for z in zones[:8]], ["NWP", "E", "E", "E", "IO", "RO", "IO", "E"], "conditions")
	d.zcheck(4, 0, 64, 4); d.zwrite(4, 64, 64, 4); d.reset(6); d.write(0, 64); d.flush()
	d.zcheck(5, 0, 64, 5)
	refused(d, "EIO", d.zwrite, 5, 64, 64)
	refused(d, "EIO", d.open, 5)
	cond(d, 7, "E")
	PY
}

# C driver fails: defect 30
test_defect_30_a_bad_zone_is_looked_at_until_it_is_well() {
	spoil
	# Whatever this says.
	zbc "$DEV" report >/dev/null || true
	zbc "$DEV" report >/dev/null || true
	truncate -s $((64 * 512)) "$DIR/seq-000005"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq(d.zone(5).wp, 64, "write pointer")
	d.zcheck(5, 0, 64, 5)
	d.zwrite(5, 64, 64, 5)
	d.zcheck(5, 0, 128, 5)
	d.finish(5); d.reset(5); d.zwrite(5, 0, 8)
	PY
}

# A write that is not at the write pointer is refused, and that is all.
# C driver fails: defect 32
test_defect_32_what_is_refused_changes_nothing() {
	add_dev "$GEOMETRY,max_open_zones=2"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.open(5); d.open(6)
	refused(d, "EIO", d.zwrite, 5, 8, 8)
	cond(d, 5, "EO", 0)
	# The slot is not lost, or free, either.
	fails("ETOOMANYREFS", d.open, 7)
	d.zwrite(5, 0, 8)
	cond(d, 5, "EO", 8)
	PY
}

# A write fails that was the first one in a zone which was opened explicitly.
# C driver fails: defect 33
test_defect_33_an_opened_zone_stays_open() {
	setup
	zbc "$DEV" open $((5 * 4096))
	broken
	refuse zbc "$DEV" write $((5 * 4096)) 64
	whole
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 5, "EO", 0)
	d.zwrite(5, 0, 64)
	cond(d, 5, "EO", 64)
	d.close(5)
	cond(d, 5, "C", 64)
	PY
}

# All zones but the one that can't be.
# C driver fails: defect 34
test_defect_34_reset_of_all_zones_resets_the_others() {
	setup
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for n in 2, 5, 6, 7, 15: d.zwrite(n, 0, 64, n)
	d.flush()
	PY
	chattr +i "$DIR/seq-000006"
	defer "chattr -i '$DIR/seq-000006'"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	fails("EIO|EPERM", d.reset_all)
	eq([d.zone(n).cond for n in (2, 5, 7, 15)], ["E"] * 4, "zones that can be reset")
	eq(d.zone(6).wp, 64, "write pointer of the one that can't be reset")
	d.zcheck(6, 0, 64, 6)
	# The block layer believes that nothing was reset until it is told.
	for n in 2, 5, 7, 15: d.zcheck(n, 0, 64, None); d.reset(n); d.zwrite(n, 0, 8)
	PY
	chattr -i "$DIR/seq-000006"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.reset_all()
	eq([z.cond for z in d.zones()[1:]], ["E"] * 15, "conditions")
	PY
}

# What was written and is not there any more is an error, not zeros.
# C driver fails: defect 36
test_defect_36_a_shortened_file_is_an_error() {
	local o
	for o in "" buffered_io; do
		mkdir -p "$SCRATCH/z$o"
		add_dev -b "$SCRATCH/z$o" "$GEOMETRY${o:+,$o}"
		py "$DEV" "$DIR" <<-'PY'
		d = Dev(args[0])
		d.zwrite(5, 0, 128); d.zwrite(6, 0, 64); d.write(0, 64); d.flush()
		os.truncate(args[1] + "/seq-000005", 64 * SECTOR)
		os.truncate(args[1] + "/cnv-000000", 1 << 20)
		fails("EIO", d.zcheck, 5, 64, 64)
		fails("EIO", d.zcheck, 5, 32, 64)
		fails("EIO", d.pread, 3000, 64)
		# What is there is there, and what was never written is zeros.
		d.zcheck(5, 0, 64)
		d.zcheck(6, 0, 64); d.zcheck(6, 64, 64, None)
		d.check(0, 64); d.write(0, 128)
		cond(d, 5, "RO")
		PY
		remove_dev
	done
}

# Six hundred failures are not six hundred lines.
# C driver fails: defect 37
test_defect_37_the_log_is_not_flooded() {
	local lines
	setup
	zbc "$DEV" write 0 64
	zbc "$DEV" flush
	broken
	mark_log
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for n in range(600): fails("EIO", d.pread, 0, 8)
	PY
	whole
	# The block layer has its own lines, and its own limit.
	lines=$(log_since | grep zloop | grep -cv 'I/O error, dev') || true
	((lines > 0)) || fail "nothing in the log"
	((lines < 150)) || fail "$lines lines in the log"
}
