# SPDX-License-Identifier: GPL-2.0
# The file system below is entered for a request only by plain tasks and by the
# driver's own workers.
#
# Guards against entering it where a request happens to be queued from: a kworker of
# the block layer, or another kernel thread, the reclaim of memory, another file
# system's transaction. There a file system that allocates, or waits for its log, can
# hold up the very thing that it waits for.
# limit: 300

# Traces all entries into XFS for reads and writes, with what has led to them.
watch() {
	local f
	use_tracing
	for f in read write; do echo "p:zloop_test/$f xfs_file_${f}_iter"; done >"$TRACING/kprobe_events"
	defer "echo >$TRACING/kprobe_events"
	echo 16384 >"$TRACING/buffer_size_kb"
	defer "echo 64 >$TRACING/buffer_size_kb"
	echo 0 >"$TRACING/tracing_on"
	defer "echo 1 >$TRACING/tracing_on; echo >$TRACING/trace"
	for f in read write; do
		echo stacktrace >"$TRACING/events/zloop_test/$f/trigger"
		defer "echo '!stacktrace' >$TRACING/events/zloop_test/$f/trigger"
	done
	defer "trace_setting 0 $TRACING/events/zloop_test/enable"
	trace_setting 1 "$TRACING/events/zloop_test/enable"
	echo >"$TRACING/trace"
	echo 1 >"$TRACING/tracing_on"
}

# Counts the entries by what is in their stacks: sets TASK to the number of those by tasks
# that queued a request themselves, WORKER to those by workers that did not queue one,
# and WRONG to those by a kernel thread or in reclaim that did.
count_entries() {
	echo 0 >"$TRACING/tracing_on"
	awk '
		function end() {
			if (!on) return
			if (queues && (thread || reclaim)) { wrong++; print stack >"/dev/stderr" }
			else if (queues) task++
			else if (thread) worker++
			on = 0
		}
		/<stack trace>/ { end(); on = 1; queues = thread = reclaim = 0; stack = ""; next }
		/^ => / {
			stack = stack $0 "\n"
			if (/blk_mq/) queues = 1
			if (/=> (kthread|worker_thread)/) thread = 1
			if (/=> (shrink_|try_to_free|__alloc_pages_direct_reclaim)/) reclaim = 1
			next
		}
		{ end() }
		END { end(); print task + 0, worker + 0, wrong + 0 }' "$TRACING/trace" 2>"$SCRATCH/stacks" >"$SCRATCH/entries"
	read -r TASK WORKER WRONG <"$SCRATCH/entries"
	echo "entries by tasks: $TASK, by workers: $WORKER, wrong: $WRONG"
	head -n 60 "$SCRATCH/stacks"
	assert_eq "$WRONG" 0 "entries where a request was queued by a kernel thread, or in reclaim"
}

# Regular writes to a zone, several at a time: the first one comes from the task, the
# next ones from the kworker of the zone write plugs.
test_zone_write_plugs() {
	add_dev capacity_mb=64,zone_size_mb=16,conv_zones=1
	zbc "$DEV" write $((16 << 11)) 64
	watch
	fio_zones "$DEV" --verify=0 --do_verify=0 --offset=32M --size=16M --rw=write --bs=4k --io_size=4M \
		--ioengine=io_uring --iodepth=16
	count_entries
	((WORKER > 0)) || fail "no write came from a kworker"
}

# Plain tasks do it themselves.
test_tasks() {
	add_dev capacity_mb=64,zone_size_mb=16,conv_zones=1
	zbc "$DEV" write 0 2048
	watch
	fio_conv "$DEV" --verify=0 --do_verify=0 --size=1M --rw=randrw --bs=4k --io_size=1M --ioengine=psync
	count_entries
	((TASK > 100)) || fail "tasks don't do it themselves"
}

# Writeback of the page cache.
test_writeback() {
	add_dev capacity_mb=64,zone_size_mb=16,conv_zones=3
	zbc "$DEV" write 0 2048
	watch
	fio_conv "$DEV" --direct=0 --verify=0 --do_verify=0 --size=32M --rw=randwrite --bs=4k --io_size=16M --ioengine=psync
	sync "$DEV"
	count_entries
	((WORKER > 0)) || fail "no write came from the flusher"
}

# XFS on XFS, which takes its log's transactions for its own.
test_xfs_on_xfs() {
	add_dev capacity_mb=512,zone_size_mb=16,conv_zones=24
	mkfs.xfs -q -f "$DEV"
	mkdir "$SCRATCH/files"
	mount "$DEV" "$SCRATCH/files"
	defer "umount_if '$SCRATCH/files'"
	watch
	fio --name=files --directory="$SCRATCH/files" --numjobs=4 --nrfiles=64 --filesize=16k --bs=4k --rw=randwrite \
		--fsync=4 --io_size=1M --ioengine=psync --output="$SCRATCH/log"
	rm -r "$SCRATCH/files"/*
	sync
	count_entries
	umount "$SCRATCH/files"
}

# Three tasks that together have more memory than they may keep, and swap space on the device.
# The debug kernel has no cgroup that limits memory.
# kernel: stock
test_swap() {
	local group=/sys/fs/cgroup/zloop_test pids=() i
	modprobe dm-mod
	add_dev capacity_mb=288,zone_size_mb=16,conv_zones=16,nr_queues=4
	dmsetup create swap --table "0 $((256 << 11)) linear $DEV 0"
	defer "dmsetup remove --retry swap"
	mkswap /dev/mapper/swap
	swapon /dev/mapper/swap
	defer "swapoff /dev/mapper/swap"
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	mkdir "$group"
	defer "rmdir $group"
	echo 48M >"$group/memory.max"
	watch
	for i in 1 2 3; do
		(
			echo "$BASHPID" >"$group/cgroup.procs"
			exec python3 - "$i" <<-'PY'
			import random, sys
			seed = sys.argv[1]
			pages = [bytearray(random.Random(f"{seed} {n}").randbytes(64) * 64) for n in range(4096)]
			for n, page in enumerate(pages):
			    assert page == random.Random(f"{seed} {n}").randbytes(64) * 64, n
			PY
		) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || fail "a task has lost memory, or died"
	done
	count_entries
	(($(awk '{print $7}' /sys/block/zloop0/stat) > 20000)) || fail "nothing was swapped"
	((WORKER > 100)) || fail "no swapping went through the workers"
}
