# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the tests of data."""

from collections.abc import Callable
from pathlib import Path

import pytest

from zbd.filesystem import mount, umount


@pytest.fixture
def on_ramfs(base_dir: Path, defer: Callable[..., object]) -> None:
    """The devices' directories are on ramfs, which has neither holes nor extended attributes nor direct I/O."""
    mount("ramfs", base_dir, "ramfs")
    defer(umount, base_dir)
