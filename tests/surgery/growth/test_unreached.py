"""Layers that an example does not reach, and that may read what became wider."""

from __future__ import annotations

import pytest
import torch
from tests.surgery.networks import left_alone
from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.surgery.growth.unreached import missed
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.running.call import Call

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Only `a`, `norm` and `b` run on the example, `aside` in train mode as well."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)
        self.conv, self.fc = nn.Conv2d(8, 2, 1), nn.Linear(8 * 16, 2)
        self.other, self.narrow = nn.BatchNorm2d(8), nn.Conv2d(4, 8, 1)
        self.attention, self.up = nn.MultiheadAttention(8, 2), nn.ConvTranspose2d(8, 3, 2)
        self.blocks = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1)) for _ in range(2))
        self.raw, self.aside = nn.Parameter(torch.ones(8, 5)), nn.Conv2d(4, 8, 1)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor, more: bool = False) -> Tensor:
        h = self.norm(self.a(x))
        if more:
            h = self.blocks[1](self.blocks[0](self.other(h)))
            return self.conv(h).sum() + self.fc(h.flatten(1)).sum() + (h.movedim(1, -1) @ self.raw).sum()
        y = self.b(h)
        return y + self.aside(y).mean(1, keepdim=True) if self.training else y


def test_modules_and_parameters_that_no_function_reads() -> None:
    net = Net()
    with left_alone(net):
        found = missed(net, Call.of(X))
    assert set(found) == {
        *("conv", "fc", "other", "narrow", "attention", "attention.out_proj", "up"),
        *("blocks.0.1", "blocks.1.1", "raw", "scale"),
    }
    assert isinstance(found["raw"], Tensor)
    elsewhere = {"narrow", "attention", "attention.out_proj", "up", "scale", "b", "aside"}
    assert set(missed(net, Call.of((X, True)))) == elsewhere
    with pytest.raises(SiteError, match="the model raised"):
        missed(net, Call.of(X[:, :2]))


def test_what_may_read_the_layer_is_told() -> None:
    told = " ".join(widen(Net(), "a", "2x", example_inputs=X).notices)
    assert "the example does not reach 'raw', 'conv', 'fc', 'other', 'attention' and 4 more" in told
    assert "which may read 'a' elsewhere and still expect 8 channels, where 'a' has 16 now" in told
    assert not {"'narrow'", "'aside'", "'scale'"} & set(told.split())


def test_what_the_example_reaches_is_not() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(64, 3))
    assert widen(net, "0", example_inputs=X).notices == ()
    lstm = nn.LSTM(8, 8)
    encoder = nn.TransformerEncoderLayer(8, 2, 16).eval()
    tokens = torch.ones(3, 2, 8)
    for module in (lstm, nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), encoder):
        assert missed(nn.Sequential(module), Call.of(tokens)) == {}


def test_morphed_modules_are_told_as_one() -> None:
    net = Net()
    net.conv = morph(nn.Sequential(net.conv), {"0": "3x3 > 1x1 | 1x1"}, example_inputs=torch.ones(1, 8, 4, 4)).model[0]
    assert "conv" in missed(net, Call.of(X))
    assert not any(name.startswith("conv.") for name in missed(net, Call.of(X)))
    assert "'conv'" in " ".join(widen(net, "a", example_inputs=X).notices)
