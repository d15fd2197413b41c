"""What makes a multigraph a module: one source, one sink, no cycle, every blob between them (Definition 1)."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from netmorph.errors import GraphError

if TYPE_CHECKING:
    from netmorph.graph.spec import Edge, ModuleGraph


def validate(graph: ModuleGraph) -> tuple[str, ...]:
    """Return the blobs in a topological order, or say what is wrong; O(V + E).

    Raises:
        GraphError: if the graph is invalid; the message names the edge or blob.
    """
    if not graph.edges:
        raise GraphError("a module graph needs at least one edge")
    if graph.source == graph.sink:
        raise GraphError(f"source and sink are both named {graph.source!r}")
    _check_names(graph)
    _check_dimensions(graph)
    following: dict[str, list[str]] = {}
    preceding: dict[str, list[str]] = {}
    for edge in graph.edges:
        following.setdefault(edge.source, []).append(edge.sink)
        preceding.setdefault(edge.sink, []).append(edge.source)
    _check_ends(graph, following, preceding)
    order = _topological(graph.source, following, preceding)
    done = set(order)
    missing = [blob for blob in {**following, **preceding} if blob not in done]
    if missing:
        raise GraphError(
            f"the graph has a cycle through {_cycle(missing, preceding)}",
            remedies=["turn or remove one of its edges: a module graph is acyclic"],
        )
    _check_blobs(graph, done)
    _check_strides(graph, order)
    order.remove(graph.sink)
    return (*order, graph.sink)


def is_word(value: object) -> bool:
    """Return whether a value is a short text that a terminal can print, as the name of a norm or an activation is."""
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _check_names(graph: ModuleGraph) -> None:
    names = [edge.name for edge in graph.edges]
    if len(set(names)) < len(names):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise GraphError(f"two edges are named {twice[0]!r}", remedies=["name them apart"])


def _check_dimensions(graph: ModuleGraph) -> None:
    """Raise if one edge has another number of spatial dimensions than another; one number stands for any."""
    found: tuple[int, str] | None = None
    for edge in graph.edges:
        for what, values in (("kernel", edge.kernel), ("stride", edge.stride), ("dilation", edge.dilation)):
            if values is None or len(values) == 1:
                continue
            size = len(values)
            found = found or (size, edge.name)
            if size != found[0]:
                raise GraphError(
                    f"edge {edge.name!r} has a {what} of {size} dimensions, edge {found[1]!r} has {found[0]}",
                    remedies=["write one number for every dimension"],
                )


def _check_ends(graph: ModuleGraph, following: dict[str, list[str]], preceding: dict[str, list[str]]) -> None:
    """Raise unless the named source and sink are the only ones."""
    for blob, table, other, word, verb in (
        (graph.source, following, preceding, "source", "leaves"),
        (graph.sink, preceding, following, "sink", "enters"),
    ):
        if blob not in table:
            raise GraphError(f"no edge {verb} the {word} {blob!r}", remedies=[f"name the {word} {blob!r}"])
        if blob in other:
            touches = "enters" if word == "source" else "leaves"
            raise GraphError(f"the {word} {blob!r} is not an end of the graph: an edge {touches} it")
    starts = [blob for blob in following if blob not in preceding]
    ends = [blob for blob in preceding if blob not in following]
    for found, word, blob in ((starts, "sources", graph.source), (ends, "sinks", graph.sink)):
        if len(found) > 1:
            extra = [name for name in found if name != blob]
            raise GraphError(
                f"the graph has {len(found)} {word}: {blob!r} and {', '.join(map(repr, extra))}",
                remedies=[f"connect or remove {extra[0]!r}: every blob lies on a path from source to sink"],
            )


def _topological(source: str, following: dict[str, list[str]], preceding: dict[str, list[str]]) -> list[str]:
    waiting = {blob: len(before) for blob, before in preceding.items()}
    order, queue = [], deque([source])
    while queue:
        blob = queue.popleft()
        order.append(blob)
        for after in following.get(blob, ()):
            waiting[after] -= 1
            if waiting[after] == 0:
                queue.append(after)
    return order


def _cycle(blobs: list[str], preceding: dict[str, list[str]]) -> str:
    """Return one cycle among `blobs`, each of which has a predecessor among them."""
    inside, seen = set(blobs), dict[str, None]()
    blob = blobs[0]
    while blob not in seen:
        seen[blob] = None
        blob = next(before for before in preceding[blob] if before in inside)
    walk = list(seen)
    loop = [*walk[walk.index(blob) :], blob]
    return " > ".join(reversed(loop))


def _check_blobs(graph: ModuleGraph, blobs: set[str]) -> None:
    ends = (graph.source, graph.sink)
    for blob, activation in graph.activation_items:
        if not is_word(activation):
            raise GraphError(f"the activation of {blob!r} must be given by name, got {activation!r:.80}")
    for word, items in (("a width", graph.width_items), ("an activation", graph.activation_items)):
        for blob, count in Counter(name for name, _ in items).items():
            if count > 1:
                raise GraphError(f"blob {blob!r} has {word} twice")
            if blob not in blobs:
                raise GraphError(f"{word} is given for {blob!r}, which is not a blob", shapes=f"blobs {sorted(blobs)}")
            if blob in ends:
                raise GraphError(
                    f"{word} is given for {blob!r}, but source and sink take theirs from the site",
                    remedies=[f"leave that of {blob!r} out"],
                )


def _check_strides(graph: ModuleGraph, order: list[str]) -> None:
    """Raise if paths with different total strides join; unnamed strides are decided later."""
    if all(edge.stride is None for edge in graph.edges):
        return
    incoming: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        incoming.setdefault(edge.sink, []).append(edge)
    reached: dict[str, tuple[int, ...]] = {graph.source: (1,)}
    for blob in order[1:]:
        totals = {_times(reached[edge.source], edge.stride or (1,)): edge.name for edge in incoming[blob]}
        if len(totals) > 1:
            text = ", ".join(f"{'x'.join(map(str, total))} by {name!r}" for total, name in totals.items())
            raise GraphError(
                f"strides disagree at blob {blob!r}: {text}",
                remedies=["give the edges that join the same total stride", "name no stride at all"],
            )
        reached[blob] = next(iter(totals))


def _times(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    """Return the product of strides, one number standing for every dimension (they agree on the dimensions)."""
    size = max(len(left), len(right))
    wide_left, wide_right = (v * size if len(v) == 1 else v for v in (left, right))
    total = tuple(a * b for a, b in zip(wide_left, wide_right, strict=True))
    return total[:1] if len(set(total)) == 1 else total
