"""A network as if it had been trained: nothing in it is as it was at birth."""

import torch
from torch import nn


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Change every parameter and every BatchNorm statistic of a network, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            size = 0.05 if parameter.dim() > 1 else 0.2
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * size)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.3)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.num_batches_tracked.fill_(7)
    return model
