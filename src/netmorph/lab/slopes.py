"""How the slopes of new activations move while a network is trained (eq. 8)."""

from __future__ import annotations

from typing import Any

from torch import nn

from netmorph.nn.slopes import slopes
from netmorph.train.loop import Progress
from netmorph.train.rows import EpochRow

__all__ = ["SlopeWatch"]


class SlopeWatch:
    """Hears of a training and notes the slopes after each epoch.

    Args:
        model: the network that is trained.
        progress: who hears of the training too, if anybody.
        before: epochs of the network before this training.

    Attributes:
        rows: for each epoch and slope its mean, least and largest value over the channels.
    """

    def __init__(self, model: nn.Module, progress: Progress | None, before: int = 0) -> None:
        self.model, self.progress, self.before = model, progress, before
        self.rows: list[dict[str, Any]] = []

    def batch(self, done: int, total: int) -> None:
        """Pass it on."""
        if self.progress is not None:
            self.progress.batch(done, total)

    def epoch(self, row: EpochRow) -> None:
        """Note the slopes, and pass it on."""
        for name, parameter in slopes(self.model):
            values = parameter.detach().double().cpu()
            figures = {"mean": values.mean().item(), "low": values.min().item(), "high": values.max().item()}
            self.rows.append({"epoch": self.before + row.epoch, "slope": name, **figures})
        if self.progress is not None:
            self.progress.epoch(row)
