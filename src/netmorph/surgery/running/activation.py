"""A network's own activation, which `act="auto"` gives to new blobs: heard while the network runs, layer by layer.

Functions count as modules do. A handwritten module such as Hugging Face's `NewGELUActivation` is known by its values.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import ReferenceType, ref

import torch
from torch import nn

from netmorph.nn.activations import build_activation, name_of, written
from netmorph.surgery.running.call import undisturbed
from netmorph.surgery.running.cost import Counter

_ATEN = torch.ops.aten
_KINDS = {
    _ATEN._prelu_kernel: "relu",
    _ATEN.celu: "celu",
    _ATEN.celu_: "celu",
    _ATEN.elu: "elu",
    _ATEN.elu_: "elu",
    _ATEN.gelu: "gelu",
    _ATEN.gelu_: "gelu",
    _ATEN.hardsigmoid: "hardsigmoid",
    _ATEN.hardswish: "hardswish",
    _ATEN.hardswish_: "hardswish",
    _ATEN.hardtanh: "hardtanh",
    _ATEN.hardtanh_: "hardtanh",
    _ATEN.leaky_relu: "leakyrelu",
    _ATEN.leaky_relu_: "leakyrelu",
    _ATEN.mish: "mish",
    _ATEN.mish_: "mish",
    _ATEN.relu: "relu",
    _ATEN.relu_: "relu",
    _ATEN.rrelu_with_noise: "rrelu",
    _ATEN.rrelu_with_noise_: "rrelu",
    _ATEN.sigmoid: "sigmoid",
    _ATEN.silu: "silu",
    _ATEN.silu_: "silu",
    _ATEN.softplus: "softplus",
    _ATEN.tanh: "tanh",
}
_GATES = ("hardsigmoid", "sigmoid", "softplus", "tanh")  # more often gates and outputs than between layers
_GATED = {"sigmoid": "silu", "hardsigmoid": "hardswish"}  # what they are times their own input
_WELL_KNOWN = ("relu", "gelu", "gelu(approximate=tanh)", "silu", "hardswish", "relu6", "elu", "selu", "mish")
_WORDS = (*_WELL_KNOWN, "swish")
_EQUAL, _NEAR = 1e-4, 0.05  # largest difference from -4 to 4: of the same function, and of one that is its like


@dataclass
class Heard:
    """The activations of one run.

    Attributes:
        tally: how often each was called; gates and outputs (sigmoid, tanh) too.
        after: by name of a layer, the first between it and the next layer with weights.
        before: by name of a layer, the last between it and the layer with weights before it.
    """

    tally: Tally[str] = field(default_factory=Tally)
    after: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    _waiting: set[str] = field(default_factory=set)
    _last: str | None = None

    def layer(self, name: str, layer: nn.Module) -> None:
        """Take in the call of a layer."""
        if self._last is not None:
            self.before.setdefault(name, self._last)
        if any(True for _ in layer.parameters()):
            self._waiting.clear()
            self._last = None
        self._waiting.add(name)

    def activation(self, act: str) -> None:
        """Take in the call of an activation."""
        self.tally[act] += 1
        if act.partition("(")[0] in _GATES:
            return
        for name in self._waiting:
            self.after.setdefault(name, act)
        self._waiting.clear()
        self._last = act

    def beside(self, name: str) -> str | None:
        """Return the activation after a layer or morphed module, else that before it, or None."""
        for heard in (self.after, self.before):
            for other, act in heard.items():
                if other == name or other.startswith(f"{name}.edges."):
                    return act
        return None


class Listener(Counter):  # type: ignore[no-untyped-call]
    """Counts MACs as `Counter` does, and records the activations that are called.

    Attributes:
        heard: so far.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.heard = Heard()
        self._gate: tuple[str, ReferenceType[Any], ReferenceType[Any]] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet: Any = getattr(func, "overloadpacket", None)
        kind = _KINDS.get(packet)
        if kind is not None:
            names = (argument.name for argument in func._schema.arguments)
            self.heard.activation(_written(kind, dict(zip(names, args, strict=False)) | (kwargs or {})))
        elif packet is _ATEN._transformer_encoder_layer_fwd:
            self.heard.activation("gelu" if args[7] else "relu")
        elif packet is _ATEN.mul and self._gate and {*map(id, args)} == {id(each()) for each in self._gate[1:]}:
            self.heard.activation(self._gate[0])
        output = super().__torch_dispatch__(func, types, args, kwargs)
        if kind in _GATED:
            self._gate = _GATED[kind], ref(args[0]), ref(output)
        return output


def own_activation(model: nn.Module, heard: Heard, name: str) -> tuple[str, str | None]:
    """Return the activation that `act="auto"` means at a place, as `phi_name` writes it, and what to say about it.

    That which follows the place in the run, else precedes it, else the network's commonest; ReLU where none is known.

    Args:
        model: the network.
        heard: its run.
        name: of the layer or morphed module.
    """
    own = heard.beside(name) or _commonest((act, n) for act, n in heard.tally.items() if not _is_gate(act))
    if own is not None:
        return own, None
    for module in model.modules():
        found = _handwritten(module)
        if found is not None:
            act, gap = found
            like = f"the network's {type(module).__name__} is not an activation of torch.nn: new ones are like {act}"
            return act, like if gap > _EQUAL else None
    gate = _commonest(heard.tally.items())
    if gate is not None:
        return gate, f"{gate} is the only activation that was seen in the network: new ones are {gate}"
    return "relu", "no activation was seen in the network: new ones are ReLU (act= names another)"


def _commonest(tally: Iterable[tuple[str, int]]) -> str | None:
    return max(tally, key=lambda each: each[1], default=(None, 0))[0]


def _is_gate(act: str) -> bool:
    return act.partition("(")[0] in _GATES


def _written(kind: str, given: dict[str, Any]) -> str:
    if kind == "elu" and given.get("scale", 1) != 1:
        return "selu"
    if kind == "hardtanh" and (given.get("min_val"), given.get("max_val")) == (0, 6):
        return "relu6"
    return written(kind, given)


def _handwritten(module: nn.Module) -> tuple[str, float] | None:
    """Return the activation that a module without parameters is like, and the largest difference; None of others."""
    named = any(word.partition("(")[0] in type(module).__name__.lower() for word in _WORDS)
    if not named or name_of(module) is not None or any(True for _ in (*module.parameters(), *module.buffers())):
        return None
    x = torch.linspace(-4, 4, 257, device="cpu")
    try:
        with undisturbed(module):
            y = module.eval()(x)
            gaps = {act: float((y - _phi(act)(x)).abs().max()) for act in _WELL_KNOWN}
    except Exception:  # whatever a module's own code raises: it is not an activation, then
        return None
    act = min(gaps, key=lambda each: gaps[each])
    return (act, gaps[act]) if gaps[act] <= _NEAR else None


def _phi(act: str) -> nn.Module:
    made = build_activation(act, 1, 1)
    assert made is not None
    with torch.no_grad():
        made.get_parameter("weight").zero_()  # phi itself (eq. 8)
    return made
