"""What plan says before any work, and the pieces that only rare graphs reach."""

import json

import pytest
import torch
from tests.strategies import random_filter

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError
from netmorph.filters import ConvSpec, Filter
from netmorph.graph.catalogue import catalogue
from netmorph.graph.layout import lay_out
from netmorph.graph.notation import parse
from netmorph.solver import Status, module_filter, plan_site, solve
from netmorph.solver import solve as package_solve
from netmorph.solver.equation import fixed_filter
from netmorph.solver.inverse import Inverse
from netmorph.solver.noise import semi_orthogonal

SITE = ConvSpec.same(4, 6, stride=2)


def test_plan_counts_weights_and_macs_per_output_position() -> None:
    plan = plan_site("3x3:8 > 1x1", SITE)
    assert (plan.params, plan.macs) == (8 * 4 * 9 + 6 * 8, 8 * 4 * 9 + 6 * 8)
    assert (plan.parent_params, plan.parent_macs) == (6 * 4 * 9, 6 * 4 * 9)
    late = plan_site("3x3:8 > 1x1/2", SITE)
    assert late.macs == 4 * 8 * 4 * 9 + 6 * 8, "an edge before the stride runs at four times the positions"


def test_plan_prints_and_serialises() -> None:
    plan = plan_site(catalogue["module_d"], SITE)
    text = str(plan)
    assert "complex (irreducible core of 7 edges), 4 paths" in text
    assert "exact     yes" in text
    assert json.loads(json.dumps(plan.to_dict()))["feasible"] is True
    refused = plan_site("3x3:2 > 1x1", SITE)
    assert "missing   2 of the site's 6 output channels get through 'a' (2 channels)" in str(refused)
    assert "remedy    widen to a: 6" in str(refused)
    assert refused.to_dict()["bottleneck"] == ["a"]


@pytest.mark.parametrize("graph", ["3x3 > 3x3", "3x3:4x > 3x3", "3x3:2x > 3x3 | 1x1", "1x1 > 3x3", "id > 3x3 > id"])
@pytest.mark.parametrize("stride", [1, 2])
def test_dense_plans_know_what_the_solver_does(graph: str, stride: int) -> None:
    site = ConvSpec.same(4, 4, 3, stride=stride)
    plan = plan_site(graph, site, fill="dense", seed=3)
    target = torch.randn(site.weight_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    if plan.feasible:
        solution = solve(target, graph, spec=site, fill="dense", seed=3)
        assert solution.status is Status.EXACT
        assert solution.layout == plan.layout
    else:
        assert plan.missing or plan.feasible is False
        with pytest.raises((InfeasibleMorph, GraphError)):
            solve(target, graph, spec=site, fill="dense", seed=3, max_iter=3)


def test_dense_plans_of_other_padding_are_refused_as_the_morph_is() -> None:
    with pytest.raises(GraphError, match="a halo needs zero padding"):
        plan_site("3x3:4x > 3x3", SITE.with_(padding_mode="reflect"), fill="dense")


def test_dense_plans_are_undecided_where_pointwise_refuses() -> None:
    assert plan_site("3x3:2 > 1x1", SITE, fill="dense").feasible is None
    assert plan_site("3x3 > 1x1", SITE, fill="dense").feasible is True


def test_graphs_that_fit_in_no_way_raise() -> None:
    with pytest.raises(GraphError, match="joins 4 to 6 channels"):
        plan_site("3x3 | id", SITE)
    with pytest.raises(GraphError, match="3 dimensions, the site has 2"):
        plan_site("3x3x3 > 1", SITE)


def test_module_filter_of_bare_tensors() -> None:
    graph = parse("3x3:2*2 > 1x1 | 3x3*dw")
    weights = {"s_a": torch.randn(2, 2, 3, 3), "a_t": torch.randn(4, 2, 1, 1), "s_t": torch.randn(4, 1, 3, 3)}
    x = torch.randn(1, 4, 6, 6)
    whole = module_filter(graph, weights)
    made = torch.nn.functional.conv2d(x, whole.dense().weight, padding=1)
    inner = torch.nn.functional.conv2d(x, weights["s_a"], padding=1, groups=2)
    outer = torch.nn.functional.conv2d(inner, weights["a_t"])
    torch.testing.assert_close(made, outer + torch.nn.functional.conv2d(x, weights["s_t"], padding=1, groups=4))
    with pytest.raises(GraphError, match="'a_t' has no filter"):
        module_filter(graph, {"s_a": weights["s_a"]})


def test_module_filter_of_depthwise_tensors_with_a_multiplier() -> None:
    """Their groups are the channels that they read, which the tensor does not tell."""
    weights = {"s_a": torch.randn(4, 3, 1, 1), "a_b": torch.randn(8, 1, 3, 3), "b_t": torch.randn(5, 8, 1, 1)}
    x = torch.randn(1, 3, 6, 6)
    inner = torch.nn.functional.conv2d(x, weights["s_a"])
    inner = torch.nn.functional.conv2d(inner, weights["a_b"], padding=1, groups=4)
    wanted = torch.nn.functional.conv2d(inner, weights["b_t"])
    whole = module_filter("1x1 > 3x3*dw:8 > 1x1", weights).dense().weight
    torch.testing.assert_close(torch.nn.functional.conv2d(x, whole, padding=1), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        GraphError, match="the number of channels of its source 's' is unknown.*pass Filters, not tensors"
    ):
        module_filter("3x3*dw > 1x1", {"s_a": torch.randn(8, 1, 3, 3), "a_t": torch.randn(5, 8, 1, 1)})


def test_module_filter_of_tensors_beside_edges_without_weights() -> None:
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(4, 4, 3, 3)
    whole = module_filter("3x3 | 0.5*id | avg3x3 > id", {"s_t": weight}).dense().weight
    wanted = torch.nn.functional.conv2d(x, weight, padding=1) + 0.5 * x + torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, whole, padding=1), wanted, rtol=1e-4, atol=1e-5)
    same = module_filter("3x3*dw | id", {"s_t": torch.ones(4, 1, 3, 3), "s_t_2": torch.ones(4, 1, 1, 1)})
    assert same.groups == 4
    assert same.weight[:, 0, 1, 1].tolist() == [2.0] * 4
    with pytest.raises(GraphError, match="'s_t' has no filter"):
        module_filter("id", {})


