# SPDX-License-Identifier: GPL-2.0
# kernel: debug
# limit: 300
#
# Allocations that fail, one after the other and at random, in everything that
# the driver does; requests that the block layer fails before or below it.
#
# Guards that there is an error and nothing else: no leak (the run ends with a
# look by kmemleak), no hang, no id that stays taken, nothing half made.

DEBUG=/sys/kernel/debug
GEOMETRY=capacity_mb=16,zone_size_mb=2,conv_zones=2

# fault NAME KEY=VALUE...
fault() {
	local name=$1 pair
	shift
	for pair; do
		echo "${pair#*=}" >"$DEBUG/$name/${pair%%=*}"
	done
}

no_faults() {
	local name
	for name in failslab fail_page_alloc fail_make_request; do
		fault "$name" probability=0 times=0 require-start=0 require-end=0xffffffffffffffff
	done
	dmesg -n 4
}

# The allocations that may fail: all, not only those that can't wait.
all_allocations() {
	defer no_faults
	fault failslab ignore-gfp-wait=N verbose=0
	fault fail_page_alloc ignore-gfp-wait=N ignore-gfp-highmem=N min-order=0 verbose=0
}

# Only what is called from the driver's code.
only_ours() { # fault
	local start size
	read -r start size < <(awk '$1 == "zloop" { print $6, $2 }' /proc/modules)
	fault "$1" "require-start=$start" "require-end=$(printf '0x%x' $((start + size)))" stacktrace-depth=32
}

# The first allocation of a command fails, then only the second, and so on until
# none is left: fail-nth counts those of one task. Of the many in the block layer
# and the file system every third will do. A command that fails leaves nothing; one
# that succeeds, though something failed (an allocation that can be done without),
# does all.
test_each_allocation_of_a_command() {
	all_allocations
	mkdir -p "$BASE/0"
	py "$BASE" capacity_mb=3,zone_size_mb=1,conv_zones=1 <<-'PY'
		import itertools

		base, geometry = args

		def nth(n, command):
		    """Whether the command succeeded, and whether there was an n-th allocation."""
		    fd = os.open("/dev/zloop-control", os.O_WRONLY)
		    fail = os.open(f"/proc/self/task/{threading.get_native_id()}/fail-nth", os.O_RDWR)
		    try:
		        os.write(fail, str(n).encode())
		        try:
		            os.write(fd, command.encode())
		            ok = True
		        except OSError as e:
		            ok = False
		            if e.errno not in (errno.ENOMEM, errno.EIO, errno.EINVAL, errno.ENOSPC):
		                raise
		        left = int(os.pread(fail, 20, 0).split(b"\0")[0])
		        os.pwrite(fail, b"0", 0)
		        return ok, left == 0
		    finally:
		        os.close(fail)
		        os.close(fd)

		add = f"add id=0,base_dir={base},{geometry}"
		failed = 0
		nths = lambda: itertools.chain(range(1, 40), itertools.count(40, 3))
		for n in nths():
		    ok, injected = nth(n, add)
		    if ok != os.path.exists("/sys/block/zloop0"):
		        raise AssertionError(f"allocation {n}: {ok} and yet")
		    failed += not ok
		    if not ok:
		        # Nothing stays that makes the next one fail.
		        control(add)
		    control("remove id=0")
		    if not injected:
		        break
		print(f"add: {n - 1} allocations, {failed} failed it")
		if n < 50 or failed < 30:
		    raise AssertionError("too few to be true")

		for n in nths():
		    control(add)
		    ok, injected = nth(n, "remove id=0")
		    if ok == os.path.exists("/sys/block/zloop0"):
		        raise AssertionError(f"allocation {n}: {ok} and yet")
		    if not ok:
		        control("remove id=0")
		    if not injected:
		        break
		print(f"remove: {n - 1} allocations")
	PY
}

