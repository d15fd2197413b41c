"""A morphed module grown into a larger graph of which its own is a part (beyond the paper).

Present edges keep their weights, in larger kernels among zeros. What is new between two blobs is solved so that it does
what the edges did whose place it takes, or nothing at all: newborn activations are the identity, so the equation is
linear whatever the slopes of the others have become. What comes besides and cannot be solved for ends in zeros.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError
from netmorph.filters.compose import add
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.embedding import Bundle, Embedding, embed
from netmorph.graph.layout import Cut, Layout, lay_out, resolutions
from netmorph.graph.spec import Edge, ModuleGraph, Width, fresh_name
from netmorph.graph.symmetry import Birth, Symmetry
from netmorph.nn import MorphedModule
from netmorph.nn.activations import symmetries
from netmorph.nn.norm import norm_kind
from netmorph.solver.born import born
from netmorph.solver.solution import Solution
from netmorph.solver.solve import Options
from netmorph.surgery.edit.rebuild import Defaults, adopt, carry, present_filter, rebuilt, set_filter
from netmorph.surgery.sites.assign import site_seed


@dataclass(frozen=True)
class Birthday:
    """How what is new in a module is born.

    Attributes:
        birth: its kind.
        act: activation of blobs for which the graph names none.
    """

    birth: Birth
    act: str | None

    def symmetries(self, graph: ModuleGraph, bundle: Bundle) -> dict[str, Symmetry]:
        """Return what the activations of a bundle's new blobs do to x and -x."""
        if self.birth == "slope":
            return {}
        return {blob: each for blob, each in symmetries(graph, self.act).items() if blob in bundle.blobs}


def extended(
    module: MorphedModule,
    graph: ModuleGraph,
    wanted: Defaults,
    *,
    seed: int,
    noise: float,
    like: Tensor,
    birth: Birth = "slope",
) -> MorphedModule:
    """Return a module of a larger graph that computes what `module` does, which is left as it is.

    Args:
        module: the present module.
        graph: the larger graph; present blobs must be as wide as they are.
        wanted: norm and activation of what is new.
        seed: random seed.
        noise: size of what cancels within what is new, relative to what it replaces.
        like: a tensor of the dtype and on the device of newborn parameters.
        birth: how new parts are initialised, as in `morph`.

    Raises:
        GraphError: if the present graph is not part of the larger one.
        InfeasibleMorph: if the new edges cannot represent the filter that they replace.
    """
    old, defaults = module.layout, Defaults.of(module)
    found = embed(old.graph, graph)
    graph = adopt(old.graph, graph, found.kept, defaults, wanted)
    graph, norms = _handed_norms(module, graph, found, defaults)
    born_as = Birthday(birth, defaults.act)
    solved, exits, loose = _solutions(module, graph, found, born_as, seed=seed, noise=noise)
    graph = _without_quiet_norms(graph, [solution for _, solution in solved])
    cuts = tuple(
        _cut(old.cuts[d], graph, loose, [(b, s.layout.cuts[d]) for b, s in solved]) for d in range(old.site.dims)
    )
    cut = _cut(old.cut, graph, loose, [(b, s.layout.cut) for b, s in solved])
    layout = lay_out(graph, old.site, cuts, cut, border=old.border)
    new = rebuilt(module, layout, defaults, seed=site_seed(seed, "new"), like=like)
    filters = {name: filter_ for _, solution in solved for name, filter_ in solution.filters.items()}
    for name, before in found.kept.items():
        if new.edges[name] is not module.edges[before.name]:
            filters[name] = present_filter(module, before.name)
    for name, filter_ in filters.items():
        if graph.edge(name).fixed is None:
            set_filter(new, name, filter_)
    with torch.no_grad():
        for name in exits:
            new.edges[name].get_parameter("weight").zero_()
    for name, before_name in norms.items():
        carry(new.norms, name, module.norms[before_name])
    return new


