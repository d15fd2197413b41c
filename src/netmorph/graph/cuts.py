"""Monotone cuts of a module graph: each path crosses one exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netmorph.graph.layout import Cut
from netmorph.graph.spec import Edge, ModuleGraph

MOST = 64


def source_cut(graph: ModuleGraph) -> Cut:
    """Return the cut of the edges that leave the source."""
    return frozenset((graph.source,))


def sink_cut(graph: ModuleGraph) -> Cut:
    """Return the cut of the edges that enter the sink."""
    return frozenset(graph.blobs) - {graph.sink}


def cuts(graph: ModuleGraph) -> Iterator[Cut]:
    """Yield monotone cuts: source cut, sink cut, then middle cuts by depth and by topological order; `MOST` in all.

    A graph may have exponentially many monotone cuts; these are all of a chain of edges. Where branches run side by
    side each is cut at the same depth, or one after the other in the order of the edges: see `fewest_crossing`.
    """
    seen: set[Cut] = set()
    for cut in _all(graph):
        if cut not in seen:
            seen.add(cut)
            yield cut
        if len(seen) == MOST:
            return


def _all(graph: ModuleGraph) -> Iterator[Cut]:
    yield source_cut(graph)
    yield sink_cut(graph)
    blobs = graph.blobs
    depth = {graph.source: 0}
    height = {graph.sink: 0}
    incoming, outgoing = graph.incoming, graph.outgoing
    for blob in blobs[1:]:
        depth[blob] = 1 + max(depth[edge.source] for edge in incoming[blob])
    for blob in reversed(blobs[:-1]):
        height[blob] = 1 + max(height[edge.sink] for edge in outgoing[blob])
    most = depth[graph.sink]
    for level in range(1, most):
        yield frozenset(blob for blob in blobs if depth[blob] <= level) - {graph.sink}
        yield frozenset(blob for blob in blobs if height[blob] > level) | {graph.source}
    for count in range(2, len(blobs) - 1):
        yield frozenset(blobs[:count])


def fewest_crossing(graph: ModuleGraph, idle: Callable[[Edge], bool]) -> Iterator[Cut]:
    """Yield the monotone cuts that the fewest idle edges cross, and of these the fewest edges: nearest to either end.

    A minimum cut: no depth or order of the branches matters to it. An arc back for each edge, of unlimited capacity,
    keeps it monotone.

    Args:
        graph: the module.
        idle: whether an edge had better not cross.
    """
    import networkx as nx

    heavy = 1 + len(graph.edges)
    for turned in (False, True):  # the cut found is the one nearest to where the flow ends, or starts
        network = nx.DiGraph()
        for edge in graph.edges:
            tail, head = (edge.sink, edge.source) if turned else (edge.source, edge.sink)
            before = network[tail][head]["capacity"] if network.has_edge(tail, head) else 0
            network.add_edge(tail, head, capacity=before + (heavy if idle(edge) else 1))
        for tail, head in list(network.edges):
            network.add_edge(head, tail)
        ends = (graph.sink, graph.source) if turned else (graph.source, graph.sink)
        _, (near, far) = nx.minimum_cut(network, *ends)
        yield frozenset(far if turned else near)
