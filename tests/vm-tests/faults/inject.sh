# SPDX-License-Identifier: GPL-2.0
# inject: bad sectors, commands that fail, requests that get lost, and a slow device.
#
# Guards what a test of error handling above the device builds on: that exactly
# what was asked for fails, with the errors and write pointers of a real drive,
# and that nothing is left of it afterwards. The cases of fio's t/zbd 72 to 75,
# which null_blk is needed for, are here, too.

GEOMETRY=capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2

setup() { # options
	add_dev "$GEOMETRY${1:+,$1}"
}

# Python with: inject(text), and bad(zone, offset, sectors), which is the text of a range.
faults() {
	py_dev "$(
		cat <<-'PY'
		def inject(text):
		    control("inject id=0," + text)
		def bad(zone, offset, sectors):
		    return f"{zone * LEN + offset}-{zone * LEN + offset + sectors - 1}"
		def wp(n):
		    return d.zone(n).wp
		def took(fn, *a):
		    start = time.monotonic()
		    fn(*a)
		    return time.monotonic() - start
		PY
	)"
}

# Bad sectors fail, whoever comes to them, and their neighbours don't.
test_bad_sectors() {
	local o
	for o in "" buffered_io zone_append=0; do
		rm -rf "$BASE/0"
		setup "$o"
		faults <<-'PY'
		d.zwrite(3, 0, 64, 3); d.zwrite(0, 0, 256, 1)
		inject(f"badblocks=+{bad(3, 32, 8)}")
		inject(f"badblocks=+{bad(0, 64, 1)}")
		inject(f"badblocks=+{bad(4, 16, 8)}")
		for turn in range(2):
		    for at, n in (32, 8), (24, 16), (0, 64): fails("EIO", d.pread, 3 * LEN + at, n)
		    d.zcheck(3, 0, 32, 3); d.zcheck(3, 40, 24, 3)
		    # A sector of a block is enough.
		    fails("EIO", d.pread, 64, 8); fails("EIO", d.zwrite, 0, 64, 8); fails("EIO", d.zwrite, 0, 48, 64)
		    d.zcheck(0, 0, 64, 1); d.zcheck(0, 72, 184, 1); d.zwrite(0, 0, 64, 1); d.zwrite(0, 72, 64, 1)
		    # What nobody has written is as bad.
		    fails("EIO", d.pread, 4 * LEN + 16, 8); d.zcheck(4, 24, 8, None)
		# A write that fails writes nothing.
		fails("EIO", d.zwrite, 4, 0, 24)
		eq((wp(4), os.stat(f"{directory}/seq-000004").st_size), (0, 0), "after a write that failed")
		d.zwrite(4, 0, 16)
		for turn in range(2): fails("EIO", d.zwrite, 4, 16, 16); eq(wp(4), 16, "write pointer")
		inject(f"badblocks=-{bad(4, 0, 64)}")
		d.zwrite(4, 16, 16); d.zcheck(4, 0, 32)
		inject(f"badblocks=-0-0xffffffffffffffff")
		d.zcheck(3, 0, 64, 3); d.zcheck(0, 0, 256, 1)
		PY
		remove_dev
	done
}

# For reads and for writes.
test_bad_for_reads_or_writes() {
	setup
	faults <<-'PY'
	d.zwrite(0, 0, 64)
	inject(f"badblocks_read=+{bad(0, 0, 8)},badblocks_write=+{bad(0, 16, 8)}")
	fails("EIO", d.pread, 0, 8); d.zwrite(0, 0, 8)
	fails("EIO", d.zwrite, 0, 16, 8); d.zcheck(0, 16, 8)
	inject(f"badblocks=-{bad(0, 0, 64)}")
	d.zcheck(0, 0, 64); d.zwrite(0, 0, 64)
	PY
}

# badblocks_once: the row that is hit is good from then on, all of it.
test_once() {
	setup
	faults <<-'PY'
	d.zwrite(0, 0, 64)
	inject(f"badblocks_once=1,badblocks=+{bad(0, 8, 16)}")
	fails("EIO", d.pread, 16, 8)
	d.zcheck(0, 0, 64); d.zwrite(0, 8, 16)
	inject(f"badblocks=+{bad(3, 0, 8)}")
	fails("EIO", d.zwrite, 3, 0, 8)
	eq(wp(3), 0, "write pointer")
	d.zwrite(3, 0, 8); d.zcheck(3, 0, 8)
	PY
}

