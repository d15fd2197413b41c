"""A module with plain activations as the linear one it was born as, or why it no longer is (beyond the paper)."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter
from netmorph.graph.layout import Layout, lay_out
from netmorph.graph.symmetry import Symmetry
from netmorph.nn import MorphedModule
from netmorph.nn.activations import act_name, is_plain, symmetry_of
from netmorph.solver.beside import is_silent, part
from netmorph.solver.pair import halve, lowered
from netmorph.surgery.collapsing.fold import batch_norm


def as_born(module: MorphedModule) -> MorphedModule | str:
    """Return the linear module that a pair-, zero- or cancel-born one still equals, or why it equals none.

    A module without plain activations comes back as it is, whatever its slopes, and so do those inside it.

    Args:
        module: the module; it is left as it is.
    """
    whole = _with_linear_parts(module)
    if isinstance(whole, str):
        return whole
    module = whole
    names = {blob: act_name(module.acts[blob]) for blob in module.acts}
    plain = {blob: symmetry_of(name) for blob, name in names.items() if name is not None and is_plain(name)}
    if not plain:
        return module
    blob = next(iter(plain))
    kind = type(module.acts[blob]).__name__
    trained = f"the activation of blob {blob!r} is now a {kind}, and its channels are no longer as initialised"
    if not all(_is_neutral(norm) for norm in module.norms.children()):
        return f"{trained}: a norm of the module is not the identity"
    slopes = [
        name for name in module.acts if name not in plain and not _is_one(getattr(module.acts[name], "weight", None))
    ]
    if slopes:
        return f"{trained}: the slopes of blob {slopes[0]!r} are not 1"
    try:
        filters = module.filters()
    except GraphError as error:
        return f"{trained}: {error.what}"
    layout = _pruned(module.layout, filters)
    filters = {edge.name: filters[edge.name] for edge in layout.graph.edges}
    linear = _of_pairs(layout, plain, filters) or _of_core(layout, plain, filters)
    return trained if linear is None else _built(module, *linear)


def _with_linear_parts(module: MorphedModule) -> MorphedModule | str:
    """Return a module with linear ones in place of the morphed modules inside it, or why one is not linear."""
    inner: dict[str, MorphedModule] = {}
    for name in module.edges:
        child = module.edges[name]
        if isinstance(child, MorphedModule):
            found = as_born(child)
            if isinstance(found, str):
                return f"edge {name!r}: {found}"
            if found is not child:
                inner[name] = found
    if inner:
        module = copy.deepcopy(module)
        for name, linear_one in inner.items():
            module.edges.add_module(module.edges.key(name), linear_one)
    return module


def _pruned(layout: Layout, filters: dict[str, Filter]) -> Layout:
    """Return the layout without the blobs that only zeros read, whatever they hold; as it is where little is left."""
    graph, heard = layout.graph, {layout.graph.sink}
    for blob in reversed(graph.blobs):
        if any(
            edge.sink in heard and (edge.fixed is not None or filters[edge.name].weight.any())
            for edge in graph.outgoing.get(blob, ())
        ):
            heard.add(blob)
    edges = tuple(edge for edge in graph.edges if edge.source in heard and edge.sink in heard)
    if heard - {edge.sink for edge in edges} != {graph.source}:
        return layout
    less = replace(
        graph,
        edges=edges,
        width_items=tuple(item for item in graph.width_items if item[0] in heard),
        activation_items=tuple(item for item in graph.activation_items if item[0] in heard),
    )
    return lay_out(less, layout.site, [cut & heard for cut in layout.cuts], layout.cut & heard, border=layout.border)


def _of_pairs(
    layout: Layout, plain: dict[str, Symmetry], filters: dict[str, Filter]
) -> tuple[Layout, dict[str, Filter]] | None:
    try:
        halved = halve(layout.graph, layout.site, plain)
        found = lowered(halved, layout, filters)
    except GraphError:
        return None
    half = lay_out(halved.graph, layout.site, layout.cuts, layout.cut, border=layout.border)
    return None if found is None else (half, found)


def _of_core(
    layout: Layout, plain: dict[str, Symmetry], filters: dict[str, Filter]
) -> tuple[Layout, dict[str, Filter]] | None:
    try:
        parted = part(layout.graph, plain)
    except GraphError:
        return None
    if parted.core is None or not is_silent(layout.graph, parted, filters):
        return None
    blobs = frozenset(parted.core.blobs)
    cuts = [cut & blobs for cut in layout.cuts]
    core = lay_out(parted.core, layout.site, cuts, layout.cut & blobs, border=layout.border)
    return core, {edge.name: filters[edge.name] for edge in parted.core.edges}


@torch.no_grad()
def _built(module: MorphedModule, layout: Layout, filters: dict[str, Filter]) -> MorphedModule:
    edges = tuple(replace(edge, norm=None) for edge in layout.graph.edges)
    graph = replace(layout.graph, edges=edges, activation_items=())
    like = next(module.parameters(), torch.empty(0, device="cpu"))
    made = type(module)(
        replace(layout, graph=graph),
        bias=module.bias is not None,
        act=None,
        device=like.device,
        dtype=like.dtype,
    )
    made.load_filters(filters)
    if made.bias is not None and module.bias is not None:
        made.bias.copy_(module.bias)
    return made.train(module.training)


def _is_neutral(norm: nn.Module) -> bool:
    """Return whether a norm is the identity in eval mode, as at birth."""
    if isinstance(norm, _BatchNorm):
        if norm.running_mean is None or norm.running_var is None:
            return False
        factor, shift = batch_norm(norm)
        return bool((factor == 1).all()) and bool((shift.abs() <= 1e-6 * (1 + norm.running_mean.abs().cpu())).all())
    return _is_one(getattr(norm, "slope", None))


def _is_one(slope: object) -> bool:
    return isinstance(slope, torch.Tensor) and bool((slope == 1).all())
