# SPDX-License-Identifier: GPL-2.0
"""Files in a file system on a device: to write, and to find again."""

import hashlib
import mmap
import os
from pathlib import Path

from zbd.fio import fio_files


def fsync(*paths: Path) -> None:
    """Write back these files and directories."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_synced(path: Path, data: bytes, offset: int | None = None) -> None:
    """Write a file and sync it: a new one, or from an offset on the one that is there."""
    with open(path, "wb" if offset is None else "r+b") as file:
        file.seek(offset or 0)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_direct(path: Path, data: bytes, append: bool = False) -> None:
    """Write to a file that is there in direct I/O, in pieces of 64 KiB, at its start or at its end."""
    buffer = mmap.mmap(-1, 64 << 10)
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT | (os.O_APPEND if append else 0))
    try:
        for at in range(0, len(data), len(buffer)):
            buffer[:] = data[at : at + len(buffer)]
            if os.writev(fd, [buffer]) != len(buffer):
                raise AssertionError(f"short write to {path}")
    finally:
        os.close(fd)


def read_direct(path: Path, count: int) -> bytes:
    """The first bytes of a file, in direct I/O."""
    buffer = mmap.mmap(-1, count)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        return buffer[: os.readv(fd, [buffer])]
    finally:
        os.close(fd)


def make_files(directory: Path, fio_mib: int, big_mib: int, overwritten_mib: int) -> dict[str, str]:
    """Files of each kind: fio's, small ones of which the half is deleted, a big one whose start is overwritten.
    Returns their checksums."""
    fio_files(directory, nrfiles=4, size=f"{fio_mib}M", bs="32k")
    small = directory / "small"
    small.mkdir()
    for number in range(100):
        (small / str(number)).write_text(f"file {number}\n", encoding="ascii")
    for number in range(50):
        (small / str(number)).unlink()
    write_synced(directory / "big", os.urandom(big_mib << 20))
    if overwritten_mib:
        write_synced(directory / "big", os.urandom(overwritten_mib << 20), offset=0)
    os.sync()
    return checksums(directory)


def checksums(directory: Path) -> dict[str, str]:
    """The checksum of each file below a directory, by its path from there."""
    sums = {}
    for path in directory.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                sums[str(path.relative_to(directory))] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
