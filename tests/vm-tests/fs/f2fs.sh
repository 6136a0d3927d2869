# SPDX-License-Identifier: GPL-2.0
# f2fs on the device.
#
# Guards a file system that keeps its metadata in conventional zones and writes
# its logs to sequential ones, with resets by discard.
# limit: 300

MNT=$SCRATCH/mnt

run() { # options
	local options="capacity_mb=1024,zone_size_mb=4,conv_zones=64$1"
	mkdir -p "$MNT"
	modprobe f2fs
	add_dev "$options"
	mkfs.f2fs -q -f -m "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount -t f2fs "$DEV" "$MNT"
	defer "umount_if '$MNT'"
	fio --name=files --directory="$MNT" --numjobs=2 --nrfiles=4 --size=12M --bs=32k --rw=write --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=64 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	mkdir "$MNT/small"
	for i in {1..100}; do
		echo "file $i" >"$MNT/small/$i"
	done
	rm "$MNT/small/"{1..50}
	dd if=/dev/urandom of="$MNT/big" bs=1M count=16 conv=fsync status=none
	sync
	(cd "$MNT" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$SCRATCH/sums"
	umount "$MNT"
	readd_dev "$options"
	fsck.f2fs --dry-run "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount -t f2fs "$DEV" "$MNT"
	(cd "$MNT" && sha256sum --quiet -c "$SCRATCH/sums")
	dd if=/dev/urandom of="$MNT/more" bs=1M count=4 conv=fsync status=none
	umount "$MNT"
	remove_dev
}

test_direct() {
	run ""
}

test_emulated_append_buffered() {
	run ,zone_append=0,buffered_io,nr_queues=2
}
