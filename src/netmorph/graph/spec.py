"""The value objects of a module graph: edge and graph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Literal

from netmorph.brief import Brief
from netmorph.errors import GraphError
from netmorph.graph.attributes import LARGEST, Fixed, Width
from netmorph.graph.validate import is_word, validate

__all__ = ["LARGEST", "NAME", "Edge", "Fixed", "Groups", "Ints", "ModuleGraph", "Width", "fresh_name"]

Ints = tuple[int, ...]
Groups = int | Literal["dw"]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,199}\Z")


@dataclass(frozen=True, slots=True)
class Edge:
    """One convolution of a module graph.

    Attributes:
        name: unique in the graph; a Python identifier (it names the child of the running module).
        source: blob it reads.
        sink: blob it writes.
        kernel: one number (every dimension) or one for each spatial dimension of the site.
        stride: stride. None: the site's stride if the edge crosses the cut, else 1.
        dilation: dilation. None: the site's dilation if the edge crosses the cut, else 1.
        groups: number of groups, or "dw" for as many as the blob that it reads has channels.
        norm: name of the norm of this edge. None: as given by `morph(norm=...)`.
        fixed: the operation of an edge without weights, also as text ("id", "avg", "0.5*id"); None for a convolution.
    """

    name: str
    source: str
    sink: str
    kernel: Ints = (1,)
    stride: Ints | None = None
    dilation: Ints | None = None
    groups: Groups = 1
    norm: str | None = None
    fixed: Fixed | None = None

    def __post_init__(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            value = getattr(self, name)
            if value is None and name != "kernel":
                continue
            values = _ints(value, f"edge {self.name!r}: {name}")
            object.__setattr__(self, name, values)
        for what, name in (("an edge", self.name), ("a blob", self.source), ("a blob", self.sink)):
            if not isinstance(name, str) or not NAME.match(name):
                raise GraphError(
                    f"{name!r:.80} is not a name for {what}",
                    remedies=["use a letter, then letters, digits or '_', 200 characters at most"],
                )
        if self.groups != "dw" and not (type(self.groups) is int and 1 <= self.groups <= LARGEST):
            raise GraphError(f"edge {self.name!r}: groups must be a positive integer or 'dw', got {self.groups!r}")
        if self.norm is not None and not is_word(self.norm):
            raise GraphError(f"edge {self.name!r}: a norm must be given by name, got {self.norm!r:.80}")
        if self.fixed is not None:
            object.__setattr__(self, "fixed", Fixed.of(self.fixed))
            self._check_fixed(self.fixed)

    def _check_fixed(self, fixed: Fixed) -> None:
        if self.groups != 1 or self.norm is not None:
            raise GraphError(f"edge {self.name!r} has no weights: it cannot have groups or a norm")
        if fixed.kind == "id" and (any(k != 1 for k in self.kernel) or self.dilation not in (None, (1,))):
            raise GraphError(f"edge {self.name!r} is an identity: it cannot have a kernel or a dilation")


@dataclass(frozen=True, repr=False)
class ModuleGraph(Brief):
    """A module: a single-source, single-sink acyclic multigraph of convolutions (Definition 1), without weights.

    Immutable and hashable. The graph is validated when it is created: every blob lies on a path from source to sink,
    and explicit strides agree where paths meet.

    Attributes:
        edges: in the order given.
        width_items: (blob, width), sorted; other blobs are as wide as the site's output.
        activation_items: (blob, activation), sorted; overrides `morph(act=...)` for that blob.
        source: name of the blob that the site reads.
        sink: name of the blob that the site writes.

    Raises:
        GraphError: if the graph is invalid; the message names the edge or blob.
    """

    edges: tuple[Edge, ...]
    width_items: tuple[tuple[str, Width], ...] = ()
    activation_items: tuple[tuple[str, str], ...] = ()
    source: str = "s"
    sink: str = "t"

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "width_items", tuple(sorted(self.width_items, key=itemgetter(0))))
        object.__setattr__(self, "activation_items", tuple(sorted(self.activation_items, key=itemgetter(0))))
        object.__setattr__(self, "_blobs", validate(self))

    @classmethod
    def from_edges(
        cls,
        edges: Iterable[Edge | Sequence[Any]],
        *,
        widths: Mapping[str, int | str | Width] | None = None,
        activations: Mapping[str, str] | None = None,
        source: str = "s",
        sink: str = "t",
    ) -> ModuleGraph:
        """Build a graph from edges.

        Args:
            edges: `Edge` objects, or `(source, sink, kernel)` or `(source, sink, kernel, attributes)`, where the kernel
                is a number or a sequence of them and the attributes are a dictionary of `Edge`'s. Edges without a name
                are named `source_sink`, parallel ones `source_sink_2` and so on.
            widths: channels by blob: 64, or "4x" relative to the site's output.
            activations: activation by blob, where it differs from `morph(act=...)`.
            source: name of the source.
            sink: name of the sink.

        Raises:
            GraphError: if the graph is invalid; the message names the edge or blob.

        Example:
            >>> graph = ModuleGraph.from_edges([("s", "a", 3), ("a", "t", 1)], widths={"a": 64})
            >>> graph.blobs
            ('s', 'a', 't')
        """
        items = [edge if isinstance(edge, Edge) else _as_dict(edge) for edge in edges]
        taken = {item.name if isinstance(item, Edge) else item.get("name") for item in items}
        made, counts = [], dict[str, int]()
        for item in items:
            if isinstance(item, Edge):
                made.append(item)
                continue
            if item.get("name") is None:
                item["name"] = fresh_name(f"{item['source']}_{item['sink']}", taken, counts)
            made.append(_edge(item))
        return cls(
            tuple(made),
            tuple((blob, Width.of(width)) for blob, width in (widths or {}).items()),
            tuple((activations or {}).items()),
            source,
            sink,
        )

    @property
    def blobs(self) -> tuple[str, ...]:
        """Names of the blobs in a topological order, source first, sink last."""
        blobs: tuple[str, ...] = self._blobs  # type: ignore[attr-defined]
        return blobs

    @property
    def inner(self) -> tuple[str, ...]:
        """The blobs between source and sink."""
        return tuple(blob for blob in self.blobs if blob not in (self.source, self.sink))

    @property
    def widths(self) -> dict[str, Width]:
        """Named widths by blob."""
        return dict(self.width_items)

    @property
    def activations(self) -> dict[str, str]:
        """Named activations by blob."""
        return dict(self.activation_items)

    @property
    def incoming(self) -> dict[str, list[Edge]]:
        """Edges by the blob that they write."""
        table: dict[str, list[Edge]] = {blob: [] for blob in self.blobs}
        for edge in self.edges:
            table[edge.sink].append(edge)
        return table

    @property
    def outgoing(self) -> dict[str, list[Edge]]:
        """Edges by the blob that they read."""
        table: dict[str, list[Edge]] = {blob: [] for blob in self.blobs}
        for edge in self.edges:
            table[edge.source].append(edge)
        return table

    def edge(self, name: str) -> Edge:
        """Return the edge of that name.

        Raises:
            GraphError: if there is no such edge.
        """
        for edge in self.edges:
            if edge.name == name:
                return edge
        raise GraphError(f"no edge is named {name!r}", remedies=[f"the edges are {[e.name for e in self.edges]}"])

    def with_edge(self, edge: Edge) -> ModuleGraph:
        """Return the graph with one more edge."""
        return replace(self, edges=(*self.edges, edge))

    def __str__(self) -> str:
        from netmorph.graph.notation import to_notation

        return to_notation(self)

    def _repr_svg_(self) -> str | None:
        """Draw the graph in a notebook; None, and thus text, where a picture could not be read."""
        from netmorph.graph.draw.picture import draw_graph, is_drawable
        from netmorph.graph.draw.svg import to_svg

        return to_svg(draw_graph(self)) if is_drawable(self) else None


def fresh_name(stem: str, taken: set[Any], counts: dict[str, int] | None = None) -> str:
    """Return `stem`, or `stem_2`, `stem_3` ... whichever is free, and take it.

    Args:
        stem: the name wanted.
        taken: names in use.
        counts: where to note how far each stem has been tried, so that many names of one stem cost O(1) each.
    """
    counts = {} if counts is None else counts
    count = counts.get(stem, 0) + 1
    name = stem if count == 1 else f"{stem}_{count}"
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    counts[stem] = count
    taken.add(name)
    return name


def _ints(value: Any, what: str) -> Ints:
    values = tuple(value) if isinstance(value, Iterable) else (value,)
    good = 1 <= len(values) <= 3 and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
    if not good or min(values) < 1 or max(values) > LARGEST:
        raise GraphError(f"{what} must be one to three positive integers, got {value!r}")
    return values


def _as_dict(item: Any) -> dict[str, Any]:
    if not isinstance(item, Sequence) or not 3 <= len(item) <= 4 or not isinstance((*item, {})[3], Mapping):
        raise GraphError(
            f"expected an edge as (source, sink, kernel) or (source, sink, kernel, attributes), got {item!r}"
        )
    return {"source": item[0], "sink": item[1], "kernel": item[2], **(item[3] if len(item) > 3 else {})}


def _edge(item: dict[str, Any]) -> Edge:
    try:
        return Edge(**item)
    except TypeError as error:
        raise GraphError(
            f"edge {item.get('name')!r}: {error}", remedies=["attributes are those of netmorph.Edge"]
        ) from error
