# SPDX-License-Identifier: GPL-2.0
# Helpers for the tests that run inside the virtual machine.
#
# A test is a function `test_*` in `<area>/<name>.sh`. It runs in a shell of its
# own, as root, after this file and its own file were sourced. From the runner it
# has
#
#   DRIVER        rust or c: which module is loaded
#   ZLOOP_KO      the Rust module, C_ZLOOP_KO the C one; only one can be loaded
#   REQUESTS_KO   the module that makes requests in the kernel, see tests/kmod
#   TESTS         the path of `tests/`
#   SCRATCH       an empty directory on a fresh file system
#
# Any command that fails ends the test, and so does, whatever the test's own
# verdict, a device that can't be removed at its end or a complaint of the
# kernel (a warning, an oops, a hung task) in the log. What a test sets up it
# hands to `defer` at once, so that a failure leaves nothing behind.

set -eEuo pipefail
export LC_ALL=C
# There is no udev in the VM: the library makes the nodes in /dev/mapper itself.
export DM_DISABLE_UDEV=1
export PYTHONPATH="$TESTS/vm-tests"

CONTROL=/dev/zloop-control
TRACING=/sys/kernel/tracing
# -S: without the packages of a site Python starts faster.
ZBC=(python3 -S "$TESTS/vm-tests/zbc-command.py")
# The directory that holds the devices' directories.
BASE="$SCRATCH/z"

# ---------------------------------------------------------------- verdicts

fail() {
	echo "FAIL: $*" >&2
	exit 1
}

# The test can't run here, for a reason that is not the driver's.
skip() {
	echo "skip: $*"
	exit 77
}

assert_eq() { # got want [what]
	[[ "$1" == "$2" ]] || fail "${3:-value}: got '$1', want '$2'"
}

assert_ne() { # got unwanted [what]
	[[ "$1" != "$2" ]] || fail "${3:-value}: got '$1', which it must not be"
}

# A command that must not succeed.
refuse() {
	if "$@"; then
		fail "succeeded: $*"
	fi
}

# ---------------------------------------------------------------- cleaning up

DEFERRED=()
DEVICES=()

# A device that was added: to be removed at the end, before what was set up
# before it and after what came later.
track() { # id
	[[ " ${DEVICES[*]} " != *" $1 "* ]] || return 0
	DEVICES+=("$1")
	defer "drop $1"
}

drop() {
	[[ ! -e /sys/block/zloop$1 ]] || printf 'remove id=%s\n' "$1" >$CONTROL
}

# Commands to run at the end of the test, last one first.
defer() {
	DEFERRED+=("$*")
}

