"""One operation on a network, as data: what was asked for, and what became of each place that it changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from netmorph._version import __version__
from netmorph.brief import Brief, listed
from netmorph.errors import NetmorphError
from netmorph.json_fields import as_json, expect
from netmorph.surgery.records.collapsed_place import CollapsedPlace
from netmorph.surgery.records.grown_places import read_grown_place
from netmorph.surgery.records.layer import Leaves
from netmorph.surgery.records.morphed_site import MorphedSite


class Place(Protocol):
    """What became of one place in a network: a frozen dataclass."""

    @property
    def name(self) -> str:
        """Qualified name."""

    @property
    def leaves(self) -> Leaves:
        """What stands there afterwards."""

    def find(self, model: nn.Module) -> nn.Module:
        """Return what it replaces in a network; raise a NetmorphError where that is not what the record says."""

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        """Return what takes its place, of the dtype and on the device of `like`; weights are loaded afterwards."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""


PLACES: dict[str, Callable[[Any], Place]] = {
    "morph": MorphedSite.from_dict,
    "collapse": CollapsedPlace.from_dict,
    **dict.fromkeys(("widen", "deepen", "grow_kernel", "regrow"), read_grown_place),
}
"""By operation, what rebuilds one of its places from `to_dict`'s output: all that a history can hold."""


def versions_now() -> dict[str, str]:
    """Return the versions that a new record notes."""
    return {"netmorph": __version__, "torch": str(torch.__version__)}


@dataclass(frozen=True, repr=False)
class Record(Brief):
    """One call of a verb.

    Attributes:
        operation: name of the verb.
        sites: what became of each place that it changed.
        options: the arguments that were given.
        versions: of netmorph and torch.
        serial: time of the call in nanoseconds, which orders records; not stored.
    """

    operation: str
    sites: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=versions_now)
    serial: int = field(default_factory=time.time_ns, compare=False)

    def __str__(self) -> str:
        return f"{self.operation} at {listed([site.name for site in self.sites])}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        data = {
            "operation": self.operation,
            "sites": [site.to_dict() for site in self.sites],
            "options": dict(self.options),
            "versions": dict(self.versions),
        }
        ready: dict[str, Any] = as_json(data, "a record of the history")
        return ready

    @classmethod
    def from_dict(cls, data: Any, serial: int = 0) -> Record:
        """Rebuild a record from `to_dict`'s output.

        Raises:
            NetmorphError: if it is not one, or of an operation that is not in `PLACES`.
        """
        if isinstance(data, dict) and data.get("operation") == "collapse":
            data = {"options": {}, **data}  # version 1 and 2 wrote none
        types = {"operation": str, "sites": list, "options": dict, "versions": dict}
        expect(data, types, "a record of the history")
        if data["operation"] not in PLACES:
            raise NetmorphError(
                f"the history holds an operation {data['operation']!r} that this netmorph does not know",
                remedies=["use a newer netmorph"],
            )
        sites = tuple(map(PLACES[data["operation"]], data["sites"]))
        return cls(data["operation"], sites, data["options"], data["versions"], serial)

    def within(self, prefix: str) -> Record:
        """Return the record as seen from a network that holds the changed one under the name `prefix`."""
        if not prefix:
            return self
        return replace(
            self, sites=tuple(replace(site, name=f"{prefix}.{site.name}".rstrip(".")) for site in self.sites)
        )
