# SPDX-License-Identifier: GPL-2.0
"""A pytest plugin that runs a plan (tests/harness/plan) and prints results as tests/results.sh has them."""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from runner.host import Host
from runner.isolation import is_clean
from runner.kmemleak import Leaks

VM_IS_UNCLEAN = 94
"""The exit status with which a VM is given up."""


class Planned(NamedTuple):
    """A line of the plan."""

    file: str
    """`zone/limits` for zone/test_limits.py."""
    title: str
    """The function, with its parameters: `test_data[xfs]`."""
    limit: float
    """Seconds."""

    @property
    def path(self) -> str:
        folder, _, name = self.file.rpartition("/")
        return f"{folder}/test_{name.replace('-', '_')}.py"

    @property
    def nodeid(self) -> str:
        return f"{self.path}::{self.title}"


def read_plan(lines: Sequence[str]) -> list[Planned]:
    """The lines of a plan that are for this boot."""
    plan = []
    for line in lines:
        file, title, _, limit = line.split("\t")
        boot = title.partition("_")[0].removeprefix("boot")
        if boot == title.partition("_")[0] or boot == os.environ.get("BOOT", "1"):
            plan.append(Planned(file, title, float(limit) * patience()))
    return plan


def patience() -> int:
    """How many times longer things take than in Debian's kernel."""
    return int(os.environ.get("PATIENCE", "1"))


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def last_lines(text: str) -> str:
    return "\n".join(text.rstrip().splitlines()[-120:])


class Results:
    """The plugin. `out` is a file descriptor; on `watchdog` a line says what runs."""

    def __init__(self, plan: list[Planned], out: int, watchdog: int, leaks: Leaks) -> None:
        self.failed = False
        self.unclean = False
        self._plan = {test.nodeid: test for test in plan}
        self._left = dict(self._plan)
        self._out = Host.out = out
        self._watchdog = watchdog
        self._leaks = leaks
        self._reports: list[pytest.TestReport] = []
        self._errors: dict[str, str] = {}
        self._started = 0.0

    def say(self, text: str) -> None:
        """Print lines."""
        data = (text + "\n").encode(errors="backslashreplace")
        while data:
            data = data[os.write(self._out, data) :]

    def fail(self, name: str, reason: str, text: str) -> None:
        """Report a failure of what is no test, or was not run."""
        self.failed = True
        self.say(f"@start\t{name}\n@FAIL\t{name}\t0\t{reason}\n{last_lines(text)}")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = {nodeid: index for index, nodeid in enumerate(self._plan)}
        items[:] = sorted((item for item in items if item.nodeid in order), key=lambda item: order[item.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._errors[report.nodeid] = report.longreprtext

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        test = self._plan[nodeid]
        self._reports = []
        self._started = time.monotonic()
        os.write(self._watchdog, f"{test.file}\t{test.title}\t{test.limit}\n".encode())
        self.say(f"@start\t{test.file}\t{test.title}")
        self._leaks.begin(f"{test.file}\t{test.title}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        test = self._left.pop(nodeid)
        failed = [report for report in self._reports if report.failed]
        skipped = [report for report in self._reports if report.skipped]
        reasons = []
        kind = "ok"
        if failed:
            kind = "FAIL"
            reasons = [one_line(_reason(report)) for report in failed]
        elif skipped:
            kind = "skip"
            where = skipped[0].longrepr
            reasons = [one_line(where[2] if isinstance(where, tuple) else str(where)).removeprefix("Skipped: ")]
        seconds = time.monotonic() - self._started
        self.say(f"@{kind}\t{test.file}\t{test.title}\t{seconds:.1f}\t{'; '.join(reasons)}")
        if failed:
            self.failed = True
            for report in failed:
                self.say(last_lines(report.longreprtext))
            # The last report has the sections of all.
            for title, text in self._reports[-1].sections:
                self.say(f"--- {title}\n{last_lines(text)}")
        os.write(self._watchdog, b"\n")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        # What can't be cleaned up would fail all that follows: a new VM is needed.
        if self.unclean:
            pytest.exit("the VM is not clean", VM_IS_UNCLEAN)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> object:
        try:
            return (yield)
        finally:
            self.unclean = not is_clean()

    def finish(self) -> None:
        """Report what was not run."""
        if self.unclean:
            self.say("the VM is not clean: giving it up")
            return
        for test in self._left.values():
            text = self._errors.get(test.path, "there is no such test")
            self.fail(f"{test.file}\t{test.title}", "it was not collected", text)


def _reason(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else report.longreprtext
    return f"{'' if report.when == 'call' else f'{report.when}: '}{message}"
