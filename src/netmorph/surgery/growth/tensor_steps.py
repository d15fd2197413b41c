"""One operation that a network did to a tensor, to be done again to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

HERE = object()
"""Stands in a step's arguments for the tensor that it acts on."""


@dataclass(frozen=True)
class Step:
    """One operation between a layer and what reads it.

    Attributes:
        name: qualified name of a module; "" of a function.
        func: the function.
        args: its arguments, with `HERE` in the place of what the layer computed.
        kwargs: likewise.
    """

    name: str
    func: Any = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, x: Tensor, modules: Mapping[str, nn.Module]) -> Tensor:
        """Return the operation's result for `x`, given the modules by name."""
        y = modules[self.name](x) if self.name else apply(self.func, self.args, self.kwargs, x)
        assert isinstance(y, Tensor)
        return y


def apply(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], x: Tensor) -> Any:
    """Call a function with `x` in the place of `HERE`."""
    return func(*_filled(args, x), **{key: _filled(value, x) for key, value in kwargs.items()})


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


def in_double(value: Any) -> Any:
    """Return arguments with their floating-point tensors in float64, complex ones in complex128."""
    if isinstance(value, Tensor):
        return value.detach().to(torch.promote_types(value.dtype, torch.float64)) if _is_inexact(value) else value
    if isinstance(value, Mapping):
        return {key: in_double(item) for key, item in value.items()}
    return tuple(in_double(item) for item in value) if type(value) in (list, tuple) else value


def emptied(value: Any, here: Mapping[int, object]) -> Any:
    """Return arguments with `HERE` in the place of some tensors."""
    if isinstance(value, list | tuple):
        return tuple(emptied(item, here) for item in value)
    return here.get(id(value), value)


def _is_inexact(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def _filled(value: Any, x: Tensor) -> Any:
    """Return arguments with `x` in the place of `HERE`."""
    if isinstance(value, tuple):
        return tuple(_filled(item, x) for item in value)
    return x if value is HERE else value
