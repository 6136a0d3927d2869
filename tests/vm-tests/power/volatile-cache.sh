# SPDX-License-Identifier: GPL-2.0
# volatile_cache: a power failure takes back what conventional zones have not
# flushed.
#
# Guards the promise that a block of a conventional zone has after it what was last
# flushed or, with a seed, perhaps something later; that removal as such loses
# nothing; and that the old data takes no space once it is not needed.
# limit: 240

OPTIONS=capacity_mb=32,zone_size_mb=4,conv_zones=2,volatile_cache
MNT=$SCRATCH/mnt

source "$TESTS/vm-tests/below.bash"

# The sectors of the device that have each version, for blocks of 4 KiB.
VERSIONS='
def versions(d, sectors):
    found = []
    for at in range(0, sectors, 1024):
        data = d.pread(at, 1024)
        for block in range(0, 1024, 8):
            sector, seed = struct.unpack_from("<QQ", data, block * SECTOR)
            want = bytes(4096) if not seed else pattern(at + block, 8, seed)
            eq(data[block * SECTOR:(block + 8) * SECTOR] == want, True, f"block at {at + block}, version {seed}, is whole")
            found.append(seed)
    return found'

# Overwritten, discarded and zeroed: all comes back. What was flushed stays.
back_to_flushed() { # options
	add_dev "$OPTIONS${1:+,$1}"
	assert_eq "$(queue fua)" 0 fua
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(0, 16384, 1024): d.write(at, 1024, 1)
	d.flush()
	d.write(0, 1024, 2); d.write(8192 - 64, 128, 2)
	d.flush()
	d.write(512, 1024, 3); d.write(0, 8, 3); d.write(0, 8, 4)
	d.write(8192 - 8, 16, 3)
	d.discard(4096, 512); d.zeroout(10000, 512)
	d.write(4096 + 64, 64, 3)
	d.check(0, 8, 4); d.check(512, 1024, 3); d.check(4096 + 128, 64, None)
	PY
	ctl "powerfail id=0"
	add_dev "$OPTIONS${1:+,$1}"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.check(0, 1024, 2); d.check(1024, 8192 - 64 - 1024, 1)
	d.check(8192 - 64, 128, 2); d.check(8192 + 64, 8192 - 64, 1)
	d.write(0, 1024, 5)
	PY
	# A removal is none.
	readd_dev "$OPTIONS${1:+,$1}"
	zbc "$DEV" check 0 1024 5
	zbc "$DEV" write 0 1024 6
	readd_dev "$OPTIONS,discard_write_cache${1:+,$1}"
	zbc "$DEV" write 0 1024 7
	readd_dev "$OPTIONS${1:+,$1}"
	zbc "$DEV" check 0 1024 6
	remove_dev
	rm -r "$DIR"
}

# It has reflinks.
test_back_to_flushed_xfs() {
	back_to_flushed
}

# scratch: ext4
test_back_to_flushed_ext4() {
	back_to_flushed
}

# scratch: btrfs
test_back_to_flushed_btrfs() {
	back_to_flushed
}

# scratch: tmpfs
test_back_to_flushed_tmpfs() {
	back_to_flushed buffered_io
}

# Who asks for it may be killed meanwhile: all comes back.
test_killed() {
	local pid
	make_below ext4 320M
	add_dev "$OPTIONS,buffered_io"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for seed in 1, 2:
	    for at in range(0, 16384, 1024): d.write(at, 1024, seed)
	    d.flush() if seed == 1 else None
	PY
	slow 500
	dd of=$CONTROL status=none <<<"powerfail id=0" &
	pid=$!
	until [[ ! -e /sys/block/zloop0 ]]; do sleep 0.05; done
	kill -KILL $pid || fail "it was over too soon"
	refuse wait $pid
	whole
	add_dev "$OPTIONS,buffered_io"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(0, 16384, 1024): d.check(at, 1024, 1)
	PY
	remove_dev
}

