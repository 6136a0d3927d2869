# SPDX-License-Identifier: GPL-2.0
# kernel: debug
#
# Requests whose end gets lost (fail_io_timeout): they end when their time is
# over, with an error, and the device works on.
#
# C driver fails: defect 27. It loses the end, too, and has nothing that ends the
# request then: whoever waits for it waits for ever.

FAULTS=/sys/kernel/debug/fail_io_timeout
GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=2

# lose N: the next N ends.
lose() {
	echo 100 >$FAULTS/probability
	echo 0 >$FAULTS/verbose
	echo "$1" >$FAULTS/times
	echo 1 >/sys/block/zloop0/io-timeout-fail
}

setup() {
	add_dev "$GEOMETRY"
	echo 1000 >/sys/block/zloop0/queue/io_timeout
	defer "echo 0 >$FAULTS/probability"
}

# Each kind of request: it fails with ETIMEDOUT, and what it did is done, as with
# a drive whose answer got lost.
# C driver fails: defect 27
test_defect_27_lost_end_times_out() {
	setup
	py <<-'PY'
		def lose(n):
		    for name, value in ("probability", 100), ("verbose", 0), ("times", n):
		        with open(f"/sys/kernel/debug/fail_io_timeout/{name}", "w") as f:
		            f.write(str(value))
		    with open("/sys/block/zloop0/io-timeout-fail", "w") as f:
		        f.write("1")

		d = Dev("/dev/zloop0")
		zone = d.zone_size()
		d.zwrite(2, 0, 8)
		for what, call in {
		    "read": lambda: d.pread(2 * zone, 8),
		    "conventional write": lambda: d.write(0, 8, 5),
		    "write": lambda: d.zwrite(3, 0, 8),
		    "flush": d.flush,
		    "open": lambda: d.open(4),
		    "close": lambda: d.close(4),
		    "finish": lambda: d.finish(5),
		    "reset": lambda: d.reset(2),
		    "reset all": d.reset_all,
		}.items():
		    lose(1)
		    try:
		        call()
		    except OSError as e:
		        # The page cache has its own idea of errors: fsync passes on what it was told.
		        if e.errno not in (errno.ETIMEDOUT, errno.EIO):
		            raise
		    else:
		        raise AssertionError(f"{what}: succeeded")
		    print(what, "timed out")
		    lose(0)
		    # Wherever the pointers are, the device and its report agree. The block layer keeps
		    # its own pointer of a zone whose reset failed, and refuses one write before it asks.
		    for nr in 2, 3:
		        for again in True, False:
		            z = d.zone(nr)
		            try:
		                if z.cond != "F":
		                    d.zwrite(nr, z.wp, 8)
		                break
		            except OSError:
		                if not again:
		                    raise
		d.check(0, 8, 5)
	PY
}

# Many at once, queues full of them, and a removal that waits for them.
test_many_lost_ends() {
	setup
	lose 200
	fio --name=lost --filename="$DEV" --direct=1 --ioengine=libaio --iodepth=64 --rw=randrw \
		--bs=4k --size=4M --io_size=8M --continue_on_error=all --output=/dev/null || true
	lose 0
	zbc "$DEV" write 0 64 3
	zbc "$DEV" check 0 64 3
}

test_remove_waits_for_lost_ends() {
	setup
	lose 4
	for i in 1 2 3 4; do
		dd if="$DEV" of=/dev/null bs=4k count=1 skip="$i" iflag=direct status=none &
	done
	sleep 0.3
	remove_dev || true
	wait
	if [[ -e /sys/block/zloop0 ]]; then
		remove_dev
	fi
}
