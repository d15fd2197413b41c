"""Solving along the morphing sequence: one Type I or Type II operation after the other, each checked (section 3.5).

Every operation splits one filter into two. One of the two carries the site's taps on; a Type II partner is a noise
branch of a single tap, a Type I partner is pointwise. What carries is decided for each operation by itself, so this may
refuse what the joint cut can hold (`3x3:0.5x > 1x1 | 3x3:0.5x > 1x1`), and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.filters.compose import add, compose
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec, per_dimension
from netmorph.graph.layout import Layout, lay_out, resolve_widths
from netmorph.graph.reduce import reduce
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.solver.noise import generator, semi_orthogonal

UNLIMITED = 1 << 30
STEP_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Node:
    """An edge of a reduced graph: a leaf of the module, or the two edges that it becomes.

    Attributes:
        edge: the edge itself, where it is a leaf.
        kind: "leaf", "I" (series: `first`, then `second`) or "II" (parallel).
        first: first of the two.
        second: second of the two.
        blob: the blob between them (Type I).
        capacity: the largest rank of a pointwise filter that it can be.
        carries: the largest rank of a filter with the site's taps that it can be.
    """

    edge: Edge | None
    kind: Literal["leaf", "I", "II"]
    first: Node | None = None
    second: Node | None = None
    blob: str = ""
    capacity: int = 0
    carries: int = 0

    @property
    def parts(self) -> tuple[Node, Node]:
        """The two edges that it becomes."""
        assert self.first is not None
        assert self.second is not None
        return self.first, self.second

    @property
    def fixed(self) -> bool:
        """Whether it is an edge without weights."""
        return self.edge is not None and self.edge.fixed is not None


@dataclass
class Walk:
    """What the walk along the sequence knows and finds."""

    graph: ModuleGraph
    site: ConvSpec
    widths: Mapping[str, int]
    seed: int
    noise: float
    targets: dict[str, Filter] = field(default_factory=dict)
    before: set[str] = field(default_factory=set)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def refuse(self, what: str) -> InfeasibleMorph:
        """Return the error that names the operation at which the sequence ends."""
        return InfeasibleMorph(
            f"step {len(self.checks) + 1} of the morphing sequence cannot be solved separately: {what}",
            missing=what,
            graph=str(self.graph),
            shapes=str(self.site),
            remedies=["use method='closed-form', which solves a whole cut at once", "widen the blob"],
        )


def step_through(
    graph: ModuleGraph, site: ConvSpec, target: Filter, *, seed: int, noise: float
) -> tuple[Layout, dict[str, Filter], list[dict[str, Any]]]:
    """Return the layout, the filters, and one record for every operation with its relative residual.

    Raises:
        InfeasibleMorph: if the graph is complex (Algorithm 1 leaves a core), or an operation cannot be done by itself.
        GraphError: if the graph has explicit strides or grouped edges, which this method does not support.
    """
    if any(e.stride is not None or e.groups != 1 or (e.fixed and e.fixed.kind != "id") for e in graph.edges):
        raise GraphError(
            "the stepwise method supports only graphs without explicit strides, groups and pooling",
            graph=str(graph),
            remedies=["use method='closed-form'"],
        )
    walk = Walk(graph, site, resolve_widths(graph, site), seed, noise)
    root = _tree(walk)
    _expand(walk, root, target.dense())
    cut = frozenset({graph.source} | walk.before)
    layout = lay_out(graph, site, (cut,) * site.dims, cut)
    filters = {}
    for edge in graph.edges:
        spec, found = layout.specs[edge.name], walk.targets[edge.name]
        placed = found.place(spec.offset, spec.dilation, spec.kernel)
        filters[edge.name] = placed if edge.fixed is None else _depthwise(placed, spec)
    return layout, filters, walk.checks


def _depthwise(dense: Filter, spec: ConvSpec) -> Filter:
    weight = dense.weight.diagonal(dim1=0, dim2=1).movedim(-1, 0).unsqueeze(1)
    return Filter.of(weight.contiguous(), spec)


def _tree(walk: Walk) -> Node:
    reduction = reduce(walk.graph)
    if not reduction.is_simple:
        raise InfeasibleMorph(
            f"the graph is complex: Algorithm 1 leaves an irreducible core of {len(reduction.core.edges)} edges",
            missing="a morphing sequence of Type I and Type II operations",
            graph=str(walk.graph),
            shapes=str(walk.site),
            remedies=["use method='closed-form' or method='alternating'"],
        )
    nodes = {edge.name: _leaf(walk, edge) for edge in walk.graph.edges}
    for step in reversed(reduction.steps):
        first, second = (nodes[edge.name] for edge in step.edges)
        if step.type == "I":
            width = walk.widths[step.edges[0].sink]
            node = Node(
                None,
                "I",
                first,
                second,
                step.edges[0].sink,
                min(first.capacity, width, second.capacity),
                max(min(first.carries, width, second.capacity), min(first.capacity, width, second.carries)),
            )
        else:
            total = min(UNLIMITED, first.capacity + second.capacity)
            node = Node(None, "II", first, second, "", total, max(first.carries, second.carries))
        nodes[step.edge.name] = node
    return nodes[reduction.core.edges[0].name]


def _leaf(walk: Walk, edge: Edge) -> Node:
    if edge.fixed is not None:
        return Node(edge, "leaf", capacity=UNLIMITED)
    kernel = per_dimension(edge.kernel, walk.site.dims, "kernel")
    dilation = walk.site.dilation if edge.dilation is None else per_dimension(edge.dilation, walk.site.dims, "dilation")
    holds = all(
        own >= k and (k == 1 or d == s)
        for own, d, k, s in zip(kernel, dilation, walk.site.kernel, walk.site.dilation, strict=True)
    )
    return Node(edge, "leaf", capacity=UNLIMITED, carries=UNLIMITED if holds else 0)


def _expand(walk: Walk, node: Node, target: Filter, *, pointwise: bool = False) -> None:
    """Give every leaf below `node` a filter so that together they equal `target`."""
    if node.kind == "leaf":
        assert node.edge is not None
        walk.targets[node.edge.name] = target
        return
    first, second = _type_one(walk, node, target, pointwise) if node.kind == "I" else _type_two(walk, node, target)
    made = compose(second, first) if node.kind == "I" else add(first, second)
    gap = add(made, replace(target, weight=-target.weight))
    residual = float(gap.weight.norm()) / (float(target.weight.norm()) or 1.0)
    if not residual <= STEP_TOLERANCE:
        raise walk.refuse(f"Type {node.kind} leaves a relative residual of {residual:.1e}")
    walk.checks.append({"type": node.kind, "residual": residual})
    left, right = node.parts
    inner_carries = node.kind == "I" and not pointwise and node.blob not in walk.before
    _expand(walk, left, first, pointwise=pointwise or (node.kind == "I" and not inner_carries))
    _expand(walk, right, second, pointwise=pointwise or inner_carries)


def _type_one(walk: Walk, node: Node, target: Filter, pointwise: bool) -> tuple[Filter, Filter]:
    """Return the filters of two edges in series whose composition is `target`; one of them is pointwise."""
    left, right = node.parts
    rank = int(torch.linalg.matrix_rank(target.weight.flatten(1)))
    lone = pointwise or target.trim().weight.shape[2:].numel() == 1
    for carrier, partner, carrier_first in ((left, right, True), (right, left, False)):
        room = carrier.capacity if lone and not carrier.fixed else carrier.carries
        if partner.fixed:
            if room:
                return _beside_fixed(walk, node, target, partner, carrier_first=carrier_first, pointwise=pointwise)
            continue
        if min(room, walk.widths[node.blob], partner.capacity) >= _needed(target, carrier_first, rank):
            return _factor(walk, node, target, carrier_first=carrier_first, pointwise=pointwise)
    raise walk.refuse(
        f"blob {node.blob!r} ({walk.widths[node.blob]}) and its edges cannot pass a filter of rank {rank} "
        f"with {'a single tap' if lone else 'the taps of the site'}"
    )


def _needed(target: Filter, carrier_first: bool, rank: int) -> int:
    """Return the rank between the two: of the filter's rows where the first carries, else of its columns."""
    if carrier_first:
        return rank
    return int(torch.linalg.matrix_rank(target.weight.transpose(0, 1).flatten(1)))


