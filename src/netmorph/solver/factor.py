"""The factorisation that all taps with the same carrying edges share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netmorph.solver.system import Carriers, System

RANK_TOLERANCE = 1e-9
NEARLY_ORTHOGONAL = 1e-13
SMALL = 512
CLOSE = 0.75
WATCHED, ROUNDS, MARGIN = 8, 12, 1.05  # of the subspace iteration
REFINED_ABOVE = 10.0
DECIDABLE = 32


@dataclass(frozen=True)
class Inverse:
    """A right inverse of a matrix with at least as many columns as rows.

    Attributes:
        matrix: (groups, rows, columns); None is the identity.
        known: (groups, columns, rows), the Moore-Penrose inverse where it came with the factorisation.
        condition: the largest over groups of the ratio of extreme singular values; infinite below full rank.
        share: the rank, relative to the rows.
    """

    matrix: Tensor | None
    known: Tensor | None
    condition: float
    share: float = 1.0

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
    probe = torch.randn(matrix.shape[-2], WATCHED, generator=random, dtype=torch.float64).to(matrix)
    gap = matrix @ (matrix.mT @ probe) - scale * probe
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


@dataclass(frozen=True)
class Factor:
    """The equation of some carrying edges: sum of A_e F_e B_e.

    Attributes:
        left: A for each edge; None is the identity.
        right: B for each edge; None is the identity.
        masks: where each edge has weights, broadcast over (taps, groups, rows, columns).
        direct: whether one formula solves it: dense edges that share a source or a sink.
        outer: inverse of the stacked A.
        inner: inverse of the stacked B, transposed.
        full_rank: whether any right-hand side can be met; None where only the residual decides.
    """

    left: list[Tensor | None]
    right: list[Tensor | None]
    masks: list[Tensor]
    direct: bool
    outer: Inverse
    inner: Inverse
    full_rank: bool | None
    shared_source: bool

    @classmethod
    def of(cls, system: System, names: Carriers) -> Factor:
        """Stack and factorise the matrices around the carrying edges."""
        edges = [system.edge(name) for name in names]
        left, right = [system.down[e.sink] for e in edges], [system.up[e.source] for e in edges]
        masks = [system.mask(name) for name in names]
        source, sink = len({e.source for e in edges}) == 1, len({e.sink for e in edges}) == 1
        plain = all(mask.numel() == 1 for mask in masks)
        rows, columns = system.rows, system.columns
        sinks, sources = [e.sink for e in edges], [e.source for e in edges]
        outer = Inverse.of(_stack(left, rows, distinct=None if source else sinks))
        flipped = [None if b is None else b.mT for b in right]
        inner = Inverse.of(_stack(flipped, columns, distinct=None if sink and not source else sources))
        direct = plain and (source or sink)
        full: bool | None = outer.full_rank and inner.full_rank
        if full and not direct:
            full = _kronecker_rank(left, right, masks, rows, columns, system)
        return cls(left, right, masks, direct, outer, inner, full, source)

    @property
    def condition(self) -> float:
        """The worse of both sides' condition numbers."""
        return max(self.outer.condition, self.inner.condition)

    @property
    def determined(self) -> bool:
        """Whether a target leaves no freedom: then noise has no say."""
        return self.direct and all(
            side.matrix is None or side.matrix.shape[-1] == side.matrix.shape[-2] for side in (self.outer, self.inner)
        )

    @property
    def short(self) -> bool:
        """Whether no draw at all can have full rank."""
        return self.outer.short or self.inner.short

    @property
    def share(self) -> float:
        """The rank of the poorer side, relative to what any target needs."""
        return min(self.outer.share, self.inner.share)

    def apply(self, filters: Sequence[Tensor | None]) -> Tensor:
        """Return sum of A_e F_e B_e; F_e is (taps, groups, rows, columns), None is zero (not all are)."""
        parts = []
        for a, f, b in zip(self.left, filters, self.right, strict=True):
            if f is None:
                continue
            part = f if a is None else a @ f
            parts.append(part if b is None else part @ b)
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def adjoint(self, value: Tensor) -> list[Tensor]:
        """Return A_e' V B_e' for each edge, zero outside its mask."""
        out = []
        for a, b, mask in zip(self.left, self.right, self.masks, strict=True):
            part = value if a is None else a.mT @ value
            out.append((part if b is None else part @ b.mT) * mask)
        return out

    def solve(self, target: Tensor, start: Sequence[Tensor | None] | None) -> tuple[list[Tensor], int]:
        """Return the filters nearest to `start` (None: to zero) that meet `target`; refined where that gains digits."""
        filters = None if start is None else list(start)
        solved: list[Tensor] = []
        for _ in range(1 if self.condition < REFINED_ABOVE else 2):
            step = self._correct(target if filters is None else target - self.apply(filters))
            solved = (
                step if filters is None else [s if f is None else f + s for f, s in zip(filters, step, strict=True)]
            )
            filters = [*solved]
        return solved, 0

    def _correct(self, gap: Tensor) -> list[Tensor]:
        """Return the smallest change of the filters that makes up for `gap`."""
        part = gap if self.outer.inverse is None else self.outer.inverse @ gap
        part = part if self.inner.inverse is None else part @ self.inner.inverse.mT
        if self.shared_source:
            sizes = [gap.shape[-2] if a is None else a.shape[-1] for a in self.left]
            return list(torch.split(part, sizes, dim=-2)) if len(sizes) > 1 else [part]
        sizes = [gap.shape[-1] if b is None else b.shape[-2] for b in self.right]
        return list(torch.split(part, sizes, dim=-1))


