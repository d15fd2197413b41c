from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.surgery.morphing.morph import morph
from netmorph.train.recipe import Recipe, load_recipe, make_optimizer, make_schedule, recipe_names


def rates(recipe, steps):
    optimizer = make_optimizer(nn.Linear(1, 1), recipe)
    schedule = make_schedule(optimizer, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found, optimizer.param_groups[0]["lr"]


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


@pytest.fixture(scope="module")
def child():
    parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 4, 3, padding=1))
    return morph(parent, {"2": "3x3 > 1x1"}, example_inputs=torch.randn(1, 3, 8, 8)).model


def test_newborn_parameters_learn_at_a_rate_of_their_own(child):
    optimizer = make_optimizer(child, Recipe(lr=0.1, newborn_lr=5.0, weight_decay=0.01))
    told = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    found = {name: told[id(p)] for name, p in child.named_parameters()}
    assert {name: found.pop(name) for name in ("0.weight", "0.bias", "1.weight", "2.bias")} == {
        "0.weight": (0.1, 0.01), "0.bias": (0.1, 0.01), "1.weight": (0.1, 0.0), "2.bias": (0.1, 0.01),
    }  # fmt: skip
    assert sorted(found.values()) == [(0.5, 0.0), (0.5, 0.01), (0.5, 0.01)]  # a slope and two edges
    schedule = make_schedule(optimizer, Recipe(lr=0.1, warmup=0.5), steps=10)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.02, 0.02, 0.1, 0.1])
    assert schedule.base_lrs == [0.1, 0.5, 0.1, 0.5]


def test_newborn_parameters_are_in_no_group_of_their_own_by_default(child):
    assert [len(group["params"]) for group in make_optimizer(child, Recipe()).param_groups] == [5, 2]


def test_momentum_is_what_the_recipe_says():
    group = make_optimizer(nn.Linear(1, 1), Recipe(momentum=0.8, nesterov=False)).param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.8, False)
    assert make_optimizer(nn.Linear(1, 1), Recipe()).param_groups[0]["nesterov"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_on_a_gpu_is_fused():
    assert make_optimizer(nn.Linear(1, 1).cuda(), Recipe()).param_groups[0]["fused"]


def test_the_cosine_climbs_then_falls_to_zero():
    found, last = rates(Recipe(lr=0.5, warmup=0.1), 100)
    assert found[0] == pytest.approx(0.05)
    assert max(found) == found[9] == found[10] == pytest.approx(0.5)
    assert all(a >= b for a, b in pairwise(found[10:]))
    assert found[-1] < 0.001
    assert last == 0


@pytest.mark.parametrize("milestones", [[5, 8], [0.5, 0.8]], ids=["epochs", "shares"])
def test_steps_fall_at_the_milestones(milestones):
    recipe = Recipe(epochs=10, lr=1.0, warmup=0, schedule="step", milestones=milestones, gamma=0.1)
    found, last = rates(recipe, 20)  # two steps an epoch
    assert found == pytest.approx([1.0] * 10 + [0.1] * 6 + [0.01] * 4)
    assert last == pytest.approx(0.01)


def test_steps_may_begin_with_a_warm_up():
    found, _ = rates(Recipe(epochs=10, lr=1.0, warmup=0.2, schedule="step", milestones=[5]), 10)
    assert found == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": -1}, {"lr": 0.0}, {"lr": float("nan")}])
def test_senseless_recipes_are_refused(wrong):
    with pytest.raises(NetmorphError, match="above zero"):
        Recipe(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "linear"}, "unknown schedule 'linear'.*cosine or step"),
        ({"schedule": "step"}, "step has milestones .*for the schedule step and for no other"),
        ({"milestones": [3]}, "cosine has milestones"),
        ({"schedule": "step", "milestones": [10]}, "do not lie within 10 epochs.*shares"),
        ({"schedule": "step", "milestones": [0]}, "do not lie within"),
        ({"newborn_lr": 0}, "newborn_lr 0.0 and gamma"),
        ({"gamma": -1}, "gamma -1.0"),
        ({"momentum": 1}, "momentum and warmup lie in"),
        ({"warmup": 1.5}, "momentum and warmup lie in"),
        ({"weight_decay": -1e-4}, "decay and pad are not below zero"),
        ({"pad": -1}, "decay and pad are not below zero"),
        ({"momentum": 0}, "Nesterov.*set nesterov to false"),
        ({"epochs": 2.5}, "epochs is of type int, which 2.5 is not"),
        ({"epochs": True}, "epochs is of type int, which True is not"),
        ({"epochs": float("inf")}, "epochs is of type int"),
        ({"lr": "fast"}, "lr is of type float, which 'fast' is not"),
        ({"nesterov": "yes"}, "nesterov is of type bool, which 'yes' is not"),
        ({"nesterov": 1}, "nesterov is of type bool"),
        ({"milestones": 5}, "milestones is of type tuple"),
        ({"epochs": 20, "schedule": "step", "milestones": "12"}, "milestones is of type tuple.*'12' is not"),
        ({"schedule": 3}, "schedule is of type str, which 3 is not"),
    ],
)
def test_each_mistake_is_told(wrong, message):
    with pytest.raises(NetmorphError, match=message):
        Recipe(**wrong)


