"""What the way from a layer to its reader is refused for, in words; what is only told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.surgery.growth.test_widen_between import C, Chain, drawn
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import SiteError
from netmorph.surgery.growth.find_reader import follow
from netmorph.surgery.growth.widen import widen
from netmorph.surgery.running.call import Call

X = drawn(2, 3, 6, 8).float()


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (
            nn.LocalResponseNorm(3),
            "local_response_norm mixes channels: it divides each channel by a sum over its neigh",
        ),
        (nn.Softmax(1), "softmax mixes channels: it divides by a sum over channels"),
        (nn.LogSoftmax(1), "log_softmax mixes channels: it subtracts a sum over channels"),
        (F.normalize, "normalize mixes channels: it divides by a norm over channels"),
        (nn.ChannelShuffle(2), "channel_shuffle mixes channels: it reorders the channels"),
        (lambda x: F.pixel_shuffle(x.repeat(1, 4, 1, 1), 2), "pixel_shuffle .*: it converts channels to pixels"),
        (
            lambda x: x.mean(1, keepdim=True).expand(x.shape),
            "mean mixes channels: it takes the mean of the channels",
        ),
        (
            lambda x: F.glu(x, 1).repeat(1, 2, 1, 1),
            "glu mixes channels: it multiplies one half of the channels by the other",
        ),
        (nn.GroupNorm(2, C), "group_norm depends on there being 6 channels: it normalises groups of channels together"),
        (F.dropout, "dropout mixes channels: it draws random numbers"),
    ],
)
def test_what_a_function_does_is_said(between: Callable[[Tensor], Tensor], message: str) -> None:
    net = Chain(between).eval()
    (trail,) = follow(net, Call.of(X), "a", torch.tensor([0, 1, 2, 3, 4, 5, 0, 2]))
    assert message.partition(" ")[0] in trail.why
    with pytest.raises(SiteError, match=message):
        widen(net, "a", 8, example_inputs=X)


class Coupled(nn.BatchNorm2d):
    """A norm by its class, and a coupling of channels by what it does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 1e-6 * x.sum(1, keepdim=True))


class Activated(nn.BatchNorm2d):
    """A norm and an activation, as timm has it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(super().forward(x))


def test_subclasses_of_norms_are_not_believed() -> None:
    with pytest.raises(SiteError, match="'between' mixes channels"):
        widen(Chain(Coupled(C)), "a", example_inputs=X)
    net = Chain(Activated(C)).eval()
    kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    result = widen(net, "a", 9, example_inputs=X)
    assert result.parity.exact
    assert result.model.between.num_features == 9
    assert all(torch.equal(tensor, kept[name]) for name, tensor in net.state_dict().items())


class InTraining(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) if self.training else x


def test_train_mode_is_held_to_the_same() -> None:
    with pytest.raises(SiteError, match="local_response_norm mixes channels"):
        widen(Chain(InTraining(nn.LocalResponseNorm(3))), "a", example_inputs=X)
    for random in (nn.Dropout(0.5), nn.Dropout2d(0.5, inplace=True), nn.RReLU(), nn.AlphaDropout(0.1)):
        assert widen(Chain(InTraining(random)).eval(), "a", example_inputs=X).parity.exact


class Orders(nn.Module):
    """One call flattens channels first, the other positions first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).flatten(1)) + self.b(self.a(2 * x).permute(0, 2, 3, 1).flatten(1))


def test_calls_that_bring_the_channels_in_different_orders() -> None:
    with pytest.raises(SiteError, match="in different orders in different calls"):
        widen(Orders(), "a", example_inputs=drawn(1, 3, 2, 2).float())


class Aside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.seen = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        self.seen = y.tolist()[0][0][0][0]
        return self.b(y)


def test_numbers_that_leave_pytorch_are_told() -> None:
    result = widen(Aside(), "a", 6, example_inputs=X)
    assert any("'a' computes leaves PyTorch by tolist" in notice for notice in result.notices)
    assert not any("leaves PyTorch" in notice for notice in widen(Chain(nn.ReLU()), "a", example_inputs=X).notices)
