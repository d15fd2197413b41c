"""Find the places of a network that can be morphed, and say why the others cannot."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from netmorph.graph.spec import ModuleGraph
from netmorph.surgery.running.call import Call, check_initialised, fixed_rng, in_mode, is_lazy
from netmorph.surgery.running.probe import Part, Run, Seen, few, probe
from netmorph.surgery.running.wrappers import check_network
from netmorph.surgery.shortcuts.find import find_shortcuts, may_name_shortcut
from netmorph.surgery.sites.assign import Assignment, assign, check_mapping
from netmorph.surgery.sites.kinds import is_layer, kind_of, layer_spec, pads_same
from netmorph.surgery.sites.layers import candidates, identity_spec
from netmorph.surgery.sites.site import Site, Sites

__all__ = ["Site", "Sites", "find_sites"]

_LAST = (nn.LayerNorm, nn.RMSNorm)  # not subclasses: they may norm dimension 1
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def find_sites(model: nn.Module, example_inputs: Any, *, shortcuts: bool = True) -> Sites:
    """List the convolutions, linear layers and identity shortcuts of a network that can be morphed.

    The model runs on the example inputs in eval and in train mode, since some modules read the weights of their
    children in only one of them. Training mode, statistics, gradients and random generators are preserved.

    Identity shortcuts are `nn.Identity` modules, and shortcuts without a module: attributes of a block that are None
    where other blocks have a projection (`layer1.1.downsample`), and additions in the code of a block
    (`features.3.shortcut`). The latter are named as a module in this place would be. The channel dimension of a
    shortcut is inferred from its surroundings: dimension 1 beside a convolution of the same rank and width, and the
    last one beside a linear layer or LayerNorm of the same width (tokens, channels-last maps).

    Args:
        model: any network.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        shortcuts: also find shortcuts without a module. This runs the model once more, and blocks with such shortcuts
            four times.

    Returns:
        The sites; `.refused` gives the reason why each other layer cannot be morphed.

    Raises:
        SiteError: if the model raised on the example.
    """
    check_network(model)
    return look(model, Call.of(example_inputs), shortcuts=shortcuts)[0]


def look(
    model: nn.Module, call: Call, *, shortcuts: bool = True, keep: bool = False, part: Part = few
) -> tuple[Sites, Run]:
    """Return the sites of a network, and the run in which they were seen; its records are those of `probe`.

    Args:
        model: any network.
        call: the example inputs.
        shortcuts: as for `find_sites`.
        keep: as for `probe`.
        part: as for `probe`.
    """
    lazy = any(is_lazy(module) for module in model.modules())
    if lazy:
        try:
            model = copy.deepcopy(model)
        except ValueError:  # PyTorch cannot copy a lazy BatchNorm
            check_initialised(model)
    layers, refused = candidates(model)
    if lazy:
        with torch.no_grad(), fixed_rng():
            call.run(in_mode(model, False))  # the copy has its shapes now, the caller's model is as it was
    run = probe(model, layers, call, keep=keep, part=part)
    results = {name: _site(model, name, layer, run.seen[name]) for name, layer in layers.items()}
    for name, found in (find_shortcuts(model, call) if shortcuts else {}).items():
        site = found if isinstance(found, str) else _site(model, name, nn.Identity(), found.seen)
        results[name] = site if isinstance(site, str) or isinstance(found, str) else replace(site, slot=found.slot)
    refused.update((name, why) for name, why in results.items() if isinstance(why, str))
    sites = {name: site for name, site in results.items() if isinstance(site, Site)}
    kinds = {name: type(module).__name__ for name, module in model.named_modules(remove_duplicate=False)}
    names = _ordered(list(kinds), results)
    listed = Sites(
        [sites[name] for name in names if name in sites],
        {name: refused[name] for name in names if name in refused},
        {name: kind for name, kind in kinds.items() if name not in sites and name not in refused},
        run.heard,
    )
    return listed, run


def chosen_among(
    model: nn.Module,
    call: Call,
    mapping: Mapping[str, ModuleGraph | str],
    seed: int,
    *,
    keep: bool = False,
    part: Part = few,
) -> tuple[tuple[Assignment, ...], dict[str, str], Run]:
    """Find the sites that a mapping names, and the graph of each; shortcuts are looked for only where it may name one.

    Args:
        model: any network.
        call: the example inputs.
        mapping: as for `assign`.
        seed: as for `assign`.
        keep: as for `probe`, of the chosen sites.
        part: as for `probe`.

    Returns:
        What `assign` returns, and the run in which the sites were seen.

    Raises:
        SiteError: as from `find_sites` and `assign`.
        GraphError: as from `assign`.
    """
    check_mapping(mapping)
    check_initialised(model)
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    shortcuts = any(may_name_shortcut(pattern, names) for pattern in mapping)
    sites, run = look(model, call, shortcuts=shortcuts, keep=keep, part=part)
    chosen, skipped = assign(sites, mapping, seed)
    wanted = {each.site.name for each in chosen}
    for name in run.seen.keys() - wanted:
        run.seen[name].recorded = None
    return chosen, skipped, run


def _ordered(modules: list[str], found: Iterable[str]) -> list[str]:
    """Return the names of modules, and of shortcuts without one behind all that their blocks hold."""
    known, ordered = set(modules), list(modules)
    for name in [name for name in found if name not in known]:
        block = name.rpartition(".")[0]
        last = max(index for index, other in enumerate(ordered) if _within(other, block))
        ordered.insert(last + 1, name)
    return ordered


def _site(model: nn.Module, name: str, layer: nn.Module, seen: Seen) -> Site | str:
    """Return the site of a layer, or why it is not one."""
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
    bias = layer._parameters.get("bias") is not None
    return Site(name, kind, layer_spec(layer), bias, weight.dtype, weight.device, *shapes, pads_same(layer))


def _identity_dims(model: nn.Module, name: str, seen: Seen) -> int | str:
    """Return the spatial dimensions of an identity's input (0: channels are last), or why it is no site.

    Only its surroundings tell (N, C, L) from (N, T, C): the nearest enclosing module that has a convolution of that
    rank and width, or a linear layer or LayerNorm of that width, decides.
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


def _within(name: str, block: str) -> bool:
    return not block or name == block or name.startswith(f"{block}.")


def _surroundings(model: nn.Module, name: str, shape: tuple[int, ...]) -> int | None:
    while name:
        name = name.rpartition(".")[0]
        modules = list(model.get_submodule(name).modules())
        specs = [layer_spec(module) for module in modules if is_layer(module)]
        if any(spec.dims == len(shape) - 2 and spec.dims and shape[1] in (spec.c_in, spec.c_out) for spec in specs):
            return len(shape) - 2
        normed = any(type(module) in _LAST and module.normalized_shape == shape[-1:] for module in modules)
        if normed or any(not spec.dims and shape[-1] in (spec.c_in, spec.c_out) for spec in specs):
            return 0
    return None
