# SPDX-License-Identifier: GPL-2.0
# Who may add and remove devices, and what a directory may lead to.
#
# Guards the promises that the control device is root's, that a command takes
# CAP_SYS_ADMIN in the initial user namespace of the task that writes it and of
# whoever opened the file, while anyone who can open it may read it; that paths
# are resolved as the task that writes the command sees them; and that what is in
# a device's directory leads nowhere else: nothing outside of it is made, opened
# or changed, whatever stands there in place of a file.

GEOMETRY=capacity_mb=16,zone_size_mb=1,conv_zones=2

# Write commands to file descriptor 5, then read from it, and say how each went.
TO_FD=(python3 -c 'import errno, os, sys
said = []
for command in sys.argv[1:]:
    try:
        os.write(5, command.encode())
        said.append("ok")
    except OSError as e:
        said.append(errno.errorcode[e.errno])
print(*said, os.pread(5, 4, 0).decode().strip())')

expect_none() {
	[[ ! -e /sys/block/zloop0 ]] || fail "a device was made"
	[[ -z $(ls -A "$BASE/0") ]] || fail "files were made: $(ls -A "$BASE/0")"
}

test_node_belongs_to_root() {
	assert_eq "$(stat -c '%a %u %g' $CONTROL)" "600 0 0" "the control device"
	refuse setpriv --reuid 65534 --clear-groups cat $CONTROL 2>/dev/null
	refuse setpriv --reuid 65534 --clear-groups bash -c "echo 'remove id=0' >$CONTROL" 2>/dev/null
}

# Whatever way an ordinary task got the open file, it can't write commands, and
# what it tries has no effect. Reading is free.
# C driver fails: it asks for nothing
test_unprivileged_writer() {
	mkdir -p "$BASE/0"
	exec 5<>$CONTROL
	local add="add id=0,base_dir=$BASE,$GEOMETRY" who
	for who in "setpriv --reuid 65534 --clear-groups --inh-caps=-all" \
		"setpriv --bounding-set=-all --inh-caps=-all" \
		"setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin" \
		"unshare --user --map-root-user" \
		"unshare --user --map-root-user --mount --pid --fork"; do
		# shellcheck disable=SC2086
		assert_eq "$($who "${TO_FD[@]}" "$add" foo)" "EPERM EPERM add" "an add, nonsense, a read by: $who"
		expect_none
	done
	ctl "$add"
	track 0
	for who in "setpriv --reuid 65534 --clear-groups" "unshare --user --map-root-user"; do
		# shellcheck disable=SC2086
		assert_eq "$($who "${TO_FD[@]}" "remove id=0")" "EPERM add" "a remove by: $who"
		[[ -b /dev/zloop0 ]] || fail "the device is gone"
	done
	assert_eq "$("${TO_FD[@]}" "remove id=0")" "ok add" "a remove by root, through the same file"
}

# A privileged program that writes to its standard output, say, does not act for
# whoever opened that.
# C driver fails: it asks for nothing
test_unprivileged_opener() {
	mkdir -p "$BASE/0"
	chmod 666 $CONTROL
	defer "chmod 600 $CONTROL"
	local add="add id=0,base_dir=$BASE,$GEOMETRY" got
	python3 - "$add" <<-'PY'
	import array, errno, os, socket, sys
	ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
	if os.fork() == 0:
	    os.setgroups([]); os.setgid(65534); os.setuid(65534)
	    fd = os.open("/dev/zloop-control", os.O_RDWR)
	    assert os.read(fd, 4) == b"add "
	    socket.send_fds(theirs, [b"x"], [fd])
	    os._exit(0)
	os.wait()
	fd = socket.recv_fds(ours, 1, 1)[1][0]
	try:
	    os.write(fd, sys.argv[1].encode())
	    sys.exit("root wrote a command for nobody")
	except OSError as e:
	    assert e.errno == errno.EPERM, e
	PY
	expect_none
	ctl "$add"
	ctl "remove id=0"
}

# Those who may do nothing else can't fill the log either.
test_refusals_do_not_fill_the_log() {
	exec 5<>$CONTROL
	mark_log
	setpriv --reuid 65534 --clear-groups python3 -c 'import os
for n in range(2000):
    try: os.write(5, b"add id=0")
    except PermissionError: pass
    else: raise SystemExit("allowed")'
	expect_log CAP_SYS_ADMIN
	(($(log_since | grep -c CAP_SYS_ADMIN) <= 40)) || fail "$(log_since | grep -c CAP_SYS_ADMIN) lines"
}

# Paths are those of the task that writes: its mounts, its root, its rights.
test_mounts_of_the_writer() {
	mkdir -p "$BASE"
	exec 6<$CONTROL
	unshare --mount --propagation private bash -ec "
		mount -t tmpfs -o size=32M tmpfs '$BASE'
		mkdir '$BASE/0'
		echo 'add id=0,base_dir=$BASE,$GEOMETRY' >$CONTROL
		[[ -e '$BASE/0/seq-000002' ]]"
	track 0
	[[ ! -e $BASE/0 ]] || fail "files are where the writer did not see that directory"
	# The file system is mounted nowhere any more, but it is there.
	py /dev/zloop0 <<-'PY'
	d = Dev(args[0])
	d.write(0, 64)
	d.zwrite(3, 0, 64); d.flush(); d.reset(3); d.zwrite(3, 0, 8, 2); d.finish(4)
	d.check(0, 64)
	d.zcheck(3, 0, 8, 2)
	cond(d, 4, "F")
	PY
	remove_dev
}

test_root_of_the_writer() {
	mkdir -p "$SCRATCH/jail/z/0" "$SCRATCH/jail/dev" "$SCRATCH/jail/bin"
	cp /bin/busybox "$SCRATCH/jail/bin/"
	touch "$SCRATCH/jail/dev/control"
	mount --bind $CONTROL "$SCRATCH/jail/dev/control"
	defer "umount '$SCRATCH/jail/dev/control'"
	chroot "$SCRATCH/jail" /bin/busybox sh -c "echo 'add id=0,base_dir=/../../z,$GEOMETRY' >/dev/control"
	track 0
	[[ -e $SCRATCH/jail/z/0/seq-000002 ]] || fail "the files are elsewhere"
	[[ ! -e /z ]] || fail "the files are outside"
	remove_dev
}

# One that may add devices but not go where it likes.
test_rights_of_the_writer() {
	mkdir -p "$BASE/0"
	exec 5<>$CONTROL
	local who=(setpriv --reuid 65534 --clear-groups --inh-caps=-all,+sys_admin --ambient-caps=-all,+sys_admin)
	chmod 755 "$SCRATCH" "$BASE" "$BASE/0"
	assert_eq "$("${who[@]}" "${TO_FD[@]}" "add id=0,base_dir=$BASE,$GEOMETRY")" "EACCES add" "in a directory of root's"
	expect_none
	chmod 700 "$BASE"
	assert_eq "$("${who[@]}" "${TO_FD[@]}" "add id=0,base_dir=$BASE,$GEOMETRY")" "EACCES add" "where it may not look"
	chmod 755 "$BASE"
	chown 65534 "$BASE/0"
	assert_eq "$("${who[@]}" "${TO_FD[@]}" "add id=0,base_dir=$BASE,$GEOMETRY")" "ok add" "in its own directory"
	track 0
	assert_eq "$(stat -c %u "$BASE/0/seq-000003")" 65534 "whose the files are"
	zbc /dev/zloop0 write $((3 * 2048)) 64
	zbc /dev/zloop0 reset $((3 * 2048))
	assert_eq "$("${who[@]}" "${TO_FD[@]}" "remove id=0")" "ok add" "a remove"
}

# ---------------------------------------------------------------- what leads elsewhere

# The directory itself is the administrator's to place, by a symbolic link, too.
test_directory_behind_a_link() {
	mkdir -p "$SCRATCH/there" "$BASE"
	ln -s "$SCRATCH/there" "$BASE/0"
	ln -s "$BASE" "$SCRATCH/base"
	ctl "add id=0,base_dir=$SCRATCH/base,$GEOMETRY"
	track 0
	[[ -e $SCRATCH/there/seq-000002 ]] || fail "the files are elsewhere"
	remove_dev
	rm "$BASE/0"
	ln -s "$SCRATCH/nowhere" "$BASE/0"
	ctl_fails "EINVAL|EEXIST" "add id=0,base_dir=$BASE,$GEOMETRY"
	[[ ! -e $SCRATCH/nowhere ]] || fail "a directory was made"
}

# What is outside must stay as it is, nor may it be opened, nor a device that stands
# in a file's place. The kernel tells us of every open (inotify).
PLANT=$(cat <<'PY'
import ctypes, signal, socket
base, geometry = args[:2]
directory, outside = base + "/0", os.path.dirname(base) + "/outside"
os.makedirs(outside, exist_ok=True)
os.makedirs(directory, exist_ok=True)
libc = ctypes.CDLL(None, use_errno=True)
IN_MODIFY, IN_OPEN, IN_CREATE, IN_DELETE = 2, 0x20, 0x100, 0x200

class Watch:
    """What happens in a directory."""
    def __init__(self, path, mask):
        self.fd = libc.inotify_init1(os.O_NONBLOCK)
        eq(libc.inotify_add_watch(self.fd, path.encode(), mask) > 0, True, "inotify")
    def names(self):
        names = set()
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return names
            while data:
                size = struct.unpack_from("<iIII", data)[3]
                names.add(data[16:16 + size].rstrip(b"\0").decode())
                data = data[16 + size:]

with open(outside + "/file", "w") as f: f.write("precious\n")
with open(outside + "/zone", "w") as f: f.truncate(1 << 20)
open(outside + "/empty", "w").close()
watch_outside = Watch(outside, IN_MODIFY | IN_OPEN | IN_CREATE | IN_DELETE)

KINDS = ["link-file", "link-zone", "link-empty", "link-new", "relative", "fifo", "directory", "socket", "disk", "char"]

def plant(name, kind):
    path = f"{directory}/{name}"
    if kind.startswith("link-"): os.symlink(f"{outside}/{kind[5:]}", path)
    elif kind == "relative": os.symlink("../../outside/file", path)
    elif kind == "fifo": os.mkfifo(path)
    elif kind == "directory": os.mkdir(path)
    elif kind == "socket": socket.socket(socket.AF_UNIX).bind(path)
    elif kind == "disk": os.mknod(path, 0o60666, os.stat(args[2]).st_rdev)
    elif kind == "char": os.mknod(path, 0o20666, os.makedev(1, 3))

def leads_nowhere(name, kind):
    before = sorted(os.listdir(directory))
    watch = Watch(directory, IN_OPEN)
    signal.alarm(10)
    try:
        fails("ELOOP|EEXIST|EISDIR|EINVAL", control, f"add id=0,base_dir={base},{geometry}")
    except AssertionError as e:
        raise AssertionError(f"a {kind} as {name}: {e}")
    finally:
        signal.alarm(0)
    eq(name in watch.names(), False, f"a {kind} as {name} is opened")
    eq(sorted(os.listdir(directory)), before, f"files after a {kind} as {name}")
    eq(watch_outside.names(), set(), f"what is done outside with a {kind} as {name}")
    os.close(watch.fd)

def late(*_): raise AssertionError("an add waits")
signal.signal(signal.SIGALRM, late)
PY
)

plant() {
	py "$BASE" "$GEOMETRY" "$(set -- /dev/vd?; echo "$1")" <<<"$PLANT
$(cat)"
}

# In a new directory: the files that are looked for first, some of the others, and
# the two that are ours alone.
# C driver fails: it follows links, and waits for the other end of a pipe
test_planted_in_a_new_directory() {
	plant <<-'PY'
	for name in "cnv-000000", "seq-000000", "cnv-000001", "seq-000007", "seq-000015", "geometry", "incomplete":
	    for kind in KINDS:
	        plant(name, kind)
	        leads_nowhere(name, kind)
	        (os.rmdir if kind == "directory" else os.unlink)(f"{directory}/{name}")
	PY
	add_dev "$GEOMETRY"
}

# And in one that holds a device.
# C driver fails: it follows links
test_planted_in_a_device() {
	add_dev "$GEOMETRY"
	zbc "$DEV" write $((7 * 2048)) 64
	remove_dev
	plant <<-'PY'
	for name in "cnv-000000", "cnv-000001", "seq-000007", "seq-000015", "geometry", "incomplete":
	    path = f"{directory}/{name}"
	    if os.path.exists(path): os.rename(path, base + "/kept")
	    for kind in KINDS:
	        plant(name, kind)
	        leads_nowhere(name, kind)
	        (os.rmdir if kind == "directory" else os.unlink)(path)
	    if os.path.exists(base + "/kept"): os.rename(base + "/kept", path)
	PY
	add_dev "$GEOMETRY"
	zbc "$DEV" check $((7 * 2048)) 64
}

# What is swapped while the device is there is not looked at before the next add, if
# the file is open; the others are opened when they are needed, and lead nowhere then.
# C driver fails: it follows links when the device is added again
test_planted_while_the_device_is_there() {
	add_dev "$GEOMETRY"
	plant <<-'PY'
	d = Dev("/dev/zloop0")
	d.zwrite(3, 0, 64); d.zwrite(4, 0, 64); d.write(0, 64)
	for name in "cnv-000000", "seq-000003", "seq-000004", "geometry":
	    if os.path.exists(f"{directory}/{name}"): os.unlink(f"{directory}/{name}")
	    plant(name, "link-zone")
	plant("incomplete", "link-new")
	d.check(0, 64); d.write(64, 64); d.zcheck(3, 0, 64)
	d.zwrite(3, 64, 64); d.reset(4); d.zwrite(4, 0, 8); d.finish(4); d.flush(); d.reset_all()
	watch, late_ones = Watch(directory, IN_OPEN), dict(zip(range(5, 15), KINDS))
	for nr, kind in late_ones.items():
	    os.unlink(f"{directory}/seq-{nr:06}")
	    plant(f"seq-{nr:06}", kind)
	for nr in late_ones:
	    # The C driver has them open all the time.
	    for command in lambda: d.zwrite(nr, 0, 8), lambda: d.finish(nr), lambda: d.zcheck(nr, 0, 8, None), lambda: d.reset(nr):
	        signal.alarm(10)
	        try: command()
	        except OSError as e: eq(e.errno, errno.EIO, f"zone {nr}")
	        signal.alarm(0)
	eq(watch.names() & {f"seq-{nr:06}" for nr in late_ones}, set(), "what is opened that is no file")
	eq(len(d.zones()), 16, "zones")
	d.zwrite(3, 0, 64); d.zcheck(3, 0, 64)
	d.close_fd()
	control("remove id=0")
	eq(watch_outside.names(), set(), "what was done outside")
	leads_nowhere("cnv-000000", "link-zone")
	PY
}
