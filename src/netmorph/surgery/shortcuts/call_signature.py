"""How a block is called: what tracing must know about its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from netmorph.errors import NetmorphError, SiteError

Constant = bool | str | None
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Form:
    """How a block is called.

    Attributes:
        inputs: parameters that take a value which may differ from call to call.
        fixed: parameters whose value is a constant on which the block's code may branch, with the constant; all others
            keep their defaults.
    """

    inputs: tuple[str, ...]
    fixed: tuple[tuple[str, Constant], ...] = ()

    @classmethod
    def of(cls, block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Form:
        """Read the form of one call; None, booleans and text are constants, as are such defaults.

        Args:
            block: whose forward is called.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            SiteError: if the block is called with a variable number of positional arguments.
        """
        parameters = inspect.signature(block.forward).parameters
        given: dict[str, Any] = {name: each.default for name, each in parameters.items() if is_constant(each.default)}
        for name, value in inspect.signature(block.forward).bind(*args, **kwargs).arguments.items():
            if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                raise SiteError("it is called with a variable number of arguments")
            given.update(value if parameters[name].kind is inspect.Parameter.VAR_KEYWORD else {name: value})
        fixed = {name: value for name, value in given.items() if is_constant(value)}
        return cls(tuple(sorted(given.keys() - fixed.keys())), tuple(fixed.items()))

    def loosened(self, *names: str) -> Form:
        """Return the form with some constants as inputs."""
        return Form(tuple(sorted((*self.inputs, *names))), tuple(each for each in self.fixed if each[0] not in names))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; `from_dict` is the inverse."""
        return {"inputs": list(self.inputs), "fixed": dict(self.fixed)}

    @classmethod
    def from_dict(cls, data: Any) -> Form:
        """Rebuild a form from `to_dict`'s output.

        Raises:
            NetmorphError: if the description is malformed.
        """
        if not isinstance(data, dict) or set(data) != {"inputs", "fixed"}:
            raise NetmorphError(f"this is not how a block is called: {data!r}")
        inputs, fixed = data["inputs"], data["fixed"]
        if not isinstance(inputs, list) or not isinstance(fixed, dict):
            raise NetmorphError(f"this is not how a block is called: {data!r}")
        names = [*inputs, *fixed]
        if not all(isinstance(name, str) and name.isidentifier() for name in names) or len(set(names)) < len(names):
            raise NetmorphError(f"these are not names of arguments: {names!r}")
        if not all(map(is_constant, fixed.values())):
            raise NetmorphError(f"these are not constants: {fixed!r}")
        return cls(tuple(inputs), tuple(fixed.items()))


def named_parameters_of(kind: type[nn.Module]) -> list[inspect.Parameter]:
    """Return the parameters of a module class's forward that have a name of their own, without self."""
    parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
    return [parameter for parameter in parameters if parameter.kind not in _VARIADIC]


def is_simple(value: Any) -> bool:
    """Return whether a value can be written into generated code and compared with another."""
    return value is None or type(value) in (bool, int, float, str)


def is_constant(value: Any) -> bool:
    """Return whether code may well branch on such an argument, so that tracing must know it."""
    return value is None or type(value) in (bool, str)
