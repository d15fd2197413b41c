"""Cases that once fooled a design, each by name."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.solver.test_exactness import assert_exact
from tests.strategies import random_filter
from torch import nn

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError
from netmorph.filters import ConvSpec, Filter
from netmorph.filters.compose import compose, morphism_count_suffices
from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.solver import Status, module_filter, plan_site, solve
from netmorph.solver.candidates import judge, layouts
from netmorph.solver.toeplitz import Unknown, _left


@pytest.mark.parametrize("channels", [2, 8, 16, 64])
@pytest.mark.parametrize("graph", ["3x3 > (id | 1x1)", "3x3 > (1x1 | 1x1 > 1x1)", "3x3 > (id | 1x1 | 1x1 > 1x1)"])
def test_orthogonal_sums_do_not_cancel(graph: str, channels: int) -> None:
    site = ConvSpec.same(channels, channels)
    for seed in range(10):
        solution = solve(random_filter(site, seed), graph, spec=site, seed=seed)
        assert solution.residual < 1e-12
        assert solution.stats["condition"] < 100


@pytest.mark.parametrize("channels", [4, 16, 64, 300])
@pytest.mark.parametrize(
    "graph",
    [
        "1 > (1:0.5x > 1 | 1:0.5x > 1)",
        "1 > (1:0.5x > (1:0.25x > 1 | 1:0.25x > 1) | 1:0.5x > 1)",
        "1 > (1:0.5x > 1:0.5x > 1 | 1:0.5x > 1) > 1",
        "(1:0.5x > (1:0.25x > 1 | 1:0.25x > 1) | 1:0.5x > 1) > 1",
    ],
)
def test_branches_that_fork_and_join_again_do_not_cancel(graph: str, channels: int) -> None:
    """Drawn each by itself, they had conditions of 50 to 1000, which cost float16 and float32 their parity."""
    site = ConvSpec(channels, channels)
    for seed in range(3):
        solution = solve(random_filter(site, seed), graph, spec=site, seed=seed)
        assert solution.residual < 1e-12
        assert solution.stats["condition"] < 2


def test_identities_carry_flow_but_not_rank() -> None:
    graph = ModuleGraph.from_edges(
        [
            ("s", "a", 3),
            ("s", "b", 3),
            *[(u, v, 1, _identity()) for u in "ab" for v in "cd"],
            ("c", "t", 1),
            ("d", "t", 1),
        ],
        widths=dict.fromkeys("abcd", 4),
    )
    site = ConvSpec.same(8, 8)
    verdicts = [judge(layout) for layout in layouts(graph, site) if not isinstance(layout, GraphError)]
    assert not any(verdict.feasible for verdict in verdicts)
    assert any(verdict.feasible is None for verdict in verdicts), "the flow suffices, so ranks must decide"
    assert plan_site(graph, site).feasible is False
    with pytest.raises(InfeasibleMorph, match="lack rank"):
        solve(random_filter(site, 0), graph, spec=site)


def _identity() -> dict[str, object]:
    return {"fixed": parse("id").edges[0].fixed}


SITES = {
    "no padding": ConvSpec(3, 6, (3, 3), padding=((0, 0), (0, 0))),
    "11x11 stride 4 padding 2": ConvSpec(3, 6, (11, 11), (4, 4), padding=((2, 2), (2, 2))),
    "even kernel": ConvSpec(4, 6, (2, 4), padding=((0, 0), (1, 1))),
    "even kernel stride 2 (patches)": ConvSpec(3, 8, (4, 4), (4, 4)),
    "padding same, even": ConvSpec.same(4, 4, 4),
    "dilated": ConvSpec.same(4, 4, 3, dilation=2),
    "more padding than kernel": ConvSpec(4, 4, (1, 1), padding=((2, 1), (0, 3))),
    "one dimension": ConvSpec.same(4, 6, 5, dims=1, stride=2),
    "three dimensions": ConvSpec(2, 4, (3, 2, 1), padding=((1, 1), (0, 1), (0, 0))),
    "linear": ConvSpec(5, 7),
}


@pytest.mark.parametrize("graph", ["{0} > 1", "1 > {0} | 1", "{0} | {0} > 1 > 1", "{0}:3x > (1 | 1 > 1) > 1"])
@pytest.mark.parametrize("name", SITES)
def test_geometry(name: str, graph: str) -> None:
    site = SITES[name]
    text = graph.format("x".join(map(str, site.kernel)) or "1")
    target = random_filter(site, 1)
    solution = solve(target, text, spec=site, seed=2)
    assert solution.status is Status.EXACT
    assert_exact(target, site, solution)


@pytest.mark.parametrize(
    ("counts", "unknowns", "equations", "rank"), [((1, 1, 3, 3, 3), 27, 25, 24), ((1, 1, 2, 5, 3), 50, 49, 41)]
)
def test_eq_3_is_a_count_and_not_sufficient(counts: tuple[int, ...], unknowns: int, equations: int, rank: int) -> None:
    c_out, c_in, c_mid, k1, k2 = counts
    assert morphism_count_suffices(c_out, c_in, c_mid, k1, k2)
    inner, outer = ConvSpec.same(c_in, c_mid, k1), ConvSpec.same(c_mid, c_out, k2)
    after = random_filter(outer, 0)
    whole = compose(after, random_filter(inner, 1))
    grid = (whole.offset, whole.dilation, whole.kernel)
    matrix = _left(Unknown(inner, after, None), grid, c_out)
    assert matrix.shape == (equations, unknowns)
    assert int(torch.linalg.matrix_rank(matrix)) == rank


def test_taps_on_both_sides_need_more_width() -> None:
    site = ConvSpec.same(4, 4)
    for good, bad in (
        ("1x3:3x > 3x1", "1x3:2x > 3x1"),
        ("3x3*dw:9x > 1x1", "3x3*dw:2x > 1x1"),
        ("3x1:3x > 1x3", "3x1 > 1x3"),
    ):
        assert_exact(random_filter(site, 0), site, solve(random_filter(site, 0), good, spec=site))
        with pytest.raises(InfeasibleMorph):
            solve(random_filter(site, 0), bad, spec=site)


def test_middle_cut_of_several_edges_is_undecided_above_32_channels() -> None:
    graph = "s-a:1x1, s-b:1x1, a-c:3x3, b-d:3x3, c-t:1x1, d-t:1x1"
    wide = parse(graph, widths=dict.fromkeys("abcd", "2x"))
    small, large = ConvSpec.same(4, 4), ConvSpec.same(40, 40)
    assert plan_site(wide, small).feasible is True
    plan = plan_site(wide, large)
    assert plan.feasible is None
    assert "residual" in plan.reason
    solution = solve(random_filter(large, 0), wide, spec=large)
    assert solution.status.exact
    assert 0 < solution.stats["iterations"] < 100
    assert_exact(random_filter(small, 0), small, solve(random_filter(small, 0), wide, spec=small))


@pytest.mark.parametrize("channels", [4, 16])
@pytest.mark.parametrize(
    "graph",
    [
        "1x1 > 3x3:0.5x > 1x1 | 3x3:0.5x > 1x1 > 1x1",
        "3x3:0.5x > 1x1 > 1x1 | 1x1 > 3x3:0.5x > 1x1",
        "1x1 > 1x1 > 3x3:0.5x > 1x1 | 3x3:0.5x > 1x1 > 1x1 | 1x1 > 3x3:0.25x > 1x1 > 1x1",
    ],
)
def test_the_order_of_branches_decides_nothing(graph: str, channels: int) -> None:
    """No cut at one depth, or along the edges' order, met every branch at its 3x3."""
    site = ConvSpec.same(channels, channels)
    branches = graph.split(" | ")
    for turn in range(len(branches)):
        turned = " | ".join((*branches[turn:], *branches[:turn]))
        solution = solve(random_filter(site, turn), turned, spec=site)
        assert solution.status is Status.EXACT
        assert_exact(random_filter(site, turn), site, solution)


