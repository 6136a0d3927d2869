# SPDX-License-Identifier: GPL-2.0
# A device's directory tells what the device is.
#
# Guards the promises that an add without the geometry brings a device back, that
# the geometry is text which add takes, that a missing directory is made and goes
# away again with an add that fails, that a directory of something else is left
# alone, and that two devices never use one directory.

GEOMETRY=capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3

# A device with data, removed.
setup() {
	mkdir -p "$BASE"
	add_dev "$GEOMETRY"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(2 * 4096, 64, 3)
	d.zwrite(4, 0, 64)
	d.zwrite(5, 0, 2048)
	PY
	remove_dev
}

# The device that is there is the one of setup.
check_dev() { # device
	py "$1" <<-'PY'
	d = Dev(args[0])
	eq([z.cond for z in d.zones()], ["NWP"] * 3 + ["E", "C", "F"] + ["E"] * 10, "conditions")
	eq(d.zone(5).cap, 2048, "capacity")
	d.check(2 * 4096, 64, 3)
	d.zcheck(4, 0, 64)
	d.zcheck(5, 0, 2048)
	PY
}

# Nothing of the geometry is named, or a part of it, or all in other words.
# C driver fails: it records nothing
test_brought_back() {
	setup
	local o
	for o in id=0 '' id=0,max_open_zones=13 id=0,capacity_mb=33 zone_size_mb=2 \
		capacity=32M,zone_size=2048K,zone_capacity=0x100000,conv_zones=0-2; do
		ctl "add base_dir=$BASE${o:+,$o}"
		track 0
		check_dev "$DEV"
		remove_dev
	done
	# The default directory needs no name.
	mkdir -p "$SCRATCH/local/zloop"
	mount --bind "$SCRATCH/local" /var/local
	defer umount /var/local
	cp -a --sparse=always "$DIR" /var/local/zloop/0
	ctl "add id=0"
	check_dev "$DEV"
	remove_dev
}

# What is recorded is what add takes.
# C driver fails: it records nothing
test_record_is_add_syntax() {
	setup
	local record
	record=$(<"$DIR/geometry")
	assert_eq "$record" "capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=3" "record"
	rm -r "$DIR"
	ctl "add id=0,base_dir=$BASE,$record"
	track 0
	assert_eq "$(<"$DIR/geometry")" "$record" "record"
	remove_dev
}

# Files that were moved to another place are the same device there.
# C driver fails: it records nothing
test_moved() {
	setup
	mkdir "$SCRATCH/elsewhere"
	mv "$DIR" "$SCRATCH/elsewhere/7"
	ctl "add id=7,base_dir=$SCRATCH/elsewhere"
	track 7
	check_dev /dev/zloop7
	remove_dev 7
}

# A record that was damaged is not guessed at, nor taken for missing.
# C driver fails: it records nothing
test_damaged_record() {
	setup
	local text
	cp -a "$DIR/geometry" "$SCRATCH/kept"
	for text in capacity_mb=32 'capacity_mb=32,zone_size_mb=3,zone_capacity_mb=1,conv_zones=3' \
		'capacity_mb=32,zone_size_mb=2,zone_capacity_mb=4,conv_zones=3' "$GEOMETRY,id=0" \
		"$GEOMETRY,base_dir=/tmp" "$(head -c 400 /dev/zero | tr '\0' x)" $'\x7fELF'; do
		printf %s "$text" >"$DIR/geometry"
		mark_log
		ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY"
		expect_log zloop0 "$DIR/geometry" damaged
		expect_one_line
		assert_eq "$(<"$DIR/geometry")" "$text" "the damaged record"
	done
	cp -a "$SCRATCH/kept" "$DIR/geometry"
	ctl "add id=0,base_dir=$BASE"
	check_dev "$DEV"
	remove_dev
}

# The first add makes the directory.
# C driver fails: it wants the directory to be there
test_directory_is_made() {
	mkdir -p "$BASE"
	umask 022
	ctl "add id=3,base_dir=$BASE,$GEOMETRY"
	track 3
	assert_eq "$(stat -c '%a %u %F' "$BASE/3")" "700 0 directory" "the directory"
	[[ -e $BASE/3/seq-000015 ]] || fail "no zone files"
	remove_dev 3
	ctl "add id=3,base_dir=$BASE"
	remove_dev 3
}

