"""The training loop compiled, against a bare loop compiled the same way: images a second once both are warm."""

from __future__ import annotations

import copy
import math
import time
import warnings
from typing import Any

import torch
from benchmarks.measure import Ratio, Times
from benchmarks.report import Report, Target
from torch import nn

from netmorph.data.dataset import Dataset
from netmorph.models.registry import build
from netmorph.train.loop import fit
from netmorph.train.machine import Machine
from netmorph.train.objective import Objective
from netmorph.train.recipe import Recipe, make_optimizer, make_schedule

LIMIT = 1.02
WARM = 2  # epochs that are not timed: the first compiles
NOTES = [
    f"Compiled: training images a second from the third epoch on, without evaluation; the first {WARM} epochs compile "
    "and record. Both loops compile the same module of network and loss; they run one after the other, since `fit` "
    "resets the compiler.",
]
UNUSABLE = "is not usable here"


def compare_compiled(report: Report, device: torch.device, name: str, batch: int, data: Dataset, epochs: int) -> None:
    """Train with both loops and report what an epoch takes.

    Args:
        report: takes the rows, a target, and a note where nothing can be compiled.
        device: where to train.
        name: of the network.
        batch: images a step.
        data: on the CPU.
        epochs: more than `WARM`.
    """
    network = build(f"netmorph:{name}", num_classes=10, in_channels=data.channels)
    recipe = Recipe(epochs=epochs, batch_size=batch, lr=0.01)
    machine = Machine(accelerator=device.type, precision="bf16-mixed", compile="reduce-overhead")
    found: dict[str, list[float]] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found["Lightning loop"] = _fitted(copy.deepcopy(network), data, recipe, machine)
    refused = [str(each.message) for each in caught if UNUSABLE in str(each.message)]
    if refused:
        report.notes.append(f"Batch {batch}, compiled: not measured. {refused[0]}")
        return
    with machine.arithmetic(device):
        found["bare loop"] = _bare(copy.deepcopy(network), data, recipe, device)
        found["data path alone"] = _data_only(data, recipe, device)
    times = {key: Times(tuple(each[WARM:])) for key, each in found.items()}
    images = len(data.train) // batch * batch
    for key, each in times.items():
        ratio = Ratio.of(each, times["bare loop"])
        row: dict[str, Any] = {"compiled": f"{name}, batch {batch}, bf16-mixed, reduce-overhead", "loop": key}
        row |= {"seconds an epoch": each.median, "images a second": images / each.median}
        row |= {"over bare": ratio.median, "error": ratio.error, "spread": ratio.spread}
        report.row(**row, **{"first epoch": found[key][0]})
    ratio = Ratio.of(times["Lightning loop"], times["bare loop"])
    what = f"{name}, batch {batch}, {device.type}, compiled: Lightning loop over bare loop"
    report.targets.append(Target(what, ratio.median, LIMIT, error=2 * ratio.error))


def _fitted(network: nn.Module, data: Dataset, recipe: Recipe, machine: Machine) -> list[float]:
    """Return the seconds of each epoch's learning, as `fit` measures them."""
    images = len(data.train) // recipe.batch_size * recipe.batch_size
    return [images / row.samples_per_second for row in fit(network, data, recipe, seed=0, machine=machine)]


def _bare(network: nn.Module, data: Dataset, recipe: Recipe, device: torch.device) -> list[float]:
    """Learn as `fit` does, the shortest way, and return the seconds of each epoch."""
    torch.compiler.reset()
    batches = data.to(device).train_batches(recipe.batch_size, 0, recipe.pad)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(network, recipe)
    schedule = make_schedule(optimizer, recipe, recipe.epochs * len(batches))
    forward = torch.compile(Objective(network).train(), mode="reduce-overhead", dynamic=False)
    marks, seconds = device.type == "cuda", []
    for _ in range(recipe.epochs):
        began = time.perf_counter()
        loss_sum, wrong_sum = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
        for images, labels in batches:
            if marks:
                torch.compiler.cudagraph_mark_step_begin()
            with torch.autocast(device.type, torch.bfloat16):
                loss, wrong = forward(images, labels)
            loss_sum += loss.detach() * len(labels)
            wrong_sum += wrong
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            del loss, wrong
        assert math.isfinite(loss_sum.item() + wrong_sum.item())  # waits for the device
        seconds.append(time.perf_counter() - began)
    torch.compiler.reset()
    return seconds


def _data_only(data: Dataset, recipe: Recipe, device: torch.device) -> list[float]:
    batches, seconds = data.to(device).train_batches(recipe.batch_size, 0, recipe.pad), []
    for _ in range(recipe.epochs):
        began = time.perf_counter()
        for _ in batches:
            pass
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return seconds
