# SPDX-License-Identifier: GPL-2.0
"""Threads of a test."""

import threading
from collections.abc import Callable, Iterable


class Threads:
    """Functions that run at the same time. Leaving a `with` waits for them, and then fails as the first one did."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []
        """What functions failed with."""

    def start(self, function: Callable[..., object], *args: object) -> threading.Thread:
        """Have it run in a thread of its own."""

        def run() -> None:
            try:
                function(*args)
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def join(self) -> None:
        """Wait for all of them. The first error is raised again."""
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # A failure in the body comes first.
        if error is None:
            self.join()


def in_parallel(function: Callable[..., object], arguments: Iterable[object]) -> None:
    """Call a function with each of these arguments, at the same time; fails as the first call that fails."""
    with Threads() as threads:
        for argument in arguments:
            threads.start(function, argument)
