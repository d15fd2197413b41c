"""Read the target of a solve: a weight tensor, a filter, or a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError, SiteError
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec, per_dimension

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def spec_of(layer: nn.Module) -> ConvSpec:
    """Return the geometry of a convolution or a linear layer.

    Raises:
        SiteError: if the layer is neither a convolution nor a linear layer.
    """
    if isinstance(layer, nn.Linear):
        return ConvSpec(layer.in_features, layer.out_features)
    if not isinstance(layer, CONVOLUTIONS):
        raise SiteError(
            f"{type(layer).__name__} is neither a convolution nor a linear layer",
            remedies=["give nn.Conv1d, nn.Conv2d, nn.Conv3d or nn.Linear"],
        )
    kernel, dilation = tuple(layer.kernel_size), tuple(layer.dilation)
    if layer.padding == "valid":
        pads = [(0, 0)] * len(kernel)
    elif layer.padding == "same":  # PyTorch puts the odd one behind
        spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        pads = [(span // 2, span - span // 2) for span in spans]
    else:
        pads = [(int(p), int(p)) for p in layer.padding]
    return ConvSpec(
        layer.in_channels,
        layer.out_channels,
        kernel,
        tuple(layer.stride),
        dilation,
        tuple(pads),
        layer.groups,
        layer.padding_mode,
    )


def read_target(
    target: Tensor | Filter | nn.Module,
    *,
    spec: ConvSpec | None = None,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = "same",
    dtype: torch.dtype = torch.float64,
) -> tuple[Filter, ConvSpec]:
    """Return the target as a filter in `dtype`, and its geometry.

    Args:
        target: weight (c_out, c_in / groups, *kernel), a filter, or a layer.
        spec: the geometry, where the target is a tensor and the other arguments do not tell it.
        stride: of a bare weight.
        dilation: of a bare weight.
        padding: of a bare weight: a number, one for each dimension, or "same".
        dtype: in which to solve.

    Raises:
        NetmorphError: if the shapes do not fit, or the weights are not finite or too large.
    """
    if isinstance(target, nn.Module):
        spec = spec_of(target) if spec is None else spec
        weight = target.weight
        target = weight if isinstance(weight, Tensor) else torch.empty(0)
    if isinstance(target, Filter):
        spec = _spec_of_filter(target) if spec is None else spec
        weight = target.weight
    else:
        if not isinstance(target, Tensor):
            raise NetmorphError(
                f"expected a weight, a filter or a layer to solve for, got a {type(target).__name__}: {target!r:.80}",
                remedies=["pass a tensor (c_out, c_in, *kernel), or the layer itself"],
            )
        weight = target.detach()
        spec = _spec_of_weight(weight, stride, dilation, padding) if spec is None else spec
    if not weight.is_floating_point():
        raise NetmorphError(f"the target's weights are {weight.dtype}, not floating point")
    if weight.is_meta or weight.dtype.itemsize == 1:
        what = "on the meta device and have no values" if weight.is_meta else f"{weight.dtype}, which is not supported"
        raise NetmorphError(f"the target's weights are {what}", remedies=["load them, or cast them to float32, first"])
    if not math.isfinite(float(weight.sum())) and not bool(torch.isfinite(weight).all()):  # a sum may only overflow
        raise NetmorphError("the target's weights are not all finite", remedies=["morph a network without NaN or inf"])
    wide = weight.to(dtype)
    if not math.isfinite(float(wide.norm())):
        raise NetmorphError(
            f"the target's weights are too large: their norm overflows {dtype}", remedies=["scale the layer down"]
        )
    return Filter.of(wide, spec), spec


def _spec_of_filter(target: Filter) -> ConvSpec:
    """Return a geometry with the filter's offsets, "same"-sized where its taps surround offset 0."""
    reach = [d * (k - 1) for k, d in zip(target.kernel, target.dilation, strict=True)]
    pads = tuple((-o, r + o) for o, r in zip(target.offset, reach, strict=True))
    return ConvSpec(target.c_in, target.c_out, target.kernel, target.stride, target.dilation, pads, target.groups)


def _spec_of_weight(
    weight: Tensor, stride: int | Sequence[int], dilation: int | Sequence[int], padding: int | Sequence[int] | str
) -> ConvSpec:
    c_out, c_in, *kernel = weight.shape if weight.dim() > 1 else (0, 0)
    if not 2 <= weight.dim() <= 5 or min(weight.shape) < 1:
        raise NetmorphError(
            "a target's weight must be (c_out, c_in, *kernel) with 0 to 3 spatial dimensions",
            shapes=f"weight {tuple(weight.shape)}",
        )
    dims = len(kernel)
    same = ConvSpec.same(c_in, c_out, kernel or 1, dims=dims, stride=stride, dilation=dilation)
    if padding == "same":
        return same
    if isinstance(padding, str):
        raise NetmorphError(f"padding must be a number, one for each dimension, or 'same', got {padding!r}")
    return same.with_(padding=tuple((p, p) for p in per_dimension(padding, dims, "padding")))
