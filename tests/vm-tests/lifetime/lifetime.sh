# SPDX-License-Identifier: GPL-2.0
# Devices that come and go.
#
# Guards against what is left behind: ids, files, memory, references to the module
# or to the file system below; and against removal that hangs or crashes when
# there is work under way.
# limit: 300

GEOMETRY=capacity_mb=16,zone_size_mb=1,conv_zones=1

references() {
	cat /sys/module/zloop/refcnt
}

test_fifty_times() {
	local i before after
	make_fs ext4 64M "$BASE"
	mkdir "$BASE/0"
	ctl "add id=0,base_dir=$BASE,$GEOMETRY"
	ctl "remove id=0"
	before=$(wc -l <"/proc/slabinfo"; find /sys/devices/virtual/bdi -mindepth 1 -maxdepth 1 | wc -l)
	for ((i = 0; i < 50; i++)); do
		ctl "add id=0,base_dir=$BASE,$GEOMETRY"
		ctl "remove id=0"
	done
	after=$(wc -l <"/proc/slabinfo"; find /sys/devices/virtual/bdi -mindepth 1 -maxdepth 1 | wc -l)
	assert_eq "$after" "$before" "caches and devices of the kernel"
	assert_eq "$(references)" 0 "references to the module"
	umount "$BASE"
}

# Memory: two hundred adds and removes leave no more of it used. What is looked at
# is what nobody can reclaim, and a device of 1000 zones takes enough of it to see.
test_memory() {
	local i start used
	mkdir -p "$BASE/0"
	round() {
		for ((i = 0; i < $1; i++)); do
			ctl "add id=0,base_dir=$BASE,capacity_mb=1000,zone_size_mb=1,conv_zones=1"
			ctl "remove id=0"
		done
		sync
		echo 3 >/proc/sys/vm/drop_caches
		sleep 1
		used=$(awk '/^(SUnreclaim|VmallocUsed|KernelStack|PageTables):/ {n += $2} END {print n}' /proc/meminfo)
	}
	round 3
	start=$used
	round 20
	echo "unreclaimable: $start KiB before, $used KiB after"
	# 20 devices of 1000 zones at no more than 100 bytes a zone.
	((used - start < 2000)) || fail "$((used - start)) KiB are gone after 20 devices"
}

test_module_comes_and_goes() {
	local i
	mkdir -p "$BASE/0"
	for ((i = 0; i < 10; i++)); do
		rmmod zloop
		[[ ! -e $CONTROL ]] || fail "the control device is still there"
		insmod "$(module_is "$DRIVER")"
		ctl "add id=0,base_dir=$BASE,$GEOMETRY"
		zbc /dev/zloop0 reset $((3 * 2048))
		ctl "remove id=0"
	done
	assert_eq "$(references)" 0 "references to the module"
}

# The module's references are as many as there are devices, however they go.
test_references() {
	assert_eq "$(references)" 0 "at first"
	add_dev -i 0 "$GEOMETRY"
	add_dev -i 1 "$GEOMETRY"
	(($(references) >= 2)) || fail "$(references) references with two devices"
	(ctl "add id=0,base_dir=$BASE,$GEOMETRY") 2>/dev/null || true
	(ctl "add id=5,base_dir=/nowhere,$GEOMETRY") 2>/dev/null || true
	(ctl "add foo") 2>/dev/null || true
	(ctl "remove id=9") 2>/dev/null || true
	remove_dev 0
	remove_dev 1
	assert_eq "$(references)" 0 "in the end"
}

test_many_devices() {
	local i
	for ((i = 0; i < 24; i++)); do
		add_dev -i $i "$GEOMETRY"
	done
	py <<-'PY'
	for i in range(24):
	    d = Dev(f"/dev/zloop{i}")
	    d.zwrite(3, 0, 64, i)
	    d.close_fd()
	for i in range(24):
	    d = Dev(f"/dev/zloop{i}", os.O_RDONLY | os.O_DIRECT)
	    d.zcheck(3, 0, 64, i)
	    d.close_fd()
	PY
	for ((i = 23; i >= 0; i -= 2)); do
		remove_dev $i
	done
	for ((i = 0; i < 24; i += 2)); do
		zbc /dev/zloop$i check $((3 * 2048)) 64 $i
		remove_dev $i
	done
}

