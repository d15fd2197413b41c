"""Parameter groups of a living optimizer: who is in which, and changing them in place."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from netmorph.errors import NetmorphError

COMPANION = "netmorph_slopes_of"
"""Key of a group of slopes: the index of the group that it copies, but for the decay. State dicts keep it."""

NEWBORN, FACTOR = "netmorph_newborn_of", "netmorph_lr_factor"
"""Keys of a group of newborn parameters with a rate of their own: the index of the group that it copies, and how many
times that one's rate they have. State dicts keep them."""

_RATES = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")  # the latter four are schedulers'
_NAMES = "param_names"
_BUFFER = "momentum_buffer"


@dataclass(frozen=True)
class GroupCopy:
    """A new group.

    Attributes:
        origin: index of the group that it copies, which may be new itself if it comes before.
        factor: on the learning rate; None: the copy is for slopes, and differs by having no weight decay.
    """

    origin: int
    factor: float | None = None

    def options(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the copy of a group."""
        copied = {key: _copied(value) for key, value in group.items() if key not in ("params", _NAMES)}
        if self.factor is None:
            return {**copied, "weight_decay": 0.0, COMPANION: self.origin}
        rates = {key: copied[key] * self.factor for key in _RATES if key in copied}
        return {**copied, **rates, NEWBORN: self.origin, FACTOR: self.factor}


@dataclass
class Change:
    """What is to happen to an optimizer.

    Attributes:
        heirs: the parameter that takes over another's place and state, by the other's id.
        departing: parameters that leave, by id.
        joining: by index of the group, new parameters with their names; an index past the last is a new group.
        copies: by index of a new group, what it is; in the order of their indices.
        prefix: what the optimizer's names of parameters have before the network's.
        renamed: the optimizer's new names of parameters that go on under others, by the old parameter's id.
    """

    heirs: dict[int, nn.Parameter] = field(default_factory=dict)
    departing: dict[int, nn.Parameter] = field(default_factory=dict)
    joining: dict[int, list[tuple[str, nn.Parameter]]] = field(default_factory=dict)
    copies: dict[int, GroupCopy] = field(default_factory=dict)
    prefix: str = ""
    renamed: dict[int, str] = field(default_factory=dict)


def inside(optimizer: Any) -> Any:
    """Return what a wrapper that has no groups and state of its own (accelerate's, Lightning's) drives, else itself."""
    while True:
        inner = getattr(optimizer, "optimizer", None)
        if not isinstance(inner, Optimizer):
            return optimizer
        if optimizer.param_groups is not inner.param_groups or optimizer.state is not inner.state:
            return optimizer
        optimizer = inner


def group_of(optimizer: Optimizer) -> dict[int, int]:
    """Return the index of the group of every parameter, by the parameter's id."""
    return {id(each): index for index, group in enumerate(optimizer.param_groups) for each in group["params"]}


def names_of(optimizer: Optimizer) -> dict[int, str]:
    """Return the names that an optimizer has for its parameters, if any, by the parameter's id."""
    named = [group for group in optimizer.param_groups if _NAMES in group]
    return {id(each): name for group in named for each, name in zip(group["params"], group[_NAMES], strict=True)}


def needs_no_companion(group: Mapping[str, Any]) -> bool:
    """Return whether slopes go into a group itself: the optimizer knows no decay, or it is a group of slopes."""
    return "weight_decay" not in group or COMPANION in group


def companion_of(optimizer: Optimizer, index: int) -> int | None:
    """Return the index of the group of the slopes of a group, or None where there is none yet."""
    groups = enumerate(optimizer.param_groups)
    return next((each for each, group in groups if group.get(COMPANION) == index), None)


def newborn_of(optimizer: Optimizer, index: int, factor: float) -> int | None:
    """Return the index of the group that copies a group at so many times its rate, or None where there is none yet."""
    groups, wanted = enumerate(optimizer.param_groups), (index, factor)
    return next((each for each, group in groups if (group.get(NEWBORN), group.get(FACTOR)) == wanted), None)


def apply(optimizer: Optimizer, change: Change, order: Mapping[int, int]) -> None:
    """Change an optimizer in place; all or nothing.

    Args:
        optimizer: the optimizer.
        change: what is to happen.
        order: place of each of the network's parameters in it, by id.

    Raises:
        NetmorphError: if the optimizer does not accept a group.
    """
    _add_groups(optimizer, change)
    for index, group in enumerate(optimizer.param_groups):
        if index not in change.copies:
            _rewrite(group, change, change.joining.get(index, []), order)
    for key in change.departing.values():
        optimizer.state.pop(key, None)
    for old in [each for each in optimizer.state if isinstance(each, Tensor) and id(each) in change.heirs]:
        optimizer.state[change.heirs[id(old)]] = optimizer.state.pop(old)
    _fill_state(optimizer, change)


def _rewrite(
    group: dict[str, Any], change: Change, joining: Sequence[tuple[str, nn.Parameter]], order: Mapping[int, int]
) -> None:
    """Replace the members of one group; the very lists stay, for others may hold them."""
    members = [
        (change.renamed.get(id(each), name), change.heirs.get(id(each), each))
        for name, each in zip(group.get(_NAMES, [""] * len(group["params"])), group["params"], strict=True)
        if id(each) not in change.departing
    ]
    for name, new in joining:
        members.insert(_place(members, order, order[id(new)]), (change.prefix + name, new))
    group["params"][:] = [each for _, each in members]
    if _NAMES in group:
        group[_NAMES][:] = [name for name, _ in members]


def _place(members: Sequence[tuple[str, Tensor]], order: Mapping[int, int], own: int) -> int:
    """Return where a new member goes: behind the one that is nearest before it in the network, else first."""
    earlier = [(order[id(each)], index) for index, (_, each) in enumerate(members) if order.get(id(each), own) < own]
    return max(earlier)[1] + 1 if earlier else 0


def _add_groups(optimizer: Optimizer, change: Change) -> None:
    before = len(optimizer.param_groups)
    try:
        for index, new in change.copies.items():
            group = optimizer.param_groups[new.origin]
            joining = change.joining.get(index, [])
            members: list[Any] = [each for _, each in joining]
            if _NAMES in group:
                members = [(change.prefix + name, each) for name, each in joining]
            optimizer.add_param_group({**new.options(group), "params": members})
    except Exception as error:
        del optimizer.param_groups[before:]
        raise NetmorphError(
            f"the {type(optimizer).__name__} does not accept a group for new parameters: {error}",
            remedies=[
                "pass groups={'*.acts.*': None}: another optimizer may train the slopes of activations",
                "morph with act=None",
                "leave newborn_lr_factor at 1",
            ],
        ) from error


def _copied(value: Any) -> Any:
    """Return an option's value such that changing one group's leaves the other's alone."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return copy.copy(value)


def _fill_state(optimizer: Optimizer, change: Change) -> None:
    """Create the state that the first step of two optimizers would miss: all others start from none."""
    for index, joining in change.joining.items():
        group, members = optimizer.param_groups[index], [each for _, each in joining]
        if isinstance(optimizer, torch.optim.Adagrad):  # creates it at birth
            options = {key: value for key, value in group.items() if key != _NAMES}
            start = optimizer.defaults["initial_accumulator_value"]
            fresh = torch.optim.Adagrad([{**options, "params": members}], initial_accumulator_value=start)
            optimizer.state.update(fresh.state)
        elif isinstance(optimizer, torch.optim.SGD) and group["fused"]:  # takes buffers of all, or of none
            held = (optimizer.state[each].get(_BUFFER) for each in group["params"] if each in optimizer.state)
            if any(isinstance(buffer, Tensor) for buffer in held):
                for each in members:
                    optimizer.state[each][_BUFFER] = torch.zeros_like(each)
