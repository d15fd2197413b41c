from itertools import pairwise

import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.train.recipe import Recipe, make_optimizer, make_schedule


def test_slopes_do_not_decay_and_everything_else_does():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 1, 5, 5))
    optimizer = make_optimizer(model, Recipe(weight_decay=0.1))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decay[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0.1, "1.weight": 0.1, "1.bias": 0.1, "2.weight": 0.0, "4.weight": 0.1, "4.bias": 0.1,
    }  # fmt: skip


def test_a_model_without_slopes_has_one_group_and_frozen_parameters_none():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    (group,) = make_optimizer(model, Recipe()).param_groups
    assert group["params"] == [model.weight]


def test_the_rate_climbs_then_falls_to_zero():
    optimizer = make_optimizer(nn.Linear(1, 1), Recipe(lr=0.5, warmup=0.1))
    schedule = make_schedule(optimizer, Recipe(lr=0.5, warmup=0.1), steps=100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == rates[9] == rates[10] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[-1] < 0.001
    assert optimizer.param_groups[0]["lr"] == 0


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": -1}, {"lr": 0.0}, {"lr": float("nan")}])
def test_senseless_recipes_are_refused(wrong):
    with pytest.raises(NetmorphError, match="above zero"):
        Recipe(**wrong)
