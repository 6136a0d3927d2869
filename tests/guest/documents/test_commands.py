# SPDX-License-Identifier: GPL-2.0
"""The commands in the documents.

Guards the promise that they work as they are printed there. A recipe in recipes.md is a heading,
and its script consists of all indented lines below the heading.
"""

import os
import re
from pathlib import Path

import pytest

from zbd.driver import devices
from zbd.filesystem import bind, mount_points, umount
from zbd.process import modprobe, run

pytestmark = pytest.mark.limit(240)

TREE = Path(os.environ["TESTS"]).parent
# Headings, and the regular expressions that are found in what the scripts print.
RECIPES = {
    "zonefs": [r"/seq/0 262144$"],
    "btrfs": ["no error found"],
    "XFS, zoned": ["zoned=1 "],
    "f2fs": [],
    "fio on a disk like a ZNS drive": ["err= 0"],
    # The report in the middle shows only the first write.
    "A disk that fails": ["^the write failed$", "wptr 0x000080 "],
}
POWER_LOSS = "A power loss"


def script(document, heading=""):
    """The indented lines of a document, or those below a heading."""
    text = (TREE / document).read_text()
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall("^    (.*)$", text, re.MULTILINE)


@pytest.fixture
def run_script(scratch, defer):
    """`run_script(lines)`: run a script, which has to clean up after itself; what it prints."""
    (scratch / "zloop").mkdir()
    os.makedirs("/var/local/zloop", exist_ok=True)
    bind(scratch / "zloop", "/var/local/zloop")
    defer(umount, "/var/local/zloop")
    # A user has udev and mount to load file systems; here some are missing.
    modprobe("loop", "dm-mod", "zonefs", "btrfs", "xfs", "f2fs")

    def run_lines(lines):
        assert lines, "there is no such script"
        path = scratch / "script"
        path.write_text("\n".join(lines) + "\n")
        said = run("bash", "-euo", "pipefail", path)
        assert not devices()
        assert not [where for where in mount_points() if where.startswith("/mnt/")]
        return said

    return run_lines


@pytest.mark.parametrize("heading", RECIPES)
def test_recipe(run_script, heading):
    said = run_script(script("Documentation/recipes.md", heading))
    for pattern in RECIPES[heading]:
        assert re.search(pattern, said, re.MULTILINE), said


def test_power_loss(run_script):
    """The write pointer after the writes, then after the power loss."""
    said = run_script(script("Documentation/recipes.md", POWER_LOSS))
    assert re.findall("wptr 0x[0-9a-f]*", said) == ["wptr 0x000280", "wptr 0x000100"]


def test_all_recipes():
    """Every recipe is run by a test here."""
    headings = re.findall("^## (.*)$", (TREE / "Documentation/recipes.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted([*RECIPES, POWER_LOSS])


def test_readme(run_script):
    """The first line builds and loads the module, and is left out."""
    lines = script("README.md", "Use it in your own kernel")[1:]
    assert len(lines) == 3
    assert len(re.findall(".*zcond:.*", run_script(lines))) == 32


def test_making_it_fail(run_script):
    """All examples are about one disk, which the document does not remove."""
    said = run_script([*script("Documentation/making-it-fail.md"), 'echo "remove id=0" >/dev/zloop-control'])
    assert [len(re.findall(rf".*zcond:{cond}.*", said)) for cond in (r"13\(ro\)", r"15\(of\)")] == [3, 1]
