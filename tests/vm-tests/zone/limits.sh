# SPDX-License-Identifier: GPL-2.0
# max_open_zones: who may be open, who has to make room, and who is told no.
#
# Guards the resource check of the zone model: with the limit reached, an open or
# a write closes another implicitly open zone, the least recently used first, and
# fails with "too many open zones" (ETOOMANYREFS) if there is none. The C driver
# gets this wrong in several ways, each of which has its test here.

setup() { # max_open_zones, options
	add_dev "capacity_mb=24,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2,max_open_zones=$1${2:+,$2}"
}

limits() {
	py_dev 'FULL = "ETOOMANYREFS"'
}

# The limit is there for others to see.
test_sysfs() {
	setup 3
	assert_eq "$(queue max_open_zones)" 3 max_open_zones
	assert_eq "$(queue max_active_zones)" 0 max_active_zones
	remove_dev
	# As many as there are sequential zones are as good as none.
	setup 10
	assert_eq "$(queue max_open_zones)" 0 max_open_zones
	limits <<-'PY'
	for n in range(2, 12): d.open(n)
	eq(conds(*range(2, 12)), " ".join(["EO"] * 10), "all zones open")
	PY
	remove_dev
	setup 0
	assert_eq "$(queue max_open_zones)" 0 max_open_zones
	limits <<-'PY'
	for n in range(2, 12): d.open(n)
	eq(conds(*range(2, 12)), " ".join(["EO"] * 10), "all zones open")
	PY
}

# Writes close the least recently written zone.
test_write_evicts_lru() {
	setup 3
	limits <<-'PY'
	for n in 2, 3, 4: d.zwrite(n, 0, 8)
	eq(conds(2, 3, 4, 5), "IO IO IO E", "three zones open")
	d.zwrite(2, 8, 8)		# 2 is now younger than 3
	d.zwrite(5, 0, 8)
	eq(conds(2, 3, 4, 5), "IO C IO IO", "3 makes room")
	d.zwrite(3, 8, 8)
	eq(conds(2, 3, 4, 5), "IO IO C IO", "4 makes room")
	d.zwrite(4, 8, 8)
	eq(conds(2, 3, 4, 5), "C IO IO IO", "2 makes room")
	# A report and a read do not make a zone younger.
	d.zones(); d.zcheck(5, 0, 8); d.zone(5)
	d.zwrite(2, 16, 8)
	eq(conds(2, 3, 4, 5), "IO IO IO C", "5 makes room")
	for n, wp in (2, 24), (3, 16), (4, 16), (5, 8):
	    d.zcheck(n, 0, wp)
	    eq(d.zone(n).wp, wp, f"write pointer of zone {n}")
	PY
}

# A zone that was closed to make room is written again as if nothing had been.
test_many_writers_take_turns() {
	setup 2
	limits <<-'PY'
	for step in range(0, 128, 8):
	    for n in range(2, 12):
	        d.zwrite(n, step, 8)
	eq(conds(*range(2, 12)), "C C C C C C C C IO IO", "after ten writers")
	for n in range(2, 12):
	    d.zcheck(n, 0, 128)
	    eq(d.zone(n).wp, 128, f"write pointer of zone {n}")
	PY
}

# An explicit open makes room as a write does.
# C driver fails: defect 6
test_open_evicts_lru() {
	setup 3
	limits <<-'PY'
	for n in 2, 3, 4: d.zwrite(n, 0, 8)
	d.open(5)
	eq(conds(2, 3, 4, 5), "C IO IO EO", "2 makes room")
	d.open(6)
	eq(conds(2, 3, 4, 5, 6), "C C IO EO EO", "3 makes room")
	d.open(7)
	eq(conds(2, 3, 4, 5, 6, 7), "C C C EO EO EO", "4 makes room")
	refused(d, "ETOOMANYREFS", d.open, 8)
	PY
}

