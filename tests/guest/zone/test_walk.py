# SPDX-License-Identifier: GPL-2.0
"""A random walk over zone commands beside a naive model of what they must do.

Guards the whole of the zone model at once: after each step the result, every condition and every
write pointer must be the model's, and at the end all data. A difference is shown with the seed and
the last steps.
"""

import random
from collections.abc import Callable
from errno import EIO, ETOOMANYREFS

import pytest

from zbd import CLOSED, EMPTY, EXP_OPEN, FULL, IMP_OPEN, MIB, ZEROS
from zbd.errors import errno_of, name_of

pytestmark = pytest.mark.limit(300)

LENGTH, CAPACITY = 2 * MIB, MIB
BLOCK = 8
CONVENTIONAL = 2
# The steps, and how likely each one is.
STEPS = {
    "write": 40,
    "fill": 6,
    "misplaced_write": 6,
    "write_across_capacity": 4,
    "open": 12,
    "close": 12,
    "finish": 4,
    "reset": 8,
    "reset_all": 1,
    "read": 8,
}


class Model:
    """What the zones must be. Each method returns the errno that the command must fail with, or None."""

    def __init__(self, numbers: range, max_open_zones: int) -> None:
        self.max_open_zones = max_open_zones
        self.condition = dict.fromkeys(numbers, EMPTY)
        self.wp = dict.fromkeys(numbers, 0)
        self.writes: dict[int, list[tuple[int, int, int]]] = {nr: [] for nr in numbers}
        # The open zones, the least recently used first.
        self.open_zones: list[int] = []

    def make_room(self, nr: int) -> bool:
        """Zone `nr` may become open; another one may be closed for that."""
        if nr in self.open_zones or not self.max_open_zones or len(self.open_zones) < self.max_open_zones:
            return True
        for other in self.open_zones:
            if self.condition[other] is IMP_OPEN:
                self.open_zones.remove(other)
                self.condition[other] = CLOSED if self.wp[other] else EMPTY
                return True
        return False

    def become(self, nr: int, condition) -> None:
        if nr in self.open_zones:
            self.open_zones.remove(nr)
        if condition in (IMP_OPEN, EXP_OPEN):
            self.open_zones.append(nr)
        self.condition[nr] = condition

    def write(self, nr: int, at: int, count: int, seed: int) -> int | None:
        if self.condition[nr] is FULL or at != self.wp[nr] or at + count > CAPACITY:
            return EIO
        if not self.make_room(nr):
            return ETOOMANYREFS
        self.writes[nr].append((at, count, seed))
        self.wp[nr] += count
        if self.wp[nr] == CAPACITY:
            self.become(nr, FULL)
        else:
            self.become(nr, EXP_OPEN if self.condition[nr] is EXP_OPEN else IMP_OPEN)
        return None

    def open(self, nr: int) -> int | None:
        if self.condition[nr] is FULL:
            return EIO
        if not self.make_room(nr):
            return ETOOMANYREFS
        self.become(nr, EXP_OPEN)
        return None

    def close(self, nr: int) -> int | None:
        if self.condition[nr] in (EMPTY, FULL):
            return EIO
        if self.condition[nr] is not CLOSED:
            self.become(nr, CLOSED if self.wp[nr] else EMPTY)
        return None

    def finish(self, nr: int) -> int | None:
        if self.condition[nr] is not FULL:
            if not self.make_room(nr):
                return ETOOMANYREFS
            self.become(nr, FULL)
        return None

    def reset(self, nr: int) -> None:
        self.become(nr, EMPTY)
        self.wp[nr], self.writes[nr] = 0, []

    def reset_all(self) -> None:
        for nr in self.condition:
            self.reset(nr)


