# SPDX-License-Identifier: GPL-2.0
# Block devices on block devices, and little memory.
#
# Guards what is submitted by the task that queues a request: that task may be in
# the middle of another device's submission, with a plug, a list of bios and a
# transaction of the file system above on its hands, and many levels down its
# stack. So there are zone files on a file system on another zoned loop device, on
# a loop device, and on a zoned disk of another kind, each under batches of 64
# requests; and all of it while memory is being reclaimed.
# limit: 300

LOWER=$SCRATCH/lower
OPTIONS=

# Device 1 on the file system that is mounted on LOWER: 64 requests at once, of
# which many make up one batch.
batches() { # options
	local batch=(--ioengine=io_uring --iodepth=64 --iodepth_batch_submit=64 --iodepth_batch_complete_min=32)
	add_dev -i 1 -b "$LOWER" "capacity_mb=96,zone_size_mb=4,conv_zones=4,nr_queues=2$1"
	fio_conv "$DEV" "${batch[@]}" --size=16M --rw=randwrite --bs=4k --io_size=4M
	fio_zones "$DEV" "${batch[@]}" --offset=16M --size=64M --rw=randwrite --bs=16k --io_size=12M
	# Of several tasks, with writeback of the page cache beside them.
	fio_conv "$DEV" --direct=0 --ioengine=psync --numjobs=2 --offset_increment=8M --size=8M --rw=randwrite \
		--bs=4k --io_size=2M --fdatasync=64
	fio_zones "$DEV" "${batch[@]}" --offset=16M --size=64M --rw=randrw --bs=4k --io_size=4M --verify=0 --norandommap=1
	remove_dev 1
	rm -r "$LOWER/1"
}

# A mounted file system goes before the device that it is on.
on() { # device mkfs...
	local device=$1
	shift
	"$@" "$device" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mkdir -p "$LOWER"
	mount "$device" "$LOWER"
	defer "umount_if '$LOWER'"
	batches "$OPTIONS"
	umount "$LOWER"
}

test_on_zloop_xfs() {
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=24
	on "$DEV" mkfs.xfs -q -f
	remove_dev 0
}

test_on_zloop_btrfs() {
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=4
	on "$DEV" mkfs.btrfs -q -f -O zoned -d single -m single
	remove_dev 0
}

test_on_zloop_buffered() {
	OPTIONS=,buffered_io
	test_on_zloop_xfs
}

test_on_loop() {
	local device
	modprobe loop
	truncate -s 512M "$SCRATCH/image"
	device=$(losetup -f --show --direct-io=on -b 4096 "$SCRATCH/image")
	defer "losetup -d $device"
	on "$device" mkfs.ext4 -q -F
}

# A zoned disk of another kind: /dev/stacked.
add_null_blk() { # name=value...
	local disk=/sys/kernel/config/nullb/stacked setting
	modprobe null_blk nr_devices=0
	defer "rmmod null_blk"
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	mkdir "$disk"
	defer "rmdir $disk"
	for setting in memory_backed=1 blocksize=4096 zone_size=16 zoned=1 "$@"; do
		echo "${setting#*=}" >"$disk/${setting%=*}"
	done
	echo 1 >"$disk/power"
	defer "echo 0 >$disk/power"
}

test_on_zoned_null_blk() {
	modprobe f2fs
	add_null_blk size=512 zone_nr_conv=8
	on /dev/stacked mkfs.f2fs -q -f -m
}

