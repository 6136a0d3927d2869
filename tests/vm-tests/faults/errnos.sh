# SPDX-License-Identifier: GPL-2.0
# The file system of the zone files fails with errnos that mean something to a
# submitter.
#
# Guards that a request which failed is an I/O error to those above: EAGAIN would
# say that it may be tried where waiting is allowed, ETOOMANYREFS and EOVERFLOW
# that zones are to be closed or finished.

# C driver fails: it passes them on
test_errnos_of_a_file_system() {
	modprobe fuse
	mkdir -p "$BASE"
	python3 "$TESTS/vm-tests/fuse.py" "$BASE" &
	defer "umount_if '$BASE'"
	until mountpoint -q "$BASE"; do sleep 0.1; done
	add_dev capacity_mb=6,zone_size_mb=1,conv_zones=2
	py "$DEV" "$BASE" <<-'PY'
	d, base = Dev(args[0]), args[1]
	d.write(0, 64); d.zwrite(2, 0, 64, 2); d.flush()
	for name in "EAGAIN", "ETOOMANYREFS", "EOVERFLOW", "EREMCHG", "EIO":
	    d.write(64, 8)
	    with open(f"{base}/fail", "w") as f: f.write(name)
	    fails("EIO", d.pread, 0, 8)
	    fails("EIO", d.pread, 4096, 8)
	    fails("EIO", d.write, 0, 64)
	    fails("EIO", d.flush)
	    fails("EIO", d.zwrite, 3, 0, 8)
	    os.unlink(f"{base}/fail")
	    d.zone(3)
	    try: d.flush()
	    except OSError: d.flush()
	d.check(0, 64); d.zcheck(2, 0, 64, 2); d.zwrite(3, 0, 8); d.zcheck(3, 0, 8)
	PY
	remove_dev
}
