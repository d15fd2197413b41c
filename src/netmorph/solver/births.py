"""The linear graph that is solved in the place of one with activations, for each way to be born (beyond the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from netmorph.errors import InfeasibleMorph
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge, ModuleGraph, fresh_name
from netmorph.graph.symmetry import Birth, Symmetry, check_birth
from netmorph.solver.beside import Parted, part
from netmorph.solver.pair import Halved, halve


@dataclass(frozen=True)
class Prepared:
    """A graph with activations as the linear graph that is solved in its place.

    Attributes:
        whole: the graph.
        linear: what is solved; None where nothing has to be.
        how: how both belong together; None where they are the same.
        parent: whether `linear` has the parent's edge, which the graph has not.
    """

    whole: ModuleGraph
    linear: ModuleGraph | None
    how: Halved | Parted | None = None
    parent: bool = False

    def layout(self, linear: Layout) -> Layout:
        """Return the layout of the whole graph from that of the linear one."""
        return linear if self.how is None else self.how.layout(linear)

    def with_parent(self, site: ConvSpec) -> Prepared:
        """Return the same with one more edge that can hold the whole target."""
        assert self.linear is not None
        return replace(self, linear=self.linear.with_edge(parent_edge(self.whole, site)), parent=True)

    @property
    def note(self) -> str:
        """What the birth means for the widths, in words; empty where it means nothing."""
        if isinstance(self.how, Halved) and self.how.pairs:
            return f"birth='pair' passes on half of the channels of {', '.join(map(repr, self.how.pairs))}"
        return ""


def prepare(
    birth: Birth,
    graph: ModuleGraph,
    site: ConvSpec,
    acts: Mapping[str, Symmetry],
    *,
    keep_parent: bool = False,
    silent: bool = False,
) -> Prepared:
    """Return the linear graph that is solved for a birth.

    Args:
        birth: how the module is initialised, as in `morph`.
        graph: the module graph.
        site: geometry of the layer.
        acts: the activations of the graph's inner blobs; a blob that is missing has none.
        keep_parent: whether an edge with the layer's kernel may be added.
        silent: whether the module is to compute nothing, so that branches need no core beside them.

    Raises:
        InfeasibleMorph: if no path of the graph could represent the filter of the layer.
        GraphError: if the birth is unknown, or the graph does not allow it.
    """
    check_birth(birth)
    if birth == "slope":
        return Prepared(graph, graph)
    if birth == "pair":
        halved = halve(graph, site, acts)
        return Prepared(graph, halved.graph, halved)
    parted = part(graph, acts, twins=birth == "cancel")
    if parted.core is not None or silent:
        return Prepared(graph, parted.core, parted)
    if keep_parent:
        core = ModuleGraph((parent_edge(graph, site),), source=graph.source, sink=graph.sink)
        return Prepared(graph, core, parted, parent=True)
    kernel = "x".join(map(str, site.kernel)) or "1"
    raise InfeasibleMorph(
        f"birth={birth!r} keeps the layer's filter in edges without an activation beside the branches, and the graph "
        "has no path without one",
        missing=f"an edge beside the branches that holds the filter: {kernel}",
        graph=str(graph),
        shapes=str(site),
        remedies=[
            f"write {str(graph.with_edge(_beside(graph, site)))!r}",
            "pass keep_parent=True",
            "use birth='pair' or birth='slope'",
        ],
    )


def parent_edge(graph: ModuleGraph, site: ConvSpec) -> Edge:
    """Return the edge beside the graph that can hold the whole target (Type II)."""
    return _beside(graph, site, "parent")


def _beside(graph: ModuleGraph, site: ConvSpec, name: str | None = None) -> Edge:
    name = fresh_name(name or f"{graph.source}_{graph.sink}", {edge.name for edge in graph.edges})
    named = any(edge.stride is not None for edge in graph.edges)
    return Edge(
        name,
        graph.source,
        graph.sink,
        site.kernel or (1,),
        stride=(site.stride or (1,)) if named else None,
        dilation=site.dilation or None,
    )
