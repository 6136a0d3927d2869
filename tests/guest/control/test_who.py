# SPDX-License-Identifier: GPL-2.0
"""Rights: to add and remove devices, and to use what a directory leads to.

Guards the promises that the control device is root's; that a command takes CAP_SYS_ADMIN in the
initial user namespace, of the task that writes it and of the one that opened the file, while anyone
who can open it may read it; that paths are resolved as the task that writes the command sees them;
and that the content of a device's directory leads nowhere else: nothing outside of it is made,
opened or changed, whatever stands there in place of a file.
"""

import contextlib
import ctypes
import os
import socket
import stat
import struct
from errno import EACCES, EEXIST, EINVAL, EIO, EISDIR, ELOOP, EPERM
from pathlib import Path

import pytest

from zbd import FULL, ZEROS, fails
from zbd.child import (
    in_child,
    in_namespaces,
    in_user_namespace,
    nobody,
    nobody_with_sys_admin,
    with_own_mounts,
    without_capabilities,
    without_sys_admin,
)
from zbd.control import PATH as CONTROL
from zbd.errors import errno_of
from zbd.filesystem import mount
from zbd.timing import at_most
from zbd.zloop import Zloop

GEOMETRY = "capacity_mb=16,zone_size_mb=1,conv_zones=2"


@pytest.fixture
def device(control, base_dir, defer):
    """Device 0, which the test adds by a command."""
    d = Zloop(control, 0, base_dir, (), {})
    defer(lambda: d.exists and d.remove())
    return d


@pytest.fixture
def control_fd(defer):
    """The control device, opened by root."""
    fd = os.open(CONTROL, os.O_RDWR)
    defer(os.close, fd)
    return fd


def attempts(fd, *commands):
    """Write commands to an open file, then read four bytes: the errno of each write, None for success, and the
    bytes."""
    return [errno_of(os.write, fd, text.encode()) for text in commands], os.pread(fd, 4, 0)


def check_none(device):
    """There is no device, nor any file of one."""
    assert not device.exists
    assert not os.listdir(device.directory)


def test_node_belongs_to_root():
    node = os.stat(CONTROL)
    assert (stat.S_IMODE(node.st_mode), node.st_uid, node.st_gid) == (0o600, 0, 0)
    for flags in os.O_RDONLY, os.O_WRONLY:
        assert in_child(nobody, errno_of, os.open, CONTROL, flags) == EACCES


@pytest.mark.c_driver_fails("it asks for nothing")
def test_unprivileged_writer(base_dir, control, control_fd, device):
    """An ordinary task can't write commands, whatever way it got the open file, and its attempts have no effect.
    Reading is free."""
    device.directory.mkdir()
    add = f"add id=0,base_dir={base_dir},{GEOMETRY}"
    for become in nobody, without_capabilities, without_sys_admin, in_user_namespace, in_namespaces:
        assert in_child(become, attempts, control_fd, add, "foo") == ([EPERM, EPERM], b"add ")
        check_none(device)
    control.write(add)
    for become in nobody, in_user_namespace:
        assert in_child(become, attempts, control_fd, "remove id=0") == ([EPERM], b"add ")
        assert device.exists
    assert attempts(control_fd, "remove id=0") == ([None], b"add ")


@pytest.mark.c_driver_fails("it asks for nothing")
def test_unprivileged_opener(base_dir, control, device, defer):
    """A privileged program that writes to its standard output, say, does not act for the one who opened that."""
    device.directory.mkdir()
    os.chmod(CONTROL, 0o666)
    defer(os.chmod, CONTROL, 0o600)
    add = f"add id=0,base_dir={base_dir},{GEOMETRY}"
    ours, theirs = socket.socketpair()

    def open_and_send():
        fd = os.open(CONTROL, os.O_RDWR)
        assert os.read(fd, 4) == b"add "
        socket.send_fds(theirs, [b"x"], [fd])

    in_child(nobody, open_and_send)
    (fd,) = socket.recv_fds(ours, 1, 1)[1]
    defer(os.close, fd)
    assert attempts(fd, add) == ([EPERM], b"add ")
    check_none(device)
    control.write(add)
    control.remove(0)


def test_refusals_do_not_fill_the_log(log, control_fd):
    """A task without any rights can't fill the log either."""
    log.mark()
    errnos, _ = in_child(nobody, attempts, control_fd, *["add id=0"] * 2000)
    assert set(errnos) == {EPERM}
    log.expect("CAP_SYS_ADMIN")
    assert len([line for line in log.lines() if "CAP_SYS_ADMIN" in line]) <= 40


