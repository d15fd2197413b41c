"""Timing rivals side by side: interleaved, so that a busy machine slows all of them alike."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIB = 1 << 20
Clock = Callable[[], float]


@dataclass(frozen=True)
class Times:
    """Seconds of one contestant, one number a round.

    Attributes:
        seconds: in the order of the rounds.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """The distance between the quartiles, relative to the median."""
        return quartile_distance(self.seconds) / self.median


@dataclass(frozen=True)
class Ratio:
    """How much longer one contestant takes than another, paired round by round.

    Attributes:
        median: of the rounds' ratios.
        spread: distance between their quartiles.
        error: standard error of the median as the quartiles tell it (1.25 * 0.74 * spread / sqrt(rounds)).
    """

    median: float
    spread: float
    error: float

    @classmethod
    def of(cls, one: Times, other: Times) -> Ratio:
        """Compare two contestants of the same race."""
        ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
        spread = quartile_distance(ratios)
        return cls(statistics.median(ratios), spread, 0.93 * spread / len(ratios) ** 0.5)

    def __str__(self) -> str:
        return f"{self.median:.3f} ± {self.error:.3f}"


def race(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Times]:
    """Time every contestant once a round; each round begins with another one, the collector of garbage is off.

    Args:
        contestants: what to call, by name.
        rounds: times that each is measured.
        warmup: calls of each before that.
        clock: in seconds; `time.process_time` where others keep the machine busy.

    Returns:
        Their times, by name.
    """
    names = list(contestants)
    for name in names * warmup:
        contestants[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                call = contestants[name]
                begin = clock()
                call()
                seconds[name].append(clock() - begin)
    finally:
        if enabled:
            gc.enable()
    return {name: Times(tuple(each)) for name, each in seconds.items()}


def once(call: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def quartile_distance(values: list[float] | tuple[float, ...]) -> float:
    """Return the distance between the quartiles; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def peak_bytes() -> int:
    """Return the most memory that this process has held so far (resident set)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
