"""Newborn slopes are drawn to 0, and nothing else is."""

import pytest
import torch

import netmorph as nm
from netmorph.data.fashion import load_fashion
from netmorph.errors import NetmorphError
from netmorph.models.resnet_cifar import CifarResNet
from netmorph.nn.slopes import slopes
from netmorph.train.annealing import Annealing
from netmorph.train.loop import Paused, fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe

CPU = Machine(accelerator="cpu")


@pytest.fixture(scope="module")
def small():
    return load_fashion().first(120, 40)


def child(small):
    parent = CifarResNet(8, in_channels=1, width=4, stem_stride=2, seed=0).eval()
    return nm.morph(parent, {"layer*.conv1": "3x3 > 1x1"}, example_inputs=small.example(2)).model


def values(model):
    return torch.cat([slope.detach().flatten() for _, slope in slopes(model)])


def test_slopes_fall_linearly_where_nothing_else_moves_them(small):
    model = child(small)
    annealing = Annealing(model, steps=4)
    seen = []
    for done in range(6):
        annealing.step(done)
        seen.append(values(model).unique().tolist())
    assert seen == [[0.75], [pytest.approx(0.5)], [pytest.approx(0.25)], [0.0], [0.0], [0.0]]


def test_only_what_is_newborn_is_annealed(small):
    model = child(small)
    first = slopes(model)[0][0]
    with torch.no_grad():
        dict(slopes(model))[first][0] = 0.9  # has learned already
    annealing = Annealing(model, steps=1)
    assert first not in annealing.names
    assert annealing.names
    before = dict(slopes(model))[first].detach().clone()
    annealing.step(0)
    assert torch.equal(dict(slopes(model))[first], before)
    assert all(not slope.any() for name, slope in slopes(model) if name != first)


def test_a_training_anneals_over_the_share_that_the_recipe_says(small):
    lazy, drawn = child(small), child(small)
    recipe = {"epochs": 2, "batch_size": 40, "lr": 1e-4}
    fit(lazy, small, Recipe(**recipe), 0, machine=CPU)
    fit(drawn, small, Recipe(**recipe, anneal=1.0), 0, machine=CPU)
    assert values(lazy).min() > 0.9
    assert values(drawn).abs().max() == 0  # the last step ends at 0


def test_a_resumed_training_anneals_as_an_uninterrupted_one(small, tmp_path):
    recipe = Recipe(epochs=3, batch_size=40, lr=0.05, anneal=0.6)
    whole = child(small)
    fit(whole, small, recipe, 0, machine=CPU)
    stopped = child(small)
    with pytest.raises(Paused):
        fit(stopped, small, recipe, 0, machine=CPU, folder=tmp_path, stop=lambda: True)
    assert (values(stopped) != 1).any()
    fit(stopped, small, recipe, 0, machine=CPU, folder=tmp_path)  # handed in as the interruption left it
    for one, other in zip(whole.state_dict().values(), stopped.state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_senseless_share_is_refused(share):
    with pytest.raises(NetmorphError, match="anneal must be a fraction of all steps"):
        Recipe(anneal=share)
