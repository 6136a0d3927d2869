# SPDX-License-Identifier: GPL-2.0
# Devices of other shapes than the C driver's: sizes in bytes, a smaller last zone,
# one zone, conventional zones anywhere, blocks of another size.
#
# Guards the promises that the block layer takes each of them, that every zone is as
# long as it is said to be, that what crosses its end is refused, and that a device
# is the same one when it is added again.

# All zones: type, length, capacity in sectors, and how many there are of each.
zones_of() { # device
	blkzone report "$1" | awk '
		{ gsub(",", ""); kind = /CONVENTIONAL/ ? "cnv" : "seq"; print kind, $4 + 0 ? $4 : $4, $6 }' |
		uniq -c | awk '{ printf "%s%s %s %d %d", sep, $1, $2, strtonum($3), strtonum($4); sep = "; " }'
}

shape() { # options, zones, chunk sectors
	add_dev "$1"
	assert_eq "$(zones_of "$DEV")" "$2" "zones of $1"
	assert_eq "$(queue chunk_sectors)" "$3" "zone size of $1"
}

# Fill each zone to its capacity and not further, and find all of it later.
fill() { # device
	py "$1" <<-'PY'
	d = Dev(args[0])
	for nr, z in enumerate(d.zones()):
	    at = 0
	    while at < z.cap:
	        n = min(z.cap - at, 2048)
	        d.write(z.start + at, n, nr + 1)
	        at += n
	    if z.type == "seq" and z.cap < z.len:
	        refused(d, "EIO", d.write, z.start + z.cap, 8)
	d.flush()
	PY
}

filled() { # device
	py "$1" <<-'PY'
	d = Dev(args[0])
	for nr, z in enumerate(d.zones()):
	    eq(z.cond, "NWP" if z.type == "conv" else "F", f"zone {nr}")
	    at = 0
	    while at < z.cap:
	        n = min(z.cap - at, 2048)
	        d.check(z.start + at, n, nr + 1)
	        at += n
	d.reset_all()
	for z in d.zones():
	    eq(z.cond in ("NWP", "E"), True, "reset")
	PY
}

works() { # options
	fill "$DEV"
	readd_dev "$1"
	filled "$DEV"
	readd_dev
	remove_dev
	rm -r "$DIR"
}

# C driver fails: it knows no such options
test_sizes_in_bytes() {
	shape capacity=1M,zone_size=64K,zone_capacity=60K,conv_zones=2 "2 cnv 128 128; 14 seq 128 120" 128
	works capacity=1M,zone_size=64K,zone_capacity=60K,conv_zones=2
	# Zones of one block.
	shape capacity=64K,zone_size=4K,conv_zones=2 "2 cnv 8 8; 14 seq 8 8" 8
	works capacity=64K,zone_size=4K
	# The same as in MiB.
	shape capacity=16M,zone_size=2M,conv_zones=1 "1 cnv 4096 4096; 7 seq 4096 4096" 4096
	readd_dev capacity_mb=16,zone_size_mb=2,zone_capacity_mb=2,conv_zones=1
	assert_eq "$(<"$DIR/geometry")" capacity_mb=16,zone_size_mb=2,zone_capacity_mb=2,conv_zones=1 record
}

# C driver fails: it rounds down
test_smaller_last_zone() {
	shape capacity=10260K,zone_size_mb=4,zone_capacity_mb=3,conv_zones=1 "1 cnv 8192 8192; 1 seq 8192 6144; 1 seq 4136 4136" 8192
	assert_eq "$(blockdev --getsize64 "$DEV")" $((10260 << 10)) capacity
	works capacity=10260K
	# Smaller than the others, and its capacity not.
	shape capacity=11M,zone_size_mb=4,zone_capacity_mb=2,conv_zones=1 "1 cnv 8192 8192; 1 seq 8192 4096; 1 seq 6144 4096" 8192
	works ''
	# A conventional one.
	shape capacity=11M,zone_size_mb=4,conv_zones=0:2 "1 cnv 8192 8192; 1 seq 8192 8192; 1 cnv 6144 6144" 8192
	assert_eq "$(stat -c %s "$DIR/cnv-000002")" $((3 << 20)) "the last zone's file"
	works ''
	# In MiB it is rounded down, as ever.
	shape capacity_mb=11,zone_size_mb=4,conv_zones=1 "1 cnv 8192 8192; 1 seq 8192 8192" 8192
}

