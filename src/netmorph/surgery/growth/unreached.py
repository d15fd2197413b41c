"""What an example does not reach, and may read a layer's channels all the same: nothing there becomes wider along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netmorph.errors import SiteError
from netmorph.nn import MorphedModule
from netmorph.surgery.growth.tensor_steps import tensors_of
from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.sites.kinds import is_layer, layer_spec

_MOST = 5


def missed(model: nn.Module, call: Call) -> dict[str, nn.Module | Tensor]:
    """Return the modules whose parameters no function reads, in eval and in train mode, and other such parameters.

    Args:
        model: any network; it is left as it is.
        call: example inputs.

    Raises:
        SiteError: if the model raised in eval mode.
    """
    reads = _Reads()
    for training in (False, True):
        with undisturbed(model, training=training), reads:
            try:
                call.run(in_mode(model, training))
            except SiteError:
                if not training:
                    raise
    found: dict[str, nn.Module | Tensor] = {}
    for name, module, parameters in _owners(model, ""):
        unread = {key: each for key, each in parameters.items() if id(each) not in reads.seen}
        if name and len(unread) == len(parameters):
            found[name] = module
        else:
            found |= {f"{name}.{key}".lstrip("."): each for key, each in unread.items()}
    return found


def notice_of(found: Mapping[str, nn.Module | Tensor], site: str, before: int, after: int) -> tuple[str, ...]:
    """Return what to say of a layer that became wider, given what `missed` found: a sentence, or nothing.

    Args:
        found: what the example does not reach.
        site: name of the layer.
        before: its channels before.
        after: its channels now.
    """
    names = [name for name, part in found.items() if _may_read(part, before)]
    if not names:
        return ()
    listed = ", ".join(map(repr, names[:_MOST])) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")
    return (
        f"the example does not reach {listed}, which may read {site!r} elsewhere and still expect {before} channels, "
        f"where {site!r} has {after} now: in that case, widen with an example that reaches them",
    )


def _may_read(part: nn.Module | Tensor, channels: int) -> bool:
    """Return whether a part of a network has the size of something that reads so many channels."""
    if isinstance(part, MorphedModule):
        return part.layout.site.c_in == channels
    if isinstance(part, nn.Module) and is_layer(part):
        spec = layer_spec(part)
        return spec.c_in == channels if spec.dims else spec.c_in % channels == 0  # behind flattening, a multiple
    tensors = part.parameters(recurse=False) if isinstance(part, nn.Module) else [part]
    return any(channels in tensor.shape for tensor in tensors)


def _owners(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module, dict[str, nn.Parameter]]]:
    """Yield the modules that hold parameters, morphed modules as one; not scripted ones, whose code is not seen."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    whole = isinstance(module, MorphedModule)
    parameters = dict(module.named_parameters(recurse=whole))
    if parameters:
        yield name, module, parameters
    if not whole:
        for key, child in module.named_children():
            yield from _owners(child, f"{name}.{key}".lstrip("."))


class _Reads(TorchFunctionMode):
    """Notes which tensors any function reads.

    Attributes:
        seen: their identities.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and note what it reads."""
        self.seen.update(id(tensor) for tensor in tensors_of((args, kwargs or {})))
        return func(*args, **(kwargs or {}))
