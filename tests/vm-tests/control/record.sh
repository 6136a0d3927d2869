# SPDX-License-Identifier: GPL-2.0
# The options of a device are kept beside its files.
#
# Guards the promises that an add which names nothing of the geometry brings the
# device back with the options that it had, but for those that are named; that one
# which names any of it, as scripts for the C driver do, leaves nothing as it was;
# that the record is whole at any moment, is written only if it changes, and that an
# add which fails has not touched it.
# limit: 300

GEOMETRY=capacity_mb=16,zone_size_mb=1,zone_capacity_mb=1,conv_zones=3

# What the control device says of device 0, but for the geometry.
line() {
	sed -n "s/^zloop0 live add id=0,$GEOMETRY,\(.*\),base_dir=.*/\1/p" $CONTROL
}

# What the block layer says of it.
limits() {
	local name
	for name in max_open_zones max_active_zones rotational logical_block_size zone_append_max_bytes nr_requests; do
		echo "$name $(queue $name)"
	done
	find /sys/block/zloop0/mq -mindepth 1 -maxdepth 1 | wc -l
}

# The record is this, after the geometry, and is a file of ours.
recorded() { # options
	assert_eq "$(<"$DIR/geometry")" "$GEOMETRY${1:+,$1}" "record"
	assert_eq "$(stat -c '%a %u %h' "$DIR/geometry")" "600 0 1" "mode, owner and links of the record"
	[[ ! -e $DIR/geometry.new ]] || fail "the next record is there"
}

# The very file, to tell whether it was written.
state() {
	stat -c '%i %s %y %z' "$DIR/geometry"
	cat "$DIR/geometry"
	ls -A "$DIR"
}

# Each by itself: it comes back, and a description of the device that doesn't have it
# takes it away.
# C driver fails: it records nothing
# limit: 400
test_each_option() {
	local option line limits state plain plain_limits
	add_dev $GEOMETRY
	plain=$(line) plain_limits=$(limits)
	recorded ''
	assert_eq "$plain" nr_queues=1,queue_depth=128,max_open_zones=0,zone_append=1 "the plain device"
	for option in nr_queues=2 queue_depth=7 max_open_zones=4 max_active_zones=5 \
		max_open_zones=4,max_active_zones=5 zone_append=0 ordered_zone_append buffered_io \
		discard_write_cache volatile_cache rotational write_fault=offline \
		block_size=512,buffered_io; do
		readd_dev "$option"
		recorded "$option"
		line=$(line) limits=$(limits)
		assert_ne "$line" "$plain" "the device with $option"
		remove_dev
		state=$(state)
		add_dev
		assert_eq "$(line)" "$line" "the device with $option, again"
		assert_eq "$(limits)" "$limits" "limits with $option, again"
		assert_eq "$(state)" "$state" "the record, which was right"
		readd_dev $GEOMETRY
		assert_eq "$(line)" "$plain" "the device without $option"
		assert_eq "$(limits)" "$plain_limits" "limits without $option"
		recorded ''
	done
	# What they look like.
	readd_dev max_open_zones=4,max_active_zones=5,rotational,block_size=512,buffered_io
	readd_dev
	assert_eq "$(queue max_open_zones) $(queue max_active_zones) $(queue rotational) $(queue logical_block_size)" \
		"4 5 1 512" "limits"
}

