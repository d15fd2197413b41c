"""Dense fill: noise in all taps of every edge but one cut's, then one joint least-squares solve (docs/algebra.md).

It needs `border="halo"`: composing two zero-padded spatial convolutions is not the composed convolution at the border.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from netmorph.errors import GraphError
from netmorph.filters.compose import add
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.cuts import sink_cut, source_cut
from netmorph.graph.layout import Cut, Layout, lay_out
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.equation import after, before, downstream, fixed_filter, residual_of, upstream
from netmorph.solver.noise import gaussian, generator
from netmorph.solver.toeplitz import Unknown, least_squares

EXACT = 1e-10  # relative residual up to which a solve counts as exact
MISSING = "weights in the edges of one cut: they must outnumber the taps of the whole module's filter"
STEADY = 2e-15  # relative residual of a well-conditioned solve in float64
DRAWS = 8


@dataclass(frozen=True)
class Choice:
    """Which cut of which layout to solve, amid which noise.

    Attributes:
        layout: with `border="halo"`.
        cut: its edges are solved for.
        attempt: counts draws of the noise.
        residual: relative, of a solve for a random target.
    """

    layout: Layout
    cut: Cut
    attempt: int
    residual: float


def dense_layouts(graph: ModuleGraph, site: ConvSpec) -> list[Layout]:
    """Return the layouts that dense fill tries: the stride may be taken at either end.

    Raises:
        GraphError: if the site does not pad with zeros, or the graph does not fit it.
    """
    strided = any(step != 1 for step in site.stride)
    return [halo_layout(graph, site, cut) for cut in (source_cut(graph), sink_cut(graph))[: 1 + strided]]


def halo_layout(graph: ModuleGraph, site: ConvSpec, cut: Cut) -> Layout:
    """Return the layout whose source is padded once; `cut` is aligned with the site's taps and takes its stride.

    Raises:
        GraphError: if the site does not pad with zeros, or the graph does not fit it.
    """
    if site.padding_mode != "zeros":
        raise GraphError(
            f"a halo needs zero padding; this site pads with {site.padding_mode!r}",
            remedies=["use fill='pointwise', which is exact for every padding mode"],
        )
    return lay_out(graph, site, (cut,) * site.dims, cut, border="halo")


def choose_dense(layouts: Sequence[Layout], seed: int) -> Choice | None:
    """Return the best-conditioned way to a solve that holds any target; None where there is none.

    A system that is about square may be solved exactly and still be badly conditioned: its weights are large and
    cancel, which float64 shows as a residual above its own rounding and float32 pays for in parity. Then the other
    cut, the other layout and other noise are looked at. A random target judges, so that the choice follows from graph,
    site and seed alone: an averaged copy of a layer is solved for alike.
    """
    site = layouts[0].site
    probe = Filter.of(gaussian(site.weight_shape, generator(seed, "dense", "probe")), site)
    best: Choice | None = None
    for attempt in range(DRAWS):
        for layout in layouts:
            noise = draw_dense(layout, seed, attempt)
            for cut in end_cuts(layout):
                residual = residual_of(layout.graph, solve_cut(layout, cut, noise, probe), probe)
                if residual <= EXACT and (best is None or residual < best.residual):
                    best = Choice(layout, cut, attempt, residual)
                if best is not None and best.residual <= STEADY:
                    return best
        if best is None:
            return None  # what one draw lacks, others lack too
    return best


def draw_dense(layout: Layout, seed: int, attempt: int = 0) -> dict[str, Filter]:
    """Return Gaussian noise in all taps of every edge with weights, scaled to keep a signal's variance.

    Args:
        layout: how the module runs.
        seed: random seed.
        attempt: counts redraws.
    """
    words = ("dense", attempt) if attempt else ("dense",)
    filters = {}
    for edge in layout.graph.edges:
        spec = layout.specs[edge.name]
        if edge.fixed is not None:
            filters[edge.name] = fixed_filter(edge, spec)
            continue
        fan_in = spec.c_in // spec.groups * spec.taps
        noise = gaussian(spec.weight_shape, generator(seed, *words, edge.name)) / fan_in**0.5
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
        seed: random seed.
        max_iter: most solves.
        tolerance: relative residual at which to stop.
    """
    graph = layout.graph
    residuals: list[float] = []
    noise = draw_dense(layout, seed)
    best: tuple[float, dict[str, Filter]] | None = None
    for cut in end_cuts(layout):
        filters = solve_cut(layout, cut, noise, target)
        residuals.append(residual_of(graph, filters, target))
        if best is None or residuals[-1] < best[0]:
            best = (residuals[-1], filters)
        if residuals[-1] <= tolerance:
            return filters, {"residuals": residuals}
    if best is None:
        raise GraphError("no cut at an end of the graph has edges with weights", graph=str(graph))
    filters = best[1]
    cuts = end_cuts(layout)[::-1]
    for turn in range(max_iter if len(cuts) > 1 and cuts[0] != cuts[1] else 0):
        filters = solve_cut(layout, cuts[turn % 2], filters, target)
        residuals.append(residual_of(graph, filters, target))
        stalled = len(residuals) > 6 and residuals[-1] > 0.999 * residuals[-5]
        if residuals[-1] <= tolerance or stalled:
            break
    return filters, {"residuals": residuals}


def end_cuts(layout: Layout) -> list[Cut]:
    """Return the source cut and the sink cut, but for one that has no edge with weights."""
    cuts = (source_cut(layout.graph), sink_cut(layout.graph))
    return [cut for cut in cuts if any(edge.fixed is None for edge in layout.crossing(cut))]
