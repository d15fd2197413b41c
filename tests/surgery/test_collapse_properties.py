"""Random layers, graphs and weights: collapsing undoes morphing, and what it makes of a module computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.nn.problems import Problem, close, module, pointwise, problems
from tests.strategies import module_graphs, seeds
from torch import Tensor, nn

from netmorph.errors import GraphError, InfeasibleMorph
from netmorph.graph.spec import ModuleGraph
from netmorph.solver.target import spec_of
from netmorph.surgery.collapse import collapse
from netmorph.surgery.history import history_of
from netmorph.surgery.morph import morph

_CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...], ModuleGraph]:
    """A layer of PyTorch's in float64, the shape of an input, and a graph."""
    dims = draw(st.sampled_from([0, 1, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2]))
    c_in, c_out = (2 * draw(st.integers(1, 2)) for _ in range(2))
    bias, generator = draw(st.booleans()), torch.Generator().manual_seed(draw(seeds()))
    options: dict[str, Any] = {"bias": bias, "dtype": torch.float64}
    graph = draw(
        module_graphs(max_blobs=4, max_extra=2, dims=dims, largest_kernel=3 if dims else 1, widths=draw(st.booleans()))
    )
    if not dims:
        layer: nn.Module = nn.Linear(c_in, c_out, **options)
    else:
        kernel, dilation = (tuple(draw(st.integers(1, top)) for _ in range(dims)) for top in (3, 2))
        same = draw(st.booleans())
        stride = (1,) * dims if same else tuple(draw(st.integers(1, 2)) for _ in range(dims))
        padding = (
            "same" if same else tuple(draw(st.integers(0, d * (k - 1))) for k, d in zip(kernel, dilation, strict=True))
        )
        mode = draw(st.sampled_from(["zeros", "zeros", "zeros", "circular", "replicate"]))
        layer = _CONVS[dims](c_in, c_out, kernel, stride, padding, dilation, groups, padding_mode=mode, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer, (2, c_in, *(7 + dim for dim in range(dims))) if dims else (5, c_in), graph


def signal(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    assert isinstance(result.model, (*_CONVS.values(), nn.Linear))


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
