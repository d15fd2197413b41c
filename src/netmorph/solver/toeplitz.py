"""Least squares over all taps at once: the block-Toeplitz systems of dense filters (section 3.2, eq. 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from netmorph.filters.compose import add, common_grid, compose
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.solver.equation import after, before

DIRECT = 9000
DIRECT_NUMBERS = 1 << 21  # of one matrix for all channels
STEPS = 300
LOOK_BACK = 10  # steps of conjugate gradients


@dataclass(frozen=True)
class Unknown:
    """An edge to solve for, between what is known: `outer` after it, `inner` before it; None is the identity."""

    spec: ConvSpec
    outer: Filter | None
    inner: Filter | None

    def through(self, weight: Tensor) -> Filter:
        """Return the filter from source to sink by this edge."""
        return before(self.outer, after(Filter.of(weight, self.spec), self.inner))


def least_squares(unknowns: Sequence[Unknown], rest: Filter, *, plateau: float = 0.0) -> list[Tensor]:
    """Return the weights whose routes sum to `rest` as nearly as can be; the smallest such.

    Where no unknown has anything before it the system is one matrix for all input channels, and symmetrically for
    output channels: solved directly, as is a small one for all channels. Else conjugate gradients on the composition
    itself.

    Args:
        unknowns: edges of one cut, or a single edge.
        rest: what they must add up to.
        plateau: conjugate gradients stop where ten steps lower the loss by less than this share of it.
    """
    grid = common_grid([rest, *(u.through(torch.ones(u.spec.weight_shape, dtype=rest.weight.dtype)) for u in unknowns)])
    target = rest.dense().place(*grid).weight
    plain = all(u.spec.groups == 1 for u in unknowns)
    c_out, c_in = target.shape[:2]
    taps = math.prod(grid[2])
    if plain and all(u.inner is None for u in unknowns) and c_out * taps <= DIRECT:
        matrix = torch.cat([_left(u, grid, c_out) for u in unknowns], dim=1)
        solved = _solve(matrix, target.transpose(0, 1).reshape(c_in, -1).T)
        return _cut_left(solved, unknowns, c_in)
    if plain and all(u.outer is None for u in unknowns) and c_in * taps <= DIRECT:
        matrix = torch.cat([_right(u, grid, c_in) for u in unknowns], dim=1)
        solved = _solve(matrix, target.reshape(c_out, -1).T)
        return _cut_right(solved, unknowns, c_out)
    sizes = [math.prod(u.spec.weight_shape) for u in unknowns]
    if plain and target.numel() * sum(sizes) <= DIRECT_NUMBERS:
        matrix = torch.cat([_both(u, grid, c_out, c_in) for u in unknowns], dim=1)
        solved = _solve(matrix, target.reshape(c_out, c_in, -1).reshape(-1, 1)).flatten()
        return [w.reshape(u.spec.weight_shape) for w, u in zip(torch.split(solved, sizes), unknowns, strict=True)]
    return _iterate(unknowns, rest, grid, plateau)


def _left(unknown: Unknown, grid: tuple[tuple[int, ...], ...], c_out: int) -> Tensor:
    """Return (c_out * taps of the grid, c_mid * taps of the edge): what each weight adds to an input channel."""
    spec = unknown.spec
    outer = unknown.outer or Filter.identity(c_out, spec.dims)
    columns = []
    for tap in product(*map(range, spec.kernel)):
        place = [o + d * k for o, d, k in zip(spec.offset, spec.dilation, tap, strict=True)]
        shifted = replace(
            outer.dense(),
            offset=tuple(p + s * o for p, s, o in zip(place, spec.stride, outer.offset, strict=True)),
            dilation=tuple(s * d for s, d in zip(spec.stride, outer.dilation, strict=True)),
        )
        columns.append(shifted.place(*grid).weight)
    whole = torch.stack(columns, dim=2)  # (c_out, c_mid, taps of the edge, *grid)
    return whole.permute(0, *range(3, whole.dim()), 1, 2).reshape(c_out * math.prod(grid[2]), -1)


def _right(unknown: Unknown, grid: tuple[tuple[int, ...], ...], c_in: int) -> Tensor:
    """Return (c_in * taps of the grid, c_mid * taps of the edge): what each weight adds to an output channel."""
    spec = unknown.spec
    inner = unknown.inner or Filter.identity(c_in, spec.dims)
    columns = []
    for tap in product(*map(range, spec.kernel)):
        place = [o + d * k for o, d, k in zip(spec.offset, spec.dilation, tap, strict=True)]
        shifted = replace(
            inner.dense(),
            offset=tuple(o + s * p for o, s, p in zip(inner.offset, inner.stride, place, strict=True)),
        )
        columns.append(shifted.place(*grid).weight)
    whole = torch.stack(columns, dim=1)  # (c_mid, taps of the edge, c_in, *grid)
    return whole.reshape(-1, c_in * math.prod(grid[2])).T


def _both(unknown: Unknown, grid: tuple[tuple[int, ...], ...], c_out: int, c_in: int) -> Tensor:
    """Return (c_out * c_in * taps of the grid, weights of the edge): what each weight adds, with filters on both sides.

    Each pair of channels beside the edge is a channel of its own here, so that composing gives all products at once.
    """
    spec, one = unknown.spec, (1,) * unknown.spec.dims
    outer = (unknown.outer or Filter.identity(c_out, spec.dims)).dense()
    inner = (unknown.inner or Filter.identity(c_in, spec.dims)).dense()
    left = replace(outer, weight=outer.weight.reshape(-1, 1, *outer.kernel))
    right = replace(inner, weight=inner.weight.reshape(1, -1, *inner.kernel))
    columns = []
    for tap in product(*map(range, spec.kernel)):
        place = tuple(o + d * k for o, d, k in zip(spec.offset, spec.dilation, tap, strict=True))
        at = Filter(left.weight.new_ones(1, 1, *one), place, one, spec.stride)
        part = compose(left, compose(at, right)).place(*grid).weight
        part = part.reshape(c_out, spec.c_out, spec.c_in, c_in, -1).permute(0, 3, 4, 1, 2)
        columns.append(part.reshape(-1, spec.c_out * spec.c_in))
    return torch.stack(columns, dim=-1).flatten(1)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Return the smallest least-squares solution, with one step of refinement."""
    rows, columns = matrix.shape
    solution = matrix.new_zeros(columns, right.shape[1])
    inverse = None
    if rows <= columns:
        factor = torch.linalg.cholesky_ex(matrix @ matrix.T)
        if not bool(factor.info.any()):
            inverse = factor.L
    for _ in range(2):
        gap = right - matrix @ solution
        if inverse is None:
            step = torch.linalg.lstsq(matrix, gap, driver="gelsd" if matrix.device.type == "cpu" else None).solution
        else:
            step = matrix.T @ torch.cholesky_solve(gap, inverse)
        solution = solution + step
    return solution


