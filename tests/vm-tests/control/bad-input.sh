# SPDX-License-Identifier: GPL-2.0
# Commands that are wrong.
#
# Guards the promise that bad input of every kind gets the right errno and one
# line in the log that says which option it was and what is allowed, that it
# leaves nothing behind - no device, no file, nothing open - and that the next
# correct command works.

SMALL=capacity_mb=16,zone_size_mb=1,conv_zones=1

# The device's directory is on a file system of its own: that it can be unmounted
# shows that nothing is open on it.
setup() {
	make_fs tmpfs 32M "$BASE"
	mkdir "$BASE/0"
}

# Nothing is there that was not there before, and the same add works when right.
unharmed() {
	[[ ! -e /sys/block/zloop0 ]] || fail "a device was made"
	[[ -z $(ls -A "$BASE/0") ]] || fail "files were made: $(ls -A "$BASE/0")"
	umount "$BASE" || fail "something is open in $BASE"
	mount -t tmpfs -o size=32M tmpfs "$BASE"
	mkdir "$BASE/0"
	ctl "add id=0,base_dir=$BASE,$SMALL"
	ctl "remove id=0"
}

bad() { # errno options
	ctl_fails "$1" "add id=0,base_dir=$BASE,$2"
}

test_operation() {
	setup
	local c
	for c in "" " " "," foo "ad id=0" ADD "list" "0" "$(printf '\001\377')"; do
		ctl_fails EINVAL "$c"
	done
	# Bytes that are no text, a NUL among them.
	refuse python3 -c 'import os
os.write(os.open("/dev/zloop-control", os.O_WRONLY), b"\0add\0\xff\n")' 2>/dev/null
	unharmed
}

# `add` and `remove` are words: "addid=0" is neither.
# C driver fails: defect 29
test_operation_is_a_word() {
	setup
	ctl_fails EINVAL "addid=0,base_dir=$BASE,$SMALL"
	ctl_fails EINVAL "adder id=0,base_dir=$BASE,$SMALL"
	unharmed
	ctl "add id=0,base_dir=$BASE,$SMALL"
	ctl_fails EINVAL "removeid=0"
	ctl_fails EINVAL "removed id=0"
	ctl "remove id=0"
}

test_unknown_option() {
	setup
	bad EINVAL "$SMALL,foo"
	bad EINVAL "$SMALL,foo=1"
	bad EINVAL "$SMALL,capacity=16"
	bad EINVAL "$SMALL,capacity_mb"
	bad EINVAL "$SMALL,CONV_ZONES=1"
	bad EINVAL "$SMALL,buffered_io=2"
	bad EINVAL "$SMALL,zone_append"
	bad EINVAL "$SMALL,=1"
	bad EINVAL "$SMALL,="
	unharmed
}

# Of every option that takes a number, numbers that are none.
test_numbers() {
	setup
	local o n
	for o in capacity_mb zone_size_mb zone_capacity_mb conv_zones max_open_zones max_active_zones nr_queues queue_depth zone_append; do
		for n in "" x 1x 0x 1k 1.5 " 1" "1 " +1 -1 4294967296 99999999999999999999 0x100000000 -4294967297; do
			bad EINVAL "$SMALL,$o=$n"
		done
	done
	unharmed
}

# An id has a sign.
# C driver fails: it takes an id of twenty digits for another one
test_numbers_of_the_id() {
	setup
	local n
	for n in "" x 1x 0x 1k 1.5 "1 " - 2147483648 -2147483649 4294967296 99999999999999999999 0x100000000 \
		-4294967297 18446744073709551616; do
		ctl_fails EINVAL "add base_dir=$BASE,$SMALL,id=$n"
		ctl_fails EINVAL "remove id=$n"
	done
	unharmed
}

