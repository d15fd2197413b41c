"""Filters into weights and back: matched, and the match proved complete."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from tests.nn.problems import Problem, module, problems
from tests.nn.samples import build, noise
from torch import nn

from netmorph.errors import GraphError
from netmorph.filters import Filter
from netmorph.nn import MorphedModule


@given(problems(border="halo"))
def test_load_filters_is_the_inverse_of_filters(problem: Problem) -> None:
    one = module(problem)
    other = module(replace(problem, seed=problem.seed + 1))
    other.load_filters(one.filters())
    back = other.filters()
    assert list(back) == [edge.name for edge in problem.layout.graph.edges]
    for name, filt in one.filters().items():
        assert torch.equal(back[name].weight, filt.weight)
        assert (back[name].offset, back[name].groups) == (filt.offset, filt.groups)
    assert torch.equal(other(problem.signal()), one(problem.signal()))


def test_weights_are_cast_at_the_end_and_copied() -> None:
    net = build("3 > 1 | 0.5*id", 6, dtype=torch.bfloat16)
    given_ = {
        name: replace(f, weight=f.weight if name == "s_t" else noise(*f.weight.shape, dtype=torch.float64))
        for name, f in net.filters().items()
    }
    net.load_filters(given_)
    assert net.edges["s_a"].weight.dtype == torch.bfloat16
    assert torch.equal(net.edges["s_a"].weight, given_["s_a"].weight.bfloat16())
    assert net.filters(torch.bfloat16)["s_a"].weight.dtype == torch.bfloat16
    net.filters(torch.bfloat16)["s_a"].weight.zero_()
    assert bool(net.edges["s_a"].weight.any())
    assert net.filters()["s_t"].weight.unique().tolist() == [0.5]


def test_a_graph_without_weights() -> None:
    net = build("0.5*id", 4, 4)
    assert net.filters()["s_t"].weight.shape == (4, 1, 1, 1)
    net.load_filters(net.filters())
    assert not list(net.parameters())


WRONG = {
    "missing": (lambda f: {"s_a": f["s_a"]}, r"missing \['a_t', 's_t'\], superfluous \[\]"),
    "superfluous": (lambda f: {**f, "x": f["s_a"]}, r"missing \[\], superfluous \['x'\]"),
    "channels": (lambda f: {**f, "a_t": f["s_a"]}, "filter of edge 'a_t' does not fit"),
    "offset": (lambda f: {**f, "s_a": replace(f["s_a"], offset=(0, 0))}, "filter of edge 's_a' does not fit"),
    "stride": (lambda f: {**f, "s_a": replace(f["s_a"], stride=(2, 2))}, "filter of edge 's_a' does not fit"),
    "dilation": (lambda f: {**f, "s_a": replace(f["s_a"], dilation=(2, 2))}, "filter of edge 's_a' does not fit"),
    "dims": (lambda f: {**f, "s_a": Filter(torch.zeros(6, 6), (), (), ())}, "filter of edge 's_a' does not fit"),
    "nan": (lambda f: {**f, "s_a": scaled(f["s_a"], float("nan"))}, "'s_a' is not finite in torch.float16"),
    "overflow": (lambda f: {**f, "a_t": scaled(f["a_t"], 1e9)}, "'a_t' is not finite in torch.float16"),
    "fixed": (lambda f: {**f, "s_t": scaled(f["s_t"], 2)}, "'s_t' is fixed .* multiplies by 0.5"),
}


def scaled(filt: Filter, factor: float) -> Filter:
    return replace(filt, weight=filt.weight * factor)


@pytest.mark.parametrize("case", WRONG)
def test_filters_that_do_not_fit_are_refused_and_nothing_is_copied(case: str) -> None:
    change, message = WRONG[case]
    net = build("3 > 1 | 0.5*id", 6, 6, dtype=torch.float16)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    filters = change({name: f if name == "s_t" else scaled(f, 2) for name, f in net.filters().items()})
    with pytest.raises(GraphError, match=message):
        net.load_filters(filters)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_dilation_that_no_tap_sees_does_not_matter() -> None:
    net = build("1 > 1")
    net.load_filters({name: replace(f, dilation=(3, 3)) for name, f in net.filters().items()})


def test_an_edge_that_was_morphed_again_has_no_filter_of_its_own() -> None:
    net = build("3 > 1")
    net.set_submodule("edges.a_t", nn.Identity())
    with pytest.raises(GraphError, match="edge 'a_t' is now a Identity"):
        net.filters()


def test_a_module_whose_weights_are_all_loaded_need_not_draw_them() -> None:
    drawn = build("3x3 > 1x1 | 1x1", dtype=torch.float64)
    loaded = MorphedModule(drawn.layout, dtype=torch.float64, seed=None)
    loaded.load_filters(drawn.filters())
    for name, value in drawn.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
