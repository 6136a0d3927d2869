# SPDX-License-Identifier: GPL-2.0
# A disk below the zone files that can be made to fail: sourced by the tests of
# what a device does then.
#
#     BASE                the file system with the zone files
#     /dev/mapper/below   a linear mapping, or what `broken` and its likes put there
#     a loop device       in memory
#
# The mapping is switched while the file system is mounted.

# make_below FS SIZE: make all that, and mount it. ext4 has no journal and does not
# mind errors, so that a failure hits the files that it is meant for.
make_below() {
	local image=/run/images/below
	modprobe -a dm-mod loop "$1"
	mkdir -p /run/images "$BASE"
	rm -f "$image"
	truncate -s "$2" "$image"
	defer "rm -f '$image'"
	LOOP=$(losetup -f --show "$image")
	defer "losetup -d $LOOP"
	SECTORS=$(blockdev --getsz "$LOOP")
	dmsetup create below --table "0 $SECTORS linear $LOOP 0"
	defer "dmsetup remove --retry below"
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 -O ^has_journal -E lazy_itable_init=0,nodiscard /dev/mapper/below ;;
	xfs) mkfs.xfs -q -f -K /dev/mapper/below ;;
	esac
	mount_below
	defer "umount_if '$BASE'"
	defer "whole"
}

mount_below() {
	case $(blkid -p -o value -s TYPE /dev/mapper/below) in
	ext4) mount -o errors=continue /dev/mapper/below "$BASE" ;;
	*) mount /dev/mapper/below "$BASE" ;;
	esac
}

# So that nothing but the data has to be written, or read, when the disk breaks.
settle() {
	ls -l "$DIR" >/dev/null
	sync
}

table() {
	dmsetup load below --table "$1"
	dmsetup suspend --noflush --nolockfs below
	dmsetup resume below
}

# All of the disk fails.
broken() {
	table "0 $SECTORS error"
}

# Only those requests fail, or are lost: error_reads, error_writes, drop_writes.
flaky() { # feature
	modprobe dm-flakey
	table "0 $SECTORS flakey $LOOP 0 0 1000000 1 $1"
}

# Every request takes so long.
slow() { # milliseconds
	modprobe dm-delay
	table "0 $SECTORS delay $LOOP 0 $1"
}

# The sectors of one file fail, which are already written, so that nothing of the
# file system's own is lost with it.
broken_file() { # file
	local start count
	read -r start count < <(filefrag -v -b512 "$1" | awk '$1 == "0:" {gsub(/[.:]/, " "); print $4, $6}')
	((start > 0 && count > 0)) || fail "no extent of $1: $(filefrag -v -b512 "$1")"
	table "0 $start linear $LOOP 0
$start $count error
$((start + count)) $((SECTORS - start - count)) linear $LOOP $((start + count))"
}

whole() {
	table "0 $SECTORS linear $LOOP 0"
}
