# SPDX-License-Identifier: GPL-2.0
"""How long things take, and may take."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator


def seconds[**P](function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """How long this call takes."""
    start = time.monotonic()
    function(*args, **kwargs)
    return time.monotonic() - start


@contextlib.contextmanager
def at_most(limit: float) -> Iterator[None]:
    """The body is interrupted after that many seconds. The time limit of the test, which has the same timer, stands
    still meanwhile."""

    def late(*_: object) -> None:
        raise AssertionError(f"this takes more than {limit} s")

    handler = signal.signal(signal.SIGALRM, late)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, rest)
        signal.signal(signal.SIGALRM, handler)