def test_fixed_filter_of_an_edge_with_weights() -> None:
    graph = parse("3x3")
    layout = lay_out(graph, SITE, (frozenset("s"),) * 2, frozenset("s"))
    with pytest.raises(GraphError, match="has weights"):
        fixed_filter(graph.edges[0], layout.specs["s_t"])


@pytest.mark.parametrize("size", [2, 3, 8, 257, 300, 529])
def test_square_noise_is_a_rotation(size: int) -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(4):
        matrix = semi_orthogonal(3, size, size, random)
        torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(matrix @ matrix.mT, torch.eye(size, dtype=torch.float64).expand(3, size, size))


@pytest.mark.parametrize(("rows", "cols"), [(4, 7), (7, 4), (300, 40), (40, 300), (700, 512)])
def test_noise_is_semi_orthogonal_and_mixed(rows: int, cols: int) -> None:
    matrix = semi_orthogonal(2, rows, cols, torch.Generator().manual_seed(3))
    gram = matrix @ matrix.mT if rows <= cols else matrix.mT @ matrix
    few = min(rows, cols)
    torch.testing.assert_close(gram, torch.eye(few, dtype=torch.float64).expand(2, few, few), rtol=0, atol=1e-12)
    if max(rows, cols) > 256:
        kurtosis = float((matrix**4).mean() / (matrix**2).mean() ** 2)
        assert kurtosis < 12, "a Gaussian has 3, a product of two 9, a permutation as many as there are rows"
        assert float((matrix != 0).double().mean()) > 0.95


@pytest.mark.parametrize("rows", [20, 600])
def test_inverse_tells_condition_and_rank(rows: int) -> None:
    matrix = semi_orthogonal(1, rows, rows + 5, torch.Generator().manual_seed(1))
    assert Inverse.of(matrix).condition == 1.0
    stretched = torch.diag(torch.linspace(1, 5, rows, dtype=torch.float64)) @ matrix
    inverse = Inverse.of(stretched)
    assert inverse.condition == pytest.approx(5, rel=1e-6)
    assert inverse.inverse is not None
    eye = torch.eye(rows, dtype=torch.float64)
    torch.testing.assert_close((stretched @ inverse.inverse)[0], eye, rtol=0, atol=1e-12)
    poor = matrix.clone()
    poor[:, 0] = poor[:, 1]
    assert not Inverse.of(poor).full_rank
    assert Inverse.of(poor).share == pytest.approx((rows - 1) / rows)
    assert not Inverse.of(matrix[:, :, : rows - 1]).full_rank


def test_keep_parent_under_every_method() -> None:
    site = ConvSpec.same(4, 4)
    target = random_filter(site, 0)
    for options in (
        {},
        {"method": "stepwise"},
        {"method": "alternating", "max_iter": 2},
        {"fill": "dense", "max_iter": 2},
    ):
        solution = solve(target, "1x1:1 > 3x3:1 > 1x1", spec=site, keep_parent=True, **options)  # type: ignore[arg-type]
        assert solution.status is Status.KEPT_PARENT, options
        assert solution.residual < 1e-10
        assert [edge.name for edge in solution.layout.graph.edges][-1] == "parent"


def test_keep_parent_of_a_strided_dilated_site_with_named_strides() -> None:
    site = ConvSpec.same(4, 4, stride=2, dilation=2)
    solution = solve(random_filter(site, 0), "1x1:1 > 3x3/2", spec=site, keep_parent=True)
    assert solution.status is Status.KEPT_PARENT
    assert solution.residual < 1e-10


def test_a_false_promise_is_called_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("netmorph.solver.solve", fromlist=["solve"])
    monkeypatch.setattr(module, "residual_of", lambda *_: 1.0)
    with pytest.raises(NetmorphError, match="a bug in netmorph"):
        package_solve(torch.randn(4, 4, 3, 3), "3x3 > 1x1")


def test_dense_fill_with_fixed_edges() -> None:
    site = ConvSpec.same(3, 3)
    target = random_filter(site, 0)
    assert solve(target, "0.5*id | 3x3:8x > 3x3", spec=site, fill="dense").residual < 1e-10
    assert solve(target, "id > 1x1 > 3x3", spec=site, fill="dense").residual < 1e-10
    with pytest.raises(GraphError, match="no cut at an end"):
        solve(target, "id > 3x3 > id", spec=site, fill="dense")


def test_a_grouped_middle_edge_is_iterated() -> None:
    site = ConvSpec.same(4, 4, 1)
    solution = solve(random_filter(site, 0), "1x1:8x > 1x1*dw:8x > 1x1", spec=site)
    assert solution.residual < 1e-10
    lone = ConvSpec.same(2, 2)
    target = Filter.of(random_filter(lone, 0).weight, lone)
    with pytest.raises(InfeasibleMorph):
        solve(target, "1x1:1x > 3x3*dw:1x > 1x1", spec=lone)