# It is not made in the place of another one, nor for a device that can't be, and an
# add that fails takes it back.
# C driver fails: it makes no directory, and leaves files
test_directory_is_taken_back() {
	mkdir -p "$BASE"
	local o
	ctl_fails EINVAL "add id=3,base_dir=$BASE/none,$GEOMETRY"
	for o in capacity_mb=1,zone_size_mb=2 "$GEOMETRY,max_open_zones=14" conv_zones=64 zone_size=512,capacity=8K; do
		mark_log
		ctl_fails EINVAL "add id=3,base_dir=$BASE,$o"
		expect_log zloop3
		assert_eq "$(ls -A "$BASE")" "" "what was made for $o"
	done
	mkdir "$SCRATCH/small"
	mount -t tmpfs -o size=1M,nr_inodes=12 tmpfs "$SCRATCH/small"
	defer "umount '$SCRATCH/small'"
	ctl_fails ENOSPC "add id=3,base_dir=$SCRATCH/small,$GEOMETRY"
	assert_eq "$(ls -A "$SCRATCH/small")" "" "what an add without room has left"
	mount -o remount,ro "$SCRATCH/small"
	ctl_fails EROFS "add id=3,base_dir=$SCRATCH/small,$GEOMETRY"
}

# A directory with anything in it but a device is somebody's.
# C driver fails: it makes its files among the others
test_foreign_directory() {
	mkdir -p "$BASE/0"
	local name
	for name in notes .hidden seq-000007 cnv-000001 geometry.old; do
		echo precious >"$BASE/0/$name"
		mark_log
		ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY"
		expect_log zloop0 "$BASE/0" "${name//./\\.}"
		expect_one_line
		assert_eq "$(ls -A "$BASE/0")" "$name" "files"
		assert_eq "$(<"$BASE/0/$name")" precious "the file"
		rm "$BASE/0/$name"
	done
	mkdir "$BASE/0/sub"
	ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY"
	rmdir "$BASE/0/sub"
	# A file system of its own is empty but for this.
	make_fs ext4 16M "$BASE/0"
	[[ -d $BASE/0/lost+found ]] || fail "no lost+found"
	add_dev "$GEOMETRY"
	remove_dev
}

# By whatever path it is reached, and while it is being added, too.
# C driver fails: two devices write the same files
test_one_device_per_directory() {
	setup
	ln -s 0 "$BASE/1"
	mkdir "$BASE/2" "$SCRATCH/bound"
	mount --bind "$DIR" "$BASE/2"
	defer "umount '$BASE/2'"
	mount --bind "$BASE" "$SCRATCH/bound"
	defer "umount '$SCRATCH/bound'"
	ctl "add id=0,base_dir=$BASE"
	track 0
	local id
	for id in 1 2; do
		mark_log
		ctl_fails EBUSY "add id=$id,base_dir=$BASE"
		expect_log "zloop$id" zloop0
		expect_one_line
		[[ ! -e /sys/block/zloop$id ]] || fail "a device was made"
	done
	ctl_fails EBUSY "add id=1,base_dir=$SCRATCH/bound,$GEOMETRY"
	check_dev "$DEV"
	remove_dev
	# It is free again as soon as it is removed, also after an add that failed.
	ctl_fails EINVAL "add id=0,base_dir=$BASE,conv_zones=9"
	ctl "add id=1,base_dir=$BASE"
	track 1
	check_dev /dev/zloop1
	ctl_fails EBUSY "add id=0,base_dir=$BASE"
	remove_dev 1
	# Of many that want it at the same time, one gets it.
	local won
	for id in {10..29}; do
		ln -s 0 "$BASE/$id"
		track "$id"
	done
	for id in {10..29}; do
		(ctl "add id=$id,base_dir=$BASE") 2>/dev/null &
	done
	wait
	won=$(cd /sys/block && echo zloop*)
	[[ $won == zloop?? ]] || fail "who got it: $won"
	check_dev "/dev/$won"
	remove_dev "${won#zloop}"
	rm "$BASE"/1 "$BASE"/[12]?
}