# All at once; what is named overrides, and all else stays.
# C driver fails: it records nothing
test_overrides() {
	add_dev $GEOMETRY,nr_queues=2,max_open_zones=4,max_active_zones=5,buffered_io,discard_write_cache,rotational
	local option expected
	while read -r option expected; do
		readd_dev "$option"
		recorded "$expected"
		readd_dev
		recorded "$expected"
	done <<-'END'
		rotational=0 nr_queues=2,max_open_zones=4,max_active_zones=5,buffered_io,discard_write_cache
		rotational,rotational=0 nr_queues=2,max_open_zones=4,max_active_zones=5,buffered_io,discard_write_cache
		max_open_zones=2 nr_queues=2,max_open_zones=2,max_active_zones=5,buffered_io,discard_write_cache
		max_open_zones=0 nr_queues=2,max_active_zones=5,buffered_io,discard_write_cache
		max_active_zones=4 nr_queues=2,max_active_zones=4,buffered_io,discard_write_cache
		nr_queues=1 max_active_zones=4,buffered_io,discard_write_cache
		write_fault=offline max_active_zones=4,buffered_io,discard_write_cache,write_fault=offline
		buffered_io=0,volatile_cache=1 max_active_zones=4,discard_write_cache,volatile_cache,write_fault=offline
		write_fault=good max_active_zones=4,discard_write_cache,volatile_cache
		max_active_zones=0,discard_write_cache=0 volatile_cache
		volatile_cache=0x0,queue_depth=9 queue_depth=9
		ordered_zone_append queue_depth=9,ordered_zone_append
		zone_append=0 queue_depth=9,zone_append=0
		zone_append=1,queue_depth=128
	END
	# A part of the geometry is a description, too, and so is the line that is shown.
	for option in conv_zones=3 capacity=16M zone_size_mb=1 zone_capacity=1M; do
		readd_dev rotational,nr_queues=2,max_open_zones=0
		recorded nr_queues=2,rotational
		readd_dev "$option,max_open_zones=3"
		recorded max_open_zones=3
	done
	local line
	line=$(tail -n +3 $CONTROL)
	readd_dev rotational,max_open_zones=0
	remove_dev
	ctl "${line#zloop0 live }"
	recorded max_open_zones=3
}

# How zone files and data live with what changes from add to add.
# C driver fails: it records nothing
test_data_and_conditions() {
	add_dev $GEOMETRY,max_open_zones=2,write_fault=readonly,buffered_io
	zbc "$DEV" write $((5 * 2048)) 64
	ctl "zone_offline id=0,zones=7"
	readd_dev max_open_zones=0
	zbc "$DEV" check $((5 * 2048)) 64
	assert_eq "$(zones "$DEV" | awk '$3 == "of" { print $1 }')" 7 "zones that are offline"
	recorded buffered_io,write_fault=readonly
	ctl "powerfail id=0"
	ctl "add id=0,base_dir=$BASE"
	assert_eq "$(line)" nr_queues=1,queue_depth=128,max_open_zones=0,zone_append=1,buffered_io,write_fault=readonly \
		"the device after a power failure"
}

# A device of which files are missing stays one, and makes no million files, until
# it is asked to.
# C driver fails: it records nothing
test_lazy_files() {
	local count
	count() {
		find "$DIR" -name 'seq-*' | wc -l
	}
	add_dev $GEOMETRY,lazy_files
	readd_dev
	readd_dev rotational
	assert_eq "$(count)" 0 files
	recorded lazy_files,rotational
	readd_dev lazy_files=1
	assert_eq "$(count)" 0 files
	readd_dev lazy_files=0
	assert_eq "$(count)" 13 files
	recorded rotational
	# They are there, and stay.
	readd_dev lazy_files
	recorded rotational
	remove_dev
	rm "$DIR/seq-000009"
	ctl_refused EINVAL "add id=0,base_dir=$BASE" zloop0 seq-000009
	rm -r "$DIR"
	add_dev $GEOMETRY,lazy_files
	readd_dev $GEOMETRY,max_open_zones=2
	assert_eq "$(count)" 13 files
	recorded max_open_zones=2
	remove_dev
	rm -r "$DIR"
	add_dev capacity_mb=1000000,zone_size_mb=1,conv_zones=1,lazy_files
	readd_dev
	assert_eq "$(count)" 0 "files of a million zones"
}

