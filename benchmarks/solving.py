"""Solving one layer: closed form, the paper's Algorithm 2, dense least squares, and one matrix product."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from benchmarks.measure import once, race
from benchmarks.report import Report, Target, run
from torch import Tensor

from netmorph.errors import InfeasibleMorph
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.plan import plan_site
from netmorph.solver.solve import solve

QUESTION = "How long does it take to solve for one layer, against the reference and against the limit?"
CHAIN = "3x3 > 1x1"
POINTWISE = ("morph_1c1", "morph_1c1_2branch", "mlp")  # these hold 1x1 filters only
SIZES = {64: 9, 256: 5, 512: 3, 1024: 1}  # channels: rounds
LARGEST = 2048
AT_LARGEST = ("chain", "module_d")
REFERENCE = 64
LIMIT_SECONDS = 10.0
FAST, NEAR = 100.0, 10.0


def measure(report: Report) -> None:
    """Race every graph at every size; compare with the slow methods at the smallest."""
    faster, slower = [], []
    at = 8 if report.quick else REFERENCE
    for name, graph, kernel, channels, rounds in _cases(report.quick):
        weight = random_filter(name, channels, kernel)
        times, solution = _closed(weight, graph, rounds)
        row: dict[str, Any] = {"graph": name, "kernel": kernel, "channels": channels, **times}
        if solution is not None:
            row |= {"residual": solution.residual, "condition": solution.stats["condition"]}
            if channels >= 512:
                slower.append(row["times the product"])
        if channels == at and kernel == 3 and solution is not None:
            row |= _reference(weight, graph, times["seconds"])
            faster.append(row["times faster"])
        report.row(**row)
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
        "Where no filter of the size fits (infeasible), the time is that of the plan that says so.",
        f"Algorithm 2 runs one sweep over all edges, or less where it is exact before, {LIMIT_SECONDS:g} s at most; "
        "where it is not exact then, the factor is a lower bound. Graphs that end in 1x1 convolutions it solves by its "
        "first least squares. dense: noise in all taps, then one least squares over all taps of a cut; no residual "
        "where it does not fit, or not in time.",
    ]


def _cases(quick: bool) -> Iterator[tuple[str, ModuleGraph, int, int, int]]:
    graphs = {"chain": parse(CHAIN), **catalogue}
    if quick:
        yield from ((name, graphs[name], 3, 8, 1) for name in ("chain", "module_d", "bottleneck"))
        return
    for kernel in (3, 5):
        for channels, rounds in SIZES.items():
            for name, graph in graphs.items():
                if kernel == 3 or (name not in POINTWISE and channels in (64, 512)):
                    yield name, graph if kernel == 3 else _larger(graph), kernel, channels, rounds
    yield from ((name, graphs[name], 3, LARGEST, 1) for name in AT_LARGEST)


def _larger(graph: ModuleGraph) -> ModuleGraph:
    """Return the graph with kernels of 5 instead of 3."""
    edges = (replace(edge, kernel=tuple(5 if k == 3 else k for k in edge.kernel)) for edge in graph.edges)
    return replace(graph, edges=tuple(edges))


def random_filter(name: str, channels: int, kernel: int) -> Tensor:
    """Return the weight of a layer for a graph: what the solvers race for."""
    side = 1 if name in POINTWISE else kernel
    random = torch.Generator().manual_seed(channels)
    return torch.randn(channels, channels, side, side, generator=random) / (channels * side * side) ** 0.5


def _closed(weight: Tensor, graph: ModuleGraph, rounds: int) -> tuple[dict[str, Any], Any]:
    """Race the closed form against one product; (times, the solution or None)."""
    channels = weight.shape[0]
    left = torch.randn(channels, channels, dtype=torch.float64)
    right = torch.randn(channels, weight[0].numel(), dtype=torch.float64)
    found: list[Any] = []
    plan = plan_site(graph, ConvSpec.same(channels, channels, tuple(weight.shape[2:])))

    def attempt() -> None:
        found[:] = [solve(weight, graph, seed=0)]

    def answer() -> None:
        plan_site(graph, plan.site)

    work = answer if plan.feasible is False else attempt
    contestants: dict[str, Callable[[], object]] = {"solve": work, "product": partial(torch.mm, left, right)}
    times = race(contestants, rounds, warmup=int(rounds > 1))
    ratio = times["solve"].median / times["product"].median
    outcome = found[0].status.name if found else "infeasible"
    cells = {"outcome": outcome, "seconds": times["solve"].median, "spread": times["solve"].spread}
    return cells | {"product": times["product"].median, "times the product": ratio}, found[0] if found else None


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

        with suppress(TimeoutError), _no_longer_than(LIMIT_SECONDS):
            cells[name] = once(attempt)
        cells.setdefault(name, LIMIT_SECONDS)
        cells[f"its residual ({name})"] = residual[0]
    return cells | {"times faster": cells["Algorithm 2"] / seconds}


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Raise TimeoutError where a block takes longer."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    run("solving", QUESTION, measure)
