"""A morphed module made anew on a changed graph; what did not change is carried over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.graph.embedding import match_edges
from netmorph.graph.layout import Layout
from netmorph.graph.spec import Edge, ModuleGraph
from netmorph.nn import MorphedModule
from netmorph.nn.activations import act_name, phi_name
from netmorph.nn.children import NamedChildren
from netmorph.nn.edges import fixed_filter
from netmorph.nn.norm import named, norm_kind, norm_settings
from netmorph.nn.weights import own_weight
from netmorph.surgery.edit.memory_format import keep_memory_format
from netmorph.surgery.edit.swap import inherit


@dataclass(frozen=True)
class Defaults:
    """What a morphed module's blobs and edges have where its graph names nothing.

    Attributes:
        act: the activation, None for none.
        norm: the norm, None for none.
    """

    act: str | None
    norm: str | None

    @classmethod
    def of(cls, module: MorphedModule) -> Defaults:
        """Read them off a module; where everything is named, they are ReLU and no norm."""
        graph = module.layout.graph
        blobs = [blob for blob in graph.inner if blob not in graph.activations]
        edges = [edge for edge in graph.edges if edge.fixed is None and edge.norm is None]
        names = (edge.name for edge in edges if edge.name in module.norms)
        norm = next((named(module.norms.kinds[name], norm_settings(module.norms[name])) for name in names), None)
        act = next((act_name(module.acts[blob]) for blob in blobs if blob in module.acts), None)
        return cls("relu" if not blobs else act, norm)


def adopt(
    old: ModuleGraph, new: ModuleGraph, kept: Mapping[str, Edge], defaults: Defaults, wanted: Defaults
) -> ModuleGraph:
    """Return the larger graph with every norm and activation named that is not the module's default.

    Args:
        old: the present graph.
        new: the larger one.
        kept: by name of an edge of the larger graph, the edge of the present one that goes on in it.
        defaults: of the module.
        wanted: norm and activation of new edges and blobs.

    Raises:
        GraphError: if the larger graph names another norm or activation for what the module has already.
    """
    edges = []
    for edge in new.edges:
        before = kept.get(edge.name)
        if edge.fixed is not None:
            edges.append(edge)
        elif before is None or before.fixed is not None:
            norm = edge.norm if edge.norm is not None or wanted.norm == defaults.norm else wanted.norm or "none"
            edges.append(replace(edge, norm=norm))
        else:
            if edge.norm is not None and norm_kind(edge.norm) != norm_kind(before.norm or defaults.norm):
                raise _fixed_already("norm", "edge", edge.name, edge.norm, new)
            edges.append(replace(edge, norm=before.norm))
    present, activations = old.activations, dict(new.activations)
    for blob in new.inner:
        if blob not in old.inner:
            if wanted.act != defaults.act:
                activations.setdefault(blob, wanted.act or "none")
            continue
        given = activations.pop(blob, None)
        if given is not None and phi_name(given) != phi_name(present.get(blob, defaults.act)):
            raise _fixed_already("activation", "blob", blob, given, new)
        if blob in present:
            activations[blob] = present[blob]
    return replace(new, edges=tuple(edges), activation_items=tuple(activations.items()))


def rebuilt(old: MorphedModule, layout: Layout, defaults: Defaults, *, seed: int, like: Tensor) -> MorphedModule:
    """Return a module of `layout` that holds, as they are, the parts of `old` that fit it; the rest is newborn.

    Edges go on where their geometry is the same, activations and norms where their channels are. The parts are shared
    with `old`, which is left as it is.

    Args:
        old: the present module.
        layout: of the new one.
        defaults: of the present one.
        seed: random seed of the newborn weights.
        like: a tensor of the dtype and on the device of the newborn parameters.
    """
    new = type(old)(
        layout,
        bias=old.bias is not None,
        act=defaults.act,
        norm=defaults.norm,
        device=like.device,
        dtype=like.dtype,
        seed=seed,
    )
    own = list(old.parameters())
    new.requires_grad_(not own or any(parameter.requires_grad for parameter in own))
    inherit(old, new)
    new.__dict__.update((key, value) for key, value in old.__dict__.items() if key.startswith("_netmorph"))
    keep_memory_format(old, new)
    for name, before in match_edges(old.layout.graph, layout.graph).items():
        wanted, present = layout.specs[name], old.layout.specs[before.name]
        if wanted == present and (layout.graph.edge(name).fixed is None) == (before.fixed is None):
            if name != before.name:
                _check_plain(old, before.name)  # its history goes by its name
            carry(new.edges, name, old.edges[before.name])
        elif before.fixed is None:
            new.edges[name].requires_grad_(any(p.requires_grad for p in old.edges[before.name].parameters()))
        if name in new.norms and before.name in old.norms and wanted.c_out == present.c_out:
            carry(new.norms, name, old.norms[before.name])
    before_widths, widths = old.layout.widths, layout.widths
    for blob in old.acts:
        if blob in new.acts and widths[blob] == before_widths[blob]:
            carry(new.acts, blob, old.acts[blob])
    if new.layout.site.c_out == old.layout.site.c_out:
        new.bias = old.bias
    return new


def carry(children: NamedChildren, name: str, child: nn.Module) -> None:
    """Put a child in the place called `name`."""
    setattr(children, children.key(name), child)


def present_filter(module: MorphedModule, name: str) -> Filter:
    """Return the filter that one edge of a module has now, in float64 on the CPU.

    Raises:
        GraphError: if the edge has been morphed itself, or its weights are not finite.
    """
    spec, fixed = module.layout.specs[name], module.layout.graph.edge(name).fixed
    if fixed is not None:
        return fixed_filter(fixed, spec, dtype=torch.float64)
    _check_plain(module, name)
    weight = own_weight(name, module.edges[name], spec).detach().cpu().double()
    if not weight.isfinite().all():
        raise GraphError(
            f"the weight of edge {name!r} contains NaN or infinite values",
            remedies=["go back to a checkpoint from before the training diverged"],
        )
    return Filter.of(weight, spec)


@torch.no_grad()
def set_filter(module: MorphedModule, name: str, given: Filter) -> None:
    """Write a filter into an edge of a module, whose taps may be more.

    Raises:
        GraphError: if the edge has no place for the filter.
    """
    spec = module.layout.specs[name]
    try:
        if given.stride != spec.stride:
            raise GraphError("its stride is another")
        placed = given.regroup(spec.groups).place(spec.offset, spec.dilation, spec.kernel)
    except GraphError as error:
        raise GraphError(
            f"edge {name!r} cannot represent the current filter: {error.what}",
            graph=str(module.layout.graph),
            shapes=f"kernel {given.kernel} stride {given.stride} dilation {given.dilation} groups {given.groups} now, "
            f"{spec} in the graph",
            remedies=["name the strides, dilations and groups that the module has now"],
        ) from error
    own_weight(name, module.edges[name], spec).copy_(placed.weight)


def _check_plain(module: MorphedModule, name: str) -> None:
    if isinstance(module.edges[name], MorphedModule):
        raise GraphError(
            f"edge {name!r} was morphed itself and stays as it is",
            graph=str(module.layout.graph),
            remedies=[f"leave the edge as it is, or name the module inside, {name!r}", "collapse it first"],
        )


def _fixed_already(what: str, kind: str, name: str, given: str, graph: ModuleGraph) -> GraphError:
    return GraphError(
        f"the graph gives {kind} {name!r} the {what} {given!r}, but the module has it with another already",
        graph=str(graph),
        remedies=[f"leave out the {what} of existing parts"],
    )
