# SPDX-License-Identifier: GPL-2.0
"""Requests that a task submits together go to the file system together.

Guards against each of them being submitted by itself, so that the disk below gets one after the other
and nothing is shared between them.
"""

import re
from pathlib import Path

import pytest

from zbd import MIB
from zbd.device import ZonedDevice
from zbd.fio import fio
from zbd.process import attempt, one_cpu

READ = {"rw": "randread", "offset": "16M", "size": "8M"}
OVERWRITE = {"rw": "randwrite", "size": "16M"}
EIGHTS = {"ioengine": "io_uring", "iodepth": 8, "iodepth_batch_submit": 8, "iodepth_batch_complete_min": 8}


@pytest.fixture
def d(fast_disk, add):
    """A device on a disk that takes requests at once: requests that are submitted there are submitted by the task
    itself."""
    device = add(base_dir=fast_disk, capacity_mb=64, zone_size_mb=4, conv_zones=4)
    for at in range(0, 24 * MIB, MIB):
        device.write(at, MIB)
    device.flush()
    return device


def together(d, tracing, options):
    """Make 20 times 8 requests at once. Returns the number of those that were issued to the disk below right after
    another one of them.

    That is all but the first one of each eight, 140, but for those that have to wait and leave by themselves: of
    writes, on a slow machine, that may be the half. Of requests that are submitted one by one it is none.
    """
    tracing.enable("block/block_rq_issue")
    # With several CPUs, others carry out a part of a deep queue, and submit it one by one.
    with tracing.recording(), one_cpu():
        fio(d, **options, **EIGHTS, bs="4k", number_ios=160, randrepeat=1, verify=0, do_verify=0)
    below, device = f" {ZonedDevice('/dev/nullb0').number} ", f" {d.number} "
    count, follows = 0, False
    for line in tracing.read().splitlines():
        if " fio-" in line:
            if device in line:
                follows = False
            if below in line:
                count += follows
                follows = True
    print(f"{count} of 160 requests went on together with the one before")
    return count


def test_reads(d, tracing):
    assert together(d, tracing, READ) >= 80


@pytest.mark.stock_kernel
def test_overwrites(d, tracing):
    """XFS notes the time of the last change in each tick of the kernel's clock, and waits for that. In the debug
    kernel there is a tick for every write."""
    assert together(d, tracing, OVERWRITE) >= 20


def test_faults(d, control):
    """As many requests get lost as were injected, also of those that come together. One that was not taken with the
    others comes again by itself, and is not counted again."""
    Path(f"/sys/block/{d.name}/queue/io_timeout").write_text("1000", encoding="ascii")
    control.inject(0, timeout=11)
    result = attempt(
        "fio",
        "--name=lost",
        f"--filename={d.path}",
        *(f"--{name}={value}" for name, value in READ.items()),
        *("--direct=1", "--bs=4k", "--ioengine=io_uring", "--number_ios=16"),
        *("--iodepth=16", "--iodepth_batch_submit=16", "--iodepth_batch_complete_min=16"),
    )
    assert len(re.findall(r"^fio: io_u error.*timed out", result.stdout, re.MULTILINE)) == 11
