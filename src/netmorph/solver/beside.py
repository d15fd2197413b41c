"""Births beside what stays: branches with a real activation whose output is zero or cancels (beyond the paper).

The part of a graph without activations holds the layer's filter, as in any morph; all else is a branch. Of the two
factors of a branch one is random and the other zero, which learns from the first step and lets the other learn from the
second (birth "zero"); or its channels come as twins whose readers cancel, so that both learn at once ("cancel").
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Cut, Layout, lay_out
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.symmetry import Symmetry
from netmorph.solver.equation import fixed_filter
from netmorph.solver.noise import generator

ZERO = "use birth='zero', which needs no pairs of equal channels"


@dataclass(frozen=True)
class Parted:
    """A graph parted into what holds the layer's filter and the branches beside it.

    Attributes:
        whole: the graph.
        core: the part without activations; None where no path is without.
        closing: names of the edges by which branches enter the core.
        branch: blobs of the branches.
        twins: whether channels that the core reads are twins whose readers cancel; else their readers are zero.
    """

    whole: ModuleGraph
    core: ModuleGraph | None
    closing: frozenset[str]
    branch: frozenset[str]
    twins: bool = False

    def layout(self, core: Layout) -> Layout:
        """Return the layout of the whole graph from that of its core, which may have one edge more (the parent's).

        Raises:
            GraphError: if a blob has an odd number of channels, or the branches do not fit the site.
        """
        names = {edge.name for edge in self.whole.edges}
        quiet = {*self.closing, *(edge.name for edge in core.graph.edges)}
        edges = [_quiet(edge) if edge.name in quiet else edge for edge in self.whole.edges]
        edges += [_quiet(edge) for edge in core.graph.edges if edge.name not in names]
        whole = replace(self.whole, edges=tuple(edges))
        cuts = [_closed(whole, cut) for cut in core.cuts]
        layout = lay_out(whole, core.site, cuts, _closed(whole, core.cut), border=core.border)
        if self.twins:
            _twins(layout, self)
        return layout

    def filters(self, layout: Layout, filters: Mapping[str, Filter], *, seed: int, size: float) -> dict[str, Filter]:
        """Return the filters of the whole graph from those of its core.

        Random weights have He's scale (2015), so that signals keep theirs.

        Args:
            layout: of the whole graph.
            filters: of the core.
            seed: random seed of the branches' weights.
            size: of what cancels, relative to He's scale.

        Raises:
            GraphError: if the weights that read two equal channels would all be zero, so that the channels would never
                differ.
        """
        if self.twins and not size:
            raise GraphError(
                "birth='cancel' needs pairs of weights that cancel, and with noise=0 they would be zero",
                remedies=["pass a noise= above 0", ZERO],
            )
        paired = _twins(layout, self) if self.twins else set()
        return {
            edge.name: filters[edge.name]
            if edge.name in filters
            else _drawn(layout, edge, self, paired, seed=seed, size=size)
            for edge in layout.graph.edges
        }


def part(graph: ModuleGraph, acts: Mapping[str, Symmetry], *, twins: bool = False) -> Parted:
    """Part a graph into its core and its branches.

    Args:
        graph: the module graph.
        acts: the activations of its inner blobs; a blob that is missing has none.
        twins: as `Parted` has it.

    Raises:
        GraphError: if there is no branch, or one enters the core by an edge without weights.
    """
    linear = [edge for edge in graph.edges if edge.source not in acts and edge.sink not in acts]
    down = _reached(linear, {graph.source}, forward=True)
    core = down & _reached(linear, {graph.sink}, forward=False)
    branch = frozenset(graph.blobs) - core - {graph.source, graph.sink}
    if not branch:
        raise GraphError(
            "birth='zero' and birth='cancel' need a branch with an activation, and the graph has none",
            graph=str(graph),
            remedies=["add one, as in '3x3 | 3x3 > 3x3'", "name an activation with act="],
        )
    closing = [edge for edge in graph.edges if edge.source in branch and edge.sink not in branch]
    fixed = [edge.name for edge in closing if edge.fixed is not None]
    if fixed:
        raise GraphError(
            f"edge {fixed[0]!r} ends a branch and has no weights that could be initialised as zero",
            graph=str(graph),
            remedies=["end the branch in a 1x1 convolution", "use birth='slope'"],
        )
    within = {graph.source, graph.sink} | core
    edges = (
        tuple(edge for edge in linear if edge.source in within and edge.sink in within) if graph.sink in core else ()
    )
    widths = tuple((blob, width) for blob, width in graph.width_items if blob in core)
    whole = ModuleGraph(edges, widths, (), graph.source, graph.sink) if edges else None
    return Parted(graph, whole, frozenset(edge.name for edge in closing), branch, twins)


def is_silent(graph: ModuleGraph, parted: Parted, filters: Mapping[str, Filter]) -> bool:
    """Return whether nothing comes out of the branches, as at birth: zero readers, or twins whose readers cancel."""
    readers: dict[str, list[Tensor]] = {}
    for name in parted.closing:
        weight = filters[name].weight
        if weight.any():
            readers.setdefault(graph.edge(name).source, []).append(weight)
    return all(
        all(weight.shape[1] % 2 == 0 and torch.equal(weight[:, ::2], -weight[:, 1::2]) for weight in weights)
        and _are_twins(graph, blob, filters, set())
        for blob, weights in readers.items()
    )


def _are_twins(graph: ModuleGraph, blob: str, filters: Mapping[str, Filter], seen: set[str]) -> bool:
    """Return whether neighbouring channels of a blob compute the same."""
    if blob in seen:
        return True
    for edge in graph.incoming[blob]:
        weight = filters[edge.name].weight
        if len(weight) % 2 or not torch.equal(weight[::2], weight[1::2]):
            return False
        groups = filters[edge.name].groups
        if groups > 1 and (len(weight) // groups) % 2 and not _are_twins(graph, edge.source, filters, seen | {blob}):
            return False
    return True


def _quiet(edge: Edge) -> Edge:
    """Return an edge without a norm, unless it names one: the sum that it enters is what the layer computes."""
    return edge if edge.fixed is not None or edge.norm is not None else replace(edge, norm="none")


def _reached(edges: Collection[Edge], start: set[str], *, forward: bool) -> set[str]:
    found, todo = set(start), list(start)
    while todo:
        blob = todo.pop()
        for edge in edges:
            here, there = (edge.source, edge.sink) if forward else (edge.sink, edge.source)
            if here == blob and there not in found:
                found.add(there)
                todo.append(there)
    return found


def _closed(graph: ModuleGraph, cut: Iterable[str]) -> Cut:
    """Return the least monotone cut with the blobs of one of the core on the source's side."""
    return frozenset(_reached(graph.edges, set(cut) | {graph.source}, forward=False))


def _twins(layout: Layout, parted: Parted) -> set[str]:
    """Return the blobs whose channels come as twins, neighbours that compute the same.

    Raises:
        GraphError: if a blob has an odd number of channels, or an edge cannot write or read pairs of equal channels.
    """
    graph, widths = layout.graph, layout.widths
    twins = {edge.source for edge in graph.edges if edge.name in parted.closing}
    todo = sorted(twins)
    while todo:
        blob = todo.pop()
        if widths[blob] % 2:
            raise _no_twins(graph, f"blob {blob!r} has an odd number of channels, {widths[blob]}")
        for edge in graph.incoming[blob]:
            spec = layout.specs[edge.name]
            if edge.fixed is not None or (spec.groups > 1 and (spec.c_out // spec.groups) % 2):
                if edge.source not in parted.branch:
                    raise _no_twins(graph, f"edge {edge.name!r} writes each channel once")
                if edge.source not in twins:
                    twins.add(edge.source)
                    todo.append(edge.source)
        for edge in graph.outgoing[blob]:
            spec = layout.specs[edge.name]
            if edge.name in parted.closing and (spec.c_in // spec.groups) % 2:
                raise _no_twins(graph, f"edge {edge.name!r} reads the channels of a pair separately")
    return twins


def _no_twins(graph: ModuleGraph, why: str) -> GraphError:
    return GraphError(f"birth='cancel' needs pairs of equal channels: {why}", graph=str(graph), remedies=[ZERO])


def _drawn(layout: Layout, edge: Edge, parted: Parted, twins: set[str], *, seed: int, size: float) -> Filter:
    spec = layout.specs[edge.name]
    if edge.fixed is not None:
        return fixed_filter(edge, spec)
    closing = edge.name in parted.closing
    if closing and edge.source not in twins:
        return Filter.of(torch.zeros(spec.weight_shape, dtype=torch.float64, device="cpu"), spec)
    into = len(layout.graph.incoming[edge.sink])
    bound = math.sqrt(6 / (into * math.prod(spec.weight_shape[1:]))) * (size if closing else 1.0)
    random = generator(seed, "branch", edge.name)
    weight = (torch.rand(spec.weight_shape, generator=random, dtype=torch.float64) * 2 - 1) * bound
    if closing:
        weight = _cancelling(weight)
    elif edge.sink in twins:
        weight = weight[::2].repeat_interleave(2, 0)
    return Filter.of(weight, spec)


def _cancelling(weight: Tensor) -> Tensor:
    """Return a weight whose every second column is the negative of the one before it."""
    return torch.stack([weight[:, ::2], -weight[:, ::2]], 2).flatten(1, 2)
