"""Solving one layer: closed form, the paper's Algorithm 2, dense least squares, and one matrix product."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.measure import once, race
from benchmarks.report import Report, Target, run
from torch import Tensor

from netmorph.errors import InfeasibleMorph
from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.solve import solve

QUESTION = "How long does it take to solve for one layer, against the reference and against the limit?"
POINTWISE = ("morph_1c1", "morph_1c1_2branch", "mlp")  # these hold 1x1 filters only
SIZES = {64: 9, 128: 9, 256: 7, 512: 5, 1024: 3}  # channels: rounds
LARGEST = 2048
AT_LARGEST = ("chain", "module_d", "resnet_module", "lora")
REFERENCE = 64
FAST, NEAR = 100.0, 10.0


def measure(report: Report) -> None:
    """Race every graph at every size; compare with the slow methods at the smallest."""
    faster, slower = [], []
    for name, graph, kernel, channels, rounds in _cases(report.quick):
        weight = _target(name, channels, kernel)
        times, solution = _closed(weight, graph, rounds)
        row: dict[str, Any] = {"graph": name, "kernel": kernel, "channels": channels, **times}
        if solution is not None:
            row |= {"residual": solution.residual, "condition": solution.stats["condition"]}
            if channels >= 512:
                slower.append(row["times the product"])
        if channels == (8 if report.quick else REFERENCE) and solution is not None:
            row |= _reference(weight, graph, times["seconds"])
            faster.append(row["times faster"])
        report.row(**row)
    at = 8 if report.quick else REFERENCE
    report.targets = [
        Target(f"faster than Algorithm 2 at C = {at}, every graph", min(faster), FAST, "at least"),
        Target(f"faster than Algorithm 2 at C = {at}, the median graph", statistics.median(faster), FAST, "at least"),
    ]
    if slower:
        report.targets += [
            Target("times one product at C = 512 and above, every graph", max(slower), NEAR),
            Target("times one product at C = 512 and above, the median", statistics.median(slower), NEAR),
        ]
    report.notes = [
        "One product: (C, C) by (C, C k k) in float64, what any exact method must at least do to apply one matrix to "
        "a layer. The closed form's time is that of the whole of `solve`: choice of the cut, noise, factorisation, "
        "solution, its residual by eq. 5, balance.",
        "Algorithm 2 runs one sweep over all edges, or less where it is exact before; where it is not exact then, the "
        "factor is a lower bound. Graphs that end in 1x1 convolutions it solves by its first least squares.",
    ]


def _cases(quick: bool) -> Iterator[tuple[str, ModuleGraph, int, int, int]]:
    graphs = {"chain": parse("3x3 > 1x1"), **catalogue}
    if quick:
        yield from ((name, graphs[name], 3, 8, 1) for name in ("chain", "module_d", "bottleneck"))
        return
    for kernel in (3, 5):
        for channels, rounds in SIZES.items():
            for name, graph in graphs.items():
                if kernel == 3 or name not in POINTWISE:
                    yield name, graph if kernel == 3 else _larger(graph), kernel, channels, rounds
    yield from ((name, graphs[name], 3, LARGEST, 1) for name in AT_LARGEST)


def _larger(graph: ModuleGraph) -> ModuleGraph:
    """Return the graph with kernels of 5 instead of 3."""
    edges = (replace(edge, kernel=tuple(5 if k == 3 else k for k in edge.kernel)) for edge in graph.edges)
    return replace(graph, edges=tuple(edges))


def _target(name: str, channels: int, kernel: int) -> Tensor:
    side = 1 if name in POINTWISE else kernel
    random = torch.Generator().manual_seed(channels)
    return torch.randn(channels, channels, side, side, generator=random) / (channels * side * side) ** 0.5


def _closed(weight: Tensor, graph: ModuleGraph, rounds: int) -> tuple[dict[str, Any], Any]:
    """Race the closed form against one product; (times, the solution or None)."""
    channels = weight.shape[0]
    left = torch.randn(channels, channels, dtype=torch.float64)
    right = torch.randn(channels, weight[0].numel(), dtype=torch.float64)
    found: list[Any] = [None]

    def attempt() -> None:
        try:
            found[0] = solve(weight, graph, seed=0)
        except InfeasibleMorph:
            found[0] = None

    contestants: dict[str, Callable[[], object]] = {"solve": attempt, "product": partial(torch.mm, left, right)}
    times = race(contestants, rounds)
    ratio = times["solve"].median / times["product"].median
    outcome = "infeasible" if found[0] is None else found[0].status.name
    cells = {"outcome": outcome, "seconds": times["solve"].median, "spread": times["solve"].spread}
    return cells | {"product": times["product"].median, "times the product": ratio}, found[0]


def _reference(weight: Tensor, graph: ModuleGraph, seconds: float) -> dict[str, Any]:
    """Time Algorithm 2 and dense least squares."""
    cells: dict[str, Any] = {}
    for name, options in (
        ("Algorithm 2", {"method": "alternating", "max_iter": 1}),
        ("dense", {"fill": "dense", "max_iter": 1}),
    ):
        residual: list[float | None] = [None]

        def attempt(options: Any = options, residual: list[float | None] = residual) -> None:
            try:
                residual[0] = solve(weight, graph, seed=0, **options).residual
            except InfeasibleMorph:
                residual[0] = None

        cells[name] = once(attempt)
        cells[f"its residual ({name})"] = residual[0]
    return cells | {"times faster": cells["Algorithm 2"] / seconds}


if __name__ == "__main__":
    run("solving", QUESTION, measure)
