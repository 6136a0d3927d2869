# SPDX-License-Identifier: GPL-2.0
# What the device says about itself in sysfs.
#
# Guards the queue limits, which file systems and fio believe: a wrong one is a
# file system that can't be made, or I/O that is split where it must not be.

attributes() { # name=value...
	local a
	for a; do
		assert_eq "$(queue "${a%%=*}")" "${a#*=}" "${a%%=*}"
	done
}

test_limits() {
	add_dev capacity_mb=80,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2
	attributes zoned=host-managed nr_zones=20 chunk_sectors=8192 \
		logical_block_size=4096 physical_block_size=4096 \
		max_hw_sectors_kb=1024 zone_append_max_bytes=1048576 \
		max_open_zones=0 max_active_zones=0 "write_cache=write back" \
		fua=1 discard_granularity=4096 discard_max_bytes=4194304 write_zeroes_max_bytes=4194304
	assert_eq "$(blockdev --getsize64 "$DEV")" $((80 << 20)) "device size"
	assert_eq "$(cat /sys/block/zloop0/ro)" 0 "read-only"
	assert_eq "$(cat /sys/block/zloop0/removable)" 0 "removable"
	assert_eq "$(cat /sys/block/zloop0/ext_range)" 1 "partitions"
	assert_eq "$(find /sys/block/zloop0/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" 1 "queues"
	((0 < $(queue max_sectors_kb) && $(queue max_sectors_kb) <= 1024)) || fail "max_sectors_kb"
	assert_eq "$(queue dma_alignment)" 511 "dma_alignment"
}

# Every other way to append gives the same sizes.
test_append_variants() {
	local o
	for o in zone_append=0 zone_append=1 ordered_zone_append zone_append=0,ordered_zone_append; do
		add_dev capacity_mb=16,zone_size_mb=1,conv_zones=1,$o
		attributes zone_append_max_bytes=1048576 chunk_sectors=2048 nr_zones=16
		remove_dev
	done
}

# One hardware queue per asked one, as far as there are processors.
test_nr_queues() {
	local n cpus
	cpus=$(nproc)
	for n in 1 2 1000; do
		add_dev capacity_mb=16,zone_size_mb=1,conv_zones=1,nr_queues=$n
		assert_eq "$(find /sys/block/zloop0/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" \
			$((n < cpus ? n : cpus)) "queues of $n asked for"
		remove_dev
	done
}

test_queue_depth() {
	local n
	for n in 1 7 128 1000; do
		add_dev capacity_mb=16,zone_size_mb=1,conv_zones=1,queue_depth=$n
		assert_eq "$(cat /sys/block/zloop0/mq/0/nr_tags)" $n "tags of $n asked for"
		remove_dev
	done
	# More than the block layer ever gives is not an error.
	add_dev capacity_mb=16,zone_size_mb=1,conv_zones=1,queue_depth=20000
	assert_eq "$(cat /sys/block/zloop0/mq/0/nr_tags)" 10240 "tags of 20000 asked for"
}

# More sequential zones than the block layer plans for.
test_many_zones() {
	add_dev capacity_mb=200,zone_size_mb=1,conv_zones=4
	attributes nr_zones=200 max_open_zones=128
	assert_eq "$(find "$DIR" -name 'cnv-*' | wc -l) $(find "$DIR" -name 'seq-*' | wc -l)" "4 196" "files"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	# The block layer's number is no limit of the device's.
	for nr in range(4, 200): d.zwrite(nr, 0, 8)
	eq({z.cond for z in d.zones()[4:]}, {"IO"}, "zones")
	for nr in range(4, 200): d.zcheck(nr, 0, 8)
	d.open(4, 196)
	eq({z.cond for z in d.zones()[4:]}, {"EO"}, "zones")
	d.reset_all()
	eq({z.cond for z in d.zones()[4:]}, {"E"}, "zones")
	PY
}

# The block size follows the file system that holds the files.
test_block_size() {
	modprobe loop
	mkdir -p "$SCRATCH/small"
	truncate -s 64M "$SCRATCH/small.img"
	mkfs.ext4 -q -F -b 1024 "$SCRATCH/small.img"
	mount -o loop "$SCRATCH/small.img" "$SCRATCH/small"
	defer "umount_if '$SCRATCH/small'"
	add_dev -b "$SCRATCH/small" capacity_mb=16,zone_size_mb=1,conv_zones=1
	attributes logical_block_size=1024 physical_block_size=1024
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zwrite(1, 0, 2); d.zwrite(1, 2, 4); d.zwrite(1, 6, 10)
	d.zcheck(1, 0, 16)
	d.write(2, 2); d.check(2, 2)
	refused(d, "EINVAL", d.zwrite, 1, 16, 1)
	cond(d, 1, "IO", 16)
	PY
	remove_dev
}
