"""What was done to a network: recorded at every morph, carried by the model, replayed without solving."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import nn

from netmorph._version import __version__
from netmorph.brief import Brief, listed
from netmorph.errors import GraphError, NetmorphError
from netmorph.graph.draw.marks import Marks
from netmorph.graph.layout import Layout
from netmorph.graph.spec import ModuleGraph
from netmorph.json_fields import as_json, expect
from netmorph.nn import MorphedModule
from netmorph.nn.same_padded import SamePaddedModule
from netmorph.solver.system import split_crossing
from netmorph.surgery.shortcuts.slots import Slot
from netmorph.surgery.sites.layers import Kind

_ATTRIBUTE = "_netmorph_history"
Kept = TypeVar("Kept", bound=Any)  # a dataclass like those below


def versions_now() -> dict[str, str]:
    """Return the versions that a new record notes."""
    return {"netmorph": __version__, "torch": str(torch.__version__)}


class Record(Protocol):
    """One operation on a network, such as a `MorphRecord`: a frozen dataclass."""

    @property
    def serial(self) -> int:
        """Time of the operation in nanoseconds, which orders records; not stored."""

    @property
    def sites(self) -> tuple[Any, ...]:
        """What became of each site; each has a `name` and can be replayed."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""

    def within(self, prefix: str) -> Self:
        """Return the record as seen from a network that holds the changed one under the name `prefix`."""


_TYPES: dict[str, type | UnionType] = {
    "name": str,
    "kind": str,
    "layout": dict,
    "bias": bool,
    "act": str | None,
    "norm": str | None,
    "seed": int,
    "status": str,
    "residual": int | float,
    "origin": str | None,
    "same_padding": bool,
    "slot": dict | None,
}


