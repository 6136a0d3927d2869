# SPDX-License-Identifier: GPL-2.0
# A power failure on command.
#
# Guards the promise that a device can be taken away at any moment, whoever uses
# it, with the loss of what was not flushed and of nothing else; and that with a
# seed a part of that is left, which is the same each time.
# limit: 300

OPTIONS=capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2
MNT=$SCRATCH/mnt

source "$TESTS/vm-tests/below.bash"

power_fail() { # options
	ctl "powerfail id=0${1:+,$1}"
	[[ ! -e /sys/block/zloop0 ]] || fail "the device is still there"
}

# What each kind of zone keeps, also a full one.
what_is_left() { # options
	add_dev "$OPTIONS${1:+,$1}"
	py "$DEV" <<-'PY'
	d, r = Dev(args[0]), Requests(args[0])
	LEN, CAP = 2 * MIB, MIB
	def fill(n):
	    for at in range(0, CAP, 512): d.zwrite(n, at, 512, n)
	fill(3); d.zwrite(4, 0, 64, 4); d.zwrite(5, 0, 64, 5); d.zwrite(6, 0, 64, 6); d.write(0, 64, 9)
	d.flush()
	r.one(f"write at={10 * LEN} sectors=64 fua seed=10"); d.zwrite(10, 64, 64, 10)
	d.zwrite(5, 64, 64, 5)				# lost in part
	for at in range(64, CAP, 64): d.zwrite(6, at, 64, 6)
	fill(7)						# lost, though full
	d.zwrite(8, 0, 64, 8)				# never flushed
	d.zwrite(9, 0, 64, 9); d.finish(9)		# durable
	d.reset(4); d.zwrite(4, 0, 32, 14)		# a reset is, what follows is not
	d.open(11)
	fill(12); d.reset(12)
	d.reset(3)
	PY
	mark_log
	power_fail
	expect_log 'zloop0: power failed'
	expect_one_line
	add_dev "$OPTIONS${1:+,$1}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	LEN, CAP = 2 * MIB, MIB
	eq([(z.cond, z.wp) for z in d.zones()[2:14]],
	   [("E", 0), ("E", 0), ("E", 0), ("C", 64), ("C", 64), ("E", 0), ("E", 0), ("F", None), ("C", 64),
	    ("E", 0), ("E", 0), ("E", 0)], "zones")
	d.check(0, 64, 9)
	for n in 5, 6, 10: d.zcheck(n, 0, 64, n); d.zcheck(n, 64, CAP - 64, None)
	d.zcheck(9, 0, 64, 9); d.zcheck(9, 64, CAP - 64, None)
	d.zcheck(7, 0, CAP, None)
	# It works as before, and what was left is durable.
	d.zwrite(5, 64, 64, 15)
	PY
	power_fail
	add_dev "$OPTIONS${1:+,$1}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	cond(d, 5, "C", 64); cond(d, 9, "F", None); cond(d, 10, "C", 64)
	PY
	remove_dev
	rm -r "$DIR"
}

test_what_is_left() {
	use_requests
	what_is_left
	what_is_left buffered_io
	what_is_left lazy_files,zone_append=0
}

# The write pointers after the same work and a failure.
after() { # seed, options
	add_dev "$OPTIONS${2:+,$2}"
	py "$DEV" >/dev/null <<-'PY'
	d = Dev(args[0])
	for n in range(2, 18): d.zwrite(n, 0, 64, n)
	d.flush()
	for n in range(2, 18):
	    for at in range(64, MIB if n == 7 else 64 + 8 * n, 8): d.zwrite(n, at, 8, n)
	PY
	power_fail "seed=$1"
	add_dev "$OPTIONS"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	left = []
	for n in range(2, 18):
	    z = d.zone(n)
	    wp = MIB if z.cond == "F" else z.wp
	    eq(64 <= wp <= (MIB if n == 7 else 64 + 8 * n) and wp % 8 == 0, True, f"{z}")
	    d.zcheck(n, 0, wp, n); d.zcheck(n, wp, 2 * MIB - wp, None)
	    left.append(wp)
	print(*left)
	PY
	remove_dev
	rm -r "$DIR"
}

test_seed() {
	local one again other
	one=$(after 1)
	# What a removal loses has no say in it.
	again=$(after 1 discard_write_cache)
	other=$(after 2)
	echo "$one / $other"
	assert_eq "$again" "$one" "what the same seed leaves"
	assert_ne "$other" "$one" "what another seed leaves"
	# Some zones lost all, some nothing, most a part.
	(($(tr ' ' '\n' <<<"$one $other" | sort -u | wc -l) > 8)) || fail "hardly random: $one / $other"
}

