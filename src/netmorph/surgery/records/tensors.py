"""A network's state as plain tensors, and back, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from netmorph.errors import NetmorphError
from netmorph.surgery.edit.memory_format import _FORMATS, memory_format_of

_DTYPES = frozenset(dtype for dtype in safetensors.torch._TYPES.values() if dtype is not None)


@dataclass
class Packed:
    """A state dict as safetensors can hold it.

    Attributes:
        tensors: contiguous, on the CPU, none sharing memory with another.
        tied: names whose tensor is another name's.
        channels_last: names of the tensors that lie channels-last in memory.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    channels_last: list[str] = field(default_factory=list)


def pack(model: nn.Module) -> Packed:
    """Return the state of a network.

    Raises:
        NetmorphError: if an entry is not a plain tensor, holds no numbers, or has a dtype that files cannot hold.
    """
    packed = Packed()
    seen: dict[tuple[object, ...], str] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, UninitializedBuffer | UninitializedParameter):
            raise NetmorphError(
                f"{name!r} of the network's state has no shape yet",
                shapes=type(value).__name__,
                remedies=["run the network once, so that its lazy layers get their sizes"],
            )
        if not isinstance(value, Tensor) or value.is_meta or value.layout != torch.strided or value.is_nested:
            raise NetmorphError(
                f"{name!r} of the network's state is not a plain tensor",
                shapes=type(value).__name__,
                remedies=["save networks without extra state, quantised or sparse tensors, on a real device"],
            )
        if value.dtype not in _DTYPES:
            raise NetmorphError(
                f"{name!r} of the network's state has a dtype that safetensors cannot hold",
                shapes=str(value.dtype),
                remedies=["cast it before saving, a complex one to complex64"],
            )
        place = (value.device, value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
        if value.numel() and place in seen:
            packed.tied[name] = seen[place]
            continue
        seen[place] = name
        if memory_format_of(value) is not torch.contiguous_format:
            packed.channels_last.append(name)
        packed.tensors[name] = value.detach().to("cpu", copy=True).contiguous()
    return packed


def check_real(model: nn.Module) -> None:
    """Raise if a network has no memory for weights.

    Raises:
        NetmorphError: if the network is on the meta device, or lazy layers have no shape yet.
    """
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if isinstance(tensor, UninitializedBuffer | UninitializedParameter):
            raise NetmorphError(
                f"{name!r} of the network to load into has no shape yet",
                shapes=type(tensor).__name__,
                remedies=["run the network once, so that its lazy layers get their sizes"],
            )
        if tensor.is_meta:
            raise NetmorphError(
                f"{name!r} of the network to load into is on the meta device, which has no values",
                remedies=["build the network on a real device"],
            )


def check_fits(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Compare names, shapes and kinds of numbers with the state of a network; either may be on no device.

    Raises:
        NetmorphError: if they differ from those of the network.
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or extra:
        raise NetmorphError(
            "the weights are not those of this network",
            shapes=f"missing {missing[:3]}, superfluous {extra[:3]}, of {len(own)} tensors",
            remedies=["load into the original parent"],
        )
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape or _kind(own[name].dtype) != _kind(tensor.dtype):
            told = [f"{tuple(each.shape)} {str(each.dtype).removeprefix('torch.')}" for each in (tensor, own[name])]
            raise NetmorphError(
                f"the weight {name!r} does not fit this network",
                shapes=f"checkpoint {told[0]}, network {told[1]}",
                remedies=["load into the original parent"],
            )


def check_ties(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Compare what a network holds under several names with tensors that fit it.

    Raises:
        NetmorphError: if tensors differ that the network shares.
    """
    first: dict[int, str] = {}
    for name, place in _places(model):
        other = first.setdefault(id(place), name)
        if other != name and {name, other} <= tensors.keys() and not same_bits(tensors[name], tensors[other]):
            raise NetmorphError(
                f"{other!r} and {name!r} are one tensor in this network and two in the checkpoint",
                remedies=["untie them in the network to load into, as they were in the one that was saved"],
            )


def _places(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what a network's state lies in, shared tensors under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _kind(dtype: torch.dtype) -> str:
    """Return what two dtypes have in common between which numbers can be moved."""
    if dtype.is_complex:
        return "complex"
    if not dtype.is_floating_point:
        return "truth value" if dtype is torch.bool else "integer"
    return "float" if dtype.itemsize > 1 else "float8"


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two plain tensors hold the same bits, so that a NaN is what it is and -0 is not 0."""
    alike = (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
    return alike and torch.equal(*(each.detach().reshape(-1).contiguous().view(torch.uint8) for each in (one, other)))


def fill(model: nn.Module, tensors: Mapping[str, Tensor], channels_last: Sequence[str]) -> None:
    """Load tensors that fit a network into it; it takes on their dtypes and memory formats."""
    formats = set(channels_last)
    for name, place in _places(model):
        if name in tensors:
            wanted = _FORMATS.get(place.dim(), torch.contiguous_format) if name in formats else torch.contiguous_format
            place.data = torch.empty_like(place.data, dtype=tensors[name].dtype, memory_format=wanted)
    model.load_state_dict(tensors)
