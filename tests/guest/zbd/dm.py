# SPDX-License-Identifier: GPL-2.0
"""Device mapper: a mapping whose table can be exchanged."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from zbd.device import ZonedDevice
from zbd.process import modprobe, run

# There is no udev in the VM: the library makes the nodes in /dev/mapper itself.
os.environ["DM_DISABLE_UDEV"] = "1"


class Mapping:
    """The device /dev/mapper/NAME. A table is the text that dmsetup(8) takes, in sectors."""

    def __init__(self, name: str, table: str) -> None:
        modprobe("dm-mod")
        self.name = name
        self.path = Path("/dev/mapper") / name
        run("dmsetup", "create", name, "--table", table)
        self.device = ZonedDevice(f"/dev/dm-{os.minor(self.path.stat().st_rdev)}")
        """The same by the name that is in /sys/block, where tools look for it."""

    def switch(self, table: str) -> None:
        """Use another table from now on, while the device is in use. What is under way ends first."""
        run("dmsetup", "load", self.name, "--table", table)
        with self.suspended():
            pass

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """In the body all requests to it wait."""
        run("dmsetup", "suspend", "--noflush", "--nolockfs", self.name)
        try:
            yield
        finally:
            run("dmsetup", "resume", self.name)

    def remove(self) -> None:
        """Close and remove it, if it is there."""
        self.device.close()
        if self.path.exists():
            run("dmsetup", "remove", "--retry", self.name)