# A task that submits to the device and to the disk below in one batch holds, when the device's
# requests are to be carried out, all that the disk has for requests. They must not be waited for
# then: they leave after the device's.
test_beside_the_disk_below() {
	local half=$((512 << 11)) part
	add_null_blk size=1024 zoned=0 hw_queue_depth=4 no_sched=1
	for part in 0 1; do
		dmsetup create "half$part" --table "0 $half linear /dev/stacked $((part * half))"
		defer "dmsetup remove --retry half$part"
	done
	mkfs.xfs -q -f /dev/mapper/half0
	mkdir "$LOWER"
	mount /dev/mapper/half0 "$LOWER"
	defer "umount_if '$LOWER'"
	add_dev -i 1 -b "$LOWER" capacity_mb=64,zone_size_mb=4,conv_zones=8
	dd if=/dev/zero of="$DEV" bs=1M count=16 oflag=direct conv=fsync status=none
	local files
	for files in "$DEV:/dev/mapper/half1" "/dev/mapper/half1:$DEV"; do
		fio_conv "$files" --file_service_type=roundrobin --size=32M --io_size=4M --rw=randwrite --bs=4k \
			--iodepth=8 --iodepth_batch_submit=8 --iodepth_batch_complete_min=8
	done
	remove_dev 1
	umount "$LOWER"
}

# While several files are made durable at once, btrfs on a zoned disk fails fsync and O_DSYNC
# writes with EAGAIN now and then. A flush or a FUA write does not.
test_durable_on_zoned_btrfs() {
	modprobe btrfs
	add_null_blk size=1024 zone_nr_conv=4
	mkfs.btrfs -q -f -O zoned -d single -m single /dev/stacked >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mkdir "$LOWER"
	mount /dev/stacked "$LOWER"
	defer "umount_if '$LOWER'"
	add_dev -i 1 -b "$LOWER" capacity_mb=128,zone_size_mb=4,conv_zones=16
	fio --name=durable --filename="$DEV" --direct=1 --sync=dsync --ioengine=psync --numjobs=15 --offset_increment=4M \
		--size=1M --rw=randwrite --bs=4k --norandommap --number_ios=400 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	remove_dev 1
	umount "$LOWER"
}

# Memory that is taken and kept, so that there is little to be had without waiting,
# and writeback is what makes some.
hog() {
	python3 - "$SCRATCH/taken" <<-'PY' &
	import mmap, signal, sys
	def available():
	    for line in open("/proc/meminfo"):
	        if line.startswith("MemAvailable"): return int(line.split()[1]) << 10
	flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
	open("/proc/self/oom_score_adj", "w").write("1000")
	held = []
	while available() > 48 << 20:
	    held.append(mmap.mmap(-1, 4 << 20, flags=flags))
	open(sys.argv[1], "w")
	signal.pause()
	PY
	defer "kill $! || true"
	while [[ ! -e $SCRATCH/taken ]]; do
		sleep 0.2
	done
}

# How many pages were looked at to make some free.
scanned() {
	awk '/^pgscan_(direct|kswapd) / { n += $2 } END { print n + 0 }' /proc/vmstat
}

# A file system on the device, written through the page cache, beside direct I/O.
test_little_memory() {
	local pids=() p before
	mkdir "$LOWER"
	add_dev -i 0 capacity_mb=512,zone_size_mb=16,conv_zones=24
	add_dev -i 1 capacity_mb=96,zone_size_mb=4,conv_zones=4,nr_queues=2
	mkfs.xfs -q -f /dev/zloop0 >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount /dev/zloop0 "$LOWER"
	defer "umount_if '$LOWER'"
	hog
	before=$(scanned)
	fio --name=files --directory="$LOWER" --numjobs=2 --nrfiles=2 --size=32M --bs=64k --rw=write --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --output="$SCRATCH/files.log" &
	pids+=($!)
	fio_zones /dev/zloop1 --ioengine=io_uring --iodepth=64 --iodepth_batch_submit=64 --offset=16M --size=64M \
		--rw=randwrite --bs=16k --io_size=16M &
	pids+=($!)
	for p in "${pids[@]}"; do
		wait "$p" || fail "$(cat "$SCRATCH/files.log")"
	done
	sync
	assert_ne "$(scanned)" "$before" "pages scanned"
	umount "$LOWER"
	xfs_repair -n /dev/zloop0 >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	remove_dev 1
	remove_dev 0
}
