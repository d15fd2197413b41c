"""A place where a collapse left another layer than stood there before it was morphed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.json_fields import expect
from netmorph.nn import MorphedModule
from netmorph.surgery.edit.swap import inherit
from netmorph.surgery.records.layer import Leaves, Plain, found_at, plain_layer


@dataclass(frozen=True)
class CollapsedPlace:
    """A place where a plain layer stands and the rest of the history would put something else.

    Attributes:
        name: qualified name.
        before: the layer that the rest of the history leaves there; None for a morphed module.
        after: the layer that stands there now.
    """

    leaves: ClassVar[Leaves] = "layer"
    name: str
    before: Plain | None
    after: Plain

    def find(self, model: nn.Module) -> nn.Module:
        """Return what it replaces in a network.

        Raises:
            NetmorphError: if the network has no such module, or not the one that the record describes.
        """
        found = found_at(model, self.name)
        if not (isinstance(found, MorphedModule) if self.before is None else plain_layer(found) == self.before):
            raise NetmorphError(
                "the parent's layer is not the one that was morphed and collapsed",
                site=self.name,
                shapes=f"expected {self.before or 'a morphed module'}, found {found}",
                remedies=["load into the original parent, before it was morphed"],
            )
        return found

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        """Return the layer that takes the place of the one found, its weights uninitialised."""
        made = self.after.build(device=like.device, dtype=like.dtype)
        inherit(found, made)
        return made

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
