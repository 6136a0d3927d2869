# SPDX-License-Identifier: GPL-2.0
"""Control groups (version 2)."""

import os
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")


class Cgroup:
    """A group below the root, made when this is."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / name
        self.path.mkdir(exist_ok=True)

    def add(self, pid: int = 0) -> None:
        """Move a process into it; 0 is this one."""
        (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def leave(self) -> None:
        """Move this process to the root."""
        (ROOT / "cgroup.procs").write_text("0", encoding="ascii")

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text(encoding="ascii").split()]

    def read(self, file: str) -> str:
        """What a file of a controller says: `read("io.stat")`."""
        return (self.path / file).read_text(encoding="ascii")

    def set(self, file: str, value: str) -> None:
        (self.path / file).write_text(value, encoding="ascii")

    def kill(self, patience: float = 10) -> None:
        """Kill its processes, and wait that many seconds for their end."""
        if not self.processes():
            return
        self.set("cgroup.kill", "1")
        deadline = time.monotonic() + patience
        while self.processes() and time.monotonic() < deadline:
            # Those that this process started are its own to wait for.
            _reap()
            time.sleep(0.02)

    def remove(self) -> None:
        self.path.rmdir()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
