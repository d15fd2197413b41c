"""Making the norms of the factors alike without changing the module filter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge

SWEEPS = 8
NOTHING = 2.0**-40  # of the largest edge: what a solve leaves of weights that are zero


def balance(layout: Layout, filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """Scale every inner blob so that the weights that write it and those that read it have about the same norm.

    Scales are powers of two: no weight loses a bit. A blob beside an edge without weights stays as it is, and so does
    one that all edges on one side leave at zero but for rounding: to balance these would bring the other side, whose
    noise lets them learn, down to zero too.

    Returns:
        filters with the same module filter.
    """
    sizes = {edge.name: _root_mean(filters[edge.name]) for edge in layout.graph.edges if edge.fixed is None}
    least = NOTHING * max(sizes.values(), default=0.0)
    logs = {name: math.log2(size) for name, size in sizes.items() if size > least}
    shift = dict.fromkeys(layout.graph.blobs, 0)
    incoming, outgoing = layout.graph.incoming, layout.graph.outgoing
    for _ in range(SWEEPS):
        moved = False
        for blob in layout.graph.inner:
            around = (incoming[blob], outgoing[blob])
            if any(edge.fixed is not None for side in around for edge in side):
                continue
            before, behind = (_level(side, logs, shift) for side in around)
            if before is None or behind is None:
                continue
            step = round((behind - before) / 2)
            shift[blob] += step
            moved |= step != 0
        if not moved:
            break
    return {
        edge.name: _scaled(filters[edge.name], shift[edge.sink] - shift[edge.source]) for edge in layout.graph.edges
    }


def _level(edges: list[Edge], logs: Mapping[str, float], shift: Mapping[str, int]) -> float | None:
    known = [logs[e.name] + shift[e.sink] - shift[e.source] for e in edges if e.name in logs]
    return max(known) if known else None


def _root_mean(filter_: Filter) -> float:
    """Return the norm relative to that of a semi-orthogonal matrix of the same channels."""
    return float(filter_.weight.norm()) / math.sqrt(min(filter_.c_in, filter_.c_out))


def _scaled(filter_: Filter, power: int) -> Filter:
    return filter_ if power == 0 else replace(filter_, weight=filter_.weight * 2.0**power)
