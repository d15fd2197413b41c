"""The size of a network as the paper's tables give it."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["params_mib"]


def params_mib(model: nn.Module) -> float:
    """Return a network's size in MiB, as the column "#Params. (MB)" of Tables 1 and 3 counts it.

    Four bytes for every parameter (weights, biases, slopes of PReLUs, scales and shifts of BatchNorms) and for the
    running means and variances of BatchNorms; the tables' digits leave no other reading.

    Args:
        model: any network.
    """
    statistics = (
        buffer.numel()
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    )
    return 4 * (sum(parameter.numel() for parameter in model.parameters()) + sum(statistics)) / 2**20
