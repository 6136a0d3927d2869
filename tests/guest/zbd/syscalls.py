# SPDX-License-Identifier: GPL-2.0
"""System calls that Python lacks. Each fails with an OSError.

A program for each of them (mount, insmod ...) would take longer than all else where the machine
is emulated.
"""

import ctypes
import os
import struct
from typing import Final

MS_RDONLY: Final = 1
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

PR_SET_KEEPCAPS: Final = 8

_NR_DELETE_MODULE: Final = 176
_NR_IOPRIO_SET: Final = 251
_NR_FINIT_MODULE: Final = 313
_NR_CACHESTAT: Final = 451

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def mount(source: str, target: str | os.PathLike[str], fs_type: str, flags: int = 0, data: str = "") -> None:
    """mount(2). `data` are the file system's own options."""
    arguments = (source.encode(), os.fsencode(target), fs_type.encode(), ctypes.c_ulong(flags), data.encode())
    _check(_libc.mount(*arguments), f"mount {fs_type} {target}")


def umount(target: str | os.PathLike[str], flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(target), flags), f"umount {target}")


def finit_module(path: str | os.PathLike[str], parameters: str = "") -> None:
    """Load the kernel module in this file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.syscall(_NR_FINIT_MODULE, fd, parameters.encode(), 0), f"insmod {path}")
    finally:
        os.close(fd)


def delete_module(name: str) -> None:
    """Unload a kernel module."""
    _check(_libc.syscall(_NR_DELETE_MODULE, name.encode(), os.O_NONBLOCK), f"rmmod {name}")


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2), in bytes."""
    _check(
        _libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)),
        "fallocate",
    )


def prctl(option: int, argument: int) -> None:
    """prctl(2)."""
    _check(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0), f"prctl {option}")


def capset(capabilities: int) -> None:
    """capset(2): have the capabilities of this mask, and no others."""
    version = 0x20080522
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    # Effective, permitted and inheritable ones.
    sets = struct.pack("<6I", low, low, 0, high, high, 0)
    _check(_libc.capset(struct.pack("<Ii", version, 0), sets), "capset")


def dirty_pages(path: str | os.PathLike[str]) -> int:
    """The pages of a file in the page cache that are not written back yet: cachestat(2)."""
    everything, found = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.syscall(_NR_CACHESTAT, fd, everything, found, 0), f"cachestat {path}")
    finally:
        os.close(fd)
    return found[1]


IOPRIO_CLASS_RT: Final = 1
IOPRIO_CLASS_BE: Final = 2
IOPRIO_CLASS_IDLE: Final = 3


def set_io_priority(priority_class: int, level: int = 0) -> None:
    """Give this thread an I/O priority: ioprio_set(2)."""
    _check(_libc.syscall(_NR_IOPRIO_SET, 1, 0, priority_class << 13 | level), "ioprio_set")
