"""The linear system of one cut: sum over its edges of A_v F_e B_u = G, a matrix equation for each tap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.layout import Layout, resolutions
from netmorph.graph.spec import Edge
from netmorph.solver.draws import draw, sides_of
from netmorph.solver.equation import after, before, downstream, fixed_filter, upstream
from netmorph.solver.grid import (
    Grid,
    check_pooling,
    downstream_matrix,
    grid_of,
    middle_tap,
    ravel,
    tap_pairs,
    upstream_matrix,
)
from netmorph.solver.noise import Mixing, generator, semi_orthogonal

Tap = tuple[int, ...]
Carriers = tuple[str, ...]


@dataclass(frozen=True)
class System:
    """One draw of the edges around the cut, and what remains to be solved.

    Attributes:
        layout: how the module runs.
        grid: taps of the equation.
        solved: the edges solved for.
        drawn: filters of all edges but those.
        up: for each blob before the cut, blocks of (width, c_in * taps up), or None for the identity.
        down: for each blob behind it, blocks of (c_out * taps down, width), or None for the identity.
        tables: for each solved edge and star dimension, its taps on the grid.
        mixings: for blobs behind the cut with a lone, large edge to the sink: that edge's matrix as it was drawn.
        entry: the filter of the lone first edge, where the target is divided by it instead of `up` being multiplied.
    """

    layout: Layout
    grid: Grid
    solved: tuple[Edge, ...]
    drawn: dict[str, Filter]
    up: dict[str, Tensor | None]
    down: dict[str, Tensor | None]
    tables: dict[str, list[list[tuple[int, int]]]]
    mixings: dict[str, Mixing]
    entry: Filter | None = None

    def edge(self, name: str) -> Edge:
        """Return the edge of that name."""
        return self.layout.graph.edge(name)

    @property
    def rows(self) -> int:
        """Rows of each tap's equation."""
        return needed_ranks(self.layout, self.grid)[0]

    @property
    def columns(self) -> int:
        """Columns of each tap's equation."""
        return needed_ranks(self.layout, self.grid)[1]

    def block(self, name: str) -> tuple[int, int, int]:
        """Return the shape of an edge's matrices at one tap: its own groups, rows and columns."""
        spec = self.layout.specs[name]
        return spec.groups, spec.c_out // spec.groups, spec.c_in // spec.groups

    def enter(self, rest: Tensor) -> Tensor:
        """Return the target's taps, (taps, groups, rows, columns), divided by the lone first edge, if any."""
        if self.entry is None:
            return rest
        first = self.entry.blocks()[..., 0]
        inverse = first.mT / first.square().sum((-2, -1), keepdim=True) * first.shape[-1]  # it is orthogonal
        apart = rest.reshape(*rest.shape[:-1], first.shape[-1], -1)
        return torch.einsum("tgrck,gca->tgrak", apart, inverse).flatten(-2)

    @cached_property
    def carriers(self) -> dict[Carriers, list[Tap]]:
        """The star taps of the grid by the solved edges that have them."""
        return carriers_of(self.grid, self.tables)

    def passing(self) -> Iterator[Filter]:
        """Yield the filter of every s-t route over a crossing edge that is not solved for."""
        layout = self.layout
        names = {edge.name for edge in self.solved}
        others = [edge for edge in layout.crossing(layout.cut) if edge.name not in names]
        if not others:
            return
        inner = upstream(layout.graph, self.drawn, layout.cut)
        outer = downstream(layout.graph, self.drawn, frozenset(layout.graph.blobs) - layout.cut)
        for edge in others:
            yield before(outer[edge.sink], after(self.drawn[edge.name], inner[edge.source]))


def split_crossing(layout: Layout) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    """Return the crossing edges that can be solved for, and those with weights that only pass by.

    The latter cross the cut of another dimension too, so that their taps there are not the noise's.
    """
    free = [edge for edge in layout.crossing(layout.cut) if edge.fixed is None]
    aside = tuple(
        edge
        for edge in free
        if any(edge.source in cut and edge.sink not in cut for cut in layout.cuts if cut != layout.cut)
    )
    return tuple(edge for edge in free if edge not in aside), aside


def frame(layout: Layout) -> tuple[Grid, dict[str, list[list[tuple[int, int]]]]]:
    """Return the grid of taps and every solved edge's place on it; no weights, no noise.

    Raises:
        GraphError: if the layout does not suit pointwise fill.
    """
    check_pooling(layout)
    fixed = [edge for edge in layout.crossing(layout.cut) if edge.fixed is not None]
    grid = grid_of(layout, [fixed_filter(edge, layout.specs[edge.name]).trim() for edge in fixed])
    solved = split_crossing(layout)[0]
    return grid, {edge.name: [tap_pairs(layout, edge, grid, d) for d in grid.star] for edge in solved}


