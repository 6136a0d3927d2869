# SPDX-License-Identifier: GPL-2.0
# What is shown of devices: the list of the control device, counters and zones.
#
# Guards the promises that the list is lines that scripts read, whose commands make
# the devices again, that a reader in small steps sees one text, that each request
# and error is counted once, and that looking does no harm while devices come and go.

DEBUG=/sys/kernel/debug/zloop

counter() { # name [id]
	awk -v name="$1" '$1 == name { print $2 }' "$DEBUG/zloop${2:-0}/counters"
}

devices() {
	tail -n +3 $CONTROL
}

# A line for each device, after the C driver's two.
# C driver fails: it shows the syntax only
test_list() {
	assert_eq "$(wc -l <$CONTROL)" 2 "lines without devices"
	add_dev capacity_mb=16,zone_size_mb=1,conv_zones=1
	add_dev -i 3 capacity=10M,zone_size=4M,zone_capacity=3M,conv_zones=1-1,max_open_zones=2,queue_depth=8,buffered_io,zone_append=0,discard_write_cache,lazy_files,block_size=4096,volatile_cache,rotational
	assert_eq "$(head -2 $CONTROL | cut -c 1-10)" "add id=%d,
remove id=" "the syntax"
	assert_eq "$(devices)" "zloop0 live add id=0,capacity_mb=16,zone_size_mb=1,zone_capacity_mb=1,conv_zones=1,nr_queues=1,queue_depth=128,max_open_zones=0,zone_append=1,base_dir=$BASE
zloop3 live add id=3,capacity=10M,zone_size_mb=4,zone_capacity_mb=3,conv_zones=1-1,block_size=4096,nr_queues=1,queue_depth=8,max_open_zones=2,zone_append=0,buffered_io,discard_write_cache,lazy_files,volatile_cache,rotational,base_dir=$BASE"
	remove_dev
	assert_eq "$(devices | cut -d ' ' -f 1,2)" "zloop3 live" "the list after a removal"
	# A refused command is no device.
	ctl_fails EINVAL "add id=9,base_dir=$BASE,conv_zones=99"
	assert_eq "$(devices | wc -l)" 1 "devices"
}

# A script that saves and restores them, whatever the path is.
# C driver fails: it shows the syntax only
test_commands_make_them_again() {
	local odd=$SCRATCH/$'a b=c%s\xff' name state command before
	mkdir -p "$odd"
	add_dev capacity_mb=16,zone_size_mb=1
	add_dev -i 7 -b "$odd" capacity=9M,zone_size_mb=2,conv_zones=0:2,nr_queues=2,ordered_zone_append
	zbc /dev/zloop7 write 4096 64
	before=$(devices)
	devices >"$SCRATCH/saved"
	remove_dev 0
	remove_dev 7
	while read -r name state command; do
		assert_eq "$state" live state
		[[ $name == zloop? ]] || fail "name: $name"
		printf '%s\n' "$command" >$CONTROL
	done <"$SCRATCH/saved"
	assert_eq "$(devices)" "$before" "the devices again"
	zbc /dev/zloop7 check 4096 64
	remove_dev 7
	remove_dev 0
}

# Whoever reads in small steps reads one text, even while devices come and go.
# C driver fails: there is nothing that could change
test_small_reads() {
	local i
	for i in {0..5}; do add_dev -i $i capacity_mb=4,zone_size_mb=1; done
	python3 - "$BASE" <<-'PY'
	import os, sys
	fd, whole = os.open("/dev/zloop-control", os.O_RDWR), open("/dev/zloop-control", "rb").read()
	for step in 1, 7, 100, 4096:
	    said, reader = b"", os.open("/dev/zloop-control", os.O_RDONLY)
	    while piece := os.read(reader, step):
	        said += piece
	    assert said == whole, (step, said, whole)
	# At any place, and past the end.
	for at in 0, 1, 180, len(whole) - 1, len(whole), len(whole) + 5, 2**40:
	    assert os.pread(fd, 50, at) == whole[at:at + 50], at
	# What comes and goes meanwhile is not mixed in.
	other = os.open("/dev/zloop-control", os.O_RDWR)
	said = os.pread(fd, 200, 0)
	os.write(other, b"remove id=0")
	os.write(fd, b"remove id=2")
	while piece := os.pread(fd, 33, len(said)):
	    said += piece
	assert said == whole
	assert b"zloop0" not in os.pread(fd, 4096, 0)
	assert b"zloop1" in os.pread(other, 4096, 0)
	PY
}

