# SPDX-License-Identifier: GPL-2.0
# More zones in use than files are kept open, and than may have space in reserve.
#
# Guards a large device against eating up the machine: an open file costs kernel
# memory, and space that is allocated ahead of a write pointer is missing in other
# zones. The data must not depend on either.

# The files that are open in the whole system.
open_files() {
	cut -f 1 /proc/sys/fs/file-nr
}

# C driver fails: it opens all files when the device is added
# limit: 300
# kernel: stock
test_idle_files_are_closed() {
	local options=capacity_mb=9000,zone_size_mb=1,conv_zones=4,lazy_files before after
	add_dev "$options"
	before=$(open_files)
	py "$DEV" <<-'PY'
	def write(me):
	    d = Dev(args[0])
	    for nr in range(4 + me, 9000, 2): d.zwrite(nr, 0, 8, nr)
	pids = []
	for me in 0, 1:
	    pid = os.fork()
	    if not pid:
	        write(me)
	        os._exit(0)
	    pids.append(pid)
	eq([os.waitpid(pid, 0)[1] for pid in pids], [0, 0], "writers")
	PY
	after=$(open_files)
	((after > before + 5000 && after < before + 8192 + 500)) || fail "$before files were open, now $after"
	# The first ones were closed; they are read, written and flushed as ever.
	py "$DEV" "$DIR" <<-'PY'
	d = Dev(args[0])
	for nr in (*range(4, 40), *range(8900, 9000)): d.zcheck(nr, 0, 8, nr)
	for nr in range(4, 40): d.zwrite(nr, 8, 8, nr)
	d.flush()
	for nr in range(4, 40):
	    d.zcheck(nr, 0, 16, nr)
	    eq(os.stat(f"{args[1]}/seq-{nr:06}").st_size, 16 * SECTOR, "file size")
	for nr in range(4, 30): d.reset(nr)
	for nr in range(4, 30): d.zcheck(nr, 0, 16, None)
	PY
	readd_dev "$options"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	eq([z.wp for z in d.report(count=9000)[4:]], [0] * 26 + [16] * 10 + [8] * (9000 - 40), "write pointers")
	PY
	remove_dev
}

# Small writes to more zones than may have space in reserve, on a file system that
# does not have as much.
test_space_ahead_is_bounded() {
	local options=capacity_mb=2000,zone_size_mb=8,conv_zones=0,lazy_files used
	add_dev "$options"
	used=$(df --output=used -k "$SCRATCH" | tail -n 1)
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in 0, 8, 16:
	    for nr in range(200): d.zwrite(nr, at, 8, nr)
	d.flush()
	PY
	used=$(($(df --output=used -k "$SCRATCH" | tail -n 1) - used))
	# 200 zones with 4 MiB each would be 800 MiB.
	((used < 300 << 10)) || fail "$used KiB are in use for 2400 KiB of data"
	((used > 100 << 10)) || fail "nothing is allocated ahead: $used KiB are in use"
	# A place that nobody has used for a second is taken over.
	sleep 1.2
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for nr in range(100, 200): d.zwrite(nr, 24, 8, nr)
	d.flush()
	for nr in range(100): d.zcheck(nr, 0, 24, nr)
	for nr in range(100, 200): d.zcheck(nr, 0, 32, nr)
	PY
	remove_dev
	used=$(du -sk "$DIR" | cut -f 1)
	((used < 10 << 10)) || fail "after the removal $used KiB are in use"
}

# What is kept for writes to come is given back when none will: where the zone is finished, and when
# the device is removed, whatever has happened in it.
test_reserve_of_zones_that_end() {
	local options=capacity_mb=800,zone_size_mb=8,conv_zones=0,lazy_files used
	add_dev "$options"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for nr in range(40): d.zwrite(nr, 0, 8, nr); d.finish(nr)
	PY
	used=$(du -sk "$DIR" | cut -f 1)
	((used < 10 << 10)) || fail "40 zones that were finished use $used KiB"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for nr in range(60, 100):
	    at = nr * d.zone_size() + 8
	    control(f"inject id=0,badblocks_write=+{at}-{at + 7}")
	    d.zwrite(nr, 0, 8, nr)
	    fails("EIO", d.zwrite, nr, 8, 8)
	    d.zone(nr)
	PY
	remove_dev
	used=$(du -sk "$DIR" | cut -f 1)
	((used < 10 << 10)) || fail "after the removal $used KiB are in use"
	add_dev "$options"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for nr in range(40): cond(d, nr, "F"); d.zcheck(nr, 0, 8, nr)
	for nr in range(60, 100): cond(d, nr, "C", 8); d.zcheck(nr, 0, 8, nr)
	PY
}

# A file system that is full gets back what was allocated ahead.
test_reserves_are_given_back() {
	local image=$SCRATCH/image mnt=$SCRATCH/mnt
	mkdir "$mnt"
	truncate -s 400M "$image"
	mkfs.xfs -q -f "$image"
	modprobe loop
	mount -o loop "$image" "$mnt"
	defer "umount_if '$mnt'"
	add_dev -b "$mnt" capacity_mb=800,zone_size_mb=8,conv_zones=0,lazy_files
	py "$DEV" "$mnt" <<-'PY'
	d, mnt = Dev(args[0]), args[1]
	for nr in range(50): d.zwrite(nr, 0, 8, nr)
	def free():
	    s = os.statvfs(mnt)
	    return s.f_bavail * s.f_frsize
	# Others take the rest, but for a few pieces.
	with open(f"{mnt}/other", "wb") as f:
	    os.posix_fallocate(f.fileno(), 0, free() - (3 << 20))
	# What 50 zones have in reserve is many times this.
	for at in range(8, 520, 8):
	    nr = 60 + at % 7
	    z = d.zone(nr)
	    for attempt in range(50):
	        try: d.zwrite(nr, z.wp, 64, nr); break
	        except OSError as e:
	            if e.errno != errno.ENOSPC: raise
	            time.sleep(0.1)
	            z = d.zone(nr)
	    else: raise Exception(f"no space with {free()} bytes free")
	PY
	remove_dev
	umount "$mnt"
}
