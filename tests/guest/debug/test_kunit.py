# SPDX-License-Identifier: GPL-2.0
"""The tests of the pure files, as KUnit suites of the module: they run when it is loaded, and their results stay
readable until it is unloaded.

Guards that they run at all: a suite that was left out, or that has no case, would look like one
without failures.
"""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.debug_kernel

KUNIT = Path("/sys/kernel/debug/kunit")
SUITES = """
    zloop_block_set zloop_declaration zloop_fault zloop_geometry zloop_option_record zloop_option_value
    zloop_options zloop_parallelism zloop_power_failure zloop_sharing zloop_zone zloop_zone_file_name zloop_zone_queue
"""


def test_suites_have_run():
    """The suites in the sources, and no others, have run with all their cases."""
    assert sorted(path.name for path in KUNIT.glob("zloop_*")) == SUITES.split()
    for suite in SUITES.split():
        results = (KUNIT / suite / "results").read_text()
        assert re.search(rf"^ok [0-9]+ {suite}$", results, re.MULTILINE), results
        assert not re.search("^ *not ok|# SKIP", results, re.MULTILINE), results
        assert len(re.findall("^ +ok [0-9]+ ", results, re.MULTILINE)) >= 4, results