test_bad_input() {
	add_dev $OPTIONS
	zbc "$DEV" write $((3 * 4096)) 64
	ctl_fails ENODEV "powerfail id=1"
	ctl_fails EINVAL "powerfail"
	ctl_fails EINVAL "powerfail id=0,seed=-1"
	ctl_fails EINVAL "powerfail id=0,conv_zones=1"
	ctl_fails EINVAL "remove id=0,seed=1"
	mark_log
	ctl_fails ENODEV "powerfail id=-1"
	expect_one_line
	zbc "$DEV" check $((3 * 4096)) 64
	power_fail
	ctl_fails ENODEV "powerfail id=0"
	ctl_fails ENODEV "remove id=0"
}

# Threads write, flush, reset and finish; the power fails among them. Each zone has
# what was known to be durable, no more than can have become so, and all of it
# right; every request after the failure is told of it.
under_load() { # options, seed
	local options="capacity_mb=40,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2,nr_queues=2${1:+,$1}"
	use_requests
	add_dev "$options"
	py "$DEV" "$options" "$BASE" "$2" <<-'PY'
	CAP, FIRST = MIB, 2
	class Model:
	    """What is known of a zone: `issued` was asked for, `acked` was done, from `durable` to `possible` is flushed."""
	    def __init__(self): self.turn = 0; self.reset()
	    def reset(self):
	        self.turn += 1
	        self.issued = self.acked = self.durable = self.possible = 0
	        self.at_risk = None
	def power_off(seed): control("powerfail id=0" + (f",seed={seed}" if seed else ""))
	# Without power it has no capacity, and no zone is within that.
	GONE = {errno.EIO, errno.ENOSPC, errno.ENXIO, errno.ENODEV, errno.EINVAL}
	def flushed():
	    for v in models.values(): v.possible = max(v.possible, v.issued)
	def work(d, r, models, mine, rnd, off, failed, counts):
	    try:
	        while True:
	            n = rnd.choice(mine); m = models[n]
	            op = rnd.random()
	            if op < 0.15:
	                before = {k: (v.turn, v.acked) for k, v in models.items()}
	                try: d.flush()
	                finally: flushed()
	                with lock:
	                    for k, v in models.items():
	                        if before[k][0] == v.turn: v.durable = max(v.durable, before[k][1])
	            elif m.acked == CAP or op < 0.2:
	                m.at_risk = 0; d.reset(n)
	                with lock: m.reset()
	            elif op < 0.22 and m.acked:
	                m.at_risk = CAP; d.finish(n); m.durable = m.possible = CAP; m.filled = m.acked; m.acked = CAP; m.at_risk = None
	            else:
	                count = min(rnd.choice((8, 8, 64, 256)), CAP - m.acked)
	                m.issued = m.acked + count
	                m.filled = CAP
	                if op > 0.95:
	                    m.possible = max(m.possible, m.issued)
	                    try: r.one(f"write at={n * 2 * MIB + m.acked} sectors={count} fua seed={n * 1000000 + m.turn}")
	                    finally:
	                        if buffered: flushed()		# it is followed by a flush
	                    m.durable = m.issued
	                else: d.zwrite(n, m.acked, count, n * 1000000 + m.turn)
	                m.acked = m.issued
	            counts[0] += 1
	    except OSError as e:
	        if e.errno not in GONE: failed.append(e)
	        if not off[0]: failed.append("failed before the power did: %s" % e)
	    except Exception as e: failed.append(e)
	options, base, seed = args[1], args[2], int(args[3])
	buffered = "buffered_io" in options
	lock = threading.Lock()
	rnd = random.Random(4)
	models = {}
	for turn in range(4):
	    d = Dev(args[0])
	    for n in range(FIRST, 20):
	        z = d.zone(n)
	        wp = CAP if z.cond == "F" else z.wp
	        if turn:
	            m = models[n]
	            least, most = m.durable, max(m.possible, m.durable) if not seed else max(m.issued, m.durable)
	            if not (least <= wp <= most or wp == m.at_risk):
	                raise AssertionError(f"turn {turn}: {z}: want {least} to {most} or {m.at_risk}")
	            data = min(wp, m.filled, m.issued)
	            d.zcheck(n, 0, data, n * 1000000 + m.turn); d.zcheck(n, data, 2 * MIB - data, None)
	            if wp: d.reset(n)
	        models[n] = Model(); models[n].filled = CAP; models[n].turn = 1000 * turn
	    rs = [Requests(args[0]) for _ in range(4)]
	    off, failed, counts = [False], [], [0]
	    threads = [threading.Thread(target=work, args=(d, rs[k], models, [n for n in range(FIRST, 20) if n % 4 == k], random.Random(turn * 4 + k), off, failed, counts)) for k in range(4)]
	    for t in threads: t.start()
	    time.sleep(1 + rnd.random())
	    # A slow machine takes longer to have something to lose.
	    while counts[0] <= 50 and not failed: time.sleep(0.1)
	    off[0] = True
	    power_off(seed and seed + turn)
	    for t in threads: t.join()
	    eq(failed, [], "what has gone wrong")
	    eq(counts[0] > 50, True, f"{counts[0]} requests before the failure")
	    print(counts[0], "requests;", sum(m.acked - m.durable for m in models.values()), "sectors at risk")
	    fails("EIO|ENXIO|ENOSPC|ENODEV", d.pwrite, 0, bytes(4096))
	    for x in rs + [d]: x.close_fd()
	    control(f"add id=0,base_dir={base},{options}")
	PY
	remove_dev
	rm -r "$DIR"
}