# Zones that were opened explicitly stay open whoever else wants a slot.
# C driver fails: defect 7
test_nobody_makes_room() {
	setup 3
	limits <<-'PY'
	d.zwrite(8, 0, 8); d.close(8)
	for n in 2, 3: d.open(n)
	d.open(4); d.zwrite(4, 0, 8)
	refused(d, FULL, d.zwrite, 5, 0, 8)	# from empty
	refused(d, FULL, d.zwrite, 8, 8, 8)	# from closed
	refused(d, FULL, d.open, 5)
	refused(d, FULL, d.open, 8)
	eq(os.stat(f"{directory}/seq-000005").st_size, 0, "size of a zone file")
	# Who has a slot needs none.
	d.zwrite(2, 0, 8)
	d.zwrite(4, 8, 8)
	d.open(4)
	eq(conds(2, 3, 4, 5, 8), "EO EO EO E C", "after the refusals")
	# Conventional zones need none either.
	d.write(0, 8)
	# And as soon as there is one, the refused ones get it.
	d.close(3)
	eq(conds(3), "E", "closed with nothing written")
	d.zwrite(5, 0, 8)
	eq(conds(2, 3, 4, 5, 8), "EO E EO IO C", "after a close")
	d.zwrite(8, 8, 8)
	eq(conds(2, 3, 4, 5, 8), "EO E EO C IO", "after another")
	d.zcheck(8, 0, 16)
	PY
}

# A slot comes back by close, reset, finish and when the zone is full.
test_slots_come_back() {
	setup 1
	limits <<-'PY'
	ways = {
	    "close": lambda n: d.close(n),
	    "reset": lambda n: d.reset(n),
	    "finish": lambda n: d.finish(n),
	    "full": lambda n: d.zwrite(n, 8, CAP - 8),
	}
	for way, fn in ways.items():
	    d.reset_all()
	    for turn in 2, 3, 4:
	        d.open(turn)
	        d.zwrite(turn, 0, 8)
	        eq(conds(turn), "EO", way)
	        fails("EIO|" + FULL, d.open, 6)
	        fn(turn)
	    d.open(6)
	    eq(conds(2, 3, 4), {"close": "C C C", "reset": "E E E"}.get(way, "F F F"), way)
	d.reset_all()
	d.open(5); d.reset_all(); d.open(6)
	eq(conds(5, 6), "E EO", "reset all")
	PY
}

# Open to explicitly open needs no slot, with the limit reached.
test_implicit_to_explicit() {
	setup 2
	limits <<-'PY'
	d.zwrite(2, 0, 8); d.zwrite(3, 0, 8)
	d.open(2); d.open(3)
	eq(conds(2, 3), "EO EO", "both")
	fails("EIO|" + FULL, d.zwrite, 4, 0, 8)
	eq(conds(2, 3, 4), "EO EO E", "after a refused write")
	# Explicitly open stays so through writes.
	d.zwrite(2, 8, 8)
	eq(conds(2, 3, 4), "EO EO E", "after a write")
	PY
}

# An explicitly open zone is passed over even if it is the oldest.
test_eviction_passes_explicit() {
	setup 3
	limits <<-'PY'
	d.open(2); d.zwrite(2, 0, 8); d.zwrite(3, 0, 8); d.zwrite(4, 0, 8)
	d.zwrite(5, 0, 8)
	eq(conds(2, 3, 4, 5), "EO C IO IO", "3 makes room")
	d.close(2)
	d.zwrite(3, 8, 8)
	eq(conds(2, 3, 4, 5), "C IO IO IO", "and nobody, after a close")
	PY
}

# A finish passes through open: from empty or closed it needs a slot.
# C driver fails: it asks for none.
test_finish_needs_a_slot() {
	setup 2
	limits <<-'PY'
	d.zwrite(4, 0, 8); d.close(4)
	d.open(2); d.open(3)
	refused(d, FULL, d.finish, 5)
	refused(d, FULL, d.finish, 4)
	eq(os.stat(f"{directory}/seq-000005").st_size, 0, "size of a zone file")
	d.finish(2)				# this one has its own
	d.finish(5)				# and gives it to that
	d.finish(4)
	eq(conds(2, 3, 4, 5), "F EO F F", "finished")
	# An implicitly open one makes room for it.
	d.zwrite(6, 0, 8)
	d.finish(7)
	eq(conds(3, 6, 7), "EO C F", "finish of an empty zone")
	PY
}