def _without_quiet_norms(graph: ModuleGraph, solutions: Sequence[Solution]) -> ModuleGraph:
    """Return the graph without default norms where a birth has none: at the ends of branches."""
    quiet = {edge.name for solution in solutions for edge in solution.layout.graph.edges if edge.norm == "none"}
    edges = tuple(
        replace(edge, norm="none") if edge.name in quiet and edge.norm is None else edge for edge in graph.edges
    )
    return replace(graph, edges=edges)


def _solutions(
    module: MorphedModule, graph: ModuleGraph, found: Embedding, born_as: Birthday, *, seed: int, noise: float
) -> tuple[list[tuple[Bundle, Solution]], list[str], set[str]]:
    """Return the solved bundles; and of what must end in zeros instead, the last edges and the blobs."""
    solved: list[tuple[Bundle, Solution]] = []
    exits, loose = list(found.exits), set(found.loose)
    for bundle in found.bundles:
        last = [edge for edge in bundle.added if edge.sink == bundle.sink]
        try:
            solved.append((bundle, _solved(module, graph, bundle, born_as, seed=seed, noise=noise)))
        except InfeasibleMorph:
            if bundle.removed or any(edge.fixed is not None for edge in last):
                raise
            exits += [edge.name for edge in last]
            loose |= bundle.blobs
    return solved, exits, loose


def _handed_norms(
    module: MorphedModule, graph: ModuleGraph, found: Embedding, defaults: Defaults
) -> tuple[ModuleGraph, dict[str, str]]:
    """Return the graph, and the norms of removed edges by the one edge that takes each over.

    Raises:
        GraphError: if several edges would share a norm, which holds a constant and perhaps statistics.
    """
    handed: dict[str, str] = {}
    edges = {edge.name: edge for edge in graph.edges}
    for bundle in found.bundles:
        normed = [edge for edge in bundle.removed if edge.name in module.norms]
        last = [edges[edge.name] for edge in bundle.added if edge.sink == bundle.sink]
        if not normed:
            continue
        norm = norm_kind(normed[0].norm or defaults.norm)
        given = last[0].norm
        if (
            len(bundle.removed) > 1
            or len(last) > 1
            or last[0].fixed is not None
            or norm_kind(given) not in (None, norm)
        ):
            raise GraphError(
                f"edge {normed[0].name!r} has a norm, which must be kept behind a single edge",
                graph=str(graph),
                remedies=[f"let a single convolution without a norm of its own enter {bundle.sink!r} in its place"],
            )
        handed[last[0].name] = normed[0].name
        edges[last[0].name] = replace(last[0], norm=normed[0].norm)
    return replace(graph, edges=tuple(edges.values())), handed


def _solved(
    module: MorphedModule, graph: ModuleGraph, bundle: Bundle, born_as: Birthday, *, seed: int, noise: float
) -> Solution:
    """Return filters of a bundle's new edges that together do what its removed ones did."""
    old = module.layout
    target, spec = _target(module, graph, bundle)
    crosses = [bundle.source in cut and bundle.sink not in cut for cut in old.cuts]
    named = any(edge.stride is not None for edge in graph.edges)
    widths = old.graph.widths | graph.widths
    part = ModuleGraph(
        tuple(_pinned(edge, named=named, crosses=any(crosses)) for edge in bundle.added),
        tuple(
            (blob, Width.of(widths[blob].resolve(old.site.c_out) if blob in widths else old.site.c_out))
            for blob in sorted(bundle.blobs)
        ),
        source=bundle.source,
        sink=bundle.sink,
    )
    try:
        how = Options(seed=site_seed(seed, bundle.added[0].name), noise=noise)
        return born(born_as.birth, target, part, spec, born_as.symmetries(graph, bundle), how)
    except NetmorphError as error:
        raise _explained(error, bundle) from error


def _pinned(edge: Edge, *, named: bool, crosses: bool) -> Edge:
    """Return an edge as the whole graph reads it: there, what is not named depends on the other edges."""
    stride = (edge.stride or (1,)) if named else edge.stride
    if edge.fixed is not None:
        return replace(edge, stride=stride)
    return replace(edge, stride=stride, dilation=edge.dilation if crosses else edge.dilation or (1,), norm=None)


