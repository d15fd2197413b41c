"""A growth that a checkpoint remembers, and repeating it without solving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from netmorph.bounded import parse_json
from netmorph.errors import NetmorphError
from netmorph.json_fields import check_length
from netmorph.surgery.edit.lineage import Lineage, trace
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.records.history import remember
from netmorph.surgery.records.record import Record
from netmorph.surgery.records.replay import replayed

__all__ = ["Regrowth", "Repeated", "repeat", "shapes"]

Groups = list[list[list[str]]]


@dataclass(frozen=True)
class Repeated:
    """A growth that was repeated, as in `rebuild_optimizer`."""

    model: nn.Module
    _lineage: Lineage


@dataclass(frozen=True)
class Regrowth:
    """What one growth was.

    Attributes:
        records: of the growth, as the network's history has it, JSON-ready; empty before it has happened.
        groups: for each optimizer, the names of the parameters of each group after the growth.
    """

    records: tuple[Mapping[str, Any], ...] = ()
    groups: tuple[Any, ...] = ()

    @classmethod
    def after(cls, result: Result, owner: nn.Module, optimizers: Sequence[Optimizer]) -> Self:
        """Describe a growth right after it has happened."""
        return cls((result.history[-1].to_dict(),), tuple(_groups(owner, optimizers)))

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Read what `state_dict` returned.

        Raises:
            NetmorphError: if the data have another form.
        """
        try:
            return cls(tuple(parse_json(state["records"])), tuple(parse_json(state["groups"])))
        except (KeyError, TypeError, ValueError) as error:
            raise NetmorphError(f"the checkpoint's record of the growth cannot be read: {error!r}") from error

    def state_dict(self) -> dict[str, Any]:
        """Return it as text, which any checkpoint can hold."""
        return {"records": json.dumps(self.records), "groups": json.dumps(self.groups)}

    def check(self, owner: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Compare the optimizers with those of the growth, for states are loaded by their parameters' places.

        Raises:
            NetmorphError: if a group holds other parameters.
        """
        if list(self.groups) != _groups(owner, optimizers):
            raise NetmorphError(
                "the optimizers' groups do not hold the parameters that they held when the checkpoint was written",
                remedies=["make the optimizers as they were made then", "load the weights alone"],
            )


def repeat(network: nn.Module, regrowth: Regrowth) -> Repeated:
    """Put the modules of a growth into a network, in place; their weights are yet to be loaded.

    Args:
        network: as it was before the growth.
        regrowth: what to repeat.

    Raises:
        NetmorphError: if the network is not the one that grew.
    """
    check_length(regrowth.records)
    records = [Record.from_dict(record, serial) for serial, record in enumerate(regrowth.records)]
    parameters = dict(network.named_parameters(remove_duplicate=False))
    with replayed(network, records) as replay:
        if replay.model is not network:
            raise NetmorphError("a network that was replaced as a whole cannot be grown again in place", site="")
    remember(network, *records)
    sites = [site.name for record in records for site in record.sites]
    return Repeated(network, trace(parameters, network, sites, inplace=True))


def shapes(owner: nn.Module | Mapping[str, Any]) -> dict[str, Any]:
    """Return the shapes in a state dict, or a network's: a layer that was widened goes by its old names."""
    state = owner.state_dict() if isinstance(owner, nn.Module) else owner
    return {
        key: value.shape if isinstance(value, Tensor) and not is_lazy(value) else None for key, value in state.items()
    }


def _groups(owner: nn.Module, optimizers: Sequence[Optimizer]) -> Groups:
    names = {id(each): name for name, each in owner.named_parameters()}
    return [
        [[names.get(id(each), "?") for each in group["params"]] for group in optimizer.param_groups]
        for optimizer in optimizers
    ]