# badblocks_partial_io: a write ends before the block with the bad sector.
test_partial_writes() {
	local o
	for o in "" buffered_io nr_queues=2,max_open_zones=2; do
		rm -rf "$BASE/0"
		setup "$o"
		faults <<-'PY'
		inject(f"badblocks_partial_io=1,badblocks=+{bad(3, 67, 1)}")
		inject(f"badblocks=+{bad(1, 19, 1)}")
		fails("EIO", d.zwrite, 3, 0, 128, 3)
		eq(wp(3), 64, "write pointer before the bad block")
		d.zcheck(3, 0, 64, 3)
		eq(os.stat(f"{directory}/seq-000003").st_size, 64 * SECTOR, "size of the zone's file")
		# At the bad block there is nothing to write.
		fails("EIO", d.zwrite, 3, 64, 8, 3); eq(wp(3), 64, "write pointer")
		inject(f"badblocks=-{bad(3, 0, CAP)}")
		d.zwrite(3, 64, 64, 3); d.zcheck(3, 0, 128, 3)
		fails("EIO", d.zwrite, 1, 0, 64, 1)
		inject("clear")
		d.zcheck(1, 0, 16, 1); d.zcheck(1, 16, 48, None)
		PY
		remove_dev
	done
}

# Write zeroes is a write: bad sectors make it fail, and that costs the zone.
test_write_zeroes() {
	setup write_fault=readonly
	faults <<-'PY'
	d.zwrite(0, 0, 64); d.zwrite(3, 0, 8)
	inject(f"badblocks=+{bad(0, 16, 8)}"); inject(f"badblocks=+{bad(3, 24, 8)}")
	fails("EIO", d.zeroout, 0, 64)
	d.zeroout(0, 16); d.zeroout(24, 40)
	d.check(0, 16, None); d.check(24, 40, None)
	d.zeroout(3 * LEN + 8, 16); d.zcheck(3, 8, 16, None); cond(d, 3, "IO", 24)
	fails("EIO", d.zeroout, 3 * LEN + 24, 16)
	cond(d, 3, "RO")
	inject("clear,write_nsec=600000000")
	assert took(d.zeroout, 0, 64) >= 0.6
	PY
	assert_eq "$(cat "$DIR/conditions")" "zone_readonly zones=3"
}

# Many appends in flight: those with a bad sector fail, all others have a place of
# their own, and the zone goes on.
test_appends() {
	setup
	use_requests
	faults <<-'PY'
	r = Requests(args[0])
	inject(f"badblocks=+{bad(3, 96, 8)},badblocks_once=1")
	ends = r.run(f"append at={3 * LEN} sectors=8 count=32 seed=1", depth=32)
	failed = [e for e in ends if e.error != "ok"]
	eq([e.error for e in failed], ["EIO"], "appends that failed")
	places = sorted(e.sector - 3 * LEN for e in ends if e.error == "ok")
	eq(places, [8 * n for n in range(31)], "places of the others")
	eq(wp(3), 31 * 8, "write pointer")
	# Lasting, the zone can't get past it.
	inject(f"badblocks_once=0,badblocks=+{bad(4, 96, 8)}")
	ends = r.run(f"append at={4 * LEN} sectors=8 count=32 seed=1", depth=32)
	eq(sum(e.error == "ok" for e in ends), 12, "appends before it")
	eq(wp(4), 96, "write pointer")
	inject("clear")
	r.run(f"append at={4 * LEN} sectors=8 count=4 seed=1", depth=4)
	eq(wp(4), 128, "write pointer afterwards")
	r.close_fd()
	PY
}

# A write fails half way, its writer asks for the write pointer and goes on from
# there: what fio's recover_zbd_write_error does. One writer and several, each row
# bad once (72 and 73) or for good (74 and 75), where the zone is given up.
test_writers_recover() {
	setup nr_queues=2
	faults <<-'PY'
	def spoil(lasting):
	    inject(f"clear,badblocks_partial_io=1,badblocks_once={int(not lasting)}")
	    for n in range(3, 9):
	        for at in (200, 1003, 1500): inject(f"badblocks=+{bad(n, at, 3)}")
	def writer(n, sectors, result):
	    at, errors, stuck = 0, 0, 0
	    while at < CAP and stuck < 2:
	        try:
	            d.zwrite(n, at, min(sectors, CAP - at), n)
	            at += min(sectors, CAP - at)
	        except OSError as e:
	            eq(errno.errorcode[e.errno], "EIO", "a failure")
	            z = d.zone(n)
	            now = CAP if z.cond == "F" else z.wp
	            assert at <= now <= at + sectors and now % 8 == 0, (n, at, now)
	            errors += 1
	            # Block by block, twice.
	            stuck = stuck + 1 if now == at and sectors == 8 else 0
	            if now == at: sectors = 8
	            at = now
	    result[n] = (at, errors)
	for lasting in False, True:
	    for jobs in 1, 6:
	        d.reset_all()
	        spoil(lasting)
	        result = {}
	        threads = [threading.Thread(target=writer, args=(n, 64, result)) for n in range(3, 3 + jobs)]
	        for t in threads: t.start()
	        for t in threads: t.join()
	        eq(len(result), jobs, "writers that came to an end")
	        for n, (at, errors) in result.items():
	            eq(at, 200 if lasting else CAP, f"how far the writer of zone {n} came (lasting: {lasting}, {jobs} jobs)")
	            assert errors >= (2 if lasting else 3), (n, errors)
	        inject("clear")
	        for n, (at, errors) in result.items(): d.zcheck(n, 0, at, n)
	PY
}

