"""Algorithm 2 of the paper: one edge at a time by least squares, from random noise (section 3.6, eq. 7).

Kept as the reference. Each deconvolution is a linear system in one edge's filter, all others fixed; the loss, the
squared norm of (target - module filter), never rises.
"""

from __future__ import annotations

from dataclasses import replace

from netmorph.filters.compose import add
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge
from netmorph.solver.dense import draw_dense
from netmorph.solver.equation import downstream, module_filter, upstream
from netmorph.solver.toeplitz import Unknown, least_squares

LOOK_BACK = 5  # sweeps
PLATEAU = 0.01


def alternate(
    layout: Layout, target: Filter, *, seed: int, max_iter: int, tolerance: float
) -> tuple[dict[str, Filter], list[float]]:
    """Return filters, and the loss after each edge's update.

    Ends before `max_iter` sweeps where those would not do: where the loss, falling on as it did over the last five
    sweeps, would still be above the tolerance then (it falls ever more slowly).

    Args:
        layout: with `border="halo"`.
        target: float64 filter of the site's shape; counts as zero outside its taps.
        seed: random seed of the noise that the filters start from.
        max_iter: most sweeps over all edges.
        tolerance: residual, relative to the target's norm, at which to stop.
    """
    graph = layout.graph
    filters = draw_dense(layout, seed)
    floor = (tolerance * (float(target.weight.norm()) or 1.0)) ** 2
    losses: list[float] = []
    swept: list[float] = []
    for left in reversed(range(max_iter)):
        for edge in graph.edges:
            if edge.fixed is None:
                filters[edge.name] = _deconvolve(layout, edge, filters, target)
                losses.append(_loss(layout, filters, target))
                if losses[-1] <= floor:
                    return filters, losses
        swept += losses[-1:]
        if len(swept) > LOOK_BACK and swept[-1] * (swept[-1] / swept[-1 - LOOK_BACK]) ** (left / LOOK_BACK) > floor:
            break
    return filters, losses


def _deconvolve(layout: Layout, edge: Edge, filters: dict[str, Filter], target: Filter) -> Filter:
    """Return the edge's filter that brings the module filter nearest to the target, the others fixed (eq. 7)."""
    graph, spec = layout.graph, layout.specs[edge.name]
    silent = replace(filters[edge.name], weight=filters[edge.name].weight * 0)
    others = module_filter(graph, {**filters, edge.name: silent})
    rest = add(target, replace(others, weight=-others.weight))
    inner = upstream(graph, filters, graph.blobs)[edge.source]
    outer = downstream(graph, filters, graph.blobs)[edge.sink]
    return Filter.of(least_squares([Unknown(spec, outer, inner)], rest, plateau=PLATEAU)[0], spec)


def _loss(layout: Layout, filters: dict[str, Filter], target: Filter) -> float:
    module = module_filter(layout.graph, filters)
    gap = add(target, replace(module, weight=-module.weight))
    return float(gap.weight.square().sum())
