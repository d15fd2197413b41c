"""What trains best after a morph: variants of how and when to grow, each against the parent trained on the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from netmorph.errors import NetmorphError
from netmorph.models.paper_net import parse_net
from netmorph.models.registry import build
from netmorph.surgery.running.cost import cost
from reproduction.budget import Budget
from reproduction.experiment import ON, ON_MACS, PLAIN, SCRATCH, SCRATCH_MACS, Experiment, Job, Kind, TableRow

__all__ = ["make_exploration"]


def make_exploration(net: str, variants: Mapping[str, Budget], seeds: int = 3) -> Experiment:
    """Lay out one network grown in several ways (beyond the paper).

    Every variant comes with its own controls: the parent trained on by the variant's recipe, for as many epochs and for
    as many multiply-accumulates (the nearest number of epochs); what is trained alike is trained once. The network from
    scratch follows the base's first recipe over as many epochs as the variant has in all, with the paper's halved
    shortcut and with a plain one, and with the former over as many multiply-accumulates.

    Args:
        net: a network of the paper, such as ``morph20_3c1``.
        variants: budgets by name; the first is the base.
        seeds: how many times all of it is done.

    Raises:
        NetmorphError: `net` is not a morphed network, there is no variant or seed, variants differ in the images that
            they use, or one is called as a control is.
    """
    spec = parse_net(net)
    if spec.name == spec.parent or not variants or seeds < 1:
        raise NetmorphError(
            "an exploration needs a morphed network, a variant and a seed",
            shapes=f"{net}, {len(variants)} variants, {seeds} seeds",
            remedies=["name a network such as morph20_1c1"],
        )
    _check_limits(variants)
    layout = _Layout(net, variants)
    rows = []
    for name in variants:
        made = [layout.add(name, seed) for seed in range(seeds)]
        controls = {control: tuple(each[1][control] for each in made) for control in made[0][1]}
        figure: dict[str, Any] = {"net": net, "variant": name}
        rows.append(TableRow(figure, net, (), tuple(each[0] for each in made), controls))
    return Experiment(f"explore {net}", layout.base, tuple(range(seeds)), tuple(rows), layout.jobs, dict(variants))


def _check_limits(variants: Mapping[str, Budget]) -> None:
    """Raise where a variant wants other images than the base, since all of them learn from the same."""
    limits = {name: (budget.train_limit, budget.test_limit) for name, budget in variants.items()}
    base = next(iter(limits))
    for name, own in limits.items():
        if own != limits[base]:
            raise NetmorphError(
                f"the variant {name} has a train_limit or test_limit of its own",
                shapes=f"{own} there, {limits[base]} in {base}",
                remedies=[f"set them in {base} only: all variants share the images"],
            )


class _Layout:
    """Lays out variants and remembers the jobs."""

    def __init__(self, net: str, variants: Mapping[str, Budget]) -> None:
        self.net, self.variants = net, variants
        self.base = next(iter(variants.values()))
        self.factor = _macs(net) / _macs(parse_net(net).parent)
        self.jobs: dict[str, Job] = {}

    def add(self, name: str, seed: int) -> tuple[str, dict[str, str]]:
        """Add the jobs of a variant with one seed: return the child's key, and those of its controls."""
        parent, budget = parse_net(self.net).parent, self.variants[name]
        first = self._alike(lambda each: each.first, name)
        start = self._job(
            f"s{seed}-{parent}{first and '-' + first}", seed, "parent", parent, budget.first.epochs, variant=first
        )
        epochs = budget.next.epochs
        after: dict[str, Any] = {"start": start.key, "step": 1}
        child = f"s{seed}-{self.net}-{name}"
        self._job(child, seed, "morph", self.net, epochs, variant=name, **after)
        same = self._alike(lambda each: (each.first, replace(each.next, newborn_lr=1.0, anneal=0.0)), name)
        on = {
            control: self._job(
                f"s{seed}-{parent}-on{count}{same and '-' + same}", seed, "on", parent, count, variant=same, **after
            )
            for control, count in ((ON, epochs), (ON_MACS, round(epochs * self.factor)))
        }
        total = budget.first.epochs + epochs
        equal = round(budget.first.epochs / self.factor + epochs)
        born = {
            control: self._job(
                f"s{seed}-{self.net}-scratch{key}", seed, "scratch", self.net, count, shortcut_scale=scale
            )
            for control, key, count, scale in (
                (SCRATCH, f"{total}", total, 0.5),
                (SCRATCH_MACS, f"{equal}", equal, 0.5),
                (PLAIN, f"{total}-plain", total, 1.0),
            )
        }
        return child, {control: job.key for control, job in (on | born).items()}

    def _alike(self, aspect: Callable[[Budget], object], name: str) -> str:
        """Return the first variant that has an aspect in common with one, "" if it is the base."""
        wanted = aspect(self.variants[name])
        found = next(other for other, budget in self.variants.items() if aspect(budget) == wanted)
        return "" if found == next(iter(self.variants)) else found

    def _job(self, key: str, seed: int, kind: Kind, net: str, epochs: int, **more: Any) -> Job:
        job = Job(key, kind, net, seed, epochs, **more)
        if self.jobs.setdefault(key, job) != job:
            raise NetmorphError(
                f"two trainings of the exploration would be called {key}",
                remedies=["rename the variant that is called as controls are (on4, scratch12)"],
            )
        return job


def _macs(net: str) -> int:
    """Return the multiply-accumulates of one image."""
    side = 224 if parse_net(net).imagenet else 32
    return cost(build(f"netmorph:{net}", num_classes=10), torch.zeros(1, 3, side, side)).macs
