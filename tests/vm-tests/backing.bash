# SPDX-License-Identifier: GPL-2.0
# What must work whatever file system the zone files are on: sourced by the tests
# that differ in nothing but that.

# Data in conventional and sequential zones comes back, at once and after remove
# and add; the size of a file is its zone's write pointer.
zone_data() {
	local options=capacity_mb=48,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2
	add_dev "$options"
	py "$DEV" "$DIR" <<-'PY'
	d, directory = Dev(args[0]), args[1]
	LEN, CAP = 4 * MIB, 3 * MIB
	rnd = random.Random(1)
	for at in 0, 2 * LEN - 8, LEN - 512, 8000:
	    d.write(at, 8, at)
	for at in 0, 2 * LEN - 8, LEN - 512, 8000:
	    d.check(at, 8, at)
	for nr in 3, 4, 5:
	    at = 0
	    while at < (CAP, CAP // 2, 64)[nr - 3]:
	        n = min(rnd.randrange(8, 1032, 8), CAP - at)
	        d.zwrite(nr, at, n, nr)
	        at += n
	    d.zcheck(nr, 0, at, nr)
	    d.zcheck(nr, at, 4 * MIB - at, None)
	    eq(os.stat(f"{directory}/seq-{nr:06}").st_size, at * SECTOR, "file size")
	d.zwrite(6, 0, 64, 6); d.finish(6)
	eq(os.stat(f"{directory}/seq-000006").st_size, CAP * SECTOR, "file size after a finish")
	d.zwrite(7, 0, 64, 7); d.reset(7)
	eq(os.stat(f"{directory}/seq-000007").st_size, 0, "file size after a reset")
	d.flush()
	PY
	readd_dev "$options"
	py "$DEV" <<-'PY'
	d = Dev(args[0])
	LEN, CAP = 4 * MIB, 3 * MIB
	for at in 0, 2 * LEN - 8, LEN - 512, 8000:
	    d.check(at, 8, at)
	eq([z.cond for z in d.zones()], ["NWP"] * 2 + ["E", "F", "C", "C", "F", "E"] + ["E"] * 4, "conditions")
	d.zcheck(3, 0, CAP, 3)
	d.zcheck(4, 0, d.zone(4).wp, 4)
	d.zcheck(5, 0, d.zone(5).wp, 5)
	d.zcheck(6, 0, 64, 6)
	d.zcheck(6, 64, LEN - 64, None)
	d.zcheck(7, 0, LEN, None)
	d.append(5, 64, 8)
	d.reset_all()
	PY
	remove_dev
}

# fio writes and verifies all zones, with several writes under way in several
# zones at once.
zone_fio() {
	local o
	for o in "" ,buffered_io; do
		add_dev "capacity_mb=24,zone_size_mb=2,conv_zones=2,nr_queues=2$o"
		fio_zones "$DEV" --size=12M --offset=4M --rw=randwrite --bs=16k --iodepth=8
		fio_conv "$DEV" --size=4M --rw=randwrite --bs=4k --iodepth=8
		remove_dev
		rm -r "$DIR"
	done
}
