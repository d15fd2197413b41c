"""How tensors lie in memory (channels-last or not), and how new modules take it on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def memory_format_of(tensor: Tensor) -> torch.memory_format:
    """Return how a tensor lies in memory, read from its strides: those of a 1x1 kernel tell it too."""
    wanted = _FORMATS.get(tensor.dim())
    if wanted is None or tensor.stride() == torch.empty(tensor.shape, device="meta").stride():
        return torch.contiguous_format
    last = torch.empty(tensor.shape, device="meta", memory_format=wanted).stride()
    return wanted if tensor.stride() == last else torch.contiguous_format


def keep_memory_format(old: nn.Module, new: nn.Module) -> None:
    """Lay the weights of `new` out in memory as those of `old` are."""
    formats = {memory_format_of(parameter) for parameter in old.parameters()} - {torch.contiguous_format}
    if formats:
        new.to(memory_format=formats.pop())
