"""Modules with a parameter for each channel, made wider: norms and PReLU between a layer and what reads it."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_SIZE = {nn.PReLU: "num_parameters", nn.LayerNorm: "normalized_shape", nn.RMSNorm: "normalized_shape"}


def channels_of(module: nn.Module) -> int | None:
    """Return for how many channels a module holds parameters or statistics; None where it is none that we widen.

    BatchNorm and InstanceNorm of every kind (SyncBatchNorm too), PReLU with a slope a channel, LayerNorm and RMSNorm
    over the last dimension. Subclasses of the latter three are not trusted: they may norm another dimension.
    """
    if isinstance(module, _NormBase):
        return int(module.num_features) if any(True for _ in _tensors(module)) else None
    size = getattr(module, _SIZE[type(module)], None) if type(module) in _SIZE else None
    if isinstance(size, tuple):
        return int(size[0]) if len(size) == 1 else None
    return size if size != 1 else None


def with_channels(module: nn.Module, index: Tensor) -> nn.Module:
    """Return a module like this one, with channel `index[i]` of it as channel i.

    Type, mode, hooks and other attributes are the same; parameters and buffers are new.

    Args:
        module: one for which `channels_of` returns a number; it is left as it is.
        index: for each channel, that of the present module.
    """
    made = copy.copy(module)
    made._parameters, made._buffers = dict(module._parameters), dict(module._buffers)
    channels = channels_of(module)
    for name, tensor in _tensors(module):
        wider = tensor.detach()[index.to(tensor.device)] if tensor.shape == (channels,) else tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            made._parameters[name] = nn.Parameter(wider, requires_grad=tensor.requires_grad)
        else:
            made._buffers[name] = wider
    size = "num_features" if isinstance(module, _NormBase) else _SIZE[type(module)]
    setattr(made, size, (len(index),) if isinstance(getattr(module, size), tuple) else len(index))
    return made


def mixes_channels(module: nn.Module) -> bool:
    """Return whether a module's statistics are over all channels, so that only even copies keep them."""
    return type(module) in (nn.LayerNorm, nn.RMSNorm)


def even(index: Tensor) -> bool:
    """Return whether every channel is copied as often as every other."""
    return len(set(torch.bincount(index).tolist())) == 1


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
