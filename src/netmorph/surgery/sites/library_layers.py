"""Layers of other libraries whose forward netmorph knows: what linear map each is (beyond the paper).

They are recognised by class name and module, without importing the library. Should a release of it compute something
else under the same name, the parity at the site says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netmorph.filters.geometry import ConvSpec
from netmorph.solver.target import spec_of


@dataclass(frozen=True)
class Foreign:
    """What sets a foreign layer apart from PyTorch's own.

    Attributes:
        library: whose it is.
        transposed: its weight is (in, out), that of a linear layer.
        same_padding: it may pad by what its input's size asks for, as TensorFlow does.
        standardised: it standardises its weight in every call.
    """

    library: str
    transposed: bool = False
    same_padding: bool = False
    standardised: bool = False


_PLAIN = Foreign("timm")
_KNOWN = {
    ("transformers.pytorch_utils", "Conv1D"): Foreign("transformers", transposed=True),
    ("timm.layers.linear", "Linear"): _PLAIN,
    ("timm.layers.conv2d_same", "Conv2dSame"): Foreign("timm", same_padding=True),
    ("timm.layers.std_conv", "StdConv2d"): Foreign("timm", standardised=True),
    ("timm.layers.std_conv", "StdConv2dSame"): Foreign("timm", same_padding=True, standardised=True),
    ("timm.layers.std_conv", "ScaledStdConv2d"): Foreign("timm", standardised=True),
    ("timm.layers.std_conv", "ScaledStdConv2dSame"): Foreign("timm", same_padding=True, standardised=True),
}


def foreign(layer: nn.Module) -> Foreign | None:
    """Return what is known of another library's layer; None of any other module."""
    return _KNOWN.get((type(layer).__module__, type(layer).__name__))


def class_of(module: object) -> str:
    """Return the full name of a module's class; PyTorch's own by the short one."""
    kind = type(module)
    own = kind.__module__.startswith("torch.nn.modules.")
    return kind.__name__ if own else f"{kind.__module__}.{kind.__name__}"


def is_transposed(layer: nn.Module) -> bool:
    """Return whether a layer is linear with a weight (in, out), as Hugging Face's `Conv1D`."""
    known = foreign(layer)
    return known is not None and known.transposed


def pads_same(layer: nn.Module) -> bool:
    """Return whether a layer pads by what its input's size asks for: by no fixed amount."""
    known = foreign(layer)
    if known is None or not known.same_padding:
        return False
    return bool(getattr(layer, "same_pad", True))


def layer_spec(layer: nn.Module) -> ConvSpec:
    """Return the geometry of a convolution or a linear layer; of one that pads by its input's size, behind the padding.

    Raises:
        SiteError: if the layer is neither a convolution nor a linear layer.
    """
    if is_transposed(layer):
        c_in, c_out = layer.get_parameter("weight").shape
        return ConvSpec(c_in, c_out)
    return spec_of(layer)


def layer_weight(layer: nn.Module) -> Tensor:
    """Return the weight that a layer applies, (c_out, c_in / groups, *kernel), in float64 on the CPU."""
    weight = layer.get_parameter("weight").detach().cpu().double()
    known = foreign(layer)
    if known is None:
        return weight
    if known.transposed:
        return weight.T
    return _standardised(layer, weight) if known.standardised else weight


def origin_of(layer: nn.Module) -> str | None:
    """Return the class of a foreign layer whose weight is not what an equal PyTorch layer would hold; else None."""
    known = foreign(layer)
    return None if known is None or known == _PLAIN else type(layer).__name__


def notice(layer: nn.Module) -> str | None:
    """Return what a user should know of a layer's successor, or None."""
    known = foreign(layer)
    if known is None or not known.standardised:
        return None
    return (
        f"the {type(layer).__name__} standardised its weight in every call; "
        "the weights of the module that replaces it are not standardised"
    )


def _standardised(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return the weight with mean 0 and variance 1 in each output channel (Qiao et al., 2019), scaled as there."""
    flat = weight.flatten(1)
    variance, mean = torch.var_mean(flat, 1, keepdim=True, correction=0)
    gain = layer._parameters.get("gain")
    flat = (flat - mean) / (variance + float(getattr(layer, "eps", 0))).sqrt()
    if gain is not None:
        flat = flat * (gain.detach().cpu().double().reshape(-1, 1) * float(getattr(layer, "scale", 1)))
    return flat.view_as(weight)
