"""A morphed module behind a padding that depends on its input's size, as timm's `Conv2dSame` has it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from netmorph.filters.geometry import ConvSpec
from netmorph.nn import MorphedModule


class SamePaddedModule(MorphedModule):
    """A morphed module whose input is zero-padded first, by what TensorFlow's "SAME" padding asks for at its size.

    The layout is that of an unpadded convolution: for every edge the padded input is simply the input, so that any
    graph is as exact at this border as anywhere.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Run the module on (N, c_in, *spatial) or (c_in, *spatial)."""
        x, dims = input, self.layout.site.dims
        pads = same_padding(self.layout.site, tuple(x.shape[-dims:]))
        if x.dim() == dims + 1:
            return super().forward(F.pad(x.unsqueeze(0), _flat(pads))).squeeze(0)
        return super().forward(F.pad(x, _flat(pads)))

    def spec_at(self, sizes: Sequence[int]) -> ConvSpec:
        """Return the geometry that the replaced layer has on an input of such spatial sizes."""
        return self.layout.site.with_(padding=same_padding(self.layout.site, tuple(sizes)))


def _flat(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Return paddings as `F.pad` takes them: the last dimension first."""
    return [side for pair in reversed(pads) for side in pair]


def same_padding(spec: ConvSpec, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return TensorFlow's "SAME" padding at an input size: the outputs are as many as the strides begun.

    Args:
        spec: geometry of the convolution.
        sizes: spatial sizes of its input.

    Returns:
        (before, after) for each dimension.
    """
    pads = []
    for size, extent, stride in zip(sizes, spec.extent, spec.stride, strict=True):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)