# The versions after the same work and a failure.
after() { # seed, options
	add_dev "$OPTIONS${2:+,$2}"
	py "$DEV" >/dev/null <<-'PY'
	d = Dev(args[0])
	for at in range(0, 2048, 1024): d.write(at, 1024, 1)
	d.flush()
	for at in range(0, 1024, 64): d.write(at, 64, 2)
	PY
	ctl "powerfail id=0,seed=$1"
	add_dev $OPTIONS
	py "$DEV" <<-PY
	$VERSIONS
	print(*versions(Dev(args[0]), 2048), sep="")
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
	assert_eq "$again" "$one" "what the same seed leaves"
	assert_ne "$other" "$one" "what another seed leaves"
	assert_eq "${one:128}" "$(printf '1%.0s' {1..128})" "what was not overwritten"
	[[ ${one:0:128} =~ ^[12]+$ && ${one:0:128} == *11*22* ]] || fail "hardly random: $one"
}

# Threads overwrite blocks and flush; the power fails among them. The last time it does
# so when there has been no flush for a while, so that something is lost for certain.
under_load() { # options, seed
	add_dev "$OPTIONS,nr_queues=2${1:+,$1}"
	py "$DEV" "$OPTIONS,nr_queues=2${1:+,$1}" "$BASE" "$2" <<-PY
	$VERSIONS
	GONE = {errno.EIO, errno.ENOSPC, errno.ENXIO, errno.ENODEV}
	BLOCKS = 512
	options, base, seed = args[1], args[2], int(args[3])
	rnd = random.Random(5)
	d = Dev(args[0])
	acked = [0] * BLOCKS	# the version that was written last
	lost = 0
	for turn in range(4):
	    issued = acked[:]; durable = acked[:]; possible = acked[:]
	    off, calm, failed, count = [False], [False], [], [0]
	    def work(k):
	        rnd = random.Random(turn * 4 + k)
	        try:
	            while True:
	                if not calm[0] and rnd.random() < 0.03:
	                    before = acked[:]
	                    try: d.flush()
	                    finally:
	                        for b in range(BLOCKS): possible[b] = max(possible[b], issued[b])
	                    for b in range(BLOCKS): durable[b] = max(durable[b], before[b])
	                else:
	                    b = rnd.randrange(BLOCKS // 16) * 16 + k * 4
	                    n = rnd.choice((1, 1, 4))
	                    version = max(issued[b:b + n]) + 1
	                    issued[b:b + n] = [version] * n
	                    d.write(b * 8, n * 8, version)
	                    acked[b:b + n] = [version] * n
	                count[0] += 1
	        except OSError as e:
	            if e.errno not in GONE or not off[0]: failed.append(e)
	        except Exception as e: failed.append(e)
	    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
	    for t in threads: t.start()
	    time.sleep(2 + rnd.random())
	    if turn == 3:
	        calm[0] = True
	        enough = count[0] + 100
	        while count[0] < enough and not failed: time.sleep(0.01)
	    off[0] = True
	    control("powerfail id=0" + (f",seed={seed + turn}" if seed else ""))
	    for t in threads: t.join()
	    eq(failed, [], "what has gone wrong")
	    d.close_fd()
	    control(f"add id=0,base_dir={base},{options}")
	    d = Dev(args[0])
	    found = versions(d, BLOCKS * 8)
	    most = issued if seed else possible
	    for b in range(BLOCKS):
	        eq(durable[b] <= found[b] <= max(most[b], durable[b]), True, f"turn {turn}, block {b}: version {found[b]} of {durable[b]} to {most[b]}")
	    lost += sum(a > f for a, f in zip(acked, found))
	    print(count[0], "requests;", lost, "blocks lost so far")
	    acked = found
	eq(lost > 0, True, "something was lost")
	PY
	remove_dev
	rm -r "$DIR"
}

test_under_load() {
	under_load "" 0
}

# scratch: ext4
test_under_load_ext4() {
	under_load buffered_io 9
}

# A flush gives the space of the old data back.
test_space() {
	local used
	add_dev $OPTIONS
	fio_conv "$DEV" --size=8M --rw=write --bs=256k --fsync=8 >/dev/null
	zbc "$DEV" flush
	sync
	used=$(df --output=used -k "$SCRATCH" | tail -n 1)
	fio_conv "$DEV" --size=8M --rw=write --bs=256k --do_verify=0 >/dev/null
	sync
	(($(df --output=used -k "$SCRATCH" | tail -n 1) > used + 7000)) || fail "no old data was saved"
	zbc "$DEV" flush
	sync
	(($(df --output=used -k "$SCRATCH" | tail -n 1) < used + 1000)) || fail "the old data is still there"
	assert_eq "$(find "$DIR" -type f | wc -l)" 9 "files"
	remove_dev
}

# Old data that finds no room: what would overwrite it fails and changes nothing. A
# flush makes room.
test_no_space() {
	local size n=0
	make_fs ext4 128M "$BASE"
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(0, 16384, 1024): d.write(at, 1024, 1)
	d.flush()
	PY
	mkdir "$BASE/filler"
	fallocate -l 1M "$BASE/room"
	for size in 16M 1M 64K 4K; do
		while fallocate -l $size "$BASE/filler/$n" 2>/dev/null; do n=$((n + 1)); done
	done
	rm "$BASE/room"
	sync -f "$BASE"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	def till_full(seed):
	    for at in range(0, 16384, 64):
	        try: d.write(at, 64, seed)
	        except OSError as e:
	            eq(errno.errorcode[e.errno], "ENOSPC", f"write at {at}")
	            return at
	    raise AssertionError("there is room for all old data")
	at = till_full(2)
	eq(512 <= at <= 4096, True, f"the first failure, at {at}, is where the room ends")
	d.check(0, at, 2); d.check(at, 16384 - at, 1)
	fails("ENOSPC", d.discard, at, 64)
	d.check(at, 64, 1)
	# What is saved already takes no room.
	d.write(0, 64, 3)
	d.flush()
	d.write(at, 64, 4); d.check(at, 64, 4)
	PY
	ctl "powerfail id=0"
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	versions = []
	for at in range(0, 4096, 64):
	    seed = struct.unpack_from("<QQ", d.pread(at, 64))[1]
	    d.check(at, 64, seed)
	    versions.append(seed)
	eq(versions[0], 3, "what was overwritten while there was no room")
	eq(versions[1:], sorted(versions[1:], reverse=True), "versions")
	eq(set(versions[1:]), {1, 2}, "versions")
	d.check(4096, 16384 - 4096, 1)
	PY
	remove_dev
}

# A journal that is written again and again, in place.
test_ext4_on_conventional() {
	local turn i pid options=capacity_mb=96,zone_size_mb=16,conv_zones=4,volatile_cache
	add_dev $options
	mkfs.ext4 -q -b 4096 "$DEV" 64M
	mkdir "$MNT"
	defer "umount_if '$MNT'"
	for turn in "" seed=1; do
		rm -f "$SCRATCH/sums"
		mount "$DEV" "$MNT"
		mkdir -p "$MNT/synced"
		(
			for ((i = 0; i < 1000; i++)); do
				head -c $((RANDOM * 2 + 1)) /dev/urandom >"$MNT/synced/$i" 2>/dev/null || break
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
		ctl "powerfail id=0${turn:+,$turn}"
		wait $pid || true
		umount "$MNT"
		add_dev $options
		mount "$DEV" "$MNT"
		sha256sum --quiet -c "$SCRATCH/sums"
		umount "$MNT"
		e2fsck -fn "$DEV" >"$SCRATCH/log" 2>&1 || fail "$(cat "$SCRATCH/log")"
	done
	remove_dev
}