class Walk:
    """The steps on a device and its model."""

    def __init__(self, device, max_open_zones: int, seed: int) -> None:
        self.device = device
        self.numbers = range(CONVENTIONAL, device.nr_zones)
        self.model = Model(self.numbers, max_open_zones)
        self.random = random.Random(seed)
        self.steps: list[tuple] = []

    def run(self, steps: int) -> None:
        for _ in range(steps):
            nr = self.random.choice(self.numbers)
            (step,) = self.random.choices(list(STEPS), list(STEPS.values()))
            getattr(self, step)(nr)
        for nr in self.numbers:
            self.read(nr)

    def attempt(self, step: tuple, command: Callable, model: Callable, sectors: int = 0) -> bool:
        """Do it, and let the model do it: the results must be the same, and all zones."""
        self.steps.append(step)
        got, want = errno_of(command), model()
        # The block layer may cut a large write in two. When the first part is refused, it may be the error of the
        # second one that is seen.
        cut = want == ETOOMANYREFS and got == EIO and sectors > 1024
        assert got == want or cut, f"{name_of(got)}, want {name_of(want)}, after {self.steps[-12:]}"
        model_zones = [
            (condition, None if condition is FULL else self.model.wp[nr])
            for nr, condition in self.model.condition.items()
        ]
        zones = [(zone.cond, zone.wp) for zone in self.device.zones()[CONVENTIONAL:]]
        assert zones == model_zones, f"after {self.steps[-12:]}"
        return want is None

    def write_sectors(self, nr: int, at: int, count: int) -> bool:
        seed = len(self.steps)
        return self.attempt(
            ("write", nr, at, count),
            lambda: self.device.write_zone(nr, at, count, seed),
            lambda: self.model.write(nr, at, count, seed),
            count,
        )

    def at(self, nr: int) -> int:
        """Where a write may be tried: a full zone has no write pointer."""
        return self.random.randrange(0, CAPACITY, BLOCK) if self.model.condition[nr] is FULL else self.model.wp[nr]

    def write(self, nr: int) -> None:
        self.write_sectors(nr, self.at(nr), self.random.randrange(8, 264, BLOCK))

    def fill(self, nr: int) -> None:
        at = self.at(nr)
        self.write_sectors(nr, at, max(CAPACITY - at, BLOCK))

    def misplaced_write(self, nr: int) -> None:
        self.write_sectors(nr, self.random.randrange(0, LENGTH - BLOCK, BLOCK), BLOCK)

    def write_across_capacity(self, nr: int) -> None:
        """Up to a block before the end, then two blocks."""
        at, last = self.model.wp[nr], CAPACITY - BLOCK
        if self.model.condition[nr] is not FULL and (at == last or self.write_sectors(nr, at, last - at)):
            self.write_sectors(nr, last, 2 * BLOCK)

    def open(self, nr: int) -> None:
        self.attempt(("open", nr), lambda: self.device.open_zone(nr), lambda: self.model.open(nr))

    def close(self, nr: int) -> None:
        self.attempt(("close", nr), lambda: self.device.close_zone(nr), lambda: self.model.close(nr))

    def finish(self, nr: int) -> None:
        self.attempt(("finish", nr), lambda: self.device.finish_zone(nr), lambda: self.model.finish(nr))

    def reset(self, nr: int) -> None:
        self.attempt(("reset", nr), lambda: self.device.reset_zone(nr), lambda: self.model.reset(nr))

    def reset_all(self, nr: int) -> None:
        self.attempt(("reset_all",), self.device.reset_all_zones, self.model.reset_all)

    def read(self, nr: int) -> None:
        """All that was written, and some of the zeros behind it."""
        end = 0
        for at, count, seed in self.model.writes[nr]:
            self.device.check_zone(nr, at, count, seed)
            end = at + count
        if end < LENGTH:
            self.device.check_zone(nr, end, min(64, LENGTH - end), ZEROS)


def walk(add, max_open_zones: int, seed: int, steps: int) -> None:
    device = add(
        capacity_mb=20,
        zone_size_mb=2,
        zone_capacity_mb=1,
        conv_zones=CONVENTIONAL,
        max_open_zones=max_open_zones,
    )
    Walk(device, max_open_zones, seed).run(steps)


@pytest.mark.c_driver_fails(4, 6, 7)
def test_walk_with_limit(add):
    walk(add, max_open_zones=3, seed=1, steps=2500)


@pytest.mark.c_driver_fails(4, 6, 7)
def test_walk_with_one_slot(add):
    walk(add, max_open_zones=1, seed=2, steps=1000)


@pytest.mark.c_driver_fails(4)
def test_walk_without_limit(add):
    walk(add, max_open_zones=0, seed=3, steps=1500)
