# SPDX-License-Identifier: GPL-2.0
"""Device files that are open.

A traceback keeps the objects of a failed test alive, and an open device can't be removed. So
what is open is known here, and closed at the end of a test whatever still refers to it.
"""

import os
import threading
from typing import ClassVar


class Handle:
    """A file that is opened when it is first used, and again when it is used after `close`."""

    _open: ClassVar[set["Handle"]] = set()
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: str | os.PathLike[str], flags: int = os.O_RDWR) -> None:
        self.path = os.fspath(path)
        self._flags = flags
        self._fd: int | None = None

    @property
    def fd(self) -> int:
        """Its file descriptor."""
        if self._fd is None:
            # A threads' race to open it would leave a file open.
            with Handle._opening:
                if self._fd is None:
                    self._fd = os.open(self.path, self._flags | os.O_CLOEXEC)
                    Handle._open.add(self)
        return self._fd

    def close(self) -> None:
        """Close it, if it is open."""
        fd, self._fd = self._fd, None
        Handle._open.discard(self)
        if fd is not None:
            os.close(fd)

    @classmethod
    def close_all(cls) -> None:
        """Close all there are."""
        for handle in list(cls._open):
            handle.close()
