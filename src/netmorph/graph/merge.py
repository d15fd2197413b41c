"""The single convolution that two edges in series or in parallel amount to (eq. 2 and 4)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

from netmorph.errors import GraphError
from netmorph.graph.spec import LARGEST, Edge, Fixed, Groups, Ints

_ONE = (1,)
_Shape = tuple[Ints, Ints | None]


def in_series(name: str, inner: Edge, outer: Edge) -> Edge:
    """Return the edge that equals `outer` after `inner`: kernel K1 + K2 - 1 where neither is dilated or strided.

    Dilations and the inner stride count: the outer taps are `stride1 * dilation2` apart. The merged kernel has the
    coarsest step that all its taps lie on. A norm is lost.

    Raises:
        GraphError: if the kernel would be larger than any that netmorph accepts.
    """
    fixed = None
    if _identities(inner, outer):
        fixed = _identity(inner.fixed.scale * outer.fixed.scale)  # type: ignore[union-attr]  # both are identities
    shape = _series_shape(inner.kernel, inner.dilation, inner.stride, outer.kernel, outer.dilation)
    stride = None
    if inner.stride is not None or outer.stride is not None:
        stride = _short(s1 * s2 for s1, s2 in _along(inner.stride, outer.stride))
    return _edge(name, (inner, outer), (inner.source, outer.sink), shape, stride, _series_groups(inner, outer), fixed)


def in_parallel(name: str, first: Edge, second: Edge) -> Edge:
    """Return the edge that equals the sum of two: the larger kernel in each dimension. A norm is lost.

    Raises:
        GraphError: if the kernel would be larger than any that netmorph accepts.
    """
    fixed = None
    if _identities(first, second):
        fixed = _identity(first.fixed.scale + second.fixed.scale)  # type: ignore[union-attr]  # both are identities
    shape = _pair_shape(first.kernel, first.dilation, second.kernel, second.dilation)
    ends = (first.source, first.sink)
    return _edge(name, (first, second), ends, shape, first.stride or second.stride, _pair_groups(first, second), fixed)


@lru_cache(maxsize=1024)
def _series_shape(
    kernel1: Ints, dilation1: Ints | None, stride1: Ints | None, kernel2: Ints, dilation2: Ints | None
) -> _Shape:
    """Return kernel and dilation of the second convolution after the first."""
    if dilation1 is stride1 is dilation2 is None and len(kernel1) == len(kernel2):
        return tuple(k1 + k2 - 1 for k1, k2 in zip(kernel1, kernel2, strict=True)), None
    sides = [
        _side(d1 * (k1 - 1) + s1 * d2 * (k2 - 1), (k1, d1), (k2, s1 * d2))
        for k1, d1, s1, k2, d2 in _along(kernel1, dilation1, stride1, kernel2, dilation2)
    ]
    return _shape(sides, (kernel1, kernel2), (dilation1, dilation2))


@lru_cache(maxsize=1024)
def _pair_shape(kernel1: Ints, dilation1: Ints | None, kernel2: Ints, dilation2: Ints | None) -> _Shape:
    """Return kernel and dilation of a sum of two."""
    if dilation1 is dilation2 is None and len(kernel1) == len(kernel2):
        return tuple(map(max, kernel1, kernel2)), None
    sides = [
        _side(max(d1 * (k1 - 1), d2 * (k2 - 1)), (k1, d1), (k2, d2))
        for k1, d1, k2, d2 in _along(kernel1, dilation1, kernel2, dilation2)
    ]
    return _shape(sides, (kernel1, kernel2), (dilation1, dilation2))


def _shape(
    sides: list[tuple[int, int]], kernels: tuple[Ints, Ints], dilations: tuple[Ints | None, Ints | None]
) -> _Shape:
    """Write (kernel, dilation) by dimension as the parts write theirs: 3 or 3x3, a dilation named or not."""
    kernel: Ints
    kernel, steps = zip(*sides, strict=True)
    if max(map(len, kernels)) == 1:
        kernel = _short(kernel)
    named = dilations != (None, None) or max(steps) > 1
    return kernel, _short(steps) if named else None


def _edge(
    name: str,
    parts: tuple[Edge, Edge],
    ends: tuple[str, str],
    shape: _Shape,
    stride: Ints | None,
    groups: Groups,
    fixed: Fixed | None,
) -> Edge:
    if fixed is not None:
        return _unchecked(name, ends, _ONE, stride, None, 1, fixed)
    kernel, dilation = shape
    if max(kernel) > LARGEST:
        raise GraphError(
            f"edges {parts[0].name!r} and {parts[1].name!r} amount to a kernel of {max(kernel)}; the limit is {LARGEST}"
        )
    return _unchecked(name, ends, kernel, stride, dilation, groups, None)


def _unchecked(
    name: str,
    ends: tuple[str, str],
    kernel: Ints,
    stride: Ints | None,
    dilation: Ints | None,
    groups: Groups,
    fixed: Fixed | None,
) -> Edge:
    """Make an edge of parts that were checked before: a reduction makes as many edges as the graph has."""
    edge = object.__new__(Edge)
    put = object.__setattr__
    put(edge, "name", name)
    put(edge, "source", ends[0])
    put(edge, "sink", ends[1])
    put(edge, "kernel", kernel)
    put(edge, "stride", stride)
    put(edge, "dilation", dilation)
    put(edge, "groups", groups)
    put(edge, "norm", None)
    put(edge, "fixed", fixed)
    return edge


def _side(reach: int, *axes: tuple[int, int]) -> tuple[int, int]:
    """Return (kernel, dilation) that span `reach` on the grid of all (kernel, dilation) axes; one tap has no say."""
    step = math.gcd(*(dilation for kernel, dilation in axes if kernel > 1)) or 1
    return reach // step + 1, step


def _identities(first: Edge, second: Edge) -> bool:
    if first.fixed is None or second.fixed is None:
        return False
    return first.fixed.kind == second.fixed.kind == "id"


def _identity(scale: float) -> Fixed | None:
    """Return a scaled identity, or None (an edge with weights) where the scale overflows."""
    return Fixed("id", scale) if math.isfinite(scale) else None


def _structure(edge: Edge) -> Groups:
    """Return an edge's groups; what has no weights acts on each channel alone."""
    return edge.groups if edge.fixed is None else "dw"


def _pair_groups(first: Edge, second: Edge) -> Groups:
    left, right = _structure(first), _structure(second)
    if left == "dw":
        return right  # its groups divide the channels that the depthwise edge keeps apart
    return left if right == "dw" else math.gcd(left, right)


def _series_groups(inner: Edge, outer: Edge) -> Groups:
    left, right = _structure(inner), _structure(outer)
    if right == "dw":
        return left  # as many blocks as the blob between has channels: any groups before them divide it
    return 1 if left == "dw" else math.gcd(left, right)


def _along(*values: Ints | None) -> list[tuple[int, ...]]:
    """Return the values by dimension, one number standing for every dimension and none for 1."""
    given = [value or _ONE for value in values]
    size = max(map(len, given))
    return list(zip(*(value * size if len(value) == 1 else value for value in given), strict=True))


def _short(values: Iterable[int]) -> Ints:
    """Return one number where all dimensions agree."""
    out = tuple(values)
    return out[:1] if len(set(out)) == 1 else out
