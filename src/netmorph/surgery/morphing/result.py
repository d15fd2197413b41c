"""What a verb returns: the child, its measured parity, its cost, and what the user should know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from netmorph.surgery.edit.lineage import Lineage
from netmorph.surgery.morphing.summary import brief, full
from netmorph.surgery.parity.network import Parity
from netmorph.surgery.records.grown_places import GrownPlace
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record
from netmorph.surgery.running.cost import CostChange


@dataclass(frozen=True)
class Again:
    """The same operation once more, on a copy of a network of the same structure: that of an averaged parent, say.

    Attributes:
        perform: does it; None in copies and pickles of a result, which do not hold the example inputs.
    """

    perform: Callable[[nn.Module], Result] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles of a result cannot do it again."""
        return Again, ()


@dataclass(frozen=True, repr=False)
class Result:
    """What `morph`, `widen`, `deepen`, `grow_kernel` and `regrow` return.

    Attributes:
        model: the child.
        parity: the measured differences between parent and child, of the outputs and at each site.
        sites: the new module or layer at each site.
        history: all changes made to the network, this one last.
        cost: cost of parent and child.
        notices: what the user should know, one sentence each.
        operation: name of the function.
    """

    model: nn.Module
    parity: Parity
    sites: tuple[GrownPlace | MorphedSite, ...]
    history: tuple[Record, ...]
    cost: CostChange
    notices: tuple[str, ...]
    operation: str = "morph"
    _lineage: Lineage = field(default_factory=Lineage, repr=False, compare=False)
    _again: Again = field(default_factory=Again, repr=False, compare=False)

    def __str__(self) -> str:
        return brief(self.operation, self.sites, self.parity, self.cost, self.notices)

    def __repr__(self) -> str:
        return str(self)

    def summary(self) -> str:
        """Return all that there is to say, where `print` writes ten lines at most."""
        return full(self.operation, self.sites, self.parity, self.cost, self.notices)

    def _repr_html_(self) -> str:
        from netmorph.surgery.morphing.html import result_html

        return result_html(self)
