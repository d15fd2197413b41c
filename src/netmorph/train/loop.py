"""Training a network: one phase, one `fit`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from netmorph.data.dataset import Data
from netmorph.errors import NetmorphError
from netmorph.train.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from netmorph.train.logs import Logs
from netmorph.train.machine import Machine, quiet_lightning
from netmorph.train.phase import Phase
from netmorph.train.recipe import Recipe
from netmorph.train.rows import Before, EpochRow

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Before", "EpochRow", "Paused", "Progress", "fit", "mistakes"]

_IMAGES, _PIXELS = 500, 5_000_000  # of a batch of `mistakes`, at most: 99 views of 224 x 224


class Progress(Protocol):
    """Hears how a phase goes on."""

    def batch(self, done: int, total: int) -> None:
        """``done`` of ``total`` training batches of the phase are through."""

    def epoch(self, row: EpochRow) -> None:
        """An epoch is through."""


class Paused(Exception):  # noqa: N818 - not an error
    """The training was asked to stop before its last epoch.

    Args:
        rows: of the epochs that are through.
        epochs: the total number of epochs.
    """

    def __init__(self, rows: list[EpochRow], epochs: int) -> None:
        super().__init__(f"the training was stopped after {len(rows)} of {epochs} epochs")
        self.rows = rows
        self.epochs = epochs


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int,
    progress: Progress | None = None,
    *,
    machine: Machine | None = None,
    folder: Path | None = None,
    stop: Callable[[], bool] | None = None,
    before: Before | None = None,
) -> list[EpochRow]:
    """Train a network in place, and evaluate it after each epoch.

    On the CPU of one machine the same seed gives the same result, bit for bit: random choices depend only on the seed
    and the number of the epoch, and the global generators are not changed. The network is returned on the CPU and in
    eval mode.

    With a folder, a checkpoint (``last.ckpt``), ``metrics.csv`` and, if that package is installed, TensorBoard's events
    are written after each epoch. If the run was killed, it continues when it is called again with the same recipe,
    seed, data and network; the weights are those of the checkpoint. If it had finished, its rows are returned at once.

    With several processes (``Machine(devices=2, strategy="ddp")``) Lightning starts the script again for each further
    process, or uses those that ``torchrun --nproc-per-node 2`` has started. Each must build the same network (DDP uses
    the weights of the first) and call `fit` with the same arguments. ``recipe.batch_size`` is the total over all
    processes. BatchNorm normalises over the share of each process, and the statistics of the first are kept.

    Args:
        model: a classifier of images ``(n, c, h, w)``.
        data: the data set.
        recipe: the settings.
        seed: random seed of the order of images, their augmentation, and random layers of the network.
        progress: object that is called for each batch and epoch, in the first process only.
        machine: devices to run on; None: the accelerator that Lightning finds.
        folder: output folder; created if necessary.
        stop: function that is called after every epoch but the last, when the checkpoint has been written, in the first
            process only; if it returns true, training is paused.
        before: the earlier training of the network; the numbering of rows continues from there.

    Returns:
        One row for each epoch.

    Raises:
        Paused: if `stop` returns true.
        NetmorphError: if all parameters are frozen, the loss becomes NaN or infinite, or the folder cannot be written
            or contains another training.
    """
    machine = machine or Machine()
    fabric = machine.fabric()
    run = _Run(model, data, recipe, seed, progress, machine, folder, stop, before or Before())
    if machine.compile is not None:
        torch.compiler.reset()  # compiled code of earlier networks counts towards a limit
    finished = False
    try:
        rows: list[EpochRow]
        with quiet_lightning():
            rows, finished = fabric.launch(run)
    finally:
        if machine.compile is not None:
            torch.compiler.reset()  # frees the memory of CUDA graphs
    model.cpu().eval()
    if not finished:
        raise Paused(rows, recipe.epochs)
    return rows


@torch.no_grad()
def mistakes(model: nn.Module, data: Data, views: int = 1) -> Tensor:
    """Mark the test images that a network classifies wrongly in eval mode, on the device where it lies.

    Batches are the smaller the larger the images, every view counted, so that memory stays within that of a training.

    Args:
        model: a classifier; the mode of each of its modules is left as it was.
        data: the data set.
        views: views of each image, whose logits are averaged.

    Returns:
        ``(n,)``, bool, on the CPU.
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    served = data.to(device)
    size = min(_IMAGES, max(views, _PIXELS // served.example().shape[-2:].numel()))
    model.eval()
    try:
        wrong = [
            (model(images).unflatten(0, (-1, views)).mean(1).argmax(1) != labels).cpu()
            for images, labels in served.test_batches(size, views)
        ]
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(wrong)


@dataclass(frozen=True, eq=False)
class _Run:
    """A call of `fit`, in one of its processes."""

    model: nn.Module
    data: Data
    recipe: Recipe
    seed: int
    progress: Progress | None
    machine: Machine
    folder: Path | None
    stop: Callable[[], bool] | None
    before: Before

    def __call__(self, fabric: Fabric) -> tuple[list[EpochRow], bool]:
        """Train; return the rows and whether all epochs are through."""
        with self.machine.arithmetic(fabric.device):
            phase = Phase(fabric, self.machine, self.model, self.data, self.recipe, self.seed)
            mark = fingerprint(self.model, self.recipe, self.seed, self.data.name, len(phase.batches), self.before)
            rows = self._resume(phase, mark)
            logs = Logs(self.folder, rows) if self.folder is not None and fabric.is_global_zero else None
            try:
                return rows, self._epochs(phase, mark, rows, logs)
            finally:
                if logs is not None:
                    logs.close()

    def _resume(self, phase: Phase, mark: dict[str, Any]) -> list[EpochRow]:
        """Load the checkpoint, if there is one, and return its rows."""
        state = None if self.folder is None else read_checkpoint(self.folder, mark)
        phase.fabric.barrier()  # nobody writes before all have read
        if state is None:
            return []
        phase.load_state_dict(state)
        return [EpochRow(**row) for row in state["rows"]]

    def _epochs(self, phase: Phase, mark: dict[str, Any], rows: list[EpochRow], logs: Logs | None) -> bool:
        """Run the epochs that are left; return whether all are through."""
        first = phase.fabric.is_global_zero
        began = time.perf_counter() - (rows[-1].seconds if rows else 0.0)
        while len(rows) < self.recipe.epochs:
            rows.append(self._epoch(phase, len(rows), began, self.progress if first else None))
            if self.folder is not None and first:
                write_checkpoint(self.folder, mark, {**phase.state_dict(), "rows": list(map(asdict, rows))})
            if logs is not None:
                logs.epoch(rows)
            if self.progress is not None and first:
                self.progress.epoch(rows[-1])
            if len(rows) < self.recipe.epochs and self._stopped(phase.fabric):
                return False
        return True

    def _epoch(self, phase: Phase, epoch: int, began: float, progress: Progress | None) -> EpochRow:
        """Run one epoch, counted from 0."""
        steps = len(phase.batches)
        done, total = epoch * steps, self.recipe.epochs * steps
        learned = phase.learn(epoch, None if progress is None else lambda step: progress.batch(done + step, total))
        self._check(learned.loss, "loss", epoch)
        measured = phase.evaluate()
        self._check(measured[0], "test loss", epoch)  # now, since JSON cannot say it and a checkpoint would keep it
        return EpochRow(
            self.before.epochs + epoch + 1,
            learned.lr,
            learned.loss,
            learned.error,
            *measured,
            time.perf_counter() - began,
            self.before.steps + done + steps,
            learned.samples_per_second,
        )

    def _check(self, loss: float, name: str, epoch: int) -> None:
        """Raise if a loss is no longer a number."""
        if not math.isfinite(loss):
            raise NetmorphError(
                f"the training diverged in epoch {epoch + 1}: the {name} is {loss}",
                remedies=[f"lower the learning rate, {self.recipe.lr}", "check for NaN in the network's weights"],
            )

    def _stopped(self, fabric: Fabric) -> bool:
        """Ask in the first process, and tell the others."""
        if self.stop is None:
            return False
        asked = self.stop() if fabric.is_global_zero else False
        return asked if fabric.world_size == 1 else fabric.broadcast(asked)
