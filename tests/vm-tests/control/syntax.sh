# SPDX-License-Identifier: GPL-2.0
# The control device: its syntax, options and defaults.
#
# Guards the promise that a script written for the C driver runs unchanged.

SMALL=capacity_mb=16,zone_size_mb=1,conv_zones=1

geometry() { # wanted: zones zone-size-MiB capacity-MiB conventional
	local got
	got=$(blkzone report "$DEV" | awk '
		/CONVENTIONAL/ {conv++}
		{len = $4; cap = $6; n++}
		END {print n, len, cap, conv + 0}' | tr -d ,)
	# shellcheck disable=SC2086
	set -- "$1" $got
	assert_eq "$2 $(($3 / 2048)) $(($4 / 2048)) $5" "$1" "geometry"
}

test_listing() {
	assert_eq "$(cat $CONTROL)" "add id=%d,capacity_mb=%u,zone_size_mb=%u,zone_capacity_mb=%u,conv_zones=%u,base_dir=%s,nr_queues=%u,queue_depth=%u,buffered_io,zone_append=%u,ordered_zone_append,discard_write_cache,max_open_zones=%u
remove id=%d"
	# In pieces and from two readers it is the same text.
	exec 5<$CONTROL 6<$CONTROL
	assert_eq "$(dd bs=1 count=7 status=none <&5)$(head -1 <&6)$(dd bs=1 count=3 status=none <&5)" \
		"add id=$(head -1 $CONTROL)%d,"
	exec 5<&- 6<&-
}

test_node() {
	assert_eq "$(stat -c '%F %a %U' $CONTROL)" "character special file 600 root"
	assert_eq "$(stat -c %t $CONTROL)" a "major number: misc"
	[[ -e /sys/class/misc/zloop-control ]] || fail "not in /sys/class/misc"
}

# Everything at its default: what the documentation says.
test_defaults() {
	mkdir -p "$SCRATCH/local/zloop/0"
	mount --bind "$SCRATCH/local" /var/local
	defer umount /var/local
	ctl add
	track 0
	DEV=/dev/zloop0
	geometry "64 256 256 8"
	assert_eq "$(queue max_open_zones)" 0 max_open_zones
	assert_eq "$(find /sys/block/zloop0/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" 1 nr_queues
	assert_eq "$(cat /sys/block/zloop0/mq/0/nr_tags)" 128 queue_depth
	cd "$SCRATCH/local/zloop/0" || exit
	assert_eq "$(stat -c '%n %s %a' cnv-000000 cnv-000007 seq-000008 seq-000063)" \
		"cnv-000000 268435456 600
cnv-000007 268435456 600
seq-000008 0 600
seq-000063 0 600" "files"
	assert_eq "$(find . -name 'cnv-*' | wc -l) $(find . -name 'seq-*' | wc -l)" "8 56" "files"
	cd /
	remove_dev
}

# Each option does what it is for.
test_geometry_options() {
	add_dev capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=3
	geometry "16 4 3 3"
	remove_dev && rm -r "$DIR"
	# Rounded down to whole zones.
	add_dev capacity_mb=67,zone_size_mb=4,conv_zones=0
	geometry "16 4 4 0"
	remove_dev && rm -r "$DIR"
	add_dev capacity_mb=67,zone_size_mb=4,conv_zones=15
	geometry "16 4 4 15"
	remove_dev && rm -r "$DIR"
	# The default number of conventional zones.
	add_dev capacity_mb=9,zone_size_mb=1
	geometry "9 1 1 8"
}

# Separators, empty items, spaces before the options, the last of two wins.
test_separators() {
	mkdir -p "$BASE/0"
	DEV=/dev/zloop0
	local text
	for text in \
		"add id=0,base_dir=$BASE,capacity_mb=16,zone_size_mb=1,conv_zones=2" \
		"add id=0
base_dir=$BASE
capacity_mb=16
zone_size_mb=1,conv_zones=2
" \
		"add ,,id=0,,base_dir=$BASE,,capacity_mb=16,zone_size_mb=1,conv_zones=2,," \
		"add    id=0,base_dir=$BASE,capacity_mb=16,zone_size_mb=1,conv_zones=2" \
		"add conv_zones=2,zone_size_mb=1,capacity_mb=16,base_dir=$BASE,id=0" \
		"add id=0,base_dir=/nowhere,base_dir=$BASE,capacity_mb=16,zone_size_mb=1,conv_zones=5,conv_zones=2"; do
		printf '%s' "$text" | ctl_raw
		geometry "16 1 1 2"
		printf 'remove id=0' | ctl_raw
		printf '%s\n' "$text" | ctl_raw
		printf '\n' | cat <(printf 'remove   id=0,') - | ctl_raw
	done
}

# Zeros before a number do not make it another one.
test_leading_zeros() {
	mkdir -p "$BASE/0"
	DEV=/dev/zloop0
	ctl "add id=00,base_dir=$BASE,capacity_mb=064,zone_size_mb=0004,conv_zones=03,queue_depth=020"
	track 0
	geometry "16 4 4 3"
	assert_eq "$(cat /sys/block/zloop0/mq/0/nr_tags)" 20 queue_depth
}

# Hexadecimal numbers, which the kernel reads in most places.
# C driver fails: it reads them for the id only
test_hexadecimal() {
	mkdir -p "$BASE/10"
	DEV=/dev/zloop10
	ctl "add id=0xa,base_dir=$BASE,capacity_mb=0x40,zone_size_mb=0x4,conv_zones=0X3,queue_depth=0x1F"
	track 10
	geometry "16 4 4 3"
	assert_eq "$(cat /sys/block/zloop10/mq/0/nr_tags)" 31 queue_depth
	ctl "remove id=0xA"
}

# The write returns all that was written, in one go.
test_write_returns_its_length() {
	mkdir -p "$BASE/0"
	python3 - "$BASE" <<-'PY'
	import os, sys
	fd = os.open("/dev/zloop-control", os.O_WRONLY)
	for text in f"add id=0,base_dir={sys.argv[1]},capacity_mb=16,zone_size_mb=1,conv_zones=1", "remove id=0\n":
	    assert os.write(fd, text.encode()) == len(text), text
	PY
}

# Without an id, or with a negative one, the first that is free.
test_id_is_chosen() {
	local i
	for i in 0 1 2 3 4; do mkdir -p "$BASE/$i"; done
	ctl "add base_dir=$BASE,$SMALL"
	track 0
	[[ -b /dev/zloop0 ]] || fail "not device 0"
	ctl "add id=-1,base_dir=$BASE,$SMALL"
	track 1
	[[ -b /dev/zloop1 ]] || fail "not device 1"
	ctl "add id=3,base_dir=$BASE,$SMALL"
	track 3
	ctl "add id=-7,base_dir=$BASE,$SMALL"
	track 2
	[[ -b /dev/zloop2 ]] || fail "not device 2"
	ctl "add base_dir=$BASE,$SMALL"
	track 4
	[[ -b /dev/zloop4 ]] || fail "not device 4"
	remove_dev 1
	ctl "add base_dir=$BASE,$SMALL"
	[[ -b /dev/zloop1 ]] || fail "not device 1 again"
}

test_large_id() {
	add_dev -i 1000000 "$SMALL"
	remove_dev 1000000
	add_dev -i 2147483647 "$SMALL"
	assert_eq "$(lsblk -dno NAME "$DEV")" zloop2147483647
	remove_dev 2147483647
}

test_id_in_use() {
	add_dev "$SMALL"
	zbc "$DEV" write $((3 * 2048)) 8
	ctl_fails EEXIST "add id=0,base_dir=$BASE,$SMALL"
	mkdir -p "$SCRATCH/other/0"
	ctl_fails EEXIST "add id=0,base_dir=$SCRATCH/other,$SMALL"
	[[ -z $(ls "$SCRATCH/other/0") ]] || fail "the refused add left files"
	zbc "$DEV" check $((3 * 2048)) 8
}

# A relative directory is the writer's.
test_relative_base_dir() {
	mkdir -p "$SCRATCH/there/0"
	cd "$SCRATCH" || exit
	ctl "add id=0,base_dir=there,$SMALL"
	track 0
	cd /
	[[ -e $SCRATCH/there/0/seq-000015 ]] || fail "no files in the relative directory"
	mkdir -p "$SCRATCH/with space/1" "$SCRATCH/slash/2"
	ctl "add id=1,base_dir=$SCRATCH/with space,$SMALL"
	track 1
	ctl "add id=2,base_dir=$SCRATCH/slash/,$SMALL"
	track 2
}

# All flags and limits together, each of which must be taken.
test_all_options() {
	mkdir -p "$BASE/5"
	DEV=/dev/zloop5
	ctl "add id=5,capacity_mb=64,zone_size_mb=4,zone_capacity_mb=2,conv_zones=2,max_open_zones=4,base_dir=$BASE,nr_queues=2,queue_depth=32,buffered_io,zone_append=1,ordered_zone_append,discard_write_cache"
	track 5
	geometry "16 4 2 2"
	assert_eq "$(queue max_open_zones 5)" 4 max_open_zones
	assert_eq "$(cat /sys/block/zloop5/mq/0/nr_tags)" 32 queue_depth
	ctl "remove id=5"
}

# The log says what came and went, once each.
test_log() {
	mark_log
	add_dev "$SMALL"
	expect_log '16 zones'
	mark_log
	remove_dev
	expect_log 'removed'
}
