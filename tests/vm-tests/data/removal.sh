# SPDX-License-Identifier: GPL-2.0
# What was written is durable once the device has been removed.
#
# The device that is made of the files next has not changed them, so that a flush
# of it doesn't sync them. The crash is one of the file system below: it stops in
# its tracks, as `godown` of xfstests makes it do.

OPTIONS=capacity_mb=20,zone_size_mb=2,conv_zones=2

# crash DIRECTORY: what the file system has not written to the disk is lost.
crash() {
	python3 - "$1" <<-'PY'
	import fcntl, os, struct, sys
	# The ioctl of XFS and ext4; 2 is "don't even write the log".
	fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("<I", 2))
	PY
	umount "$1"
	mount_fs "$1"
}

durable() { # file-system options
	make_fs "$1" 500M "$BASE"
	add_dev "$OPTIONS$2"
	sync -f "$BASE"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 64); d.zwrite(4, 0, 64); d.zwrite(5, 0, 4096)
	PY
	remove_dev
	crash "$BASE"
	add_dev "$OPTIONS$2"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.check(0, 64)
	cond(d, 4, "C", 64); d.zcheck(4, 0, 64)
	cond(d, 5, "F"); d.zcheck(5, 0, 4096)
	PY
	remove_dev
}

# C driver fails: its flush syncs the file system, but a removal is none
test_xfs() {
	durable xfs ""
}

# C driver fails: as above
test_xfs_buffered() {
	durable xfs ,buffered_io
}

# C driver fails: as above
test_ext4() {
	durable ext4 ""
}

# C driver fails: as above
test_ext4_buffered() {
	durable ext4 ,buffered_io
}
