# SPDX-License-Identifier: GPL-2.0
# The file system with the zone files is frozen: for a snapshot, say.
#
# Guards the promise that nothing is written into a frozen file system, that what
# has to be written waits and everything else does not, and that all completes
# when it is thawed.

GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=2

source "$TESTS/vm-tests/below.bash"

freeze() {
	fsfreeze -f "$BASE"
	defer "fsfreeze -u '$BASE' 2>/dev/null || true"
}

thaw() {
	fsfreeze -u "$BASE"
}

# What was written to the disk below so far.
written_below() {
	awk '{print $5, $7}' "/sys/block/$(basename "$LOOP")/stat"
}

# The space is allocated and the data overwritten: nothing in the file system
# itself stops such a write.
frozen_overwrite() { # file system
	local before pid
	make_below "$1" 320M
	add_dev "$GEOMETRY"
	zbc "$DEV" write 0 512
	zbc "$DEV" flush
	settle
	freeze
	before=$(written_below)
	zbc "$DEV" write 0 512 2 &
	pid=$!
	until (($(awk '{print $2}' /sys/block/zloop0/inflight) > 0)) || ! kill -0 $pid 2>/dev/null; do sleep 0.1; done
	# Long enough for a write that does not wait.
	sleep 2
	assert_eq "$(written_below)" "$before" "what was written to the disk, frozen"
	kill -0 $pid || fail "the write did not wait"
	# A read does not wait.
	zbc "$DEV" check 512 64 zero
	thaw
	wait $pid
	zbc "$DEV" check 0 512 2
}

# C driver fails: defect 18
test_defect_18_frozen_ext4_is_not_written() {
	frozen_overwrite ext4
}

# XFS has a time stamp to change, which stops it in any case.
test_frozen_xfs_is_not_written() {
	frozen_overwrite xfs
}
