"""Find the places of a network that can be morphed, and say why the others cannot (DESIGN section 6)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from netmorph.solver.target import spec_of
from netmorph.surgery.call import Call
from netmorph.surgery.layers import BASES, candidates, identity_spec, is_lazy, kind_of
from netmorph.surgery.probe import Seen, probe
from netmorph.surgery.site import Site, Sites

__all__ = ["Site", "Sites", "find_sites"]

_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def find_sites(model: nn.Module, example_inputs: Any) -> Sites:
    """List the convolutions, linear layers and identity shortcuts of a network that can be morphed.

    The model runs on the example twice, in eval and in train mode, since some modules read their children's weights in
    only one of them. Modes, statistics, gradients and random generators are left as they are.

    Args:
        model: any network.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.

    Returns:
        The sites; `.refused` says why other layers cannot be morphed.

    Raises:
        SiteError: the model raised on the example.
    """
    if any(is_lazy(module) for module in model.modules()):
        model = copy.deepcopy(model)  # running it would initialise the caller's
    layers, refused = candidates(model)
    seen = probe(model, layers, Call.of(example_inputs)).seen if layers else {}
    found: dict[str, Site] = {}
    for name, layer in layers.items():
        site = _site(model, name, layer, seen[name])
        if isinstance(site, str):
            refused[name] = site
        else:
            found[name] = site
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    kinds = {name: type(module).__name__ for name, module in model.named_modules(remove_duplicate=False)}
    return Sites(
        [found[name] for name in names if name in found],
        {name: refused[name] for name in names if name in refused},
        {name: kind for name, kind in kinds.items() if name not in found and name not in refused},
    )


def _site(model: nn.Module, name: str, layer: nn.Module, seen: Seen) -> Site | str:
    """Return the site of a layer, or why it is none."""
    if seen.odd is not None:
        return seen.odd
    shapes = (seen.input_shape, seen.output_shape, seen.calls)
    if isinstance(layer, nn.Identity):
        dims = _identity_dims(model, name, seen)
        if isinstance(dims, str):
            return dims
        assert seen.input_shape is not None
        assert seen.dtype is not None
        assert seen.device is not None
        channels = seen.input_shape[1 if dims else -1]
        return Site(name, "identity", identity_spec(channels, dims), False, seen.dtype, seen.device, *shapes)
    if "weight" in seen.read:
        parent = type(model.get_submodule(name.rpartition(".")[0])).__name__
        return f"its weight is read by its parent ({parent})" + (
            ", and a morphed module has none" if seen.calls else ", which never calls it"
        )
    weight = layer.get_parameter("weight")
    kind = kind_of(layer)
    assert kind is not None
    return Site(name, kind, spec_of(layer), layer.bias is not None, weight.dtype, weight.device, *shapes)


def _identity_dims(model: nn.Module, name: str, seen: Seen) -> int | str:
    """Return the spatial dimensions of an identity's input (0: channels are last), or why it is no site.

    Only its surroundings tell (N, C, L) from (N, T, C): the nearest enclosing module that has a convolution of that
    rank and width, or a linear layer of that width, decides.
    """
    shape = seen.input_shape
    if shape is None:
        return "the example does not reach it, so that its channels are unknown"
    rank = len(shape) - 2
    if seen.dtype not in _FLOATS:
        return f"it carries {str(seen.dtype).removeprefix('torch.')}, not floating-point numbers"
    if rank < 0 or 0 in shape:
        return "what it carries has no channel dimension"
    dims = _surroundings(model, name, shape)
    if dims is None and rank > 3:
        return "what it carries has no channel dimension"
    dims = rank if dims is None else dims
    if len({sizes[0 if dims else 1] for sizes in seen.channels}) > 1:
        return "its channels vary from call to call"
    return dims


def _surroundings(model: nn.Module, name: str, shape: tuple[int, ...]) -> int | None:
    while name:
        name = name.rpartition(".")[0]
        specs = [spec_of(module) for module in model.get_submodule(name).modules() if isinstance(module, BASES)]
        if any(spec.dims == len(shape) - 2 and spec.dims and shape[1] in (spec.c_in, spec.c_out) for spec in specs):
            return len(shape) - 2
        if any(not spec.dims and shape[-1] in (spec.c_in, spec.c_out) for spec in specs):
            return 0
    return None
