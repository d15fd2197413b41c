"""The factorisation that all taps with the same carrying edges share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.solver.blocks import expand, identity, multiply, shrink
from netmorph.solver.inverse import RANK_TOLERANCE, SMALL, Inverse
from netmorph.solver.noise import Mixing
from netmorph.solver.system import Carriers, System

REFINED_ABOVE = 10.0
DECIDABLE = 32


@dataclass(frozen=True)
class Factor:
    """The equation of some carrying edges: sum of A_e F_e B_e, all of them block-diagonal (`blocks`).

    Attributes:
        groups: blocks of the equation.
        left: A for each edge; None is the identity.
        right: B for each edge; None is the identity.
        shapes: of each edge's matrices: blocks, rows and columns.
        direct: whether one formula solves it: edges without groups of their own that share a source or a sink.
        outer: inverse of the stacked A.
        inner: inverse of the stacked B, transposed.
        full_rank: whether any right-hand side can be met; None where only the residual decides.
        shared_source: whether all edges leave the same blob.
        mixings: A as it was drawn, for each edge where that is known.
    """

    groups: int
    left: list[Tensor | None]
    right: list[Tensor | None]
    shapes: list[tuple[int, int, int]]
    direct: bool
    outer: Inverse
    inner: Inverse
    full_rank: bool | None
    shared_source: bool
    mixings: list[Mixing | None]

    @classmethod
    def of(cls, system: System, names: Carriers) -> Factor:
        """Stack and factorise the matrices around the carrying edges."""
        edges = [system.edge(name) for name in names]
        groups, rows, columns = system.grid.groups, system.rows, system.columns
        left, right = [system.down[e.sink] for e in edges], [system.up[e.source] for e in edges]
        shapes = [system.block(name) for name in names]
        sinks, sources = [e.sink for e in edges], [e.source for e in edges]
        source, sink = len(set(sources)) == 1, len(set(sinks)) == 1
        plain = all(own == groups for own, *_ in shapes)
        mixings = [system.mixings.get(name) if plain else None for name in sinks]
        if any(mixings) and source and all(m is not None or a is None for m, a in zip(mixings, left, strict=True)):
            outer = Inverse.beside(mixings)
        else:
            outer = Inverse.of(_stack(left, groups, rows, distinct=None if source else sinks))
        flipped = [None if b is None else b.mT for b in right]
        inner = Inverse.of(_stack(flipped, groups, columns, distinct=None if sink and not source else sources))
        full: bool | None = outer.full_rank and inner.full_rank
        direct = plain and (source or sink)
        if full and not direct:
            full = _kronecker_rank(left, right, shapes, system)
        direct = direct and (full is True or max(rows, columns) <= SMALL)
        return cls(groups, left, right, shapes, direct, outer, inner, full, source, mixings)

    @property
    def condition(self) -> float:
        """The worse of both sides' condition numbers."""
        return max(self.outer.condition, self.inner.condition)

    @property
    def determined(self) -> bool:
        """Whether a target leaves no freedom: then noise has no say."""
        return self.direct and self.outer.square and self.inner.square

    @property
    def short(self) -> bool:
        """Whether no draw at all can have full rank."""
        return self.outer.short or self.inner.short

    @property
    def share(self) -> float:
        """The rank of the poorer side, relative to what any target needs."""
        return min(self.outer.share, self.inner.share)

    def apply(self, filters: Sequence[Tensor | None]) -> Tensor:
        """Return sum of A_e F_e B_e; F_e is (taps, blocks, rows, columns), None is zero (not all are)."""
        total: Tensor | None = None
        for a, f, b, mixing in zip(self.left, filters, self.right, self.mixings, strict=True):
            if f is not None:
                part = multiply(f, b)
                part = expand(multiply(a, part) if mixing is None else mixing.times(part), self.groups)
                total = part if total is None else total + part
        assert total is not None
        return total

    def adjoint(self, value: Tensor) -> list[Tensor]:
        """Return A_e' V B_e' for each edge, without what lies between its blocks."""
        out = []
        for a, b, (own, _, columns) in zip(self.left, self.right, self.shapes, strict=True):
            part = value if a is None else multiply(a.mT, value)
            if b is None:
                part = shrink(part, own)
            elif own == self.groups:
                part = multiply(part, b.mT)
            else:
                across = expand(b, self.groups).reshape(own, columns, -1)
                part = part.reshape(len(part), own, -1, across.shape[-1]) @ across.mT
            out.append(part)
        return out

    def solve(self, target: Tensor, start: Sequence[Tensor | None] | None) -> tuple[list[Tensor], int]:
        """Return the filters nearest to `start` (None: to zero) that meet `target`; refined where that gains digits.

        What `start` holds is overwritten.
        """
        mixing, lone = self.mixings[0], len(self.shapes) == 1 and self.right[0] is None
        if mixing is not None and lone and start is not None and start[0] is not None:
            return [mixing.undo(target, start[0])], 0  # the noise is mixed, too: that is cheaper than to take some away
        filters = None if start is None else list(start)
        solved: list[Tensor] = []
        for _ in range(1 if self.condition < REFINED_ABOVE else 2):
            step = self._correct(target if filters is None else target - self.apply(filters))
            solved = (
                step if filters is None else [s if f is None else f.add_(s) for f, s in zip(filters, step, strict=True)]
            )
            filters = [*solved]
        return solved, 0

    def _correct(self, gap: Tensor) -> list[Tensor]:
        """Return the smallest change of the filters that makes up for `gap`."""
        part = self.outer.undo(gap)
        part = part if self.inner.inverse is None else multiply(part, self.inner.inverse.mT)
        if len(self.shapes) == 1:
            return [part]
        if self.shared_source:
            return list(torch.split(part, [rows for _, rows, _ in self.shapes], dim=-2))
        return list(torch.split(part, [columns for *_, columns in self.shapes], dim=-1))


Drawn = tuple[System, dict[Carriers, Factor], int]
"""One draw of the edges around a cut, the factors by carrying edges, and how often it was drawn."""


def _stack(parts: list[Tensor | None], groups: int, size: int, distinct: list[str] | None) -> Tensor | None:
    """Return the matrices side by side; one matrix a name where `distinct` names them, None for a lone identity."""
    if distinct is not None:
        parts = list(dict(zip(distinct, parts, strict=True)).values())
    if len(parts) == 1:
        return parts[0]
    known = next((p for p in parts if p is not None), None)
    return torch.cat([identity(groups, size, known) if p is None else expand(p, groups) for p in parts], dim=-1)


def _kronecker_rank(
    left: list[Tensor | None], right: list[Tensor | None], shapes: list[tuple[int, int, int]], system: System
) -> bool | None:
    """Return whether several edges can meet any right-hand side; None where weights suffice but matrices are large."""
    g, rows, columns = system.grid.groups, system.rows, system.columns
    if sum(own // g * height * width for own, height, width in shapes) < rows * columns:
        return False
    if max(rows, columns) > DECIDABLE:
        return None
    parts = []
    for a, b, (own, height, width) in zip(left, right, shapes, strict=True):
        outer = identity(g, rows, a) if a is None else expand(a, g)
        inner = identity(g, columns, b) if b is None else expand(b, g)
        outer, inner = outer.reshape(g, rows, -1, height), inner.reshape(g, own // g, width, columns)
        parts.append(torch.einsum("gmkr,gkcn->gmnkrc", outer, inner).reshape(g, rows * columns, -1))
    whole = torch.cat(parts, dim=-1)
    return bool((torch.linalg.matrix_rank(whole, rtol=RANK_TOLERANCE) == whole.shape[-2]).all())
