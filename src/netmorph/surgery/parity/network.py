"""The measured difference between two models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netmorph.brief import Brief
from netmorph.errors import ParityError
from netmorph.surgery.parity.site import SiteParity, tolerance_of
from netmorph.surgery.running.call import Call, in_mode, undisturbed
from netmorph.surgery.running.outputs import OutputParity, compare, tensors_in
from netmorph.surgery.running.probe import NOT_RUN, Run, probe
from netmorph.surgery.running.wrappers import check_network

_FEW = 3


@dataclass(frozen=True, repr=False)
class Parity(Brief):
    """The difference between two models on one call.

    Attributes:
        outputs: differences in eval mode, one for each tensor that the models return.
        train: differences in train mode, with the same random numbers. None if they cannot be measured, or if `morph`
            did not need to run the child in train mode, since no new module depends on the mode.
        note: why `train` is None.
        repeat: largest difference between two runs of the parent; 0 if it is deterministic.
        tolerance: largest relative difference that rounding in one layer can explain, in the dtype of the weights or,
            if autocast inside the model chooses a coarser one, in that dtype.
        sites: the difference at each morphed site, if it was measured.
    """

    outputs: tuple[OutputParity, ...]
    train: tuple[OutputParity, ...] | None
    note: str
    repeat: float
    tolerance: float
    sites: tuple[SiteParity, ...] = ()

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of the outputs in eval mode; NaN where the models return no tensor."""
        return max((each.max_abs for each in self.outputs), default=math.nan)

    @property
    def max_rel(self) -> float:
        """Largest relative difference of the outputs in eval mode; NaN where the models return no tensor."""
        return max((each.max_rel for each in self.outputs), default=math.nan)

    @property
    def train_max_rel(self) -> float:
        """Largest relative difference of the outputs in train mode; NaN where `train` is None."""
        return max((each.max_rel for each in self.train or ()), default=math.nan)

    @property
    def deterministic(self) -> bool:
        """Whether the parent returns the same twice, given the same random numbers."""
        return self.repeat == 0

    @property
    def exact(self) -> bool:
        """Whether outputs and sites agree within the tolerance."""
        return self.max_rel <= self.tolerance and all(site.exact for site in self.sites)

    def __str__(self) -> str:
        return self._text(_FEW)

    def summary(self) -> str:
        """Return the difference, output by output and site by site, where `print` writes the worst of many."""
        return self._text(None)

    def _text(self, most: int | None) -> str:
        lines = _worst("eval  ", self.outputs, most) or ["eval   not measurable: the models return no tensor"]
        if self.train is None:
            lines.append(f"train  {'not run' if self.note == NOT_RUN else 'not measurable'}: {self.note}")
        lines += _worst("train ", self.train or (), most)
        if not self.deterministic:
            lines.append(f"repeat the parent differs from itself by {self.repeat:.3g}: it is not deterministic")
        return "\n".join([*lines, *_worst("site  ", self.sites, most)])


def _worst(word: str, all_of_them: Sequence[OutputParity | SiteParity], most: int | None) -> list[str]:
    """Return one line for each, or for the worst where they are more than `most`."""
    if most is None or len(all_of_them) <= most:
        return [f"{word} {each}" for each in all_of_them]
    worst = max(all_of_them, key=lambda each: each.max_rel)
    return [f"{word} {worst}", f"{word} ... the worst of {len(all_of_them)}; summary() has them all"]


def verify(parent: nn.Module, child: nn.Module, example_inputs: Any, *, tolerance: float | None = None) -> Parity:
    """Measure the difference between two models on the same inputs, with the same random numbers.

    Neither model is changed. Equal outputs do not prove that every module inside is correct, since a module may hardly
    affect the output; `morph` therefore measures each site as well.

    Args:
        parent: the reference model.
        child: the model to compare with it.
        example_inputs: a tensor, a tuple of arguments or a dictionary of keyword arguments.
        tolerance: raise an error if the relative difference in eval mode exceeds this value; None: only report.

    Raises:
        SiteError: if a model raised on the example.
        ParityError: if the parent's output is NaN, or the difference is above `tolerance`.
    """
    for model in (parent, child):
        check_network(model)
    call = Call.of(example_inputs)
    before = probe(parent, {}, call)
    parity = differences(before, probe(child, {}, call), repeat=repeat_gap(parent, call, before), like=parent)
    if tolerance is not None and not parity.max_rel <= tolerance:
        worst = max(parity.outputs, key=lambda each: each.max_rel, default="the models return no tensor")
        raise ParityError(
            "the two models differ",
            shapes=f"{worst}; tolerance {tolerance:.3g}",
            remedies=["compare in float64 (model.double()) to tell rounding from a difference", "raise the tolerance"],
        )
    return parity


def differences(before: Run, after: Run, *, repeat: float, like: nn.Module) -> Parity:
    """Return the parity of two runs; the dtype of `like`, or a coarser one that it computes in, sets the tolerance."""
    outputs = compare(before.outputs, after.outputs)
    train, note = None, before.note or after.note
    if before.train is not None and after.train is not None:
        try:
            train = compare(before.train, after.train)
        except ParityError as error:  # in train mode nothing is asserted
            note = error.what
    dtypes = {p.dtype for p in like.parameters() if p.is_floating_point()} or {torch.float32}
    dtypes |= {dtype for dtype in before.dtypes if dtype.is_floating_point}
    return Parity(outputs, train, note, repeat, max(tolerance_of(dtype) for dtype in dtypes))


def repeat_gap(model: nn.Module, call: Call, run: Run) -> float:
    """Return by how much a second run in eval mode differs from the first, given the same random numbers."""
    with undisturbed(model):
        again = tensors_in(call.run(in_mode(model, False)))
    return max((each.max_abs for each in compare(run.outputs, again)), default=0.0)
