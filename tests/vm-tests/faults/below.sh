# SPDX-License-Identifier: GPL-2.0
# The disk below the zone files fails, in one place or everywhere, for reads,
# writes or flushes, or is slow; or its file system stops.
#
# Guards the promises that the error goes to the request that it is of, that what
# was flushed stays, that no fault of one zone is one of the device, and that all
# works again when the fault is gone.

GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=2

source "$TESTS/vm-tests/below.bash"

setup() { # file system, options
	make_below "$1" 320M
	add_dev "$GEOMETRY${2:+,$2}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 512); d.write(4096, 512, 2)
	for n in range(3, 8): d.zwrite(n, 0, 512, n)
	d.zwrite(9, 0, 4096, 9)
	d.flush()
	PY
	settle
}

# What was flushed, and that all can be used. The pages that are in memory are
# forgotten first, so that it is the disk that has it.
is_well() {
	echo 3 >/proc/sys/vm/drop_caches
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq(len(d.zones()), 16, "zones")
	d.check(0, 512); d.check(4096, 512, 2)
	for n in range(3, 8): d.zcheck(n, 0, 512, n)
	d.zcheck(9, 0, 4096, 9)
	for n in range(3, 8):
	    z = d.zone(n)
	    eq(z.cond in ("IO", "C"), True, f"zone {n}: {z}")
	    d.zwrite(n, z.wp, 64, 7); d.zcheck(n, z.wp, 64, 7)
	d.reset(9); d.zwrite(9, 0, 4096, 9)
	d.zwrite(10, 0, 64)
	# A file may have to be told, once, of what the file system could not write of its own.
	try: d.finish(10)
	except OSError: d.finish(10)
	cond(d, 10, "F")
	d.reset(10)
	d.write(1024, 64, 3); d.check(1024, 64, 3)
	d.flush()
	PY
}

again() { # options
	remove_dev
	remount_and_add "$@"
}

remount_and_add() { # options
	umount "$BASE"
	mount_below
	add_dev "$GEOMETRY${1:+,$1}"
	is_well
}

# Writes fail and reads do not.
writes_fail() { # file system
	setup "$1"
	flaky error_writes
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	# The data is below these; a flush of nothing is one of the disk's own cache.
	fails("EIO", d.write, 0, 64)
	for n in 3, 4, 10: fails("EIO", d.zwrite, n, 512 if n < 10 else 0, 64)
	eq(d.zone(3).wp, 512, "write pointer after a failure")
	eq(d.zone(10).wp, 0, "write pointer after a failure")
	d.zcheck(3, 0, 512, 3); d.zcheck(9, 0, 4096, 9); d.check(4096, 512, 2)
	eq(len(d.zones()), 16, "zones")
	d.open(11); d.close(11)
	fails("EIO", d.flush)
	fails("EIO", d.flush)
	PY
	whole
	zbc "$DEV" write 0 64
	is_well
	again
}

test_writes_fail_ext4() {
	writes_fail ext4
}

# XFS tries again what is its own as long as it takes.
test_writes_fail_xfs() {
	setup xfs
	flaky error_writes
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	fails("EIO", d.write, 0, 64)
	for n in 3, 4: fails("EIO", d.zwrite, n, 512, 64)
	d.zcheck(9, 0, 4096, 9); d.check(4096, 512, 2)
	eq(d.zone(3).wp, 512, "write pointer after a failure")
	PY
	whole
	zbc "$DEV" write 0 64
	is_well
	again
}

# A flush that the disk below refuses, with all data written before.
test_flush_fails() {
	setup ext4
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 64); d.zwrite(3, 512, 64, 3); d.zwrite(4, 512, 64, 4)
	PY
	flaky error_writes
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	# It fails as long as the disk does, not just once.
	for turn in range(3): fails("EIO", d.flush)
	d.zcheck(3, 0, 576, 3)
	PY
	whole
	zbc "$DEV" flush || zbc "$DEV" flush
	is_well
	again
}

