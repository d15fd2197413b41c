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
    """What `rebuild_optimizer` has changed.

    Attributes:
        kept: names of the parameters that keep their state and group.
        departed: names of the parent's parameters that were removed, with their state.
        joined: index of the group of each new parameter, by name.
        left_out: names of new parameters that this optimizer does not train, since it did not train their layer.
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
    """Update the parent's optimizer, in place, so that it trains the child.

    Parameters that remain keep their state bit for bit, their group and their order. The weight of a replaced layer is
    removed; its bias is used by the new module and keeps its state. New parameters join the group of the weight that
    they replace (for an identity, of the nearest weights around it). For each such group, the slopes of activations and
    norms go into a copy without weight decay, which would pull them away from 1. Lists in the schedulers with one entry
    for each group are extended.

    With a `newborn_lr_factor` other than 1, new parameters go into a copy of that group whose learning rate is
    multiplied by the factor, also in the schedulers. A rate that a schedule sets for all groups alike (such as
    ``eta_min``) is not changed. A later morph with the same factor uses the same copy. The result contains the indices
    of the new groups, so that you can change their rate later.

    Call this right after `morph` and before the next one, between two steps and with gradients zeroed, whether or not
    the morph was in place. A GradScaler needs no change. New parameters have no state before their first step. Under
    DDP, morph `ddp.module` with the same seed on every rank, rebuild the optimizer, and wrap the child again.

    `check_optimizer` tests beforehand whether an optimizer can be rebuilt.

    To resume from a checkpoint, create an optimizer with the same groups and load the state dict. If the parent's
    optimizer had one group, `param_groups(child, lr=...)` returns the groups of the child.

    Args:
        result: the result of `morph` or of a layer-level operation.
        optimizer: any optimizer of torch.optim with a state per parameter, or a similar one, also inside a wrapper of
            accelerate or Lightning.
        schedulers: all schedulers of the optimizer or its wrapper; schedulers that they chain or wrap are found
            automatically. None: there are none, or they are no longer used.
        groups: the index of the group that new parameters join, by name or glob, or None to leave them out; for layers
            that the optimizer did not train. Slopes join the copy of that group without weight decay.
        newborn_lr_factor: factor on the learning rate of new parameters, slopes included, that `groups` does not name.

    Raises:
        NetmorphError: if the optimizer does not hold the parent's parameters, was rebuilt already, keeps a joint state
            of all parameters (LBFGS), wraps another optimizer or is sharded; if the child was changed since the morph;
            if a scheduler is missing or belongs to another optimizer; or if the factor is not positive. Nothing is
            changed then.
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
    """Raise an error if `rebuild_optimizer` could not rebuild an optimizer, before a network is changed in place.

    Args:
        model: the network that is to be grown.
        optimizer: as in `rebuild_optimizer`.
        schedulers: as in `rebuild_optimizer`.

    Raises:
        NetmorphError: if the optimizer holds none of the network's parameters, was not rebuilt after an earlier morph,
            keeps a joint state of all parameters (LBFGS), wraps another optimizer or is sharded, or if a scheduler
            belongs to another optimizer.
        SiteError: if the network is wrapped in DDP or FSDP, or compiled.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        >>> check_optimizer(network, torch.optim.AdamW(network.parameters()))
        >>> check_optimizer(network, torch.optim.LBFGS(network.parameters()))
        Traceback (most recent call last):
        netmorph.errors.NetmorphError: the state of LBFGS is shared by all parameters ...
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
    """Raise if a factor on learning rates is not above zero.

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
