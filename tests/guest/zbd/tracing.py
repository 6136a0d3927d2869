# SPDX-License-Identifier: GPL-2.0
"""The kernel's tracing."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from zbd import syscalls
from zbd.process import write_setting

ROOT: Final = Path("/sys/kernel/tracing")


class Tracing:
    """The tracing directory. What is switched on is switched off at the end of the test: `defer` has it done."""

    def __init__(self, defer: Callable[..., object]) -> None:
        self._defer = defer
        if not os.path.ismount(ROOT):
            syscalls.mount("tracefs", ROOT, "tracefs")

    def write(self, file: str, text: str) -> None:
        """Write to a file of the directory: `write("kprobe_events", "p:zloop_test/read xfs_file_read_iter")`."""
        (ROOT / file).write_text(text, encoding="ascii")

    def read(self, file: str = "trace") -> str:
        return (ROOT / file).read_text(encoding="utf-8", errors="replace")

    def clear(self) -> None:
        """Forget what was traced."""
        self.write("trace", "")

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Trace what happens in the body, and nothing else until the test ends."""
        self._defer(self.write, "tracing_on", "1")
        self.write("tracing_on", "0")
        self.clear()
        self.write("tracing_on", "1")
        try:
            yield
        finally:
            self.write("tracing_on", "0")

    def enable(self, event: str) -> None:
        """Trace an event until the test ends: `enable("block/block_rq_issue")`; "zloop_test" is a whole group."""
        file = ROOT / "events" / event / "enable"
        self._defer(write_setting, file, "0")
        write_setting(file, "1")

    def add_kprobes(self, *definitions: str) -> None:
        """Define probes until the test ends, in the words of Documentation/trace/kprobetrace.rst."""
        self._defer(self.write, "kprobe_events", "")
        self.write("kprobe_events", "\n".join(definitions) + "\n")
