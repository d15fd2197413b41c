import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.plain_net import PlainNet
from netmorph.models.registry import build


@pytest.mark.parametrize("size", [7, 28, 32])
def test_shapes(size):
    model = PlainNet(num_classes=7, in_channels=1, width=4)
    assert model(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_it_is_three_convolutions_and_a_linear_layer():
    model = build("netmorph:plain", in_channels=1, width=6)
    assert sum(p.numel() for p in model.parameters()) == 790
    assert [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)] == [
        "conv1",
        "conv2",
        "conv3",
    ]


def test_the_seed_alone_decides_the_weights():
    state = torch.get_rng_state()
    one, same, other = (PlainNet(seed=seed).conv2.weight for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_impossible_size_is_refused():
    with pytest.raises(NetmorphError, match="width must be at least 1"):
        build("netmorph:plain", width=0)
