# SPDX-License-Identifier: GPL-2.0
"""Written data is durable once the device has been removed.

The next device that is made of the files has not changed them, so a flush of it doesn't sync them. The
crash is one of the file system below: it stops in its tracks, as `godown` of xfstests makes it do.
"""

import fcntl
import os
import struct

import pytest

from zbd import CLOSED, FULL, MIB

# The ioctl of XFS and ext4, and its argument: not even the log is written.
FS_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


@pytest.mark.c_driver_fails("its flush syncs the file system, but a removal is none")
@pytest.mark.parametrize("buffered_io", [False, True], ids=["direct", "buffered"])
@pytest.mark.parametrize("fs_type", ["xfs", "ext4"])
def test_removal(image_file, base_dir, add, fs_type, buffered_io):
    image = image_file(fs_type, 500, base_dir)
    d = add(capacity_mb=20, zone_size_mb=2, conv_zones=2, buffered_io=buffered_io)
    os.sync()
    d.write(0, 64)
    d.write_zone(4, 0, 64)
    d.write_zone(5, 0, 2 * MIB)
    d.remove()
    fd = os.open(base_dir, os.O_RDONLY)
    fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("<I", NO_LOG_FLUSH))
    os.close(fd)
    image.umount()
    image.mount()
    d.add()
    d.check(0, 64)
    assert (d.zone(4).cond, d.zone(4).wp) == (CLOSED, 64)
    d.check_zone(4, 0, 64)
    assert d.conditions(5) == [FULL]
    d.check_zone(5, 0, 2 * MIB)
