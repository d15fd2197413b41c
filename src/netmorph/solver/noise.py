"""Random semi-orthogonal matrices: noise that keeps the scale of signals and float32's precision (section 4)."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator(seed: int, *words: object) -> torch.Generator:
    """Return a generator whose state follows from the seed and the words alone, on every machine and rank."""
    digest = hashlib.blake2b(repr((seed, *words)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def semi_orthogonal(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Return (batch, rows, cols) float64 matrices with orthonormal rows or columns, whichever are fewer.

    Square ones have determinant +1: a QR's factor has determinant -1 for even sizes, and the identity plus such a
    matrix is always singular.
    """
    tall, wide = max(rows, cols), min(rows, cols)
    gauss = torch.randn(batch, tall, wide, generator=random, dtype=torch.float64)
    packed, tau = torch.geqrf(gauss)
    signs = packed.diagonal(dim1=-2, dim2=-1).sign()
    matrix = torch.linalg.householder_product(packed, tau) * signs.unsqueeze(-2)
    if tall == wide:
        reflections = (tau != 0).sum(-1)
        negative = (reflections + (signs < 0).sum(-1)) % 2 == 1
        matrix[negative, :, 0] *= -1
    result: Tensor = matrix if rows == tall else matrix.mT.contiguous()
    return result


def gaussian(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Return float64 standard normal noise."""
    return torch.randn(shape, generator=random, dtype=torch.float64)
