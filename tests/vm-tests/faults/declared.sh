# SPDX-License-Identifier: GPL-2.0
# zone_readonly, zone_offline and zone_good: zones that fail on command.
#
# Guards what those who test with it need: that a zone is what it was declared to
# be in every kind of report and for every command, that others aren't touched,
# that it stays so when the device is removed and added, and that a zone which is
# good again is what its file says, with nothing lost.

GEOMETRY=capacity_mb=32,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2

setup() { # options
	add_dev "$GEOMETRY${1:+,$1}"
}

# Python with: declare(what, zones), conds(zones...) after a look at each kind of
# report, which must say the same.
declared() {
	py_dev "$(
		cat <<-'PY'
		def declare(what, zones):
		    control(f"zone_{what} id=0,zones={zones}")
		def collapsed(zone):
		    # Of a zone in which nothing is written the block layer doesn't know whether it is open.
		    cond = "E" if zone.wp == 0 else "ACTIVE" if zone.cond in ("IO", "EO", "C") else zone.cond
		    # What is remembered of a full zone has no write pointer, or that at its end.
		    return zone.start, cond, None if cond == "F" else zone.wp, zone.cap
		def conds(*zones):
		    cached, zoned = d.cached(), d.zones()
		    for what, those in ("before", cached), ("after", d.cached()):
		        eq([collapsed(z) for z in those], [collapsed(z) for z in zoned], f"a cached report {what} another one")
		    return " ".join(zoned[n].cond for n in zones)
		PY
	)"
}

record() {
	cat "$DIR/conditions" 2>/dev/null || echo none
}

# Whatever they were, zones are read-only or offline at once, and good again.
test_every_condition() {
	setup
	declared <<-'PY'
	d.zwrite(3, 0, 8); d.open(4); d.zwrite(5, 0, 8); d.close(5); d.zwrite(6, 0, CAP); d.finish(7)
	before = "E IO EO C F F"
	eq(conds(*range(2, 8)), before, "before")
	for what, cond in ("readonly", "RO"), ("offline", "OFF"):
	    declare(what, "2-7")
	    eq(conds(*range(2, 8)), " ".join([cond] * 6), what)
	    eq({z.raw_wp for z in d.zones()[2:8]}, {INVALID}, "write pointers")
	    eq(conds(8, 9, 15), "E E E", "the others")
	declare("good", "2-7")
	eq(conds(*range(2, 8)), "E C E C F F", "good again, nothing open")
	for n, wp in (3, 8), (5, 8), (6, CAP): d.zcheck(n, 0, wp)
	d.zcheck(7, 0, CAP, None)
	for n, wp in (3, 8), (4, 0), (5, 8): d.zwrite(n, wp, 8); d.zcheck(n, 0, wp + 8)
	# What is good is left alone.
	declare("good", "2-15")
	eq(conds(*range(2, 8)), "E IO IO IO F F", "declared good though it was")
	PY
	assert_eq "$(record)" none "the record"
}

# What can be done with them.
test_commands() {
	setup
	declared <<-'PY'
	for n in 3, 4, 5, 6: d.zwrite(n, 0, 64, n)
	d.open(4); d.open(6)
	declare("readonly", "3-4"); declare("offline", "5"); declare("offline", "6")
	eq(conds(2, 3, 4, 5, 6, 7), "E RO RO OFF OFF E", "declared")
	for n in 3, 4, 5, 6:
	    for at in 0, 64: refused(d, "EIO", d.zwrite, n, at, 8)
	    for command in d.open, d.close, d.finish, d.reset: refused(d, "EIO", command, n)
	for n in 3, 4:
	    d.zcheck(n, 0, 64, n); d.zcheck(n, 64, 64, None)
	for n in 5, 6:
	    for at in 0, 32, 64, CAP: fails("EIO", d.pread, n * LEN + at, 8)
	# The others are not touched.
	d.zwrite(2, 0, 8); d.zwrite(7, 0, 8); d.write(0, 64); d.flush()
	d.reset_all()
	eq(conds(2, 3, 4, 5, 6, 7), "E RO RO OFF OFF E", "after a reset of all zones")
	d.zcheck(3, 0, 64, 3)
	declare("good", "3-6")
	eq(conds(2, 3, 4, 5, 6, 7), "E C C C C E", "good again")
	for n in 3, 4, 5, 6: d.zcheck(n, 0, 64, n); d.zwrite(n, 64, 64, n); d.zcheck(n, 0, 128, n)
	d.reset_all()
	eq(conds(*range(2, 16)), " ".join(["E"] * 14), "after another one")
	PY
}

