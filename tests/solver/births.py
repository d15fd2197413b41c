"""Modules that are born with an activation, held against the layer they stand for: a table of taps, on any numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from tests.oracles import response_of, taps_of
from tests.strategies import random_filter

from netmorph.filters import ConvSpec, Filter
from netmorph.graph.attributes import Width
from netmorph.graph.layout import resolve_widths
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.graph.symmetry import Birth, Symmetry
from netmorph.nn import MorphedModule
from netmorph.nn.activations import act_at, symmetries, with_acts_at
from netmorph.solver.born import born
from netmorph.solver.plan import SitePlan, plan_site
from netmorph.solver.solution import Solution
from netmorph.solver.solve import Options

PHI = ("relu", "leakyrelu(negative_slope=0.2)", "gelu", "gelu(approximate=tanh)", "silu", "hardswish")
SCALES = (0.01, 1.0, 100.0)


def bound(birth: Birth, graph: ModuleGraph | str, act: str | None) -> tuple[ModuleGraph, dict[str, Symmetry]]:
    """Return a graph with the activations of a birth, and their symmetries."""
    graph = parse(graph) if isinstance(graph, str) else graph
    graph = with_acts_at(birth, graph, graph.inner)
    return graph, symmetries(graph, act_at(birth, act))


def born_at(
    birth: Birth, graph: ModuleGraph | str, site: ConvSpec, act: str | None = "relu", *, seed: int = 1, **how: object
) -> Solution:
    """Return the solution for a random filter of the site."""
    graph, acts = bound(birth, graph, act)
    return born(birth, random_filter(site, seed), graph, site, acts, Options(seed=seed, **how))  # type: ignore[arg-type]


def planned(
    birth: Birth, graph: ModuleGraph | str, site: ConvSpec, act: str | None = "relu", *, seed: int = 1, **how: object
) -> SitePlan:
    """Return the plan for the same."""
    graph, acts = bound(birth, graph, act)
    return plan_site(graph, site, birth=birth, acts=acts, seed=seed, **how)  # type: ignore[arg-type]


def twice(graph: ModuleGraph, site: ConvSpec) -> ModuleGraph:
    """Return a graph with twice the channels in each inner blob."""
    widths = resolve_widths(graph, site)
    return replace(graph, width_items=tuple((blob, Width.of(2 * widths[blob])) for blob in graph.inner))


def running(solution: Solution, birth: Birth, act: str | None, dtype: torch.dtype, **options: object) -> MorphedModule:
    module = MorphedModule(solution.layout, act=act_at(birth, act), dtype=dtype, **options)  # type: ignore[arg-type]
    module.load_filters(solution.filters)
    return module.eval()


@torch.no_grad()
def assert_layer(module: MorphedModule, target: Filter, *, scales: tuple[float, ...] = SCALES) -> None:
    """Assert that a module computes a filter, border included, on two sizes and numbers of several scales."""
    site = module.layout.site
    dtype = next(module.parameters()).dtype
    tolerance = 1e-10 if dtype is torch.float64 else 1e-5
    for more in (0, 3):
        size = tuple(extent + 1 + more + dim for dim, extent in enumerate(site.extent))
        out_size = site.output_size(size)
        table = response_of(taps_of(target), site.stride, size, out_size).reshape(site.c_out * math.prod(out_size), -1)
        x = torch.randn(2, site.c_in, *size, generator=torch.Generator().manual_seed(more), dtype=torch.float64)
        for scale in scales:
            y = (scale * x).to(dtype)
            expected = (y.double().flatten(1) @ table.T).reshape(2, site.c_out, *out_size)
            gap = float((module(y).double() - expected).abs().max())
            assert gap <= tolerance * float(expected.abs().max()), (size, scale, gap)


def assert_born(solution: Solution, birth: Birth, act: str | None = "relu", *, seed: int = 1) -> None:
    """Assert that a solution is exact in float64 and in float32."""
    assert solution.status.exact
    target = random_filter(solution.layout.site, seed)
    assert_layer(running(solution, birth, act, torch.float64), target)
    assert_layer(running(solution, birth, act, torch.float32), target)


def with_acts(notation: str, named: Mapping[str, str]) -> ModuleGraph:
    """Return a graph whose blobs have activations of their own."""
    return replace(parse(notation), activation_items=tuple(named.items()))
