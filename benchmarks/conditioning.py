"""What fill and noise cost in quality: parity, norms, gradients at birth, and the loss after some steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from benchmarks.measure import once
from benchmarks.report import Report, Target, run
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.models.registry import build
from netmorph.nn.dag import MorphedModule
from netmorph.solver import draws, noise, system
from netmorph.solver.solution import Solution
from netmorph.solver.solve import solve
from netmorph.surgery.morph import morph
from netmorph.train.data import Dataset
from netmorph.train.fashion import load_fashion

QUESTION = "Which fill and which noise give the best-conditioned children?"
GRAPHS = {
    "3x3 > 1x1": "a chain",
    "3x3 > 1x1 | 1x1": "a chain and a branch",
    "3x3:2x > 1x1": "a wide chain",
    "module_d": "module (D), eq. 6",
}
SIZES = (0.0, 0.1, 0.5, 1.0)
FACTOR = 10.0
Drawing = Callable[[int, int, int, torch.Generator], Tensor]


def measure(report: Report) -> None:
    """Compare the ways to draw noise on one layer, then fills and sizes of noise on a trained network."""
    _layers(report)
    _networks(report)


# Ways to draw noise --------------------------------------------------------------------------------------------------


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
    tall, wide = max(rows, cols), min(rows, cols)
    matrix = noise._from_blocks(batch, tall, wide, random)
    return matrix if rows == tall else matrix.mT.contiguous()


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
    original = draws.semi_orthogonal
    try:
        draws.semi_orthogonal = system.semi_orthogonal = kind
        yield
    finally:
        draws.semi_orthogonal = system.semi_orthogonal = original


def _layers(report: Report) -> None:
    channels = 16 if report.quick else 512
    weight = torch.randn(channels, channels, 3, 3, generator=torch.Generator().manual_seed(0)) / (9 * channels) ** 0.5
    for kind, draw in KINDS.items():
        random = torch.Generator().manual_seed(0)
        draw(1, channels, channels, random)
        seconds = once(lambda draw=draw, random=random: draw(1, channels, channels, random))
        matrix = draw(1, channels, channels, random)[0]
        row: dict[str, Any] = {"noise": kind, "channels": channels, "seconds to draw": seconds}
        row["largest entry * sqrt(C)"] = float(matrix.abs().max()) * channels**0.5
        for graph in ("3x3 > 1x1", "module_d"):
            with drawn_by(draw):
                solution = solve(weight, _graph(graph), seed=0)
            row[f"condition, {graph}"] = solution.stats["condition"]
            row[f"float32 error, {graph}"] = _rounded(solution, weight, torch.float32)
            row[f"bfloat16 error, {graph}"] = _rounded(solution, weight, torch.bfloat16)
            row[f"norms, {graph}"] = _norms([solution], [weight])
        report.row(**row)


def _graph(name: str) -> Any:
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


# Fills and sizes of noise on a trained network ------------------------------------------------------------------------


def _networks(report: Report) -> None:
    images, steps, seeds = (64, 2, 1) if report.quick else (8000, 50, 3)
    data = load_fashion(train_limit=images, test_limit=64 if report.quick else 2000)
    parent = _parent(data, steps=4 if report.quick else 200)
    x, labels = next(iter(data.train_batches(min(128, images), 7, 0)))
    control = [_train(copy.deepcopy(parent), data, steps, seed)[1] for seed in range(seeds)]
    report.row(graph="the parent itself", **_losses(control))
    outside, born = 0, 0
    for graph in list(GRAPHS)[:2] if report.quick else GRAPHS:
        for fill in ("pointwise", "dense"):
            for size in (0.5,) if report.quick else SIZES if fill == "pointwise" else (0.5,):
                children = [
                    morph(
                        parent,
                        {"layer*.conv1": graph},
                        example_inputs=data.example(4),
                        seed=seed,
                        fill=fill,  # type: ignore[arg-type]
                        noise=size,
                        check=False,
                    )
                    for seed in range(seeds)
                ]
                ratios = [r for each in children for r in _gradients(each.model, x, labels)]
                beyond = sum(not 1 / FACTOR <= r <= FACTOR for r in ratios)
                half = copy.deepcopy(parent).bfloat16()
                low = morph(
                    half,
                    {"layer*.conv1": graph},
                    example_inputs=data.example(4).bfloat16(),
                    fill=fill,  # type: ignore[arg-type]
                    noise=size,
                    check=False,
                )
                if fill == "pointwise" and size == 0.5:
                    outside, born = outside + beyond, born + len(ratios)
                report.row(
                    graph=graph,
                    fill=fill,
                    **{
                        "size of noise": size if fill == "pointwise" else None,
                        "float32 parity": max(s.max_rel for each in children for s in each.parity.sites),
                        "bfloat16 parity": max(s.max_rel for s in low.parity.sites),
                        "norms of factors": _factor_norms(parent, children[0].model),
                        "gradient over He twin's": f"{min(ratios):.2g} to {max(ratios):.2g}",
                        "edges beyond 10": beyond,
                        "edges": len(ratios),
                    },
                    **_losses([_train(each.model, data, steps, seed)[1] for seed, each in enumerate(children)]),
                )
    what = f"edges, of {born}, whose gradient at birth is more than {FACTOR:g} times off the He twin's (defaults)"
    report.targets.append(Target(what, float(outside), 0.0))
    report.notes = [
        "Layers: `solve` with each kind of noise; errors of the module filter after its weights are cast. Network: "
        "ResNet-8 trained on the bundled Fashion-MNIST, every first convolution of a block morphed, then "
        f"{steps} steps of SGD (0.05, momentum 0.9, batch 128), {seeds} seeds; the loss is the test split's. Size of "
        "noise: of what cancels within the cut, relative to the layer's filter. Dense fill draws all taps, whatever it "
        "is.",
        "The He twin has the same architecture and slopes, its new edges drawn by He's rule (normal, fan-in).",
    ]


def _parent(data: Dataset, steps: int) -> nn.Module:
    torch.manual_seed(0)
    network = build("netmorph:resnet8", num_classes=10, in_channels=data.channels)
    _train(network, data, steps, seed=100)
    return network.eval()


def _train(network: nn.Module, data: Dataset, steps: int, seed: int) -> tuple[nn.Module, float]:
    """Train some steps and return the loss on the test split."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    batches = data.train_batches(min(128, len(data.train)), seed, 2)
    network.train()
    done = 0
    while done < steps:
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    network.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(network(x), y, reduction="sum") for x, y in data.test_batches()]
    return network, float(torch.stack(losses).sum()) / len(data.test)


