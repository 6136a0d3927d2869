# SPDX-License-Identifier: GPL-2.0
# Discard and write zeroes.
#
# Guards the promise that what is discarded in a conventional zone reads as zeros
# and goes back to the file system below, while the file keeps its length; that in
# a sequential zone zeros are written as anything else is; and that nothing of the
# kind is offered where the file system can't do it.

GEOMETRY=capacity_mb=32,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2

# What a file takes in the file system, in sectors, once that is settled.
BLOCKS='
def blocks(path):
    fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)
    return os.stat(path).st_blocks'

# Every way to make zeros, in the middle of data and over the border of two zones:
# the data around stays, the files keep their length, the space comes back.
zero_conventional() { # options
	add_dev "$GEOMETRY${1:+,$1}"
	py "$DEV" "$DIR" <<-PY
	$BLOCKS
	d, directory = Dev(args[0]), args[1]
	LEN = 4 * MIB
	files = [f"{directory}/cnv-00000{n}" for n in (0, 1)]
	def fill():
	    for at in range(0, 2 * LEN, 1024): d.write(at, 1024, 7)
	    d.flush()
	    return sum(map(blocks, files))
	def zeroed(start, count):
	    d.check(0, start, 7); d.check(start, count, None); d.check(start + count, 2 * LEN - start - count, 7)
	    eq([os.stat(f).st_size for f in files], [LEN * SECTOR] * 2, "sizes")
	for how, keeps in (d.discard, False), (d.punch, False), (d.zeroout, True):
	    for start, count in (1024, 2048), (LEN - 1024, 2048), (0, LEN):
	        full = fill()
	        how(start, count)
	        d.flush()
	        zeroed(start, count)
	        # (an extent that is in two parts now may need a block for that)
	        left = full - sum(map(blocks, files))
	        if keeps: eq(left < 64, True, f"space is kept, {left} sectors are not")
	        else: eq(left > count - 64, True, f"space comes back, {left} of {count} sectors have")
	fill()
	d.discard(8, 8); d.zeroout(1024, 64)
	d.flush()
	PY
	readd_dev "$GEOMETRY${1:+,$1}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.check(0, 8, 7); d.check(8, 8, None); d.check(16, 1008, 7)
	d.check(1024, 64, None); d.check(1088, 512, 7)
	d.write(8, 8, 3); d.check(8, 8, 3)
	PY
	remove_dev
	rm -r "$DIR"
}

test_conventional_xfs() {
	zero_conventional
}

# scratch: ext4
test_conventional_ext4() {
	zero_conventional
	zero_conventional buffered_io
}

# scratch: btrfs
test_conventional_btrfs() {
	zero_conventional
}

# It has no way to zero what stays allocated, so that this is made of two steps.
# scratch: tmpfs
test_conventional_tmpfs() {
	zero_conventional buffered_io
}

# In a sequential zone a discard changes nothing, also if it begins in a
# conventional one.
test_discard_of_sequential_is_refused() {
	add_dev $GEOMETRY
	mark_log
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	LEN = 4 * MIB
	for n in 2, 3: d.zwrite(n, 0, 128, 5)
	d.finish(3)
	d.write(2 * LEN - 128, 128, 5)
	for start, count in (2 * LEN, 8), (2 * LEN, LEN), (2 * LEN + 128, 8), (3 * LEN, LEN), (4 * LEN, LEN), (2 * LEN - 64, 128):
	    refused(d, "EIO", d.discard, start, count)
	d.check(2 * LEN - 128, 256, 5)
	d.zcheck(3, 0, 128, 5)
	d.zwrite(2, 128, 64, 5); d.zcheck(2, 0, 192, 5)
	PY
	expect_log 'zone 2: discard at sector 16384, 8 sectors, refused: the zone is sequential'
}

# Zeros at the write pointer are a write.
zeroes_in_sequential() { # options
	add_dev "capacity_mb=32,zone_size_mb=4,zone_capacity_mb=3,max_open_zones=2,$1"
	py "$DEV" "$DIR" <<-PY
	$BLOCKS
	d, directory = Dev(args[0]), args[1]
	LEN, CAP = 4 * MIB, 3 * MIB
	def at(n, sector): return n * LEN + sector
	def file(n): return f"{directory}/seq-{n:06}"
	d.zwrite(2, 0, 64, 2)
	d.zeroout(at(2, 64), 2048)
	cond(d, 2, "IO", 2112)
	eq(os.stat(file(2)).st_size, 2112 * SECTOR, "file size")
	d.zwrite(2, 2112, 64, 2)
	d.zcheck(2, 0, 64, 2); d.zcheck(2, 64, 2048, None); d.zcheck(2, 2112, 64, 2); d.zcheck(2, 2176, LEN - 2176, None)
	# From the start, to the capacity, all of it without taking space.
	d.zeroout(at(3, 0), CAP)
	cond(d, 3, "F", None)
	eq(os.stat(file(3)).st_size, CAP * SECTOR, "file size")
	eq(blocks(file(3)) < 128, True, f"{blocks(file(3))} sectors for zeros")
	d.zcheck(3, 0, LEN, None)
	refused(d, "EIO", d.zeroout, at(3, 0), 8)
	refused(d, "EIO", d.zeroout, at(2, 0), 8)
	refused(d, "EIO", d.zeroout, at(2, 2184), 8)
	refused(d, "EIO", d.zeroout, at(2, 2176), CAP - 2176 + 8)
	d.zeroout(at(4, 0), 8)
	# No more than two are open.
	d.open(2); d.open(4)
	refused(d, "EIO|ETOOMANYREFS", d.zeroout, at(5, 0), 8)
	d.close(4)
	d.zeroout(at(5, 0), 8)
	cond(d, 5, "IO", 8)
	d.reset(3); d.zwrite(3, 0, 64, 9)
	d.zcheck(3, 0, 64, 9); d.zcheck(3, 64, 64, None)
	d.flush()
	PY
	readd_dev "capacity_mb=32,zone_size_mb=4,zone_capacity_mb=3,$1"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq([(z.cond, z.wp) for z in d.zones()[2:7]], [("C", 2176), ("C", 64), ("C", 8), ("C", 8), ("E", 0)], "zones")
	d.zcheck(2, 0, 64, 2); d.zcheck(2, 64, 2048, None); d.zcheck(2, 2112, 64, 2)
	PY
	remove_dev
	rm -r "$DIR"
}

