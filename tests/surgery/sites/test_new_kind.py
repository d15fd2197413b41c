"""A layer class of a library that netmorph does not know: one `LayerKind` in `KINDS`, and every verb takes it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import netmorph as nm
from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.sites.kinds import KINDS, LayerKind

X = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))


class GainConv2d(nn.Module):
    """A convolution whose weight is multiplied by a gain of each output channel, as a pretend library has it."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, 3, 3) / 5)
        self.bias = nn.Parameter(torch.randn(c_out))
        self.gain = nn.Parameter(torch.rand(c_out) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, c_in, H, W) to (N, c_out, H, W)."""
        return F.conv2d(x, self.weight * self.gain.view(-1, 1, 1, 1), self.bias, padding=1)


def spec(layer: nn.Module) -> ConvSpec:
    c_out, c_in, *kernel = layer.get_parameter("weight").shape
    return ConvSpec(c_in, c_out, tuple(kernel), padding=((1, 1), (1, 1)))


def weight(layer: nn.Module, parameter: Tensor) -> Tensor:
    return parameter * layer.get_parameter("gain").detach().double().view(-1, 1, 1, 1)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = LayerKind("conv", spec=spec, weight=weight, notice="the {name} had a gain")
    monkeypatch.setitem(KINDS, (GainConv2d.__module__, "GainConv2d"), kind)


def parent(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(GainConv2d(3, 8), nn.ReLU(), GainConv2d(8, 4)).eval()


def test_it_is_refused_before_it_is_registered() -> None:
    with pytest.raises(nm.SiteError, match="does not know what a .*GainConv2d computes"):
        nm.morph(parent(), {"0": "3x3 > 1x1"}, example_inputs=X)


@pytest.mark.usefixtures("registered")
def test_it_is_found_morphed_recorded_and_replayed(tmp_path: Path) -> None:
    network = parent()
    assert [site.name for site in nm.find_sites(network, X)] == ["0", "2"]
    result = nm.morph(network, {"*": "3x3:2x > 3x3"}, example_inputs=X, birth="pair")
    assert all(site.exact for site in result.parity.sites)
    torch.testing.assert_close(result.model(X), network(X), rtol=1e-5, atol=1e-5)
    assert {site.origin for site in result.sites} == {"GainConv2d"}
    assert "'0': the GainConv2d had a gain" in result.notices
    nm.save(result.model, tmp_path / "child")
    loaded = nm.load(tmp_path / "child", parent(1))
    assert torch.equal(loaded(X), result.model(X))


@pytest.mark.usefixtures("registered")
def test_another_class_is_no_parent_for_it(tmp_path: Path) -> None:
    nm.save(nm.morph(parent(), {"0": "3x3 > 1x1"}, example_inputs=X).model, tmp_path / "child")
    other = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), GainConv2d(8, 4))
    with pytest.raises(nm.NetmorphError, match="not the one that was morphed"):
        nm.load(tmp_path / "child", other)


@pytest.mark.usefixtures("registered")
def test_it_collapses_to_a_layer_of_pytorch() -> None:
    network = parent()
    child = nm.morph(network, {"0": "3x3 > 1x1"}, example_inputs=X, act=None).model
    back = nm.collapse(child, X)
    assert type(back.model[0]) is nn.Conv2d
    torch.testing.assert_close(back.model(X), network(X), rtol=1e-5, atol=1e-5)
