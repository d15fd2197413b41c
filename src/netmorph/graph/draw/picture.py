"""A module graph as a scene: blobs as boxes, edges as lines with their kernels in a gap, from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from netmorph.errors import GraphError
from netmorph.graph.draw.crossings import ordered
from netmorph.graph.draw.layers import Layers, in_layers
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.positions import positions
from netmorph.graph.draw.scene import Box, Curve, Head, Label, Point, Role, Scene, text_width
from netmorph.graph.draw.words import activation_word, blob_width, edge_words, shorten
from netmorph.graph.spec import Edge, ModuleGraph

__all__ = ["LARGEST", "draw_graph", "is_drawable"]

LARGEST = 300  # edges; nobody reads a larger picture
_MOST_NODES = 6_000
_NAME, _SMALL = 13.0, 10.5
_LINE = 15.0
_MARGIN = 14.0
_HEAD = 8.0
_GAP, _WIDEST_GAP = 26.0, 90.0


def is_drawable(graph: ModuleGraph) -> bool:
    """Whether a graph is small enough for a picture."""
    if len(graph.edges) > LARGEST:
        return False
    depth = {graph.source: 0}
    for blob in graph.blobs[1:]:
        depth[blob] = 1 + max(depth[edge.source] for edge in graph.incoming[blob])
    return 2 * len(graph.edges) * depth[graph.sink] <= 20 * _MOST_NODES


def draw_graph(graph: ModuleGraph, marks: Marks | None = None, *, legend: bool = True) -> Scene:
    """Draw a module graph.

    Args:
        graph: any module of at most `LARGEST` edges.
        marks: what to point out.
        legend: whether to say below what the colours mean, where there are any.

    Raises:
        GraphError: if the graph is too large for a picture.
    """
    if not is_drawable(graph):
        raise GraphError(
            f"a drawing of {len(graph.edges)} edges would be illegible",
            remedies=[f"draw at most {LARGEST} edges", "write DOT (.dot) and lay it out with a tool for large graphs"],
        )
    marks = marks or Marks()
    scene = _Picture(graph, marks).scene()
    return _with_legend(scene, graph, marks) if legend else scene


@dataclass(frozen=True)
class _Size:
    width: float
    height: float


class _Picture:
    """A graph while it is being drawn."""

    def __init__(self, graph: ModuleGraph, marks: Marks) -> None:
        self.graph, self.marks = graph, marks
        self.layers: Layers = in_layers(graph)
        self.columns = ordered(self.layers)
        self.edges = {edge.name: edge for edge in graph.edges}
        self.sizes = [self._size(index) for index in range(len(self.layers.nodes))]
        room = [size.height + (6.0 if size.width == 0 else 14.0) for size in self.sizes]
        self.y = positions(self.layers, self.columns, room)
        self.x: list[float] = [0.0] * len(self.sizes)
        self.right = self._set_columns()
        self.top = min(y - size.height / 2 for y, size in zip(self.y, self.sizes, strict=True))
        self.bottom = max(y + size.height / 2 for y, size in zip(self.y, self.sizes, strict=True))

    def scene(self) -> Scene:
        """Return the picture."""
        boxes, curves, heads, labels = [], list[Curve](), list[Head](), list[Label]()
        for index, node in enumerate(self.layers.nodes):
            if node.kind == "blob":
                boxes.append(self._blob(index))
                labels += self._blob_labels(index)
            elif node.kind == "label":
                labels += self._edge_labels(index)
        for edge in self.graph.edges:
            lines, head = self._line(edge)
            curves += lines
            heads.append(head)
        width, height = self.right + 2 * _MARGIN, self.bottom - self.top + 2 * _MARGIN
        title = f"module graph {shorten(str(self.graph), 200)}"
        drawn = Scene(0, 0, title, tuple(boxes), tuple(curves), tuple(heads), tuple(labels))
        return replace(drawn.moved(_MARGIN, _MARGIN - self.top), width=width, height=height)

    def _size(self, index: int) -> _Size:
        node = self.layers.nodes[index]
        if node.kind == "bend":
            return _Size(0, 8)
        if node.kind == "label":
            words = edge_words(self.edges[node.name])
            wide = max(text_width(line, size) for line, size in self._label_lines(words, node.name))
            return _Size(wide + 8, _LINE * len(words) + 2)
        wide = max(text_width(shorten(node.name), _NAME), text_width(self._width(node.name), _SMALL))
        ends = max(len(self.layers.before[index]), len(self.layers.after[index]))
        return _Size(max(38.0, wide + 16), max(40.0, min(90.0, 10.0 * ends + 10)))

    def _width(self, blob: str) -> str:
        given = self.marks.widths
        return blob_width(self.graph, blob, None if given is None else dict(given))

    def _set_columns(self) -> float:
        """Place the columns side by side; lines that climb much get more room."""
        left = 0.0
        for number, column in enumerate(self.columns):
            wide = max(self.sizes[node].width for node in column)
            for node in column:
                self.x[node] = left + wide / 2
            left += wide
            if number + 1 < len(self.columns):
                rise = max(abs(self.y[end] - self.y[node]) for node in column for end in self.layers.after[node])
                left += min(_WIDEST_GAP, max(_GAP, 0.45 * rise)) + (_HEAD if number % 2 else 0)
        return left

    def _blob(self, index: int) -> Box:
        node, size = self.layers.nodes[index], self.sizes[index]
        role: Role = "end" if node.name in (self.graph.source, self.graph.sink) else "blob"
        if node.name in self.marks.narrow:
            role = "narrow"
        width = self._width(node.name)
        about = f"blob {node.name}" + (f", width {width}" if width else "")
        if node.name in self.graph.activations:
            about += f", activation {activation_word(self.graph.activations[node.name])}"
        corner = (self.x[index] - size.width / 2, self.y[index] - size.height / 2)
        return Box(*corner, size.width, size.height, role, about + (", too narrow" if role == "narrow" else ""))

    def _blob_labels(self, index: int) -> list[Label]:
        x, y, name = self.x[index], self.y[index], self.layers.nodes[index].name
        width = self._width(name)
        if not width:
            return [Label(x, y, shorten(name), _NAME, bold=True)]
        role: Role = "narrow" if name in self.marks.narrow else "faint"
        return [Label(x, y - 7, shorten(name), _NAME, bold=True), Label(x, y + 9, width, _SMALL, role)]

    def _edge_labels(self, index: int) -> list[Label]:
        name = self.layers.nodes[index].name
        lines = self._label_lines(edge_words(self.edges[name]), name)
        top = self.y[index] - _LINE * (len(lines) - 1) / 2
        role = self._role(self.edges[name])
        main: Role = role if role in ("carry", "fresh") else "ink"
        return [
            Label(self.x[index], top + _LINE * number, text, size, main if size == _NAME else "faint")
            for number, (text, size) in enumerate(lines)
        ]

    def _label_lines(self, words: Sequence[str], name: str) -> list[tuple[str, float]]:
        """Return the lines with their sizes: the kernel is large, what stands around it is small."""
        edge = self.edges[name]
        kernel = 0 if edge.name.startswith(f"{edge.source}_{edge.sink}") else 1
        return [(text, _NAME if number == kernel else _SMALL) for number, text in enumerate(words)]

    def _role(self, edge: Edge) -> Role:
        if edge.name in self.marks.fresh:
            return "fresh"
        if edge.name in self.marks.carrying:
            return "carry"
        return "line" if edge.fixed is None else "fixed"

    def _line(self, edge: Edge) -> tuple[list[Curve], Head]:
        """Return an edge's line, with a gap where its label is, and its head."""
        chain, role = self.layers.chains[edge.name], self._role(edge)
        first, last = chain[0], chain[-1]
        start = (self.x[first] + self.sizes[first].width / 2, self._port(first, chain[1], self.layers.after))
        tip = (self.x[last] - self.sizes[last].width / 2, self._port(last, chain[-2], self.layers.before))
        lines, points = [], [start, (self._edge_of(chain[0], 1), start[1])]
        for node in chain[1:-1]:
            points += [(self._edge_of(node, -1), self.y[node])]
            half = self.sizes[node].width / 2
            if half:
                points.append((self.x[node] - half, self.y[node]))
                lines.append(Curve(_distinct(points), role))
                points = [(self.x[node] + half, self.y[node])]
            points.append((self._edge_of(node, 1), self.y[node]))
        points += [(self._edge_of(chain[-1], -1) - _HEAD, tip[1]), (tip[0] - _HEAD + 1, tip[1])]
        return [*lines, Curve(_distinct(points), role)], Head(*tip, role)

    def _edge_of(self, node: int, side: int) -> float:
        """Return where the node's column ends on one side."""
        return self.x[node] + side * self._column_width[self.layers.nodes[node].column] / 2

    @cached_property
    def _column_width(self) -> list[float]:
        return [max(self.sizes[node].width for node in column) for column in self.columns]

    def _port(self, blob: int, neighbour: int, joined: Sequence[Sequence[int]]) -> float:
        """Return where on a blob's side a line ends: side by side, in the order of where they come from."""
        ends = sorted(joined[blob], key=lambda node: self.y[node])
        place = ends.index(neighbour)
        step = min(10.0, (self.sizes[blob].height - 16) / max(1, len(ends) - 1))
        return self.y[blob] + step * (place - (len(ends) - 1) / 2)


