"""Trace the code of one block by torch.fx, with every child a leaf."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, Tracer
from torch.fx.node import map_arg

from netmorph.errors import SiteError
from netmorph.surgery.running.call import reason, undisturbed
from netmorph.surgery.running.restore import contents, own_attributes, same_contents
from netmorph.surgery.shortcuts.call_signature import Constant, Form, is_simple, named_parameters_of

_DEVICES = ("cpu", "cuda")


def trace(block: nn.Module, form: Form, *, training: bool) -> Graph:
    """Return the graph of a block's own code; its children are calls.

    The code must hold for every call of that form: it is refused where it branches on values, where it stores something
    on the block, where it draws random numbers that a graph would hold as constants, and where it switches gradients or
    autocast for a part of itself, which a graph does not know.

    Args:
        block: any module.
        form: how it is called.
        training: trace in train mode with gradients, or in eval mode without.

    Raises:
        SiteError: if the code cannot be traced.
    """
    tracer = _Tracer(form)
    with undisturbed(block), torch.set_grad_enabled(training), _autocast(training):
        for module in block.modules():
            module.training = training
        before, held, drawn = _held(block), contents(own_attributes(block)), _random_states()
        try:
            graph = tracer.trace(block)
        except Exception as error:
            raise SiteError(f"torch.fx cannot trace its code: {reason(error).split('. ')[0]}") from error
        if _held(block) != before or not same_contents(held):
            raise SiteError("its code stores something on the block each time that it runs")
        if _random_states() != drawn:
            raise SiteError("its code draws random numbers that do not depend on its input: they would be constants")
        if len(tracer.modes) > 1:
            raise SiteError("its code switches gradients or autocast on or off for a part of itself")
    return graph


@contextmanager
def _autocast(enabled: bool) -> Iterator[None]:
    """Switch autocast on or off, for the code to be seen switching it back."""
    kept = [torch.is_autocast_enabled(device) for device in _DEVICES]
    try:
        for device in _DEVICES:
            torch.set_autocast_enabled(device, enabled)
        yield
    finally:
        for device, was in zip(_DEVICES, kept, strict=True):
            torch.set_autocast_enabled(device, was)


def _modes() -> tuple[bool, ...]:
    autocast = (torch.is_autocast_enabled(device) for device in _DEVICES)
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *autocast


def _random_states() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    _, key, *rest = (None, b"") if numpy is None else numpy.random.get_state()
    return bytes(torch.get_rng_state().tolist()), random.getstate(), bytes(key), rest


def _held(block: nn.Module) -> dict[tuple[str, str], int]:
    """Return what a block holds, by identity."""
    places = {"": block.__dict__, **{key: getattr(block, key) for key in ("_buffers", "_parameters", "_modules")}}
    return {(place, key): id(value) for place, values in places.items() for key, value in values.items()}


def code_of(graph: Graph) -> str:
    """Return a graph as Python code, by which two of them can be compared."""
    return graph.python_code("self").src


class _Tracer(Tracer):
    """Traces one call of a block; only what the form names is unknown.

    Attributes:
        modes: of gradients and autocast, under which operations were called.
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self.modes: set[tuple[bool, ...]] = set()

    def create_node(self, kind: str, *args: Any, **kwargs: Any) -> Node:
        if kind != "output":
            self.modes.add(_modes())
        return super().create_node(kind, *args, **kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        fixed = dict(self._form.fixed)
        parameters = named_parameters_of(type(self.root))
        own = [parameter.name for parameter in parameters]
        further = [name for name in (*self._form.inputs, *fixed) if name not in own]  # taken by **kwargs
        proxies = {name: self.create_proxy("placeholder", name, (), {}) for name in (*own, *further)}
        known = (*self._form.inputs, *fixed)
        given = {name: fixed.get(name, proxy) for name, proxy in proxies.items() if name in known}
        leading = [given.pop(p.name) for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in given]
        return lambda: root_fn(self.root, *leading, **given), []


def substituted(graph: Graph, constants: Mapping[str, Constant]) -> Graph:
    """Return a graph with constants in the place of some arguments, changed in place."""
    for holder in graph.nodes:
        if holder.op == "placeholder" and holder.target in constants:
            for user in list(holder.users):
                user.args = map_arg(user.args, partial(_constant, holder, constants))
                user.kwargs = map_arg(user.kwargs, partial(_constant, holder, constants))
    return graph


def _constant(holder: Node, constants: Mapping[str, Constant], node: Node) -> Any:
    return constants[str(holder.target)] if node is holder else node


def sign(graph: Graph, kind: type[nn.Module], form: Form) -> None:
    """Give the arguments the defaults of a class's own forward, and check those on which the code may depend."""
    fixed: Mapping[str, Any] = dict(form.fixed)
    defaults = {parameter.name: parameter.default for parameter in named_parameters_of(kind)}
    holders = [node for node in graph.nodes if node.op == "placeholder"]
    optional = False
    for holder in holders:
        name = str(holder.target)
        default = defaults.get(name, fixed.get(name))
        optional = optional or default is not inspect.Parameter.empty
        if optional:  # whatever follows an argument with a default needs one
            holder.args = (default if is_simple(default) else None,)
    body = next(node for node in graph.nodes if node.op != "placeholder")
    with graph.inserting_before(body):
        for holder in holders:
            name = str(holder.target)
            if name not in form.inputs:
                graph.call_function(unchanged, (holder, fixed.get(name, *holder.args), name))


def unchanged(value: Any, expected: Any, name: str) -> None:
    """Raise if a block is given another constant than that for which its code was rewritten."""
    if value is not expected and (type(value) is not type(expected) or value != expected):
        raise SiteError(
            f"the argument {name!r} of a block whose shortcut was morphed must be {expected!r}, as in the example",
            shapes=f"it is {type(value).__name__ if isinstance(value, Tensor) else repr(value)}",
            remedies=["morph with example inputs of the kind that the network is to be used with"],
        )