def test_a_special_target_fits_where_a_generic_one_does_not() -> None:
    site = ConvSpec.same(6, 6)
    weight = torch.zeros(6, 6, 3, 3, dtype=torch.float64)
    weight[..., 1, 1] = torch.eye(6, dtype=torch.float64)
    target = Filter.of(weight, site)
    solution = solve(target, "1x1 > 1x1", spec=site)
    assert solution.status is Status.EXACT_FOR_TARGET
    assert_exact(target, site, solution)
    with pytest.raises(InfeasibleMorph, match="8 of 9 kernel positions"):
        solve(random_filter(site, 0), "1x1 > 1x1", spec=site)


@pytest.mark.parametrize("keep_parent", [False, True])
@pytest.mark.parametrize(("graph", "kernel", "wider"), [("1x1 | avg3x3 > 1x1", 1, "3x3"), ("avg5x5 | 1x1", 3, "5x5")])
def test_taps_of_pooling_that_nothing_cancels(graph: str, kernel: int, wider: str, keep_parent: bool) -> None:
    """They counted as taps of the site, and keep_parent was the remedy, which does not hold them."""
    site = ConvSpec.same(4, 4, kernel)
    message = f"taps of pooling.*beside the pooling a kernel of at least {wider}"
    with pytest.raises(InfeasibleMorph, match=message) as caught:
        solve(random_filter(site, 0), graph, spec=site, keep_parent=keep_parent)
    assert "keep_parent" not in str(caught.value)
    mended = graph.replace("1x1", wider)
    assert solve(random_filter(site, 0), mended, spec=site).status is Status.EXACT
    assert not any("keep_parent" in remedy for remedy in plan_site(graph, site).remedies)


