"""Training: Lightning's loop against a bare PyTorch loop on the same network and batches; the data path alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmarks.compiled_training import NOTES as COMPILED_NOTES
from benchmarks.compiled_training import compare_compiled
from benchmarks.measure import Ratio, race
from benchmarks.real_images import cifar10, fashion, gpu_or_cpu, image_options
from benchmarks.report import Report, Target, run
from torch import nn
from torch.nn import functional as F

from netmorph.data.dataset import Dataset, Split
from netmorph.models.registry import build
from netmorph.train.loop import fit
from netmorph.train.machine import Machine
from netmorph.train.recipe import Recipe, make_optimizer, make_schedule

QUESTION = "What does the training loop cost beside a bare PyTorch loop?"
LIMIT = 1.02


def measure(report: Report, cifar: Path | None) -> None:
    """Race both loops for one epoch, with the evaluation that follows it; on a GPU, compare them compiled, too."""
    name, device = "resnet8" if report.quick else "resnet20", gpu_or_cpu()
    if device.type == "cpu":
        batch, images, tests, rounds = (16, 32, 16, 1) if report.quick else (128, 1280, 128, 9)
        _compare(report, device, name, batch, fashion(images, tests), rounds)
        report.notes.append("No GPU was found.")
        return
    report.device = torch.cuda.get_device_name(device)
    data = _epoch_of_50000(cifar, report)
    report.notes += ["The race on the CPU is left out where there is a GPU.", *COMPILED_NOTES]
    _compare(report, device, name, 128, data, 1 if report.quick else 5)
    for batch in (128, 512):
        compare_compiled(report, device, name, batch, data, 3 if report.quick else 8)


def _epoch_of_50000(cifar: Path | None, report: Report) -> Dataset:
    """Return so many images that an epoch on a GPU takes longer than what surrounds it."""
    tests = 500
    if cifar is not None:
        data = cifar10(cifar, 1024 if report.quick else None, tests)
        report.notes.append(f"{data.name}, {len(data.train):,} images an epoch.")
        return data
    data, times = fashion(1024 if report.quick else None, tests), 1 if report.quick else 7
    train = Split(data.train.images.repeat(times, 1, 1, 1), data.train.labels.repeat(times))
    report.notes.append(f"{data.name}, each image {times} times: {len(train):,} an epoch.")
    return replace(data, train=train)


def _compare(report: Report, device: torch.device, name: str, batch: int, data: Dataset, rounds: int) -> None:
    network = build(f"netmorph:{name}", num_classes=10, in_channels=data.channels)
    recipe, machine = Recipe(epochs=1, batch_size=batch, lr=0.01), Machine(accelerator=device.type)
    rivals: dict[str, Callable[[nn.Module], object]] = {
        "Lightning loop": partial(_fit, data=data, recipe=recipe, machine=machine),
        "bare loop": partial(_bare, data=data, recipe=recipe, device=device),
        "data path alone": partial(_data_only, data=data, recipe=recipe, device=device),
    }
    calls = {key: partial(_on_copy, work, network, device) for key, work in rivals.items()}
    with machine.arithmetic(device):  # which `fit` sets for itself: all run alike
        times = race(calls, rounds)
    images = len(data.train) // batch * batch
    for key, each in times.items():
        row: dict[str, Any] = {"device": device.type, "network": f"{name}, batch {batch}", "loop": key}
        row |= {"seconds": each.median, "images a second": images / each.median}
        ratio = Ratio.of(each, times["bare loop"])
        report.row(**row, **{"over bare": ratio.median}, error=ratio.error, spread=ratio.spread)
    ratio = Ratio.of(times["Lightning loop"], times["bare loop"])
    what = f"{name}, batch {batch}, {device.type}: Lightning loop over bare loop"
    report.targets.append(Target(what, ratio.median, LIMIT, error=2 * ratio.error))


def _on_copy(work: Callable[[nn.Module], object], network: nn.Module, device: torch.device) -> None:
    work(copy.deepcopy(network))
    if device.type == "cuda":
        torch.cuda.synchronize()


def _fit(network: nn.Module, data: Dataset, recipe: Recipe, machine: Machine) -> None:
    fit(network, data, recipe, seed=0, machine=machine)


def _bare(network: nn.Module, data: Dataset, recipe: Recipe, device: torch.device) -> None:
    """Do what `fit` does, the shortest way: one epoch, loss and error of both splits."""
    resident = data.to(device)
    batches = resident.train_batches(recipe.batch_size, 0, recipe.pad)
    network.to(device, memory_format=torch.channels_last).train()
    optimizer = make_optimizer(network, recipe)
    schedule = make_schedule(optimizer, recipe, len(batches))
    loss_sum, wrong = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    for images, labels in batches:
        optimizer.zero_grad()
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        schedule.step()
        loss_sum += loss.detach() * len(labels)
        wrong += (logits.detach().argmax(1) != labels).sum()
    network.eval()
    with torch.no_grad():
        for images, labels in resident.test_batches():
            logits = network(images)
            loss_sum += F.cross_entropy(logits, labels) * len(labels)
            wrong += (logits.argmax(1) != labels).sum()
    assert math.isfinite(loss_sum.item() + wrong.item())  # waits for the device
    network.cpu()


def _data_only(network: nn.Module, data: Dataset, recipe: Recipe, device: torch.device) -> None:
    for _ in data.to(device).train_batches(recipe.batch_size, 0, recipe.pad):
        pass


if __name__ == "__main__":
    run("training", QUESTION, measure, own=[image_options()])
