"""Training: Lightning's loop against a bare PyTorch loop on the same network and batches; the data path alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.measure import Ratio, race
from benchmarks.report import Report, Target, run
from torch import nn
from torch.nn import functional as F

from netmorph.models.registry import build
from netmorph.train.data import Dataset
from netmorph.train.fashion import load_fashion
from netmorph.train.loop import fit
from netmorph.train.recipe import Recipe, make_optimizer, make_schedule

QUESTION = "What does the training loop cost beside a bare PyTorch loop?"
LIMIT = 1.02


def measure(report: Report) -> None:
    """Race both loops for one epoch, with the evaluation that follows it."""
    depth, batch, images, tests, rounds = (8, 16, 32, 16, 1) if report.quick else (20, 128, 1280, 128, 9)
    _compare(
        report, torch.device("cpu"), f"resnet{depth}", batch, load_fashion(train_limit=images, test_limit=tests), rounds
    )
    if torch.cuda.is_available():
        report.device = torch.cuda.get_device_name()
        data = load_fashion(train_limit=32 if report.quick else None, test_limit=16 if report.quick else 500)
        _compare(report, torch.device("cuda"), f"resnet{depth}", batch, data, rounds)
    else:
        report.notes.append("No GPU was found.")


def _compare(report: Report, device: torch.device, name: str, batch: int, data: Dataset, rounds: int) -> None:
    torch.manual_seed(0)
    network = build(f"netmorph:{name}", num_classes=10, in_channels=data.channels)
    recipe = Recipe(epochs=1, batch_size=batch, lr=0.01)
    rivals: dict[str, Callable[[nn.Module], object]] = {
        "Lightning loop": partial(_fit, data=data, recipe=recipe),
        "bare loop": partial(_bare, data=data, recipe=recipe, device=device),
        "data path alone": partial(_data_only, data=data, recipe=recipe, device=device),
    }
    if device.type == "cpu" and torch.cuda.is_available():  # Lightning would take the GPU
        del rivals["Lightning loop"]
    calls = {key: partial(_on_copy, work, network, device) for key, work in rivals.items()}
    times = race(calls, rounds)
    images = len(data.train) // batch * batch
    for key, each in times.items():
        row: dict[str, Any] = {"device": device.type, "network": f"{name}, batch {batch}", "loop": key}
        row |= {"seconds": each.median, "images a second": images / each.median}
        ratio = Ratio.of(each, times["bare loop"])
        report.row(**row, **{"over bare": ratio.median}, error=ratio.error, spread=ratio.spread)
    if "Lightning loop" in times:
        ratio = Ratio.of(times["Lightning loop"], times["bare loop"])
        what = f"{name}, batch {batch}, {device.type}: Lightning loop over bare loop"
        report.targets.append(Target(what, ratio.median, LIMIT, error=2 * ratio.error))


def _on_copy(work: Callable[[nn.Module], object], network: nn.Module, device: torch.device) -> None:
    work(copy.deepcopy(network))
    if device.type == "cuda":
        torch.cuda.synchronize()


def _fit(network: nn.Module, data: Dataset, recipe: Recipe) -> None:
    fit(network, data, recipe, seed=0)


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
    assert loss_sum.item() > 0
    assert wrong.item() >= 0
    network.cpu()


def _data_only(network: nn.Module, data: Dataset, recipe: Recipe, device: torch.device) -> None:
    for _ in data.to(device).train_batches(recipe.batch_size, 0, recipe.pad):
        pass


if __name__ == "__main__":
    run("training", QUESTION, measure)