def _beside_fixed(
    walk: Walk, node: Node, target: Filter, partner: Node, *, carrier_first: bool, pointwise: bool
) -> tuple[Filter, Filter]:
    assert partner.edge is not None
    assert partner.edge.fixed is not None
    scale = partner.edge.fixed.scale
    if scale == 0:
        raise walk.refuse(f"edge {partner.edge.name!r} is zero times the identity")
    same = Filter.identity(walk.widths[node.blob], target.dims, scale=scale)
    rest = replace(target, weight=target.weight / scale)
    if not (carrier_first or pointwise):
        walk.before |= {node.blob} | _blobs(node.parts[0])
    return (rest, same) if carrier_first else (same, rest)


def _factor(walk: Walk, node: Node, target: Filter, *, carrier_first: bool, pointwise: bool) -> tuple[Filter, Filter]:
    """Split by an orthogonal matrix that holds the target's column (or row) space."""
    width, weight = walk.widths[node.blob], target.weight
    rows = weight.flatten(1) if carrier_first else weight.transpose(0, 1).flatten(1)
    basis, values, _ = torch.linalg.svd(rows, full_matrices=False)
    rank = max(1, int((values > 1e-12 * values[0]).sum())) if float(values[0]) > 0 else 1
    random = generator(walk.seed, "stepwise", node.blob)
    mixed = basis[:, :rank] @ semi_orthogonal(1, rank, width, random)[0]  # (channels, width), orthonormal rows
    if not (carrier_first or pointwise):
        walk.before |= {node.blob} | _blobs(node.parts[0])
    if carrier_first:
        inner = torch.einsum("ow,oi...->wi...", mixed, weight)
        return replace(target, weight=inner), _pointwise(mixed, target.dims)
    outer = torch.einsum("oi...,iw->ow...", weight, mixed)
    return _pointwise(mixed.T.contiguous(), target.dims), replace(target, weight=outer)


