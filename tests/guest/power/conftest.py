# SPDX-License-Identifier: GPL-2.0
"""A power failure under a file system."""

import os
import random
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from zbd.files import fsync, write_synced
from zbd.filesystem import umount
from zbd.threads import Threads
from zbd.zloop import Zloop


def _write_until_error(directory: Path, most: int, synced: dict[Path, bytes]) -> None:
    rnd = random.Random(most)
    try:
        for number in count():
            path, data = directory / f"synced/{number}", os.urandom(rnd.randrange(1, most))
            path.write_bytes(data)
            (directory / f"lost.{number % 7}").write_bytes(os.urandom(100000))
            fsync(path, path.parent)
            synced[path] = data
    except OSError:
        pass


@pytest.fixture
def fail_under_load() -> Callable[..., dict[Path, bytes]]:
    """`fail_under_load(device, directory, most, seed=5)`: files of up to `most` bytes are written to the file system
    that is mounted there, and synced one after the other, until the device's power fails; it is unmounted then.
    Returns the synced files."""

    def fail(device: Zloop, directory: Path, most: int, seed: int | None) -> dict[Path, bytes]:
        (directory / "synced").mkdir(exist_ok=True)
        synced: dict[Path, bytes] = {}
        with Threads() as threads:
            writer = threads.start(_write_until_error, directory, most, synced)
            while len(synced) < 12:
                assert writer.is_alive(), f"can't write to {directory}"
                time.sleep(0.1)
            device.power_fail(seed=seed)
        umount(directory)
        return synced

    return fail


@pytest.fixture
def has_synced() -> Callable[[Path, dict[Path, bytes]], None]:
    """`has_synced(directory, files)`: these files are there, and more can be written."""

    def check(directory: Path, files: dict[Path, bytes]) -> None:
        for path, data in files.items():
            assert path.read_bytes() == data, path
        write_synced(directory / "more", b"works")

    return check
