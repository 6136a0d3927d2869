# SPDX-License-Identifier: GPL-2.0
# Zone files that others change, while the device is there or when it is not.
#
# Guards the promises that data which was cut off is missed, by reads, by writes
# that would leave a hole in its place and by reports; that a file which is gone is
# missed at the next add, by name; and that all other zones go on.

GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=2

setup() { # options
	add_dev "$GEOMETRY${1:+,$1}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 512); d.write(4096, 512)
	for n in range(3, 10): d.zwrite(n, 0, 512, n)
	d.flush()
	PY
}

# The other zones.
others() {
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq(len(d.zones()), 16, "zones")
	d.check(4096, 512); d.write(8192 - 64, 64)
	for n in 8, 9:
	    d.zcheck(n, 0, 512, n)
	    d.zwrite(n, d.zone(n).wp, 64, n)
	d.flush()
	PY
}

# A sequential file is cut, to nothing and in the middle: what is missing can't be
# read, and neither a write behind it nor a finish makes zeros of it. A reset makes it a zone
# like others, and a file that is put back is one.
cut_short() { # options
	setup "$1"
	cp --sparse=always "$DIR/seq-000004" "$SCRATCH/kept"
	truncate -s 0 "$DIR/seq-000003"
	truncate -s 128K "$DIR/seq-000004"
	truncate -s 128K "$DIR/seq-000005"
	truncate -s 128K "$DIR/seq-000006"
	truncate -s 128K "$DIR/seq-000007"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	fails("EIO", d.finish, 7)
	cond(d, 7, "RO", None)
	for n in 3, 4:
	    fails("EIO", d.zwrite, n, 512, 64)
	    cond(d, n, "RO", None)
	    fails("EIO", d.zwrite, n, 512, 64)
	for n in 5, 6: fails("EIO", d.zcheck, n, 448, 64)
	fails("EIO", d.zcheck, 3, 0, 64)
	fails("EIO", d.zcheck, 5, 192, 128)
	d.zcheck(4, 0, 256, 4); d.zcheck(5, 0, 256, 5)
	for n in 5, 6: cond(d, n, "RO", None)
	PY
	others
	cp "$SCRATCH/kept" "$SCRATCH/copy"
	dd if="$SCRATCH/copy" of="$DIR/seq-000004" bs=64K conv=notrunc,fsync status=none
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	eq(d.zone(4).wp, 512, "write pointer of a zone whose file is whole again")
	d.zcheck(4, 0, 512, 4); d.zwrite(4, 512, 64, 4)
	eq(os.stat(args[1] + "/seq-000003").st_size, 0, "what is not whole was not touched")
	PY
	others
	# The next add takes the files for what they are.
	readd_dev "$GEOMETRY${1:+,$1}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq([(d.zone(n).cond, d.zone(n).wp) for n in (3, 4, 5)], [("E", 0), ("C", 576), ("C", 256)], "zones")
	d.zwrite(3, 0, 64); d.zwrite(5, 256, 64, 5)
	PY
	others
}

# C driver fails: defect 36
test_cut_short() {
	cut_short ""
}

# C driver fails: defect 36
test_cut_short_buffered() {
	cut_short buffered_io
}

# The same for a conventional zone.
# C driver fails: defect 36
test_conventional_zone_is_cut_short() {
	local o
	for o in "" buffered_io; do
		setup "$o"
		truncate -s 128K "$DIR/cnv-000000"
		py "$DEV" "$DIR" <<-'PY'
		d = Dev(args[0])
		d.check(0, 256)
		fails("EIO", d.pread, 256, 64)
		fails("EIO", d.write, 512, 64)
		fails("EIO", d.write, 224, 64)
		d.write(128, 128); d.check(0, 256)
		eq(os.stat(args[1] + "/cnv-000000").st_size, 128 << 10, "size of the file")
		os.truncate(args[1] + "/cnv-000000", 2 << 20)
		d.write(512, 64); d.check(512, 64)
		PY
		others
		remove_dev
		rm -r "$DIR"
	done
}