@dataclass(frozen=True, repr=False)
class MorphedSite(Brief):
    """What one site became.

    Attributes:
        name: qualified name.
        kind: "conv", "linear" or "identity": what it was.
        layout: the graph as it runs there.
        bias: whether the sink carries a bias.
        act: activation of the inner blobs, unless the graph names another.
        norm: norm of the edges, unless the graph names another.
        seed: random seed of the site's noise.
        status: name of the solver's `Status`.
        residual: of the solution, relative to the target.
        origin: class of the layer that it was, where that is another library's and not equal to PyTorch's own.
        same_padding: whether the module pads by what its input's size asks for, as the layer did.
        slot: of a shortcut for which no module stood, how its place came about.
    """

    name: str
    kind: Kind
    layout: Layout
    bias: bool
    act: str | None
    norm: str | None
    seed: int
    status: str
    residual: float
    origin: str | None = None
    same_padding: bool = False
    slot: Slot | None = None

    @property
    def graph(self) -> ModuleGraph:
        """The graph; under `keep_parent` with the edge `parent`."""
        return self.layout.graph

    @property
    def marks(self) -> Marks:
        """What a drawing of the graph points out: channels, and the edges that carry the layer's filter."""
        return Marks(self.layout.widths, frozenset(edge.name for edge in split_crossing(self.layout)[0]))

    def _repr_svg_(self) -> str | None:
        from netmorph.graph.draw.picture import draw_graph, is_drawable
        from netmorph.graph.draw.svg import to_svg

        return to_svg(draw_graph(self.graph, self.marks)) if is_drawable(self.graph) else None

    def __str__(self) -> str:
        return f"{self.name or '(the model itself)'}: {self.kind} -> {self.graph}"

    def build(
        self, *, device: torch.device | str | None, dtype: torch.dtype | None, drawn: bool = True
    ) -> MorphedModule:
        """Return the running module; its weights are drawn at random, or left as memory is."""
        kind = SamePaddedModule if self.same_padding else MorphedModule
        seed = self.seed if drawn else None
        return kind(self.layout, bias=self.bias, act=self.act, norm=self.norm, device=device, dtype=dtype, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        slot = None if self.slot is None else self.slot.to_dict()
        return {**{key: getattr(self, key) for key in _TYPES}, "layout": self.layout.to_dict(), "slot": slot}

    @classmethod
    def from_dict(cls, data: Any) -> MorphedSite:
        """Rebuild a record from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        expect(data, _TYPES, "a morphed site")
        if data["kind"] not in ("conv", "linear", "identity"):
            raise NetmorphError(f"{data['kind']!r} is not a kind of site")
        try:
            slot = None if data["slot"] is None else Slot.from_dict(data["slot"])
            return cls(**{**data, "layout": Layout.from_dict(data["layout"]), "slot": slot})
        except GraphError as error:
            raise error.located(data["name"]) from error


@dataclass(frozen=True, repr=False)
class MorphRecord(Brief):
    """One call of `morph`.

    Attributes:
        sites: what became of each site.
        options: the arguments that were given.
        versions: of netmorph and torch.
        serial: time of the call in nanoseconds, which orders records; not stored.
    """

    sites: tuple[MorphedSite, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=versions_now)
    serial: int = field(default_factory=time.time_ns, compare=False)

    def __str__(self) -> str:
        return f"morph at {listed([site.name for site in self.sites])}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        data = {
            "operation": "morph",
            "sites": [site.to_dict() for site in self.sites],
            "options": dict(self.options),
            "versions": dict(self.versions),
        }
        ready: dict[str, Any] = as_json(data, "a record of the history")
        return ready

    @classmethod
    def from_dict(cls, data: Any, serial: int = 0) -> MorphRecord:
        """Rebuild a record from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        types = {"operation": str, "sites": list, "options": dict, "versions": dict}
        expect(data, types, "a record of the history")
        if data["operation"] != "morph":
            raise NetmorphError(
                f"the history holds an operation {data['operation']!r} that this netmorph does not know",
                remedies=["use a newer netmorph"],
            )
        sites = tuple(MorphedSite.from_dict(site) for site in data["sites"])
        return cls(sites, data["options"], data["versions"], serial)

    def within(self, prefix: str) -> MorphRecord:
        """Return the record as seen from a network that holds the morphed one under the name `prefix`."""
        return as_seen(self, prefix)


def as_seen(record: Kept, prefix: str) -> Kept:
    """Return a record as seen from a network that holds the changed one under the name `prefix`."""
    if not prefix:
        return record
    sites = tuple(replace(site, name=f"{prefix}.{site.name}".rstrip(".")) for site in record.sites)
    return replace(record, sites=sites)


def history_of(model: nn.Module, name: str = "") -> tuple[Record, ...]:
    """Return what was done to a network, in order; what was done to a part before it was built in is among it.

    Args:
        model: the network, or a part of one.
        name: of the part in its network: the records are those of the network then.
    """
    found: list[Record] = [
        record.within(prefix)
        for prefix, module in model.named_modules(prefix=name)
        for record in module.__dict__.get(_ATTRIBUTE, ())
    ]
    return tuple(sorted(found, key=lambda record: record.serial))


def remember(model: nn.Module, *records: Record) -> None:
    """Add records to a model's own history, which copies of it keep; they come after all that it went through.

    Its latest record may be of a machine whose clock is ahead of this one's.
    """
    latest = max((record.serial for record in history_of(model)), default=-1)
    for record in records:
        latest = max(record.serial, latest + 1)
        each: Any = record
        _append(model, each if each.serial == latest else replace(each, serial=latest))


def _append(model: nn.Module, record: Any) -> None:
    model.__dict__[_ATTRIBUTE] = (*model.__dict__.get(_ATTRIBUTE, ()), record)


def forget(model: nn.Module, gone: Callable[[str], bool]) -> None:
    """Take sites out of a network's records, wherever they are kept; a record without sites goes too.

    Args:
        model: the network.
        gone: whether the site of a qualified name is to be forgotten.
    """
    for prefix, module in model.named_modules():
        records = module.__dict__.pop(_ATTRIBUTE, ())
        for record in records:
            names = [site.name for site in record.within(prefix).sites]
            stay = [site for site, name in zip(record.sites, names, strict=True) if not gone(name)]
            if stay:
                _append(module, record if len(stay) == len(names) else replace(record, sites=tuple(stay)))
