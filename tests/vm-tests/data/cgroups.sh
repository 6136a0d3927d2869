# SPDX-License-Identifier: GPL-2.0
# The cgroup and the I/O priority of a task hold for what its requests do to the disk below.
#
# Guards against work that is done by workers, or by a task that submits another one's requests,
# being charged to the root cgroup, where no limit holds; and against a request's priority getting
# lost on the way to the file. The debug kernel has no such controllers.
#
# limit: 300
# kernel: stock

GEOMETRY=capacity_mb=96,zone_size_mb=8,conv_zones=4
CGROUPS=/sys/fs/cgroup
# The disk with the file system of the zone files.
BELOW=${SCRATCH_DISKS%% *}

# Kernel code is patched when controllers get into use.
use_groups() {
	local name
	on_one_cpu tee $CGROUPS/cgroup.subtree_control <<<"+io +memory" >/dev/null
	defer "on_one_cpu tee $CGROUPS/cgroup.subtree_control <<<'-io -memory' >/dev/null"
	for name in one other; do
		on_one_cpu mkdir $CGROUPS/$name
		defer "rmdir $CGROUPS/$name"
	done
}

# Carries out a command in a cgroup.
within() { # group command...
	(
		echo "$BASHPID" >"$CGROUPS/$1/cgroup.procs"
		shift
		exec "$@"
	)
}

# The number of the disk below.
below() {
	cat "/sys/class/block/${BELOW##*/}/dev"
}

# How many bytes of the disk below a cgroup was charged with.
charged() { # group rbytes|wbytes
	awk -v disk="$(below)" -v what="$2" '
		$1 == disk { for (i = 2; i <= NF; i++) if (split($i, pair, "=") && pair[1] == what) bytes = pair[2] }
		END { print bytes + 0 }' "$CGROUPS/$1/io.stat"
}

# One kind of work. $1 is how to do it, the rest what it does.
work() { # kind
	case $1 in
	small-reads) read_blocks 4k 64 0 ;;
	large-reads) read_blocks 256k 8 0 ;;
	small-zone-reads) read_blocks 4k 64 32 ;;
	large-zone-reads) read_blocks 256k 8 32 ;;
	small-overwrites) write_blocks 4k 64 0 ;;
	large-overwrites) write_blocks 256k 8 0 ;;
	small-writes) write_blocks 4k 64 48 ;;
	large-writes) write_blocks 256k 8 56 ;;
	appends) append 64 8 64 ;;
	esac
}

read_blocks() { # size count MiB
	dd if="$DEV" of=/dev/null bs="$1" count="$2" iflag=direct,skip_bytes skip=$(($3 << 20)) status=none
}

write_blocks() { # size count MiB
	dd if=/dev/zero of="$DEV" bs="$1" count="$2" oflag=direct,seek_bytes seek=$(($3 << 20)) conv=notrunc status=none
}

append() { # MiB sectors count
	python3 -c 'from zbc import *
for end in Requests(sys.argv[1]).run(sys.argv[2], 4):
    eq(end.error, "ok", "append")' \
		"$DEV" "append at=$(($1 * 2048)) sectors=$2 count=$3"
}

# The device, with data in conventional zones and in the first sequential one, and the zones that
# are written to by `work` begun.
setup() { # [options]
	use_requests
	use_groups
	add_dev "$GEOMETRY${1:+,$1}"
	dd if=/dev/urandom of="$DEV" bs=1M count=4 oflag=direct conv=notrunc status=none
	dd if=/dev/urandom of="$DEV" bs=1M count=4 seek=32 oflag=direct conv=notrunc status=none
	zbc "$DEV" flush
}

export_work() {
	export -f work read_blocks write_blocks append
	export DEV
}

