"""Short trainings with frozen statistics, and what an optimizer knows by name."""

from __future__ import annotations

import copy
from typing import Any

import torch
from tests.surgery.networks import images
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result

SITES = {
    "blocks.0.conv1": "3x3:2x > 1x1 | 1x1",  # no bias
    "blocks.1.conv2": "3x3 > 1x1",  # with bias
    "blocks.1.shortcut": "0.5*id | 1x1 > 1x1",  # no weight at all
}


class DistributedDataParallel(nn.Module):
    """Stands for PyTorch's, which needs a process group; wrappers are known by name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def batch() -> tuple[Tensor, Tensor]:
    return images(8, 8), torch.arange(8) % 5


def loss_of(model: nn.Module) -> Tensor:
    x, y = batch()
    return F.cross_entropy(model.eval()(x), y)


def fit(model: nn.Module, optimizer: Optimizer, steps: int, scheduler: Any = None) -> list[float]:
    """Train with BatchNorm statistics and dropout frozen; return the losses before each step."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(1.0)  # never better: it reduces
        elif scheduler is not None:
            scheduler.step()
    return losses


def grown(model: nn.Module, sites: dict[str, str] | None = None, **options: Any) -> Result:
    return morph(model, SITES if sites is None else sites, example_inputs=images(1, 8), **options)


def states(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return a copy of the state of every parameter of the model that has any, by name."""
    return {
        name: copy.deepcopy(dict(optimizer.state[each]))
        for name, each in model.named_parameters()
        if each in optimizer.state
    }


def members(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """Return the names of the parameters of every group, in order; every one must be the model's."""
    names = {id(each): name for name, each in model.named_parameters()}
    return [[names[id(each)] for each in group["params"]] for group in optimizer.param_groups]


def equal(one: Any, other: Any) -> bool:
    """Return whether two nested states are equal bit for bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[key]) for key, value in one.items())
    return bool(one == other)
