"""Channels that are born random, with zero readers or as twins whose readers cancel: plain layers and blobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.surgery.growing import gap, pictures, replays, shaken
from tests.surgery.growth.test_widen_between import whole
from tests.surgery.networks import left_alone
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import GraphError, NetmorphError, SiteError
from netmorph.surgery.growth.new_channels import Channels
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer

X = pictures(batch=16)
BIRTHS = ("zero", "cancel")


class Chain(nn.Module):
    """A layer, what lies between, the one that reads it, and a head."""

    def __init__(self, *between: nn.Module, function: Callable[[Tensor], Tensor] = F.relu, groups: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Conv2d(3, 8, 3, padding=1, groups=1)
        self.between = nn.Sequential(*between)
        self.b = nn.Conv2d(8, 6, 3, padding=1, groups=groups)
        self.head = nn.Linear(6, 5)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.b(self.function(self.between(self.a(x))))).mean((2, 3)))


def normed() -> Chain:
    return shaken(Chain(nn.BatchNorm2d(8)), 1)  # type: ignore[return-value]


def trained(model: nn.Module, steps: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model.train()(X.to(next(model.parameters()).dtype)), torch.arange(16) % 5).backward()
        optimizer.step()


def assert_alive(model: nn.Module, *names: str) -> None:
    """Assert that three steps move each row of some layers, and leave no two rows alike, nor columns of the last."""
    model.double()
    before = {name: model.get_parameter(f"{name}.weight").detach().clone() for name in names}
    trained(model)
    for name in names:
        now = model.get_parameter(f"{name}.weight").detach()
        assert (now != before[name]).flatten(1).any(1).all(), name
        assert len(torch.unique(now.flatten(1), dim=0)) == len(now), name
    columns = now.transpose(0, 1).flatten(1)
    assert len(torch.unique(columns, dim=0)) == len(columns)
    assert columns.any(1).all()


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("width", [10, "1.5x", "2x", "4x"])
def test_any_width(birth: str, width: int | str, tmp_path: Path) -> None:
    net = normed()
    with left_alone(net):
        result = widen(net, "a", width, example_inputs=X, birth=birth)
    assert result.parity.sites[0].exact
    assert gap(net, result.model, X) < 1e-6
    assert gap(net, result.model, X, train=True) < 1e-6
    replays(result.model, normed(), tmp_path, X)
    assert_alive(result.model, "a", "b")


@pytest.mark.parametrize("birth", BIRTHS)
def test_how_they_are_born(birth: str) -> None:
    net = normed()
    child = widen(net, "a", "2x", example_inputs=X, birth=birth).model
    new, readers = child.a.weight[8:].detach(), child.b.weight[:, 8:].detach()
    assert torch.equal(child.a.weight[:8], net.a.weight)
    assert torch.equal(child.b.weight[:, :8], net.b.weight)
    lengths, present = new.flatten(1).norm(dim=1), net.a.weight.flatten(1).norm(dim=1)
    assert lengths.min() > 0.99 * present.min()
    assert lengths.max() < 1.01 * present.max()
    if birth == "zero":
        assert not readers.any()
        assert len(torch.unique(new.flatten(1), dim=0)) == 8
    else:
        assert torch.equal(new[::2], new[1::2])
        assert torch.equal(readers[:, ::2], -readers[:, 1::2])
        assert readers.flatten(1).any(1).all()


@pytest.mark.parametrize("birth", BIRTHS)
def test_new_channels_statistics_are_measured(birth: str) -> None:
    net = normed()
    norm = net.between[0]
    with torch.no_grad():
        norm.running_mean.normal_(generator=torch.Generator().manual_seed(1))
        norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    child = widen(net, "a", "2x", example_inputs=X, birth=birth).model
    wide, y = child.between[0], child.a(X)[:, 8:].detach()
    torch.testing.assert_close(wide.running_mean[8:], y.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(wide.running_var[8:], y.var((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert torch.equal(wide.running_mean[:8], norm.running_mean)
    assert torch.equal(wide.running_var[:8], norm.running_var)


def channel_max(h: Tensor) -> Tensor:
    return h - h.amax(1, keepdim=True)


def shifted(h: Tensor) -> Tensor:
    return h - h[:, :1]


COUPLED: dict[str, tuple[Callable[[], list[nn.Module]], Callable[[Tensor], Tensor]]] = {
    "GroupNorm": (lambda: [nn.GroupNorm(2, 8)], F.relu),
    "LocalResponseNorm": (lambda: [nn.LocalResponseNorm(3)], F.relu),
    "LayerNorm": (lambda: [nn.LayerNorm([8, 10, 11])], F.relu),
    "the largest channel": (lambda: [], whole(channel_max)),
    "the largest channel, seen": (lambda: [], channel_max),
    "softmax": (lambda: [], lambda h: F.softmax(h, 1)),
    "the first channel": (lambda: [], shifted),
}


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("name", COUPLED)
def test_what_couples_channels_is_refused(name: str, birth: str) -> None:
    modules, function = COUPLED[name]
    net = Chain(*modules(), function=function)
    with left_alone(net), pytest.raises(SiteError):
        widen(net, "a", "2x", example_inputs=X, birth=birth)


def test_copies_pass_the_largest_channel_and_random_ones_do_not() -> None:
    net = Chain(function=whole(channel_max))
    assert widen(net, "a", "2x", example_inputs=X).parity.sites[0].exact
    with pytest.raises(SiteError, match="mixes channels"):
        widen(net, "a", "2x", example_inputs=X, birth="zero")


class Tokens(nn.Module):
    """A transformer's MLP, with a norm over channels within, or none."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 5)
        self.norm = nn.LayerNorm(8) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.down(F.gelu(self.norm(self.up(x)))))


