"""Places for a shortcut that the network has but does not fill: opened before they are morphed, shut again on failure.

Once open, such a place holds an `nn.Identity` and is a module like any other. How it was opened is recorded, so that a
checkpoint can be replayed without example inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from netmorph.errors import NetmorphError, SiteError
from netmorph.json_fields import expect
from netmorph.surgery.shortcuts.call_signature import Form
from netmorph.surgery.shortcuts.rewire import Undo, rewire


@dataclass(frozen=True)
class Slot:
    """How the place of an identity shortcut comes about.

    Attributes:
        form: how the block is called whose code is rewritten; None: an attribute of the block holds None and is set.
    """

    form: Form | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        return {"form": None if self.form is None else self.form.to_dict()}

    @classmethod
    def from_dict(cls, data: Any) -> Slot:
        """Rebuild a slot from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        expect(data, {"form": dict | None}, "a shortcut's place")
        return cls(None if data["form"] is None else Form.from_dict(data["form"]))


class Place(Protocol):
    """What has a name and may need opening: a site, or its record."""

    @property
    def name(self) -> str:
        """Qualified name."""

    @property
    def slot(self) -> Slot | None:
        """How it comes about; None where a module stands there already."""


def open_slot(model: nn.Module, place: Place) -> Undo:
    """Put an `nn.Identity` into a shortcut's place.

    Args:
        model: the network, changed in place.
        place: where.

    Returns:
        A function that takes it out again.

    Raises:
        SiteError: if the network has no such place.
    """
    path, _, leaf = place.name.rpartition(".")
    try:
        block = model.get_submodule(path)
    except AttributeError as error:
        raise SiteError(f"the network has no such place: {error}", site=place.name) from error
    identity = nn.Identity().train(block.training)
    try:
        if place.slot is None or place.slot.form is None:
            return fill_empty(block, leaf, identity)
        return rewire(block, place.slot.form, {leaf: identity})
    except NetmorphError as error:
        raise error.located(place.name) from error


@contextmanager
def opened(model: nn.Module, places: Iterable[Place], *, keep: bool) -> Iterator[None]:
    """Open the slots among some places for a block.

    Args:
        model: the network, changed in place.
        places: sites or records; those that are modules already are passed over.
        keep: leave them open unless the block raises; else they are shut in any case.
    """
    undo: list[Undo] = []
    done = False
    try:
        for place in places:
            if place.slot is not None:
                undo.append(open_slot(model, place))
        yield
        done = True
    finally:
        if not (done and keep):
            for each in reversed(undo):
                each()


def fill_empty(block: nn.Module, name: str, module: nn.Module) -> Undo:
    """Put a module where a block has an attribute that is None.

    Returns:
        A function that makes it None again.

    Raises:
        SiteError: if there is no such attribute, or it is not None.
    """
    if name not in empty_attributes(block):
        raise SiteError(
            f"{type(block).__name__} has no attribute {name!r} that is None",
            remedies=["load into the original parent, before it was morphed"],
        )
    registered = name in block._modules
    setattr(block, name, module)

    def undo() -> None:
        if registered:
            block._modules[name] = None
        else:
            block._modules.pop(name, None)
            block.__dict__[name] = None

    return undo


def empty_attributes(block: nn.Module) -> list[str]:
    """Return the names of a block's own attributes that are None."""
    places = (block._modules, block.__dict__)
    return [name for place in places for name, value in place.items() if value is None and not name.startswith("_")]
