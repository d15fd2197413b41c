"""Schedulers know the groups that slopes get, follow the plan they were on, and resume from state dicts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.surgery.networks import small
from tests.surgery.training import equal, fit, grown
from torch import nn
from torch.optim import Optimizer
from torch.optim import lr_scheduler as lrs
from torch.optim.swa_utils import SWALR

from netmorph.errors import NetmorphError
from netmorph.surgery.optim.param_groups import param_groups
from netmorph.surgery.optim.rebuild_optimizer import rebuild_optimizer


class Halving:
    """A callable with a state of its own, which LambdaLR saves."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, epoch: int) -> float:
        return self.rate**epoch


def chained(optimizer: Optimizer) -> lrs.ChainedScheduler:
    return lrs.ChainedScheduler([lrs.ConstantLR(optimizer, 0.5, 4), lrs.ExponentialLR(optimizer, 0.9)])


def nested(optimizer: Optimizer) -> lrs.ChainedScheduler:
    warm = lrs.LinearLR(optimizer, 0.1, total_iters=4)
    first = lrs.SequentialLR(optimizer, [warm, lrs.LambdaLR(optimizer, Halving(0.9))], [4])
    return lrs.ChainedScheduler([first, lrs.ExponentialLR(optimizer, 0.9)])


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "lambda": lambda o: lrs.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "lambda-objects": lambda o: lrs.LambdaLR(o, [Halving(0.9)] * len(o.param_groups)),
    "multiplicative": lambda o: lrs.MultiplicativeLR(o, lambda epoch: 0.9),
    "step": lambda o: lrs.StepLR(o, 2, 0.5),
    "multistep": lambda o: lrs.MultiStepLR(o, [2, 4, 6], 0.5),
    "constant": lambda o: lrs.ConstantLR(o, 0.5, 5),
    "linear": lambda o: lrs.LinearLR(o, 0.1, total_iters=8),
    "exponential": lambda o: lrs.ExponentialLR(o, 0.9),
    "polynomial": lambda o: lrs.PolynomialLR(o, 20, 2.0),
    "cosine": lambda o: lrs.CosineAnnealingLR(o, 10),
    "restarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 4),
    "one-cycle": lambda o: lrs.OneCycleLR(o, 0.02, total_steps=30),
    "cyclic": lambda o: lrs.CyclicLR(o, 0.001, 0.02, 3),
    "plateau": lambda o: lrs.ReduceLROnPlateau(o, patience=1, min_lr=[1e-4] * len(o.param_groups)),
    "swa": lambda o: SWALR(o, 0.001, 6),
    "sequential": lambda o: lrs.SequentialLR(o, [lrs.ConstantLR(o, 0.1, 3), lrs.ExponentialLR(o, 0.9)], [4]),
    "chained": chained,
    "nested": nested,
}


def sgd(parameters: Any) -> Optimizer:
    return torch.optim.SGD(parameters, 0.01, momentum=0.9, weight_decay=0.01)


def plan(optimizer: Optimizer, group: int) -> dict[str, Any]:
    return {key: value for key, value in optimizer.param_groups[group].items() if key in ("lr", "momentum")}


def follow(model: nn.Module, optimizer: Optimizer, scheduler: Any, steps: int, group: int = 0) -> list[dict[str, Any]]:
    found = []
    for _ in range(steps):
        found.append(plan(optimizer, group))
        fit(model, optimizer, 1, scheduler)
    return found


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_plan_goes_on_for_all_groups(name: str) -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    scheduler = SCHEDULERS[name](optimizer)
    twin = small()
    other = sgd(twin.parameters())
    wanted = follow(twin, other, SCHEDULERS[name](other), 12)

    assert follow(parent, optimizer, scheduler, 3) == wanted[:3]
    result = grown(parent, {"stem": "3x3 > 1x1"})
    rebuild_optimizer(result, optimizer, scheduler)
    assert len(scheduler.get_last_lr()) == 2
    for expected in wanted[3:]:
        assert plan(optimizer, 0) == expected
        assert plan(optimizer, 1) == expected
        fit(result.model, optimizer, 1, scheduler)
    assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("factor", [1.0, 0.25])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_checkpoint_resumes(name: str, factor: float) -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    scheduler = SCHEDULERS[name](optimizer)
    fit(parent, optimizer, 3, scheduler)
    child = grown(parent, {"stem": "3x3 > 1x1"})
    rebuild_optimizer(child, optimizer, [scheduler], newborn_lr_factor=factor)
    model = child.model
    fit(model, optimizer, 2, scheduler)

    stored = copy.deepcopy((model.state_dict(), optimizer.state_dict(), scheduler.state_dict()))
    again = copy.deepcopy(model)
    groups = param_groups(again, lr=0.01, newborn_lr=0.01 * factor, weight_decay=0.01)
    resumed = torch.optim.SGD(groups, momentum=0.9)
    follows = SCHEDULERS[name](resumed)
    again.load_state_dict(stored[0])
    resumed.load_state_dict(stored[1])
    follows.load_state_dict(stored[2])
    assert resumed.param_groups[-1]["netmorph_slopes_of"] == len(groups) - 2
    assert len(groups) == (2 if factor == 1 else 3)

    assert fit(model, optimizer, 5, scheduler) == fit(again, resumed, 5, follows)
    assert equal(model.state_dict(), again.state_dict())
    assert equal(optimizer.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_newborns_follow_at_their_factor(name: str) -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    scheduler = SCHEDULERS[name](optimizer)
    follow(parent, optimizer, scheduler, 3)
    result = grown(parent, {"stem": "3x3 > 1x1"})
    rebuild_optimizer(result, optimizer, scheduler, newborn_lr_factor=0.25)
    assert len(scheduler.get_last_lr()) == 3
    for _ in range(9):
        old, new, blends = (group["lr"] for group in optimizer.param_groups)
        assert new == blends == pytest.approx(old / 4, rel=1e-12)
        fit(result.model, optimizer, 1, scheduler)
    assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]


