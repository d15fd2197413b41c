"""Padding and cropping before a convolution, where its own padding argument cannot say it."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType

from torch import Tensor
from torch.nn import functional as F

from netmorph.filters.geometry import Pads

Index = tuple[slice | EllipsisType, ...]


@dataclass(frozen=True)
class Fit:
    """Pads, then crops, the spatial dimensions of a tensor.

    Padding comes first: with "circular" the pad on one side shows what the crop on the other side removes.

    Attributes:
        pads: for `F.pad`: last dimension first, (before, after) each; empty where nothing is padded.
        window: index of what remains; None where nothing is cropped.
        mode: PyTorch's padding mode, "constant" for zeros.
    """

    pads: tuple[int, ...]
    window: Index | None
    mode: str = "constant"

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` (N, C, *spatial) padded and cropped."""
        if self.pads:
            x = F.pad(x, self.pads, self.mode)
        return x if self.window is None else x[self.window]


def fit(padding: Pads, mode: str = "zeros") -> Fit | None:
    """Return the `Fit` of (before, after) pairs, negative ones cropping; None where there is nothing to do."""
    pads = tuple(max(side, 0) for pair in reversed(padding) for side in pair)
    crops = [(max(-before, 0), max(-after, 0)) for before, after in padding]
    window = (..., *(slice(before, -after or None) for before, after in crops))
    cropped = any(max(pair) > 0 for pair in crops)
    if not any(pads) and not cropped:
        return None
    return Fit(pads if any(pads) else (), window if cropped else None, "constant" if mode == "zeros" else mode)


def is_plain(padding: Pads) -> bool:
    """Return whether a convolution's own padding argument can say `padding`: symmetric, nothing cropped."""
    return all(before == after >= 0 for before, after in padding)
