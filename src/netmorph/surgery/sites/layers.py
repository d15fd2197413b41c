"""Which modules of a network can be morphed, and why the others cannot, as far as their structure says."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils import parametrize

from netmorph.filters.geometry import ConvSpec
from netmorph.solver.target import CONVOLUTIONS
from netmorph.surgery.running.call import is_lazy
from netmorph.surgery.running.wrappers import wrapped_above
from netmorph.surgery.sites.kinds import class_of, is_registered, kind_of

BASES: tuple[type[nn.Module], ...] = (*CONVOLUTIONS, nn.Linear)
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_QUANTISED = ("torch.ao.", "torchao.", "bitsandbytes.", "torch.nn.quantized", "torch.nn.qat")


def identity_spec(channels: int, dims: int) -> ConvSpec:
    """Return the geometry of an identity on `channels` channels: one tap."""
    return ConvSpec(channels, channels, (1,) * dims)


def candidates(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Return the modules that look like sites, by qualified name, and the reasons against those that cannot be.

    Args:
        model: any network.

    Returns:
        (layers by name, reasons by name), both in the order of `model.named_modules()`.
    """
    modules = list(model.named_modules(remove_duplicate=False))
    names: dict[int, list[str]] = {}
    for name, module in modules:
        names.setdefault(id(module), []).append(name)
    owners = _owners(modules)
    layers, refused = {}, {}
    for name, module in modules:
        why = _foreign(module)
        if why is None and kind_of(module) is None:
            continue
        why = why or _structure(module, name, names[id(module)], owners) or wrapped_above(model, name)
        if why is None:
            layers[name] = module
        else:
            refused[name] = why
    return layers, refused


def _foreign(module: nn.Module) -> str | None:
    """Return why netmorph does not know a module that resembles a site, or None."""
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        original = getattr(module, "original_name", "")
        return "it is compiled to TorchScript: morph before scripting" if _like_a_layer(original) else None
    if isinstance(module, _ConvTransposeNd):
        return f"it is a transposed convolution ({class_of(module)}), which netmorph does not morph"
    if kind_of(module) is None:
        if not _like_a_layer(name) or not isinstance(getattr(module, "weight", None), Tensor):
            return None
        return f"netmorph does not know what a {class_of(module)} computes"
    if type(module).__module__.startswith(_QUANTISED):
        return f"it is quantised ({class_of(module)}): morph before quantisation"
    return None


def _structure(module: nn.Module, name: str, names: list[str], owners: dict[object, list[str]]) -> str | None:
    """Return why a convolution, linear layer or identity cannot be a site, or None."""
    if len(names) > 1:
        other = next(each for each in names if each != name)
        return f"it is shared: the same module is also registered as {other!r}"
    if "forward" in module.__dict__:
        return "its forward was replaced on the instance"
    if is_lazy(module):
        return "it is lazily initialised: run the model once first"
    if isinstance(module, nn.Identity):
        return None
    if parametrize.is_parametrized(module) or "weight" not in module._parameters:
        return "its weight is computed (parametrized, pruned, weight_norm or spectral_norm): remove that first"
    return _forward(module) or _tensors(module, name, owners)


def _forward(module: nn.Module) -> str | None:
    if is_registered(module):
        return None
    base = next(base for base in BASES if isinstance(module, base))
    methods = ("forward", "_conv_forward", "__call__", "__getattr__", "weight", "bias")
    changed = [m for m in methods if getattr(type(module), m, None) is not getattr(base, m, None)]
    if not changed:
        return None
    return f"it is a {class_of(module)}, a subclass of {base.__name__} with a {changed[0]} of its own"


def _tensors(module: nn.Module, name: str, owners: dict[object, list[str]]) -> str | None:
    for key, parameter in module._parameters.items():
        if parameter is None:
            continue
        if type(parameter) is not nn.Parameter or type(parameter.data) is not Tensor:
            return f"its {key} is a {type(parameter.data).__name__}, not a plain tensor"
        if parameter.dtype not in _DTYPES:
            return f"its {key} is {str(parameter.dtype).removeprefix('torch.')}, not a real floating-point type"
        own = f"{name}.{key}".lstrip(".")
        others = [other for other in owners.get(_place(parameter), []) if other != own]
        if others:
            return f"its {key} is tied to {others[0]!r}"
    return None


def _owners(modules: list[tuple[str, nn.Module]]) -> dict[object, list[str]]:
    """Return the names of the parameters by the memory they lie in."""
    owners: dict[object, list[str]] = {}
    for name, module in modules:
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for key, parameter in module._parameters.items():
            if parameter is not None and not isinstance(parameter, nn.UninitializedParameter):
                owners.setdefault(_place(parameter), []).append(f"{name}.{key}".lstrip("."))
    return owners


def _place(parameter: Tensor) -> object:
    """Return what two tied parameters have in common: the object, or the memory where they have any."""
    plain = type(parameter.data) is Tensor and parameter.layout == torch.strided
    if not plain or parameter.is_meta or not parameter.numel():
        return id(parameter)
    return (str(parameter.device), parameter.data_ptr())


def _like_a_layer(name: str) -> bool:
    return ("Conv" in name or "Linear" in name) and "Norm" not in name