def test_what_is_kept_already_is_no_remedy() -> None:
    with pytest.raises(InfeasibleMorph) as caught:
        solve(random_filter(ConvSpec.same(4, 4), 0), "avg5x5 | 3x3", keep_parent=True)
    assert "keep_parent" not in str(caught.value)


def test_bottleneck_is_named_and_its_remedy_works() -> None:
    site = ConvSpec.same(8, 8)
    with pytest.raises(InfeasibleMorph, match=r"widen to a: 8") as caught:
        solve(random_filter(site, 0), "3x3:5 > 1x1", spec=site)
    assert "'a' (5 channels)" in caught.value.missing
    assert "keep_parent=True" in str(caught.value)
    assert solve(random_filter(site, 0), "3x3:8 > 1x1", spec=site).status is Status.EXACT
    plan = plan_site("3x3:5 > 1x1", site)
    assert plan.feasible is False
    assert plan.bottleneck == ("a",)


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_grouped_sites(groups: int) -> None:
    site = ConvSpec.same(8, 8, groups=groups)
    for graph in (f"3x3*{groups} > 1x1*{groups} | 3x3*{groups}", "3x3 > 1x1", f"3x3*{groups}:2x > 1x1*{groups}"):
        solution = solve(random_filter(site, 0), graph, spec=site)
        assert_exact(random_filter(site, 0), site, solution)


def test_depthwise_site_stays_depthwise() -> None:
    site = ConvSpec.same(6, 6, 7, groups=6)
    solution = solve(random_filter(site, 0), "7x7*dw > 1x1*dw | 3x3*dw", spec=site)
    assert [filter_.groups for filter_ in solution.filters.values()] == [6, 6, 6]
    assert_exact(random_filter(site, 0), site, solution)


def test_named_strides_must_multiply_to_the_sites() -> None:
    site = ConvSpec.same(4, 4, stride=4)
    assert_exact(random_filter(site, 0), site, solve(random_filter(site, 0), "3x3/2 > 1x1/2", spec=site))
    with pytest.raises(GraphError, match="strides multiply to 2, the site's stride is 4"):
        solve(random_filter(site, 0), "3x3/2 > 1x1", spec=site)


def test_a_ladder_of_2_to_the_40_paths_ends() -> None:
    text = " > ".join(["(1x1 | 1x1)"] * 40)
    site = ConvSpec.same(4, 4, 1)
    plan = plan_site(text, site)
    assert plan.paths == 2**40
    solution = solve(random_filter(site, 0), text, spec=site)
    module = module_filter(parse(text), solution.filters)
    torch.testing.assert_close(module.weight, random_filter(site, 0).weight, rtol=0, atol=1e-10)


