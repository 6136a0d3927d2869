# SPDX-License-Identifier: GPL-2.0
"""A disk that can be made to fail, with a file system for zone files on it."""

import os
import re
from pathlib import Path
from typing import Final

from zbd import filesystem
from zbd.dm import Mapping
from zbd.process import modprobe, run

_IMAGE: Final = Path("/run/images/below")


class FailingDisk:
    """A file system of this type and size, over a mapping, over a loop device in memory. The mapping is switched
    while the file system is mounted.

    An ext4 has no journal and does not mind errors, so that a failure hits the files that it is meant for.
    """

    def __init__(self, fs_type: str, mib: int, mount_point: Path) -> None:
        self.fs_type = fs_type
        self.mount_point = mount_point
        modprobe("loop", "dm-mod", fs_type)
        _IMAGE.parent.mkdir(exist_ok=True)
        _IMAGE.unlink(missing_ok=True)
        with _IMAGE.open("wb") as image:
            image.truncate(mib << 20)
        self.sectors = mib * 2048
        self._loop = run("losetup", "-f", "--show", _IMAGE).strip()
        self._linear = f"0 {self.sectors} linear {self._loop} 0"
        self.mapping = Mapping("below", self._linear)
        options = {
            "ext4": ["-b", "4096", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"],
            "xfs": ["-K"],
        }[fs_type]
        filesystem.make(fs_type, self.mapping.path, *options)
        mount_point.mkdir(parents=True, exist_ok=True)
        self.mount()

    def mount(self) -> None:
        options = "errors=continue" if self.fs_type == "ext4" else ""
        filesystem.mount(self.mapping.path, self.mount_point, self.fs_type, options)

    def umount(self) -> None:
        filesystem.umount(self.mount_point)

    def delete(self) -> None:
        """Heal it, and take all of it away."""
        self.heal()
        filesystem.umount_if_mounted(self.mount_point)
        self.mapping.remove()
        run("losetup", "-d", self._loop)
        _IMAGE.unlink()

    def settle(self, directory: Path) -> None:
        """Write back all, and read this directory: when the disk breaks, nothing but data has to be written or
        read."""
        for entry in os.scandir(directory):
            entry.stat()
        os.sync()

    def break_all(self) -> None:
        """All requests fail."""
        self.mapping.switch(f"0 {self.sectors} error")

    def flaky(self, feature: str) -> None:
        """Some requests fail, or are lost: `error_reads`, `error_writes` or `drop_writes` of dm-flakey."""
        modprobe("dm-flakey")
        self.mapping.switch(f"0 {self.sectors} flakey {self._loop} 0 0 1000000 1 {feature}")

    def slow(self, milliseconds: int) -> None:
        """Every request takes that long."""
        modprobe("dm-delay")
        self.mapping.switch(f"0 {self.sectors} delay {self._loop} 0 {milliseconds}")

    def break_file(self, file: Path) -> None:
        """The sectors of the first extent of a file fail. They are written already, so that nothing of the file
        system's own is lost with them."""
        self._break(*self._first_extent(file))

    def break_sectors(self, file: Path, offset: int, count: int) -> None:
        """These sectors of a file fail. They must be in its first extent."""
        start, length = self._first_extent(file)
        if offset + count > length:
            raise AssertionError(f"the first extent of {file} has {length} sectors")
        self._break(start + offset, count)

    def _first_extent(self, file: Path) -> tuple[int, int]:
        extents = run("filefrag", "-v", "-b512", file)
        found = re.search(r"^ *0: +\d+\.\. +\d+: +(\d+)\.\. +\d+: +(\d+):", extents, re.MULTILINE)
        if not found:
            raise AssertionError(f"no extent of {file}: {extents}")
        return int(found[1]), int(found[2])

    def _break(self, start: int, count: int) -> None:
        end = start + count
        self.mapping.switch(
            f"0 {start} linear {self._loop} 0\n"
            f"{start} {count} error\n"
            f"{end} {self.sectors - end} linear {self._loop} {end}"
        )

    @property
    def written(self) -> tuple[int, int]:
        """The requests and the sectors that were written so far."""
        numbers = self._stat()
        return numbers[4], numbers[6]

    @property
    def flushes(self) -> int:
        """The flushes that the disk was asked for so far."""
        return self._stat()[15]

    def _stat(self) -> list[int]:
        """Documentation/block/stat.rst."""
        stat = Path(f"/sys/block/{Path(self._loop).name}/stat").read_text(encoding="ascii")
        return [int(number) for number in stat.split()]

    def heal(self) -> None:
        """It works again."""
        self.mapping.switch(self._linear)
