"""The main job on real data: train a network, morph it, prove it, train on, and compare with two controls."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from netmorph.graph.catalogue import catalogue
from netmorph.graph.notation import parse
from netmorph.graph.spec import ModuleGraph
from netmorph.lab.bench import Bench, TrainingListener
from netmorph.lab.curves import draw_curves
from netmorph.lab.results import Contender, Difference, compare, parity_of
from netmorph.lab.run_folder import environment, run_folder, write_csv, write_json
from netmorph.models.registry import build
from netmorph.models.scratch import reborn
from netmorph.surgery.checkpoint import save
from netmorph.surgery.morph import MorphResult, morph
from netmorph.train.data import Data
from netmorph.train.fashion import load_fashion
from netmorph.train.loop import mistakes
from netmorph.train.recipe import Recipe

__all__ = ["Listener", "Outcome", "Setting", "mapping", "quickstart"]

PARENT, PARENT_ON, CHILD, SCRATCH = "parent", "parent, trained on", "child", "child, from scratch"
PARENT_NAME = "netmorph:resnet8"
_CALIBRATION_BATCHES = 8
_PARITY_IMAGES = 32


@dataclass(frozen=True)
class Setting:
    """What the quickstart does.

    Attributes:
        epochs: epochs before the morph, and again after it; the child from scratch gets both together.
        seed: decides the weights, the order of the images, their augmentation and the noise of the morph.
        train: how many training images are used.
        test: how many test images are used.
        width: channels of the network's first stage.
        batch_size: images a step.
        lr: peak learning rate of the parent, and of the child from scratch.
        second_lr: peak learning rate after the morph, of child and parent alike.
        pad: the largest random shift of an image, in pixels.
    """

    epochs: int = 6
    seed: int = 0
    train: int = 6_000
    test: int = 2_000
    width: int = 8
    batch_size: int = 64
    lr: float = 0.05
    second_lr: float = 0.05
    pad: int = 1

    @classmethod
    def quick(cls, seed: int = 0, epochs: int = 1) -> Setting:
        """Return a setting that shows every step within seconds and whose figures mean nothing."""
        return cls(epochs=epochs, seed=seed, train=1_000, test=500, width=4)

    def recipe(self, epochs: int, lr: float) -> Recipe:
        """Return how a network is trained."""
        return Recipe(epochs=epochs, lr=lr, batch_size=self.batch_size, pad=self.pad)

    def draw(self, number: int) -> int:
        """Return one of the seeds that follow from the run's."""
        return 1_000 * self.seed + number


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the quickstart found.

    Attributes:
        contenders: the table's rows: parent, parent trained on, child, child from scratch.
        versus_parent: the child against the parent trained on for as many epochs.
        versus_scratch: the child against its own architecture from scratch, in as many epochs in all.
        changed: number of test images on which the child, right after the morph, is right where its parent errs, or
            the other way round.
        folder: where the run was written: ``out``, or beside it where another run had taken that meanwhile.
        seconds: wall time of it all.
    """

    contenders: tuple[Contender, ...]
    versus_parent: Difference
    versus_scratch: Difference
    changed: int
    folder: Path
    seconds: float

    @property
    def reading(self) -> str:
        """What the figures say, and how far."""
        return (
            f"The child against the parent trained on: {self.versus_parent}. The child against its architecture from "
            f"scratch: {self.versus_scratch}. One run, one seed: ± covers the choice of test images only."
        )


class Listener(TrainingListener, Protocol):
    """Hears how the quickstart goes on."""

    def morphed(self, result: MorphResult, changed: int, images: int) -> None:
        """The parent was morphed; parent and child differ in being right on ``changed`` of ``images`` test images."""


def mapping() -> dict[str, ModuleGraph]:
    """Return what is morphed into what: a simple module, a complex one, and the paper's morph_1c1 on shortcuts."""
    return {
        "layer*.conv1": parse("3x3 > 1x1 | 1x1"),
        "layer3.0.conv2": catalogue["module_d"],
        "layer*.shortcut": catalogue["morph_1c1"],
    }


