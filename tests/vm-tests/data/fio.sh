# SPDX-License-Identifier: GPL-2.0
# fio with verification, in all the ways in which I/O can be sent.
#
# Guards the data: from each engine, at each depth, through one queue or several,
# direct or through the page cache, on more zones than may be open.
# limit: 300

engines() {
	local dev=$1 e
	for e in psync libaio io_uring; do
		fio_zones "$dev" --ioengine=$e --iodepth=16 --offset=8M --size=16M --rw=write --bs=64k
		blkzone reset "$dev"
		fio_zones "$dev" --ioengine=$e --iodepth=16 --offset=8M --size=16M --rw=randwrite --bs=8k --io_size=8M
		blkzone reset "$dev"
		fio_conv "$dev" --ioengine=$e --iodepth=16 --size=8M --rw=randwrite --bs=4k --io_size=4M
	done
}

test_engines() {
	add_dev capacity_mb=64,zone_size_mb=4,conv_zones=2
	engines "$DEV"
}

test_several_queues() {
	add_dev capacity_mb=64,zone_size_mb=4,conv_zones=2,nr_queues=2
	engines "$DEV"
}

test_buffered_io() {
	add_dev capacity_mb=64,zone_size_mb=4,conv_zones=2,nr_queues=2,buffered_io
	engines "$DEV"
	# What the files hold is what the device holds.
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	d.reset_all()
	d.zwrite(3, 0, 512)
	d.flush()
	eq(open(f"{args[1]}/seq-000003", "rb").read(), pattern(3 * 8192, 512), "file")
	PY
}

# Large requests, and ones that do not end where zones or megabytes do.
test_block_sizes() {
	local bs
	add_dev capacity_mb=64,zone_size_mb=8,zone_capacity_mb=7,conv_zones=1,nr_queues=2
	for bs in 4k 12k 124k 1020k 1M 1028k 2M; do
		fio_zones "$DEV" --iodepth=4 --offset=8M --size=24M --io_size=14M --rw=write --bs=$bs
		blkzone reset "$DEV"
	done
}

# Reads and writes mixed, so that verification is not all that reads.
test_mixed() {
	add_dev capacity_mb=64,zone_size_mb=4,conv_zones=2,nr_queues=2
	fio_zones "$DEV" --iodepth=8 --offset=8M --size=16M --rw=write --bs=64k
	fio --name=mixed --filename="$DEV" --zonemode=zbd --direct=1 --ioengine=io_uring \
		--iodepth=8 --offset=8M --size=32M --rw=randrw --rwmixread=70 --bs=16k --io_size=12M \
		--zone_reset_frequency=0.05 --zone_reset_threshold=0.5 --max_open_zones=4 \
		--norandommap=1 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	zbc "$DEV" report >/dev/null
}

# Four writers with three zones each, and three slots.
test_more_writers_than_open_zones() {
	add_dev capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,max_open_zones=3,nr_queues=2
	py "$DEV" <<-'PY'
	d, CAP, errors = Dev(args[0]), 3 * MIB, []
	def writer(me):
	    try:
	        for at in range(0, CAP, 128):
	            for nr in range(2 + 3 * me, 5 + 3 * me):
	                d.zwrite(nr, at, 128, me)
	    except Exception as e:
	        errors.append((me, e))
	threads = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
	for t in threads: t.start()
	for t in threads: t.join()
	eq(errors, [], "writers")
	eq([z.cond for z in d.zones()], ["NWP"] * 2 + ["F"] * 12 + ["E"] * 2, "conditions")
	for me in range(4):
	    for nr in range(2 + 3 * me, 5 + 3 * me): d.zcheck(nr, 0, CAP, me)
	PY
	# fio keeps to the limit by itself, and must not be refused anything either.
	blkzone reset "$DEV"
	fio_zones "$DEV" --iodepth=4 --numjobs=3 --group_reporting --offset=8M --offset_increment=16M --size=16M \
		--io_size=6M --rw=randwrite --bs=16k --max_open_zones=1
}

# Two devices at once, each with its data.
test_two_devices() {
	local pids=() p
	add_dev -i 0 capacity_mb=40,zone_size_mb=4,conv_zones=2
	add_dev -i 1 capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=4,nr_queues=2,buffered_io
	fio_zones /dev/zloop0 --output="$SCRATCH/0.log" --iodepth=8 --offset=8M --size=16M --rw=randwrite --bs=16k &
	pids+=($!)
	fio_zones /dev/zloop1 --output="$SCRATCH/1.log" --iodepth=8 --offset=8M --size=16M --rw=randwrite --bs=16k &
	pids+=($!)
	for p in "${pids[@]}"; do
		wait "$p"
	done
	# The one does not see the other's commands.
	zbc /dev/zloop0 reset-all
	assert_eq "$(zbc /dev/zloop0 report | awk '$5 != "E" && $5 != "NWP"' | wc -l)" 0 "zones in use of device 0"
	assert_ne "$(zbc /dev/zloop1 report | awk '$5 != "E" && $5 != "NWP"' | wc -l)" 0 "zones in use of device 1"
	remove_dev 0
	zbc /dev/zloop1 report >/dev/null
	remove_dev 1
}

# Reads through the device's page cache, and writes of conventional zones.
test_page_cache() {
	add_dev capacity_mb=32,zone_size_mb=2,conv_zones=4
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for nr in 5, 6: d.zwrite(nr, 0, 4096, nr)
	with open(args[0], "rb") as f:
	    f.seek(5 * 4096 * SECTOR)
	    eq(f.read(4096 * SECTOR), pattern(5 * 4096, 4096, 5), "buffered read")
	# A reset takes what was cached with it.
	d.reset(5)
	with open(args[0], "rb") as f:
	    f.seek(5 * 4096 * SECTOR)
	    eq(f.read(4096), bytes(4096), "buffered read after a reset")
	PY
	fio_conv "$DEV" --direct=0 --ioengine=psync --size=8M --rw=randwrite --bs=4k --end_fsync=1
	dd if=/dev/urandom of="$SCRATCH/data" bs=1M count=8 status=none
	dd if="$SCRATCH/data" of="$DEV" bs=64k conv=fsync status=none
	readd_dev capacity_mb=32,zone_size_mb=2,conv_zones=4
	cmp -n $((8 << 20)) "$SCRATCH/data" "$DEV"
	cat "$DIR"/cnv-00000[0-3] | cmp - "$SCRATCH/data"
}