# From many tasks at once: each id is given once, nothing is lost.
test_adds_at_once() {
	local i
	for ((i = 0; i < 12; i++)); do
		mkdir -p "$BASE/$i"
	done
	python3 - "$BASE" "$GEOMETRY" <<-'PY'
	import errno, os, sys, threading
	base, geometry = sys.argv[1:]
	results = []
	def ctl(text):
	    fd = os.open("/dev/zloop-control", os.O_WRONLY)
	    try:
	        os.write(fd, text.encode())
	        results.append("ok")
	    except OSError as e:
	        results.append(errno.errorcode[e.errno])
	    finally:
	        os.close(fd)
	def together(*texts):
	    results.clear()
	    threads = [threading.Thread(target=ctl, args=(t,)) for t in texts]
	    for t in threads: t.start()
	    for t in threads: t.join()
	    return sorted(results)
	for turn in range(5):
	    # Eight without an id get eight ids.
	    got = together(*[f"add base_dir={base},{geometry}"] * 8)
	    assert got == ["ok"] * 8, got
	    assert all(os.path.exists(f"/dev/zloop{i}") for i in range(8))
	    got = together(*[f"remove id={i}" for i in range(8)])
	    assert got == ["ok"] * 8, got
	    # One of eight gets the one id.
	    got = together(*[f"add id=0,base_dir={base},{geometry}"] * 8)
	    assert got.count("ok") == 1 and set(got) <= {"ok", "EEXIST", "EBUSY"}, got
	    # And one removes it.
	    got = together(*["remove id=0"] * 8)
	    assert got.count("ok") == 1 and set(got) <= {"ok", "ENODEV", "EINVAL", "EBUSY"}, got
	    assert not os.path.exists("/sys/block/zloop0")
	PY
	assert_eq "$(references)" 0 "references to the module"
}

# fio has it merely open: the device goes, fio gets errors, nothing hangs.
test_remove_under_load() {
	local engine
	for engine in psync libaio io_uring; do
		add_dev "capacity_mb=64,zone_size_mb=4,conv_zones=4,nr_queues=2,max_open_zones=4"
		fio --name=seq --filename="$DEV" --zonemode=zbd --direct=1 --ioengine=$engine --iodepth=8 \
			--offset=16M --size=48M --rw=randrw --bs=16k --time_based --runtime=60 --norandommap=1 \
			--zone_reset_frequency=0.1 --zone_reset_threshold=0.3 --max_open_zones=4 \
			--name=conv --filename="$DEV" --direct=1 --ioengine=$engine --iodepth=8 \
			--offset=0 --size=16M --rw=randrw --bs=4k --time_based --runtime=60 --norandommap=1 \
			>"$SCRATCH/log" 2>&1 &
		defer "kill $! 2>/dev/null || true"
		until grep -q zloop0 /proc/diskstats && (($(awk '$3 == "zloop0" {print $8}' /proc/diskstats) > 50)); do
			kill -0 $! 2>/dev/null || fail "fio ended: $(cat "$SCRATCH/log")"
			sleep 0.2
		done
		remove_dev
		timeout 30 tail --pid=$! -f /dev/null || fail "fio hangs after the device was removed"
		wait $! || true
		# It comes back, and every zone is what its file says.
		add_dev "capacity_mb=64,zone_size_mb=4,conv_zones=4,nr_queues=2,max_open_zones=4"
		py "$DEV" "$DIR" <<-'PY'
		d = Dev(args[0])
		for nr, z in list(enumerate(d.zones()))[4:]:
		    size = os.stat(f"{args[1]}/seq-{nr:06}").st_size // SECTOR
		    eq((z.cond, z.wp), ("F", None) if size == z.cap else ("C" if size else "E", size), f"zone {nr}")
		    if z.wp is not None:
		        d.zwrite(nr, z.wp, 8)
		d.reset_all()
		PY
		remove_dev
	done
	assert_eq "$(references)" 0 "references to the module"
}

# With commands of the zones under way as well.
# C driver may fail: the kernel stopped once, in blk_mq_end_request()
test_remove_under_zone_commands() {
	local turn
	for turn in 1 2 3 4 5; do
		add_dev "capacity_mb=32,zone_size_mb=1,conv_zones=1,max_open_zones=3"
		py "$DEV" <<-'PY' &
		d = Dev(args[0])
		def worker(me):
		    rnd = random.Random(me)
		    try:
		        while os.path.exists("/sys/block/zloop0"):
		            nr = rnd.randrange(1, 32)
		            try:
		                rnd.choice([d.open, d.close, d.finish, d.reset, lambda n: d.append(n, 8),
		                            lambda n: d.zones(), lambda n: d.flush()])(nr)
		            except (OSError, TypeError, IndexError):
		                pass
		    except Exception as e:
		        print(e)
		threads = [threading.Thread(target=worker, args=(n,)) for n in range(6)]
		for t in threads: t.start()
		for t in threads: t.join()
		PY
		defer "kill $! 2>/dev/null || true"
		sleep 2
		remove_dev
		timeout 30 tail --pid=$! -f /dev/null || fail "a command hangs after the device was removed"
		wait $! || true
	done
	assert_eq "$(references)" 0 "references to the module"
}

