"""What is written on blobs and edges of a drawing."""

from __future__ import annotations

from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.write import write_number

__all__ = ["activation_word", "blob_width", "edge_words", "shorten"]

_LONGEST = 22


def edge_words(edge: Edge) -> tuple[str, ...]:
    """Return one to three short lines: the kernel, what is particular, the name where it is not the default one.

    Example:
        >>> from netmorph.graph.notation import parse
        >>> edge_words(parse("3x3/2*dw").edges[0])
        ('3x3 dw', 'stride 2')
    """
    kernel = "x".join(map(str, edge.kernel))
    if edge.fixed is not None:
        scale = "" if edge.fixed.scale == 1 else f"{write_number(edge.fixed.scale)} "
        kernel = scale + ("id" if edge.fixed.kind == "id" else f"mean {kernel}")
    if edge.groups != 1:
        kernel += " dw" if edge.groups == "dw" else f" {edge.groups} groups"
    named = not edge.name.startswith(f"{edge.source}_{edge.sink}")
    more = [f"stride {'x'.join(map(str, edge.stride))}"] if edge.stride is not None else []
    more += [f"dilation {'x'.join(map(str, edge.dilation))}"] if edge.dilation is not None else []
    more += [f"norm {shorten(edge.norm, _LONGEST - 5)}"] if edge.norm is not None else []
    return (*([shorten(edge.name)] if named else []), kernel, *([" ".join(more)] if more else []))


def blob_width(graph: ModuleGraph, blob: str, widths: dict[str, int] | None) -> str:
    """Return a blob's width: its channels at a site, or as the graph names it; source and sink are the site's."""
    if widths is not None:
        return str(widths[blob])
    if blob in (graph.source, graph.sink):
        return ""
    return str(graph.widths.get(blob, "1x"))


def activation_word(name: str) -> str:
    """Return what an activation is called: "plain_relu", which is phi itself and not its parametric form, plain relu.

    Example:
        >>> activation_word("plain_gelu(approximate=tanh)"), activation_word("gelu")
        ('plain gelu(approximate=tanh)', 'gelu')
    """
    return name.replace("plain_", "plain ", 1)


def shorten(name: str, most: int = _LONGEST) -> str:
    """Return a name, its middle left out where it is long."""
    if len(name) <= most:
        return name
    return f"{name[: most // 2]}…{name[len(name) - (most - most // 2 - 1) :]}"
