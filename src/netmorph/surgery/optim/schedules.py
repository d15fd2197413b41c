"""Learning-rate schedulers of an optimizer that gets new parameter groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from netmorph.errors import NetmorphError
from netmorph.surgery.optim.groups import GroupCopy, inside

# The per-group lists of torch's schedulers, and of timm's. By name: a list of milestones may be as long by chance.
_RATES = ("base_lrs", "_last_lr", "min_lrs", "max_lrs", "base_values", "warmup_steps")
_PER_GROUP = (*_RATES, "lr_lambdas", "base_momentums", "max_momentums")


def all_schedulers(given: Any, optimizer: Optimizer) -> list[Any]:
    """Return the schedulers given and those inside them, each once.

    Args:
        given: a scheduler or several; None for none.
        optimizer: which all must drive, or a wrapper of it.

    Raises:
        NetmorphError: if one of them is not a scheduler, or drives another optimizer.
    """
    listed = given if isinstance(given, Sequence) else [] if given is None else [given]
    found: dict[int, Any] = {}
    for scheduler in listed:
        for each in _nested(scheduler):
            driven = getattr(each, "optimizer", None)
            if inside(driven) is not inside(optimizer):
                what = "drives another optimizer" if isinstance(driven, Optimizer) else "is not a scheduler"
                raise NetmorphError(
                    f"schedulers= holds a {type(each).__name__}, which {what}",
                    remedies=["pass the schedulers of this optimizer"],
                )
            found[id(each)] = each
    return list(found.values())


def check_known(optimizer: Optimizer, given: Any) -> None:
    """Raise if a scheduler drives the optimizer and none is given: it would not know a new group.

    Raises:
        NetmorphError: if a scheduler of the optimizer is known and was not passed.
    """
    forgotten = isinstance(given, Sequence) and not given
    steps = (optimizer.step, inside(optimizer).step)
    if forgotten and any(hasattr(step, "_wrapped_by_lr_sched") for step in steps):
        raise NetmorphError(
            "a learning-rate scheduler drives this optimizer, which gets a new parameter group",
            remedies=[
                "pass schedulers=scheduler, so that it is updated with the new group",
                "pass schedulers=None if it is no longer used",
            ],
        )


def grow(schedulers: Sequence[Any], before: int, copies: Sequence[GroupCopy]) -> None:
    """Give every per-group list of the schedulers an entry for each new group, that of the group it came from.

    A rate is multiplied by the new group's factor. The lists are replaced, not changed: two schedulers may hold the
    same one.

    Args:
        schedulers: all of them, as `all_schedulers` returns them.
        before: how many groups there were.
        copies: the new groups, in order.
    """
    for scheduler in schedulers:
        own = vars(scheduler)
        for name in _PER_GROUP:
            values = own.get(name)
            if isinstance(values, list) and len(values) == before:
                grown = list(values)
                for new in copies:
                    value = _copy(grown[new.origin])
                    grown.append(value if new.factor is None or name not in _RATES else value * new.factor)
                own[name] = grown


def _nested(scheduler: Any) -> Iterator[Any]:
    if not hasattr(scheduler, "optimizer") and hasattr(scheduler, "scheduler"):  # accelerate's wrapper
        yield from _nested(scheduler.scheduler)
        return
    yield scheduler
    for value in vars(scheduler).values() if hasattr(scheduler, "__dict__") else ():
        for each in value if isinstance(value, list | tuple) else [value]:
            if isinstance(each, LRScheduler):
                yield from _nested(each)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
