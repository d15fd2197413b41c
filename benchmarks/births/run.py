"""Train one arm of one setting, and write its curve down: `python -m benchmarks.births.run fashion --seeds 5`.

Every arm is trained at a constant rate, after an epoch over which it rises, and judged by the average of its weights
over about the last epoch, so that each point of a curve is as good as a run that ends there. A run that is on disk is
not run again.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from benchmarks.births.settings import SETTINGS, Learning, Setting, Task
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from netmorph.models.scratch import reborn
from netmorph.surgery.running.cost import cost
from netmorph.train.machine import overruns

RUNS = Path("results/births/curves")


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    for seed in range(options.first_seed, options.seeds):
        run_seed(options.setting, SETTINGS[options.setting], seed)


def run_seed(name: str, setting: Setting, seed: int) -> None:
    """Train the parent, its children and the controls of one seed."""
    task, folder = setting.task(), RUNS / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = Path("runs/births") / (setting.parents or name) / f"parent-{seed}.pt"
    parent = setting.parent(seed)
    if kept.exists():
        parent.load_state_dict(torch.load(kept, weights_only=True))
    else:
        points = train(parent, task, setting, setting.epochs, Learning(), seed=seed)
        parent = points.pop()
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(parent.state_dict(), kept)
        _write(RUNS / (setting.parents or name) / f"parent-{seed}.json", parent, task, points)
    example = task.train[0][:500]
    children = {birth: grow(copy.deepcopy(parent).eval(), example, seed) for birth, grow in setting.births.items()}
    macs = {birth: cost(child, task.train[0][:1]).macs for birth, child in children.items()}
    own = cost(parent, task.train[0][:1]).macs
    budget = setting.more * max(macs.values())
    before = setting.epochs * own
    scratch = setting.fresh(children[setting.scratch], seed + 100)
    arms: dict[str, tuple[nn.Module, int]] = {setting.scratch: (children[setting.scratch], setting.more)}
    if not setting.parents:
        arms["P: parent trained on"] = parent, round(budget / own)
    arms["from scratch"] = scratch, round((before + budget) / macs[setting.scratch])
    arms |= {birth: (child, setting.more) for birth, child in children.items()}
    for arm, (model, epochs) in arms.items():
        path = folder / f"{arm.replace(' ', '_').replace(':', '').replace(',', '')}-{seed}.json"
        if path.exists():
            continue
        learning = setting.learning.get(arm, Learning())
        points = train(copy.deepcopy(model), task, setting, epochs, learning, seed=seed + 1000, parent=parent)
        points.pop()
        _write(path, model, task, points, arm=arm, before=before)
        print(name, seed, arm, [round(point["test"], 3) for point in points if isinstance(point, dict)], flush=True)


def _write(path: Path, model: nn.Module, task: Task, points: list, arm: str = "parent", before: int = 0) -> None:
    images = len(task.train[0])
    record = {
        "arm": arm,
        "task": task.name,
        "metric": task.metric,
        "macs": cost(model, task.train[0][:1]).macs,
        "params": sum(p.numel() for p in model.parameters()),
        "images": images,
        "parent_macs_spent": before * images,
        "points": points,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores, {torch.get_num_threads()} thread(s) used",
    }
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(record, indent=1))
    aside.replace(path)


def train(
    model: nn.Module,
    task: Task,
    setting: Setting,
    epochs: int,
    learning: Learning,
    *,
    seed: int,
    parent: nn.Module | None = None,
) -> list:
    """Return a point for each epoch, that at birth first, and at the end the averaged model."""
    x, y = task.train
    if learning.shrink != 1:
        with torch.no_grad():
            for old, fresh in zip(model.parameters(), reborn(model, seed).parameters(), strict=True):
                old.lerp_(fresh, 1 - learning.shrink)
    steps = len(x) // setting.batch
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - 2 / steps), use_buffers=True)
    optimizer, factors = _optimizer(model, parent, setting, learning)
    plain = overruns(model, torch.device("cpu"))
    layout = torch.contiguous_format if plain else torch.channels_last
    if x.dim() == 4:
        model.to(memory_format=layout)  # type: ignore[call-overload]
        x = x.contiguous(memory_format=layout)
    if learning.moments and parent is not None:
        _carry_moments(copy.deepcopy(parent), model, optimizer, task, setting)
    points: list = [{"epoch": 0, "test": evaluate(average.module, task)}]
    average.update_parameters(model)  # the first call copies: from here on it is an average
    random = torch.Generator().manual_seed(seed)
    step = 0
    for epoch in range(1, epochs + 1):
        model.train()
        began, total = time.monotonic(), 0.0
        for inputs, targets in _batches(x, y, setting.batch, random, flip=task.flip):
            loss = F.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            step += 1
            for group, factor in zip(optimizer.param_groups, factors, strict=True):
                group["lr"] = factor * setting.rate * min(1.0, step / max(steps * learning.rise, 1))
            optimizer.step()
            average.update_parameters(model)
            total += loss.item()
        point = {"epoch": epoch, "test": evaluate(average.module, task), "train_loss": total / steps}
        points.append({**point, "seconds": round(time.monotonic() - began, 2)})
    points.append(average.module)
    return points


def _optimizer(
    model: nn.Module, parent: nn.Module | None, setting: Setting, learning: Learning
) -> tuple[torch.optim.Optimizer, tuple[float, ...]]:
    """Return the optimizer, and for each of its groups the factor on the setting's rate."""
    had = {name: p.shape for name, p in parent.named_parameters()} if parent is not None else {}
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    old = [p for name, p in named if had.get(name) == p.shape]
    new = [p for name, p in named if had.get(name) != p.shape]
    groups = [(group, factor) for group, factor in ((old, 1.0), (new, learning.new)) if group]
    parameters, factors = [{"params": group} for group, _ in groups], tuple(factor for _, factor in groups)
    if setting.optimizer == "sgd":
        return torch.optim.SGD(parameters, setting.rate, 0.9), factors
    return torch.optim.AdamW(parameters, setting.rate), factors


