"""Where a network comes from: the name by which it can be built again, as long as it still is what that builds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from netmorph.surgery.records.history import history_of

_NAME, _BUILT = "_netmorph_parent", "_netmorph_built"


def name_parent(model: nn.Module, name: str, arguments: Mapping[str, Any]) -> None:
    """Let a network remember how it was built, and copies of it too; `save` writes it.

    Args:
        model: the network, just built.
        name: by which `build` makes it.
        arguments: with these. Where they are no JSON, the network remembers nothing.
    """
    try:
        given = json.loads(json.dumps(dict(arguments)))
    except (TypeError, ValueError):
        return
    if given == dict(arguments):
        model.__dict__[_NAME] = {"name": name, "args": given}
        model.__dict__[_BUILT] = leaves_of(model)


def keep_parent_name(model: nn.Module, parent: Mapping[str, Any] | None, built: Mapping[str, str]) -> None:
    """Let a network that was loaded remember what its checkpoint says.

    Args:
        model: the network, morphed again.
        parent: what its checkpoint says.
        built: `leaves_of` the network that it was loaded into, before.
    """
    if parent is not None:
        model.__dict__[_NAME] = dict(parent)
        model.__dict__.setdefault(_BUILT, built)


def parent_of(model: nn.Module) -> dict[str, Any] | None:
    """Return the name and arguments of a network's parent, or None.

    None, too, where a layer was put in, taken out or replaced by hand since the network was built: another one would
    then be built in its place. Operations that the history records are no such change; nor can anything be known of
    code that is not in a layer.
    """
    found: dict[str, Any] | None = model.__dict__.get(_NAME)
    built: Mapping[str, str] | None = model.__dict__.get(_BUILT)
    if found is None or built is None:
        return found
    changed = {site.name for record in history_of(model) for site in record.sites}
    now = leaves_of(model)
    odd = (name for name in now.keys() | built.keys() if now.get(name) != built.get(name))
    return found if all(_within(name, changed) for name in odd) else None


def leaves_of(model: nn.Module) -> dict[str, str]:
    """Return what each module without children is, by qualified name."""
    return {
        name: f"{type(module).__module__}.{type(module).__qualname__}({module.extra_repr()})"
        for name, module in model.named_modules(remove_duplicate=False)
        if not module._modules
    }


def _within(name: str, places: set[str]) -> bool:
    """Return whether a name is one of some places, or lies in one."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in places for end in range(len(parts) + 1))
