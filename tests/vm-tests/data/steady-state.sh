# SPDX-License-Identifier: GPL-2.0
# No memory is allocated for a request once a device has seen requests of its kind.
#
# Guards against an allocation that slips into the path of a request, where it
# costs time, and may wait for memory that is to be had by writing to this very
# disk. Those count in which the driver itself calls the allocator: what the file
# system below allocates is not the driver's.
#
# In the debug kernel the helpers are functions of their own, so that nobody can tell whose
# allocation it is.
# limit: 300
# kernel: stock

BUFFER=$TRACING/instances/zloop
# What all Rust code allocates with. The helpers before them are only jumps, so that
# the return address is the driver's or, if that has had it done, the kernel crate's.
# Memory is freed with them, too: as a reallocation to 0 bytes.
RUST=(krealloc_node_align_noprof kvrealloc_node_align_noprof)
# For what is called as C calls it.
C=(kmalloc kmem_cache_alloc)

setup() { # [options]
	local name
	use_tracing
	# To know the names of tasks it would have the scheduler traced, too. An instance has
	# this from the one that it is made from.
	echo 0 >"$TRACING/options/record-cmd"
	defer "echo 1 >$TRACING/options/record-cmd"
	mkdir "$BUFFER"
	defer "rmdir $BUFFER"
	for name in "${RUST[@]}"; do
		echo "p:zloop/$name $name size=%si:u64 caller=\$stack0:symbol" >>"$TRACING/kprobe_events"
		defer "echo '-:zloop/$name' >>$TRACING/kprobe_events"
		watch "zloop/$name" "size > 0"
	done
	for name in "${C[@]}"; do
		watch "kmem/$name" "$(driver_code call_site)"
	done
	use_requests
	add_dev "capacity_mb=128,zone_size_mb=4,conv_zones=2,queue_depth=8${1:+,$1}"
	dd if=/dev/zero of="$DEV" bs=1M count=4 seek=8 oflag=direct conv=notrunc status=none
}

# A filter: whether a field is in the driver's code, from its first function to a page
# behind the start of its last one.
driver_code() { # field
	python3 - "$1" <<-'PY'
	import sys
	symbols = (line.split() for line in open("/proc/kallsyms") if line.endswith("[zloop]\n"))
	code = [int(address, 16) for address, kind, *_ in symbols if kind in "tT"]
	assert min(code) > 0, "the kernel hides its addresses"
	print(f"{sys.argv[1]} >= {min(code):#x} && {sys.argv[1]} <= {max(code) + 4096:#x}")
	PY
}

watch() { # event filter
	echo "$2" >"$BUFFER/events/$1/filter"
	trace_setting 1 "$BUFFER/events/$1/enable"
	defer "trace_setting 0 $BUFFER/events/$1/enable"
}

# The driver's allocations while a command runs, a line for each. The module that makes
# requests is written in Rust, too, and has the kernel crate copy the device's name.
allocations() { # command...
	echo >"$BUFFER/trace"
	"$@"
	grep -E 'call_site=|caller=_RN' "$BUFFER/trace" |
		grep -vE "\\[requests\\]|size=$((${#DEV} + 1)) caller=.*CString.*try_from_fmt" || true
}

# Requests of all kinds that carry data, one by one and in batches that are merged, to
# zones that have been written before; flushes and resets, too.
requests() {
	fio --output="$SCRATCH/fio.log" --filename="$DEV" --direct=1 --ioengine=io_uring --bs=4k \
		--name=read --offset=8M --size=4M --rw=randread --iodepth=32 --number_ios=300 \
		--name=read-on --stonewall --offset=8M --size=4M --rw=read --iodepth=32 \
		--iodepth_batch_submit=32 --number_ios=300 \
		--name=overwrite --stonewall --size=8M --rw=randwrite --iodepth=32 --number_ios=300 --fsync=100 \
		--name=overwrite-on --stonewall --size=8M --rw=write --iodepth=32 \
		--iodepth_batch_submit=32 --number_ios=300 || fail "$(cat "$SCRATCH/fio.log")"
	blkzone reset -o $((12 << 11)) -l $((16 << 11)) "$DEV"
	dd if=/dev/zero of="$DEV" bs=4k count=100 seek=3072 oflag=direct conv=notrunc status=none
	dd if=/dev/zero of="$DEV" bs=128k count=8 seek=128 oflag=direct conv=notrunc,fsync status=none
	py "$DEV" <<-'PY'
	r = Requests(args[0])
	zone = 8192
	ends = r.run(f"append at={5 * zone} sectors=8 count=400\n"
	             f"append at={5 * zone} sectors=8 count=400 zones=2 step={zone}\nflush", 32)
	eq([e.error for e in ends if e.error != "ok"], [], "appends that failed")
	PY
}

# Warms up until nothing is allocated any more, which must be so soon: what is kept for
# each of the few tags grows a few times.
steady() {
	local round said
	for ((round = 1; round <= 8; round++)); do
		said=$(allocations requests)
		[[ $said ]] || {
			echo "nothing in round $round"
			return
		}
		echo "round $round: $(wc -l <<<"$said")"
	done
	fail "it still allocates:
$said"
}

test_direct() {
	setup
	steady
}

test_buffered() {
	setup buffered_io
	steady
}

test_emulated_appends() {
	setup zone_append=0
	steady
}

# What makes the others worth something: an allocation of the driver's is seen.
test_an_allocation_is_seen() {
	local said
	setup
	said=$(allocations ctl "add id=1,capacity_mb=8,zone_size_mb=1,base_dir=$BASE")
	track 1
	[[ $said == *" krealloc_node_align_noprof:"* && $said == *" kvrealloc_node_align_noprof:"* ]] ||
		fail "an add allocates: $said"
	# Nor is the first request to a zone for nothing.
	said=$(allocations dd if=/dev/zero of="$DEV" bs=4k count=1 seek=4096 oflag=direct status=none)
	[[ $said == *" krealloc_node_align_noprof:"* ]] || fail "a zone that is used first allocates: $said"
}