# Reads fail and writes do not.
reads_fail() { # options
	setup ext4 "$1"
	# Of the files only: the file system has to read to write.
	py "$DIR" <<-'PY'
	for name in os.listdir(args[0]):
	    fd = os.open(f"{args[0]}/{name}", os.O_RDONLY)
	    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
	    os.close(fd)
	PY
	flaky error_reads
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for turn in range(2):
	    fails("EIO", d.pread, 0, 64)
	    fails("EIO", d.pread, 3 * 4096, 64)
	    fails("EIO", d.pread, 3 * 4096 + 448, 128)
	eq(d.pread(2 * 4096, 64), bytes(64 * SECTOR), "what was never written")
	eq([z.cond for z in d.zones()][:5], ["NWP", "NWP", "E", "IO", "IO"], "conditions")
	d.zwrite(4, 512, 64, 4)
	d.flush()
	PY
	whole
	is_well
	again "$1"
}

test_reads_fail() {
	reads_fail ""
}

test_reads_fail_buffered() {
	reads_fail buffered_io
}

# Eight sectors of a zone's file fail, from the 1000th one on. The file must be one extent.
bad_sectors() { # zone
	local file start
	file=$DIR/seq-00000$1
	start=$(filefrag -v -b512 "$file" | awk '$1 == "0:" {gsub(/[.:]/, " "); if ($6 >= 4096) print $4}')
	((start > 0)) || fail "not one extent: $(filefrag -v -b512 "$file")"
	start=$((start + 1000))
	table "0 $start linear $LOOP 0
$start 8 error
$((start + 8)) $((SECTORS - start - 8)) linear $LOOP $((start + 8))"
}

# Some sectors only, in the middle of a zone's file: the error is that of the write
# that is for them, be it one of many that are done at once.
test_sectors_fail() {
	make_below ext4 320M
	add_dev "$GEOMETRY"
	fallocate -n -l 2M "$DIR/seq-000005"
	zbc "$DEV" write $((6 * 4096)) 64
	zbc "$DEV" flush
	settle
	bad_sectors 5
	cat >"$SCRATCH/job" <<-JOB
	[zone]
	filename=$DEV
	zonemode=zbd
	direct=1
	ioengine=libaio
	iodepth=8
	rw=write
	bs=16k
	offset=10M
	size=2M
	JOB
	refuse fio "$SCRATCH/job" >"$SCRATCH/log" 2>&1
	grep -q 'err= 5' "$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	# The block layer makes one request of several writes; that fails as a whole.
	z = d.zone(5)
	eq(z.cond == "IO" and 32 <= z.wp <= 1000 and z.wp % 32 == 0, True, f"zone with bad sectors: {z}")
	d.pread(5 * 4096, z.wp)
	d.zcheck(6, 0, 64); d.zwrite(6, 64, 64)
	for at in range(z.wp, 1000, 8): d.zwrite(5, at, 8, 5)
	d.zcheck(5, z.wp, 1000 - z.wp, 5)
	fails("EIO", d.zwrite, 5, 1000, 8)
	d.zone(5)
	fails("EIO", d.zwrite, 5, 1000, 64)
	cond(d, 5, "IO", 1000)
	# The zone can be had full, or empty, nevertheless.
	d.finish(5); d.reset(5); d.zwrite(5, 0, 64, 6)
	PY
	whole
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zcheck(5, 0, 64, 6); d.zwrite(5, 64, 1024, 6); d.flush(); d.zcheck(5, 0, 1088, 6)
	PY
}

