"""The layouts that pointwise fill may use, best first, each with the verdict of the max-flow (docs/algebra.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, product

from netmorph.errors import GraphError
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.cuts import cuts, fewest_crossing, sink_cut, source_cut
from netmorph.graph.flow import Side, flow, widths_that_would_do
from netmorph.graph.layout import Cut, Layout, lay_out
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.solver.factor import Drawn
from netmorph.solver.grid import Grid, equation_groups, tap_pairs
from netmorph.solver.system import Carriers, carriers_of, frame, needed_ranks, split_crossing

MIXED_CUTS = 8
MIXED_LAYOUTS = 96


@dataclass(frozen=True)
class Verdict:
    """Whether a layout can hold any filter of the site's shape.

    Attributes:
        layout: how the module would run.
        feasible: True or False where the max-flow decides; None where only ranks or the residual do.
        reason: one sentence.
        missing: what is too narrow or too small; empty where nothing is.
        remedy: what would do.
        score: how near an infeasible layout comes, from 0 to 1.
        bottleneck: the blobs that are too narrow.
        condition: of the drawn matrices, where they were looked at.
        drawn: these, where they suffice and are those of the solution.
        beside: whether one more parallel edge of the parent's kernel would do.
    """

    layout: Layout
    feasible: bool | None
    reason: str
    missing: str = ""
    remedy: str = ""
    score: float = 1.0
    bottleneck: tuple[str, ...] = field(default=())
    condition: float = 1.0
    drawn: Drawn | None = field(default=None, repr=False, compare=False)
    beside: bool = True


def layouts(graph: ModuleGraph, site: ConvSpec) -> Iterator[Layout | GraphError]:
    """Yield the layouts to try: one cut for all dimensions first, then other cuts for some of them.

    A layout that does not fit the site comes as the error that says why.
    """
    tried = 0
    known = set()
    for cut in chain(cuts(graph), fewest_crossing(graph, partial(_idle, site))):
        if cut not in known:
            known.add(cut)
            yield _attempt(graph, site, (cut,) * site.dims, cut)
    if not _may_mix(graph, site):
        return
    few = list(islice(cuts(graph), MIXED_CUTS))
    for cut in (sink_cut(graph), source_cut(graph)):
        for mix in product(few, repeat=site.dims):
            ordered = all(each <= cut or each >= cut for each in mix)
            if not ordered or all(each == cut for each in mix):
                continue
            tried += 1
            if tried > MIXED_LAYOUTS:
                return
            yield _attempt(graph, site, mix, cut)


def _idle(site: ConvSpec, edge: Edge) -> bool:
    """Return whether an edge cannot carry all of the site's taps."""
    kernel = edge.kernel * site.dims if len(edge.kernel) == 1 else edge.kernel
    return edge.fixed is not None or any(own < k for own, k in zip(kernel, site.kernel, strict=False))


def _may_mix(graph: ModuleGraph, site: ConvSpec) -> bool:
    """Return whether taps on both sides of the cut can help: only grouped edges and non-square kernels gain by it."""
    odd = any(edge.groups != 1 or len(set(edge.kernel)) > 1 for edge in graph.edges)
    return odd and any(k > 1 for k in site.kernel)


def _attempt(graph: ModuleGraph, site: ConvSpec, mix: tuple[Cut, ...], cut: Cut) -> Layout | GraphError:
    try:
        layout = lay_out(graph, site, mix, cut)
        frame(layout)
    except GraphError as error:
        return error
    return layout


def judge(layout: Layout) -> Verdict:
    """Return what support and max-flow say of a layout; no weights, no noise."""
    grid, tables = frame(layout)
    needed = carriers_of(grid, tables)
    uncovered = needed.get((), [])
    if uncovered:
        own = _own_taps(layout, grid)
        missing = len(own.intersection(uncovered))
        pooled = len(uncovered) - missing
        return _pooled(layout, grid, pooled) if pooled else _unsupported(layout, missing, len(own))
    narrow = _narrowest(layout, list(needed))
    if narrow is not None and all(cut == layout.cut for cut in layout.cuts):
        return narrow  # a vertex cut bounds every rank, also of fixed and grouped edges
    return _admitted(layout, needed)


