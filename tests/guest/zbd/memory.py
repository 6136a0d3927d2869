# SPDX-License-Identifier: GPL-2.0
"""The kernel's memory."""

import os
import time
from pathlib import Path
from typing import Final

HAS_KMEMLEAK: Final = os.path.exists("/sys/kernel/debug/kmemleak")
"""The debug kernel looks for leaks itself; what is freed there is held back for a while."""


def drop_caches() -> None:
    """Forget the pages and inodes that are clean."""
    Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def unreclaimable() -> dict[str, int]:
    """KiB that the kernel can't give back, by kind, once what it can is gone."""
    for _ in range(2):
        drop_caches()
        time.sleep(0.3)
    with open("/proc/meminfo", encoding="ascii") as lines:
        info = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return {kind: info[kind] for kind in ("SUnreclaim", "VmallocUsed", "Percpu", "KernelStack")}
