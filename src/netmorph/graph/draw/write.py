"""Drawings written to files, in the format that the file's name says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from netmorph.errors import GraphError
from netmorph.graph.draw.dot import to_dot
from netmorph.graph.draw.marks import Marks
from netmorph.graph.draw.mermaid import to_mermaid
from netmorph.graph.draw.picture import draw_graph
from netmorph.graph.draw.strip import draw_strip
from netmorph.graph.draw.svg import to_svg
from netmorph.graph.spec import ModuleGraph
from netmorph.whole_files import as_path, write_whole

__all__ = ["FORMATS", "Drawable", "draw"]


class Drawable(Protocol):
    """A module graph at a place that has something to point out: the plan of a site, a site that was morphed."""

    @property
    def graph(self) -> ModuleGraph:
        """The graph."""

    @property
    def marks(self) -> Marks:
        """What to point out."""


def _svg(graph: ModuleGraph, marks: Marks, strip: bool) -> bytes:
    return (to_svg(draw_strip(graph, marks) if strip else draw_graph(graph, marks)) + "\n").encode()


def _png(graph: ModuleGraph, marks: Marks, strip: bool) -> bytes:
    from netmorph.graph.draw.png import to_png

    return to_png(draw_strip(graph, marks) if strip else draw_graph(graph, marks))


def _dot(graph: ModuleGraph, marks: Marks, strip: bool) -> bytes:
    return to_dot(graph, marks).encode()


def _mermaid(graph: ModuleGraph, marks: Marks, strip: bool) -> bytes:
    return to_mermaid(graph, marks).encode()


FORMATS: dict[str, Callable[[ModuleGraph, Marks, bool], bytes]] = {
    ".svg": _svg,
    ".png": _png,
    ".dot": _dot,
    ".gv": _dot,
    ".mmd": _mermaid,
}
_STRIPS = (".svg", ".png")


def draw(what: ModuleGraph | Drawable | str, path: str | Path, *, strip: bool = False) -> Path:
    """Draw a module graph to a file, in the format given by the file extension.

    Args:
        what: a graph, its notation, the plan of a site (with channels, the edges that carry the layer's filter, and
            blobs that are too narrow), or a site of a morph's result.
        path: the file: .svg, .png (needs matplotlib), .dot or .gv (Graphviz), .mmd (Mermaid).
        strip: draw the morphing sequence, with one picture for each step (SVG and PNG).

    Returns:
        The path.

    Raises:
        GraphError: if the file extension is unknown, the format does not support strips, or the graph is too large for
            a picture.
        NotationError: if the notation cannot be read.
        OSError: if the file cannot be written.
        ModuleNotFoundError: if the format is PNG and matplotlib is not installed.
    """
    path = as_path(path)
    graph, marks = _drawn(what)
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise GraphError(
            f"{path.name!r} does not say in which format to draw", remedies=[f"end it in {', '.join(FORMATS)}"]
        )
    if strip and ending not in _STRIPS:
        raise GraphError(f"a strip cannot be written as {ending}", remedies=[f"end the name in {' or '.join(_STRIPS)}"])
    write_whole(path, FORMATS[ending](graph, marks, strip))
    return path


def _drawn(what: ModuleGraph | Drawable | str) -> tuple[ModuleGraph, Marks]:
    if isinstance(what, str):
        from netmorph.graph.notation import parse

        what = parse(what)
    if isinstance(what, ModuleGraph):
        return what, Marks()
    if not isinstance(getattr(what, "graph", None), ModuleGraph):
        raise GraphError(
            f"expected a module graph, its notation, the plan of a site or a morphed site, got a {type(what).__name__}",
            remedies=["draw one of plan.sites or result.sites: nm.draw(result.sites[0], 'site.svg')"],
        )
    return what.graph, what.marks
