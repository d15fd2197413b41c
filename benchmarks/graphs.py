"""Graph algorithms: how they grow with the number of edges."""

from __future__ import annotations

import gc
import math
import random
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from benchmarks.measure import Times
from benchmarks.report import Report, Target, run

from netmorph.graph.catalogue import ladder
from netmorph.graph.flow import flow
from netmorph.graph.paths import path_count
from netmorph.graph.reduce import reduce
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.validate import validate
from netmorph.solver.equation import module_filter

QUESTION = "How do validate, reduce, feasibility and the module filter grow with a graph?"
SIZES = (10, 100, 1_000, 10_000, 100_000)
FLOW_UP_TO = 10_000
FILTER_UP_TO = 10_000
WIDTH = 4
LINEAR = 1.05  # exponent of growth of the lines executed
SECONDS = 2.0


def measure(report: Report) -> None:
    """Time every algorithm on random graphs of growing size, then on ladders."""
    sizes = SIZES[:2] if report.quick else SIZES
    rounds = 1 if report.quick else 3
    found: dict[str, list[float]] = {}
    lines: dict[str, list[int]] = {}
    for call in _calls(series_parallel(10, seed=0)).values():
        call()  # imports networkx
    for edges in sizes:
        for kind, make in (("series-parallel", series_parallel), ("any", complex_graph)):
            graph = make(edges, seed=edges)
            row: dict[str, object] = {"graph": kind, "edges": len(graph.edges), "blobs": len(graph.blobs)}
            for name, call in _calls(graph).items():
                seconds = Times(tuple(_processor(call) for _ in range(rounds))).median
                row[name] = seconds
                found.setdefault(f"{name}, {kind}", []).append(seconds)
                if name in ("validate", "reduce"):
                    lines.setdefault(f"{name}, {kind}", []).append(_lines(call))
                    row[f"lines an edge, {name}"] = lines[f"{name}, {kind}"][-1] / len(graph.edges)
            report.row(**row)
    _ladders(report)
    for name in ("validate", "reduce"):
        for kind in ("series-parallel", "any"):
            seconds, steps = found[f"{name}, {kind}"], lines[f"{name}, {kind}"]
            exponent = math.log(steps[-1] / steps[-2], sizes[-1] / sizes[-2])
            what = f"{kind} graphs from {sizes[-2]:,} to {sizes[-1]:,} edges"
            report.targets += [
                Target(f"exponent of growth of the lines that {name} executes, {what}", exponent, LINEAR),
                Target(f"seconds of {name}, {kind} graph of {sizes[-1]:,} edges", seconds[-1], SECONDS),
            ]
    report.notes = [
        "validate: check and topological order. reduce: Algorithm 1 to the core. flow: feasibility, the maximum flow "
        f"from all edges at the source, widths 1 to 8. filter: eq. 5 with {WIDTH} channels and 1x1 kernels. Seconds "
        "of the processor, which other programs on the machine do not add to.",
        "Whether an algorithm is linear the lines of Python that it executes tell exactly; seconds an edge grow, too, "
        "where a graph outgrows the processor's caches.",
    ]


def _processor(call: Callable[[], object]) -> float:
    """Return the processor seconds of one call, without collections of garbage."""
    gc.collect()
    gc.disable()
    try:
        begin = time.process_time()
        call()
        return time.process_time() - begin
    finally:
        gc.enable()


def _lines(call: Callable[[], object]) -> int:
    """Return how many lines of Python one call executes."""
    count = 0

    def local(frame: object, event: str, _: object) -> object:
        nonlocal count
        count += event == "line"
        return local

    sys.settrace(lambda *_: local)
    try:
        call()
    finally:
        sys.settrace(None)
    return count


def _calls(graph: ModuleGraph) -> dict[str, Callable[[], object]]:
    calls: dict[str, Callable[[], object]] = {"validate": partial(validate, graph), "reduce": partial(reduce, graph)}
    if len(graph.edges) <= FLOW_UP_TO:
        widths = {blob: 1 + number % 8 for number, blob in enumerate(graph.blobs)}
        carrying = [edge.name for edge in graph.outgoing[graph.source]]
        calls["flow"] = partial(flow, graph, widths, carrying, "down")
    if len(graph.edges) <= FILTER_UP_TO:
        calls["filter"] = partial(module_filter, graph, _filters(graph))
    return calls


def _filters(graph: ModuleGraph) -> dict[str, torch.Tensor]:
    """Return a random 1x1 filter for every edge, small enough that sums over many paths stay finite."""
    random_ = torch.Generator().manual_seed(0)
    fan = {blob: len(edges) for blob, edges in graph.incoming.items()}
    return {
        edge.name: torch.randn(WIDTH, WIDTH, 1, 1, generator=random_, dtype=torch.float64) / (WIDTH * fan[edge.sink])
        for edge in graph.edges
    }


def _ladders(report: Report) -> None:
    """Evaluate modules with very many paths; the channels are so few that the graph is what costs."""
    for rungs in (10,) if report.quick else (10, 100, 1000):
        graph = ladder(rungs)
        filters = _filters(graph)
        seconds = _processor(partial(module_filter, graph, filters))
        finite = bool(module_filter(graph, filters).weight.isfinite().all())
        paths = path_count(graph)
        report.row(graph=f"ladder of 2^{paths.bit_length() - 1} paths", edges=len(graph.edges), filter=seconds)
        if rungs in (1000, 10 if report.quick else 1000):
            what = f"a ladder of 2^{paths.bit_length() - 1} paths is evaluated (1: yes)"
            report.targets.append(Target(what, float(finite and paths == 2**rungs), 1.0, "at least"))


def series_parallel(edges: int, seed: int) -> ModuleGraph:
    """Return a simple module of that many edges: one edge, morphed again and again at random places."""
    rng = random.Random(seed)
    pairs = [("s", "t")]
    for number in range(edges - 1):
        place = rng.randrange(len(pairs))
        source, sink = pairs[place]
        if rng.random() < 0.5:
            pairs[place] = (source, f"b{number}")
            pairs.append((f"b{number}", sink))
        else:
            pairs.append((source, sink))
    return ModuleGraph.from_edges([(source, sink, 1) for source, sink in pairs])


def complex_graph(edges: int, seed: int) -> ModuleGraph:
    """Return a module of about that many edges on half as many blobs, joined at random to blobs at most 50 further."""
    rng = random.Random(seed)
    blobs = ["s", *(f"b{number}" for number in range(max(1, edges // 2 - 1))), "t"]
    last = len(blobs) - 1
    pairs = [(here, min(last, here + rng.randint(1, 2))) for here in range(last)]
    reached = {sink for _, sink in pairs}
    pairs += [(sink - 1, sink) for sink in range(1, last + 1) if sink not in reached]
    while len(pairs) < edges:
        here = rng.randrange(last)
        pairs.append((here, min(last, here + rng.randint(1, 50))))
    return ModuleGraph.from_edges([(blobs[source], blobs[sink], 1) for source, sink in pairs])


if __name__ == "__main__":
    run("graphs", QUESTION, measure)