# Each request is counted once, and its failure.
# C driver fails: it counts nothing
test_counters() {
	add_dev capacity_mb=24,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2,max_open_zones=3
	local name
	for name in zone_append zone_open zone_close zone_finish zone_reset zone_reset_all; do
		assert_eq "$(counter $name) $(counter ${name}_errors)" "0 0" "$name"
	done
	use_requests
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	def counters():
	    with open("/sys/kernel/debug/zloop/zloop0/counters") as f:
	        return {k: int(v) for k, v in map(str.split, f)}
	before = counters()
	d.write(0, 8)				# conventional
	for n in 2, 3, 4: d.zwrite(n, 0, 8)
	now = counters()
	eq([now[k] for k in ("open_zones", "open_zones_most", "active_zones", "implicit_closes")], [3, 3, 3, 0], "three zones")
	d.zwrite(5, 0, 8)			# closes zone 2
	d.open(6)				# closes zone 3
	d.close(6)
	d.finish(4)
	d.check(0, 8); d.zcheck(5, 0, 8)
	d.reset(3)
	refused(d, "EIO", d.zwrite, 5, 104, 8)
	d.report(); d.reset(5)			# its plug is in error
	Requests(args[0]).one(f"append at={7 * 4096} sectors=8 seed=1")
	d.flush()
	now = counters()
	took = {k: now[k] - before[k] for k in now if now[k] != before[k]}
	eq({k: v for k, v in took.items() if k in ("zone_append", "zone_open", "zone_close", "zone_finish", "zone_reset", "zones_reset", "implicit_closes", "flush")},
	   {"zone_append": 1, "zone_open": 1, "zone_close": 1, "zone_finish": 1, "zone_reset": 2, "zones_reset": 2, "implicit_closes": 2, "flush": 1}, "counters")
	eq(took["write"] - took.get("write_errors", 0), 5, "writes that succeeded")
	eq(took["read"], 2, "reads")
	eq([now["open_zones_most"], now["active_zones_most"]], [3, 5], "most")
	# A refused one is an error.
	for n in 8, 9, 10: d.open(n)
	refused(d, "ETOOMANYREFS", d.open, 11)
	eq(counters()["zone_open_errors"], 1, "errors")
	d.reset_all()
	now = counters()
	eq([now[k] for k in ("zone_reset_all", "open_zones", "active_zones")], [1, 0, 0], "after a reset of all")
	PY
	# They begin anew with each add.
	remove_dev
	[[ ! -e $DEBUG/zloop0 ]] || fail "the counters of a removed device are there"
	add_dev
	assert_eq "$(counter zone_reset_all) $(counter implicit_closes) $(counter open_zones_most)" "0 0 0" "counters of a new device"
}

# The zones as a report has them, the same ones together.
# C driver fails: it shows none
test_zones() {
	add_dev capacity=23M,zone_size_mb=2,zone_capacity_mb=1,conv_zones=0-1:4
	assert_eq "$(<$DEBUG/zloop0/zones)" "0-1 cnv nw - 4096 4096
2-3 seq em 0 2048 4096
4 cnv nw - 4096 4096
5-10 seq em 0 2048 4096
11 seq em 0 2048 2048" "zones of a new device"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.write(0, 8)
	d.zwrite(2, 0, 64); d.zwrite(5, 0, 64); d.close(5)
	d.open(6)
	d.zwrite(7, 0, 8); d.finish(7)
	d.zwrite(8, 0, 8)
	PY
	local want="0-1 cnv nw - 4096 4096
2 seq oi 64 2048 4096
3 seq em 0 2048 4096
4 cnv nw - 4096 4096
5 seq cl 64 2048 4096
6 seq oe 0 2048 4096
7 seq fu 2048 2048 4096
8 seq oi 8 2048 4096
9-10 seq em 0 2048 4096
11 seq em 0 2048 2048"
	assert_eq "$(<$DEBUG/zloop0/zones)" "$want" "zones"
	readd_dev
	assert_eq "$(<$DEBUG/zloop0/zones)" "$(sed 's/ oe 0 / em 0 /; s/ oi / cl /' <<<"$want")" "zones of a device that was added again"
}

# Many zones are no more to read than are in use.
# C driver fails: it shows none
test_many_zones() {
	add_dev capacity=256G,zone_size=1M,conv_zones=0,lazy_files
	zbc "$DEV" write $((200000 * 2048)) 8
	assert_eq "$(<$DEBUG/zloop0/zones)" "0-199999 seq em 0 2048 2048
200000 seq oi 8 2048 2048
200001-262143 seq em 0 2048 2048" "zones"
}

# Readers while devices come and go.
# C driver fails: there is nothing to read
test_readers_meet_removals() {
	local i pid
	mkdir -p "$BASE"
	(
		while :; do
			cat $CONTROL $DEBUG/zloop*/* >/dev/null 2>&1 || true
		done
	) &
	pid=$!
	defer "kill $pid 2>/dev/null || true"
	for i in {1..8}; do
		add_dev capacity_mb=16,zone_size_mb=1
		zbc "$DEV" write $((9 * 2048)) 8
		remove_dev
		rm -r "$DIR"
	done
	kill $pid
	wait $pid || true
	[[ -z $(ls -A $DEBUG) ]] || fail "left: $(ls -A $DEBUG)"
}

# A file that is open outlives its device, and keeps the module.
# C driver fails: there is nothing to read
test_open_file_keeps_the_module() {
	local file
	add_dev capacity_mb=16,zone_size_mb=1
	exec {file}<$DEBUG/zloop0/counters
	remove_dev
	refuse cat <&$file
	refuse rmmod zloop
	exec {file}<&-
	# The last close may still be on its way.
	timeout 10 sh -c 'until rmmod zloop; do sleep 0.1; done'
	insmod "$ZLOOP_KO"
}