def test_each_group_keeps_its_own_plan() -> None:
    parent = small()
    groups = [
        {"params": part.parameters(), "lr": lr}
        for part, lr in zip(parent.children(), (1e-3, 2e-3, 0, 4e-3), strict=True)
    ]
    optimizer = torch.optim.SGD([group for group in groups if group["lr"]], weight_decay=0.1)
    scheduler = lrs.LambdaLR(optimizer, [Halving(0.9), Halving(0.8), Halving(0.7)])
    plateau = lrs.ReduceLROnPlateau(optimizer, min_lr=[1.0, 2.0, 3.0])
    result = grown(parent, {"fc": "1 > 1", "stem": "3x3 > 1x1"})
    rebuilt = rebuild_optimizer(result, optimizer, [scheduler, plateau])
    assert rebuilt.new_groups == (3, 4)
    origins = [group["netmorph_slopes_of"] for group in optimizer.param_groups[3:]]
    assert sorted(origins) == [0, 2]
    assert [scheduler.lr_lambdas[3].rate, scheduler.lr_lambdas[4].rate] == [(0.9, 0.8, 0.7)[i] for i in origins]
    assert plateau.min_lrs[3:] == [(1.0, 2.0, 3.0)[i] for i in origins]
    assert scheduler.base_lrs[3:] == [(1e-3, 2e-3, 4e-3)[i] for i in origins]


def test_two_schedulers_of_one_optimizer() -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    one, two = lrs.StepLR(optimizer, 2, 0.5), lrs.LambdaLR(optimizer, Halving(0.9))
    result = grown(parent)
    rebuild_optimizer(result, optimizer, (one, two, one))
    assert [len(each.base_lrs) for each in (one, two)] == [2, 2]


def test_tensor_rates_are_copied() -> None:
    parent = small()
    optimizer = torch.optim.Adam(parent.parameters(), torch.tensor(0.01), weight_decay=0.1)
    scheduler = lrs.CosineAnnealingLR(optimizer, 10)
    result = grown(parent)
    rebuild_optimizer(result, optimizer, scheduler)
    assert scheduler.base_lrs[0] is not scheduler.base_lrs[1]
    fit(result.model, optimizer, 3, scheduler)
    first, second = (group["lr"] for group in optimizer.param_groups)
    assert torch.equal(first, second)
    assert first < 0.01


def test_lists_out_of_step_are_left_alone() -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    scheduler = lrs.ReduceLROnPlateau(optimizer, min_lr=0.5)
    scheduler.min_lrs = [0.1, 0.2, 0.3]
    rebuild_optimizer(grown(parent), optimizer, scheduler)
    assert scheduler.min_lrs == [0.1, 0.2, 0.3]


def test_timms_schedulers() -> None:
    pytest.importorskip("timm")
    from timm.scheduler import CosineLRScheduler

    parent = small()
    optimizer = sgd(parent.parameters())
    scheduler = CosineLRScheduler(optimizer, 20, warmup_t=4, warmup_lr_init=1e-4)
    result = grown(parent)
    rebuild_optimizer(result, optimizer, scheduler)
    assert scheduler.base_values == [0.01, 0.01]
    for epoch in (2, 10):  # within the warm-up and after it
        scheduler.step(epoch)
        assert optimizer.param_groups[1]["lr"] == optimizer.param_groups[0]["lr"] < 0.01


def test_forgotten_schedulers() -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    scheduler = lrs.StepLR(optimizer, 2)
    with pytest.raises(NetmorphError, match="scheduler drives this optimizer.*pass schedulers=scheduler"):
        rebuild_optimizer(grown(parent), optimizer)
    assert len(optimizer.param_groups) == 1
    # Nothing to tell it where no group is new.
    linear = grown(parent, act=None)
    rebuild_optimizer(linear, optimizer)
    fit(linear.model, optimizer, 3, scheduler)
    result = grown(linear.model, {"fc": "1 > 1"})
    rebuild_optimizer(result, optimizer, None)
    assert len(optimizer.param_groups) == 2


def test_strangers() -> None:
    parent = small()
    optimizer = sgd(parent.parameters())
    other = lrs.StepLR(sgd(small().parameters()), 2)
    with pytest.raises(NetmorphError, match="a StepLR, which drives another optimizer"):
        rebuild_optimizer(grown(parent), optimizer, other)
    with pytest.raises(NetmorphError, match="a str, which is not a scheduler"):
        rebuild_optimizer(grown(parent), optimizer, ["step"])  # type: ignore[list-item]
    assert len(optimizer.param_groups) == 1