# So many of the next commands fail, and change nothing.
test_failing_commands() {
	setup max_open_zones=2
	faults <<-'PY'
	d.zwrite(3, 0, 8, 3); d.zwrite(4, 0, 8)
	for name, fn, before, after in ("open", d.open, "IO", "EO"), ("close", d.close, "EO", "C"), ("finish", d.finish, "C", "F"), ("reset", d.reset, "F", "E"):
	    inject(f"fail_{name}=2")
	    for turn in range(2):
	        refused(d, "EIO", fn, 3)
	        cond(d, 3, before)
	    fn(3)
	    cond(d, 3, after)
	# One kind is not the other.
	inject("fail_reset=1"); d.open(5); d.close(5); d.finish(5)
	refused(d, "EIO", d.reset, 5)
	# Of a reset of all zones one part fails, which fails it.
	for n in 6, 7, 8: d.zwrite(n, 0, 8)
	inject("fail_reset=1")
	fails("EIO", d.reset_all)
	eq(sum(z.cond != "E" for z in d.zones()[2:]), 1, "zones that were not reset")
	d.reset_all()
	eq({z.cond for z in d.zones()[2:]}, {"E"}, "zones")
	inject("fail_open=100"); inject("clear"); d.open(3)
	PY
}

# A request that gets lost ends when its time is over, and was not carried out.
test_timeouts() {
	setup
	echo 1000 >/sys/block/zloop0/queue/io_timeout
	faults <<-'PY'
	d.zwrite(3, 0, 8); d.write(0, 8, 1)
	for what, call in {
	    "read": lambda: d.pread(3 * LEN, 8),
	    "write": lambda: d.zwrite(3, 8, 8),
	    "open": lambda: d.open(4),
	    "reset all": d.reset_all,
	}.items():
	    inject("timeout=1")
	    start = time.monotonic()
	    fails("ETIMEDOUT", call)
	    assert time.monotonic() - start > 0.5, what
	    d.zones()
	d.check(0, 8, 1); d.zcheck(3, 0, 8)
	cond(d, 3, "IO", 8); cond(d, 4, "E")
	d.zwrite(3, 8, 8); d.zcheck(3, 0, 16)
	PY
}

# Requests that get lost end as others do, and are counted.
test_lost_requests_are_counted() {
	local counters=/sys/kernel/debug/zloop/zloop0/counters
	setup
	echo 1000 >/sys/block/zloop0/queue/io_timeout
	ctl "inject id=0,timeout=3"
	refuse dd if="$DEV" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null
	refuse zbc "$DEV" open $((4 * 4096)) 2>/dev/null
	refuse zbc "$DEV" write $((3 * 4096)) 8 2>/dev/null
	for what in read zone_open write; do
		assert_eq "$(awk -v name="$what" '$1 == name {print $2}' $counters)" 1 "requests: $what"
		assert_eq "$(awk -v name="${what}_errors" '$1 == name {print $2}' $counters)" 1 "errors: $what"
	done
}

# Whether a request meets the faults is decided once, however often they come and go meanwhile: a
# zone in which nothing is written has zeros.
test_faults_come_and_go() {
	local pid
	setup nr_queues=2
	fio --name=reads --filename="$DEV" --offset=4M --size=28M --rw=randread --bs=4k --direct=1 \
		--ioengine=libaio --iodepth=32 --time_based --runtime=15 --output="$SCRATCH/fio.log" &
	pid=$!
	py <<-'PY'
	end = time.monotonic() + 16
	while time.monotonic() < end:
	    control("inject id=0,read_nsec=1")
	    control("inject id=0,clear")
	PY
	wait $pid || fail "$(cat "$SCRATCH/fio.log")"
	assert_eq "$(awk '$1 == "read_errors" {print $2}' /sys/kernel/debug/zloop/zloop0/counters)" 0 "errors"
}

