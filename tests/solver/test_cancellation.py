"""Weights of any size beside edges that have none, and noise of any size: solved, or refused with the right words."""

import pytest
import torch
from tests.strategies import random_filter

from netmorph.errors import InfeasibleMorph, ParityError
from netmorph.filters import ConvSpec, Filter
from netmorph.graph.notation import parse
from netmorph.solver import Status, module_filter, solve
from netmorph.solver.cancellation import cancellation

SCALES = [10.0**power for power in range(-12, 13, 3)]
LINEAR = ConvSpec(4, 4)
BESIDE_FIXED = ["id | 1 > 1", "0.5*id | 1", "1 > 1 | 1 | id", "id > 1 > 1 | id"]


def sized(site: ConvSpec, size: float, seed: int = 0) -> Filter:
    """Return a random filter of that Frobenius norm."""
    drawn = random_filter(site, seed)
    return Filter.of(drawn.weight * (size / drawn.weight.norm()), site)


@pytest.mark.parametrize("size", SCALES)
@pytest.mark.parametrize("graph", ["1 > 1", "1:2x > 1 | 1", "0*id | 1 > 1", "1 > (id | 1) > 1"])
@pytest.mark.parametrize("options", [{}, {"fill": "dense"}, {"method": "stepwise"}], ids=str)
def test_a_filter_of_any_size_is_met_where_no_route_has_a_size_of_its_own(
    graph: str, size: float, options: dict[str, str]
) -> None:
    target = sized(LINEAR, size)
    solution = solve(target, graph, **options)
    assert solution.status is Status.EXACT
    made = module_filter(solution.layout.graph, solution.filters).weight
    assert float((made - target.weight).norm()) < 1e-13 * size


@pytest.mark.parametrize("size", SCALES)
@pytest.mark.parametrize("graph", BESIDE_FIXED)
def test_beside_an_edge_without_weights_the_digits_decide(graph: str, size: float) -> None:
    target = sized(LINEAR, size)
    if size > 1e-4:  # 1e-10 of it is above what float64 rounds the identity to
        assert solve(target, graph).residual < 1e-10
        return
    if size > 1e-8:  # between the two it depends on the graph how many roundings add up
        return
    with pytest.raises(
        ParityError, match=r"what cancels in the module is \d.* times the layer's filter.* in float64"
    ) as caught:
        solve(target, graph)
    assert "bug" not in str(caught.value)


@pytest.mark.parametrize(
    "graph", ["avg3x3 | 3x3", "3x3 > 1x1 | id", "3x3 > 1x1 | 0.5*id | id", "s-a:id, a-t:id, s-t:3x3"]
)
def test_the_factor_that_the_refusal_names_will_do(graph: str) -> None:
    target = sized(ConvSpec.same(4, 4), 1e-12)
    with pytest.raises(ParityError, match=r"Remedy: write .* for ") as caught:
        solve(target, graph)
    for remedy in caught.value.remedies:
        new, old = remedy.removeprefix("write ").partition(", which")[0].split(" for ")
        graph = f"{graph} ".replace(f" {old} ", f" {new} ").replace(f"t:{old},", f"t:{new},").strip()
        graph = graph.replace(old, new, 1) if graph.startswith(old) else graph
    assert solve(target, graph).residual < 1e-14


def test_other_fills_and_methods_name_what_cancels_or_a_method_that_does() -> None:
    target = sized(LINEAR, 3e-9)
    with pytest.raises(ParityError, match=r"what cancels in the module is .*write 1e-08\*id for id"):
        solve(target, "id | 1", fill="dense")
    with pytest.raises(InfeasibleMorph, match=r"leaves a relative residual of .*use method='closed-form'"):
        solve(target, "id | 1", method="stepwise")
    assert solve(target, "id | 1", method="alternating").status is Status.INEXACT


@pytest.mark.parametrize("noise", [1e7, 1e12, 1e200])
def test_noise_of_any_size_is_no_bug(noise: float) -> None:
    with pytest.raises(ParityError, match="what cancels in the module is .*Remedy: pass a smaller noise="):
        solve(random_filter(LINEAR, 0), "1 > 1 | 1", noise=noise)


def test_rows_of_very_different_size_are_met_together() -> None:
    """Relative to the filter's norm, as everywhere: a row that is 1e-12 of it is rounding to the others."""
    rows = torch.logspace(6, -6, 4, dtype=torch.float64)[:, None]
    target = Filter.of(random_filter(LINEAR, 0).weight * rows, LINEAR)
    for graph in ("1 > 1", "id | 1 > 1", "1 | 1:2x > 1"):
        assert solve(target, graph).residual < 1e-14


def test_cancellation_is_the_sum_of_sizes_over_the_size_of_the_sum() -> None:
    graph = parse("1 | 1")
    one, two = (Filter.of(torch.tensor([[each]], dtype=torch.float64), ConvSpec(1, 1)) for each in (101.0, -100.0))
    target = Filter.of(torch.tensor([[1.0]], dtype=torch.float64), ConvSpec(1, 1))
    assert cancellation(graph, dict(zip((edge.name for edge in graph.edges), (one, two), strict=True)), target) == 201
