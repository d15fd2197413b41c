"""What a comparison of networks came to, and how far one may believe it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from netmorph.surgery.morphing.result import Result
from netmorph.surgery.records.grown_places import RegrownModule
from netmorph.surgery.records.morphed_site import MorphedSite

__all__ = ["Contender", "Difference", "compare", "parity_of"]


@dataclass(frozen=True)
class Contender:
    """One row of the comparison.

    Attributes:
        name: what the table calls it.
        error: share of the test images classified wrongly, in percent.
        params: number of parameters.
        macs: multiply-accumulates of one image.
        epochs: epochs of training that led to it, those of its parent included.
        compute: multiply-accumulates of that training's forward passes; all its passes are about three times as much.
        seconds: wall time of that training.
    """

    name: str
    error: float
    params: int
    macs: int
    epochs: int
    compute: int
    seconds: float


@dataclass(frozen=True)
class Difference:
    """How much less one network errs than another on the same test images.

    Attributes:
        points: error of the other minus error of the one, in percentage points; positive if the one is better.
        margin: half the 95 % interval of ``points`` over the choice of test images, in percentage points. It comes from
            the images on which the two disagree (McNemar), and says nothing about how another seed would train.
    """

    points: float
    margin: float

    @property
    def clear(self) -> bool:
        """Whether the difference exceeds its margin."""
        return abs(self.points) > self.margin

    def __str__(self) -> str:
        if not self.clear:
            return f"no clear difference ({self.points:+.1f} ± {self.margin:.1f} points)"
        word = "fewer" if self.points > 0 else "more"
        return f"{abs(self.points):.1f} ± {self.margin:.1f} points {word} errors"


def compare(one: Tensor, other: Tensor) -> Difference:
    """Compare two networks by the images on which exactly one of them errs.

    Args:
        one: ``(n,)``, bool: the mistakes of the one.
        other: ``(n,)``, bool: the mistakes of the other, on the same images.
    """
    count = len(one)
    worse, better = int((one & ~other).sum()), int((other & ~one).sum())
    variance = (worse + better - (better - worse) ** 2 / count) / count**2
    return Difference(100 * (better - worse) / count, 100 * 1.96 * math.sqrt(variance))


def parity_of(result: Result) -> dict[str, Any]:
    """Return the parity of a morph or a growth, of the network and of each place, as JSON says it.

    Differences are relative to the largest output, but for ``outputs_max_abs``.
    """
    return {
        "outputs_max_abs": result.parity.max_abs,
        "outputs_max_rel": result.parity.max_rel,
        "sites": [
            {
                "site": site.name,
                "graph": str(site.graph) if isinstance(site, MorphedSite | RegrownModule) else "",
                "status": site.status if isinstance(site, MorphedSite) else "grown",
                "interior": parity.interior,
                "border": parity.border,
                "train_mode": parity.train,
                "tolerance": parity.tolerance,
            }
            for site, parity in zip(result.sites, result.parity.sites, strict=True)
        ],
    }
