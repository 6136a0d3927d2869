# SPDX-License-Identifier: GPL-2.0
"""What a test tells the host, which boots the VM."""

import os
from pathlib import Path


class Host:
    """The host: `tests/harness/run` reads the lines that are printed to it."""

    out = 1
    """The file descriptor that leads there; pytest captures the usual one."""

    def note(self, text: str) -> None:
        """Keep a line of text for the next boot."""
        os.write(self.out, f"@note {text}\n".encode())

    def notes(self) -> list[str]:
        """What the boot before has noted."""
        notes = Path("/payload/notes")
        return notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []

    def cut_power(self, milliseconds: int) -> None:
        """Have the VM's power cut that much later."""
        os.write(self.out, f"@cut {milliseconds}\n".encode())