def _carry_moments(
    parent: nn.Module, child: nn.Module, optimizer: torch.optim.Optimizer, task: Task, setting: Setting
) -> None:
    """Give what the parent has, too, the momentum that the gradients at the parent's weights have."""
    for_parent = torch.optim.SGD(parent.parameters(), 0.0, 0.9)
    parent.train()
    for step, (inputs, targets) in enumerate(
        _batches(*task.train, setting.batch, torch.Generator().manual_seed(0), flip=task.flip)
    ):
        if step == 100:
            break
        for_parent.zero_grad()
        F.cross_entropy(parent(inputs), targets).backward()
        for_parent.step()
    had = dict(parent.named_parameters())
    for name, p in child.named_parameters():
        if name in had and had[name].shape == p.shape:
            optimizer.state[p]["momentum_buffer"] = for_parent.state[had[name]]["momentum_buffer"].clone()


def _batches(
    x: Tensor, y: Tensor, size: int, random: torch.Generator, *, flip: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(x), generator=random)
    for here in order[: len(x) // size * size].split(size):
        inputs = x[here]
        if flip:
            mirrored = torch.rand(size, generator=random) < 0.5
            inputs = torch.where(mirrored.view(-1, 1, 1, 1), inputs.flip(-1), inputs)
        yield inputs, y[here]


@torch.no_grad()
def evaluate(model: nn.Module, task: Task) -> float:
    """Return the test error in per cent, or the loss in nats."""
    model.eval()
    x, y = task.test
    total = 0.0
    for inputs, targets in zip(x.split(500), y.split(500), strict=True):
        logits = model(inputs)
        if task.metric == "error":
            total += float((logits.argmax(1) != targets).sum())
        else:
            total += float(F.cross_entropy(logits, targets)) * len(targets)
    return total / len(x) * (100 if task.metric == "error" else 1)


if __name__ == "__main__":
    main()
