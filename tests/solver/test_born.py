"""Every birth of every graph of the catalogue and of random graphs is the layer, or is refused as the plan said."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.solver.births import PHI, assert_born, born_at, bound, planned, running, twice
from tests.strategies import module_graphs, random_filter, seeds, sites

from netmorph.errors import GraphError, InfeasibleMorph, NetmorphError
from netmorph.filters import ConvSpec
from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.births import prepare
from netmorph.solver.born import born
from netmorph.solver.solution import Status
from netmorph.solver.solve import Options

NO_TAPS = "kernel positions of the site are covered by no edge"
REFUSED = {  # of pairs, with twice the channels, at 3x3
    "bottleneck": "half of the channels of 'a', 'b'",
    "dbb": "'t' is read without an activation, or written by other edges, too",
    "inception": "edge 's_c' has no weights and cannot enter a blob whose channels are pairs",
    "inverted_residual": NO_TAPS,
    "inverted_residual_wide": "it changes the number of channels",
    "mlp": NO_TAPS,
    "morph_1c1": NO_TAPS,
    "morph_1c1_2branch": NO_TAPS,
}
HELD_BESIDE = ("bottleneck_beside", "dense", "lora")  # their core holds any filter
NO_CORE = "the graph has no path without one"
NO_BRANCH = "need a branch with an activation, and the graph has none"
NO_TWINS = "needs pairs of equal channels: edge 's_[ac]' writes each channel once"
NO_END = "ends a branch and has no weights that could be initialised as zero"


def beside(name: str) -> str:
    """Why a graph of the catalogue cannot be born beside its core at 3x3; "" where it can."""
    if name in HELD_BESIDE:
        return ""
    if name in ("acnet", "repvgg"):
        return NO_BRANCH
    if name == "dbb":
        return NO_END
    return NO_TAPS if name == "inception" or "id" in str(catalogue[name]) else NO_CORE


def check_catalogue(birth: str, name: str, site: ConvSpec, act: str, refused: str) -> None:
    graph = twice(catalogue[name], site) if birth == "pair" else catalogue[name]
    if not refused:
        assert planned(birth, graph, site, act).feasible is True
        assert_born(born_at(birth, graph, site, act), birth, act)
        return
    with pytest.raises(NetmorphError, match=re.escape(refused)) as caught:
        born_at(birth, graph, site, act)
    if isinstance(caught.value, InfeasibleMorph):
        assert planned(birth, graph, site, act).feasible is False
    else:
        with pytest.raises(GraphError, match=re.escape(refused)):
            planned(birth, graph, site, act)


@pytest.mark.parametrize("act", PHI)
@pytest.mark.parametrize("name", sorted(catalogue))
def test_pairs_of_every_activation(name: str, act: str) -> None:
    refused = REFUSED.get(name, "")
    if "inverted" in name and not act.startswith(("relu", "leaky")):
        refused = "only ReLU and LeakyReLU pass a pair on twice"
    check_catalogue("pair", name, ConvSpec.same(4, 4, 3), act, refused)


@pytest.mark.parametrize("birth", ["zero", "cancel"])
@pytest.mark.parametrize("name", sorted(catalogue))
def test_branches_beside(name: str, birth: str) -> None:
    site = ConvSpec.same(32, 32, 3) if name == "lora" else ConvSpec.same(8, 8, 3)
    if (name, birth) == ("inception", "cancel"):  # whose pooling writes each channel once, whatever the core holds
        with pytest.raises(GraphError, match=NO_TWINS):
            planned(birth, catalogue[name], site)
        return
    for act in ("relu", "tanh") if not beside(name) else ("relu",):
        check_catalogue(birth, name, site, act, beside(name))


@pytest.mark.parametrize("birth", ["zero", "cancel"])
@pytest.mark.parametrize("name", sorted(name for name in catalogue if beside(name) in (NO_CORE, NO_TAPS)))
def test_the_parents_edge_holds_what_the_core_cannot(name: str, birth: str) -> None:
    site = ConvSpec.same(8, 8, 3)
    if birth == "cancel" and name in ("depthwise_separable", "inception"):
        with pytest.raises(GraphError, match=NO_TWINS):
            born_at(birth, catalogue[name], site, "gelu", keep_parent=True)
        return
    solution = born_at(birth, catalogue[name], site, "gelu", keep_parent=True)
    assert solution.status is Status.KEPT_PARENT
    assert_born(solution, birth, "gelu")


@pytest.mark.parametrize(
    "site", [ConvSpec.same(4, 6, 3, stride=2), ConvSpec.same(6, 4, 3, dims=1), ConvSpec.same(4, 4, 1)]
)
@pytest.mark.parametrize("birth", ["pair", "zero", "cancel"])
def test_other_sites(birth: str, site: ConvSpec) -> None:
    kernel = "x".join(map(str, site.kernel))
    for middle in ("", "1x1:4x > " if site.dims == 2 else "1:4x > "):
        graph = f"{kernel}:4x > {middle}{kernel}"
        for act in ("relu", "leakyrelu(negative_slope=0.2)", "gelu"):
            whole = graph if birth == "pair" else f"{kernel} | {graph}"
            assert planned(birth, whole, site, act).feasible is True
            assert_born(born_at(birth, whole, site, act), birth, act)


@pytest.mark.parametrize("birth", ["pair", "zero", "cancel"])
def test_linear_and_grouped_sites(birth: str) -> None:
    beside = "" if birth == "pair" else "1 | "
    assert_born(born_at(birth, f"{beside}1:4x > 1", ConvSpec.same(5, 3, (), dims=0), "gelu"), birth, "gelu")
    for groups in (2, 4):
        site = ConvSpec.same(4, 4, 3, groups=groups)
        own = "" if birth == "pair" else f"3x3*{groups} | "
        assert_born(born_at(birth, f"{own}3x3*{groups}:2x > 3x3*{groups}", site, "gelu"), birth, "gelu")


ACTS = st.sampled_from(("relu", "gelu", "none", "silu", "leakyrelu(negative_slope=0.5)", "tanh"))
PLAIN = module_graphs(max_blobs=6, widths=True, dilations=True, largest_kernel=3)
STRIDED = module_graphs(max_blobs=5, widths=True, strides=True, largest_kernel=3)
APART = module_graphs(max_blobs=5, fixed=True, groups=True, largest_kernel=3)


@st.composite
def activated(draw: st.DrawFn, graphs: st.SearchStrategy[ModuleGraph]) -> ModuleGraph:
    graph = draw(graphs)
    return replace(graph, activation_items=tuple((blob, draw(ACTS)) for blob in graph.inner if draw(st.booleans())))


@given(
    st.sampled_from(("pair", "zero", "cancel")),
    activated(st.one_of(PLAIN, STRIDED, APART)),
    sites(largest_kernel=3, square=True, max_channels=4, dilations=False),
    seeds(),
    st.booleans(),
)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_graphs(birth: str, graph: ModuleGraph, site: ConvSpec, seed: int, keep: bool) -> None:
    try:
        verdict = planned(birth, graph, site, seed=seed).feasible
    except GraphError:
        event(f"{birth} does not fit")
        with pytest.raises(NetmorphError):
            born_at(birth, graph, site, seed=seed)
        return
    try:
        solution = born_at(birth, graph, site, seed=seed, keep_parent=keep)
    except InfeasibleMorph as error:
        event(f"{birth} infeasible")
        assert error.remedies, error  # noqa: PT017 - whether it raises depends on the draw
        assert verdict is not True, error  # noqa: PT017
        return
    except GraphError:  # with the parent's edge beside it
        assert verdict is False
        return
    event(f"{birth} {solution.status.name}")
    assert verdict is not False or solution.status is not Status.EXACT  # a filter of low demands may fit all the same
    assert_born(solution, birth, seed=seed)


@pytest.mark.parametrize("fill", ["pointwise", "dense"])
@pytest.mark.parametrize("method", ["closed-form", "stepwise", "alternating"])
def test_methods_and_fills(method: str, fill: str) -> None:
    if method != "closed-form" and fill == "dense":
        return
    site = ConvSpec.same(4, 4, 3)
    graphs = {"pair": "3x3:2x > 1x1 | 1x1", "zero": "3x3 | 3x3 > 3x3", "cancel": "3x3 | 3x3:2x > 3x3*dw:2x > 1x1"}
    for birth, graph in graphs.items():
        assert_born(born_at(birth, graph, site, "gelu", method=method, fill=fill), birth, "gelu")


@pytest.mark.parametrize("birth", ["zero", "cancel"])
@pytest.mark.parametrize("graph", ["s-a:3x3, parent=a-t:3x3", "s-a:3x3, parent=a-t:3x3, s-t:1x1"])
def test_a_branch_may_be_called_parent(graph: str, birth: str) -> None:
    """The parent's edge took its filter, where the core did not know the branch's names."""
    solution = born_at(birth, graph, ConvSpec.same(4, 4, 3), keep_parent=True)
    assert solution.status is Status.KEPT_PARENT
    assert len(solution.layout.graph.edges) == graph.count(":") + 1
    assert_born(solution, birth)


@pytest.mark.parametrize("birth", ["pair", "zero", "cancel"])
def test_a_seed_gives_a_child(birth: str) -> None:
    graph, site = ("3x3:4x > 3x3" if birth == "pair" else "3x3 | 3x3 > 3x3"), ConvSpec.same(4, 4, 3)
    one, same, other = (born_at(birth, graph, site, seed=seed).filters for seed in (1, 1, 2))
    assert all(torch.equal(one[name].weight, same[name].weight) for name in one)
    assert not torch.equal(one["s_a"].weight, other["s_a"].weight)


def test_no_such_birth() -> None:
    with pytest.raises(GraphError, match=r"expected a birth of slope, pair, zero, cancel, got 'pears'.*pair"):
        prepare("pears", parse("3x3 > 3x3"), ConvSpec.same(4, 4, 3), {})  # type: ignore[arg-type]


def test_the_zero_filter() -> None:
    site = ConvSpec.same(4, 4, 3)
    zero = replace(random_filter(site, 0), weight=torch.zeros(site.weight_shape, dtype=torch.float64))
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for birth, notation in (("pair", "3x3:4x > 3x3"), ("zero", "3x3 > 3x3"), ("cancel", "3x3 | 3x3 > 3x3")):
        graph, acts = bound(birth, notation, "gelu")
        solution = born(birth, zero, graph, site, acts, Options())
        with torch.no_grad():
            assert float(running(solution, birth, "gelu", torch.float64)(x).abs().max()) < 1e-12