# The block layer remembers what zones are, and forgets it when a write fails: a
# report would be followed by cached ones that take the zone for full.
test_cached_reports_after_failed_writes() {
	local o
	for o in "" zone_append=0; do
		rm -rf "$BASE/0"
		setup "$o"
		declared <<-'PY'
		d.zwrite(3, 0, 8); d.zwrite(4, 0, 8)
		declare("readonly", "3"); declare("offline", "4")
		for turn in range(3):
		    for n in 3, 4:
		        fails("EIO", d.zwrite, n, 8, 8)
		        fails("EIO", d.reset, n)
		    d.zones()
		    eq([z.cond for z in d.cached()[2:6]], ["E", "RO", "OFF", "E"], f"a cached report, turn {turn}")
		    eq(conds(3, 4), "RO OFF", "reports")
		declare("good", "3-4")
		eq(conds(3, 4), "C C", "good again")
		eq([z.wp for z in d.cached()[3:5]], [8, 8], "remembered write pointers")
		for n in 3, 4: d.zwrite(n, 8, 8); d.zcheck(n, 0, 16)
		eq(conds(3, 4), "IO IO", "written")
		PY
		remove_dev
	done
}

# Emulated appends need the write pointer that the block layer has.
test_appends_to_a_zone_that_is_good_again() {
	local o
	use_requests
	for o in zone_append=1 zone_append=0; do
		rm -rf "$BASE/0"
		setup "$o"
		zbc "$DEV" write $((3 * 4096)) 64
		ctl "zone_readonly id=0,zones=3"
		# It comes without a write pointer for the block layer to know.
		readd_dev "$GEOMETRY,$o"
		declared <<-'PY'
		r = Requests(args[0])
		append = lambda: r.one(f"append at={3 * LEN} sectors=8 seed=1")
		eq(conds(3), "RO", "after an add")
		fails("EIO", append)
		declare("good", "3")
		eq(append(), 3 * LEN + 64, "an append")
		eq(append(), 3 * LEN + 72, "another one")
		d.zcheck(3, 0, 64)
		declare("offline", "3")
		fails("EIO", append)
		declare("good", "3")
		eq(append(), 3 * LEN + 80, "one more")
		eq(conds(3), "IO", "reports")
		r.close_fd()
		PY
		remove_dev
	done
}

# Slots are given back, and a closed zone takes its active one again.
test_slots() {
	setup max_open_zones=1,max_active_zones=2
	declared <<-'PY'
	d.zwrite(3, 0, 8); d.open(4); d.zwrite(4, 0, 8)
	refused(d, "EOVERFLOW", d.open, 5)
	declare("readonly", "4")
	eq(conds(3, 4, 5), "C RO E", "declared")
	d.open(5)
	refused(d, "EOVERFLOW", d.open, 6)
	declare("good", "4")
	eq(conds(3, 4, 5), "C C EO", "one more than may be active")
	d.close(5)
	refused(d, "EOVERFLOW", d.open, 6)
	d.reset(4)
	d.open(6)
	PY
}

# It belongs to the device, as its data does.
test_remove_and_add() {
	setup
	declared <<-'PY'
	for n in 3, 4, 5: d.zwrite(n, 0, 64, n)
	PY
	ctl "zone_readonly id=0,zones=3"
	ctl "zone_offline id=0,zones=4-6"
	ctl "zone_readonly id=0,zones=15"
	assert_eq "$(record)" "zone_readonly zones=3
zone_offline zones=4-6
zone_readonly zones=15" "the record"
	assert_eq "$(stat -c %a "$DIR/conditions")" 600 "its permissions"
	local o
	for o in "" buffered_io max_open_zones=2,max_active_zones=2 discard_write_cache; do
		readd_dev "$GEOMETRY${o:+,$o}"
		declared <<-'PY'
		eq(conds(*range(2, 8)), "E RO OFF OFF OFF E", "after an add")
		eq(conds(14, 15), "E RO", "after an add")
		d.zcheck(3, 0, 64, 3)
		fails("EIO", d.pread, 4 * LEN, 8)
		fails("EIO", d.zwrite, 15, 0, 8)
		d.zones()
		PY
	done
	ctl "zone_good id=0,zones=2-5"
	assert_eq "$(record)" "zone_offline zones=6
zone_readonly zones=15" "the record"
	readd_dev "$GEOMETRY"
	declared <<-'PY'
	eq(conds(*range(2, 8)), "E C C C OFF E", "after another one")
	for n in 3, 4, 5: d.zcheck(n, 0, 64, n)
	PY
	ctl "zone_good id=0,zones=2-15"
	assert_eq "$(record)" none "the record"
	# The C driver takes no notice of it.
	ctl "zone_offline id=0,zones=4"
	remove_dev
	if [[ -r $C_ZLOOP_KO ]]; then
		use_driver c
		add_dev "$GEOMETRY"
		declared <<-'PY'
		eq([z.cond for z in d.zones()[2:7]], ["E", "C", "C", "C", "E"], "the C driver's conditions")
		d.zcheck(4, 0, 64, 4)
		PY
		remove_dev
		use_driver "$DRIVER"
		add_dev "$GEOMETRY"
		declared <<-'PY'
		eq(conds(3, 4, 5), "C OFF C", "conditions")
		PY
	fi
}

