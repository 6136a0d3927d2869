# SPDX-License-Identifier: GPL-2.0
# btrfs in zoned mode.
#
# Guards appends as a file system sends them, many in flight and each told where
# it went to, and reset and finish of block groups; in each of the three ways in
# which the driver appends. The checksums of btrfs find what is in the wrong place.
# limit: 300

MNT=$SCRATCH/mnt

run() { # options
	local options="capacity_mb=1024,zone_size_mb=16,conv_zones=4$1"
	mkdir -p "$MNT"
	add_dev "$options"
	mkfs.btrfs -q -f -O zoned -d single -m single "$DEV"
	mount -o "$2" "$DEV" "$MNT"
	defer "umount_if '$MNT'"
	fio --name=files --directory="$MNT" --numjobs=2 --nrfiles=4 --size=16M --bs=32k --rw=write --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=64 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	mkdir "$MNT/small"
	for i in {1..100}; do
		echo "file $i" >"$MNT/small/$i"
	done
	# Overwritten and deleted: what was written before has to be reclaimed.
	dd if=/dev/urandom of="$MNT/big" bs=1M count=20 conv=fsync status=none
	dd if=/dev/urandom of="$MNT/big" bs=1M count=20 conv=fsync,notrunc status=none
	rm "$MNT/small/"{1..50}
	sync
	(cd "$MNT" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$SCRATCH/sums"
	umount "$MNT"
	readd_dev "$options"
	btrfs check "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount -o "$2" "$DEV" "$MNT"
	(cd "$MNT" && sha256sum --quiet -c "$SCRATCH/sums")
	assert_eq "$(find "$MNT/small" -type f | wc -l)" 50 "small files"
	btrfs scrub start -B "$MNT" >"$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	grep -q 'no errors found' "$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	dd if=/dev/urandom of="$MNT/more" bs=1M count=4 conv=fsync status=none
	umount "$MNT"
	remove_dev
}

test_native_append() {
	run "" noatime
}

test_emulated_append() {
	run ,zone_append=0 noatime
}

# C driver fails: defect 1
test_ordered_append() {
	run ,ordered_zone_append noatime
}

test_compressed_on_several_queues() {
	run ,nr_queues=2,buffered_io noatime,compress=lzo
}

# As ZNS drives are: btrfs finishes block groups to stay within the limit.
test_active_limit() {
	run ,max_open_zones=14,max_active_zones=14 noatime
	# The kernel had no request to refuse.
	refuse grep -q 'too many' <(log)
}
