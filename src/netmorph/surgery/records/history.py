"""The history of a network: records that the model carries, and what remains of them after a collapse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from netmorph.surgery.records.collapsed_place import CollapsedPlace
from netmorph.surgery.records.layer import IDENTITY, PLAIN_ORIGINS, Plain
from netmorph.surgery.records.morphed_site import MorphedSite
from netmorph.surgery.records.record import Record

_ATTRIBUTE = "_netmorph_history"


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
        _append(model, record if record.serial == latest else replace(record, serial=latest))


def _append(model: nn.Module, record: Record) -> None:
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
    if all(record.operation in ("morph", "collapse") for record in history):
        found = {name: _original(history, name) for name in layers}
        before = {name: layer for name, layer in found.items() if layer is not None}
        forget(model, lambda name: any(within(name, place) for place in before))
    places = [
        CollapsedPlace(name, before.get(name), layer) for name, layer in layers.items() if before.get(name) != layer
    ]
    if places:
        remember(model, Record("collapse", tuple(places)))


def _original(history: Sequence[Record], name: str) -> Plain | None:
    """Return the plain layer that stood at a place before a history; None if that is unknown or there was none."""
    first = next((site for record in history for site in record.sites if site.name == name), None)
    if isinstance(first, CollapsedPlace):
        return first.before
    if not isinstance(first, MorphedSite) or first.slot is not None:
        return None
    if first.origin not in PLAIN_ORIGINS:
        return None
    layer = Plain(first.kind, first.layout.site, first.bias, first.same_padding)
    return IDENTITY if first.kind == "identity" else layer


def within(name: str, place: str) -> bool:
    """Return whether a qualified name is that of a place or of something in it."""
    return not place or name == place or name.startswith(f"{place}.")
