import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.models.scratch import reborn


def trained():
    """A network of which nothing is as it was at birth."""
    model = CifarResNet(8, in_channels=1, width=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape, generator=generator) * 9 + 3)
    return model


def test_nothing_learned_survives():
    model = trained()
    old, new = model.state_dict(), reborn(model, seed=0).state_dict()
    assert old.keys() == new.keys()
    assert not [name for name in old if (old[name] == new[name]).any()]


def test_it_equals_a_new_network_of_the_same_seed():
    again, new = reborn(trained(), seed=5).state_dict(), CifarResNet(8, in_channels=1, width=4, seed=5).state_dict()
    for name, value in new.items():
        assert again[name].equal(value), name


def test_the_original_is_left_alone():
    model = trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    reborn(model, seed=0)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_the_seed_decides():
    model = trained()
    assert reborn(model, 1).conv1.weight.equal(reborn(model, 1).conv1.weight)
    assert not reborn(model, 1).conv1.weight.equal(reborn(model, 2).conv1.weight)


def test_unknown_parameters_are_refused_by_name():
    with pytest.raises(NetmorphError, match=r"cannot start 1\.weight from scratch"):
        reborn(nn.Sequential(nn.Linear(2, 2), nn.Embedding(2, 2)), seed=0)