# The page cache gives what is before a bad sector, and no error: the error is that of the read
# that wants more, once.
test_bad_sector_buffered() {
	setup ext4 buffered_io
	echo 3 >/proc/sys/vm/drop_caches
	ls -l "$DIR" >/dev/null
	bad_sectors 9
	timeout 60 "${ZBC[@]}" "$DEV" check $((9 * 4096)) 512 9 || fail "before the bad sector"
	mark_log
	for _ in 1 2; do
		refuse timeout 60 "${ZBC[@]}" "$DEV" check $((9 * 4096 + 800)) 512 9 2>"$SCRATCH/error"
		grep -q 'EIO\|Input/output error' "$SCRATCH/error" || fail "it did not fail: $(cat "$SCRATCH/error")"
	done
	expect_log "can't read 512 sectors at sector $((9 * 4096 + 800)).*in part only"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 9, "F"); d.zcheck(9, 1024, 3072, 9); d.zcheck(9, 0, 800, 9)
	PY
	whole
	is_well
	again buffered_io
}

# A command changes the file of a zone and can't make that durable, however often it is tried.
sync_fails() { # command zone size of the file then
	flaky error_writes
	for _ in 1 2 3; do
		refuse zbc "$DEV" "$1" $(($2 * 4096)) 2>/dev/null
		assert_eq "$(stat -c %s "$DIR/seq-00000$2")" "$3" "size of the file of zone $2"
	done
	whole
	# A file system may have to say, once, what it could not write of its own.
	: 2>/dev/null >"$BASE/other" || : >"$BASE/other"
	sync
}

# When the power fails, a finish that could not be made durable is as good as never asked for. Once
# it, or a reset, is tried again with success it is durable, and what was written before is not.
test_power_fails_after_a_failed_sync() {
	setup ext4
	sync_fails finish 3 2097152
	sync_fails finish 4 2097152
	sync_fails reset 6 0
	sync_fails reset 9 0
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 3, "F"); d.finish(4)
	for n in 6, 9: d.reset(n)
	d.zwrite(6, 0, 64, 1); d.zwrite(9, 0, 4096, 1)
	PY
	ctl "powerfail id=0"
	add_dev "$GEOMETRY"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 3, "C", 512); cond(d, 4, "F"); cond(d, 5, "C", 512)
	for n in 6, 9: cond(d, n, "E", 0)
	for n in 3, 4, 5: d.zcheck(n, 0, 512, n)
	d.zwrite(3, 512, 64, 3)
	PY
}

# What a file system takes for done, after a sync that has failed, need not be on the disk. A finish
# that is tried again is.
test_finish_after_a_failed_sync_is_on_the_disk() {
	setup ext4
	flaky error_writes
	refuse zbc "$DEV" finish $((3 * 4096)) 2>/dev/null
	whole
	zbc "$DEV" flush 2>/dev/null || zbc "$DEV" flush
	zbc "$DEV" finish $((3 * 4096))
	zbc "$DEV" flush
	remove_dev
	umount "$BASE"
	mount_below
	assert_eq "$(stat -c %s "$DIR/seq-000003")" 2097152 "size of the zone's file"
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 4096)) 512 3
}

# What can't be written back from the page cache is told to a flush, also if a finish was told first.
test_flush_is_told_after_a_finish() {
	setup ext4 buffered_io
	zbc "$DEV" write $((3 * 4096 + 512)) 64 3
	flaky error_writes
	refuse zbc "$DEV" finish $((3 * 4096)) 2>/dev/null
	whole
	refuse zbc "$DEV" flush 2>/dev/null
	zbc "$DEV" flush
	# Where nothing was written since the last flush there is nothing to tell.
	flaky error_writes
	refuse zbc "$DEV" finish $((10 * 4096)) 2>/dev/null
	whole
	: 2>/dev/null >"$BASE/other" || : >"$BASE/other"
	zbc "$DEV" flush
}

# A command that makes all durable says if it can't. The disk is gone all the same.
test_removal_says_what_is_lost() {
	setup ext4 buffered_io
	zbc "$DEV" write $((3 * 4096 + 512)) 64 3
	flaky error_writes
	mark_log
	ctl_fails EIO "remove id=0"
	[[ ! -e /sys/block/zloop0 ]] || fail "the disk is there"
	expect_log "zone 3: can't be flushed"
	expect_log "zloop0: removed"
	whole
	add_dev "$GEOMETRY,buffered_io"
	is_well
	# Where there is nothing to lose, it is lost.
	settle
	flaky error_writes
	remove_dev
	whole
}

