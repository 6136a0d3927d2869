# SPDX-License-Identifier: GPL-2.0
# discard_write_cache: removing the device loses what was not flushed.
#
# Guards the promise that every sequential zone, also a full one, is rolled back to
# what was last flushed and never further, where a reset and a finish count as
# flushed when they complete. Each case is a test of its own, since the C driver
# gets some of them wrong, each for a reason of its own.

OPTIONS=capacity_mb=20,zone_size_mb=2,zone_capacity_mb=1,conv_zones=2

# Run the first program, remove, add, run the second. The programs are separated
# by a line `---`; with more of them, more rounds.
session() { # options
	local code part=
	code=$(cat)$'\n---'
	while IFS= read -r line; do
		if [[ $line == --- ]]; then
			add_dev "$1"
			py "$DEV" <<<"d, LEN, CAP = Dev(args[0]), 2 * MIB, MIB
$part"
			remove_dev
			part=
		else
			part+=$line$'\n'
		fi
	done <<<"$code"
}

cached() {
	session $OPTIONS,discard_write_cache
}

test_unflushed_tail_is_lost() {
	cached <<'PY'
d.zwrite(5, 0, 64)
d.flush()
d.zwrite(5, 64, 64, 2)
---
cond(d, 5, "C", 64)
d.zcheck(5, 0, 64)
d.zcheck(5, 64, LEN - 64, None)
d.zwrite(5, 64, 64, 3)
d.flush()
---
cond(d, 5, "C", 128)
d.zcheck(5, 0, 64)
d.zcheck(5, 64, 64, 3)
PY
}

# Without conventional zones, zone 0 is sequential.
test_first_zone() {
	session capacity_mb=20,zone_size_mb=2,conv_zones=0,discard_write_cache <<'PY'
d.zwrite(0, 0, 64)
d.flush()
d.zwrite(0, 64, 64, 2)
---
cond(d, 0, "C", 64)
d.zcheck(0, 0, 64)
d.zcheck(0, 64, LEN - 64, None)
PY
}

# C driver fails: defect 10
test_never_flushed() {
	cached <<'PY'
d.zwrite(5, 0, 64)
d.open(6); d.zwrite(6, 0, 64)
d.zwrite(7, 0, 64); d.close(7)
d.open(8)
---
for nr in 5, 6, 7, 8:
    cond(d, nr, "E", 0)
    d.zcheck(nr, 0, LEN, None)
PY
}

# Every zone to its own place, at the last of several flushes.
test_every_zone_to_its_place() {
	cached <<'PY'
for nr in range(2, 10): d.zwrite(nr, 0, 8 * nr)
d.flush()
for nr in range(4, 10): d.zwrite(nr, 8 * nr, 64)
d.flush()
for nr in range(6, 10): d.zwrite(nr, 8 * nr + 64, 64)
---
for nr in range(2, 10):
    wp = 8 * nr + (64 if nr > 3 else 0)
    cond(d, nr, "C", wp)
    d.zcheck(nr, 0, wp)
    d.zcheck(nr, wp, LEN - wp, None)
PY
}

# C driver fails: defect 11
test_full_zone() {
	cached <<'PY'
d.zwrite(5, 0, 64)
d.flush()
d.zwrite(5, 64, CAP - 64)
d.zwrite(6, 0, CAP)
cond(d, 5, "F"); cond(d, 6, "F")
---
cond(d, 5, "C", 64)
d.zcheck(5, 0, 64)
d.zcheck(5, 64, LEN - 64, None)
cond(d, 6, "E", 0)
PY
}

test_full_and_flushed() {
	cached <<'PY'
d.zwrite(5, 0, CAP)
d.flush()
---
cond(d, 5, "F", None)
d.zcheck(5, 0, CAP)
---
cond(d, 5, "F", None)
d.zcheck(5, 0, CAP)
PY
}

# A finish is durable when it completes, and what it finished with it.
test_finish_counts_as_flushed() {
	cached <<'PY'
d.zwrite(5, 0, 64)
d.finish(5)
d.finish(6)
---
cond(d, 5, "F", None)
d.zcheck(5, 0, 64)
d.zcheck(5, 64, LEN - 64, None)
cond(d, 6, "F", None)
PY
}

# Also where writes have left it nothing to fill.
# C driver fails: defect 11
test_finish_of_a_full_zone_counts_as_flushed() {
	cached <<'PY'
d.zwrite(5, 0, CAP)
d.finish(5)
d.zwrite(6, 0, CAP)
---
cond(d, 5, "F", None)
d.zcheck(5, 0, CAP)
cond(d, 6, "E", 0)
PY
}

