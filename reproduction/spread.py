"""Means over seeds, differences of seed pairs, and how far one may believe them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev
from typing import Any

__all__ = ["Paired", "Spread", "t_quantile"]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Spread:
    """What a figure came to over seeds.

    Attributes:
        values: one value a seed.
    """

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        """How many seeds there are."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean; needs a value."""
        return fmean(self.values)

    @property
    def std(self) -> float | None:
        """The sample's standard deviation (n - 1); None for fewer than two values."""
        return stdev(self.values) if self.n > 1 else None

    @property
    def margin(self) -> float | None:
        """Half the 95 % interval of the mean, by Student's t; None for fewer than two values."""
        return None if self.std is None else t_quantile(self.n - 1) * self.std / math.sqrt(self.n)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        return {"mean": self.mean, "std": self.std, "n": self.n, "values": list(self.values)}

    def show(self, digits: int = 2) -> str:
        """Write ``mean ± std (n)``."""
        spread = "" if self.std is None else f" ± {self.std:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread} (n={self.n})"


@dataclass(frozen=True)
class Paired:
    """One network's error minus another's, seed by seed.

    A pair shares its seed, and where one continues the other's parent its whole past, so that what the seeds have in
    common drops out. The verdict is that of a t test at 95 % on the pairs: honest for differences that are about
    normal, and strict for few seeds.

    Attributes:
        differences: error of the one minus error of the other in percentage points, one a seed; negative where the one
            is better.
    """

    differences: tuple[float, ...]

    @classmethod
    def of(cls, one: Sequence[float | None], other: Sequence[float | None]) -> Paired | None:
        """Pair errors of the same seeds, None where a seed is not finished; None if no pair is whole."""
        pairs = [(a, b) for a, b in zip(one, other, strict=False) if a is not None and b is not None]
        return cls(tuple(a - b for a, b in pairs)) if pairs else None

    @property
    def spread(self) -> Spread:
        """Mean and deviation of the differences."""
        return Spread(self.differences)

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``no clear difference``; one seed allows none: ``one seed``."""
        margin = self.spread.margin
        if margin is None:
            return "one seed"
        if abs(self.spread.mean) <= margin:
            return "no clear difference"
        return "better" if self.spread.mean < 0 else "worse"

    def __str__(self) -> str:
        spread = self.spread
        if spread.std is None:
            return f"{spread.mean:+.2f} (n=1): no verdict from one seed"
        lower = sum(difference < 0 for difference in self.differences)
        said = self.verdict
        if said == "no clear difference":
            said += f", lower for {lower} of {spread.n} seeds"
        return f"{spread.mean:+.2f} ± {spread.std:.2f} (n={spread.n}): {said}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON says it; ``margin`` is half the 95 % interval."""
        spread = self.spread
        return {**spread.to_dict(), "margin": spread.margin, "verdict": self.verdict}


@cache
def t_quantile(degrees: int, confidence: float = _CONFIDENCE) -> float:
    """Return the t for which Student's distribution holds the given share between -t and t.

    Args:
        degrees: degrees of freedom, at least 1.
        confidence: the share, in (0, 1).
    """
    low, high = 0.0, 1.0
    while _central(high, degrees) < confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _central(middle, degrees) < confidence else (low, middle)
    return high


def _central(t: float, degrees: int) -> float:
    """Return the share of Student's distribution between -t and t (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = total = cosine if odd else 1.0
    if degrees == 1:
        return 2 * angle / math.pi
    for index in range(2 + odd, degrees - 1, 2):
        term *= cosine**2 * (index - 1) / index
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