test_zeroes_in_sequential() {
	zeroes_in_sequential conv_zones=2
}

# Without conventional zones there is nothing to discard.
test_zeroes_without_conventional() {
	add_dev capacity_mb=32,zone_size_mb=4,conv_zones=0
	assert_eq "$(queue discard_max_bytes)" 0 discard_max_bytes
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	refused(d, "EOPNOTSUPP|ENOTSUP", d.discard, 0, 8)
	PY
	remove_dev
	rm -r "$DIR"
	zeroes_in_sequential conv_zones=0
}

# What was not flushed is lost, zeros as well as data.
test_discard_write_cache() {
	add_dev $GEOMETRY,discard_write_cache
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	LEN = 4 * MIB
	d.zwrite(3, 0, 64, 2); d.zeroout(3 * LEN + 64, 64); d.flush(); d.zeroout(3 * LEN + 128, 64)
	d.zeroout(4 * LEN, 3 * MIB)
	PY
	readd_dev $GEOMETRY
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 3, "C", 128); cond(d, 4, "E", 0)
	d.zcheck(3, 0, 64, 2); d.zcheck(3, 64, 64, None)
	PY
}

# A file system without holes: nothing is offered, and zeros are written.
test_no_holes() {
	mkdir "$BASE"
	mount -t ramfs ramfs "$BASE"
	defer "umount_if '$BASE'"
	add_dev $GEOMETRY,buffered_io
	assert_eq "$(queue discard_max_bytes)" 0 discard_max_bytes
	assert_eq "$(queue write_zeroes_max_bytes)" 0 write_zeroes_max_bytes
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	LEN = 4 * MIB
	d.write(0, 1024, 3)
	refused(d, "EOPNOTSUPP|ENOTSUP", d.discard, 0, 8)
	d.zeroout(64, 64)
	d.check(0, 64, 3); d.check(64, 64, None); d.check(128, 896, 3)
	d.zwrite(2, 0, 64); d.zeroout(2 * LEN + 64, 64); cond(d, 2, "IO", 128)
	PY
	remove_dev
	umount "$BASE"
}

# A conventional zone's file that others have cut stays as it is.
test_short_file() {
	add_dev $GEOMETRY
	truncate -s 1M "$DIR/cnv-000001"
	mark_log
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	LEN = 4 * MIB
	d.write(LEN, 64, 4)
	for how in d.discard, d.zeroout: fails("EIO", how, LEN + 2048, 64)
	d.discard(LEN + 8, 8)
	d.check(LEN, 8, 4); d.check(LEN + 8, 8, None); d.check(LEN + 16, 48, 4)
	eq(os.stat(args[1] + "/cnv-000001").st_size, 2048 * SECTOR, "size")
	PY
	expect_log 'zone 1: discard at sector 10240, 64 sectors, failed'
	truncate -s 4M "$DIR/cnv-000001"
}

# A file system in the conventional zones gives back what it has freed.
test_ext4_on_conventional() {
	local full
	add_dev capacity_mb=96,zone_size_mb=16,conv_zones=4
	mkfs.ext4 -q -b 4096 -E discard "$DEV" 64M
	mkdir "$SCRATCH/mnt"
	mount "$DEV" "$SCRATCH/mnt"
	defer "umount_if '$SCRATCH/mnt'"
	head -c 24M /dev/urandom >"$SCRATCH/mnt/a"
	head -c 4M /dev/urandom >"$SCRATCH/mnt/b"
	cp "$SCRATCH/mnt/b" "$SCRATCH/b"
	sync
	full=$(du -sk "$DIR" | cut -f1)
	rm "$SCRATCH/mnt/a"
	sync
	fstrim "$SCRATCH/mnt"
	sync
	(($(du -sk "$DIR" | cut -f1) < full - 22000)) || fail "$(du -sk "$DIR" | cut -f1) KiB of $full are left"
	umount "$SCRATCH/mnt"
	readd_dev capacity_mb=96,zone_size_mb=16,conv_zones=4
	e2fsck -fn "$DEV" >"$SCRATCH/fsck.log" 2>&1 || fail "$(cat "$SCRATCH/fsck.log")"
	mount -o discard "$DEV" "$SCRATCH/mnt"
	cmp "$SCRATCH/b" "$SCRATCH/mnt/b"
	umount "$SCRATCH/mnt"
	blkdiscard -o 0 -l 64M "$DEV"
	zbc "$DEV" check 0 $((64 * 2048)) zero
}
