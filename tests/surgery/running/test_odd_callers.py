"""Networks that call their layers in unusual ways."""

import pytest
import torch
from tests.surgery.networks import images, seeded, small
from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.parity.network import verify
from netmorph.surgery.running.cost import cost
from netmorph.surgery.sites.find import find_sites


class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.shortcut = nn.Identity()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(input=self.shortcut(input=self.conv(input=x)).mean((2, 3)))


def test_layers_that_are_called_by_keyword() -> None:
    mapping = {"conv": "3x3 > 1x1", "shortcut": "0.5*id | 1x1", "fc": "1 > 1"}
    result = morph(seeded(Keywords()), mapping, example_inputs=images())
    assert result.parity.exact
    assert torch.export.export(result.model, (images(),)).module()(images()).shape == (2, 2)


class Experts(nn.Module):
    """Each row goes to one of three experts, none to the last two."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chosen, out = torch.zeros(len(x)), torch.zeros_like(x)
        for index, expert in enumerate(self.experts):
            out[chosen == index] = expert(x[chosen == index])
        return out


@pytest.mark.parametrize("verb", ["morph", "deepen"])
def test_layers_that_get_an_empty_batch(verb: str) -> None:
    model, x = seeded(Experts()), torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    if verb == "morph":
        result = morph(model, {"experts.*": "1 > 1"}, example_inputs=x)
    else:
        result = deepen(model, "experts.1", example_inputs=x)
    assert result.parity.exact
    assert [each.source for each in result.parity.sites[-1].measured] == ["synthetic", "synthetic"]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x


def test_shortcuts_of_traced_blocks_are_refused() -> None:
    assert "0.shortcut" in find_sites(nn.Sequential(Residual()), images()).names
    sites = find_sites(nn.Sequential(torch.fx.symbolic_trace(Residual())), images())
    assert sites.names == ("0.conv",)
    assert "traced by torch.fx" in sites.refused["0.shortcut"]


class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.func.vmap(self.fc)(x)


def test_layers_within_a_transform_of_functions_are_refused() -> None:
    sites = find_sites(Mapped(), torch.randn(2, 4))
    assert "torch.func" in sites.refused["fc"]
    with pytest.raises(SiteError, match=r"torch.func.*\[site fc\]"):
        morph(Mapped(), {"fc": "1 > 1"}, example_inputs=torch.randn(2, 4))


class Private(Residual):
    @property
    def shortcut(self) -> nn.Module:
        raise RuntimeError("not yet")


def test_attributes_that_raise_are_taken() -> None:
    assert find_sites(nn.Sequential(Private()), images()).names == ("0.conv", "0.residual")


def test_something_else_than_a_network() -> None:
    with pytest.raises(SiteError, match="expected an nn.Module, got 'torchvision:resnet18'.*nm.build"):
        morph("torchvision:resnet18", {"fc": "1 > 1"}, example_inputs=images())
    for verb in (lambda: verify(small(), None, images()), lambda: find_sites(None, images()), lambda: cost({}, ())):
        with pytest.raises(SiteError, match="expected an nn.Module, got (None|{}).*pass the network"):
            verb()
