"""Follow what a layer computes through a running network, up to the one layer that reads it (beyond the paper).

The network runs on the example, whatever its code; every PyTorch function that meets the layer's output is seen. No
function is believed by its name: one that keeps channels apart gives for copied channels copies of what it gives
(`apart`). A name only helps to say what a function does instead. The exception is dropout in train mode, whose random
numbers cannot be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netmorph.errors import SiteError
from netmorph.nn import MorphedModule
from netmorph.solver.target import spec_of
from netmorph.surgery.edit.channels import channels_of, with_channels
from netmorph.surgery.growth.channel_positions import Lanes
from netmorph.surgery.growth.separate_channels import Function, lanes_after
from netmorph.surgery.growth.tensor_steps import HERE, Step, apply, emptied, in_double, tensors_of
from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.sites.layers import BASES

_DOES = {
    "channel_shuffle": "it reorders the channels",
    "cumsum": "it accumulates over channels",
    "dropout": "it draws random numbers",
    "flip": "it reorders the channels",
    "glu": "it multiplies one half of the channels by the other",
    "group_norm": "it normalises groups of channels together",
    "gumbel_softmax": "it divides by a sum over channels",
    "layer_norm": "it normalises channels together",
    "local_response_norm": "it divides each channel by a sum over its neighbours",
    "log_softmax": "it subtracts a sum over channels",
    "mean": "it takes the mean of the channels",
    "native_channel_shuffle": "it reorders the channels",
    "normalize": "it divides by a norm over channels",
    "pixel_shuffle": "it converts channels to pixels",
    "rms_norm": "it normalises channels together",
    "roll": "it reorders the channels",
    "softmax": "it divides by a sum over channels",
    "softmin": "it divides by a sum over channels",
    "sum": "it sums over the channels",
}
_DROPOUT = {
    *("dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "rrelu"),
    *("alpha_dropout", "feature_alpha_dropout", "dropout_", "alpha_dropout_", "feature_alpha_dropout_", "rrelu_"),
}
_LEAVING = {"tolist", "item", "numpy", "__array__", "__float__", "__int__", "__bool__", "equal", "allclose"}


@dataclass
class Trail:
    """What becomes of a layer's output in one call of it.

    Attributes:
        entered: what the layer read.
        lanes: where the channels are in the tensor reached so far.
        steps: what happened to it, the reader last.
        reader: name of the convolution or linear layer that reads it; "" until it is reached.
        why: why it cannot be followed; "" where it can.
        left: functions by which numbers left PyTorch, where nothing can be followed (`tolist`).
    """

    entered: Tensor
    lanes: Lanes
    steps: list[Step] = field(default_factory=list)
    reader: str = ""
    why: str = ""
    left: set[str] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        """Names of the modules on the way, the reader last."""
        return [step.name for step in self.steps if step.name]


def follow(
    model: nn.Module,
    call: Call,
    site: str,
    index: Tensor | None,
    *,
    new: Tensor | None = None,
    train: bool = False,
) -> list[Trail]:
    """Run a network and return what becomes of a layer's output, one trail for each call of the layer.

    Args:
        model: the network; it is left as it is.
        call: example inputs.
        site: name of the layer.
        index: which channel each of the wider layer's channels will copy; what keeps channels apart is proved for it.
            None: modules are taken note of, functions are not put to the test.
        new: which of the wider layer's channels are no copies: what becomes of the others must not depend on them.
        train: run in train mode (no trails where the model raises there), else in eval mode.

    Raises:
        SiteError: if the model raised in eval mode.
    """
    watcher = _Watcher(site, index, new, model.get_submodule(site), train=train)
    leaves = dict(_leaves(model, ""))
    with undisturbed(model, training=train), _shadowed(leaves, watcher), watcher:
        try:
            output = call.run(in_mode(model, train))
        except SiteError:
            if train:
                return []
            raise
    watcher.close(output)
    return watcher.trails


class _Watcher(TorchFunctionMode):
    """Sees every function that is called outside the leaves.

    Attributes:
        trails: one for each call of the layer.
        elsewhere: names of leaves that read something else than the layer's output.
    """

    def __init__(self, site: str, index: Tensor | None, new: Tensor | None, layer: nn.Module, *, train: bool) -> None:
        super().__init__()
        self.site, self.index, self.new, self.spec, self.train = site, index, new, spec_of(layer), train
        self.trails: list[Trail] = []
        self.elsewhere: set[str] = set()
        self.busy = False
        self._now: dict[int, tuple[Tensor, Trail]] = {}
        self._spent: dict[int, tuple[Tensor, Trail, str]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function and note what it does to the layer's output."""
        kwargs = kwargs or {}
        met = [] if self.busy else self._met((args, kwargs))
        if not met:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        here = {id(tensor): HERE for tensor in met}
        x = met[0] if self.index is None else met[0].detach().clone()  # a function may work in place
        step = Step("", func, emptied(args, here), {key: emptied(value, here) for key, value in kwargs.items()})
        result = func(*args, **kwargs)
        if name != "__setitem__" and not any(True for _ in tensors_of(result)):
            if name in _LEAVING:
                for tensor in met:
                    self._trail_of(tensor).left.add(name)
            return result  # a size, say
        trail = self._use(met, name)
        if trail is None:
            return result
        if not isinstance(result, Tensor):
            trail.why = f"{name} does not return one tensor"
        elif self.index is not None and not (self.train and name in _DROPOUT and result.shape == x.shape):
            lanes = _after(step, x, trail.lanes, self.index, self.new)
            if isinstance(lanes, str):
                trail.why = f"{name} {lanes}" + (f": {_DOES[name]}" if name in _DOES else "")
            else:
                trail.lanes = lanes
        if not trail.why:
            trail.steps.append(step)
            self._go_on(result, trail)
        return result

    def leaf(self, name: str, module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        """Note a call of a leaf."""
        met = self._met(args)
        if name == self.site:
            before = self._use(met, f"{name!r}")
            if before is not None:
                before.why = "the layer reads its own output"
            lanes = Lanes(result.dim(), result.dim() - 1 - self.spec.dims, self.spec.c_out)
            self.trails.append(Trail(args[0].detach().clone(), lanes))
            self._go_on(result, self.trails[-1])
            return
        if not met:
            self.elsewhere.add(name)
            return
        trail = self._use(met, f"{name!r}")
        if trail is None:
            return
        trail.why = _refused(name, module, args, trail.lanes, self.index, self.new)
        if trail.why:
            return
        trail.steps.append(Step(name))
        if _reads(module):
            trail.reader = name
        else:
            self._go_on(result, trail)

    def close(self, output: Any) -> None:
        """Say of the trails that ended nowhere where they got lost."""
        leaving = {id(tensor) for tensor in tensors_of(output)}
        for key, (_, trail) in self._now.items():
            if not trail.why:
                trail.why = "the network returns it" if key in leaving else "no layer that netmorph can follow reads it"
        for trail in self.trails:
            others = sorted(self.elsewhere.intersection(trail.names))
            if others and not trail.why:
                trail.why = f"{others[0]!r} reads something else as well"

    def _met(self, values: Any) -> list[Tensor]:
        found = {id(t): t for t in tensors_of(values) if id(t) in self._now or id(t) in self._spent}
        return list(found.values())

    def _trail_of(self, tensor: Tensor) -> Trail:
        return self._now[id(tensor)][1] if id(tensor) in self._now else self._spent[id(tensor)][1]

    def _go_on(self, result: Tensor, trail: Trail) -> None:
        self._spent.pop(id(result), None)
        self._now[id(result)] = (result, trail)

    def _use(self, met: list[Tensor], by: str) -> Trail | None:
        """Take tensors off their trails; return the trail if it goes on, else None."""
        first: Trail | None = None
        for tensor in met:
            key = id(tensor)
            if key in self._spent:
                _, trail, other = self._spent[key]
                trail.why = trail.why or f"it is read twice, by {other} and by {by}"
                continue
            trail = self._now.pop(key)[1]
            self._spent[key] = (tensor, trail, by)
            if first is not None:
                trail.why = first.why = f"{by} combines two of its outputs"
            first = trail
        return first if first is not None and not first.why else None


def _after(step: Step, x: Tensor, lanes: Lanes, index: Tensor, new: Tensor | None) -> Lanes | str:
    """Return where the channels are after a function that reads `x`, or why it does not keep them apart."""
    plain = partial(apply, step.func, step.args, step.kwargs)

    def exact() -> tuple[Function, Function]:
        function = partial(apply, step.func, in_double(step.args), in_double(step.kwargs))
        return function, function

    return _tried(exact, (plain, plain), x, lanes, index, new)


def _tried(
    exact: Callable[[], tuple[Function, Function]],
    plain: tuple[Function, Function],
    x: Tensor,
    lanes: Lanes,
    index: Tensor,
    new: Tensor | None,
) -> Lanes | str:
    """Return what `lanes_after` says of a function of `x` in float64, or in the dtype of `x` if it runs in that only.

    Args:
        exact: makes the function in float64, of narrow and of wide inputs.
        plain: the function as it is, likewise.
        x: what it reads in the example.
        lanes: where the channels are in that.
        index: for each channel of the wider layer, the one that it copies.
        new: which channels of the wider layer are no copies.
    """
    found = None
    with suppress(TypeError):  # a device without float64
        found = lanes_after(*exact(), [in_double(x)], [lanes], index, new)
    if found is None:
        found = lanes_after(*plain, [x], [lanes], index, new)
    return "does not run a second time" if found is None else found


def _refused(
    name: str, module: nn.Module, args: tuple[Any, ...], lanes: Lanes, index: Tensor | None, new: Tensor | None
) -> str:
    """Return why a leaf cannot be on the way, or ""."""
    if isinstance(module, MorphedModule):
        return f"it enters the morphed module {name!r}, whose source cannot be widened"
    if index is None:
        return ""
    if not lanes.fit(module):
        return f"{name!r} does not read its channels as channels"
    if isinstance(module, BASES) or type(module).__module__.startswith("torch.nn."):
        return ""
    narrow, wide = (_alone(module, each) for each in (torch.arange(lanes.channels), index))

    def exact() -> tuple[Function, Function]:
        return copy.deepcopy(narrow).double(), copy.deepcopy(wide).double()

    found = _tried(exact, (narrow, wide), args[0].detach(), lanes, index, new)
    return f"{name!r} {found}" if isinstance(found, str) else ""


def _alone(module: nn.Module, index: Tensor) -> nn.Module:
    """Return a copy of a leaf with channel `index[i]` as channel i, which nobody watches."""
    made = with_channels(module, index)
    made.__dict__.pop("forward", None)
    return copy.deepcopy(made)


def _reads(module: nn.Module) -> bool:
    """Return whether a leaf mixes the channels that it reads: no norm, no activation, no depthwise convolution."""
    if not isinstance(module, BASES):
        return False
    spec = spec_of(module)
    return not (spec.groups > 1 and spec.groups == spec.c_in == spec.c_out)


def _leaves(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that are taken as one operation: layers, what holds a parameter a channel, morphed modules."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    if isinstance(module, (*BASES, MorphedModule)) or channels_of(module) is not None:
        yield name, module
        return
    for key, child in module.named_children():
        yield from _leaves(child, f"{name}.{key}".lstrip("."))


@contextmanager
def _shadowed(leaves: Mapping[str, nn.Module], watcher: _Watcher) -> Iterator[None]:
    """Tell the watcher of every call of a leaf, and of nothing inside, within a block that is `undisturbed`."""
    for name, module in leaves.items():
        module.__dict__["forward"] = _shadow(name, module, watcher)
    try:
        yield
    finally:
        for module in leaves.values():
            module.__dict__.pop("forward", None)


def _shadow(name: str, module: nn.Module, watcher: _Watcher) -> Any:
    original = module.forward

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if watcher.busy:  # a module of two names is shadowed twice
            return original(*args, **kwargs)
        watcher.busy = True
        try:
            result = original(*args, **kwargs)
        finally:
            watcher.busy = False
        watcher.leaf(name, module, (*args, *kwargs.values()), result)
        return result

    return forward