# C driver fails: it wants more than a zone, and more than 8 without a word
test_few_zones() {
	shape capacity_mb=4,zone_size_mb=4 "1 seq 8192 8192" 8192
	works ''
	shape capacity_mb=3,zone_size_mb=1 "1 cnv 2048 2048; 2 seq 2048 2048" 2048
	works ''
	shape capacity_mb=8,zone_size_mb=1 "4 cnv 2048 2048; 4 seq 2048 2048" 2048
	remove_dev && rm -r "$DIR"
	shape capacity_mb=9,zone_size_mb=1 "8 cnv 2048 2048; 1 seq 2048 2048" 2048
}

# C driver fails: it has them first
test_conventional_zones_anywhere() {
	local zones=1-2:5:7-8 cmd
	shape capacity_mb=10,zone_size_mb=1,conv_zones=$zones \
		"1 seq 2048 2048; 2 cnv 2048 2048; 2 seq 2048 2048; 1 cnv 2048 2048; 1 seq 2048 2048; 2 cnv 2048 2048; 1 seq 2048 2048" 2048
	assert_eq "$(cd "$DIR" && echo [cs]??-*)" "cnv-000001 cnv-000002 cnv-000005 cnv-000007 cnv-000008 seq-000000 seq-000003 seq-000004 seq-000006 seq-000009" files
	for cmd in open close finish reset; do
		refuse blkzone $cmd -o $((5 * 2048)) -l 2048 "$DEV" 2>/dev/null
		blkzone $cmd -o $((6 * 2048)) -l 2048 "$DEV"
	done
	works conv_zones=$zones
	# Also where files are made late, and with a limit.
	add_dev capacity_mb=10,zone_size_mb=1,conv_zones=$zones,lazy_files,max_open_zones=2
	works lazy_files,max_open_zones=1
}

