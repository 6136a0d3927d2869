# SPDX-License-Identifier: GPL-2.0
"""btrfs in zoned mode."""

import os

from zbd import filesystem
from zbd.process import run


def make(device: str | os.PathLike[str]) -> None:
    """Make one on a zoned block device."""
    filesystem.make("btrfs", device, "-O", "zoned", "-d", "single", "-m", "single")


def check(device: str | os.PathLike[str]) -> None:
    """One that is not mounted has no errors."""
    run("btrfs", "check", device)


def scrub(directory: str | os.PathLike[str]) -> None:
    """Read all of the one that is mounted there: it finds no wrong checksum."""
    if "no errors found" not in (said := run("btrfs", "scrub", "start", "-B", directory)):
        raise AssertionError(said)


def forget_devices() -> None:
    """Have the kernel forget where file systems were."""
    run("btrfs", "device", "scan", "--forget")
