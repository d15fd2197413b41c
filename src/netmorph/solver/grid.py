"""Reading filters as matrices on the site's grid of taps.

In the dimensions of the solved cut the equation falls apart, one matrix equation a tap. In the others the taps are
carried before the cut ("up": they join the input channels) or behind it ("down": they join the output channels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.compose import common_grid
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout, resolutions
from netmorph.graph.spec import Edge

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """The taps of the equation.

    Attributes:
        offset: source position of the first tap.
        dilation: step between taps.
        kernel: taps in each dimension.
        star: dimensions whose taps the solved cut carries.
        up: dimensions carried before it.
        down: dimensions carried behind it.
        groups: block structure of the whole equation over channels.
    """

    offset: Ints
    dilation: Ints
    kernel: Ints
    star: Ints
    up: Ints
    down: Ints
    groups: int

    @property
    def taps_up(self) -> int:
        """Taps carried before the cut."""
        return math.prod(self.kernel[d] for d in self.up)

    @property
    def taps_down(self) -> int:
        """Taps carried behind the cut."""
        return math.prod(self.kernel[d] for d in self.down)

    @property
    def star_kernel(self) -> Ints:
        """Taps of the solved cut, in each of its dimensions."""
        return tuple(self.kernel[d] for d in self.star)


def equation_groups(layout: Layout) -> int:
    """Return the block structure that the target and every edge share; 1 where one edge is dense."""
    return math.gcd(layout.site.groups, *(spec.groups for spec in layout.specs.values()))


def grid_of(layout: Layout, extra: list[Filter]) -> Grid:
    """Return the grid that holds the site's taps and those of `extra` (edges without weights that cross the cut)."""
    site = layout.site
    shape = Filter(torch.empty(1, 1, *site.kernel), site.offset, site.dilation, site.stride)
    offset, dilation, kernel = common_grid([shape, *extra])
    dims = range(site.dims)
    star = tuple(d for d in dims if layout.cuts[d] == layout.cut)
    up = tuple(d for d in dims if layout.cuts[d] < layout.cut)
    down = tuple(d for d in dims if layout.cuts[d] > layout.cut)
    return Grid(offset, dilation, kernel, star, up, down, equation_groups(layout))


def target_taps(target: Filter, grid: Grid) -> Tensor:
    """Return the target as (*star kernel, groups, rows, columns): a matrix for each tap and group."""
    placed = target.regroup(grid.groups).place(grid.offset, grid.dilation, grid.kernel)
    g = grid.groups
    blocks = placed.weight.reshape(g, placed.c_out // g, placed.c_in // g, *grid.kernel)
    axes = [3 + d for d in grid.star], [3 + d for d in grid.down], [3 + d for d in grid.up]
    blocks = blocks.permute(*axes[0], 0, 1, *axes[1], 2, *axes[2])
    return blocks.reshape(*grid.star_kernel, g, placed.c_out // g * grid.taps_down, placed.c_in // g * grid.taps_up)


def upstream_matrix(part: Filter, grid: Grid) -> Tensor:
    """Return the filter from the source to a blob as (groups, width / groups, c_in / groups * taps up), its groups."""
    return _flatten(part, grid, grid.up, grid.offset, grid.dilation).flatten(2)


def downstream_matrix(part: Filter, grid: Grid, resolution: Ints) -> Tensor:
    """Return the filter from a blob to the sink as (groups, c_out / groups * taps down, width / groups), its groups.

    Args:
        part: in the blob's own positions.
        grid: in the source's positions.
        resolution: total stride from the source to the blob.
    """
    scaled = replace(
        part,
        offset=tuple(o * r for o, r in zip(part.offset, resolution, strict=True)),
        dilation=tuple(d * r for d, r in zip(part.dilation, resolution, strict=True)),
    )
    own = _flatten(scaled, grid, grid.down, grid.offset, grid.dilation)
    return own.transpose(2, 3).flatten(1, 2)


def _flatten(part: Filter, grid: Grid, dims: Ints, offset: Ints, dilation: Ints) -> Tensor:
    """Return (groups, rows, columns, taps) with the taps of `dims` only; elsewhere a single tap at offset 0."""
    kept = [d in dims for d in range(part.dims)]
    placed = part.place(
        tuple(o if keep else 0 for o, keep in zip(offset, kept, strict=True)),
        tuple(s if keep else 1 for s, keep in zip(dilation, kept, strict=True)),
        tuple(k if keep else 1 for k, keep in zip(grid.kernel, kept, strict=True)),
    )
    return placed.blocks()


def tap_pairs(layout: Layout, edge: Edge, grid: Grid, dim: int) -> list[tuple[int, int]]:
    """Return the (tap of the edge, tap of the grid) pairs at the same source position in one dimension."""
    spec = layout.specs[edge.name]
    step = resolutions(layout.graph, layout.site, layout.cuts[dim], dim)[edge.source]
    pairs = []
    for k in range(spec.kernel[dim]):
        place = step * (spec.offset[dim] + k * spec.dilation[dim]) - grid.offset[dim]
        if place % grid.dilation[dim] == 0 and 0 <= place // grid.dilation[dim] < grid.kernel[dim]:
            pairs.append((k, place // grid.dilation[dim]))
    return pairs


def ravel(index: Sequence[int], kernel: Ints) -> int:
    """Return the flat number of a tap."""
    flat = 0
    for place, size in zip(index, kernel, strict=True):
        flat = flat * size + place
    return flat


def middle_tap(layout: Layout, edge: Edge) -> Ints:
    """Return the index of the edge's one non-zero tap: its middle (the earlier of two)."""
    return tuple((k - 1) // 2 for k in layout.specs[edge.name].kernel)


def check_pooling(layout: Layout) -> None:
    """Raise if an edge that averages over space does not cross the solved cut with all its taps.

    Raises:
        GraphError: if there is such an edge, which rules out pointwise fill; the message names it.
    """
    for edge in layout.graph.edges:
        spec = layout.specs[edge.name]
        if edge.fixed is None or spec.taps == 1:
            continue
        crosses = edge.source in layout.cut and edge.sink not in layout.cut
        if not crosses or any(k > 1 and layout.cuts[d] != layout.cut for d, k in enumerate(spec.kernel)):
            raise GraphError(f"edge {edge.name!r} averages over space and does not cross the cut")
