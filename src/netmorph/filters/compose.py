"""Sums and compositions of filters (eq. 1, 2, 4; Lemma 4 and Corollary 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.filters.filter import Filter


def compose(outer: Filter, inner: Filter) -> Filter:
    """Return the filter that equals `outer` after `inner` (eq. 2).

    Since PyTorch cross-correlates, the taps compose by a true convolution. Offsets add, scaled by the inner stride:
    offset `o1 + s1*o2`, stride `s1*s2`. The cost is one matrix product for each tap of `outer`.

    Args:
        outer: (c_out, c_mid) filter, applied second.
        inner: (c_mid, c_in) filter, applied first.

    Raises:
        GraphError: if the output channels of `inner` are not the input channels of `outer`.
    """
    if outer.c_in != inner.c_out or outer.dims != inner.dims:
        raise GraphError(
            "two filters cannot be composed",
            shapes=f"outer {outer.c_in}->{outer.c_out}, inner {inner.c_in}->{inner.c_out}, "
            f"dimensions {outer.dims} and {inner.dims}",
        )
    groups = math.gcd(outer.groups, inner.groups)
    steps = [s * d for s, d in zip(inner.stride, outer.dilation, strict=True)]
    grid = [
        _common_step([(k2, d2), (k1, d1)])
        for k2, d2, k1, d1 in zip(outer.kernel, steps, inner.kernel, inner.dilation, strict=True)
    ]
    kernel = tuple(
        (d2 * (k2 - 1) + d1 * (k1 - 1)) // step + 1
        for k2, d2, k1, d1, step in zip(outer.kernel, steps, inner.kernel, inner.dilation, grid, strict=True)
    )
    multiply = _multiplier(outer, inner, groups)
    shape = (groups, outer.c_out // groups, inner.c_in // groups)
    out = outer.weight.new_zeros(*shape, *kernel) if kernel != inner.kernel else multiply(0).reshape(*shape, *kernel)
    for index, tap in enumerate(product(*map(range, outer.kernel)) if kernel != inner.kernel else ()):
        part = multiply(index).reshape(*shape, *inner.kernel)
        window = tuple(
            slice(t * d2 // step, t * d2 // step + (k1 - 1) * d1 // step + 1, d1 // step if k1 > 1 else 1)
            for t, d2, k1, d1, step in zip(tap, steps, inner.kernel, inner.dilation, grid, strict=True)
        )
        out[(slice(None), slice(None), slice(None), *window)] += part
    return Filter(
        out.reshape(outer.c_out, -1, *kernel),
        tuple(o1 + s1 * o2 for o1, s1, o2 in zip(inner.offset, inner.stride, outer.offset, strict=True)),
        tuple(grid),
        tuple(s1 * s2 for s1, s2 in zip(inner.stride, outer.stride, strict=True)),
        groups,
    )


def _multiplier(outer: Filter, inner: Filter, groups: int) -> Callable[[int], Tensor]:
    """Return what multiplies one tap of `outer` by all of `inner`: (groups, rows, columns, taps of inner).

    A side that has more groups than both share is multiplied block by block, never written out with zeros: a depthwise
    convolution of thousands of channels beside a pointwise one costs no more than reading the latter.
    """
    if groups not in (outer.groups, inner.groups):
        inner = inner.regroup(groups)
    left, right = outer.blocks(), inner.blocks()
    within = inner.groups // groups
    if within == 1:  # each block of `outer` reads its own rows of `inner`
        rows = right.reshape(outer.groups, outer.c_in // outer.groups, -1)
        return lambda tap: torch.matmul(left[..., tap], rows).reshape(groups, outer.c_out // groups, -1, right.shape[3])
    _, width, columns, taps = right.shape
    parts = left.reshape(groups, -1, within, width, left.shape[3]).transpose(1, 2)
    flat = right.reshape(groups, within, width, columns * taps)

    def by_columns(tap: int) -> Tensor:  # each block of `inner` writes its own columns
        each = torch.matmul(parts[..., tap], flat).reshape(groups, within, -1, columns, taps)
        return each.transpose(1, 2).reshape(groups, -1, within * columns, taps)

    return by_columns


def add(*filters: Filter) -> Filter:
    """Return the sum of filters on the smallest grid that holds all their supports (eq. 4, Lemma 4).

    Raises:
        GraphError: if the filters have different channels, strides or dimensions.
    """
    first = filters[0]
    for other in filters[1:]:
        if (other.c_in, other.c_out, other.stride) != (first.c_in, first.c_out, first.stride):
            raise GraphError(
                "two filters cannot be added",
                shapes=f"{first.c_in}->{first.c_out} stride {first.stride} and "
                f"{other.c_in}->{other.c_out} stride {other.stride}",
            )
    if len(filters) == 1:
        return first
    groups = math.gcd(*(f.groups for f in filters))
    offset, dilation, kernel = common_grid(filters)
    weight = first.regroup(groups).place(offset, dilation, kernel).weight
    for other in filters[1:]:
        weight = weight + other.regroup(groups).place(offset, dilation, kernel).weight
    return Filter(weight, offset, dilation, first.stride, groups)


def common_grid(filters: Sequence[Filter]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return (offset, dilation, kernel) of the smallest grid of taps that holds all the filters' taps."""
    offset, dilation, kernel = [], [], []
    for dim in range(filters[0].dims):
        low = min(f.offset[dim] for f in filters)
        high = max(f.last[dim] for f in filters)
        step = math.gcd(
            *(f.offset[dim] - low for f in filters),
            *(f.dilation[dim] for f in filters if f.kernel[dim] > 1),
        )
        step = step or filters[0].dilation[dim]
        offset.append(low)
        dilation.append(step)
        kernel.append((high - low) // step + 1)
    return tuple(offset), tuple(dilation), tuple(kernel)


def _common_step(axes: list[tuple[int, int]]) -> int:
    """Return the step of the grid that holds sums of taps; a single tap has no say."""
    steps = [dilation for kernel, dilation in axes if kernel > 1]
    return math.gcd(*steps) if steps else axes[0][1]


def effective_kernel(kernels: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the kernel of several undilated convolutions in series: `K1 + K2 - 1` and so on, for each dimension.

    Non-square kernels need no special case (footnote 2).
    """
    return tuple(sum(sides) - len(sides) + 1 for sides in zip(*kernels, strict=True))


def morphism_count_suffices(c_out: int, c_in: int, c_mid: int, k1: int, k2: int) -> bool:
    """Return whether eq. 3 holds: one of the two filters has as many weights as the padded target.

    The paper calls this sufficient for exact network morphism. It is a count of unknowns, **not** a proof: the systems
    of (c_out, c_in, c_mid, k1, k2) = (1, 1, 3, 3, 3) and (1, 1, 2, 5, 3) in two dimensions satisfy it and lack rank.
    Netmorph never decides by it.
    """
    target = c_out * c_in * (k1 + k2 - 1) ** 2
    return max(c_mid * c_in * k1**2, c_out * c_mid * k2**2) >= target
