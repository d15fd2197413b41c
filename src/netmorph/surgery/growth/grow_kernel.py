"""Larger kernels: zeros around the present taps (Network Morphism 2016; beyond this paper's section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError, SiteError
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec, per_dimension
from netmorph.graph.layout import Layout
from netmorph.graph.spec import ModuleGraph
from netmorph.surgery.edit.memory_format import keep_memory_format
from netmorph.surgery.edit.swap import inherit
from netmorph.surgery.growth.larger_module import Growing, larger_graphs, maker
from netmorph.surgery.growth.perform import Change, Maker, morphed_at, perform
from netmorph.surgery.growth.places import Place, plain_sites, pytorch_layer, select
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.morphing.solve_site import check_layer
from netmorph.surgery.parity.site import site_parity
from netmorph.surgery.records.grown_places import ChangedLayer
from netmorph.surgery.records.layer import Plain
from netmorph.surgery.running.call import Call
from netmorph.surgery.sites.site import Site


def grow_kernel(
    model: nn.Module,
    site: str,
    kernel: int | Sequence[int],
    *,
    example_inputs: Any,
    seed: int = 0,
    inplace: bool = False,
    check: bool = True,
) -> Result:
    """Give convolutions a larger kernel without changing the function: the kernel is padded with zeros.

    The new zeros learn from the first step on. The padding of the convolution is adjusted so that positions, output
    size, border and stride stay the same. An even kernel is padded at its end, as for "same" padding. With reflect or
    circular padding the convolution then needs larger inputs; `notices` says so.

    Args:
        model: any network, in train or eval mode.
        site: name or glob of plain convolutions, or of edges of morphed modules (`layer1.0.shortcut.edges.s_a`).
        kernel: the new kernel size, one number for all dimensions or one for each.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        seed: has no effect, since the new weights are zeros; all functions that grow a network have this argument.
        inplace: change `model` itself instead of a copy.
        check: raise an error if parity is above the tolerance.

    Returns:
        The same as `morph`.

    Raises:
        SiteError: if there is no such convolution, the edge has no weights, the kernel is not larger than the present
            one, or it needs a padding that PyTorch's layer does not support (asymmetric, with a stride).
        GraphError: if the kernel has another number of dimensions.
        ParityError: if the output of a layer has changed by more than the tolerance.

    Example:
        >>> layer, x = nn.Conv2d(3, 8, 3, padding=1), torch.randn(1, 3, 8, 8)
        >>> grow_kernel(nn.Sequential(layer), "0", 5, example_inputs=x).model
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
        )
    """
    call, sides = Call.of(example_inputs), kernel_sides(kernel)
    places = _with_kernels(
        model, select(model, plain_sites(model, call, "grow_kernel"), site, ("layer", "edge"), "grow_kernel")
    )

    def change(layout: Layout, graph: ModuleGraph, place: Place) -> ModuleGraph:
        return _with_kernel(layout, graph, place, sides)

    graphs = larger_graphs(model, [place for place in places if place.nature == "edge"], change)
    makers = {name: maker(name, larger, Growing(seed=seed, check=check)) for name, larger in graphs.items()}
    for place in places:
        if place.site is not None:
            makers[place.name] = _layer_maker(place.site, sides, check=check)
    options = {"site": site, "kernel": list(sides), "seed": seed}
    return perform("grow_kernel", model, call, makers, inplace=inplace, options=options)


def kernel_sides(kernel: int | Sequence[int]) -> tuple[int, ...]:
    """Return a kernel as one number for all dimensions, or one for each.

    Raises:
        SiteError: if the kernel is invalid.
    """
    sides = tuple(kernel) if isinstance(kernel, Sequence) else (kernel,)
    if isinstance(kernel, bytes) or not sides or not all(type(side) is int and side > 0 for side in sides):
        raise SiteError(f"{kernel!r} is not a kernel", remedies=["give one number, or one for each dimension"])
    return sides


def _with_kernels(model: nn.Module, places: list[Place]) -> list[Place]:
    """Return the places that have a kernel, passing over those without; all of them if none has."""

    def has_kernel(place: Place) -> bool:
        if place.site is not None:
            return place.site.kind == "conv"
        layout = morphed_at(model, place.module).layout
        return layout.graph.edge(place.edge).fixed is None and layout.site.dims > 0

    return [place for place in places if has_kernel(place)] or places


def _with_kernel(layout: Layout, graph: ModuleGraph, place: Place, kernel: tuple[int, ...]) -> ModuleGraph:
    """Return a module's graph with a larger kernel on one edge."""
    edge, spec = graph.edge(place.edge), layout.specs[place.edge]
    if edge.fixed is not None:
        raise SiteError(
            f"edge {edge.name!r} has no weights",
            site=place.name,
            remedies=[f"regrow it into a convolution: regrow(model, {place.name!r}, '3x3', ...)"],
        )
    sides = larger(spec, kernel, place.name)
    short = len(edge.kernel) == 1 and len(set(sides)) == 1
    grown = replace(edge, kernel=sides[:1] if short else sides)
    return replace(graph, edges=tuple(grown if each is edge else each for each in graph.edges))


