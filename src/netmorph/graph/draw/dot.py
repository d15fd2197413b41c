"""A module graph in the DOT language, for Graphviz and all that reads it."""

from __future__ import annotations

from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.palette import LIGHT
from netmorph.graph.draw.words import blob_width, edge_words
from netmorph.graph.spec import Edge, ModuleGraph

__all__ = ["to_dot"]


def to_dot(graph: ModuleGraph, marks: Marks | None = None) -> str:
    """Return a module graph in DOT.

    Args:
        graph: any module, of any size.
        marks: what to point out.
    """
    marks = marks or Marks()
    widths = None if marks.widths is None else dict(marks.widths)
    lines = [
        "digraph module {",
        "  rankdir=LR;",
        '  node [shape=box, style="rounded,filled", fontname="monospace", fillcolor="#eef2f6", color="#8b97a6"];',
        '  edge [fontname="monospace", color="#46505e"];',
    ]
    for blob in graph.blobs:
        width = blob_width(graph, blob, widths)
        narrow = blob in marks.narrow
        colours = f', color="{LIGHT["narrow"]}", fillcolor="{LIGHT["narrow-fill"]}"' if narrow else ""
        lines.append(f"  {_quoted(blob)} [label={_quoted(blob, width)}{colours}];")
    for edge in graph.edges:
        label = _quoted(*edge_words(edge))
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.sink)} [label={label}{_style(edge, marks)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _style(edge: Edge, marks: Marks) -> str:
    for names, role in ((marks.fresh, "fresh"), (marks.carrying, "carry")):
        if edge.name in names:
            return f', color="{LIGHT[role]}", fontcolor="{LIGHT[role]}", penwidth=2.5'
    return ", style=dashed" if edge.fixed is not None else ""


def _quoted(*lines: str) -> str:
    """Return lines as one quoted string; names and notation hold neither quotes nor backslashes."""
    return '"' + "\\n".join(line for line in lines if line) + '"'
