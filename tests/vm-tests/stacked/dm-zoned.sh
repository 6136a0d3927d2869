# SPDX-License-Identifier: GPL-2.0
# dm-zoned: a disk that can be written anywhere, made of the zones.
#
# Guards the mix that it sends: metadata and buffers in conventional zones, copies of
# them in sequential ones, zeros at a write pointer that must be moved, and resets.
# limit: 300

OPTIONS=capacity_mb=112,zone_size_mb=4,conv_zones=6,nr_queues=2

make_zoned() { # sectors
	dmsetup create zoned --table "0 $1 zoned $DEV"
	defer "! dmsetup info zoned >/dev/null 2>&1 || dmsetup remove --retry zoned"
}

setup() { # options
	modprobe -a dm-zoned
	add_dev "$OPTIONS${1:+,$1}"
	SIZE=$(python3 "$TESTS/vm-tests/stacked/dm-zoned-format.py" "$DEV" 4)
	make_zoned "$SIZE"
}

test_random_writes() {
	setup
	# More than the conventional zones hold, so that it must be moved.
	fio_conv /dev/mapper/zoned --size=40M --rw=randwrite --bs=128k --iodepth=8 --randrepeat=1
	assert_ne "$(zones "$DEV" | awk '$2 == "SEQ_WRITE_REQUIRED" && $3 != "em"' | wc -l)" 0 "sequential zones in use"
	dmsetup remove --retry zoned
	readd_dev "$OPTIONS"
	make_zoned "$SIZE"
	fio_conv /dev/mapper/zoned --size=40M --rw=randwrite --bs=128k --iodepth=8 --randrepeat=1 --verify_only
	dmsetup remove --retry zoned
	remove_dev
}

# A file system that knows nothing of zones, with discards.
test_ext4() {
	local mnt=$SCRATCH/mnt
	setup zone_append=0
	mkdir "$mnt"
	mkfs.ext4 -q -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 /dev/mapper/zoned
	mount -o discard /dev/mapper/zoned "$mnt"
	defer "umount_if '$mnt'"
	fio --name=files --directory="$mnt" --numjobs=2 --nrfiles=4 --size=8M --bs=16k --rw=randwrite --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=64 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	rm "$mnt"/files.0.*
	dd if=/dev/urandom of="$mnt/big" bs=1M count=16 conv=fsync status=none
	(cd "$mnt" && sha256sum files* big >"$SCRATCH/sums")
	umount "$mnt"
	dmsetup remove --retry zoned
	readd_dev "$OPTIONS"
	make_zoned "$SIZE"
	e2fsck -fn /dev/mapper/zoned >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	mount /dev/mapper/zoned "$mnt"
	(cd "$mnt" && sha256sum --quiet -c "$SCRATCH/sums")
	umount "$mnt"
	dmsetup remove --retry zoned
	remove_dev
}