# A write that fills a zone at once needs a slot for that moment.
test_write_of_a_whole_zone() {
	setup 2
	limits <<-'PY'
	d.zwrite(2, 0, 8); d.zwrite(3, 0, 8)
	d.zwrite(4, 0, CAP)
	eq(conds(2, 3, 4), "C IO F", "2 made room")
	d.open(2)
	d.open(3)
	fails("EIO|" + FULL, d.zwrite, 5, 0, CAP)
	eq(conds(2, 3, 5), "EO EO E", "no room")
	PY
}

# Refusals cost nothing: after a thousand of them the slots are all there.
test_refusals_leak_no_slot() {
	setup 2
	limits <<-'PY'
	for turn in range(100):
	    d.zwrite(2, 0, CAP - 8)
	    fails("EIO", d.zwrite, 2, CAP, 8)		# past the capacity
	    d.zones()
	    fails("EIO", d.zwrite, 3, 8, 8)		# past the pointer of an empty zone
	    d.zones()
	    fails("EIO", d.close, 4)			# empty
	    d.reset(2)
	d.finish(2)
	for turn in range(100):
	    fails("EIO", d.open, 2)
	    fails("EIO", d.close, 2)
	    fails("EIO", d.zwrite, 2, 0, 8)
	d.zones()
	d.open(4); d.open(5)
	eq(conds(2, 3, 4, 5), "F E EO EO", "both slots are there")
	fails("EIO|" + FULL, d.open, 6)
	for turn in range(100):
	    fails("EIO|" + FULL, d.open, 6)
	d.close(4); d.close(5)
	d.open(6); d.open(7)
	eq(conds(4, 5, 6, 7), "E E EO EO", "and again")
	PY
}

# A device comes back with nothing open, and with another limit if asked.
test_limit_across_remove_and_add() {
	setup 3
	limits <<-'PY'
	d.open(2); d.open(3); d.zwrite(3, 0, 8); d.zwrite(4, 0, 8)
	PY
	remove_dev
	setup 2
	limits <<-'PY'
	eq(conds(2, 3, 4), "E C C", "after add")
	d.open(5); d.open(6)
	fails("EIO|" + FULL, d.open, 3)
	fails("EIO|" + FULL, d.zwrite, 3, 8, 8)
	eq(conds(2, 3, 4, 5, 6), "E C C EO EO", "the new limit")
	PY
	remove_dev
	setup 5
	assert_eq "$(queue max_open_zones)" 5
	limits <<-'PY'
	for n in range(2, 7): d.open(n)
	fails("EIO|" + FULL, d.open, 7)
	PY
}

# Eight threads, each in its own zone, and three slots: every write must go
# through, since there is always an implicitly open zone to close, and the count
# must be right afterwards.
# C driver may fail: defect 5
test_parallel_writers() {
	setup 3
	limits <<-'PY'
	errors = []
	def writer(n):
	    try:
	        for at in range(0, CAP, 32):
	            d.zwrite(n, at, 32)
	            if at % 256 == 0 and n % 3 == 0:
	                d.zones()
	    except Exception as e:
	        errors.append((n, at, e))
	for turn in range(2):
	    threads = [threading.Thread(target=writer, args=(n,)) for n in range(2, 10)]
	    for t in threads: t.start()
	    for t in threads: t.join()
	    eq(errors, [], "writers")
	    eq(conds(*range(2, 12)), "F F F F F F F F E E", "after the writers")
	    for n in range(2, 10): d.zcheck(n, 0, CAP)
	    # All three slots are there, and not one more.
	    d.open(10); d.open(11)
	    d.reset(2)
	    d.open(2)
	    d.reset(3)
	    fails("EIO|" + FULL, d.open, 3)
	    d.reset_all()
	PY
}