# What is larger than it was has nothing of the zone's in it. It must not become
# larger than the zone.
test_made_longer() {
	setup
	truncate -s 512K "$DIR/seq-000003"
	truncate -s 3M "$DIR/seq-000004"
	truncate -s 3M "$DIR/cnv-000000"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zcheck(3, 0, 512, 3); d.zcheck(3, 512, 64, None)
	d.zcheck(4, 0, 512, 4); d.zcheck(4, 512, 64, None)
	d.check(0, 512); d.write(0, 512, 2); d.check(0, 512, 2); d.check(4096, 512)
	d.zwrite(3, 512, 64, 3); d.zcheck(3, 0, 576, 3)
	d.reset(4); d.zwrite(4, 0, 64, 4)
	PY
	others
	remove_dev
	ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY"
	truncate -s 2M "$DIR/cnv-000000"
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 4096)) 576 3
	zbc "$DEV" check $((4 * 4096)) 64 4
	zbc "$DEV" check 0 512 2
	others
}

# A file that ends within a block is no zone's: neither an add nor a device that looks at it again
# cuts off what may be the data of a device with smaller blocks. What a write of its own has left
# there, which has failed, is no data.
# C driver fails: it has no zone_readonly
test_a_piece_of_a_block() {
	setup
	printf x >>"$DIR/seq-000003"
	mark_log
	ctl "zone_readonly id=0,zones=3"
	ctl "zone_good id=0,zones=3"
	assert_eq "$(zbc "$DEV" report $((3 * 4096)) 1 | cut -d ' ' -f 5)" RO condition
	expect_log "zone 3: read-only, its file has 262145 bytes" "multiple of 4096"
	assert_eq "$(stat -c %s "$DIR/seq-000003")" 262145 "size of the file"
	zbc "$DEV" check $((3 * 4096)) 512 3
	others
	remove_dev
	mark_log
	ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY"
	expect_log "zone 3.*seq-000003 has 262145 bytes" "multiple of 4096"
	truncate -s 256K "$DIR/seq-000003"
	add_dev "$GEOMETRY"
	# Put right while the device is there it is good at the next look.
	printf x >>"$DIR/seq-000003"
	ctl "zone_readonly id=0,zones=3"
	ctl "zone_good id=0,zones=3"
	assert_eq "$(zbc "$DEV" report $((3 * 4096)) 1 | cut -d ' ' -f 5)" RO condition
	truncate -s 256K "$DIR/seq-000003"
	assert_eq "$(zbc "$DEV" report $((3 * 4096)) 1 | cut -d ' ' -f 5)" C condition
	ctl "inject id=0,write_nsec=1000000000,badblocks_write=+$((3 * 4096 + 512))-$((3 * 4096 + 519))"
	refuse zbc "$DEV" write $((3 * 4096 + 512)) 8 3 2>/dev/null &
	sleep 0.4
	printf x >>"$DIR/seq-000003"
	wait $!
	ctl "inject id=0,clear"
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	eq(d.zone(3).wp, 512, "write pointer")
	eq(os.stat(args[1] + "/seq-000003").st_size, 512 * SECTOR, "size of the file")
	d.zwrite(3, 512, 8, 3); d.zcheck(3, 0, 520, 3)
	PY
	others
}