@pytest.mark.parametrize("birth", BIRTHS)
def test_linear_layers(birth: str) -> None:
    x = torch.randn(2, 7, 6, generator=torch.Generator().manual_seed(0))
    net = shaken(Tokens(norm=False))
    result = widen(net, "up", "3x", example_inputs=x, birth=birth)
    assert result.parity.sites[0].exact
    with pytest.raises(SiteError, match=r"'norm' is a LayerNorm.*birth='copies'"):
        widen(Tokens(norm=True), "up", "2x", example_inputs=x, birth=birth)


@pytest.mark.parametrize("birth", BIRTHS)
def test_depthwise_convolutions_pooling_and_flattening_between(birth: str) -> None:
    net = shaken(Chain(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.PReLU(8), nn.MaxPool2d(2)))
    result = widen(net, "a", "1.5x", example_inputs=X, birth=birth)
    assert result.parity.sites[0].exact
    assert_alive(result.model, "a", "b")
    flat = shaken(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)))
    assert widen(flat, "0", "2x", example_inputs=X, birth=birth).parity.sites[0].exact


@pytest.mark.parametrize("birth", BIRTHS)
def test_readers_in_groups(birth: str) -> None:
    net = shaken(Chain(nn.BatchNorm2d(8), groups=2))
    result = widen(net, "a", "2x", example_inputs=X, birth=birth)
    assert result.parity.sites[0].exact
    if birth == "cancel":
        with pytest.raises(SiteError, match=r"odd number of new channels.*in 2 groups.*give 12 channels"):
            widen(net, "a", 10, example_inputs=X, birth=birth)
        assert widen(net, "a", 12, example_inputs=X, birth=birth).parity.sites[0].exact


def test_refusals() -> None:
    with pytest.raises(SiteError, match=r"odd number of new channels.*give 12 channels"):
        widen(normed(), "a", 11, example_inputs=X, birth="cancel")
    with pytest.raises(GraphError, match=r"expected a birth of copies, zero, cancel, got 'pair'"):
        widen(normed(), "a", 12, example_inputs=X, birth="pair")  # type: ignore[arg-type]
    with pytest.raises(SiteError, match=r"with noise=0 they would be zero.*birth='zero'"):
        widen(normed(), "a", 12, example_inputs=X, birth="cancel", noise=0.0)
    assert widen(normed(), "a", 11, example_inputs=X, birth="zero", noise=0.0).parity.sites[0].exact


