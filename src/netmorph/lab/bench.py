"""A bench on which networks are trained and measured alike, and which remembers what they came to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor, nn

from netmorph.lab.results import Contender
from netmorph.lab.slopes import SlopeWatch
from netmorph.surgery.cost import cost
from netmorph.train.data import Data
from netmorph.train.loop import Progress, fit, mistakes
from netmorph.train.recipe import Recipe

__all__ = ["Bench", "TrainingListener"]


class TrainingListener(Protocol):
    """Hears of each training."""

    def training(self, name: str, epochs: int) -> AbstractContextManager[Progress]:
        """A network is trained within the block."""


class Bench:
    """Trains networks on one data set.

    Args:
        data: the data set.
        listener: hears of each training.

    Attributes:
        contenders: what each network came to, by name.
        wrong: the test images that each network errs on, ``(n,)``, bool.
        metrics: one row an epoch of every training.
        slopes: one row for each slope of a new activation and epoch of every training.
        curves: for each network its first epoch and its test errors in percent from there on; where it continues
            another, that one's last error comes first.
    """

    def __init__(self, data: Data, listener: TrainingListener) -> None:
        self.data = data
        self.listener = listener
        self.contenders: dict[str, Contender] = {}
        self.wrong: dict[str, Tensor] = {}
        self.metrics: list[dict[str, Any]] = []
        self.slopes: list[dict[str, Any]] = []
        self.curves: dict[str, tuple[int, list[float]]] = {}

    @property
    def image(self) -> Tensor:
        """One test image as networks see it, ``(1, c, h, w)``: what costs are counted for."""
        return self.data.example()

    def train(
        self, name: str, model: nn.Module, recipe: Recipe, seed: int, *, after: str | None = None, extra: float = 0.0
    ) -> None:
        """Train a network in place and note what it came to.

        Args:
            name: what it is called from now on.
            model: the network.
            recipe: how it is trained.
            seed: seed of the order of the images and their augmentation.
            after: the network that it continues: its epochs and seconds count too.
            extra: seconds that were spent otherwise on it.
        """
        before = self.contenders[after] if after is not None else None
        start, spent = (before.epochs, before.seconds) if before is not None else (0, 0.0)
        with self.listener.training(name, recipe.epochs) as progress:
            watch = SlopeWatch(model, progress, start)
            rows = fit(model, self.data, recipe, seed, watch)
        self.slopes += [{"network": name, **row} for row in watch.rows]
        for row in rows:
            self.metrics.append({"network": name, **asdict(row), "epoch": start + row.epoch})
        errors = [row.test_error for row in rows]
        self.curves[name] = (1, errors) if before is None else (start, [before.error, *errors])
        self.wrong[name] = mistakes(model, self.data)
        price = cost(model, self.image)
        self.contenders[name] = Contender(
            name=name,
            error=100 * self.wrong[name].float().mean().item(),
            params=price.params,
            macs=price.macs,
            epochs=start + recipe.epochs,
            seconds=spent + extra + rows[-1].seconds,
        )
