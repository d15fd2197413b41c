"""Wrappers around networks (DDP, FSDP, torch.compile, TorchScript): which one it is, and how to reach the network."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from netmorph.errors import SiteError

_WRAPPERS = {
    "OptimizedModule": "torch.compile",
    "DistributedDataParallel": "DDP",
    "DataParallel": "DataParallel",
    "FullyShardedDataParallel": "FSDP",
    "FSDPModule": "FSDP",
    "DeepSpeedEngine": "DeepSpeed",
    "_FabricModule": "Fabric",
}


_INSIDE = {
    "torch.compile": "compiled._orig_mod",
    "DDP": "ddp.module, or accelerator.unwrap_model(ddp)",
    "DataParallel": "parallel.module",
    "Fabric": "fabric_model.module",
}


_ANEW = ", then wrap or compile the child again, since the old wrapper refers to the old parameters"


def wrapper_of(module: nn.Module) -> str | None:
    """Return the name of the wrapper that `module` is (DDP, FSDP, compiled, scripted), or None."""
    if isinstance(module, torch.jit.ScriptModule):
        return "TorchScript"
    if getattr(module, "_compiled_call_impl", None) is not None:
        return "torch.compile"
    # By name: importing the classes costs a second.
    return next((_WRAPPERS[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in _WRAPPERS), None)


def check_network(model: object) -> None:
    """Raise if something else than a network was given.

    Raises:
        SiteError: if the model is not an `nn.Module`.
    """
    if not isinstance(model, nn.Module):
        raise SiteError(
            f"expected an nn.Module, got {model!r:.80}",
            remedies=["build the model first: nm.build(name)" if isinstance(model, str) else "pass the network"],
        )


def check_unwrapped(model: nn.Module, verb: str = "morph") -> None:
    """Raise if a model is wrapped: parameters that are new inside would be left out or go apart.

    Raises:
        SiteError: if the model is wrapped in DDP, FSDP or the like, is compiled or scripted, or is not an `nn.Module`.
    """
    check_network(model)
    wrapper = wrapper_of(model)
    if wrapper is not None:
        raise SiteError(
            f"the model is already wrapped ({wrapper}): {verb} before wrapping",
            remedies=[_way_in(model, wrapper, verb) + (_ANEW if verb != "save" else "")],
        )


def _way_in(model: nn.Module, wrapper: str, verb: str) -> str:
    """Return how to come to the network itself."""
    if getattr(model, "_compiled_call_impl", None) is not None:  # by its own compile(), which made no module around it
        return f"undo its compile() with model._compiled_call_impl = None, then {verb} it"
    if wrapper in _INSIDE:
        return f"{verb} the model inside ({_INSIDE[wrapper]})"
    return f"{verb} the network as it was before that, with these weights loaded"


def wrapped_above(model: nn.Module, name: str) -> str | None:
    """Return why nothing can be morphed where a module stands, if it is inside a wrapper; else None."""
    for ancestor in _ancestors(model, name):
        wrapper = wrapper_of(ancestor)
        if wrapper is not None:
            return f"it is inside {wrapper}: morph before wrapping, then wrap the child again"
    return None


def _ancestors(model: nn.Module, name: str) -> Iterator[nn.Module]:
    yield model
    module = model
    for part in filter(None, name.split(".")):
        module = module.get_submodule(part)
        yield module
