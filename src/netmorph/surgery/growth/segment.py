"""A stretch of a network, from a layer to the one that reads it, and the difference between two such stretches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from netmorph.errors import ParityError
from netmorph.filters.geometry import ConvSpec
from netmorph.surgery.growth.tensor_steps import Step
from netmorph.surgery.parity.site import Measured, SiteParity, tolerance_of
from netmorph.surgery.running.call import undisturbed
from netmorph.surgery.running.outputs import largest, largest_gap


@dataclass(frozen=True)
class Segment:
    """A layer, what is done to its output, and the layer that reads that.

    Attributes:
        start: name of the first layer.
        steps: what is done, the reader last.
        modules: by name, those at the start and in the steps.
    """

    start: str
    steps: Sequence[Step]
    modules: Mapping[str, nn.Module]

    def run(self, x: Tensor, *, train: bool = False) -> Tensor:
        """Return what the reader returns for the first layer's input `x`."""
        for module in self.modules.values():
            module.train(train)
        y: Tensor = self.modules[self.start](x)
        for step in self.steps:
            y = step(y, self.modules)
        return y

    @torch.no_grad()
    def take_statistics(self, x: Tensor, new: Tensor) -> None:
        """Give the new channels of BatchNorms on the way the statistics that they have on the first layer's input `x`.

        Args:
            x: input of the first layer.
            new: which channels are new.
        """
        with undisturbed(*self.modules.values()):
            for module in self.modules.values():
                module.train(False)
            y: Tensor = self.modules[self.start](x)
            taken = []
            for step in self.steps:
                norm = self.modules.get(step.name)
                if isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None:
                    rows = y.detach().movedim(1, 0).flatten(1)
                    mean, var = rows.mean(1), rows.var(1, correction=int(rows.shape[1] > 1))
                    taken.append((norm.running_mean, mean.clone()))
                    taken.append((norm.running_var, torch.where(var > 0, var, norm.running_var)))
                    _take(taken[-2:], new)
                y = step(y, self.modules)
        _take(taken, new)  # running them has put all back


def _take(statistics: Sequence[tuple[Tensor, Tensor]], new: Tensor) -> None:
    for buffer, measured in statistics:
        here = new.to(buffer.device)
        buffer[here] = measured.to(buffer)[here]


def segment_parity(before: Segment, after: Segment, recorded: Tensor, spec: ConvSpec, *, check: bool) -> SiteParity:
    """Measure the difference between two segments at the reader's output, in the layers' own dtype.

    On the recorded input and, where what lies between takes it, on one of a second size, else on other numbers.

    Args:
        before: the present segment.
        after: the segment that is to replace it.
        recorded: an input of the first layer.
        spec: geometry of the first layer before.
        check: raise an error if the difference is above the tolerance.

    Raises:
        ParityError: if the difference is above the tolerance, or the present output is not finite.
    """
    with undisturbed(*before.modules.values(), *after.modules.values()):
        measured = tuple(_measure(before, after, *each) for each in _inputs(before, recorded, spec))
    dtype = next(before.modules[before.start].parameters()).dtype
    result = SiteParity(before.start, dtype, tolerance_of(dtype), measured)
    if check and not result.exact:
        raise ParityError(
            "the layer that reads the wider one computes something else than before",
            site=before.start,
            shapes=f"relative to the output's maximum: {'; '.join(map(str, measured))}; "
            f"tolerance {result.tolerance:.3g} in {str(dtype).removeprefix('torch.')}",
            remedies=["widen in float64 (model.double()) and cast back", "pass a smaller noise="],
        )
    return result


def _measure(before: Segment, after: Segment, source: str, x: Tensor) -> Measured:
    y = before.run(x)
    if not y.isfinite().all():
        raise ParityError(
            "the present output is not finite: nothing can be compared with it",
            site=before.start,
            remedies=["check for NaN or inf in the example inputs and in the network's weights"],
        )
    scale = largest(y) or 1.0
    gap = largest_gap(y, after.run(x))
    train: float | None = None
    with suppress(ValueError):  # BatchNorm refuses a single value
        train = largest_gap(before.run(x, train=True), after.run(x, train=True)) / scale
    return Measured(tuple(x.shape), source, gap / scale, None, gap, train)


def _inputs(segment: Segment, recorded: Tensor, spec: ConvSpec) -> Iterator[tuple[str, Tensor]]:
    yield "recorded", recorded
    generator = torch.Generator().manual_seed(0)
    scale = float(recorded.double().std()) if recorded.numel() > 1 else 1.0

    def draw(shape: Sequence[int]) -> Tensor:
        drawn = torch.randn(tuple(shape), generator=generator, dtype=torch.float64, device="cpu")
        return (drawn * (scale or 1.0)).to(recorded)

    first = recorded.dim() - spec.dims
    grown = [size + index - first + 1 if index >= first else size for index, size in enumerate(recorded.shape)]
    x = draw(grown)
    try:
        segment.run(x)
    except (RuntimeError, ValueError):  # a flattening before a linear layer fixes the size
        x = draw(recorded.shape)
    yield "synthetic", x
