"""Carry an optimizer along: moments and groups of all that survives a morph (beyond the paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from netmorph.brief import listed
from netmorph.errors import NetmorphError, SiteError
from netmorph.surgery.edit.lineage import Descent, check_result
from netmorph.surgery.optim.groups import apply, group_of, inside
from netmorph.surgery.optim.inheritance import Inheritance, check_up_to_date, trains_another
from netmorph.surgery.optim.schedules import all_schedulers, check_known, grow
from netmorph.surgery.running.wrappers import check_unwrapped, wrapper_of


@dataclass(frozen=True, repr=False)
class RebuiltOptimizer:
    """What `rebuild_optimizer` did; printed, it is one line.

    Attributes:
        kept: names of the parameters that keep their state and group.
        departed: names of the parent's parameters that left, with their state.
        joined: by name of a new parameter, the index of its group.
        left_out: names of new parameters that this optimizer does not train, as it did not train their layer.
        new_groups: indices of the groups that were added: for slopes, and for new parameters with a rate of their own.
    """

    kept: tuple[str, ...]
    departed: tuple[str, ...]
    joined: Mapping[str, int]
    left_out: tuple[str, ...]
    new_groups: tuple[int, ...]

    def __str__(self) -> str:
        groups = sorted(set(self.joined.values()))
        lines = [
            f"kept      {len(self.kept)} parameters with their state",
            f"departed  {len(self.departed)}: {listed(list(self.departed))}" if self.departed else "departed  none",
            f"joined    {len(self.joined)} new ones, in group{'s' * (len(groups) != 1)} {', '.join(map(str, groups))}",
        ]
        lines += [f"left out  {len(self.left_out)}: {listed(list(self.left_out))}"] if self.left_out else []
        lines += [f"added     group {', '.join(map(str, self.new_groups))}"] if self.new_groups else []
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def rebuild_optimizer(
    result: Descent,
    optimizer: Optimizer,
    schedulers: LRScheduler | Sequence[LRScheduler] | None = (),
    *,
    groups: Mapping[str, int | None] | None = None,
    newborn_lr_factor: float = 1.0,
) -> RebuiltOptimizer:
    """Make the optimizer that trained the parent train the child, in place.

    What survives keeps its state bit for bit, its group and its order. The weight of a replaced layer leaves; its bias
    lives on in the new module and keeps its state. New parameters join the group of the weight whose layer they
    replace (at an identity: of the nearest weights around it), in the child's order; the slopes of activations and
    norms go into a group of their own for each such group, a copy of it without weight decay, which would pull them
    from 1. The schedulers' lists of one entry a group grow along.

    With a `newborn_lr_factor` other than 1, new parameters go into a copy of that group instead, whose rate, and all
    that schedulers know of it, is so many times the old one's; a rate that a schedule sets for all groups alike (such
    as ``eta_min``) stays. A later morph with the same factor goes on with that copy. The new groups' indices are in
    the result, for those who let the factor fade.

    Call it right after `morph`, before the next one, between two steps and with gradients zeroed. Whether the morph was
    in place makes no difference: the same optimizer object drives the child afterwards. A GradScaler needs nothing: it
    knows optimizers, not parameters. New parameters start without state, which optimizers create at the first step.
    Under DDP, morph `ddp.module` with the same seed on every rank, rebuild, and wrap the child anew.

    Whether an optimizer can follow at all is told by `check_optimizer`, before a network is changed in place.

    To resume from a checkpoint, build an optimizer with the same groups and load the state dict. Where the parent's had
    one group, `param_groups(child, lr=...)` returns the child's.

    Args:
        result: of the morph, or of a layer-level operation.
        optimizer: any of torch.optim whose state is per parameter, or one built like them; accelerate's and Lightning's
            wrappers are seen through.
        schedulers: all that drive it or its wrapper, whatever they chain or wrap found by itself; None: those it had
            are done with.
        groups: by name or glob of new parameters, the index of the group that they join, or None to leave them out;
            for layers that the optimizer did not train. Slopes join that group's copy without decay.
        newborn_lr_factor: on the learning rate of new parameters, slopes included, for which `groups` names no group.

    Raises:
        NetmorphError: if the optimizer does not hold the parent's parameters, was rebuilt already, keeps state over all
            parameters at once (LBFGS), wraps another or is sharded; the child was changed since the morph; a scheduler
            is missing or drives another optimizer; the factor is not above zero. Nothing is changed then.
        SiteError: if the child is wrapped in DDP or FSDP, or compiled.

    Example:
        >>> from netmorph.surgery.morphing.morph import morph
        >>> parent = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
        >>> optimizer = torch.optim.AdamW(parent.parameters())
        >>> result = morph(parent, {"2": "3x3 > 1x1"}, example_inputs=torch.randn(1, 3, 8, 8))
        >>> rebuilt = rebuild_optimizer(result, optimizer)
        >>> rebuilt.departed, sorted(rebuilt.joined.values())
        (('2.weight',), [0, 0, 1])
        >>> [group["weight_decay"] for group in optimizer.param_groups]
        [0.01, 0.0]
    """
    check_factor(newborn_lr_factor)
    check_result(result)
    _check_model(result.model)
    given, optimizer = optimizer, inside(optimizer)
    _check_optimizer(optimizer)
    driving = all_schedulers(schedulers, optimizer)
    inherited = Inheritance(result.model, result._lineage, optimizer)
    change = inherited.change
    left_out = inherited.place(groups or {}, float(newborn_lr_factor))
    if change.copies:
        check_known(given, schedulers)
    before = len(optimizer.param_groups)
    apply(optimizer, change, inherited.order)
    grow(driving, before, list(change.copies.values()))
    return RebuiltOptimizer(
        tuple(inherited.kept),
        tuple(inherited.departed),
        {name: index for index, members in change.joining.items() for name, _ in members},
        tuple(left_out),
        tuple(change.copies),
    )


def check_optimizer(
    model: nn.Module, optimizer: Optimizer, schedulers: LRScheduler | Sequence[LRScheduler] | None = ()
) -> None:
    """Raise where `rebuild_optimizer` could not make an optimizer follow a network, before that is changed in place.

    Args:
        model: the network that is to be morphed, or to grow.
        optimizer: as `rebuild_optimizer` takes it.
        schedulers: as `rebuild_optimizer` takes them.

    Raises:
        NetmorphError: if the optimizer holds none of the network's parameters, was not rebuilt after an earlier morph,
            keeps a joint state of all parameters (LBFGS), wraps another optimizer or is sharded, or if a scheduler
            drives another optimizer.
        SiteError: if the network is wrapped in DDP or FSDP, or compiled.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> check_optimizer(network, torch.optim.AdamW(network.parameters()))
        >>> check_optimizer(network, torch.optim.LBFGS(network.parameters()))
        Traceback (most recent call last):
        netmorph.errors.NetmorphError: the state of LBFGS is over all parameters at once, ...
    """
    check_unwrapped(model)
    optimizer = inside(optimizer)
    _check_optimizer(optimizer)
    all_schedulers(schedulers, optimizer)
    own = {id(each) for each in model.parameters()}
    check_up_to_date(optimizer, own)
    if own.isdisjoint(group_of(optimizer)):
        raise trains_another("this network")


def check_factor(factor: float) -> None:
    """Raise where a factor on learning rates is not above zero.

    Raises:
        NetmorphError: if the factor is not a positive number.
    """
    if not (math.isfinite(factor) and factor > 0):
        raise NetmorphError(
            f"newborn_lr_factor must be positive, got {factor!r}",
            remedies=["let rebuild_optimizer leave new parameters out with groups={'*': None}"],
        )


def _check_model(model: nn.Module) -> None:
    wrapper = wrapper_of(model)
    if wrapper is not None:
        raise SiteError(
            f"the child is already wrapped ({wrapper}), so its parameters may have been replaced",
            remedies=["call rebuild_optimizer right after morph, then wrap or compile the child"],
        )


def _check_optimizer(optimizer: Optimizer) -> None:
    kind = type(optimizer).__name__
    if not isinstance(optimizer, Optimizer):
        raise NetmorphError(
            f"this is a {kind}, not a torch.optim.Optimizer",
            remedies=["pass the optimizer inside, if it is a wrapper", "create a new one on netmorph.param_groups"],
        )
    if kind == "ZeroRedundancyOptimizer":
        raise NetmorphError(
            "a ZeroRedundancyOptimizer shards its state over the ranks and cannot be rebuilt",
            remedies=["create a new one on netmorph.param_groups(child, lr=...)"],
        )
    inner = next((name for name, value in vars(optimizer).items() if isinstance(value, Optimizer)), None)
    if inner is not None:
        raise NetmorphError(
            f"this {kind} wraps another optimizer", remedies=[f"pass the one inside: optimizer.{inner}"]
        )
    # LBFGS and its kin: one flat history of all parameters, filed under the first.
    if isinstance(optimizer, torch.optim.LBFGS) or hasattr(optimizer, "_numel_cache"):
        raise NetmorphError(
            f"the state of {kind} is shared by all parameters and cannot be kept when some are replaced",
            remedies=["create a new one on the child's parameters"],
        )
