"""A module graph in Mermaid, which GitHub, GitLab and many notebooks draw."""

from __future__ import annotations

from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.palette import LIGHT
from netmorph.graph.draw.words import blob_width, edge_words
from netmorph.graph.spec import ModuleGraph

__all__ = ["to_mermaid"]


def to_mermaid(graph: ModuleGraph, marks: Marks | None = None) -> str:
    """Return a module graph as a Mermaid flowchart.

    Blobs are numbered in it, since Mermaid reserves words such as `end`.

    Args:
        graph: any module, of any size.
        marks: what to point out.
    """
    marks = marks or Marks()
    widths = None if marks.widths is None else dict(marks.widths)
    number = {blob: f"b{index}" for index, blob in enumerate(graph.blobs)}
    lines = ["flowchart LR"]
    for blob in graph.blobs:
        width = blob_width(graph, blob, widths)
        lines.append(f'  {number[blob]}("{"<br/>".join(filter(None, (blob, width)))}")')
    for edge in graph.edges:
        arrow = "-->" if edge.fixed is None else "-.->"
        label = "<br/>".join(edge_words(edge))
        lines.append(f'  {number[edge.source]} {arrow}|"{label}"| {number[edge.sink]}')
    for names, role in ((marks.fresh, "fresh"), (marks.carrying - marks.fresh, "carry")):
        places = [str(index) for index, edge in enumerate(graph.edges) if edge.name in names]
        if places:
            lines.append(f"  linkStyle {','.join(places)} stroke:{LIGHT[role]},stroke-width:3px")
    lines += [
        f"  style {number[blob]} fill:{LIGHT['narrow-fill']},stroke:{LIGHT['narrow']},color:{LIGHT['ink']}"
        for blob in graph.blobs
        if blob in marks.narrow
    ]
    return "\n".join(lines) + "\n"