test_under_load() {
	under_load "" 0
}

test_under_load_seed() {
	under_load zone_append=0 17
}

test_under_load_buffered() {
	under_load buffered_io,lazy_files 0
}

# fio's own marks in each block are all there below the write pointer.
test_fio() {
	local pid options=capacity_mb=80,zone_size_mb=4,conv_zones=1,nr_queues=2
	add_dev $options
	fio --name=load --filename="$DEV" --zonemode=zbd --direct=1 --ioengine=libaio --iodepth=8 --offset=4M --size=72M \
		--rw=randwrite --bs=16k --fsync=32 --verify=crc32c --do_verify=0 --time_based --runtime=60 >"$SCRATCH/fio.log" 2>&1 &
	pid=$!
	until (($(awk '{print $7}' /sys/block/zloop0/stat) > 20000)); do
		kill -0 $pid || fail "$(cat "$SCRATCH/fio.log")"
		sleep 0.1
	done
	power_fail seed=3
	refuse wait $pid
	# Without power it has no capacity.
	grep -q 'Input/output error\|No space left on device' "$SCRATCH/fio.log" || fail "fio was not told: $(cat "$SCRATCH/fio.log")"
	add_dev $options
	assert_ne "$(zones "$DEV" | awk '$3 == "cl" || $3 == "fu"' | wc -l)" 0 "zones with data"
	fio_zones "$DEV" --rw=read --bs=16k --offset=4M --size=72M --verify_only=0
	remove_dev
}

# ---------------------------------------------------------------- file systems

# Files are written and synced, one after the other, until the power fails. Those
# that were synced are there.
load_and_fail() { # powerfail's options
	local i pid
	mkdir -p "$MNT/synced"
	(
		# shellcheck disable=SC2030
		for ((i = 0; ; i++)); do
			head -c $((RANDOM * 8 + 1)) /dev/urandom >"$MNT/synced/$i" 2>/dev/null || break
			head -c 100000 /dev/urandom >"$MNT/lost.$((i % 7))" 2>/dev/null || break
			sync "$MNT/synced/$i" "$MNT/synced" 2>/dev/null || break
			sha256sum "$MNT/synced/$i" >>"$SCRATCH/sums" 2>/dev/null || break
		done
	) &
	pid=$!
	until [[ -e $SCRATCH/sums ]] && (($(wc -l <"$SCRATCH/sums") >= 12)); do
		kill -0 $pid || fail "can't write to $MNT"
		sleep 0.1
	done
	power_fail "$1"
	wait $pid || true
	umount "$MNT"
}

all_synced() {
	(($(wc -l <"$SCRATCH/sums") >= 12)) || fail "there is nothing to look for"
	sha256sum --quiet -c "$SCRATCH/sums"
	echo "works" >"$MNT/more"
	sync "$MNT/more"
}

test_xfs() {
	local turn
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=24
	mkdir -p "$MNT"
	mkfs.xfs -q -f "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	defer "umount_if '$MNT'"
	for turn in "" seed=5; do
		rm -f "$SCRATCH/sums"
		mount "$DEV" "$MNT"
		load_and_fail "$turn"
		add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=24
		mount "$DEV" "$MNT"
		all_synced
		umount "$MNT"
		xfs_repair -n "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	done
	remove_dev
}