# Paths are those of the task that writes: its mounts, its root, its rights.


def test_mounts_of_the_writer(base_dir, control, device):
    def mount_and_add():
        mount("tmpfs", base_dir, "tmpfs", "size=32M")
        device.directory.mkdir()
        control.write(f"add id=0,base_dir={base_dir},{GEOMETRY}")
        assert device.zone_file(2).exists()

    in_child(with_own_mounts, mount_and_add)
    # The writer alone sees that directory.
    assert not device.directory.exists()
    # The file system is mounted nowhere any more, but it is there.
    device.write(0, 64)
    device.write_zone(3, 0, 64)
    device.flush()
    device.reset_zone(3)
    device.write_zone(3, 0, 8, 2)
    device.finish_zone(4)
    device.check(0, 64)
    device.check_zone(3, 0, 8, 2)
    assert device.conditions(4) == [FULL]
    device.remove()


def test_root_of_the_writer(scratch, control_fd, device):
    jail = scratch / "jail"
    (jail / "z/0").mkdir(parents=True)
    text = f"add id=0,base_dir=/../../z,{GEOMETRY}"
    assert in_child(lambda: (os.chroot(jail), os.chdir("/")), attempts, control_fd, text) == ([None], b"add ")
    assert (jail / "z/0/seq-000002").exists()
    assert not os.path.exists("/z")
    device.remove()


def test_rights_of_the_writer(scratch, base_dir, control_fd, device):
    """A task may add devices, but not go where it likes."""
    device.directory.mkdir()

    def write(text):
        (errno,), text = in_child(nobody_with_sys_admin, attempts, control_fd, text)
        assert text == b"add "
        return errno

    add = f"add id=0,base_dir={base_dir},{GEOMETRY}"
    for directory in scratch, base_dir, device.directory:
        directory.chmod(0o755)
    assert write(add) == EACCES  # in a directory of root's
    check_none(device)
    base_dir.chmod(0o700)
    assert write(add) == EACCES  # where it may not look
    base_dir.chmod(0o755)
    os.chown(device.directory, 65534, -1)
    assert write(add) is None  # in its own directory
    assert device.zone_file(3).stat().st_uid == 65534
    device.write_zone(3, 0, 64)
    device.reset_zone(3)
    device.close()
    assert write("remove id=0") is None


# What leads elsewhere.


def test_directory_behind_a_link(scratch, base_dir, control, device):
    """The directory itself is the administrator's to place, by a symbolic link, too."""
    there, link = scratch / "there", scratch / "base"
    there.mkdir()
    device.directory.symlink_to(there)
    link.symlink_to(base_dir)
    control.write(f"add id=0,base_dir={link},{GEOMETRY}")
    assert (there / "seq-000002").exists()
    device.remove()
    device.directory.unlink()
    device.directory.symlink_to(scratch / "nowhere")
    control.rejects((EINVAL, EEXIST), f"add id=0,base_dir={base_dir},{GEOMETRY}")
    assert not (scratch / "nowhere").exists()


IN_MODIFY, IN_OPEN, IN_CREATE, IN_DELETE = 2, 0x20, 0x100, 0x200
_libc = ctypes.CDLL(None)


class Watch:
    """The kernel tells of each open of a file in a directory, or of other events (inotify)."""

    def __init__(self, directory, events):
        self._fd = _libc.inotify_init1(os.O_NONBLOCK)
        assert _libc.inotify_add_watch(self._fd, os.fsencode(directory), events) > 0

    def names(self):
        """The files that had such an event since the last call."""
        names = set()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._fd, 65536):
                while data:
                    size = struct.unpack_from("<iIII", data)[3]
                    names.add(data[16 : 16 + size].rstrip(b"\0").decode())
                    data = data[16 + size :]
        return names

    def close(self):
        os.close(self._fd)


KINDS = [
    "link to file",
    "link to zone",
    "link to empty",
    "link to new",
    "relative link",
    "fifo",
    "directory",
    "socket",
    "disk",
    "char",
]