def _stack(parts: list[Tensor | None], size: int, distinct: list[str] | None) -> Tensor | None:
    """Return the matrices side by side; one matrix a name where `distinct` names them, None for a lone identity."""
    if distinct is not None:
        parts = list(dict(zip(distinct, parts, strict=True)).values())
    if len(parts) == 1:
        return parts[0]
    known = next((p for p in parts if p is not None), None)
    groups = 1 if known is None else known.shape[0]
    eye = torch.eye(size, dtype=torch.float64).expand(groups, size, size)
    eye = eye if known is None else eye.to(known.device)
    return torch.cat([eye if p is None else p for p in parts], dim=-1)


def _across(matrix: Tensor | None, size: int) -> int:
    """Return the columns of a matrix; None is the identity of that size."""
    return size if matrix is None else matrix.shape[-1]


def _kronecker_rank(
    left: list[Tensor | None], right: list[Tensor | None], masks: list[Tensor], rows: int, columns: int, system: System
) -> bool | None:
    """Return whether several edges can meet any right-hand side; None where weights suffice but matrices are large."""
    weights = sum(
        int(mask.sum()) if mask.numel() > 1 else _across(a, rows) * _across(None if b is None else b.mT, columns)
        for a, b, mask in zip(left, right, masks, strict=True)
    )
    if weights < rows * columns:
        return False
    if max(rows, columns) > DECIDABLE:
        return None
    g = system.grid.groups
    blocks = []
    for a, b, mask in zip(left, right, masks, strict=True):
        a_full = torch.eye(rows, dtype=torch.float64).expand(g, rows, rows) if a is None else a
        b_full = torch.eye(columns, dtype=torch.float64).expand(g, columns, columns) if b is None else b
        block = torch.einsum("gmr,gcn->gmnrc", a_full, b_full)
        shape = (g, rows * columns, block.shape[3] * block.shape[4])
        kept = mask.expand(1, g, *block.shape[3:])[0].reshape(g, -1)
        blocks.append(block.reshape(shape)[:, :, kept[0] > 0])
    whole = torch.cat(blocks, dim=-1)
    if whole.shape[-1] < whole.shape[-2]:
        return False
    return bool((torch.linalg.matrix_rank(whole, rtol=RANK_TOLERANCE) == whole.shape[-2]).all())
