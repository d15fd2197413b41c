"""A worker of an experiment: claims a job that can be begun, runs it, and goes on until nothing is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from netmorph.bounded import read_text
from netmorph.data.dataset import Data
from netmorph.errors import NetmorphError
from netmorph.train.loop import EpochRow, Paused
from netmorph.train.machine import Machine
from reproduction.experiment import Experiment, Job
from reproduction.job import DONE, Workplace, read_done, run_job

__all__ = ["Orders", "work"]

_PATIENCE = 1.0  # seconds between looks while others hold what is left


@dataclass(frozen=True)
class Orders:
    """What workers are told.

    Attributes:
        experiment: whose jobs they run.
        data: loads the data set.
        jobs: the folder of the jobs.
        machine: what the training runs on.
        deadline: wall-clock time (as `time.time`) at which they stop; None for never.
    """

    experiment: Experiment
    data: Callable[[], Data]
    jobs: Path
    machine: Machine
    deadline: float | None


def work(orders: Orders, tell: Callable[[tuple[Any, ...]], None]) -> None:
    """Run jobs until none is left to run or the time is up.

    Args:
        orders: what to do.
        tell: takes events: the name of a method of `runner.Listener` and its arguments.
    """
    queue = _Queue(orders)
    if not queue.open_jobs():
        return
    place = Workplace(orders.jobs, orders.experiment, orders.data(), orders.machine)
    _claim_data(orders.jobs, place.data.name)
    clock = _Clock(orders.deadline)
    while not clock.is_over(birth=True):
        claimed = queue.claim()
        if claimed is None:
            if not queue.open_jobs():
                return
            time.sleep(_PATIENCE)
            continue
        job, lock = claimed
        try:
            _run(job, place, clock, queue, tell)
        finally:
            lock.release()


def _claim_data(jobs: Path, name: str) -> None:
    """Write which data set the jobs learn from, or check that it is this."""
    path = jobs / "data.txt"
    aside = jobs / f".data-{os.getpid()}"
    aside.write_text(name, encoding="utf-8")
    try:
        os.link(aside, path)  # fails where it exists: the first worker decides
    except FileExistsError:
        known = read_text(path)
        if known != name:
            raise NetmorphError(
                f"{jobs.parent} holds an experiment on {known}, not on {name}",
                remedies=["choose another folder with --out"],
            ) from None
    finally:
        aside.unlink()


def _run(job: Job, place: Workplace, clock: _Clock, queue: _Queue, tell: Callable[[tuple[Any, ...]], None]) -> None:
    """Run one job and tell how it went."""
    tell(("started", job.key))
    clock.begin()
    try:
        before = read_done(place.folder(job.start)) if job.start is not None else None
        done = run_job(job, place, _Voice(job, before["epochs"] if before else 0, tell), clock.tick)
    except Paused:
        tell(("paused", job.key))
    except NetmorphError as error:
        queue.give_up(job.key)
        tell(("failed", job.key, str(error)))
    else:
        tell(("finished", job.key, done["error"]))


class _Queue:
    """The jobs that are left, the most urgent first."""

    def __init__(self, orders: Orders) -> None:
        experiment = orders.experiment
        self.folder = orders.jobs
        self.jobs = sorted(experiment.jobs.values(), key=lambda job: -experiment.urgency(job.key))
        self.given_up: set[str] = set()

    def give_up(self, key: str) -> None:
        """Do not try a job again, nor what would continue it."""
        self.given_up.add(key)

    def open_jobs(self) -> list[Job]:
        """Return what is not done and not given up, whether or not it can be begun."""
        return [job for job in self.jobs if not self._done(job.key) and not self._hopeless(job)]

    def claim(self) -> tuple[Job, FileLock] | None:
        """Return a job that can be begun, and the lock that keeps others off it."""
        for job in self.open_jobs():
            if job.start is not None and not self._done(job.start):
                continue
            folder = self.folder / job.key
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            if not self._done(job.key):
                return job, lock
            lock.release()
        return None

    def _done(self, key: str) -> bool:
        return (self.folder / key / DONE).exists()

    def _hopeless(self, job: Job | None) -> bool:
        """Return whether a job, or one that it follows, was given up."""
        while job is not None:
            if job.key in self.given_up:
                return True
            start = job.start
            job = next((other for other in self.jobs if other.key == start), None)
        return False


class _Clock:
    """Says when to stop: before what would not end in time, as far as what was seen tells.

    A job's first epoch takes longer than the others, since the network is born, placed and compiled before it.
    """

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.epoch = self.birth = self.last = 0.0
        self.newborn = True

    def begin(self) -> None:
        """A job begins."""
        self.last, self.newborn = time.time(), True

    def tick(self) -> bool:
        """An epoch has ended; return whether the time is up."""
        now = time.time()
        took, self.last = now - self.last, now
        if self.newborn:
            self.birth = max(self.birth, took)
        else:
            self.epoch = took
        self.newborn = False
        return self.is_over()

    def is_over(self, *, birth: bool = False) -> bool:
        """Return whether no further epoch would end in time, or with `birth` none of a further job."""
        longest = self.birth if birth else self.epoch
        return self.deadline is not None and time.time() + 1.2 * longest > self.deadline


class _Voice:
    """Tells of a job's epochs, counted from its own first."""

    def __init__(self, job: Job, before: int, tell: Callable[[tuple[Any, ...]], None]) -> None:
        self.job, self.before, self.tell = job, before, tell

    def batch(self, done: int, total: int) -> None:
        """Keep silent."""

    def epoch(self, row: EpochRow) -> None:
        """Tell of an epoch."""
        self.tell(("epoch", self.job.key, row.epoch - self.before, self.job.epochs, row.test_error))
