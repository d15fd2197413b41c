"""The control that the paper compares with in Tables 2 and 4: the child's architecture, learned from scratch."""

from __future__ import annotations

import copy

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.blocks import he_init
from netmorph.nn import MorphedModule
from netmorph.nn.slopes import slopes

__all__ = ["reborn"]


def reborn(model: nn.Module, seed: int) -> nn.Module:
    """Copy a network and forget all that it has learned.

    Convolutions and linear layers are drawn afresh (He et al., 2015: normal, deviation sqrt(2 / fan-in), zero biases).
    Normalisations return to scale 1, shift 0 and empty statistics. The slopes of activations become 0, so that each
    starts as the ReLU that it is to be: those of the morphed modules too, which are born as identities (slope 1) only
    in order to keep the parent's function. Edges without weights, such as ``0.5*id``, belong to the architecture and
    stay.

    Args:
        model: any network of convolutions, linear layers, the usual norms, PReLU and morphed modules.
        seed: seed of the new weights.

    Returns:
        The new network.

    Raises:
        NetmorphError: if the network holds a parameter of another kind, which would carry over what it has learned.
    """
    fresh = copy.deepcopy(model)
    he_init(fresh, seed)
    redone: set[int] = set()
    with torch.no_grad():
        for module in fresh.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, nn.PReLU):
                module.weight.zero_()
            elif isinstance(module, MorphedModule):
                if module.bias is not None:
                    module.bias.zero_()
            elif not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
                continue
            redone |= {id(parameter) for parameter in module.parameters(recurse=False)}
        for _, slope in slopes(fresh):
            redone.add(id(slope.zero_()))
    left = [name for name, parameter in fresh.named_parameters() if id(parameter) not in redone]
    if left:
        raise NetmorphError(f"cannot start {', '.join(left)} from scratch: the kind of layer is unknown")
    return fresh