def test_numbers_may_come_as_text_and_lists_as_lists():
    recipe = Recipe(epochs="3", lr="1e-1", schedule="step", milestones=[1, "0.5"])
    assert recipe == Recipe(epochs=3, lr=0.1, schedule="step", milestones=(1.0, 0.5))
    assert hash(recipe) == hash(replace(recipe))


def test_every_recipe_that_ships_can_be_loaded():
    assert recipe_names() == ["paper-cifar", "paper-imagenet", "short", "smoke"]
    assert all(isinstance(load_recipe(name), Recipe) for name in recipe_names())


def test_the_recipes_of_the_paper():
    cifar, imagenet = load_recipe("paper-cifar"), load_recipe("paper-imagenet")
    for each in (cifar, imagenet):
        assert (each.lr, each.momentum, each.nesterov, each.weight_decay) == (0.1, 0.9, False, 1e-4)
    assert (cifar.epochs, cifar.batch_size, cifar.pad) == (164, 128, 4)
    assert (imagenet.epochs, imagenet.batch_size) == (70, 256)
    found, _ = rates(replace(cifar, epochs=4), 8)  # milestones are shares: they hold for any number of epochs
    assert found == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)
    found, _ = rates(imagenet, 70)
    assert found == pytest.approx([0.1] * 30 + [0.01] * 30 + [0.001] * 10)


def test_a_file_is_read_and_overridden(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 3\nweight_decay: 1e-3\n")
    assert load_recipe(file, lr=0.2) == load_recipe(str(file), lr=0.2) == Recipe(epochs=3, weight_decay=1e-3, lr=0.2)
    assert load_recipe("smoke", epochs=2).epochs == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch: 3", "mine.yaml has no key 'epoch'.*write epochs; or the keys are epochs, batch_size"),
        ("colour: red", "has no key 'colour'. Remedy: the keys are"),
        ("- 3", "is not a mapping"),
        ("", "is not a mapping"),
        ("a: [", "cannot be read"),
        ("epochs: many", "invalid recipe .*mine.yaml.*: a recipe's epochs is of type int"),
        ("schedule: step", "invalid recipe.*Remedy: give milestones"),
        ("!!python/object/apply:os.system ['true']", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, content, message):
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(NetmorphError, match=message):
        load_recipe(file)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        NetmorphError, match="unknown recipe 'long'.*paper-cifar, paper-imagenet, short, smoke.*YAML file"
    ):
        load_recipe("long")


def test_an_unknown_override_is_told():
    with pytest.raises(NetmorphError, match="no key 'momentun'.*write momentum"):
        load_recipe("short", momentun=0.8)
