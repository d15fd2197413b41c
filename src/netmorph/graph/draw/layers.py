"""A module graph in layers: blobs in even columns, the edges' labels in odd ones, bends in all that an edge passes.

Since a label is a node of its own, a layout that keeps nodes apart keeps labels apart, from blobs and from lines too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from netmorph.graph.spec import ModuleGraph

__all__ = ["Layers", "Node", "in_layers"]


class Node(NamedTuple):
    """One thing to place: a blob, an edge's label, or a point that an edge passes.

    Attributes:
        kind: which of these.
        name: of the blob, or of the edge.
        column: 0 is the source's.
    """

    kind: Literal["blob", "label", "bend"]
    name: str
    column: int


@dataclass(frozen=True)
class Layers:
    """A graph in columns; nodes are numbered.

    Attributes:
        nodes: all of them.
        columns: the numbers of each column's nodes, in the order of the graph's edges.
        chains: for each edge the nodes that it passes, from its source to its sink, one a column.
        before: for each node those of the column before that it is joined to.
        after: for each node those of the next column that it is joined to.
    """

    nodes: tuple[Node, ...]
    columns: tuple[tuple[int, ...], ...]
    chains: dict[str, tuple[int, ...]]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]


def in_layers(graph: ModuleGraph) -> Layers:
    """Put a graph into columns, so that every edge runs from left to right."""
    place = _columns(graph)
    nodes = [Node("blob", blob, place[blob]) for blob in graph.blobs]
    number = {blob: index for index, blob in enumerate(graph.blobs)}
    chains = {}
    for edge in graph.edges:
        first, last = place[edge.source], place[edge.sink]
        middle = first + 1 + (last - first - 1) // 4 * 2  # the odd column next to the middle
        chain = [number[edge.source]]
        for column in range(first + 1, last):
            chain.append(len(nodes))
            nodes.append(Node("label" if column == middle else "bend", edge.name, column))
        chains[edge.name] = (*chain, number[edge.sink])
    columns: list[list[int]] = [[] for _ in range(place[graph.sink] + 1)]
    before: list[list[int]] = [[] for _ in nodes]
    after: list[list[int]] = [[] for _ in nodes]
    for passed in chains.values():
        for left, right in pairwise(passed):
            before[right].append(left)
            after[left].append(right)
    for index in _by_edges(graph, chains, number):
        columns[nodes[index].column].append(index)
    return Layers(
        tuple(nodes),
        tuple(map(tuple, columns)),
        chains,
        tuple(map(tuple, before)),
        tuple(map(tuple, after)),
    )


def _columns(graph: ModuleGraph) -> dict[str, int]:
    """Return each blob's column: the longest path from the source; a blob that fans out stands near those it feeds."""
    incoming, outgoing = graph.incoming, graph.outgoing
    place = {graph.source: 0}
    for blob in graph.blobs[1:]:
        place[blob] = 2 + max(place[edge.source] for edge in incoming[blob])
    for blob in reversed(graph.inner):
        if len(outgoing[blob]) > len(incoming[blob]):
            place[blob] = min(place[edge.sink] for edge in outgoing[blob]) - 2
    return place


def _by_edges(graph: ModuleGraph, chains: dict[str, tuple[int, ...]], number: dict[str, int]) -> list[int]:
    """Return all nodes in the order in which the edges, as they are written, come by them."""
    seen = dict.fromkeys([number[graph.source]])
    for edge in graph.edges:
        seen.update(dict.fromkeys(chains[edge.name]))
    return list(seen)
