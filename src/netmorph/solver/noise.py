"""Random semi-orthogonal matrices: noise that keeps the scale of signals and float32's precision (section 4)."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

LARGEST_QR = 256


def generator(seed: int, *words: object) -> torch.Generator:
    """Return a generator whose state follows from the seed and the words alone, on every machine and rank."""
    digest = hashlib.blake2b(repr((seed, *words)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def semi_orthogonal(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Return (batch, rows, cols) float64 matrices with orthonormal rows or columns, whichever are fewer.

    Square ones have determinant +1: a QR's factor has determinant -1 for even sizes, and the identity plus such a
    matrix is always singular. Small ones come from a QR (cubic in the size); large ones from two layers of small
    rotations with a shuffle between them, in little more than the time of writing them.
    """
    tall, wide = max(rows, cols), min(rows, cols)
    make = _from_qr if tall <= LARGEST_QR else _from_blocks
    matrix = make(batch, tall, wide, random)
    result: Tensor = matrix if rows == tall else matrix.mT.contiguous()
    return result


def _from_qr(batch: int, tall: int, wide: int, random: torch.Generator) -> Tensor:
    packed, tau = torch.geqrf(torch.randn(batch, tall, wide, generator=random, dtype=torch.float64))
    signs = packed.diagonal(dim1=-2, dim2=-1).sign()
    matrix: Tensor = torch.linalg.householder_product(packed, tau) * signs.unsqueeze(-2)
    if tall == wide:
        reflections = (tau != 0).sum(-1)
        matrix[(reflections + (signs < 0).sum(-1)) % 2 == 1, :, 0] *= -1
    return matrix


def _from_blocks(batch: int, tall: int, wide: int, random: torch.Generator) -> Tensor:
    """Shuffle, rotate in blocks, shuffle, rotate in blocks: every entry mixes about `block`^2 >= `tall` numbers."""
    block = max(16, math.isqrt(tall - 1) + 1)
    out = []
    for _ in range(batch):
        start = torch.randperm(tall, generator=random)
        matrix = torch.zeros(tall, wide, dtype=torch.float64)
        matrix[start[:wide], torch.arange(wide)] = 1
        spread = torch.argsort(torch.arange(tall) % math.ceil(tall / block), stable=True)  # neighbours part
        matrix = _rotate(_rotate(matrix, block, random)[spread], block, random)
        if tall == wide and _is_odd(start) != _is_odd(spread):
            matrix[:, 0] *= -1
        out.append(matrix)
    return torch.stack(out)


def _rotate(matrix: Tensor, block: int, random: torch.Generator) -> Tensor:
    """Return the matrix with each `block` rows rotated among themselves; the last rows have a block of their own."""
    tall, wide = matrix.shape
    count = tall // block
    body = _from_qr(count, block, block, random) @ matrix[: count * block].reshape(count, block, wide)
    rest = tall - count * block
    tail = [_from_qr(1, rest, rest, random)[0] @ matrix[count * block :]] if rest else []
    return torch.cat([body.reshape(count * block, wide), *tail])


def _is_odd(permutation: Tensor) -> bool:
    """Return whether a permutation is an odd number of swaps."""
    places, seen, odd = permutation.tolist(), [False] * len(permutation), False
    for start in range(len(places)):
        at, length = start, 0
        while not seen[at]:
            seen[at], at, length = True, places[at], length + 1
        odd ^= length > 0 and length % 2 == 0
    return odd


def gaussian(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Return float64 standard normal noise."""
    return torch.randn(shape, generator=random, dtype=torch.float64)


def uniform(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Return float64 noise of mean 0 and variance 1, at a sixth of the normal's cost, alike on every machine."""
    return torch.rand(shape, generator=random).double().sub_(0.5).mul_(math.sqrt(12))
