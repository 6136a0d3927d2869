# SPDX-License-Identifier: GPL-2.0
# Zones of 16 GiB, the largest there are.
#
# Guards I/O past 2 GiB and 4 GiB within a zone, where offsets of 31 and 32 bits
# end. The files are sparse; that a zone is written so far is told to it by the
# size of its file while the device is away.

OPTIONS=capacity_mb=65536,zone_size_mb=16384,conv_zones=2

# C driver fails: defect 38
test_sequential() {
	add_dev $OPTIONS
	assert_eq "$(queue chunk_sectors)" $((32 << 20)) chunk_sectors
	assert_eq "$(blockdev --getsize64 "$DEV")" $((64 << 30)) "device size"
	zbc "$DEV" write $((2 * (32 << 20))) 64
	remove_dev
	local at
	for at in $(((2 << 30) - 4096)) $(((2 << 30) + (1 << 20))) $(((4 << 30) - 4096)) $((6 << 30)) $(((16 << 30) - (1 << 20) - 4096)); do
		truncate -s $at "$DIR/seq-000002"
		add_dev $OPTIONS
		py "$DEV" $at <<-'PY'
		d, wp = Dev(args[0]), int(args[1]) // SECTOR
		cond(d, 2, "C", wp)
		d.zcheck(2, 0, 64)
		d.zcheck(2, wp - 64, 64, None)
		refused(d, "EIO", d.zwrite, 2, wp + 8, 8)
		d.zwrite(2, wp, 8, 5)
		d.zwrite(2, wp + 8, 1024, 6)
		cond(d, 2, "IO", wp + 1032)
		d.zcheck(2, wp, 8, 5)
		d.zcheck(2, wp + 8, 1024, 6)
		d.zcheck(2, 0, 64)
		PY
		assert_eq "$(stat -c %s "$DIR/seq-000002")" $((at + 1032 * 512)) "file size"
		remove_dev
	done
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d, LEN = Dev(args[0]), 32 << 20
	wp = d.zone(2).wp
	while wp < LEN:
	    n = min(1024, LEN - wp)
	    d.zwrite(2, wp, n, 7)
	    wp += n
	cond(d, 2, "F", None)
	d.zcheck(2, LEN - 8, 8, 7)
	refused(d, "EIO", d.zwrite, 2, 0, 8)
	d.zwrite(3, 0, 8)
	d.finish(3)
	d.zcheck(3, 0, 8)
	d.zcheck(3, LEN - 8, 8, None)
	PY
	assert_eq "$(stat -c %s "$DIR"/seq-00000[23])" "17179869184
17179869184" "sizes of full files"
	remove_dev
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq([z.cond for z in d.zones()], ["NWP", "NWP", "F", "F"], "conditions")
	d.reset_all()
	eq([z.cond for z in d.zones()], ["NWP", "NWP", "E", "E"], "conditions")
	PY
	assert_eq "$(du -k "$DIR/seq-000002" | cut -f1)" 0 "room that a zone takes after a reset"
}

# C driver fails: defect 38
test_conventional() {
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d, G = Dev(args[0]), 1 << 21
	places = [0, 2 * G - 8, 2 * G, 4 * G - 8, 4 * G, 10 * G, 16 * G - 8, 16 * G, 20 * G, 32 * G - 8]
	for n, at in enumerate(places): d.write(at, 8, n)
	d.write(4 * G - 512, 504, 99)
	for n, at in enumerate(places): d.check(at, 8, n)
	d.flush()
	PY
	assert_eq "$(stat -c %s "$DIR/cnv-000000")" $((16 << 30)) "file size"
	readd_dev $OPTIONS
	py "$DEV" <<-'PY'
	d, G = Dev(args[0]), 1 << 21
	for n, at in enumerate([0, 2 * G - 8, 2 * G, 4 * G - 8, 4 * G, 10 * G, 16 * G - 8, 16 * G, 20 * G, 32 * G - 8]):
	    d.check(at, 8, n)
	d.check(4 * G - 512, 504, 99)
	PY
}
