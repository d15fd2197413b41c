"""Digits lost where a module's routes cancel: what is summed may be far larger than its sum (beyond the paper).

Beside `id` a branch must be the layer's filter minus the identity. Where the filter is 1e-6 of the identity, ten digits
of 16 are left of it in float64, and one of seven in float32: no solver brings them back, a factor on that edge does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from netmorph.errors import ParityError
from netmorph.filters.filter import Filter
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.write import write_atom
from netmorph.solver.equation import module_filter

ROUNDINGS = 16  # what a sum's many roundings may come to, in units of the last place of what is summed
STEADY = 100.0  # terms up to so many times their sum cost no digits that a tolerance misses


def cancellation(graph: ModuleGraph, filters: Mapping[str, Filter], target: Filter) -> float:
    """Return the norm of what the routes add up, all signs alike, relative to the target's.

    The module filter cannot be nearer to the target than this times the precision of its dtype.
    """
    sizes = {name: replace(each, weight=each.weight.abs()) for name, each in filters.items()}
    return float(module_filter(graph, sizes).weight.norm()) / (float(target.weight.norm()) or 1.0)


def check_cancellation(
    graph: ModuleGraph, filters: Mapping[str, Filter], target: Filter, residual: float, noise: float
) -> None:
    """Raise if a residual is no more than rounding of what cancels.

    Args:
        graph: the module graph.
        filters: a solution that misses the target.
        target: float64 filter.
        residual: relative, of the solution.
        noise: of the solution, relative to the target.

    Raises:
        ParityError: if the residual is rounding error only; the message names the edge that is too large relative to
            the target, and a factor that would work.
    """
    size = cancellation(graph, filters, target)
    eps = torch.finfo(target.weight.dtype).eps
    if size <= STEADY or residual > ROUNDINGS * eps * size:  # an overflow is no number, and ends below
        return
    raise ParityError(
        f"what cancels in the module is {size:.0e} times the layer's filter, which leaves a relative difference of "
        f"{residual:.1e} in {str(target.weight.dtype).removeprefix('torch.')}",
        remedies=remedies_of_cancellation(graph, filters, target, noise),
    )


def remedies_of_cancellation(
    graph: ModuleGraph, filters: Mapping[str, Filter], target: Filter, noise: float
) -> list[str]:
    """Return what makes less cancel; nothing where little does."""
    zeros = {
        edge.name: filters[edge.name]
        if edge.fixed is not None
        else replace(filters[edge.name], weight=filters[edge.name].weight * 0)
        for edge in graph.edges
    }
    alone = float(module_filter(graph, zeros).weight.norm()) / (float(target.weight.norm()) or 1.0)
    found = []
    if alone > STEADY:
        for edge in _last_fixed(graph):
            assert edge.fixed is not None
            factor = float(f"{edge.fixed.scale / 10 ** math.floor(math.log10(alone)):.0e}")
            smaller = replace(edge, fixed=replace(edge.fixed, scale=factor))
            found.append(f"write {write_atom(smaller)} for {write_atom(edge)}, which has no weights to be small")
    if noise > 1:
        found.append("pass a smaller noise=, such as 0.5")
    return found


def _last_fixed(graph: ModuleGraph) -> list[Edge]:
    """Return the last edge of each route that has no weights at all, but for those of factor 0."""
    reached = {graph.source}
    last = []
    for blob in graph.blobs:
        for edge in graph.outgoing.get(blob, ()) if blob in reached else ():
            if edge.fixed is not None and edge.fixed.scale:
                reached.add(edge.sink)
                last += [edge] if edge.sink == graph.sink else []
    return last
