# SPDX-License-Identifier: GPL-2.0
"""What is done around each test, so that none sees another one's leavings.

Before it, the driver is loaded, and this process moves to a cgroup of the test's own. Afterwards
the cgroup is killed, mounts, dm and loop devices are taken away, and the driver is unloaded. A
zloop device that is left, a module that can't be unloaded and a complaint of the kernel make the
test fail.
"""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from zbd import driver, filesystem, syscalls
from zbd.cgroup import Cgroup
from zbd.control import PATH as CONTROL
from zbd.driver import Driver
from zbd.handle import Handle
from zbd.kernel_log import KernelLog
from zbd.process import attempt

SCRATCH: Final = Path("/scratch")
_FIRST_MOUNTS: Final = frozenset(filesystem.mount_points()) | {str(SCRATCH)}


def scratch_disks() -> list[str]:
    """The VM's spare disks."""
    return os.environ.get("SCRATCH_DISKS", "").split()


def make_scratch(fs_type: str) -> Path:
    """An empty directory on a new file system."""
    SCRATCH.mkdir(exist_ok=True)
    if fs_type == "tmpfs":
        filesystem.mount("tmpfs", SCRATCH, "tmpfs", "size=75%")
    else:
        disk = scratch_disks()[0]
        filesystem.make(fs_type, disk)
        filesystem.mount(disk, SCRATCH, fs_type)
    directory = SCRATCH / "t"
    directory.mkdir()
    return directory


def boot_scratch(fs_type: str, name: str) -> Path:
    """A directory that stays from boot to boot: it is made in the first one."""
    if not os.path.ismount(SCRATCH):
        if os.environ["BOOT"] == "1":
            make_scratch(fs_type)
        else:
            filesystem.mount(scratch_disks()[0], SCRATCH, fs_type)
    directory = SCRATCH / name
    directory.mkdir(exist_ok=True)
    return directory


def warm_up() -> None:
    """Load what nearly every test needs, so that the first one's time is like that of the others."""
    # Some are a part of another kernel, or missing there.
    attempt("modprobe", "-a", "loop", "dm-mod", "xfs", "ext4")


class Isolation:
    """One test's."""

    def __init__(self, name: str, *, udev: bool, allowed: str | None, keep_scratch: bool) -> None:
        self.log = KernelLog()
        self.driver = Driver(os.environ["DRIVER"])
        self._name = name
        self._udev = udev
        self._udevd: subprocess.Popen[bytes] | None = None
        self._allowed = allowed
        self._keep_scratch = keep_scratch
        self._cgroup: Cgroup | None = None

    def begin(self) -> None:
        self.log.write(f"test: {self._name}")
        os.chdir("/root")
        self.driver.unload()
        self.driver.load()
        if self._udev:
            self._udevd = subprocess.Popen(["/usr/lib/systemd/systemd-udevd"], stderr=subprocess.DEVNULL)
            time.sleep(1)
        self._cgroup = Cgroup("test")
        self._cgroup.add()

    def end(self) -> list[str]:
        """Returns what is wrong."""
        problems = []
        os.chdir("/root")
        Handle.close_all()
        if self._cgroup:
            self._cgroup.leave()
            self._cgroup.kill()
        if self._udevd:
            self._udevd.send_signal(signal.SIGTERM)
            self._udevd.wait()
        problems += _undo()
        try:
            self.driver.unload()
        except OSError as error:
            problems.append(f"the module can't be unloaded: {error.strerror}")
        if not self._keep_scratch and os.path.ismount(SCRATCH):
            try:
                filesystem.umount(SCRATCH)
            except OSError:
                syscalls.umount(SCRATCH, syscalls.MNT_DETACH)
        if self._cgroup:
            with contextlib.suppress(OSError):
                self._cgroup.remove()
        if self.log.splat(self._allowed):
            problems.append("the kernel complained")
        return problems

    def log_text(self) -> str:
        """For a report of a failure: what the kernel complained of, and the log."""
        text = "\n".join(self.log.lines_of_test()[:60])
        if splat := self.log.splat(self._allowed):
            text = "\n".join(splat) + "\n--- kernel log\n" + text
        return text


def _undo() -> list[str]:
    """Undo mounts, dm and loop devices and zloop devices; returns what is wrong with that."""
    problems = []
    # Twice: there are mounts on devices on mounts.
    for attempts in range(2):
        for where in reversed(filesystem.mount_points()):
            if where not in _FIRST_MOUNTS:
                with contextlib.suppress(OSError):
                    filesystem.umount(where, patience=0.2)
        blocks = os.listdir("/sys/block")
        if any(name.startswith("dm-") for name in blocks):
            attempt("dmsetup", "remove_all")
        if any(os.path.exists(f"/sys/block/{name}/loop") for name in blocks):
            attempt("losetup", "-D")
        left = driver.devices()
        if not left:
            break
        for name in left:
            if attempts == 0:
                problems.append(f"left behind: {name}")
            with contextlib.suppress(OSError):
                Path(CONTROL).write_text(f"remove id={name.removeprefix('zloop')}", encoding="ascii")
    return problems


def is_clean() -> bool:
    """What follows can be run in this VM."""
    return not driver.devices() and not driver.is_loaded("zloop")
