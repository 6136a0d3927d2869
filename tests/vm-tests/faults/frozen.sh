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

# All that changes something waits, all else does not, and after the thaw it has
# happened. The order is that of who waits for whom, not of any clock.
frozen_work() { # file system, options
	local pid
	make_below "$1" 320M
	add_dev "$GEOMETRY${2:+,$2}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 512)
	for n in range(3, 10): d.zwrite(n, 0, 512, n)
	d.flush()
	PY
	settle
	freeze
	py "$DEV" "$SCRATCH/begun" <<-'PY' &
	d = Dev(args[0])
	jobs = [lambda: d.write(0, 512, 2), lambda: d.zwrite(3, 512, 512, 3), lambda: d.zwrite(10, 0, 64, 10),
	        lambda: d.reset(4), lambda: d.finish(5)]
	failed = []
	def do(job):
	    try: job()
	    except Exception as e: failed.append(e)
	threads = [threading.Thread(target=do, args=(j,)) for j in jobs]
	for t in threads: t.start()
	while int(open("/sys/block/zloop0/inflight").read().split()[1]) < len(jobs): time.sleep(0.1)
	time.sleep(1)
	eq(len([t for t in threads if t.is_alive()]), len(jobs), "jobs that wait")
	open(args[1], "w").close()
	for t in threads: t.join()
	eq(failed, [], "what has failed after the thaw")
	PY
	pid=$!
	until [[ -e $SCRATCH/begun ]]; do
		kill -0 $pid || fail "something did not wait"
		sleep 0.1
	done
	timeout 30 python3 -c "from zbc import *
d = Dev('$DEV')
eq(len(d.zones()), 16, 'zones')
eq(d.zone(6).wp, 512, 'a zone')
d.check(512, 64, None); d.zcheck(6, 0, 512, 6); d.zcheck(11, 0, 64, None)
d.open(12); d.close(12); d.open(7); d.close(7)
eq(d.zone(7).cond, 'C', 'a zone')
d.flush()" || fail "something waits that need not, or fails"
	kill -0 $pid || fail "something did not wait"
	thaw
	wait $pid
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.check(0, 512, 2); d.zcheck(3, 0, 1024, 3); d.zcheck(10, 0, 64, 10)
	eq([(d.zone(n).cond, d.zone(n).wp) for n in (3, 4, 5, 10)],
	   [("IO", 1024), ("E", 0), ("F", None), ("IO", 64)], "zones")
	d.zwrite(4, 0, 64)
	d.flush()
	PY
	readd_dev "$GEOMETRY${2:+,$2}"
	zbc "$DEV" check $((3 * 4096)) 1024 3
}

test_frozen_work_ext4() {
	frozen_work ext4
}

test_frozen_work_xfs() {
	frozen_work xfs
}

# A file that has to be made waits, and holds up nobody who needs none.
test_frozen_work_lazy() {
	frozen_work ext4 lazy_files
}

test_frozen_work_buffered() {
	frozen_work ext4 buffered_io
}

# So do a discard, and zeros wherever they go. Reads beside them don't.
test_frozen_zeroing() {
	local how pid
	make_below ext4 320M
	add_dev "$GEOMETRY"
	for how in 'd.discard(4096, 512)' 'd.zeroout(4096, 512)' 'd.zeroout(5 * 4096, 512)'; do
		zbc "$DEV" write 4096 1024 4
		zbc "$DEV" flush
		settle
		freeze
		py "$DEV" <<<"d = Dev(args[0]); $how" &
		pid=$!
		until (($(awk '{print $2}' /sys/block/zloop0/inflight) > 0)) || ! kill -0 $pid 2>/dev/null; do sleep 0.1; done
		sleep 1
		kill -0 $pid || fail "$how did not wait"
		timeout 30 "${ZBC[@]}" "$DEV" check 4608 512 4 || fail "a read waits"
		timeout 30 "${ZBC[@]}" "$DEV" report >/dev/null || fail "a report waits"
		thaw
		wait $pid
		zbc "$DEV" check 4608 512 4
		case $how in
		*5*4096*) assert_eq "$(zones "$DEV" | sed -n 6p)" "5 SEQ_WRITE_REQUIRED oi 512 4096" ;;
		*) zbc "$DEV" check 4096 512 zero ;;
		esac
	done
}

# A device that is removed while writes wait goes when they have been done; one
# that is added waits if files are to be made, and not otherwise. Meanwhile other
# devices come and go.
test_frozen_remove_and_add() {
	local write remove add
	make_below ext4 320M
	mkdir -p "$BASE/1" "$BASE/2" "$SCRATCH/other/3"
	add_dev -i 1 "$GEOMETRY"
	remove_dev 1
	add_dev "$GEOMETRY"
	zbc "$DEV" write $((3 * 4096)) 64
	zbc "$DEV" flush
	settle
	freeze
	zbc "$DEV" write $((3 * 4096 + 64)) 64 &
	write=$!
	until (($(awk '{print $2}' /sys/block/zloop0/inflight) > 0)); do sleep 0.1; done
	ctl "remove id=0" &
	remove=$!
	ctl "add id=2,base_dir=$BASE,$GEOMETRY" &
	add=$!
	track 2
	timeout 30 bash -c "echo 'add id=3,base_dir=$SCRATCH/other,$GEOMETRY' >$CONTROL" || fail "an add elsewhere waits"
	timeout 30 bash -c "echo 'remove id=3' >$CONTROL" || fail "a remove elsewhere waits"
	timeout 30 bash -c "echo 'add id=1,base_dir=$BASE,$GEOMETRY' >$CONTROL" ||
		fail "an add waits that makes no file"
	timeout 30 "${ZBC[@]}" /dev/zloop1 report >/dev/null
	ctl_fails EEXIST "add id=2,base_dir=$BASE,$GEOMETRY"
	kill -0 $write && kill -0 $remove && kill -0 $add || fail "something did not wait"
	thaw
	wait $write $remove $add
	[[ ! -e /sys/block/zloop0 && -b /dev/zloop2 ]] || fail "what waited has not happened"
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 4096)) 128
	zbc /dev/zloop2 write $((3 * 4096)) 64
}

# Again and again under load: a freeze waits for the writes that are under way,
# and they don't wait for it.
test_freeze_and_thaw_under_load() {
	local i pid
	make_below xfs 320M
	add_dev "$GEOMETRY,nr_queues=2"
	py "$DEV" <<-'PY' &
	d = Dev(args[0])
	failed = []
	def work(n):
	    try:
	        for turn in range(6):
	            d.reset(n)
	            for at in range(0, 1024, 128): d.zwrite(n, at, 128, n)
	            d.flush()
	        d.zcheck(n, 0, 1024, n)
	    except Exception as e: failed.append(e)
	threads = [threading.Thread(target=work, args=(n,)) for n in range(3, 9)]
	for t in threads: t.start()
	for t in threads: t.join()
	eq(failed, [], "what has failed")
	PY
	pid=$!
	for ((i = 0; i < 8; i++)); do
		timeout 60 fsfreeze -f "$BASE" || fail "can't be frozen"
		sleep 0.2
		thaw
		sleep 0.2
	done
	wait $pid
}
