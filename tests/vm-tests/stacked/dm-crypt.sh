# SPDX-License-Identifier: GPL-2.0
# Encrypted: dm-crypt on the device.
#
# Guards writes that another driver splits and sends from tasks of its own, in the
# order of their sectors, and appends, which it turns into writes since what is
# written depends on where.
# limit: 240

KEY=$(printf '%064x' 0x5eed)

test_crypt() {
	modprobe -a dm-crypt
	add_dev capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,nr_queues=2
	dmsetup create secret --table "0 $((64 * 2048)) crypt aes-xts-plain64 $KEY 0 $DEV 0"
	defer "! dmsetup info secret >/dev/null 2>&1 || dmsetup remove --retry secret"
	TOP=/dev/$(dmsetup info -c --noheadings -o blkdevname secret)
	use_requests
	py "$TOP" "$DEV" <<-'PY'
	d, below, r = Dev(args[0]), Dev(args[1]), Requests(args[0])
	LEN, CAP = 4 * MIB, 3 * MIB
	eq([(z.start, z.cond, z.cap) for z in d.zones()], [(z.start, z.cond, z.cap) for z in below.zones()], "reports")
	d.write(64, 1024, 3); d.check(64, 1024, 3)
	d.zwrite(3, 0, 512, 4); d.zcheck(3, 0, 512, 4); cond(below, 3, "IO", 512)
	eq(below.pread(3 * LEN, 512) != pattern(3 * LEN, 512, 4), True, "what is below is secret")
	eq(len(set(below.pread(3 * LEN, 8)[at:at+16] for at in range(0, 4096, 16))), 256, "pieces of what is below")
	refused(d, "EIO", d.zwrite, 3, 520, 8)
	for at in range(0, CAP, 512): d.zwrite(4, at, 512, 4)
	cond(below, 4, "F", None)
	ends = r.run(f"append at={5 * LEN} sectors=8 count=100 seed=5", 32)
	eq({e.error for e in ends}, {"ok"}, "appends")
	eq(sorted(e.sector for e in ends), list(range(5 * LEN, 5 * LEN + 800, 8)), "where they went")
	cond(below, 5, "IO", 800)
	d.finish(6); cond(below, 6, "F", None)
	d.reset(4); cond(below, 4, "E", 0)
	d.flush()
	r.close_fd(); d.close_fd(); below.close_fd()
	PY
	fio_zones "$TOP" --iodepth=8 --offset=28M --size=24M --rw=randwrite --bs=16k
	fio_conv "$TOP" --iodepth=8 --size=8M --rw=randwrite --bs=4k
	dmsetup remove --retry secret
	# It is there with the same key, and with that alone.
	readd_dev "capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2"
	dmsetup create secret --table "0 $((64 * 2048)) crypt aes-xts-plain64 $KEY 0 $DEV 0"
	zbc "$TOP" check $((3 * 8192)) 512 4
	dmsetup remove --retry secret
	dmsetup create secret --table "0 $((64 * 2048)) crypt aes-xts-plain64 ${KEY/5eed/5eee} 0 $DEV 0"
	refuse zbc "$TOP" check $((3 * 8192)) 8 4 2>/dev/null
	dmsetup remove --retry secret
	remove_dev
}

# A file system that appends on it.
test_btrfs() {
	local mnt=$SCRATCH/mnt sums
	modprobe -a dm-crypt
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=0
	dmsetup create secret --table "0 $((1024 * 2048)) crypt aes-xts-plain64 $KEY 0 $DEV 0"
	defer "! dmsetup info secret >/dev/null 2>&1 || dmsetup remove --retry secret"
	mkdir "$mnt"
	mkfs.btrfs -q -f -O zoned -d single -m single /dev/mapper/secret
	mount -o noatime /dev/mapper/secret "$mnt"
	defer "umount_if '$mnt'"
	fio --name=files --directory="$mnt" --numjobs=2 --nrfiles=2 --size=12M --bs=64k --rw=write --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=64 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	sums=$(cd "$mnt" && sha256sum files*)
	umount "$mnt"
	mount -o noatime /dev/mapper/secret "$mnt"
	assert_eq "$(cd "$mnt" && sha256sum files*)" "$sums" "files"
	umount "$mnt"
}
