"""Give the residual additions of a block a module on their identity shortcut, by a block-level torch.fx rewrite.

A block without a slot for its shortcut computes `x + f(x)` in its own code. That code is traced with every child a
leaf, so that nothing of a child's mode is baked in, a call of a new child is put on the edge, and the block takes on a
class made for it alone: a subclass of its own with the generated forward. Its parameters, children, attributes, hooks
and other methods stay as they are, as do the names in its state dict and what `isinstance` says of it.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn
from torch.fx import Graph, GraphModule

from netmorph.errors import SiteError
from netmorph.surgery.shortcuts.additions import Residual, residuals
from netmorph.surgery.shortcuts.call_signature import Form
from netmorph.surgery.shortcuts.trace import code_of, sign, substituted, trace

_ATTRIBUTE = "_netmorph_rewiring"
_STEMS = ("shortcut", "residual", "identity")
Undo = Callable[[], None]


@dataclass(frozen=True)
class Rewiring:
    """What was done to a block.

    Attributes:
        form: how the block is called.
        names: the new children, in the order of their additions.
    """

    form: Form
    names: tuple[str, ...]


def rewiring_of(block: nn.Module) -> Rewiring | None:
    """Return what was done to a block; None where nothing was."""
    found: Rewiring | None = type(block).__dict__.get(_ATTRIBUTE)
    return found


def original_class(block: nn.Module) -> type[nn.Module]:
    """Return the class that a block had before it was rewired."""
    kind = type(block)
    return kind if rewiring_of(block) is None else kind.__mro__[1]


def shortcut_names(block: nn.Module, count: int) -> list[str]:
    """Return the names of a block's shortcuts: "shortcut", "shortcut_2", ..., or another word where that is taken."""
    done = rewiring_of(block)
    own = () if done is None else done.names
    for stem in _STEMS:
        names = [stem if index == 0 else f"{stem}_{index + 1}" for index in range(count)]
        if all(name in own or not _has(block, name) for name in names):
            return names
    raise SiteError(f"it has attributes called {', '.join(map(repr, _STEMS))} already")


def _has(block: nn.Module, name: str) -> bool:
    """Return whether a block has an attribute, or a property that raises."""
    try:
        return hasattr(block, name)
    except Exception:
        return True


def traced(block: nn.Module, form: Form, *, training: bool = False) -> Graph:
    """Return the graph of a block's own code, as it was before it was rewired.

    Raises:
        SiteError: if the block cannot be traced.
    """
    kept = type(block)
    block.__class__ = original_class(block)
    try:
        return trace(block, form, training=training)
    finally:
        block.__class__ = kept


def loosened(block: nn.Module, form: Form) -> Form:
    """Return a form in which those constants are inputs on which the block's code does not branch.

    It does not where the code is the same whether tracing knows the constant or not; what it does by an argument's type
    tracing cannot tell, so that code which asks for types keeps them all.
    """
    names = inspect.unwrap(original_class(block).forward).__code__.co_names
    if not form.fixed or {"isinstance", "type"} & set(names):
        return form
    expected = code_of(traced(block, form))

    def free(*names: str) -> bool:
        constants = {name: value for name, value in form.fixed if name in names}
        try:
            graph = traced(block, form.loosened(*names))
        except SiteError:
            return False
        return code_of(substituted(graph, constants)) == expected

    every = [name for name, _ in form.fixed]
    return form.loosened(*(every if free(*every) else filter(free, every)))


def rewire(
    block: nn.Module, form: Form, children: Mapping[str, nn.Module], *, graph: Graph | None = None, both: bool = False
) -> Undo:
    """Put modules on a block's identity shortcuts.

    Args:
        block: changed in place.
        form: how it is called.
        children: the modules by the names that `shortcut_names` gives the block's shortcuts.
        graph: as `traced` returns it for this form, and changed; None: traced here.
        both: hand the addition's other operand to the modules too.

    Returns:
        A function that takes them out again.

    Raises:
        SiteError: if the block's code cannot be traced, has no such shortcut, or was rewired for another form.
    """
    done, before = rewiring_of(block), type(block)
    if done is not None and done.form != form:
        raise SiteError("the block was rewritten before, for another way of calling it")
    graph = traced(block, form) if graph is None else graph
    found = residuals(graph)
    names = shortcut_names(block, len(found))
    wanted = {*children, *(done.names if done is not None else ())}
    if not wanted <= set(names):
        missing = sorted(wanted - set(names))[0]
        raise SiteError(
            f"{type(block).__name__} has no residual addition called {missing!r}",
            shapes=f"it has {', '.join(map(repr, names)) or 'none'}",
            remedies=["use the version of the library that the network was morphed with"],
        )
    chosen = {name: residual for name, residual in zip(names, found, strict=True) if name in wanted}
    for name, module in children.items():
        block.add_module(name, module)
    sign(graph, original_class(block), form)
    for name, residual in chosen.items():
        _insert(graph, name, residual, both=both and name in children)
    block.__class__ = _class(original_class(block), GraphModule(block, graph), Rewiring(form, tuple(chosen)))

    def undo() -> None:
        block.__class__ = before
        for name in children:
            block._modules.pop(name, None)

    return undo


def _insert(graph: Graph, name: str, residual: Residual, *, both: bool) -> None:
    with graph.inserting_before(residual.addition):
        call = graph.call_module(name, (residual.operand, residual.other) if both else (residual.operand,))
    residual.addition.update_arg(residual.side, call)


def _class(base: type[nn.Module], module: GraphModule, rewiring: Rewiring) -> type[nn.Module]:
    """Return a subclass of a block's class that runs generated code and survives copying and pickling."""

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        state = object.__reduce_ex__(self, protocol)[2]
        return _blank, (base, rewiring), state

    namespace = {
        "forward": type(module).forward,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__reduce_ex__": reduce,
        _ATTRIBUTE: rewiring,
    }
    return types.new_class(base.__name__, (base,), {}, lambda body: body.update(namespace))


def _blank(base: type[nn.Module], rewiring: Rewiring) -> nn.Module:
    """Return an instance without state, which is rewired when it is given one."""

    def restore(self: nn.Module, state: dict[str, Any]) -> None:
        self.__class__ = base
        cast(Any, base).__setstate__(self, state)
        modules = dict(self._modules)
        rewire(self, rewiring.form, {name: cast(nn.Module, self._modules.pop(name)) for name in rewiring.names})
        self._modules.clear()
        self._modules.update(modules)  # in the order that they had

    waiting = types.new_class(base.__name__, (base,), {}, lambda body: body.update({"__setstate__": restore}))
    blank: nn.Module = base.__new__(base)
    blank.__class__ = waiting
    return blank
