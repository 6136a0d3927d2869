# SPDX-License-Identifier: GPL-2.0
# max_active_zones: how many zones may hold data and have room for more.
#
# Guards the other half of the resource check of the zone model: a zone that is
# empty needs an active slot as well as an open one, a closed zone has one, and
# what can't be had is "too many active zones" (EOVERFLOW), not "too many open"
# (ETOOMANYREFS). A ZNS drive's hosts live by the difference: they finish a zone
# in the one case and close one in the other.

setup() { # max_open_zones max_active_zones [options]
	add_dev "capacity_mb=24,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2,max_open_zones=$1,max_active_zones=$2${3:+,$3}"
}

limits() {
	py_dev 'OPEN, ACTIVE = "ETOOMANYREFS", "EOVERFLOW"'
}

advertises() { # max_open_zones max_active_zones
	assert_eq "$(queue max_open_zones) $(queue max_active_zones)" "$1 $2" "max_open_zones and max_active_zones"
}

# The limits are there for others to see, and agree.
test_sysfs() {
	setup 3 5
	advertises 3 5
	remove_dev
	# What is open is active.
	setup 0 5
	advertises 5 5
	limits <<-'PY'
	for n in range(2, 7): d.open(n)
	refused(d, ACTIVE, d.open, 7)
	PY
	remove_dev
	# As many as there are sequential zones are as good as none.
	setup 4 10
	advertises 4 0
	remove_dev
	setup 0 10
	advertises 0 0
	limits <<-'PY'
	for n in range(2, 12): d.open(n)
	eq(conds(*range(2, 12)), " ".join(["EO"] * 10), "all zones open")
	PY
	remove_dev
	setup 3 0
	advertises 3 0
}

# Empty zones are refused, whatever would open them; what is active goes on.
test_no_active_slot() {
	setup 2 3
	limits <<-'PY'
	for n in 2, 3, 4: d.zwrite(n, 0, 8)
	eq(conds(2, 3, 4, 5), "C IO IO E", "three active zones, of which two are open")
	refused(d, ACTIVE, d.zwrite, 5, 0, 8)
	# This one is more than a request; those behind the first are aborted.
	refused(d, "EIO|" + ACTIVE, d.zwrite, 5, 0, CAP)
	refused(d, ACTIVE, d.open, 5)
	refused(d, ACTIVE, d.finish, 5)
	eq(os.stat(f"{directory}/seq-000005").st_size, 0, "size of a zone file")
	# A closed zone has its active slot, and makes an open one free.
	d.zwrite(2, 8, 8)
	eq(conds(2, 3, 4), "IO C IO", "a closed zone is written")
	d.open(3)
	eq(conds(2, 3, 4), "IO EO C", "and opened")
	d.finish(4)
	eq(conds(2, 3, 4), "C EO F", "and finished, for which 2 made room")
	# Conventional zones need none.
	d.write(0, 8)
	# With 4 full there is one to be had.
	d.zwrite(5, 0, 8)
	eq(conds(2, 3, 4, 5), "C EO F IO", "an empty zone gets the slot of the full one")
	refused(d, ACTIVE, d.open, 6)
	for n, wp in (2, 16), (3, 8), (5, 8): d.zcheck(n, 0, wp)
	PY
}

# The one error is not the other.
test_which_limit() {
	setup 2 3
	limits <<-'PY'
	d.zwrite(4, 0, 8); d.close(4)
	d.open(2); d.open(3)
	# All that is active could be open, and nobody makes room.
	refused(d, OPEN, d.zwrite, 4, 8, 8)
	refused(d, OPEN, d.open, 4)
	refused(d, OPEN, d.finish, 4)
	# No room of either kind: a close would not help.
	refused(d, ACTIVE, d.open, 5)
	refused(d, ACTIVE, d.zwrite, 5, 0, 8)
	# An explicitly open zone with nothing written gives back both.
	d.close(2)
	d.open(5)
	eq(conds(2, 3, 4, 5), "E EO C EO", "after a close")
	d.reset(4)
	refused(d, OPEN, d.open, 4)
	d.zwrite(3, 0, 8); d.close(3)
	d.open(4)
	eq(conds(2, 3, 4, 5), "E C EO EO", "after a reset and a close")
	refused(d, ACTIVE, d.open, 2)
	PY
}

# A slot comes back by reset, finish and when the zone is full, and not by close.
test_slots_come_back() {
	setup 1 1
	limits <<-'PY'
	ways = {
	    "reset": lambda n: d.reset(n),
	    "finish": lambda n: d.finish(n),
	    "full": lambda n: d.zwrite(n, 8, CAP - 8),
	    "reset all": lambda n: d.reset_all(),
	}
	for way, fn in ways.items():
	    d.reset_all()
	    for turn in 2, 3, 4:
	        d.open(turn)
	        d.zwrite(turn, 0, 8)
	        eq(conds(turn), "EO", way)
	        refused(d, ACTIVE, d.open, 6)
	        d.close(turn)
	        eq(conds(turn), "C", way)
	        refused(d, ACTIVE, d.zwrite, 6, 0, 8)
	        fn(turn)
	    d.open(6)
	    eq(conds(2, 3, 4), "F F F" if way in ("finish", "full") else "E E E", way)
	    d.close(6)
	    eq(conds(6), "E", "closed with nothing written")
	PY
}

