# SPDX-License-Identifier: GPL-2.0
"""Random commands to a device beside a model: the short form of `make model`.

Guards all promises of the zone model at once, in combinations that nobody has thought of.
tests/model/model.py says how a difference is repeated.
"""

from pathlib import Path

import pytest

from zbd.process import run

pytestmark = pytest.mark.limit(300)
TESTS = Path(__file__).parents[2]


@pytest.mark.usefixtures("requests")
def test_model(base_dir, driver):
    options = ["--driver", driver.name, "--seed", "1", "--count", "2500", "--steps", "250"]
    print(run("python3", TESTS / "model/model.py", base_dir, *options))