def _target(module: MorphedModule, graph: ModuleGraph, bundle: Bundle) -> tuple[Filter, ConvSpec]:
    """Return the filter that a bundle must be, and its geometry; with nothing removed, a single tap of zero."""
    layout = module.layout
    if not bundle.removed:
        spec = _bare(layout, graph, bundle)
        return Filter.of(torch.zeros(spec.weight_shape, dtype=torch.float64, device="cpu"), spec), spec
    specs = [layout.specs[edge.name] for edge in bundle.removed]
    filters = [present_filter(module, edge.name) for edge in bundle.removed]
    fixed = all(edge.fixed is not None for edge in bundle.removed)
    total = add(*filters)
    total = total.dense() if fixed else total
    first = specs[0]
    spare = [sum(pads) - extent + 1 for pads, extent in zip(first.padding, first.extent, strict=True)]
    reach = [step * (k - 1) for step, k in zip(total.dilation, total.kernel, strict=True)]
    padding = tuple((-o, r + s + o) for o, r, s in zip(total.offset, reach, spare, strict=True))
    spec = ConvSpec(
        total.c_in,
        total.c_out,
        total.kernel,
        total.stride,
        total.dilation,
        padding,
        total.groups,
        first.padding_mode,
    )
    return total, spec


def _bare(layout: Layout, graph: ModuleGraph, bundle: Bundle) -> ConvSpec:
    """Return the geometry that a pointwise edge between two blobs has."""
    old, stride = layout.graph, None
    if any(edge.stride is not None for edge in old.edges):
        steps = [resolutions(old, layout.site, cut, d) for d, cut in enumerate(layout.cuts)]
        stride = tuple(max(1, each[bundle.sink] // each[bundle.source]) for each in steps)
    name = fresh_name("bare", {edge.name for edge in old.edges})
    probe = old.with_edge(Edge(name, bundle.source, bundle.sink, (1,), stride=stride))
    return lay_out(probe, layout.site, layout.cuts, layout.cut).specs[name]


def _cut(old: Cut, graph: ModuleGraph, loose: Collection[str], inside: Sequence[tuple[Bundle, Cut]]) -> Cut:
    """Return the cut of the larger graph that is `old` among the present blobs.

    Args:
        old: the cut of the present graph.
        graph: the larger graph.
        loose: new blobs of parts that end in zeros.
        inside: the solved bundles, each with the cut that its solution takes where the whole cut passes through it.

    Raises:
        GraphError: if an edge would lead back over the cut.
    """
    cut = set(old)
    for bundle, local in inside:
        if bundle.sink in old:
            cut |= bundle.blobs
        elif bundle.source in old:
            cut |= local & bundle.blobs
    outgoing = graph.outgoing
    for blob in reversed(graph.blobs):
        if blob in loose and any(edge.sink in cut for edge in outgoing[blob]):
            cut.add(blob)
    back = [edge.name for edge in graph.edges if edge.source not in cut and edge.sink in cut]
    if back:
        raise GraphError(
            f"edge {back[0]!r} would make existing edges read other positions",
            graph=str(graph),
            remedies=["remove it, or start it at a blob nearer to the source"],
        )
    return frozenset(cut)


def _explained(error: NetmorphError, bundle: Bundle) -> NetmorphError:
    """Say which part of the module an error of the solver is about."""
    gone = " | ".join(edge.name for edge in bundle.removed)
    doing = f"in place of {gone}" if gone else "which must be zero at first"
    error.what = f"between {bundle.source!r} and {bundle.sink!r}, {doing}: {error.what}"
    error.args = (error.what,)
    error.remedies = tuple(
        "keep the present edge in the graph as well" if "keep_parent" in remedy else remedy
        for remedy in error.remedies
        if (gone or "keep_parent" not in remedy) and not remedy.startswith("write '")  # of the part, not the module
    )
    return error
