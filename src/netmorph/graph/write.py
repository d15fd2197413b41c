"""Writing graphs as text: expressions from the series-parallel reduction, edge lists from anything."""

from __future__ import annotations

from netmorph.graph.read_expression import DEEPEST
from netmorph.graph.series_parallel import Merge, sweep
from netmorph.graph.spec import Edge, ModuleGraph, fresh_name

_MOST_EDGES = 2000  # nobody reads a longer expression


def write_atom(edge: Edge) -> str:
    """Return the notation of one edge without names and width, such as `3x3/2*dw`."""
    kernel = _sides(edge.kernel)
    if edge.fixed is not None:
        scale = "" if edge.fixed.scale == 1 else f"{write_number(edge.fixed.scale)}*"
        kernel = scale + ("id" if edge.fixed.kind == "id" else f"avg{kernel}")
    stride = "" if edge.stride is None else f"/{_sides(edge.stride)}"
    dilation = "" if edge.dilation is None else f"~{_sides(edge.dilation)}"
    groups = "" if edge.groups == 1 else f"*{edge.groups}"
    return kernel + stride + dilation + groups


def write_number(value: float) -> str:
    """Return the shortest decimal that reads back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def write_edges(graph: ModuleGraph) -> str:
    """Return the edge list of a graph: edges in order, names where they are not those given by default, widths."""
    named = _named(graph)
    items = [
        f"{edge.name + '=' if edge.name in named else ''}{edge.source}-{edge.sink}:{write_atom(edge)}"
        for edge in graph.edges
    ]
    widths = ", ".join(f"{blob}: {width}" for blob, width in graph.width_items)
    return ", ".join(items) + (f" {{{widths}}}" if widths else "")


def write_expression(graph: ModuleGraph) -> str | None:
    """Return an expression with the graph's structure, or None where the graph is complex or very large.

    Only reading it back tells whether it is the graph: names and the order of edges may differ.
    """
    if len(graph.edges) > _MOST_EDGES:
        return None
    merges, core = sweep(graph)
    return None if len(core) > 1 else _Expression(graph, merges).write(core[0])


class _Expression:
    def __init__(self, graph: ModuleGraph, merges: list[Merge]) -> None:
        self.edges = graph.edges
        self.merges = merges
        self.widths = graph.widths
        # The first of the graph's edges under each merged one: branches are written in that order.
        self.first = list(range(len(graph.edges)))
        for merge in merges:
            self.first.append(min(self.first[merge.first], self.first[merge.second]))

    def write(self, number: int, depth: int = 0) -> str | None:
        """Return the text of an edge of the graph or a merged one; None if parentheses were too deep."""
        if depth > DEEPEST:
            return None
        texts = []
        for branch in self._flat(number, "II"):
            text = self._series(branch, depth)
            if text is None:
                return None
            texts.append(text)
        return " | ".join(texts)

    def _series(self, number: int, depth: int) -> str | None:
        out = []
        parts = self._flat(number, "I")
        for index, part in enumerate(parts):
            merge = self._merge(part)
            text = write_atom(self.edges[part]) if merge is None else self.write(part, depth + 1)
            if text is None:
                return None
            blob = self._sink(part)
            width = f":{self.widths[blob]}" if blob in self.widths and index < len(parts) - 1 else ""
            out.append((text if merge is None else f"({text})") + width)
        return " > ".join(out)

    def _merge(self, number: int) -> Merge | None:
        return self.merges[number - len(self.edges)] if number >= len(self.edges) else None

    def _sink(self, number: int) -> str:
        merge = self._merge(number)
        return self.edges[number].sink if merge is None else merge.sink

    def _flat(self, number: int, kind: str) -> list[int]:
        """Return the parts of nested merges of one type: in series order, or by their first edge."""
        parts, stack = [], [number]
        while stack:
            top = stack.pop()
            merge = self._merge(top)
            if merge is None or merge.type != kind:
                parts.append(top)
            else:
                stack += (merge.second, merge.first)
        return parts if kind == "I" else sorted(parts, key=self.first.__getitem__)


def _named(graph: ModuleGraph) -> set[str]:
    """Return the names of edges that must be written for reading to give them back; not always the fewest."""
    named = {edge.name for edge in graph.edges if not edge.name.startswith(f"{edge.source}_{edge.sink}")}
    for _ in range(2):
        wrong = {edge.name for edge, name in zip(graph.edges, _default(graph, named), strict=True) if edge.name != name}
        if not wrong:
            return named
        named |= wrong
    return {edge.name for edge in graph.edges}


def _default(graph: ModuleGraph, named: set[str]) -> list[str]:
    """Return the names that `ModuleGraph.from_edges` gives to the edges outside `named`."""
    taken, counts = set(named), dict[str, int]()
    return [
        edge.name if edge.name in named else fresh_name(f"{edge.source}_{edge.sink}", taken, counts)
        for edge in graph.edges
    ]


def _sides(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))
