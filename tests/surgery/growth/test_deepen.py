import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.surgery.growing import gap, pictures, replays, resnet, shaken
from tests.surgery.networks import left_alone
from torch import nn

from netmorph.errors import GraphError, InfeasibleMorph, SiteError
from netmorph.nn import MorphedModule
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result

X = pictures()


@pytest.mark.parametrize(
    ("layer", "kernel", "graph", "shape"),
    [
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), 3, "3x3 > 3x3", (2, 3, 7, 6)),
        (nn.Conv2d(3, 4, (1, 3), dilation=2), (3, 1), "1x3 > 3x1", (2, 3, 9, 9)),
        (nn.Conv2d(4, 4, 3, groups=4, padding=1), 1, "3x3*4 > 1x1*4", (2, 4, 7, 6)),
        (nn.Conv2d(4, 8, 3, groups=2), 1, "3x3*2 > 1x1*2", (2, 4, 7, 6)),
        (nn.Conv1d(3, 4, 5), 1, "5 > 1", (2, 3, 8)),
        (nn.Linear(3, 4), 1, "1 > 1", (2, 3)),
        (nn.Identity(), 3, "1x1 > 3x3", (2, 4, 7, 6)),
    ],
    ids=str,
)
def test_plain_layers(layer: nn.Module, kernel: object, graph: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(layer)
    result = deepen(net, "0", kernel, example_inputs=x)
    assert isinstance(result, Result)
    assert str(result.sites[0].graph) == graph
    assert gap(net, result.model, x) < 1e-6
    direct = morph(net, {"0": graph}, example_inputs=x)
    assert result.sites[0].layout == direct.sites[0].layout
    replays(result.model, net, tmp_path, x)


def test_what_grew_deepens_again(tmp_path: Path) -> None:
    net = resnet()
    first = shaken(deepen(net, "*.conv2", 3, example_inputs=X, width="1.5x").model, 1)
    second = deepen(first, "*.conv2.edges.a_t", example_inputs=X, act="tanh", width="2x")
    assert gap(first, second.model, X) < 1e-6
    module = second.model.layer1[0].conv2
    assert isinstance(module, MorphedModule)
    assert str(module.layout.graph) == "s-a:3x3, a-b:3x3, b-t:1x1 {a: 1.5x, b: 2x}"
    assert type(module.acts["b"].phi) is nn.Tanh
    assert len(second.history) == 2
    replays(shaken(second.model, 2), resnet(), tmp_path, X)


def test_both_layers_learn_from_the_first_step() -> None:
    net = shaken(morph(nn.Sequential(nn.Conv2d(3, 4, 3)), {"0": "3x3 > 1x1"}, example_inputs=X).model)
    grown = deepen(net, "0.edges.s_a", 3, example_inputs=X).model
    grown(X).square().mean().backward()
    assert all(bool((p.grad != 0).all()) for p in grown.parameters())


def test_groups_and_fixed_edges() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    net = shaken(morph(net, {"0": "3x3:8 > avg3x3:8 > 1x1*2:8 > 1x1 | 3x3"}, example_inputs=X).model)
    for edge, series in (("a_b", "a-d:3x3, d-b:1x1"), ("b_c", "b-d:1x1*2, d-c:1x1*2")):
        result = deepen(net, f"0.edges.{edge}", example_inputs=X)
        assert gap(net, result.model, X) < 1e-6
        assert series in str(result.sites[0].graph)
    depthwise = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1))
    depthwise = shaken(morph(depthwise, {"0": "1x1:8 > 3x3*dw:8 > 1x1 | 3x3"}, example_inputs=X).model)
    result = deepen(depthwise, "0.edges.a_b", 3, example_inputs=X)
    assert gap(depthwise, result.model, X) < 1e-6
    assert "a-c:3x3*dw, c-b:3x3*dw" in str(result.sites[0].graph)


def test_refusals() -> None:
    net = shaken(morph(resnet(), {"*.conv1": "3x3 > 1x1"}, example_inputs=X).model)
    with left_alone(net):
        with pytest.raises(SiteError, match="'layer1.*' matches both plain layers and edges.*once for each kind"):
            deepen(net, "layer1.*", example_inputs=X, inplace=True)
        with pytest.raises(SiteError, match="deepen acts on a plain layer or an edge.*is a morphed module"):
            deepen(net, "layer1.0.conv1", example_inputs=X)
        with pytest.raises(InfeasibleMorph, match="between 'a' and 't', in place of a_t") as caught:
            deepen(net, "layer1.0.conv1.edges.a_t", example_inputs=X, width=1, inplace=True)
        assert caught.value.site == "layer1.0.conv1"
        with pytest.raises(GraphError, match="'broad' is not a valid width"):
            deepen(net, "fc", example_inputs=X, width="broad")
        with pytest.raises(GraphError, match="kernel 3x3x3 has 3 dimensions") as caught:
            deepen(net, "layer1.0.conv1.edges.a_t", (3, 3, 3), example_inputs=X)
        assert caught.value.site == "layer1.0.conv1.edges.a_t"


@pytest.mark.parametrize("kernel", [3.0, None, [], "3x3", 0, True], ids=str)
def test_what_is_no_kernel_is_told(kernel: Any) -> None:
    net = morph(resnet(), {"layer1.*.conv1": "3x3 > 1x1"}, example_inputs=X).model
    for site in ("fc", "conv1", "layer1.0.conv1.edges.a_t"):
        with pytest.raises(SiteError, match=f"{re.escape(repr(kernel))} is not a kernel.*one number, or one for each"):
            deepen(net, site, kernel, example_inputs=X)
