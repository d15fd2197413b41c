"""The main job on real data: train a small network, grow it, prove it, train on, and compare at equal compute."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from netmorph.data.dataset import Data
from netmorph.data.fashion import load_fashion
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.lab.bench import Bench, TrainingListener
from netmorph.lab.curves import draw_curves
from netmorph.lab.results import Contender, Difference, compare, parity_of
from netmorph.lab.run_folder import environment, run_folder, write_csv, write_json
from netmorph.models.registry import build
from netmorph.models.scratch import reborn
from netmorph.surgery.morphing.morph import morph
from netmorph.surgery.morphing.result import Result
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.running.cost import cost
from netmorph.train.loop import mistakes
from netmorph.train.recipe import Recipe

__all__ = ["Listener", "Outcome", "Setting", "mapping", "quickstart"]

PARENT, PARENT_ON, CHILD = "parent", "parent, trained on", "child"
SCRATCH, SCRATCH_ALL = "from scratch", "from scratch, longer"
CONTROLS = (PARENT_ON, SCRATCH, SCRATCH_ALL)
PARENT_NAME = "netmorph:plain"
ACROSS = "compute, in epochs of the parent"
_PARITY_IMAGES = 32


@dataclass(frozen=True)
class Setting:
    """What the quickstart does.

    Attributes:
        epochs: epochs of the child after the morph; the parent had four times as many, and each control gets as many as
            cost the same.
        seed: decides the weights, the order of the images, their augmentation and the noise of the morph.
        train: how many training images are used.
        test: how many test images are used.
        width: channels of the parent's convolutions: few, so that it is short of capacity.
        batch_size: images a step.
        lr: learning rate of the parent, which is constant: it is grown while its rate is high.
        second_lr: peak learning rate of all others, which falls to zero.
        pad: the largest random shift of an image, in pixels.
    """

    epochs: int = 8
    seed: int = 0
    train: int = 8_000
    test: int = 2_000
    width: int = 6
    batch_size: int = 50
    lr: float = 0.05
    second_lr: float = 0.03
    pad: int = 1

    @classmethod
    def quick(cls, seed: int = 0, epochs: int = 1) -> Setting:
        """Return a setting that shows every step within seconds and whose figures mean nothing."""
        return cls(epochs=epochs, seed=seed, train=1_000, test=500, lr=0.02, second_lr=0.01)

    @property
    def parent_epochs(self) -> int:
        """Epochs of the parent before the morph."""
        return 4 * self.epochs

    def first(self) -> Recipe:
        """Return how the parent is trained: at a constant rate."""
        return replace(self.second(self.parent_epochs), lr=self.lr, schedule="step", milestones=(0.5,), gamma=1.0)

    def second(self, epochs: int) -> Recipe:
        """Return how every other network is trained."""
        return Recipe(epochs=epochs, lr=self.second_lr, batch_size=self.batch_size, pad=self.pad)

    def draw(self, number: int) -> int:
        """Return one of the seeds that follow from the run's."""
        return 1_000 * self.seed + number


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the quickstart found.

    Attributes:
        contenders: the table's rows: parent, child, and the controls.
        versus_parent: the child against the parent trained on, at the same compute.
        versus_scratch: the child against its own architecture from scratch, at the same further compute.
        versus_scratch_all: the child against its own architecture from scratch, at the same compute in all.
        changed: number of test images on which the child, right after the morph, is right where its parent errs, or
            the other way round.
        folder: where the run was written: ``out``, or beside it where another run had taken that meanwhile.
        seconds: wall time of it all.
    """

    contenders: tuple[Contender, ...]
    versus_parent: Difference
    versus_scratch: Difference
    versus_scratch_all: Difference
    changed: int
    folder: Path
    seconds: float

    @property
    def readings(self) -> tuple[str, ...]:
        """What the figures say, and how far: a sentence each."""
        scratch = "The child against its own architecture from scratch"
        return (
            f"The child against the parent trained on, at the same compute: {self.versus_parent}.",
            f"{scratch}, at the same further compute: {self.versus_scratch}.",
            f"{scratch}, at the same compute in all: {self.versus_scratch_all}.",
            "One run, one seed: ± is the 95 % interval over the choice of test images; other seeds may differ.",
        )


class Listener(TrainingListener, Protocol):
    """Hears how the quickstart goes on."""

    def morphed(self, result: Result, changed: int, images: int) -> None:
        """The parent was morphed; parent and child differ in being right on ``changed`` of ``images`` test images."""


def mapping() -> dict[str, ModuleGraph]:
    """Return what is morphed into what: half of the channels between the two convolutions hold the layer's filter."""
    return {"conv[23]": parse("3x3:4x > 3x3")}


