# SPDX-License-Identifier: GPL-2.0
# Zone files that are made when something is first written (lazy_files), and
# opened when they are first needed (always).
#
# Guards that a missing file means an empty zone and nothing else, that the
# directory is told from one whose files must all be there, that an add without
# the option makes what is missing, so that the C driver can use it, and that what
# happens late happens as if it had happened at the add: with the same rights, in
# the same directory.

GEOMETRY=capacity_mb=32,zone_size_mb=1,conv_zones=2

# The sequential zones that have a file.
files() {
	find "$DIR" -name 'seq-*' -printf '%f\n' | sort | sed 's/seq-0*//' | tr '\n' ' '
}

test_files_are_made_by_writes() {
	add_dev "$GEOMETRY,lazy_files"
	assert_eq "$(files)" "" "files after the add"
	[[ -e $DIR/cnv-000000 && -e $DIR/cnv-000001 ]] || fail "no conventional zones"
	grep -qx 'capacity_mb=32,zone_size_mb=1,zone_capacity_mb=1,conv_zones=2,lazy_files' "$DIR/geometry" ||
		fail "the record is $(<"$DIR/geometry")"
	py "$DEV" <<-'PY'
		d = Dev(args[0])
		eq({z.cond for z in d.zones()[2:]}, {"E"}, "conditions")
		# Nothing of this writes.
		d.zcheck(5, 0, 2048, None)
		d.open(6); d.close(6); d.open(7)
		d.reset(8); d.reset_all(); d.flush()
		fails("EIO", d.close, 9)
		fails("EIO", d.zwrite, 10, 8, 8)
	PY
	assert_eq "$(files)" "" "files before the first write"
	py "$DEV" <<-'PY'
		d = Dev(args[0])
		d.zwrite(5, 0, 64)
		d.zwrite(31, 0, 2048)
		d.finish(12)
		d.write(0, 64)
		d.flush()
	PY
	assert_eq "$(files)" "5 12 31 " "files after writes"
	assert_eq "$(stat -c '%a %u %s' "$DIR/seq-000005")" "600 0 32768" "a file that was made late"
	assert_eq "$(stat -c %s "$DIR/seq-000012")" 1048576 "a finished zone's file"
	readd_dev "$GEOMETRY,lazy_files"
	py "$DEV" <<-'PY'
		d = Dev(args[0])
		for nr in range(2, 32):
		    cond(d, nr, {5: "C", 12: "F", 31: "F"}.get(nr, "E"))
		d.zcheck(5, 0, 64)
		d.zcheck(5, 64, 8, None)
		d.zcheck(31, 0, 2048)
		d.zcheck(12, 0, 2048, None)
		d.check(0, 64)
		d.reset_all()
		eq({z.cond for z in d.zones()[2:]}, {"E"}, "conditions after a reset of all")
	PY
	assert_eq "$(files)" "5 12 31 " "files after a reset"
	assert_eq "$(cat "$DIR"/seq-* | wc -c)" 0 "bytes in them"
}

# Without the option a later add makes what is missing, and says so in the record.
test_what_is_missing_is_made() {
	add_dev "$GEOMETRY,lazy_files"
	zbc "$DEV" write $((9 * 2048)) 64
	readd_dev "$GEOMETRY"
	assert_eq "$(files | wc -w)" 30 "files"
	refuse grep -q lazy "$DIR/geometry"
	zbc "$DEV" check $((9 * 2048)) 64
	remove_dev
	# Now they must be there.
	rm "$DIR/seq-000020"
	mark_log
	ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY,lazy_files"
	expect_log seq-000020
	: >"$DIR/seq-000020"
	use_driver c
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((9 * 2048)) 64
	zbc "$DEV" write $((10 * 2048)) 8 2
	remove_dev
	use_driver rust
	add_dev "$GEOMETRY,lazy_files"
	zbc "$DEV" check $((10 * 2048)) 8 2
}

# The C driver made all files: they must be there as before.
test_files_of_the_c_driver() {
	use_driver c
	add_dev "$GEOMETRY"
	zbc "$DEV" write $((9 * 2048)) 64
	remove_dev
	use_driver rust
	add_dev "$GEOMETRY,lazy_files"
	zbc "$DEV" check $((9 * 2048)) 64
	refuse grep -q lazy "$DIR/geometry"
	remove_dev
	rm "$DIR/seq-000009"
	mark_log
	ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY,lazy_files"
	expect_log seq-000009
}

# Zone 0 tells that there is a device, so its file is there from the beginning.
test_without_conventional_zones() {
	add_dev "capacity_mb=8,zone_size_mb=1,conv_zones=0,lazy_files"
	assert_eq "$(files)" "$(printf ' ')" "files"
	[[ -e $DIR/seq-000000 ]] || fail "no file for zone 0"
	zbc "$DEV" write 0 8
	zbc "$DEV" write $((7 * 2048)) 8
	readd_dev "capacity_mb=8,zone_size_mb=1,conv_zones=0,lazy_files"
	zbc "$DEV" check 0 8
	zbc "$DEV" check $((7 * 2048)) 8
	cond="$(zones "$DEV" | awk '{ print $3 }' | sort | uniq -c | tr -s ' \n' ' ')"
	assert_eq "$cond" " 2 cl 6 em " "conditions"
}

