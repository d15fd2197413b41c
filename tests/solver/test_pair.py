"""Births in pairs: the halved graph, the lifting, and the edges that keep channels apart."""

import re
from dataclasses import replace

import pytest
import torch
from tests.oracles import distance, path_sum, taps_of
from tests.solver.births import assert_born, born_at, bound, planned, with_acts
from tests.strategies import random_filter

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.filters import ConvSpec
from netmorph.graph.layout import resolve_widths
from netmorph.solver.pair import halve, lowered
from netmorph.solver.solution import Status

SITE = ConvSpec.same(4, 4, 3)
LEAKY = "leakyrelu(negative_slope=0.2)"


def test_an_edge_is_doubled_and_signed() -> None:
    solution = born_at("pair", "3x3:4x > 1x1:4x > 3x3", SITE, LEAKY)
    first, middle, last = (solution.filters[name].weight for name in ("s_a", "a_b", "b_t"))
    assert torch.equal(first[1::2], -first[::2])
    assert torch.equal(middle[1::2], -middle[::2])
    assert torch.equal(middle[:, 1::2], -middle[:, ::2])
    assert torch.equal(last[:, 1::2], -last[:, ::2])


MODULE_D = "s-a:3x3, s-b:3x3, a-c:3x3, b-c:1x1, a-t:1x1, c-t:1x1, b-t:1x1 {a: 2x, b: 2x, c: 2x}"


@pytest.mark.parametrize("notation", ["3x3:4x > 3x3", "3x3:4x > 1x1:4x > 3x3 | 1x1", MODULE_D])
@pytest.mark.parametrize("act", ["relu", LEAKY])
def test_the_odd_part_is_the_target(notation: str, act: str) -> None:
    """A phi with `phi(x) - phi(-x) = c x` is `c / 2 x` and something even, which cancels: a second oracle, by paths."""
    site = ConvSpec.same(2, 2, 3)
    solution = born_at("pair", notation, site, act)
    half = (1.2 if act == LEAKY else 1.0) / 2
    filters = {
        edge.name: replace(
            solution.filters[edge.name],
            weight=solution.filters[edge.name].weight * (1 if edge.source == "s" else half),
        )
        for edge in solution.layout.graph.edges
    }
    assert distance(path_sum(solution.layout.graph, filters), taps_of(random_filter(site, 1))) <= 1e-10


EXACT = {
    "a kernel between two ReLUs": ("3x3:2x > 3x3*dw:2x > 1x1", "relu", {}),
    "two of them": ("3x3:2x > 3x3*dw:2x > 3x3*dw:2x > 1x1", "relu", {}),
    "an even kernel": ("3x3:2x > 2x2*dw:2x > 1x1", "relu", {}),
    "a dilated kernel": ("3x3:2x > 3x3~2*dw:2x > 1x1", "relu", {}),
    "between LeakyReLUs": ("3x3:2x > 3x3*dw:2x > 1x1", LEAKY, {}),
    "between ReLU and LeakyReLU": ("3x3:2x > 3x3*dw:2x > 1x1", "relu", {"b": LEAKY}),
    "a kernel before no activation": ("3x3:2x > 3x3*dw:2x > 1x1", "gelu", {"b": "none"}),
    "the same under taps": ("1x1:18x > 3x3*dw:18x > 1x1", "silu", {"b": "none"}),
    "an identity": ("s-a:3x3, a-b:id, b-t:1x1 {a: 2x, b: 2x}", "relu", {}),
    "a scaled identity": ("s-a:3x3, a-b:0.5*id, b-t:1x1 {a: 2x, b: 2x}", LEAKY, {}),
    "an identity before no activation": ("s-a:3x3, a-b:-0.5*id, b-t:1x1 {a: 2x, b: 2x}", "gelu", {"b": "none"}),
    "a mean between ReLUs": ("s-a:5x5, a-b:avg3x3, b-t:5x5, s-t:3x3 {a: 2x, b: 2x}", "relu", {}),
    "a mean before no activation": ("s-a:5x5, a-b:avg3x3, b-t:5x5, s-t:3x3 {a: 2x, b: 2x}", "gelu", {"b": "none"}),
    "a kernel from no activation": ("3x3*dw:18x > 1x1", "gelu", {}),
    "groups of whole pairs": ("3x3:4x > 3x3*2:4x > 1x1", "gelu", {}),
    "pairs as groups of two": ("3x3:4x > 3x3*8:4x > 1x1", "gelu", {}),
    "several activations": ("3x3:4x > 1x1:4x > 3x3", "gelu", {"a": LEAKY}),
    "one blob without": ("3x3 > 1x1:4x > 3x3", "gelu", {"a": "none"}),
}


@pytest.mark.parametrize("case", EXACT)
def test_edges_that_keep_channels_apart(case: str) -> None:
    notation, act, named = EXACT[case]
    graph = with_acts(notation, named)
    assert planned("pair", graph, SITE, act).feasible is True
    assert_born(born_at("pair", graph, SITE, act), "pair", act)


@pytest.mark.parametrize("fill", ["pointwise", "dense"])
def test_a_kept_edge_of_a_strided_site(fill: str) -> None:
    for graph in ("3x3:2x > 3x3*dw:2x > 1x1", "3x3:2x > 3x3/2*dw:2x > 1x1"):
        assert_born(born_at("pair", graph, ConvSpec.same(4, 4, 3, stride=2), fill=fill), "pair")


