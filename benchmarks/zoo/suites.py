"""The suites of the zoo and their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.zoo import timm_suite, torchvision_suite, transformers_suite
from benchmarks.zoo.check import Limits
from benchmarks.zoo.entries import Entry
from benchmarks.zoo.graphs import KINDS


@dataclass(frozen=True)
class Suite:
    """A list of models and what one of them may take.

    Attributes:
        entries: yields the models.
        limits: of the sites.
        seconds: wall-clock time for one model.
        memory: GiB for one model.
        cpu: seconds of processor time for one model, if limited.
        kinds: of graphs.
    """

    entries: Callable[[], Iterator[Entry]]
    limits: Limits
    seconds: float
    memory: float
    cpu: float | None = None
    kinds: tuple[str, ...] = KINDS


SUITES = {
    "torchvision": Suite(torchvision_suite.entries, Limits(12e9), 600, 8),
    "timm": Suite(timm_suite.entries, Limits(12e9, 7), 600, 4, 10, ("simple",)),
    "transformers": Suite(transformers_suite.entries, Limits(12e9), 600, 8),
}
