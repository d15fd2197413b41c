"""Who takes whose place in an optimizer after a morph."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.optim import Optimizer

from netmorph.errors import NetmorphError
from netmorph.nn import slopes
from netmorph.surgery.edit.lineage import Lineage, Newborn, replaced_before
from netmorph.surgery.optim.groups import (
    NEWBORN,
    Change,
    GroupCopy,
    companion_of,
    group_of,
    names_of,
    needs_no_companion,
    newborn_of,
)


class Inheritance:
    """Who takes whose place in an optimizer.

    Args:
        child: the network after the morph.
        lineage: what became of its parent's parameters.
        optimizer: read, not changed.

    Attributes:
        change: what is to happen to the optimizer.
        kept: names of the parameters that go on in it.
        departed: names of those that leave it.
        order: place of each of the child's parameters, by id.

    Raises:
        NetmorphError: if the optimizer does not fit the network.
    """

    def __init__(self, child: nn.Module, lineage: Lineage, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.lineage = lineage
        self.held = group_of(optimizer)
        self.slopes = {id(each) for _, each in slopes(child)}
        self.order = {id(each): index for index, each in enumerate(child.parameters())}
        self.change = Change(prefix=_prefix(lineage, optimizer))
        self.kept: list[str] = []
        self.departed: list[str] = []
        self._check_order_of_calls()
        self._pair()

    def _pair(self) -> None:
        """Find the heirs of all parameters held."""
        change, held = self.change, self.held
        for name, parent in self.lineage.departed:
            old = parent()
            if old is not None and id(old) in held:
                change.departing[id(old)] = old
                self.departed.append(name)
        names = names_of(self.optimizer)
        for heir in self.lineage.heirs:
            old, new = heir.parent(), heir.child()
            if old is None or id(old) not in held:
                continue
            self.kept.append(heir.name)
            if heir.was != heir.name and names.get(id(old)) == change.prefix + heir.was:
                change.renamed[id(old)] = change.prefix + heir.name
            if old is not new:
                change.heirs[id(old)] = self._alive(heir.name, new, like=old)
        if not (self.kept or self.departed):
            raise trains_another("the network that was morphed")

    def place(self, wanted: Mapping[str, int | None], factor: float) -> list[str]:
        """Choose the group of every new parameter; return the names of those that get none.

        Args:
            wanted: groups by name or pattern, as the user gave them.
            factor: on the learning rate of the others.
        """
        left_out, unused = [], set(wanted)
        for each in self.lineage.newborn:
            new = self._alive(each.name, each.child())
            matching = [p for p in wanted if p == each.name or fnmatchcase(each.name, p)]
            unused.difference_update(matching)
            pattern = matching[0] if matching else None
            index = self._own(each, factor) if pattern is None else self._index(pattern, wanted[pattern])
            if index is None:
                left_out.append(each.name)
                continue
            if id(new) in self.slopes:
                index = self._companion(index)
            self._check_shape(each.name, new)
            self.change.joining.setdefault(index, []).append((each.name, new))
        if unused:
            raise NetmorphError(
                f"no new parameter matches {min(unused)!r} of groups=",
                remedies=[f"the new parameters are {', '.join(each.name for each in self.lineage.newborn[:6])}, ..."],
            )
        return left_out

    def _own(self, newborn: Newborn, factor: float) -> int | None:
        """Return the group of a parameter for which none was chosen: its origin's, or that one's copy at a factor."""
        index = self._index_of_origin(newborn)
        if index is None or factor == 1:
            return index
        base = self.optimizer.param_groups[index].get(NEWBORN, index)  # a factor is on the old parameters' rate
        there = newborn_of(self.optimizer, base, factor)
        return self._planned(GroupCopy(base, factor)) if there is None else there

    def _planned(self, new: GroupCopy) -> int:
        """Return the index of a new group, planned already or planned now."""
        copies = self.change.copies
        index = next((each for each, planned in copies.items() if planned == new), None)
        if index is None:
            index = len(self.optimizer.param_groups) + len(copies)
            copies[index] = new
        return index

    def _index_of_origin(self, newborn: Newborn) -> int | None:
        origins = (origin() for origin in newborn.origins)
        return next((self.held[id(old)] for old in origins if old is not None and id(old) in self.held), None)

    def _index(self, pattern: str, index: int | None) -> int | None:
        count = len(self.optimizer.param_groups)
        if index is None or 0 <= index < count:
            return index
        raise NetmorphError(
            f"groups= sends {pattern!r} to group {index}",
            shapes=f"{count} groups",
            remedies=[f"name a group from 0 to {count - 1}, or None to leave the parameters out"],
        )

    def _companion(self, index: int) -> int:
        """Return the group for the slopes of a group: itself, there already, planned already, or planned now."""
        planned = self.change.copies.get(index)
        if needs_no_companion(self.optimizer.param_groups[index if planned is None else planned.origin]):
            return index
        there = companion_of(self.optimizer, index)
        return self._planned(GroupCopy(index)) if there is None else there

    def _alive(self, name: str, new: nn.Parameter | None, like: nn.Parameter | None = None) -> nn.Parameter:
        """Return a parameter of the child if it is still there, as the morph left it."""
        if new is None or id(new) not in self.order:
            raise _too_late(f"the parameter {name!r} is no longer in the child")
        if like is not None and (new.device, new.dtype) != (like.device, like.dtype):
            now, was = (f"{each.dtype} on {each.device}" for each in (new, like))
            raise _too_late(f"the parameter {name!r} is {now} and was {was}")
        return new

    def _check_order_of_calls(self) -> None:
        """Raise if this morph's turn is over, or has not come yet."""
        moved = [heir for heir in self.lineage.heirs if heir.child() is not heir.parent()]
        children = [(heir.name, heir.child) for heir in moved]
        children += [(each.name, each.child) for each in self.lineage.newborn]
        for name, child in children:
            if id(child()) in self.held:
                raise _too_late(f"the parameter {name!r} of the child is already in the optimizer")
        check_up_to_date(self.optimizer, self.order, self.lineage.turn)

    def _check_shape(self, name: str, new: nn.Parameter) -> None:
        muon = getattr(torch.optim, "Muon", None)  # torch >= 2.9
        if muon is not None and isinstance(self.optimizer, muon) and new.dim() != 2:
            raise NetmorphError(
                f"Muon trains matrices only, and the new parameter {name!r} is not a matrix",
                shapes=str(tuple(new.shape)),
                remedies=[
                    f"leave it out here, groups={{{name!r}: None}}, and give it to the optimizer of the other "
                    f"parameters, groups={{{name!r}: 0}}",
                    "morph with act=None, norm=None",
                ],
            )