# The file system is full when a file is to be made: an error, and nothing else.
test_no_room_for_a_file() {
	make_fs tmpfs 4M "$BASE"
	add_dev "capacity_mb=16,zone_size_mb=1,conv_zones=1,lazy_files"
	dd if=/dev/zero of="$BASE/ballast" bs=64k status=none 2>/dev/null || true
	zbc "$DEV" write $((5 * 2048)) 64 && fail "written into a full file system"
	py "$DEV" <<-'PY'
		d = Dev(args[0])
		eq(d.zone(5).wp, 0, "write pointer")
	PY
	rm "$BASE/ballast"
	zbc "$DEV" report >/dev/null
	zbc "$DEV" write $((5 * 2048)) 64
	zbc "$DEV" check $((5 * 2048)) 64
}

# A write that fails because of what stands in the file's place does nothing there.
test_planted_before_the_first_write() {
	add_dev "$GEOMETRY,lazy_files"
	echo precious >"$SCRATCH/file"
	ln -s "$SCRATCH/file" "$DIR/seq-000005"
	ln -s "$SCRATCH/nowhere" "$DIR/seq-000006"
	mkdir "$DIR/seq-000007"
	mkfifo "$DIR/seq-000008"
	for nr in 5 6 7 8; do
		zbc "$DEV" write $((nr * 2048)) 8 && fail "zone $nr was written"
		zbc "$DEV" report $((nr * 2048)) 1
	done
	assert_eq "$(<"$SCRATCH/file")" precious "the file outside"
	[[ ! -e $SCRATCH/nowhere ]] || fail "a file was made outside"
	# One bad zone never takes the device down, and works when the fault is gone.
	zbc "$DEV" write $((9 * 2048)) 8
	rm "$DIR/seq-000005"
	zbc "$DEV" report $((5 * 2048)) 1
	zbc "$DEV" write $((5 * 2048)) 8
	zbc "$DEV" check $((5 * 2048)) 8
}

# Files are whose the device is, whoever it is that writes.
test_files_belong_to_who_added() {
	chmod 755 "$SCRATCH"
	mkdir -p "$BASE/0"
	chown 65534 "$BASE/0"
	exec 5<>$CONTROL
	setpriv --reuid 65534 --clear-groups --inh-caps=-all,+sys_admin --ambient-caps=-all,+sys_admin \
		bash -c "echo 'add id=0,base_dir=$BASE,$GEOMETRY,lazy_files' >&5"
	track 0
	zbc /dev/zloop0 write $((5 * 2048)) 8
	assert_eq "$(stat -c %u "$BASE/0/seq-000005")" 65534 "whose the file is"
	# And with no more rights than that.
	chown 0 "$BASE/0"
	zbc /dev/zloop0 write $((6 * 2048)) 8 && fail "made a file where it may not"
	zbc /dev/zloop0 check $((5 * 2048)) 8
}

# The directory may be moved, and another one put in its place.
test_directory_is_the_one_of_the_add() {
	add_dev "$GEOMETRY,lazy_files"
	mv "$DIR" "$BASE/moved"
	mkdir "$DIR"
	zbc "$DEV" write $((5 * 2048)) 8
	[[ -e $BASE/moved/seq-000005 ]] || fail "the file is elsewhere"
	rmdir "$DIR"
	mv "$BASE/moved" "$DIR"
}

# Many writers meet in zones that nobody has used.
test_first_use_by_many() {
	add_dev "$GEOMETRY,lazy_files,nr_queues=2"
	py "$DEV" <<-'PY'
		d = Dev(args[0])
		def work(seed):
		    r = random.Random(seed)
		    for nr in r.sample(range(0, 32), 32):
		        if nr < 2:
		            d.write(nr * 2048 + 8 * seed, 8, seed)
		            continue
		        try:
		            d.zwrite(nr, 0, 8)
		        except OSError:
		            pass
		        d.pread(nr * 2048, 8)
		        d.report(nr * 2048, 1)
		threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
		for t in threads: t.start()
		for t in threads: t.join()
		for nr in range(2, 32):
		    d.zone(nr)
		    d.zcheck(nr, 0, 8)
		for seed in range(8):
		    d.check(8 * seed, 8, seed)
	PY
}

# A million zones: no more is asked than that it can be used.
# limit: 300
test_a_million_zones() {
	add_dev "capacity_mb=1000000,zone_size_mb=1,conv_zones=1,lazy_files"
	assert_eq "$(queue nr_zones)" 1000000 "zones"
	zbc "$DEV" write $((999999 * 2048)) 64
	zbc "$DEV" write $((500000 * 2048)) 64
	zbc "$DEV" check $((999999 * 2048)) 64
	readd_dev "capacity_mb=1000000,zone_size_mb=1,conv_zones=1,lazy_files"
	zbc "$DEV" check $((500000 * 2048)) 64
	zbc "$DEV" reset-all
	py "$DEV" <<-'PY'
		d = Dev(args[0])
		nr, conditions = 0, set()
		while zones := d.report(nr * 2048, 50000):
		    nr += len(zones)
		    conditions |= {z.cond for z in zones}
		eq((nr, conditions), (1000000, {"NWP", "E"}), "zones of a report")
	PY
}
