"""Put one module in the place of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from netmorph.errors import SiteError

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
)


def swap(model: nn.Module, name: str, module: nn.Module) -> nn.Module:
    """Put `module` in the place called `name` and return the model; at the root the module becomes the model.

    Sequentials, lists and dictionaries of modules and slots that hold None are places like any other.

    Args:
        model: the network, changed in place.
        name: qualified name; "" is the model itself.
        module: what comes in.

    Raises:
        SiteError: if the network has no such place.
    """
    if not name:
        return module
    path, _, leaf = name.rpartition(".")
    try:
        parent = model.get_submodule(path)
    except AttributeError as error:
        raise SiteError(f"the network has no such place: {error}", site=name) from error
    if leaf not in parent._modules:
        raise SiteError(
            f"the network has no such place: {type(parent).__name__} has no module {leaf!r}",
            site=name,
            remedies=[f"its modules are {', '.join(map(repr, parent._modules)) or 'none'}"],
        )
    setattr(parent, leaf, module)
    return model


@contextmanager
def swapped(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """Swap modules in; if the block raises, every one is put back.

    Args:
        model: the network, changed in place.
        modules: what comes in, by qualified name.

    Yields:
        The model; another object only where its root is replaced.
    """
    before = {name: model.get_submodule(name) for name in modules}
    result = model
    try:
        for name, module in modules.items():
            result = swap(result, name, module)
        yield result
    except BaseException:
        for name, module in reversed(before.items()):
            swap(model, name, module)
        raise


def is_trained(module: nn.Module) -> bool | None:
    """Return whether a layer's weight wants gradients, or any parameter of a module without one; None without any."""
    weight = module.__dict__.get("_parameters", {}).get("weight")
    own = [weight] if weight is not None else list(module.parameters())
    return any(parameter.requires_grad for parameter in own) if own else None


def inherit(old: nn.Module, new: nn.Module) -> None:
    """Hand what is not function on to a new module: mode, gradients wanted or not, and the user's hooks.

    The very dictionaries of hooks move along, so that the handles which users hold go on working. Gradients are wanted
    where `is_trained` says so.
    """
    new.train(old.training)
    trained, bias = is_trained(old), getattr(old, "_parameters", {}).get("bias")
    if trained is not None:
        new.requires_grad_(trained)
    own_bias = new._parameters.get("bias")
    if bias is not None and own_bias is not None:
        own_bias.requires_grad_(bias.requires_grad)
    for name in _HOOKS:
        hooks = old.__dict__.get(name)
        if hooks or (name == "_is_full_backward_hook" and hooks is not None):
            new.__dict__[name] = hooks