test_ranges() {
	setup
	bad EINVAL capacity_mb=0,zone_size_mb=1,conv_zones=1
	bad EINVAL capacity_mb=3,zone_size_mb=4,conv_zones=0		# below one zone
	bad EINVAL capacity_mb=16,zone_size_mb=0,conv_zones=1
	bad EINVAL capacity_mb=16,zone_size_mb=3,conv_zones=1		# not a power of two
	bad EINVAL capacity_mb=60,zone_size_mb=6,conv_zones=1
	bad EINVAL capacity_mb=131072,zone_size_mb=32768,conv_zones=1	# above 16 GiB
	bad EINVAL capacity_mb=16,zone_size_mb=1,conv_zones=1,zone_capacity_mb=0
	bad EINVAL capacity_mb=16,zone_size_mb=1,conv_zones=1,zone_capacity_mb=2
	bad EINVAL capacity_mb=16,zone_size_mb=4,conv_zones=1,zone_capacity_mb=5
	bad EINVAL capacity_mb=16,zone_size_mb=1,conv_zones=16
	bad EINVAL capacity_mb=16,zone_size_mb=1,conv_zones=17
	bad EINVAL capacity_mb=16,zone_size_mb=1,conv_zones=4294967295
	bad EINVAL capacity_mb=8,zone_size_mb=1,conv_zones=8
	bad EINVAL "$SMALL,max_open_zones=16"
	bad EINVAL "$SMALL,max_open_zones=4294967295"
	bad EINVAL "$SMALL,max_active_zones=16"
	bad EINVAL "$SMALL,max_active_zones=3,max_open_zones=4"
	bad EINVAL "$SMALL,nr_queues=0"
	bad EINVAL "$SMALL,queue_depth=0"
	bad EINVAL "$SMALL,zone_append=2"
	unharmed
}

# Far more zones than there is memory or directory for.
# C driver fails: the kernel warns of the amount of memory that it asks for
test_too_many_zones() {
	setup
	bad "EINVAL|ENOMEM" capacity_mb=4294967295,zone_size_mb=1,conv_zones=1
	unharmed
}

