"""Ways to draw the solver's noise, compared on one layer: time, condition, rounding, norms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from benchmarks.measure import once
from benchmarks.report import Report
from torch import Tensor
from torch.nn import functional as F

from netmorph.solver import draws, noise, system
from netmorph.solver.solution import Solution
from netmorph.solver.solve import solve

Drawing = Callable[[int, int, int, torch.Generator], Tensor]


def gaussian(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Draw independent numbers, scaled to keep a signal's variance."""
    return torch.randn(batch, rows, cols, generator=random, dtype=torch.float64) / cols**0.5


def qr(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Take the factor of a QR, uniformly distributed (cubic)."""
    tall, wide = max(rows, cols), min(rows, cols)
    matrix = noise._from_qr(batch, tall, wide, random)
    return matrix if rows == tall else matrix.mT.contiguous()


def blocks(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Rotate in small blocks, shuffle, and rotate again: what netmorph does above `LARGEST_QR`."""
    return torch.stack([noise.Mixing.draw(rows, cols, random).matrix() for _ in range(batch)])


def householder(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Multiply 24 random reflections (an even number: determinant +1)."""
    tall, wide = max(rows, cols), min(rows, cols)
    matrix = torch.eye(tall, wide, dtype=torch.float64).repeat(batch, 1, 1)
    for _ in range(24):
        v = F.normalize(torch.randn(batch, tall, 1, generator=random, dtype=torch.float64), dim=1)
        matrix = matrix - 2 * v @ (v.mT @ matrix)
    return matrix if rows == tall else matrix.mT.contiguous()


def hadamard(batch: int, rows: int, cols: int, random: torch.Generator) -> Tensor:
    """Flip signs and transform, twice, and shuffle; sizes that are no power of two fall back on a QR."""
    tall, wide = max(rows, cols), min(rows, cols)
    if tall & (tall - 1):
        return qr(batch, rows, cols, random)
    matrix = torch.eye(tall, dtype=torch.float64)[:, torch.randperm(tall, generator=random)[:wide]]
    matrix = matrix.repeat(batch, 1, 1)
    for _ in range(2):
        signs = torch.randint(2, (batch, tall, 1), generator=random).double() * 2 - 1
        matrix = _walsh(matrix * signs) / tall**0.5
    return matrix if rows == tall else matrix.mT.contiguous()


def _walsh(matrix: Tensor) -> Tensor:
    size, step = matrix.shape[1], 1
    while step < size:
        pairs = matrix.reshape(matrix.shape[0], size // (2 * step), 2, step, -1)
        even, odd = pairs[:, :, 0], pairs[:, :, 1]
        matrix = torch.stack([even + odd, even - odd], dim=2).reshape(matrix.shape)
        step *= 2
    return matrix


KINDS: dict[str, Drawing] = {
    "gaussian": gaussian,
    "QR": qr,
    "block rotations": blocks,
    "24 reflections": householder,
    "Hadamard": hadamard,
}


@contextmanager
def drawn_by(kind: Drawing) -> Iterator[None]:
    """Draw the solver's noise another way within a block."""
    original, largest = draws.semi_orthogonal, draws.LARGEST_QR
    try:
        draws.semi_orthogonal = system.semi_orthogonal = kind
        draws.LARGEST_QR = sys.maxsize  # above it a lone matrix is not written out, so not drawn by the function above
        yield
    finally:
        draws.semi_orthogonal = system.semi_orthogonal = original
        draws.LARGEST_QR = largest


def compare_noises(report: Report) -> None:
    """Solve for one layer with each kind of noise, on the CPU."""
    channels = 16 if report.quick else 512
    weight = torch.randn(channels, channels, 3, 3, generator=torch.Generator().manual_seed(0)) / (9 * channels) ** 0.5
    for kind, draw in KINDS.items():
        random = torch.Generator().manual_seed(0)
        draw(1, channels, channels, random)
        seconds = once(lambda draw=draw, random=random: draw(1, channels, channels, random))
        matrix = draw(1, channels, channels, random)[0]
        row: dict[str, Any] = {"noise": kind, "channels": channels, "seconds to draw (CPU)": seconds}
        row["largest entry * sqrt(C)"] = float(matrix.abs().max()) * channels**0.5
        for graph in ("3x3 > 1x1", "module_d"):
            with drawn_by(draw):
                solution = solve(weight, graph_of(graph), seed=0)
            row[f"condition, {graph}"] = solution.stats["condition"]
            row[f"float32 error, {graph}"] = _rounded(solution, weight, torch.float32)
            row[f"bfloat16 error, {graph}"] = _rounded(solution, weight, torch.bfloat16)
            row[f"norms, {graph}"] = _norms([solution], [weight])
        report.row(**row)


def graph_of(name: str) -> Any:
    """Return a graph of the catalogue, or the notation itself."""
    from netmorph.graph.catalogue import catalogue

    return catalogue.get(name, name)


def _rounded(solution: Solution, weight: Tensor, dtype: torch.dtype) -> float:
    """Return the error of the module filter, relative to the target's norm, when the weights are cast."""
    from netmorph.solver.equation import residual_of
    from netmorph.solver.target import read_target

    cast = {name: each.to(dtype).to(torch.float64) for name, each in solution.filters.items()}
    return residual_of(solution.layout.graph, cast, read_target(weight)[0])


def _norms(solutions: Sequence[Solution], weights: Sequence[Tensor]) -> str:
    """Return the smallest and the largest Frobenius norm of a factor, relative to its target's."""
    ratios = []
    for solution, weight in zip(solutions, weights, strict=True):
        free = {edge.name for edge in solution.layout.graph.edges if edge.fixed is None}
        ratios += [float(f.weight.norm() / weight.norm()) for name, f in solution.filters.items() if name in free]
    return f"{min(ratios):.2g} to {max(ratios):.2g}"