# So does one that declares zones, which is refused then. What is recorded in the end is what is so.
test_declaration_that_cannot_be_recorded() {
	setup ext4
	ctl "zone_readonly id=0,zones=3"
	settle
	flaky error_writes
	ctl_fails EIO "zone_good id=0,zones=3"
	ctl_fails EIO "zone_offline id=0,zones=4"
	assert_eq "$(zbc "$DEV" report $((3 * 4096)) 2 | cut -d ' ' -f 5 | tr '\n' ' ')" "RO IO " conditions
	whole
	: 2>/dev/null >"$BASE/other" || : >"$BASE/other"
	sync
	remove_dev
	assert_eq "$(cat "$DIR/conditions")" "zone_readonly zones=3"
	add_dev "$GEOMETRY"
	assert_eq "$(zbc "$DEV" report $((3 * 4096)) 2 | cut -d ' ' -f 5 | tr '\n' ' ')" "RO C " conditions
}

# A file that was closed because so many others are open takes no error with it: the next flush is
# told that what was written could not be written back.
# limit: 400
# kernel: stock
test_error_of_a_file_that_was_closed() {
	local options=capacity_mb=8400,zone_size_mb=1,conv_zones=1,lazy_files,buffered_io before now
	make_below ext4 320M
	add_dev "$options"
	remove_dev
	py "$DIR" <<-'PY'
	for nr in range(1, 8400):
	    with open(f"{args[0]}/seq-{nr:06}", "wb") as f: f.truncate(4096)
	PY
	add_dev "$options"
	settle
	before=$(cut -f 1 /proc/sys/fs/file-nr)
	zbc "$DEV" write $((2048 + 8)) 8
	flaky error_writes
	sync
	whole
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for nr in range(2, 8390): d.pread(nr * 2048, 8)
	PY
	now=$(cut -f 1 /proc/sys/fs/file-nr)
	((now > before + 8000 && now < before + 8192 + 500)) || fail "$before files were open, now $now"
	# Somebody else is told, and nobody remembers it.
	py "$DIR/seq-000001" <<-'PY'
	fd = os.open(args[0], os.O_RDWR)
	try: os.fsync(fd)
	except OSError: pass
	PY
	sync
	echo 3 >/proc/sys/vm/drop_caches
	refuse zbc "$DEV" flush 2>/dev/null
	zbc "$DEV" flush
	remove_dev
}

# A slow disk is a disk: nothing is lost, out of order, or waited for in vain.
test_slow() {
	make_below ext4 320M
	slow 20
	add_dev "$GEOMETRY,nr_queues=2,max_open_zones=3"
	fio_zones "$DEV" --size=4M --offset=4M --rw=randwrite --bs=64k --iodepth=8 --max_open_zones=3
	fio_conv "$DEV" --size=1M --rw=randwrite --bs=16k --iodepth=16
	remove_dev
}

# Slower than a request may be: its time is over again and again while it is done,
# and it gets more each time.
test_slower_than_allowed() {
	setup ext4
	echo 1 >/sys/block/zloop0/queue/io_timeout
	echo 3 >/proc/sys/vm/drop_caches
	# The block layer looks at the clock once a second.
	slow 2500
	py "$DEV" <<-'PY'
	d, failures = Dev(args[0]), []
	def task(call, *arguments):
	    try:
	        call(*arguments)
	    except (OSError, AssertionError) as e:
	        failures.append(f"{call.__name__}{arguments}: {e}")
	tasks = [threading.Thread(target=task, args=a) for a in (
	    (d.zcheck, 3, 0, 8, 3), (d.check, 4096, 8, 2), (d.zwrite, 4, 512, 64, 4), (d.write, 0, 8), (d.finish, 5), (d.reset, 9), (d.flush,))]
	begin = time.monotonic()
	for t in tasks: t.start()
	for t in tasks: t.join()
	eq(failures, [], "failures")
	eq(time.monotonic() - begin > 2, True, "it took time")
	PY
	whole
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zcheck(4, 512, 64, 4); d.check(0, 512); cond(d, 5, "F"); cond(d, 9, "E")
	d.zwrite(9, 0, 4096, 9); d.zwrite(4, 576, 64, 4); d.zcheck(5, 0, 512, 5); d.flush()
	PY
	remove_dev
}