def _cut_left(solved: Tensor, unknowns: Sequence[Unknown], c_in: int) -> list[Tensor]:
    sizes = [u.spec.c_out * u.spec.taps for u in unknowns]
    return [
        part.reshape(u.spec.c_out, *u.spec.kernel, c_in).movedim(-1, 1).contiguous()
        for u, part in zip(unknowns, torch.split(solved, sizes), strict=True)
    ]


def _cut_right(solved: Tensor, unknowns: Sequence[Unknown], c_out: int) -> list[Tensor]:
    sizes = [u.spec.c_in * u.spec.taps for u in unknowns]
    return [
        part.T.reshape(c_out, u.spec.c_in, *u.spec.kernel).contiguous()
        for u, part in zip(unknowns, torch.split(solved, sizes), strict=True)
    ]


def _iterate(
    unknowns: Sequence[Unknown],
    rest: Filter,
    grid: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    plateau: float,
) -> list[Tensor]:
    """Return the weights by conjugate gradients (CGLS); the adjoint of the composition comes from autograd."""
    target = rest.dense().place(*grid).weight.detach()
    probes = [torch.zeros(u.spec.weight_shape, dtype=target.dtype, requires_grad=True) for u in unknowns]

    def apply(weights: Sequence[Tensor]) -> Tensor:
        total = add(*(u.through(w) for u, w in zip(unknowns, weights, strict=True)))
        return total.dense().place(*grid, trim=False).weight

    with torch.enable_grad():
        image = apply(probes)

    def adjoint(value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(image, probes, value, retain_graph=True))

    weights = [torch.zeros_like(p, requires_grad=False) for p in probes]
    gap, gradient = target.clone(), adjoint(target)
    direction, size = gradient, sum(float(g.square().sum()) for g in gradient)
    floor = 1e-28 * size
    losses = [float(gap.square().sum())]
    for _ in range(STEPS):
        stalled = plateau > 0 and len(losses) > LOOK_BACK and losses[-1] > (1 - plateau) * losses[-1 - LOOK_BACK]
        if size <= floor or size == 0 or stalled:
            break
        moved = apply(direction).detach()
        step = size / float(moved.square().sum())
        weights = [w + step * d for w, d in zip(weights, direction, strict=True)]
        gap = gap - step * moved
        losses.append(float(gap.square().sum()))
        gradient = adjoint(gap)
        fresh = sum(float(g.square().sum()) for g in gradient)
        direction = [g + fresh / size * d for g, d in zip(gradient, direction, strict=True)]
        size = fresh
    return weights
