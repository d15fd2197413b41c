"""Conjugate gradients for cuts that no single formula solves: several edges, or grouped ones (docs/algebra.md)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from netmorph.errors import GraphError
from netmorph.solver.factor import Factor

MOST = 400
TOLERANCE = 1e-14
GLANCE, FEW = 8, 8


def conjugate_gradients(
    factor: Factor, target: Tensor, start: Sequence[Tensor | None] | None
) -> tuple[list[Tensor], int]:
    """Return filters near `start` whose sum of A_e F_e B_e is nearest to `target`, and the number of iterations.

    CGLS on the normal equations: matrix products only, a handful of iterations where the factors are orthogonal. Each
    tap is a problem of its own, with its own step length.

    Args:
        factor: the matrices.
        target: (taps, groups, rows, columns).
        start: noise, (taps, groups, rows, columns) for each edge; None is zero.

    Raises:
        GraphError: if the matrices are rank-deficient and the residual for this target stays large.
    """
    _try_few(factor, target)
    zeros = [torch.zeros_like(f) for f in factor.adjoint(target)]
    filters = [zero if f is None else f for f, zero in zip(start or [None] * len(zeros), zeros, strict=True)]
    gap = target - factor.apply(filters)
    scale = _square([target]).clamp(min=torch.finfo(target.dtype).tiny)
    gradient = factor.adjoint(gap)
    direction = [g.clone() for g in gradient]
    size = _square(gradient)
    for count in range(1, MOST + 1):
        image = factor.apply(direction)
        curve = _square([image])
        step = torch.where(curve > 0, size / curve.clamp(min=torch.finfo(curve.dtype).tiny), 0.0)[:, None, None, None]
        filters = [f + step * d for f, d in zip(filters, direction, strict=True)]
        gap = gap - step * image
        gradient = factor.adjoint(gap)
        fresh = _square(gradient)
        left = _square([gap])
        if bool((left <= TOLERANCE**2 * scale).all()) or bool((fresh <= TOLERANCE**2 * scale).all()):
            return filters, count
        if count == GLANCE and factor.full_rank is False and bool((left > scale / 4).any()):
            raise GraphError("the graph cannot represent this target")  # one that is not comes near at once
        ratio = torch.where(size > 0, fresh / size.clamp(min=torch.finfo(size.dtype).tiny), 0.0)[:, None, None, None]
        direction = [g + ratio * d for g, d in zip(gradient, direction, strict=True)]
        size = fresh
    return filters, MOST


def _try_few(factor: Factor, target: Tensor) -> None:
    """Look at some rows (or columns) first, where each is a problem of its own and not every target fits."""
    if factor.full_rank is not False or any(own != factor.groups for own, *_ in factor.shapes):
        return
    if all(a is None for a in factor.left) and target.shape[-2] > FEW:
        conjugate_gradients(factor, target[..., :FEW, :], None)
    elif all(b is None for b in factor.right) and target.shape[-1] > FEW:
        conjugate_gradients(factor, target[..., :FEW], None)


def _square(parts: list[Tensor]) -> Tensor:
    """Return the squared norm of each tap's problem."""
    return torch.stack([part.flatten(1).square().sum(1) for part in parts]).sum(0)
