"""Feasibility as a maximum flow with blobs' widths as capacities (beyond the paper).

With generic noise behind a cut, the matrix that multiplies the carrying edges' filters reaches the rank that the site
needs if and only if this flow does (random linear network coding, Menger). Fixed and grouped edges are not generic:
where a graph has some, the flow is only an upper bound and the numeric rank decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from netmorph.errors import GraphError
from netmorph.graph.spec import Edge, ModuleGraph

__all__ = ["UNBOUNDED", "Flow", "Side", "flow", "widths_that_would_do"]

Side = Literal["down", "up"]
UNBOUNDED = 1 << 62
_ROUNDS = 64
_GATE, _ORIGIN = -1, 0
_Arc = tuple[int, int]


@dataclass(frozen=True)
class Flow:
    """A maximum flow behind (or before) the carrying edges of a cut.

    Attributes:
        value: units that pass; `UNBOUNDED` where a carrying edge touches the graph's end itself.
        on: units by edge name, for the edges that some pass; the carrying edges themselves are not among them. Of
            parallel edges one takes all, a fixed one first.
        bottleneck: a minimum cut: the blobs whose widths add up to `value`, in topological order.
        unbounded: whether a carrying edge ends in the sink ("down") or starts at the source ("up") itself.
    """

    value: int
    on: Mapping[str, int]
    bottleneck: tuple[str, ...]
    unbounded: bool = False


def flow(
    graph: ModuleGraph,
    widths: Mapping[str, int],
    carrying: Collection[str],
    side: Side,
    *,
    need: int | None = None,
) -> Flow:
    """Find the maximum flow that the inner blobs' widths let pass on one side of a cut.

    Edges have no capacity, source and sink neither. Where the region has fixed edges, the flow prefers them: among the
    maximum flows it passes the fewest convolutions (a fixed edge's gain cannot be lowered, a convolution's can).

    Args:
        graph: the module.
        widths: channels of every blob (`netmorph.graph.layout.resolve_widths`).
        carrying: names of the edges of a monotone cut that carry the site's taps.
        side: "down": from the carrying edges' sinks to the graph's sink; "up": from its source to their sources.
        need: stop at so many units; default: no limit.

    Raises:
        GraphError: if an edge in `carrying` is not the graph's.
    """
    region = _Region(graph, widths, carrying, side)
    amounts = region.solve(need)
    on = {edge.name: amounts[arc] for arc, edge in region.links.items() if amounts.get(arc)}
    if region.unbounded:
        return Flow(UNBOUNDED, on, (), unbounded=True)
    value = sum(amount for (tail, _), amount in amounts.items() if tail == _ORIGIN)
    return Flow(value, on, () if need is not None and value >= need else region.cut(amounts))


def widths_that_would_do(
    graph: ModuleGraph, widths: Mapping[str, int], carrying: Collection[str], side: Side, need: int
) -> dict[str, int] | None:
    """Return wider widths for which the flow reaches `need`: the blobs to change and their new channels.

    The bottleneck's widths are raised in proportion until it lets enough pass, then the next bottleneck's. Not always
    the cheapest choice, but one that keeps the module's shape.

    Args:
        graph: the module.
        widths: channels of every blob.
        carrying: names of the carrying edges.
        side: as for `flow`.
        need: the flow wanted.

    Returns:
        An empty dictionary where the flow suffices; None where no widths would do (no edge carries).
    """
    wider = dict(widths)
    for _ in range(_ROUNDS):
        found = flow(graph, wider, carrying, side, need=need)
        if found.value >= need:
            break
        if not found.bottleneck:
            return None
        for blob in found.bottleneck:
            wider[blob] = -(-wider[blob] * need // found.value)
    else:  # bottlenecks that overlap in many ways: width enough everywhere
        wider |= {blob: max(wider[blob], need) for blob in graph.inner}
    return {blob: wider[blob] for blob in graph.inner if wider[blob] != widths[blob]}


class _Region:
    """The part of a graph on one side of a cut as a flow network.

    Blob number i is split into the nodes 2i+2 (where flow enters) and 2i+3 (where it leaves) with its width between.
    Nodes are integers so that no choice depends on the hashes of names. For "up" all edges are turned round.
    """

    def __init__(self, graph: ModuleGraph, widths: Mapping[str, int], carrying: Collection[str], side: Side) -> None:
        down = side == "down"
        self.blobs = graph.blobs
        self.number = {blob: index for index, blob in enumerate(self.blobs)}
        goal = graph.sink if down else graph.source
        edges = _named(graph, carrying)
        starts = dict.fromkeys(edge.sink if down else edge.source for edge in edges)
        self.unbounded = goal in starts
        starts.pop(goal, None)
        self.goal = 2 * self.number[goal] + 2
        self.links: dict[_Arc, Edge] = {}
        self.capacity: dict[_Arc, int] = {}
        following = graph.outgoing if down else graph.incoming
        stack, seen = list(starts), set(starts)
        while stack:
            blob = stack.pop()
            node = 2 * self.number[blob] + 2
            self.capacity[node, node + 1] = widths[blob]
            for edge in following[blob]:
                after = edge.sink if down else edge.source
                arc = (node + 1, 2 * self.number[after] + 2)
                if arc not in self.links or (edge.fixed is not None and self.links[arc].fixed is None):
                    self.links[arc] = edge
                if after not in seen and after != goal:
                    seen.add(after)
                    stack.append(after)
        plenty = 1 + sum(self.capacity.values())
        self.capacity |= dict.fromkeys(self.links, plenty)
        self.capacity |= {(_ORIGIN, 2 * self.number[blob] + 2): plenty for blob in starts}

    def solve(self, need: int | None) -> dict[_Arc, int]:
        """Return the units on every arc."""
        if not self.links or need == 0:
            return {}
        import networkx as nx
        from networkx.algorithms.flow import shortest_augmenting_path

        network = nx.DiGraph()
        for (tail, head), capacity in self.capacity.items():
            edge = self.links.get((tail, head))
            network.add_edge(tail, head, capacity=capacity, weight=int(edge is not None and edge.fixed is None))
        origin = _ORIGIN
        if need is not None:
            origin = _GATE
            network.add_edge(_GATE, _ORIGIN, capacity=need, weight=0)
        if any(edge.fixed is not None for edge in self.links.values()):
            amounts = nx.max_flow_min_cost(network, origin, self.goal)
        else:
            _, amounts = nx.maximum_flow(network, origin, self.goal, flow_func=shortest_augmenting_path)
        return {(tail, head): units for tail, heads in amounts.items() for head, units in heads.items() if tail >= 0}

    def cut(self, amounts: Mapping[_Arc, int]) -> tuple[str, ...]:
        """Return the blobs of the minimum cut that is nearest to the carrying edges: full, and still reached."""
        onwards: dict[int, list[int]] = defaultdict(list)
        for (tail, head), capacity in self.capacity.items():
            if amounts.get((tail, head), 0) < capacity:
                onwards[tail].append(head)
            if amounts.get((tail, head), 0) > 0:
                onwards[head].append(tail)
        stack, reached = [_ORIGIN], {_ORIGIN}
        while stack:
            for node in onwards[stack.pop()]:
                if node not in reached:
                    reached.add(node)
                    stack.append(node)
        inside = (node for node in sorted(reached) if node % 2 == 0 and node + 1 not in reached and node > _ORIGIN)
        return tuple(self.blobs[node // 2 - 1] for node in inside)


def _named(graph: ModuleGraph, names: Collection[str]) -> list[Edge]:
    wanted = set(names)
    edges = [edge for edge in graph.edges if edge.name in wanted]
    unknown = sorted(wanted.difference(edge.name for edge in edges))
    if unknown:
        raise GraphError(f"no edge is named {unknown[0]!r}", graph=str(graph))
    return edges
