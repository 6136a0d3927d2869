# SPDX-License-Identifier: GPL-2.0
# The time stamps of zone files say that a file has changed, as a copy by size and
# time (rsync of a removed device's directory) needs it.
#
# Guards the promise that a file which has changed has a new mtime after a flush and
# after the device is gone. And that writes themselves do not set it: a new time in
# each tick of the clock is what a write that may not wait is refused for.

GEOMETRY=capacity_mb=32,zone_size_mb=4,conv_zones=2

source "$TESTS/vm-tests/below.bash"

mtime() { # zone-file
	stat -c %.9Y "$DIR/$1"
}

# A stamp in the past. The device has the file open all the same.
age() { # zone-file...
	local file
	for file; do touch -d '2001-01-01 UTC' "$DIR/$file"; done
	OLD=$(mtime "$1")
}

is_new() { # what zone-file
	assert_ne "$(mtime "$2")" "$OLD" "mtime of $2 $1"
}

device() { # options
	local extra=${1-}
	add_dev "$GEOMETRY${extra:+,$extra}"
	# The files are open, and have data.
	zbc "$DEV" write 0 64
	zbc "$DEV" write $((2 * 4 << 11)) 64
	zbc "$DEV" flush
	age cnv-000000 seq-000002
}

flushed() {
	device "${1-}"
	zbc "$DEV" write 0 64 2
	zbc "$DEV" write $(((2 * 4 << 11) + 64)) 64 2
	zbc "$DEV" flush
	is_new "after a flush" cnv-000000
	is_new "after a flush" seq-000002
}

removed() {
	device "${1-}"
	zbc "$DEV" write 0 64 2
	zbc "$DEV" write $(((2 * 4 << 11) + 64)) 64 2
	remove_dev
	is_new "after the removal" cnv-000000
	is_new "after the removal" seq-000002
}

test_flush_xfs() {
	flushed
}

# scratch: ext4
test_flush_ext4() {
	flushed
}

test_flush_buffered() {
	flushed buffered_io
}

test_removal_xfs() {
	removed
}

# scratch: ext4
test_removal_ext4() {
	removed
}

test_removal_buffered() {
	removed buffered_io
}

# What is not flushed stays in conventional zones, unless volatile_cache takes it back.
test_power_failure() {
	device
	zbc "$DEV" write 0 64 2
	ctl "powerfail id=0"
	is_new "after the power failure" cnv-000000
}

test_fua() {
	use_requests
	device
	py "$DEV" <<-'PY'
	Requests(args[0]).one("write at=0 sectors=64 fua seed=2")
	PY
	zbc "$DEV" flush
	is_new "after a FUA write and a flush" cnv-000000
}

# A discard and a reset change a file without writing to it.
test_discard_and_reset() {
	device
	blkdiscard -o 0 -l 32768 "$DEV"
	blkzone reset -o $((2 * 4 << 11)) -c 1 "$DEV"
	zbc "$DEV" flush
	is_new "after a discard" cnv-000000
	is_new "after a reset" seq-000002
}

# Nothing has changed: a flush and a removal leave the stamps alone.
test_unchanged() {
	device
	zbc "$DEV" check 0 64
	zbc "$DEV" flush
	remove_dev
	assert_eq "$(mtime cnv-000000)" "$OLD" "mtime of a file that nobody wrote to"
	assert_eq "$(mtime seq-000002)" "$OLD" "mtime of a file that nobody wrote to"
}

# In each tick of the clock, with XFS and ext4, a write that sets a time stamp has to wait.
leaves_alone() {
	device
	zbc "$DEV" write 0 64 2
	zbc "$DEV" write $(((2 * 4 << 11) + 64)) 64 2
	assert_eq "$(mtime cnv-000000)" "$OLD" "mtime before a flush"
	assert_eq "$(mtime seq-000002)" "$OLD" "mtime before a flush"
}

test_writes_leave_it_alone_xfs() {
	leaves_alone
}

# scratch: ext4
test_writes_leave_it_alone_ext4() {
	leaves_alone
}

# A frozen file system can't be changed. The flush does not wait for it, and the next one sets the stamp.
frozen() {
	make_below "$1" 320M
	device
	zbc "$DEV" write 0 64 2
	settle
	fsfreeze -f "$BASE"
	defer "fsfreeze -u '$BASE' 2>/dev/null || true"
	timeout 20 "${ZBC[@]}" "$DEV" flush || fail "the flush waits for a frozen file system"
	assert_eq "$(mtime cnv-000000)" "$OLD" "mtime in a frozen file system"
	fsfreeze -u "$BASE"
	zbc "$DEV" flush
	is_new "after the flush that follows" cnv-000000
}

test_frozen_xfs() {
	frozen xfs
}

test_frozen_ext4() {
	frozen ext4
}