def quickstart(setting: Setting, out: Path, listener: Listener) -> Outcome:
    """Train a network, morph it in one call, train on, train the two controls, and write the run's folder.

    The controls: the parent itself, trained on with the same recipe, seed and order of images as the child; and the
    child's architecture from new random weights, trained for as many epochs as parent and child together, in one go.

    On a CPU one thread does it all: networks this small gain next to nothing from a second one, and what comes out does
    not depend on the number of cores.

    Args:
        setting: what to do.
        out: the folder to write; must not exist yet, or be empty.
        listener: hears of each step.

    Returns:
        What was found.

    Raises:
        NetmorphError: if ``out`` cannot be written, before any work is done.
    """
    began = time.perf_counter()
    with run_folder(out) as draft, _one_thread():
        bench = Bench(load_fashion().first(setting.train, setting.test), listener)
        first, second = setting.recipe(setting.epochs, setting.lr), setting.recipe(setting.epochs, setting.second_lr)
        parent = build(PARENT_NAME, **_arguments(setting, bench.data))
        bench.train(PARENT, parent, first, setting.draw(1))

        morphing = time.perf_counter()
        result = _morph(parent, bench.data, setting)
        seconds = time.perf_counter() - morphing
        child = result.model
        changed = int((mistakes(child, bench.data) != bench.wrong[PARENT]).sum())
        listener.morphed(result, changed, len(bench.wrong[PARENT]))
        scratch = reborn(child, setting.draw(4))

        bench.train(PARENT_ON, copy.deepcopy(parent), second, setting.draw(3), after=PARENT)
        bench.train(CHILD, child, second, setting.draw(3), after=PARENT, extra=seconds)
        bench.train(SCRATCH, scratch, setting.recipe(2 * setting.epochs, setting.lr), setting.draw(5))

        outcome = Outcome(
            tuple(bench.contenders[name] for name in (PARENT, PARENT_ON, CHILD, SCRATCH)),
            compare(bench.wrong[CHILD], bench.wrong[PARENT_ON]),
            compare(bench.wrong[CHILD], bench.wrong[SCRATCH]),
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
    """Return the arguments of the parent: narrow, and on half the resolution, so that two cores are enough."""
    drawn = {"width": setting.width, "stem_stride": 2, "seed": setting.draw(0)}
    return {"num_classes": data.classes, "in_channels": data.channels, **drawn}


def _morph(parent: nn.Module, data: Data, setting: Setting) -> MorphResult:
    """Morph every site in one call; the new BatchNorms take their statistics from training images (eq. 9)."""
    batches = data.train_batches(setting.batch_size, setting.draw(2), setting.pad)
    return morph(
        parent,
        mapping(),
        example_inputs=data.example(_PARITY_IMAGES),
        seed=setting.draw(2),
        calibration=[images for images, _ in islice(batches, _CALIBRATION_BATCHES)],
    )


def _write(
    folder: Path, setting: Setting, bench: Bench, outcome: Outcome, result: MorphResult, child: nn.Module
) -> None:
    """Write the run: what was done, what came out, the child, and a picture."""
    sites = {pattern: str(graph) for pattern, graph in mapping().items()}
    write_json(folder / "config.json", {"setting": asdict(setting), "sites": sites, **environment()})
    write_csv(folder / "metrics.csv", bench.metrics)
    write_csv(folder / "slopes.csv", bench.slopes)
    write_json(folder / "results.json", {**_figures(outcome), "parity": parity_of(result)})
    draw_curves(folder / "curves.png", bench.curves, setting.epochs, f"{bench.data.name}, ResNet-8, one seed")
    save(child, folder / "child")


def _figures(outcome: Outcome) -> dict[str, Any]:
    """Return the table and the comparisons as JSON says them."""
    return {
        "networks": [asdict(row) for row in outcome.contenders],
        "child_versus_parent_trained_on": asdict(outcome.versus_parent),
        "child_versus_scratch": asdict(outcome.versus_scratch),
        "reading": outcome.reading,
        "seconds": outcome.seconds,
    }
