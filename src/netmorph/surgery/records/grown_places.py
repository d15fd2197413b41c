"""What became of a place that `widen`, `deepen`, `grow_kernel` or `regrow` changed, and how that is repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from netmorph.brief import Brief
from netmorph.errors import GraphError, NetmorphError
from netmorph.graph.layout import Layout
from netmorph.graph.spec import LARGEST, ModuleGraph
from netmorph.json_fields import expect
from netmorph.nn import MorphedModule
from netmorph.surgery.edit.channels import channels_of, with_channels
from netmorph.surgery.edit.rebuild import Defaults, rebuilt
from netmorph.surgery.edit.swap import inherit
from netmorph.surgery.records.layer import Leaves, Plain, found_at, plain_layer
from netmorph.surgery.sites.kinds import class_of


@dataclass(frozen=True, repr=False)
class RegrownModule(Brief):
    """A morphed module that grew.

    Attributes:
        name: qualified name.
        before: its layout before.
        layout: its layout now.
        act: activation of the inner blobs, unless the graph names another.
        norm: norm of the edges, unless the graph names another.
        seed: random seed.
    """

    kind: ClassVar[str] = "module"
    leaves: ClassVar[Leaves] = "module"
    name: str
    before: Layout
    layout: Layout
    act: str | None
    norm: str | None
    seed: int

    @property
    def graph(self) -> ModuleGraph:
        """The graph now."""
        return self.layout.graph

    def __str__(self) -> str:
        return f"{self.name or '(the model itself)'}: {self.before.graph} -> {self.graph}"

    def find(self, model: nn.Module) -> MorphedModule:
        """Return the module to grow.

        Raises:
            NetmorphError: if the network has no such module, or not the one that the record describes.
        """
        found = found_at(model, self.name, "module")
        if not isinstance(found, MorphedModule) or found.layout != self.before:
            raise _other(self.name, f"the morphed module {str(self.before.graph)!r}", found)
        return found

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        """Return the module that takes the place of the one found; what is new holds random weights."""
        assert isinstance(found, MorphedModule)
        return rebuilt(found, self.layout, Defaults(self.act, self.norm), seed=self.seed, like=like)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        layouts = {"before": self.before.to_dict(), "layout": self.layout.to_dict()}
        return {"kind": self.kind, "name": self.name, **layouts, "act": self.act, "norm": self.norm, "seed": self.seed}

    @classmethod
    def from_dict(cls, data: Any) -> RegrownModule:
        """Rebuild it from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        types = {"name": str, "before": dict, "layout": dict, "act": str | None, "norm": str | None, "seed": int}
        expect(data, {"kind": str, **types}, "a module that grew")
        before, layout = Layout.from_dict(data["before"]), Layout.from_dict(data["layout"])
        return cls(data["name"], before, layout, data["act"], data["norm"], data["seed"])


@dataclass(frozen=True, repr=False)
class ChangedLayer(Brief):
    """A convolution or linear layer that became larger.

    Attributes:
        name: qualified name.
        before: the layer before.
        after: the layer now.
    """

    kind: ClassVar[str] = "layer"
    leaves: ClassVar[Leaves] = "either"
    name: str
    before: Plain
    after: Plain

    def __str__(self) -> str:
        return f"{self.name or '(the model itself)'}: {self.before} -> {self.after}"

    def find(self, model: nn.Module) -> nn.Module:
        """Return the layer to change.

        Raises:
            NetmorphError: if the network has no such module, or not the one that the record describes.
        """
        found = found_at(model, self.name, "module")
        if plain_layer(found) != self.before:
            raise _other(self.name, str(self.before), found)
        return found

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        """Return the larger layer, its weights uninitialised."""
        made = self.after.build(device=like.device, dtype=like.dtype)
        inherit(found, made)
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        return {"kind": self.kind, "name": self.name, "before": self.before.to_dict(), "after": self.after.to_dict()}

    @classmethod
    def from_dict(cls, data: Any) -> ChangedLayer:
        """Rebuild it from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        expect(data, {"kind": str, "name": str, "before": dict, "after": dict}, "a layer that grew")
        return cls(data["name"], Plain.from_dict(data["before"]), Plain.from_dict(data["after"]))


@dataclass(frozen=True, repr=False)
class ChangedChannels(Brief):
    """A norm or activation with a parameter a channel, between two layers, that became wider with them.

    Attributes:
        name: qualified name.
        type: its class.
        before: channels before.
        after: channels now.
    """

    kind: ClassVar[str] = "channels"
    leaves: ClassVar[Leaves] = "either"
    name: str
    type: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.name or '(the model itself)'}: {self.type} of {self.before} -> {self.after} channels"

    def find(self, model: nn.Module) -> nn.Module:
        """Return the module to change.

        Raises:
            NetmorphError: if the network has no such module, or not the one that the record describes.
        """
        found = found_at(model, self.name, "module")
        if (type(found).__name__, channels_of(found)) != (self.type, self.before):
            raise _other(self.name, f"{self.type} of {self.before} channels", found)
        return found

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        """Return the wider module."""
        return with_channels(found, torch.arange(self.after, device="cpu") % self.before)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        return {"kind": self.kind, "name": self.name, "type": self.type, "before": self.before, "after": self.after}

    @classmethod
    def from_dict(cls, data: Any) -> ChangedChannels:
        """Rebuild it from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        expect(data, {"kind": str, "name": str, "type": str, "before": int, "after": int}, "channels that grew")
        if not 1 <= data["before"] <= data["after"] <= LARGEST:
            raise NetmorphError(f"{data['after']} is not a number of channels that {data['before']} can grow to")
        return cls(data["name"], data["type"], data["before"], data["after"])


GrownPlace = RegrownModule | ChangedLayer | ChangedChannels
_KINDS: dict[str, type[RegrownModule] | type[ChangedLayer] | type[ChangedChannels]] = {
    each.kind: each for each in (RegrownModule, ChangedLayer, ChangedChannels)
}


def read_grown_place(data: Any) -> GrownPlace:
    """Rebuild a place of any kind from its `to_dict`'s output.

    Raises:
        NetmorphError: if it is of no known kind.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise NetmorphError(f"{kind!r} is not a kind of place that grew")
    try:
        return _KINDS[kind].from_dict(data)
    except GraphError as error:
        raise error.located(str(data.get("name"))) from error


def _other(name: str, wanted: str, found: nn.Module) -> NetmorphError:
    return NetmorphError(
        "the parent's module is not the one that grew",
        site=name,
        shapes=f"expected {wanted}, found {class_of(found)}",
        remedies=["load into the original parent, before it was morphed"],
    )
