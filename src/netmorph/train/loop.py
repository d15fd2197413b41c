"""The training loop: one phase, one ``Trainer.fit``."""

from __future__ import annotations

import logging
import math
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from netmorph.errors import NetmorphError
from netmorph.train.data import Data
from netmorph.train.recipe import Recipe, make_optimizer, make_schedule

__all__ = ["EpochRow", "Progress", "fit", "mistakes"]


@dataclass(frozen=True)
class EpochRow:
    """What one epoch came to.

    Attributes:
        epoch: counted from 1.
        lr: learning rate of the epoch's last step.
        train_loss: mean cross-entropy over the epoch's batches, in nats, while learning, on augmented images.
        train_error: share of augmented training images classified wrongly while learning, in percent.
        test_loss: mean cross-entropy on the test split after the epoch, in nats.
        test_error: share of test images classified wrongly after the epoch, in percent.
        seconds: wall time since the phase began.
    """

    epoch: int
    lr: float
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float
    seconds: float


class Progress(Protocol):
    """Hears how a phase goes on."""

    def batch(self, done: int, total: int) -> None:
        """``done`` of ``total`` training batches of the phase are through."""

    def epoch(self, row: EpochRow) -> None:
        """An epoch is through."""


def fit(model: nn.Module, data: Data, recipe: Recipe, seed: int, progress: Progress | None = None) -> list[EpochRow]:
    """Train a network in place and measure it after each epoch.

    The result is the same for the same seed on the same machine: order and augmentation come from a generator of their
    own. Whatever accelerator Lightning finds is used; the network comes back on the CPU and in eval mode.

    Args:
        model: a classifier of images ``(n, c, h, w)``.
        data: the data set.
        recipe: what to do.
        seed: seed of order and augmentation.
        progress: hears of each batch and epoch.

    Returns:
        One row an epoch.

    Raises:
        NetmorphError: the loss is no longer a number.
        KeyboardInterrupt: on Ctrl-C, with Python's handler in place again.
    """
    with _quiet_lightning():
        trainer = Trainer(
            max_epochs=recipe.epochs,
            accelerator="auto",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
        )
        device = trainer.strategy.root_device
        resident = data.to(device)
        batches = resident.train_batches(recipe.batch_size, seed, recipe.pad)
        model.to(memory_format=torch.channels_last).train()  # Lightning leaves the mode as it finds it
        task = _Classification(model, recipe, recipe.epochs * len(batches), progress)
        with _interruptible():
            trainer.fit(task, batches, resident.test_batches())
    model.cpu().eval()
    return task.rows


@torch.no_grad()
def mistakes(model: nn.Module, data: Data) -> Tensor:
    """Mark the test images that a network classifies wrongly in eval mode, on the device where it lies.

    Args:
        model: a classifier; its mode is left as it was.
        data: the data set.

    Returns:
        ``(n,)``, bool, on the CPU.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    wrong = [(model(x).argmax(1) != y).cpu() for x, y in data.to(device).test_batches()]
    model.train(was_training)
    return torch.cat(wrong)


class _Tally:
    """A running sum of losses and mistakes that stays on the device until it is read."""

    def __init__(self) -> None:
        self.loss: Tensor | float = 0.0
        self.wrong: Tensor | float = 0.0
        self.count = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch; ``loss`` is its mean."""
        self.loss = self.loss + loss.detach() * len(labels)
        self.wrong = self.wrong + (logits.detach().argmax(1) != labels).sum()
        self.count += len(labels)

    def read(self) -> tuple[float, float]:
        """Return the mean loss in nats and the error in percent."""
        return float(self.loss) / self.count, 100 * float(self.wrong) / self.count


class _Classification(LightningModule):
    """A classifier under cross-entropy."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, progress: Progress | None) -> None:
        super().__init__()
        self.model, self.recipe, self.steps, self.progress = model, recipe, steps, progress
        self.lr = recipe.lr
        self.rows: list[EpochRow] = []
        self.training_tally, self.test_tally = _Tally(), _Tally()
        self.began = time.perf_counter()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Return the batch's loss."""
        self.lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        return self._loss(batch, self.training_tally)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Measure a batch of the test split."""
        self._loss(batch, self.test_tally)

    def on_train_batch_end(self, *_: Any) -> None:
        """Tell of a batch."""
        if self.progress is not None:
            self.progress.batch(self.global_step, self.steps)

    def on_train_epoch_end(self) -> None:
        """Close the epoch's row: Lightning calls this after the validation of the epoch."""
        train, test = self.training_tally.read(), self.test_tally.read()
        if not math.isfinite(train[0]):
            raise NetmorphError(
                f"the training diverged in epoch {len(self.rows) + 1}: the loss is {train[0]}",
                remedies=[f"lower the learning rate, {self.recipe.lr}", "look for NaN in the network's weights"],
            )
        self.rows.append(EpochRow(len(self.rows) + 1, self.lr, *train, *test, time.perf_counter() - self.began))
        self.training_tally, self.test_tally = _Tally(), _Tally()
        if self.progress is not None:
            self.progress.epoch(self.rows[-1])

    def configure_optimizers(self) -> Any:
        """Make the recipe's optimizer, its rate set anew before each step."""
        optimizer = make_optimizer(self.model, self.recipe)
        schedule = make_schedule(optimizer, self.recipe, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, batch: tuple[Tensor, Tensor], tally: _Tally) -> Tensor:
        images, labels = batch
        logits = self.model(images)
        loss = F.cross_entropy(logits, labels)
        tally.add(loss, logits, labels)
        return loss


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence Lightning's advice on loaders and hardware, which does not apply to tensors in memory."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn Lightning's ``sys.exit(1)`` after Ctrl-C back into the interrupt, and give the signal back to Python."""
    try:
        yield
    except SystemExit as exit_:
        if isinstance(exit_.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from exit_
        raise