# zonefs has a file for each zone, wherever the conventional ones are.
# C driver fails: it has them first
test_zonefs_with_zones_anywhere() {
	command -v mkzonefs >/dev/null || skip "no mkzonefs"
	modprobe zonefs
	add_dev capacity=33M,zone_size_mb=2,conv_zones=3:8-9
	mkzonefs -f "$DEV" >/dev/null
	mkdir "$SCRATCH/mnt"
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	defer "umount_if '$SCRATCH/mnt'"
	# The first zone holds the super block.
	assert_eq "$(find "$SCRATCH/mnt/cnv" -type f | wc -l) $(find "$SCRATCH/mnt/seq" -type f | wc -l)" "3 13" files
	local file
	for file in "$SCRATCH"/mnt/cnv/* "$SCRATCH"/mnt/seq/*; do
		dd if=/dev/urandom of="$file" bs=64k count=4 oflag=direct conv=notrunc,nocreat status=none
	done
	umount "$SCRATCH/mnt"
}

# Blocks of 512 bytes and of 4096, and what doesn't fit them.
# C driver fails: it takes those of the file system
test_block_size() {
	local bs
	for bs in 512 1024 4096; do
		add_dev capacity_mb=8,zone_size_mb=1,conv_zones=1,block_size=$bs
		assert_eq "$(queue logical_block_size) $(queue physical_block_size)" "$bs $bs" "block size"
		assert_eq "$(<"$DIR/geometry")" "capacity_mb=8,zone_size_mb=1,zone_capacity_mb=1,conv_zones=1,block_size=$bs" record
		py "$DEV" $bs <<-'PY'
		d, n = Dev(args[0]), int(args[1]) // 512
		for at in range(0, 40 * n, n):
		    d.zwrite(3, at, n, at + 1)
		    d.write(5 * n + at, n, at + 1)
		d.zwrite(4, 0, n); d.zwrite(4, n, 2048 - n)
		cond(d, 3, "IO", 40 * n); cond(d, 4, "F")
		d.flush()
		PY
		readd_dev
		assert_eq "$(queue logical_block_size)" $bs "block size of the device that came back"
		py "$DEV" $bs <<-'PY'
		d, n = Dev(args[0]), int(args[1]) // 512
		for at in range(0, 40 * n, n):
		    d.zcheck(3, at, n, at + 1)
		    d.check(5 * n + at, n, at + 1)
		d.zwrite(3, 40 * n, n); d.zcheck(3, 40 * n, n)
		PY
		remove_dev
		rm -r "$DIR"
	done
	mark_log
	ctl_fails EINVAL "add id=0,base_dir=$BASE,capacity_mb=8,zone_size=2K,block_size=4096"
	expect_log zloop0 zone_size
	expect_one_line
}

# They may be others the next time, if what is written fits.
# C driver fails: it takes those of the file system
test_block_size_changes() {
	add_dev capacity_mb=8,zone_size_mb=1,conv_zones=1,block_size=1024
	zbc "$DEV" write 6144 2
	readd_dev block_size=512
	assert_eq "$(queue logical_block_size)" 512 "block size"
	readd_dev
	assert_eq "$(queue logical_block_size)" 512 "block size of the device that came back"
	zbc "$DEV" write 6146 1
	zbc "$DEV" check 6144 2
	remove_dev
	ctl_refused EINVAL "add id=0,base_dir=$BASE,block_size=1024" zloop0 seq-000003 1536 1024
	ctl_refused EINVAL "add id=0,base_dir=$BASE,capacity_mb=8,block_size=4096" zloop0 seq-000003 1536 4096
	add_dev
	assert_eq "$(queue logical_block_size)" 512 "block size of the device that came back"
}

# Direct I/O can't have smaller blocks than the disk below.
# C driver fails: it knows no such option
test_block_size_of_direct_io() {
	truncate -s 64M "$SCRATCH/disk"
	modprobe loop
	local loop
	loop=$(losetup -f --show -b 4096 "$SCRATCH/disk")
	defer "losetup -d $loop"
	mkfs.ext4 -q -F "$loop"
	mkdir -p "$BASE"
	mount "$loop" "$BASE"
	defer "umount_if '$BASE'"
	mark_log
	ctl_fails EINVAL "add id=0,base_dir=$BASE,capacity_mb=8,zone_size_mb=1,block_size=512"
	expect_log zloop0 block_size=512 4096 buffered_io
	expect_one_line
	assert_eq "$(ls "$BASE")" lost+found "what is left"
	add_dev capacity_mb=8,zone_size_mb=1,conv_zones=1,block_size=512,buffered_io
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(9): d.zwrite(3, at, 1, at + 1)
	for at in range(9): d.zcheck(3, at, 1, at + 1)
	PY
}

# C driver fails: it knows no such option
test_rotational() {
	add_dev capacity_mb=8,zone_size_mb=1
	assert_eq "$(queue rotational)" 0 rotational
	readd_dev rotational
	assert_eq "$(queue rotational)" 1 rotational
	readd_dev
	assert_eq "$(queue rotational)" 1 rotational
	readd_dev rotational=0
	assert_eq "$(queue rotational)" 0 rotational
}

# fio goes over such a device as over any other one.
# C driver fails: it knows no such options
test_fio() {
	add_dev capacity=30M,zone_size=4M,zone_capacity=3M,conv_zones=1:3-3,max_open_zones=2
	fio_zones "$DEV" --rw=randwrite --bs=64k --iodepth=4 --offset=16M --size=12M --io_size=8M
	add_dev -i 1 capacity=1028K,zone_size=64K,conv_zones=0,max_open_zones=4
	fio_zones /dev/zloop1 --rw=randwrite --bs=4k --iodepth=4 --io_size=512k
}
