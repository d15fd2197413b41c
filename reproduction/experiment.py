"""The paper's experiments as jobs: who is trained after whom, for how long, and what stands against what.

A row of a table is a network and the networks it grew through. Rows share jobs: one trained parent a seed serves all of
them, and every phase that two paths have in common is trained once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from netmorph.errors import NetmorphError
from netmorph.models.paper_net import parse_net, phase_net
from netmorph.models.paper_tables import paper_tables
from reproduction.budget import Budget

__all__ = ["CONTROLS", "TABLES", "Experiment", "Job", "TableRow", "make_experiment"]

Kind = Literal["parent", "morph", "on", "scratch", "net2net"]
ON, SCRATCH, PLAIN, NET2NET = (
    "parent, trained on",
    "from scratch",
    "from scratch, plain shortcut",
    "Net2Net deepening",
)
ON_MACS, SCRATCH_MACS = "parent, trained on for as many MACs", "from scratch, for as many MACs"
CONTROLS = (ON, ON_MACS, SCRATCH, SCRATCH_MACS, PLAIN, NET2NET)
TABLES = {
    "table1": ("table1_cifar10",),
    "table2": ("table2_cifar10_scratch_vs_morph",),
    "table3": ("table3_cifar100",),
    "table4": ("table4_cifar100_scratch_vs_morph",),
    "table5": ("table5_imagenet_top1",),
    "figure5a": ("table1_cifar10",),
    "figure5b": ("table3_cifar100",),
    "figure6": ("table5_imagenet_top1",),
}
_PATHS = {"table2_cifar10_scratch_vs_morph": "table1_cifar10", "table4_cifar100_scratch_vs_morph": "table3_cifar100"}


@dataclass(frozen=True)
class Job:
    """One training: a network's birth and the epochs that follow.

    Attributes:
        key: its name, and that of its folder.
        kind: how the network is born: "parent" and "scratch" from random weights, "morph" from the network that
            `start` left, "on" is that network itself, "net2net" is it with identity layers put in.
        net: the network's name, as the paper writes it.
        seed: of weights, growth, order of the images and augmentation.
        epochs: of this training.
        start: key of the job that it continues.
        phases: the networks that it grew through, the parent not counted; for "on", how often it was trained on
            before does not show here but in `step`.
        step: how many trainings went before.
        shortcut_scale: of the identity beside the branches of a network from scratch.
        variant: name of the budget by which it is born and trained; "" is the experiment's own.
    """

    key: str
    kind: Kind
    net: str
    seed: int
    epochs: int
    start: str | None = None
    phases: tuple[str, ...] = ()
    step: int = 0
    shortcut_scale: float = 0.5
    variant: str = ""

    def draw(self, number: int) -> int:
        """Return one of the seeds that follow from the run's and the step; jobs of equal seed and step share them."""
        return 1_000 * self.seed + 10 * self.step + number


@dataclass(frozen=True)
class TableRow:
    """A row of a table: what was trained for it and what it is held against.

    Attributes:
        figure: the paper's row.
        net: the network.
        phases: full names of the networks between the parent and it.
        result: keys of its jobs, one a seed.
        controls: for each control, keys of its jobs, one a seed.
    """

    figure: dict[str, Any]
    net: str
    phases: tuple[str, ...]
    result: tuple[str, ...]
    controls: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What ``--rows`` calls it: the network, and after an @ those that it grew through."""
        return f"{self.net}@{'+'.join(self.phases)}" if self.phases else self.net


@dataclass(frozen=True)
class Experiment:
    """Rows of a table and the jobs that fill them.

    Attributes:
        table: a key of `TABLES`.
        budget: how long and how each network is trained.
        seeds: the seeds, 0 to n - 1.
        rows: in the paper's order.
        jobs: by key; a job stands after the one that it continues.
        variants: other budgets, by the names that jobs give.
    """

    table: str
    budget: Budget
    seeds: tuple[int, ...]
    rows: tuple[TableRow, ...]
    jobs: dict[str, Job]
    variants: dict[str, Budget] = field(default_factory=dict)

    def budget_of(self, job: Job) -> Budget:
        """Return how a job is born and trained."""
        return self.variants[job.variant] if job.variant else self.budget

    def urgency(self, key: str) -> int:
        """Return the epochs of the longest chain of jobs that begins with a job: what to start first."""
        after = [self.urgency(other.key) for other in self.jobs.values() if other.start == key]
        return self.jobs[key].epochs + max(after, default=0)


def make_experiment(
    table: str, budget: Budget, seeds: int = 3, rows: Sequence[str] | None = None, *, controls: bool = True
) -> Experiment:
    """Lay out the jobs of a table.

    Args:
        table: a key of `TABLES`.
        budget: how long and how each network is trained.
        seeds: how many times all of it is done.
        rows: names or patterns of rows (``morph20_*``, ``morph20_3c3@*``); None for all.
        controls: whether the controls are trained, too.

    Raises:
        NetmorphError: for an unknown table, a pattern that no row matches, or no seed.
    """
    if table not in TABLES:
        raise NetmorphError(f"the paper has no {table!r}", remedies=[f"choose one of {', '.join(TABLES)}"])
    if seeds < 1:
        raise NetmorphError(f"an experiment needs a seed or more, not {seeds}")
    layout = _Layout(budget, tuple(range(seeds)), controls)
    known = _known(table)
    chosen = [each for each in known if rows is None or any(fnmatchcase(each.name, pattern) for pattern in rows)]
    for pattern in rows or ():
        if not any(fnmatchcase(each.name, pattern) for each in known):
            names = ", ".join(each.name for each in known)
            raise NetmorphError(f"{table} has no row {pattern!r}", remedies=[f"its rows are {names}"])
    filled = tuple(layout.fill(each) for each in chosen)
    return Experiment(table, budget, layout.seeds, filled, layout.jobs)


def _known(table: str) -> list[TableRow]:
    """Return a table's rows, with no jobs yet."""
    tables = paper_tables()
    rows: dict[str, TableRow] = {}
    for part in TABLES[table]:
        for figure in tables[part]:
            phases = figure.get("phases")
            if phases is None:
                phases = _path(figure, tables.get(_PATHS.get(part, ""), ()))
            row = TableRow(figure, figure["net"], tuple(phase_net(figure["net"], phase) for phase in phases), ())
            rows[f"{part}/{row.name}"] = row
    return _best(rows.values()) if table.startswith("figure5") else list(rows.values())


