"""What trains best after a morph: variants of how and when to grow, each against the parent trained on the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from netmorph.errors import NetmorphError
from netmorph.lab.budget import Budget
from netmorph.lab.experiment import ON, SCRATCH, Experiment, Job, Kind, TableRow
from netmorph.models.paper_net import parse_net

__all__ = ["make_exploration"]


def make_exploration(net: str, variants: Mapping[str, Budget], seeds: int = 3) -> Experiment:
    """Lay out one network grown in several ways (beyond the paper).

    Every variant comes with its own control, the parent trained on by the variant's recipe for as many epochs; what is
    trained alike is trained once. The network from scratch follows the base's first recipe over as many epochs as the
    variant has in all.

    Args:
        net: a network of the paper, such as ``morph20_3c1``.
        variants: budgets by name; the first is the base.
        seeds: how many times all of it is done.

    Raises:
        NetmorphError: `net` is not a morphed network, or there is no variant or seed.
    """
    spec = parse_net(net)
    if spec.name == spec.parent or not variants or seeds < 1:
        raise NetmorphError(
            "an exploration needs a morphed network, a variant and a seed",
            shapes=f"{net}, {len(variants)} variants, {seeds} seeds",
            remedies=["name a network such as morph20_1c1"],
        )
    layout = _Layout(net, variants)
    rows = []
    for name in variants:
        made = [layout.add(name, seed) for seed in range(seeds)]
        controls = {control: tuple(each[1][control] for each in made) for control in made[0][1]}
        figure: dict[str, Any] = {"net": net, "variant": name}
        rows.append(TableRow(figure, net, (), tuple(each[0] for each in made), controls))
    return Experiment(f"explore {net}", layout.base, tuple(range(seeds)), tuple(rows), layout.jobs, dict(variants))


class _Layout:
    """Lays out variants and remembers the jobs."""

    def __init__(self, net: str, variants: Mapping[str, Budget]) -> None:
        self.net, self.variants = net, variants
        self.base = next(iter(variants.values()))
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
        same = self._alike(lambda each: (each.first, replace(each.next, newborn_lr=1.0)), name)
        on = self._job(f"s{seed}-{parent}-on1{same and '-' + same}", seed, "on", parent, epochs, variant=same, **after)
        total = budget.first.epochs + epochs
        scratch = self._job(f"s{seed}-{self.net}-scratch{total}", seed, "scratch", self.net, total)
        return child, {ON: on.key, SCRATCH: scratch.key}

    def _alike(self, aspect: Callable[[Budget], object], name: str) -> str:
        """Return the first variant that has an aspect in common with one, "" if it is the base."""
        wanted = aspect(self.variants[name])
        found = next(other for other, budget in self.variants.items() if aspect(budget) == wanted)
        return "" if found == next(iter(self.variants)) else found

    def _job(self, key: str, seed: int, kind: Kind, net: str, epochs: int, **more: Any) -> Job:
        return self.jobs.setdefault(key, Job(key, kind, net, seed, epochs, **more))
