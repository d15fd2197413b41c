"""Block-diagonal matrices as their blocks, (..., blocks, rows, columns): a depthwise edge is never written out."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def multiply(left: Tensor | None, right: Tensor | None) -> Tensor:
    """Return the product in as many blocks as both share; None is the identity (not both are)."""
    if left is None or right is None:
        only = right if left is None else left
        assert only is not None
        return only
    n, m = left.shape[-3], right.shape[-3]
    shared = math.gcd(n, m)
    if shared not in (n, m):
        right, m = expand(right, shared), shared
    if n == m:
        return left @ right
    if n > m:  # each block of `left` takes its own rows of `right`
        inner = right.reshape(*right.shape[:-3], n, left.shape[-1], right.shape[-1])
        part = left @ inner
        return part.reshape(*part.shape[:-3], m, -1, part.shape[-1])
    rows, (width, columns), within = left.shape[-2], right.shape[-2:], m // n
    parts = left.reshape(*left.shape[:-1], within, width).transpose(-3, -2)
    each = parts @ right.reshape(*right.shape[:-3], n, within, width, columns)
    return each.transpose(-3, -2).reshape(*each.shape[:-4], n, rows, within * columns)


def expand(blocks: Tensor, groups: int) -> Tensor:
    """Return the same matrix in fewer blocks, zeros between; `groups` divides their number."""
    *front, own, rows, columns = blocks.shape
    if own == groups:
        return blocks
    inner = own // groups
    whole = blocks.new_zeros(*front, groups, inner, rows, inner, columns)
    whole.diagonal(dim1=-4, dim2=-2).copy_(blocks.reshape(*front, groups, inner, rows, columns).movedim(-3, -1))
    return whole.reshape(*front, groups, inner * rows, inner * columns)


def shrink(whole: Tensor, own: int) -> Tensor:
    """Return the `own` blocks on the diagonal, without what lies between them."""
    *front, groups, rows, columns = whole.shape
    if own == groups:
        return whole
    inner = own // groups
    split = whole.reshape(*front, groups, inner, rows // inner, inner, columns // inner)
    kept = split.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)
    return kept.reshape(*front, own, rows // inner, columns // inner)


def identity(groups: int, size: int, like: Tensor | None) -> Tensor:
    """Return the identity written out, (groups, size, size), on the device of `like`."""
    eye = torch.eye(size, dtype=torch.float64, device=None if like is None else like.device)
    return eye.expand(groups, size, size)
