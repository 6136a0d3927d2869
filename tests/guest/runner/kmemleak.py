# SPDX-License-Identifier: GPL-2.0
"""What the debug kernel finds lost.

A look takes ten seconds, so there is one when all tests have run. The kernel says at which tick it
has given away what is lost, and so which test was running.
"""

import bisect
import re
import time
from pathlib import Path
from typing import Final

from zbd.memory import HAS_KMEMLEAK

_FILE: Final = Path("/sys/kernel/debug/kmemleak")


def _match(pattern: str, text: str) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if not found:
        raise AssertionError(f"no {pattern} in: {text[:1000]}")
    return int(found[1])


class Leaks:
    """What is lost from now on. The kernel looks only when asked: a look keeps the allocators waiting."""

    def __init__(self) -> None:
        self._ticks = [0]
        self._names = ["pytest\tstart"]
        if HAS_KMEMLEAK:
            _FILE.write_text("scan=off", encoding="ascii")
            _FILE.write_text("clear", encoding="ascii")

    def begin(self, name: str) -> None:
        """A test of this name begins."""
        if HAS_KMEMLEAK:
            timers = Path("/proc/timer_list").read_text(encoding="ascii", errors="replace")
            self._ticks.append(_match(r"^jiffies: (\d+)$", timers))
            self._names.append(name)

    def lost(self) -> dict[str, str]:
        """The names of the tests that have lost memory, and what the kernel says of it."""
        found: dict[str, str] = {}
        if HAS_KMEMLEAK:
            # Two looks: what was on its way from one place to another was not lost.
            _FILE.write_text("scan", encoding="ascii")
            time.sleep(6)
            _FILE.write_text("scan", encoding="ascii")
            report = _FILE.read_text(encoding="utf-8", errors="replace")
            for lost in re.findall(r"^unreferenced object.*\n(?: .*\n?)*", report, re.MULTILINE):
                tick = _match(r", jiffies (\d+)", lost)
                name = self._names[bisect.bisect_right(self._ticks, tick) - 1]
                found[name] = found.get(name, "") + lost
        return found
