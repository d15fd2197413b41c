"""Graphs as text: `3x3 > 1x1 | id`, or a list of edges `s-a:3x3, a-t:1x1 {a: 64}`.

The expression form writes series-parallel graphs, the edge list any graph. Neither writes norms, activations, or other
names of source and sink than `s` and `t`: JSON (`netmorph.graph.codec`) is the form that keeps everything.
"""

from __future__ import annotations

from collections.abc import Mapping

from netmorph.errors import GraphError
from netmorph.graph.read_edges import is_edge_list, read_edges
from netmorph.graph.read_expression import read_expression
from netmorph.graph.scanner import Scanner
from netmorph.graph.spec import ModuleGraph, Width
from netmorph.graph.write import write_edges, write_expression

__all__ = ["has_notation", "parse", "to_notation"]


def parse(text: str, widths: Mapping[str, int | str | Width] | None = None) -> ModuleGraph:
    """Read a module graph from its notation.

    `>` puts graphs in series and `|` in parallel (with lower precedence); parentheses group. An edge is a kernel
    (`3x3`, or `3` for 3 in every dimension), an identity (`id`, `0.5*id`) or a mean pooling (`avg3x3`), with suffixes
    in any order: `/2` stride, `~2` dilation, `*dw` or `*8` groups, `:64`, `:4x` or `:0.25x` the width of the blob that
    it writes (also after a parenthesised group). The inner blobs of an expression are named a, b, ... in the order of
    the text. An edge list names blobs and, optionally, edges: `F1=s-a:3x3, a-t:1x1`. Both may end with widths in
    braces: `{a: 64, b: 0.5x}`.

    Args:
        text: the notation; at most a million characters, parentheses at most 64 deep.
        widths: channels by blob, added to those in the text.

    Raises:
        NotationError: if the text cannot be read; the message points at the character.
        GraphError: if the notation is valid but the graph is not (it has a cycle or two sinks, or its strides
            disagree).

    Example:
        >>> parse("1x1:0.25x > 3x3:0.25x > 1x1 | 3x3").blobs
        ('s', 'a', 'b', 't')
    """
    scanner = Scanner(text)
    if is_edge_list(text):
        edges, named = read_edges(scanner)
    else:
        edges, named = read_expression(scanner)
    for blob, width in (widths or {}).items():
        named.put(blob, Width.of(width), 0)
    try:
        return ModuleGraph.from_edges(edges, widths=named.table)
    except GraphError as error:
        error.graph = scanner.excerpt(0)[0]
        raise


def to_notation(graph: ModuleGraph) -> str:
    """Write a graph as text, never failing.

    The expression form if reading it gives back an equal graph, else the edge list.

    Norms, activations and other names of source and sink than `s` and `t` are left out; `has_notation` tells.

    Example:
        >>> to_notation(parse("(1x1 | id) > 3x3/2:8x > 1x1"))
        '(1x1 | id) > 3x3/2:8x > 1x1'
    """
    text = write_expression(graph)
    return text if text is not None and _reads_back(text, graph) else write_edges(graph)


def has_notation(graph: ModuleGraph) -> bool:
    """Return whether the notation keeps all of the graph, so that `parse(to_notation(graph)) == graph`."""
    return _reads_back(to_notation(graph), graph)


def _reads_back(text: str, graph: ModuleGraph) -> bool:
    try:
        return parse(text) == graph
    except GraphError:
        return False
