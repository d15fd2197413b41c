"""Every graph that feasibility admits equals its target, border included, against both oracles."""

import math

import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from tests.oracles import distance, impulse_response, path_sum, response_of, taps_of
from tests.strategies import module_graphs, random_filter, seeds, sites

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.filters import ConvSpec, Filter
from netmorph.graph.catalogue import catalogue
from netmorph.graph.spec import ModuleGraph
from netmorph.nn.dag import MorphedModule
from netmorph.solver import Solution, Status, solve
from netmorph.solver.candidates import judge, layouts
from netmorph.solver.pointwise import draw_system


def running(solution: Solution, dtype: torch.dtype) -> MorphedModule:
    module = MorphedModule(solution.layout, act=None, norm=None, dtype=dtype)
    module.load_filters(solution.filters)
    return module.eval()


def assert_exact(target: Filter, site: ConvSpec, solution: Solution) -> None:
    """Assert both oracles in float64, and a random input in float32, border included."""
    assert solution.residual <= 1e-10
    assert distance(path_sum(solution.layout.graph, solution.filters), taps_of(target)) <= 1e-10
    size = tuple(extent + 2 + dim for dim, extent in enumerate(site.extent))
    out_size = site.output_size(size)
    answer = impulse_response(running(solution, torch.float64), site.c_in, size)
    truth = response_of(taps_of(target), site.stride, size, out_size)
    assert answer.shape == truth.shape
    assert float((answer - truth).abs().max()) <= 1e-10 * float(truth.abs().max())
    x = torch.randn(2, site.c_in, *size, generator=torch.Generator().manual_seed(1))
    table = truth.reshape(site.c_out * math.prod(out_size), -1)
    expected = (x.double().flatten(1) @ table.T).reshape(2, site.c_out, *out_size)
    with torch.no_grad():
        single = running(solution, torch.float32)(x)
    assert float((single - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def check_random(graph: ModuleGraph, site: ConvSpec, seed: int) -> None:
    """Assert exactness where the verdict admits the graph, the error where it does not, and verdict = rank."""
    target = random_filter(site, seed)
    solution = None
    try:
        solution = solve(target, graph, spec=site, seed=seed)
    except InfeasibleMorph as error:
        event("infeasible")
        assert error.missing, error  # noqa: PT017 - whether it raises depends on the draw
        assert error.remedies, error  # noqa: PT017
    except GraphError:
        event("does not fit")
        assume(False)
    if solution is not None:
        event("exact")
        assert solution.status.exact
        assert_exact(target, site, solution)
    admitted = False
    for layout in layouts(graph, site):
        if isinstance(layout, GraphError):
            continue
        verdict = judge(layout)
        not_of_ranks = ("kernel positions of the site", "taps of pooling")
        if verdict.feasible is None or any(said in verdict.reason for said in not_of_ranks):
            continue
        ranks = [factor.full_rank for factor in draw_system(layout, seed)[1].values()]
        assert verdict.feasible == all(rank is True for rank in ranks), verdict
        admitted |= verdict.feasible
        if not verdict.feasible and solution is None:
            assert verdict.bottleneck
    if admitted:
        assert solution is not None


GRAPHS = module_graphs(max_blobs=8, dilations=True, widths=True)
STRIDED = module_graphs(max_blobs=6, widths=True, strides=True, largest_kernel=3)
SITES = sites(largest_kernel=3, max_channels=5)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
SLOW = settings(max_examples=1100, deadline=None, suppress_health_check=list(HealthCheck))


@given(GRAPHS, SITES, seeds())
@QUICK
def test_random_graphs(graph: ModuleGraph, site: ConvSpec, seed: int) -> None:
    check_random(graph, site, seed)


@given(st.one_of(STRIDED, module_graphs(max_blobs=6, fixed=True)), sites(square=True, largest_kernel=3), seeds())
@QUICK
def test_random_graphs_with_strides_or_fixed_edges(graph: ModuleGraph, site: ConvSpec, seed: int) -> None:
    check_random(graph, site, seed)


@pytest.mark.slow
@given(GRAPHS, SITES, seeds())
@SLOW
def test_many_random_graphs(graph: ModuleGraph, site: ConvSpec, seed: int) -> None:
    check_random(graph, site, seed)


@pytest.mark.slow
@given(st.one_of(STRIDED, module_graphs(max_blobs=6, fixed=True)), sites(square=True, largest_kernel=3), seeds())
@SLOW
def test_many_random_graphs_with_strides_or_fixed_edges(graph: ModuleGraph, site: ConvSpec, seed: int) -> None:
    check_random(graph, site, seed)


INFEASIBLE = {
    ("bottleneck", 1),  # a quarter of the width
    ("bottleneck", 3),
    ("inverted_residual", 3),  # a depthwise edge in the middle cannot mix channels
    ("mlp", 3),  # no 3x3 kernel in them
    ("morph_1c1", 3),
    ("morph_1c1_2branch", 3),
}


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(catalogue))
def test_catalogue(name: str, kernel: int, stride: int) -> None:
    site = ConvSpec.same(8, 8, kernel, stride=stride)
    target = random_filter(site, 7)
    if (name, kernel) in INFEASIBLE:
        with pytest.raises(InfeasibleMorph, match="cannot represent"):
            solve(target, catalogue[name], spec=site, seed=3)
        solution = solve(target, catalogue[name], spec=site, seed=3, keep_parent=True)
        assert solution.status is Status.KEPT_PARENT
    else:
        solution = solve(target, catalogue[name], spec=site, seed=3)
        assert solution.status is Status.EXACT
    assert_exact(target, site, solution)
