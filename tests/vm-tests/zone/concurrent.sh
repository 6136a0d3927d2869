# SPDX-License-Identifier: GPL-2.0
# Commands to one zone from several tasks at once.
#
# Guards the promise that two commands in flight on one zone end as some serial
# order of the two. The block layer merges zone commands that are alike, so that
# one request may be several of them, and a driver that does not know it stops the
# kernel when it ends one.

setup() { # options
	add_dev "capacity_mb=24,zone_size_mb=2,conv_zones=2,nr_queues=2${1:+,$1}"
}

storm() { # seconds; standard input: code that defines step(d, rnd, zone)
	local code
	code=$(cat)
	py "$DEV" "$DIR" "$1" <<-PY
	dev, directory, LEN = Dev(args[0]), args[1], 2 * MIB
	results, errors, until = {}, [], time.time() + int(args[2])
	$code
	def worker(me):
	    rnd = random.Random(me)
	    d = Dev(args[0])
	    try:
	        while time.time() < until:
	            nr = rnd.choice((5, 6))
	            try:
	                name = step(d, rnd, nr)
	                result = "ok"
	            except OSError as e:
	                result = errno.errorcode[e.errno]
	            results[result] = results.get(result, 0) + 1
	    except Exception as e:
	        errors.append(repr(e))
	threads = [threading.Thread(target=worker, args=(n,)) for n in range(6)]
	for t in threads: t.start()
	for t in threads: t.join()
	eq(errors, [], "threads")
	print(results)
	eq(set(results) <= {"ok", "EIO", "ETOOMANYREFS"}, True, f"results {results}")
	eq(results.get("ok", 0) > 10, True, f"results {results}")
	# The zones are where their files say, and usable.
	for nr, z in list(enumerate(dev.zones()))[2:]:
	    size = os.stat(f"{directory}/seq-{nr:06}").st_size // SECTOR
	    eq(size, z.cap if z.cond == "F" else z.wp, f"file of zone {nr} {z}")
	    eq(z.cond in (("E", "EO") if size == 0 else ("F",) if size == z.cap else ("IO", "EO", "C")), True, f"zone {nr} {z}")
	for nr in 5, 6:
	    dev.reset(nr)
	    dev.zwrite(nr, 0, 64, nr)
	    dev.zcheck(nr, 0, 64, nr)
	    cond(dev, nr, "IO", 64)
	# And no slot is lost.
	limit = int(open("/sys/block/zloop0/queue/max_open_zones").read())
	dev.reset_all()
	for nr in range(2, 2 + limit): dev.open(nr)
	if limit: fails("EIO|ETOOMANYREFS", dev.open, 2 + limit)
	PY
}

# The same command again and again, which always succeeds.
# C driver may fail: the kernel stops in blk_mq_end_request()
test_the_same_command() {
	setup
	storm 4 <<-'PY'
	for nr in 5, 6: dev.zwrite(nr, 0, 64, nr)
	def step(d, rnd, nr):
	    rnd.choice((d.open, d.reset))(nr)
	PY
}

# Commands of which some are refused.
# C driver may fail: the kernel stops in blk_mq_end_request()
test_commands_that_may_be_refused() {
	setup max_open_zones=2
	storm 6 <<-'PY'
	dev.open(9)
	def step(d, rnd, nr):
	    rnd.choice((d.open, d.close, d.finish, d.reset))(nr)
	PY
}

# Writes that hit or miss the write pointer, among resets and finishes.
# C driver may fail: the kernel stops in blk_mq_end_request()
test_writes_among_commands() {
	setup max_open_zones=3
	storm 8 <<-'PY'
	def step(d, rnd, nr):
	    what = rnd.randrange(8)
	    if what < 4:
	        z = d.zone(nr)
	        if z.wp is not None and z.wp + 64 <= z.cap:
	            d.zwrite(nr, z.wp, rnd.randrange(8, 65, 8), nr)
	    elif what == 4: d.reset(nr)
	    elif what == 5: d.close(nr)
	    elif what == 6: d.open(nr)
	    else: d.finish(nr)
	PY
}

# Readers see data below the write pointer or zeros, and never anything else, while
# the zone is written and reset.
test_reads_among_writes_and_resets() {
	setup
	py "$DEV" <<-'PY'
	until, errors = time.time() + 5, []
	def writer():
	    d, turn = Dev(args[0]), 0
	    try:
	        while time.time() < until:
	            turn += 1
	            for at in range(0, 1024, 64): d.zwrite(5, at, 64, turn)
	            d.reset(5)
	    except Exception as e:
	        errors.append(repr(e))
	def reader(me):
	    d, rnd = Dev(args[0]), random.Random(me)
	    try:
	        while time.time() < until:
	            at = 5 * d.zone_size() + rnd.randrange(0, 1024, 8)
	            data = d.pread(at, 8)
	            for n in range(8):
	                first = data[n * 512 : n * 512 + 16]
	                sector, seed = struct.unpack("<QQ", first)
	                if (sector, seed) != (0, 0) and (sector != at + n or data[n * 512 : n * 512 + 512] != first * 32):
	                    errors.append(f"sector {at + n} holds {sector}, {seed}")
	    except Exception as e:
	        errors.append(repr(e))
	threads = [threading.Thread(target=writer)] + [threading.Thread(target=reader, args=(n,)) for n in range(3)]
	for t in threads: t.start()
	for t in threads: t.join()
	eq(errors[:5], [], "threads")
	PY
}
