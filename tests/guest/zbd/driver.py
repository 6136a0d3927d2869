# SPDX-License-Identifier: GPL-2.0
"""The driver's module, the C driver's, and that of tests/kmod."""

import os
import time
from pathlib import Path
from typing import Final

from zbd import syscalls

MODULES: Final = {"rust": "ZLOOP_KO", "c": "C_ZLOOP_KO"}
"""The variables with the modules' paths."""


def is_loaded(module: str) -> bool:
    return os.path.isdir(f"/sys/module/{module}")


def unload(module: str, patience: float = 3) -> None:
    """Unload a module, if it is loaded. A last close may still be on its way: that many seconds are granted."""
    deadline = time.monotonic() + patience
    while is_loaded(module):
        try:
            syscalls.delete_module(module)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class Driver:
    """The driver that a test runs on."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_c(self) -> bool:
        """It is the kernel's zloop.c."""
        return self.name == "c"

    @staticmethod
    def path(name: str) -> Path:
        """The module file of the driver "rust" or "c"."""
        return Path(os.environ[MODULES[name]])

    def load(self, parameters: str = "") -> None:
        syscalls.finit_module(self.path(self.name), parameters)

    def unload(self) -> None:
        unload("zloop")

    def use(self, name: str) -> None:
        """Unload the driver that is loaded, and load this one: "rust" or "c"."""
        self.unload()
        self.name = name
        self.load()


def devices() -> list[str]:
    """The names of the zloop devices there are."""
    return sorted(name for name in os.listdir("/sys/block") if name.startswith("zloop"))
