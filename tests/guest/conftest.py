# SPDX-License-Identifier: GPL-2.0
"""Fixtures of all tests. tests/README.md has an introduction, pytest.ini the markers."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from runner import isolation as isolation_
from runner.host import Host
from runner.results import patience
from zbd import filesystem
from zbd.control import Control, Option
from zbd.driver import Driver, unload
from zbd.failing_disk import FailingDisk
from zbd.filesystem import ImageFile
from zbd.kernel_log import KernelLog
from zbd.kernel_requests import KernelRequests
from zbd.memory import HAS_KMEMLEAK
from zbd.process import run
from zbd.tracing import Tracing
from zbd.zloop import Zloop


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What the markers say of limits, kernels and boots."""
    selected = []
    for item in items:
        limit = item.get_closest_marker("limit")
        item.add_marker(pytest.mark.timeout((limit.args[0] if limit else 120) * patience()))
        if item.get_closest_marker("debug_kernel") and not HAS_KMEMLEAK:
            item.add_marker(pytest.mark.skip("it is for the debug kernel"))
        if item.get_closest_marker("stock_kernel") and HAS_KMEMLEAK:
            item.add_marker(pytest.mark.skip("it is for the stock kernel"))
        if not item.name.startswith("boot") or item.name.startswith(f"boot{os.environ.get('BOOT', '1')}_"):
            selected.append(item)
    items[:] = selected


@pytest.fixture(autouse=True)
def isolation(request: pytest.FixtureRequest) -> Iterator[isolation_.Isolation]:
    """Each test has a driver that was loaded freshly, and leaves nothing behind."""
    node = request.node
    allowed = node.get_closest_marker("allow_dmesg")
    around = isolation_.Isolation(
        node.nodeid,
        udev=node.get_closest_marker("udev") is not None,
        allowed=allowed.args[0] if allowed else None,
        keep_scratch=node.get_closest_marker("boots") is not None,
    )
    try:
        around.begin()
        yield around
    finally:
        problems = around.end()
        node.add_report_section("test", "kernel log", around.log_text())
        around.log.close()
        if problems:
            pytest.fail("; ".join(problems), pytrace=False)


@pytest.fixture
def log(isolation: isolation_.Isolation) -> KernelLog:
    """The kernel log since the test began."""
    return isolation.log


@pytest.fixture
def driver(isolation: isolation_.Isolation) -> Driver:
    """The driver that is loaded. `driver.use("c")` takes the C driver instead."""
    return isolation.driver


@pytest.fixture
def control(log: KernelLog) -> Control:
    """The control device."""
    return Control(log)


@pytest.fixture
def cleanup(isolation: isolation_.Isolation) -> Iterator[ExitStack]:
    """What is to be done at the end of the test, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def defer(cleanup: ExitStack) -> Callable[..., object]:
    """`defer(function, *args)`: have it called at the end of the test, also if that fails."""
    return cleanup.callback


@pytest.fixture
def scratch(request: pytest.FixtureRequest, isolation: isolation_.Isolation) -> Path:
    """An empty directory on a new file system: the one that the marker `scratch` names, or an indirect parameter."""
    marker = request.node.get_closest_marker("scratch")
    fs_type: str = getattr(request, "param", None) or (marker.args[0] if marker else "xfs")
    if request.node.get_closest_marker("boots"):
        return isolation_.boot_scratch(fs_type, request.node.name.partition("_")[2])
    return isolation_.make_scratch(fs_type)


@pytest.fixture
def base_dir(scratch: Path) -> Path:
    """The directory that has the devices' directories. A file may define its own."""
    base = scratch / "z"
    base.mkdir(exist_ok=True)
    return base


@pytest.fixture
def add(control: Control, base_dir: Path, cleanup: ExitStack) -> Callable[..., Zloop]:
    """`add(capacity_mb=8, zone_size_mb=1, buffered_io=True)`: add a device, which is removed at the end of the test.

    It is device 0 unless `id` says something else; `base_dir` may be another directory. Options
    can be text, too: `add("conv_zones=2,nr_queues=2", capacity_mb=8)`.
    """

    def add_device(*more: str, id: int = 0, base_dir: Path = base_dir, **options: Option) -> Zloop:
        device = Zloop(control, id, base_dir, more, options)
        device.add()
        cleanup.callback(_drop, device)
        return device

    return add_device


def _drop(device: Zloop) -> None:
    device.close()
    if device.exists:
        device.remove()


@pytest.fixture
def requests(cleanup: ExitStack) -> Callable[[Zloop], KernelRequests]:
    """`requests(device)`: make requests to it in the kernel, zone appends for example."""
    from zbd import syscalls

    syscalls.finit_module(os.environ["REQUESTS_KO"])
    cleanup.callback(unload, "requests")
    return lambda device: KernelRequests(device.path)


@pytest.fixture
def failing_disk(scratch: Path, cleanup: ExitStack) -> Callable[[str, int], FailingDisk]:
    """`failing_disk("ext4", 96)`: a file system of 96 MiB on a disk that can be made to fail. Add a device there with
    `add(base_dir=disk.mount_point, ...)`."""

    def make(fs_type: str, mib: int) -> FailingDisk:
        disk = FailingDisk(fs_type, mib, scratch / "below")
        cleanup.callback(disk.delete)
        return disk

    return make


@pytest.fixture
def fast_disk(scratch: Path, cleanup: ExitStack) -> Path:
    """A directory on XFS on a disk that carries requests out at once."""
    run("modprobe", "null_blk", "nr_devices=1", "memory_backed=1", "gb=1", "bs=4096")
    cleanup.callback(unload, "null_blk")
    filesystem.make("xfs", "/dev/nullb0")
    mount_point = scratch / "fast"
    mount_point.mkdir()
    filesystem.mount("/dev/nullb0", mount_point, "xfs")
    cleanup.callback(filesystem.umount, mount_point)
    return mount_point


@pytest.fixture
def image_file(cleanup: ExitStack) -> Callable[[str, int, Path], ImageFile]:
    """`image_file("ext4", 64, directory)`: a file system of 64 MiB in a file, mounted on a directory."""

    def make(fs_type: str, mib: int, mount_point: Path) -> ImageFile:
        image = ImageFile(fs_type, mib, mount_point)
        cleanup.callback(image.delete)
        image.mount()
        return image

    return make


@pytest.fixture
def mounted(scratch: Path, defer: Callable[..., object]) -> Callable[..., Path]:
    """`mounted(device.path, "xfs")`: mount it on the directory `mnt` of the scratch directory, which is returned. It
    is unmounted at the end of the test, if it still is mounted. `options` and `flags` are as in `filesystem.mount`."""

    def mount(source: str | os.PathLike[str], fs_type: str, options: str = "", flags: int = 0) -> Path:
        directory = scratch / "mnt"
        directory.mkdir(exist_ok=True)
        filesystem.mount(source, directory, fs_type, options, flags)
        defer(filesystem.umount_if_mounted, directory)
        return directory

    return mount


@pytest.fixture
def tracing(defer: Callable[..., object]) -> Tracing:
    """The kernel's tracing."""
    return Tracing(defer)


@pytest.fixture
def host() -> Host:
    """The host, which boots the VM: for tests of several boots, and of power failures."""
    return Host()
