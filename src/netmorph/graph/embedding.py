"""A module graph as a part of a larger one: which edges go on, which are replaced by what (beyond the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from netmorph.errors import GraphError
from netmorph.graph.spec import Edge, ModuleGraph


@dataclass(frozen=True)
class Bundle:
    """What is new between two blobs of the present graph, and the edges whose function it takes over.

    Attributes:
        source: blob that it reads.
        sink: blob that it writes.
        removed: edges of the present graph that are gone.
        added: edges that are new.
        blobs: blobs that are new.
    """

    source: str
    sink: str
    removed: tuple[Edge, ...]
    added: tuple[Edge, ...]
    blobs: frozenset[str]


@dataclass(frozen=True)
class Embedding:
    """How the present graph lies in a larger one.

    Attributes:
        kept: by name of an edge of the larger graph, the edge of the present one that goes on in it.
        bundles: what is new between two blobs each.
        exits: new edges from parts that read or write several present blobs: they start at zero.
        loose: the new blobs of such parts.
    """

    kept: dict[str, Edge]
    bundles: tuple[Bundle, ...]
    exits: tuple[str, ...]
    loose: frozenset[str]


def embed(old: ModuleGraph, new: ModuleGraph) -> Embedding:
    """Find the present graph in a larger one.

    Blobs go by name. Edges between the same two blobs go by name too where the new one can hold the old one's filter,
    else by order. What is new between two present blobs takes over the edges there that have no counterpart.

    Raises:
        GraphError: if a blob is gone, an edge is gone and nothing stands in its place, or a part that joins several
            blobs ends in edges without weights.
    """
    if (old.source, old.sink) != (new.source, new.sink):
        raise GraphError(
            f"the module's source and sink are {old.source!r} and {old.sink!r}, the graph's {new.source!r} and "
            f"{new.sink!r}",
            graph=str(new),
            remedies=["name them alike"],
        )
    gone = [blob for blob in old.inner if blob not in new.blobs]
    if gone:
        raise GraphError(
            f"the module's blob {gone[0]!r} is not in the graph",
            graph=str(new),
            shapes=f"the module is {str(old)!r} with the blobs {', '.join(old.blobs)}",
            remedies=["write the graph as edges, s-a:3x3, a-t:1x1, so that present blobs keep their names"],
        )
    kept = match_edges(old, new)
    going_on = {edge.name for edge in kept.values()}
    removed: dict[tuple[str, str], list[Edge]] = {}
    for edge in old.edges:
        if edge.name not in going_on:
            removed.setdefault((edge.source, edge.sink), []).append(edge)
    added, loose = _added(old, new, kept)
    ends = dict.fromkeys([*removed, *added])
    bundles = tuple(
        _bundle(new, pair, tuple(removed.get(pair, ())), added.get(pair, ((), frozenset()))) for pair in ends
    )
    return Embedding(kept, bundles, _exits(old, new, loose), loose)


def match_edges(old: ModuleGraph, new: ModuleGraph) -> dict[str, Edge]:
    """Return, by name of an edge of `new`, the edge of `old` whose filter it can hold.

    Edges go on under their names where they can, under others where they must: as many as possible go on, and an edge
    without weights becomes a convolution only where no other edge is its like. Where all that is new between two blobs
    are edges without weights, the convolutions there do not go on as they are: they must make up for these.
    """
    kept: dict[str, Edge] = {}
    for alike in (True, False):
        going_on = {edge.name for edge in kept.values()}
        waiting = [edge for edge in old.edges if edge.name not in going_on]
        places = {one.name: [edge.name for edge in new.edges if _holds(one, edge, alike=alike)] for one in waiting}
        for one in waiting:
            if one.name in places[one.name] and one.name not in kept:
                kept[one.name] = one
        for one in waiting:
            if one not in kept.values():
                _place(one, places, kept, set())
    for (source, sink), (added, _) in _added(old, new, kept)[0].items():
        if all(edge.fixed is not None for edge in added):
            for edge in new.edges:
                if (edge.source, edge.sink, edge.fixed) == (source, sink, None):
                    kept.pop(edge.name, None)
    return {edge.name: kept[edge.name] for edge in new.edges if edge.name in kept}


def _place(one: Edge, places: Mapping[str, Sequence[str]], kept: dict[str, Edge], seen: set[str]) -> bool:
    """Find a place for an edge, moving others where that helps (an augmenting path)."""
    for name in places[one.name]:
        holder = kept.get(name)
        if name in seen or (holder is not None and holder.name not in places):
            continue
        seen.add(name)
        if holder is None or _place(holder, places, kept, seen):
            kept[name] = one
            return True
    return False


def _holds(old: Edge, new: Edge, *, alike: bool) -> bool:
    """Return whether a new edge between the same blobs can hold an old one's filter, as far as the graphs tell.

    Args:
        old: edge of the present graph.
        new: edge of the larger one.
        alike: whether both or neither must have weights.
    """
    if (old.source, old.sink) != (new.source, new.sink) or (alike and (old.fixed is None) != (new.fixed is None)):
        return False
    if new.fixed is not None:
        return old.fixed == new.fixed and old.kernel == new.kernel
    size = max(len(old.kernel), len(new.kernel))
    before, after = (kernel * size if len(kernel) == 1 else kernel for kernel in (old.kernel, new.kernel))
    if len(before) != len(after) or any(b > a for b, a in zip(before, after, strict=True)):
        return False
    if old.fixed is not None or old.groups == "dw" or new.groups == 1:
        return True
    return new.groups != "dw" and old.groups % new.groups == 0


def _added(
    old: ModuleGraph, new: ModuleGraph, kept: dict[str, Edge]
) -> tuple[dict[tuple[str, str], tuple[tuple[Edge, ...], frozenset[str]]], frozenset[str]]:
    """Return the new edges and blobs by the two present blobs that they join, and the blobs that join more."""
    present = set(old.blobs)
    found: dict[tuple[str, str], tuple[tuple[Edge, ...], frozenset[str]]] = {}
    loose: set[str] = set()
    for edge in new.edges:
        if edge.name not in kept and {edge.source, edge.sink} <= present:
            edges, blobs = found.get((edge.source, edge.sink), ((), frozenset()))
            found[edge.source, edge.sink] = ((*edges, edge), blobs)
    for part in _parts(new, present):
        around = [edge for edge in new.edges if part & {edge.source, edge.sink}]
        entries = {edge.source for edge in around} - part
        exits = {edge.sink for edge in around} - part
        if len(entries) == len(exits) == 1:
            pair = (entries.pop(), exits.pop())
            edges, blobs = found.get(pair, ((), frozenset()))
            found[pair] = ((*edges, *around), blobs | part)
        else:
            loose |= part
    return found, frozenset(loose)


def _parts(new: ModuleGraph, present: set[str]) -> Iterator[frozenset[str]]:
    """Yield the sets of new blobs that are joined by edges."""
    near: dict[str, set[str]] = {blob: set() for blob in new.blobs if blob not in present}
    for edge in new.edges:
        if edge.source in near and edge.sink in near:
            near[edge.source].add(edge.sink)
            near[edge.sink].add(edge.source)
    done: set[str] = set()
    for blob in near:
        if blob in done:
            continue
        part, todo = {blob}, [blob]
        while todo:
            fresh = near[todo.pop()] - part
            part |= fresh
            todo += fresh
        done |= part
        yield frozenset(part)


def _bundle(
    new: ModuleGraph, pair: tuple[str, str], removed: tuple[Edge, ...], found: tuple[tuple[Edge, ...], frozenset[str]]
) -> Bundle:
    added, blobs = found
    if not added:
        raise GraphError(
            f"the module's edge {removed[0].name!r} from {pair[0]!r} to {pair[1]!r} has no counterpart in the graph",
            graph=str(new),
            remedies=[
                "keep an edge there with a kernel at least as large",
                "write the graph as edges, s-a:3x3, a-t:1x1, so that present blobs and edges keep their names",
            ],
        )
    order = {edge.name: index for index, edge in enumerate(new.edges)}
    return Bundle(*pair, removed, tuple(sorted(added, key=lambda edge: order[edge.name])), blobs)


def _exits(old: ModuleGraph, new: ModuleGraph, loose: frozenset[str]) -> tuple[str, ...]:
    present = set(old.blobs)
    found = [edge for edge in new.edges if edge.source in loose and edge.sink in present]
    fixed = [edge for edge in found if edge.fixed is not None]
    if fixed:
        raise GraphError(
            f"edge {fixed[0].name!r} has no weights and would change the module's function",
            graph=str(new),
            remedies=[f"make it a convolution: what enters {fixed[0].sink!r} from new blobs starts at zero"],
        )
    return tuple(edge.name for edge in found)
