"""A module graph as a plain-text listing for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netmorph.graph.draw.words import activation_word
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.write import write_atom

__all__ = ["listing"]


def listing(graph: ModuleGraph, widths: Mapping[str, int] | None = None) -> str:
    """Return the blobs with their widths, then the edges with their kernels, in tidy columns.

    Args:
        graph: any module.
        widths: channels of every blob at a site (`netmorph.graph.layout.resolve_widths`); default: widths as named.

    Example:
        >>> from netmorph.graph.notation import parse
        >>> print(listing(parse("1x1:4x > 3x3*dw | id")))
        blob  width  activation  reads
        s     site   -           -
        a     4x     auto        s_a
        t     site   -           a_t s_t
        <BLANKLINE>
        edge  path    does
        s_a   s -> a  1x1
        a_t   a -> t  3x3 depthwise
        s_t   s -> t  identity
    """
    named = graph.widths
    ends = (graph.source, graph.sink)
    incoming = graph.incoming
    blobs = [("blob", "width", "activation", "reads")]
    for blob in graph.blobs:
        width = str(named.get(blob, "site" if blob in ends else "1x"))
        if widths is not None:
            width = str(widths[blob])
        activation = "-" if blob in ends else activation_word(graph.activations.get(blob, "auto"))
        blobs.append((blob, width, activation, " ".join(edge.name for edge in incoming[blob]) or "-"))
    edges = [("edge", "path", "does")]
    edges += [(edge.name, f"{edge.source} -> {edge.sink}", describe_edge(edge)) for edge in graph.edges]
    return f"{_columns(blobs)}\n\n{_columns(edges)}"


def describe_edge(edge: Edge) -> str:
    """Return what an edge does, in words."""
    if edge.fixed is None:
        words = [_sides(edge.kernel)]
    else:
        what = "identity" if edge.fixed.kind == "id" else f"{_sides(edge.kernel)} mean"
        words = [what if edge.fixed.scale == 1 else f"{write_atom(edge).split('*')[0]} times the {what}"]
    if edge.stride is not None:
        words.append(f"stride {_sides(edge.stride)}")
    if edge.dilation is not None:
        words.append(f"dilation {_sides(edge.dilation)}")
    if edge.groups != 1:
        words.append("depthwise" if edge.groups == "dw" else f"{edge.groups} groups")
    if edge.norm is not None:
        words.append(f"norm {edge.norm}")
    return " ".join(words)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(size) for cell, size in zip(row, wide, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _sides(values: Sequence[int]) -> str:
    return "x".join(map(str, values))
