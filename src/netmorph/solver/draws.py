"""Drawing the edges that are not solved for: orthogonal noise, one tap an edge (docs/algebra.md, "Pointwise fill").

Sums of orthogonal matrices can cancel. So the edges on a maximum flow get gain 1, drawn together where they meet or
where they fork before that; all others get 0.25, shared among those that meet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.graph.flow import flow
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge
from netmorph.solver.equation import fixed_filter
from netmorph.solver.grid import Grid, middle_tap, ravel, tap_pairs
from netmorph.solver.noise import LARGEST_QR, Mixing, generator, semi_orthogonal

OFF_FLOW_GAIN = 0.25


@dataclass(frozen=True)
class Side:
    """The edges on one side of the solved cut.

    Attributes:
        edges: with weights, in the graph's order.
        on: names of those on the chosen maximum flow.
        behind: whether this is the sink's side.
    """

    edges: tuple[Edge, ...]
    on: frozenset[str]
    behind: bool

    def meeting(self, edge: Edge) -> str:
        """Return the blob at which the edge's product is added to others': its source behind the cut, else its sink."""
        return edge.source if self.behind else edge.sink


def sides_of(layout: Layout, carrying: Collection[str]) -> tuple[Side, Side]:
    """Return the sides before and behind the cut, with the flow that `carrying` edges need."""
    graph, cut = layout.graph, layout.cut
    free = [edge for edge in graph.edges if edge.fixed is None]
    parts = (
        tuple(edge for edge in free if edge.sink in cut),
        tuple(edge for edge in free if edge.source not in cut),
    )
    # Where some taps have fewer carriers, those must do alone: drawn together with others' edges they might not.
    partly = any(edge.fixed is None and edge.name not in carrying for edge in layout.crossing(cut))
    made = []
    for behind, edges in enumerate(parts):
        side = Side(edges, frozenset(edge.name for edge in edges), bool(behind))
        table = graph.outgoing if behind else graph.incoming
        taps = any(_carries_taps(layout, edge) for edge in edges)  # then no flow of channels says what matters
        if not taps and (partly or any(len(table[side.meeting(edge)]) > 1 for edge in edges)):
            found = flow(graph, layout.widths, carrying, "down" if behind else "up")
            side = Side(edges, frozenset(name for name, units in found.on.items() if units), bool(behind))
        made.append(side)
    return made[0], made[1]


def draw(
    layout: Layout, grid: Grid, sides: tuple[Side, Side], seed: int, attempt: int
) -> tuple[dict[str, Filter], dict[str, Mixing]]:
    """Return a filter for every edge that does not cross the solved cut, and for all edges without weights.

    The second dictionary has the matrices of large edges to the sink that alone leave their blob, as they were made.
    """
    mixings: dict[str, Mixing] = {}
    filters = {
        edge.name: fixed_filter(edge, layout.specs[edge.name]) for edge in layout.graph.edges if edge.fixed is not None
    }
    for side in sides:
        together: dict[tuple[str, int], list[Edge]] = {}
        for edge in side.edges:
            spec = layout.specs[edge.name]
            joint = edge.name in side.on and not _carries_taps(layout, edge)
            fork = joint and _forks(layout, side, edge)
            key = (edge.sink if side.behind != fork else edge.source) if joint else f"-{edge.name}"
            together.setdefault((f"+{key}" if fork else key, spec.groups), []).append(edge)
        off = _off_flow_counts(side)
        for (key, groups), edges in together.items():
            random = generator(seed, attempt, key, groups, *(edge.name for edge in edges))
            mixing = _mixing(layout, side, edges, random)
            if mixing is None:
                made = _matrices(layout, grid, side, edges, groups, random)
            else:
                made = [(edges[0], mixing.matrix().unsqueeze(0))]
            for edge, matrix in made:
                gain = 1.0 if edge.name in side.on else OFF_FLOW_GAIN / off[side.meeting(edge)]
                if attempt:  # matrices of size 1 are all alike: only their gains can be drawn anew
                    gain *= 0.25 + float(torch.rand((), generator=random, dtype=torch.float32))
                filters[edge.name] = _spread(layout, grid, edge, matrix if gain == 1 else gain * matrix)
                if mixing is not None:
                    mixings[edge.name] = replace(mixing, scale=gain)
    return filters, mixings


def _mixing(layout: Layout, side: Side, edges: list[Edge], random: torch.Generator) -> Mixing | None:
    """Return the drawn matrix of a large dense edge to the sink that alone leaves its blob; None for others."""
    edge, graph = edges[0], layout.graph
    spec = layout.specs[edge.name]
    alone = side.behind and edge.sink == graph.sink and len(graph.outgoing[edge.source]) == 1
    if not alone or spec.groups > 1 or not LARGEST_QR < spec.c_in >= spec.c_out or _carries_taps(layout, edge):
        return None
    return Mixing.draw(spec.c_out, spec.c_in, random) if len(edges) == 1 else None


def _off_flow_counts(side: Side) -> Mapping[str, int]:
    counts: dict[str, int] = {}
    for edge in side.edges:
        if edge.name not in side.on:
            blob = side.meeting(edge)
            counts[blob] = counts.get(blob, 0) + 1
    return counts


def _matrices(
    layout: Layout, grid: Grid, side: Side, edges: list[Edge], groups: int, random: torch.Generator
) -> list[tuple[Edge, Tensor]]:
    """Return (groups, rows, columns) matrices, orthogonal as a whole: side by side where they join, else stacked."""
    specs = [layout.specs[edge.name] for edge in edges]
    if _carries_taps(layout, edges[0]):  # such an edge is drawn alone
        taps = _tap_count(layout, grid, edges[0])
        rows, cols = specs[0].c_out // groups, specs[0].c_in // groups
        return [(edges[0], _tapwise(groups, rows, cols, taps, random, behind=side.behind))]
    if side.behind != (len(edges) > 1 and _forks(layout, side, edges[0])):
        columns = [spec.c_in // groups for spec in specs]
        whole = semi_orthogonal(groups, specs[0].c_out // groups, sum(columns), random)
        return list(zip(edges, torch.split(whole, columns, dim=2), strict=True))
    rows_each = [spec.c_out // groups for spec in specs]
    whole = semi_orthogonal(groups, sum(rows_each), specs[0].c_in // groups, random)
    return list(zip(edges, torch.split(whole, rows_each, dim=1), strict=True))


def _tapwise(groups: int, rows: int, cols: int, taps: int, random: torch.Generator, *, behind: bool) -> Tensor:
    """Return (groups, rows, cols * taps), orthogonal with its taps along columns before the cut, along rows behind."""
    if not behind:
        return semi_orthogonal(groups, rows, cols * taps, random)
    stacked = semi_orthogonal(groups, rows * taps, cols, random)
    return stacked.reshape(groups, rows, taps, cols).transpose(2, 3).reshape(groups, rows, cols * taps)


def _forks(layout: Layout, side: Side, edge: Edge) -> bool:
    """Return whether several edges leave an edge's source and it alone enters its sink (before the cut: mirrored).

    Drawn each by itself, what forks and joins again would add up products that nothing keeps from cancelling.
    """
    forks, joins = layout.graph.outgoing[edge.source], layout.graph.incoming[edge.sink]
    many, lone = (forks, joins) if side.behind else (joins, forks)
    return len(many) > 1 and len(lone) == 1


def _own_dims(layout: Layout, edge: Edge) -> list[int]:
    """Return the dimensions whose taps this edge, which does not cross the solved cut, carries."""
    return [d for d, cut in enumerate(layout.cuts) if edge.source in cut and edge.sink not in cut]


def _carries_taps(layout: Layout, edge: Edge) -> bool:
    return bool(_own_dims(layout, edge))


def _shared_taps(layout: Layout, grid: Grid, edge: Edge) -> list[list[int]]:
    """Return, for each dimension, the edge's taps that may be non-zero: those on the grid where it carries, else one.

    Raises:
        GraphError: if the edge has no tap on the grid.
    """
    own, middle = _own_dims(layout, edge), middle_tap(layout, edge)
    out = []
    for d in range(layout.site.dims):
        good = [k for k, _ in tap_pairs(layout, edge, grid, d)] if d in own else [middle[d]]
        if not good:
            raise GraphError(f"no tap of edge {edge.name!r} is a tap of the site")
        out.append(good)
    return out


def _tap_count(layout: Layout, grid: Grid, edge: Edge) -> int:
    count = 1
    for taps in _shared_taps(layout, grid, edge):
        count *= len(taps)
    return count


def _spread(layout: Layout, grid: Grid, edge: Edge, matrix: Tensor) -> Filter:
    """Return the edge's filter with `matrix` (groups, rows, columns * taps) on its taps and zeros elsewhere."""
    spec = layout.specs[edge.name]
    if spec.taps == 1:
        return Filter.of(matrix.reshape(spec.weight_shape), spec)
    taps = _shared_taps(layout, grid, edge)
    weight = matrix.new_zeros(spec.flat_shape)
    flat = torch.tensor([ravel(tap, spec.kernel) for tap in product(*taps)])
    weight[:, :, flat] = matrix.reshape(spec.c_out, spec.c_in // spec.groups, -1)
    return Filter.of(weight.reshape(spec.weight_shape), spec)
