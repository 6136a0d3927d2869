# SPDX-License-Identifier: GPL-2.0
# Removing a device that somebody uses.
#
# Guards the promises that the removal of a device which is mounted or held
# exclusively is refused with EBUSY and a message and harms nothing, that a plain
# opener such as udev does not block it, and that rmmod is refused while there is
# a device.

GEOMETRY=capacity_mb=32,zone_size_mb=2,conv_zones=1

still_works() {
	[[ -b /dev/zloop0 ]] || fail "the device is gone"
	zbc /dev/zloop0 reset $((9 * 4096))
	zbc /dev/zloop0 write $((9 * 4096)) 64
	zbc /dev/zloop0 check $((9 * 4096)) 64
}

busy() {
	mark_log
	ctl_fails EBUSY "remove id=0"
	expect_log 'zloop0|id=0' 'use|busy|held|mount|open'
	expect_one_line
}

# C driver fails: defect 24
test_mounted() {
	add_dev "$GEOMETRY"
	mkzonefs -f "$DEV" >/dev/null
	mkdir "$SCRATCH/mnt"
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	defer "umount_if '$SCRATCH/mnt'"
	head -c 64K /dev/urandom >"$SCRATCH/data"
	dd if="$SCRATCH/data" of="$SCRATCH/mnt/seq/0" bs=64K oflag=direct conv=notrunc status=none
	busy
	cmp -n 65536 "$SCRATCH/data" "$SCRATCH/mnt/seq/0"
	dd if="$SCRATCH/data" of="$SCRATCH/mnt/seq/0" bs=64K oflag=direct,append conv=notrunc status=none
	busy
	umount "$SCRATCH/mnt"
	remove_dev
	add_dev "$GEOMETRY"
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	assert_eq "$(stat -c %s "$SCRATCH/mnt/seq/0")" 131072 "what was written after the refusals"
	umount "$SCRATCH/mnt"
}

# C driver fails: defect 24
test_held_exclusively() {
	add_dev "$GEOMETRY"
	python3 -c "import os, time
fd = os.open('$DEV', os.O_RDWR | os.O_EXCL)
open('$SCRATCH/held', 'w').close()
time.sleep(1000)" &
	defer "kill $! 2>/dev/null || true"
	until [[ -e $SCRATCH/held ]]; do sleep 0.1; done
	busy
	busy
	still_works
	kill $! && wait $! || true
	remove_dev
}

# C driver fails: defect 24
test_below_device_mapper() {
	add_dev "$GEOMETRY"
	modprobe dm-mod
	dmsetup create above --table "0 65536 linear $DEV 0"
	defer "! dmsetup info above >/dev/null 2>&1 || dmsetup remove above"
	busy
	still_works
	dmsetup remove above
	remove_dev
}

# Someone who merely has it open neither stops the removal nor crashes, and gets
# errors afterwards.
test_plain_opener() {
	add_dev "$GEOMETRY"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.zwrite(3, 0, 8)
	reader = os.open(args[0], os.O_RDONLY)
	os.pread(reader, 4096, 0)
	control("remove id=0")
	eq(os.path.exists("/sys/block/zloop0"), False, "the device is there")
	for fn in (lambda: d.zwrite(3, 8, 8)), (lambda: d.reset(3)), (lambda: d.open(4)):
	    fails("EIO|ENXIO|ENODEV|ENOTTY|EINVAL|EOPNOTSUPP|ENOSPC", fn)
	try:
	    eq(os.pread(reader, 4096, 1 << 20), b"", "read from what is gone")
	except OSError:
	    pass
	fails("ENODEV", control, "remove id=0")
	os.close(reader)
	d.close_fd()
	PY
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((3 * 4096)) 8
	assert_eq "$(zones "$DEV" | sed -n 4p)" "3 SEQ_WRITE_REQUIRED cl 8 4096"
	remove_dev
}

