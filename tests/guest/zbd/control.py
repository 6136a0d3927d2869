# SPDX-License-Identifier: GPL-2.0
"""The control device: commands to the driver. Documentation/zloop.4 describes them."""

import os
from pathlib import Path
from typing import Final

from zbd.errors import Errnos, raises
from zbd.kernel_log import KernelLog

PATH: Final = "/dev/zloop-control"

Option = str | int | bool | os.PathLike[str] | None
"""The value of an option: True for one that has no value; one that is False or None is left out."""


def command(verb: str, *more: str, **options: Option) -> str:
    """The text of a command: `command("add", id=0, buffered_io=True)` is "add id=0,buffered_io". `more` are options
    as text, for what comes from a table of a test."""
    items = []
    for name, value in options.items():
        if value is True:
            items.append(name)
        elif value is not None and value is not False:
            items.append(f"{name}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    items.extend(text for text in more if text)
    return f"{verb} {','.join(items)}" if items else verb


class Control:
    """The control device. Each method is one command, in one write, and fails as that does."""

    def __init__(self, log: KernelLog) -> None:
        self._log = log

    def write(self, text: str | bytes) -> int:
        """Write any text, in one go. Returns what write(2) does."""
        fd = os.open(PATH, os.O_WRONLY | os.O_CLOEXEC)
        try:
            return os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)

    def read(self) -> str:
        """All that it says: the syntax, and the devices there are."""
        return Path(PATH).read_text(encoding="utf-8", errors="surrogateescape")

    def add(self, *more: str, **options: Option) -> None:
        """Add a device. It is the caller's to remove it: most tests want the fixture `add` instead."""
        self.write(command("add", *more, **options))

    def remove(self, id: int) -> None:
        self.write(command("remove", id=id))

    def powerfail(self, id: int, **options: Option) -> None:
        """Take the device away as a power failure does."""
        self.write(command("powerfail", id=id, **options))

    def inject(self, id: int, *more: str, **options: Option) -> None:
        """Have requests fail or be late: `inject(0, badblocks="+0-7", fail_open=3)`."""
        self.write(command("inject", *more, id=id, **options))

    def zone_readonly(self, id: int, zones: str | int) -> None:
        """Declare zones read-only: `zone_readonly(0, "3-5")`."""
        self.write(command("zone_readonly", id=id, zones=zones))

    def zone_offline(self, id: int, zones: str | int) -> None:
        """Declare zones offline."""
        self.write(command("zone_offline", id=id, zones=zones))

    def zone_good(self, id: int, zones: str | int) -> None:
        """Take that back."""
        self.write(command("zone_good", id=id, zones=zones))

    def rejects(self, want: Errnos, text: str, *patterns: str) -> None:
        """The driver refuses this command with this errno; if patterns are given, it logs one line, which matches
        each of them."""
        self._log.mark()
        with raises(want, repr(text)):
            self.write(text)
        if patterns:
            self._log.expect_one_line(*patterns)
