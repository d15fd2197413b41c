"""Several models at once, a row each as soon as it is known; a run resumes where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path

from benchmarks.zoo import job
from benchmarks.zoo.check import Limits, check
from benchmarks.zoo.entries import Entry
from benchmarks.zoo.graphs import KINDS
from benchmarks.zoo.job import Budget, Job
from benchmarks.zoo.machine import versions
from benchmarks.zoo.rounding import in_doubt, settle
from benchmarks.zoo.rows import Row, append, is_done, latest, summary


def run(
    entries: Iterable[Entry],
    path: Path,
    *,
    limits: Limits,
    budget: Budget,
    workers: int = 1,
    retry: bool = False,
    kinds: tuple[str, ...] = KINDS,
    report: Callable[[str], None] = print,
) -> None:
    """Check the entries that `path` does not hold yet, one process each, and append a row for each.

    A model of which only the outputs as a whole differ is compared again in float64, in a process of its own with twice
    the time and memory.

    Args:
        entries: what to check.
        path: JSON lines; only this process writes them.
        limits: of the sites.
        budget: of the process of a model.
        workers: models at once.
        retry: check again what did not end well before.
        kinds: of graphs.
        report: takes one line a model.
    """
    done = {name for name, row in latest(path).items() if is_done(row, limits, retry=retry)}
    waiting = (entry for entry in entries if entry.name not in done)
    setting = {
        "work_limit": limits.work,
        "seconds_limit": limits.seconds if math.isfinite(limits.seconds) else None,
        "budget": asdict(budget),
        "versions": versions(),
    }
    task = partial(check, kinds=kinds, limits=limits)
    running: list[Job] = []
    try:
        while True:
            running += (job.start(entry, budget, task) for entry in islice(waiting, workers - len(running)))
            if not running:
                return
            for each in _ended(running):
                row = _row(each)
                running.remove(each)
                each.end()
                if each.first is None and in_doubt(row):
                    running.append(_in_double(each, row))
                    continue
                append(path, row | setting)
                report(summary(row))
    finally:
        for each in running:
            each.end()


def _row(ended: Job) -> Row:
    """Return what a job found; of one that settles a row, that row."""
    row, wall = ended.row(), time.monotonic() - ended.begun
    if ended.first is not None:
        row, wall = settle(ended.first, row), wall + ended.first["wall_seconds"]
    return {"model": ended.entry.name, "group": ended.entry.group} | row | {"wall_seconds": round(wall, 1)}


def _in_double(ended: Job, row: Row) -> Job:
    """Start the comparison in float64 of the sites that were morphed."""
    budget, only = ended.budget, in_doubt(row)
    twice = replace(budget, seconds=2 * budget.seconds, memory=2 * budget.memory, cpu=budget.cpu and 2 * budget.cpu)
    task = partial(check, kinds=tuple(only), limits=Limits(math.inf), only=only)
    return job.start(replace(ended.entry, double=True), twice, task, row)


def _ended(running: Collection[Job]) -> list[Job]:
    """Wait until a job has ended or its time is up, and return all of which that holds."""
    ready = wait([each.pipe for each in running], timeout=min(each.left for each in running))
    return [each for each in running if each.pipe in ready or not each.left]
