"""What a solver returns."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netmorph.brief import Brief
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout


class Status(enum.Enum):
    """The kind of a solution; the value of each member explains it and suggests a remedy."""

    EXACT = "the module filter equals the target for any filter of the site's shape"
    EXACT_FOR_TARGET = (
        "the module filter equals this target; the graph may be unable to represent every filter of the site's shape"
    )
    KEPT_PARENT = (
        "the graph could not hold the target: one more parallel edge, `parent`, holds what the others leave of it"
    )
    INEXACT = "a remainder is left: use method='closed-form', or widen the graph"

    @property
    def exact(self) -> bool:
        """Whether the module filter equals the target to the solver's precision."""
        return self is not Status.INEXACT


@dataclass(frozen=True, repr=False)
class Solution(Brief):
    """Filters that make a module graph equal a target filter.

    Attributes:
        filters: one filter for each edge name, including edges without weights (in depthwise form).
        residual: Frobenius norm of (module filter - target), relative to the target's; above 16 input channels
            estimated on 16 vectors of random signs.
        status: kind of the solution.
        stats: values measured by the solver, such as `condition`, `draws`, or the loss history of Algorithm 2.
        layout: how the module runs; with `keep_parent`, `layout.graph` may have one more edge than the given graph.
    """

    filters: Mapping[str, Filter]
    residual: float
    status: Status
    layout: Layout
    stats: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status.name}: {self.layout}, relative residual {self.residual:.1e}"
