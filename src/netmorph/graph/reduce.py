"""Algorithm 1: how a module grows from one edge by atomic morphs, and the core that no morph reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from netmorph.graph.merge import in_parallel, in_series
from netmorph.graph.notation import parse
from netmorph.graph.series_parallel import Merge, sweep
from netmorph.graph.spec import Edge, ModuleGraph

__all__ = ["Reduction", "Step", "reduce", "replay"]


@dataclass(frozen=True)
class Step:
    """One atomic morph: the paper's tuple (M, e1, {e2, e3}, type).

    Attributes:
        edge: the edge that is morphed.
        edges: the two edges that it becomes: in series inner first, in parallel in either order.
        type: "I" (in series, eq. 2) or "II" (in parallel, eq. 4).
        blob: the blob that a Type I morph inserts; None for Type II.
        number: place in the morphing sequence.
    """

    edge: Edge
    edges: tuple[Edge, Edge]
    type: Literal["I", "II"]
    blob: str | None
    number: int
    _reduction: Reduction = field(repr=False, compare=False)

    @property
    def graph(self) -> ModuleGraph:
        """The graph before this morph; built on demand in O(V + E)."""
        return self._reduction.before(self.number)


@dataclass(frozen=True)
class Reduction:
    """A module's morphing sequence.

    Attributes:
        graph: the module.
        core: what remains when all series and parallel edges are merged; a single edge if the module is simple.
    """

    graph: ModuleGraph
    core: ModuleGraph
    _edges: tuple[Edge, ...] = field(repr=False)
    _merges: tuple[Merge, ...] = field(repr=False)

    @property
    def is_simple(self) -> bool:
        """Whether atomic morphs alone make the module of a single edge (Definition 6)."""
        return len(self.core.edges) == 1

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The morphs in the order that makes the module of its core: the merges backwards."""
        steps = []
        for number, merge in enumerate(reversed(self._merges)):
            edge = self._edges[len(self._edges) - 1 - number]
            parts = (self._edges[merge.first], self._edges[merge.second])
            steps.append(Step(edge, parts, merge.type, merge.blob, number, self))
        return tuple(steps)

    def before(self, number: int) -> ModuleGraph:
        """Return the graph before the step of that number; `before(len(steps))` is the module (edges reordered)."""
        edges = {edge.name: edge for edge in self.core.edges}
        for step in self.steps[:number]:
            del edges[step.edge.name]
            edges |= {part.name: part for part in step.edges}
        return _graph(self.graph, list(edges.values()))


def reduce(graph: ModuleGraph | str) -> Reduction:
    """Reduce a module by merging edges in series (Type I) and in parallel (Type II) until nothing changes.

    Unlike Algorithm 1 as printed, this terminates on complex modules, and takes O(V + E). A merged edge has a new name,
    the effective kernel of its parts, and no norm.

    Args:
        graph: any module, or its notation.

    Returns:
        The morphing sequence (the reversed merges), and the irreducible core.

    Raises:
        GraphError: if a merged kernel would be larger than any that netmorph accepts.

    Example:
        >>> [(step.edge.name, step.type) for step in reduce("3x3 > 1x1 | id").steps]
        [('m2', 'II'), ('m1', 'I')]
    """
    graph = graph if isinstance(graph, ModuleGraph) else parse(graph)
    merges, remaining = sweep(graph)
    edges = list(graph.edges)
    taken = {edge.name for edge in edges}
    count = 0
    for merge in merges:
        count += 1
        while f"m{count}" in taken:
            count += 1
        merged = in_series if merge.type == "I" else in_parallel
        edges.append(merged(f"m{count}", edges[merge.first], edges[merge.second]))
    return Reduction(graph, _graph(graph, [edges[number] for number in remaining]), tuple(edges), tuple(merges))


def replay(reduction: Reduction) -> ModuleGraph:
    """Rebuild the module from its core by the steps alone (edges in the module's own order)."""
    built = reduction.before(len(reduction.steps))
    order = {edge.name: index for index, edge in enumerate(reduction.graph.edges)}
    return _graph(reduction.graph, sorted(built.edges, key=lambda edge: order[edge.name]))


def _graph(whole: ModuleGraph, edges: list[Edge]) -> ModuleGraph:
    """Return a graph on some of a module's blobs, which keep their widths and activations."""
    blobs = {blob for edge in edges for blob in (edge.source, edge.sink)}
    return ModuleGraph(
        tuple(edges),
        tuple(item for item in whole.width_items if item[0] in blobs),
        tuple(item for item in whole.activation_items if item[0] in blobs),
        whole.source,
        whole.sink,
    )
