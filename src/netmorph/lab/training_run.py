"""Train a network on a data set and morph it on the way: a run that can be stopped, or killed, and repeated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.lab.fit_model import open_for
from netmorph.lab.fit_phases import FitPhase
from netmorph.lab.results import parity_of
from netmorph.lab.run_folder import environment, write_csv, write_json
from netmorph.models.opening import load
from netmorph.surgery.checkpoint import save
from netmorph.surgery.cost import cost
from netmorph.surgery.morph import MorphResult, morph
from netmorph.train.data import Data
from netmorph.train.loop import Paused, Progress, fit
from netmorph.train.machine import Machine
from netmorph.train.rows import Before, EpochRow

__all__ = ["MODEL", "RunListener", "RunSetting", "training_run"]

CONFIG, RESULTS, METRICS, MODEL = "config.json", "results.json", "metrics.csv", "model"
_BORN, _TRAINING, _DONE = "born", "training", "phase.json"
_CALIBRATION_BATCHES = 8
_PARITY_IMAGES = 32


@dataclass(frozen=True)
class RunSetting:
    """What a run does.

    Attributes:
        model: name of the network, or folder of a checkpoint.
        phases: what is done, one after the other.
        model_args: arguments of the network's constructor.
        weights: a safetensors file with its weights; None for those that it is built with.
        seed: of everything random.
        act: activation of morphed modules, as `morph` takes it.
        norm: norm of morphed modules, as `morph` takes it; statistics come from training images.
        keep_parent: where a graph cannot hold a filter, keep the layer beside it.
    """

    model: str
    phases: tuple[FitPhase, ...]
    model_args: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    seed: int = 0
    act: str | None = "auto"
    norm: str | None = "auto"
    keep_parent: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON says it."""
        plain = {name: value for name, value in vars(self).items() if name not in ("phases", "model_args")}
        made = {**plain, "model_args": dict(self.model_args), "phases": [phase.as_dict() for phase in self.phases]}
        read: dict[str, Any] = json.loads(json.dumps(made))  # tuples become lists, as they are when read again
        return read

    def draw(self, phase: int, number: int) -> int:
        """Return one of the seeds that follow from the run's."""
        return 1_000 * self.seed + 10 * phase + number


class RunListener(Protocol):
    """Hears how a run goes on."""

    def training(self, name: str, epochs: int) -> AbstractContextManager[Progress]:
        """A phase is trained within the block; with it the network has had ``epochs`` epochs."""

    def morphed(self, result: MorphResult) -> None:
        """The network was morphed."""