def test_the_same_seed_gives_the_same_filters_and_another_others() -> None:
    site = ConvSpec.same(4, 4)
    first, again, other = (solve(random_filter(site, 0), catalogue["module_d"], spec=site, seed=s) for s in (5, 5, 6))
    state = torch.random.get_rng_state()
    assert all(torch.equal(first.filters[n].weight, again.filters[n].weight) for n in first.filters)
    assert not any(torch.equal(first.filters[n].weight, other.filters[n].weight) for n in first.filters)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_same_seed_of_another_integer_type_or_default_dtype() -> None:
    site = ConvSpec.same(8, 8)
    graph = "3x3 > 1x1 | 3x3"
    first = solve(random_filter(site, 0), graph, spec=site, seed=3)
    numpy = solve(random_filter(site, 0), graph, spec=site, seed=np.int64(3))  # type: ignore[arg-type]
    torch.set_default_dtype(torch.float64)
    try:
        double = solve(random_filter(site, 0), graph, spec=site, seed=3)
    finally:
        torch.set_default_dtype(torch.float32)
    for name, each in first.filters.items():
        assert torch.equal(each.weight, numpy.filters[name].weight)
        assert torch.equal(each.weight, double.filters[name].weight)


def test_parallel_twins_differ() -> None:
    site = ConvSpec.same(4, 4)
    twins = solve(random_filter(site, 0), "3x3 | 3x3", spec=site).filters
    left, right = (f.weight for f in twins.values())
    assert float((left - right).norm()) > 0.2 * float(left.norm())


def test_layers_and_bare_weights_are_targets() -> None:
    layer = nn.Conv2d(4, 6, 3, stride=2, padding="valid")
    assert solve(layer, "3x3 > 1x1").status is Status.EXACT
    assert solve(nn.Linear(4, 6), "1 > 1 | 1").status is Status.EXACT
    assert solve(torch.randn(6, 4, 3), "3 > 1", stride=2, padding=0).layout.site.padding == ((0, 0),)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.full((2, 2, 3, 3), float("nan")), "not all finite"),
        (torch.full((2, 2, 3, 3), 1e200, dtype=torch.float64), "too large: their norm overflows"),
        (torch.zeros(2, 2, 3, 3, dtype=torch.int64), "not floating point"),
        (torch.zeros(2, 2, 3, 3, device="meta"), "on the meta device"),
        (
            torch.zeros(2, 2, 3, 3, dtype=torch.float8_e4m3fn),
            "float8_e4m3fn, which is not supported",
        ),
        (nn.Conv2d(2, 2, 3, device="meta"), "on the meta device"),
        (torch.zeros(3), "0 to 3 spatial dimensions"),
        (nn.ConvTranspose2d(2, 2, 3), "neither a convolution nor a linear layer"),
    ],
)
def test_bad_targets(target: torch.Tensor | nn.Module, message: str) -> None:
    with pytest.raises(NetmorphError, match=message):
        solve(target, "3x3 > 1x1")


@pytest.mark.parametrize(
    "options", [{}, {"fill": "dense"}, {"method": "stepwise"}, {"method": "alternating", "keep_parent": True}], ids=str
)
def test_a_residual_that_is_no_number_is_no_success(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("netmorph.solver.solve", fromlist=["solve"])
    monkeypatch.setattr(module, "residual_of", lambda *_: float("nan"))
    site = ConvSpec.same(4, 4)
    with pytest.raises(NetmorphError):
        solve(random_filter(site, 0), "3x3:6x > 1x1", spec=site, max_iter=2, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("graph", "options"),
    [
        ("3x3 > 1x1", {}),
        ("1x1 > 3x3 > 1x1", {}),
        ("0.5*id | 3x3 > 1x1", {}),
        ("3x3:6x > 3x3", {"fill": "dense"}),
        ("3x3 > 1x1 | 1x1", {"method": "stepwise"}),
        ("5x5:2x > 1x1 | 3x3", {"method": "alternating"}),
        ("1x1:1 > 3x3:1 > 1x1", {"keep_parent": True}),
    ],
)
def test_filters_come_back_in_the_dtype_asked_for(graph: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    site = ConvSpec.same(4, 4)
    target = random_filter(site, 0)
    solution = solve(target, graph, spec=site, dtype=dtype, **options)
    assert {each.weight.dtype for each in solution.filters.values()} == {dtype}
    exact = solve(target, graph, spec=site, **options)
    assert solution.residual == exact.residual < 1e-10
    for name, each in exact.filters.items():
        assert torch.equal(solution.filters[name].weight, each.weight.to(dtype))


def test_bad_options() -> None:
    weight = torch.randn(2, 2, 3, 3)
    with pytest.raises(NetmorphError, match="unknown method 'magic'.*method is 'closed-form', 'alternating' or"):
        solve(weight, "3x3 > 1x1", method="magic")  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match="noise must be finite"):
        solve(weight, "3x3 > 1x1", noise=-1)
    with pytest.raises(NetmorphError, match="noise must be finite .* got None"):
        solve(weight, "3x3 > 1x1", noise=None)  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match=r"expected an integer as seed, got 1\.5"):
        solve(weight, "3x3 > 1x1", seed=1.5)  # type: ignore[arg-type]
    for named in ({"stride": 2.0}, {"stride": "2"}, {"dilation": None}, {"padding": 1.5}):
        with pytest.raises(GraphError, match="must be an integer, or one for each dimension, got"):
            solve(weight, "3x3 > 1x1", **named)  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match="expected a floating-point dtype, got torch.int64"):
        solve(weight, "3x3 > 1x1", dtype=torch.int64)
    with pytest.raises(NetmorphError, match="padding must be a number"):
        solve(weight, "3x3 > 1x1", padding="reflect")
    with pytest.raises(GraphError, match="no weights but joins"):
        solve(torch.randn(4, 2, 3, 3), "3x3 | id")