# An add that fails, for whatever reason, has not touched the record, and says why.
# C driver fails: it records nothing
test_failed_add() {
	make_fs ext4 32M "$BASE"
	add_dev $GEOMETRY,max_open_zones=4,max_active_zones=6,buffered_io,block_size=512
	remove_dev
	local state pid
	state=$(state)
	unchanged() { # errno options patterns...
		local want=$1 options=$2
		shift 2
		ctl_refused "$want" "add id=0,base_dir=$BASE,$options" zloop0 "$@"
		assert_eq "$(state)" "$state" "what is there after $options"
	}
	unchanged EINVAL rotational,conv_zones=4 conv_zones=4 'must be 3'
	unchanged EINVAL rotational,max_open_zones=14 max_open_zones=14 'from 0 to 6' 'max_active_zones, as recorded'
	unchanged EINVAL rotational,max_open_zones=7 max_open_zones=7 'from 0 to 6' 'max_active_zones, as recorded'
	unchanged EINVAL rotational,max_active_zones=3 max_open_zones=4 'from 0 to 3' max_active_zones '4 is recorded'
	unchanged EINVAL rotational,max_active_zones=14 max_active_zones=14 'from 0 to 13'
	unchanged EINVAL rotational,max_active_zones=0,max_open_zones=14 max_open_zones=14 'from 0 to 13'
	ctl_refused EINVAL "add id=0,base_dir=$BASE,rotational,foo" foo
	assert_eq "$(state)" "$state" "what is there after an option that is unknown"
	# What it finds in the directory.
	mv "$DIR/seq-000012" "$BASE/kept"
	state=$(state)
	unchanged EINVAL rotational seq-000012
	unchanged EINVAL rotational,$GEOMETRY seq-000012
	mv "$BASE/kept" "$DIR/seq-000012"
	echo nonsense >"$DIR/conditions"
	state=$(state)
	unchanged EINVAL rotational conditions
	rm "$DIR/conditions"
	truncate -s 512 "$DIR/seq-000012"
	state=$(state)
	unchanged EINVAL rotational,block_size=4096 seq-000012 4096
	truncate -s 0 "$DIR/seq-000012"
	# There is no place for a record. One that is right needs none.
	chattr +i "$DIR"
	defer "chattr -i '$DIR'"
	state=$(state)
	unchanged "EPERM|EACCES" rotational "$DIR/geometry" write
	ctl "add id=0,base_dir=$BASE"
	remove_dev
	chattr -i "$DIR"
	mkdir "$DIR/geometry.new"
	state=$(state)
	unchanged EISDIR rotational "$DIR/geometry" write
	rmdir "$DIR/geometry.new"
	dd if=/dev/zero of="$BASE/ballast" bs=64k status=none 2>/dev/null || true
	dd if=/dev/zero of="$BASE/more" bs=4k status=none 2>/dev/null || true
	state=$(state)
	unchanged ENOSPC rotational "$DIR/geometry" write
	rm "$BASE/ballast" "$BASE/more"
	state=$(state)
	# It works when the reason is gone.
	add_dev
	assert_eq "$(state)" "$state" "the record"
	readd_dev rotational
	recorded block_size=512,max_open_zones=4,max_active_zones=6,buffered_io,rotational
	# The number, or the directory, is taken.
	state=$(state)
	ctl_refused EEXIST "add id=0,base_dir=$BASE,rotational=0" zloop0
	ln -s 0 "$BASE/1"
	ctl_refused EBUSY "add id=1,base_dir=$BASE,rotational=0" zloop1
	rm "$BASE/1"
	assert_eq "$(state)" "$state" "the record of a device that is there"
}

# A flag may have a value, 0 or 1.
# C driver fails: it takes none
test_flags() {
	local flag value
	add_dev $GEOMETRY
	for flag in buffered_io ordered_zone_append discard_write_cache volatile_cache rotational; do
		for value in '' =1; do
			readd_dev "$flag$value"
			recorded "$flag"
			readd_dev "$flag=0"
			recorded ''
		done
	done
	readd_dev rotational=0,rotational=0x1,buffered_io,buffered_io=00
	recorded rotational
	remove_dev
	for flag in buffered_io ordered_zone_append discard_write_cache lazy_files volatile_cache rotational; do
		ctl_refused EINVAL "add id=0,base_dir=$BASE,$flag=2" "$flag=\"2\"" '0 or 1'
	done
	for value in yes '' -1 4294967296; do
		ctl_refused EINVAL "add id=0,base_dir=$BASE,$GEOMETRY,lazy_files=$value" "lazy_files=\"$value\"" '0 or 1'
	done
	recorded rotational
}