def training_run(
    setting: RunSetting,
    data: Data,
    out: Path,
    listener: RunListener,
    *,
    machine: Machine | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Train, morph, train on, and write down what came out.

    The folder holds ``config.json``, ``metrics.csv`` (one row an epoch, over all phases), ``model`` (a checkpoint that
    `netmorph.load` reads) and ``results.json``; besides a folder for each phase, with its checkpoints and the parity of
    its morph. Called again with the same setting and folder, a run goes on where it was stopped or killed, and comes to
    the same on the same machine; one that is through returns its results.

    Args:
        setting: what to do.
        data: what to learn.
        out: the folder of the run; made if need be.
        listener: hears how it goes on.
        machine: what to train on.
        stop: asked after every epoch of a phase but the last, and after each phase but the last.

    Returns:
        What ``results.json`` says.

    Raises:
        Paused: `stop` said so.
        NetmorphError: the network does not fit the data, a morph is infeasible or inexact, the training diverged, or
            the folder holds another run.
    """
    _claim(out, setting, data)
    known = _read(out / RESULTS)
    if known is not None:
        return known
    run = _Run(setting, data, out, listener, machine or Machine(), stop)
    model, phases = run.all_phases()
    rows = [EpochRow(**row) for phase in phases for row in phase["rows"]]
    write_csv(out / f".{METRICS}", list(_metrics(phases)))
    os.replace(out / f".{METRICS}", out / METRICS)
    save(model, out / MODEL)
    price, last = cost(model, data.example()), rows[-1]
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
        "environment": environment(),
    }
    _write(out / RESULTS, results)
    return results


@dataclass(frozen=True, eq=False)
class _Run:
    """A call of `training_run`."""

    setting: RunSetting
    data: Data
    out: Path
    listener: RunListener
    machine: Machine
    stop: Callable[[], bool] | None

    def all_phases(self) -> tuple[nn.Module, list[dict[str, Any]]]:
        """Run what is left; return the network and what each phase came to."""
        done = [_read(self.folder(number) / _DONE) for number in range(1, len(self.setting.phases) + 1)]
        finished = [phase for phase in done if phase is not None]
        model = load(self.folder(len(finished)) / MODEL) if finished else self._open()
        for number in range(len(finished) + 1, len(self.setting.phases) + 1):
            before = Before(finished[-1]["epochs"], finished[-1]["steps"]) if finished else Before()
            model, phase = self._phase(number, model, before)
            finished.append(phase)
            left = self.setting.phases[number:]
            if left and self.stop is not None and self.stop():
                rows = [EpochRow(**row) for each in finished for row in each["rows"]]
                raise Paused(rows, len(rows) + sum(each.recipe.epochs for each in left))
        return model, finished

    def folder(self, number: int) -> Path:
        """Return the folder of a phase, counted from 1."""
        return self.out / f"phase-{number}"

    def _open(self) -> nn.Module:
        setting = self.setting
        weights = None if setting.weights is None else Path(setting.weights)
        return open_for(setting.model, setting.model_args, weights, self.data, setting.draw(0, 0))

    def _phase(self, number: int, model: nn.Module, before: Before) -> tuple[nn.Module, dict[str, Any]]:
        """Morph and train; return the network and what the phase came to."""
        phase, folder = self.setting.phases[number - 1], self.folder(number)
        folder.mkdir(exist_ok=True)
        parity = None
        if phase.sites:
            model, parity = self._morph(number, model)
        with self.listener.training(f"phase {number}", before.epochs + phase.recipe.epochs) as progress:
            rows = fit(
                model,
                self.data,
                phase.recipe,
                self.setting.draw(number, 1),
                progress,
                machine=self.machine,
                folder=folder / _TRAINING,
                stop=self.stop,
                before=before,
            )
        save(model, folder / MODEL)
        last = rows[-1]
        done = {"epochs": last.epoch, "steps": last.steps, "parity": parity, "rows": [asdict(row) for row in rows]}
        _write(folder / _DONE, done)
        for leftover in (folder / _TRAINING).glob("*.ckpt"):
            leftover.unlink()
        return model, done

    def _morph(self, number: int, model: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
        """Morph the network, or load what it became when this was done before."""
        phase, folder = self.setting.phases[number - 1], self.folder(number)
        known = _read(folder / "parity.json")
        if known is not None:
            return load(folder / _BORN), known
        setting = self.setting
        result = morph(
            model.eval(),
            phase.sites,
            example_inputs=self.data.example(_PARITY_IMAGES),
            seed=setting.draw(number, 2),
            calibration=list(islice(self._images(phase, setting.draw(number, 3)), _CALIBRATION_BATCHES)),
            act=setting.act,
            norm=setting.norm,
            keep_parent=setting.keep_parent,
        )
        self.listener.morphed(result)
        parity = {"phase": number, **parity_of(result), "cost": result.cost.to_dict()}
        save(result.model, folder / _BORN)
        _write(folder / "parity.json", parity)
        return result.model, parity

    def _images(self, phase: FitPhase, seed: int) -> Iterator[Tensor]:
        """Yield training images in batches."""
        for images, _ in self.data.train_batches(phase.recipe.batch_size, seed, phase.recipe.pad):
            yield images


def _claim(out: Path, setting: RunSetting, data: Data) -> None:
    """Write what the folder is for, or check that it is for this."""
    images = {"train": len(data.train_batches(1, 0, 0)), "test": len(data.test_batches(1))}
    mine = {"setting": setting.as_dict(), "data": {"name": data.name, **images}}
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = _read(out / CONFIG)
        if known is None:
            if any(each for each in out.iterdir() if not each.name.startswith(".")):
                raise NetmorphError(f"{out} exists and is not empty", remedies=["choose another folder with --out"])
            _write(out / CONFIG, {**mine, **environment()})
            return
    except OSError as error:
        raise NetmorphError(
            f"cannot write into {out}: {error.strerror}", remedies=["choose another folder with --out"]
        ) from error
    differing = [key for key, value in mine.items() if known.get(key) != value]
    if differing:
        raise NetmorphError(
            f"{out} holds another run",
            shapes=f"its {' and '.join(differing)} differ",
            remedies=["repeat the command as it was", "choose another folder with --out"],
        )


def _metrics(phases: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield one row an epoch."""
    for number, phase in enumerate(phases, 1):
        yield from ({"phase": number, **row} for row in phase["rows"])


def _read(path: Path) -> dict[str, Any] | None:
    """Read a file of the run; None if it is not there."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NetmorphError(f"{path} cannot be read: {error}", remedies=["choose another folder with --out"]) from error
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of the run aside and rename it."""
    write_json(path.with_name(f".{path.name}"), content)
    os.replace(path.with_name(f".{path.name}"), path)
