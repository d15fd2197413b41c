"""What a graph would do at a site, before any work: reduction, cut, feasibility, cost (no weights touched)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from netmorph.brief import Brief
from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.filters.default_device import on_cpu
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.draw.marks import Marks
from netmorph.graph.layout import Layout, resolve_widths
from netmorph.graph.notation import parse
from netmorph.graph.paths import path_count
from netmorph.graph.reduce import reduce
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth, Symmetry
from netmorph.solver.births import Prepared, prepare
from netmorph.solver.candidates import Verdict, judge, layouts, most_share
from netmorph.solver.dense import MISSING, choose_dense, dense_layouts, end_cuts
from netmorph.solver.pair import SLOPE
from netmorph.solver.pointwise import draw_system
from netmorph.solver.system import frame, needed_ranks, split_crossing

FillName = Literal["pointwise", "dense"]
STEADY = 10.0  # condition up to which no better layout is looked for
FURTHER = 4
_LONGEST = 80


@dataclass(frozen=True, repr=False)
class SitePlan(Brief):
    """The plan for one site.

    Attributes:
        graph: the module graph.
        site: geometry of the layer that it would replace.
        feasible: whether it can represent any filter of the site's shape exactly; None: undecided until solved.
        reason: the reason, as one sentence.
        missing: what is too narrow or too small; empty if feasible.
        remedies: suggestions.
        bottleneck: blobs that are too narrow.
        layout: how the module would run; None if it does not fit the site.
        carrying: names of the edges that are solved for.
        is_simple: whether the graph reduces to a single edge (Algorithm 1).
        core: edges of the irreducible core.
        paths: number of s-t paths.
        params: weights of the edges, without norms, slopes and bias.
        parent_params: weights of the layer.
        macs: multiply-accumulates of the module for each position of its output.
        parent_macs: multiply-accumulates of the layer for each position of its output.
    """

    graph: ModuleGraph
    site: ConvSpec
    feasible: bool | None
    reason: str
    missing: str
    remedies: tuple[str, ...]
    bottleneck: tuple[str, ...]
    layout: Layout | None
    carrying: tuple[str, ...]
    is_simple: bool
    core: int
    paths: int
    params: int
    parent_params: int
    macs: int
    parent_macs: int

    @property
    def marks(self) -> Marks:
        """What a drawing of the graph points out: channels, the edges solved for, the blobs that are too narrow."""
        widths = resolve_widths(self.graph, self.site)
        narrow = () if self.feasible else self.bottleneck
        return Marks(widths, frozenset(self.carrying), frozenset(narrow))

    def _repr_svg_(self) -> str | None:
        from netmorph.graph.draw.picture import draw_graph, is_drawable
        from netmorph.graph.draw.svg import to_svg

        return to_svg(draw_graph(self.graph, self.marks)) if is_drawable(self.graph) else None

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        keep = ("feasible", "reason", "missing", "is_simple", "core", "params", "parent_params", "macs", "parent_macs")
        return {
            "graph": str(self.graph),
            "site": str(self.site),
            **{name: getattr(self, name) for name in keep},
            "paths": str(self.paths),
            "remedies": list(self.remedies),
            "bottleneck": list(self.bottleneck),
            "carrying": list(self.carrying),
        }

    @property
    def verdict(self) -> str:
        """Whether the graph holds every filter of the site, why not, and what would do, in one line."""
        word = {True: "holds every filter", False: "cannot represent every filter", None: "undecided until solved"}[
            self.feasible
        ]
        why = "" if self.feasible else f": {self.missing or self.reason}"
        remedy = f". Remedy: {self.remedies[0]}" if self.remedies else ""
        graph = str(self.graph)
        return f"{graph if len(graph) <= _LONGEST else graph[: _LONGEST - 3] + '...'} {word}{why}{remedy}"

    def __str__(self) -> str:
        verdict = {True: "yes", False: "no", None: "undecided until solved"}[self.feasible]
        kind = "simple" if self.is_simple else f"complex (irreducible core of {self.core} edges)"
        lines = [
            f"graph     {self.graph}",
            f"site      {self.site}",
            f"kind      {kind}, {self.paths} path{'s' if self.paths != 1 else ''}",
            f"exact     {verdict}: {self.reason}",
        ]
        if self.carrying:
            lines.append(f"solved    {', '.join(self.carrying)}")
        if self.missing:
            lines.append(f"missing   {self.missing}")
        lines += [f"remedy    {remedy}" for remedy in self.remedies]
        lines.append(f"weights   {self.parent_params:,} -> {self.params:,}")
        lines.append(f"MACs      {self.parent_macs:,} -> {self.macs:,} for each output position")
        return "\n".join(lines)


@on_cpu
def plan_site(
    graph: ModuleGraph | str,
    site: ConvSpec,
    *,
    fill: FillName = "pointwise",
    seed: int = 0,
    birth: Birth = "slope",
    acts: Mapping[str, Symmetry] | None = None,
) -> SitePlan:
    """Report whether `graph` can replace the layer of a site, how, and at what cost.

    Args:
        graph: the module graph, or its notation.
        site: geometry of the layer.
        fill: "pointwise", or "dense", for which a solve for a random filter decides, as in `morph`.
        seed: random seed of the noise whose rank decides where the maximum flow cannot.
        birth: as in `morph`.
        acts: how the activation of each inner blob acts on x and -x, if `birth` depends on it; blobs that are not
            listed have none.

    Raises:
        GraphError: if the graph does not fit the site (widths, groups, strides, dimensions), dense fill does not
            support its padding, or the birth does not support the activations.
    """
    graph = parse(graph) if isinstance(graph, str) else graph
    try:
        prepared = prepare(birth, graph, site, acts or {})
    except InfeasibleMorph as error:
        verdict = replace(choose(graph, site, seed=seed), feasible=False, reason=error.what, missing=error.missing)
        return _planned(graph, site, verdict, verdict.layout, (), error.remedies)
    assert prepared.linear is not None
    if fill == "dense":
        verdict, carrying = _dense(prepared.linear, site, seed)
    else:
        verdict = choose(prepared.linear, site, seed=seed)
        carrying = tuple(edge.name for edge in split_crossing(verdict.layout)[0])
    remedies = () if verdict.feasible is not False else remedies_of(verdict)
    if prepared.note:
        verdict = replace(verdict, reason=f"{verdict.reason} ({prepared.note})")
    if remedies and prepared.note:
        remedies = explained(infeasible(graph, site, verdict), prepared, site, seed=seed).remedies
    return _planned(graph, site, verdict, prepared.layout(verdict.layout), carrying, remedies)


def _planned(
    graph: ModuleGraph,
    site: ConvSpec,
    verdict: Verdict,
    layout: Layout,
    carrying: tuple[str, ...],
    remedies: tuple[str, ...],
) -> SitePlan:
    reduction = reduce(graph)
    params, macs = _cost(layout)
    return SitePlan(
        graph,
        site,
        verdict.feasible,
        verdict.reason,
        verdict.missing,
        remedies,
        verdict.bottleneck,
        layout,
        carrying,
        reduction.is_simple,
        len(reduction.core.edges),
        path_count(graph),
        params,
        math.prod(site.weight_shape),
        macs,
        math.prod(site.weight_shape),
    )


def _dense(graph: ModuleGraph, site: ConvSpec, seed: int) -> tuple[Verdict, tuple[str, ...]]:
    """Return the verdict on dense fill, and the edges that it solves for."""
    found = dense_layouts(graph, site)
    chosen = choose_dense(found, seed)
    if not end_cuts(found[0]):
        return Verdict(found[0], False, "no cut at an end of the graph has edges with weights", beside=False), ()
    if chosen is None:
        why = "no single cut can compensate for the noise in the other taps; several cuts in turn may, for some filters"
        return Verdict(found[0], None, why, missing=MISSING), ()
    carrying = tuple(edge.name for edge in chosen.layout.crossing(chosen.cut) if edge.fixed is None)
    return Verdict(chosen.layout, True, "one cut can compensate for the noise in all other taps"), carrying


def remedies_of(verdict: Verdict, *, low_rank: bool = False, keeps: bool = False) -> tuple[str, ...]:
    """Return what the user may do about an infeasible layout.

    Args:
        verdict: on the layout.
        low_rank: whether the target has not the rank or the taps of any other.
        keeps: whether an edge for the rest of the filter is there already.
    """
    keep = "pass keep_parent=True, which adds a parallel edge for the remainder of the filter"
    others = "try method='stepwise' or fill='dense', which can represent some filters of low rank"
    found = (verdict.remedy, others if low_rank else "", keep if verdict.beside and not keeps else "")
    return tuple(filter(None, found))


def infeasible(
    graph: ModuleGraph, site: ConvSpec, verdict: Verdict, *, low_rank: bool = False, keeps: bool = False
) -> InfeasibleMorph:
    """Return the error to raise where no layout holds the target; see `remedies_of`."""
    return InfeasibleMorph(
        "the graph cannot represent every filter of this shape"
        + (", and pointwise fill cannot represent this one" if low_rank else "")
        + f": {verdict.reason}"
        + (f" ({verdict.missing})" if verdict.missing and verdict.missing != verdict.reason else ""),
        missing=verdict.missing,
        graph=str(graph),
        shapes=str(site),
        remedies=remedies_of(verdict, low_rank=low_rank, keeps=keeps),
    )


def explained(error: InfeasibleMorph, prepared: Prepared, site: ConvSpec, *, seed: int) -> InfeasibleMorph:
    """Return the error that says of the linear graph what it means for the whole one.

    With twice the channels pairs hold what the graph itself holds by slopes: where it does not, that is no remedy.

    Args:
        error: about the linear graph; it is changed.
        prepared: both graphs.
        site: geometry of the layer.
        seed: random seed of the noise whose rank decides where the max-flow does not.
    """
    error.graph = str(prepared.whole)
    if not prepared.note:
        return error
    error.what = f"{error.what}; {prepared.note}"
    error.args = (error.what,)
    try:
        enough = choose(prepared.whole, site, seed=seed).feasible is not False
    except GraphError:
        enough = False
    if enough:
        keep = [remedy for remedy in error.remedies if remedy.startswith("pass keep_parent")]
        error.remedies = ("give the blobs with an activation twice the channels", SLOPE, *keep)
    else:
        error.remedies = tuple(
            f"{each}; pairs need twice that" if each.startswith("widen to") else each for each in error.remedies
        )
    return error


@on_cpu
def choose(graph: ModuleGraph, site: ConvSpec, *, seed: int) -> Verdict:
    """Return the first layout that can hold any filter; else the undecided, else the nearest one.

    Raises:
        GraphError: if no layout fits the site.
    """
    return ranked(graph, site, seed=seed)[0]


def ranked(graph: ModuleGraph, site: ConvSpec, *, seed: int) -> list[Verdict]:
    """Return the verdicts on all layouts, best first; stops at the first that can hold any filter.

    Where that has badly conditioned matrices, which cost half precision its last digits, the next few are looked at.
    """
    verdicts: list[Verdict] = []
    errors: list[GraphError] = []
    shaky: list[Verdict] = []
    after = 0
    for layout in layouts(graph, site):
        if isinstance(layout, GraphError):
            errors.append(layout)
            continue
        verdict = judge(layout)
        if verdict.feasible is None:
            verdict = by_rank(verdict, seed)
        if verdict.feasible and verdict.condition <= STEADY:
            return [verdict]
        (shaky if verdict.feasible else verdicts).append(verdict)
        after += bool(shaky)
        if after > FURTHER:
            break
    if shaky:
        return [min(shaky, key=lambda v: v.condition)]
    if not verdicts:
        raise errors[0]
    return sorted(verdicts, key=lambda v: (v.feasible is False, -v.score))


def by_rank(verdict: Verdict, seed: int) -> Verdict:
    """Return the verdict of the numeric rank of the drawn matrices."""
    layout = verdict.layout
    share = most_share(layout)
    if share < 1:
        return _lacking(layout, share)
    try:
        drawn = draw_system(layout, seed)
    except GraphError as error:
        return Verdict(layout, False, error.what, missing=error.what, score=0.1)
    factors = drawn[1]
    known = [factor.full_rank for factor in factors.values()]
    if all(known):
        condition = max((factor.condition for factor in factors.values()), default=1.0)
        return Verdict(layout, True, "the drawn matrices have full rank", condition=condition, drawn=drawn)
    if any(rank is False for rank in known):
        return _lacking(layout, min(factor.share for factor in factors.values()))
    return Verdict(layout, None, "several edges cross a middle cut, and only the residual decides", score=0.95)


def _lacking(layout: Layout, share: float) -> Verdict:
    rows, columns = needed_ranks(layout, frame(layout)[0])
    return Verdict(
        layout,
        False,
        "the matrices around the cut lack rank",
        missing=f"{columns} channels (times the taps carried there) must pass before the cut and {rows} behind it",
        remedy="widen the inner blobs; fixed or grouped edges, and taps on both sides, need more than the max-flow",
        score=0.9 + share / 20,
    )


def _cost(layout: Layout) -> tuple[int, int]:
    """Return (weights, MACs for each output position) of the module's edges."""
    params, macs = 0, 0.0
    total = dict.fromkeys(layout.graph.blobs, 1.0)
    for blob in reversed(layout.graph.blobs[:-1]):
        edge = layout.graph.outgoing[blob][0]
        total[blob] = total[edge.sink] * math.prod(layout.specs[edge.name].stride)
    for edge in layout.graph.edges:
        if edge.fixed is None:
            weights = math.prod(layout.specs[edge.name].weight_shape)
            params += weights
            macs += weights * total[edge.sink]
    return params, round(macs)
