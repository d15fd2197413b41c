"""What a training run does, as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.nn.slopes import slopes

__all__ = ["Recipe", "make_optimizer", "make_schedule"]


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent as in section 4.2 of the paper, with a cosine schedule (beyond the paper).

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step.
        lr: peak learning rate.
        momentum: Nesterov's momentum.
        weight_decay: decay of all parameters except the slopes of activations.
        warmup: share of all steps over which the rate climbs to its peak.
        pad: the largest random shift, in pixels.
    """

    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.05
    pad: int = 2

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise NetmorphError(
                f"a recipe needs epochs, batch size and learning rate above zero, not "
                f"{self.epochs}, {self.batch_size} and {self.lr}"
            )


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Make the optimizer: no slope decays, since decay would pull a newborn linear activation away from slope 1."""
    exempt = {id(p) for module in model.modules() if isinstance(module, nn.PReLU) for p in module.parameters()}
    exempt |= {id(p) for _, p in slopes(model)}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in exempt], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if id(p) in exempt], "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
        foreach=True,  # also on the CPU, where many small tensors would each cost a call
    )


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Climb linearly to the peak rate, then follow half a cosine down to zero; ``steps`` in all."""
    climb = max(1, round(recipe.warmup * steps))

    def factor(step: int) -> float:
        if step < climb:
            return (step + 1) / climb
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - climb) / max(1, steps - climb))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