# A command is no longer than a page; nothing that is cut off is carried out.
test_too_long() {
	setup
	local pad
	pad=$(printf '%*s' 4096 '' | tr ' ' ,)
	ctl_fails ENOMEM "add id=0,base_dir=$BASE,$SMALL$pad"
	ctl_fails ENOMEM "$(printf '%*s' 1000000 '' | tr ' ' x)"
	bad "EINVAL|ENAMETOOLONG|ENOENT" "$SMALL,base_dir=/$(printf '%*s' 3000 '' | tr ' ' x)"
	# A whole page is fine.
	pad=${pad:0:$((4096 - 1 - ${#BASE} - ${#SMALL} - 20))}
	ctl "add id=0,base_dir=$BASE,$SMALL,$pad"
	ctl "remove id=0"
	rm "$BASE"/0/*
	unharmed
}

test_bad_address() {
	python3 - <<-'PY'
	import ctypes, errno, os
	libc = ctypes.CDLL(None, use_errno=True)
	fd = os.open("/dev/zloop-control", os.O_RDWR)
	for address, size in (None, 10), (ctypes.c_void_p(8), 4096), (ctypes.c_void_p(2**63 + 4096), 16):
	    assert libc.write(fd, address, size) == -1, address
	    assert ctypes.get_errno() == errno.EFAULT, (address, ctypes.get_errno())
	assert libc.write(fd, None, 0) in (0, -1)
	PY
}

# The directory that holds those of the devices is not made.
test_missing_directory() {
	setup
	mark_log
	ctl_fails EINVAL "add id=3,base_dir=$BASE/none,$SMALL"
	expect_log "$BASE/none"
	[[ ! -e $BASE/none ]] || fail "the directory was made"
	ctl_fails EINVAL "add id=0,base_dir=/no/such/place,$SMALL"
	ctl_fails "EINVAL|ENOENT" "add id=0,base_dir=,$SMALL"
	unharmed
}

test_directory_is_none() {
	setup
	touch "$BASE/3" "$BASE/file"
	ctl_fails ENOTDIR "add id=3,base_dir=$BASE,$SMALL"
	ctl_fails ENOTDIR "add id=0,base_dir=$BASE/file,$SMALL"
	ctl_fails ENOTDIR "add id=0,base_dir=/dev/null,$SMALL"
	ctl "add id=0,base_dir=$BASE,$SMALL"
	ctl "remove id=0"
}

test_remove() {
	setup
	ctl_fails ENODEV "remove id=0"
	ctl_fails ENODEV "remove id=-1"
	ctl_fails ENODEV "remove id=2147483647"
	ctl_fails EINVAL "remove"
	ctl_fails EINVAL "remove "
	ctl_fails EINVAL "remove id="
	ctl_fails EINVAL "remove id=x"
	ctl_fails EINVAL "remove id=2147483648"
	unharmed
	ctl "add id=0,base_dir=$BASE,$SMALL"
	ctl_fails EINVAL "remove"
	ctl_fails EINVAL "remove id=0,conv_zones=1"
	ctl_fails EINVAL "remove id=0,foo"
	ctl_fails EINVAL "remove zloop0"
	ctl_fails EINVAL "remove id=0,buffered_io"
	[[ -b /dev/zloop0 ]] || fail "a refused remove removed it"
	ctl "remove id=0"
	ctl_fails ENODEV "remove id=0"
}

# Each of these says in one line which option was wrong, and what is right.
# C driver fails: defect 29
test_one_log_line() {
	setup
	says() { # options patterns...
		local options=$1
		shift
		mark_log
		bad "EINVAL|ENOMEM" "$options"
		expect_log "$@"
		expect_one_line
	}
	says "$SMALL,foo=1" foo
	says "$SMALL,conv_zones=x" conv_zones
	says "$SMALL,conv_zones=" conv_zones
	says "$SMALL,queue_depth=4294967296" queue_depth 4294967296
	says "$SMALL,queue_depth=0" queue_depth
	says "$SMALL,nr_queues=0" nr_queues
	says "$SMALL,zone_append=2" zone_append '\b0\b.*\b1\b'
	says capacity_mb=60,zone_size_mb=6,conv_zones=1 zone_size_mb 16384 'power'
	says capacity_mb=131072,zone_size_mb=32768,conv_zones=1 zone_size_mb 16384
	says capacity_mb=3,zone_size_mb=4,conv_zones=0 capacity_mb '\b3\b' '\b[45]\b'
	says capacity_mb=0,zone_size_mb=4,conv_zones=0 capacity_mb
	says capacity_mb=16,zone_size_mb=4,zone_capacity_mb=5,conv_zones=1 zone_capacity_mb '\b5\b' '\b4\b'
	says capacity_mb=16,zone_size_mb=1,conv_zones=16 conv_zones '\b16\b' '\b15\b'
	says "$SMALL,max_open_zones=16" max_open_zones '\b16\b' '\b15\b'
	says "$SMALL,max_active_zones=16" max_active_zones '\b16\b' '\b15\b'
	says "$SMALL,max_active_zones=3,max_open_zones=4" max_open_zones '\b4\b' '\b3\b' max_active_zones
	says capacity_mb=8,zone_size_mb=1,conv_zones=8 conv_zones '\b8\b' '\b7\b'
	says capacity_mb=4294967295,zone_size_mb=1,conv_zones=1 'capacity_mb|zones'
	unharmed
	ctl_refused EINVAL "frobnicate id=0" frobnicate add remove
	ctl_refused EINVAL "remove" id
	ctl_refused EINVAL "remove id=0,conv_zones=1" conv_zones
	ctl_refused ENODEV "remove id=17" 17
	ctl_refused EINVAL "add id=3,base_dir=$BASE/none,$SMALL" "zloop3|id=3" "$BASE/none"
	ctl_refused ENOMEM "$(printf '%*s' 5000 '' | tr ' ' x)" '4096|page'
	ctl "add id=0,base_dir=$BASE,$SMALL"
	ctl_refused EEXIST "add id=0,base_dir=$BASE,$SMALL" 'zloop0|id=0'
	ctl "remove id=0"
}
