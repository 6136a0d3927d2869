# SPDX-License-Identifier: GPL-2.0
# Requests that a task submits together go to the file system together.
#
# Guards against each of them being submitted by itself, so that the disk below gets one
# after the other and nothing is shared between them.

# A device on a disk that takes requests at once: those that are submitted there are
# submitted by the task itself.
setup() {
	add_dev_on_fast_disk capacity_mb=64,zone_size_mb=4,conv_zones=4
	dd if=/dev/urandom of="$DEV" bs=1M count=24 oflag=direct conv=fsync status=none
}

trace_issues() {
	use_tracing
	echo 0 >"$TRACING/tracing_on"
	defer "echo 1 >$TRACING/tracing_on"
	defer "trace_setting 0 $TRACING/events/block/block_rq_issue/enable"
	trace_setting 1 "$TRACING/events/block/block_rq_issue/enable"
}

# The number of a disk, as the kernel's traces have it.
number_of() { # device
	tr : , <"/sys/class/block/${1##*/}/dev"
}

# Does 20 times 8 requests at once, and sets TOGETHER to how many of them were issued to the
# disk below right after another one of them. That is all but the first one of each eight, 140, but
# for those that have to wait and leave by themselves: of writes, on a slow machine, that may be the
# half. Of requests that are submitted one by one it is none.
eights() { # operation offset size
	echo >"$TRACING/trace"
	echo 1 >"$TRACING/tracing_on"
	# With several CPUs, others carry out a part of a deep queue, and submit it one by one.
	on_one_cpu fio --output="$SCRATCH/fio.log" --name=eights --filename="$DEV" --direct=1 --ioengine=io_uring --bs=4k \
		--rw="$1" --offset="$2" --size="$3" --number_ios=160 --randrepeat=1 \
		--iodepth=8 --iodepth_batch_submit=8 --iodepth_batch_complete_min=8 || fail "$(cat "$SCRATCH/fio.log")"
	echo 0 >"$TRACING/tracing_on"
	TOGETHER=$(awk -v below=" $(number_of /dev/nullb0) " -v device=" $(number_of "$DEV") " '
		!/ fio-/ { next }
		index($0, device) { follows = 0 }
		index($0, below) { together += follows; follows = 1 }
		END { print together + 0 }' "$TRACING/trace")
	echo "$TOGETHER of 160 $1 went on together with the one before"
}

test_reads() {
	setup
	trace_issues
	eights randread 16M 8M
	((TOGETHER >= 80)) || fail "too few"
}

# XFS notes the time of the last change in each tick of the kernel's clock, and waits for that. In
# the debug kernel there is a tick for every write.
# kernel: stock
test_overwrites() {
	setup
	trace_issues
	eights randwrite 0 16M
	((TOGETHER >= 20)) || fail "too few"
}

# As many requests get lost as was injected, also of those that come together. One that was not
# taken with the others comes again by itself, and is not counted again.
test_faults() {
	setup
	echo 1000 >"/sys/block/${DEV##*/}/queue/io_timeout"
	ctl "inject id=0,timeout=11"
	fio --output="$SCRATCH/fio.log" --name=lost --filename="$DEV" --direct=1 --ioengine=io_uring --bs=4k \
		--rw=randread --offset=16M --size=8M --number_ios=16 \
		--iodepth=16 --iodepth_batch_submit=16 --iodepth_batch_complete_min=16 2>"$SCRATCH/errors" || true
	assert_eq "$(grep -c '^fio: io_u error.*timed out' "$SCRATCH/errors")" 11 "requests that were lost"
}