# So many bytes are charged to the cgroup of the task, whoever does the work.
expect_charges() {
	local kind what bytes before got
	export_work
	while read -r kind what bytes; do
		before=$(charged one "$what")
		within one bash -c "work $kind"
		got=$(($(charged one "$what") - before))
		echo "$kind: $got bytes of $bytes"
		((got >= bytes)) || fail "$kind: $got bytes were charged, want $bytes"
	done <<-'END'
	small-reads rbytes 262144
	large-reads rbytes 2097152
	small-zone-reads rbytes 262144
	large-zone-reads rbytes 2097152
	small-overwrites wbytes 262144
	large-overwrites wbytes 2097152
	small-writes wbytes 262144
	large-writes wbytes 2097152
	appends wbytes 262144
	END
}

# C driver fails: defect 39
test_charges() {
	setup
	expect_charges
}

# With a scheduler it is a worker of the block layer that submits the requests.
test_charges_with_scheduler() {
	setup
	trace_setting mq-deadline "/sys/block/${DEV##*/}/queue/scheduler"
	expect_charges
}

# A worker that did something for one cgroup does what comes next for another one.
test_others_are_not_charged() {
	local one group
	setup
	export_work
	for group in . other; do
		within one bash -c "work large-overwrites && work appends"
		one=$(charged one wbytes)
		((one > 0)) || fail "nothing was charged"
		within $group bash -c "work large-overwrites && work appends"
		assert_eq "$(charged one wbytes)" "$one" "bytes charged to one cgroup after the work of another"
	done
}

# How many milliseconds a command takes.
milliseconds() { # command...
	local start=${EPOCHREALTIME/./}
	"$@" >&2
	echo $(((${EPOCHREALTIME/./} - start) / 1000))
}

# A limit of 2 MiB/s makes 6 MiB take 3 s, through the zoned disk as through a file.
# C driver fails: defect 39
test_limit_of_bytes() {
	local ms where
	setup
	on_one_cpu tee $CGROUPS/one/io.max <<<"$(below) wbps=$((2 << 20))" >/dev/null
	export_work
	for where in 0 48; do
		ms=$(milliseconds within one bash -c "write_blocks 256k 24 $where")
		echo "6 MiB at $where MiB: $ms ms"
		((ms >= 2000)) || fail "$ms ms, want about 3000"
	done
	ms=$(milliseconds within one dd if=/dev/zero of="$SCRATCH/file" bs=256k count=24 oflag=direct status=none)
	echo "6 MiB to a file: $ms ms"
	((ms >= 2000)) || fail "the limit does not hold for files: $ms ms"
}

# A limit of 40 requests a second holds for small ones that a scheduler has.
test_limit_of_requests_with_scheduler() {
	local ms
	setup
	trace_setting mq-deadline "/sys/block/${DEV##*/}/queue/scheduler"
	on_one_cpu tee $CGROUPS/one/io.max <<<"$(below) wiops=40" >/dev/null
	export_work
	ms=$(milliseconds within one bash -c "write_blocks 4k 120 0")
	echo "120 writes: $ms ms"
	((ms >= 2000)) || fail "$ms ms, want about 3000"
}

trace_issues() {
	use_tracing
	echo 0 >"$TRACING/tracing_on"
	defer "echo 1 >$TRACING/tracing_on"
	defer "trace_setting 0 $TRACING/events/block/block_rq_issue/enable"
	trace_setting 1 "$TRACING/events/block/block_rq_issue/enable"
}

# The data that was read from or written to the disk below since the trace was begun: bytes and
# priority, one request a line. What the file system does for itself is marked as metadata, or has
# no data.
issued() {
	awk -v disk="$(below | tr : ,)" '
		/^#/ { next }
		{
			for (i = 1; i <= NF && $i != "block_rq_issue:"; i++);
			if ($(i + 1) == disk && $(i + 2) ~ /^[RW]/ && $(i + 2) !~ /M/ && $(i + 3) > 0) {
				split($(i + 8), priority, ",")
				print $(i + 3), priority[1]
			}
		}' "$TRACING/trace"
}

