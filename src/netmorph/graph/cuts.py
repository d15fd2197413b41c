"""Monotone cuts of a module graph: each path crosses one exactly once (DESIGN section 4, "Cuts, not edges")."""

from __future__ import annotations

from collections.abc import Iterator

from netmorph.graph.layout import Cut
from netmorph.graph.spec import ModuleGraph

MOST = 64


def source_cut(graph: ModuleGraph) -> Cut:
    """Return the cut of the edges that leave the source."""
    return frozenset((graph.source,))


def sink_cut(graph: ModuleGraph) -> Cut:
    """Return the cut of the edges that enter the sink."""
    return frozenset(graph.blobs) - {graph.sink}


def cuts(graph: ModuleGraph) -> Iterator[Cut]:
    """Yield monotone cuts: source cut, sink cut, then middle cuts by depth and by topological order; `MOST` in all.

    A graph may have exponentially many monotone cuts; these cover every one of a chain of modules.
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
