# SPDX-License-Identifier: GPL-2.0
# What a flush touches.
#
# Guards the promise that a flush is about the device's own files: it neither
# writes back what others have in the same file system, nor asks that file system
# for anything that it may lack.

GEOMETRY=capacity_mb=16,zone_size_mb=1,conv_zones=1

# Nothing is written back but what is asked for.
no_writeback_of_its_own() {
	local name
	for name in dirty_writeback_centisecs dirty_expire_centisecs; do
		defer "echo $(</proc/sys/vm/$name) >/proc/sys/vm/$name"
	done
	echo 0 >/proc/sys/vm/dirty_writeback_centisecs
	echo 1000000 >/proc/sys/vm/dirty_expire_centisecs
}

# The dirty pages of a file: cachestat(2).
DIRTY='import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def dirty(path):
    fd = os.open(path, os.O_RDONLY)
    everything, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    eq(libc.syscall(451, fd, everything, found, 0), 0, "cachestat")
    os.close(fd)
    return found[1]'

# C driver fails: defect 17
test_defect_17_flush_syncs_the_files_of_the_device() {
	local fs o
	no_writeback_of_its_own
	for fs in ext4 xfs; do
		make_fs $fs 400M "$BASE$fs"
		for o in "" ,buffered_io; do
			add_dev -b "$BASE$fs" "$GEOMETRY$o"
			py "$DEV" "$DIR" "$BASE$fs/other" <<-PY
			$DIRTY
			d = Dev(args[0])
			with open(args[2], "wb") as f: f.write(bytes(8 << 20))
			eq(dirty(args[2]), 2048, "dirty pages of another file")
			d.write(0, 64); d.zwrite(3, 0, 64); d.zwrite(4, 0, 64)
			d.flush()
			d.zwrite(4, 64, 64)
			d.flush()
			eq(dirty(args[2]), 2048, "dirty pages of another file after a flush")
			for name in "cnv-000000", "seq-000003", "seq-000004":
			    eq(dirty(f"{args[1]}/{name}"), 0, f"dirty pages of {name}")
			PY
			remove_dev
			rm -r "$DIR" "$BASE$fs/other"
		done
	done
}

# Nor does it look at zones in which nothing was done: what is dirty there was not
# put there through the device.
test_flush_skips_unchanged_zones() {
	no_writeback_of_its_own
	add_dev "$GEOMETRY,buffered_io"
	py "$DEV" "$DIR" <<-PY
	$DIRTY
	d, path = Dev(args[0]), args[1] + "/cnv-000000"
	with open(path, "r+b") as f: f.write(bytes(65536))
	eq(dirty(path), 16, "dirty pages of a zone")
	d.zwrite(3, 0, 64)
	d.flush()
	eq(dirty(path), 16, "dirty pages of a zone, after a flush of another one")
	d.write(0, 8)
	d.flush()
	eq(dirty(path), 0, "dirty pages of a zone after a flush")
	PY
}

# A file system without extended attributes: the cache is discarded all the same.
# C driver fails: defect 15
test_defect_15_discard_needs_no_extended_attributes() {
	mkdir "$BASE"
	mount -t ramfs ramfs "$BASE"
	defer "umount_if '$BASE'"
	add_dev "$GEOMETRY,buffered_io,discard_write_cache"
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	fails("ENOTSUP|EOPNOTSUPP", os.setxattr, args[1] + "/seq-000003", "user.test", b"x")
	d.zwrite(3, 0, 64)
	d.flush()
	d.zwrite(3, 64, 64)
	PY
	readd_dev "$GEOMETRY,buffered_io,discard_write_cache"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 3, "C", 64)
	d.zcheck(3, 0, 64)
	PY
	remove_dev
	umount "$BASE"
}
