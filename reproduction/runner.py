"""Runs an experiment: one command that makes progress and can be repeated until all is done."""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from netmorph.data.dataset import Data
from netmorph.errors import NetmorphError
from netmorph.train.machine import Machine
from reproduction.experiment import Experiment
from reproduction.experiment_folder import JOBS, claim_folder
from reproduction.job import DONE
from reproduction.worker import Orders, work

__all__ = ["JobsError", "Listener", "Summary", "reproduce"]


class JobsError(NetmorphError):
    """Jobs of an experiment failed; the others were run."""


class Listener(Protocol):
    """Hears how an experiment goes on; the events of several workers come interleaved."""

    def started(self, key: str) -> None:
        """A job is begun, or taken up where it was left."""

    def epoch(self, key: str, done: int, total: int, test_error: float) -> None:
        """``done`` of the job's ``total`` epochs are through; the test error is in percent."""

    def finished(self, key: str, error: float) -> None:
        """A job is done; its test error is in percent."""

    def paused(self, key: str) -> None:
        """The time is up; the job's checkpoint is written."""

    def failed(self, key: str, message: str) -> None:
        """A job could not be done; the others go on."""


@dataclass(frozen=True)
class Summary:
    """How far an experiment has come.

    Attributes:
        done: how many of its jobs are done.
        total: how many there are.
        seconds: wall time of this call.
    """

    done: int
    total: int
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.done == self.total


def reproduce(
    experiment: Experiment,
    data: Callable[[], Data],
    out: Path,
    *,
    workers: int = 1,
    time_limit: float | None = None,
    machine: Machine | None = None,
    listener: Listener | None = None,
) -> Summary:
    """Run the jobs of an experiment that are not done yet.

    Jobs are claimed by a lock that the system takes back from a dead process, checkpointed after each epoch, and
    written down when done: the call may be stopped or killed at any moment and repeated, also while another one runs.
    What comes out is the same as without a stop.

    Args:
        experiment: what to run.
        data: loads the data set; picklable, since each worker process loads its own.
        out: the folder of the experiment; made if need be. It may hold part of the same experiment, or another table
            of the same budget and data: jobs in common are not done twice.
        workers: how many jobs are run at once, each in a process of its own if more than 1.
        time_limit: seconds after which no further epoch is begun.
        machine: what the training runs on.
        listener: hears how it goes on.

    Returns:
        How far it has come.

    Raises:
        JobsError: jobs failed; the others were run.
        NetmorphError: if the folder holds another experiment or something else, or the data cannot be read.
    """
    began = time.monotonic()
    claim_folder(experiment, out)
    deadline = None if time_limit is None else time.time() + time_limit
    orders = Orders(experiment, data, out / JOBS, machine or Machine(), deadline)
    failures: dict[str, str] = {}

    def hear(event: tuple[Any, ...]) -> None:
        if event[0] == "refused":
            raise event[1]
        if event[0] == "failed":
            failures[event[1]] = event[2]
        if listener is not None:
            getattr(listener, event[0])(*event[1:])

    if workers == 1:
        work(orders, hear)
    else:
        _work_together(orders, workers, hear)
    if failures:
        told = "; ".join(f"{key}: {message}" for key, message in failures.items())
        raise JobsError(f"{len(failures)} of {len(experiment.jobs)} jobs failed: {told}")
    done = sum((out / JOBS / key / DONE).exists() for key in experiment.jobs)
    return Summary(done, len(experiment.jobs), time.monotonic() - began)


def _work_together(orders: Orders, workers: int, hear: Callable[[tuple[Any, ...]], None]) -> None:
    """Let several processes work, and pass on what they tell."""
    context = torch.multiprocessing.get_context("spawn")
    events: Any = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // workers)
    team = [context.Process(target=_member, args=(orders, events, threads), daemon=True) for _ in range(workers)]
    for member in team:
        member.start()
    try:
        while any(member.is_alive() for member in team) or not events.empty():
            try:
                hear(events.get(timeout=0.5))
            except queue.Empty:
                continue
    finally:
        for member in team:
            member.terminate()
            member.join()
    fallen = [member.exitcode for member in team if member.exitcode]
    if fallen:
        raise NetmorphError(
            f"{len(fallen)} of {workers} workers died (exit codes {fallen})",
            remedies=["run the command again: it goes on from the last checkpoints", "use fewer --workers (memory)"],
        )


def _member(orders: Orders, events: Any, threads: int) -> None:
    """Work in a process of its own."""
    import signal
    from threading import Thread

    Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends its workers
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    torch.set_num_threads(threads)
    try:
        work(orders, events.put)
    except NetmorphError as error:  # the data cannot be read, or is another experiment's: told once, by the parent
        events.put(("refused", error))


def _end_with_parent() -> None:
    """End this process when its parent has ended: one that is killed cannot end its workers."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