def trains_another(network: str) -> NetmorphError:
    """Return the error that an optimizer trains something else."""
    return NetmorphError(
        f"the optimizer holds no parameter of {network}",
        remedies=[
            "pass the optimizer of this network (not that of a copy or of an FSDP wrapper)",
            "after several morphs, call rebuild_optimizer after each, in order, once",
            "create a new one: torch.optim.SGD(netmorph.param_groups(child, lr=0.1))",
        ],
    )


def check_up_to_date(optimizer: Optimizer, own: Container[int], turn: float = math.inf) -> None:
    """Raise if an optimizer was not rebuilt after an earlier morph in place.

    Args:
        optimizer: the optimizer.
        own: ids of the network's parameters.
        turn: of the morph that is to follow.

    Raises:
        NetmorphError: if the optimizer holds parameters that a morph has replaced.
    """
    for each in (each for group in optimizer.param_groups for each in group["params"]):
        old = replaced_before(each, turn)
        if old is not None and id(each) not in own:
            raise NetmorphError(
                f"the optimizer still holds {old!r}, which an earlier morph replaced",
                remedies=["call rebuild_optimizer with that morph's result first"],
            )


def _too_late(what: str) -> NetmorphError:
    return NetmorphError(
        what,
        remedies=[
            "call rebuild_optimizer once, right after morph, before the child is changed, moved or wrapped",
            "create a new optimizer on netmorph.param_groups(child, lr=...)",
        ],
    )


def _prefix(lineage: Lineage, optimizer: Optimizer) -> str:
    """Return what the optimizer's own names of parameters, if it has any, have before the network's."""
    names = names_of(optimizer)
    for heir in lineage.heirs:
        name = names.get(id(heir.parent()), "")
        if name.endswith(heir.was):
            return name.removesuffix(heir.was)
    return ""
