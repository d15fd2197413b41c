"""Put back what a run of a model may change: modes, attributes, buffers, and in train mode parameters."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_CONTAINERS = (list, set, deque, dict, OrderedDict, defaultdict)
_BOOKKEEPING = frozenset(nn.Module().__dict__)
_CONSTANTS = (int, float, bool, str, tuple, type(None))
_LAYERS = ("torch.nn.", "netmorph.nn.")
Content = list[tuple[Any, list[Any]]]


@contextmanager
def kept(modules: Sequence[nn.Module], *, parameters: bool = False) -> Iterator[None]:
    """Put the modes, plain attributes and buffers of modules back (not those of their children).

    Args:
        modules: the modules.
        parameters: put back those values too that code outside layers writes to parameters of its own (codebooks).
    """
    states = [_State(module, parameters=parameters) for module in modules]
    try:
        yield
    finally:
        failed: Exception | None = None
        for state in reversed(states):
            try:
                state.restore()
            except Exception as error:  # all others are restored before it is raised
                failed = failed or error
        if failed is not None:
            raise failed


def contents(values: Sequence[Any]) -> Content:
    """Return the containers among values, and those within them, each with what it holds."""
    found: dict[int, tuple[Any, list[Any]]] = {}
    todo = list(values)
    while todo:
        value = todo.pop()
        if type(value) in _CONTAINERS and id(value) not in found:
            found[id(value)] = value, _content(value)
            todo += found[id(value)][1]
    return list(found.values())


def own_attributes(module: nn.Module) -> list[Any]:
    """Return the attributes of a module that are not PyTorch's, but for constants."""
    return [
        value for key, value in module.__dict__.items() if key not in _BOOKKEEPING and type(value) not in _CONSTANTS
    ]


def same_contents(before: Content) -> bool:
    """Return whether containers hold the very objects that they held."""
    return all(_same(_content(container), held) for container, held in before)


class _State:
    """One module's mode, plain attributes and buffers."""

    def __init__(self, module: nn.Module, *, parameters: bool) -> None:
        self.module, self.attributes = module, dict(module.__dict__)
        self.training: bool | None = getattr(module, "training", None)  # frozen TorchScript has no mode
        scripted = isinstance(module, torch.jit.ScriptModule)
        self.registered: list[tuple[dict[str, Any], dict[str, Any]]] = []
        own: list[Any] = []
        if not scripted:
            self.registered = [(slots, dict(slots)) for slots in (module._buffers, module._parameters)]
            own = own_attributes(module)
        self.containers = contents(own)
        self.generators = [_generator(value) for value in own]
        tensors = list(module.buffers(recurse=False) if scripted else module._buffers.values())
        if parameters and not scripted and not type(module).__module__.startswith(_LAYERS):
            tensors += module._parameters.values()
        real = [tensor for tensor in tensors if tensor is not None and not tensor.is_meta]
        self.contents = [(tensor, tensor.detach().clone()) for tensor in real]

    def restore(self) -> None:
        """Put them back."""
        if self.registered:  # else it is scripted: it has no attributes of its own
            self.module.__dict__.clear()
            self.module.__dict__.update(self.attributes)
            for slots, content in self.registered:
                slots.clear()
                slots.update(content)
        if self.training is None:
            self.module.__dict__.pop("training", None)
        else:
            self.module.training = self.training
        for container, held in self.containers:
            _refill(container, held)
        for restore in filter(None, self.generators):
            restore()
        for tensor, values in self.contents:
            _write(tensor, values)


def _content(container: Any) -> list[Any]:
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def _refill(container: Any, held: list[Any]) -> None:
    if _same(_content(container), held):
        return
    container.clear()
    if isinstance(container, dict):
        half = len(held) // 2
        container.update(zip(held[:half], held[half:], strict=True))
    elif isinstance(container, set):
        container.update(held)
    else:
        container.extend(held)


def _generator(value: Any) -> Callable[[], object] | None:
    """Return what puts a random generator back where it is now."""
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if isinstance(value, random.Random):
        python = value.getstate()
        return lambda: value.setstate(python)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.random.Generator):
        bits = value.bit_generator.state
        return lambda: setattr(value.bit_generator, "state", bits)
    return None


def _write(tensor: Tensor, values: Tensor) -> None:
    """Give a tensor back its values, if they changed; sparse ones cannot be compared."""
    if tensor.layout != torch.strided or _kind(tensor) != _kind(values):
        tensor.data = values
    elif not torch.equal(tensor, values):
        tensor.copy_(values)


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.dtype, tensor.device
