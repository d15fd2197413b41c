"""Collapses in a network's history: what is plain again is forgotten, what became another layer is recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from netmorph.brief import Brief, listed
from netmorph.errors import NetmorphError
from netmorph.json_fields import expect
from netmorph.nn import MorphedModule
from netmorph.surgery.records.history import (
    MorphedSite,
    MorphRecord,
    Record,
    as_seen,
    forget,
    history_of,
    remember,
    versions_now,
)
from netmorph.surgery.records.layer import _PLAIN_ORIGINS, IDENTITY, Plain, plain_layer


@dataclass(frozen=True)
class CollapsedPlace:
    """A place where a plain layer stands and the rest of the history would put something else.

    Attributes:
        name: qualified name.
        before: the layer that the rest of the history leaves there; None for a morphed module.
        after: the layer that stands there now.
    """

    name: str
    before: Plain | None
    after: Plain

    def build(self, *, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
        """Return the layer with weights uninitialised."""
        return self.after.build(device=device, dtype=dtype)

    def find(self, model: nn.Module) -> nn.Module:
        """Return what it replaces in a network.

        Raises:
            NetmorphError: if the network has no such module, or not the one that the record describes.
        """
        try:
            found = model.get_submodule(self.name)
        except AttributeError as error:
            raise NetmorphError(f"the parent has no such layer: {error}", site=self.name) from error
        if not (isinstance(found, MorphedModule) if self.before is None else plain_layer(found) == self.before):
            raise NetmorphError(
                "the parent's layer is not the one that was morphed and collapsed",
                site=self.name,
                shapes=f"expected {self.before or 'a morphed module'}, found {found}",
                remedies=["load into the original parent, before it was morphed"],
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        before = None if self.before is None else self.before.to_dict()
        return {"name": self.name, "before": before, "after": self.after.to_dict()}

    @classmethod
    def from_dict(cls, data: Any) -> CollapsedPlace:
        """Rebuild a place from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        expect(data, {"name": str, "before": dict | None, "after": dict}, "a collapsed site")
        try:
            before = None if data["before"] is None else Plain.from_dict(data["before"])
            return cls(data["name"], before, Plain.from_dict(data["after"]))
        except NetmorphError as error:
            raise error.located(data["name"]) from error


@dataclass(frozen=True, repr=False)
class CollapseRecord(Brief):
    """One call of `collapse`, as far as the network is not again what it was before it was morphed.

    Attributes:
        sites: what stands where.
        versions: of netmorph and torch.
        serial: time of the call in nanoseconds, which orders records; not stored.
    """

    sites: tuple[CollapsedPlace, ...]
    versions: Mapping[str, str] = field(default_factory=versions_now)
    serial: int = field(default_factory=time.time_ns, compare=False)

    def __str__(self) -> str:
        return f"collapse at {listed([site.name for site in self.sites])}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        sites = [site.to_dict() for site in self.sites]
        return {"operation": "collapse", "sites": sites, "versions": dict(self.versions)}

    @classmethod
    def from_dict(cls, data: Any, serial: int = 0) -> CollapseRecord:
        """Rebuild a record from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        expect(data, {"operation": str, "sites": list, "versions": dict}, "a record of the history")
        return cls(tuple(map(CollapsedPlace.from_dict, data["sites"])), data["versions"], serial)

    def within(self, prefix: str) -> CollapseRecord:
        """Return the record as seen from a network that holds the collapsed one under the name `prefix`."""
        return as_seen(self, prefix)


def read_record(data: Any, serial: int = 0) -> Record:
    """Rebuild a record of any operation from its `to_dict`'s output.

    Raises:
        NetmorphError: if the description is malformed.
    """
    if isinstance(data, dict) and data.get("operation") == "collapse":
        return CollapseRecord.from_dict(data, serial)
    return MorphRecord.from_dict(data, serial)


def note_collapse(model: nn.Module, layers: Mapping[str, Plain]) -> None:
    """Bring a network's history up to date after a collapse.

    The morphs of a collapsed place are forgotten: where the layer is again what it was before the first of them,
    nothing of it remains. Where something else stood there than a layer of PyTorch's, or the history holds operations
    of other kinds, which may have changed the place, everything is kept and the collapse recorded on top.

    Args:
        model: the network with the plain layers in it, and the history from before.
        layers: the layers by name.
    """
    history = history_of(model)
    before: dict[str, Plain] = {}
    if all(isinstance(record, MorphRecord | CollapseRecord) for record in history):
        found = {name: _original(history, name) for name in layers}
        before = {name: layer for name, layer in found.items() if layer is not None}
        forget(model, lambda name: any(within(name, place) for place in before))
    places = [
        CollapsedPlace(name, before.get(name), layer) for name, layer in layers.items() if before.get(name) != layer
    ]
    if places:
        remember(model, CollapseRecord(tuple(places)))


def _original(history: Sequence[Record], name: str) -> Plain | None:
    """Return the plain layer that stood at a place before a history; None if that is unknown or there was none."""
    first = next((site for record in history for site in record.sites if site.name == name), None)
    if isinstance(first, CollapsedPlace):
        return first.before
    if not isinstance(first, MorphedSite) or first.slot is not None:
        return None
    if first.origin not in _PLAIN_ORIGINS:
        return None
    layer = Plain(first.kind, first.layout.site, first.bias, first.same_padding)
    return IDENTITY if first.kind == "identity" else layer


def within(name: str, place: str) -> bool:
    """Return whether a qualified name is that of a place or of something in it."""
    return not place or name == place or name.startswith(f"{place}.")