test_btrfs() {
	local turn
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=4
	mkdir -p "$MNT"
	mkfs.btrfs -q -f -O zoned -d single -m single "$DEV"
	defer "umount_if '$MNT'"
	for turn in "" seed=5; do
		rm -f "$SCRATCH/sums"
		mount -o noatime "$DEV" "$MNT"
		load_and_fail "$turn"
		btrfs device scan --forget
		add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=4
		mount -o noatime "$DEV" "$MNT"
		all_synced
		btrfs scrub start -B "$MNT" >"$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
		grep -q 'no errors found' "$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
		umount "$MNT"
		btrfs check "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	done
	remove_dev
}

test_zonefs() {
	local options=capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=1
	modprobe zonefs
	add_dev $options
	mkdir -p "$MNT"
	mkzonefs -f "$DEV" >/dev/null
	mount -t zonefs "$DEV" "$MNT"
	defer "umount_if '$MNT'"
	head -c 1M /dev/urandom >"$SCRATCH/data"
	dd if="$SCRATCH/data" of="$MNT/seq/0" bs=64k oflag=direct conv=notrunc,fsync status=none
	dd if="$SCRATCH/data" of="$MNT/seq/0" bs=64k oflag=direct,append conv=notrunc status=none
	dd if="$SCRATCH/data" of="$MNT/seq/1" bs=64k oflag=direct conv=notrunc status=none
	power_fail
	umount "$MNT"
	add_dev $options
	mount -t zonefs "$DEV" "$MNT"
	assert_eq "$(stat -c %s "$MNT"/seq/{0,1,2} | tr '\n' ' ')" "1048576 0 0 " "sizes"
	cmp "$SCRATCH/data" "$MNT/seq/0"
	dd if="$SCRATCH/data" of="$MNT/seq/1" bs=64k oflag=direct conv=notrunc,fsync status=none
	cmp "$SCRATCH/data" "$MNT/seq/1"
	umount "$MNT"
	remove_dev
}

# ---------------------------------------------------------------- who uses it

# The device is open, and stays so; the number is free for another one at once.
# The file system with the zone files can be unmounted.
test_open_device() {
	make_below ext4 320M
	add_dev $OPTIONS
	py "$DEV" "$BASE" <<-PY
	import subprocess
	d = Dev(args[0])
	d.zwrite(3, 0, 64, 3); d.flush(); d.zwrite(3, 64, 64, 3)
	control("powerfail id=0")
	# (it has no sectors any more)
	for job in lambda: d.pwrite(0, bytes(4096)), lambda: d.zwrite(3, 128, 8), d.flush, lambda: d.reset(3):
	    fails("EIO|ENXIO|ENOSPC|ENODEV|EINVAL", job)
	eq(os.preadv(d.fd, [d.buffer(4096)], 0), 0, "bytes read")
	subprocess.run(["umount", args[1]], check=True)
	subprocess.run(["mount", "/dev/mapper/below", args[1]], check=True)
	control(f"add id=0,base_dir={args[1]},$OPTIONS")
	e = Dev(args[0])
	cond(e, 3, "C", 64); e.zcheck(3, 0, 64, 3)
	e.zwrite(3, 64, 64, 4)
	fails("EIO|ENXIO|ENOSPC|ENODEV", d.zwrite, 3, 128, 8)
	e.zcheck(3, 0, 64, 3); e.zcheck(3, 64, 64, 4)
	PY
	remove_dev
}

# Requests are under way, and the file system below does not get on with them: the
# failure waits for that, and they end with an error.
test_requests_under_way() {
	local i pids=() power
	make_below ext4 320M
	add_dev $OPTIONS
	zbc "$DEV" write $((3 * 4096)) 64
	zbc "$DEV" flush
	settle
	fsfreeze -f "$BASE"
	defer "fsfreeze -u '$BASE' 2>/dev/null || true"
	for i in 3 4 5; do
		zbc "$DEV" write $((i * 4096 + (i == 3 ? 64 : 0))) 64 2>/dev/null &
		pids+=($!)
	done
	until (($(awk '{print $2}' /sys/block/zloop0/inflight) == 3)); do sleep 0.1; done
	ctl "powerfail id=0" &
	power=$!
	sleep 1
	kill -0 $power || fail "it did not wait"
	ctl_fails EINVAL "powerfail id=0"
	fsfreeze -u "$BASE"
	wait $power
	for i in "${pids[@]}"; do
		refuse wait "$i"
	done
	add_dev $OPTIONS
	assert_eq "$(zones "$DEV" | sed -n 4,6p)" "3 SEQ_WRITE_REQUIRED cl 64 2048
4 SEQ_WRITE_REQUIRED em 0 2048
5 SEQ_WRITE_REQUIRED em 0 2048"
	zbc "$DEV" check $((3 * 4096)) 64
}
