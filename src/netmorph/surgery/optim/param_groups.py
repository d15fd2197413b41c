"""Parameter groups for a fresh optimizer of a morphed network (beyond the paper)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from netmorph.errors import SiteError
from netmorph.nn import MorphedModule, slopes
from netmorph.surgery.optim.groups import COMPANION
from netmorph.surgery.running.wrappers import check_network


class ParamGroups(list[dict[str, Any]]):
    """A list of parameter groups that prints one line for each, not its numbers."""

    def __repr__(self) -> str:
        return "\n".join(f"group {index}: {_line(group)}" for index, group in enumerate(self))


def _line(group: Mapping[str, Any]) -> str:
    params = group["params"]
    size = f"{len(params)} tensors of {sum(each.numel() for each in params):,} parameters"
    return ", ".join([size, *(f"{key} {value}" for key, value in group.items() if key in ("lr", "weight_decay"))])


def param_groups(
    child: nn.Module,
    *,
    lr: float,
    newborn_lr: float | None = None,
    weight_decay: float = 0.0,
    decay_norms_and_biases: bool = True,
    newborn: Collection[str] | None = None,
) -> ParamGroups:
    """Return the trainable parameters of a network in groups for an optimizer of torch.optim.

    The slopes of activations and norms are in groups without weight decay, which would pull them away from 1. With the
    defaults there are one group of slopes and one of all other parameters, as after `rebuild_optimizer` if the parent's
    optimizer had one group, so that its state dict can be loaded.

    Args:
        child: a morphed network; other networks have no new parameters and no slopes.
        lr: learning rate of the parameters that the parent had.
        newborn_lr: learning rate of the new parameters, slopes included; default: `lr`.
        weight_decay: weight decay of all parameters but the slopes.
        decay_norms_and_biases: whether it also applies to parameters with fewer than two dimensions.
        newborn: names of the modules whose parameters count as new; default: all morphed modules. Their biases, which
            belonged to the layers, are not new.

    Raises:
        SiteError: if `newborn` names a module that is not a morphed one.

    Example:
        >>> import torch
        >>> from netmorph.surgery.morphing.morph import morph
        >>> parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        >>> child = morph(parent, {"2": "3x3 > 1x1"}, example_inputs=torch.randn(1, 3, 8, 8)).model
        >>> groups = param_groups(child, lr=0.01, newborn_lr=0.1, weight_decay=1e-4)
        >>> groups
        group 0: 3 tensors of 228 parameters, lr 0.01, weight_decay 0.0001
        group 1: 2 tensors of 304 parameters, lr 0.1, weight_decay 0.0001
        group 2: 1 tensors of 4 parameters, lr 0.1, weight_decay 0.0
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9)
    """
    check_network(child)
    new = _newborn(child, newborn)
    blends = {id(each) for _, each in slopes(child)}
    rates = (lr, lr if newborn_lr is None else newborn_lr)
    buckets: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for parameter in child.parameters():
        if parameter.requires_grad:
            slope = id(parameter) in blends
            decayed = not slope and (decay_norms_and_biases or parameter.dim() > 1)
            key = (rates[id(parameter) in new], decayed, slope)
            buckets.setdefault(key, []).append(parameter)
    order = sorted(buckets, key=lambda key: (key[2], rates.index(key[0]), not key[1]))
    groups = [{"params": buckets[key], "lr": key[0], "weight_decay": weight_decay if key[1] else 0.0} for key in order]
    for key, group in zip(order, groups, strict=True):
        origin = (key[0], True, False)
        if key[2] and origin in buckets:
            group[COMPANION] = order.index(origin)
    return ParamGroups(groups)


def _newborn(child: nn.Module, sites: Collection[str] | None) -> set[int]:
    """Return the ids of the parameters of morphed modules, without the biases that were the layers'."""
    modules = {name: module for name, module in child.named_modules() if isinstance(module, MorphedModule)}
    if isinstance(sites, str) or not isinstance(sites, Collection | None):
        raise SiteError(
            f"expected names of morphed modules, got a {type(sites).__name__}: {sites!r:.80}",
            remedies=["pass a list of names"],
        )
    chosen = list(modules) if sites is None else list(sites)
    for name in chosen:
        if name not in modules:
            raise SiteError(
                "it is not a morphed module",
                site=name,
                remedies=[f"the morphed modules are {', '.join(map(repr, modules)) or 'none'}"],
            )
    found: set[int] = set()
    for name in chosen:
        own = modules[name]
        found |= {id(each) for each in own.parameters() if each is not own.bias}
    return found