# While a write hangs below, whoever does not need it does not wait for it.
test_a_write_hangs() {
	local pid
	setup ext4
	dmsetup suspend --noflush --nolockfs below
	defer "dmsetup resume below"
	zbc "$DEV" write $((3 * 4096 + 512)) 64 3 &
	pid=$!
	until (($(awk '{print $2}' /sys/block/zloop0/inflight) > 0)); do sleep 0.1; done
	timeout 20 cat "$CONTROL" >/dev/null
	timeout 20 blkzone report "$DEV" >"$SCRATCH/zones" || fail "a report waits"
	assert_eq "$(wc -l <"$SCRATCH/zones")" 16
	timeout 20 head -c 0 "$DEV" || fail "an open waits"
	timeout 20 "${ZBC[@]}" "$DEV" open $((11 * 4096)) || fail "another zone's open waits"
	timeout 20 "${ZBC[@]}" "$DEV" check $((11 * 4096)) 8 zero || fail "a read of nothing waits"
	mkdir -p "$SCRATCH/other/1"
	ctl "add id=1,base_dir=$SCRATCH/other,$GEOMETRY"
	ctl "remove id=1"
	kill -0 $pid || fail "the write does not hang"
	dmsetup resume below
	wait $pid
	zbc "$DEV" check $((3 * 4096 + 512)) 64 3
}

# ---------------------------------------------------------------- file systems that stop

# The file system takes nothing any more: the device says so to whoever asks it to
# write, and can be removed. With the file system repaired it is as it was flushed.
stops() { # how, error of a removal
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zwrite(3, 512, 64, 3)
	PY
	eval "$1"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for turn in range(2):
	    fails("EIO", d.write, 0, 64)
	    fails("EIO", d.zwrite, 4, 512, 64)
	    eq(len(d.zones()), 16, "zones")
	    fails("EIO", d.reset, 5)
	    fails("EIO", d.finish, 6)
	    # The second time those that could not be reset may be offline, hence skipped.
	    if not turn: fails("EIO", d.reset_all)
	    d.open(11); d.close(11)
	# What was flushed before is not undone.
	try:
	    d.flush()
	except OSError as e:
	    eq(errno.errorcode[e.errno], "EIO", "flush")
	PY
	ctl_fails "$2" "remove id=0"
	remount_and_add
}

test_xfs_shut_down() {
	setup xfs
	stops "xfs_io -x -c 'shutdown -f' '$BASE'" EIO
}

test_ext4_shut_down() {
	setup ext4
	stops "xfs_io -x -c 'shutdown -f' '$BASE'" EIO
}

# errors=remount-ro
test_ext4_turns_read_only() {
	setup ext4
	mount -o remount,errors=remount-ro "$BASE"
	stops "echo 1 >/sys/fs/ext4/dm-0/trigger_fs_error" EROFS
}

# A file system on which a device is can't be made read-only by mistake.
test_remount_read_only() {
	setup ext4
	refuse mount -o remount,ro "$BASE" 2>/dev/null
	is_well
	remove_dev
	mount -o remount,ro "$BASE"
	ctl_fails EROFS "add id=0,base_dir=$BASE,$GEOMETRY"
	mount -o remount,rw "$BASE"
	add_dev "$GEOMETRY"
	is_well
}
