"""The kinds of layers that can become a module: what linear map each is (beyond the paper).

A layer of another library is recognised by class name and module, without importing the library. If a release of it
computes something else under the same name, the parity measured at the site says so. To teach netmorph a layer class,
register a `LayerKind` in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from netmorph.filters.geometry import ConvSpec
from netmorph.solver.target import CONVOLUTIONS, spec_of

Kind = Literal["conv", "linear", "identity"]
"""What a record calls a layer: a convolution, a linear layer or an identity."""


@dataclass(frozen=True)
class LayerKind:
    """What sets a class of layers apart: each has a parameter `weight`, and computes a convolution or a linear map.

    Attributes:
        kind: what a record calls it.
        spec: returns the geometry of a layer; of one that pads by its input's size, behind the padding.
        weight: returns the weight that a layer applies, (c_out, c_in / groups, *kernel), from the parameter in float64
            on the CPU; None where it is the parameter, as in an equal layer of PyTorch's. A record notes the class of
            a layer with a weight or a padding of its own, which no layer of PyTorch's can stand in for.
        pads_same: returns whether a layer pads by what its input's size asks for, as TensorFlow does; None for never.
        notice: what a user should know of its successor, with a place `{name}` for the class; empty for nothing.
    """

    kind: Kind
    spec: Callable[[nn.Module], ConvSpec] = spec_of
    weight: Callable[[nn.Module, Tensor], Tensor] | None = None
    pads_same: Callable[[nn.Module], bool] | None = None
    notice: str = ""


def kind_of(layer: nn.Module) -> Kind | None:
    """Return what a record would call a layer; None where it is none that netmorph morphs."""
    known = _known(layer)
    return None if known is None else known.kind


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is a convolution or a linear layer, of PyTorch's own or of a known library."""
    return kind_of(module) in ("conv", "linear")


def is_registered(layer: nn.Module) -> bool:
    """Return whether a layer's class is in `KINDS`, so that its forward is known though it is none of PyTorch's."""
    return _key(layer) in KINDS


def pads_same(layer: nn.Module) -> bool:
    """Return whether a layer pads by what its input's size asks for: by no fixed amount."""
    known = _known(layer)
    return known is not None and known.pads_same is not None and known.pads_same(layer)


def layer_spec(layer: nn.Module) -> ConvSpec:
    """Return the geometry of a convolution or a linear layer; of one that pads by its input's size, behind the padding.

    Raises:
        SiteError: if the layer is neither.
    """
    known = _known(layer)
    return spec_of(layer) if known is None else known.spec(layer)


def layer_weight(layer: nn.Module) -> Tensor:
    """Return the weight that a layer applies, (c_out, c_in / groups, *kernel), in float64 on the CPU."""
    weight = layer.get_parameter("weight").detach().cpu().double()
    known = _known(layer)
    return weight if known is None or known.weight is None else known.weight(layer, weight)


def origin_of(layer: nn.Module) -> str | None:
    """Return the class of a layer whose record must name it: one that no equal layer of PyTorch's can replace."""
    known = KINDS.get(_key(layer))
    alike = known is None or (known.weight is None and known.pads_same is None)
    return None if alike else type(layer).__name__


def notice(layer: nn.Module) -> str | None:
    """Return what a user should know of a layer's successor, or None."""
    known = _known(layer)
    return known.notice.format(name=type(layer).__name__) if known is not None and known.notice else None


def class_of(module: object) -> str:
    """Return the full name of a module's class; PyTorch's own by the short one."""
    kind = type(module)
    own = kind.__module__.startswith("torch.nn.modules.")
    return kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"


def _key(layer: nn.Module) -> tuple[str, str]:
    return type(layer).__module__, type(layer).__name__


def _known(layer: nn.Module) -> LayerKind | None:
    registered = KINDS.get(_key(layer))
    if registered is not None:
        return registered
    if type(layer) is nn.Identity:
        return _IDENTITY
    if isinstance(layer, nn.Linear):
        return _LINEAR
    return _CONV if isinstance(layer, CONVOLUTIONS) else None


def _transposed_spec(layer: nn.Module) -> ConvSpec:
    c_in, c_out = layer.get_parameter("weight").shape
    return ConvSpec(c_in, c_out)


def _transposed(layer: nn.Module, weight: Tensor) -> Tensor:
    return weight.T


def _has_same_pad(layer: nn.Module) -> bool:
    return bool(getattr(layer, "same_pad", True))


def _standardised(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return the weight with mean 0 and variance 1 in each output channel (Qiao et al., 2019), scaled as there."""
    flat = weight.flatten(1)
    variance, mean = torch.var_mean(flat, 1, keepdim=True, correction=0)
    gain = layer._parameters.get("gain")
    flat = (flat - mean) / (variance + float(getattr(layer, "eps", 0))).sqrt()
    if gain is not None:
        flat = flat * (gain.detach().cpu().double().reshape(-1, 1) * float(getattr(layer, "scale", 1)))
    return flat.view_as(weight)


_IDENTITY, _CONV, _LINEAR = LayerKind("identity"), LayerKind("conv"), LayerKind("linear")
_STANDARDISED = LayerKind(
    "conv",
    weight=_standardised,
    notice="the {name} standardised its weight in every call; the weights of the module that replaces it are not "
    "standardised",
)
_STANDARDISED_SAME = replace(_STANDARDISED, pads_same=_has_same_pad)

KINDS: dict[tuple[str, str], LayerKind] = {
    ("transformers.pytorch_utils", "Conv1D"): LayerKind("linear", spec=_transposed_spec, weight=_transposed),
    ("timm.layers.linear", "Linear"): _LINEAR,
    ("timm.layers.conv2d_same", "Conv2dSame"): LayerKind("conv", pads_same=_has_same_pad),
    ("timm.layers.std_conv", "StdConv2d"): _STANDARDISED,
    ("timm.layers.std_conv", "StdConv2dSame"): _STANDARDISED_SAME,
    ("timm.layers.std_conv", "ScaledStdConv2d"): _STANDARDISED,
    ("timm.layers.std_conv", "ScaledStdConv2dSame"): _STANDARDISED_SAME,
}
"""By module and class name, the layers of other libraries whose forward netmorph knows."""
