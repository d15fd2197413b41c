"""A bench on which networks are trained and measured alike, and which remembers what they came to."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor, nn

from netmorph.data.dataset import Data
from netmorph.lab.results import Contender
from netmorph.surgery.running.cost import cost
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
        curves: for each network (compute, test error in percent) after each epoch, the compute in multiply-accumulates;
            where it continues another, that one's last point comes first.
    """

    def __init__(self, data: Data, listener: TrainingListener) -> None:
        self.data = data
        self.listener = listener
        self.contenders: dict[str, Contender] = {}
        self.wrong: dict[str, Tensor] = {}
        self.metrics: list[dict[str, Any]] = []
        self.curves: dict[str, list[tuple[float, float]]] = {}

    @property
    def image(self) -> Tensor:
        """One test image as networks see it, ``(1, c, h, w)``: what costs are counted for."""
        return self.data.example()

    def train(
        self,
        name: str,
        model: nn.Module,
        recipe: Recipe,
        seed: int,
        *,
        after: str | None = None,
        beside: str | None = None,
        extra: float = 0.0,
    ) -> None:
        """Train a network in place and note what it came to.

        Args:
            name: what it is called from now on.
            model: the network.
            recipe: how it is trained.
            seed: seed of the order of the images and their augmentation.
            after: the network that it continues: its epochs, compute and seconds count too.
            beside: a network that was there already, though this one does not use it: its curve begins where that
                one's ends, and is of further compute.
            extra: seconds that were spent otherwise on it.
        """
        before = self.contenders[after] if after is not None else None
        epochs, compute, seconds = (
            (before.epochs, before.compute, before.seconds) if before is not None else (0, 0, 0.0)
        )
        start = self.contenders[beside].compute if beside is not None else compute
        price = cost(model, self.image)
        with self.listener.training(name, recipe.epochs) as progress:
            rows = fit(model, self.data, recipe, seed, progress)
        spent = [row.steps * recipe.batch_size * price.macs for row in rows]
        points = [(float(start + more), row.test_error) for more, row in zip(spent, rows, strict=True)]
        for row, (at, _) in zip(rows, points, strict=True):
            self.metrics.append({"network": name, **asdict(row), "epoch": epochs + row.epoch, "compute": at})
        self.curves[name] = points if after is None else [self.curves[after][-1], *points]
        self.wrong[name] = mistakes(model, self.data)
        self.contenders[name] = Contender(
            name=name,
            error=100 * self.wrong[name].float().mean().item(),
            params=price.params,
            macs=price.macs,
            epochs=epochs + recipe.epochs,
            compute=compute + spent[-1],
            seconds=seconds + extra + rows[-1].seconds,
        )
