"""Reading the expression form: `1x1:0.25x > 3x3:0.25x > 1x1 | 3x3`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from string import ascii_lowercase
from typing import Any

from netmorph.graph.scanner import Scanner, Widths
from netmorph.graph.spec import Width

DEEPEST = 64
Item = tuple[str, str, Any, dict[str, Any]]


@dataclass
class _Part:
    """One element of a series: an edge, or a group of branches; with the width of the blob that it writes."""

    edge: dict[str, Any] | None = None
    branches: list[list[_Part]] = field(default_factory=list)
    width: Width | None = None
    position: int = 0


@dataclass(eq=False)
class _Blob:
    name: str = ""


def read_expression(scanner: Scanner) -> tuple[list[Item], Widths]:
    """Read a whole expression; blobs are named a, b, ... by where they are written.

    Raises:
        NotationError: if the text is invalid; the message points at the character.
    """
    if not scanner.peek():
        scanner.fail("the notation is empty", None, "write a graph such as 3x3 > 1x1")
    branches = _branches(scanner, 0)
    builder = _Builder()
    for branch in branches:
        builder.series(branch, builder.source, builder.sink)
    for blob, name in zip(builder.inner, blob_names(), strict=False):
        blob.name = name
    widths = Widths(scanner)
    for blob, width, position in builder.widths:
        widths.put(blob.name, width, position)
    widths.braces()
    edges = []
    for item, source, sink in builder.edges:
        kernel = item.pop("kernel")
        edges.append((source.name, sink.name, kernel, item))
    return edges, widths


def blob_names() -> Iterator[str]:
    """Yield the names of inner blobs: a to z without s and t, then a1 to z1 and so on."""
    for turn in count():
        yield from (letter + (str(turn) if turn else "") for letter in ascii_lowercase if letter not in "st")


def _branches(scanner: Scanner, depth: int) -> list[list[_Part]]:
    branches = [_series(scanner, depth)]
    while scanner.take("|"):
        branches.append(_series(scanner, depth))
    return branches


def _series(scanner: Scanner, depth: int) -> list[_Part]:
    parts = [_part(scanner, depth)]
    while scanner.take(">"):
        parts.append(_part(scanner, depth))
    return parts


def _part(scanner: Scanner, depth: int) -> _Part:
    if not scanner.take("("):
        edge, width, position = scanner.edge()
        return _Part(edge, [], width, position)
    opened = scanner.at - 1
    if depth == DEEPEST:
        scanner.fail(f"parentheses are nested deeper than {DEEPEST}", opened)
    branches = _branches(scanner, depth + 1)
    if not scanner.peek():
        scanner.fail("this parenthesis is not closed", opened)
    scanner.expect(")", "after the group")
    part = _Part(None, branches)
    if scanner.peek() == ":":
        part.position = scanner.at
        scanner.take(":")
        part.width = scanner.width()
    return part


class _Builder:
    """Walks the parts in the order of the text, making blobs and edges."""

    def __init__(self) -> None:
        self.source, self.sink = _Blob("s"), _Blob("t")
        self.inner: list[_Blob] = []
        self.edges: list[tuple[dict[str, Any], _Blob, _Blob]] = []
        self.widths: list[tuple[_Blob, Width, int]] = []

    def series(self, parts: list[_Part], source: _Blob, sink: _Blob) -> None:
        """Add a series between two blobs."""
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            target = sink if last else _Blob()
            if part.edge is not None:
                self.edges.append((part.edge, source, target))
            for branch in part.branches:
                self.series(branch, source, target)
            if part.width is not None:
                self.widths.append((target, part.width, part.position))
            if not last:
                self.inner.append(target)
            source = target
