# SPDX-License-Identifier: GPL-2.0
"""fio: writes that are verified."""

import os

from zbd.device import ZonedDevice
from zbd.process import run


def fio(device: ZonedDevice, **options: str | int) -> str:
    """Run fio in direct I/O, and have it verify what it wrote. Options are named as fio's (`offset_increment=...`).
    Returns what it prints."""
    settings: dict[str, str | int] = {
        "name": "test",
        "filename": device.path,
        "direct": 1,
        "ioengine": "libaio",
        "verify": "crc32c",
        "do_verify": 1,
        "verify_fatal": 1,
        "randseed": 7,
    }
    return run("fio", *(f"--{name}={value}" for name, value in (settings | options).items()))


def fio_zones(device: ZonedDevice, **options: str | int) -> str:
    """The same for sequential zones."""
    return fio(device, zonemode="zbd", **options)


def fio_files(directory: os.PathLike[str], **options: str | int) -> str:
    """Have two jobs write files to a directory, and verify them. `nrfiles` and `size` are those of one job."""
    settings: dict[str, str | int] = {
        "name": "files",
        "directory": os.fspath(directory),
        "numjobs": 2,
        "rw": "write",
        "ioengine": "psync",
        "verify": "crc32c",
        "do_verify": 1,
        "verify_fatal": 1,
        "fsync": 64,
    }
    return run("fio", *(f"--{name}={value}" for name, value in (settings | options).items()))
