# SPDX-License-Identifier: GPL-2.0
"""Storms, for some seconds each; `make storm` has them last.

Guards against crashes, hangs and leaks where devices, requests, zone commands, reports and the
module itself come and go all at once: see tests/storm/storm.py. They find most in the debug kernel.
"""

import os

import pytest

from zbd.process import run

pytestmark = [pytest.mark.limit(300), pytest.mark.udev]


def storm(kind, count):
    run("python3", f"{os.environ['TESTS']}/storm/storm.py", kind, "--count", str(count))


# The C driver gives a removed device's number away while that is still there, and the kernel complains.
@pytest.mark.parametrize(("kind", "count"), [("weather", 12), ("thousand", 60), ("rmmod", 2), ("reports", 5)])
def test_storm(kind, count):
    storm(kind, count)


@pytest.mark.allow_dmesg("page allocation failure|oom-kill|invoked oom-killer")
def test_as_many_as_there_can_be():
    """Without memory the kernel says so, and adds the place."""
    storm("crowd", 40)
