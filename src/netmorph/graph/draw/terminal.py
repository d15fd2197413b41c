"""A module graph drawn with characters, from the same layout as the pictures."""

from __future__ import annotations

from netmorph.graph.draw.crossings import ordered
from netmorph.graph.draw.layers import Layers, Node, in_layers
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.picture import is_drawable
from netmorph.graph.draw.positions import positions
from netmorph.graph.draw.tracks import DOWN, LEFT, RIGHT, UP, bundle_cells, tracks
from netmorph.graph.draw.words import blob_width, shorten
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.write import write_atom

__all__ = ["LINES", "to_text"]

LINES = {
    "─": LEFT | RIGHT,
    "│": UP | DOWN,
    "┌": DOWN | RIGHT,
    "┐": DOWN | LEFT,
    "└": UP | RIGHT,
    "┘": UP | LEFT,
    "├": UP | DOWN | RIGHT,
    "┤": UP | DOWN | LEFT,
    "┬": DOWN | LEFT | RIGHT,
    "┴": UP | LEFT | RIGHT,
    "┼": UP | DOWN | LEFT | RIGHT,
}
_LETTERS = {bits: letter for letter, bits in LINES.items()}
_PLAIN = str.maketrans({"│": "|", "─": "-", "▶": ">", "…": "~", **dict.fromkeys("┌┐└┘├┤┬┴┼", "+")})


def to_text(graph: ModuleGraph, marks: Marks | None = None, *, unicode: bool = True) -> str | None:
    """Draw a module graph with characters; None where it is too large.

    Edges that carry the site's filter stand in brackets; a blob that is too narrow is followed by an exclamation mark.
    Where a vertical line crosses a horizontal one without touching it, the vertical one is drawn.

    Args:
        graph: any module.
        marks: what to point out.
        unicode: whether to use the box-drawing characters; else ASCII.

    Example:
        >>> from netmorph.graph.notation import parse
        >>> print(to_text(parse("3x3 > 1x1 | id")))
        s─┬─3x3───▶a:1x───1x1─┬─▶t
          └──id───────────────┘
    """
    if not is_drawable(graph):
        return None
    text = _Text(graph, marks or Marks()).draw()
    return text if unicode else text.translate(_PLAIN)


class _Text:
    """A graph while it is being drawn."""

    def __init__(self, graph: ModuleGraph, marks: Marks) -> None:
        self.graph, self.marks = graph, marks
        self.edges = {edge.name: edge for edge in graph.edges}
        self.layers: Layers = in_layers(graph)
        self.columns = ordered(self.layers)
        self.words = [self._word(node) for node in self.layers.nodes]
        self.rows = self._rows()
        self.tracks = self._tracks()
        self.cells: dict[tuple[int, int], str] = {}

    def draw(self) -> str:
        """Return the drawing."""
        left = 0
        for number, column in enumerate(self.columns):
            wide = max(len(self.words[node]) for node in column)
            for node in column:
                self._write(node, left, wide)
            left += wide
            if number + 1 < len(self.columns):
                left += self._channel(number, left)
        return self._lines()

    def _word(self, node: Node) -> str:
        if node.kind == "bend":
            return ""
        if node.kind == "blob":
            given = self.marks.widths
            width = blob_width(self.graph, node.name, None if given is None else dict(given))
            return shorten(node.name) + (f":{width}" if width else "") + "!" * (node.name in self.marks.narrow)
        edge = self.edges[node.name]
        named = not edge.name.startswith(f"{edge.source}_{edge.sink}")
        word = (f"{shorten(edge.name)}=" if named else "") + write_atom(edge)
        return f"[{word}]" if edge.name in self.marks.carrying else word

    def _rows(self) -> list[int]:
        """Return each node's row: the pictures' layout with nodes of one height, rounded."""
        at = positions(self.layers, self.columns, [1.0] * len(self.layers.nodes))
        least = min(at)
        rows = [0] * len(at)
        for column in self.columns:
            last = -1
            for node in column:
                last = max(last + 1, round(at[node] - least - 1e-6))
                rows[node] = last
        return rows

    def _tracks(self) -> list[dict[int, int]]:
        """Return the tracks of each channel; where rows leave none, labels are put into rows of their own."""
        found = [tracks(self._bundles(number)) for number in range(len(self.columns) - 1)]
        if None in found:
            self.rows = [2 * row + node.column % 2 for row, node in zip(self.rows, self.layers.nodes, strict=True)]
            found = [tracks(self._bundles(number)) for number in range(len(self.columns) - 1)]
        return [each for each in found if each is not None]

    def _bundles(self, number: int) -> dict[int, list[tuple[int, int]]]:
        """Return the lines behind a column. Those of one blob are bundled: behind it, or where they all arrive."""
        bundles: dict[int, list[tuple[int, int]]] = {}
        for node in self.columns[number]:
            for end in self.layers.after[node]:
                bundles.setdefault(end if number % 2 else node, []).append((self.rows[node], self.rows[end]))
        return bundles

    def _write(self, node: int, left: int, wide: int) -> None:
        """Write a node into its column, the line going on on both sides of it."""
        word, row = self.words[node], self.rows[node]
        blob, first, last = (
            self.layers.nodes[node].kind == "blob",
            not self.layers.before[node],
            not self.layers.after[node],
        )
        fill = " " if first or last else "─"
        padded = word.rjust(wide, fill) if first else word.ljust(wide, fill) if blob else word.center(wide, fill)
        for offset, letter in enumerate(padded):
            self.cells[row, left + offset] = letter

    def _channel(self, number: int, left: int) -> int:
        """Draw the lines behind a column and return the room that they take."""
        found, arrow = self.tracks[number], number % 2
        wide = max(found.values()) + 3 + arrow
        passed: dict[tuple[int, int], list[int]] = {}
        for key, lines in self._bundles(number).items():
            for cell, bits in bundle_cells(lines, left, left + 1 + found[key], left + wide).items():
                passed.setdefault(cell, []).append(bits)
        for cell, several in passed.items():
            self.cells[cell] = "│" if len(several) > 1 else _LETTERS[several[0]]
        for end in self.columns[number + 1]:
            if self.layers.nodes[end].kind == "blob":
                self.cells[self.rows[end], left + wide - 1] = "▶"
        return wide

    def _lines(self) -> str:
        height, width = (1 + max(sides) for sides in zip(*self.cells, strict=True))
        grid = [[" "] * width for _ in range(height)]
        for (row, column), letter in self.cells.items():
            grid[row][column] = letter
        lines = ["".join(line).rstrip() for line in grid]
        first = next(index for index, line in enumerate(lines) if line)
        return "\n".join(lines[first:])
