# SPDX-License-Identifier: GPL-2.0
# The device as a namespace of an NVMe subsystem, which this very machine uses over
# TCP: a ZNS drive, as far as the host can see.
#
# Guards the limits and reports that the NVMe target passes on, and commands and
# appends that arrive from it.
# limit: 240

SUBSYSTEM=/sys/kernel/config/nvmet/subsystems/zloop
PORT=/sys/kernel/config/nvmet/ports/1

# Sets NVME and BELOW.
connect() {
	BELOW=$DEV
	modprobe -a nvmet-tcp nvme-tcp
	busybox ip link set lo up
	mountpoint -q /sys/kernel/config || {
		mount -t configfs configfs /sys/kernel/config
		defer "umount /sys/kernel/config"
	}
	mkdir "$SUBSYSTEM"
	defer "rmdir $SUBSYSTEM"
	echo 1 >"$SUBSYSTEM/attr_allow_any_host"
	mkdir "$SUBSYSTEM/namespaces/1"
	defer "rmdir $SUBSYSTEM/namespaces/1"
	echo "$BELOW" >"$SUBSYSTEM/namespaces/1/device_path"
	echo 1 >"$SUBSYSTEM/namespaces/1/enable"
	mkdir "$PORT"
	defer "rmdir $PORT"
	echo tcp >"$PORT/addr_trtype"
	echo ipv4 >"$PORT/addr_adrfam"
	echo 127.0.0.1 >"$PORT/addr_traddr"
	echo 4420 >"$PORT/addr_trsvcid"
	ln -s "$SUBSYSTEM" "$PORT/subsystems/zloop"
	defer "rm -f $PORT/subsystems/zloop"
	nvme connect -t tcp -a 127.0.0.1 -s 4420 -n zloop >/dev/null
	defer disconnect
	until NVME=$(basename "$(echo /sys/class/nvme-subsystem/nvme-subsys*/nvme*n1)") && [[ -b /dev/$NVME ]]; do sleep 0.1; done
	ID=${NVME} NVME=/dev/$NVME
	until [[ $(cat "/sys/block/$ID/queue/zoned") == host-managed ]]; do sleep 0.1; done
}

disconnect() {
	nvme disconnect -n zloop >/dev/null
}

# Commands, reports and refusals are those of the device.
test_zns() {
	local a
	add_dev capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=0,max_open_zones=4
	connect
	for a in zoned nr_zones chunk_sectors logical_block_size max_open_zones; do
		assert_eq "$(cat "/sys/block/$ID/queue/$a")" "$(queue $a)" "$a"
	done
	nvme zns id-ns "$NVME" | grep -q '^mor *: *0x3\b' || fail "$(nvme zns id-ns "$NVME")"
	use_requests
	py "$NVME" "$BELOW" <<-'PY'
	d, below, r = Dev(args[0]), Dev(args[1], os.O_RDONLY | os.O_DIRECT), Requests(args[0])
	LEN, CAP = 4 * MIB, 3 * MIB
	def same():
	    # (the two write a full zone's pointer in two ways)
	    eq([(z.start, z.cond, z.cap, z.cond != "F" and z.wp) for z in d.zones()],
	       [(z.start, z.cond, z.cap, z.cond != "F" and z.wp) for z in below.zones()], "reports")
	same()
	d.zwrite(1, 0, 64, 1); d.zcheck(1, 0, 64, 1)
	eq(below.pread(LEN, 64), pattern(LEN, 64, 1), "data below")
	refused(d, "EIO|EINVAL|EREMOTEIO", d.zwrite, 1, 128, 8)
	d.zones()
	for at in range(0, CAP, 512): d.zwrite(2, at, 512, 2)
	d.open(3); cond(below, 3, "EO", 0)
	d.zwrite(3, 0, 8); d.close(3); cond(below, 3, "C", 8)
	d.finish(3); cond(below, 3, "F")
	same()
	ends = r.run(f"append at={4 * LEN} sectors=8 count=100 seed=4\nappend at={5 * LEN} sectors=16 count=100 seed=5", 32)
	eq({e.error for e in ends}, {"ok"}, "appends")
	eq(sorted(e.sector for e in ends[:100]), list(range(4 * LEN, 4 * LEN + 800, 8)), "where they went")
	cond(below, 4, "IO", 800); cond(below, 5, "IO", 1600)
	# One more than may be open; the oldest is closed to make room.
	d.open(6); d.open(7); d.open(8)
	eq([z.cond for z in d.zones()].count("EO"), 3, "explicitly open zones")
	d.zwrite(9, 0, 8)
	d.open(9)
	refused(d, "EIO|ETOOMANYREFS", d.open, 10)
	d.reset(2); cond(below, 2, "E", 0)
	same()
	d.flush()
	d.reset_all()
	eq({z.cond for z in below.zones()}, {"E"}, "conditions after a reset of all zones")
	r.close_fd(); d.close_fd(); below.close_fd()
	PY
	fio_zones "$NVME" --size=32M --rw=randwrite --bs=16k --iodepth=8 --max_open_zones=4
}

# A file system on it, that appends.
test_btrfs() {
	local mnt=$SCRATCH/mnt
	add_dev capacity_mb=1024,zone_size_mb=16,conv_zones=0
	connect
	mkdir "$mnt"
	mkfs.btrfs -q -f -O zoned -d single -m single "$NVME"
	mount -o noatime "$NVME" "$mnt"
	defer "umount_if '$mnt'"
	fio --name=files --directory="$mnt" --numjobs=2 --nrfiles=2 --size=12M --bs=64k --rw=write --ioengine=psync \
		--verify=crc32c --do_verify=1 --verify_fatal=1 --fsync=64 --output="$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	(cd "$mnt" && sha256sum files* >"$SCRATCH/sums")
	umount "$mnt"
	disconnect
	echo 0 >"$SUBSYSTEM/namespaces/1/enable"
	btrfs device scan --forget
	# The same on the device itself.
	mount -o noatime "$BELOW" "$mnt"
	(cd "$mnt" && sha256sum --quiet -c "$SCRATCH/sums")
	btrfs scrub start -B "$mnt" >"$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	grep -q 'no errors found' "$SCRATCH/log" || fail "$(cat "$SCRATCH/log")"
	umount "$mnt"
}
