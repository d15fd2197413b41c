"""What a model costs: parameters, buffers and multiply-accumulates (MACs) of one call."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.running.wrappers import check_network

_ATEN = torch.ops.aten
_CONVOLUTIONS = (_ATEN.convolution, _ATEN._convolution, _ATEN.convolution_overrideable)
_FUSED = (_ATEN._transformer_encoder_layer_fwd, _ATEN._native_multi_head_attention)


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Attributes:
        params: number of parameters; tied ones are counted once.
        buffers: number of elements of its buffers.
        macs: multiply-accumulates of the convolutions and linear layers of one whole call, in eval mode.
    """

    params: int
    buffers: int
    macs: int

    def to_dict(self) -> dict[str, int]:
        """Return the three numbers by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.params:,} parameters, {self.macs:,} MACs"


@dataclass(frozen=True)
class CostChange:
    """The cost of parent and child.

    Attributes:
        before: cost of the parent.
        after: cost of the child.
    """

    before: Cost
    after: Cost

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return both costs by name."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"parameters {self.before.params:,} -> {self.after.params:,}, "
            f"MACs {self.before.macs:,} -> {self.after.macs:,}"
        )


def cost(model: nn.Module, example_inputs: Any) -> Cost:
    """Count a model's parameters, buffers and the MACs of one call.

    MACs of convolutions (also transposed ones) and of products with a weight matrix are counted, wherever they are
    called: a layer that runs twice counts twice, and functional convolutions count as well. Batched products count if
    one factor is a parameter (grouped linear layers), but not if both are activations (attention scores). Operations
    inside `torch.cond` and similar functions are not counted. The model is not changed.

    Args:
        model: any network.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.

    Raises:
        SiteError: if the model raised on the example.
    """
    check_network(model)
    counter = Counter(model)
    with undisturbed(model), counter:
        Call.of(example_inputs).run(in_mode(model, False))
    return sized(model, counter.macs)


def sized(model: nn.Module, macs: int) -> Cost:
    """Return the cost of a model whose MACs have been counted."""
    params = sum(p.numel() for p in model.parameters())
    return Cost(params, sum(b.numel() for b in model.buffers()), macs)


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts MACs of the operations that convolutions and linear layers come down to.

    Attributes:
        macs: of what ran within its block so far.
        dtypes: in which that was computed; autocast makes them others than the weights'.
    """

    supports_higher_order_operators = True  # torch.cond, flex_attention

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.dtypes: set[torch.dtype] = set()
        plain = (p for p in model.parameters() if not isinstance(p, nn.UninitializedParameter))
        self._weights = {_memory(parameter) for parameter in plain if type(parameter.data) is Tensor}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(func, torch._ops.HigherOrderOperator):  # what it ran within itself is not seen
            return output
        macs = self._macs(func.overloadpacket, args, output)
        if macs is not None:
            self.macs += macs
            self.dtypes.add(args[0].dtype)
        return output

    def _macs(self, packet: Any, args: Any, output: Any) -> int | None:
        """Return the MACs of an operation that is counted, else None."""
        if packet in _CONVOLUTIONS:
            x, weight, transposed = args[0], args[1], args[6]
            return int((x if transposed else output).numel() * math.prod(weight.shape[1:]))
        if packet is _ATEN.mm:
            return _product(args[0], args[1])
        if packet is _ATEN.addmm:
            return _product(args[1], args[2])
        if packet is _ATEN.bmm and not self._weights.isdisjoint(map(_memory, args)):
            return int(args[0].shape[0]) * _product(args[0][0], args[1][0])
        if packet in _FUSED:  # whole layers of a transformer; each of their matrices meets each token once
            tensors = [arg for arg in args if isinstance(arg, Tensor)]
            weights = [arg.numel() for arg in tensors[1:] if arg.dim() == 2 and _memory(arg) in self._weights]
            width = next(arg for arg in args if isinstance(arg, int))
            return tensors[0].numel() // width * sum(weights)
        return None


def _memory(tensor: Tensor) -> int:
    """Return what a tensor and its views have in common; a sparse one has no views to speak of."""
    if tensor.layout != torch.strided:
        return id(tensor)
    return int(tensor.untyped_storage()._cdata)


def _product(left: Tensor, right: Tensor) -> int:
    return int(left.shape[0] * left.shape[1] * right.shape[1])
