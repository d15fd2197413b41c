"""One morphed module grown into a larger graph, ready to be measured and swapped in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from netmorph.errors import GraphError, SiteError
from netmorph.graph.attributes import Width
from netmorph.graph.layout import Layout, resolve_widths
from netmorph.graph.read_expression import blob_names
from netmorph.graph.spec import Edge, ModuleGraph, fresh_name
from netmorph.graph.symmetry import Birth, check_birth
from netmorph.nn import MorphedModule
from netmorph.nn.activations import act_at, phi_name, with_acts_at
from netmorph.nn.norm import NEEDY, check_norms, norm_kind
from netmorph.surgery.edit.rebuild import Defaults
from netmorph.surgery.growth.extend import extended
from netmorph.surgery.growth.new_channels import ChannelBirth
from netmorph.surgery.growth.perform import Change, Maker, like_of, morphed_at
from netmorph.surgery.growth.places import Place
from netmorph.surgery.growth.widen_blob import widened
from netmorph.surgery.parity.site import site_parity
from netmorph.surgery.records.grown_places import RegrownModule
from netmorph.surgery.running.activation import Heard, own_activation
from netmorph.surgery.sites.assign import site_seed
from netmorph.surgery.sites.norms import own_norm, with_own_norms


@dataclass(frozen=True)
class Growing:
    """What is new in a module that grows, the same at every place.

    Attributes:
        act: activation of new blobs; "auto" is the module's own, or the network's where the module has none.
        norm: norm of new edges; "auto" is the module's own.
        calibrated: whether there are data for BatchNorms.
        noise: size of what cancels.
        seed: random seed.
        check: whether a difference above the tolerance is an error.
        heard: the activations of a run of the network.
        birth: how new parts are initialised, as in `morph`.
    """

    act: str | None = "auto"
    norm: str | None = "auto"
    calibrated: bool = False
    noise: float = 0.5
    seed: int = 0
    check: bool = True
    heard: Heard = field(default_factory=Heard)
    birth: Birth = "slope"

    def __post_init__(self) -> None:
        check_birth(self.birth)

    def defaults(
        self, model: nn.Module, name: str, layout: Layout, own: Defaults, graph: ModuleGraph
    ) -> tuple[Defaults, list[str]]:
        """Return what new blobs and edges of a module have, and what to say about it.

        Args:
            model: the network.
            name: of the module.
            layout: of the module.
            own: what its blobs and edges have.
            graph: into which it grows.

        Raises:
            SiteError: if the norm needs calibration data and none are given.
            GraphError: if the activation or norm is unknown.
        """
        notices = []
        act = own.act if self.act == "auto" else phi_name(self.act)
        if self.act == "auto" and all(blob in layout.graph.activations for blob in layout.graph.inner):
            act, said = own_activation(model, self.heard, name)
            new = [blob for blob in graph.inner if blob not in layout.graph.blobs and blob not in graph.activations]
            notices += [said] if said is not None and new else []
        act = act_at(self.birth, act)
        norm, said_of_norms = own_norm(model, name, own.norm if self.norm == "auto" else self.norm, layout.site.dims)
        notices += said_of_norms
        if self.norm == "auto" and norm is None and self.calibrated:
            notices.append(
                "calibration= has no effect: new edges have no norm, like the module's others (set one with norm=)"
            )
        if norm_kind(norm) not in NEEDY or self.calibrated:
            return Defaults(act, norm), notices
        if self.norm != "auto":
            raise SiteError(
                f"norm {norm!r} needs calibration data for its statistics",
                remedies=["pass calibration=batches", "use norm='neutral', which is exact in eval mode only"],
            )
        notices.append(f"new edges have no norm, since {norm!r} needs data and no calibration= was given")
        return Defaults(act, None), notices


def maker(name: str, graph: ModuleGraph, growing: Growing) -> Maker:
    """Return what prepares the growth of the module called `name` into `graph`."""

    def make(model: nn.Module, recorded: Tensor | None) -> Change:
        module = morphed_at(model, name)
        own = Defaults.of(module)
        larger = with_own_norms(graph, model, name, module.layout.site.dims)
        wanted, notices = growing.defaults(model, name, module.layout, own, larger)
        seed = site_seed(growing.seed, name)
        like = like_of(model, module)
        new = grown(module, larger, wanted, seed=seed, noise=growing.noise, like=like, birth=growing.birth)
        check_norms(new)
        place = RegrownModule(name, module.layout, new.layout, own.act, own.norm, seed)
        measure = partial(site_parity, module, new, recorded, site=name, spec=module.layout.site, check=growing.check)
        return Change({name: new}, (place,), measure, tuple(f"{name!r}: {notice}" for notice in notices))

    return make


def grown(
    module: MorphedModule,
    graph: ModuleGraph,
    wanted: Defaults,
    *,
    seed: int,
    noise: float,
    like: Tensor,
    birth: Birth,
) -> MorphedModule:
    """Return a module of a larger graph that computes what `module` does, which is left as it is.

    Raises:
        GraphError: if a blob would become narrower, or the present graph is not part of the larger one.
        InfeasibleMorph: if the new edges cannot represent the filter that they replace.
    """
    layout = module.layout
    now, then = layout.widths, resolve_widths(graph, layout.site)
    both = [blob for blob in layout.graph.inner if blob in graph.inner]
    narrower = [blob for blob in both if then[blob] < now[blob]]
    if narrower:
        blob = narrower[0]
        raise GraphError(
            f"blob {blob!r} would become narrower",
            graph=str(graph),
            shapes=f"{now[blob]} channels now, {then[blob]} in the graph",
            remedies=[f"write its width into the graph: {{{blob}: {now[blob]}}}"],
        )
    wider = {blob: then[blob] for blob in both if then[blob] > now[blob]}
    if wider:
        channels: ChannelBirth = birth if birth in ("zero", "cancel") else "copies"
        module = widened(module, wider, seed=seed, noise=noise, like=like, birth=channels)
    graph = with_acts_at(birth, graph, set(graph.inner) - set(layout.graph.inner))
    return extended(module, graph, wanted, seed=seed, noise=noise, like=like, birth=birth)


def larger_graphs(
    model: nn.Module, places: Sequence[Place], change: Callable[[Layout, ModuleGraph, Place], ModuleGraph]
) -> dict[str, ModuleGraph]:
    """Return the new graph of every module among some places; changes to one module's edges add up.

    Args:
        model: the network.
        places: morphed modules and edges of such.
        change: returns a graph with one place changed, from the module's layout and its graph as it is then.
    """
    graphs: dict[str, ModuleGraph] = {}
    for place in places:
        layout = morphed_at(model, place.module).layout
        try:
            graphs[place.module] = change(layout, graphs.get(place.module, layout.graph), place)
        except GraphError as error:
            raise error.located(place.name) from error
    return graphs


def in_place(layout: Layout, graph: ModuleGraph, edge_name: str, fragment: ModuleGraph) -> ModuleGraph:
    """Return a module's graph with a graph in the place of one edge.

    Its source and sink become the edge's, its inner blobs take the next free letters, and a width relative to the
    site's output is relative to the edge's sink.

    Raises:
        GraphError: if the edge names a stride and the fragment does not.
    """
    edge = graph.edge(edge_name)
    if any(step > 1 for step in edge.stride or ()) and all(each.stride is None for each in fragment.edges):
        raise GraphError(
            f"edge {edge_name!r} has a stride of {'x'.join(map(str, edge.stride or ()))} by name",
            graph=str(fragment),
            remedies=["name the stride on an edge of the graph, 3x3/2"],
        )
    free = (name for name in blob_names() if name not in graph.blobs)
    names = {fragment.source: edge.source, fragment.sink: edge.sink}
    names |= dict(zip(fragment.inner, free, strict=False))
    taken = {other.name for other in graph.edges if other.name != edge_name}
    edges = [_renamed(each, names, taken) for each in fragment.edges]
    c_out = resolve_widths(graph, layout.site)[edge.sink]
    widths = graph.widths
    for blob in fragment.inner:
        width = fragment.widths.get(blob)
        if c_out != layout.site.c_out:
            widths[names[blob]] = Width.of(c_out if width is None else width.resolve(c_out))
        elif width is not None:
            widths[names[blob]] = width
    activations = graph.activations | {names[blob]: act for blob, act in fragment.activations.items()}
    position = graph.edges.index(edge)
    return replace(
        graph,
        edges=(*graph.edges[:position], *edges, *graph.edges[position + 1 :]),
        width_items=tuple(widths.items()),
        activation_items=tuple(activations.items()),
    )


def _renamed(edge: Edge, names: Mapping[str, str], taken: set[Any]) -> Edge:
    source, sink = names[edge.source], names[edge.sink]
    stem = f"{source}_{sink}" if edge.name.startswith(f"{edge.source}_{edge.sink}") else edge.name
    return replace(edge, name=fresh_name(stem, taken), source=source, sink=sink)
