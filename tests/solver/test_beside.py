"""Births beside what stays: the core, branches that end in zeros or in twins whose readers cancel, and refusals."""

import re

import pytest
import torch
from tests.solver.births import assert_born, born_at, bound, planned, running, with_acts

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.filters import ConvSpec
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.beside import is_silent, part
from netmorph.solver.solution import Status

SITE = ConvSpec.same(4, 4, 3)
MIDDLE = "s-a:3x3, a-t:1x1, a-b:3x3, b-c:1x1, c-d:1x1, d-t:1x1"  # a and d are of the core, b and c a branch


@pytest.mark.parametrize(
    ("notation", "named", "core", "closing"),
    [
        ("3x3 | 3x3 > 3x3", {}, "s_t", {"a_t"}),
        ("id | 1x1 > 1x1 | 1x1 > 3x3", {}, "s_t", {"a_t", "b_t"}),
        ("3x3 > 3x3 | 3x3 > 1x1", {"a": "none"}, "s_a a_t", {"b_t"}),
        (MIDDLE, {"a": "none", "d": "none"}, "s_a a_t", {"d_t"}),
        (MIDDLE + ", a-d:3x3", {"a": "none", "d": "none"}, "s_a a_t d_t a_d", {"c_d"}),
        ("3x3 > 3x3 > 3x3", {"b": "none"}, "", {"b_t"}),
    ],
)
def test_the_core_is_what_no_activation_meets(
    notation: str, named: dict[str, str], core: str, closing: set[str]
) -> None:
    parted = part(*bound("zero", with_acts(notation, named), "relu"))
    assert ("" if parted.core is None else " ".join(edge.name for edge in parted.core.edges)) == core
    assert parted.closing == closing


@pytest.mark.parametrize("birth", ["zero", "cancel"])
@pytest.mark.parametrize("act", ["relu", "elu", "tanh", "sigmoid", "mish", "softplus"])
def test_any_activation(birth: str, act: str) -> None:
    assert_born(born_at(birth, "3x3 | 3x3 > 3x3", SITE, act), birth, act)


@pytest.mark.parametrize("birth", ["zero", "cancel"])
@pytest.mark.parametrize("notation", [MIDDLE, MIDDLE + ", a-d:3x3", "3x3 > 3x3 | 3x3 > 1x1"])
def test_cores_with_blobs(notation: str, birth: str) -> None:
    assert_born(
        born_at(birth, with_acts(notation, {"a": "none", "d": "none"} if "d" in notation else {"a": "none"}), SITE),
        birth,
    )


def silent(solution: object, graph: ModuleGraph, birth: str) -> bool:
    return is_silent(graph, part(*bound(birth, graph, "relu")), solution.filters)  # type: ignore[attr-defined]


def test_exactly_one_factor_is_zero() -> None:
    solution = born_at("zero", "3x3 | 3x3:2x > 1x1:2x > 3x3", SITE)
    zero = {name: not each.weight.any() for name, each in solution.filters.items()}
    assert zero == {"s_t": False, "s_a": False, "a_b": False, "b_t": True}
    assert silent(solution, solution.layout.graph, "zero")


@pytest.mark.parametrize(
    ("notation", "writer"),
    [
        ("3x3 | 3x3:2x > 3x3", "s_a"),
        ("3x3 | 3x3:2x > 3x3*dw:2x > 1x1", "s_a"),  # which passes on each twin by itself
        ("3x3 | 3x3:2x > 1x1*4:2x > 1x1*2", "a_b"),
    ],
)
def test_twins_are_neighbours_whose_readers_cancel(notation: str, writer: str) -> None:
    solution = born_at("cancel", notation, SITE)
    graph = solution.layout.graph
    last = solution.filters[graph.incoming["t"][-1].name].weight
    first = solution.filters[writer].weight
    assert torch.equal(last[:, ::2], -last[:, 1::2])
    assert last.all()
    assert torch.equal(first[::2], first[1::2])
    assert len(torch.unique(first.flatten(1), dim=0)) == len(first) // 2
    assert silent(solution, graph, "cancel")