# What was written last is there: removal loses no write that had completed.
test_remove_loses_nothing() {
	local turn o
	for o in "" ,buffered_io; do
		for turn in 1 2 3; do
			add_dev "$GEOMETRY$o"
			py "$DEV" "$turn" <<-'PY'
			d, turn = Dev(args[0]), int(args[1])
			d.reset_all()
			for nr in range(1, 16): d.zwrite(nr, 0, 8 * nr, turn)
			d.write(0, 1024, turn)
			PY
			readd_dev "$GEOMETRY$o"
			py "$DEV" "$turn" <<-'PY'
			d, turn = Dev(args[0]), int(args[1])
			for nr in range(1, 16):
			    d.zcheck(nr, 0, 8 * nr, turn)
			    cond(d, nr, "C", 8 * nr)
			d.check(0, 1024, turn)
			PY
			remove_dev
		done
		# Nor one that sits in the device's own page cache.
		add_dev "$GEOMETRY$o"
		dd if=/dev/urandom of="$SCRATCH/data" bs=64k count=16 status=none
		dd if="$SCRATCH/data" of="$DEV" bs=64k status=none
		remove_dev
		cmp "$SCRATCH/data" "$DIR/cnv-000000"
	done
}

# The last reference to the module is given back by code of the module, when a removed
# disk is closed. That code is held up then, for as long as a task with a higher priority
# wants its CPU, and the module is unloaded meanwhile.
# C driver may fail: its code may be gone when it goes on
test_unload_during_the_last_close() {
	local put=$TRACING/events/module/module_put closed=$SCRATCH/closed
	(($(nproc) > 1)) || skip "needs a second CPU"
	use_tracing
	sysctl -q kernel.sched_rt_runtime_us=-1
	defer "sysctl -q kernel.sched_rt_runtime_us=950000"
	# What other tests have traced would be taken for the event.
	echo 1 >"$TRACING/tracing_on"
	echo >"$TRACING/trace"
	# One is the base: nobody has a reference any more.
	echo 'name == "zloop" && refcnt == 1' >"$put/filter"
	defer "trace_setting 0 $put/enable; echo 0 >$put/filter"
	trace_setting 1 "$put/enable"
	mark_log
	add_dev "$GEOMETRY"
	# One task closes the disk, on the last CPU; another one has that CPU for ten seconds
	# as soon as the reference is given back.
	python3 - "$DEV" "$TRACING/trace_pipe" "$SCRATCH" <<-'PY' &
	import os, sys, time
	device, pipe, scratch = sys.argv[1:]
	def take_cpu(priority):
	    os.sched_setaffinity(0, {os.cpu_count() - 1})
	    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
	def mark(name):
	    os.close(os.open(f"{scratch}/{name}", os.O_CREAT))
	fd = os.open(device, os.O_RDONLY)
	events = os.open(pipe, os.O_RDONLY)
	if (closer := os.fork()) == 0:
	    os.close(events)
	    mark("open")
	    while not os.path.exists(f"{scratch}/go"):
	        time.sleep(0.1)
	    time.sleep(0.5)
	    take_cpu(1)
	    os.close(fd)
	    os._exit(0)
	os.close(fd)
	while not os.path.exists(f"{scratch}/go"):
	    time.sleep(0.1)
	take_cpu(2)
	os.read(events, 1)
	mark("closing")
	end = time.monotonic() + 10
	while time.monotonic() < end:
	    pass
	_, status = os.waitpid(closer, 0)
	mark("closed")
	sys.exit(status != 0)
	PY
	until [[ -e $SCRATCH/open ]]; do sleep 0.1; done
	remove_dev
	touch "$SCRATCH/go"
	until [[ -e $SCRATCH/closing ]]; do sleep 0.1; done
	rmmod zloop
	[[ -e $closed ]] || echo "unloaded before the disk was closed"
	wait $! || fail "the task that closed the disk has died"
	insmod "$(module_is "$DRIVER")"
	[[ -z $(log_since | grep -E 'BUG|Oops') ]] || fail "$(log_since)"
}