# A zone that is good again is what its file is by then.
test_the_file_decides() {
	setup
	declared <<-'PY'
	for n in 3, 4, 5, 6: d.zwrite(n, 0, 64, n)
	d.flush()
	declare("offline", "3-6")
	PY
	truncate -s $((96 * 512)) "$DIR/seq-000003"
	truncate -s 1M "$DIR/seq-000004"
	truncate -s $((32 * 512)) "$DIR/seq-000005"
	truncate -s 3M "$DIR/seq-000006"
	declared <<-'PY'
	eq(conds(3, 4, 5, 6), "OFF OFF OFF OFF", "before")
	declare("good", "3-6")
	# Where data is missing, or too much, the zone has failed indeed.
	eq([z.cond for z in d.zones()[3:7]], ["C", "F", "RO", "RO"], "after")
	d.zcheck(3, 0, 64, 3); d.zcheck(3, 64, 32, None)
	PY
	# The block layer has a write pointer of its own, which nothing that happened to
	# a file can change.
	truncate -s $((64 * 512)) "$DIR/seq-000006"
	readd_dev "$GEOMETRY"
	declared <<-'PY'
	d.zwrite(3, 96, 8)
	# What was missing is not missed by who has not seen it.
	eq([d.zone(n).wp for n in (3, 4, 5, 6)], [104, None, 32, 64], "write pointers after an add")
	PY
}

# What can't be done is said, and nothing has changed.
# limit: 240
test_bad_input() {
	setup
	declared <<-'PY'
	declare("readonly", "4")
	PY
	ctl_refused EINVAL "zone_readonly id=0,zones=0" "zones=0" "from 2 to 15" sequential
	ctl_refused EINVAL "zone_readonly id=0,zones=1-3" "zones=1-3" "from 2 to 15"
	ctl_refused EINVAL "zone_good id=0,zones=4-4294967295" "from 2 to 15"
	ctl_refused EINVAL "zone_offline id=0,zones=5-3" "5-3" first last
	ctl_refused EINVAL "zone_offline id=0" zones missing
	ctl_refused EINVAL "zone_offline id=0,zones=3,capacity_mb=4" capacity_mb
	ctl_refused EINVAL "zone_broken id=0,zones=3" zone_broken zone_readonly zone_offline zone_good
	ctl_refused ENODEV "zone_offline id=7,zones=3" zloop7 "no such device"
	ctl_refused EINVAL "add id=1,zones=3" zones
	assert_eq "$(record)" "zone_readonly zones=4" "the record"
	# What can't be recorded is not done.
	mkdir "$DIR/conditions.new"
	mark_log
	refuse ctl "zone_offline id=0,zones=3-5" 2>/dev/null
	expect_log "zones=3-5" recorded
	rmdir "$DIR/conditions.new"
	declared <<-'PY'
	eq(conds(*range(2, 16)), "E E RO " + " ".join(["E"] * 11), "conditions")
	d.zwrite(3, 0, 8)
	PY
	# What was left half written is not in the way.
	echo "zone_off" >"$DIR/conditions.new"
	ctl "zone_offline id=0,zones=5"
	assert_eq "$(record)" "zone_readonly zones=4
zone_offline zones=5" "the record"
	[[ ! -e $DIR/conditions.new ]] || fail "conditions.new is there"
}

# A record that is damaged is not guessed at.
test_damaged_record() {
	setup
	zbc "$DEV" write $((3 * 4096)) 64
	remove_dev
	local text
	for text in "zone_offline zones=" "zone_offline zones=1" "zone_offline zones=16" "zone_off" "zones=3" \
		"zone_readonly zones=3
zone_offline" "zone_readonly zones=5
zone_readonly zones=3" "zone_offline zones=3-6
zone_readonly zones=6"; do
		echo "$text" >"$DIR/conditions"
		mark_log
		ctl_fails EINVAL "add id=0,base_dir=$BASE,$GEOMETRY"
		expect_log zloop0 "conditions|sequential"
		expect_one_line
	done
	rm "$DIR/conditions"
	mkdir "$DIR/conditions"
	refuse ctl "add id=0,base_dir=$BASE,$GEOMETRY" 2>/dev/null
	rmdir "$DIR/conditions"
	ln -s /etc/passwd "$DIR/conditions"
	refuse ctl "add id=0,base_dir=$BASE,$GEOMETRY" 2>/dev/null
	rm "$DIR/conditions"
	setup
	zbc "$DEV" check $((3 * 4096)) 64
}

