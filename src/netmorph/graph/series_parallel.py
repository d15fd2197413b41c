"""The reduction of a module graph by series and parallel merges, on bare integers (the core of Algorithm 1)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from netmorph.graph.spec import ModuleGraph

MergeType = Literal["I", "II"]


class Merge(NamedTuple):
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
    """The state of a sweep. Blobs are numbered in topological order.

    Of the edges into (out of) a blob only their count and the exclusive or of their numbers are kept: where the count
    is 1, that is the edge's number. Between two blobs the edges are listed; an edge leaves its list only with all
    others (Type II), or as the only one (Type I: the blob between has no second edge on that side).
    """

    def __init__(self, graph: ModuleGraph) -> None:
        self.blobs = graph.blobs
        number = {blob: index for index, blob in enumerate(self.blobs)}
        count = len(self.blobs)
        self.edges: list[tuple[int, int]] = []
        self.counts_in, self.counts_out = [0] * count, [0] * count
        self.mixed_in, self.mixed_out = [0] * count, [0] * count
        self.between: dict[tuple[int, int], list[int]] = {}
        self.pairs: list[tuple[int, int]] = []
        self.merges: list[Merge] = []
        for edge in graph.edges:
            self._link((number[edge.source], number[edge.sink]))
        self.chain = list(range(count - 2, 0, -1))  # popped from the end: the blobs next to the source come first

    def run(self) -> tuple[list[Merge], list[int]]:
        while self.chain or self.pairs:
            while self.chain:
                self._series(self.chain.pop())
            if self.pairs:
                self._parallel(self.pairs.pop())
        return self.merges, sorted(number for edges in self.between.values() for number in edges)

    def _link(self, ends: tuple[int, int]) -> None:
        number = len(self.edges)
        self.edges.append(ends)
        source, sink = ends
        self.counts_out[source] += 1
        self.mixed_out[source] ^= number
        self.counts_in[sink] += 1
        self.mixed_in[sink] ^= number
        side_by_side = self.between.setdefault(ends, [])
        side_by_side.append(number)
        if len(side_by_side) == 2:
            self.pairs.append(ends)

    def _unlink(self, ends: tuple[int, int]) -> None:
        """Forget all the edges between two blobs."""
        source, sink = ends
        for number in self.between.pop(ends):
            self.counts_out[source] -= 1
            self.mixed_out[source] ^= number
            self.counts_in[sink] -= 1
            self.mixed_in[sink] ^= number

    def _series(self, blob: int) -> None:
        if not (self.counts_in[blob] == self.counts_out[blob] == 1 and 0 < blob < len(self.blobs) - 1):
            return
        first, second = self.mixed_in[blob], self.mixed_out[blob]
        before, after = self.edges[first], self.edges[second]
        self._unlink(before)
        self._unlink(after)
        self.merges.append(Merge("I", first, second, self.blobs[before[0]], self.blobs[after[1]], self.blobs[blob]))
        self._link((before[0], after[1]))

    def _parallel(self, ends: tuple[int, int]) -> None:
        """Merge all the edges between two blobs, one after the other into the first.

        There are still two or more: no series merge takes one of several parallel edges.
        """
        edges = self.between[ends]
        self._unlink(ends)
        first = edges[0]
        for second in edges[1:]:
            self.merges.append(Merge("II", first, second, self.blobs[ends[0]], self.blobs[ends[1]], None))
            first = len(self.edges)
            self.edges.append(ends)
        self.edges.pop()
        self._link(ends)
        self.chain += ends