# Every request's allocations, at random; what was acknowledged is there, and what
# failed is not. On ext4: XFS does not fail for lack of memory, but has the kernel
# complain of it.
# scratch: ext4
# C driver may fail: defect 35
test_failing_allocations_in_io() {
	add_dev "$GEOMETRY"
	all_allocations
	only_ours failslab
	fault failslab probability=20 times=-1 interval=1
	py <<-'PY'
		d = Dev("/dev/zloop0")
		failures = 0
		random.seed(3)
		written = {nr: [] for nr in range(2, 8)}
		conventional = {}

		def attempt(call):
		    global failures
		    try:
		        call()
		        return True
		    except OSError as e:
		        if e.errno not in (errno.EIO, errno.ENOMEM, errno.EAGAIN):
		            raise
		        failures += 1
		        return False

		def look_at(nr):
		    # One that could not be looked at is read-only or offline until that succeeds.
		    for _ in range(1000):
		        z = d.zone(nr)
		        if z.cond not in ("RO", "OFF"):
		            return z
		    raise AssertionError(f"zone {nr} stays {z.cond}")

		def is_emptied(nr):
		    # A reset that fails may have emptied the file. The zone is open then if it was.
		    return look_at(nr).wp == 0

		for i in range(1000):
		    nr = random.randrange(2, 8)
		    kind = random.random()
		    if kind < 0.5:
		        z = look_at(nr)
		        if z.cond == "F":
		            if attempt(lambda: d.reset(nr)) or is_emptied(nr):
		                written[nr] = []
		            continue
		        n = random.choice((8, 8, 64, 512))
		        n = min(n, z.cap - z.wp)
		        if attempt(lambda: d.zwrite(nr, z.wp, n, i)):
		            written[nr].append((z.wp, n, i))
		        else:
		            after = look_at(nr)
		            if after.cond == "F" or not z.wp <= after.wp < z.wp + n:
		                raise AssertionError(f"a write of {n} sectors failed: {z}, then {after}")
		    elif kind < 0.7:
		        at = random.randrange(0, 500) * 8
		        if attempt(lambda: d.write(at, 8, i)):
		            conventional[at] = i
		        else:
		            conventional.pop(at, None)
		    elif kind < 0.8:
		        attempt(d.flush)
		    elif kind < 0.9 and written[nr]:
		        attempt(lambda: d.zcheck(nr, *random.choice(written[nr])))
		    elif kind < 0.93:
		        attempt(lambda: d.finish(nr))
		    elif kind < 0.95:
		        done = attempt(d.reset_all)
		        written = {nr: [] if done or is_emptied(nr) else written[nr] for nr in written}
		    else:
		        attempt(lambda: d.open(nr))
		        attempt(lambda: d.close(nr))
		for name in "failslab", "fail_page_alloc":
		    with open(f"/sys/kernel/debug/{name}/probability", "w") as f:
		        f.write("0")
		for nr, writes in written.items():
		    for w in writes:
		        d.zcheck(nr, *w)
		for at, seed in conventional.items():
		    d.check(at, 8, seed)
		d.flush()
		d.reset_all()
		for nr in range(2, 8):
		    d.zwrite(nr, 0, 8)
		print(failures, "failures")
	PY
}

# The block layer fails requests to the disk below the backing file system.
# Without a journal, whose failure would end all writing.
test_failing_requests_below() {
	make_fs ext4 96M "$SCRATCH/below"
	umount "$SCRATCH/below"
	tune2fs -O ^has_journal "$(image_of "$SCRATCH/below")" >/dev/null
	mount_fs "$SCRATCH/below"
	local loop
	loop=$(findmnt -no SOURCE "$SCRATCH/below")
	add_dev -b "$SCRATCH/below" "$GEOMETRY"
	defer no_faults
	mount -o remount,errors=continue "$SCRATCH/below"
	echo 1 >"/sys/block/${loop##*/}/make-it-fail"
	fault fail_make_request probability=20 times=-1 interval=1 verbose=0
	py <<-'PY'
		d = Dev("/dev/zloop0")
		failures = 0
		written = {nr: [] for nr in range(2, 8)}
		for i in range(600):
		    nr = 2 + i % 6
		    try:
		        z = d.zone(nr)
		        if z.cond == "F":
		            d.reset(nr)
		            written[nr] = []
		            continue
		        n = min(random.choice((8, 64)), z.cap - z.wp)
		        d.zwrite(nr, z.wp, n, i)
		        written[nr].append((z.wp, n, i))
		        if i % 50 == 0:
		            d.flush()
		    except OSError as e:
		        if e.errno != errno.EIO:
		            raise
		        failures += 1
		with open("/sys/kernel/debug/fail_make_request/probability", "w") as f:
		    f.write("0")
		if not failures:
		    raise AssertionError("nothing failed")
		for nr, writes in written.items():
		    d.zone(nr)
		    for w in writes:
		        d.zcheck(nr, *w)
		d.reset_all()
		d.zwrite(2, 0, 8)
		print(failures, "failures")
	PY
	echo 0 >"/sys/block/${loop##*/}/make-it-fail"
}

# It fails requests to the device itself, before the driver sees them.
test_failing_requests_above() {
	add_dev "$GEOMETRY"
	defer no_faults
	echo 1 >/sys/block/zloop0/make-it-fail
	fault fail_make_request probability=30 times=-1 interval=1 verbose=0
	fio --name=above --filename="$DEV" --direct=1 --ioengine=libaio --iodepth=16 --rw=randrw --bs=4k \
		--size=4M --io_size=16M --continue_on_error=all --output=/dev/null || true
	fault fail_make_request probability=0
	echo 0 >/sys/block/zloop0/make-it-fail
	zbc "$DEV" write 0 64 3
	zbc "$DEV" check 0 64 3
}
