"""Children born in pairs: their run and their training by hand, beside slope-born ones; their solve beside theirs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

import torch
from benchmarks.measure import Ratio, race
from benchmarks.report import Report, Target, run
from benchmarks.running import LIMIT, NOTE, compare
from benchmarks.solving import CHAIN, NEAR, random_filter

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.filters.filter import Filter
from netmorph.filters.geometry import ConvSpec
from netmorph.graph.attributes import Width
from netmorph.graph.catalogue import catalogue
from netmorph.graph.layout import resolve_widths
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth
from netmorph.nn.activations import symmetries
from netmorph.solver.born import born
from netmorph.solver.solution import Solution
from netmorph.solver.solve import Options

QUESTION = "What does a child born in pairs cost: run, trained and solved for?"
GRAPHS = ("3x3:2x > 1x1", "3x3:2x > 1x1 | 1x1")
SIZES = {64: 9, 512: 5}  # channels: rounds


def measure(report: Report) -> None:
    """Race pair-born children with the same networks by hand and with slope-born ones; then the solves."""
    for graph in GRAPHS[:1] if report.quick else GRAPHS:
        compare(report, graph, "pair", time.process_time)
    for channels, rounds in {8: 2}.items() if report.quick else SIZES.items():
        _compare_solves(report, channels, rounds)
    report.notes = [
        NOTE,
        "Seconds are the processor's that the process used, not the wall clock's: other work on the machine disturbs "
        "them least.",
        "Slope-born: the child of the same graph and widths with parametric activations, at birth.",
        "Solves: whole births, from the layer's filter to those of all edges; the graph has its own widths where these "
        "hold pairs, else twice the channels in its inner blobs (factor); a graph that cannot be born in pairs with "
        "either is left out. One product: as under Solving.",
    ]


def _compare_solves(report: Report, channels: int, rounds: int) -> None:
    ratios, products = dict[str, Ratio](), list[float]()
    for name, graph in {"chain": parse(CHAIN), **catalogue}.items():
        if not graph.inner:
            continue
        weight = random_filter(name, channels, 3)
        site = ConvSpec.same(channels, channels, tuple(weight.shape[2:]))
        target = Filter.of(weight, site)
        found = _widths_for_pairs(target, graph, site)
        if found is None:
            continue
        factor, wide, solution = found
        left = torch.randn(channels, channels, dtype=torch.float64)
        right = torch.randn(channels, weight[0].numel(), dtype=torch.float64)
        calls: dict[str, Callable[[], object]] = {
            "pair": partial(_born, "pair", target, wide, site),
            "slope": partial(_born, "slope", target, wide, site),
            "product": partial(torch.mm, left, right),
        }
        times = race(calls, rounds, clock=time.process_time)
        ratios[name] = ratio = Ratio.of(times["pair"], times["slope"])
        products.append(times["pair"].median / times["product"].median)
        row: dict[str, Any] = {"graph": name, "factor": factor, "channels": channels, "residual": solution.residual}
        row |= {key: each.median for key, each in times.items()}
        row |= {"over slope": ratio.median, "error": ratio.error, "spread": ratio.spread}
        report.row(**row, **{"times the product": products[-1]})
    worst = max(ratios.values(), key=lambda ratio: ratio.median)
    named = f"solve at C = {channels}, "
    report.targets += [
        Target(named + "every graph: over slope-born", worst.median, LIMIT, error=2 * worst.error),
        Target(named + "the median graph: over slope-born", median(each.median for each in ratios.values()), LIMIT),
    ]
    if channels >= 512:
        report.targets.append(Target(named + "every graph: times one product", max(products), NEAR))


def _widths_for_pairs(target: Filter, graph: ModuleGraph, site: ConvSpec) -> tuple[int, ModuleGraph, Solution] | None:
    """Return the smaller factor of the inner widths, 1 or 2, with which a graph can be born in pairs."""
    widths = resolve_widths(graph, site)
    for factor in (1, 2):
        items = tuple((blob, Width.of(factor * widths[blob])) for blob in graph.inner)
        wide = replace(graph, width_items=items)
        try:
            return factor, wide, _born("pair", target, wide, site)
        except (InfeasibleMorph, GraphError):
            continue
    return None


def _born(birth: Birth, target: Filter, graph: ModuleGraph, site: ConvSpec) -> Solution:
    solution = born(birth, target, graph, site, symmetries(graph, "plain_relu"), Options())
    assert solution.residual < 1e-12
    return solution


if __name__ == "__main__":
    run("pairs", QUESTION, measure)
