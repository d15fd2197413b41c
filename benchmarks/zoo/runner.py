"""Several models at once, a row each as soon as it is known; a run resumes where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from itertools import islice
from multiprocessing.connection import wait
from pathlib import Path

from benchmarks.zoo import job
from benchmarks.zoo.check import Limits
from benchmarks.zoo.entries import Entry
from benchmarks.zoo.graphs import KINDS
from benchmarks.zoo.job import Budget, Job
from benchmarks.zoo.machine import versions
from benchmarks.zoo.rows import append, is_done, latest, summary


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
    running: list[Job] = []
    try:
        while True:
            running += (job.start(entry, limits, kinds, budget) for entry in islice(waiting, workers - len(running)))
            if not running:
                return
            for each in _ended(running):
                row = {"model": each.entry.name, "group": each.entry.group} | each.row()
                row["wall_seconds"] = round(time.monotonic() - each.begun, 1)
                append(path, row | setting)
                report(summary(row))
                running.remove(each)
                each.end()
    finally:
        for each in running:
            each.end()


def _ended(running: Collection[Job]) -> list[Job]:
    """Wait until a job has ended or its time is up, and return all of which that holds."""
    ready = wait([each.pipe for each in running], timeout=min(each.left for each in running))
    return [each for each in running if each.pipe in ready or not each.left]
