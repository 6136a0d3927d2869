# SPDX-License-Identifier: GPL-2.0
# Sequential writes that need no waiting are made by the task that queues them.
#
# Guards against all of them going through the workqueue because one has had to wait,
# against trying it again and again where it is always in vain, and against many small
# writes where the block layer would merge those of a deep queue.

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

# A zone file has no time stamp to be changed by a write, so only the allocation of space, for 4 MiB
# at a time, has to wait.
nearly_all() { # block-size count
	watch xfs
	add_dev_on_fast_disk capacity_mb=128,zone_size_mb=32,conv_zones=1
	write_zone "$1" "$2"
	((10 * AT_ONCE >= 9 * $2)) || fail "too few"
}

test_small() {
	nearly_all 4k 1000
}

test_large() {
	nearly_all 128k 200
}

# It can't make a file longer without waiting.
# scratch: ext4
test_never() {
	watch ext4
	add_dev capacity_mb=128,zone_size_mb=32,conv_zones=1
	write_zone 4k 2000
	((AT_ONCE == 0 && 0 < IN_VAIN && IN_VAIN <= 40)) || fail "tried too often, or never"
}

# Writes wait in the zone's write plug while the first one of them is carried out by a worker, and
# are merged there. With several CPUs the worker may be done before fio, which shares them with
# whatever else this machine does, has queued the next one. On a busy machine one CPU does not
# prevent this in each run, so the best of three counts: 1,066 to 5,512 requests were seen, and never
# less than 7,548 without the mechanism.
test_deep_queue_is_merged() {
	local before after i requests best=8192
	add_dev_on_fast_disk capacity_mb=128,zone_size_mb=32,conv_zones=1
	for i in 1 2 3; do
		read -ra before <"/sys/block/zloop0/stat"
		on_one_cpu fio --name=deep --filename="$DEV" --zonemode=zbd --direct=1 --rw=write --bs=4k \
			--ioengine=libaio --iodepth=16 --offset=32M --size=32M \
			--output="$SCRATCH/fio.log" || fail "$(<"$SCRATCH/fio.log")"
		read -ra after <"/sys/block/zloop0/stat"
		requests=$((after[4] - before[4]))
		echo "$requests requests for 8192 writes"
		assert_eq $((after[6] - before[6])) 65536 "sectors"
		((requests >= best)) || best=$requests
		((best > 4096)) || break
		blkzone reset -o 65536 "$DEV"
	done
	((best <= 4096)) || fail "hardly any is merged"
}
