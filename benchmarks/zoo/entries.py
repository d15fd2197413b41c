"""What a suite is: named models, each with its ways to be built, the smallest input first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.zoo.cheap_noise import CheapNoise
from benchmarks.zoo.check import is_memory
from benchmarks.zoo.weights import randomise
from torch import nn

from netmorph.surgery.running.call import Call, describe, reason, undisturbed
from netmorph.surgery.running.outputs import tensors_in


@dataclass(frozen=True)
class Way:
    """One way to build a model.

    Attributes:
        arguments: keyword arguments of its constructor.
        inputs: draws its example inputs.
    """

    arguments: dict[str, Any]
    inputs: Callable[[], Any]


@dataclass(frozen=True)
class Entry:
    """A model of the zoo.

    Attributes:
        name: of the model.
        group: its part of the suite, for the table.
        build: takes keyword arguments, returns the model with random weights.
        ways: to try, the smallest input first.
        double: whether to compare in float64: for models whose outputs jump with a rounding (lists of boxes).
    """

    name: str
    group: str
    build: Callable[..., nn.Module]
    ways: Iterable[Way]
    double: bool = False


class NotBuilt(Exception):  # noqa: N818 - an outcome rather than an error
    """No way to build the model, or to run it, worked."""


def noise(*shape: int) -> torch.Tensor:
    """Return a fixed normal input."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def open_entry(entry: Entry) -> tuple[nn.Module, Call, str]:
    """Return model, call and a description of the input: the first way that builds and runs in eval mode.

    Raises:
        NotBuilt: none does; says why the last did not.
    """
    why = "no way given"
    built: tuple[dict[str, Any], nn.Module] | None = None
    for way in entry.ways:
        try:
            torch.manual_seed(0)
            if built is None or built[0] != way.arguments:
                built = None
                with CheapNoise():
                    model = entry.build(**way.arguments)
                model = randomise(model).eval()
                built = (way.arguments, model.double() if entry.double else model)
            model = built[1]
            call = Call.of(way.inputs())
            call = call.map(lambda x: x.double() if entry.double and x.is_floating_point() else x)
            with undisturbed(model):
                outputs = tensors_in(call.run(model))
        except Exception as error:
            if is_memory(error):
                raise
            why = reason(error)
            continue
        if not all(bool(value.isfinite().all()) for value in outputs.values()):
            why = "its outputs are not finite"
            continue
        return model, call, describe(call) + (f" {way.arguments}" if way.arguments else "")
    raise NotBuilt(why)
