"""`act="auto"` is the network's own activation, with its settings."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.surgery.growth.deepen import deepen
from netmorph.surgery.growth.regrow import regrow
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.records.checkpoint import load, save
from netmorph.surgery.records.grown_places import RegrownModule
from netmorph.surgery.records.morphed_site import MorphedSite

X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, phi: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.phi = nn.Linear(8, 16), nn.Linear(16, 4), phi

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.phi(self.a(x)))


class NewGELUActivation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class BrokenGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 1:
            raise ValueError("of two dimensions")
        return x**2


def act_of(phi: Callable[[Tensor], Tensor]) -> tuple[str | None, str]:
    result = morph(Net(phi), {"b": "1 > 1"}, example_inputs=X)
    assert result.parity.exact
    assert isinstance(result.sites[0], MorphedSite)
    return result.sites[0].act, " ".join(result.notices[1:])  # the first is about norms


@pytest.mark.parametrize(
    ("phi", "act"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.PReLU(), "relu"),
        (F.relu, "relu"),
        (nn.LeakyReLU(0.2), "leakyrelu(negative_slope=0.2)"),
        (F.leaky_relu, "leakyrelu"),
        (nn.GELU(), "gelu"),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu(approximate=tanh)"),
        (F.silu, "silu"),
        (nn.SiLU(inplace=True), "silu"),
        (nn.Hardswish(), "hardswish"),
        (nn.ReLU6(), "relu6"),
        (lambda x: F.hardtanh(x, -2, 3), "hardtanh(min_val=-2.0, max_val=3.0)"),
        (nn.ELU(0.5), "elu(alpha=0.5)"),
        (nn.CELU(0.5), "celu(alpha=0.5)"),
        (nn.SELU(), "selu"),
        (nn.Mish(), "mish"),
        (nn.RReLU(0.1, 0.2), "rrelu(lower=0.1, upper=0.2)"),
        (lambda x: x * torch.sigmoid(x), "silu"),
        (NewGELUActivation(), "gelu(approximate=tanh)"),
    ],
)
def test_functions_and_modules_are_heard_with_their_settings(phi: Callable[[Tensor], Tensor], act: str) -> None:
    assert act_of(phi) == (act, "")


@pytest.mark.parametrize(
    ("phi", "act", "notice"),
    [
        (lambda x: x, "relu", "no activation was seen"),
        (lambda x: x.square(), "relu", "no activation was seen"),
        (BrokenGELU(), "relu", "no activation was seen"),
        (torch.tanh, "tanh", "tanh is the only activation"),
        (QuickGELU(), "gelu", "QuickGELU is not an activation of torch.nn: new ones are like gelu"),
    ],
)
def test_what_is_guessed_is_told(phi: Callable[[Tensor], Tensor], act: str, notice: str) -> None:
    found, said = act_of(phi)
    assert found == act
    assert notice in said


def test_nothing_is_told_where_no_activation_is_new() -> None:
    layer = nn.Linear(8, 4)
    assert len(morph(nn.Sequential(layer), {"0": "1 | 1"}, example_inputs=X).notices) == 1
    assert len(morph(nn.Sequential(layer), {"0": "1 > 1"}, example_inputs=X, act="relu").notices) == 1


class Gated(nn.Module):
    """Two activations; a gate behind one of the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d, e, f = self.layers
        x = F.silu(b(F.gelu(a(x))))
        x = x * torch.sigmoid(c(x))
        return f(e(F.silu(d(x))))


def test_the_surroundings_decide_before_the_commonest() -> None:
    sites = morph(Gated(), {f"layers.{i}": "1 > 1" for i in range(6)}, example_inputs=X).sites
    # behind it; behind it; before it, as the gate counts for nothing; behind it; before it; the commonest
    assert [site.act for site in sites] == ["gelu", "silu", "silu", "silu", "silu", "silu"]


def test_a_layer_between_two_layers_takes_the_commonest() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU())
    model.append(nn.Linear(8, 8)).append(nn.SiLU())
    assert morph(model, {"0": "1 > 1"}, example_inputs=X).sites[0].act == "gelu"


def test_the_fused_transformer_layer_is_heard() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
    model = nn.Sequential(nn.Linear(8, 8), layer)
    result = morph(model, {"0": "1 > 1"}, example_inputs=torch.randn(2, 3, 8))
    assert result.sites[0].act == "gelu"


def test_growing_follows_too_and_the_choice_is_replayed(tmp_path: Path) -> None:
    parent = nn.Sequential(nn.Linear(8, 16), nn.LeakyReLU(0.2), nn.Linear(16, 4))
    deeper = deepen(parent, "2", example_inputs=X)
    assert deeper.sites[0].act == "leakyrelu(negative_slope=0.2)"
    flat = morph(parent, {"2": "1 | 1"}, example_inputs=X).model
    result = regrow(flat, "2", "1 | 1 > 1", example_inputs=X)
    acts = [module for module in result.model[2].acts.modules() if isinstance(module, nn.LeakyReLU)]
    assert [each.negative_slope for each in acts] == [0.2]
    again = deepen(result.model, "2.edges.s_t", example_inputs=X)  # the module's own, from here on
    assert isinstance(again.sites[0], RegrownModule)
    for number, each in enumerate((deeper, result, again)):
        save(each.model, tmp_path / str(number))
        loaded = load(tmp_path / str(number), into=copy.deepcopy(parent))
        assert torch.equal(loaded(X), each.model(X))
        assert str(loaded) == str(each.model)


def test_a_module_of_its_own_activation_keeps_it_when_it_grows() -> None:
    parent = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    child = morph(parent, {"2": "1 > 1"}, example_inputs=X, act="silu").model
    grown = regrow(child, "2", "1 > 1 | 1 > 1", example_inputs=X).model
    assert sum(isinstance(module, nn.SiLU) for module in grown[2].modules()) == 2


def test_probing_leaves_the_handwritten_module_alone() -> None:
    class CountingGELU(NewGELUActivation):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    phi = CountingGELU()
    assert act_of(phi)[0] == "gelu(approximate=tanh)"
    assert phi.calls == 0
    assert phi.training