@pytest.mark.parametrize(
    "graph", ["3x3*dw > 1x1", "3x3*dw:2x > 1x1", "1x1 > 3x3*dw:5x > 1x1", "3x3:0.5x*4 > 1x1 > 1x1"]
)
def test_large_grouped_edges_that_fit_no_target_are_refused(graph: str) -> None:
    """A matrix that is applied as it was drawn once met the blocks of a depthwise edge."""
    site = ConvSpec.same(264, 264)
    assert plan_site(graph, site).feasible is False
    with pytest.raises(InfeasibleMorph, match="cannot represent"):
        solve(random_filter(site, 0), graph, spec=site)


@pytest.mark.parametrize("channels", [12, 264])
@pytest.mark.parametrize(
    "graph",
    [
        "3x3*dw:9x > 1x1",
        "1x1 > 3x3*dw:9x > 1x1",
        "1x1:2x > 3x3*dw:18x > 1x1",
        "3x3:2x > 1x1",
        "3x3*4:12x > 1x1",
        "3x3 > 1x1 | 3x3*dw",
        "1x3:3x > 3x1",
    ],
)
def test_both_sides_of_the_size_from_which_matrices_stay_as_drawn(graph: str, channels: int) -> None:
    site = ConvSpec.same(channels, channels)
    if channels > 100 and "18x" in graph:
        site = ConvSpec.same(30, 30)
    target = random_filter(site, 0)
    solution = solve(target, graph, spec=site)
    assert solution.status.exact
    assert solution.stats["condition"] < 10
    made = module_filter(solution.layout.graph, solution.filters).place(target.offset, target.dilation, target.kernel)
    assert float((made.dense().weight - target.weight).norm()) < 1e-12 * float(target.weight.norm())


def test_a_zero_target() -> None:
    site = ConvSpec.same(4, 4)
    solution = solve(torch.zeros(4, 4, 3, 3), "3x3 > 1x1 | 3x3", spec=site)
    assert float(module_filter(solution.layout.graph, solution.filters).weight.abs().max()) < 1e-12
    assert all(float(f.weight.norm()) > 0 for f in solution.filters.values()), "a dead edge cannot learn"


@pytest.mark.parametrize("channels", [16, 300])
@pytest.mark.parametrize("name", ["resnet_morph_1c1", "resnet_morph_1c1_2branch", "lora"])
def test_taps_that_fewer_edges_carry_are_solved_by_those_alone(name: str, channels: int) -> None:
    """The corner taps have one carrier; drawn together with the others', its noise once had rank 1 and no inverse."""
    site = ConvSpec.same(channels, channels)
    solution = solve(random_filter(site, 1), catalogue[name], spec=site)
    assert solution.residual < 1e-12
    assert solution.stats["condition"] < 2
    assert solution.stats["draws"] == 1
