"""The modules of a graph's edges: plain convolutions and linears, and the edges without weights."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec, Pads
from netmorph.graph.spec import Edge, Fixed
from netmorph.nn.padding import Index, is_plain

CONVS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLS = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class GroupedLinear(nn.Module):
    """A linear layer whose weight is block-diagonal, (c_out, c_in / groups) as a grouped convolution's.

    Args:
        in_features: channels read, on the last dimension.
        out_features: channels written.
        groups: divides both.
        device: of the weight.
        dtype: of the weight.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        groups: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(out_features, in_features // groups, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        if self.in_features == self.out_features == self.groups:
            return x * self.weight.squeeze(-1)
        rows = x.reshape(*x.shape[:-1], self.groups, self.in_features // self.groups)
        blocks = self.weight.view(self.groups, self.out_features // self.groups, -1)
        return torch.einsum("...gi,goi->...go", rows, blocks).flatten(-2)

    def extra_repr(self) -> str:
        """Show what `nn.Linear` shows, and the groups."""
        return f"in_features={self.in_features}, out_features={self.out_features}, groups={self.groups}"


class ScaledIdentity(nn.Module):
    """`scale` times the input, every `stride`-th position of it."""

    def __init__(self, scale: float, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.scale = scale
        self.stride = stride
        strided = any(step != 1 for step in stride)
        self._window: Index | None = (..., *(slice(None, None, step) for step in stride)) if strided else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) to the strided, scaled tensor."""
        if self._window is not None:
            x = x[self._window]
        return x if self.scale == 1 else x * self.scale

    def extra_repr(self) -> str:
        """Show the factor, and the stride where there is one."""
        return f"scale={self.scale:g}" + ("" if self._window is None else f", stride={self.stride}")


class ScaledAverage(nn.Module):
    """`scale` times the mean over a window; positions outside the input count as the zeros that they are."""

    def __init__(self, scale: float, spec: ConvSpec, padding: Pads) -> None:
        super().__init__()
        self.scale = scale
        self.kernel_size = spec.kernel
        self.stride = spec.stride
        self.dilation = spec.dilation
        self.padding = tuple(before for before, _ in padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, *spatial) to the scaled means."""
        dims = len(self.kernel_size)
        if any(step != 1 for step in self.dilation):
            channels = x.shape[1]
            weight = x.new_full((channels, 1, *self.kernel_size), self.scale / prod(self.kernel_size))
            return _FUNCTIONS[dims](x, weight, None, self.stride, self.padding, self.dilation, channels)
        y = _POOLS[dims](x, self.kernel_size, self.stride, self.padding)
        return y if self.scale == 1 else y * self.scale

    def extra_repr(self) -> str:
        """Show what `nn.AvgPool2d` shows, and the factor."""
        return f"scale={self.scale:g}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


def build_edge(
    edge: Edge, spec: ConvSpec, padding: Pads, *, device: torch.device | str | None, dtype: torch.dtype | None
) -> tuple[nn.Module, bool]:
    """Return an edge's module, and whether it pads its input by `padding` itself.

    Weights are uninitialised: no random number is drawn.

    Args:
        edge: the edge.
        spec: its geometry; `padding` is used in place of its own.
        padding: (before, after) for each dimension; negative crops.
        device: of the weight.
        dtype: of the weight.
    """
    factory: dict[str, Any] = {"device": device, "dtype": dtype}
    if edge.fixed is not None:
        return _build_fixed(edge.fixed, spec, padding)
    if spec.dims == 0:
        if spec.groups == 1:
            return _skip_init(nn.Linear, spec.c_in, spec.c_out, bias=False, **factory), True
        return GroupedLinear(spec.c_in, spec.c_out, spec.groups, **factory), True
    own = is_plain(padding)
    amounts = tuple(before for before, _ in padding) if own else (0,) * spec.dims
    conv = _skip_init(
        CONVS[spec.dims],
        spec.c_in,
        spec.c_out,
        spec.kernel,
        stride=spec.stride,
        padding=amounts,
        dilation=spec.dilation,
        groups=spec.groups,
        bias=False,
        padding_mode=spec.padding_mode if any(amounts) else "zeros",
        **factory,
    )
    return conv, own


def is_linear_edge(module: nn.Module) -> bool:
    """Return whether `module` is one of the layers that `build_edge` makes: a linear map of its input."""
    return isinstance(module, (*CONVS.values(), nn.Linear, GroupedLinear, ScaledIdentity, ScaledAverage))


def fixed_filter(fixed: Fixed, spec: ConvSpec, *, dtype: torch.dtype, device: torch.device | None = None) -> Filter:
    """Return the depthwise filter that an edge without weights equals."""
    return Filter.of(torch.full(spec.weight_shape, fixed.scale / spec.taps, dtype=dtype, device=device), spec)


def _build_fixed(fixed: Fixed, spec: ConvSpec, padding: Pads) -> tuple[nn.Module, bool]:
    if spec.taps == 1:
        return ScaledIdentity(fixed.scale, spec.stride), not any(map(any, padding))
    dilated = any(step != 1 for step in spec.dilation)
    # PyTorch pools no window that lies in the padding by more than half.
    fits = all(dilated or 2 * before <= kernel for (before, _), kernel in zip(padding, spec.kernel, strict=True))
    own = is_plain(padding) and spec.padding_mode == "zeros" and fits
    return ScaledAverage(fixed.scale, spec, padding if own else ((0, 0),) * spec.dims), own


def _skip_init(kind: type[nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    kwargs["device"] = torch.device(torch.get_default_device() if kwargs["device"] is None else kwargs["device"])
    if kwargs["device"].type == "meta":  # where drawing costs nothing, and moving does
        return kind(*args, **kwargs)
    module: nn.Module = skip_init(kind, *args, **kwargs)  # type: ignore[no-untyped-call]
    return module
