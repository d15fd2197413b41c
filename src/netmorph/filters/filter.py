"""A filter: the weights of a convolution as a function of finite support."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.geometry import ConvSpec

Ints = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Filter:
    """A function of (out channel, in channel, offset) that is zero outside a finite grid of offsets.

    It maps a signal x to `y[q] = sum_k weight[..., k] x[stride*q + offset + k*dilation]` (cross-correlation, as
    PyTorch convolves), the paper's eq. 1 with the "extended definition" of section 3.4: infinite, with finite support.

    Attributes:
        weight: (c_out, c_in / groups, *kernel).
        offset: input position of the first tap, for each dimension.
        dilation: step between taps.
        stride: step between outputs.
        groups: block-diagonal structure over channels, as in `torch.nn.Conv2d`.
    """

    weight: Tensor
    offset: Ints
    dilation: Ints
    stride: Ints
    groups: int = 1

    def __post_init__(self) -> None:
        dims = self.weight.dim() - 2
        if not (dims == len(self.offset) == len(self.dilation) == len(self.stride)):
            raise GraphError(
                "a filter needs one offset, dilation and stride for each spatial dimension",
                shapes=f"weight {tuple(self.weight.shape)}, offset {self.offset}, dilation {self.dilation}",
            )
        if self.weight.shape[0] % self.groups:
            raise GraphError(f"{self.groups} groups do not divide {self.weight.shape[0]} output channels")

    @classmethod
    def of(cls, weight: Tensor, spec: ConvSpec) -> Filter:
        """Return the filter of a convolution's weight and geometry.

        Raises:
            GraphError: if the weight's shape is not the geometry's.
        """
        if tuple(weight.shape) != spec.weight_shape:
            raise GraphError(
                "the weight's shape is not that of the convolution",
                shapes=f"weight {tuple(weight.shape)}, convolution {spec.weight_shape}",
            )
        return cls(weight, spec.offset, spec.dilation, spec.stride, spec.groups)

    @classmethod
    def identity(cls, channels: int, dims: int, *, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Filter:
        """Return `scale` times the identity on `channels` channels: one tap at offset 0."""
        weight = scale * torch.eye(channels, dtype=dtype, device="cpu").reshape(channels, channels, *(1,) * dims)
        return cls(weight, (0,) * dims, (1,) * dims, (1,) * dims)

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.offset)

    @property
    def kernel(self) -> Ints:
        """Taps in each dimension."""
        return tuple(self.weight.shape[2:])

    @property
    def c_out(self) -> int:
        """Output channels."""
        return self.weight.shape[0]

    @property
    def c_in(self) -> int:
        """Input channels."""
        return self.weight.shape[1] * self.groups

    @property
    def last(self) -> Ints:
        """Input position of the last tap, for each dimension."""
        return tuple(o + d * (k - 1) for o, d, k in zip(self.offset, self.dilation, self.kernel, strict=True))

    def to(self, place: torch.dtype | torch.device | str) -> Filter:
        """Return the filter in another dtype, or on another device."""
        return replace(self, weight=self.weight.to(place))

    def blocks(self, groups: int | None = None) -> Tensor:
        """Return the weight as (groups, c_out / groups, c_in / groups, taps).

        Args:
            groups: a divisor of the filter's own groups (default: those); fewer groups are larger blocks with zeros.
        """
        own, g = self.groups, self.groups if groups is None else groups
        if own % g:
            raise GraphError(f"{g} groups are not a divisor of the filter's {own}")
        weight = self.weight.reshape(own, self.c_out // own, self.c_in // own, -1)
        if own == g:
            return weight
        inner, (_, rows, cols, taps) = own // g, weight.shape
        out = weight.new_zeros(g, inner, rows, inner, cols, taps)
        index = torch.arange(inner, device=weight.device)
        out[:, index, :, index] = weight.reshape(g, inner, rows, cols, taps).transpose(0, 1)
        return out.reshape(g, inner * rows, inner * cols, taps)

    def regroup(self, groups: int) -> Filter:
        """Return the same filter with fewer groups (`groups` divides the present number)."""
        if groups == self.groups:
            return self
        blocks = self.blocks(groups)
        weight = blocks.reshape(self.c_out, self.c_in // groups, *self.kernel)
        return replace(self, weight=weight, groups=groups)

    def dense(self) -> Filter:
        """Return the same filter with a single group."""
        return self.regroup(1)

    def trim(self) -> Filter:
        """Return the same filter without the planes of zeros around its support (at least one tap stays).

        Pointwise fill leaves most taps at zero; composing the trimmed filters costs only the others.
        """
        if all(side == 1 for side in self.kernel) or bool((self.weight[0, 0] != 0).all()):
            return self
        weight, offset = self.weight, list(self.offset)
        live = (weight != 0).flatten(0, 1).any(0)  # one pass over the weights, then only over the taps
        for dim in range(self.dims):
            used = live.movedim(dim, 0).reshape(self.kernel[dim], -1).any(1).nonzero().flatten()
            first, last = (int(used[0]), int(used[-1])) if used.numel() else (0, 0)
            weight = weight.narrow(dim + 2, first, last - first + 1)
            offset[dim] += first * self.dilation[dim]
        return replace(self, weight=weight, offset=tuple(offset))

    def place(self, offset: Ints, dilation: Ints, kernel: Ints, *, trim: bool = True) -> Filter:
        """Return the same filter written on another grid of taps, zeros where it has none.

        Args:
            offset: first tap of the grid.
            dilation: step of the grid.
            kernel: taps of the grid.
            trim: drop zeros around the support first, so that only non-zero taps need a place.

        Raises:
            GraphError: if a non-zero tap of the filter is not on the grid.
        """
        if (self.offset, self.dilation, self.kernel) == (tuple(offset), tuple(dilation), tuple(kernel)):
            return self
        source = self.trim() if trim else self
        index = []
        for dim in range(self.dims):
            start, step = source.offset[dim] - offset[dim], source.dilation[dim]
            places = [start + i * step for i in range(source.kernel[dim])]
            if any(p % dilation[dim] or not 0 <= p // dilation[dim] < kernel[dim] for p in places):
                raise GraphError(
                    "the filter's support is not on the grid of taps",
                    shapes=f"dimension {dim}: support at {places}, grid of {kernel[dim]} steps of {dilation[dim]}",
                )
            index.append(torch.tensor([p // dilation[dim] for p in places], device=self.weight.device))
        out = self.weight.new_zeros(*self.weight.shape[:2], *kernel)
        where: list[slice | Tensor] = [slice(None), slice(None), *torch.meshgrid(*index, indexing="ij")]
        out[tuple(where)] = source.weight
        return replace(self, weight=out, offset=tuple(offset), dilation=tuple(dilation))
