# SPDX-License-Identifier: GPL-2.0
# A device directory made by the one driver and used by the other.
#
# Guards the promise that the directory is the same for both: files, names, sizes,
# what a size means. Each test loads both modules, one after the other.

OPTIONS=capacity_mb=64,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2,max_open_zones=4

fill() { # seed
	py "$DEV" "$1" <<-'PY'
	d, seed, LEN, CAP = Dev(args[0]), int(args[1]), 4 * MIB, 3 * MIB
	d.reset_all()
	d.write(0, 512, seed); d.write(2 * LEN - 512, 512, seed + 1)
	d.zwrite(2, 0, 64, seed)
	for at in range(0, CAP, 1024): d.zwrite(3, at, 1024, seed)
	d.zwrite(4, 0, 64, seed); d.finish(4)
	d.finish(5)
	d.open(6)
	d.open(7); d.zwrite(7, 0, 512, seed)
	d.zwrite(8, 0, 64, seed); d.reset(8)
	d.zwrite(9, 0, CAP - 8, seed); d.close(9)
	d.flush()
	PY
}

verify() { # seed
	py "$DEV" "$1" <<-'PY'
	d, seed, LEN, CAP = Dev(args[0]), int(args[1]), 4 * MIB, 3 * MIB
	eq([z.cond for z in d.zones()], ["NWP"] * 2 + ["C", "F", "F", "F", "E", "C", "E", "C"] + ["E"] * 6, "conditions")
	eq([d.zone(n).wp for n in (2, 7, 9)], [64, 512, CAP - 8], "write pointers")
	d.check(0, 512, seed); d.check(2 * LEN - 512, 512, seed + 1)
	d.check(512, LEN - 512, None)
	d.zcheck(2, 0, 64, seed); d.zcheck(2, 64, LEN - 64, None)
	d.zcheck(3, 0, CAP, seed)
	d.zcheck(4, 0, 64, seed); d.zcheck(4, 64, LEN - 64, None)
	d.zcheck(5, 0, LEN, None)
	d.zcheck(7, 0, 512, seed)
	d.zcheck(9, 0, CAP - 8, seed)
	# And it is not only to be looked at.
	d.zwrite(9, CAP - 8, 8, seed)
	cond(d, 9, "F", None)
	d.zwrite(7, 512, 64, seed)
	cond(d, 7, "IO", 576)
	PY
}

passed_on() { # from to
	use_driver "$1"
	add_dev $OPTIONS
	fill 10
	remove_dev
	use_driver "$2"
	add_dev $OPTIONS
	verify 10
	fill 20
	remove_dev
	use_driver "$1"
	add_dev $OPTIONS
	verify 20
	remove_dev
}

test_from_c_to_rust_and_back() {
	passed_on c rust
}

test_from_rust_to_c_and_back() {
	passed_on rust c
}

# Nothing that the one leaves in the directory beside the zone files, such as the
# record of the geometry, is in the other's way; and a record that the C driver
# knows nothing about is still true after it.
test_the_record_survives_the_c_driver() {
	use_driver rust
	add_dev $OPTIONS
	remove_dev
	use_driver c
	add_dev $OPTIONS,max_open_zones=0
	fill 30
	remove_dev
	use_driver rust
	ctl_fails EINVAL "add id=0,base_dir=$BASE,capacity_mb=60,zone_size_mb=4,zone_capacity_mb=3,conv_zones=2"
	add_dev $OPTIONS
	verify 30
	remove_dev
}

# What the C driver rejects it rejects on our directories too: only regular files
# with the names it knows are in its way.
test_files_are_the_same() {
	local id listing=()
	for id in c rust; do
		use_driver $id
		add_dev $OPTIONS
		fill 40
		remove_dev
		listing+=("$(cd "$DIR" && stat -c '%n %s %a %U %F' cnv-* seq-*; md5sum cnv-* seq-*)")
		rm -r "$DIR"
	done
	assert_eq "${listing[1]}" "${listing[0]}" "zone files of rust and c"
}

# File systems, too, pass from the one to the other.
test_zonefs() {
	use_driver c
	add_dev $OPTIONS
	mkzonefs -f "$DEV" >/dev/null
	mkdir "$SCRATCH/mnt"
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	defer "umount_if '$SCRATCH/mnt'"
	head -c 256K /dev/urandom >"$SCRATCH/data"
	dd if="$SCRATCH/data" of="$SCRATCH/mnt/seq/3" bs=64K oflag=direct conv=notrunc status=none
	umount "$SCRATCH/mnt"
	remove_dev
	use_driver rust
	add_dev $OPTIONS
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	cmp "$SCRATCH/data" "$SCRATCH/mnt/seq/3"
	dd if="$SCRATCH/data" of="$SCRATCH/mnt/seq/3" bs=64K oflag=direct,append conv=notrunc status=none
	umount "$SCRATCH/mnt"
	remove_dev
	use_driver c
	add_dev $OPTIONS
	mount -t zonefs "$DEV" "$SCRATCH/mnt"
	cat "$SCRATCH/data" "$SCRATCH/data" | cmp - "$SCRATCH/mnt/seq/3"
	umount "$SCRATCH/mnt"
	remove_dev
}