# Refusals cost nothing: after many of them the slots are all there.
test_refusals_leak_no_slot() {
	setup 2 2
	limits <<-'PY'
	d.zwrite(2, 0, 8); d.zwrite(3, 0, 8)
	for turn in range(200):
	    fails(ACTIVE, d.open, 4)
	    fails(ACTIVE, d.zwrite, 5, 0, 8)
	    fails(ACTIVE, d.finish, 6)
	    d.zones()
	eq(conds(2, 3, 4, 5, 6), "IO IO E E E", "after the refusals")
	d.reset(2); d.reset(3)
	d.open(4); d.open(5)
	fails(ACTIVE, d.open, 6)
	PY
}

# A device that is added with more closed zones than may be active is there, and
# opens nothing empty until enough of them are gone.
test_more_closed_zones_than_allowed() {
	setup 0 0
	limits <<-'PY'
	for n in range(2, 8): d.zwrite(n, 0, 8)
	PY
	remove_dev
	setup 2 3
	advertises 2 3
	limits <<-'PY'
	eq(conds(*range(2, 9)), "C C C C C C E", "after the add")
	refused(d, ACTIVE, d.open, 8)
	refused(d, ACTIVE, d.zwrite, 8, 0, 8)
	# Those that are closed go on, no more than two at a time.
	for n in range(2, 8): d.zwrite(n, 8, 8)
	eq(conds(*range(2, 9)), "C C C C IO IO E", "written on")
	d.open(2); d.open(3)
	refused(d, OPEN, d.open, 4)
	refused(d, OPEN, d.zwrite, 4, 16, 8)
	d.finish(2); d.reset(3); d.reset(4)
	eq(conds(*range(2, 9)), "F E E C C C E", "three are left")
	refused(d, ACTIVE, d.open, 8)
	d.reset(5)
	d.zwrite(8, 0, 8)
	eq(conds(*range(2, 9)), "F E E E C C IO", "there is room for one")
	refused(d, ACTIVE, d.open, 3)
	for n in 6, 7: d.zcheck(n, 0, 16)
	PY
	# And with another limit the next time.
	remove_dev
	setup 0 4
	limits <<-'PY'
	d.open(3)
	refused(d, ACTIVE, d.open, 4)
	eq(conds(*range(2, 9)), "F EO E E C C C", "one more")
	PY
}

# Native appends are told the same. An append by a file system fails like a write.
test_appends() {
	setup 1 2
	use_requests
	py "$DEV" <<-'PY'
	d, r = Dev(args[0]), Requests(args[0])
	zone = d.zone_size()
	append = lambda n: r.one(f"append at={n * zone} sectors=8 seed=1")
	eq(append(2), 2 * zone, "the first append")
	append(3)
	fails("EOVERFLOW", append, 4)
	eq(append(2), 2 * zone + 8, "an append to a closed zone")
	d.open(2)
	fails("ETOOMANYREFS", append, 3)
	eq([d.zone(n).cond for n in (2, 3, 4)], ["EO", "C", "E"], "conditions")
	d.reset(3)
	fails("EOVERFLOW|ETOOMANYREFS", append, 4)
	d.close(2)
	eq(append(4), 4 * zone, "after a reset")
	PY
}

# Eight threads want four slots. Each takes its turn with a zone of its own and
# resets it at the end; whoever gets none tries again. The limit is never passed,
# which a report shows, and all slots are there afterwards.
test_parallel_writers() {
	setup 2 4
	limits <<-'PY'
	errors, refusals, done = [], [], []
	def writer(n):
	    try:
	        for turn in range(4):
	            at = 0
	            while at < 256:
	                try:
	                    d.zwrite(n, at, 32)
	                    at += 32
	                except OSError as e:
	                    # Where a write comes while the end of a refused one is still being dealt with,
	                    # the block layer may mark the zone's plug as dead under it. The next write then
	                    # fails before the driver, by whose own count it is known below.
	                    if e.errno != errno.EIO:
	                        eq((errno.errorcode[e.errno], at), (ACTIVE, 0), "a refusal")
	                        refusals.append(n)
	                    # Lets the block layer know where the zone is.
	                    d.zone(n)
	                    time.sleep(0.002)
	            d.zcheck(n, 0, 256)
	            d.finish(n) if turn % 2 else None
	            d.reset(n)
	    except Exception as e:
	        errors.append((n, e))
	    done.append(n)
	threads = [threading.Thread(target=writer, args=(n,)) for n in range(2, 10)]
	for t in threads: t.start()
	most = 0
	while len(done) < len(threads):
	    # A report is no snapshot: zones may change while it goes on, so that it shows a zone more.
	    now = [z.cond for z in d.zones()]
	    most = max(most, sum(c in ("IO", "EO", "C") for c in now))
	for t in threads: t.join()
	eq(errors, [], "writers")
	assert refusals, "nobody was refused"
	with open("/sys/kernel/debug/zloop/zloop0/counters") as f:
	    counted = {name: int(value) for name, value in map(str.split, f)}
	eq(counted["write_errors"], len(refusals), "writes that the driver has refused")
	eq((counted["open_zones_most"], counted["active_zones_most"]), (2, 4), "zones that were open and active at most")
	assert most >= 2, most
	eq(conds(*range(2, 12)), " ".join(["E"] * 10), "after the writers")
	for n in range(2, 6): d.zwrite(n, 0, 8)
	eq(conds(*range(2, 7)), "C C IO IO E", "all slots")
	refused(d, ACTIVE, d.zwrite, 6, 0, 8)
	PY
}
