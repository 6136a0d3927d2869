# SPDX-License-Identifier: GPL-2.0
# How deep the kernel's stack gets.
#
# Guards what is submitted by the task that queues a request: below the file system and
# the block layer above there is another file system with a disk of its own then, on the
# same 16 KiB. The kernel's own tracer looks at the stack in each function that is called.
# limit: 300
# kernel: stock

SETTING=/proc/sys/kernel/stack_tracer_enabled
# So much must be left for an interrupt's first steps, and for what nobody has tried here.
MOST=$((12 << 10))

# Carries out a command, which must leave enough of every stack.
leaves_enough() { # command...
	local used
	use_tracing
	defer "trace_setting 0 $SETTING"
	trace_setting 1 $SETTING
	echo 0 >"$TRACING/stack_max_size"
	"$@"
	trace_setting 0 $SETTING
	used=$(<"$TRACING/stack_max_size")
	cat "$TRACING/stack_trace"
	echo "$used bytes in $*"
	((0 < used && used < MOST)) || fail "$used bytes of a stack were used, want less than $MOST"
}

# Files on XFS on a device: through the page cache, with and without fsync, and past it.
files() { # mountpoint
	local common=(--directory="$1" --bs=16k --size=4M --nrfiles=4 --output="$SCRATCH/log")
	fio --name=buffered "${common[@]}" --rw=write --ioengine=psync --fsync=16
	fio --name=direct "${common[@]}" --rw=write --ioengine=io_uring --iodepth=32 --iodepth_batch_submit=32 --direct=1
	fio --name=random "${common[@]}" --rw=randrw --ioengine=psync --end_fsync=1
	sync
	rm -r "$1"/*
}

on_xfs() { # device
	mkdir -p "$SCRATCH/files"
	mkfs.xfs -q -f "$1"
	mount "$1" "$SCRATCH/files"
	defer "umount_if '$SCRATCH/files'"
	files "$SCRATCH/files"
	umount "$SCRATCH/files"
}

on_two() {
	mkfs.xfs -q -f "$DEV"
	mkdir "$SCRATCH/lower"
	mount "$DEV" "$SCRATCH/lower"
	defer "umount_if '$SCRATCH/lower'"
	add_dev -i 1 -b "$SCRATCH/lower" capacity_mb=480,zone_size_mb=8,conv_zones=40
	on_xfs "$DEV"
	remove_dev 1
	umount "$SCRATCH/lower"
}

test_files_on_xfs() {
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=24
	leaves_enough on_xfs "$DEV"
	remove_dev
}

# scratch: ext4
test_files_on_ext4() {
	test_files_on_xfs
}

test_device_on_device() {
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=24
	leaves_enough on_two
	remove_dev 0
}
