"""Birth in pairs: modules with a real activation that compute their layer's function from the start (beyond the paper).

Every phi with `phi(x) - phi(-x) = c x` (ReLU, LeakyReLU, GELU, SiLU, hard-swish) passes a signal on unchanged if both
signs of it pass: the graph is solved as a linear one with half of the channels of each activated blob, then each
channel u becomes the neighbours u and -u. An edge W into such a blob becomes [W; -W], an edge out of it [W, -W] / c,
and between two of them [[W, -W], [-W, W]] / c ("looks-linear" initialisation, Balduzzi et al. 2017, used backwards).
Each of the two sees its own half of the data, so that from the first step on they learn a function that the layer
could not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.attributes import Fixed, Width
from netmorph.graph.layout import Layout, lay_out, resolve_widths
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.symmetry import Symmetry
from netmorph.solver.equation import fixed_filter

SLOPE = "use birth='slope', which needs no pairs"


@dataclass
class Halved:
    """A graph as a linear one, with half of the channels of each blob that holds pairs.

    Attributes:
        whole: the graph with all channels.
        graph: the linear graph.
        pairs: by blob that holds pairs of u and -u, how they are read: their difference is `odd` times u.
        kept: edges that pass each channel of a pair on by itself, between two activations.
    """

    whole: ModuleGraph
    graph: ModuleGraph
    pairs: dict[str, Symmetry] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def odd(self, blob: str) -> float:
        """Return the c by which a blob's pairs are read: `(first - second) / c`."""
        return self.pairs[blob].odd or 1.0

    def layout(self, half: Layout) -> Layout:
        """Return the layout of the whole graph from that of the halved one, which may have more edges from s to t."""
        names = {edge.name for edge in self.whole.edges}
        added = [edge for edge in half.graph.edges if edge.name not in names]
        whole = replace(self.whole, edges=(*self.whole.edges, *added))
        return lay_out(whole, half.site, half.cuts, half.cut, border=half.border)

    def filters(self, layout: Layout, filters: Mapping[str, Filter]) -> dict[str, Filter]:
        """Return the filters of the whole graph from those of the halved one.

        Args:
            layout: of the whole graph.
            filters: of the halved graph.
        """
        return {edge.name: _lifted(self, layout, edge, filters[edge.name]) for edge in layout.graph.edges}