# Opened again and again, as udev and its likes do, the device is removed all the
# same.
test_openers_come_and_go() {
	local i
	for i in 1 2 3 4 5; do
		add_dev "$GEOMETRY"
		(while :; do head -c 4096 "$DEV" >/dev/null 2>&1 || :; done) &
		defer "kill $! 2>/dev/null || true"
		sleep 0.3
		remove_dev
		kill $! && wait $! 2>/dev/null || true
	done
}

# Who is told of the device by the kernel, as udev is, can open it, even before add
# returns. The task that adds it gives way to others as soon as it has told them: one
# who listens has a full socket, which makes the kernel yield, and the processor has
# something better to do.
# C driver fails: defect 26
test_open_during_add() {
	mkdir -p "$BASE/0"
	python3 - "$BASE" <<-'PY'
	import errno, os, signal, socket, sys, threading, time
	NETLINK_KOBJECT_UEVENT = 15
	stop, told, bad = False, 0, []
	def listener(size):
	    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
	    if size: events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
	    events.bind((0, 1))
	    events.settimeout(1)
	    return events
	def opener(events):
	    global told
	    while not stop:
	        try:
	            event = events.recv(65536)
	        except TimeoutError:
	            continue
	        if event.startswith(b"add@/devices/virtual/block/zloop0\0"):
	            try:
	                os.close(os.open("/dev/zloop0", os.O_RDONLY))
	            except OSError as e:
	                bad.append(errno.errorcode[e.errno])
	            told += 1
	def slow_listener(events):
	    while not stop:
	        try:
	            events.recv(65536)
	        except OSError:
	            pass
	threads = [threading.Thread(target=opener, args=(listener(0),)),
	           threading.Thread(target=slow_listener, args=(listener(1),))]
	for t in threads: t.start()
	busy = os.fork()
	if not busy:
	    os.sched_setaffinity(0, {0})
	    while True: pass
	# Only this thread.
	os.sched_setaffinity(0, {0})
	os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
	fd = os.open("/dev/zloop-control", os.O_WRONLY)
	for turn in range(1, 11):
	    os.write(fd, f"add id=0,base_dir={sys.argv[1]},capacity_mb=16,zone_size_mb=1,conv_zones=1".encode())
	    while told < turn: time.sleep(0.01)
	    os.write(fd, b"remove id=0")
	    if bad: break
	os.kill(busy, signal.SIGKILL)
	stop = True
	for t in threads: t.join()
	if bad: sys.exit(f"turn {turn}: openers got {bad}")
	PY
}

# The module stays while a device does, whoever asks.
test_rmmod_with_a_device() {
	add_dev "$GEOMETRY"
	refuse rmmod zloop 2>/dev/null
	python3 - <<-'PY'
	import ctypes, errno, os
	libc = ctypes.CDLL(None, use_errno=True)
	assert libc.syscall(176, b"zloop", os.O_NONBLOCK) == -1
	assert ctypes.get_errno() in (errno.EAGAIN, errno.EBUSY), ctypes.get_errno()
	PY
	[[ -e /sys/module/zloop && -e $CONTROL ]] || fail "the module is gone"
	still_works
	remove_dev
	rmmod zloop
	[[ ! -e $CONTROL ]] || fail "the control device is still there"
	insmod "$(module_is "$DRIVER")"
	[[ -c $CONTROL ]] || fail "no control device"
	add_dev "$GEOMETRY"
	still_works
}

# With the control device open the module stays, too.
test_rmmod_with_the_control_device_open() {
	exec 5<>$CONTROL
	refuse rmmod zloop 2>/dev/null
	exec 5<&-
	rmmod zloop
	insmod "$(module_is "$DRIVER")"
}

# The file system below can be unmounted as soon as the device is removed.
test_umount_right_after_remove() {
	local i
	for i in 1 2 3 4; do
		make_fs ext4 64M "$BASE$i"
		add_dev -b "$BASE$i" "$GEOMETRY"
		zbc "$DEV" write $((3 * 4096)) 512
		remove_dev
		umount "$BASE$i" || fail "turn $i: something is open"
	done
}
