"""The part of an input on which a layer and the module in its place are compared."""

from __future__ import annotations

import math

from torch import Tensor, nn

from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.running.probe import few
from netmorph.surgery.sites.kinds import kind_of, layer_spec

_OUTPUTS = 32


def windows_of(x: Tensor, layer: nn.Module) -> Tensor:
    """Return the part of a layer's input that `windows` keeps; where its dimensions are not known, a few samples."""
    return windows(x, layer_spec(layer)) if kind_of(layer) in ("conv", "linear") else few(x, layer)


def windows(x: Tensor, spec: ConvSpec) -> Tensor:
    """Return as much of an input as gives about 32 outputs, all channels, from the corner at the first position.

    A layer, and the module that takes its place, apply one map to the window of every output, and at the border, which
    the part has on every side, to what is left of it. If two such maps differ, they differ by about as much on the
    first 32 windows as on all (a random window shows any difference, with probability one), and what is kept of all
    sites need not grow with the size of the maps. Where a padding mode reads across the input, its sizes stay.

    Args:
        x: the input, (N, c_in, *spatial) or (c_in, *spatial); (..., c_in) of a linear layer.
        spec: the layer's geometry.
    """
    lead = x.dim() - spec.dims - 1
    if spec.padding_mode == "zeros":
        side = int(_OUTPUTS ** (1 / max(spec.dims, 1)) + 1e-9)
        for dim, (extent, stride, pads) in enumerate(zip(spec.extent, spec.stride, spec.padding, strict=True)):
            size = extent + max(stride * (side - 1) - sum(pads), 0)
            x = x.narrow(lead + 1 + dim, 0, min(x.shape[lead + 1 + dim], size))
    outputs = math.prod(spec.output_size(tuple(x.shape[lead + 1 :])))
    for dim in range(lead):
        others = outputs * math.prod(x.shape[dim + 1 : lead])
        x = x.narrow(dim, 0, min(x.shape[dim], max(_OUTPUTS // max(others, 1), 1)))
    return x