def _losses(losses: Sequence[float]) -> dict[str, float]:
    mean = sum(losses) / len(losses)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in losses) / max(1, len(losses) - 1))
    return {"loss after": mean, "its deviation": deviation}


def _modules(network: nn.Module) -> Iterator[tuple[str, MorphedModule]]:
    for name, module in network.named_modules():
        if isinstance(module, MorphedModule):
            yield name, module


def _gradients(child: nn.Module, x: Tensor, labels: Tensor) -> list[float]:
    """Return, for each new edge, its gradient's norm at birth over that of its twin."""
    twin = copy.deepcopy(child)
    random = torch.Generator().manual_seed(0)
    for _, module in _modules(twin):
        for edge in module.edges.parameters():
            nn.init.kaiming_normal_(edge, generator=random)
    norms = []
    for network in (copy.deepcopy(child), twin):
        F.cross_entropy(network.train()(x), labels).backward()
        norms.append([float(p.grad.norm()) for _, m in _modules(network) for p in m.edges.parameters()])
    return [one / other for one, other in zip(*norms, strict=True)]


def _factor_norms(parent: nn.Module, child: nn.Module) -> str:
    ratios = [
        float(edge.norm() / parent.get_submodule(name).weight.norm())
        for name, module in _modules(child)
        for edge in module.edges.parameters()
    ]
    return f"{min(ratios):.2g} to {max(ratios):.2g}"


if __name__ == "__main__":
    run("conditioning", QUESTION, measure)
