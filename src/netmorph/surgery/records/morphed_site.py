"""What a morphed layer became, and how that is repeated on a parent."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from netmorph.brief import Brief
from netmorph.errors import GraphError, NetmorphError
from netmorph.graph.draw.marks import Marks
from netmorph.graph.layout import Layout
from netmorph.graph.spec import ModuleGraph
from netmorph.json_fields import expect
from netmorph.nn import MorphedModule
from netmorph.nn.same_padded import SamePaddedModule
from netmorph.solver.system import split_crossing
from netmorph.surgery.edit.swap import inherit
from netmorph.surgery.records.layer import Leaves, found_at
from netmorph.surgery.shortcuts.slots import Slot
from netmorph.surgery.sites.kinds import Kind, kind_of, layer_spec, origin_of, pads_same

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

    leaves: ClassVar[Leaves] = "module"
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

    def find(self, model: nn.Module) -> nn.Module:
        """Return the layer that it replaces.

        Raises:
            NetmorphError: if the network has no such module, or not the one that the record describes.
        """
        layer = found_at(model, self.name)
        same = kind_of(layer) == self.kind
        if same and self.kind != "identity":
            like = (layer_spec(layer), layer._parameters.get("bias") is not None, origin_of(layer), pads_same(layer))
            same = like == (self.layout.site, self.bias, self.origin, self.same_padding)
        if not same:
            raise NetmorphError(
                "the parent's layer is not the one that was morphed",
                site=self.name,
                shapes=f"expected {self.kind} {self.layout.site}{' with bias' if self.bias else ''}, found {layer}",
                remedies=["load into the original parent, before it was morphed"],
            )
        return layer

    def renewed(self, found: nn.Module, like: Tensor) -> nn.Module:
        """Return the module that takes the place of the layer found, its weights drawn at random."""
        made = self.build(device=like.device, dtype=like.dtype)
        inherit(found, made)
        return made

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
