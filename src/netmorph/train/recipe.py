"""What a training run does, as one value, and the optimizer and schedule that follow from it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.nn import MorphedModule
from netmorph.nn.slopes import slopes
from netmorph.train.yaml_file import read_yaml

__all__ = ["Recipe", "load_recipe", "make_optimizer", "make_schedule", "recipe_names"]

_SCHEDULES = ("cosine", "step")


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run: stochastic gradient descent with momentum, as in section 4.2 of the paper.

    Numbers may be given as text (YAML reads ``1e-4`` as text), and milestones as any sequence.

    Attributes:
        epochs: number of passes over the training split.
        batch_size: images per step, over all processes.
        lr: peak learning rate.
        momentum: momentum factor.
        weight_decay: weight decay of all parameters except the slopes of activations.
        warmup: fraction of all steps over which the rate increases to its peak.
        pad: maximum random shift in pixels, if the data set is augmented by shifts.
        schedule: how the rate decreases: ``"cosine"``, half a cosine down to zero (beyond the paper), or ``"step"``.
        milestones: with ``"step"``: when the rate decreases, in epochs; values below 1 are fractions of all epochs.
        gamma: with ``"step"``: factor on the rate at each milestone.
        nesterov: whether to use Nesterov momentum (beyond the paper).
        newborn_lr: factor on the rate of the new parameters of morphed modules, that is, all but their biases (beyond
            the paper).
        anneal: fraction of all steps over which new slopes are moved from 1 to 0; with 0 they follow their gradients
            only (beyond the paper).
    """

    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: float = 0.05
    pad: int = 2
    schedule: str = "cosine"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    nesterov: bool = True
    newborn_lr: float = 1.0
    anneal: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, _converted(each.name, str(each.type), getattr(self, each.name)))
        if self.epochs < 1 or self.batch_size < 1 or not self.lr > 0:
            raise NetmorphError(
                f"a recipe needs epochs, batch size and learning rate above zero, not "
                f"{self.epochs}, {self.batch_size} and {self.lr}"
            )
        self._check_schedule()
        if not (self.newborn_lr > 0 and self.gamma > 0):
            raise NetmorphError(
                f"factors on a rate must be positive, got newborn_lr {self.newborn_lr} and gamma {self.gamma}"
            )
        if not (0 <= self.momentum < 1 and 0 <= self.warmup < 1 and self.weight_decay >= 0 and self.pad >= 0):
            raise NetmorphError(
                f"momentum and warmup lie in [0, 1), decay and pad are not below zero: not {self.momentum}, "
                f"{self.warmup}, {self.weight_decay} and {self.pad}"
            )
        if not 0 <= self.anneal <= 1:
            raise NetmorphError(f"anneal must be a fraction of all steps, in [0, 1], got {self.anneal}")
        if self.nesterov and not self.momentum:
            raise NetmorphError("Nesterov momentum needs momentum > 0", remedies=["set nesterov to false"])

    def _check_schedule(self) -> None:
        if self.schedule not in _SCHEDULES:
            raise NetmorphError(f"unknown schedule {self.schedule!r}; choose {' or '.join(_SCHEDULES)}")
        if (self.schedule == "step") != bool(self.milestones):
            raise NetmorphError(
                f"the schedule {self.schedule} has milestones {self.milestones}",
                remedies=["give milestones for the schedule step and for no other"],
            )
        if any(not 0 < each < self.epochs for each in self.milestones):
            raise NetmorphError(
                f"the milestones {self.milestones} do not lie within {self.epochs} epochs",
                remedies=["give shares of all epochs, such as 0.5, if the number of epochs is to vary"],
            )


def recipe_names() -> list[str]:
    """Return the names of the recipes that netmorph ships."""
    return sorted(each.name.removesuffix(".yaml") for each in files("netmorph.train").joinpath("recipes").iterdir())


