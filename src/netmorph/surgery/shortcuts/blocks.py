"""Blocks that may hold an identity shortcut: which to look at, what they are called with, what they return."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import wraps
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from netmorph.errors import SiteError
from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.running.outputs import tensors_in
from netmorph.surgery.running.wrappers import wrapped_above
from netmorph.surgery.shortcuts.rewire import original_class

_FOREIGN = ("torch.nn.", "torch.ao.", "netmorph.nn.")
_ADDITIONS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
_MOST_ELEMENTS = 1 << 22
_FEW = 2


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a network that have code and children of their own, by name; shared ones are left out."""
    modules = list(model.named_modules(remove_duplicate=False))
    count: dict[int, int] = {}
    for _, module in modules:
        count[id(module)] = count.get(id(module), 0) + 1
    return {
        name: module
        for name, module in modules
        if count[id(module)] == 1 and _is_block(module) and wrapped_above(model, name) is None
    }


def _is_block(module: nn.Module) -> bool:
    if not module._modules or isinstance(module, torch.jit.ScriptModule) or "forward" in module.__dict__:
        return False
    return not (parametrize.is_parametrized(module) or original_class(module).__module__.startswith(_FOREIGN))


@dataclass
class Recording:
    """What a block was called with in one run of the network, and what its own code added there.

    Attributes:
        calls: how often it was called.
        call: the arguments of the first call, of a large batch a few samples; None where the block's code adds nothing.
        batch: samples recorded and given, where these differ.
        alike: whether all calls had the same kinds of arguments, and the same constants.
        adds: whether its own code, not a child's, adds tensors.
        adds_input: whether one of them is the very tensor that it was given.
    """

    calls: int = 0
    call: Call | None = field(default=None, repr=False)
    batch: tuple[int, int] | None = None
    alike: bool = True
    adds: bool = False
    adds_input: bool = False
    _kinds: Any = field(default=None, repr=False)
    _given: list[Any] = field(default_factory=list, repr=False)

    @contextmanager
    def note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[None]:
        """Take in a call that happens within the block."""
        kinds = (len(args), [_kind(value) for value in args], {key: _kind(value) for key, value in kwargs.items()})
        first = not self.calls
        self.calls += 1
        if first:
            self._kinds = kinds
            with suppress(SiteError):  # what cannot be copied cannot be tried
                self.call, self.batch = _few(Call(args, kwargs))
        self.alike = self.alike and kinds == self._kinds
        self._given = [*args, *kwargs.values()]
        yield
        self._given = []
        if first and not self.adds:
            self.call = None

    def added(self, operands: tuple[Any, ...]) -> None:
        """Take in an addition in the block's own code."""
        self.adds = True
        self.adds_input = self.adds_input or any(one is two for one in operands for two in self._given)

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a shape as it is with all samples of the batch."""
        return (self.batch[1], *shape[1:]) if self.batch and shape[:1] == self.batch[:1] else shape


def _kind(value: Any) -> Any:
    """Return what two calls must have in common in one argument: constants on which code may branch, or the type."""
    return value if value is None or isinstance(value, bool | str) else type(value)


def record(model: nn.Module, blocks: Mapping[str, nn.Module], call: Call) -> dict[str, Recording]:
    """Run a network in eval mode and return what blocks were called with whose own code adds; nothing is changed.

    Args:
        model: the network.
        blocks: the blocks, by name.
        call: the example inputs.

    Raises:
        SiteError: if the network raised.
    """
    found = {name: Recording() for name in blocks}
    by_block = {id(block): found[name] for name, block in blocks.items()}
    with undisturbed(model), ExitStack() as stack:
        for name, block in blocks.items():
            stack.enter_context(_shadowed(block, found[name]))
        with _Additions(by_block):
            call.run(in_mode(model, False))
    return found


@contextmanager
def _shadowed(block: nn.Module, recording: Recording) -> Iterator[None]:
    original = block.forward

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        with recording.note(args, kwargs):
            return original(*args, **kwargs)

    block.__dict__["forward"] = forward
    try:
        yield
    finally:
        block.__dict__.pop("forward", None)


class _Additions(TorchFunctionMode):
    """Tells the recordings of blocks of the additions in their own code."""

    def __init__(self, recordings: Mapping[int, Recording]) -> None:
        super().__init__()
        self._recordings = recordings

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _ADDITIONS and all(isinstance(arg, Tensor) for arg in args[:2]):
            recording = self._recordings.get(id(_running(inspect.currentframe())))
            if recording is not None:
                recording.added(args[:2])
        return func(*args, **(kwargs or {}))


def _running(frame: FrameType | None) -> Any:
    """Return the module whose code a frame is called from."""
    while frame is not None and not isinstance(frame.f_locals.get("self"), nn.Module):
        frame = frame.f_back
    return frame and frame.f_locals["self"]


@dataclass(frozen=True)
class Outcome:
    """What a call of a block leaves behind.

    Attributes:
        output: the tensors that it returns, by place.
        inputs: the tensors that it was given, as they are afterwards.
    """

    output: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]

    def same(self, other: Outcome) -> bool:
        """Return whether two outcomes are equal bit by bit (NaN equals NaN)."""
        return _same(self.output, other.output) and _same(self.inputs, other.inputs)


def outcome(block: nn.Module, call: Call, *, training: bool) -> Outcome | None:
    """Run a block alone, with fixed random numbers; None where it raises. Nothing is changed.

    Hooks do not run: what was recorded has been through them.
    """
    with undisturbed(block, training=training):
        given = copied(call)
        try:
            in_mode(block, training)
            output = block.forward(*given.args, **given.kwargs)
        except Exception:
            return None
        return Outcome(tensors_in(output), tensors_in([*given.args, given.kwargs]))


def copied(call: Call) -> Call:
    """Return a call whose arguments a block may change.

    Raises:
        SiteError: if the arguments cannot be copied.
    """
    try:
        with torch.no_grad():
            return copy.deepcopy(call)
    except Exception as error:
        raise SiteError(f"its arguments cannot be copied: {type(error).__name__}") from error


def _few(call: Call) -> tuple[Call, tuple[int, int] | None]:
    """Return a copy of the arguments, cut to a few samples where they are large and all share their batch."""
    tensors = [value for value in (*call.args, *call.kwargs.values()) if isinstance(value, Tensor)]
    sizes = {tensor.shape[0] if tensor.dim() > 1 else 0 for tensor in tensors}
    batch = sizes.pop() if len(sizes) == 1 else 0
    if batch <= _FEW or max(tensor.numel() for tensor in tensors) <= _MOST_ELEMENTS:
        return copied(call), None
    return copied(call.map(lambda tensor: tensor[:_FEW])), (_FEW, batch)


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal bit by bit (NaN equals NaN)."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
