"""Reading the edge list: `F1=s-a:3x3, a-t:1x1 {a: 64}`."""

from __future__ import annotations

import re
from typing import Any

from netmorph.graph.scanner import Scanner, Widths

Item = tuple[str, str, Any, dict[str, Any]]
_START = re.compile(r"\s*[A-Za-z][A-Za-z0-9_]*\s*[-=]")


def is_edge_list(text: str) -> bool:
    """Return whether a notation is an edge list: it starts with a name and then `-` or `=`."""
    return _START.match(text) is not None


def read_edges(scanner: Scanner) -> tuple[list[Item], Widths]:
    """Read a whole edge list.

    Raises:
        NotationError: if the text is invalid; the message points at the character.
    """
    edges: list[Item] = []
    widths = Widths(scanner)
    names: dict[str, int] = {}
    while True:
        edges.append(_edge(scanner, widths, names))
        if not scanner.take(","):
            break
    widths.braces()
    return edges, widths


def _edge(scanner: Scanner, widths: Widths, names: dict[str, int]) -> Item:
    scanner.peek()
    start = scanner.at
    first = scanner.name("a blob or an edge")
    name = None
    if scanner.take("="):
        name, first = first, scanner.name("a blob")
        if name in names:
            scanner.fail(f"two edges are named {name!r}", start, "name them apart")
        names[name] = start
    scanner.expect("-", "between the blobs of an edge")
    sink = scanner.name("a blob")
    scanner.expect(":", f"and a kernel after the edge {first}-{sink}")
    item, width, place = scanner.edge()
    if width is not None:
        widths.put(sink, width, place)
    kernel = item.pop("kernel")
    return first, sink, kernel, item if name is None else {**item, "name": name}