def test_seeds() -> None:
    for birth in BIRTHS:
        one, same, other = (widen(normed(), "a", "2x", example_inputs=X, birth=birth, seed=s).model for s in (1, 1, 2))
        assert torch.equal(one.a.weight, same.a.weight)
        assert torch.equal(one.b.weight, same.b.weight)
        assert not torch.equal(one.a.weight, other.a.weight)


def test_the_optimizer_goes_along() -> None:
    for birth in BIRTHS:
        net = normed()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        F.cross_entropy(net(X), torch.arange(16) % 5).backward()
        optimizer.step()
        result = widen(net, "a", "2x", example_inputs=X, birth=birth)
        rebuild_optimizer(result, optimizer)
        held = {id(each) for group in optimizer.param_groups for each in group["params"]}
        assert held == {id(each) for each in result.model.parameters()}
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(result.model(X), torch.arange(16) % 5).backward()
            optimizer.step()
        assert all(each.isfinite().all() for each in result.model.parameters())


@pytest.mark.parametrize("birth", BIRTHS)
@pytest.mark.parametrize("norm", [None, "calibrated", "group"])
def test_blobs(birth: str, norm: str | None, tmp_path: Path) -> None:
    data = {"calibration": [X]} if norm == "calibrated" else {}
    graph = "3x3:2x > 1x1:2x > 3x3"
    child = morph(normed(), {"b": graph}, example_inputs=X, norm=norm, **data).model  # type: ignore[arg-type]
    if norm != "group":
        shaken(child, 2)
    for blob, width in (("a", "2x"), ("b", 14)):
        result = widen(child, "b", width, blob=blob, example_inputs=X, birth=birth)
        assert result.parity.sites[0].exact
        assert gap(child, result.model, X) < 1e-6
        replays(result.model, normed(), tmp_path / blob, X)
    assert_alive(result.model, "b.edges.a_b", "b.edges.b_t")


def test_blended_norms_that_have_learned_are_refused() -> None:
    child = shaken(morph(normed(), {"b": "3x3:2x > 3x3"}, example_inputs=X, norm="layer").model, 2)
    with pytest.raises(GraphError, match="normalises over several channels"):
        widen(child, "b", "2x", blob="a", example_inputs=X, birth="zero")
    assert widen(child, "b", "2x", blob="a", example_inputs=X).parity.sites[0].exact


def test_odd_blobs_and_tied_ones() -> None:
    child = shaken(morph(normed(), {"b": "3x3:2x > 3x3*dw:2x > 3x3"}, example_inputs=X).model, 2)
    with pytest.raises(SiteError, match="blob 'a' would get an odd number of new channels"):
        widen(child, "b", 15, blob="a", example_inputs=X, birth="cancel")
    for birth in BIRTHS:
        result = widen(child, "b", "2x", blob="a", example_inputs=X, birth=birth)
        assert result.parity.sites[0].exact
        assert_alive(result.model, "b.edges.s_a", "b.edges.b_t")


@pytest.mark.parametrize("birth", BIRTHS)
def test_blobs_of_modules_with_plain_activations(birth: str) -> None:
    for born in ("pair", "zero"):
        graph = "3x3:4x > 3x3" if born == "pair" else "3x3 | 3x3:2x > 3x3"
        child = morph(normed(), {"b": graph}, example_inputs=X, birth=born).model  # type: ignore[arg-type]
        for model in (child, shaken(child, 3)):
            result = widen(model, "b", "1.5x", blob="a", example_inputs=X, birth=birth)
            assert result.parity.sites[0].exact


def test_roles() -> None:
    made = Channels.of(4, 8, birth="cancel", blocks=2, seed=0, what="it")
    assert made.role.tolist() == [0, 0, 1, 2, 0, 0, 1, 2]
    assert torch.equal(made.index[made.role == 1], made.index[made.role == 2])
    assert Channels.of(4, 8, birth="copies", blocks=2, seed=0, what="it").new is None
    with pytest.raises(NetmorphError, match="pairs of neighbouring channels"):
        made.times(2)
    assert Channels.of(4, 6, birth="zero", blocks=1, seed=0, what="it").times(2).role.tolist() == [0] * 8 + [1] * 4
