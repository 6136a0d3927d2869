# SPDX-License-Identifier: GPL-2.0
# zonefs on the device: each zone a file, whose size is the write pointer.
#
# Guards the report and the zone commands as a file system in the kernel uses
# them: it reads write pointers, opens zones explicitly, truncates to reset and to
# finish, and notices by itself when a zone is not where it should be.

OPTIONS=capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=3,max_open_zones=6
MNT=$SCRATCH/mnt

setup() { # options
	mkdir -p "$MNT"
	modprobe zonefs
	add_dev "$OPTIONS${1:+,$1}"
	mkzonefs -f "$DEV" >/dev/null
	mount -t zonefs ${2:+-o "$2"} "$DEV" "$MNT"
	defer "umount_if '$MNT'"
}

again() { # options
	umount "$MNT"
	readd_dev "$OPTIONS${1:+,$1}"
	mount -t zonefs "$DEV" "$MNT"
}

put() { # file size
	head -c "$2" /dev/urandom >"$SCRATCH/data.$1"
	dd if="$SCRATCH/data.$1" of="$MNT/seq/$1" bs=64k oflag=direct conv=notrunc status=none
}

run() {
	setup "$1"
	assert_eq "$(find "$MNT/cnv" -type f | wc -l) $(find "$MNT/seq" -type f | wc -l)" "2 13" "files"
	put 0 $((64 << 10))
	put 1 $((3 << 20))
	put 2 $((1 << 20))
	assert_eq "$(stat -c %s "$MNT"/seq/{0,1,2,3})" "65536
3145728
1048576
0" "sizes"
	assert_eq "$(stat -c %s "$DIR"/seq-00000[3-6])" "65536
3145728
1048576
0" "sizes of the zone files"
	head -c 4M /dev/urandom >"$SCRATCH/data.cnv"
	dd if="$SCRATCH/data.cnv" of="$MNT/cnv/0" bs=64k conv=notrunc,fsync status=none
	# Not at the end of the file, and past the zone's capacity: the file system
	# refuses the first, the size of the file the second.
	refuse dd if=/dev/zero of="$MNT/seq/0" bs=64k count=1 oflag=direct conv=notrunc status=none 2>/dev/null
	refuse dd if=/dev/zero of="$MNT/seq/1" bs=64k count=1 oflag=direct,append conv=notrunc status=none 2>/dev/null
	# Truncation: to nothing resets, to all finishes.
	put 4 $((256 << 10))
	truncate -s 0 "$MNT/seq/4"
	assert_eq "$(stat -c %s "$DIR/seq-000007")" 0 "zone file after a truncation to nothing"
	truncate -s 3M "$MNT/seq/5"
	assert_eq "$(stat -c %s "$DIR/seq-000008")" $((3 << 20)) "zone file after a truncation to all"
	again "$1"
	cmp "$SCRATCH/data.0" "$MNT/seq/0"
	cmp "$SCRATCH/data.1" "$MNT/seq/1"
	cmp "$SCRATCH/data.2" "$MNT/seq/2"
	cmp "$SCRATCH/data.cnv" "$MNT/cnv/0"
	assert_eq "$(stat -c %s "$MNT"/seq/{4,5})" "0
3145728" "sizes after remove and add"
	dd if="$SCRATCH/data.0" of="$MNT/seq/0" bs=64k oflag=direct,append conv=notrunc status=none
	cat "$SCRATCH/data.0" "$SCRATCH/data.0" | cmp - "$MNT/seq/0"
	again "$1"
	cat "$SCRATCH/data.0" "$SCRATCH/data.0" | cmp - "$MNT/seq/0"
	umount "$MNT"
	remove_dev
}

test_native_append() {
	run ""
}

test_emulated_append() {
	run zone_append=0
}

# C driver may fail: defect 1, if the writes become appends
test_ordered_append() {
	run ordered_zone_append
}

test_buffered_io() {
	run buffered_io,nr_queues=2
}

# With explicit-open each file that is open for writing holds a zone open, and the
# seventh of six finds none.
test_explicit_open() {
	local i fds=() fd
	setup "" explicit-open
	for i in 0 1 2 3 4 5; do
		exec {fd}<>"$MNT/seq/$i"
		fds+=("$fd")
	done
	assert_eq "$(zones "$DEV" | grep -c ' oe ')" 6 "zones opened explicitly"
	refuse bash -c "exec 9<>'$MNT/seq/6'" 2>/dev/null
	for fd in "${fds[@]}"; do
		exec {fd}>&-
	done
	assert_eq "$(zones "$DEV" | grep -c ' oe ' || true)" 0 "zones opened explicitly after all files were closed"
	umount "$MNT"
}

