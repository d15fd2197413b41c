"""One job of an experiment: a network is born, trained, measured and written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from netmorph.bounded import read_json
from netmorph.data.dataset import Data
from netmorph.errors import NetmorphError
from netmorph.lab.run_folder import environment
from netmorph.models.opening import open_model
from netmorph.models.paper import Grown, grow, parse_net
from netmorph.models.registry import build
from netmorph.models.size import params_mib
from netmorph.surgery.parity.network import verify
from netmorph.surgery.records.checkpoint import save
from netmorph.surgery.running.cost import cost
from netmorph.train.loop import Before, EpochRow, Progress, fit, mistakes
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe
from netmorph.whole_files import written_aside
from reproduction.experiment import Experiment, Job
from reproduction.net2net import put_identities

__all__ = ["DONE", "NETWORK", "Workplace", "read_done", "run_job"]

DONE, NETWORK, TRAINING = "done.json", "network", "training"
_PARITY_IMAGES = 64


@dataclass(frozen=True)
class Workplace:
    """Where and with what jobs are run.

    Attributes:
        jobs: the folder of all jobs.
        experiment: whose jobs they are.
        data: the data set.
        machine: what the training runs on.
    """

    jobs: Path
    experiment: Experiment
    data: Data
    machine: Machine

    def folder(self, key: str) -> Path:
        """Return a job's folder."""
        return self.jobs / key

    def recipe(self, job: Job) -> Recipe:
        """Return how a job trains over its epochs: networks from random weights by the first recipe."""
        budget = self.experiment.budget_of(job)
        return replace(budget.first if job.start is None else budget.next, epochs=job.epochs)


def read_done(folder: Path) -> dict[str, Any] | None:
    """Return what a finished job wrote, None if it is not finished.

    Raises:
        NetmorphError: if the file is damaged.
    """
    path = folder / DONE
    try:
        done = read_json(path)
        if not isinstance(done, dict) or not done:
            raise ValueError("it is no JSON object with entries")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise NetmorphError(f"{path} cannot be read: {error}", remedies=[f"delete {folder} and run again"]) from error
    return done


def run_job(job: Job, place: Workplace, progress: Progress, stop: Callable[[], bool]) -> dict[str, Any]:
    """Run a job to its end, from its last checkpoint where it has one.

    Everything random follows from the job's seed, so a job begun anew is born the same.

    Args:
        job: the job; the one that it continues is finished.
        place: where and with what.
        progress: hears of batches and epochs.
        stop: asked after each epoch; True ends the job for now.

    Returns:
        What is written into the job's folder as ``done.json``.

    Raises:
        Paused: `stop` said so; a checkpoint is written.
        NetmorphError: if the network is not what it was before it was morphed, or its training diverged.
    """
    folder = place.folder(job.key)
    before = read_done(place.folder(job.start)) if job.start is not None else None
    model, parity = _born(job, place)
    start = Before() if before is None else Before(before["epochs"], before["steps"])
    recipe = place.recipe(job)
    rows = fit(
        model,
        place.data,
        recipe,
        job.draw(1),
        progress,
        machine=place.machine,
        folder=folder / TRAINING,
        stop=stop,
        before=start,
    )
    done = _figures(job, model, place, rows, before) | {"parity": parity, "recipe": asdict(recipe)}
    done |= _ten_views(job, model, place)
    if job.kind != "net2net":  # whose layers no record describes, and which nothing continues
        save(model, folder / NETWORK)
    with written_aside(folder / DONE) as aside:
        aside.write_text(json.dumps(done, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for leftover in (folder / TRAINING).glob("*.ckpt"):
        leftover.unlink()
    return done


def _born(job: Job, place: Workplace) -> tuple[nn.Module, dict[str, Any] | None]:
    """Make the network as it is before its first epoch, and show that growing changed nothing."""
    if job.start is None:
        given: dict[str, Any] = {"num_classes": place.data.classes, "in_channels": place.data.channels}
        if parse_net(job.net).name != parse_net(job.net).parent:
            given["shortcut_scale"] = job.shortcut_scale
        return build(f"netmorph:{job.net}", seed=job.draw(0), **given), None
    parent = open_model(str(place.folder(job.start) / NETWORK), {}).eval()
    if job.kind == "on":
        return parent, None
    budget = place.experiment.budget_of(job)
    example = place.data.example(_PARITY_IMAGES)
    batches = list(islice(_images(place, job), budget.warm_batches))
    if job.kind == "net2net":
        child = put_identities(parent, job.net, batches)
        return child, _asserted(parent, child, example, job)
    source = job.phases[-1] if job.phases else parse_net(job.net).parent
    grown = grow(
        parent,
        source,
        job.net,
        example_inputs=example,
        seed=job.draw(2),
        calibration=batches,
        noise=budget.noise,
        fill=budget.fill,
    )
    return grown.model, _asserted(parent, grown.model, example, job) | {"steps": _steps(grown)}


def _images(place: Workplace, job: Job) -> Iterator[Tensor]:
    """Yield training images in batches, augmented as in the training."""
    recipe = place.recipe(job)
    for images, _ in place.data.train_batches(recipe.batch_size, job.draw(3), recipe.pad):
        yield images


def _asserted(parent: nn.Module, child: nn.Module, example: Tensor, job: Job) -> dict[str, Any]:
    """Return the parity of two whole networks in eval mode, once more than each site's, which `grow` holds."""
    parity = verify(parent, child, example)
    if not parity.exact:
        raise NetmorphError(
            f"{job.key}: the morphed network differs from the one before by {parity.max_rel:.1e} of its largest output"
        )
    return {"max_abs": parity.max_abs, "max_rel": parity.max_rel, "images": len(example)}


def _steps(grown: Grown) -> list[dict[str, Any]]:
    """Return the worst parity of the sites of each step of a growth."""
    return [
        {
            "sites": len(step.parity.sites),
            "interior": max(site.interior for site in step.parity.sites),
            "border": max(site.border for site in step.parity.sites),
            "tolerance": max(site.tolerance for site in step.parity.sites),
        }
        for step in grown.steps
    ]


def _ten_views(job: Job, model: nn.Module, place: Workplace) -> dict[str, float]:
    """Return the second error of Table 5, for ImageNet's networks on data that has ten views of an image."""
    if not parse_net(job.net).imagenet:
        return {}
    try:
        place.data.test_batches(views=10)
    except NetmorphError:
        return {}
    model.to(place.machine.fabric().device)
    error = 100 * mistakes(model, place.data, views=10).float().mean().item()
    model.cpu()
    return {"error_10view": error}


def _figures(
    job: Job, model: nn.Module, place: Workplace, rows: list[EpochRow], before: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what a job came to."""
    price, last = cost(model, place.data.example()), rows[-1]
    return {
        **asdict(job),
        "own_epochs": job.epochs,
        "epochs": (before["epochs"] if before else 0) + job.epochs,
        "steps": last.steps,
        "error": last.test_error,
        "test_loss": last.test_loss,
        "train_loss": last.train_loss,
        "train_error": last.train_error,
        "params": price.params,
        "params_mib": params_mib(model),
        "macs": price.macs,
        "seconds": last.seconds,
        "samples_per_second": sorted(row.samples_per_second for row in rows)[len(rows) // 2],
        "curve": [[row.epoch, row.train_loss, row.train_error, row.test_loss, row.test_error] for row in rows],
        "data": place.data.name,
        "environment": environment(place.machine),
    }
