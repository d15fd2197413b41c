"""Dense fill: noise in all taps of every edge but one cut's, then one joint least-squares solve (section 4).

It needs `border="halo"`: composing two zero-padded spatial convolutions is not the composed convolution at the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from netmorph.errors import GraphError
from netmorph.filters.compose import add
from netmorph.filters.filter import Filter
from netmorph.graph.cuts import sink_cut, source_cut
from netmorph.graph.layout import Cut, Layout
from netmorph.solver.equation import after, before, downstream, fixed_filter, residual_of, upstream
from netmorph.solver.noise import gaussian, generator
from netmorph.solver.toeplitz import Unknown, least_squares


def draw_dense(layout: Layout, seed: int) -> dict[str, Filter]:
    """Return Gaussian noise in all taps of every edge with weights, scaled to keep a signal's variance."""
    filters = {}
    for edge in layout.graph.edges:
        spec = layout.specs[edge.name]
        if edge.fixed is not None:
            filters[edge.name] = fixed_filter(edge, spec)
            continue
        fan_in = spec.c_in // spec.groups * spec.taps
        noise = gaussian(spec.weight_shape, generator(seed, "dense", edge.name)) / fan_in**0.5
        filters[edge.name] = Filter.of(noise, spec)
    return filters


def solve_cut(layout: Layout, cut: Cut, filters: Mapping[str, Filter], target: Filter) -> dict[str, Filter]:
    """Return the filters with those of the cut's edges replaced by the least-squares solution."""
    graph = layout.graph
    inner = upstream(graph, filters, cut)
    outer = downstream(graph, filters, frozenset(graph.blobs) - cut)
    rest, unknown = target, {}
    for edge in layout.crossing(cut):
        if edge.fixed is None:
            unknown[edge.name] = Unknown(layout.specs[edge.name], outer[edge.sink], inner[edge.source])
            continue
        passing = before(outer[edge.sink], after(filters[edge.name], inner[edge.source]))
        rest = add(rest, replace(passing, weight=-passing.weight))
    solved = least_squares(list(unknown.values()), rest)
    new = {name: Filter.of(w, layout.specs[name]) for name, w in zip(unknown, solved, strict=True)}
    return {**filters, **new}


def fill_dense(
    layout: Layout, target: Filter, *, seed: int, max_iter: int, tolerance: float
) -> tuple[dict[str, Filter], dict[str, Any]]:
    """Return filters, and the residuals after each cut: source cut, sink cut, then both in turn until exact.

    Args:
        layout: with `border="halo"`.
        target: float64 filter of the site's shape.
        seed: of the noise.
        max_iter: most solves.
        tolerance: relative residual at which to stop.
    """
    graph = layout.graph
    residuals: list[float] = []
    noise = draw_dense(layout, seed)
    best: tuple[float, dict[str, Filter]] | None = None
    for cut in (source_cut(graph), sink_cut(graph)):
        if all(edge.fixed is not None for edge in layout.crossing(cut)):
            continue
        filters = solve_cut(layout, cut, noise, target)
        residuals.append(residual_of(graph, filters, target))
        if best is None or residuals[-1] < best[0]:
            best = (residuals[-1], filters)
        if residuals[-1] <= tolerance:
            return filters, {"residuals": residuals}
    if best is None:
        raise GraphError("no cut at an end of the graph has edges with weights", graph=str(graph))
    filters = best[1]
    cuts = [cut for cut in (sink_cut(graph), source_cut(graph)) if _free(layout, cut)]
    for turn in range(max_iter if len(cuts) > 1 and cuts[0] != cuts[1] else 0):
        filters = solve_cut(layout, cuts[turn % 2], filters, target)
        residuals.append(residual_of(graph, filters, target))
        stalled = len(residuals) > 6 and residuals[-1] > 0.999 * residuals[-5]
        if residuals[-1] <= tolerance or stalled:
            break
    return filters, {"residuals": residuals}


def _free(layout: Layout, cut: Cut) -> bool:
    return any(edge.fixed is None for edge in layout.crossing(cut))