# With lazy_files a zone may have no file.
test_lazy_files() {
	setup lazy_files
	declared <<-'PY'
	d.zwrite(4, 0, 8)
	declare("offline", "3-4")
	PY
	readd_dev "$GEOMETRY,lazy_files"
	declared <<-'PY'
	eq(conds(3, 4, 5), "OFF OFF E", "after an add")
	declare("good", "3-4")
	eq(conds(3, 4, 5), "E C E", "good again")
	d.zwrite(3, 0, 8); d.zcheck(3, 0, 8); d.zcheck(4, 0, 8)
	PY
}

# While zones are being written, reset and reported. Each write is there or has
# failed, nothing hangs, and afterwards all reports are right.
# limit: 240
test_under_load() {
	setup max_open_zones=4,nr_queues=2
	declared <<-'PY'
	stop, errors = [], []
	def worker(n):
	    r = random.Random(n)
	    at = 0
	    try:
	        while not stop:
	            try:
	                if at >= CAP or r.random() < 0.02:
	                    d.reset(n)
	                    at = 0
	                d.zwrite(n, at, 32, n)
	                at += 32
	            except OSError as e:
	                eq(errno.errorcode[e.errno], "EIO", "a failure")
	                z = d.zone(n)
	                if z.wp is not None:
	                    assert z.wp >= at, (z, at)
	                    at = z.wp
	                elif z.cond == "F":
	                    at = CAP
	    except Exception as e:
	        errors.append((n, at, e))
	def reporter():
	    try:
	        while not stop:
	            d.zones(); d.cached()
	    except Exception as e:
	        errors.append(("report", e))
	threads = [threading.Thread(target=worker, args=(n,)) for n in range(3, 9)] + [threading.Thread(target=reporter)]
	for t in threads: t.start()
	r = random.Random(1)
	for turn in range(60):
	    first = r.randrange(3, 9)
	    declare(r.choice(("readonly", "offline", "good")), f"{first}-{r.randrange(first, 9)}")
	    time.sleep(0.02)
	declare("good", "2-15")
	time.sleep(0.3)
	stop.append(1)
	for t in threads: t.join()
	eq(errors, [], "workers")
	for z in d.zones()[3:9]:
	    n = z.start // LEN
	    d.zcheck(n, 0, CAP if z.cond == "F" else z.wp, n)
	conds()
	assert any(z.wp for z in d.zones()[3:9]) or "F" in {z.cond for z in d.zones()}, "nothing was written"
	PY
}

# A report that is held up while it looks at a zone must not have the block layer remember what the
# zone was, when it is good again. The task that makes reports loses its CPU for a while at any time.
# limit: 240
# kernel: stock
test_reports_beside_declarations() {
	make_fs tmpfs 64M "$BASE"
	add_dev capacity_mb=40,zone_size_mb=1,conv_zones=0
	py "$DEV" <<-'PY'
	import mmap, signal
	d, flag = Dev(args[0]), mmap.mmap(-1, 1)
	if os.cpu_count() < 2: sys.exit()
	def child(run):
	    pid = os.fork()
	    if not pid:
	        os.sched_setaffinity(0, {1})
	        run(Dev(args[0]))
	    return pid
	def report(d):
	    buf = bytearray(16 + 64 * 40)
	    while True:
	        struct.pack_into("<QII", buf, 0, 0, 40, 0)
	        fcntl.ioctl(d.fd, BLKREPORTZONE, buf)
	def spin(d):
	    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
	    while True:
	        time.sleep(0.1 + random.random() / 100)
	        flag[0] = 1
	        end = time.monotonic() + 0.5
	        while time.monotonic() < end: pass
	        flag[0] = 0
	os.sched_setaffinity(0, {0})
	pids = [child(report), child(spin)]
	try:
	    for turn in range(60):
	        control("zone_readonly id=0,zones=0-39")
	        while flag[0]: time.sleep(0.001)
	        while not flag[0]: time.sleep(0.001)
	        control("zone_good id=0,zones=0-39")
	        while flag[0]: time.sleep(0.001)
	        time.sleep(0.05)
	        eq({z.cond for z in d.cached(0, 40)}, {"E"}, f"a cached report, turn {turn}")
	finally:
	    for pid in pids: os.kill(pid, signal.SIGKILL)
	    for pid in pids: os.waitpid(pid, 0)
	PY
	remove_dev
	umount "$BASE"
}
