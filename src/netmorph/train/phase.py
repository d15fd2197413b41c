"""One network in training: an epoch of learning, an evaluation, and the state between two epochs."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from netmorph.data.dataset import Data
from netmorph.train.annealing import Annealing
from netmorph.train.machine import Machine, overruns
from netmorph.train.objective import Compiler, Forward, Objective
from netmorph.train.recipe import Recipe, make_optimizer, make_schedule
from netmorph.train.tally import Tally

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Learned", "Phase"]


_MEASURING = -1  # no epoch's number
_SCHEDULE_AHEAD = "Detected call of `lr_scheduler.step"  # where the scaler skipped a first step
_OTHER_STREAM = "The AccumulateGrad node's stream"  # that in which the graphs were captured


@dataclass(frozen=True)
class Learned:
    """What an epoch of learning came to.

    Attributes:
        loss: mean loss, in nats.
        error: in percent.
        lr: learning rate of the last step.
        samples_per_second: of all processes.
    """

    loss: float
    error: float
    lr: float
    samples_per_second: float


class Phase:
    """A network on its device, with its optimizer and its data.

    The steps are a plain PyTorch loop. Lightning's ``Trainer`` costs some 300 microseconds a step on the CPU where this
    costs less than 10, and a step of a small network takes a millisecond on a GPU; so Lightning (its Fabric) finds the
    devices, starts the processes and chooses the precision, and stays out of the loop.

    Args:
        fabric: launched.
        machine: what it was made from.
        model: a classifier; moved to the device.
        data: the data set.
        recipe: what to do.
        seed: seed of order, augmentation, and of what the network itself draws, such as dropout.
    """

    def __init__(
        self, fabric: Fabric, machine: Machine, model: nn.Module, data: Data, recipe: Recipe, seed: int
    ) -> None:
        self.fabric, self.model, self.seed = fabric, model, seed
        self.device = fabric.device
        machine.place(model, self.device)
        resident = data.to(self.device)
        share = {"rank": fabric.global_rank, "world": fabric.world_size}
        self.batches = resident.train_batches(recipe.batch_size, seed, recipe.pad, **share)
        self.test_batches = resident.test_batches(**share)
        self.optimizer = make_optimizer(model, recipe)
        steps = recipe.epochs * len(self.batches)
        self.schedule = make_schedule(self.optimizer, recipe, steps)
        self.annealing = Annealing(model, round(recipe.anneal * steps))
        plain = overruns(model, self.device)
        self._objective = Objective(model, plain=plain)
        compiler = Compiler(machine.compile, self.device, plain=plain)
        self._learn = Forward(fabric.strategy.setup_module(self._objective), compiler)
        # Not through DDP, whose forward waits for all processes, and these may have unequal numbers of batches.
        self._measure = Forward(self._objective, compiler)
        # Compiled code marks buffers that it allocates in inference mode, and fails when they are written outside.
        self._no_grad = torch.inference_mode if machine.compile is None else torch.no_grad
        self._scales = machine.scales_gradients
        self._unsaid = [_SCHEDULE_AHEAD] * self._scales + [_OTHER_STREAM] * (machine.compile == "cuda-graphs")
        self._backward: Callable[[Tensor], None] = Tensor.backward
        self._step: Callable[[], Any] = self.optimizer.step
        if self._scales:
            self._backward, self._step = fabric.backward, fabric.setup_optimizers(self.optimizer).step  # type: ignore[union-attr]

    @property
    def gather(self) -> Callable[[Tensor], Tensor] | None:
        """What sums a tensor over all processes; None where there is one."""
        if self.fabric.world_size == 1:
            return None
        return lambda tensor: self.fabric.all_reduce(tensor, reduce_op="sum")  # type: ignore[return-value]

    def learn(self, epoch: int, tell: Callable[[int], None] | None) -> Learned:
        """Train for one epoch.

        Args:
            epoch: counted from 0; decides order and augmentation.
            tell: called after each step with the number of steps in this epoch.
        """
        began = time.perf_counter()
        self._objective.train()
        self.batches.epoch = epoch
        backward, step = self._backward, self._step
        zero_grad, advance, groups = self.optimizer.zero_grad, self.schedule.step, self.optimizer.param_groups
        anneal, before = self.annealing.step, epoch * len(self.batches)
        tally, rate, done = Tally(self.device), 0.0, 0
        with self._seeded(epoch), _without(self._unsaid):
            for images, labels in self.batches:
                with self.fabric.autocast():
                    loss, wrong = self._learn(images, labels)
                tally.add(loss.detach(), wrong, len(labels))
                backward(loss)
                step()
                anneal(before + done)
                zero_grad(set_to_none=True)
                del loss, wrong  # which the next step may overwrite
                rate = groups[0]["lr"]
                advance()
                done += 1
                if tell is not None:
                    tell(done)
        outcome = tally.read(self.gather)
        return Learned(*outcome, rate, tally.count / (time.perf_counter() - began))

    def evaluate(self) -> tuple[float, float]:
        """Return the mean loss in nats and the error in percent on the test split."""
        if self.fabric.world_size > 1:
            for buffer in self.model.buffers():  # BatchNorm's statistics of the last step are each process's own
                torch.distributed.broadcast(buffer, 0)
        self._objective.eval()
        tally = Tally(self.device)
        with self._seeded(_MEASURING), self._no_grad(), self.fabric.autocast():
            for images, labels in self.test_batches:
                loss, wrong = self._measure(images, labels)
                tally.add(loss, wrong, len(labels))
        return tally.read(self.gather)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next epoch depends on, but for what follows from seed and epoch."""
        return {
            "state_dict": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "annealed": self.annealing.names,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.annealing = Annealing(self.model, self.annealing.steps, state["annealed"])
        if state["precision"]:
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    @contextmanager
    def _seeded(self, epoch: int) -> Iterator[None]:
        """Let whatever draws from the global generators draw by seed, epoch and rank; afterwards they are as before.

        A resumed run then needs none of their states.
        """
        digest = hashlib.blake2b(repr((self.seed, epoch, self.fabric.global_rank)).encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "little") >> 1
        cuda = self.device.type == "cuda"
        with torch.random.fork_rng([self.device.index or 0] if cuda else []):
            torch.default_generator.manual_seed(number)
            if cuda:
                torch.cuda.manual_seed(number)
            yield


@contextmanager
def _without(messages: Iterable[str]) -> Iterator[None]:
    """Keep PyTorch from warning of what is meant to be so."""
    with warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message=message)
        yield
