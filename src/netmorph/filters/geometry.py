"""The geometry of one convolution: everything about it but its weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

from netmorph.errors import GraphError

Pads = tuple[tuple[int, int], ...]


def per_dimension(value: int | Sequence[int], dims: int, what: str) -> tuple[int, ...]:
    """Return `value` as one integer a spatial dimension.

    A single integer, or a sequence of length one, holds in every dimension.

    Raises:
        GraphError: if the values are not integers, or the length of the sequence is neither 1 nor `dims`.
    """
    try:
        values = tuple(map(index, value)) if isinstance(value, Iterable) else (index(value),)
    except TypeError as error:
        raise GraphError(
            f"{what} must be an integer, or one for each dimension, got {value!r:.80}",
            remedies=[f"write {what}=1, for instance"],
        ) from error
    if len(values) == 1:
        return values * dims
    if len(values) != dims:
        text = "x".join(map(str, values))
        raise GraphError(
            f"{what} {text} has {len(values)} dimensions, the site has {dims}",
            remedies=[f"write one number for every dimension ({what} {values[0] if values else 1})"],
        )
    return values


@dataclass(frozen=True)
class ConvSpec:
    """Geometry of a convolution with 0 to 3 spatial dimensions (0: a linear layer).

    Attributes:
        c_in: input channels.
        c_out: output channels.
        kernel: taps, for each spatial dimension.
        stride: step between outputs, in input positions.
        dilation: step between taps, in input positions.
        padding: (before, after) for each dimension; negative numbers crop.
        groups: channel groups; divides `c_in` and `c_out`.
        padding_mode: PyTorch's name; only "zeros" is linear in every position.
    """

    c_in: int
    c_out: int
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    padding: Pads = ()
    groups: int = 1
    padding_mode: str = "zeros"

    def __post_init__(self) -> None:
        dims = len(self.kernel)
        for name in ("stride", "dilation"):
            object.__setattr__(self, name, per_dimension(getattr(self, name) or 1, dims, name))
        pads = tuple((int(before), int(after)) for before, after in self.padding) or ((0, 0),) * dims
        object.__setattr__(self, "padding", pads)
        if len(pads) != dims or dims > 3:
            raise GraphError(f"a convolution must have 0 to 3 dimensions and one pair of paddings for each, got {self}")
        if min(self.c_in, self.c_out, self.groups, *self.kernel, *self.stride, *self.dilation) < 1:
            raise GraphError("channels, groups, kernel, stride and dilation must be at least 1", shapes=str(self))
        if self.c_in % self.groups or self.c_out % self.groups:
            raise GraphError(
                f"{self.groups} groups do not divide both {self.c_in} input and {self.c_out} output channels",
                remedies=["choose widths that are multiples of the groups"],
            )

    @classmethod
    def same(
        cls,
        c_in: int,
        c_out: int,
        kernel: int | Sequence[int] = 3,
        *,
        dims: int = 2,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> ConvSpec:
        """Return the geometry of a "same"-padded convolution (more padding after, where the kernel is even)."""
        kernel = per_dimension(kernel, dims, "kernel")
        dilation = per_dimension(dilation, dims, "dilation")
        before = [d * ((k - 1) // 2) for k, d in zip(kernel, dilation, strict=True)]
        pads = tuple((b, d * (k - 1) - b) for b, k, d in zip(before, kernel, dilation, strict=True))
        return cls(c_in, c_out, kernel, per_dimension(stride, dims, "stride"), dilation, pads, groups)

    @property
    def dims(self) -> int:
        """Number of spatial dimensions."""
        return len(self.kernel)

    @property
    def offset(self) -> tuple[int, ...]:
        """Input position of the first tap, seen from output 0 (minus the padding before)."""
        return tuple(-before for before, _ in self.padding)

    @property
    def extent(self) -> tuple[int, ...]:
        """Input positions that the taps span: dilation * (kernel - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def taps(self) -> int:
        """Number of taps: the product of the kernel's sides."""
        return math.prod(self.kernel)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight in PyTorch's layout: (c_out, c_in / groups, *kernel)."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @property
    def flat_shape(self) -> tuple[int, int, int]:
        """Shape of the weight with its taps as one dimension: (c_out, c_in / groups, taps)."""
        return (self.c_out, self.c_in // self.groups, self.taps)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial output size for the spatial input size `size`."""
        return tuple(
            (n + sum(pads) - extent) // stride + 1
            for n, pads, extent, stride in zip(size, self.padding, self.extent, self.stride, strict=True)
        )

    def with_(self, **changes: Any) -> ConvSpec:
        """Return a copy with some attributes changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; `from_dict` is its inverse."""
        return {
            "c_in": self.c_in,
            "c_out": self.c_out,
            "kernel": list(self.kernel),
            "stride": list(self.stride),
            "dilation": list(self.dilation),
            "padding": [list(pair) for pair in self.padding],
            "groups": self.groups,
            "padding_mode": self.padding_mode,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ConvSpec:
        """Rebuild a geometry from `to_dict`'s output.

        Raises:
            GraphError: if keys or values are not those of a geometry.
        """
        try:
            return cls(
                c_in=_integer(data["c_in"]),
                c_out=_integer(data["c_out"]),
                kernel=tuple(map(_integer, data["kernel"])),
                stride=tuple(map(_integer, data["stride"])),
                dilation=tuple(map(_integer, data["dilation"])),
                padding=tuple((_integer(before), _integer(after)) for before, after in data["padding"]),
                groups=_integer(data["groups"]),
                padding_mode=str(data["padding_mode"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"invalid description of a convolution: {error!r}") from error

    def __str__(self) -> str:
        def show(values: tuple[int, ...]) -> str:
            return "x".join(map(str, values))

        parts = [f"{self.c_in}->{self.c_out}"]
        if self.dims:
            parts.append(f"kernel {show(self.kernel)}")
        if any(s != 1 for s in self.stride):
            parts.append(f"stride {show(self.stride)}")
        if any(d != 1 for d in self.dilation):
            parts.append(f"dilation {show(self.dilation)}")
        if any(pair != (0, 0) for pair in self.padding):
            parts.append("padding " + "x".join(str(a) if a == b else f"({a},{b})" for a, b in self.padding))
        if self.groups != 1:
            parts.append(f"groups {self.groups}")
        return " ".join(parts)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected an integer, got {value!r}")
    return value