# Writes that were together and are written one by one take the time of one try.
test_faults_are_met_once() {
	add_dev capacity_mb=32,zone_size_mb=8,conv_zones=1
	use_requests
	faults <<-'PY'
	r, zone = Requests(args[0]), 8 * MIB
	def append(nr):
	    start = time.monotonic()
	    ends = r.run(f"append at={nr * zone} sectors=128 count=64 seed=1", depth=64)
	    return time.monotonic() - start, [e.error for e in ends if e.error != "ok"]
	inject("badblocks_once=1,write_mbps=1")
	without, errors = append(2)
	eq(errors, [], "appends that failed")
	# 4 MiB at 1 MiB/s.
	assert without >= 3.7, without
	for at in 1024, 3000, 5000, 7000: inject(f"badblocks=+{zone + at}-{zone + at}")
	time_, errors = append(1)
	eq(errors, ["EIO"] * 4, "appends that failed")
	assert 3.7 <= time_ < 1.5 * without, (time_, without)
	r.close_fd()
	PY
}

# Requests that are queued again are carried out in the end, each once.
test_requeues() {
	setup nr_queues=2
	faults <<-'PY'
	inject("requeue=40")
	for at in range(0, 512, 8): d.zwrite(3, at, 8, 3); d.write(at, 8, 1)
	d.zcheck(3, 0, 512, 3); d.check(0, 512, 1); d.open(4); d.reset(3); d.flush()
	cond(d, 3, "E"); cond(d, 4, "EO")
	inject("requeue=1000000")
	threads = [threading.Thread(target=d.zwrite, args=(5, 0, 8))]
	for t in threads: t.start()
	time.sleep(0.3)
	assert threads[0].is_alive(), "a request was not queued again"
	# A command for which all requests have to end does not wait for ever, and is no end of it.
	assert took(control, "zone_offline id=0,zones=15") < 10
	time.sleep(0.3)
	inject("requeue=1000000")
	threads.append(threading.Thread(target=d.zwrite, args=(6, 0, 8)))
	threads[1].start()
	time.sleep(0.3)
	assert threads[1].is_alive(), "a request was not queued again"
	inject("requeue=0")
	for t in threads: t.join()
	d.zcheck(5, 0, 8)
	PY
}

# Each kind of request takes longer by what was asked for, the others don't.
test_delays() {
	setup
	faults <<-'PY'
	d.zwrite(3, 0, 8); d.write(0, 8)
	kinds = {
	    "read": [lambda: d.pread(3 * LEN, 8), lambda: d.pread(0, 8), lambda: d.pread(9 * LEN, 8)],
	    "write": [lambda: d.zwrite(3, d.zone(3).wp, 8), lambda: d.write(0, 8)],
	    "zone": [lambda: d.open(4), lambda: d.close(4), lambda: d.finish(5), lambda: d.reset(5), d.reset_all],
	}
	for kind in kinds:
	    inject(f"clear,{kind}_nsec=600000000")
	    for other, calls in kinds.items():
	        for call in calls:
	            time_ = took(call)
	            assert (time_ >= 0.6) == (other == kind), (kind, other, time_)
	# They don't wait for each other.
	inject("clear,read_nsec=600000000")
	threads = [threading.Thread(target=d.pread, args=(n * LEN, 8)) for n in range(2, 10)]
	start = time.monotonic()
	for t in threads: t.start()
	for t in threads: t.join()
	assert 0.6 <= time.monotonic() - start < 2.4, time.monotonic() - start
	# A delay of an hour can be taken back.
	inject("clear,write_nsec=4000000000")
	inject("write_mbps=1")
	t = threading.Thread(target=d.write, args=(0, 2048)); t.start()
	time.sleep(0.2); inject("clear"); t.join(3.0)
	assert not t.is_alive(), "it waits although all was taken back"
	PY
}

# A limit of the bandwidth of reads or writes.
test_bandwidth() {
	setup
	faults <<-'PY'
	inject("write_mbps=1")
	time_ = took(lambda: [d.zwrite(3, at, 128) for at in range(0, 2048, 128)])
	assert 0.9 <= time_ < 4, time_
	time_ = took(d.zcheck, 3, 0, 2048)
	assert time_ < 0.8, time_
	inject("clear,read_mbps=1")
	time_ = took(d.zcheck, 3, 0, 2048)
	assert 0.9 <= time_ < 4, time_
	inject("read_mbps=0")
	time_ = took(d.zcheck, 3, 0, 2048)
	assert time_ < 0.8, time_
	PY
}

