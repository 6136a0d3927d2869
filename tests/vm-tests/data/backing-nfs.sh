# SPDX-License-Identifier: GPL-2.0
# Zone files on NFS, of a server on this very machine.
#
# Guards the same as the other file systems beneath: here I/O has no alignment,
# nothing can be tried without waiting, and what a file's size is the server knows.
# limit: 240

source "$TESTS/vm-tests/backing.bash"

# The server exports a directory of SCRATCH; BASE is where it is mounted.
nfs() {
	local exports
	modprobe -a dns_resolver nfsd nfsv4
	busybox ip link set lo up
	mkdir -p "$SCRATCH/export" "$BASE"
	mountpoint -q /proc/fs/nfsd || {
		mount -t nfsd nfsd /proc/fs/nfsd
		defer "umount /proc/fs/nfsd"
	}
	python3 "$TESTS/vm-tests/data/nfs-exports.py" "$SCRATCH/export" >"$SCRATCH/exports.log" 2>&1 &
	exports=$!
	defer "kill $exports"
	until grep -q ready "$SCRATCH/exports.log"; do
		kill -0 $exports || fail "$(cat "$SCRATCH/exports.log")"
		sleep 0.1
	done
	echo "-2 -3 +4 +4.1 +4.2" >/proc/fs/nfsd/versions
	echo 10 >/proc/fs/nfsd/nfsv4leasetime
	echo 10 >/proc/fs/nfsd/nfsv4gracetime
	echo "tcp 2049" >/proc/fs/nfsd/portlist
	echo 4 >/proc/fs/nfsd/threads
	defer "echo 0 >/proc/fs/nfsd/threads; date +%s >/proc/net/rpc/nfsd.fh/flush; date +%s >/proc/net/rpc/nfsd.export/flush"
	mount -i -t nfs4 -o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,sec=sys 127.0.0.1:/ "$BASE" ||
		fail "can't mount: $(cat "$SCRATCH/exports.log")"
	defer "umount_if '$BASE'"
	assert_eq "$(stat -f -c %T "$BASE")" nfs "file system"
}

test_zone_data() {
	nfs
	zone_data
}

test_fio() {
	nfs
	zone_fio
}

# Space goes back to the server, and what was flushed is there when all caches are
# gone. There are no files without a name, which volatile_cache needs: a device that
# is refused for that leaves nothing.
test_discard_and_flush() {
	local options=capacity_mb=32,zone_size_mb=4,conv_zones=1
	nfs
	mkdir "$BASE/0"
	ctl_refused EOPNOTSUPP "add id=0,base_dir=$BASE,$options,volatile_cache" \
		'volatile_cache: .*O_TMPFILE'
	assert_eq "$(ls "$BASE/0")" "" "what is left"
	add_dev $options
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	for at in range(0, 4 * MIB, 512): d.write(at, 512, 3)
	d.zwrite(2, 0, 512, 4); d.zeroout(2 * 4 * MIB + 512, 64)
	d.flush()
	d.discard(1024, 4096)
	d.flush()
	PY
	remove_dev
	umount "$BASE"
	(($(stat -c %b "$SCRATCH/export/0/cnv-000000") < 5000)) || fail "no space came back"
	assert_eq "$(stat -c %s "$SCRATCH/export/0/seq-000002")" $((576 * 512)) "size on the server"
	mount -i -t nfs4 -o vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,sec=sys 127.0.0.1:/ "$BASE"
	add_dev $options
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	d.check(0, 1024, 3); d.check(1024, 4096, None); d.check(5120, 3072, 3)
	cond(d, 2, "C", 576); d.zcheck(2, 0, 512, 4); d.zcheck(2, 512, 4 * MIB - 512, None)
	PY
	remove_dev
}
