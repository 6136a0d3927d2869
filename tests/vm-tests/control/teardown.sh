# SPDX-License-Identifier: GPL-2.0
# What a removed device leaves behind, and when.
#
# Guards the promises that after a removal the zone files are ordinary files,
# closed, whoever still has the device open; that the number of a device is not
# free before the device is gone; and that the module stays until the last bit of
# a device is.

GEOMETRY=capacity_mb=16,zone_size_mb=1,conv_zones=1

source "$TESTS/vm-tests/below.bash"

# The files are read by a task that has little memory: pages must be reclaimed for
# new ones, which is what the driver must not have forbidden for these files. The
# page cache knows them still, as they are held open. The debug kernel has no memory
# cgroups.
# kernel: stock
# C driver fails: defect 21
test_defect_21_files_are_ordinary_again() {
	local group=/sys/fs/cgroup/small
	add_dev capacity_mb=96,zone_size_mb=32,conv_zones=1
	exec 5<"$DIR/cnv-000000" 6<"$DIR/seq-000001"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(0, 32 * MIB, 1024): d.write(at, 1024); d.zwrite(1, at, 1024)
	PY
	remove_dev
	echo 3 >/proc/sys/vm/drop_caches
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	on_one_cpu mkdir $group
	defer "rmdir $group"
	echo 12M >$group/memory.max
	# shellcheck disable=SC2016
	bash -c 'echo $$ >$1/cgroup.procs && exec md5sum "$2" "$3" >/dev/null' - \
		$group "$DIR/cnv-000000" "$DIR/seq-000001" || fail "the files can't be read"
	py "$DIR" <<-'PY'
	want = pattern(32 * MIB - 8, 8)
	with open(args[0] + "/cnv-000000", "rb") as f:
	    eq(os.pread(f.fileno(), 4096, (32 << 20) - 4096), want, "data")
	PY
}

# Somebody has the device open. It is gone nevertheless, with all it had.
# C driver fails: defect 25
test_defect_25_files_are_closed_though_somebody_has_the_device_open() {
	make_fs ext4 64M "$BASE"
	add_dev "$GEOMETRY"
	exec 5<"$DEV"
	remove_dev
	umount "$BASE" || fail "files of a removed device are open"
	mount_fs "$BASE"
	# The number is free, for a device that has nothing to do with the old one.
	add_dev "$GEOMETRY"
	zbc "$DEV" write $((3 * 2048)) 64
	exec 5<&-
	zbc "$DEV" check $((3 * 2048)) 64
}

# A device on its way out, which can't go yet because a write hangs below, has its
# number still, and its files.
# C driver fails: defect 25
test_defect_25_number_is_not_free_before_the_device_is_gone() {
	make_below ext4 96M
	mkdir -p "$SCRATCH/other/0"
	add_dev "$GEOMETRY"
	settle
	dmsetup suspend --noflush --nolockfs below
	defer "dmsetup resume below"
	zbc "$DEV" write 0 64 &
	until (($(cut -c 1-40 /sys/block/zloop0/inflight | awk '{print $2}') > 0)); do sleep 0.1; done
	ctl "remove id=0" &
	# It is being removed as soon as the disk is marked dead.
	until [[ ! -e /sys/block/zloop0 ]] || ! head -c 0 "$DEV" 2>/dev/null; do sleep 0.1; done
	ctl_fails EEXIST "add id=0,base_dir=$SCRATCH/other,$GEOMETRY"
	[[ -z $(ls "$SCRATCH/other/0") ]] || fail "files were made"
	ctl_fails "EINVAL|EBUSY|ENODEV" "remove id=0"
	# Without a number one gets another.
	mkdir -p "$SCRATCH/other/1"
	ctl "add base_dir=$SCRATCH/other,$GEOMETRY"
	track 1
	[[ -b /dev/zloop1 ]] || fail "not device 1"
	dmsetup resume below
	wait
	[[ ! -e /sys/block/zloop0 ]] || fail "the device is there"
	add_dev "$GEOMETRY"
}

# The last one to close a removed device takes the last of it away, which the
# module's code does. The kernel's own trace says in which order the module's
# last reference is given back, and the device's tags are freed.
# C driver fails: defect 28
test_defect_28_module_stays_until_the_device_is_freed() {
	local i order
	use_tracing
	add_dev "$GEOMETRY"
	exec 5<"$DEV"
	remove_dev
	echo 'p:zloop_test blk_mq_free_tag_set' >"$TRACING/kprobe_events"
	defer "trace_setting 0 $TRACING/events/enable; echo >$TRACING/kprobe_events"
	echo >"$TRACING/trace"
	trace_setting 1 "$TRACING/events/module/module_put/enable"
	trace_setting 1 "$TRACING/events/kprobes/zloop_test/enable"
	exec 5<&-
	for ((i = 0; i < 100; i++)); do
		order=$(grep -oE 'module_put: zloop .*refcnt=[0-9]+|zloop_test' "$TRACING/trace" | grep -oE 'zloop_test|refcnt=[0-9]+') || true
		[[ $order != *zloop_test* || $order != *refcnt=1* ]] || break
		sleep 0.1
	done
	echo "$order"
	[[ $order == *zloop_test* ]] || fail "the device was not freed"
	# One is the base: nobody has a reference.
	[[ $order == *refcnt=1* ]] || fail "the module was not let go"
	[[ ${order##*zloop_test} == *refcnt=1* && ${order%zloop_test*} != *refcnt=1* ]] ||
		fail "the module may go before the device is freed"
}