def _distinct(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points without repetitions."""
    out = [points[0]]
    for point in points[1:]:
        if abs(point[0] - out[-1][0]) > 0.01 or abs(point[1] - out[-1][1]) > 0.01:
            out.append(point)
    return tuple(out)


def _with_legend(scene: Scene, graph: ModuleGraph, marks: Marks) -> Scene:
    """Return the scene with a line below that says what colours mean, one entry under the other."""
    entries: list[tuple[Role, str]] = []
    if marks.carrying:
        entries.append(("carry", "carries the layer's filter"))
    if marks.fresh:
        entries.append(("fresh", "new"))
    if marks.narrow:
        entries.append(("narrow", "too narrow"))
    if any(edge.fixed is not None for edge in graph.edges):
        entries.append(("fixed", "no weights"))
    boxes, curves, labels = list(scene.boxes), list(scene.curves), list(scene.labels)
    width, y = scene.width, scene.height
    for number, (role, text) in enumerate(entries):
        y = scene.height + 18 * number
        if role == "narrow":
            boxes.append(Box(_MARGIN + 4, y - 6, 18, 12, role))
        else:
            curves.append(Curve(((_MARGIN, y), (_MARGIN + 26, y)), role))
        label = Label(_MARGIN + 36, y, text, _SMALL, "faint", start=True)
        width = max(width, label.box.x + label.box.width + _MARGIN)
        labels.append(label)
    height = scene.height + (18 * (len(entries) - 1) + _MARGIN + 4 if entries else 0)
    return replace(scene, width=width, height=height, boxes=tuple(boxes), curves=tuple(curves), labels=tuple(labels))