def _best(rows: Iterable[TableRow]) -> list[TableRow]:
    """Return what Figure 5 draws: each parent, and the best network that grew from it."""
    kept: dict[tuple[int, bool], TableRow] = {}
    for row in rows:
        net = parse_net(row.net)
        place = (net.depth, net.name == net.parent)
        if place not in kept or row.figure["error"] < kept[place].figure["error"]:
            kept[place] = row
    return list(kept.values())


def _path(figure: dict[str, Any], table: Iterable[dict[str, Any]]) -> list[str]:
    """Return the phases of a row of Tables 2 and 4, which do not name them: those of the row with the same error."""
    same = (each for each in table if each["net"] == figure["net"] and each["error"] == figure.get("morph"))
    return next((each["phases"] for each in same), [])


class _Layout:
    """Lays out rows and remembers the jobs."""

    def __init__(self, budget: Budget, seeds: tuple[int, ...], controls: bool) -> None:
        self.budget, self.seeds, self.controls = budget, seeds, controls
        self.jobs: dict[str, Job] = {}

    def fill(self, row: TableRow) -> TableRow:
        """Add the jobs of a row."""
        made = [self._row(row, seed) for seed in self.seeds]
        controls = {name: tuple(each[1][name] for each in made) for name in made[0][1]}
        return TableRow(row.figure, row.net, row.phases, tuple(each[0] for each in made), controls)

    def _row(self, row: TableRow, seed: int) -> tuple[str, dict[str, str]]:
        net = parse_net(row.net)
        parent = self._add(f"s{seed}-{net.parent}", "parent", net.parent, seed, self.budget.first.epochs)
        if net.name == net.parent:
            return parent.key, {}
        last, on = parent, parent
        path = (*row.phases, row.net)
        for step, name in enumerate(path, 1):
            key = f"{last.key}-{name.partition('_')[2]}"
            last = self._next(key, "morph", name, last, phases=path[: step - 1])
            if self.controls:
                on = self._next(f"{parent.key}-on{step}", "on", net.parent, on)
        controls = {ON: on.key, **self._born(row, parent, len(path))} if self.controls else {}
        return last.key, controls

    def _born(self, row: TableRow, parent: Job, steps: int) -> dict[str, str]:
        """Add the controls of the child's architecture, of as many epochs as all steps together."""
        seed, epochs = parent.seed, self.budget.first.epochs + steps * self.budget.next.epochs
        key = f"s{seed}-{row.net}-scratch{epochs}"
        keys = {SCRATCH: self._add(key, "scratch", row.net, seed, epochs).key}
        keys[PLAIN] = self._add(f"{key}-plain", "scratch", row.net, seed, epochs, shortcut_scale=1.0).key
        if steps == 1 and parse_net(row.net).two_branch == "none":
            name = row.net.partition("_")[2]
            keys[NET2NET] = self._next(f"{parent.key}-net2net_{name}", "net2net", row.net, parent).key
        return keys

    def _next(self, key: str, kind: Kind, net: str, start: Job, phases: tuple[str, ...] = ()) -> Job:
        epochs = self.budget.next.epochs
        return self._add(key, kind, net, start.seed, epochs, start=start.key, phases=phases, step=start.step + 1)

    def _add(self, key: str, kind: Kind, net: str, seed: int, epochs: int, **more: Any) -> Job:
        return self.jobs.setdefault(key, Job(key, kind, net, seed, epochs, **more))