# Options that no add takes are told by name, with those that can be there.
# C driver fails: it looks at no record
test_damaged_record() {
	add_dev $GEOMETRY
	remove_dev
	local text pattern
	while read -r text pattern; do
		echo "$GEOMETRY,$text" >"$DIR/geometry"
		ctl_refused EINVAL "add id=0,base_dir=$BASE" zloop0 "$DIR/geometry is damaged" "$pattern"
		ctl_refused EINVAL "add id=0,base_dir=$BASE,$GEOMETRY,rotational" zloop0 "$DIR/geometry is damaged" "$pattern"
		assert_eq "$(<"$DIR/geometry")" "$GEOMETRY,$text" "the damaged record"
	done <<-'END'
		foo=1 foo.*max_active_zones, lazy_files
		rotational=2 rotational="2".*0 or 1
		max_open_zones=14 max_open_zones=14.*from 0 to 13
		max_open_zones=5,max_active_zones=4 max_open_zones=5.*from 0 to 4
		write_fault=x write_fault.*good, readonly or offline
		seed=1 seed.*rotational
		base_dir=/tmp base_dir.*rotational
		queue_depth queue_depth.*no value
	END
	{
		echo "$GEOMETRY"
		printf 'conv_zones=3\n%.0s' {1..100}
	} >"$DIR/geometry"
	ctl_refused EINVAL "add id=0,base_dir=$BASE" zloop0 "$DIR/geometry is damaged" 1024
	# In other words, by whoever likes to: it is left as it is.
	printf 'rotational=1,buffered_io=0\ncapacity=16M,zone_size=1M\n\nzone_capacity=1M,conv_zones=0-2' >"$DIR/geometry"
	local state
	state=$(state)
	add_dev
	assert_eq "$(queue rotational)" 1 rotational
	assert_eq "$(state)" "$state" "a record in other words"
	readd_dev buffered_io
	recorded buffered_io,rotational
}

# What a power failure has left of a record that was being written is nobody's.
# C driver fails: it records nothing
test_left_over() {
	add_dev $GEOMETRY,rotational
	remove_dev
	echo capacity_mb=1 >"$DIR/geometry.new"
	add_dev
	assert_eq "$(queue rotational)" 1 rotational
	readd_dev nr_queues=2
	recorded nr_queues=2,rotational
	remove_dev
	# In a directory that has nothing else, or is not complete.
	rm "$DIR"/*
	echo capacity_mb=1 >"$DIR/geometry.new"
	add_dev $GEOMETRY
	recorded ''
	remove_dev
	mv "$DIR/geometry" "$DIR/incomplete"
	echo capacity_mb=1 >"$DIR/geometry.new"
	add_dev $GEOMETRY
	recorded ''
	# One that fails leaves nothing.
	remove_dev
	rm "$DIR"/*
	echo capacity_mb=1 >"$DIR/geometry.new"
	ctl_fails EINVAL "add id=0,base_dir=$BASE,zone_size=512,capacity=8K"
	add_dev $GEOMETRY
	recorded ''
}

# The record is on the disk when the device is there: a copy of the disk is what a
# power failure leaves.
# C driver fails: it records nothing
test_durable() {
	local image options
	make_fs ext4 32M "$BASE"
	add_dev $GEOMETRY
	image=$(image_of "$BASE")
	mkdir "$SCRATCH/copy"
	defer "umount_if '$SCRATCH/copy'"
	for options in rotational buffered_io rotational=0; do
		readd_dev "$options"
		cp --sparse=always "$image" "$SCRATCH/image"
		mount -o loop "$SCRATCH/image" "$SCRATCH/copy"
		assert_eq "$(<"$SCRATCH/copy/0/geometry")" "$(<"$DIR/geometry")" "the record after $options"
		umount "$SCRATCH/copy"
	done
	recorded buffered_io
}

# Scripts of the C driver's work as ever, and it with the files.
test_c_scripts() {
	use_driver c
	add_dev $GEOMETRY,max_open_zones=4
	zbc "$DEV" write $((9 * 2048)) 64
	remove_dev
	use_driver rust
	# There is no record, so nothing is known of it but what is said.
	add_dev $GEOMETRY,rotational
	recorded rotational
	readd_dev
	assert_eq "$(queue rotational) $(queue max_open_zones)" "1 0" "limits"
	readd_dev $GEOMETRY,buffered_io,max_open_zones=2
	assert_eq "$(queue rotational) $(queue max_open_zones)" "0 2" "limits"
	remove_dev
	use_driver c
	add_dev $GEOMETRY,max_open_zones=5
	zbc "$DEV" check $((9 * 2048)) 64
	assert_eq "$(queue max_open_zones)" 5 "limit"
	remove_dev
	use_driver rust
	add_dev
	recorded max_open_zones=2,buffered_io
	zbc "$DEV" check $((9 * 2048)) 64
}
