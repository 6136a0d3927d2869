# SPDX-License-Identifier: GPL-2.0
# Device-mapper on top: a part of the device as a device of its own.
#
# Guards the report through another driver, with another start, and commands that
# arrive as bios of a stacked device.

setup() { # options
	modprobe dm-mod
	add_dev "capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,nr_queues=2${1:+,$1}"
	# Zones 1 to 12: one conventional, eleven sequential.
	dmsetup create above --table "0 $((12 * 8192)) linear $DEV 8192"
	defer "! dmsetup info above >/dev/null 2>&1 || dmsetup remove above"
	# By the name that is in /sys/block, which is where tools look it up.
	TOP=/dev/$(dmsetup info -c --noheadings -o blkdevname above)
}

use() {
	py "$TOP" "$DEV" <<-'PY'
	d, below = Dev(args[0]), Dev(args[1])
	CAP, LEN = 3 * MIB, 4 * MIB
	eq(d.nr_zones(), 12, "zones")
	eq([z.start for z in d.zones()], [n * LEN for n in range(12)], "starts")
	eq([z.cond for z in d.zones()], ["NWP"] + ["E"] * 11, "conditions")
	d.write(64, 64, 3); d.check(64, 64, 3)
	d.zwrite(2, 0, 64); d.zcheck(2, 0, 64)
	cond(d, 2, "IO", 64); cond(below, 3, "IO", 64); cond(below, 2, "E", 0)
	eq(below.pread(3 * LEN, 64), pattern(2 * LEN, 64), "data below")
	refused(d, "EIO", d.zwrite, 2, 72, 8)
	refused(d, "EIO", d.zwrite, 2, 0, 8)
	for at in range(0, CAP, 1024): d.zwrite(3, at, 1024)
	# (device-mapper gives a full zone its end as the write pointer)
	cond(d, 3, "F"); cond(below, 4, "F", None)
	d.open(4); cond(below, 5, "EO", 0)
	d.zwrite(4, 0, 8)
	d.close(4); cond(below, 5, "C", 8)
	d.finish(4); cond(d, 4, "F"); cond(below, 5, "F", None)
	d.reset(3); cond(below, 4, "E", 0)
	cond(d, 2, "IO", 64)
	d.reset_all()
	eq([z.cond for z in below.zones()], ["NWP"] * 2 + ["E"] * 14, "conditions below after reset all")
	d.check(64, 64, 3)
	PY
}

test_linear() {
	setup
	use
	fio_zones "$TOP" --iodepth=8 --offset=4M --size=16M --rw=randwrite --bs=16k
	dmsetup remove above
	remove_dev
}

test_linear_emulated_append() {
	setup zone_append=0
	use
	dmsetup remove above
	remove_dev
}

# A reset of all zones of a part is not one of the whole.
test_reset_of_a_part() {
	setup
	zbc "$DEV" write $((14 * 8192)) 64
	zbc "$TOP" write $((5 * 8192)) 64
	blkzone reset "$TOP"
	assert_eq "$(zones "$DEV" | sed -n 15p)" "14 SEQ_WRITE_REQUIRED oi 64 6144"
	assert_eq "$(zones "$DEV" | sed -n 7p)" "6 SEQ_WRITE_REQUIRED em 0 6144"
	zbc "$DEV" check $((14 * 8192)) 64
	dmsetup remove above
	remove_dev
}

# A file system on the part.
test_zonefs() {
	setup
	modprobe zonefs
	mkdir "$SCRATCH/mnt"
	mkzonefs -f "$TOP" >/dev/null
	mount -t zonefs "$TOP" "$SCRATCH/mnt"
	defer "umount_if '$SCRATCH/mnt'"
	head -c 512K /dev/urandom >"$SCRATCH/data"
	dd if="$SCRATCH/data" of="$SCRATCH/mnt/seq/3" bs=64K oflag=direct conv=notrunc status=none
	cmp "$SCRATCH/data" "$SCRATCH/mnt/seq/3"
	umount "$SCRATCH/mnt"
	dmsetup remove above
	remove_dev
}