# write_fault: a write that fails costs the zone.
test_write_fault() {
	local o
	for o in readonly offline; do
		rm -rf "$BASE/0"
		setup "write_fault=$o,max_open_zones=1,max_active_zones=1"
		faults <<-PY
		bad_cond = "RO" if "$o" == "readonly" else "OFF"
		d.zwrite(3, 0, 16, 3)
		inject(f"badblocks_partial_io=1,badblocks_write=+{bad(3, 24, 8)}")
		fails("EIO", d.zwrite, 3, 16, 32, 3)
		for turn in range(3):
		    eq([z.cond for z in d.cached()[2:5]], ["E", bad_cond, "E"], "a cached report")
		    cond(d, 3, bad_cond)
		    fails("EIO", d.zwrite, 3, 24, 8)
		inject("clear")
		if bad_cond == "RO":
		    d.zcheck(3, 0, 24, 3)
		else:
		    fails("EIO", d.pread, 3 * LEN, 8)
		# Its slots are free. A refused write is no fault.
		d.zwrite(4, 0, 8)
		fails("EIO", d.zwrite, 4, 32, 8); cond(d, 4, "IO")
		d.finish(4)
		PY
		assert_eq "$(cat "$DIR/conditions")" "zone_$o zones=3"
		readd_dev "$GEOMETRY"
		py "$DEV" <<-PY
		d = Dev(args[0])
		eq(d.zone(3).cond, "RO" if "$o" == "readonly" else "OFF", "after an add")
		control("zone_good id=0,zones=3")
		cond(d, 3, "C", 24)
		d.zcheck(3, 0, 24, 3)
		PY
		remove_dev
	done
}

# It is the device's while it is there, and no longer.
test_gone_with_the_device() {
	setup
	ctl "inject id=0,badblocks=+0-7,fail_open=5,read_nsec=900000000,requeue=5,timeout=5"
	readd_dev "$GEOMETRY"
	faults <<-'PY'
	assert took(d.pread, 0, 8) < 0.8
	d.open(3)
	PY
}

# A device goes away under load while faults are there.
test_removal() {
	setup nr_queues=2
	# What would take for ever is not waited for.
	ctl "inject id=0,read_nsec=20000000,write_nsec=20000000,badblocks=+16384-16391,requeue=1000000000"
	faults <<-'PY'
	def worker(n):
	    try:
	        for at in range(0, CAP, 8): d.zwrite(n, at, 8)
	    except OSError:
	        pass
	threads = [threading.Thread(target=worker, args=(n,)) for n in range(3, 9)]
	for t in threads: t.start()
	time.sleep(0.3)
	assert took(control, "remove id=0") < 10
	for t in threads: t.join()
	d.close_fd()
	PY
	# A removal that fails changes nothing.
	setup
	dmsetup create above --table "0 65536 linear $DEV 0"
	defer "dmsetup remove above"
	ctl "inject id=0,requeue=1000000000,fail_open=1"
	ctl_fails EBUSY "remove id=0"
	ctl "inject id=0,requeue=0"
	refuse zbc "$DEV" open $((3 * 4096))
	zbc "$DEV" open $((3 * 4096))
}

# What can't be is said, and nothing has changed.
# limit: 240
test_bad_input() {
	setup
	ctl_refused EINVAL "inject id=0,badblocks=0-7" badblocks "[+]"
	ctl_refused EINVAL "inject id=0,badblocks=+0-65536" zloop0 65536 "end of the device"
	ctl_refused EINVAL "inject id=0,fail_open=1,badblocks=+0-99999999" 65536
	ctl_refused EINVAL "inject id=0,fail_open=x" fail_open number
	ctl_refused EINVAL "inject id=0,fail_write=1" fail_write
	ctl_refused EINVAL "inject id=0" inject
	ctl_refused ENODEV "inject id=5,clear" zloop5
	ctl_refused EINVAL "add id=1,write_fault=broken" write_fault good readonly offline
	faults <<-'PY'
	d.open(3); d.write(0, 8)
	for n in range(511): inject(f"badblocks=+{n * 16}-{n * 16 + 2}")
	fails("ENOSPC", inject, "badblocks=+60000-60000,badblocks_read=+61000-61000,fail_reset=1")
	d.reset(3); d.pread(60000, 8)
	inject("badblocks=+60000-60000")
	fails("EIO", d.pread, 60000, 8)
	fails("ENOSPC", inject, "badblocks=+61000-61000")
	# One would be two.
	fails("ENOSPC", inject, "badblocks=-1-1")
	# What needs no more of them is done.
	inject("badblocks=+3-3")
	inject("badblocks=-32-34"); inject("badblocks=+61000-61000")
	fails("EIO", d.pread, 61000, 8)
	PY
	expect_log "too many"
}
