"""Random layers, graphs and weights: collapsing undoes morphing, and what it makes of a module computes the same."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.nn.problems import Problem, close, module, pointwise, problems
from tests.surgery.random_layers import layers, signal
from torch import nn

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.target import spec_of
from netmorph.surgery.collapsing.collapse import collapse
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.history import history_of


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("norm", [None, "neutral", "calibrated"])
@settings(max_examples=20)
@given(layers())
def test_collapse_undoes_morph(norm: str | None, problem: tuple[nn.Module, tuple[int, ...], ModuleGraph]) -> None:
    layer, shape, graph = problem
    x = signal(shape)
    try:
        child = morph(
            layer, {"": graph}, example_inputs=x, act=None, norm=norm, calibration=[x], keep_parent=True
        ).model
    except (GraphError, InfeasibleMorph):
        assume(False)
    result = collapse(child)
    assert not result.kept
    back = result.model
    assert type(back) is type(layer)
    assert spec_of(back) == spec_of(layer)
    close(back.weight, layer.weight, 1e-10)
    assert (back.bias is None) == (layer.bias is None)
    if layer.bias is not None:
        close(back.bias, layer.bias, 1e-10)
    close(back(x), layer(x), 1e-10)
    assert history_of(back) == ()
    assert result.collapsed[0].parity.max_rel <= 1e-10


def randomise_norms(net: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for norm in net.norms.children():
        for tensor, low in ((norm.weight, 0.5), (norm.bias, -1.0), (norm.running_mean, -1.0), (norm.running_var, 0.5)):
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 + low)


@settings(max_examples=30)
@given(problems(border="halo", slack=3), st.sampled_from([None, "neutral"]), st.booleans())
def test_under_halo_every_linear_module_is_one_layer(problem: Problem, norm: str | None, bias: bool) -> None:
    net = module(problem, act=None, norm=norm, bias=bias)
    randomise_norms(net, problem.seed)
    x = problem.signal()
    result = collapse(net, x)
    assert not result.kept
    close(result.model(x), net(x), 1e-10)
    assert isinstance(result.model, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)


@settings(max_examples=30)
@given(problems(border="zeros", modes=("zeros", "circular", "reflect", "replicate"), slack=9))
def test_pointwise_filled_modules_are_one_layer(problem: Problem) -> None:
    net = module(problem, act=None, bias=True)
    net.load_filters(pointwise(problem.layout, net.filters()))
    x = problem.signal()
    result = collapse(net, x)
    assert not result.kept
    close(result.model(x), net(x), 1e-10)


@settings(max_examples=30)
@given(problems(border="zeros", slack=3), st.sampled_from([None, "neutral"]))
def test_at_a_zero_padded_border_a_module_is_one_layer_or_says_by_how_much_not(
    problem: Problem, norm: str | None
) -> None:
    net = module(problem, act=None, norm=norm)
    randomise_norms(net, problem.seed)
    x = problem.signal()
    result = collapse(net, x)
    if result.collapsed:
        close(result.model(x), net(x), 1e-9)
        return
    assert "border error" in result.kept[""]
    rough = collapse(net, x, approximate=True)
    assert not rough.kept
    error = rough.collapsed[0].parity.max_rel
    assert error > 1e-10
    assert f"border error {error:.1e}" in result.kept[""]
    assert rough.model(x).shape == net(x).shape
    far = signal((1, *x.shape[1:2], *(40,) * problem.layout.site.dims))
    middle = (..., *(slice(n // 2 - 2, n // 2 + 2) for n in net(far).shape[2:]))
    close(rough.model(far)[middle], net(far)[middle], 1e-10)
