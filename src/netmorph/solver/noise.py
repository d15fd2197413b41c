"""Random semi-orthogonal matrices: noise that keeps the scale of signals and float32's precision (docs/algebra.md)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import index

import torch
from torch import Tensor

LARGEST_QR = 256
STRIP = 256


def generator(seed: int, *words: object) -> torch.Generator:
    """Return a generator whose state follows from the seed and the words alone, on every machine and rank."""
    digest = hashlib.blake2b(repr((index(seed), *words)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def semi_orthogonal(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Return (batch, rows, cols) float64 matrices with orthonormal rows or columns, whichever are fewer.

    Square ones have determinant +1: a QR's factor has determinant -1 for even sizes, and the identity plus such a
    matrix is always singular. Small ones come from a QR (cubic in the size); large ones are a `Mixing` written out.
    """
    tall, wide = max(rows, cols), min(rows, cols)
    if tall > LARGEST_QR:
        each = [Mixing.draw(rows, cols, random).matrix() for _ in range(batch)]
        return torch.stack(each) if batch > 1 else each[0].unsqueeze(0)
    matrix = _from_qr(batch, tall, wide, random)
    return matrix if rows == tall else matrix.mT.contiguous()


def _from_qr(batch: int, tall: int, wide: int, random: torch.Generator) -> Tensor:
    packed, tau = torch.geqrf(torch.randn(batch, tall, wide, generator=random, dtype=torch.float64))
    signs = packed.diagonal(dim1=-2, dim2=-1).sign()
    matrix: Tensor = torch.linalg.householder_product(packed, tau) * signs.unsqueeze(-2)
    if tall == wide:
        reflections = (tau != 0).sum(-1)
        matrix[(reflections + (signs < 0).sum(-1)) % 2 == 1, :, 0] *= -1
    return matrix


@dataclass(frozen=True)
class Mixing:
    """A large semi-orthogonal matrix as two layers of small rotations with a shuffle before each.

    Every entry mixes about `block`^2 >= `tall` numbers. Written out or applied it takes little more than the time of
    reading and writing.

    Attributes:
        rows: of the matrix.
        cols: of the matrix.
        start: where the first shuffle puts each of the fewer.
        spread: the second shuffle; neighbours part.
        rotations: of both layers, (count, block, block) and what is left at the end.
        flip: whether the first sign is turned, so that a square one has determinant +1.
        scale: a factor.
    """

    rows: int
    cols: int
    start: Tensor
    spread: Tensor
    rotations: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    flip: bool
    scale: float = 1.0

    @classmethod
    def draw(cls, rows: int, cols: int, random: torch.Generator) -> Mixing:
        """Draw one."""
        tall = max(rows, cols)
        block = max(16, math.isqrt(tall - 1) + 1)
        start = torch.randperm(tall, generator=random)
        spread = torch.argsort(torch.arange(tall) % math.ceil(tall / block), stable=True)
        first, second = (_rotations(tall, block, random) for _ in range(2))
        flip = rows == cols and _is_odd(start) != _is_odd(spread)
        return cls(rows, cols, start[: min(rows, cols)], spread, (first, second), flip)

    def matrix(self) -> Tensor:
        """Return it written out, (rows, cols)."""
        columns, place_of = torch.arange(len(self.start)), torch.argsort(self.spread)
        first, at = torch.zeros(len(self.spread), len(columns), dtype=torch.float64), 0
        for layer in self.rotations[0]:  # of the shuffled identity this picks columns
            count, block, _ = layer.shape
            here = columns[(self.start >= at) & (self.start < at + count * block)]
            number, place = (self.start[here] - at) // max(1, block), (self.start[here] - at) % max(1, block)
            rows = at + number.unsqueeze(1) * block + torch.arange(block)
            first[place_of[rows], here.unsqueeze(1)] = layer[number, :, place]
            at += count * block
        if self.flip:
            first[:, 0] *= -1
        whole = _rotate(first, self.rotations[1])
        whole = whole if self.scale == 1 else whole * self.scale
        return whole if self.rows >= self.cols else whole.mT.contiguous()

    def times(self, x: Tensor) -> Tensor:
        """Return its product with matrices (..., cols, n)."""
        return _strips(self._forth if self.rows >= self.cols else self._back, x).mul_(self.scale)

    def undo(self, y: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the product of its Moore-Penrose inverse with matrices (..., rows, n).

        Args:
            y: the product to be met.
            beside: where there are more columns than rows, noise (..., cols, n): mixed, and without what would show in
                the product, it is added. Overwritten.
        """
        if beside is not None:
            return _strips(self._forth, y / self.scale, beside)
        return _strips(self._back if self.rows >= self.cols else self._forth, y).div_(self.scale)

    def _forth(self, few: Tensor, many: Tensor | None = None) -> Tensor:
        many = few.new_zeros(*few.shape[:-2], len(self.spread), few.shape[-1]) if many is None else many
        many[..., self.start, :] = few
        if self.flip:
            many[..., self.start[0], :] *= -1
        return _rotate(_rotate(many, self.rotations[0])[..., self.spread, :], self.rotations[1])

    def _back(self, many: Tensor) -> Tensor:
        first, second = (tuple(each.mT for each in layer) for layer in self.rotations)
        few = _rotate(_rotate(many, second)[..., torch.argsort(self.spread), :], first)[..., self.start, :]
        if self.flip:
            few[..., 0, :] *= -1
        return few


def _strips(work: Callable[..., Tensor], *matrices: Tensor) -> Tensor:
    """Apply work to some columns at a time, which the processor's caches hold through both layers."""
    strips = (torch.split(matrix, STRIP, -1) for matrix in matrices)
    return torch.cat([work(*strip) for strip in zip(*strips, strict=True)], -1)


def _rotations(tall: int, block: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return rotations of `block` rows each, and one of the rows that are left (none: of size 0)."""
    body, rest = _from_qr(tall // block, block, block, random), tall % block
    return body, _from_qr(1, rest, rest, random) if rest else body.new_zeros(1, 0, 0)


def _rotate(matrix: Tensor, rotations: Iterable[Tensor]) -> Tensor:
    """Return the matrices (..., rows, n) with each block of rows rotated among itself."""
    out, at = torch.empty_like(matrix), 0
    for layer in rotations:
        count, block, _ = layer.shape
        shape = (*matrix.shape[:-2], count, block, matrix.shape[-1])
        piece, place = (each[..., at : at + count * block, :].reshape(shape) for each in (matrix, out))
        torch.matmul(layer, piece, out=place)
        at += count * block
    return out


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
    """Return float64 noise of mean 0 and variance 1/12, at a sixth of the normal's cost, alike on every machine."""
    drawn = torch.rand(shape, generator=random, dtype=torch.float32)  # whatever the default dtype is
    return drawn.sub_(0.5).double()  # exact: a random float is a multiple of 2^-24
