# SPDX-License-Identifier: GPL-2.0
"""The depth of the kernel's stack.

Guards requests that are submitted by the task that queues them: below the file system and the block layer
above there is another file system with a disk of its own then, on the same 16 KiB. The kernel's own tracer
looks at the stack in each function that is called.
"""

import os

import pytest

from zbd import filesystem as fs
from zbd.process import run, write_setting

pytestmark = [pytest.mark.limit(300), pytest.mark.stock_kernel]

SETTING = "/proc/sys/kernel/stack_tracer_enabled"
# The rest is for an interrupt's first steps, and for callers that are not tested here.
MOST = 12 << 10

LARGE = {"capacity_mb": 1024, "zone_size_mb": 16, "conv_zones": 24}


@pytest.fixture
def enough_is_left(tracing, defer):
    """`enough_is_left(function, *args)`: call it; it must leave enough of every stack."""

    def check(function, *args):
        defer(write_setting, SETTING, "0")
        write_setting(SETTING, "1")
        tracing.write("stack_max_size", "0")
        function(*args)
        write_setting(SETTING, "0")
        print(tracing.read("stack_trace"))
        assert 0 < int(tracing.read("stack_max_size")) < MOST

    return check


@pytest.fixture
def use_xfs(scratch, defer):
    """`use_xfs(device)`: write files to XFS on a device, through the page cache, with and without fsync, and past
    it."""
    files = scratch / "files"
    files.mkdir()

    def write_files(device):
        fs.make("xfs", device.path)
        fs.mount(device.path, files, "xfs")
        defer(fs.umount_if_mounted, files)
        common = [f"--directory={files}", "--bs=16k", "--size=4M", "--nrfiles=4"]
        batches = ["--ioengine=io_uring", "--iodepth=32", "--iodepth_batch_submit=32", "--direct=1"]
        run("fio", "--name=buffered", *common, "--rw=write", "--ioengine=psync", "--fsync=16")
        run("fio", "--name=direct", *common, "--rw=write", *batches)
        run("fio", "--name=random", *common, "--rw=randrw", "--ioengine=psync", "--end_fsync=1")
        os.sync()
        for file in files.iterdir():
            file.unlink()
        fs.umount(files)

    return write_files


@pytest.mark.parametrize("scratch", ["xfs", "ext4"], indirect=True)
def test_files(enough_is_left, use_xfs, add):
    enough_is_left(use_xfs, add(**LARGE))


def test_device_on_device(enough_is_left, use_xfs, mounted, add):
    """The device lies on XFS on another device."""

    def use_two():
        lower = add(**LARGE)
        fs.make("xfs", lower.path)
        directory = mounted(lower.path, "xfs")
        upper = add(id=1, base_dir=directory, capacity_mb=480, zone_size_mb=8, conv_zones=40)
        use_xfs(upper)
        upper.remove()
        fs.umount(directory)

    enough_is_left(use_two)
