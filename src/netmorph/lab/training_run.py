"""Train a network on a data set and morph it on the way: a run that can be stopped, or killed, and repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from netmorph.data.dataset import Data
from netmorph.lab.fit_folder import Phase, RunFolder, rows_of
from netmorph.lab.fit_growth import Given, check_growth, check_sites, grown_for, parity_of_steps
from netmorph.lab.fit_model import open_for
from netmorph.lab.fit_phases import FitPhase
from netmorph.lab.fit_setting import RunSetting
from netmorph.lab.run_folder import environment
from netmorph.lab.team import Team
from netmorph.models.opening import load
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.running.cost import cost
from netmorph.train.loop import Paused, Progress, fit
from netmorph.train.machine import Machine
from netmorph.train.rows import Before

__all__ = ["RunListener", "training_run"]

_CALIBRATION_BATCHES = 8
_PARITY_IMAGES = 32


class RunListener(Protocol):
    """Hears how a run goes on; of several processes, in the first one only."""

    def training(self, name: str, epochs: int) -> AbstractContextManager[Progress]:
        """A phase is trained within the block; with it the network has had ``epochs`` epochs."""

    def morphed(self, result: Result) -> None:
        """The network was morphed; a growth to one of the paper's networks may take several steps."""


def training_run(
    setting: RunSetting,
    data: Data,
    out: Path,
    listener: RunListener,
    *,
    machine: Machine | None = None,
    team: Team | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Train, morph, train on, and write down what came out.

    The folder holds ``config.json``, ``metrics.csv`` (one row an epoch, over all phases), ``model`` (a checkpoint that
    `netmorph.load` reads) and ``results.json``; besides a folder for each phase, with its checkpoints and the parity of
    its morph. Called again with the same setting and folder, a run goes on where it was stopped or killed, and comes to
    the same on the same machine; one that is through returns its results.

    Several processes, as `netmorph.train.loop.fit` has them: each calls this alike and morphs by itself, from the same
    seed; that they hold the same child is asserted by a checksum before it is trained. The first one writes the files.

    Args:
        setting: what to do.
        data: what to learn.
        out: the folder of the run; made if need be. All processes see it.
        listener: object that is called as the run proceeds.
        machine: what to train on.
        team: the processes; None: those that `machine` asks for.
        stop: asked after every epoch of a phase but the last, and after each phase but the last.

    Returns:
        What ``results.json`` says.

    Raises:
        Paused: if `stop` returns true.
        NetmorphError: if the network does not fit the data, a morph is infeasible or inexact, the training diverged, or
            the folder contains another run.
    """
    machine = machine or Machine()
    team, folder = team or Team(machine), RunFolder(out)
    run = _Run(setting, data, folder, listener, machine, team, stop)
    # Errors are raised before the folder belongs to this run: otherwise a corrected run would be refused there.
    opened = team.in_turn(run.opened) if team.told(folder.is_new) else None
    lock = folder.lock()
    team.told(lambda: folder.hold(lock))
    try:
        known = team.told(lambda: _claim(folder, setting, data, team.size))
        if known is not None:
            return known
        model, phases = run.all_phases(opened)
        return team.told(lambda: _finish(folder, model, phases, data, machine))
    finally:
        lock.release()  # which only the first process holds


def _claim(folder: RunFolder, setting: RunSetting, data: Data, processes: int) -> dict[str, Any] | None:
    """Take the folder for this run; return what it came to if it is through."""
    for phase in setting.phases:
        data.train_batches(phase.recipe.batch_size, 0, 0, world=processes)  # raises where they cannot share a batch
    images = {"train": len(data.train_batches(1, 0, 0)), "test": len(data.test_batches(1))}
    folder.claim({"setting": setting.as_dict(), "data": {"name": data.name, **images}})
    return folder.results()


def _finish(folder: RunFolder, model: nn.Module, phases: list[Phase], data: Data, machine: Machine) -> dict[str, Any]:
    """Write what came out and return it."""
    price, last = cost(model, data.example()), rows_of(phases)[-1]
    results = {
        "error": last.test_error,
        "test_loss": last.test_loss,
        "train_loss": last.train_loss,
        "epochs": last.epoch,
        "steps": last.steps,
        "params": price.params,
        "macs": price.macs,
        "seconds": sum(phase["rows"][-1]["seconds"] for phase in phases),
        "morphs": [phase["parity"] for phase in phases if phase["parity"] is not None],
        "data": data.name,
        "environment": environment(machine),
    }
    save(model, folder.model)
    folder.write_results(phases, results)
    return results


@dataclass(frozen=True, eq=False)
class _Run:
    """A call of `training_run`, in one of its processes."""

    setting: RunSetting
    data: Data
    folder: RunFolder
    listener: RunListener
    machine: Machine
    team: Team
    stop: Callable[[], bool] | None

    def all_phases(self, opened: nn.Module | None) -> tuple[nn.Module, list[Phase]]:
        """Run what is left; return the network and what each phase came to. ``opened`` is the network at the start."""
        count = len(self.setting.phases)
        finished = self.team.told(lambda: self.folder.finished(count))
        if finished:
            model = self.team.in_turn(lambda: load(self.folder.phase(len(finished)).model))
        else:
            model = self.team.in_turn(self.opened) if opened is None else opened
        for number in range(len(finished) + 1, count + 1):
            before = Before(finished[-1]["epochs"], finished[-1]["steps"]) if finished else Before()
            model, phase = self._phase(number, model, before)
            finished.append(phase)
            left = self.setting.phases[number:]
            if left and self.stop is not None and self.team.told(self.stop):
                rows = rows_of(finished)
                raise Paused(rows, len(rows) + sum(each.recipe.epochs for each in left))
        return model, finished

    def opened(self) -> nn.Module:
        """Return the network at the start, for which the first morph is possible as far as is known now."""
        setting = self.setting
        weights = None if setting.weights is None else Path(setting.weights)
        model = open_for(setting.model, setting.model_args, weights, self.data, setting.draw(0, 0))
        check_growth(model, setting.phases)
        training = model.training
        check_sites(model.eval(), setting.phases, lambda number: self._given(number, []))
        return model.train(training)

    def _phase(self, number: int, model: nn.Module, before: Before) -> tuple[nn.Module, Phase]:
        """Morph and train; return the network and what the phase came to."""
        phase, folder = self.setting.phases[number - 1], self.folder.phase(number)
        self.team.told(lambda: folder.path.mkdir(exist_ok=True))
        parity = None
        if phase.sites or phase.grow is not None:
            model, parity = self._morph(number, model)
        showing = self.listener.training(f"phase {number}", before.epochs + phase.recipe.epochs)
        with showing if self.team.first else nullcontext() as progress:
            rows = fit(
                model,
                self.data,
                phase.recipe,
                self.setting.draw(number, 1),
                progress,
                machine=self.machine,
                folder=folder.training,
                stop=self.stop,
                before=before,
            )
        done = {
            "epochs": rows[-1].epoch,
            "steps": rows[-1].steps,
            "parity": parity,
            "rows": [asdict(row) for row in rows],
        }

        def write() -> Phase:
            save(model, folder.model)
            folder.write_done(done)
            return done  # the seconds are the first process's

        return model, self.team.told(write)

    def _morph(self, number: int, model: nn.Module) -> tuple[nn.Module, Phase]:
        """Morph the network, or load what it became when this was done before."""
        phase, folder = self.setting.phases[number - 1], self.folder.phase(number)
        known = self.team.told(folder.parity)
        if known is not None:
            return self.team.everyone(lambda: load(folder.born)), known
        batches = list(islice(self._images(phase, self.setting.draw(number, 3)), _CALIBRATION_BATCHES))
        given = self._given(number, batches)
        steps = self.team.everyone(lambda: grown_for(phase, model, given))
        child = steps[-1].model
        self.team.same(child, f"child before phase {number}")
        if self.team.first:
            for step in steps:
                self.listener.morphed(step)
        parity = {"phase": number, **parity_of_steps(steps)}

        def write() -> Phase:
            save(child, folder.born)
            folder.write_parity(parity)
            return parity

        return child, self.team.told(write)

    def _given(self, number: int, batches: list[Tensor]) -> Given:
        """Return what a phase's morph is made with."""
        example, setting = self.data.example(_PARITY_IMAGES), self.setting
        return Given(
            example, batches, setting.draw(number, 2), setting.act, setting.norm, setting.keep_parent, setting.birth
        )

    def _images(self, phase: FitPhase, seed: int) -> Iterator[Tensor]:
        """Yield training images in batches."""
        for images, _ in self.data.train_batches(phase.recipe.batch_size, seed, phase.recipe.pad):
            yield images
