# SPDX-License-Identifier: GPL-2.0
"""File systems: to make, to mount and to unmount."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from zbd import syscalls
from zbd.errors import errno_of
from zbd.process import modprobe, run

FIFREEZE: Final = 0xC0045877
FITHAW: Final = 0xC0045878

_MKFS: Final = {
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "f2fs": ("mkfs.f2fs", "-q", "-f"),
    "zonefs": ("mkzonefs", "-f"),
}


def mount(
    source: str | os.PathLike[str], target: str | os.PathLike[str], fs_type: str, options: str = "", flags: int = 0
) -> None:
    """Mount a device; the kernel's module for the file system is loaded if need be. `options` are those of the file
    system, `flags` those of mount(2)."""
    if fs_type not in ("tmpfs", "ramfs", "none"):
        modprobe(fs_type)
    syscalls.mount(os.fspath(source), target, fs_type, flags, options)


def bind(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Make a directory appear in another place, too."""
    syscalls.mount(os.fspath(source), target, "none", syscalls.MS_BIND)


def umount(target: str | os.PathLike[str], patience: float = 1) -> None:
    """Unmount it. It fails if there is an open file in it. The last close of one may still be on its way, in a worker
    of the kernel's: that many seconds are granted."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return syscalls.umount(target)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def umount_if_mounted(target: str | os.PathLike[str]) -> None:
    if os.path.ismount(target):
        umount(target)


def make(fs_type: str, device: str | os.PathLike[str], *options: str) -> None:
    """Make a file system on a block device or in a file; `options` are those of its mkfs."""
    command = _MKFS[fs_type]
    run(command[0], *command[1:], *options, device)


def mount_points() -> list[str]:
    """What is mounted where, the oldest mount first."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return [line.split(" ", 2)[1].replace("\\040", " ") for line in mounts]


def free_space(path: str | os.PathLike[str]) -> int:
    """Bytes that are free in a file system."""
    status = os.statvfs(path)
    return status.f_bfree * status.f_frsize


def allocate(file: Path, size: int) -> None:
    """Make a file of this size in bytes, with all its space."""
    with file.open("wb") as new:
        os.posix_fallocate(new.fileno(), 0, size)


def fill(directory: Path, room: int) -> None:
    """Make a directory with files that leave this many bytes of the file system."""
    directory.mkdir()
    free = directory.parent / "room"
    allocate(free, room)
    number = 0
    for size in 64 << 20, 16 << 20, 4 << 20, 1 << 20, 128 << 10, 4 << 10:
        while errno_of(allocate, directory / str(number), size) is None:
            number += 1
    free.unlink()
    os.sync()


@contextlib.contextmanager
def frozen(mount_point: str | os.PathLike[str]) -> Iterator[None]:
    """In the body this file system is frozen, as for a snapshot."""
    fd = os.open(mount_point, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, FIFREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(fd, FITHAW, 0)
    finally:
        os.close(fd)


@contextlib.contextmanager
def immutable(file: str | os.PathLike[str]) -> Iterator[None]:
    """In the body nobody can change this file (chattr +i)."""
    run("chattr", "+i", file)
    try:
        yield
    finally:
        run("chattr", "-i", file)


class ImageFile:
    """A file system in a file in memory. Should the driver leave a file open in it, the file system of the scratch
    directory can be unmounted still, and one test alone fails."""

    def __init__(self, fs_type: str, mib: int, mount_point: Path) -> None:
        self.fs_type = fs_type
        self.mount_point = mount_point
        self._mib = mib
        self.image = Path("/run/images") / str(mount_point).replace("/", ".")
        mount_point.mkdir(parents=True, exist_ok=True)
        if fs_type != "tmpfs":
            modprobe("loop")
            self.image.parent.mkdir(exist_ok=True)
            self.image.unlink(missing_ok=True)
            with self.image.open("wb") as image:
                image.truncate(mib << 20)
            options = {"ext4": ["-b", "4096", "-E", "nodiscard"], "xfs": ["-K"], "btrfs": []}[fs_type]
            make(fs_type, self.image, *options)

    def mount(self, options: str = "") -> None:
        """`options` are those of mount(8)."""
        if self.fs_type == "tmpfs":
            mount("tmpfs", self.mount_point, "tmpfs", f"size={self._mib}M")
        else:
            run("mount", "-o", f"loop,{options}".rstrip(","), self.image, self.mount_point)

    def umount(self) -> None:
        umount(self.mount_point)

    def delete(self) -> None:
        """Unmount it if it is mounted, and delete the file."""
        umount_if_mounted(self.mount_point)
        self.image.unlink(missing_ok=True)
