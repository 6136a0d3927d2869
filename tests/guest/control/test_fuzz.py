# SPDX-License-Identifier: GPL-2.0
"""Fuzzed commands, a few thousand of them; `make fuzz` sends more.

Guards the promise that no text, however it is sent, crashes the driver, leaks anything or makes
anything that was not asked for, and that the language is the one that options.rs describes: each
outcome is known beforehand.
"""

import os

import pytest

from zbd.process import run

pytestmark = pytest.mark.limit(300)


def fuzz(*options):
    run("python3", f"{os.environ['TESTS']}/fuzz/fuzz.py", *options)


def test_fuzz():
    fuzz("--seed=1", "--count=4000")


@pytest.mark.allow_dmesg("WARNING")
def test_same_as_c(scratch, driver):
    """A command in the language of both drivers has the same outcome in both, but for those that fuzz.py lists."""
    for name in "rust", "c":
        driver.use(name)
        fuzz("--seed=2", "--count=400", "--outcomes", scratch / name)
    fuzz("--compare", scratch / "rust", scratch / "c")
