"""Where in a tensor a layer's channels are (beyond the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netmorph.solver.target import spec_of
from netmorph.surgery.edit.channels import channels_of, mixes_channels
from netmorph.surgery.sites.layers import BASES


@dataclass(frozen=True)
class Lanes:
    """Where the channels are: along one axis, position `(o * channels + c) * inner + i` belongs to channel c.

    Attributes:
        dims: dimensions of the tensor.
        axis: the one that holds the channels.
        outer: how often all channels follow one another.
        channels: how many there are.
        inner: positions of one channel in a row.
    """

    dims: int
    axis: int
    channels: int
    outer: int = 1
    inner: int = 1

    def spread(self, index: Tensor) -> Tensor:
        """Return which positions along the axis copied channels are to copy.

        Args:
            index: for each new channel, the one that it copies.
        """
        outer = torch.arange(self.outer, device=index.device)[:, None, None] * self.channels
        return ((outer + index[None, :, None]) * self.inner + torch.arange(self.inner, device=index.device)).flatten()

    def spread_over(self, values: Tensor) -> Tensor:
        """Return the value of each position along the axis, from one value a channel of a wider tensor."""
        return values[None, :, None].expand(self.outer, -1, self.inner).flatten()

    def copied(self, x: Tensor, index: Tensor) -> Tensor:
        """Return a tensor with copied channels."""
        return x.index_select(self.axis, self.spread(index).to(x.device))

    def along(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return a tensor's shape with sizes of 1 everywhere but along the axis that holds the channels."""
        return tuple(size if axis == self.axis else 1 for axis, size in enumerate(shape))

    def fit(self, module: nn.Module) -> bool:
        """Return whether a module takes what is here as channels for its own."""
        single = self.outer == self.inner == 1
        if isinstance(module, BASES):
            spec = spec_of(module)
            axis = self.dims - 1 - spec.dims
            return self.axis == axis and (single or not spec.dims)
        axis = self.dims - 1 if mixes_channels(module) else 1
        return single and self.axis == axis and channels_of(module) == self.channels
