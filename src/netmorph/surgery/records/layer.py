"""A layer of PyTorch's own as data: what a collapsed module became, and what it had been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.filters.geometry import ConvSpec
from netmorph.json_fields import expect
from netmorph.nn.edges import CONVS
from netmorph.surgery.running.call import reason
from netmorph.surgery.sites.kinds import Kind, kind_of, layer_spec, origin_of, pads_same

Leaves = Literal["module", "layer", "either"]
"""What stands at a place after a change: a morphed module, a plain layer, or what kind of thing stood there before."""


@dataclass(frozen=True)
class Plain:
    """A layer of PyTorch's own: a convolution, a linear layer or an identity.

    Attributes:
        kind: which.
        spec: its geometry.
        bias: whether it has one.
        same_padding: whether it pads by what its input's size asks for, as timm's `Conv2dSame`; `spec` says how much
            it pads besides: nothing.
    """

    kind: Kind
    spec: ConvSpec
    bias: bool
    same_padding: bool = False

    def build(self, *, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
        """Return the layer, its weights uninitialised; no random number is drawn.

        Raises:
            NetmorphError: if PyTorch has no such layer.
        """
        spec = self.spec
        if self.kind == "identity":
            return nn.Identity()
        options: dict[str, Any] = {"bias": self.bias}
        with torch.device("meta"):
            made: nn.Module
            if self.kind == "linear":
                made = nn.Linear(spec.c_in, spec.c_out, **options)
            else:
                options |= {"padding": _padding(spec), "dilation": spec.dilation, "groups": spec.groups}
                if not self.same_padding:  # it pads with zeros
                    options["padding_mode"] = spec.padding_mode
                kind = _same_padded() if self.same_padding else CONVS[spec.dims]
                made = kind(spec.c_in, spec.c_out, spec.kernel, spec.stride, **options)
        made = made.to(torch.get_default_dtype() if dtype is None else dtype)
        return made.to_empty(device=torch.get_default_device() if device is None else device)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        spec = self.spec.to_dict()
        return {"kind": self.kind, "spec": spec, "bias": self.bias, "same_padding": self.same_padding}

    @classmethod
    def from_dict(cls, data: Any) -> Plain:
        """Rebuild a layer's description from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed, or names a layer that PyTorch does not have.
        """
        expect(data, {"kind": str, "spec": dict, "bias": bool, "same_padding": bool}, "a layer")
        spec, kind = ConvSpec.from_dict(data["spec"]), data["kind"]
        good = spec.dims > 0 if kind == "conv" else spec.dims == 0 and kind in ("linear", "identity")
        if not good or (data["same_padding"] and (spec.dims != 2 or kind != "conv")):
            raise NetmorphError(f"{kind!r} is not a kind of layer with {spec.dims} spatial dimensions")
        made = cls(kind, spec, data["bias"], data["same_padding"])
        try:
            made.build(device="meta", dtype=None)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise NetmorphError(f"PyTorch cannot create such a layer: {reason(error)}", shapes=str(spec)) from error
        return made

    def __str__(self) -> str:
        if self.kind == "identity":
            return "identity"
        same = " padding as its input asks for" if self.same_padding else ""
        return f"{self.kind} {self.spec}{same}{'' if self.bias else ' without bias'}"


IDENTITY = Plain("identity", ConvSpec(1, 1), False)
"""An identity has no channels of its own."""


def _padding(spec: ConvSpec) -> str | Sequence[int]:
    if all(before == after >= 0 for before, after in spec.padding):
        return tuple(before for before, _ in spec.padding)
    if _is_same(spec):
        return "same"
    raise NetmorphError("PyTorch has no layer that pads like this", shapes=str(spec))


def _same_padded() -> type[nn.Module]:
    try:
        return import_module("timm.layers").Conv2dSame  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        raise NetmorphError(
            f"a layer that pads as its input asks for is timm's, which is not installed ({error})",
            remedies=["pip install timm"],
        ) from error


def _is_same(spec: ConvSpec) -> bool:
    """Return whether padding="same" says a geometry's padding."""
    spans = [d * (k - 1) for k, d in zip(spec.kernel, spec.dilation, strict=True)]
    same = tuple((span // 2, span - span // 2) for span in spans)
    return spec.padding == same and all(step == 1 for step in spec.stride)


PLAIN_ORIGINS = (None, "Conv2dSame")


def plain_layer(layer: nn.Module) -> Plain | None:
    """Return the description of a convolution, a linear layer or an identity; None of anything else."""
    kind, same = kind_of(layer), pads_same(layer)
    if kind is None or origin_of(layer) not in PLAIN_ORIGINS:
        return None
    if kind == "identity":
        return IDENTITY
    return Plain(kind, layer_spec(layer), layer._parameters.get("bias") is not None, same)


def found_at(model: nn.Module, name: str, what: Literal["layer", "module"] = "layer") -> nn.Module:
    """Return the part of a parent that a record names.

    Raises:
        NetmorphError: if there is no such part.
    """
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise NetmorphError(f"the parent has no such {what}: {error}", site=name) from error