def larger(spec: ConvSpec, kernel: tuple[int, ...], site: str) -> tuple[int, ...]:
    """Return a kernel for each dimension if it is larger than the present one.

    Raises:
        SiteError: if the kernel is smaller in some dimension, or larger in none.
        GraphError: if the kernel has another number of dimensions.
    """
    if not spec.dims:
        raise SiteError("a linear layer has no kernel", site=site, remedies=["deepen or widen it"])
    sides = per_dimension(kernel, spec.dims, "kernel")
    if any(new < old for new, old in zip(sides, spec.kernel, strict=True)) or sides == spec.kernel:
        raise SiteError(
            "a kernel can only become larger",
            site=site,
            shapes=f"{'x'.join(map(str, spec.kernel))} now, {'x'.join(map(str, sides))} requested",
        )
    return sides


def _layer_maker(site: Site, kernel: tuple[int, ...], *, check: bool) -> Maker:
    """Return what prepares the growth of a plain convolution."""

    def make(model: nn.Module, recorded: Tensor | None) -> Change:
        layer = model.get_submodule(site.name)
        before = pytorch_layer(model, site.name, "grow_kernel")
        check_layer(site, layer)
        after = replace(before, spec=_grown(before.spec, larger(before.spec, kernel, site.name)))
        made = _build(after, layer)
        spec = after.spec
        weight = layer.get_parameter("weight").detach()
        with torch.no_grad():
            placed = Filter.of(weight, before.spec).place(spec.offset, spec.dilation, spec.kernel, trim=False)
            made.get_parameter("weight").copy_(placed.weight)
            if layer.bias is not None:
                made.get_parameter("bias").copy_(layer.get_parameter("bias"))
        measure = partial(site_parity, layer, made, recorded, site=site.name, spec=spec, check=check)
        return Change({site.name: made}, (ChangedLayer(site.name, before, after),), measure)

    return make


def _grown(spec: ConvSpec, kernel: tuple[int, ...]) -> ConvSpec:
    """Return the geometry with a larger kernel, the odd tap behind, as "same" padding has it."""
    padding = []
    for old, new, step, (before, after) in zip(spec.kernel, kernel, spec.dilation, spec.padding, strict=True):
        more = step * (new - old)
        front = step * ((new - 1) // 2 - (old - 1) // 2)
        padding.append((before + front, after + more - front))
    return spec.with_(kernel=kernel, padding=tuple(padding))


def _build(plain: Plain, layer: nn.Module) -> nn.Module:
    weight = layer.get_parameter("weight")
    try:
        made = plain.build(device=weight.device, dtype=weight.dtype)
    except NetmorphError as error:
        raise SiteError(
            "PyTorch's convolution cannot pad like this: the new kernel needs more on one side than on the other",
            shapes=str(plain.spec),
            remedies=[
                "grow by an even number of taps",
                "morph it first: netmorph.morph(model, {site: '4x4'}, ...) pads each side by itself",
            ],
        ) from error
    inherit(layer, made)
    keep_memory_format(layer, made)
    return made
