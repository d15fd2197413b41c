"""What paired differences say: means, standard errors, and the verdict in words."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

ERRORS = 2.0  # standard errors beyond which a difference counts


@dataclass(frozen=True)
class Differences:
    """A loss less the default's, one number a seed.

    Attributes:
        data: the images.
        rate: learning rate.
        graph: of the children; "all" for the mean over graphs.
        change: what differs from the default.
        gaps: in nats; infinite where a training diverged.
    """

    data: str
    rate: float
    graph: str
    change: str
    gaps: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return sum(self.gaps) / len(self.gaps)

    @property
    def error(self) -> float | None:
        """Standard error of the mean; None where it cannot be told."""
        if len(self.gaps) < 2 or not all(map(math.isfinite, self.gaps)):
            return None
        return statistics.stdev(self.gaps) / len(self.gaps) ** 0.5

    @property
    def outcome(self) -> str:
        """Whether the change is better, worse or no different."""
        if not math.isfinite(self.mean):
            return "diverged"
        if self.error is None:
            return "one seed"
        if abs(self.mean) <= ERRORS * self.error:
            return "no difference"
        return "worse" if self.mean > 0 else "better"

    def __str__(self) -> str:
        error = "" if self.error is None else f" ± {self.error:.2g}"
        return f"{self.data}, rate {self.rate:g}: {self.change} ({self.mean:+.2g}{error})"


def pooled(differences: Sequence[Differences]) -> list[Differences]:
    """Return, for each data set, rate and change, the mean over graphs, seed by seed."""

    def key(each: Differences) -> tuple[str, float, str]:
        return each.data, each.rate, each.change

    order = {each: place for place, each in enumerate(dict.fromkeys(map(key, differences)))}
    found = []
    for same, group in groupby(sorted(differences, key=lambda each: order[key(each)]), key):
        gaps = zip(*(each.gaps for each in group), strict=True)
        data, rate, change = same
        found.append(Differences(data, rate, "all", change, tuple(sum(each) / len(each) for each in gaps)))
    return found


def verdicts(differences: Sequence[Differences]) -> list[dict[str, Any]]:
    """Return rows of a table: each change from the default, over all graphs."""
    return [
        {
            "instead of the default": each.change,
            "data": each.data,
            "rate": f"{each.rate:g}",
            "graphs": sum((o.data, o.rate, o.change) == (each.data, each.rate, each.change) for o in differences),
            "loss less default's": each.mean,
            "its standard error": each.error,
            "verdict": each.outcome,
        }
        for each in pooled(differences)
    ]


def sentences(differences: Sequence[Differences], default: str) -> list[str]:
    """Return in words what the differences say of the default.

    Args:
        differences: of single graphs.
        default: in words.
    """
    means = pooled(differences)
    parts = [
        f"{len(each)} {'is' if len(each) == 1 else 'are'} {outcome}: {'; '.join(map(str, each))}"
        for outcome in ("better", "worse", "diverged")
        if (each := [mean for mean in means if mean.outcome == outcome])
    ]
    if any(each.outcome == "one seed" for each in means):
        start = "With one seed there is no verdict"
    elif not parts:
        start = f"No difference from the default ({default}) is beyond two standard errors, over all graphs"
    elif any(each.outcome == "better" for each in means):
        start = f"The default ({default}) is not the best everywhere, over all graphs"
    else:
        start = f"Nothing is better than the default ({default}) by two standard errors, over all graphs"
    beyond = [each for each in differences if each.outcome in ("better", "worse", "diverged")]
    better = sum(each.outcome == "better" for each in beyond)
    return [
        "; ".join([start, f"of {len(means)} means {', '.join(parts)}" if parts else f"{len(means)} means"]) + ".",
        f"Of {len(differences)} differences of single graphs {better} are better and {len(beyond) - better} worse "
        f"beyond two standard errors; chance alone would make about {_by_chance(differences):.0f} so.",
    ]


def _by_chance(differences: Sequence[Differences]) -> float:
    """Return how many of so many differences exceed two standard errors where there is none (Student's t)."""
    return sum(_tail(len(each.gaps) - 1) for each in differences if len(each.gaps) > 1)


def _tail(freedom: int) -> float:
    """Return the chance that Student's t is beyond `ERRORS`: the integral of its density, by Simpson's rule."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    steps = 200
    width = ERRORS / steps
    weights = [1, *([4, 2] * (steps // 2 - 1)), 4, 1]
    inside = sum(w * (1 + (k * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for k, w in enumerate(weights))
    return 1 - 2 * scale * inside * width / 3