def test_what_learned_is_no_longer_silent() -> None:
    for birth in ("zero", "cancel"):
        solution = born_at(birth, "3x3 | 3x3:2x > 3x3", SITE)
        solution.filters["a_t"].weight[0, 1] += 0.1
        assert not silent(solution, solution.layout.graph, birth)
    solution.filters["a_t"].weight[0, 1] -= 0.1
    solution.filters["s_a"].weight[0] *= 2
    assert not silent(solution, solution.layout.graph, "cancel")


def test_random_weights_have_hes_scale() -> None:
    weight = born_at("zero", "3x3 | 3x3:64x > 3x3", SITE).filters["s_a"].weight
    assert float(weight.std()) == pytest.approx((2 / 36) ** 0.5, rel=0.05)
    small, usual = (born_at("cancel", "3x3 | 3x3:64x > 3x3", SITE, noise=n).filters["a_t"].weight for n in (0.01, 0.5))
    torch.testing.assert_close(50 * small, usual)


@pytest.mark.parametrize(
    ("notation", "birth", "why"),
    [
        ("3x3 | 1x1", "zero", "need a branch with an activation"),
        ("3x3 | 3x3 > id", "zero", "edge 'a_t' ends a branch and has no weights that could be initialised as zero"),
        ("3x3 | 3x3:3 > 3x3", "cancel", "blob 'a' has an odd number of channels, 3"),
        ("3x3 | 3x3 > 3x3*dw", "cancel", "edge 'a_t' reads the channels of a pair separately"),
        ("3x3 | 3x3*dw > 3x3", "cancel", "edge 's_a' writes each channel once"),
        ("3x3 | 1x1 > 3x3:3 > 1x1", "cancel", "blob 'b' has an odd number of channels, 3"),
    ],
)
def test_refusals(notation: str, birth: str, why: str) -> None:
    for does in (born_at, planned):
        with pytest.raises(GraphError, match=re.escape(why)) as caught:
            does(birth, notation, SITE)
        assert caught.value.remedies
    if birth == "cancel":
        assert_born(born_at("zero", notation, SITE), "zero")


def test_twins_whose_readers_are_zero_would_stay_alike() -> None:
    with pytest.raises(GraphError, match=r"with noise=0 they would be zero.*birth='zero'"):
        born_at("cancel", "3x3 | 3x3 > 3x3", SITE, noise=0.0)
    assert_born(born_at("zero", "3x3 | 3x3 > 3x3", SITE, noise=0.0), "zero")


@pytest.mark.parametrize("graph", ["3x3 > 3x3", "s-b:3x3, b-t:3x3 {b: 2x}"])
def test_without_a_core_the_remedy_can_be_typed(graph: str) -> None:
    with pytest.raises(InfeasibleMorph, match="has no path without one") as caught:
        born_at("zero", graph, SITE)
    written = caught.value.remedies[0].removeprefix("write '").removesuffix("'")
    assert_born(born_at("zero", written, SITE), "zero")
    assert planned("zero", graph, SITE).remedies == caught.value.remedies
    assert born_at("zero", graph, SITE, keep_parent=True).status is Status.KEPT_PARENT


def test_a_core_that_holds_less_than_the_filter_takes_the_parents_edge() -> None:
    for birth in ("zero", "cancel"):
        solution = born_at(birth, "id | 3x3 > 3x3", SITE, keep_parent=True)
        assert solution.status is Status.KEPT_PARENT
        assert_born(solution, birth)


def test_strides_that_a_graph_names() -> None:
    site = ConvSpec.same(4, 4, 3, stride=2)
    for birth in ("zero", "cancel"):
        for graph in ("3x3 | 3x3 > 3x3", "3x3/2 | 3x3/2 > 3x3"):
            assert_born(born_at(birth, graph, site), birth)
        for graph in ("3x3 > 3x3", "3x3/2 > 3x3", "1x1/2 | 3x3/2 > 3x3"):
            assert_born(born_at(birth, graph, site, keep_parent=True), birth)


@pytest.mark.parametrize("birth", ["zero", "cancel"])
@pytest.mark.parametrize("norm", ["neutral", "group", "layer"])
def test_norms_are_within_the_branch_and_keep_the_function_in_train_mode_too(birth: str, norm: str) -> None:
    solution = born_at(birth, "3x3 | 3x3:2x > 3x3", SITE)
    module = running(solution, birth, "relu", torch.float64, norm=norm)
    assert list(module.norms) == ["s_a"]
    x = torch.randn(2, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(module.train()(x), module.eval()(x))
