"""Paths of a module graph: their number, and the module equation that sums them (eq. 5), without listing them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.graph.write import write_atom, write_number

__all__ = ["equation", "path_count"]

_LONGEST = 240  # characters of an expression that is written in place


def path_count(graph: ModuleGraph) -> int:
    """Return the number of paths from source to sink, by dynamic programming in O(V + E).

    Example:
        >>> from netmorph.graph.catalogue import catalogue, ladder
        >>> path_count(catalogue["module_d"]), path_count(ladder(40)) == 2**40
        (4, True)
    """
    counts = {graph.source: 1}
    incoming = graph.incoming
    for blob in graph.blobs[1:]:
        counts[blob] = sum(counts[edge.source] for edge in incoming[blob])
    return counts[graph.sink]


def equation(graph: ModuleGraph, name: str = "G") -> str:
    """Return the module equation in symbols, factored by blob.

    Composition is written right to left, as in the paper; a fixed edge is `id`, its scale, or its mean pooling. What a
    blob holds is written in place where it is a product, or used once; else it gets an equation of its own, `[blob]`,
    so that the text stays linear in the graph whatever the number of paths.

    Args:
        graph: any module.
        name: symbol of the module filter.

    Returns:
        One line for the module filter, then one for each blob that it refers to.

    Example:
        >>> from netmorph.graph.catalogue import catalogue
        >>> equation(catalogue["module_d"])
        'G = F5 F1 + F6 (F3 F1 + F4 F2) + F7 F2'
    """
    incoming = graph.incoming
    readers = Counter(source for source, _ in {(edge.source, edge.sink) for edge in graph.edges})
    holds: dict[str, list[_Term]] = {graph.source: [_Term()]}
    lines = []
    for blob in graph.blobs[1:]:
        terms: list[_Term] = []
        # Edges from one blob are summed before they are composed: (F3 + F4) F1.
        by_source: dict[str, list[_Term]] = {}
        for edge in incoming[blob]:
            by_source.setdefault(edge.source, []).append(_of_edge(edge))
        for source, edges in by_source.items():
            terms += _compose(edges, holds[source])
        text = _sum(terms)
        if blob == graph.sink:
            lines.append(f"{name} = {text}")
        elif len(text) > _LONGEST or (len(terms) > 1 and readers[blob] > 1):
            lines.append(f"[{blob}] = {text}")
            terms = [_Term(1.0, (f"[{blob}]",))]
        holds[blob] = terms
    return "\n".join(reversed(lines))


@dataclass(frozen=True)
class _Term:
    """A product: its scale and its factors, outermost first; no factors are the identity."""

    scale: float = 1.0
    factors: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the product without its sign."""
        size = abs(self.scale)
        number = [] if size == 1 else [write_number(size)]
        return " ".join([*number, *self.factors]) or "id"

    @property
    def negative(self) -> bool:
        return self.scale < 0


def _of_edge(edge: Edge) -> _Term:
    if edge.fixed is None:
        return _Term(1.0, (edge.name,))
    atom = write_atom(edge).split("*")[-1]
    return _Term(edge.fixed.scale, () if edge.fixed.kind == "id" else (atom,))


def _compose(outer: list[_Term], inner: list[_Term]) -> list[_Term]:
    """Return the product of two sums, left factored unless one is a single product."""
    if inner == [_Term()]:
        return outer
    if outer == [_Term()]:
        return inner
    left, right = _as_product(outer), _as_product(inner)
    return [_Term(left.scale * right.scale, left.factors + right.factors)]


def _as_product(terms: list[_Term]) -> _Term:
    return terms[0] if len(terms) == 1 else _Term(1.0, (f"({_sum(terms)})",))


def _sum(terms: list[_Term]) -> str:
    out = "-" * terms[0].negative + terms[0].text()
    return out + "".join(f" {'-' if term.negative else '+'} {term.text()}" for term in terms[1:])
