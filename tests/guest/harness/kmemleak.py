# SPDX-License-Identifier: GPL-2.0
"""What the debug kernel finds lost."""

import time
from pathlib import Path
from typing import Final

from zbd.memory import HAS_KMEMLEAK

_FILE: Final = Path("/sys/kernel/debug/kmemleak")


def clear() -> None:
    """Look for what is lost from now on, and only when asked: a look keeps the allocators waiting."""
    if HAS_KMEMLEAK:
        _FILE.write_text("scan=off", encoding="ascii")
        _FILE.write_text("clear", encoding="ascii")


def report() -> str:
    """What was lost since then. Two looks: what was on its way from one place to another was not lost."""
    if not HAS_KMEMLEAK:
        return ""
    _FILE.write_text("scan", encoding="ascii")
    time.sleep(6)
    _FILE.write_text("scan", encoding="ascii")
    return "\n".join(_FILE.read_text(encoding="utf-8", errors="replace").splitlines()[:100])