APART = "acts on each channel separately and would break the pairs of 'a'"
REFUSED = {
    "GELU twice": ("3x3:2x > 3x3*dw:2x > 1x1", "gelu", {}, "only ReLU and LeakyReLU pass a pair on twice"),
    "more maps": ("3x3:2x > 3x3*dw:4x > 1x1", "relu", {}, "it changes the number of channels"),
    "more maps of no activation": (
        "3x3:8x > 1x1*dw:16x > 1x1",
        "gelu",
        {"b": "none"},
        "changes the number of channels",
    ),
    "beside another edge": ("s-a:3x3, a-b:id, s-b:3x3, b-t:1x1 {a: 2x, b: 2x}", "relu", {}, "shares the blob"),
    "a negative factor": (
        "s-a:3x3, a-b:-1*id, b-t:1x1 {a: 2x, b: 2x}",
        "relu",
        {},
        "only positive factors keep the signs",
    ),
    "a mean of LeakyReLU": ("s-a:3x3, a-b:avg3x3, b-t:3x3 {a: 2x, b: 2x}", LEAKY, {}, "a mean over several taps"),
    "into the sink": ("s-a:3x3, a-t:id, s-t:3x3", "relu", {}, "'t' is read without an activation"),
    "an identity of the source": (
        "s-a:id, a-t:3x3",
        "relu",
        {},
        "has no weights and cannot enter a blob whose channels are pairs",
    ),
    "groups that part pairs": ("3x3:3x > 3x3*4:3x > 1x1", "gelu", {}, "groups that would break the pairs of blob 'a'"),
    "one map of each channel": ("3x3*dw > 1x1", "relu", {}, "groups that would break the pairs of blob 'a'"),
    "an odd blob": ("3x3:1.25x > 3x3", "relu", {}, "an even number of channels, and blob 'a' has 5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_part_a_pair_is_refused(case: str) -> None:
    notation, act, named, why = REFUSED[case]
    graph = with_acts(notation, named)
    for does in (born_at, planned):
        with pytest.raises(GraphError, match=re.escape(why)) as caught:
            does("pair", graph, SITE, act)
        assert any("birth='slope'" in remedy for remedy in caught.value.remedies)


def test_the_remedies_of_groups_and_odd_blobs_work() -> None:
    assert planned("pair", "3x3*dw:2x > 1x1", ConvSpec.same(4, 4, 1)).feasible in (True, None)
    with pytest.raises(GraphError, match="give blob 'a' 24 channels"):
        planned("pair", "3x3:3x > 3x3*4:3x > 1x1", SITE)
    assert_born(born_at("pair", "3x3:6x > 3x3*4:6x > 1x1", SITE), "pair")


@pytest.mark.parametrize(
    "act", ["elu", "mish", "tanh", "selu", "softshrink", "relu6", "rrelu", "leakyrelu(negative_slope=-1)"]
)
def test_activations_without_pairs(act: str) -> None:
    with pytest.raises(GraphError, match=r"blob 'a' does not support birth='pair'.*birth='zero'"):
        born_at("pair", "3x3:4x > 3x3", SITE, act)


def test_half_widths_count_and_the_remedy_is_twice_the_channels() -> None:
    for graph in ("3x3 > 3x3", "3x3:1.5x > 1x1:3x > 1x1"):
        plan = planned("pair", graph, SITE)
        assert plan.feasible is False
        assert "half of the channels of 'a'" in plan.reason
        with pytest.raises(InfeasibleMorph) as caught:
            born_at("pair", graph, SITE)
        for remedies in (plan.remedies, caught.value.remedies):
            assert remedies[0] == "give the blobs with an activation twice the channels"
            assert "use birth='slope', which needs no pairs" in remedies
    assert planned("pair", "3x3:2x > 3x3", SITE).feasible is True
    assert planned("pair", "3x3:3x > 1x1:6x > 1x1", SITE).feasible is True


def test_twice_the_channels_is_no_remedy_where_slopes_could_not_either() -> None:
    with pytest.raises(InfeasibleMorph, match="kernel positions of the site") as caught:
        born_at("pair", "1x1:2x > 1x1", SITE)
    assert caught.value.remedies[0] == "give one edge of each path a kernel of at least 3x3"
    with pytest.raises(InfeasibleMorph, match="too narrow") as caught:
        born_at("pair", "3x3:0.5x > 3x3", SITE)
    assert caught.value.remedies[0] == "widen to a: 4; pairs need twice that"


def test_keep_parent_beside_pairs() -> None:
    solution = born_at("pair", "3x3 > 3x3", SITE, "gelu", keep_parent=True)
    assert solution.status is Status.KEPT_PARENT
    assert_born(solution, "pair", "gelu")


@pytest.mark.parametrize("case", EXACT)
def test_what_was_lifted_is_lowered_again(case: str) -> None:
    notation, act, named = EXACT[case]
    graph, acts = bound("pair", with_acts(notation, named), act)
    solution = born_at("pair", graph, SITE, act)
    halved = halve(graph, SITE, acts)
    found = lowered(halved, solution.layout, solution.filters)
    assert found is not None
    again = halved.filters(solution.layout, found)
    assert all(torch.allclose(again[name].weight, each.weight, rtol=1e-12) for name, each in solution.filters.items())
    entering = next(edge.name for edge in graph.edges if edge.sink in halved.pairs and edge.fixed is None)
    solution.filters[entering].weight[0] += 1e-3
    assert lowered(halved, solution.layout, solution.filters) is None


def test_the_halved_graph_is_linear_and_half_as_wide() -> None:
    graph, acts = bound("pair", "3x3:4x > 1x1 > 3x3 | 1x1:6 > 1x1", "relu")
    half = halve(graph, SITE, acts).graph
    assert not half.activations
    assert [resolve_widths(half, SITE)[blob] * 2 for blob in half.inner] == [
        resolve_widths(graph, SITE)[blob] for blob in graph.inner
    ]
