# SPDX-License-Identifier: GPL-2.0
# Sequential writes that need no waiting are made by the task that queues them.
#
# Guards against all of them going through the workqueue because one has had to wait,
# and against trying it again and again where it is always in vain.

watch() { # file-system
	use_tracing
	echo "r:zloop_test $1_file_write_iter done=\$retval:s64" >"$TRACING/kprobe_events"
	defer "echo >$TRACING/kprobe_events"
	echo 0 >"$TRACING/tracing_on"
	defer "echo 1 >$TRACING/tracing_on"
	defer "trace_setting 0 $TRACING/events/kprobes/zloop_test/enable"
	trace_setting 1 "$TRACING/events/kprobes/zloop_test/enable"
}

# Writes to a zone, and looks at what the file system is asked for. Sets AT_ONCE to the
# number of writes that dd itself had done, and IN_VAIN to the number of those that it
# only tried.
write_zone() { # block-size count
	local said
	blkzone reset -o $((32 << 11)) -c 1 "$DEV"
	echo >"$TRACING/trace"
	echo 1 >"$TRACING/tracing_on"
	dd if=/dev/zero of="$DEV" bs="$1" count="$2" seek=32M oflag=direct,seek_bytes conv=notrunc status=none
	echo 0 >"$TRACING/tracing_on"
	# EAGAIN, or EIOCBQUEUED or a number of bytes.
	IN_VAIN=$(grep -c ' done=-11$' "$TRACING/trace") || true
	said=$(grep -E ' done=(-529|[0-9]+)$' "$TRACING/trace")
	AT_ONCE=$(grep -c '^ *dd-' <<<"$said") || true
	assert_eq "$(wc -l <<<"$said")" "$2" "writes"
	echo "$AT_ONCE of $2 at once, $IN_VAIN tried in vain"
}

# XFS must wait to note a new time of the last change, which there is for every tick of the
# kernel's clock. So the disk is a fast one, for many writes in a tick, and there is more
# than one attempt, in case that the machine is slow for a while.
mostly() { # block-size count
	local i
	watch xfs
	add_dev_on_fast_disk capacity_mb=128,zone_size_mb=32,conv_zones=1
	for i in 1 2 3 4 5 6 7 8; do
		write_zone "$1" "$2"
		((2 * AT_ONCE < $2)) || return 0
	done
	fail "too few"
}

# In the debug kernel there is a tick for every write.
# kernel: stock
test_small() {
	mostly 4k 1000
}

# kernel: stock
test_large() {
	mostly 128k 200
}

# It can't make a file longer without waiting.
# scratch: ext4
test_never() {
	watch ext4
	add_dev capacity_mb=128,zone_size_mb=32,conv_zones=1
	write_zone 4k 2000
	((AT_ONCE == 0 && 0 < IN_VAIN && IN_VAIN <= 40)) || fail "tried too often, or never"
}
