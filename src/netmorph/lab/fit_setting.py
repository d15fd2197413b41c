"""What a training run does: the network, its phases, and how it is morphed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from netmorph.graph.symmetry import Birth, check_birth
from netmorph.lab.fit_phases import FitPhase

__all__ = ["RunSetting"]


@dataclass(frozen=True)
class RunSetting:
    """What a run does.

    Attributes:
        model: name of the network, or folder of a checkpoint.
        phases: what is done, one after the other.
        model_args: arguments of the network's constructor.
        weights: a safetensors file with its weights; None for those that it is built with.
        seed: random seed.
        act: activation of morphed modules, as in `morph`.
        norm: norm of morphed modules, as in `morph`; statistics come from training images. What a phase grows
            to by a name of the paper has ReLU and BatchNorm, as there.
        keep_parent: where a graph cannot hold a filter, a layer of its kind beside it holds the rest.
        birth: how modules are initialised, as in `morph`; what a phase grows to by a name of the paper, as there.
    """

    model: str
    phases: tuple[FitPhase, ...]
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    seed: int = 0
    act: str | None = "auto"
    norm: str | None = "auto"
    keep_parent: bool = False
    birth: Birth = "slope"

    def __post_init__(self) -> None:
        check_birth(self.birth)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        plain = {name: value for name, value in vars(self).items() if name not in ("phases", "model_args")}
        if self.birth == "slope":
            del plain["birth"]  # the only one that older folders know, which do not name it
        made = {**plain, "model_args": dict(self.model_args), "phases": [phase.as_dict() for phase in self.phases]}
        read: dict[str, Any] = json.loads(json.dumps(made))  # tuples become lists, as they are when read again
        return read

    def draw(self, phase: int, number: int) -> int:
        """Return one of the seeds that follow from the run's."""
        return 1_000 * self.seed + 10 * phase + number
