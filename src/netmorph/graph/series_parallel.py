"""The reduction of a module graph by series and parallel merges, on bare integers (the core of Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netmorph.graph.spec import ModuleGraph

MergeType = Literal["I", "II"]


@dataclass(frozen=True)
class Merge:
    """Two edges that become one.

    Edges are numbered: those of the graph by their place in it, merged ones onwards in the order of merging.

    Attributes:
        type: "I" for two edges in series, "II" for two in parallel.
        first: the inner edge of a series, either one of a pair.
        second: the outer edge of a series, the other one of a pair.
        source: blob that the merged edge reads.
        sink: blob that it writes.
        blob: the blob between two edges in series; None for a pair.
    """

    type: MergeType
    first: int
    second: int
    source: str
    sink: str
    blob: str | None


def sweep(graph: ModuleGraph) -> tuple[list[Merge], list[int]]:
    """Merge edges until nothing changes.

    As printed, Algorithm 1 never ends on a complex module; this stops when the two work lists (blobs with one edge in
    and one out, pairs of parallel edges) are empty. Each merge removes one edge and enters O(1) items, so all takes
    O(V + E). Like the algorithm it exhausts Type I before Type II.

    Returns:
        The merges in order, and the numbers of the edges that remain: one if the graph is simple.
    """
    return _Sweep(graph).run()


class _Sweep:
    def __init__(self, graph: ModuleGraph) -> None:
        self.ends = {graph.source, graph.sink}
        self.edges = [(edge.source, edge.sink) for edge in graph.edges]
        # Dictionaries as ordered sets: the order of merging must not depend on hashing.
        self.incoming: dict[str, dict[int, None]] = {blob: {} for blob in graph.blobs}
        self.outgoing: dict[str, dict[int, None]] = {blob: {} for blob in graph.blobs}
        self.between: dict[tuple[str, str], dict[int, None]] = {}
        self.pairs: list[tuple[str, str]] = []
        self.merges: list[Merge] = []
        for number, (source, sink) in enumerate(self.edges):
            self._link(number, source, sink)
        self.chain = list(reversed(graph.inner))  # popped from the end: the blobs next to the source come first

    def run(self) -> tuple[list[Merge], list[int]]:
        while self.chain or self.pairs:
            while self.chain:
                self._series(self.chain.pop())
            if self.pairs:
                self._parallel(self.pairs.pop())
        return self.merges, sorted(number for edges in self.between.values() for number in edges)

    def _link(self, number: int, source: str, sink: str) -> None:
        self.incoming[sink][number] = None
        self.outgoing[source][number] = None
        side_by_side = self.between.setdefault((source, sink), {})
        side_by_side[number] = None
        if len(side_by_side) == 2:
            self.pairs.append((source, sink))

    def _unlink(self, number: int) -> None:
        source, sink = self.edges[number]
        del self.incoming[sink][number], self.outgoing[source][number], self.between[source, sink][number]

    def _merge(self, merge: Merge) -> None:
        self._unlink(merge.first)
        self._unlink(merge.second)
        self.merges.append(merge)
        self.edges.append((merge.source, merge.sink))
        self._link(len(self.edges) - 1, merge.source, merge.sink)

    def _series(self, blob: str) -> None:
        if blob in self.ends or not len(self.incoming[blob]) == len(self.outgoing[blob]) == 1:
            return
        (first,), (second,) = self.incoming[blob], self.outgoing[blob]
        self._merge(Merge("I", first, second, self.edges[first][0], self.edges[second][1], blob))

    def _parallel(self, ends: tuple[str, str]) -> None:
        """Merge all the edges between two blobs, one after the other into the first."""
        edges = list(self.between[ends])
        if len(edges) < 2:  # merged meanwhile
            return
        first = edges[0]
        for second in edges[1:]:
            self._merge(Merge("II", first, second, *ends, None))
            first = len(self.edges) - 1
        self.chain += ends