test_reset_counts_as_flushed() {
	cached <<'PY'
d.zwrite(5, 0, 64)
d.zwrite(6, 0, CAP)
d.zwrite(7, 0, 64); d.finish(7)
d.flush()
for nr in 5, 6, 7: d.reset(nr)
---
for nr in 5, 6, 7:
    cond(d, nr, "E", 0)
    d.zcheck(nr, 0, LEN, None)
PY
}

# What came after the reset is gone, however much was flushed before it.
# C driver fails: defect 12
test_unflushed_after_reset() {
	session capacity_mb=20,zone_size_mb=2,zone_capacity_mb=1,conv_zones=0,discard_write_cache <<'PY'
d.zwrite(0, 0, 64)
d.flush()
d.reset(0)
d.zwrite(0, 0, 128, 2)
---
cond(d, 0, "E", 0)
d.zcheck(0, 0, LEN, None)
PY
}

test_flushed_after_reset() {
	cached <<'PY'
d.zwrite(5, 0, 64)
d.zwrite(6, 0, 64)
d.flush()
d.reset(5)
d.reset_all()
d.zwrite(5, 0, 128, 2)
d.zwrite(6, 0, 8, 3)
d.flush()
d.zwrite(6, 8, 128, 4)
---
cond(d, 5, "C", 128)
d.zcheck(5, 0, 128, 2)
cond(d, 6, "C", 8)
d.zcheck(6, 0, 8, 3)
PY
}

# What was there when the device was added is not the cache's to lose.
# C driver fails: defect 10
test_earlier_data_stays() {
	session $OPTIONS <<'PY'
d.zwrite(5, 0, 64)
d.zwrite(6, 0, CAP)
PY
	cached <<'PY'
cond(d, 5, "C", 64)
d.zwrite(5, 64, 64, 2)
---
cond(d, 5, "C", 64)
d.zcheck(5, 0, 64)
d.zcheck(5, 64, 64, None)
cond(d, 6, "F")
d.zcheck(6, 0, CAP)
PY
}

# Nor does a record of what was flushed once outlive the session.
# C driver fails: defect 13
test_record_does_not_outlive_its_session() {
	local o=capacity_mb=20,zone_size_mb=2,zone_capacity_mb=1,conv_zones=0
	session $o,discard_write_cache <<'PY'
d.zwrite(0, 0, 64)
d.flush()
PY
	session $o <<'PY'
d.zwrite(0, 64, 64, 2)
PY
	session $o,discard_write_cache <<'PY'
cond(d, 0, "C", 128)
PY
	session $o,discard_write_cache <<'PY'
cond(d, 0, "C", 128)
d.zcheck(0, 0, 64)
d.zcheck(0, 64, 64, 2)
PY
}

# A write that asks to be durable is so when it completes.
test_synchronous_write() {
	cached <<'PY'
s = Dev(args[0], os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
s.zwrite(5, 0, 64)
s.zwrite(5, 64, 64)
d.zwrite(5, 128, 64, 2)
---
cond(d, 5, "C", 128)
d.zcheck(5, 0, 128)
PY
}

# With the zone files in the page cache it is the same.
# C driver fails: defect 11
test_buffered_io() {
	session $OPTIONS,discard_write_cache,buffered_io <<'PY'
d.zwrite(5, 0, 64)
d.flush()
d.zwrite(5, 64, 64, 2)
d.zwrite(6, 0, CAP)
---
cond(d, 5, "C", 64)
d.zcheck(5, 0, 64)
cond(d, 6, "E", 0)
PY
}

# Without the option nothing is lost.
test_without_the_option() {
	session $OPTIONS <<'PY'
d.zwrite(5, 0, 64)
d.write(0, 64, 3)
d.flush()
d.zwrite(5, 64, 64)
d.zwrite(6, 0, CAP)
---
cond(d, 5, "C", 128)
d.zcheck(5, 0, 128)
cond(d, 6, "F")
d.zcheck(6, 0, CAP)
d.check(0, 64, 3)
PY
}

# A file system that was unmounted has flushed all that it wrote.
test_file_system_above() {
	mkdir "$SCRATCH/mnt"
	head -c 300K /dev/urandom >"$SCRATCH/data"
	truncate -s 304K "$SCRATCH/data"
	add_dev $OPTIONS,discard_write_cache
	mkzonefs -f "$DEV" >/dev/null
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	defer "umount_if '$SCRATCH/mnt'"
	dd if="$SCRATCH/data" of="$SCRATCH/mnt/seq/2" bs=76K oflag=direct conv=notrunc,fsync status=none
	umount "$SCRATCH/mnt"
	readd_dev $OPTIONS,discard_write_cache
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	cmp "$SCRATCH/data" "$SCRATCH/mnt/seq/2"
	umount "$SCRATCH/mnt"
}
