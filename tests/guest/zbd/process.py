# SPDX-License-Identifier: GPL-2.0
"""Programs that a test runs, and the CPUs they run on."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


def run(*command: str | os.PathLike[str], **options: object) -> str:
    """Run a program, and return what it prints. That it fails is an AssertionError with all it said. `options` are
    those of subprocess.run."""
    result = attempt(*command, **options)
    if result.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stdout}")
    return result.stdout


def attempt(*command: str | os.PathLike[str], **options: object) -> subprocess.CompletedProcess[str]:
    """The same for a program that may fail: its `returncode`, and in `stdout` all it said."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, check=False, **(settings | options))  # type: ignore[call-overload, no-any-return]


def modprobe(*modules: str) -> None:
    """Load modules of the kernel's, if they are not there yet."""
    missing = [name for name in modules if not os.path.isdir(f"/sys/module/{name.replace('-', '_')}")]
    if missing:
        run("modprobe", "-a", *missing)


@contextlib.contextmanager
def one_cpu() -> Iterator[None]:
    """In the body one CPU is online. It is for what makes the kernel patch its code: emulated CPUs that run in
    parallel may trip over that."""
    cpus = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/online")
    # The first CPU can't be switched off.
    switches = [path for path in cpus if path.parent.name != "cpu0"]
    for path in switches:
        path.write_text("0", encoding="ascii")
    try:
        yield
    finally:
        for path in switches:
            path.write_text("1", encoding="ascii")


def write_setting(path: str | os.PathLike[str], value: str) -> None:
    """Write a setting for which the kernel patches its code (a trace event, a queue's scheduler)."""
    with one_cpu():
        Path(path).write_text(value, encoding="ascii")