on_exit() {
	local rc=$? i
	trap - ERR
	# An error of the shell itself would end this, with success.
	set +eu
	for ((i = ${#DEFERRED[@]} - 1; i >= 0; i--)); do
		eval "${DEFERRED[i]}" || {
			echo "cleaning up failed: ${DEFERRED[i]}" >&2
			((rc == 0)) && rc=1
		}
	done
	# A file system's own warnings begin with its name.
	if log | grep -E 'BUG:|^WARNING:|Oops|INFO: task|general protection|RIP: |rust_kernel: panicked'; then
		echo "the kernel complained: see above" >&2
		rc=1
	fi
	exit "$rc"
}

# The log is looked at from here on, see below.
MARK="test log mark $$ $RANDOM"
LOG_START="$MARK start"
LOG_MARK="$LOG_START"
MARKS=0
echo "$LOG_START" >/dev/kmsg

trap 'echo "line $LINENO (${FUNCNAME[0]:-}): $BASH_COMMAND: failed" >&2' ERR
trap on_exit EXIT

# ---------------------------------------------------------------- the kernel's log and tracing

# What the kernel said since the test began.
log() {
	dmesg --notime | awk -v m="$LOG_START" 'on; index($0, m) {on = 1}'
}

# What it said since `mark_log`. A line without its newline, as the C driver
# prints some, is seen when another one follows.
log_since() {
	echo "$MARK end" >/dev/kmsg
	dmesg --notime | awk -v m="$LOG_MARK" 'on; index($0, m) {on = 1}'
}

mark_log() {
	MARKS=$((MARKS + 1))
	LOG_MARK="$MARK $MARKS"
	# One write at a time is never held back: the limit is per open file.
	echo "$LOG_MARK" >/dev/kmsg
}

# The log since the mark has a line of zloop's that matches every given pattern.
expect_log() {
	local lines p
	lines=$(log_since | grep -i zloop || true)
	for p; do
		lines=$(grep -Ei -- "$p" <<<"$lines" || true)
		[[ -n $lines ]] || fail "no log line of zloop's with '$p' (all of: $*); the log has:
$(log_since)"
	done
}

# One line of zloop's since the mark, no more, no less.
expect_one_line() {
	local n
	n=$(log_since | grep -ci zloop || true)
	[[ $n == 1 ]] || fail "$n lines in the log, want one:
$(log_since)"
}

# Makes TRACING the kernel's tracing directory.
use_tracing() {
	mountpoint -q "$TRACING" || mount -t tracefs tracefs "$TRACING"
}

# Carries out a command for which the kernel patches its own code, with one CPU online:
# emulated ones that run in parallel may trip over what is being patched.
on_one_cpu() { # command...
	local status=0
	switch_cpus 0
	"$@" || status=$?
	switch_cpus 1
	return $status
}

# All but the first, which is never offline.
switch_cpus() { # 0|1
	local cpu
	for cpu in /sys/devices/system/cpu/cpu*/online; do
		[[ ! -e $cpu ]] || echo "$1" >"$cpu"
	done
}

# Writes a setting of that kind.
trace_setting() { # value file
	on_one_cpu tee "$2" <<<"$1" >/dev/null
}

# ---------------------------------------------------------------- the control device

# One command, in one write, which the shell's own output is not if it is long or
# has several lines.
ctl() {
	printf '%s\n' "$*" | ctl_raw
}

ctl_raw() {
	dd bs=4M iflag=fullblock status=none of=$CONTROL
}

declare -A STRERROR=(
	[EPERM]='Operation not permitted' [ENOENT]='No such file or directory'
	[EIO]='Input/output error' [ENXIO]='No such device or address'
	[E2BIG]='Argument list too long' [EAGAIN]='Resource temporarily unavailable'
	[ENOMEM]='Cannot allocate memory' [EACCES]='Permission denied'
	[EBUSY]='Device or resource busy' [EEXIST]='File exists'
	[ENODEV]='No such device' [ENOTDIR]='Not a directory'
	[EISDIR]='Is a directory' [EINVAL]='Invalid argument'
	[EFBIG]='File too large' [ENOSPC]='No space left on device'
	[EROFS]='Read-only file system' [ERANGE]='Numerical result out of range'
	[ENAMETOOLONG]='File name too long' [ELOOP]='Too many levels of symbolic links'
	[EOVERFLOW]='Value too large for defined data type'
	[EOPNOTSUPP]='Operation not supported'
)

# The command that failed with this message had one of these errors ("A|B").
check_errno() { # wanted message
	local name
	for name in ${1//|/ }; do
		[[ "$2" == *": ${STRERROR[$name]}"* ]] && return
	done
	fail "want $1, got: $2"
}

# A command line that the driver must refuse, with one of these errors.
ctl_fails() { # wanted command...
	local want=$1 out
	shift
	if out=$( (ctl "$@") 2>&1); then
		fail "accepted: $*"
	fi
	check_errno "$want" "$out"
}

# Such a command, with one line in the log, which matches every given pattern.
ctl_refused() { # errno command patterns...
	local want=$1 command=$2
	shift 2
	mark_log
	ctl_fails "$want" "$command"
	expect_log "$@"
	expect_one_line
}

# Add device 0, or the one given with -i. Sets ID, DEV and DIR. The device goes
# away at the end of the test.
add_dev() { # [-i ID] [-b BASE_DIR] options
	local base=$BASE
	ID=0
	while [[ ${1:-} == -? ]]; do
		case $1 in
		-i) ID=$2 ;;
		-b) base=$2 ;;
		esac
		shift 2
	done
	DEV=/dev/zloop$ID
	DIR=$base/$ID
	mkdir -p "$DIR"
	ctl "add id=$ID,base_dir=$base${1:+,$1}"
	track "$ID"
	[[ -b $DEV ]] || fail "$DEV was added but is not there"
}

# Add device 0 with its files on XFS on /dev/nullb0, a disk that carries requests out at once. All of it
# goes away at the end of the test.
add_dev_on_fast_disk() { # options
	local base=$SCRATCH/fast
	modprobe null_blk nr_devices=1 memory_backed=1 gb=1 bs=4096
	defer "rmmod null_blk"
	mkfs.xfs -q -f /dev/nullb0
	mkdir "$base"
	mount /dev/nullb0 "$base"
	defer "umount '$base'"
	add_dev -b "$base" "$1"
	defer "remove_dev"
}

# Remove a device, device 0 if no other is named.
remove_dev() {
	ctl "remove id=${1:-0}"
	[[ ! -e /sys/block/zloop${1:-0} ]] || fail "zloop${1:-0} was removed but is there"
}

# Remove and add a device again.
readd_dev() { # as add_dev
	local id=0
	[[ ${1:-} == -i ]] && id=$2
	remove_dev "$id"
	add_dev "$@"
}

queue() { # attribute [id]
	cat "/sys/block/zloop${2:-0}/queue/$1"
}

# ---------------------------------------------------------------- zones

zbc() {
	"${ZBC[@]}" "$@"
}

# Python code, in which everything of zbc.py is known, and $1... are args[0]...
py() {
	local code
	code=$(cat)
	python3 -S -c "from zbc import *
args = sys.argv[1:]
$code" "$@"
}

# Such code for a device of zones of 2 MiB with a capacity of 1 MiB: d, its Dev;
# directory; CAP and LEN, capacity and length in sectors; conds(zones...). $1 is
# Python that comes before it.
py_dev() {
	local code
	code=$(cat)
	py "$DEV" "$DIR" <<-PY
	d, directory, CAP, LEN = Dev(args[0]), args[1], MIB, 2 * MIB
	def conds(*zones):
	    return " ".join(d.zone(n).cond for n in zones)
	${1-}
	$code
	PY
}

# The zones as `blkzone` sees them, one line each: number, type, condition, write
# pointer relative to the zone's start, capacity; all in sectors.
zones() { # device
	blkzone report "$1" | sed -E \
		's/.*cap (0x[0-9a-f]+), wptr (0x[0-9a-f]+) .*zcond: ?[0-9]+\((..)\) \[type: [0-9]\((\w+)\)\]/\4 \3 \2 \1/' | {
		local type cond wp cap nr=0
		while read -r type cond wp cap; do
			echo "$nr $type $cond $((wp)) $((cap))"
			nr=$((nr + 1))
		done
	}
}

# ---------------------------------------------------------------- backing file systems

# Make a file system of this type and size in a file and mount it on DIR. It is
# unmounted at the end of the test, which fails if that can't be done. The file
# is in memory: should the driver leave something open in it, SCRATCH can be
# unmounted still, and only this test fails.
make_fs() { # type size directory
	local img
	img=$(image_of "$3")
	mkdir -p "$3" /run/images
	defer "rm -f '$img'"
	defer "umount_if '$3'"
	if [[ $1 == tmpfs ]]; then
		mount -t tmpfs -o "size=$2" tmpfs "$3"
		return
	fi
	modprobe -a loop "$1"
	rm -f "$img"
	truncate -s "$2" "$img"
	case $1 in
	ext4) mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=1,nodiscard "$img" ;;
	xfs) mkfs.xfs -q -f -K "$img" ;;
	*) fail "no such file system: $1" ;;
	esac
	mount_fs "$3"
}

