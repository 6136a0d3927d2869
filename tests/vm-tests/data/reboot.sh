# SPDX-License-Identifier: GPL-2.0
# A device that is added again after the machine was shut down and started.
#
# Guards what the zone files alone must carry: data, write pointers, full zones;
# and, with the second device, the geometry.
# boots: 2

OPTIONS=capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2

boot1_write() {
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d, LEN, CAP = Dev(args[0]), 4 * MIB, 3 * MIB
	d.write(0, 2048, 11); d.write(2 * LEN - 2048, 2048, 12)
	d.zwrite(2, 0, 64)
	d.open(3); d.zwrite(3, 0, 4096 - 8)
	for at in range(0, CAP, 1024): d.zwrite(4, at, 1024)
	d.zwrite(5, 0, 64); d.finish(5)
	d.open(6)
	d.zwrite(7, 0, 64); d.reset(7)
	d.zwrite(8, 0, 64); d.close(8)
	d.flush()
	PY
	remove_dev
	add_dev -i 7 $OPTIONS,buffered_io,zone_append=0
	fio_zones "$DEV" --offset=8M --size=8M --rw=write --bs=64k
	head -c 24M "$DEV" | sha256sum >"$SCRATCH/sum"
	zbc "$DEV" report >"$SCRATCH/report"
	remove_dev 7
	# What the test is about is the driver, not whether the file system beneath
	# was unmounted in time.
	sync
}

boot2_write() {
	add_dev $OPTIONS
	py "$DEV" <<-'PY'
	d, LEN, CAP = Dev(args[0]), 4 * MIB, 3 * MIB
	d.check(0, 2048, 11); d.check(2 * LEN - 2048, 2048, 12)
	eq([z.cond for z in d.zones()][2:10], ["C", "C", "F", "F", "E", "E", "C", "E"], "conditions")
	for nr, wp in (2, 64), (3, 4088), (4, CAP), (5, 64), (8, 64):
	    d.zcheck(nr, 0, wp)
	    if nr in (2, 3, 8):
	        eq(d.zone(nr).wp, wp, f"write pointer of zone {nr}")
	        d.zwrite(nr, wp, 8)
	        d.zcheck(nr, 0, wp + 8)
	d.zcheck(5, 64, LEN - 64, None)
	PY
	remove_dev
	add_dev -i 7 $OPTIONS
	assert_eq "$(head -c 24M "$DEV" | sha256sum)" "$(<"$SCRATCH/sum")" "what fio wrote before the reboot"
	assert_eq "$(zbc "$DEV" report)" "$(sed 's/ seq [IE]O / seq C /' "$SCRATCH/report")" "zones before the reboot"
	remove_dev 7
}