def _blobs(node: Node) -> set[str]:
    if node.kind == "leaf":
        return set()
    left, right = node.parts
    return _blobs(left) | _blobs(right) | ({node.blob} if node.kind == "I" else set())


def _pointwise(matrix: torch.Tensor, dims: int) -> Filter:
    return Filter(matrix.reshape(*matrix.shape, *(1,) * dims), (0,) * dims, (1,) * dims, (1,) * dims)


def _type_two(walk: Walk, node: Node, target: Filter) -> tuple[Filter, Filter]:
    """Return two filters whose sum is `target`: one carries it, the other is noise of one tap (or what is fixed)."""
    left, right = node.parts
    turned = left.fixed or (right.carries > left.carries and not right.fixed)
    carrier, partner = (right, left) if turned else (left, right)
    if carrier.fixed:
        raise walk.refuse("two edges without weights in parallel")
    other = _fixed_part(walk, partner, target) if partner.fixed else _noise_part(walk, node, partner, target)
    rest = add(target, replace(other, weight=-other.weight))
    return (rest, other) if carrier is left else (other, rest)


def _middle(walk: Walk, target: Filter) -> tuple[int, ...]:
    """Return the position of the site's middle tap, where the target has the site's stride, else 0."""
    site = walk.site
    if target.kernel == (1,) * target.dims and target.stride == (1,) * target.dims:
        return target.offset
    return tuple(o + (k - 1) // 2 * d for o, k, d in zip(site.offset, site.kernel, site.dilation, strict=True))


def _fixed_part(walk: Walk, partner: Node, target: Filter) -> Filter:
    assert partner.edge is not None
    assert partner.edge.fixed is not None
    same = Filter.identity(target.c_out, target.dims, scale=partner.edge.fixed.scale)
    return replace(same, offset=_middle(walk, target), stride=target.stride)


def _noise_part(walk: Walk, node: Node, partner: Node, target: Filter) -> Filter:
    """Return noise of one tap and of a rank that the partner can hold."""
    rank = min(partner.capacity, target.c_in, target.c_out)
    random = generator(walk.seed, "stepwise", len(walk.checks), node.kind)
    wide = semi_orthogonal(1, target.c_out, rank, random)[0]
    deep = semi_orthogonal(1, rank, target.c_in, random)[0]
    size = walk.noise * (float(target.weight.norm()) or target.c_out**0.5) / rank**0.5
    noise = _pointwise(size * wide @ deep, target.dims)
    return replace(noise, offset=_middle(walk, target), stride=target.stride)