def needed_ranks(layout: Layout, grid: Grid) -> tuple[int, int]:
    """Return rows and columns of each tap's equation: a group's channels times the taps carried on that side."""
    site, groups = layout.site, grid.groups
    return site.c_out // groups * grid.taps_down, site.c_in // groups * grid.taps_up


def carriers_of(grid: Grid, tables: dict[str, list[list[tuple[int, int]]]]) -> dict[Carriers, list[Tap]]:
    """Return the star taps of the grid by the names of the edges that have them."""
    found: dict[Carriers, list[Tap]] = {}
    have = {name: [{place for _, place in pairs} for pairs in table] for name, table in tables.items()}
    for tap in product(*map(range, grid.star_kernel)):
        names = tuple(name for name, places in have.items() if all(t in p for t, p in zip(tap, places, strict=True)))
        found.setdefault(names, []).append(tap)
    return found


def build(layout: Layout, seed: int, attempt: int, aside_scale: float = 1.0) -> System:
    """Draw the edges around the cut and reduce both sides to matrices.

    Args:
        layout: how the module runs.
        seed: random seed.
        attempt: counts redraws.
        aside_scale: size of the edges that only pass by.
    """
    grid, tables = frame(layout)
    weakest = min(filter(None, carriers_of(grid, tables)), key=len, default=())  # the flow must serve these
    drawn, mixings = draw(layout, grid, sides_of(layout, weakest), seed, attempt)
    solved, aside = split_crossing(layout)
    drawn |= {edge.name: _aside(layout, edge, seed, attempt, aside_scale) for edge in aside}
    first = _lone_entry(layout, grid)
    entry = None if first is None else drawn[first.name]
    skipping = drawn if first is None else drawn | {first.name: _nothing(layout.specs[first.name])}
    inner = upstream(layout.graph, skipping, layout.cut)
    outer = downstream(layout.graph, drawn, frozenset(layout.graph.blobs) - layout.cut)
    sources, sinks = {edge.source for edge in solved}, {edge.sink for edge in solved}
    steps = [resolutions(layout.graph, layout.site, layout.cuts[d], d) for d in range(layout.site.dims)]
    return System(
        layout,
        grid,
        solved,
        drawn,
        {b: None if f is None else upstream_matrix(f, grid) for b, f in inner.items() if b in sources},
        {
            b: None if f is None else downstream_matrix(f, grid, tuple(step[b] for step in steps))
            for b, f in outer.items()
            if b in sinks
        },
        tables,
        {} if grid.down else {layout.graph.edge(name).source: mixing for name, mixing in mixings.items()},
        entry,
    )


def _lone_entry(layout: Layout, grid: Grid) -> Edge | None:
    """Return the one edge that leaves the source, where it is a square 1x1 and taps are carried between it and the cut.

    These are then often a depthwise edge's, whose matrix falls apart into small blocks. Multiplied by the first edge's,
    it would have as many columns as there are channels and taps, and no zeros.
    """
    edges = layout.graph.outgoing[layout.graph.source]
    if not grid.up or len(edges) > 1 or edges[0].sink not in layout.cut or edges[0].fixed is not None:
        return None
    spec = layout.specs[edges[0].name]
    carries = any(edges[0].sink not in cut for cut in layout.cuts)
    plain = spec.groups == grid.groups and spec.taps == 1 and all(step == 1 for step in spec.stride)
    return edges[0] if spec.c_in == spec.c_out and plain and not carries else None


def _nothing(spec: ConvSpec) -> Filter:
    """Return the identity on an edge's channels, channel by channel."""
    return Filter.of(torch.ones(spec.c_in, 1, *spec.kernel, dtype=torch.float64), spec.with_(groups=spec.c_in))


def _aside(layout: Layout, edge: Edge, seed: int, attempt: int, scale: float) -> Filter:
    spec = layout.specs[edge.name]
    matrix = semi_orthogonal(
        spec.groups, spec.c_out // spec.groups, spec.c_in // spec.groups, generator(seed, attempt, "aside", edge.name)
    )
    weight = torch.zeros(spec.flat_shape, dtype=torch.float64)
    weight[:, :, ravel(middle_tap(layout, edge), spec.kernel)] = scale * matrix.reshape(spec.flat_shape[:2])
    return Filter.of(weight.reshape(spec.weight_shape), spec)