# C driver fails: defect 39
test_priority() {
	local kind ours others
	setup
	trace_issues
	export_work
	for kind in small-reads large-reads small-zone-reads large-zone-reads small-overwrites \
		large-overwrites small-writes large-writes appends; do
		echo >"$TRACING/trace"
		echo 1 >"$TRACING/tracing_on"
		ionice -c 1 -n 3 bash -c "work $kind"
		echo 0 >"$TRACING/tracing_on"
		ours=$(issued | grep -c ' rt$' || true)
		others=$(issued | grep -vc ' rt$' || true)
		echo "$kind: $ours requests with the priority, $others without"
		((ours > 0 && others == 0)) || fail "$kind: $others without the priority:
$(grep block_rq_issue "$TRACING/trace" | head -n 20)"
	done
}

# Appends that wait for the file system to be thawed, four of 4 KiB by the first command and four
# of 32 KiB by the second one, all in one zone. They wait behind one that a worker has begun, so that
# they leave together.
frozen_appends() { # command -- command
	local pids=() n=0 command=() word
	fsfreeze -f "$SCRATCH"
	defer "fsfreeze -u '$SCRATCH' 2>/dev/null || true"
	ionice -c 3 bash -c "append 64 8 1" &
	pids+=($!)
	# A worker that needs longer would begin with more of them.
	sleep 2
	for word in "$@" --; do
		if [[ $word != -- ]]; then
			command+=("$word")
			continue
		fi
		n=$((n + 1))
		"${command[@]}" bash -c "append 64 $((n == 1 ? 8 : 64)) 4" &
		pids+=($!)
		command=()
		until (($(awk '{print $2}' "/sys/block/${DEV##*/}/inflight") >= 1 + 4 * n)); do
			kill -0 "${pids[-1]}" || fail "the appends did not wait"
			sleep 0.1
		done
	done
	fsfreeze -u "$SCRATCH"
	wait "${pids[@]}"
}

# What is written together is charged to one cgroup, so it must be one cgroup's.
test_batch_of_one_cgroup() {
	local one other
	setup
	export_work
	append 64 8 1
	one=$(charged one wbytes) other=$(charged other wbytes)
	frozen_appends within one -- within other
	one=$(($(charged one wbytes) - one)) other=$(($(charged other wbytes) - other))
	assert_eq "$one $other" "$((4 * 4096)) $((4 * 32768))" "bytes charged to the two cgroups"
}

# The same of a priority.
test_batch_of_one_priority() {
	setup
	trace_issues
	export_work
	append 64 8 1
	echo >"$TRACING/trace"
	echo 1 >"$TRACING/tracing_on"
	frozen_appends ionice -c 1 -n 3 -- ionice -c 2 -n 3
	echo 0 >"$TRACING/tracing_on"
	assert_eq "$(issued | awk '{ sum[$2] += $1 } END { print sum["rt"] + 0, sum["be"] + 0 }')" \
		"$((4 * 4096)) $((4 * 32768))" "bytes written with the two priorities"
}

# What workers have in the page cache is charged as well.
test_page_cache() {
	local before got
	setup buffered_io
	export_work
	before=$(awk '$1 == "file" { print $2 }' $CGROUPS/one/memory.stat)
	within one bash -c "write_blocks 256k 16 8"
	got=$(($(awk '$1 == "file" { print $2 }' $CGROUPS/one/memory.stat) - before))
	echo "$got of $((4 << 20)) bytes"
	((got >= 3 << 20)) || fail "$got bytes of the page cache were charged"
}

# The references to the state of a cgroup are given back: it is gone when its last task is.
test_cgroups_go_away() {
	local before i
	setup
	export_work
	# The programs are in the page cache already, charged to another cgroup.
	work large-writes
	work appends
	before=$(awk '$1 == "nr_dying_descendants" { print $2 }' $CGROUPS/cgroup.stat)
	on_one_cpu mkdir $CGROUPS/short
	defer "[[ ! -d $CGROUPS/short ]] || rmdir $CGROUPS/short"
	within short bash -c "work large-overwrites && work large-reads && work appends"
	rmdir $CGROUPS/short
	for ((i = 0; i < 60; i++)); do
		echo 3 >/proc/sys/vm/drop_caches
		(($(awk '$1 == "nr_dying_descendants" { print $2 }' $CGROUPS/cgroup.stat) > before)) || return 0
		sleep 0.5
	done
	fail "the cgroup does not go away"
}
