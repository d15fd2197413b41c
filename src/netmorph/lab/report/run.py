"""What a report is about, whatever kind of folder it was read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record

__all__ = ["Curve", "MorphParity", "Run", "SiteFigures", "SlopeRow", "Slopes"]


@dataclass(frozen=True)
class SiteFigures:
    """The measured parity of one site, or the worst of several; differences are relative to the layer's largest output.

    Attributes:
        site: qualified name, or which sites.
        interior: where windows lie inside the input, in eval mode.
        border: everywhere else, in eval mode.
        train: in train mode; None where it could not be measured.
        tolerance: of interior and border.
        count: of how many sites it is the worst.
    """

    site: str
    interior: float
    border: float
    train: float | None
    tolerance: float
    count: int = 1

    @property
    def same(self) -> bool:
        """Whether module and layer compute the same in eval mode."""
        return max(self.interior, self.border) <= self.tolerance


@dataclass(frozen=True)
class MorphParity:
    """The measured parity of one call of `morph`.

    Attributes:
        title: which one.
        sites: of each site.
        outputs: largest difference of the network's outputs.
        cost: parameters and MACs of parent and child by name, where they were counted.
    """

    title: str
    sites: tuple[SiteFigures, ...]
    outputs: float
    cost: Mapping[str, Mapping[str, int]] | None = None


@dataclass(frozen=True)
class Curve:
    """The test errors of one network.

    Attributes:
        name: of the network.
        points: (epoch or compute, error in percent).
        control: whether it is there to be compared with.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    control: bool = False


@dataclass(frozen=True)
class SlopeRow:
    """The slopes of one activation or norm at one time.

    Attributes:
        name: of the parameter.
        mean: over its channels.
        low: the smallest.
        high: the largest.
    """

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Slopes:
    """How the slopes moved.

    Attributes:
        now: of each activation and blended norm, at the end.
    """

    now: tuple[SlopeRow, ...] = ()


@dataclass(frozen=True)
class Run:
    """A morph, or a training run.

    Attributes:
        kind: what it was, in words.
        folder: where it lies.
        checkpoint: where its network lies; None where there are several.
        parent: name of the parent and its arguments, where they are known.
        records: what was done to the network, in order.
        sites: what was morphed, by name.
        parity: of each call of `morph`, where it was recorded.
        networks: rows of the comparison: heads and cells.
        readings: what the figures say, and how far.
        curves: test errors by epoch, or by compute.
        across: what they are by.
        births: where along that something was morphed.
        slopes: of the network's activations.
        environment: versions, machine, command.
        body: HTML that the run's own summary became.
        pictures: SVG files that the run made: title and content.
        notices: what was noticed.
    """

    kind: str
    folder: Path
    checkpoint: Path | None = None
    parent: Mapping[str, Any] | None = None
    records: tuple[Record, ...] = ()
    sites: tuple[tuple[str, MorphedSite], ...] = ()
    parity: tuple[MorphParity, ...] = ()
    networks: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    readings: tuple[str, ...] = ()
    curves: tuple[Curve, ...] = ()
    across: str = "epoch"
    births: tuple[float, ...] = ()
    slopes: Slopes = field(default_factory=Slopes)
    environment: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""
    pictures: tuple[tuple[str, str], ...] = ()
    notices: tuple[str, ...] = ()
