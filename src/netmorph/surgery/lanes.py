"""Where in a tensor a layer's channels are, and whether a function keeps them apart (beyond the paper)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.solver.target import spec_of
from netmorph.surgery.channels import channels_of, mixes_channels
from netmorph.surgery.layers import BASES
from netmorph.surgery.outputs import largest, largest_gap
from netmorph.surgery.site_parity import tolerance_of


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

    def copied(self, x: Tensor, index: Tensor) -> Tensor:
        """Return a tensor with copied channels."""
        return x.index_select(self.axis, self.spread(index).to(x.device))

    def fit(self, module: nn.Module) -> bool:
        """Return whether a module takes what is here as channels for its own."""
        single = self.outer == self.inner == 1
        if isinstance(module, BASES):
            spec = spec_of(module)
            axis = self.dims - 1 - spec.dims
            return self.axis == axis and (single or not spec.dims)
        axis = self.dims - 1 if mixes_channels(module) else 1
        return single and self.axis == axis and channels_of(module) == self.channels


def lanes_after(
    function: Callable[[Tensor], Any], shape: torch.Size, like: Tensor, lanes: Lanes, index: Tensor
) -> Lanes | str:
    """Return where the channels are after a function, or why it does not keep them apart.

    Tried out on random numbers: for copied channels it must give copies of what it gives.

    Args:
        function: of one tensor.
        shape: of what it reads.
        like: a tensor of the dtype and device of what it reads.
        lanes: where the channels are in that.
        index: for each channel of the wider layer, the one that it copies.
    """
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random, dtype=torch.float64, device="cpu").to(like)
    wide = lanes.copied(x, index)
    try:
        y, wider = function(x), function(wide)
    except Exception:
        return f"depends on there being {lanes.channels} channels"
    if not (isinstance(y, Tensor) and isinstance(wider, Tensor) and y.dim() == wider.dim()):
        return "does not keep channels apart"
    for candidate in _candidates(y.shape, lanes):
        expected = candidate.copied(y, index)
        if expected.shape == wider.shape and _close(expected, wider):
            return candidate
    return "does not keep channels apart"


def _candidates(shape: torch.Size, lanes: Lanes) -> list[Lanes]:
    """Return the ways in which a tensor of a shape can hold channels, the present one first."""
    found = []
    for axis in sorted(range(len(shape)), key=lambda axis: axis != lanes.axis):
        repeats, rest = divmod(shape[axis], lanes.channels)
        if rest or not repeats:
            continue
        inner = [n for n in range(repeats, 0, -1) if repeats % n == 0]
        found += [Lanes(len(shape), axis, lanes.channels, repeats // n, n) for n in inner]
    return found


def _close(expected: Tensor, found: Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(expected, found)
    both = expected.nan_to_num(), found.nan_to_num()
    return largest_gap(*both) <= 10 * tolerance_of(expected.dtype) * (largest(both[0]) or 1.0)