def load_recipe(name_or_path: str | Path, **overrides: Any) -> Recipe:
    """Read a recipe from a YAML file, whose keys are the attributes of `Recipe`.

    Args:
        name_or_path: one of `recipe_names`, or a file.
        **overrides: values that replace those of the file.

    Returns:
        The recipe.

    Raises:
        NetmorphError: if the recipe is unknown, the file is not a mapping of known keys, or a value is invalid.
    """
    name = str(name_or_path)
    source: Any = Path(name_or_path)
    if name in recipe_names():
        source = files("netmorph.train") / "recipes" / f"{name}.yaml"
    elif not source.is_file():
        raise NetmorphError(
            f"unknown recipe {name!r}", remedies=[f"choose one of {', '.join(recipe_names())}", "give a YAML file"]
        )
    content = read_yaml(source)
    if not isinstance(content, Mapping):
        raise NetmorphError(f"the recipe {name} is not a mapping of names to values")
    given = {**content, **overrides}
    known = [each.name for each in fields(Recipe)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise NetmorphError(
                f"the recipe {name} has no key {key!r}",
                remedies=[*(f"write {each}" for each in near), f"the keys are {', '.join(known)}"],
            )
    try:
        return Recipe(**given)
    except NetmorphError as error:
        raise NetmorphError(f"invalid recipe {name}: {error.what}", remedies=error.remedies) from error


def _converted(name: str, kind: str, value: Any) -> Any:
    """Return a value as the type that its field is annotated with."""
    try:
        if kind == "bool" or isinstance(value, bool) or (kind == "str" and not isinstance(value, str)):
            if type(value).__name__ != kind:
                raise TypeError
            return value
        if kind == "int":
            if float(value) != int(float(value)):
                raise ValueError
            return int(float(value))
        if kind.startswith("tuple") and isinstance(value, str):
            raise TypeError  # "12" is not the milestones 1 and 2
        return {"float": float, "str": str}.get(kind, lambda each: tuple(map(float, each)))(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise NetmorphError(f"a recipe's {name} is of type {kind}, which {value!r} is not") from error


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """Make the optimizer: no slope decays, since decay would pull a newborn linear activation away from slope 1.

    Args:
        model: the network, already where it is trained: on CUDA a step is one fused kernel for many parameters.
        recipe: what to do.

    Raises:
        NetmorphError: if all parameters are frozen.
    """
    exempt = {id(p) for module in model.modules() if isinstance(module, nn.PReLU) for p in module.parameters()}
    exempt |= {id(p) for _, p in slopes(model)}
    morphed = [module for module in model.modules() if isinstance(module, MorphedModule)]
    new = {id(p) for module in morphed for p in module.parameters() if p is not module.bias}
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise NetmorphError(
            "no parameter of the network requires a gradient",
            remedies=["unfreeze some parameters: model.fc.requires_grad_(True)"],
        )
    buckets: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in trained:
        factor = recipe.newborn_lr if id(parameter) in new else 1.0
        buckets.setdefault((id(parameter) in exempt, factor), []).append(parameter)
    groups = [
        {
            "params": buckets[slope, factor],
            "lr": recipe.lr * factor,
            "weight_decay": 0.0 if slope else recipe.weight_decay,
        }
        for slope, factor in sorted(buckets, key=lambda key: (key[0], key[1] != 1.0))
    ]
    fused = all(p.is_cuda for p in trained)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        fused=fused,
        foreach=not fused,  # also on the CPU, where many small tensors would each cost a call
    )


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Climb linearly to the peak rate, then fall as the recipe says; ``steps`` in all, each followed by a `step()`."""
    climb = max(1, round(recipe.warmup * steps))
    falls = [round((each if each < 1 else each / recipe.epochs) * steps) for each in recipe.milestones]

    def factor(step: int) -> float:
        if step < climb:
            return (step + 1) / climb
        if recipe.schedule == "step":
            return float(recipe.gamma ** sum(step >= fall for fall in falls))
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - climb) / max(1, steps - climb))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
