"""Right inverses of the matrices around a cut, with their condition and rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netmorph.solver.blocks import multiply
from netmorph.solver.noise import Mixing

RANK_TOLERANCE = 1e-9
NEARLY_ORTHOGONAL = 1e-13
SMALL = 512
CLOSE = 0.75
WATCHED, ROUNDS, MARGIN = 8, 12, 1.05  # of the subspace iteration


@dataclass(frozen=True)
class Inverse:
    """A right inverse of a matrix with at least as many columns as rows.

    Attributes:
        matrix: (groups, rows, columns); None is the identity, or what `parts` say.
        known: (groups, columns, rows), the Moore-Penrose inverse where it came with the factorisation.
        condition: the largest over groups of the ratio of extreme singular values; infinite below full rank.
        share: the rank, relative to the rows.
        parts: matrices side by side as they were drawn, None the identity, that need not be written out.
    """

    matrix: Tensor | None
    known: Tensor | None
    condition: float
    share: float = 1.0
    parts: tuple[Mixing | None, ...] = ()

    @classmethod
    def beside(cls, parts: Sequence[Mixing | None]) -> Inverse:
        """Return the inverse of matrices side by side, each with orthogonal rows of one length."""
        return cls(None, None, 1.0, parts=tuple(parts))

    @classmethod
    def of(cls, matrix: Tensor | None) -> Inverse:
        """Factorise; a matrix with orthonormal rows needs no inversion."""
        if matrix is None:
            return cls(None, None, 1.0)
        rows, columns = matrix.shape[-2:]
        if rows <= columns:
            scale = matrix.square().sum((-2, -1)).mean() / rows
            if _seems_orthogonal(matrix, scale):
                return cls(matrix, matrix.mT / scale, 1.0)
            gram = matrix @ matrix.mT
            gap = _distance(gram / scale) if float(scale) > 0 else math.inf
            bound, rank = (math.sqrt((1 + gap) / (1 - gap)), rows) if gap < CLOSE else _condition(matrix, gram)
            if bound < 1 / RANK_TOLERANCE:
                factor = torch.linalg.cholesky_ex(gram)
                if not bool(factor.info.any()):
                    return cls(matrix, torch.cholesky_solve(matrix, factor.L).mT, bound)
            return cls(matrix, None, math.inf, rank / rows)
        return cls(matrix, None, math.inf, columns / rows)

    @cached_property
    def inverse(self) -> Tensor | None:
        """The Moore-Penrose inverse, (groups, columns, rows); None is the identity."""
        if self.matrix is None or self.known is not None:
            return self.known
        values, left, right = _singular(self.matrix)
        kept = values > RANK_TOLERANCE * values[..., :1]
        return right * torch.where(kept, 1 / values, 0.0).unsqueeze(-2) @ left.mT

    def undo(self, product: Tensor) -> Tensor:
        """Return the smallest matrix whose product with this one is `product`, (taps, groups, rows, n)."""
        if not self.parts:
            return multiply(self.inverse, product)
        squares = [1.0 if each is None else each.scale**2 for each in self.parts]
        shares = [square / sum(squares) for square in squares]
        undone = (
            product * share if each is None else each.undo(product).mul_(share)
            for each, share in zip(self.parts, shares, strict=True)
        )
        return next(undone) if len(shares) == 1 else torch.cat([*undone], dim=-2)

    @property
    def square(self) -> bool:
        """Whether a product leaves no freedom."""
        if self.parts:
            return len(self.parts) == 1 and (self.parts[0] is None or self.parts[0].rows == self.parts[0].cols)
        return self.matrix is None or self.matrix.shape[-1] == self.matrix.shape[-2]

    @property
    def short(self) -> bool:
        """Whether there are fewer columns than rows: no draw has full rank then."""
        return self.matrix is not None and self.matrix.shape[-2] > self.matrix.shape[-1]

    @property
    def full_rank(self) -> bool:
        """Whether the rows are independent."""
        return math.isfinite(self.condition)


def _singular(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return singular values in falling order, and left and right vectors as columns."""
    if min(matrix.shape[-2:]) <= SMALL:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return values, left, right.mT
    tall = matrix.shape[-2] > matrix.shape[-1]
    narrow = matrix if tall else matrix.mT
    squares, vectors = torch.linalg.eigh(narrow.mT @ narrow)  # several times faster, with half of the digits
    squares, vectors = squares.flip(-1), vectors.flip(-1)
    floor = torch.finfo(squares.dtype).eps * squares.shape[-1] * squares[..., :1]
    values = torch.where(squares > floor, squares, 0.0).sqrt()
    others = narrow @ vectors * torch.where(values > 0, 1 / values, 0.0).unsqueeze(-2)
    return (values, others, vectors) if tall else (values, vectors, others)


def _seems_orthogonal(matrix: Tensor, scale: Tensor) -> bool:
    """Return whether matrices have orthogonal rows of the squared norm `scale`: random vectors tell, without a product.

    The solution's residual is measured afterwards, so that a mistake here could not go unseen.
    """
    random = torch.Generator().manual_seed(0)
    probe = torch.randn(WATCHED, matrix.shape[-2], generator=random, dtype=torch.float64).to(matrix)
    gap = probe @ matrix @ matrix.mT - scale * probe
    return bool(gap.norm(dim=(-2, -1)).max() < NEARLY_ORTHOGONAL * scale * probe.norm())


def _distance(gram: Tensor) -> float:
    """Return about the spectral norm of (symmetric matrices - identity), from above: what bounds the eigenvalues.

    The Frobenius norm is a bound, too large by up to the square root of the size; some steps of subspace iteration
    tell more where that is not small.
    """
    gap = gram - torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    bound = float(gap.norm(dim=(-2, -1)).max())
    random = torch.Generator().manual_seed(0)
    probe = torch.randn(gap.shape[-1], WATCHED, generator=random, dtype=torch.float64).to(gap)
    for _ in range(ROUNDS):
        probe = gap @ torch.linalg.qr(probe).Q
    return min(bound, MARGIN * float(torch.linalg.matrix_norm(probe, ord=2).max()))


def _condition(matrix: Tensor, gram: Tensor) -> tuple[float, int]:
    """Return the condition number of wide matrices, infinite where the rows are dependent, and their least rank."""
    if matrix.shape[-2] <= SMALL:
        values, floor = torch.linalg.svdvals(matrix).flip(-1), RANK_TOLERANCE
    else:
        values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
        floor = math.sqrt(torch.finfo(gram.dtype).eps * gram.shape[-1])
    ratio = values / values[..., -1:]
    rank = int((ratio > floor).sum(-1).min())
    return float((1 / ratio[..., 0]).max()) if rank == matrix.shape[-2] else math.inf, rank
