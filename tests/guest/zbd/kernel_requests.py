# SPDX-License-Identifier: GPL-2.0
"""Requests that user space can't make, zone appends above all: tests/kmod makes them in the kernel.

tests/kmod/requests.rs describes the programs.
"""

import errno
import os
import struct
from typing import NamedTuple

from zbd.handle import Handle


class Completion(NamedTuple):
    """How a request ended."""

    errno: int
    """0 if it succeeded."""
    order: int
    """How many requests ended before it."""
    sector: int
    """The one that it was for; of an append the one that has its data."""
    nanoseconds: int
    """From the first submission to its end."""

    @property
    def error(self) -> str:
        """The errno's name, or "ok"."""
        return errno.errorcode[self.errno] if self.errno else "ok"

    def __repr__(self) -> str:
        return f"({self.error} sector {self.sector} order {self.order})"


class KernelRequests(Handle):
    """Makes requests to one device."""

    elapsed: int
    """Nanoseconds that the last program took."""

    def __init__(self, device: str) -> None:
        super().__init__("/dev/zloop-requests")
        self._device = device

    def run(self, program: str, depth: int = 1) -> list[Completion]:
        """Carry out a program with at most `depth` requests in flight: their ends, in the order of submission."""
        try:
            os.write(self.fd, f"device {self._device}\ndepth {depth}\n{program}\n".encode())
            size = 4096
            while len(result := os.pread(self.fd, size, 0)) == size:
                size *= 16
        finally:
            # As long as it is open, the device is.
            self.close()
        self.elapsed, _, _ = struct.unpack_from("<QII", result)
        return [
            Completion(-number, order, sector, nanoseconds)
            for number, order, sector, nanoseconds in struct.iter_unpack("<iIQQ", result[16:])
        ]

    def one(self, program: str) -> int:
        """Carry out one request. It fails as a system call does, else returns the sector."""
        (end,) = self.run(program)
        if end.errno:
            raise OSError(end.errno, os.strerror(end.errno), program)
        return end.sector

    def append(self, sector: int, count: int, seed: int = 1) -> int:
        """One zone append of `count` sectors to the zone that starts at `sector`: where it went. The data is the
        pattern as if the first sector's number was 0."""
        return self.one(f"append at={sector} sectors={count} seed={seed}")