def halve(graph: ModuleGraph, site: ConvSpec, acts: Mapping[str, Symmetry]) -> Halved:
    """Return the linear graph that is solved in place of `graph`.

    Args:
        graph: the module graph.
        site: geometry of the layer that it replaces.
        acts: the activations of its inner blobs; a blob that is missing has none.

    Raises:
        GraphError: if an activation is not linear in pairs, a blob has an odd number of channels, or an edge that keeps
            channels apart (a fixed, depthwise or grouped one) would part a pair.
    """
    widths, incoming = resolve_widths(graph, site), graph.incoming
    halved = Halved(graph, graph)
    edges: dict[str, Edge] = {}
    for blob in graph.blobs[1:]:
        into = incoming[blob]
        passing = [edge for edge in into if edge.source in halved.pairs and _keeps_apart(edge, widths)]
        if blob in acts:
            _enter_activated(halved, blob, into, passing, acts[blob], widths)
        elif passing:
            _enter_plain(halved, blob, into, passing, widths)
        if blob in halved.pairs and widths[blob] % 2:
            raise GraphError(
                f"birth='pair' needs an even number of channels, and blob {blob!r} has {widths[blob]}",
                graph=str(graph),
                remedies=[f"give blob {blob!r} {widths[blob] + 1} channels", SLOPE],
            )
        for edge in into:
            edges[edge.name] = _half_edge(edge, halved, widths, graph)
    numbers = {blob: Width(Fraction(widths[blob] // 2)) for blob in halved.pairs}
    halved.graph = replace(
        graph,
        edges=tuple(edges[edge.name] for edge in graph.edges),
        width_items=tuple((graph.widths | numbers).items()),
        activation_items=(),
    )
    return halved


def lowered(halved: Halved, layout: Layout, filters: Mapping[str, Filter]) -> dict[str, Filter] | None:
    """Return the filters of the halved graph that `filters` are made of; None where they are no pairs (any more)."""
    half = lay_out(halved.graph, layout.site, layout.cuts, layout.cut, border=layout.border)
    found = {}
    for edge in halved.graph.edges:
        spec = half.specs[edge.name]
        if edge.fixed is not None:
            found[edge.name] = fixed_filter(edge, spec)
            continue
        weight = filters[edge.name].weight
        if edge.sink in halved.pairs:
            weight = weight[::2]
        if edge.source in halved.pairs and not _keeps_apart(layout.graph.edge(edge.name), layout.widths):
            weight = weight[:, ::2] * halved.odd(edge.source)
        found[edge.name] = Filter.of(weight, spec)
    again = halved.filters(layout, found)
    alike = all(torch.allclose(again[name].weight, each.weight, rtol=1e-7, atol=0) for name, each in filters.items())
    return found if alike else None


def _lifted(halved: Halved, layout: Layout, edge: Edge, half: Filter) -> Filter:
    spec = layout.specs[edge.name]
    if edge.fixed is not None:
        return fixed_filter(edge, spec)
    if edge.name in halved.kept:  # each channel passes on by its middle tap
        weight = torch.zeros(spec.flat_shape, dtype=torch.float64, device="cpu")
        weight[..., _middle(spec)] = 1.0
        return Filter.of(weight.reshape(spec.weight_shape), spec)
    weight, apart = half.weight, _keeps_apart(edge, layout.widths)
    if edge.source in halved.pairs and not apart:
        weight = _signed(weight, 1) / halved.odd(edge.source)
    if edge.sink in halved.pairs:
        weight = weight.repeat_interleave(2, 0) if edge.source in halved.pairs and apart else _signed(weight, 0)
    return Filter.of(weight, spec)


def _signed(weight: Tensor, dim: int) -> Tensor:
    """Return a weight with each row (or column) followed by its negative."""
    return torch.stack([weight, -weight], dim + 1).flatten(dim, dim + 1)


def _middle(spec: ConvSpec) -> int:
    place = 0
    for k in spec.kernel:
        place = place * k + (k - 1) // 2
    return place


def _keeps_apart(edge: Edge, widths: Mapping[str, int]) -> bool:
    """Return whether each channel that an edge writes reads a single one."""
    return edge.fixed is not None or edge.groups in ("dw", widths[edge.source])


def _enter_activated(
    halved: Halved, blob: str, into: Sequence[Edge], passing: Sequence[Edge], act: Symmetry, widths: Mapping[str, int]
) -> None:
    """Note that an activated blob holds pairs, and by which edge they come where none is solved for."""
    if act.odd is None:
        raise GraphError(
            f"the activation of blob {blob!r} does not support birth='pair': phi(x) - phi(-x) is not proportional to x",
            graph=str(halved.graph),
            remedies=[
                "use an activation that does: ReLU, LeakyReLU, GELU, SiLU, Hardswish",
                "use birth='zero', which is exact with any activation, or birth='slope'",
            ],
        )
    fixed = [edge for edge in into if edge.fixed is not None and edge not in passing]
    if fixed:
        raise GraphError(
            f"edge {fixed[0].name!r} has no weights and cannot enter a blob whose channels are pairs (u, -u)",
            graph=str(halved.graph),
            remedies=["use a 1x1 convolution instead", f"leave blob {blob!r} without an activation", SLOPE],
        )
    halved.pairs[blob] = act
    if passing:
        p, s = _through(halved, blob, into, passing, act, widths)
        halved.pairs[blob] = Symmetry(p + s, (p, s))
        if passing[0].fixed is None:
            halved.kept.add(passing[0].name)


def _through(
    halved: Halved, blob: str, into: Sequence[Edge], passing: Sequence[Edge], act: Symmetry, widths: Mapping[str, int]
) -> tuple[float, float]:
    """Return the sides of two activations in a row, where an edge that keeps channels apart passes pairs on.

    `phi(d phi(u))` of u and -u differ by a multiple of u where both phi are linear on each side of 0 and d > 0; where
    they are 0 on the negative side, for a mean over several taps as well.
    """
    edge = passing[0]
    first, second = halved.pairs[edge.source].sides, act.sides
    several = edge.fixed is not None and max(edge.kernel) > 1
    scale = 1.0 if edge.fixed is None else edge.fixed.scale
    if len(into) > 1:
        why = "it shares the blob with other edges"
    elif first is None or second is None or min(*first, *second) < 0:
        why = "only ReLU and LeakyReLU pass a pair on twice"
    elif widths[edge.source] != widths[blob]:
        why = "it changes the number of channels"
    elif scale <= 0:
        why = f"it multiplies by {scale:g}, and only positive factors keep the signs"
    elif several and (first[1] or second[1]):
        why = "a mean over several taps mixes the signs, unless the activations are 0 below 0"
    else:
        return first[0] * second[0], first[1] * second[1]
    raise GraphError(
        f"edge {edge.name!r} acts on each channel separately and would break the pairs of {edge.source!r} and "
        f"{blob!r}: {why}",
        graph=str(halved.graph),
        remedies=["use groups of two or more channels, or a dense edge", SLOPE],
    )


def _enter_plain(
    halved: Halved, blob: str, into: Sequence[Edge], passing: Sequence[Edge], widths: Mapping[str, int]
) -> None:
    """Note that a blob without activation holds the pairs of the blob before it.

    Such a blob's channels are read as pairs, too: `k phi(u) - k phi(-u)` is a multiple of `k u`.
    """
    kinds = {halved.pairs[edge.source].odd for edge in passing}
    if blob == halved.graph.sink or len(passing) < len(into) or len(kinds) > 1:
        why = f"{blob!r} is read without an activation, or written by other edges, too"
    elif any(widths[edge.source] != widths[blob] for edge in passing):
        why = "it changes the number of channels"
    else:
        halved.pairs[blob] = Symmetry(kinds.pop())
        return
    raise GraphError(
        f"edge {passing[0].name!r} acts on each channel separately and would break the pairs of "
        f"{passing[0].source!r}: {why}",
        graph=str(halved.graph),
        remedies=["use groups of two or more channels, or a dense edge", SLOPE],
    )


def _half_edge(edge: Edge, halved: Halved, widths: Mapping[str, int], graph: ModuleGraph) -> Edge:
    """Return an edge of the linear graph."""
    if edge.name in halved.kept:
        return replace(edge, kernel=(1,), dilation=None, groups=1, norm=None, fixed=Fixed())
    if edge.fixed is None and edge.source in halved.pairs and _keeps_apart(edge, widths):
        return replace(edge, groups="dw")
    groups = widths[edge.source] if edge.groups == "dw" else edge.groups
    for blob in (edge.source, edge.sink):
        if edge.fixed is None and blob in halved.pairs and (widths[blob] // 2) % groups:
            raise GraphError(
                f"edge {edge.name!r} has groups that would break the pairs of blob {blob!r}",
                graph=str(graph),
                shapes=f"{widths[blob]} channels in {groups} groups: each needs an even number",
                remedies=[f"give blob {blob!r} {math.lcm(2 * groups, widths[blob])} channels", SLOPE],
            )
    return edge
