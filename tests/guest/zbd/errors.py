# SPDX-License-Identifier: GPL-2.0
"""System calls that must fail.

    fails(EIO, device.open_zone, 5)
    refused(device, ETOOMANYREFS, device.open_zone, 8)
    with raises(EINVAL):
        ...

An errno is a number of the module `errno`; of several in a tuple each one will do.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zbd.device import ZonedDevice

Errnos = int | tuple[int, ...]


def name_of(number: int | None) -> str:
    """The name of an errno; "success" for None."""
    return "success" if number is None else errno.errorcode.get(number, str(number))


def _names(want: Errnos) -> str:
    numbers = (want,) if isinstance(want, int) else want
    return " or ".join(name_of(number) for number in numbers)


def errno_of[**P](function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> int | None:
    """The errno with which this call fails, None if it succeeds."""
    try:
        function(*args, **kwargs)
    except OSError as error:
        return error.errno
    return None


@contextlib.contextmanager
def raises(want: Errnos, what: str = "it") -> Iterator[None]:
    """The body fails with this errno."""
    try:
        yield
    except OSError as error:
        if error.errno in ((want,) if isinstance(want, int) else want):
            return
        raise AssertionError(f"{what} failed with {name_of(error.errno)}, want {_names(want)}") from error
    raise AssertionError(f"{what} succeeded, want {_names(want)}")


def fails[**P](want: Errnos, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """This call fails with this errno."""
    with raises(want, f"{getattr(function, '__name__', function)}{args}"):
        function(*args, **kwargs)


def refused[**P](
    device: "ZonedDevice", want: Errnos, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """This call fails with this errno and changes no zone of the device."""
    before = device.zones()
    fails(want, function, *args, **kwargs)
    changed = [(old, new) for old, new in zip(before, device.zones(), strict=True) if old != new]
    if changed:
        raise AssertionError(f"{getattr(function, '__name__', function)}{args} failed, but changed zones: {changed}")
