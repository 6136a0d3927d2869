# SPDX-License-Identifier: GPL-2.0
"""A device of the driver under test."""

import os
import shutil
from pathlib import Path

from zbd.control import Control, Option
from zbd.device import ZonedDevice


class Zloop(ZonedDevice):
    """A zloop device that was added with these options. It can be removed and added again."""

    def __init__(self, control: Control, id: int, base_dir: Path, more: tuple[str, ...], options: dict[str, Option]):
        super().__init__(f"/dev/zloop{id}")
        self.id = id
        self.base_dir = base_dir
        self.options = options
        self._more = more
        self._control = control

    @property
    def directory(self) -> Path:
        """The directory with its zone files."""
        return self.base_dir / str(self.id)

    @property
    def exists(self) -> bool:
        """The kernel has a disk of its name."""
        return os.path.exists(f"/sys/block/{self.name}")

    @property
    def record(self) -> str:
        """The options that the driver has recorded in that directory."""
        return (self.directory / "geometry").read_text(encoding="utf-8").rstrip("\n")

    @property
    def declared(self) -> list[str] | None:
        """The zones that are declared to be bad, as the driver has recorded them there; None if there is no record."""
        file = self.directory / "conditions"
        return file.read_text(encoding="ascii").splitlines() if file.exists() else None

    @property
    def debugfs(self) -> Path:
        """The directory with its counters and zones."""
        return Path("/sys/kernel/debug/zloop") / self.name

    def counters(self) -> dict[str, int]:
        """The driver's counters of requests, errors and zones."""
        lines = (self.debugfs / "counters").read_text(encoding="ascii").splitlines()
        return {name: int(number) for name, number in map(str.split, lines)}

    def zone_file(self, nr: int) -> Path:
        """The file of a zone."""
        conventional = self.directory / f"cnv-{nr:06}"
        return conventional if conventional.exists() else self.directory / f"seq-{nr:06}"

    def zone_file_sectors(self, nr: int) -> int:
        """The size of that file: a sequential zone's is its write pointer."""
        return self.zone_file(nr).stat().st_size // 512

    def add(self, *more: str, **options: Option) -> None:
        """Add it. Options that are given replace those of the last time."""
        self.close()
        self.__dict__.pop("zone_sectors", None)
        self.options = self.options | options
        self._more = more or self._more
        self.directory.mkdir(parents=True, exist_ok=True)
        self._control.add(*self._more, id=self.id, base_dir=self.base_dir, **self.options)
        if not self.exists:
            raise AssertionError(f"{self.path} was added but is not there")

    def remove(self) -> None:
        """Close and remove it."""
        self.close()
        self._control.remove(self.id)
        if self.exists:
            raise AssertionError(f"{self.path} was removed but is there")

    def add_again(self, *more: str, **options: Option) -> None:
        """Remove and add it."""
        self.remove()
        self.add(*more, **options)

    def add_recorded(self, *more: str, **options: Option) -> None:
        """Remove it if it is there, and add it with these options alone: the driver has recorded the others."""
        if self.exists:
            self.remove()
        self.options, self._more = options, more
        self.add()

    def delete(self) -> None:
        """Remove it, and its files: the next device of this id begins empty."""
        self.remove()
        shutil.rmtree(self.directory)

    def power_fail(self, **options: Option) -> None:
        """Have its power fail: it is gone, with what was not flushed. `add` brings it back."""
        self._control.powerfail(self.id, **options)
        self.close()
        if self.exists:
            raise AssertionError(f"{self.path} is still there after a power failure")
