"""Watch chosen layers while the model runs: what reaches them, and who reads their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import SiteError
from netmorph.surgery.running.activation import Heard, Listener
from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.running.outputs import tensors_in

_MOST_ELEMENTS = 1 << 20
NOT_RUN = "no new module computes anything else in train mode"


@dataclass
class Seen:
    """What was seen of one layer.

    Attributes:
        calls: how often its forward ran in the recorded run (in eval mode; in train mode where eval never reaches it).
        input_shape: of the first call.
        output_shape: of the first call.
        dtype: of the first input.
        device: of the first input.
        channels: sizes of dimension 1 and of the last dimension over all calls.
        shapes: of the inputs over all calls.
        odd: what else than one tensor it was called with, in words.
        read: parameters that were read outside its own forward.
        recorded: the first input, or a part of it, where asked for.
        late: whether only the run in train mode reached it.
    """

    calls: int = 0
    input_shape: tuple[int, ...] | None = None
    output_shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None
    device: torch.device | None = None
    channels: set[tuple[int, int]] = field(default_factory=set)
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    odd: str | None = None
    read: set[str] = field(default_factory=set)
    recorded: Tensor | None = None
    late: bool = False
    depth: int = 0

    def note(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """Take in one call."""
        values = (*args, *kwargs.values())
        x = values[0] if values else None
        if len(values) != 1 or not isinstance(x, Tensor) or x.is_nested or not isinstance(output, Tensor):
            self.odd = "it is not called with a single tensor"
            return
        if torch._C._functorch.is_functorch_wrapped_tensor(x):
            self.odd = "it is called within a transform of torch.func (vmap, grad)"
            return
        self.channels.add((x.shape[1] if x.dim() > 1 else -1, x.shape[-1] if x.dim() else -1))
        self.shapes.add(tuple(x.shape))
        if not self.calls:
            self.input_shape, self.output_shape = tuple(x.shape), tuple(output.shape)
            self.dtype, self.device = x.dtype, x.device
        self.calls += 1


def few(x: Tensor, layer: nn.Module) -> Tensor:
    """Return a layer's input, of as many samples as keep it small (at least one)."""
    weight = layer._parameters.get("weight")
    batched = x.dim() > 1 and (weight is None or weight.dim() == 2 or weight.dim() == x.dim())
    if batched and x.numel() > _MOST_ELEMENTS:
        x = x[: max(1, _MOST_ELEMENTS * x.shape[0] // x.numel())]
    return x


Part = Callable[[Tensor, nn.Module], Tensor]


@dataclass(frozen=True)
class Run:
    """What a model returned on one call, in eval and in train mode, and what was seen of the watched layers.

    Attributes:
        outputs: in eval mode, by place (`outputs.tensors_in`).
        train: in train mode; None where it cannot be measured.
        note: why it cannot.
        seen: by name of the layer.
        macs: of the run in eval mode (`cost`), where they were counted.
        heard: the activations of the run in eval mode.
        dtypes: in which its layers computed then: autocast inside the model makes them others than the weights'.
    """

    outputs: Mapping[str, Tensor]
    train: Mapping[str, Tensor] | None
    note: str
    seen: Mapping[str, Seen]
    macs: int = 0
    heard: Heard = field(default_factory=Heard)
    dtypes: frozenset[torch.dtype] = frozenset()


def probe(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    call: Call,
    *,
    keep: bool = False,
    part: Part = few,
    train: bool = True,
) -> Run:
    """Run a model in eval mode, then in train mode, each with the same random numbers; nothing is changed.

    A model that raises in train mode (BatchNorm on a single value, detection models without targets) is watched as far
    as it gets.

    Args:
        model: the network that holds the layers.
        layers: the layers to watch, by name.
        call: the example inputs.
        keep: keep the first input of each layer.
        part: what of it to keep.
        train: run it in train mode too.

    Raises:
        SiteError: if the model raised in eval mode.
    """
    seen = {name: Seen() for name in layers}
    listener = Listener(model)
    with undisturbed(model), watched(layers, seen, keep, part, listener.heard), listener:
        outputs = tensors_in(call.run(in_mode(model, False)))
    late = {name: Seen() for name in layers}
    in_train, note = None, "" if train else NOT_RUN
    if train:
        with undisturbed(model, training=True), watched(layers, late, keep, part):
            try:
                in_train = tensors_in(call.run(in_mode(model, True)))
            except SiteError as error:
                note = error.what
    for name, record in late.items():
        read = seen[name].read | record.read
        if not seen[name].calls and seen[name].odd is None:
            seen[name] = record
            record.late = record.calls > 0
        seen[name].read = read
    return Run(outputs, in_train, note, seen, listener.macs, listener.heard, frozenset(listener.dtypes))


@contextmanager
def watched(
    layers: Mapping[str, nn.Module],
    seen: Mapping[str, Seen],
    keep: bool = False,
    part: Part = few,
    heard: Heard | None = None,
) -> Iterator[None]:
    """Watch layers within a block.

    Forwards are shadowed on the instances rather than hooked: PyTorch's transformer layers take another path where
    hooks are present, and on the usual one they read their children's weights.
    """
    shadows = []
    for name, layer in layers.items():
        parameters = layer._parameters
        layer.__dict__["forward"] = _shadow(name, layer, seen[name], part if keep else None, heard)
        layer.__dict__["_parameters"] = _Reads(parameters, seen[name])
        shadows.append((layer, parameters))
    try:
        yield
    finally:
        for layer, parameters in shadows:
            layer.__dict__.pop("forward", None)
            layer.__dict__["_parameters"] = parameters


class _Reads(dict[str, Any]):
    """A layer's parameters, which note who asks for them from outside the layer's forward."""

    def __init__(self, parameters: Mapping[str, Any], seen: Seen) -> None:
        super().__init__(parameters)
        self._seen = seen

    def __getitem__(self, key: str) -> Any:
        if not self._seen.depth:
            self._seen.read.add(key)
        return super().__getitem__(key)


def _shadow(name: str, layer: nn.Module, seen: Seen, part: Part | None, heard: Heard | None) -> Any:
    original = layer.forward

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.depth += 1
        if heard is not None:
            heard.layer(name, layer)
        try:
            output = original(*args, **kwargs)
            seen.note(args, kwargs, output)
            empty = seen.recorded is None or not seen.recorded.numel()
            if part is not None and empty and seen.odd is None:
                seen.recorded = part([*args, *kwargs.values()][0], layer).detach().clone()
        finally:
            seen.depth -= 1
        return output

    return forward