# Gone, or something else in its place: the device has what it had open. When it
# is added again the file is missed, by name, and taken again when it is back.
test_replaced() {
	local name what
	setup
	mkdir "$SCRATCH/kept"
	for name in seq-000003 seq-000004 seq-000005 cnv-000000; do
		mv "$DIR/$name" "$SCRATCH/kept/"
	done
	mkdir "$DIR/seq-000003"
	ln -s /dev/null "$DIR/seq-000004"
	truncate -s 1M "$DIR/cnv-000000"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for n in 3, 4, 5: d.zcheck(n, 0, 512, n); d.zwrite(n, 512, 64, n); d.zcheck(n, 0, 576, n)
	d.reset(5); d.zwrite(5, 0, 64, 6); d.finish(4)
	d.check(0, 512); d.write(0, 512, 2)
	d.flush()
	PY
	others
	remove_dev
	for name in cnv-000000 seq-000003 seq-000004 seq-000005; do
		mark_log
		ctl_fails "EINVAL|EISDIR|ELOOP" "add id=0,base_dir=$BASE,$GEOMETRY"
		expect_log "$name"
		expect_one_line
		rm -rf "${DIR:?}/$name"
		mv "$SCRATCH/kept/$name" "$DIR/"
	done
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 4096)) 576 3
	zbc "$DEV" check $((5 * 4096)) 64 6
	zbc "$DEV" check 0 512 2
	assert_eq "$(zbc "$DEV" report $((4 * 4096)) 1 | cut -d ' ' -f 5)" F
	others
}

# The same, before the file was needed for the first time: it is opened then, and
# what is not there, or no file, is missed then. What is put back is found.
# C driver fails: defect 36
test_changed_before_the_first_use() {
	local name
	setup
	mkdir "$SCRATCH/kept"
	readd_dev "$GEOMETRY"
	for name in seq-000003 seq-000004 seq-000005 seq-000006 seq-000007 cnv-000000; do
		cp "$DIR/$name" "$SCRATCH/kept/"
		[[ $name == *3 || $name == cnv* ]] || rm "$DIR/$name"
	done
	truncate -s 128K "$DIR/seq-000003" "$DIR/cnv-000000"
	mkdir "$DIR/seq-000005"
	ln -s "$SCRATCH/kept/seq-000006" "$DIR/seq-000006"
	mkfifo "$DIR/seq-000007"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	fails("EIO", d.zwrite, 3, 512, 64)
	fails("EIO", d.write, 512, 64)
	for turn in range(2):
	    for n in 3, 4, 5, 6, 7: fails("EIO", d.zcheck, n, 448, 64)
	    fails("EIO", d.pread, 512, 64)
	    for n in 3, 4, 5, 6, 7: fails("EIO", d.zwrite, n, 512, 64)
	    eq([d.zone(n).cond in ("RO", "OFF") for n in (3, 4, 5, 6, 7)], [True] * 5, "conditions of the bad zones")
	PY
	others
	rmdir "$DIR/seq-000005"
	rm "$DIR/seq-000006" "$DIR/seq-000007"
	for name in "$SCRATCH/kept"/*; do
		dd if="$name" of="$DIR/${name##*/}" bs=64K conv=notrunc,fsync status=none
	done
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.check(0, 512); d.write(512, 64)
	for n in range(3, 8):
	    d.zcheck(n, 0, 512, n)
	    eq(d.zone(n).wp, 512, f"write pointer of zone {n}")
	    d.zwrite(n, 512, 64, n); d.zcheck(n, 0, 576, n)
	d.flush()
	PY
	others
	readd_dev "$GEOMETRY"
	zbc "$DEV" check $((5 * 4096)) 576 5
	others
}

# All of them, at once: the device is there, and can be removed.
test_directory_is_deleted() {
	setup
	rm -r "$DIR"
	others
	remove_dev
	# The next one is a new device.
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 4096)) 64 zero
}

# Somebody forbids that it be changed (chattr): this zone only.
test_immutable_file() {
	setup
	chattr +i "$DIR/seq-000003"
	defer "chattr -i '$DIR/seq-000003' 2>/dev/null || true"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	fails("EIO|EPERM", d.reset, 3)
	fails("EIO|EPERM", d.finish, 3)
	eq(d.zone(3).wp, 512, "write pointer")
	d.zcheck(3, 0, 512, 3)
	PY
	others
	chattr -i "$DIR/seq-000003"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zwrite(3, 512, 64, 3); d.finish(3); d.reset(3); d.zwrite(3, 0, 64)
	PY
}