image_of() { # directory
	echo "/run/images/${1//\//.}"
}

# Mount what make_fs made and the test has unmounted.
mount_fs() { # directory
	mount -o loop "$(image_of "$1")" "$1"
}

umount_if() {
	! mountpoint -q "$1" || umount "$1"
}

# ---------------------------------------------------------------- the module

module_is() { # rust or c
	case $1 in
	rust) echo "$ZLOOP_KO" ;;
	c) echo "$C_ZLOOP_KO" ;;
	esac
}

# Unload the module that is loaded and load this one. The one that was there at
# first comes back at the end of the test.
use_driver() { # rust or c
	local ko
	ko=$(module_is "$1")
	[[ -r $ko ]] || skip "the $1 module is not here ($ko)"
	if [[ -z ${DRIVER_DEFERRED:-} ]]; then
		DRIVER_DEFERRED=1
		defer "restore_driver"
	fi
	[[ ! -e /sys/module/zloop ]] || rmmod zloop
	insmod "$ko"
}

restore_driver() {
	local id
	for id in "${DEVICES[@]}"; do
		[[ ! -e /sys/block/zloop$id ]] || ctl "remove id=$id" || true
	done
	[[ ! -e /sys/module/zloop ]] || rmmod zloop
	insmod "$(module_is "$DRIVER")"
}

# Load the module for requests that user space can't make: `Requests` of zbc.py.
use_requests() {
	insmod "$REQUESTS_KO"
	defer "rmmod requests"
}

# ---------------------------------------------------------------- fio

# Write sequential zones and verify what was written; options follow.
fio_zones() { # device options...
	local dev=$1
	shift
	fio --name=zones --filename="$dev" --zonemode=zbd --direct=1 --ioengine=libaio \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=7 \
		--output="$SCRATCH/fio.log" "$@" || {
		cat "$SCRATCH/fio.log"
		fail "fio: $*"
	}
}

# The same for conventional zones, where there is nothing special to do.
fio_conv() { # device options...
	local dev=$1
	shift
	fio --name=conv --filename="$dev" --direct=1 --ioengine=libaio \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=7 \
		--output="$SCRATCH/fio.log" "$@" || {
		cat "$SCRATCH/fio.log"
		fail "fio: $*"
	}
}
