# SPDX-License-Identifier: GPL-2.0
"""The kernel log, read from /dev/kmsg."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from typing import Final

SPLAT: Final = re.compile(
    r"BUG:|^WARNING:|Oops|Call Trace|general protection fault|rust_kernel: panicked|INFO: task .* blocked"
    r"|UBSAN:|KASAN:|suspicious RCU|possible recursive locking|unregister_netdevice"
)
"""A line with which the kernel complains. A file system's own warnings begin with its name."""

_END: Final = "zloop test: end"


class KernelLog:
    """What the kernel logs from now on, and since the last `mark`."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self._lines: list[str] = []
        self._mark = 0

    def close(self) -> None:
        os.close(self._fd)

    def write(self, text: str) -> None:
        """Add a line of our own. The kernel may drop lines if one file writes many."""
        fd = os.open("/dev/kmsg", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, f"{text}\n".encode())
        finally:
            os.close(fd)

    def all_lines(self) -> list[str]:
        """All complete lines since the test began."""
        while True:
            try:
                record = os.read(self._fd, 8192).decode(errors="replace")
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return self._lines
                # EPIPE: old lines were overwritten before they were read.
                if error.errno != errno.EPIPE:
                    raise
                continue
            # "priority,sequence,time,flags;text", then lines that name the device.
            self._lines.append(record.partition(";")[2].partition("\n")[0])

    def lines_of_test(self) -> list[str]:
        """The same. A line without its newline, as the C driver prints some, is complete when another one follows."""
        self.write(_END)
        return [line for line in self.all_lines() if line != _END]

    def mark(self) -> None:
        """From here on is what `lines` returns."""
        self.write(_END)
        self._mark = len(self.all_lines())

    def lines(self) -> list[str]:
        """The lines since the mark."""
        self.write(_END)
        return [line for line in self.all_lines()[self._mark :] if line != _END]

    def zloop_lines(self) -> list[str]:
        """Those that name zloop."""
        return [line for line in self.lines() if "zloop" in line.lower()]

    def expect(self, *patterns: str) -> str:
        """A line of zloop's since the mark matches each of these regular expressions, whatever the case; it is
        returned."""
        lines = self.lines()
        for line in lines:
            if "zloop" in line.lower() and all(re.search(pattern, line, re.IGNORECASE) for pattern in patterns):
                return line
        raise AssertionError(f"no line of zloop's with {patterns} in the log:\n" + "\n".join(lines))

    @contextlib.contextmanager
    def one_line(self, *patterns: str) -> Iterator[None]:
        """The body makes zloop log one line, no more, no less, which matches each of these regular expressions."""
        self.mark()
        yield
        self.expect_one_line(*patterns)

    def expect_one_line(self, *patterns: str) -> None:
        """The same for what was logged since the mark."""
        self.expect(*patterns)
        lines = self.zloop_lines()
        if len(lines) != 1:
            raise AssertionError(f"{len(lines)} lines in the log, want one:\n" + "\n".join(lines))

    def splat(self, allowed: str | None = None) -> list[str]:
        """What the kernel complained of since the test began, with the lines that follow; nothing if a part of it
        matches the regular expression `allowed`."""
        lines = self.lines_of_test()
        first = next((index for index, line in enumerate(lines) if SPLAT.search(line)), None)
        if first is None:
            return []
        splat = lines[first : first + 60]
        if allowed and any(re.search(allowed, line) for line in lines[first:]):
            return []
        return splat
