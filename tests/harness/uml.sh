# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How a user-mode kernel is started: a program whose disks are files, and which
# has a terminal where QEMU's guest has a port for its output. The rest of what
# leaves it goes to a directory of the host's that it mounts.

# uml IMAGE WORK DISK_DIR MEM CPUS DISKS APPEND: become that program.
uml() {
	local image=$1 work=$2 disk_dir=$3 mem=$4 cpus=$5 append=$7 disks=() i
	for ((i = 0; i < $6; i++)); do
		disks+=("ubd$((i + 2))t=$disk_dir/scratch$i,,scratch$i")
	done
	# What an earlier boot has written to its root.
	rm -f "$work/root.cow"
	# Its memory is a file, which should not be written to a disk.
	export TMPDIR=/dev/shm
	exec 3>"$work/out"
	# shellcheck disable=SC2086
	exec "$image/kernel" mem="${mem}M" ncpus="$cpus" uml_dir="$work/" umid=uml \
		initrd="$image/initrd.img" \
		ubd0="$work/root.cow,$image/root.ext4,root" ubd1r="$work/payload.tar,,payload" "${disks[@]}" \
		con=null con0=null,fd:2 ssl=null ssl0=null,fd:3 \
		seccomp=on noreboot quiet loglevel=4 panic=-1 oops=panic log_buf_len=8M \
		rcupdate.rcu_cpu_stall_timeout=60 $append
}
