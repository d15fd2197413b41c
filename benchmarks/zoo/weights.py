"""Random weights and random BatchNorm statistics, so that no difference hides behind a zero or a one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw what a fresh network holds as constants: zeros, ones, layer scales, running statistics.

    Weights that the network draws itself are kept, all others are drawn: those of one dimension (norms, scales) around
    one, biases around zero, matrices as PyTorch does. Statistics are those of no data: means N(0, 0.1^2), variances
    U(0.5, 1.5).
    """
    random = torch.Generator().manual_seed(seed)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.numel() and parameter.is_floating_point():
                _draw(name, parameter, random)
        if isinstance(module, _BatchNorm) and isinstance(module.running_mean, Tensor):
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=random))
            assert isinstance(module.running_var, Tensor)
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=random))
    return model


def _draw(name: str, parameter: Tensor, random: torch.Generator) -> None:
    flat = parameter.reshape(-1)
    if bool(flat[0] != flat[-1]) or not bool((flat == flat[0]).all()):
        return
    noise = torch.randn(parameter.shape, generator=random)
    if "bias" in name:
        parameter.copy_(0.1 * noise)
    elif sum(size > 1 for size in parameter.shape) <= 1:
        parameter.copy_(0.5 + torch.rand(parameter.shape, generator=random))
    else:
        parameter.copy_(noise / max(1, flat.numel() // parameter.shape[0]) ** 0.5)