def _own_taps(layout: Layout, grid: Grid) -> set[tuple[int, ...]]:
    """Return the star taps of the grid that are the site's; others are those of edges that average over space."""
    site = layout.site
    along = [
        [(site.offset[d] + k * site.dilation[d] - grid.offset[d]) // grid.dilation[d] for k in range(site.kernel[d])]
        for d in grid.star
    ]
    return set(product(*along))


def _pooled(layout: Layout, grid: Grid, missing: int) -> Verdict:
    """Return the verdict where no edge can cancel what pooling does beyond the site's taps; the parent's neither."""
    pools = [e for e in layout.crossing(layout.cut) if e.fixed is not None and layout.specs[e.name].taps > 1]
    named, kernel = " and ".join(repr(edge.name) for edge in pools), "x".join(map(str, grid.kernel))
    return Verdict(
        layout,
        False,
        f"{missing} taps of pooling (edge {named}) lie outside the site's kernel and every edge's kernel at this cut",
        missing=f"a kernel of {kernel} taps on an edge beside the pooling, whose taps must cancel",
        remedy=f"give one edge beside the pooling a kernel of at least {kernel}",
        score=0.25,
        beside=False,
    )


def _unsupported(layout: Layout, missing: int, taps: int) -> Verdict:
    kernel = "x".join(map(str, layout.site.kernel))
    return Verdict(
        layout,
        False,
        f"{missing} of {taps} kernel positions of the site are covered by no edge at this cut",
        missing=f"a kernel that holds the site's {kernel} taps on one edge of each path",
        remedy=f"give one edge of each path a kernel of at least {kernel}",
        score=(taps - missing) / (2 * taps),
    )


def _generic(layout: Layout) -> bool:
    """Return whether the vertex-capacity argument holds: one cut, no fixed edge beside it, no groups of their own."""
    groups = equation_groups(layout)
    crossing = {edge.name for edge in layout.crossing(layout.cut)}
    dense = all(layout.specs[edge.name].groups == groups for edge in layout.graph.edges if edge.fixed is None)
    plain = all(edge.fixed is None or edge.name in crossing for edge in layout.graph.edges)
    return dense and plain and all(cut == layout.cut for cut in layout.cuts)


def _narrowest(layout: Layout, sets: list[Carriers]) -> Verdict | None:
    """Return the verdict of the worst bottleneck, or None where every flow suffices."""
    worst: Verdict | None = None
    most = max(layout.site.c_in, layout.site.c_out)
    widths = layout.widths
    if all(widths[blob] >= most for blob in layout.graph.inner):
        return None
    for names in sets:
        for side, needed, ends in _ends(layout):
            found = flow(layout.graph, widths, names, side)
            if found.unbounded or found.value >= needed:
                continue
            wider = widths_that_would_do(layout.graph, widths, names, side, needed) or {}
            named = " and ".join(f"{blob!r} ({widths[blob]} channels)" for blob in found.bottleneck)
            verdict = Verdict(
                layout,
                False,
                "a bottleneck is too narrow",
                missing=f"{found.value} of the site's {needed} {ends} channels get through {named}",
                remedy="widen to " + ", ".join(f"{blob}: {width}" for blob, width in wider.items()),
                score=0.5 + found.value / (2 * needed),
                bottleneck=found.bottleneck,
            )
            if worst is None or verdict.score < worst.score:
                worst = verdict
    return worst


def _ends(layout: Layout) -> tuple[tuple[Side, int, str], ...]:
    """Return both sides of the cut: the direction of the flow, the channels that must pass, and what they are."""
    return ("down", layout.site.c_out, "output"), ("up", layout.site.c_in, "input")


def _admitted(layout: Layout, needed: dict[Carriers, list[tuple[int, ...]]]) -> Verdict:
    """Return the verdict where support and flow suffice, or where flow does not decide."""
    if not _generic(layout):
        return Verdict(layout, None, "fixed or grouped edges, or taps on both sides: ranks decide", score=0.9)
    graph = layout.graph
    ends = layout.cut == source_cut(graph) or layout.cut == sink_cut(graph)
    edges = {edge.name: edge for edge in split_crossing(layout)[0]}
    shared = all(
        len({edges[n].source for n in names}) == 1 or len({edges[n].sink for n in names}) == 1 for names in needed
    )
    if ends or shared:
        return Verdict(layout, True, "any filter of the site fits")
    return Verdict(layout, None, "several edges cross a middle cut: ranks decide up to 32 channels", score=0.95)


def most_share(layout: Layout) -> float:
    """Return the most that the matrices around the cut could have of the rank they need, without drawing them.

    Less than 1 is certain: blobs with fewer channels than must pass there, or taps that no edge of their cut has.
    """
    grid, tables = frame(layout)
    rows, columns = needed_ranks(layout, grid)
    widths, graph, shares = layout.widths, layout.graph, [1.0]
    for names in filter(None, carriers_of(grid, tables)):
        edges = [graph.edge(name) for name in names]
        for ends, end, needed in (
            ({edge.source for edge in edges}, graph.source, columns),
            ({edge.sink for edge in edges}, graph.sink, rows),
        ):
            if end not in ends:
                shares.append(sum(widths[blob] for blob in ends) / grid.groups / needed)
    for dim in (*grid.up, *grid.down):
        places = [{place for _, place in tap_pairs(layout, e, grid, dim)} for e in layout.crossing(layout.cuts[dim])]
        if all(places):
            shares.append(len(set().union(*places)) / grid.kernel[dim])
    return min(shares)