class Traps:
    """Plants things in the place of a device's files. What is outside of the directory must stay as it is, and must
    not be opened; nor may the thing be opened."""

    def __init__(self, device, control, outside):
        self._device = device
        self._control = control
        self._outside = outside
        outside.mkdir()
        device.directory.mkdir(exist_ok=True)
        (outside / "file").write_text("precious\n")
        (outside / "zone").touch()
        os.truncate(outside / "zone", 1 << 20)
        (outside / "empty").touch()
        self.outside = Watch(outside, IN_MODIFY | IN_OPEN | IN_CREATE | IN_DELETE)

    def plant(self, name, kind):
        path = self._device.directory / name
        if kind.startswith("link to "):
            path.symlink_to(self._outside / kind.removeprefix("link to "))
        elif kind == "relative link":
            path.symlink_to("../../outside/file")
        elif kind == "directory":
            path.mkdir()
        else:
            node, number = {
                "fifo": (stat.S_IFIFO, 0),
                "socket": (stat.S_IFSOCK, 0),
                "disk": (stat.S_IFBLK, min(Path("/dev").glob("vd?")).stat().st_rdev),
                "char": (stat.S_IFCHR, os.stat("/dev/null").st_rdev),
            }[kind]
            os.mknod(path, node | 0o666, number)

    def check(self, name, kind):
        """An add fails, and leads nowhere."""
        directory = self._device.directory
        before = sorted(os.listdir(directory))
        with contextlib.closing(Watch(directory, IN_OPEN)) as watch:
            with at_most(10):
                add = f"add id=0,base_dir={directory.parent},{GEOMETRY}"
                fails((ELOOP, EEXIST, EISDIR, EINVAL), self._control.write, add)
            assert name not in watch.names(), f"a {kind} was opened"
        assert sorted(os.listdir(directory)) == before, f"after a {kind} as {name}"
        assert self.outside.names() == set(), f"outside, with a {kind} as {name}"

    def check_each(self, name):
        """The same for each kind of thing under this name."""
        path = self._device.directory / name
        for kind in KINDS:
            self.plant(name, kind)
            self.check(name, kind)
            path.rmdir() if kind == "directory" else path.unlink()


@pytest.fixture
def traps(scratch, device, control, defer):
    traps = Traps(device, control, scratch / "outside")
    defer(traps.outside.close)
    return traps


@pytest.mark.c_driver_fails("it follows links, and waits for the other end of a pipe")
def test_planted_in_a_new_directory(traps, add):
    """In a new directory: the files that are looked for first, some of the others, and the two that are ours alone."""
    for name in "cnv-000000", "seq-000000", "cnv-000001", "seq-000007", "seq-000015", "geometry", "incomplete":
        traps.check_each(name)
    add(GEOMETRY)


@pytest.mark.c_driver_fails("it follows links")
def test_planted_in_a_device(base_dir, traps, add):
    """The same in a directory that holds a device."""
    d = add(GEOMETRY)
    d.write_zone(7, 0, 64)
    d.remove()
    for name in "cnv-000000", "cnv-000001", "seq-000007", "seq-000015", "geometry", "incomplete":
        path, kept = d.directory / name, base_dir / "kept"
        if path.exists():
            path.rename(kept)
        traps.check_each(name)
        if kept.exists():
            kept.rename(path)
    d.add()
    d.check_zone(7, 0, 64)


@pytest.mark.c_driver_fails("it follows links when the device is added again")
def test_planted_while_the_device_is_there(traps, add):
    """A file that is open can be swapped while the device is there: nobody looks at the new one before the next add.
    The others are opened when they are needed, and lead nowhere then."""
    d = add(GEOMETRY)
    for nr in 3, 4:
        d.write_zone(nr, 0, 64)
    d.write(0, 64)
    for name in "cnv-000000", "seq-000003", "seq-000004", "geometry":
        (d.directory / name).unlink(missing_ok=True)
        traps.plant(name, "link to zone")
    traps.plant("incomplete", "link to new")
    d.check(0, 64)
    d.write(64, 64)
    d.check_zone(3, 0, 64)
    d.write_zone(3, 64, 64)
    d.reset_zone(4)
    d.write_zone(4, 0, 8)
    d.finish_zone(4)
    d.flush()
    d.reset_all_zones()
    watch = Watch(d.directory, IN_OPEN)
    swapped = {f"seq-{nr:06}": (nr, kind) for nr, kind in enumerate(KINDS, 5)}
    for name, (_, kind) in swapped.items():
        (d.directory / name).unlink()
        traps.plant(name, kind)
    for nr, _ in swapped.values():
        # The C driver has them open all the time.
        for command, *args in (
            (d.write_zone, nr, 0, 8),
            (d.finish_zone, nr),
            (d.check_zone, nr, 0, 8, ZEROS),
            (d.reset_zone, nr),
        ):
            with at_most(10):
                assert errno_of(command, *args) in (None, EIO)
    assert not watch.names() & swapped.keys()
    watch.close()
    assert len(d.zones()) == 16
    d.write_zone(3, 0, 64)
    d.check_zone(3, 0, 64)
    d.remove()
    assert traps.outside.names() == set()
    traps.check("cnv-000000", "link to zone")
