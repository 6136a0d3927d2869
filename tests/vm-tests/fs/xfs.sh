# SPDX-License-Identifier: GPL-2.0
# XFS with a zoned realtime section.
#
# Guards appends as XFS sends them, its use of the write pointer after a mount, and
# both layouts: all in one device with conventional zones for the metadata, and a
# device without any behind a normal one.
# limit: 300

MNT=$SCRATCH/mnt

use() {
	fio --name=files --directory="$MNT" --numjobs=2 --nrfiles=4 --size=12M --bs=32k --rw=write --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=64 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	mkdir "$MNT/small"
	for i in {1..100}; do
		echo "file $i" >"$MNT/small/$i"
	done
	rm "$MNT/small/"{1..50}
	dd if=/dev/urandom of="$MNT/big" bs=1M count=16 conv=fsync status=none
	dd if=/dev/urandom of="$MNT/big" bs=1M count=8 conv=fsync,notrunc status=none
	sync
	(cd "$MNT" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$SCRATCH/sums"
}

verify() {
	(cd "$MNT" && sha256sum --quiet -c "$SCRATCH/sums")
	dd if=/dev/urandom of="$MNT/more" bs=1M count=4 conv=fsync status=none
}

internal() { # options
	local options="capacity_mb=1024,zone_size_mb=16,conv_zones=24$1"
	mkdir -p "$MNT"
	add_dev "$options"
	mkfs.xfs -q -f "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount "$DEV" "$MNT"
	defer "umount_if '$MNT'"
	use
	umount "$MNT"
	# Its data is in sequential zones.
	assert_ne "$(zones "$DEV" | awk '$2 == "SEQ_WRITE_REQUIRED" && $3 != "em"' | wc -l)" 0 "zones in use"
	readd_dev "$options"
	xfs_repair -n "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount "$DEV" "$MNT"
	verify
	umount "$MNT"
	remove_dev
}

test_internal() {
	internal ""
}

test_internal_emulated_append() {
	internal ,zone_append=0,nr_queues=2
}

# C driver fails: defect 1, once a zone is full
test_internal_ordered_append() {
	internal ,ordered_zone_append
}

# realtime_device LIMITS
realtime_device() {
	local options=capacity_mb=1024,zone_size_mb=16,zone_capacity_mb=15,conv_zones=0,$1 data
	mkdir -p "$MNT"
	modprobe loop
	truncate -s 400M "$SCRATCH/data.img"
	data=$(losetup -f --show -b 4096 "$SCRATCH/data.img")
	defer "losetup -d $data"
	add_dev "$options"
	mkfs.xfs -q -f -r "zoned=1,rtdev=$DEV" "$data" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount -o "rtdev=$DEV" "$data" "$MNT"
	defer "umount_if '$MNT'"
	use
	umount "$MNT"
	readd_dev "$options"
	xfs_repair -n -r "$DEV" "$data" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount -o "rtdev=$DEV" "$data" "$MNT"
	verify
	umount "$MNT"
	remove_dev
}

test_realtime_device() {
	realtime_device max_open_zones=14
}

# As ZNS drives are: what is active can be open, and no more.
test_realtime_device_with_active_limit() {
	realtime_device max_open_zones=14,max_active_zones=14
}