# Eight files written at once, with six zones that may be open: zonefs opens none
# explicitly here, so everybody gets in.
test_parallel_writers() {
	local i pids=() p
	setup nr_queues=2
	for i in 0 1 2 3 4 5 6 7; do
		put $i $((2 << 20)) &
		pids+=($!)
	done
	for p in "${pids[@]}"; do
		wait "$p"
	done
	again
	for i in 0 1 2 3 4 5 6 7; do
		cmp "$SCRATCH/data.$i" "$MNT/seq/$i"
	done
	umount "$MNT"
}

# "mode size" of each file.
show() { # files...
	local f
	for f; do
		stat -c '%a %s' "$MNT/seq/$f"
	done | paste -sd,
}

# Zones that were declared read-only or offline before the mount: their write
# pointers are not known, so zonefs shows files of no size that nobody may use.
test_failed_zones_at_mount() {
	setup
	put 0 $((64 << 10))
	put 1 $((64 << 10))
	put 2 $((64 << 10))
	umount "$MNT"
	ctl "zone_readonly id=0,zones=3"
	ctl "zone_offline id=0,zones=4"
	readd_dev "$OPTIONS"
	mount -t zonefs "$DEV" "$MNT"
	assert_eq "$(show 0 1 2 3)" "0 0,0 0,640 65536,640 0" "files"
	refuse dd if="$SCRATCH/data.0" of="$MNT/seq/0" bs=64k oflag=direct conv=notrunc status=none 2>/dev/null
	refuse truncate -s 0 "$MNT/seq/1" 2>/dev/null
	cmp "$SCRATCH/data.2" "$MNT/seq/2"
	put 3 $((64 << 10))
	umount "$MNT"
	ctl "zone_good id=0,zones=3-4"
	mount -t zonefs "$DEV" "$MNT"
	assert_eq "$(show 0 1 2 3)" "640 65536,640 65536,640 65536,640 65536" "files of zones that are good again"
	cmp "$SCRATCH/data.0" "$MNT/seq/0"
	cmp "$SCRATCH/data.1" "$MNT/seq/1"
	dd if="$SCRATCH/data.1" of="$MNT/seq/1" bs=64k oflag=direct,append conv=notrunc status=none
	umount "$MNT"
	remove_dev
}

# Zones that fail while they are in use: what zonefs does is what its option says.
test_failed_zones_in_use() {
	local errors
	for errors in remount-ro zone-ro zone-offline repair; do
		echo "errors=$errors"
		rm -rf "$BASE/0"
		setup "" "errors=$errors"
		put 0 $((64 << 10))
		put 1 $((64 << 10))
		put 2 $((64 << 10))
		# From before, so that it isn't the page cache that is read.
		echo 3 >/proc/sys/vm/drop_caches
		ctl "zone_readonly id=0,zones=3"
		ctl "zone_offline id=0,zones=4"
		# It finds out when it is told of an error.
		assert_eq "$(show 0 1 2)" "640 65536,640 65536,640 65536" "files before an error"
		cmp "$SCRATCH/data.0" "$MNT/seq/0"
		refuse dd if="$SCRATCH/data.0" of="$MNT/seq/0" bs=64k oflag=direct,append conv=notrunc status=none 2>/dev/null
		if [[ $errors == zone-offline ]]; then
			assert_eq "$(show 0)" "0 0" "the file of a read-only zone"
		else
			# Nothing was written, and what is there can be read.
			assert_eq "$(show 0)" "440 65536" "the file of a read-only zone"
			cmp "$SCRATCH/data.0" "$MNT/seq/0"
		fi
		case $errors in
		remount-ro) grep -q " $MNT zonefs ro" /proc/mounts || fail "not read-only" ;;
		*) grep -q " $MNT zonefs rw" /proc/mounts || fail "read-only" ;;
		esac
		refuse dd if="$MNT/seq/1" of=/dev/null bs=64k iflag=direct status=none 2>/dev/null
		assert_eq "$(show 1)" "0 0" "the file of an offline zone"
		# The others are as they were.
		assert_eq "$(show 2)" "640 65536" "the file of another zone"
		cmp "$SCRATCH/data.2" "$MNT/seq/2"
		if [[ $errors != remount-ro ]]; then
			dd if="$SCRATCH/data.2" of="$MNT/seq/2" bs=64k oflag=direct,append conv=notrunc status=none
			assert_eq "$(show 2)" "640 131072" "the file of another zone"
		fi
		umount "$MNT"
		remove_dev
	done
}