def quickstart(setting: Setting, out: Path, listener: Listener) -> Outcome:
    """Train a network, morph it in one call, train on, train the controls, and write the run's folder.

    The controls, which `second` trains as it does the child: the parent itself, for as long as costs what the child's
    training costs, in multiply-accumulates; the child's architecture from new random weights, for as many epochs as the
    child, since whoever has the parent already need not pay for it; and for as many as cost what parent and child
    cost together. Epochs are whole, so compute is the same but for half an epoch.

    On a CPU one thread does it all: networks this small gain next to nothing from a second one, and what comes out does
    not depend on the number of cores.

    Args:
        setting: what to do.
        out: the folder to write; must not exist yet, or be empty.
        listener: object that is called at each step.

    Returns:
        What was found.

    Raises:
        NetmorphError: if ``out`` cannot be written, before any work is done.
    """
    began = time.perf_counter()
    with run_folder(out) as draft, _one_thread():
        bench = Bench(load_fashion().first(setting.train, setting.test), listener)
        parent = build(PARENT_NAME, **_arguments(setting, bench.data))
        bench.train(PARENT, parent, setting.first(), setting.draw(1))

        morphing = time.perf_counter()
        result = morph(
            parent, mapping(), example_inputs=bench.data.example(_PARITY_IMAGES), seed=setting.draw(2), birth="pair"
        )
        seconds = time.perf_counter() - morphing
        child = result.model
        changed = int((mistakes(child, bench.data) != bench.wrong[PARENT]).sum())
        listener.morphed(result, changed, len(bench.wrong[PARENT]))

        times = cost(child, bench.image).macs / cost(parent, bench.image).macs
        again = round(times * setting.epochs)
        in_all = setting.epochs + round(setting.parent_epochs / times)
        scratch, scratch_all = reborn(child, setting.draw(4)), reborn(child, setting.draw(6))
        bench.train(CHILD, child, setting.second(setting.epochs), setting.draw(3), after=PARENT, extra=seconds)
        bench.train(PARENT_ON, copy.deepcopy(parent), setting.second(again), setting.draw(3), after=PARENT)
        bench.train(SCRATCH, scratch, setting.second(setting.epochs), setting.draw(5), beside=PARENT)
        bench.train(SCRATCH_ALL, scratch_all, setting.second(in_all), setting.draw(7))

        outcome = Outcome(
            tuple(bench.contenders.values()),
            compare(bench.wrong[CHILD], bench.wrong[PARENT_ON]),
            compare(bench.wrong[CHILD], bench.wrong[SCRATCH]),
            compare(bench.wrong[CHILD], bench.wrong[SCRATCH_ALL]),
            changed,
            out,
            time.perf_counter() - began,
        )
        _write(draft.path, setting, bench, outcome, result, child)
    return replace(outcome, folder=draft.target)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread within the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _arguments(setting: Setting, data: Data) -> dict[str, Any]:
    """Return the arguments of the parent."""
    drawn = {"width": setting.width, "seed": setting.draw(0)}
    return {"num_classes": data.classes, "in_channels": data.channels, **drawn}


def _write(folder: Path, setting: Setting, bench: Bench, outcome: Outcome, result: Result, child: nn.Module) -> None:
    """Write the run: what was done, what came out, the child, and a picture."""
    sites = {pattern: str(graph) for pattern, graph in mapping().items()}
    write_json(folder / "config.json", {"setting": asdict(setting), "sites": sites, **environment()})
    unit = bench.contenders[PARENT].compute / setting.parent_epochs
    write_csv(folder / "metrics.csv", [{**row, "compute": row["compute"] / unit} for row in bench.metrics])
    write_json(folder / "results.json", {**_figures(outcome), "parity": parity_of(result)})
    draw_curves(
        folder / "curves.png",
        {name: [(compute / unit, error) for compute, error in points] for name, points in bench.curves.items()},
        birth=setting.parent_epochs,
        title=f"{bench.data.name}, seed {setting.seed}",
        across=ACROSS,
        controls=CONTROLS,
    )
    save(child, folder / "child")


def _figures(outcome: Outcome) -> dict[str, Any]:
    """Return the table and the comparisons as JSON says them."""
    return {
        "across": ACROSS,
        "continue_parent": [CHILD, PARENT_ON],
        "networks": [asdict(row) for row in outcome.contenders],
        "child_versus_parent_trained_on": asdict(outcome.versus_parent),
        "child_versus_scratch": asdict(outcome.versus_scratch),
        "child_versus_scratch_longer": asdict(outcome.versus_scratch_all),
        "changed": outcome.changed,
        "readings": outcome.readings,
        "seconds": outcome.seconds,
    }
